"""Training data of the default model: the project's own grammars and public command texts."""

//! Why a model cannot be used: one closed set of reasons, each naming the file at fault.

/// A bundle that is missing, damaged, contradictory or not supported.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// A file or directory is not there.
    #[error("{file}: not found; {hint}")]
    Missing {
        /// What was looked for.
        file: String,
        /// What it is for, or what to do.
        hint: String,
    },
    /// The operating system refused to read a file.
    #[error("{file}: {problem}")]
    Io {
        /// The file at fault.
        file: String,
        /// The system's words.
        problem: String,
    },
    /// A JSON or TOML file cannot be parsed, or a field has the wrong type.
    #[error("{file}:{line}:{column}: {problem}")]
    Syntax {
        /// The file at fault.
        file: String,
        /// From 1.
        line: usize,
        /// From 1; 0 where the parser names no column.
        column: usize,
        /// The parser's words.
        problem: String,
    },
    /// A field has a value that cannot be right, or that the graph contradicts.
    #[error("{file}: {field}: expected {expected}, found {found}")]
    Field {
        /// The file at fault.
        file: String,
        /// The field or port, dotted.
        field: String,
        /// What would have been right.
        expected: String,
        /// What there is.
        found: String,
    },
    /// The ONNX file is truncated or not one.
    #[error("{file}: not a readable ONNX model: {problem}")]
    Graph {
        /// The file at fault.
        file: String,
        /// Where parsing ended.
        problem: String,
    },
    /// The model is sound but of a kind that slmd does not run.
    #[error("{file}: not supported: {problem}; supported: {supported}")]
    Unsupported {
        /// The file at fault.
        file: String,
        /// What is not supported.
        problem: String,
        /// What would be.
        supported: String,
    },
    /// External data that a graph names is absent, too short or outside the directory.
    #[error("{file}: external data {data:?}: {problem}")]
    External {
        /// The graph's file.
        file: String,
        /// The data file as the graph names it.
        data: String,
        /// What is wrong.
        problem: String,
    },
    /// A file is not what the manifest says: a flipped bit, a truncated copy, an edit.
    #[error("{file}: damaged or changed: sha256 is {found}, the manifest says {expected}")]
    Hash {
        /// The file at fault.
        file: String,
        /// The manifest's hash.
        expected: String,
        /// The file's hash.
        found: String,
    },
    /// There is no graph of the wanted name.
    #[error("{dir}: no model variant {wanted:?}; there: {available}")]
    Variant {
        /// Where it was looked for.
        dir: String,
        /// The name asked for.
        wanted: String,
        /// The names there are.
        available: String,
    },
}

impl BundleError {
    /// A stable name of the reason, for logs and `--json`.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "missing",
            Self::Io { .. } => "io",
            Self::Syntax { .. } => "syntax",
            Self::Field { .. } => "field",
            Self::Graph { .. } => "graph",
            Self::Unsupported { .. } => "unsupported",
            Self::External { .. } => "external",
            Self::Hash { .. } => "hash",
            Self::Variant { .. } => "variant",
        }
    }

    /// A [`BundleError::Field`] from anything printable.
    pub(crate) fn field(
        file: impl Into<String>,
        field: impl Into<String>,
        expected: impl Into<String>,
        found: impl ToString,
    ) -> Self {
        Self::Field {
            file: file.into(),
            field: field.into(),
            expected: expected.into(),
            found: found.to_string(),
        }
    }

    pub(crate) fn io(file: impl Into<String>, error: &std::io::Error) -> Self {
        Self::Io { file: file.into(), problem: error.to_string() }
    }
}

/// Line and column, both from 1, of byte `offset` in `text`; columns count characters.
pub fn line_column(text: &str, offset: usize) -> (usize, usize) {
    let mut end = offset.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let before = &text[..end];
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
    (line, column)
}

#[cfg(test)]
mod tests {
    use super::line_column;

    #[test]
    fn offsets_become_lines_and_columns() {
        assert_eq!(line_column("ab\ncäd", 0), (1, 1));
        assert_eq!(line_column("ab\ncäd", 6), (2, 3));
        assert_eq!(line_column("ab\ncäd", 5), (2, 2), "inside a character: its start");
        assert_eq!(line_column("", 9), (1, 1));
    }
}

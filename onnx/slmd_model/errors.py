"""The error a user can act on: printed as one line, no traceback."""


class UserError(Exception):
    """Wrong input or a missing file; `code` is a sysexits number (65 data, 66 no input)."""

    def __init__(self, message: str, code: int = 65) -> None:
        super().__init__(message)
        self.code = code

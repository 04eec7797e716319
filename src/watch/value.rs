//! One number out of a payload, or which kind of payload it is not.

use serde_json::Value;

/// The most bytes of a payload that is looked at.
pub const MAX_PAYLOAD_BYTES: usize = 64 << 10;
/// Beyond it squares overflow, and no sensor measures that.
const MAX_MAGNITUDE: f64 = 1e150;

/// Why a payload has no number; each kind is reported once for each series.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadSample {
    /// Over [`MAX_PAYLOAD_BYTES`].
    #[error("over 65536 bytes")]
    TooLarge,
    /// Not text.
    #[error("not UTF-8")]
    NotUtf8,
    /// A pointer was to be followed, but this is no JSON.
    #[error("not JSON")]
    NotJson,
    /// Nothing at the pointer.
    #[error("nothing at the pointer")]
    Missing,
    /// Something else than a number.
    #[error("not a number")]
    NotANumber,
    /// NaN, infinite, or beyond 1e150.
    #[error("not a finite number up to 1e150")]
    NotFinite,
}

impl BadSample {
    /// Every kind.
    pub const ALL: [Self; 6] = [
        Self::TooLarge,
        Self::NotUtf8,
        Self::NotJson,
        Self::Missing,
        Self::NotANumber,
        Self::NotFinite,
    ];

    /// A stable name.
    pub const fn code(self) -> &'static str {
        match self {
            Self::TooLarge => "too_large",
            Self::NotUtf8 => "not_utf8",
            Self::NotJson => "not_json",
            Self::Missing => "missing",
            Self::NotANumber => "not_a_number",
            Self::NotFinite => "not_finite",
        }
    }
}

/// The number at the JSON pointer, or that the payload is.
///
/// # Errors
/// The kind of fault.
pub fn number(payload: &[u8], pointer: Option<&str>) -> Result<f64, BadSample> {
    if payload.len() > MAX_PAYLOAD_BYTES {
        return Err(BadSample::TooLarge);
    }
    let text = std::str::from_utf8(payload).map_err(|_| BadSample::NotUtf8)?;
    let value = match pointer {
        None => text.trim().parse::<f64>().map_err(|_| BadSample::NotANumber)?,
        Some(pointer) => {
            let whole: Value = serde_json::from_str(text).map_err(|_| BadSample::NotJson)?;
            let found = whole.pointer(pointer).ok_or(BadSample::Missing)?;
            found.as_f64().ok_or(BadSample::NotANumber)?
        }
    };
    match value.is_finite() && value.abs() <= MAX_MAGNITUDE {
        true => Ok(value),
        false => Err(BadSample::NotFinite),
    }
}

/// Whether a text is a JSON pointer (RFC 6901).
///
/// # Errors
/// What is wrong.
pub fn check_pointer(pointer: &str) -> Result<(), String> {
    if !pointer.is_empty() && !pointer.starts_with('/') {
        return Err(format!(
            "{pointer:?} is not a JSON pointer, which begins with `/`: \"/{pointer}\""
        ));
    }
    match pointer.split('~').skip(1).all(|after| after.starts_with(['0', '1'])) {
        true => Ok(()),
        false => Err("in a JSON pointer `~` is written `~0`, and `/` in a name `~1`".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_and_everything_else_has_a_kind() {
        for (payload, pointer, expected) in [
            (&b"7.25"[..], None, Ok(7.25)),
            (b" -1e3\n", None, Ok(-1000.0)),
            (br#"{"rms": 7}"#, Some("/rms"), Ok(7.0)),
            (br#"{"a/b": [1, 2.5]}"#, Some("/a~1b/1"), Ok(2.5)),
            (b"3", Some(""), Ok(3.0)),
            (b"", None, Err(BadSample::NotANumber)),
            (b"7,25", None, Err(BadSample::NotANumber)),
            (b"{}", None, Err(BadSample::NotANumber)),
            (b"nan", None, Err(BadSample::NotFinite)),
            (b"-inf", None, Err(BadSample::NotFinite)),
            (b"1e999", None, Err(BadSample::NotFinite)),
            (b"1e151", None, Err(BadSample::NotFinite)),
            (b"\xff", None, Err(BadSample::NotUtf8)),
            (b"7", Some("/rms"), Err(BadSample::Missing)),
            (br#"{"rms": "7"}"#, Some("/rms"), Err(BadSample::NotANumber)),
            (br#"{"rms": null}"#, Some("/rms"), Err(BadSample::NotANumber)),
            (br#"{"rms": NaN}"#, Some("/rms"), Err(BadSample::NotJson)),
            (b"[", Some("/rms"), Err(BadSample::NotJson)),
        ] {
            assert_eq!(number(payload, pointer), expected, "{payload:?}");
        }
        assert_eq!(number(&vec![b' '; MAX_PAYLOAD_BYTES + 1], None), Err(BadSample::TooLarge));
        // Deep nesting is an error, not a stack overflow.
        assert_eq!(number(&vec![b'['; 60_000], Some("/a")), Err(BadSample::NotJson));
    }

    #[test]
    fn pointers_are_checked() {
        for good in ["", "/", "/a/0", "/a~0b~1c"] {
            assert_eq!(check_pointer(good), Ok(()), "{good}");
        }
        for wrong in ["rms", "a/b", "/a~", "/a~2"] {
            assert!(check_pointer(wrong).is_err(), "{wrong}");
        }
    }
}

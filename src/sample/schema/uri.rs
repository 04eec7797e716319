//! Names of schemas: how a reference is read against the address of the schema around it.
//!
//! Text only; nothing is ever fetched.

/// A reference as (address, fragment), read against `base`.
pub(super) fn resolve(base: &str, reference: &str) -> (String, String) {
    let (path, fragment) = reference.split_once('#').unwrap_or((reference, ""));
    (address(base, path), decoded(fragment))
}

fn address(base: &str, reference: &str) -> String {
    if reference.is_empty() {
        return base.to_owned();
    }
    if has_scheme(reference) {
        return reference.to_owned();
    }
    let scheme_end = if has_scheme(base) { base.find(':').map_or(0, |i| i + 1) } else { 0 };
    if reference.starts_with("//") {
        return format!("{}{reference}", &base[..scheme_end]);
    }
    let authority_end = match base[scheme_end..].strip_prefix("//") {
        Some(rest) => scheme_end + 2 + rest.find(['/', '?']).unwrap_or(rest.len()),
        None => scheme_end,
    };
    let (root, path) = base.split_at(authority_end);
    let path = path.split('?').next().unwrap_or_default();
    let merged = match (reference.starts_with('/'), path.rfind('/')) {
        (true, _) => reference.to_owned(),
        (false, Some(slash)) => format!("{}{reference}", &path[..=slash]),
        (false, None) if authority_end > scheme_end => format!("/{reference}"),
        (false, None) => reference.to_owned(),
    };
    format!("{root}{}", without_dots(&merged))
}

fn has_scheme(text: &str) -> bool {
    let Some(end) = text.find([':', '/', '?', '#']) else { return false };
    let plain = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
    text[end..].starts_with(':') && end > 0 && text[..end].chars().all(plain)
}

fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "." => {}
            ".." if kept.len() > 1 => {
                kept.pop();
            }
            part => kept.push(part),
        }
    }
    kept.join("/")
}

/// Without percent signs; what is not UTF-8 then stays as it was.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let code = tail.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        match code.and_then(|code| u8::from_str_radix(code, 16).ok()) {
            Some(byte) if *first == b'%' => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_read_against_the_base() {
        for (base, reference, address, fragment) in [
            ("", "#/$defs/a%25b", "", "/$defs/a%b"),
            ("", "item.json", "item.json", ""),
            ("http://x/a/b.json", "c.json#d", "http://x/a/c.json", "d"),
            ("http://x/a/b.json", "/c", "http://x/c", ""),
            ("http://x/a/b.json", "../c", "http://x/c", ""),
            ("http://x", "c", "http://x/c", ""),
            ("http://x/a", "//y/c", "http://y/c", ""),
            ("http://x/a", "urn:a:b", "urn:a:b", ""),
            ("urn:a:b", "#c", "urn:a:b", "c"),
            ("/base/x", "y", "/base/y", ""),
            ("", "#%zz%ff", "", "%zz%ff"),
        ] {
            assert_eq!(
                resolve(base, reference),
                (address.into(), fragment.into()),
                "{base} {reference}"
            );
        }
    }
}

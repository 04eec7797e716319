//! The direction of dependencies between modules, as `docs/structure.md` states it: no module may
//! `use crate::other` unless the edge is listed here.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Who may know of whom. Everybody may know of nobody else.
const EDGES: &[(&str, &[&str])] = &[
    ("core", &[]),
    ("kernels", &[]),
    // Opaque bytes on a disk: whoever knows what they mean is above it.
    ("journal", &[]),
    // Reads sensors, decides a level: who acts on it is above.
    ("pressure", &["core"]),
    // Figures of which it does not know what they mean.
    ("measurements", &[]),
    ("calibration", &[]),
    ("sheet", &["core", "bundle"]),
    ("bundle", &["core"]),
    // Models as files: whether one is good enough to serve is decided above.
    ("store", &["bundle"]),
    ("text", &["core"]),
    ("sample", &["core", "text"]),
    ("wire", &["core"]),
    ("engine", &["core", "kernels", "bundle"]),
    ("runtime", &["core", "engine", "text", "sample", "bundle", "wire", "measurements"]),
    // A process that may go wrong.
    ("child", &[]),
    // Between the transports and the runtime: it submits as they do.
    ("routing", &["core", "text", "sample", "bundle", "wire", "runtime", "child"]),
    // Never `engine`: what moves bytes does not compute.
    ("transport", &["core", "wire", "runtime", "routing", "journal", "watch"]),
    // The socket's other end, for Rust programs.
    ("client", &["wire", "core"]),
    // Sans-IO: the front end and `slmd watch test` drive it.
    ("watch", &["core"]),
    ("config", &["core", "bundle", "watch"]),
    // Profiles are TOML too, and give the configuration its defaults.
    ("board", &["core", "config"]),
    (
        "supervisor",
        &[
            "core",
            "engine",
            "text",
            "sample",
            "bundle",
            "wire",
            "runtime",
            "routing",
            "child",
            "transport",
            "journal",
            "watch",
            "config",
            "board",
            "pressure",
            "watch",
            "measurements",
            "calibration",
            "sheet",
        ],
    ),
    (
        "cli",
        &[
            "core",
            "engine",
            "text",
            "sample",
            "bundle",
            "wire",
            "runtime",
            "child",
            "transport",
            "journal",
            "client",
            "config",
            "board",
            "supervisor",
            "calibration",
            "sheet",
            "store",
            "watch",
        ],
    ),
    // What the library and the binary are made of.
    ("lib", &[]),
    ("main", &["cli"]),
];

/// The first path segments after `crate::` in `source`, with their lines; comments left out.
fn uses(source: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let code = code_of(source);
    for (start, _) in code.match_indices("crate::") {
        let before = code[..start].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let line = code[..start].matches('\n').count() + 1;
        let rest = &code[start + "crate::".len()..];
        let names = match rest.strip_prefix('{') {
            Some(group) => group_heads(group),
            None => vec![word(rest)],
        };
        found.extend(names.into_iter().filter(|n| !n.is_empty()).map(|n| (line, n)));
    }
    found
}

/// `a::B, c::{D, E}, f}` has the heads a, c, f.
fn group_heads(group: &str) -> Vec<String> {
    let (mut depth, mut heads, mut at_head) = (0usize, Vec::new(), true);
    for (i, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => at_head = true,
            c if at_head && (c.is_alphabetic() || c == '_') => {
                heads.push(word(&group[i..]));
                at_head = false;
            }
            _ => {}
        }
    }
    heads
}

fn word(text: &str) -> String {
    text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// The source with comments blanked out, line by line; good enough for `use` and paths.
fn code_of(source: &str) -> String {
    source
        .lines()
        .map(|line| {
            // `://` is no comment but part of an address in a string.
            let comment = line.match_indices("//").find(|(i, _)| !line[..*i].ends_with(':'));
            comment.map_or(line, |(i, _)| &line[..i])
        })
        .collect::<Vec<_>>()
        .join("\n")
}

/// Every edge from `module` that is not allowed, as `place: from -> to`.
fn forbidden(module: &str, place: &str, source: &str) -> Vec<String> {
    let table: BTreeMap<&str, &[&str]> = EDGES.iter().copied().collect();
    let Some(allowed) = table.get(module) else {
        return vec![format!("{place}: module `{module}` is not listed in tests/layering.rs")];
    };
    uses(source)
        .into_iter()
        .filter(|(_, to)| to != module && table.contains_key(to.as_str()))
        .filter(|(_, to)| !allowed.contains(&to.as_str()))
        .map(|(line, to)| format!("{place}:{line}: {module} -> {to}"))
        .collect()
}

fn rust_files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).expect("readable").flatten() {
        let path = entry.path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// `src/engine/ort/mod.rs` belongs to `engine`.
fn module_of(path: &Path) -> String {
    let first = path.components().next().expect("a file").as_os_str().to_string_lossy();
    first.trim_end_matches(".rs").trim_end_matches("_tests").to_owned()
}

#[test]
fn no_module_knows_of_one_above_it() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    rust_files(&src, &mut files);
    files.sort();
    assert!(files.len() > 10, "the sources were not found");
    let faults: Vec<String> = files
        .iter()
        .flat_map(|file| {
            let inside = file.strip_prefix(&src).expect("below src");
            let source = std::fs::read_to_string(file).expect("readable");
            forbidden(&module_of(inside), &format!("src/{}", inside.display()), &source)
        })
        .collect();
    assert!(faults.is_empty(), "forbidden edges:\n{}", faults.join("\n"));
}

#[test]
fn forbidden_edges_are_found() {
    let bad =
        "use crate::wire::Ask;\nuse crate::{\n    core::plan::{Row, Slot},\n    engine,\n};\n";
    assert_eq!(
        forbidden("transport", "t.rs", bad),
        ["t.rs:2: transport -> engine"],
        "a group is looked into"
    );
    assert_eq!(forbidden("core", "c.rs", "fn f(c: crate::config::Settings) {}").len(), 1);
    assert_eq!(forbidden("core", "c.rs", "pub(in crate::core) use crate::config::Key;").len(), 1);
    assert_eq!(forbidden("nonsense", "n.rs", "").len(), 1, "a new module must be listed");
    for good in [
        "// use crate::engine::Engine;\n",
        "//! [`crate::engine`]\n",
        "use crate::core::plan::Slot;",
        "use super::engine;",
        "use mycrate::engine;",
        "let url = \"http://crate.io\";",
    ] {
        assert!(forbidden("wire", "w.rs", good).is_empty(), "{good}");
    }
}

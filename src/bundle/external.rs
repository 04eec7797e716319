//! External data: the files beside a graph that hold its weights.

use super::error::BundleError;
use super::files::is_inside;
use super::onnx::{GraphProto, TensorProto};
use std::collections::BTreeMap;
use std::path::Path;

/// `TensorProto.DataLocation.EXTERNAL`.
const EXTERNAL: i32 = 1;

/// The files that `graph` names, each with the bytes it must have at least.
///
/// # Errors
/// A location that is absent or leaves the directory, or a figure that is none.
pub fn needed(file: &str, graph: &GraphProto) -> Result<BTreeMap<String, u64>, BundleError> {
    let mut found = BTreeMap::new();
    walk(file, graph, &mut found)?;
    Ok(found)
}

fn walk(
    file: &str,
    graph: &GraphProto,
    found: &mut BTreeMap<String, u64>,
) -> Result<(), BundleError> {
    for tensor in &graph.initializer {
        note(file, tensor, found)?;
    }
    for attribute in graph.node.iter().flat_map(|n| &n.attribute) {
        for tensor in attribute.t.iter().chain(&attribute.tensors) {
            note(file, tensor, found)?;
        }
        for subgraph in attribute.g.iter().chain(&attribute.graphs) {
            walk(file, subgraph, found)?;
        }
    }
    Ok(())
}

fn note(
    file: &str,
    tensor: &TensorProto,
    found: &mut BTreeMap<String, u64>,
) -> Result<(), BundleError> {
    if tensor.data_location != EXTERNAL {
        return Ok(());
    }
    let entry = |key| tensor.external_data.iter().find(|e| e.key == key).map(|e| e.value.as_str());
    let location = entry("location").unwrap_or("");
    let failed = |problem: String| BundleError::External {
        file: file.to_owned(),
        data: location.to_owned(),
        problem,
    };
    let name = location.strip_prefix("./").unwrap_or(location);
    if !is_inside(name) {
        return Err(failed("not a path inside the model's directory".into()));
    }
    let figure = |key| match entry(key) {
        None => Ok(0),
        Some(text) => text
            .parse::<u64>()
            .map_err(|_| failed(format!("{key} of {:?} is {text:?}, not a number", tensor.name))),
    };
    let end = figure("offset")?.saturating_add(figure("length")?);
    let least = found.entry(name.to_owned()).or_default();
    *least = end.max(*least);
    Ok(())
}

/// Checks that the data files of a graph in `dir` are there, long enough, and really in `dir`.
///
/// # Errors
/// [`BundleError::External`].
pub fn check(file: &str, dir: &Path, needed: &BTreeMap<String, u64>) -> Result<(), BundleError> {
    if needed.is_empty() {
        return Ok(());
    }
    let root = dir.canonicalize().map_err(|e| BundleError::io(dir.display().to_string(), &e))?;
    for (data, least) in needed {
        check_one(&root, data, *least).map_err(|problem| BundleError::External {
            file: file.to_owned(),
            data: data.clone(),
            problem,
        })?;
    }
    Ok(())
}

fn check_one(root: &Path, data: &str, least: u64) -> Result<(), String> {
    let path = root.join(data).canonicalize().map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => "not found beside the model".to_owned(),
        _ => e.to_string(),
    })?;
    if !path.starts_with(root) {
        return Err("a link out of the model's directory, which ONNX Runtime refuses: \
                    copy the file itself"
            .into());
    }
    let meta = path.metadata().map_err(|e| e.to_string())?;
    if !meta.is_file() {
        return Err("not a regular file".into());
    }
    if meta.len() < least {
        return Err(format!("truncated: {} bytes, the model needs {least}", meta.len()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::onnx::StringStringEntryProto;
    use super::*;

    fn tensor(entries: &[(&str, &str)]) -> TensorProto {
        let external_data = entries
            .iter()
            .map(|&(k, v)| StringStringEntryProto { key: k.into(), value: v.into() })
            .collect();
        TensorProto { data_location: EXTERNAL, external_data, ..Default::default() }
    }

    fn graph(entries: &[(&str, &str)]) -> GraphProto {
        GraphProto { initializer: vec![tensor(entries)], ..Default::default() }
    }

    #[test]
    fn the_end_of_the_last_tensor_is_what_a_file_needs() {
        let mut two = graph(&[("location", "w.bin"), ("offset", "64"), ("length", "36")]);
        two.initializer.push(tensor(&[("location", "./w.bin"), ("length", "8")]));
        assert_eq!(needed("m", &two), Ok(BTreeMap::from([("w.bin".into(), 100)])));
    }

    #[test]
    fn paths_out_of_the_directory_and_bad_figures_are_refused() {
        for location in ["../w", "/w", "", "a/../../w"] {
            assert!(needed("m", &graph(&[("location", location)])).is_err(), "{location}");
        }
        let bad = graph(&[("location", "w"), ("offset", "-1")]);
        assert!(needed("m", &bad).expect_err("negative").to_string().contains("offset"));
    }

    #[test]
    fn absent_short_and_linked_files_are_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        let outside = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(dir.path().join("w"), [0; 10]).expect("writable");
        std::os::unix::fs::symlink(outside.path(), dir.path().join("link")).expect("a link");
        let check =
            |data: &str, least| check("m", dir.path(), &BTreeMap::from([(data.to_owned(), least)]));
        assert_eq!(check("w", 10), Ok(()));
        assert!(check("w", 11).expect_err("short").to_string().contains("10 bytes"));
        assert!(check("x", 0).expect_err("absent").to_string().contains("not found"));
        assert!(check("link", 0).expect_err("outside").to_string().contains("link"));
    }
}

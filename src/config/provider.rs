//! An execution provider of ONNX Runtime, as a board's profile or the configuration lists it.
//!
//! Only what is written: whether it is there, works and agrees with the CPU is for others to find
//! out.

use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// One execution provider of the chain.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ProviderSpec {
    /// ONNX Runtime's name, lower case and without `ExecutionProvider`: `xnnpack`, `cuda`, `tensorrt`,
    /// `openvino`, `acl`, `webgpu`, `qnn`, `cpu`.
    pub name: String,
    /// Options, passed as they are.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
    /// The library of a plugin provider (`RegisterExecutionProviderLibrary`); none: built into ONNX
    /// Runtime's library.
    pub plugin: Option<PathBuf>,
    /// Tried only where all of these files exist: device nodes, libraries.
    #[serde(default)]
    pub requires: Vec<PathBuf>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_read_and_its_typing_errors_are_found() {
        let text = "name = 'qnn'\nrequires = ['/dev/x']\noptions = { backend_type = 'htp' }\n";
        let spec: ProviderSpec = toml::from_str(text).expect("sound");
        assert_eq!(spec.options.get("backend_type").map(String::as_str), Some("htp"));
        assert_eq!((spec.plugin, spec.requires), (None, vec![PathBuf::from("/dev/x")]));
        assert!(toml::from_str::<ProviderSpec>("name = 'qnn'\nrequire = []\n").is_err());
        assert!(toml::from_str::<ProviderSpec>("plugin = 'x.so'\n").is_err(), "it needs a name");
        assert!(toml::from_str::<ProviderSpec>("name = 'x'\noptions = { a = 1 }\n").is_err());
    }
}

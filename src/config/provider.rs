//! `[[provider]]`: the chain of execution providers, of a board or of the configuration.

use super::error::ConfigError;
use super::settings::{Defaults, relative_to};
use super::show::{Entry, entry};
use super::source::{Config, Origin, Sourced};
use crate::core::provider::{CPU, Provider};

/// Keys of `[[provider]]`, their types and meanings.
pub(super) const PROVIDER_KEYS: &[(&str, &str, &str)] = &[
    (
        "name",
        "text",
        "Required. As ONNX Runtime calls it, in lower case and without `ExecutionProvider`: \
         `xnnpack`, `cuda`, `tensorrt`, `openvino`, `qnn`, `acl`, `webgpu`; `cpu` is always tried.",
    ),
    ("options", "table", "Its options, texts, passed on as they are."),
    ("plugin", "path", "The library of a plugin provider; left out: it is inside ONNX Runtime's."),
    ("device", "text", "The plugin's devices of one kind only: `cpu`, `gpu` or `npu`."),
    ("whole", "boolean", "No operator may fall back on the CPU; `false`."),
    ("requires", "list", "Files that must be there for it to be tried: device nodes, libraries."),
];

/// The section of the reference.
pub(super) fn reference() -> String {
    let mut page = "\n## `[[provider]]`\n\nSee [execution providers](providers.md). The list of \
                    the last file that has one replaces the board's; `name = \"cpu\"` alone leaves \
                    only the CPU.\n\n| Key | Type | |\n|---|---|---|\n"
        .to_owned();
    for (key, kind, doc) in PROVIDER_KEYS {
        page.push_str(&format!("| `{key}` | {kind} | {doc} |\n"));
    }
    page
}

impl Config {
    /// The chain in force: the last file's, else the board's; the CPU is not in it.
    pub(super) fn providers(
        &self,
        defaults: &Defaults,
    ) -> Result<Sourced<Vec<Provider>>, ConfigError> {
        let Some(source) = self.sources.iter().rev().find(|s| !s.file.provider.is_empty()) else {
            let chain = defaults.providers.clone();
            return Ok(match chain.is_empty() {
                true => Sourced::new(chain, Origin::Default),
                false => Sourced::new(chain, Origin::Board(defaults.board.clone())),
            });
        };
        let mut chain = Vec::new();
        for at in &source.file.provider {
            let mut provider = at.get_ref().clone();
            if let Some(fault) = provider.fault() {
                return Err(source.refuse(at, fault));
            }
            let written = |path: &std::path::Path| path.display().to_string();
            provider.plugin = provider.plugin.map(|path| relative_to(source, &written(&path)));
            if !provider.is_cpu() {
                chain.push(provider);
            }
        }
        Ok(Sourced::new(chain, source.origin(&source.file.provider[0])))
    }
}

/// For `slmd config show`.
pub(super) fn entries(chain: &Sourced<Vec<Provider>>) -> Option<Entry> {
    let names = chain.value.iter().map(|p| p.name.as_str()).chain([CPU]);
    let names = names.collect::<Vec<_>>().join(", ");
    (!chain.value.is_empty()).then(|| entry("provider", chain, |_| names))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ConfigFile;

    #[test]
    fn every_key_that_is_documented_can_be_written() {
        let text = "[[provider]]\nname = 'qnn'\noptions = { backend_path = 'libQnnHtp.so' }\n\
                    plugin = 'p.so'\ndevice = 'npu'\nwhole = true\nrequires = ['/dev/null']\n";
        let file: ConfigFile = toml::from_str(text).expect("sound");
        let written = file.provider[0].get_ref();
        let table = toml::Table::try_from(written).expect("a table");
        let documented: Vec<&str> = PROVIDER_KEYS.iter().map(|(key, ..)| *key).collect();
        let mut keys: Vec<&str> = table.keys().map(String::as_str).collect();
        keys.sort_by_key(|key| documented.iter().position(|d| d == key));
        assert_eq!(keys, documented);
        assert!(toml::from_str::<ConfigFile>("[[provider]]\nnmae = 'x'\n").is_err());
    }
}

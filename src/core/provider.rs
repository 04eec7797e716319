//! Execution providers of ONNX Runtime, by the names that people write.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Names as they are written, and as ONNX Runtime's library and its profile spell them. Only these
/// can be built into the library; a plugin may bring any.
const NAMES: [(&str, &str); 13] = [
    (CPU, "CPUExecutionProvider"),
    ("acl", "ACLExecutionProvider"),
    ("cann", "CANNExecutionProvider"),
    ("cuda", "CUDAExecutionProvider"),
    ("dnnl", "DnnlExecutionProvider"),
    ("migraphx", "MIGraphXExecutionProvider"),
    ("openvino", "OpenVINOExecutionProvider"),
    ("qnn", "QNNExecutionProvider"),
    ("rknpu", "RknpuExecutionProvider"),
    ("tensorrt", "TensorrtExecutionProvider"),
    ("vsinpu", "VSINPUExecutionProvider"),
    ("webgpu", "WebGpuExecutionProvider"),
    ("xnnpack", "XnnpackExecutionProvider"),
];

/// The provider that is always there, and that everything falls back on.
pub const CPU: &str = "cpu";

/// The names that can be written for a provider inside the library.
pub fn known() -> impl Iterator<Item = &'static str> {
    NAMES.iter().map(|(name, _)| *name)
}

/// `xnnpack` of `XnnpackExecutionProvider`: how a provider of ONNX Runtime is written.
pub fn short(canonical: &str) -> String {
    let known = NAMES.iter().find(|(_, long)| *long == canonical);
    let stem = canonical.strip_suffix("ExecutionProvider").unwrap_or(canonical);
    known.map_or_else(|| stem.to_ascii_lowercase(), |(name, _)| (*name).to_owned())
}

/// What kind of device a plugin is to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeviceKind {
    /// The processor.
    Cpu,
    /// A graphics processor.
    Gpu,
    /// A neural processor.
    Npu,
}

impl DeviceKind {
    /// As it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Gpu => "gpu",
            Self::Npu => "npu",
        }
    }
}

/// A provider, and how it is to be set up: one of a chain in a board's profile or a configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Provider {
    /// Lower case, without `ExecutionProvider`: `xnnpack`, `cuda`, `qnn`.
    pub name: String,
    /// Its options, passed on as they are.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
    /// The library of a plugin (`RegisterExecutionProviderLibrary`); none: inside ONNX Runtime's.
    pub plugin: Option<PathBuf>,
    /// The plugin's devices of this kind only.
    pub device: Option<DeviceKind>,
    /// Whether the model must run on it as a whole: no operator may fall back on the CPU.
    #[serde(default)]
    pub whole: bool,
    /// It is tried only where all of these are: device nodes, libraries.
    #[serde(default)]
    pub requires: Vec<PathBuf>,
}

impl Provider {
    /// The CPU's.
    pub fn cpu() -> Self {
        Self::built_in(CPU)
    }

    /// One inside ONNX Runtime's library, with its defaults.
    pub fn built_in(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }

    /// Whether it is the CPU's own, which needs nothing.
    pub fn is_cpu(&self) -> bool {
        self.name == CPU && self.plugin.is_none()
    }

    /// What is wrong with it as it is written, if anything.
    pub fn fault(&self) -> Option<String> {
        let is_known = known().any(|name| name == self.name);
        if self.plugin.is_none() && !is_known {
            let known: Vec<&str> = known().collect();
            let name = &self.name;
            return Some(format!(
                "no provider {name:?}: {}, or one with `plugin`",
                known.join(", ")
            ));
        }
        if self.is_cpu() && (self.whole || !self.options.is_empty()) {
            return Some("the CPU's own provider takes no options".to_owned());
        }
        if self.plugin.is_none() && self.device.is_some() {
            return Some("`device` is for plugins".to_owned());
        }
        None
    }

    /// `XnnpackExecutionProvider`; of a plugin that we do not know, the name itself.
    pub fn canonical(&self) -> &str {
        let known = NAMES.iter().find(|(name, _)| *name == self.name);
        known.map_or(&self.name, |(_, long)| long)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_both_ways() {
        for name in known() {
            assert_eq!(short(Provider::built_in(name).canonical()), name);
        }
        assert_eq!(short("AcmeExecutionProvider"), "acme");
        assert_eq!(Provider::built_in("xnnpack").fault(), None);
        assert!(Provider::built_in("xnpack").fault().is_some_and(|f| f.contains("xnnpack")));
        let device = Some(DeviceKind::Npu);
        assert!(Provider { device, ..Provider::built_in("qnn") }.fault().is_some());
        let plugin = Some("libacme.so".into());
        assert_eq!(Provider { plugin, device, ..Provider::built_in("acme") }.fault(), None);
        assert!(Provider::cpu().is_cpu() && !Provider::built_in("cuda").is_cpu());
    }
}

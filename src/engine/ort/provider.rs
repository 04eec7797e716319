//! Execution providers for a session: those inside ONNX Runtime's library, and plugins.

use super::library::Library;
use super::{ffi, plugin};
use crate::core::provider::{Provider, known};
use ort::ep::{self, ArbitrarilyConfigurableExecutionProvider, ExecutionProviderDispatch};
use ort::session::builder::SessionBuilder;

/// Lets `builder` run what it can on `provider`, and the rest on the CPU, or nowhere.
///
/// # Errors
/// The reason, for people. Never a session without what was asked for.
pub fn attach(
    builder: SessionBuilder,
    library: &Library,
    provider: &Provider,
) -> Result<SessionBuilder, String> {
    let mut builder = builder;
    if let Some(path) = &provider.plugin {
        plugin::attach(&mut builder, library, provider, path)?;
    } else if !provider.is_cpu() {
        is_inside(library, provider)?;
        dispatch(provider)?.register(&mut builder).map_err(|e| e.to_string())?;
    }
    match provider.whole {
        true => builder
            .with_config_entry("session.disable_cpu_ep_fallback", "1")
            .map_err(|e| ort::Error::<()>::from(e).to_string()),
        false => Ok(builder),
    }
}

fn is_inside(library: &Library, provider: &Provider) -> Result<(), String> {
    let inside = ffi::built_in()?;
    if inside.contains(&provider.name) {
        return Ok(());
    }
    Err(format!(
        "ONNX Runtime {} at {} was built without {}: it has {}",
        library.version,
        library.path.display(),
        provider.name,
        inside.join(", ")
    ))
}

/// The provider as the `ort` crate knows it, with its options.
fn dispatch(provider: &Provider) -> Result<ExecutionProviderDispatch, String> {
    Ok(match provider.name.as_str() {
        "acl" => ep::ACL::default().with_fast_math(flag(provider, "enable_fast_math")?).into(),
        "cann" => configured(ep::CANN::default(), provider).into(),
        "cuda" => configured(ep::CUDA::default(), provider).into(),
        "dnnl" => configured(ep::OneDNN::default(), provider).into(),
        "openvino" => configured(ep::OpenVINO::default(), provider).into(),
        "qnn" => configured(ep::QNN::default(), provider).into(),
        "tensorrt" => configured(ep::TensorRT::default(), provider).into(),
        "webgpu" => configured(ep::WebGPU::default(), provider).into(),
        "xnnpack" => configured(ep::XNNPACK::default(), provider).into(),
        "migraphx" => without_options(ep::MIGraphX::default(), provider)?,
        "rknpu" => without_options(ep::RKNPU::default(), provider)?,
        "vsinpu" => without_options(ep::VSINPU, provider)?,
        other => {
            let known: Vec<&str> = known().collect();
            return Err(format!("no provider {other:?}: {}", known.join(", ")));
        }
    })
}

fn configured<E: ArbitrarilyConfigurableExecutionProvider>(ep: E, provider: &Provider) -> E {
    provider.options.iter().fold(ep, |ep, (key, value)| ep.with_arbitrary_config(key, value))
}

fn without_options(
    ep: impl Into<ExecutionProviderDispatch>,
    provider: &Provider,
) -> Result<ExecutionProviderDispatch, String> {
    match provider.options.keys().next() {
        None => Ok(ep.into()),
        Some(key) => Err(format!("{} has no option {key:?}", provider.name)),
    }
}

/// The only option that there is, which is on or off.
fn flag(provider: &Provider, only: &str) -> Result<bool, String> {
    match provider.options.iter().find(|(key, _)| *key != only) {
        Some((key, _)) => Err(format!("{} has no option {key:?}, only {only:?}", provider.name)),
        None => match provider.options.get(only).map(String::as_str) {
            None | Some("0" | "false") => Ok(false),
            Some("1" | "true") => Ok(true),
            Some(other) => Err(format!("{only} is {other:?}: 0 or 1")),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: &str, options: &[(&str, &str)]) -> Provider {
        let options = options.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Provider { options, ..Provider::built_in(name) }
    }

    #[test]
    fn options_that_a_provider_does_not_have_are_refused() {
        let problem = |provider: &Provider| dispatch(provider).err().expect("refused");
        assert!(problem(&with("rknpu", &[("a", "1")])).contains("\"a\""));
        assert!(problem(&with("acl", &[("fast", "1")])).contains("enable_fast_math"));
        assert!(problem(&with("acl", &[("enable_fast_math", "yes")])).contains("0 or 1"));
        assert!(problem(&with("acme", &[])).contains("xnnpack"));
        assert!(dispatch(&with("acl", &[("enable_fast_math", "1")])).is_ok());
    }

    #[test]
    fn every_name_but_the_cpu_has_a_provider() {
        for name in known().filter(|name| *name != crate::core::provider::CPU) {
            assert!(dispatch(&Provider::built_in(name)).is_ok(), "{name}");
        }
    }
}

//! A pair of graphs in codes on the simulator of Qualcomm's NPU, with nothing left to the CPU.
//!
//! `onnx/setup-python --qnn` fetches plugin and simulator; without them the test says SKIP. What it
//! shows is that the provider's compiler takes every operator and gives the same answers. It says
//! nothing of speed.
#![cfg(all(feature = "ort", target_arch = "x86_64"))]

mod common;

use common::{feed, largest_difference, top};
use slmd::core::plan::KvType;
use slmd::core::provider::Provider;
use slmd::engine::ort::PairEngine;
use slmd::engine::{EngineOptions, LoadError};
use std::path::PathBuf;

fn plugin() -> Option<PathBuf> {
    let folder = common::cache()?.join("qnn/onnxruntime_qnn");
    let library = folder.join("libonnxruntime_providers_qnn.so");
    if library.exists() {
        return Some(library);
    }
    eprintln!("SKIP: no NPU simulator; get it with onnx/setup-python --qnn");
    None
}

/// The NPU's backend of that plugin; `whole`: an operator that it does not take is an error.
fn npu(library: PathBuf) -> Provider {
    let backend = library.with_file_name("libQnnHtp.so").display().to_string();
    let options = [
        ("backend_path", backend.as_str()),
        // Else the provider leaves the codes' way to and from floats to the CPU.
        ("offload_graph_io_quantization", "0"),
    ];
    let options = options.map(|(key, value)| (key.to_owned(), value.to_owned()));
    Provider {
        options: options.into_iter().collect(),
        plugin: Some(library),
        whole: true,
        ..Provider::built_in("qnn")
    }
}

fn load(name: &str, provider: Option<Provider>) -> Option<Result<PairEngine, LoadError>> {
    let graph = common::graph(name)?;
    let fixed = graph.fixed.clone().expect("a pair");
    let options = EngineOptions {
        slots: 2,
        context_tokens: 128,
        kv: KvType::Auto,
        provider,
        ..EngineOptions::default()
    };
    Some(PairEngine::load(&graph, &fixed, &options))
}

fn prompt(len: u32) -> Vec<u32> {
    (0..len).map(|i| (i * 7919 + 13) % 297 + 3).collect()
}

#[test]
fn the_npu_gives_what_the_cpu_gives() {
    let Some(library) = plugin() else { return };
    let (Some(on_cpu), Some(on_npu)) =
        (load("tiny-static-qdq", None), load("tiny-static-qdq", Some(npu(library))))
    else {
        return;
    };
    let mut on_cpu = on_cpu.expect("it loads");
    let mut on_npu = on_npu.expect("the NPU takes every operator");
    let tokens = prompt(60);
    // A whole chunk, a short one and a single token, then one by one.
    for (pos, count) in [(0, 16), (16, 16), (32, 5), (37, 1)] {
        let part = &tokens[pos..pos + count];
        let want = feed(&mut on_cpu, 0, pos as u32, part);
        let got = feed(&mut on_npu, 0, pos as u32, part);
        let off = largest_difference(&want, &got);
        assert!(off < 0.2, "{count} tokens at {pos} differ by {off}");
    }
    let mut same = 0;
    for (pos, token) in tokens.iter().enumerate().skip(38) {
        let want = feed(&mut on_cpu, 0, pos as u32, &[*token]);
        let got = feed(&mut on_npu, 0, pos as u32, &[*token]);
        let off = largest_difference(&want, &got);
        assert!(off < 0.3, "position {pos} differs by {off}");
        same += usize::from(top(&want) == top(&got));
    }
    assert!(same >= 20, "{same} of 22 top tokens");
    // Another slot, and back to the first.
    let other = feed(&mut on_npu, 1, 0, &tokens[..16]);
    assert_ne!(other, feed(&mut on_npu, 0, 60, &tokens[..1]));
    assert_eq!(other, feed(&mut on_npu, 1, 0, &tokens[..16]), "steps repeat");
}

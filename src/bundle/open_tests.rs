use super::super::onnx::{
    AttributeProto, DimensionProto, NodeProto, OperatorSetIdProto, StringStringEntryProto,
    TensorProto, TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto, data_type,
};
use super::*;
use proptest::prelude::*;

fn value(name: &str, elem_type: i32, axes: &[i64]) -> ValueInfoProto {
    let dim =
        axes.iter().map(|&n| DimensionProto { dim_value: Some(n), dim_param: None }).collect();
    let tensor_type = Some(TensorTypeProto { elem_type, shape: Some(TensorShapeProto { dim }) });
    ValueInfoProto { name: name.into(), r#type: Some(TypeProto { tensor_type }) }
}

/// One layer, one head of two, a vocabulary of five; `weights` as external data.
pub fn onnx(weights: Option<&str>) -> Vec<u8> {
    let cache = |name| value(name, data_type::FLOAT, &[1, 1, 4, 2]);
    let external_data = weights
        .map(|location| {
            [("location", location), ("offset", "4"), ("length", "4")]
                .map(|(k, v)| StringStringEntryProto { key: k.into(), value: v.into() })
                .to_vec()
        })
        .unwrap_or_default();
    let data_location = i32::from(weights.is_some());
    let tensor =
        TensorProto { name: "w".into(), external_data, data_location, ..Default::default() };
    let constant = AttributeProto { t: Some(tensor.clone()), ..Default::default() };
    let graph = GraphProto {
        node: vec![NodeProto {
            op_type: "If".into(),
            attribute: vec![constant],
            ..Default::default()
        }],
        initializer: vec![tensor],
        input: vec![
            value("input_ids", data_type::INT64, &[1, 1]),
            cache("past_key_values.0.key"),
            cache("past_key_values.0.value"),
        ],
        output: vec![
            value("logits", data_type::FLOAT, &[1, 1, 5]),
            cache("present.0.key"),
            cache("present.0.value"),
        ],
    };
    let opset_import = vec![OperatorSetIdProto { domain: String::new(), version: 21 }];
    ModelProto { ir_version: 10, opset_import, graph: Some(graph) }.encode_to_vec()
}

fn write(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    for (name, bytes) in files {
        std::fs::write(dir.path().join(name), bytes).expect("writable");
    }
    dir
}

const CONFIG: &[u8] = br#"{"max_position_embeddings": 16, "vocab_size": 5, "eos_token_id": 4}"#;

fn refusal(dir: &tempfile::TempDir) -> String {
    Bundle::open(dir.path(), None).expect_err("refused").to_string()
}

#[test]
fn a_directory_becomes_a_bundle() {
    let graph = onnx(Some("w.bin"));
    let dir = write(&[
        ("config.json", CONFIG),
        ("model.onnx", &graph),
        ("w.bin", &[0; 8]),
        ("tokenizer.json", b"{}"),
    ]);
    let bundle = Bundle::open(dir.path(), None).expect("opens");
    assert_eq!(bundle.layout, Layout::Transformers);
    assert_eq!((bundle.graph.vocab_size, bundle.graph.context_length), (5, 16));
    assert_eq!(bundle.generation.eos, [4]);
    let names: Vec<&str> = bundle.files.iter().map(|(n, _)| n.as_str()).collect();
    assert_eq!(names, ["config.json", "model.onnx", "tokenizer.json", "w.bin"]);
    assert_eq!(bundle.total_bytes, CONFIG.len() as u64 + graph.len() as u64 + 2 + 8);
    let before = bundle.hash;
    std::fs::write(dir.path().join("w.bin"), [1; 8]).expect("writable");
    let after = Bundle::open(dir.path(), None).expect("opens").hash;
    assert_ne!(before, after, "the identity covers the weights");
}

#[test]
fn what_is_missing_is_named() {
    let graph = onnx(Some("w.bin"));
    let mut files: Vec<(&str, &[u8])> = vec![("config.json", CONFIG)];
    assert!(refusal(&write(&files)).contains("no .onnx file"));
    files.push(("model.onnx", &graph));
    assert!(refusal(&write(&files)).contains("external data \"w.bin\": not found"));
    files.push(("w.bin", &[0; 7]));
    assert!(refusal(&write(&files)).contains("truncated: 7 bytes, the model needs 8"));
    files[2] = ("w.bin", &[0; 8]);
    assert!(refusal(&write(&files)).contains("tokenizer.json: not found"));
    files.push(("tokenizer.json", b"{}"));
    assert!(Bundle::open(write(&files).path(), None).is_ok());
    files.push(("generation_config.json", b"{\n \"top_k\": }"));
    assert!(refusal(&write(&files)).contains("generation_config.json:2:"));
}

#[test]
fn an_embedded_bundle_holds_its_weights_itself() {
    let inline: &'static [u8] = Box::leak(onnx(None).into_boxed_slice());
    let external: &'static [u8] = Box::leak(onnx(Some("w.bin")).into_boxed_slice());
    let open = |graph: &'static [u8]| {
        let files: Vec<EmbeddedFile> =
            vec![("config.json", CONFIG), ("model.onnx", graph), ("tokenizer.json", b"{}")];
        Bundle::embedded(Box::leak(files.into_boxed_slice()))
    };
    let bundle = open(inline).expect("opens");
    assert_eq!(bundle.graph.source, GraphSource::Embedded(inline));
    assert!(open(external).expect_err("refused").to_string().contains("hold its weights"));
}

#[test]
fn a_manifest_must_cover_what_is_used() {
    let graph = onnx(None);
    let genai = br#"{"model": {"context_length": 16, "decoder": {"filename": "model.onnx"}}}"#;
    let base: Vec<(&str, &[u8])> =
        vec![("genai_config.json", genai), ("model.onnx", &graph), ("tokenizer.json", b"{}")];
    let mut manifest = "format = 1\nname = 'n'\nversion = '2'\n[files]\n".to_owned();
    for (name, bytes) in &base[..2] {
        manifest.push_str(&format!("'{name}' = '{}'\n", hex(&Sha256::digest(bytes))));
    }
    let with = |manifest: &str| {
        let mut files = base.clone();
        files.push(("slmd.toml", manifest.as_bytes()));
        write(&files)
    };
    assert!(refusal(&with(&manifest)).contains("files.\"tokenizer.json\""));
    manifest.push_str(&format!("'tokenizer.json' = '{}'\n", hex(&Sha256::digest(b"{}"))));
    let bundle = Bundle::open(with(&manifest).path(), None).expect("opens");
    assert_eq!((bundle.name.as_str(), bundle.version.as_deref()), ("n", Some("2")));
    assert!(bundle.verified);
    let wrong_variant = Bundle::open(with(&manifest).path(), Some("q4")).expect_err("one graph");
    assert_eq!(wrong_variant.code(), "variant");
}

#[test]
fn every_truncation_is_an_error() {
    let whole = onnx(Some("w.bin"));
    for length in 0..whole.len() {
        assert!(decode("m", &whole[..length]).is_err(), "{length} of {} bytes", whole.len());
    }
    assert!(decode("m", &whole).is_ok());
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(graph) = decode("m", &bytes) {
            let _ = external::needed("m", &graph);
        }
    }

    #[test]
    fn no_spoilt_graph_makes_it_panic(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = onnx(Some("w.bin"));
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(graph) = decode("m", &bytes) {
            let _ = external::needed("m", &graph);
            let source = GraphSource::File("m".into());
            let _ = ports::discover(source, "m", &graph, &ports::Expected::default());
        }
    }
}

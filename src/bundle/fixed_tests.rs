use super::super::onnx::{DimensionProto, TensorShapeProto, TensorTypeProto, TypeProto};
use super::super::ports::Fact;
use super::*;

const SPEC: (u32, u32) = (8, 32);

fn value(name: &str, elem_type: i32, axes: &[i64]) -> ValueInfoProto {
    let dim =
        axes.iter().map(|&n| DimensionProto { dim_value: Some(n), dim_param: None }).collect();
    let tensor_type = Some(TensorTypeProto { elem_type, shape: Some(TensorShapeProto { dim }) });
    ValueInfoProto { name: name.into(), r#type: Some(TypeProto { tensor_type }) }
}

/// Two layers, 2 heads of 4, 50 tokens.
fn member(file: &str, tokens: i64, cache: i32, mask: i32) -> Member {
    let context = i64::from(SPEC.1);
    let mut proto = GraphProto {
        input: vec![
            value("attention_mask", mask, &[1, 1, tokens, context + tokens]),
            value("position_ids", data_type::INT32, &[1, tokens]),
            value("input_ids", data_type::INT32, &[1, tokens]),
        ],
        output: vec![value("logits", data_type::FLOAT, &[1, 1, 50])],
        ..Default::default()
    };
    for layer in 0..2 {
        for part in ["key", "value"] {
            let past = format!("past_key_values.{layer}.{part}");
            proto.input.push(value(&past, cache, &[1, 2, context, 4]));
            let present = format!("present.{layer}.{part}");
            proto.output.push(value(&present, cache, &[1, 2, tokens, 4]));
        }
    }
    Member { source: GraphSource::File(file.into()), file: file.into(), proto }
}

fn pair() -> [Member; 2] {
    [("p.onnx", 8), ("d.onnx", 1)]
        .map(|(file, tokens)| member(file, tokens, data_type::UINT8, data_type::UINT16))
}

fn read(pair: [Member; 2]) -> Result<ModelGraph, String> {
    let fact = Fact { value: 64, file: "config.json".into(), field: "max_position_embeddings" };
    let expected = Expected { context_length: Some(fact), ..Default::default() };
    let (chunk, context) = SPEC;
    let spec = FixedSpec { prefill: "p.onnx".into(), decode: "d.onnx".into(), chunk, context };
    discover(pair, &spec, &expected, "slmd.toml").map_err(|e| e.to_string())
}

#[test]
fn a_pair_is_one_model() {
    let graph = read(pair()).expect("sound");
    let fixed = graph.fixed.expect("there");
    assert_eq!((fixed.chunk, graph.context_length), (8, 32));
    assert_eq!(fixed.prefill, GraphSource::File("p.onnx".into()));
    assert_eq!(graph.source, GraphSource::File("d.onnx".into()));
    assert_eq!((graph.layers.len(), graph.kv_heads, graph.head_dim), (2, 2, 4));
    assert_eq!((graph.kv_type, graph.kv_update), (PortType::U8, KvUpdate::Host));
    assert_eq!(graph.attention_mask.map(|p| p.dtype), Some(PortType::U16));
    let floats = [("p.onnx", 8), ("d.onnx", 1)]
        .map(|(file, tokens)| member(file, tokens, data_type::FLOAT, data_type::FLOAT));
    assert_eq!(read(floats).expect("sound").kv_type, PortType::F32);
}

#[test]
fn every_shape_is_held_against_the_manifest() {
    for at in 0..7 {
        let mut spoilt = pair();
        let port = &mut spoilt[0].proto.input[at];
        *port = value(&port.name, port.elem_type(), &[1, 2, 9, 4]);
        let error = read(spoilt).expect_err("refused");
        assert!(error.contains("p.onnx: input "), "{error}");
        assert!(error.contains("[1, 2, 9, 4]"), "{error}");
    }
    for at in 1..5 {
        let mut spoilt = pair();
        let port = &mut spoilt[1].proto.output[at];
        *port = value(&port.name, port.elem_type(), &[1, 2, 2, 4]);
        let error = read(spoilt).expect_err("refused");
        assert!(error.contains("expected the shape [1, 2, 1, 4], found [1, 2, 2, 4]"), "{error}");
    }
}

#[test]
fn graphs_that_do_not_belong_together_are_refused() {
    let [prefill, _] = pair();
    let other = member("d.onnx", 1, data_type::UINT8, data_type::FLOAT);
    assert!(read([prefill, other]).expect_err("masks").contains("differ from those of d.onnx"));
    let [mut prefill, decode] = pair();
    prefill.proto.output[0] = value("logits", data_type::FLOAT, &[1, 1, 51]);
    assert!(read([prefill, decode]).expect_err("logits").contains("differ"));
    let halves = [("p.onnx", 8), ("d.onnx", 1)]
        .map(|(file, tokens)| member(file, tokens, data_type::FLOAT16, data_type::FLOAT));
    assert!(read(halves).expect_err("halves").contains("float32 or uint8"));
    let [mut prefill, decode] = pair();
    prefill.proto.input.remove(1);
    assert!(read([prefill, decode]).expect_err("no positions").contains("none of that name"));
}

#[test]
fn no_longer_than_the_model_was_made_for() {
    let fact = Fact { value: 31, file: "config.json".into(), field: "max_position_embeddings" };
    let expected = Expected { context_length: Some(fact), ..Default::default() };
    let spec = FixedSpec { prefill: "p".into(), decode: "d".into(), chunk: 8, context: 32 };
    let error = discover(pair(), &spec, &expected, "slmd.toml").expect_err("refused").to_string();
    assert_eq!(
        error,
        "slmd.toml: static.context: expected at most 31, what the model was made for, found 32"
    );
}

use super::super::graph::KvUpdate;
use super::super::onnx::{
    DimensionProto, NodeProto, TensorProto, TensorShapeProto, TensorTypeProto, TypeProto,
};
use super::*;
use crate::core::plan::KvType;

fn value(name: &str, elem_type: i32, axes: &[i64]) -> ValueInfoProto {
    let dim = axes
        .iter()
        .map(|&n| match n {
            0 => DimensionProto { dim_value: None, dim_param: Some("n".into()) },
            n => DimensionProto { dim_value: Some(n), dim_param: None },
        })
        .collect();
    let tensor_type = Some(TensorTypeProto { elem_type, shape: Some(TensorShapeProto { dim }) });
    ValueInfoProto { name: name.into(), r#type: Some(TypeProto { tensor_type }) }
}

/// A decoder of two layers, 4 heads of 8, 100 tokens; nodes as fused attention.
fn decoder() -> GraphProto {
    let mut graph = GraphProto::default();
    graph.output.push(value("logits", data_type::FLOAT, &[0, 0, 100]));
    for n in 0..2 {
        let (pk, pv) = (at("past_key_values.%d.key", n), at("past_key_values.%d.value", n));
        let (k, v) = (at("present.%d.key", n), at("present.%d.value", n));
        graph.node.push(NodeProto {
            op_type: "GroupQueryAttention".into(),
            domain: "com.microsoft".into(),
            input: vec!["qkv".into(), String::new(), String::new(), pk.clone(), pv.clone()],
            output: vec!["attention".into(), k.clone(), v.clone()],
            ..Default::default()
        });
        for name in [pk, pv] {
            graph.input.push(value(&name, data_type::FLOAT, &[0, 4, 0, 8]));
        }
        for name in [k, v] {
            graph.output.push(value(&name, data_type::FLOAT, &[0, 4, 0, 8]));
        }
    }
    // Last, so that nothing can be found by position.
    graph.input.push(value("attention_mask", data_type::INT64, &[0, 0]));
    graph.input.push(value("input_ids", data_type::INT64, &[0, 0]));
    graph
}

fn fact(value: u64, field: &'static str) -> Option<Fact> {
    Some(Fact { value, file: "config.json".into(), field })
}

fn expected() -> Expected {
    Expected { context_length: fact(512, "max_position_embeddings"), ..Default::default() }
}

fn read(graph: &GraphProto, expected: &Expected) -> Result<ModelGraph, BundleError> {
    discover(GraphSource::File("m.onnx".into()), "m.onnx", graph, expected)
}

fn refusal(graph: &GraphProto, expected: &Expected) -> String {
    read(graph, expected).expect_err("refused").to_string()
}

#[test]
fn ports_are_found_by_name() {
    let model = read(&decoder(), &expected()).expect("sound");
    assert_eq!(model.input_ids, Port { name: "input_ids".into(), dtype: PortType::I64 });
    assert_eq!(model.position_ids, None);
    assert!(model.attention_mask.is_some());
    assert_eq!(model.layers.len(), 2);
    assert_eq!(model.layers[1].present_value, "present.1.value");
    assert_eq!((model.kv_heads, model.head_dim, model.kv_type), (4, 8, PortType::F32));
    assert_eq!(model.kv_update, KvUpdate::InPlace);
    assert_eq!((model.vocab_size, model.context_length), (100, 512));
    assert!(!model.last_logits_only);
}

#[test]
fn weights_listed_as_inputs_are_no_ports() {
    let mut graph = decoder();
    graph.input.push(value("weight", data_type::FLOAT, &[3, 3]));
    assert!(refusal(&graph, &expected()).contains("the input \"weight\" [3, 3]"));
    graph.initializer.push(TensorProto { name: "weight".into(), ..Default::default() });
    assert!(read(&graph, &expected()).is_ok());
}

#[test]
fn a_pruned_head_is_seen_in_the_shape_of_the_logits() {
    let mut graph = decoder();
    graph.output[0] = value("logits", data_type::FLOAT16, &[0, 1, 100]);
    let model = read(&graph, &expected()).expect("sound");
    assert!(model.last_logits_only);
    assert_eq!(model.logits.dtype, PortType::F16);
}

#[test]
fn a_cache_that_is_not_fused_in_every_layer_is_appended() {
    let mut graph = decoder();
    graph.node[1].op_type = "MultiHeadAttention".into();
    assert_eq!(read(&graph, &expected()).expect("sound").kv_update, KvUpdate::Append);
    let mut graph = decoder();
    graph.node[1].input[3] = "cast".into();
    assert_eq!(read(&graph, &expected()).expect("sound").kv_update, KvUpdate::Append);
}

#[test]
fn contradictions_name_file_field_and_both_figures() {
    let mut other = expected();
    other.kv_heads = fact(2, "num_key_value_heads");
    assert_eq!(
        refusal(&decoder(), &other),
        "config.json: num_key_value_heads: expected 4, found 2 (m.onnx has 4 in \"past_key_values.0.key\")"
    );
    let mut other = expected();
    other.layers = fact(3, "num_hidden_layers");
    assert!(refusal(&decoder(), &other).starts_with("config.json: num_hidden_layers: expected 2"));
    let mut other = expected();
    other.vocab_size = fact(99, "vocab_size");
    assert!(refusal(&decoder(), &other).starts_with("config.json: vocab_size: expected 100"));
    other.vocab_size = None;
    other.context_length = None;
    assert!(refusal(&decoder(), &other).contains("context length"));
}

#[test]
fn open_extents_come_from_the_configuration() {
    let mut graph = decoder();
    for input in graph.input.iter_mut().filter(|v| v.name.starts_with("past")) {
        *input = value(&input.name.clone(), data_type::FLOAT16, &[0, 0, 0, 0]);
    }
    assert!(refusal(&graph, &expected()).contains("the number of heads"));
    let mut known = expected();
    known.kv_heads = fact(4, "num_key_value_heads");
    known.head_dim = fact(8, "head_dim");
    let model = read(&graph, &known).expect("sound");
    assert_eq!((model.kv_heads, model.head_dim, model.kv_type), (4, 8, PortType::F16));
}

/// [`decoder`] with codes in its cache, and scales for them.
fn int8_decoder() -> GraphProto {
    let mut graph = decoder();
    for port in graph.input.iter_mut().filter(|v| v.name.starts_with("past")) {
        *port = value(&port.name.clone(), data_type::INT8, &[0, 4, 0, 8]);
    }
    for (n, node) in graph.node.iter_mut().enumerate() {
        let scales = ["k", "v"].map(|side| format!("{side}_scale.{n}"));
        node.input.resize(12, String::new());
        node.input.extend(scales.clone());
        let weights = scales.map(|name| TensorProto { name, ..Default::default() });
        graph.initializer.extend(weights);
    }
    graph
}

#[test]
fn codes_are_taken_with_scales_among_the_weights() {
    let model = read(&int8_decoder(), &expected()).expect("sound");
    assert_eq!((model.kv_type, model.kv()), (PortType::I8, KvType::Int8));
    assert_eq!(model.kv_bytes_per_token(), 2 * 2 * 4 * 8);

    let mut graph = int8_decoder();
    graph.initializer.pop();
    let text = refusal(&graph, &expected());
    assert!(text.contains("\"past_key_values.1.key\" without scales among the weights"), "{text}");
    assert!(text.contains("slmd-model export --kv int8"), "{text}");

    let mut graph = int8_decoder();
    graph.node[0].input.truncate(5);
    assert!(refusal(&graph, &expected()).contains("\"past_key_values.0.key\" without scales"));

    let mut graph = int8_decoder();
    graph.input.push(value("past_key_values.0.key_scale", data_type::FLOAT16, &[0, 0, 4]));
    assert!(refusal(&graph, &expected()).contains("scales of each token"));
}

#[test]
fn what_is_not_supported_is_named() {
    let mut graph = decoder();
    graph.input.retain(|v| !v.name.starts_with("past"));
    graph.input.push(value("past_0", data_type::FLOAT, &[2, 0, 4, 0, 8]));
    let text = refusal(&graph, &expected());
    assert!(
        text.contains("past_0")
            && text.contains("stacked")
            && text.contains("past_key_values.N.key")
    );

    let mut graph = decoder();
    graph.input.retain(|v| !v.name.starts_with("past"));
    assert!(refusal(&graph, &expected()).contains("without a KV cache"));

    let mut graph = decoder();
    graph.input[0] = value("past_key_values.0.key", data_type::UINT16, &[0, 4, 0, 4]);
    assert!(refusal(&graph, &expected()).contains("of type uint16"));

    let mut graph = decoder();
    for port in graph.input.iter_mut().filter(|port| port.name.starts_with("past")) {
        *port = value(&port.name, data_type::UINT8, &[0, 4, 0, 8]);
    }
    assert!(refusal(&graph, &expected()).contains("a cache of uint8 codes"));

    let mut graph = decoder();
    graph.input[2] = value("past_key_values.1.key", data_type::FLOAT, &[0, 4, 0, 16]);
    assert!(refusal(&graph, &expected()).contains("unlike those before"));

    let mut graph = decoder();
    graph.output.remove(0);
    assert!(refusal(&graph, &expected()).contains("no output \"logits\""));

    assert!(refusal(&GraphProto::default(), &expected()).contains("no input \"input_ids\""));
}

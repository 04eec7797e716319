//! What the attention nodes say of the cache: how it is written, and the scales of an int8 one.

use super::graph::{KvPorts, KvUpdate};
use super::onnx::{GraphProto, NodeProto};
use std::collections::HashSet;
use std::ops::Range;

/// Where `GroupQueryAttention` reads the scales of keys and of values.
const SCALES: Range<usize> = 12..14;

/// In place, if in every layer fused attention reads the past and writes the present by itself.
pub fn update(nodes: &[NodeProto], layers: &[KvPorts]) -> KvUpdate {
    let fused: HashSet<[&str; 4]> = fused(nodes).map(|(ports, _)| ports).collect();
    let in_place = layers.iter().all(|l| fused.contains(&names(l)));
    if in_place { KvUpdate::InPlace } else { KvUpdate::Append }
}

/// The first keys whose scales are not among the weights.
pub fn without_scales<'a>(graph: &GraphProto, layers: &'a [KvPorts]) -> Option<&'a str> {
    let weights: HashSet<&str> = graph.initializer.iter().map(|t| t.name.as_str()).collect();
    let scaled: HashSet<[&str; 4]> = fused(&graph.node)
        .filter(|(_, node)| {
            let scales = node.input.get(SCALES).unwrap_or_default();
            !scales.is_empty() && scales.iter().all(|name| weights.contains(name.as_str()))
        })
        .map(|(ports, _)| ports)
        .collect();
    layers.iter().find(|l| !scaled.contains(&names(l))).map(|l| l.past_key.as_str())
}

/// The fused attention nodes, with the past and the present that they have.
fn fused(nodes: &[NodeProto]) -> impl Iterator<Item = ([&str; 4], &NodeProto)> {
    nodes
        .iter()
        .filter(|n| n.op_type == "GroupQueryAttention" && n.domain == "com.microsoft")
        .filter_map(|n| match (n.input.get(3..5), n.output.get(1..3)) {
            (Some([pk, pv]), Some([k, v])) => Some(([pk.as_str(), pv, k, v], n)),
            _ => None,
        })
}

fn names(layer: &KvPorts) -> [&str; 4] {
    [&layer.past_key, &layer.past_value, &layer.present_key, &layer.present_value]
        .map(String::as_str)
}

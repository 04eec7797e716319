//! From the file's graph to one that tract can run: our operators in, KV ports and weights out.

mod attention;
mod fuse;
mod graph;
mod head;
mod nodes;
mod weights;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use tract_onnx::pb::{ModelProto, NodeProto, tensor_proto::DataType};

use super::inputs::{InputKind, POSITIONS, ROWS, SLOTS};
use super::ops::{OwnOp, RotaryTables, Runtime};
use super::proto::{MICROSOFT, elem_type, input, port};
use super::tensors::TensorReader;
use crate::bundle::{KvUpdate, ModelGraph};
use crate::engine::EngineOptions;
use graph::{Graph, is_short_float};
use weights::WeightStore;

/// A graph that is ready for tract.
pub(super) struct Lowered {
    /// The edited model, without external data.
    pub model: ModelProto,
    /// Our operators, by node name.
    pub ops: HashMap<String, OwnOp>,
    /// What each input of the graph wants, in order.
    pub inputs: Vec<InputKind>,
    /// Whether the rows of logits are chosen by an input.
    pub selects_rows: bool,
    /// Bytes of the packed weights.
    pub weights_bytes: usize,
    /// Heads, positions and so on of the KV arenas; bytes of all.
    pub kv_bytes: usize,
}

/// What is carried through the lowering of one graph.
struct Lowering<'a> {
    graph: Graph,
    reader: TensorReader,
    weights: WeightStore,
    runtime: Arc<Runtime>,
    options: &'a EngineOptions,
    model: &'a ModelGraph,
    ops: HashMap<String, OwnOp>,
    tables: HashMap<(String, String), Arc<RotaryTables>>,
    /// Everything that cannot be run, in one list.
    problems: BTreeSet<String>,
    /// Name of the input of positions.
    positions: String,
    kv_bytes: usize,
}

/// Edits `model` for tract.
///
/// # Errors
/// Every problem of the graph at once, as one sentence.
pub(super) fn lower(
    mut proto: ModelProto,
    model: &ModelGraph,
    options: &EngineOptions,
    runtime: &Arc<Runtime>,
    known: &dyn Fn(&str) -> bool,
) -> Result<Lowered, String> {
    let mut file = proto.graph.take().ok_or("the file holds no graph")?;
    let in_place = model.kv_update == KvUpdate::InPlace;
    let mut lowering = Lowering {
        graph: Graph::take(&mut file),
        reader: TensorReader::new(model),
        weights: WeightStore::default(),
        runtime: Arc::clone(runtime),
        options,
        model,
        ops: HashMap::new(),
        tables: HashMap::new(),
        problems: BTreeSet::new(),
        positions: model.position_ids.as_ref().map_or(POSITIONS, |port| &port.name).to_owned(),
        kv_bytes: 0,
    };
    let mut outputs = vec![model.logits.name.clone()];
    if in_place {
        lowering.lower_attention();
    } else {
        for layer in &model.layers {
            outputs.extend([layer.present_key.clone(), layer.present_value.clone()]);
        }
    }
    lowering.graph.make_ranges_scalar();
    lowering.graph.prune(&outputs);
    let selects_rows = lowering.select_rows();
    lowering.graph.prune(&outputs);
    lowering.fuse_gates();
    lowering.graph.prune(&outputs);
    lowering.lower_nodes(known);
    lowering.graph.prune(&outputs);
    lowering.set_ports(&mut file, &outputs, selects_rows);
    let Lowering { graph, mut reader, weights, ops, problems, kv_bytes, .. } = lowering;
    if !problems.is_empty() {
        let problems: Vec<_> = problems.into_iter().collect();
        return Err(problems.join("; "));
    }
    graph.put_back(&mut file, &mut reader)?;
    file.value_info.clear();
    let inputs =
        file.input.iter().filter_map(|port| InputKind::of(&port.name, model)).collect::<Vec<_>>();
    proto.graph = Some(file);
    let weights_bytes = weights.bytes();
    Ok(Lowered { model: proto, ops, inputs, selects_rows, weights_bytes, kv_bytes })
}

impl Lowering<'_> {
    /// Notes what cannot be run.
    fn problem(&mut self, what: impl Into<String>) {
        self.problems.insert(what.into());
    }

    /// Makes node `index` one of ours, with these inputs and outputs.
    fn replace(&mut self, index: usize, op: OwnOp, inputs: Vec<String>, outputs: Vec<String>) {
        let node = &mut self.graph.nodes[index];
        "slmd".clone_into(&mut node.domain);
        "SlmdOperator".clone_into(&mut node.op_type);
        node.attribute.clear();
        node.input = inputs;
        node.output = outputs;
        self.ops.insert(node.name.clone(), op);
    }

    /// The floats of a constant input; a problem if it is none.
    fn floats(&mut self, node: &NodeProto, index: usize) -> Option<Vec<f32>> {
        let name = input(node, index)?;
        let Some(tensor) = self.graph.constant(name) else {
            let what = format!("{} with input {index} that is not constant", node.op_type);
            self.problem(what);
            return None;
        };
        match self.reader.floats(tensor) {
            Ok(floats) => Some(floats),
            Err(why) => {
                self.problem(why);
                None
            }
        }
    }

    /// Declares the graph's ports as our session feeds them.
    fn set_ports(
        &mut self,
        file: &mut tract_onnx::pb::GraphProto,
        outputs: &[String],
        selects_rows: bool,
    ) {
        let read = self.graph.values_read(outputs);
        let int64 = DataType::Int64 as i32;
        let in_place = self.model.kv_update == KvUpdate::InPlace;
        let old = std::mem::take(&mut file.input);
        for old in old.iter().filter(|old| read.contains(&old.name)) {
            if self.graph.constant(&old.name).is_some() {
                continue;
            }
            let float = elem_type(old).filter(|elem| !is_short_float(*elem));
            let float = float.unwrap_or(DataType::Float as i32);
            let heads = [self.model.kv_heads, self.model.head_dim].map(|dim| dim.to_string());
            let dims: &[&str] = match InputKind::of(&old.name, self.model) {
                Some(InputKind::Ids | InputKind::Positions) => &["1", "S"],
                Some(InputKind::Mask) if !in_place => &["1", "T"],
                Some(InputKind::Past(_)) if !in_place => &["1", &heads[0], "P", &heads[1]],
                _ => {
                    self.problem(format!("graph input {}", old.name));
                    continue;
                }
            };
            file.input.push(port(&old.name, float, dims));
        }
        let has = |file: &tract_onnx::pb::GraphProto, name: &str| {
            file.input.iter().any(|port| port.name == name)
        };
        if in_place {
            file.input.push(port(SLOTS, int64, &["1", "S"]));
            if !has(file, &self.positions) {
                file.input.push(port(&self.positions.clone(), int64, &["1", "S"]));
            }
        }
        if selects_rows {
            file.input.push(port(ROWS, int64, &["R"]));
        }
        let old = std::mem::take(&mut file.output);
        for name in outputs {
            if let Some(output) = old.iter().find(|output| output.name == *name) {
                file.output.push(output.clone());
            } else {
                self.problem(format!("no graph output {name}"));
            }
        }
    }
}

/// Whether a node is this operator of ONNX Runtime's own domain.
fn is_microsoft(node: &NodeProto, op_type: &str) -> bool {
    node.op_type == op_type && node.domain == MICROSOFT
}

//! An ONNX graph while it is being edited.

use std::collections::{HashMap, HashSet};

use tract_onnx::pb::{GraphProto, NodeProto, TensorProto, tensor_proto::DataType};

use crate::engine::tract::proto::{Attributes, input, is_standard};
use crate::engine::tract::tensors::TensorReader;

/// Nodes, constants, and who makes what.
pub(super) struct Graph {
    pub nodes: Vec<NodeProto>,
    constants: HashMap<String, TensorProto>,
    makers: HashMap<String, usize>,
}

impl Graph {
    /// Takes the nodes and initialisers out of `proto`; `Constant` nodes of tensors count as
    /// initialisers.
    pub fn take(proto: &mut GraphProto) -> Self {
        let mut constants: HashMap<_, _> =
            proto.initializer.drain(..).map(|tensor| (tensor.name.clone(), tensor)).collect();
        let mut nodes = Vec::new();
        for mut node in proto.node.drain(..) {
            let is_constant = is_standard(&node, "Constant");
            let value = node.attribute.iter_mut().find(|attribute| attribute.name == "value");
            match (value.filter(|_| is_constant), node.output.first()) {
                (Some(attribute), Some(name)) if attribute.t.is_some() => {
                    if let Some(mut tensor) = attribute.t.take() {
                        tensor.name.clone_from(name);
                        constants.insert(name.clone(), tensor);
                    }
                }
                _ => nodes.push(node),
            }
        }
        for node in &mut nodes {
            // Everything is computed in 32 bits, whatever the file stores.
            for attribute in &mut node.attribute {
                if attribute.name == "to" && is_short_float(attribute.i as i32) {
                    attribute.i = i64::from(DataType::Float as i32);
                }
            }
        }
        let mut graph = Self { nodes, constants, makers: HashMap::new() };
        for (index, node) in graph.nodes.iter_mut().enumerate() {
            // tract finds our operators by the node's name, so it has to be there and unique.
            node.name = format!("{index}:{}", node.name);
        }
        graph.index();
        graph
    }

    fn index(&mut self) {
        self.makers = self
            .nodes
            .iter()
            .enumerate()
            .flat_map(|(index, node)| node.output.iter().map(move |name| (name.clone(), index)))
            .filter(|(name, _)| !name.is_empty())
            .collect();
    }

    /// The node that makes `value`.
    pub fn maker(&self, value: &str) -> Option<&NodeProto> {
        self.makers.get(value).map(|index| &self.nodes[*index])
    }

    /// The place of the node that makes `value`.
    pub fn maker_index(&self, value: &str) -> Option<usize> {
        self.makers.get(value).copied()
    }

    /// The constant of that name.
    pub fn constant(&self, name: &str) -> Option<&TensorProto> {
        self.constants.get(name)
    }

    /// The tensor behind a value that is a constant, possibly reshaped.
    pub fn constant_through_reshape(&self, name: &str) -> Option<&TensorProto> {
        match self.maker(name) {
            Some(node) if is_standard(node, "Reshape") || is_standard(node, "Identity") => {
                self.constant_through_reshape(input(node, 0)?)
            }
            Some(_) => None,
            None => self.constant(name),
        }
    }

    /// The constant matrix behind a value, and whether it was transposed on the way.
    pub fn matrix(&self, name: &str) -> Option<(&TensorProto, bool)> {
        match self.maker(name) {
            Some(node) if is_standard(node, "Transpose") => {
                let swap = node.ints("perm").is_none_or(|perm| perm == [1, 0]);
                let (tensor, transposed) = self.matrix(input(node, 0)?)?;
                swap.then_some((tensor, !transposed))
            }
            Some(node) if is_standard(node, "Identity") => self.matrix(input(node, 0)?),
            Some(_) => None,
            None => self.constant(name).filter(|t| t.dims.len() == 2).map(|t| (t, false)),
        }
    }

    /// Adds a node at a place.
    pub fn insert(&mut self, index: usize, node: NodeProto) {
        self.nodes.insert(index, node);
        self.index();
    }

    /// Makes scalars of the one-element vectors that some exporters give to `Range`, and ONNX
    /// Runtime takes; tract holds them to the operator's definition.
    pub fn make_ranges_scalar(&mut self) {
        for node in self.nodes.iter_mut().filter(|node| is_standard(node, "Range")) {
            for name in &mut node.input {
                let Some(tensor) = self.constants.get(name.as_str()) else { continue };
                if tensor.dims == [1] {
                    let scalar = format!("{name}.scalar");
                    let tensor = TensorProto { dims: Vec::new(), ..tensor.clone() };
                    self.constants.insert(scalar.clone(), TensorProto { name: scalar.clone(), ..tensor });
                    *name = scalar;
                }
            }
        }
    }

    /// Drops every node that no output needs.
    pub fn prune(&mut self, outputs: &[String]) {
        let mut needed = HashSet::new();
        let mut todo: Vec<String> = outputs.to_vec();
        while let Some(value) = todo.pop() {
            let Some(&index) = self.makers.get(&value) else { continue };
            if needed.insert(index) {
                let node = &self.nodes[index];
                todo.extend(node.input.iter().filter(|name| !name.is_empty()).cloned());
                todo.extend(subgraph_inputs(node));
            }
        }
        let mut index = 0;
        self.nodes.retain(|_| {
            index += 1;
            needed.contains(&(index - 1))
        });
        self.index();
    }

    /// Every value that some node or output reads.
    pub fn values_read(&self, outputs: &[String]) -> HashSet<String> {
        let inputs = self.nodes.iter().flat_map(|node| {
            node.input.iter().cloned().chain(subgraph_inputs(node)).collect::<Vec<_>>()
        });
        inputs.chain(outputs.iter().cloned()).collect()
    }

    /// Puts nodes and the constants that they still read back into `proto`.
    ///
    /// # Errors
    /// A sentence that names a tensor whose data cannot be read.
    pub fn put_back(
        mut self,
        proto: &mut GraphProto,
        reader: &mut TensorReader,
    ) -> Result<(), String> {
        let outputs: Vec<_> = proto.output.iter().map(|output| output.name.clone()).collect();
        let read = self.values_read(&outputs);
        let mut names: Vec<_> = self.constants.keys().filter(|name| read.contains(*name)).collect();
        names.sort();
        let names: Vec<_> = names.into_iter().cloned().collect();
        for name in names {
            if let Some(mut tensor) = self.constants.remove(&name) {
                reader.make_inline(&mut tensor)?;
                if is_short_float(tensor.data_type) {
                    let floats = reader.floats(&tensor)?;
                    tensor.raw_data = floats.iter().flat_map(|float| float.to_le_bytes()).collect();
                    tensor.int32_data.clear();
                    tensor.data_type = DataType::Float as i32;
                }
                proto.initializer.push(tensor);
            }
        }
        proto.node = self.nodes;
        Ok(())
    }
}

/// Whether an element type is a float of 16 bits.
pub(super) fn is_short_float(data_type: i32) -> bool {
    data_type == DataType::Float16 as i32 || data_type == DataType::Bfloat16 as i32
}

/// What the subgraphs of `If` and `Loop` may read from outside.
fn subgraph_inputs(node: &NodeProto) -> Vec<String> {
    let graphs = node.attribute.iter().filter_map(|attribute| attribute.g.as_ref());
    let nodes = graphs.flat_map(|graph| &graph.node);
    nodes
        .flat_map(|node| node.input.iter().cloned().chain(subgraph_inputs(node)))
        .filter(|name| !name.is_empty())
        .collect()
}

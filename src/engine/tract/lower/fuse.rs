//! `gate * sigmoid(gate) * up` in one pass over memory instead of three.

use std::sync::Arc;

use super::Lowering;
use crate::engine::tract::ops::{GatedSilu, OwnOp};
use crate::engine::tract::proto::{Attributes, input, is_standard};

impl Lowering<'_> {
    /// Replaces the last node of each such pattern; the others then have no reader.
    pub(super) fn fuse_gates(&mut self) {
        for index in 0..self.graph.nodes.len() {
            let Some((gate, up)) = self.gate_and_up(index) else { continue };
            let packed = self.halves_of(&gate, &up);
            let runtime = Arc::clone(&self.runtime);
            let op = OwnOp::new(GatedSilu { runtime, packed: packed.is_some() });
            let inputs = packed.map_or_else(|| vec![gate, up], |both| vec![both]);
            let output = self.graph.nodes[index].output[0].clone();
            self.replace(index, op, inputs, vec![output]);
        }
    }

    /// The operands of `Mul(Mul(gate, Sigmoid(gate)), up)`, in any order.
    fn gate_and_up(&self, index: usize) -> Option<(String, String)> {
        let node = &self.graph.nodes[index];
        if !is_standard(node, "Mul") {
            return None;
        }
        let (a, b) = (input(node, 0)?, input(node, 1)?);
        let (gate, up) = match (self.silu(a), self.silu(b)) {
            (Some(gate), _) => (gate, b),
            (None, Some(gate)) => (gate, a),
            (None, None) => return None,
        };
        // A constant factor would broadcast.
        let varies = |value: &str| self.graph.constant(value).is_none();
        (varies(&gate) && varies(up)).then(|| (gate, up.to_owned()))
    }

    /// The `x` of a value `x * sigmoid(x)`.
    fn silu(&self, value: &str) -> Option<String> {
        let node = self.graph.maker(value).filter(|node| is_standard(node, "Mul"))?;
        let (a, b) = (input(node, 0)?, input(node, 1)?);
        let is_sigmoid_of = |value: &str, of: &str| {
            self.graph
                .maker(value)
                .is_some_and(|node| is_standard(node, "Sigmoid") && input(node, 0) == Some(of))
        };
        if is_sigmoid_of(b, a) {
            Some(a.to_owned())
        } else if is_sigmoid_of(a, b) {
            Some(b.to_owned())
        } else {
            None
        }
    }

    /// The value whose two halves `first` and `second` are.
    fn halves_of(&self, first: &str, second: &str) -> Option<String> {
        let node = self.graph.maker(first).filter(|node| is_standard(node, "Split"))?;
        let in_order =
            node.output.len() == 2 && node.output[0] == first && node.output[1] == second;
        let last_axis = matches!(node.int("axis", 0), -1 | 2);
        let equal = input(node, 1).is_none() && node.find("split").is_none();
        (in_order && last_axis && equal).then(|| node.input[0].clone())
    }
}

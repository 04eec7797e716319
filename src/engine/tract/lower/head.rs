//! The head sees only the positions whose logits are asked for.
//!
//! Graphs come with a head over every position, or over the last one ("pruned"). Either way the
//! hidden state is cut down by an index just before the head, so that prefill pays nothing for
//! logits that nobody reads, and any position can be asked for.

use tract_onnx::pb::NodeProto;

use super::{Lowering, is_microsoft};
use crate::engine::tract::inputs::ROWS;
use crate::engine::tract::ops::{OwnOp, SelectRows};
use crate::engine::tract::proto::{input, is_standard};

impl Lowering<'_> {
    /// Inserts the selection; `false` if the head is of no known form.
    pub(super) fn select_rows(&mut self) -> bool {
        let Some(head) = self.find_head() else { return false };
        let Some(hidden) = input(&self.graph.nodes[head], 0).map(str::to_owned) else {
            return false;
        };
        let (hidden, pruned) = match self.before_pruning(&hidden) {
            Some(all) => (all, true),
            None => (hidden, false),
        };
        if self.model.last_logits_only && !pruned {
            return false;
        }
        let selected = "slmd.selected".to_owned();
        let node = NodeProto {
            name: "slmd.select".to_owned(),
            input: vec![hidden, ROWS.to_owned()],
            output: vec![selected.clone()],
            op_type: "SlmdOperator".to_owned(),
            domain: "slmd".to_owned(),
            ..NodeProto::default()
        };
        self.ops.insert(node.name.clone(), OwnOp::new(SelectRows));
        self.graph.nodes[head].input[0] = selected;
        // Before the head, to keep the nodes in the order of their data.
        self.graph.insert(head, node);
        true
    }

    /// The product with the head's weights, behind at most a few elementwise nodes.
    fn find_head(&self) -> Option<usize> {
        let mut value = self.model.logits.name.clone();
        for _ in 0..8 {
            let index = self.graph.maker_index(&value)?;
            let node = &self.graph.nodes[index];
            let weights = input(node, 1);
            let constant = weights.is_some_and(|name| self.graph.matrix(name).is_some());
            if is_microsoft(node, "MatMulNBits") || (is_standard(node, "MatMul") && constant) {
                return Some(index);
            }
            let unary = ["Cast", "Tanh", "Identity"].iter().any(|op| is_standard(node, op));
            let binary = ["Mul", "Div", "Add"].iter().any(|op| is_standard(node, op));
            let varying: Vec<_> =
                node.input.iter().filter(|name| self.graph.constant(name).is_none()).collect();
            value = match varying[..] {
                [only] if unary || binary => only.clone(),
                _ => return None,
            };
        }
        None
    }

    /// The hidden state of all positions, if `hidden` is the last one of it.
    fn before_pruning(&self, hidden: &str) -> Option<String> {
        let mut value = hidden.to_owned();
        for _ in 0..2 {
            let node = self.graph.maker(&value)?;
            let all = input(node, 0)?;
            if is_standard(node, "Unsqueeze") {
                all.clone_into(&mut value);
                continue;
            }
            let gathers = is_standard(node, "Gather") && self.is_last(input(node, 1)?);
            let slices = is_standard(node, "Slice") && self.is_last(input(node, 1)?);
            return (gathers || slices).then(|| all.to_owned());
        }
        None
    }

    /// Whether a constant is -1.
    fn is_last(&self, name: &str) -> bool {
        let Some(tensor) = self.graph.constant(name) else { return false };
        let minus_one = |bytes: &[u8]| !bytes.is_empty() && bytes.iter().all(|&byte| byte == 0xff);
        minus_one(&tensor.raw_data) || tensor.int64_data == [-1] || tensor.int32_data == [-1]
    }
}

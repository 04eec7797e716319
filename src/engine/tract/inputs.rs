//! The inputs of a lowered graph: what each is, found by its name.

use crate::bundle::ModelGraph;

/// The slot of each token, `[1, tokens]`.
pub(super) const SLOTS: &str = "slmd.slots";
/// The position of each token, `[1, tokens]`, where the graph has no such input of its own.
pub(super) const POSITIONS: &str = "slmd.positions";
/// Which tokens' logits are asked for, `[rows]`.
pub(super) const ROWS: &str = "slmd.rows";

/// What an input of the graph is fed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum InputKind {
    /// Token ids, `[1, tokens]`.
    Ids,
    /// Positions of the tokens, `[1, tokens]`.
    Positions,
    /// Slots of the tokens, `[1, tokens]`.
    Slots,
    /// Indices of the rows of logits, `[rows]`.
    Rows,
    /// Ones, `[1, positions]`.
    Mask,
    /// Keys or values so far: `2 * layer`, plus 1 for values.
    Past(usize),
}

impl InputKind {
    /// What the input of that name is.
    pub fn of(name: &str, model: &ModelGraph) -> Option<Self> {
        let is = |port: &Option<crate::bundle::Port>| {
            port.as_ref().is_some_and(|port| port.name == name)
        };
        if name == model.input_ids.name {
            return Some(Self::Ids);
        }
        if name == POSITIONS || is(&model.position_ids) {
            return Some(Self::Positions);
        }
        match name {
            SLOTS => return Some(Self::Slots),
            ROWS => return Some(Self::Rows),
            _ if is(&model.attention_mask) => return Some(Self::Mask),
            _ => {}
        }
        model.layers.iter().enumerate().find_map(|(layer, ports)| match name {
            name if name == ports.past_key => Some(Self::Past(2 * layer)),
            name if name == ports.past_value => Some(Self::Past(2 * layer + 1)),
            _ => None,
        })
    }
}

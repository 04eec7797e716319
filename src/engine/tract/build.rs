//! From a lowered graph to a tract session.

use std::sync::Arc;

use tract_onnx::Onnx;
use tract_onnx::tract_core::ops::array::Gather;
use tract_onnx::tract_core::ops::konst::Const;
use tract_onnx::tract_core::plan::SimpleState;
use tract_onnx::tract_hir::infer::{InferenceModelExt, InferenceOp};
use tract_onnx::tract_hir::internal::*;

use super::lower::Lowered;

/// A session: the plan, and the state of our attention operators.
pub(super) type Session = SimpleState<TypedFact, Box<dyn TypedOp>>;

/// Parses, types and optimises; returns the session.
///
/// # Errors
/// tract's own words.
pub(super) fn build(onnx: &Onnx, lowered: &mut Lowered) -> TractResult<Session> {
    let model = std::mem::take(&mut lowered.model);
    let mut parsed = onnx.parse(&model, None)?;
    drop(model);
    ensure!(
        parsed.unresolved_inputs.is_empty(),
        "values that nothing computes: {:?}",
        parsed.unresolved_inputs
    );
    let mut model = std::mem::take(&mut parsed.model);
    for node in model.nodes_mut() {
        if let Some(op) = lowered.ops.get(&node.name) {
            node.op = expand(op.clone()) as Box<dyn InferenceOp>;
        }
    }
    for outlet in model.outputs.clone() {
        model.set_outlet_fact(outlet, InferenceFact::default())?;
    }
    for assertion in ["S>=1", "P>=0", "R>=0"] {
        model.symbols.add_assertion(assertion)?;
    }
    if lowered.inputs.contains(&super::inputs::InputKind::Mask) {
        tie_mask_length(&mut model, lowered)?;
    }
    let mut typed = model.into_typed()?.into_decluttered()?;
    untie(&mut typed)?;
    let mut optimised = typed.into_optimized()?;
    prepack(&mut optimised)?;
    optimised.into_runnable()?.spawn()
}

/// Says that the mask covers the positions so far and the new ones: `T` is `P + S`.
fn tie_mask_length(model: &mut InferenceModel, lowered: &Lowered) -> TractResult<()> {
    let symbol = |name: &str| model.symbols.sym(name).to_dim();
    let total = symbol("P") + symbol("S");
    let mask = lowered.inputs.iter().position(|kind| *kind == super::inputs::InputKind::Mask);
    if let Some(index) = mask {
        let dt = model.input_fact(index)?.datum_type.concretize().unwrap_or(DatumType::I64);
        model.set_input_fact(index, InferenceFact::dt_shape(dt, tvec!(1.to_dim(), total)))?;
    }
    Ok(())
}

/// Gives every reader of a large shared constant a node of its own (the data stays shared), so
/// that tract may fold its packing at load time; it does not fold shared constants over 4 MiB.
fn untie(model: &mut TypedModel) -> TractResult<()> {
    for id in 0..model.nodes.len() {
        let node = &model.nodes[id];
        if node.outputs.len() != 1 || node.outputs[0].successors.len() < 2 {
            continue;
        }
        let fact = &node.outputs[0].fact;
        let Some(value) = fact.konst.clone().filter(|_| fact.exotic_fact.is_none()) else {
            continue;
        };
        if value.len() * value.datum_type().size_of() < 1 << 20 {
            continue;
        }
        let name = node.name.clone();
        for reader in node.outputs[0].successors.clone().into_iter().skip(1) {
            let copy = model.add_const(format!("{name}.for{}", reader.node), value.clone())?;
            model.add_edge(copy, reader)?;
        }
    }
    model.compact()
}

/// Computes what depends on constants only and was left for run time, packing above all.
fn prepack(model: &mut TypedModel) -> TractResult<()> {
    let mut refused = Vec::new();
    loop {
        let is_constant =
            |outlet: &OutletId| model.outlet_fact(*outlet).is_ok_and(|fact| fact.konst.is_some());
        let found = model.nodes.iter().find(|node| {
            !node.inputs.is_empty()
                && node.outputs.len() == 1
                && !node.op_is::<Gather>()
                && node.inputs.iter().all(is_constant)
                && !refused.contains(&node.name)
        });
        let Some(node) = found else { return Ok(()) };
        let (id, name) = (node.id, node.name.clone());
        let inputs: TVec<TValue> = node
            .inputs
            .iter()
            .filter_map(|outlet| model.outlet_fact(*outlet).ok()?.konst.clone())
            .map(TValue::from_const)
            .collect();
        let Some(result) = node.op.eval_out_of_plan(inputs).ok().flatten() else {
            refused.push(name);
            continue;
        };
        let exotic = model.outlet_fact(id.into())?.exotic_fact.clone();
        let value = result[0].clone().into_arc_tensor();
        let mut patch = TypedModelPatch::default();
        let constant = Const::new_with_opt_exotic_fact(value, exotic)?;
        let folded = patch.wire_node(format!("{name}.folded"), constant, &[])?[0];
        patch.shunt_outside(model, id.into(), folded)?;
        patch.apply(model)?;
        model.compact()?;
    }
}

/// Bytes of the constants that tract holds itself.
pub(super) fn constant_bytes(session: &Session) -> usize {
    let mut seen = std::collections::HashSet::new();
    let nodes = session.model().nodes.iter().filter_map(|node| node.op_as::<Const>());
    nodes
        .filter(|constant| seen.insert(Arc::as_ptr(constant.val())))
        .map(|constant| constant.val().len() * constant.val().datum_type().size_of())
        .sum()
}

/// An upper bound of the memory of one step's values: the three largest at once.
pub(super) fn value_bytes(session: &Session, tokens: usize, positions: usize) -> usize {
    let symbols = &session.model().symbols;
    let known = [("S", tokens), ("P", positions), ("R", 1), ("T", positions + tokens)];
    let values = known.iter().fold(SymbolValues::default(), |values, (name, value)| {
        values.with(&symbols.sym(name), *value as i64)
    });
    let nodes = session.model().nodes.iter().filter(|node| !node.op_is::<Const>());
    let mut sizes: Vec<usize> = nodes
        .flat_map(|node| &node.outputs)
        .filter_map(|output| {
            let elements = output.fact.shape.volume().eval(&values).to_usize().ok()?;
            Some(elements * output.fact.datum_type.size_of())
        })
        .collect();
    sizes.sort_unstable_by(|a, b| b.cmp(a));
    sizes.iter().take(3).sum()
}

//! The sets that a schema speaks of, as nodes: each is looked at once, and only if it is needed.
//!
//! A node is a schema, a constant, or nodes combined. Recursion through members makes cycles of nodes;
//! a cycle without a member in between has no meaning and is refused.

use super::document::{Document, Kind, SchemaId, kind};
use super::text::Patterns;
use super::values::Values;
use super::{Outcome, refused, too_large};
use serde_json::{Map, Value};
use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

/// Different sets of one schema.
const MAX_NODES: usize = 4000;
/// Sets within sets of the same value.
const MAX_NESTING: usize = 100;
/// Steps of work; some hundred milliseconds.
const MAX_WORK: usize = 2_000_000;
/// How deep two alternatives are compared to find that they exclude each other.
const COMPARED_DEPTH: usize = 4;
/// Alternatives of one `anyOf` of which each must be known to hold or not.
const MAX_KNOWN: usize = 6;

/// A set of values, as an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct NodeId(u32);

impl NodeId {
    pub(super) const fn index(self) -> u32 {
        self.0
    }
}

/// Every value.
pub(super) const ANY: NodeId = NodeId(0);
/// No value.
pub(super) const NOTHING: NodeId = NodeId(1);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Node {
    Any,
    Nothing,
    Schema(SchemaId),
    /// An index into the constants.
    Constant(usize),
    All(Vec<NodeId>),
    Either(Vec<NodeId>),
    Not(NodeId),
}

/// The sets of one schema.
pub(super) struct Space<'a> {
    pub(super) document: Document<'a>,
    pub(super) patterns: Patterns,
    nodes: Vec<Node>,
    ids: HashMap<Node, NodeId>,
    constants: Vec<Value>,
    /// Their indices, by JSON text.
    constant_ids: HashMap<String, usize>,
    /// `None` while a node is being looked at.
    known: HashMap<NodeId, Option<Rc<Values>>>,
    /// The schemas being looked at, one within the other.
    places: Vec<SchemaId>,
    /// How many nodes are being looked at.
    open: usize,
    work: usize,
}

impl<'a> Space<'a> {
    pub(super) fn new(document: Document<'a>) -> Self {
        Self {
            document,
            patterns: Patterns::default(),
            nodes: vec![Node::Any, Node::Nothing],
            ids: HashMap::from([(Node::Any, ANY), (Node::Nothing, NOTHING)]),
            constants: Vec::new(),
            constant_ids: HashMap::new(),
            known: HashMap::new(),
            places: Vec::new(),
            open: 0,
            work: 0,
        }
    }

    /// Counts work.
    pub(super) fn pay(&mut self, steps: usize) -> Outcome<()> {
        self.work += steps;
        match self.work > MAX_WORK {
            true => Err(too_large(format!("{MAX_WORK} steps of work"))),
            false => Ok(()),
        }
    }

    /// The error for a keyword whose opposite cannot be said.
    pub(super) fn not_here(&self, keyword: &str) -> super::ConstraintError {
        let pointer = self.places.last().map_or("", |id| self.document.pointer(*id));
        refused(pointer, keyword, " where its opposite counts too (`not`, `oneOf`, `if`)")
    }

    /// The pointer of a schema that a node comes from.
    pub(super) fn place(&self, id: NodeId) -> String {
        let mut open = vec![id];
        while let Some(id) = open.pop() {
            match &self.nodes[id.0 as usize] {
                Node::Schema(schema) => return self.document.pointer(*schema).to_owned(),
                Node::All(ids) | Node::Either(ids) => open.extend(ids.iter().rev()),
                Node::Not(id) => open.push(*id),
                Node::Any | Node::Nothing | Node::Constant(_) => {}
            }
        }
        String::new()
    }

    fn node(&mut self, node: Node) -> Outcome<NodeId> {
        if let Some(id) = self.ids.get(&node) {
            return Ok(*id);
        }
        if self.nodes.len() == MAX_NODES {
            return Err(too_large(format!("{MAX_NODES} combinations of schemas")));
        }
        let id = NodeId(self.nodes.len() as u32);
        self.nodes.push(node.clone());
        self.ids.insert(node, id);
        Ok(id)
    }

    /// The values of a schema of the document.
    pub(super) fn schema(&mut self, id: SchemaId) -> Outcome<NodeId> {
        match self.document.value(id) {
            Value::Bool(false) => Ok(NOTHING),
            Value::Object(map)
                if map.iter().any(|(keyword, value)| says_something(keyword, value)) =>
            {
                self.node(Node::Schema(id))
            }
            _ => Ok(ANY),
        }
    }

    /// One value.
    pub(super) fn constant(&mut self, value: &Value) -> Outcome<NodeId> {
        let next = self.constants.len();
        let id = *self.constant_ids.entry(value.to_string()).or_insert(next);
        if id == next {
            self.constants.push(value.clone());
        }
        self.node(Node::Constant(id))
    }

    /// The values that are in all of the sets.
    pub(super) fn all(&mut self, ids: impl IntoIterator<Item = NodeId>) -> Outcome<NodeId> {
        let mut flat = BTreeSet::new();
        for id in ids {
            match &self.nodes[id.0 as usize] {
                Node::All(inner) => flat.extend(inner.iter().copied()),
                _ => drop(flat.insert(id)),
            }
        }
        flat.remove(&ANY);
        let opposed = flat.iter().any(|id| match self.nodes[id.0 as usize] {
            Node::Not(inner) => flat.contains(&inner),
            _ => false,
        });
        if flat.contains(&NOTHING) || opposed {
            return Ok(NOTHING);
        }
        let mut flat: Vec<NodeId> = flat.into_iter().collect();
        match flat.len() {
            0 => Ok(ANY),
            1 => Ok(flat.remove(0)),
            _ => self.node(Node::All(flat)),
        }
    }

    /// The values that are in one of the sets.
    pub(super) fn either(&mut self, ids: impl IntoIterator<Item = NodeId>) -> Outcome<NodeId> {
        let mut flat: BTreeSet<NodeId> = ids.into_iter().collect();
        flat.remove(&NOTHING);
        if flat.contains(&ANY) {
            return Ok(ANY);
        }
        let mut flat: Vec<NodeId> = flat.into_iter().collect();
        match flat.len() {
            0 => Ok(NOTHING),
            1 => Ok(flat.remove(0)),
            _ => self.node(Node::Either(flat)),
        }
    }

    /// The values that are not in the set.
    pub(super) fn not(&mut self, id: NodeId) -> Outcome<NodeId> {
        match self.nodes[id.0 as usize] {
            Node::Any => Ok(NOTHING),
            Node::Nothing => Ok(ANY),
            Node::Not(inner) => Ok(inner),
            _ => self.node(Node::Not(id)),
        }
    }

    /// Looks at a node.
    pub(super) fn values(&mut self, id: NodeId) -> Outcome<Rc<Values>> {
        match self.known.get(&id) {
            Some(Some(values)) => return Ok(Rc::clone(values)),
            Some(None) => return Err(self.circle()),
            None => {}
        }
        self.pay(10)?;
        if self.open == MAX_NESTING {
            return Err(too_large(format!("{MAX_NESTING} schemas of one value")));
        }
        self.known.insert(id, None);
        self.open += 1;
        let values = self.look_at(id);
        self.open -= 1;
        match values {
            Ok(values) => {
                let values = Rc::new(values);
                self.known.insert(id, Some(Rc::clone(&values)));
                Ok(values)
            }
            Err(problem) => {
                self.known.remove(&id);
                Err(problem)
            }
        }
    }

    fn circle(&self) -> super::ConstraintError {
        let pointer = self.places.last().map_or("", |id| self.document.pointer(*id));
        refused(pointer, "$ref", " in a circle without a member in between")
    }

    fn look_at(&mut self, id: NodeId) -> Outcome<Values> {
        match self.nodes[id.0 as usize].clone() {
            Node::Any => Ok(Values::any()),
            Node::Nothing => Ok(Values::none()),
            Node::Schema(schema) => {
                self.places.push(schema);
                let values = self.schema_values(schema);
                self.places.pop();
                values
            }
            Node::Constant(constant) => {
                let value = self.constants[constant].clone();
                self.constant_values(&value)
            }
            Node::All(ids) => self.meet_nodes(&ids),
            Node::Either(ids) => {
                let mut set = Values::none();
                for id in ids {
                    let values = self.values(id)?;
                    set = self.join(set, (*values).clone())?;
                }
                Ok(set)
            }
            Node::Not(inner) => {
                let values = self.values(inner)?;
                let place = match self.nodes[inner.0 as usize] {
                    Node::Schema(schema) => Some(schema),
                    _ => None,
                };
                self.places.extend(place);
                let others = self.complement(&values);
                self.places.truncate(self.places.len() - usize::from(place.is_some()));
                others
            }
        }
    }

    fn meet_nodes(&mut self, ids: &[NodeId]) -> Outcome<Values> {
        let mut set = Values::any();
        for id in ids {
            let values = self.values(*id)?;
            set = self.meet(&set, &values)?;
        }
        Ok(set)
    }

    /// Whether a node surely holds no value. What cannot be looked at is not void.
    pub(super) fn is_void_node(&mut self, id: NodeId, depth: usize) -> Outcome<bool> {
        if id == ANY || id == NOTHING {
            return Ok(id == NOTHING);
        }
        if matches!(self.known.get(&id), Some(None)) {
            return Ok(false);
        }
        self.pay(1)?;
        match self.values(id) {
            Ok(values) => self.is_void(&values, depth),
            Err(_) => Ok(false),
        }
    }

    /// What a schema says with keywords about its own values as wholes, on top of `set`.
    pub(super) fn in_place(
        &mut self,
        id: SchemaId,
        map: &Map<String, Value>,
        mut set: Values,
    ) -> Outcome<Values> {
        for (keyword, value) in map {
            let values = match keyword.as_str() {
                "$ref" | "$dynamicRef" => {
                    let target = self.document.target(id, value, keyword == "$dynamicRef")?;
                    let node = self.schema(target)?;
                    (*self.values(node)?).clone()
                }
                "allOf" => {
                    let nodes = self.list(id, keyword, value)?;
                    self.meet_nodes(&nodes)?
                }
                "anyOf" => {
                    let nodes = self.list(id, keyword, value)?;
                    self.any_of(&nodes)?
                }
                "oneOf" => {
                    let nodes = self.list(id, keyword, value)?;
                    self.one_of(&nodes)?
                }
                "not" => {
                    let node = self.schema(self.document.child(id, keyword, None))?;
                    let node = self.not(node)?;
                    (*self.values(node)?).clone()
                }
                "if" => self.condition(id, map)?,
                _ => continue,
            };
            set = self.meet(&set, &values)?;
        }
        Ok(set)
    }

    fn list(&mut self, id: SchemaId, keyword: &str, value: &Value) -> Outcome<Vec<NodeId>> {
        let count = value.as_array().map_or(0, Vec::len);
        if count == 0 {
            return Err(super::invalid(self.document.pointer(id), format!("`{keyword}` is empty")));
        }
        (0..count)
            .map(|i| self.schema(self.document.child(id, keyword, Some(&i.to_string()))))
            .collect()
    }

    fn any_of(&mut self, nodes: &[NodeId]) -> Outcome<Values> {
        let mut set = Values::none();
        if !self.document.has_unevaluated {
            for node in nodes {
                let values = self.values(*node)?;
                set = self.join(set, (*values).clone())?;
            }
            return Ok(set);
        }
        // What has been looked at depends on which alternatives hold: each combination apart.
        if nodes.len() > MAX_KNOWN {
            return Err(too_large(format!("{MAX_KNOWN} alternatives beside `unevaluated...`")));
        }
        for chosen in 1..1usize << nodes.len() {
            let mut part = Values::any();
            for (i, node) in nodes.iter().enumerate() {
                let node = if chosen >> i & 1 == 1 { *node } else { self.not(*node)? };
                let values = self.values(node)?;
                part = self.meet(&part, &values)?;
            }
            set = self.join(set, part)?;
        }
        Ok(set)
    }

    /// Each alternative without those others that it does not exclude.
    fn one_of(&mut self, nodes: &[NodeId]) -> Outcome<Values> {
        let sets = nodes.iter().map(|n| self.values(*n)).collect::<Outcome<Vec<_>>>()?;
        let mut either = Values::none();
        for (i, set) in sets.iter().enumerate() {
            let mut alone = (**set).clone();
            for (j, other) in sets.iter().enumerate().filter(|(j, _)| *j != i) {
                let both = self.meet(set, other)?;
                if !self.is_void(&both, COMPARED_DEPTH)? {
                    let rest = self.not(nodes[j])?;
                    let rest = self.values(rest)?;
                    alone = self.meet(&alone, &rest)?;
                }
            }
            either = self.join(either, alone)?;
        }
        Ok(either)
    }

    fn condition(&mut self, id: SchemaId, map: &Map<String, Value>) -> Outcome<Values> {
        if !map.contains_key("then") && !map.contains_key("else") && !self.document.has_unevaluated
        {
            return Ok(Values::any());
        }
        let holds = self.schema(self.document.child(id, "if", None))?;
        let fails = self.not(holds)?;
        let mut set = Values::none();
        for (condition, keyword) in [(holds, "then"), (fails, "else")] {
            let condition = self.values(condition)?;
            let part = match map.contains_key(keyword) {
                true => {
                    let node = self.schema(self.document.child(id, keyword, None))?;
                    let values = self.values(node)?;
                    self.meet(&condition, &values)?
                }
                false => (*condition).clone(),
            };
            set = self.join(set, part)?;
        }
        Ok(set)
    }
}

fn says_something(keyword: &str, value: &Value) -> bool {
    !matches!(keyword, "$defs" | "definitions") && kind(keyword, value) != Some(Kind::Annotation)
}

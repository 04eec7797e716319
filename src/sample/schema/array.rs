//! Sets of arrays of one form: items by place, how many, and what must be among them.

use super::Outcome;
use super::space::{ANY, NOTHING, NodeId, Space};

/// So many items, at least and at most, from a place on are of a set.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Contains {
    pub(super) item: NodeId,
    pub(super) from: usize,
    pub(super) least: usize,
    pub(super) most: Option<usize>,
}

/// Which items the keywords of a schema have looked at, for `unevaluatedItems`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct SeenItems {
    pub(super) all: bool,
    pub(super) prefix: usize,
    /// Items of these sets too, wherever they are.
    pub(super) matching: Vec<NodeId>,
}

/// Arrays whose items are of `prefix` by place and of `rest` beyond it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ArrayForm {
    pub(super) prefix: Vec<NodeId>,
    pub(super) rest: NodeId,
    pub(super) least: usize,
    pub(super) most: Option<usize>,
    pub(super) contains: Vec<Contains>,
    pub(super) unique: bool,
    pub(super) seen: SeenItems,
}

impl ArrayForm {
    pub(super) fn any() -> Self {
        Self {
            prefix: Vec::new(),
            rest: ANY,
            least: 0,
            most: None,
            contains: Vec::new(),
            unique: false,
            seen: SeenItems::default(),
        }
    }

    pub(super) fn item(&self, place: usize) -> NodeId {
        self.prefix.get(place).copied().unwrap_or(self.rest)
    }

    /// In its shortest form; `None` if there is no such array.
    pub(super) fn tidy(mut self) -> Option<Self> {
        let places = self.prefix.len() + 1;
        if let Some(end) = (0..places).find(|i| self.item(*i) == NOTHING) {
            self.most = Some(self.most.map_or(end, |most| most.min(end)));
        }
        for c in std::mem::take(&mut self.contains) {
            if c.item == ANY && c.most.is_none() {
                self.least = self.least.max(if c.least > 0 { c.from + c.least } else { 0 });
            } else if c.least > 0 && c.item == NOTHING {
                return None;
            } else if (c.least > 0 || c.most.is_some()) && !self.contains.contains(&c) {
                self.contains.push(c);
            }
        }
        if let Some(most) = self.most {
            self.prefix.truncate(most);
            self.unique &= most > 1;
            if most < self.least {
                return None;
            }
        }
        while self.prefix.last() == Some(&self.rest) {
            self.prefix.pop();
        }
        Some(self)
    }
}

fn smaller(a: Option<usize>, b: Option<usize>) -> Option<usize> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

impl Space<'_> {
    pub(super) fn meet_arrays(
        &mut self,
        a: &ArrayForm,
        b: &ArrayForm,
    ) -> Outcome<Option<ArrayForm>> {
        let places = a.prefix.len().max(b.prefix.len());
        let prefix =
            (0..places).map(|i| self.all([a.item(i), b.item(i)])).collect::<Outcome<Vec<_>>>()?;
        let joined = |x: &[NodeId], y: &[NodeId]| x.iter().chain(y).copied().collect();
        let form = ArrayForm {
            prefix,
            rest: self.all([a.rest, b.rest])?,
            least: a.least.max(b.least),
            most: smaller(a.most, b.most),
            contains: a.contains.iter().chain(&b.contains).cloned().collect(),
            unique: a.unique || b.unique,
            seen: SeenItems {
                all: a.seen.all || b.seen.all,
                prefix: a.seen.prefix.max(b.seen.prefix),
                matching: joined(&a.seen.matching, &b.seen.matching),
            },
        };
        Ok(form.tidy())
    }

    /// The arrays that are not of this form.
    pub(super) fn other_arrays(&mut self, form: &ArrayForm) -> Outcome<Vec<ArrayForm>> {
        if form.unique {
            return Err(self.not_here("uniqueItems"));
        }
        let mut others = Vec::new();
        if let Some(most) = form.least.checked_sub(1) {
            others.push(ArrayForm { most: Some(most), ..ArrayForm::any() });
        }
        if let Some(most) = form.most {
            others.push(ArrayForm { least: most + 1, ..ArrayForm::any() });
        }
        for (place, item) in form.prefix.iter().enumerate().filter(|(_, item)| **item != ANY) {
            let mut prefix = vec![ANY; place];
            prefix.push(self.not(*item)?);
            others.push(ArrayForm { prefix, least: place + 1, ..ArrayForm::any() });
        }
        if form.rest != ANY && form.most.is_none_or(|most| most > form.prefix.len()) {
            let item = self.not(form.rest)?;
            let some = Contains { item, from: form.prefix.len(), least: 1, most: None };
            others.push(ArrayForm { contains: vec![some], ..ArrayForm::any() });
        }
        for c in &form.contains {
            if let Some(most) = c.least.checked_sub(1) {
                let fewer = Contains { least: 0, most: Some(most), ..c.clone() };
                others.push(ArrayForm { contains: vec![fewer], ..ArrayForm::any() });
            }
            if let Some(most) = c.most {
                let more = Contains { least: most + 1, most: None, ..c.clone() };
                others.push(ArrayForm { contains: vec![more], ..ArrayForm::any() });
            }
        }
        Ok(others.into_iter().filter_map(ArrayForm::tidy).collect())
    }

    /// Whether there surely is no such array.
    pub(super) fn is_void_array(&mut self, form: &ArrayForm, depth: usize) -> Outcome<bool> {
        if depth == 0 {
            return Ok(false);
        }
        for place in 0..form.least.min(form.prefix.len() + 1) {
            if self.is_void_node(form.item(place), depth - 1)? {
                return Ok(true);
            }
        }
        for c in form.contains.iter().filter(|c| c.least > 0) {
            if self.is_void_node(c.item, depth - 1)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

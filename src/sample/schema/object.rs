//! Sets of objects of one form: members by name, other members by kind of name, and how many.

use super::Outcome;
use super::space::{ANY, NOTHING, NodeId, Space};
use super::text::Text;
use std::collections::BTreeSet;

/// What is said of one name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) value: NodeId,
    pub(super) needed: bool,
}

/// Which members the keywords of a schema have looked at, for `unevaluatedProperties`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct SeenNames {
    pub(super) all: bool,
    pub(super) names: BTreeSet<String>,
    pub(super) kinds: Vec<Text>,
}

/// Objects of named members, in this order, and others after them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ObjectForm {
    pub(super) named: Vec<(String, Member)>,
    /// Kinds of names besides, which do not overlap; there is no member of another name.
    pub(super) others: Vec<(Text, NodeId)>,
    /// Of each of these kinds there is a name.
    pub(super) some: Vec<Text>,
    pub(super) least: usize,
    pub(super) most: Option<usize>,
    pub(super) seen: SeenNames,
}

impl ObjectForm {
    pub(super) fn any() -> Self {
        Self {
            named: Vec::new(),
            others: vec![(Text::All, ANY)],
            some: Vec::new(),
            least: 0,
            most: None,
            seen: SeenNames::default(),
        }
    }

    /// Objects of which nothing but this name is known.
    pub(super) fn with(name: &str, value: NodeId, needed: bool) -> Self {
        Self { named: vec![(name.to_owned(), Member { value, needed })], ..Self::any() }
    }

    pub(super) fn member(&self, name: &str) -> Option<&Member> {
        self.named.iter().find(|(known, _)| known == name).map(|(_, member)| member)
    }

    pub(super) fn needed(&self) -> usize {
        self.named.iter().filter(|(_, m)| m.needed).count()
    }

    /// In its shortest form; `None` if there is no such object.
    pub(super) fn tidy(mut self) -> Option<Self> {
        self.others.retain(|(_, value)| *value != NOTHING);
        let impossible = self.named.iter().any(|(_, m)| m.needed && m.value == NOTHING);
        let possible = self.named.iter().filter(|(_, m)| m.value != NOTHING).count();
        if impossible
            || self.most.is_some_and(|most| most < self.least.max(self.needed()))
            || (self.others.is_empty() && self.least > possible)
        {
            return None;
        }
        if self.least <= self.needed() {
            self.least = 0;
        }
        if self.others.is_empty() && self.most.is_some_and(|most| most >= possible) {
            self.most = None;
        }
        Some(self)
    }
}

impl Space<'_> {
    /// What a member of this name must be.
    pub(super) fn member_value(&mut self, form: &ObjectForm, name: &str) -> Outcome<NodeId> {
        if let Some(member) = form.member(name) {
            return Ok(member.value);
        }
        for (kind, value) in &form.others {
            if self.patterns.matches(kind, name)? {
                return Ok(*value);
            }
        }
        Ok(NOTHING)
    }

    pub(super) fn meet_objects(
        &mut self,
        a: &ObjectForm,
        b: &ObjectForm,
    ) -> Outcome<Option<ObjectForm>> {
        self.pay(1 + a.named.len() * b.named.len() / 8)?;
        let mut named = Vec::with_capacity(a.named.len() + b.named.len());
        for (name, member) in &a.named {
            let value = self.member_value(b, name)?;
            let needed = member.needed || b.member(name).is_some_and(|m| m.needed);
            named.push((name.clone(), Member { value: self.all([member.value, value])?, needed }));
        }
        for (name, member) in b.named.iter().filter(|(name, _)| a.member(name).is_none()) {
            let value = self.member_value(a, name)?;
            named.push((
                name.clone(),
                Member { value: self.all([value, member.value])?, ..*member },
            ));
        }
        let mut some = a.some.clone();
        some.extend(b.some.iter().filter(|kind| !a.some.contains(kind)).cloned());
        let form = ObjectForm {
            named,
            others: self.meet_kinds(&a.others, &b.others)?,
            some,
            least: a.least.max(b.least),
            most: match (a.most, b.most) {
                (Some(x), Some(y)) => Some(x.min(y)),
                (x, y) => x.or(y),
            },
            seen: SeenNames {
                all: a.seen.all || b.seen.all,
                names: a.seen.names.union(&b.seen.names).cloned().collect(),
                kinds: a.seen.kinds.iter().chain(&b.seen.kinds).cloned().collect(),
            },
        };
        Ok(form.tidy())
    }

    fn meet_kinds(
        &mut self,
        a: &[(Text, NodeId)],
        b: &[(Text, NodeId)],
    ) -> Outcome<Vec<(Text, NodeId)>> {
        let mut both = Vec::new();
        for (x, value) in a {
            for (y, other) in b {
                let kind = self.patterns.and(x.clone(), y.clone())?;
                let value = self.all([*value, *other])?;
                if value != NOTHING && !self.patterns.is_void(&kind)? {
                    both.push((kind, value));
                }
            }
        }
        Ok(both)
    }

    /// The objects that are not of this form.
    pub(super) fn other_objects(&mut self, form: &ObjectForm) -> Outcome<Vec<ObjectForm>> {
        let mut others = Vec::new();
        for (name, member) in &form.named {
            if member.needed {
                others.push(ObjectForm::with(name, NOTHING, false));
            }
            if member.value != ANY {
                others.push(ObjectForm::with(name, self.not(member.value)?, true));
            }
        }
        if let Some(most) = form.least.checked_sub(1) {
            others.push(ObjectForm { most: Some(most), ..ObjectForm::any() });
        }
        if let Some(most) = form.most {
            others.push(ObjectForm { least: most + 1, ..ObjectForm::any() });
        }
        for kind in &form.some {
            let kind = self.patterns.not(kind).expect("names are exact");
            others.push(ObjectForm { others: vec![(kind, ANY)], ..ObjectForm::any() });
        }
        others.extend(self.strangers(form)?);
        Ok(others.into_iter().filter_map(ObjectForm::tidy).collect())
    }

    /// Objects with a member that the form does not allow by name.
    fn strangers(&mut self, form: &ObjectForm) -> Outcome<Option<ObjectForm>> {
        let mut allowed = Text::NONE;
        for (kind, value) in &form.others {
            // That one of the members is of a kind and not of a set: a second member of its name
            // could come after it in the text and take its place.
            if *value != ANY {
                let open = matches!(kind, Text::All | Text::Not(_));
                let keyword = if open { "additionalProperties" } else { "patternProperties" };
                return Err(self.not_here(keyword));
            }
            allowed = allowed.or(kind.clone());
        }
        let unknown = self.patterns.not(&allowed).expect("names are exact");
        let names = Text::Words(form.named.iter().map(|(name, _)| name.clone()).collect());
        let unnamed = self.patterns.not(&names).expect("names are exact");
        let unknown = self.patterns.and(unknown, unnamed)?;
        if self.patterns.is_void(&unknown)? {
            return Ok(None);
        }
        Ok(Some(ObjectForm { some: vec![unknown], ..ObjectForm::any() }))
    }

    /// Whether there surely is no such object.
    pub(super) fn is_void_object(&mut self, form: &ObjectForm, depth: usize) -> Outcome<bool> {
        if depth == 0 {
            return Ok(false);
        }
        for (_, member) in form.named.iter().filter(|(_, m)| m.needed) {
            if self.is_void_node(member.value, depth - 1)? {
                return Ok(true);
            }
        }
        for kind in &form.some {
            let mut possible = false;
            for (name, member) in &form.named {
                possible |= member.value != NOTHING && self.patterns.matches(kind, name)?;
            }
            for (other, _) in &form.others {
                let both = self.patterns.and(kind.clone(), other.clone())?;
                possible |= !self.patterns.is_void(&both)?;
            }
            if !possible {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

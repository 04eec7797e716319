//! Forms of arrays and objects as machines: from state to state by one member each.
//!
//! Says which texts there are in which order; how they are spelled is the business of `grammar`.

use super::array::{ArrayForm, Contains};
use super::decimal::Decimal;
use super::lex::Lex;
use super::object::ObjectForm;
use super::space::{ANY, NOTHING, NodeId, Space};
use super::text::Text;
use super::{Outcome, refused, too_large};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};

/// States of one form.
const MAX_STATES: usize = 4096;
/// Items that are told apart by place beside `contains` and `uniqueItems`.
const MAX_PLACES: usize = 64;
/// Values of which each may stand in an array once.
const MAX_VALUES: usize = 8;
/// How deep items are looked at to leave out what cannot be.
const DEPTH: usize = 3;

/// A member: its key, with the colon, if it has one; and its value.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) key: Option<Lex>,
    pub(super) value: NodeId,
}

/// So many members, each one of these; then the end.
#[derive(Debug, Clone)]
pub(super) struct Run {
    pub(super) entries: Vec<Entry>,
    /// One at least.
    pub(super) least: usize,
    pub(super) most: Option<usize>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct State {
    /// Whether no member stands before it.
    pub(super) first: bool,
    /// Whether it may end here.
    pub(super) end: bool,
    /// To another state without a member.
    pub(super) skip: Option<usize>,
    pub(super) steps: Vec<(Entry, usize)>,
    pub(super) run: Option<Run>,
}

/// Begins at state 0.
#[derive(Debug, Clone)]
pub(super) struct Machine {
    pub(super) brackets: [&'static str; 2],
    pub(super) states: Vec<State>,
}

impl Machine {
    /// Values of members.
    pub(super) fn nodes(&self) -> impl Iterator<Item = NodeId> + '_ {
        let entries = |s: &'_ State| -> Vec<NodeId> {
            let run = s.run.iter().flat_map(|run| &run.entries);
            s.steps.iter().map(|(entry, _)| entry).chain(run).map(|entry| entry.value).collect()
        };
        self.states.iter().flat_map(entries)
    }

    /// Which states lead to an end if these nodes have values.
    pub(super) fn live(&self, has_value: impl Fn(NodeId) -> bool) -> Vec<bool> {
        let mut live = vec![false; self.states.len()];
        loop {
            let mut changed = false;
            // Most edges lead onward: backwards, one round is nearly always enough.
            for (i, state) in self.states.iter().enumerate().rev() {
                if live[i] {
                    continue;
                }
                let now = state.end
                    || state.skip.is_some_and(|to| live[to])
                    || state.steps.iter().any(|(entry, to)| live[*to] && has_value(entry.value))
                    || state
                        .run
                        .as_ref()
                        .is_some_and(|r| r.entries.iter().any(|e| has_value(e.value)));
                live[i] = now;
                changed |= now;
            }
            if !changed {
                return live;
            }
        }
    }
}

/// States by what is known in them, made as they are reached.
struct Builder<K> {
    ids: HashMap<K, usize>,
    open: Vec<(K, usize)>,
    states: Vec<State>,
}

impl<K: Clone + Eq + std::hash::Hash> Builder<K> {
    fn from(start: K) -> Self {
        let mut builder = Self { ids: HashMap::new(), open: Vec::new(), states: Vec::new() };
        builder.state(start);
        builder
    }

    fn state(&mut self, known: K) -> usize {
        if let Some(id) = self.ids.get(&known) {
            return *id;
        }
        let id = self.states.len();
        self.states.push(State::default());
        self.ids.insert(known.clone(), id);
        self.open.push((known, id));
        id
    }

    /// The next state to describe.
    fn next(&mut self) -> Outcome<Option<(K, usize)>> {
        match self.states.len() > MAX_STATES {
            true => Err(too_large(format!("{MAX_STATES} states of one array or object"))),
            false => Ok(self.open.pop()),
        }
    }
}

/// What is known between two members of an object.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum ObjectState {
    /// Named members up to `next` are done, `count` are there (1 for more, if it does not matter), and
    /// these kinds of names have been seen.
    Named { next: usize, count: usize, seen: u8 },
    /// A member of the kind is still to come, after others.
    Wanted(usize),
    /// Nothing is still to come.
    Done,
}

/// What is known between two items of an array.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct ArrayState {
    place: usize,
    counts: Vec<usize>,
    used: u16,
}

impl Space<'_> {
    /// The objects of a form. `place` is the pointer for errors.
    pub(super) fn object_machine(&mut self, form: &ObjectForm, place: &str) -> Outcome<Machine> {
        if form.some.len() > 3 {
            return Err(too_large("3 kinds of names that must be there"));
        }
        let entries = self.other_entries(form, None)?;
        let mut builder = Builder::from(ObjectState::Named { next: 0, count: 0, seen: 0 });
        while let Some((known, id)) = builder.next()? {
            self.pay(1)?;
            let state = match known {
                ObjectState::Named { next, count, seen } => match form.named.len() > next {
                    true => self.named_member(form, (next, count, seen), &mut builder)?,
                    false => self.object_end(form, place, &entries, (count, seen), &mut builder)?,
                },
                ObjectState::Wanted(kind) => {
                    self.wanted(form, kind, &entries, &mut builder, false)?
                }
                ObjectState::Done => {
                    State { end: true, run: run(&entries, 1, None), ..State::default() }
                }
            };
            builder.states[id] = state;
        }
        Ok(Machine { brackets: ["{", "}"], states: builder.states })
    }

    /// Before the named member `next`: it follows, or it is left out.
    fn named_member(
        &mut self,
        form: &ObjectForm,
        (next, count, seen): (usize, usize, u8),
        builder: &mut Builder<ObjectState>,
    ) -> Outcome<State> {
        let (name, member) = &form.named[next];
        let next = next + 1;
        let mut state = State { first: count == 0, ..State::default() };
        if member.value != NOTHING && form.most.is_none_or(|most| count < most) {
            let mut seen = seen;
            for (i, kind) in form.some.iter().enumerate() {
                seen |= u8::from(self.patterns.matches(kind, name)?) << i;
            }
            let counts = form.least > 0 || form.most.is_some();
            let count = if counts { count + 1 } else { 1 };
            let to = builder.state(ObjectState::Named { next, count, seen });
            let key = self.patterns.quoted(&Text::word(name), ":");
            state.steps.push((Entry { key: Some(key), value: member.value }, to));
        }
        if !member.needed {
            state.skip = Some(builder.state(ObjectState::Named { next, count, seen }));
        }
        Ok(state)
    }

    /// Where only members without a name of their own can follow.
    fn object_end(
        &mut self,
        form: &ObjectForm,
        place: &str,
        entries: &[Entry],
        (count, seen): (usize, u8),
        builder: &mut Builder<ObjectState>,
    ) -> Outcome<State> {
        let missing: Vec<usize> = (0..form.some.len()).filter(|i| seen >> i & 1 == 0).collect();
        let least = form.least.saturating_sub(count);
        // A name may come twice, and then counts once.
        if least > 1 && !entries.is_empty() {
            return Err(refused(place, "minProperties", " over what is listed in `properties`"));
        }
        match missing[..] {
            [] => {
                let most = form.most.map(|most| most - count);
                let run = run(entries, least.max(1), most);
                Ok(State { first: count == 0, end: least == 0, run, ..State::default() })
            }
            [kind] if form.most.is_none() => self.wanted(form, kind, entries, builder, count == 0),
            [_] => Err(refused(
                place,
                "maxProperties",
                " beside a name that must be there but is not listed",
            )),
            _ => Err(too_large("one unlisted name that must be there")),
        }
    }

    fn wanted(
        &mut self,
        form: &ObjectForm,
        kind: usize,
        entries: &[Entry],
        builder: &mut Builder<ObjectState>,
        first: bool,
    ) -> Outcome<State> {
        let wanted = self.other_entries(form, Some(&form.some[kind]))?;
        let (again, done) =
            (builder.state(ObjectState::Wanted(kind)), builder.state(ObjectState::Done));
        let others = entries.iter().map(|entry| (entry.clone(), again));
        let steps = others.chain(wanted.into_iter().map(|entry| (entry, done))).collect();
        Ok(State { first, steps, ..State::default() })
    }

    /// Members without a name of their own, of a kind if one is given.
    fn other_entries(&mut self, form: &ObjectForm, kind: Option<&Text>) -> Outcome<Vec<Entry>> {
        let names = Text::Words(form.named.iter().map(|(name, _)| name.clone()).collect());
        let free = self.patterns.not(&names).expect("words are exact");
        let free = match kind {
            Some(kind) => self.patterns.and(free, kind.clone())?,
            None => free,
        };
        let mut entries = Vec::new();
        for (kind, value) in &form.others {
            let kind = self.patterns.and(kind.clone(), free.clone())?;
            if *value != NOTHING && !self.patterns.is_void(&kind)? {
                entries.push(Entry { key: Some(self.patterns.quoted(&kind, ":")), value: *value });
            }
        }
        Ok(entries)
    }

    /// The arrays of a form. `place` is the pointer for errors.
    pub(super) fn array_machine(&mut self, form: &ArrayForm, place: &str) -> Outcome<Machine> {
        let states = match form.unique || !form.contains.is_empty() {
            true => self.counted_items(form, place)?,
            false => plain_items(form),
        };
        Ok(Machine { brackets: ["[", "]"], states })
    }

    fn counted_items(&mut self, form: &ArrayForm, place: &str) -> Outcome<Vec<State>> {
        let from = form.contains.iter().map(|c| c.from).max().unwrap_or(0);
        let mut places = form.prefix.len().max(from).max(form.least).max(form.most.unwrap_or(0));
        let values = match form.unique {
            true => Some(self.unique_values(form, place)?),
            false => None,
        };
        if let Some(values) = &values {
            // More items than values there cannot be.
            places = places.min(values.len() + 1);
        }
        if places > MAX_PLACES {
            return Err(too_large(format!(
                "{MAX_PLACES} items beside `contains` or `uniqueItems`"
            )));
        }
        let counts = vec![0; form.contains.len()];
        let mut builder = Builder::from(ArrayState { place: 0, counts, used: 0 });
        while let Some((known, id)) = builder.next()? {
            self.pay(10)?;
            let enough = form.contains.iter().zip(&known.counts).all(|(c, n)| *n >= c.least);
            let mut state = State {
                first: known.place == 0,
                end: known.place >= form.least && enough,
                ..State::default()
            };
            if form.most.is_none_or(|most| known.place < most) {
                // Beyond the places that are told apart it is all one.
                let last = if form.most.is_some() { usize::MAX } else { places.max(1) };
                let next = last.min(known.place + 1);
                for (item, used) in self.candidates(form, &known, values.as_deref())? {
                    for (item, counts) in self.counted(form, &known, item)? {
                        if item != NOTHING && !self.is_void_node(item, DEPTH)? {
                            let to = builder.state(ArrayState { place: next, counts, used });
                            state.steps.push((Entry { key: None, value: item }, to));
                        }
                    }
                }
            }
            builder.states[id] = state;
        }
        Ok(builder.states)
    }

    /// What may come next, before it is counted.
    fn candidates(
        &mut self,
        form: &ArrayForm,
        known: &ArrayState,
        values: Option<&[NodeId]>,
    ) -> Outcome<Vec<(NodeId, u16)>> {
        let item = form.item(known.place);
        let Some(values) = values else { return Ok(vec![(item, 0)]) };
        let free = values.iter().enumerate().filter(|(i, _)| known.used >> i & 1 == 0);
        free.map(|(i, value)| Ok((self.all([item, *value])?, known.used | 1 << i))).collect()
    }

    /// The item as one that counts or one that does not, for each `contains`.
    fn counted(
        &mut self,
        form: &ArrayForm,
        known: &ArrayState,
        item: NodeId,
    ) -> Outcome<Vec<(NodeId, Vec<usize>)>> {
        let mut options = vec![(item, known.counts.clone())];
        for (i, Contains { item, from, least, most }) in form.contains.iter().enumerate() {
            if known.place < *from {
                continue;
            }
            let mut finer = Vec::new();
            for (value, counts) in options {
                let count = counts[i];
                let mut more = counts.clone();
                more[i] = if most.is_some() { count + 1 } else { (count + 1).min(*least) };
                let wanted = match most {
                    Some(most) => count < *most,
                    None => count < *least,
                };
                if wanted {
                    finer.push((self.all([value, *item])?, more));
                }
                // Without an upper bound it does not matter whether one more is among the rest.
                let rest = if most.is_some() { self.not(*item)? } else { ANY };
                finer.push((self.all([value, rest])?, counts));
            }
            options = finer;
        }
        Ok(options)
    }

    /// All values that an item may have, each of which may be there once.
    fn unique_values(&mut self, form: &ArrayForm, place: &str) -> Outcome<Vec<NodeId>> {
        let mut all = BTreeMap::new();
        let items = form.most.unwrap_or(usize::MAX).min(form.prefix.len().saturating_add(1));
        for i in 0..items {
            let Some(values) = self.few_values(form.item(i))? else {
                let hint = " but over an `enum` of at most 8 plain values";
                return Err(refused(place, "uniqueItems", hint));
            };
            all.extend(values.into_iter().map(|value| (value.to_string(), value)));
        }
        if all.len() > MAX_VALUES {
            return Err(refused(place, "uniqueItems", " over more than 8 values"));
        }
        all.values().map(|value| self.constant(value)).collect()
    }

    /// The values of a set without arrays and objects, if they are few.
    fn few_values(&mut self, id: NodeId) -> Outcome<Option<Vec<Value>>> {
        if id == NOTHING {
            return Ok(Some(Vec::new()));
        }
        let set = self.values(id)?;
        let Text::Words(words) = &set.strings else { return Ok(None) };
        if !set.arrays.is_empty() || !set.objects.is_empty() {
            return Ok(None);
        }
        let mut all: Vec<Value> = Vec::new();
        all.extend(set.null.then_some(Value::Null));
        all.extend(
            [false, true].into_iter().filter(|b| set.truth[usize::from(*b)]).map(Value::from),
        );
        for span in &set.numbers {
            let Some(values) = span.values() else { return Ok(None) };
            all.extend(values.into_iter().map(Decimal::value));
        }
        all.extend(words.iter().map(|word| Value::from(word.as_str())));
        Ok((all.len() <= MAX_VALUES).then_some(all))
    }
}

fn run(entries: &[Entry], least: usize, most: Option<usize>) -> Option<Run> {
    let none = entries.is_empty() || most.is_some_and(|most| most < least);
    (!none).then(|| Run { entries: entries.to_vec(), least, most })
}

/// Items by place, then any number of one kind.
fn plain_items(form: &ArrayForm) -> Vec<State> {
    let places = form.prefix.len();
    let item = |value| Entry { key: None, value };
    let mut states: Vec<State> = (form.prefix.iter().enumerate())
        .map(|(i, value)| State {
            first: i == 0,
            end: i >= form.least,
            steps: vec![(item(*value), i + 1)],
            ..State::default()
        })
        .collect();
    let entries = if form.rest == NOTHING { Vec::new() } else { vec![item(form.rest)] };
    let most = form.most.map(|most| most - places);
    states.push(State {
        first: places == 0,
        end: places >= form.least,
        run: run(&entries, form.least.saturating_sub(places).max(1), most),
        ..State::default()
    });
    states
}

//! Sets of values as a Lark grammar: what an answer of compact JSON looks like.
//!
//! Only what leads to an end is written: a constraint never runs into a dead end. Knows nodes and
//! machines; nothing of keywords.

use super::lex::Lex;
use super::machine::{Entry, Machine, Run, State};
use super::space::{NodeId, Space};
use super::{ConstraintError, Outcome, numeral, refused, too_large};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write;

/// Bytes of a grammar.
const MAX_GRAMMAR_BYTES: usize = 512 << 10;
/// States of all arrays and objects.
const MAX_STATES: usize = 20_000;

/// What stands for a node.
struct Plan {
    /// Values without members.
    plain: Vec<Lex>,
    machines: Vec<Machine>,
    has_value: bool,
}

/// The grammar of the root schema: a rule called `root`, and others whose names begin with `prefix`, in
/// lower case.
///
/// # Errors
/// Whatever is wrong with the schema, as it is looked at only now.
pub(super) fn write(mut space: Space<'_>, root_rule: &str, prefix: &str) -> Outcome<String> {
    let root = space.schema(0)?;
    let mut plans = plan(&mut space, root)?;
    find_values(&mut plans);
    if !plans[&root].has_value {
        let problem = "no value is valid".to_owned();
        return Err(ConstraintError::Invalid { what: "json_schema", problem });
    }
    let (text, terminals) = (String::new(), HashMap::new());
    let mut writer = Writer { plans: &plans, prefix, text, terminals };
    let start = writer.value(root);
    writer.line(root_rule, &start);
    for id in plans.keys().filter(|id| plans[*id].has_value) {
        writer.node(*id)?;
    }
    Ok(writer.text)
}

/// All nodes that can be reached.
fn plan(space: &mut Space<'_>, root: NodeId) -> Outcome<BTreeMap<NodeId, Plan>> {
    let mut plans = BTreeMap::new();
    let mut open = vec![root];
    let mut states = 0;
    while let Some(id) = open.pop() {
        if plans.contains_key(&id) {
            continue;
        }
        let plan = plan_node(space, id)?;
        states += plan.machines.iter().map(|m| m.states.len()).sum::<usize>();
        if states > MAX_STATES {
            return Err(too_large(format!("{MAX_STATES} states")));
        }
        open.extend(plan.machines.iter().flat_map(Machine::nodes));
        plans.insert(id, plan);
    }
    Ok(plans)
}

fn plan_node(space: &mut Space<'_>, id: NodeId) -> Outcome<Plan> {
    let set = space.values(id)?;
    let place = space.place(id);
    let word = |held: bool, word: &str| held.then(|| Lex::Literal(word.into()));
    let words = [word(set.null, "null"), word(set.truth[1], "true"), word(set.truth[0], "false")];
    let mut plain: Vec<Lex> = words.into_iter().flatten().collect();
    let hint = "; bound it, or take a step of twos, fives and threes";
    let numbers = numeral::lexes(&set.numbers).map_err(|_| refused(&place, "multipleOf", hint))?;
    for lex in numbers {
        space.pay(10)?;
        if !lex.is_void().ok_or_else(|| too_large("the work on one set of numbers"))? {
            plain.push(lex);
        }
    }
    if !space.patterns.is_void(&set.strings)? {
        plain.push(space.patterns.quoted(&set.strings, ""));
    }
    let mut machines = Vec::new();
    for form in &set.arrays {
        machines.push(space.array_machine(form, &place)?);
    }
    for form in &set.objects {
        machines.push(space.object_machine(form, &place)?);
    }
    Ok(Plan { has_value: !plain.is_empty(), plain, machines })
}

/// Nodes have values if their machines end, given the nodes that have values.
fn find_values(plans: &mut BTreeMap<NodeId, Plan>) {
    loop {
        let found: Vec<NodeId> = plans
            .iter()
            .filter(|(_, plan)| !plan.has_value)
            .filter(|(_, plan)| plan.machines.iter().any(|m| m.live(|id| plans[&id].has_value)[0]))
            .map(|(id, _)| *id)
            .collect();
        if found.is_empty() {
            return;
        }
        for id in found {
            if let Some(plan) = plans.get_mut(&id) {
                plan.has_value = true;
            }
        }
    }
}

struct Writer<'p> {
    plans: &'p BTreeMap<NodeId, Plan>,
    /// Of the names of rules, and in upper case of terminals.
    prefix: &'p str,
    text: String,
    terminals: HashMap<Lex, String>,
}

impl Writer<'_> {
    fn line(&mut self, name: &str, body: &str) {
        let _ = writeln!(self.text, "{name}: {body}");
    }

    /// A part of an expression: a literal, an expression, or the name of a terminal.
    fn atom(&mut self, lex: &Lex) -> String {
        match lex {
            Lex::Literal(text) => literal(text),
            Lex::Regex(text) => regex(text),
            lex => {
                if let Some(name) = self.terminals.get(lex) {
                    return name.clone();
                }
                let mut all = |parts: &[Lex], by: &str| {
                    parts.iter().map(|part| self.atom(part)).collect::<Vec<_>>().join(by)
                };
                let body = match lex {
                    Lex::Then(parts) => all(parts, " "),
                    Lex::And(parts) => all(parts, " & "),
                    Lex::Or(parts) => all(parts, " | "),
                    Lex::Not(inner) => format!("~{}", self.atom(inner)),
                    Lex::Literal(_) | Lex::Regex(_) => String::new(),
                };
                let name = format!("{}T{}", self.prefix.to_uppercase(), self.terminals.len());
                self.terminals.insert(lex.clone(), name.clone());
                self.line(&name, &body);
                name
            }
        }
    }

    /// What stands where a value of the node is.
    fn value(&mut self, id: NodeId) -> String {
        let plans = self.plans;
        let plan = &plans[&id];
        match plan.machines.is_empty() {
            true => self.atom(&Lex::either(plan.plain.clone())),
            false => self.rule(id),
        }
    }

    fn rule(&self, id: NodeId) -> String {
        format!("{}n{}", self.prefix, id.index())
    }

    fn node(&mut self, id: NodeId) -> Outcome<()> {
        let plans = self.plans;
        let plan = &plans[&id];
        let mut options = Vec::new();
        if plan.machines.is_empty() {
            return Ok(());
        }
        if !plan.plain.is_empty() {
            options.push(self.atom(&Lex::either(plan.plain.clone())));
        }
        for (i, machine) in plan.machines.iter().enumerate() {
            let live = machine.live(|id| plans[&id].has_value);
            if live[0] {
                let name = format!("{}m{}-{i}", self.prefix, id.index());
                let mut states = States::new(machine, live, name);
                let inner = states.from(0, self);
                let [open, close] = machine.brackets.map(literal);
                options.push(format!("{open} {inner} {close}"));
                states.write(self)?;
            }
        }
        self.line(&self.rule(id), &options.join(" | "));
        self.check()
    }

    fn check(&self) -> Outcome<()> {
        match self.text.len() > MAX_GRAMMAR_BYTES {
            true => Err(too_large(format!("{MAX_GRAMMAR_BYTES} bytes of grammar"))),
            false => Ok(()),
        }
    }

    fn entry(&mut self, entry: &Entry) -> String {
        let value = self.value(entry.value);
        match &entry.key {
            Some(key) => format!("{} {value}", self.atom(key)),
            None => value,
        }
    }
}

/// Writes the states of one machine: in a row as long as there is one way, else as rules.
struct States<'m> {
    machine: &'m Machine,
    live: Vec<bool>,
    /// From how many states it goes on at each.
    entrances: Vec<usize>,
    name: String,
    /// States that have a rule still to be written.
    open: Vec<usize>,
    named: HashSet<usize>,
}

impl<'m> States<'m> {
    fn new(machine: &'m Machine, live: Vec<bool>, name: String) -> Self {
        // Where it begins counts too.
        let mut entrances = vec![0; machine.states.len()];
        entrances[0] = 2;
        for state in &machine.states {
            let ends: HashSet<usize> =
                state.steps.iter().map(|(_, to)| *to).chain(state.skip).collect();
            ends.into_iter().for_each(|to| entrances[to] += 1);
        }
        Self { machine, live, entrances, name, open: Vec::new(), named: HashSet::new() }
    }

    fn steps<'s>(&'s self, state: &'s State, writer: &Writer<'_>) -> Vec<(&'s Entry, usize)> {
        let live = |entry: &Entry, to: usize| self.live[to] && writer.plans[&entry.value].has_value;
        state.steps.iter().filter(|(e, to)| live(e, *to)).map(|(e, to)| (e, *to)).collect()
    }

    /// Everything from a state on that is reached from one place only, or else its rule.
    fn onward(&mut self, to: usize, writer: &mut Writer<'_>) -> String {
        if self.entrances[to] > 1 { self.rule(to) } else { self.from(to, writer) }
    }

    /// Everything from a state to the end.
    fn from(&mut self, mut at: usize, writer: &mut Writer<'_>) -> String {
        let machine = self.machine;
        let mut parts = Vec::new();
        loop {
            let state = &machine.states[at];
            let steps: Vec<(Entry, usize)> =
                self.steps(state, writer).into_iter().map(|(e, to)| (e.clone(), to)).collect();
            let skip = state.skip.filter(|to| self.live[*to]);
            let comma = if state.first { "" } else { "\",\" " };
            let next = match (&steps[..], skip) {
                ([(entry, to)], None) if !state.end && state.run.is_none() => {
                    parts.push(format!("{comma}{}", writer.entry(entry)));
                    *to
                }
                ([(entry, to)], Some(skip)) if skip == *to && !state.first => {
                    parts.push(format!("({comma}{})?", writer.entry(entry)));
                    *to
                }
                ([], Some(skip)) if !state.end && state.run.is_none() => skip,
                ([], None) => {
                    let run = state.run.as_ref().and_then(|run| self.run(state.first, run, writer));
                    match (run, state.end) {
                        (Some(run), true) => parts.push(format!("({run})?")),
                        (Some(run), false) => parts.push(run),
                        (None, _) => {}
                    }
                    break;
                }
                _ => {
                    parts.push(self.rule(at));
                    break;
                }
            };
            if self.entrances[next] > 1 {
                parts.push(self.rule(next));
                break;
            }
            at = next;
        }
        parts.join(" ")
    }

    fn rule(&mut self, state: usize) -> String {
        if self.named.insert(state) {
            self.open.push(state);
        }
        format!("{}-{state}", self.name)
    }

    fn run(&self, first: bool, run: &Run, writer: &mut Writer<'_>) -> Option<String> {
        let entries = run.entries.iter().filter(|e| writer.plans[&e.value].has_value);
        let entries: Vec<Entry> = entries.cloned().collect();
        let entries: Vec<String> = entries.iter().map(|e| writer.entry(e)).collect();
        if entries.is_empty() {
            return None;
        }
        let entry = format!("({})", entries.join(" | "));
        let (least, most) = match first {
            true => (run.least - 1, run.most.map(|most| most - 1)),
            false => (run.least, run.most),
        };
        let begin = if first { entry.clone() } else { String::new() };
        let count = match (least, most) {
            (_, Some(0)) => return Some(begin),
            (0, None) => "*".into(),
            (1, None) => "+".into(),
            (least, None) => format!("{{{least},}}"),
            (least, Some(most)) => format!("{{{least},{most}}}"),
        };
        Some(format!("{begin} (\",\" {entry}){count}"))
    }

    /// The rules that others refer to.
    fn write(&mut self, writer: &mut Writer<'_>) -> Outcome<()> {
        let machine = self.machine;
        while let Some(at) = self.open.pop() {
            let state = &machine.states[at];
            let steps: Vec<(Entry, usize)> =
                self.steps(state, writer).into_iter().map(|(e, to)| (e.clone(), to)).collect();
            let comma = if state.first { "" } else { "\",\" " };
            let mut options = Vec::new();
            if state.end {
                options.push("\"\"".to_owned());
            }
            for (entry, to) in steps {
                let entry = writer.entry(&entry);
                let rest = self.onward(to, writer);
                options.push(format!("{comma}{entry} {rest}"));
            }
            if let Some(skip) = state.skip.filter(|to| self.live[*to]) {
                let rest = self.onward(skip, writer);
                options.push(if rest.is_empty() { "\"\"".into() } else { rest });
            }
            if let Some(run) = &state.run {
                options.extend(self.run(state.first, run, writer));
            }
            let name = format!("{}-{at}", self.name);
            writer.line(&name, &options.join(" | "));
            writer.check()?;
        }
        Ok(())
    }
}

/// A text in the syntax of Lark: that of JSON, and no DEL.
pub(super) fn literal(text: &str) -> String {
    serde_json::Value::from(text).to_string().replace('\u{7f}', "\\u007f")
}

fn regex(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len() + 2);
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '/' => escaped.push_str("\\/"),
            '\\' => {
                escaped.push(c);
                escaped.extend(chars.next());
            }
            c => escaped.push(c),
        }
    }
    format!("/{escaped}/")
}

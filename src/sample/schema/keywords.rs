//! What each keyword says about arrays, objects, numbers and strings.
//!
//! One schema at a time; schemas within it are nodes that are looked at later.

use super::array::{ArrayForm, Contains};
use super::decimal::Decimal;
use super::document::{SchemaId, below};
use super::number::{Bound, Span};
use super::object::{Member, ObjectForm};
use super::space::{ANY, NOTHING, NodeId, Space};
use super::text::Text;
use super::values::Values;
use super::{Outcome, invalid, refused};
use serde_json::{Map, Value};

/// Patterns of one `patternProperties` that may overlap.
const MAX_KINDS: usize = 24;
/// More than any answer holds.
const MAX_COUNT: usize = 1_000_000_000;

type Keywords = Map<String, Value>;

impl Space<'_> {
    /// The values of a schema of the document.
    pub(super) fn schema_values(&mut self, id: SchemaId) -> Outcome<Values> {
        let Value::Object(map) = self.document.value(id) else { return Ok(Values::any()) };
        if self.document.hides_neighbours(map) {
            return Err(refused(self.document.pointer(id), "$ref", " beside others in this draft"));
        }
        let set = Values {
            numbers: self.numbers(id, map)?,
            strings: self.strings(id, map)?,
            arrays: self.arrays(id, map)?,
            objects: self.objects(id, map)?,
            ..Values::any()
        };
        let set = self.bounded(set)?;
        let set = self.typed(id, map, set)?;
        let set = self.in_place(id, map, set)?;
        self.unevaluated(id, map, set)
    }

    fn wrong<T>(&self, id: SchemaId, keyword: &str, wanted: &str) -> Outcome<T> {
        Err(invalid(&below(self.document.pointer(id), keyword), format!("not {wanted}")))
    }

    fn typed(&mut self, id: SchemaId, map: &Keywords, mut set: Values) -> Outcome<Values> {
        if let Some(value) = map.get("type") {
            let names = match value {
                Value::Array(names) => &names[..],
                name => std::slice::from_ref(name),
            };
            let mut types = Values::none();
            for name in names {
                let Some(values) = name.as_str().and_then(Values::of_type) else {
                    return self.wrong(id, "type", "the name of a type or a list of such names");
                };
                types = self.join(types, values)?;
            }
            set = self.meet(&set, &types)?;
        }
        if let Some(value) = map.get("const") {
            let constant = self.constant_values(value)?;
            set = self.meet(&set, &constant)?;
        }
        if let Some(value) = map.get("enum") {
            let Some(list) = value.as_array() else { return self.wrong(id, "enum", "a list") };
            let listed = self.listed(list)?;
            set = self.meet(&set, &listed)?;
        }
        Ok(set)
    }

    /// One value as a set.
    pub(super) fn constant_values(&mut self, value: &Value) -> Outcome<Values> {
        self.listed(std::slice::from_ref(value))
    }

    fn listed(&mut self, list: &[Value]) -> Outcome<Values> {
        let mut set = Values::none();
        let mut words = std::collections::BTreeSet::new();
        for value in list {
            self.pay(1)?;
            match value {
                Value::Null => set.null = true,
                Value::Bool(b) => set.truth[usize::from(*b)] = true,
                Value::Number(n) => {
                    let Some(n) = Decimal::of(n) else { return Err(invalid("", "a number")) };
                    set.numbers.push(Span::exactly(n));
                }
                Value::String(word) => drop(words.insert(word.clone())),
                Value::Array(items) => set.arrays.push(self.constant_array(items)?),
                Value::Object(members) => set.objects.push(self.constant_object(members)?),
            }
        }
        set.strings = Text::Words(words);
        self.bounded(set)
    }

    fn constant_array(&mut self, items: &[Value]) -> Outcome<ArrayForm> {
        Ok(ArrayForm {
            prefix: items.iter().map(|item| self.constant(item)).collect::<Outcome<_>>()?,
            rest: NOTHING,
            least: items.len(),
            most: Some(items.len()),
            ..ArrayForm::any()
        })
    }

    fn constant_object(&mut self, members: &Keywords) -> Outcome<ObjectForm> {
        let mut named = Vec::new();
        for (name, value) in members {
            named.push((name.clone(), Member { value: self.constant(value)?, needed: true }));
        }
        Ok(ObjectForm { named, others: Vec::new(), ..ObjectForm::any() })
    }

    fn decimal(&self, id: SchemaId, map: &Keywords, keyword: &str) -> Outcome<Option<Decimal>> {
        match map.get(keyword) {
            None => Ok(None),
            Some(Value::Number(n)) => match Decimal::of(n) {
                Some(n) => Ok(Some(n)),
                None => self.wrong(id, keyword, "a number"),
            },
            Some(_) => self.wrong(id, keyword, "a number"),
        }
    }

    fn count(&self, id: SchemaId, map: &Keywords, keyword: &str) -> Outcome<Option<usize>> {
        let Some(number) = self.decimal(id, map, keyword)? else { return Ok(None) };
        if number.is_negative() || !number.is_multiple_of(Decimal::ONE) {
            return self.wrong(id, keyword, "a whole number of 0 or more");
        }
        let count = number.scaled(0).and_then(|n| usize::try_from(n).ok());
        Ok(Some(count.unwrap_or(MAX_COUNT).min(MAX_COUNT)))
    }

    fn numbers(&self, id: SchemaId, map: &Keywords) -> Outcome<Vec<Span>> {
        let mut set = vec![Span::default()];
        for (keyword, high, included) in [
            ("minimum", false, true),
            ("exclusiveMinimum", false, false),
            ("maximum", true, true),
            ("exclusiveMaximum", true, false),
        ] {
            if let Some(at) = self.decimal(id, map, keyword)? {
                let bound = Some(Bound { at, included });
                let (low, high) = if high { (None, bound) } else { (bound, None) };
                set = super::number::meet(&set, &[Span { low, high, ..Span::default() }]);
            }
        }
        if let Some(step) = self.decimal(id, map, "multipleOf")? {
            if step.is_negative() || step.is_zero() {
                return self.wrong(id, "multipleOf", "a number over 0");
            }
            set = super::number::meet(&set, &[Span::multiples_of(step)]);
        }
        Ok(set)
    }

    fn strings(&mut self, id: SchemaId, map: &Keywords) -> Outcome<Text> {
        let least = self.count(id, map, "minLength")?.unwrap_or(0);
        let most = self.count(id, map, "maxLength")?;
        let mut text = match (least, most) {
            (0, None) => Text::All,
            (least, Some(most)) if most < least => Text::NONE,
            (least, most) => Text::Length(least as u32, most.map(|most| most as u32)),
        };
        if let Some(value) = map.get("pattern") {
            let Some(pattern) = value.as_str() else {
                return self.wrong(id, "pattern", "a string");
            };
            let found = self.pattern(id, "pattern", pattern)?;
            text = self.patterns.and(text, found)?;
        }
        if let Some(value) = map.get("format") {
            let Some(name) = value.as_str() else { return self.wrong(id, "format", "a string") };
            let Some(format) = self.patterns.format(name)? else {
                let keyword = format!("format: {name}");
                let hint = "; say it with `pattern`";
                return Err(refused(self.document.pointer(id), &keyword, hint));
            };
            text = self.patterns.and(text, format)?;
        }
        Ok(text)
    }

    fn pattern(&mut self, id: SchemaId, keyword: &str, pattern: &str) -> Outcome<Text> {
        self.patterns.pattern(pattern)?.map_err(|problem| {
            let place = below(self.document.pointer(id), keyword);
            invalid(&place, format!("the pattern is wrong or not supported: {problem}"))
        })
    }

    fn child(&mut self, id: SchemaId, map: &Keywords, keyword: &str) -> Outcome<NodeId> {
        match map.contains_key(keyword) {
            true => self.schema(self.document.child(id, keyword, None)),
            false => Ok(ANY),
        }
    }

    fn arrays(&mut self, id: SchemaId, map: &Keywords) -> Outcome<Vec<ArrayForm>> {
        let listed = map.get("items").is_some_and(Value::is_array);
        let (first, rest) = match listed {
            true => ("items", "additionalItems"),
            false => ("prefixItems", "items"),
        };
        let neighbour = if listed { "prefixItems" } else { "additionalItems" };
        if map.contains_key(neighbour) {
            return Err(refused(
                self.document.pointer(id),
                neighbour,
                " here; use `items` beside `prefixItems`",
            ));
        }
        let places = map.get(first).and_then(Value::as_array).map_or(0, Vec::len);
        let prefix = (0..places)
            .map(|i| self.schema(self.document.child(id, first, Some(&i.to_string()))))
            .collect::<Outcome<_>>()?;
        let unique = match map.get("uniqueItems") {
            None => false,
            Some(Value::Bool(unique)) => *unique,
            Some(_) => return self.wrong(id, "uniqueItems", "true or false"),
        };
        let contains = self.contains(id, map)?;
        let mut form = ArrayForm {
            prefix,
            rest: self.child(id, map, rest)?,
            least: self.count(id, map, "minItems")?.unwrap_or(0),
            most: self.count(id, map, "maxItems")?,
            unique,
            ..ArrayForm::any()
        };
        if self.document.has_unevaluated {
            form.seen.prefix = places;
            form.seen.all = map.contains_key(rest);
            form.seen.matching = contains.iter().map(|c| c.item).collect();
        }
        form.contains = contains.into_iter().collect();
        Ok(form.tidy().into_iter().collect())
    }

    fn contains(&mut self, id: SchemaId, map: &Keywords) -> Outcome<Option<Contains>> {
        let least = self.count(id, map, "minContains")?.unwrap_or(1);
        let most = self.count(id, map, "maxContains")?;
        if !map.contains_key("contains") {
            return Ok(None);
        }
        let item = self.child(id, map, "contains")?;
        Ok(Some(Contains { item, from: 0, least, most }))
    }

    fn objects(&mut self, id: SchemaId, map: &Keywords) -> Outcome<Vec<ObjectForm>> {
        let kinds = self.name_kinds(id, map)?;
        let rest = self.child(id, map, "additionalProperties")?;
        let mut form = ObjectForm {
            others: self.partition(&kinds, rest)?,
            least: self.count(id, map, "minProperties")?.unwrap_or(0),
            most: self.count(id, map, "maxProperties")?,
            ..ObjectForm::any()
        };
        self.name_members(id, map, &kinds, &mut form)?;
        if self.document.has_unevaluated {
            form.seen.all = map.contains_key("additionalProperties");
            form.seen.kinds = kinds.into_iter().map(|(kind, _)| kind).collect();
        }
        let mut forms: Vec<ObjectForm> = form.tidy().into_iter().collect();
        if map.contains_key("propertyNames") {
            let names = self.child(id, map, "propertyNames")?;
            let names = self.values(names)?.strings.clone();
            if !self.patterns.is_exact(&names) {
                return Err(refused(
                    self.document.pointer(id),
                    "propertyNames",
                    " with a `format`; use `pattern`",
                ));
            }
            let named = ObjectForm { others: vec![(names, ANY)], ..ObjectForm::any() };
            forms = self.meet_forms(&forms, &[named])?;
        }
        self.dependent(id, map, forms)
    }

    fn meet_forms(&mut self, a: &[ObjectForm], b: &[ObjectForm]) -> Outcome<Vec<ObjectForm>> {
        let mut both = Vec::new();
        for x in a {
            for y in b {
                both.extend(self.meet_objects(x, y)?);
            }
        }
        let set = self.bounded(Values { objects: both, ..Values::none() })?;
        Ok(set.objects)
    }

    fn name_kinds(&mut self, id: SchemaId, map: &Keywords) -> Outcome<Vec<(Text, NodeId)>> {
        let mut kinds = Vec::new();
        for (pattern, _) in
            map.get("patternProperties").and_then(Value::as_object).into_iter().flatten()
        {
            let kind = self.pattern(id, "patternProperties", pattern)?;
            let value = self.schema(self.document.child(id, "patternProperties", Some(pattern)))?;
            kinds.push((kind, value));
        }
        Ok(kinds)
    }

    /// Kinds of names that do not overlap; names of no kind have `rest`.
    fn partition(
        &mut self,
        kinds: &[(Text, NodeId)],
        rest: NodeId,
    ) -> Outcome<Vec<(Text, NodeId)>> {
        let mut parts: Vec<(Text, Option<NodeId>)> = vec![(Text::All, None)];
        for (kind, value) in kinds {
            if parts.len() > MAX_KINDS {
                return Err(super::too_large(format!("{MAX_KINDS} kinds of `patternProperties`")));
            }
            let outside = self.patterns.not(kind).expect("a pattern is exact");
            let mut finer = Vec::new();
            for (part, held) in parts {
                let inside = self.patterns.and(part.clone(), kind.clone())?;
                if !self.patterns.is_void(&inside)? {
                    finer.push((inside, Some(self.all(held.into_iter().chain([*value]))?)));
                }
                let outside = self.patterns.and(part, outside.clone())?;
                if !self.patterns.is_void(&outside)? {
                    finer.push((outside, held));
                }
            }
            parts = finer;
        }
        Ok(parts.into_iter().map(|(part, held)| (part, held.unwrap_or(rest))).collect())
    }

    /// `properties`, then what else `required` names.
    fn name_members(
        &mut self,
        id: SchemaId,
        map: &Keywords,
        kinds: &[(Text, NodeId)],
        form: &mut ObjectForm,
    ) -> Outcome<()> {
        let required = match map.get("required") {
            None => Vec::new(),
            Some(value) => self.names(id, "required", value)?,
        };
        for (name, _) in map.get("properties").and_then(Value::as_object).into_iter().flatten() {
            let mut values =
                vec![self.schema(self.document.child(id, "properties", Some(name)))?];
            for (kind, value) in kinds {
                if self.patterns.matches(kind, name)? {
                    values.push(*value);
                }
            }
            let needed = required.contains(name);
            form.named.push((name.clone(), Member { value: self.all(values)?, needed }));
            if self.document.has_unevaluated {
                form.seen.names.insert(name.clone());
            }
        }
        for name in required {
            self.pay(1 + form.named.len() / 8)?;
            if form.member(&name).is_none() {
                let value = self.member_value(form, &name)?;
                form.named.push((name, Member { value, needed: true }));
            }
        }
        Ok(())
    }

    fn names(&self, id: SchemaId, keyword: &str, value: &Value) -> Outcome<Vec<String>> {
        let names = value.as_array().map(|list| {
            list.iter().map(|name| name.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>()
        });
        match names {
            Some(Some(names)) => Ok(names),
            _ => self.wrong(id, keyword, "a list of names"),
        }
    }

    /// If a name is there, then more must be: either it is not, or it is and so are they.
    fn dependent(
        &mut self,
        id: SchemaId,
        map: &Keywords,
        mut forms: Vec<ObjectForm>,
    ) -> Outcome<Vec<ObjectForm>> {
        let mut conditions: Vec<(String, Vec<ObjectForm>)> = Vec::new();
        if let Some(value) = map.get("dependentRequired") {
            let Some(value) = value.as_object() else {
                return self.wrong(id, "dependentRequired", "an object of lists of names");
            };
            for (name, needed) in value {
                let mut form = ObjectForm::with(name, ANY, true);
                for other in self.names(id, "dependentRequired", needed)? {
                    if form.member(&other).is_none() {
                        form.named.push((other, Member { value: ANY, needed: true }));
                    }
                }
                conditions.push((name.clone(), vec![form]));
            }
        }
        for (name, _) in
            map.get("dependentSchemas").and_then(Value::as_object).into_iter().flatten()
        {
            let node = self.schema(self.document.child(id, "dependentSchemas", Some(name)))?;
            let values = self.values(node)?;
            let there = [ObjectForm::with(name, ANY, true)];
            conditions.push((name.clone(), self.meet_forms(&there, &values.objects)?));
        }
        for (name, mut then) in conditions {
            then.insert(0, ObjectForm::with(&name, NOTHING, false));
            forms = self.meet_forms(&forms, &then)?;
        }
        Ok(forms)
    }

    /// What no other keyword of the schema has looked at.
    fn unevaluated(&mut self, id: SchemaId, map: &Keywords, mut set: Values) -> Outcome<Values> {
        if map.contains_key("unevaluatedProperties") {
            let value = self.child(id, map, "unevaluatedProperties")?;
            let forms = std::mem::take(&mut set.objects);
            for form in forms {
                set.objects.extend(self.unseen_members(form, value)?);
            }
        }
        if map.contains_key("unevaluatedItems") {
            let value = self.child(id, map, "unevaluatedItems")?;
            let forms = std::mem::take(&mut set.arrays);
            for form in forms {
                set.arrays.extend(self.unseen_items(form, value)?);
            }
        }
        self.bounded(set)
    }

    fn unseen_members(
        &mut self,
        mut form: ObjectForm,
        value: NodeId,
    ) -> Outcome<Option<ObjectForm>> {
        if !std::mem::replace(&mut form.seen.all, true) {
            let seen = form.seen.kinds.iter().cloned().fold(Text::NONE, Text::or);
            for (name, member) in &mut form.named {
                if !form.seen.names.contains(name) && !self.patterns.matches(&seen, name)? {
                    member.value = self.all([member.value, value])?;
                }
            }
            let unseen = self.patterns.not(&seen).expect("a pattern is exact");
            let mut others = Vec::new();
            for (kind, held) in std::mem::take(&mut form.others) {
                for (part, wanted) in [(&seen, ANY), (&unseen, value)] {
                    let part = self.patterns.and(kind.clone(), part.clone())?;
                    let wanted = self.all([held, wanted])?;
                    if wanted != NOTHING && !self.patterns.is_void(&part)? {
                        others.push((part, wanted));
                    }
                }
            }
            form.others = others;
        }
        Ok(form.tidy())
    }

    fn unseen_items(&mut self, mut form: ArrayForm, value: NodeId) -> Outcome<Option<ArrayForm>> {
        if !std::mem::replace(&mut form.seen.all, true) {
            let matching = form.seen.matching.clone();
            let wanted = self.either(matching.into_iter().chain([value]))?;
            while form.prefix.len() < form.seen.prefix {
                form.prefix.push(form.rest);
            }
            for place in form.seen.prefix..form.prefix.len() {
                form.prefix[place] = self.all([form.prefix[place], wanted])?;
            }
            form.rest = self.all([form.rest, wanted])?;
        }
        Ok(form.tidy())
    }
}

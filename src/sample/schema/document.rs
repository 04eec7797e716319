//! A schema as a document: where its schemas are, how they are named, and which keywords they use.
//!
//! Refuses what it does not know, by name and place; what the keywords mean is decided elsewhere.

use super::{Outcome, invalid, refused, too_large, uri};
use serde_json::{Map, Value};
use std::collections::HashMap;

/// Schemas within one document.
const MAX_SCHEMAS: usize = 4000;
/// Drafts with the keywords of which this module knows.
const DRAFTS: [&str; 2] = [
    "https://json-schema.org/draft/2020-12/schema",
    "https://json-schema.org/draft/2019-09/schema",
];
/// Drafts in which `$ref` hides its neighbours.
const OLD_DRAFTS: [&str; 2] =
    ["http://json-schema.org/draft-07/schema", "http://json-schema.org/draft-06/schema"];

/// One schema of the document, as an index.
pub(super) type SchemaId = usize;

/// What the value of a keyword is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A schema.
    One,
    /// A list of schemas.
    List,
    /// An object of schemas.
    Named,
    /// No schema, but it decides which values are valid.
    Plain,
    /// Says nothing about which values are valid.
    Annotation,
}

/// What a keyword holds, or `None` if it is not supported.
pub(super) fn kind(keyword: &str, value: &Value) -> Option<Kind> {
    Some(match keyword {
        "items" if value.is_array() => Kind::List,
        "items"
        | "additionalItems"
        | "additionalProperties"
        | "not"
        | "if"
        | "then"
        | "else"
        | "contains"
        | "propertyNames"
        | "unevaluatedItems"
        | "unevaluatedProperties" => Kind::One,
        "allOf" | "anyOf" | "oneOf" | "prefixItems" => Kind::List,
        "properties" | "patternProperties" | "dependentSchemas" | "$defs" | "definitions" => {
            Kind::Named
        }
        "$ref" | "$dynamicRef" | "const" | "enum" | "type" | "minItems" | "maxItems"
        | "uniqueItems" | "minContains" | "maxContains" | "required" | "minProperties"
        | "maxProperties" | "dependentRequired" | "minLength" | "maxLength" | "pattern"
        | "format" | "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum"
        | "multipleOf" => Kind::Plain,
        "$schema" | "$id" | "$anchor" | "$dynamicAnchor" | "$comment" | "title" | "description"
        | "default" | "examples" | "deprecated" | "readOnly" | "writeOnly" | "contentMediaType"
        | "contentEncoding" | "contentSchema" => Kind::Annotation,
        // Those of llguidance are not ours.
        "x-guidance" => return None,
        extension if extension.starts_with("x-") => Kind::Annotation,
        _ => return None,
    })
}

struct Entry<'a> {
    value: &'a Value,
    pointer: String,
    resource: usize,
}

/// A schema with an address of its own.
struct Resource {
    address: String,
    pointer: String,
}

/// All schemas of a document.
pub(super) struct Document<'a> {
    entries: Vec<Entry<'a>>,
    resources: Vec<Resource>,
    by_pointer: HashMap<String, SchemaId>,
    anchors: HashMap<(usize, String), SchemaId>,
    /// Whether some schema asks what its neighbours have looked at.
    pub(super) has_unevaluated: bool,
    is_old: bool,
}

impl<'a> Document<'a> {
    /// The root is schema 0.
    pub(super) fn read(root: &'a Value) -> Outcome<Self> {
        let mut document = Self {
            entries: Vec::new(),
            resources: vec![Resource { address: String::new(), pointer: String::new() }],
            by_pointer: HashMap::new(),
            anchors: HashMap::new(),
            has_unevaluated: false,
            is_old: false,
        };
        document.walk(root, String::new(), 0)?;
        Ok(document)
    }

    fn walk(&mut self, value: &'a Value, pointer: String, mut resource: usize) -> Outcome<()> {
        if self.entries.len() == MAX_SCHEMAS {
            return Err(too_large(format!("{MAX_SCHEMAS} schemas")));
        }
        let id = self.entries.len();
        let keywords = match value {
            Value::Object(map) => {
                resource = self.named(map, &pointer, resource, id)?;
                Some(map)
            }
            Value::Bool(_) => None,
            _ => return Err(invalid(&pointer, "a schema is an object, `true` or `false`")),
        };
        self.by_pointer.insert(pointer.clone(), id);
        self.entries.push(Entry { value, pointer: pointer.clone(), resource });
        for (keyword, value) in keywords.into_iter().flatten() {
            self.has_unevaluated |= keyword.starts_with("unevaluated");
            let kind =
                kind(keyword, value).ok_or_else(|| refused(&pointer, keyword, hint(keyword)))?;
            self.walk_keyword(kind, keyword, value, &pointer, resource)?;
        }
        Ok(())
    }

    fn walk_keyword(
        &mut self,
        kind: Kind,
        keyword: &str,
        value: &'a Value,
        pointer: &str,
        resource: usize,
    ) -> Outcome<()> {
        let place = below(pointer, keyword);
        match (kind, value) {
            (Kind::One, value) => self.walk(value, place, resource),
            (Kind::List, Value::Array(list)) => {
                (list.iter().enumerate()).try_for_each(|(i, value)| {
                    self.walk(value, below(&place, &i.to_string()), resource)
                })
            }
            (Kind::Named, Value::Object(map)) => map
                .iter()
                .try_for_each(|(name, value)| self.walk(value, below(&place, name), resource)),
            (Kind::List, _) => Err(invalid(&place, "not a list of schemas")),
            (Kind::Named, _) => Err(invalid(&place, "not an object of schemas")),
            (Kind::Plain | Kind::Annotation, _) => Ok(()),
        }
    }

    /// Notes the names of a schema; the resource to which it belongs.
    fn named(
        &mut self,
        map: &Map<String, Value>,
        pointer: &str,
        mut resource: usize,
        id: SchemaId,
    ) -> Outcome<usize> {
        self.check_draft(map, pointer)?;
        if let Some(name) = string(map, pointer, "$id")? {
            let (address, fragment) = uri::resolve(&self.resources[resource].address, name);
            if !fragment.is_empty() {
                return Err(refused(pointer, "$id", " with a fragment; use `$anchor`"));
            }
            if self.resources.iter().any(|r| r.address == address && !address.is_empty()) {
                return Err(invalid(pointer, format!("a second schema with the `$id` {address}")));
            }
            match pointer.is_empty() {
                true => self.resources[0].address = address,
                false => {
                    resource = self.resources.len();
                    self.resources.push(Resource { address, pointer: pointer.to_owned() });
                }
            }
        }
        for keyword in ["$anchor", "$dynamicAnchor"] {
            if let Some(anchor) = string(map, pointer, keyword)? {
                self.anchors.insert((resource, anchor.to_owned()), id);
            }
        }
        Ok(resource)
    }

    fn check_draft(&mut self, map: &Map<String, Value>, pointer: &str) -> Outcome<()> {
        let Some(draft) = string(map, pointer, "$schema")? else { return Ok(()) };
        let draft = draft.trim_end_matches('#');
        if !DRAFTS.contains(&draft) && !OLD_DRAFTS.contains(&draft) {
            return Err(refused(pointer, "$schema", " but for draft 2020-12 and those from 6 on"));
        }
        self.is_old |= OLD_DRAFTS.contains(&draft);
        Ok(())
    }

    pub(super) fn value(&self, id: SchemaId) -> &'a Value {
        self.entries[id].value
    }

    pub(super) fn pointer(&self, id: SchemaId) -> &str {
        &self.entries[id].pointer
    }

    /// The schema below `id` at a keyword and, for lists and objects, a name.
    pub(super) fn child(&self, id: SchemaId, keyword: &str, name: Option<&str>) -> SchemaId {
        let mut pointer = below(&self.entries[id].pointer, keyword);
        if let Some(name) = name {
            pointer = below(&pointer, name);
        }
        *self.by_pointer.get(&pointer).expect("walked")
    }

    /// The schema that a reference names. `dynamic` is `$dynamicRef`.
    pub(super) fn target(
        &self,
        id: SchemaId,
        reference: &Value,
        dynamic: bool,
    ) -> Outcome<SchemaId> {
        let keyword = if dynamic { "$dynamicRef" } else { "$ref" };
        let pointer = self.pointer(id);
        let fail = |hint| Err(refused(pointer, keyword, hint));
        let Some(reference) = reference.as_str() else {
            return Err(invalid(&below(pointer, keyword), "not a string"));
        };
        // Which anchor is meant depends on the way only where schemas are embedded in schemas.
        if dynamic && self.resources.len() > 1 {
            return fail(" beside embedded schemas with an `$id`");
        }
        let base = &self.resources[self.entries[id].resource].address;
        let (address, fragment) = uri::resolve(base, reference);
        let resource = match self.resources.iter().position(|r| r.address == address) {
            Some(resource) => resource,
            None => return fail(" but within the schema (`#/...`)"),
        };
        let found = match fragment.is_empty() || fragment.starts_with('/') {
            true => self.by_pointer.get(&(self.resources[resource].pointer.clone() + &fragment)),
            false => self.anchors.get(&(resource, fragment)),
        };
        match found {
            Some(target) => Ok(*target),
            None => fail(" but to a schema that is there"),
        }
    }

    /// Whether `$ref` stands beside what this draft ignores there.
    pub(super) fn hides_neighbours(&self, map: &Map<String, Value>) -> bool {
        let ignored = |(keyword, value): (&String, &Value)| {
            !matches!(keyword.as_str(), "$ref" | "definitions" | "$defs")
                && kind(keyword, value) != Some(Kind::Annotation)
        };
        self.is_old && map.contains_key("$ref") && map.iter().any(ignored)
    }
}

fn string<'m>(
    map: &'m Map<String, Value>,
    pointer: &str,
    keyword: &str,
) -> Outcome<Option<&'m str>> {
    match map.get(keyword).map(Value::as_str) {
        None => Ok(None),
        Some(Some(text)) => Ok(Some(text)),
        Some(None) => Err(invalid(&below(pointer, keyword), "not a string")),
    }
}

/// The JSON pointer of a member.
pub(super) fn below(pointer: &str, name: &str) -> String {
    format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1"))
}

fn hint(keyword: &str) -> &'static str {
    match keyword {
        "dependencies" => "; use `dependentRequired` or `dependentSchemas`",
        "$recursiveRef" | "$recursiveAnchor" => "; use `$ref`",
        "id" => "; use `$id`",
        "nullable" => "; use `\"type\": [..., \"null\"]`",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn references_are_found() {
        let schema = json!({"$id": "http://x/root.json", "$defs": {
            "a/b": {"$anchor": "here"},
            "inner": {"$id": "inner.json", "$anchor": "there", "$defs": {"c": {}}},
        }});
        let document = Document::read(&schema).unwrap();
        let pointer = |reference: &str| {
            let target = document.target(0, &json!(reference), false).ok()?;
            Some(document.pointer(target).to_owned())
        };
        assert_eq!(pointer("#").unwrap(), "");
        assert_eq!(pointer("#/$defs/a~1b").unwrap(), "/$defs/a~1b");
        assert_eq!(pointer("#here").unwrap(), "/$defs/a~1b");
        assert_eq!(pointer("inner.json").unwrap(), "/$defs/inner");
        assert_eq!(pointer("http://x/inner.json#/$defs/c").unwrap(), "/$defs/inner/$defs/c");
        assert_eq!(pointer("inner.json#there").unwrap(), "/$defs/inner");
        assert!(pointer("#there").is_none() && pointer("#/nowhere").is_none());
        assert!(pointer("other.json").is_none());
    }
}

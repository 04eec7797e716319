//! Sets of JSON values: one part for each type, and `and`, `or` and `not` of them.
//!
//! Arrays and objects are unions of forms, whose members are nodes: other sets, looked at only when
//! they are needed.

use super::array::ArrayForm;
use super::number::{self, Span};
use super::object::ObjectForm;
use super::space::Space;
use super::text::Text;
use super::{Outcome, too_large};

/// Forms of arrays, and of objects, in one set.
const MAX_FORMS: usize = 64;
/// Spans in one set of numbers.
const MAX_SPANS: usize = 1024;

/// A set of JSON values.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Values {
    pub(super) null: bool,
    /// `false`, `true`.
    pub(super) truth: [bool; 2],
    pub(super) numbers: Vec<Span>,
    pub(super) strings: Text,
    pub(super) arrays: Vec<ArrayForm>,
    pub(super) objects: Vec<ObjectForm>,
}

impl Values {
    pub(super) fn none() -> Self {
        Self {
            null: false,
            truth: [false; 2],
            numbers: Vec::new(),
            strings: Text::NONE,
            arrays: Vec::new(),
            objects: Vec::new(),
        }
    }

    pub(super) fn any() -> Self {
        Self {
            null: true,
            truth: [true; 2],
            numbers: vec![Span::default()],
            strings: Text::All,
            arrays: vec![ArrayForm::any()],
            objects: vec![ObjectForm::any()],
        }
    }

    /// All values of a type; `None` if there is no such type.
    pub(super) fn of_type(name: &str) -> Option<Self> {
        let none = Self::none();
        let any = Self::any();
        Some(match name {
            "null" => Self { null: true, ..none },
            "boolean" => Self { truth: [true; 2], ..none },
            "number" => Self { numbers: any.numbers, ..none },
            "integer" => {
                let whole = Span::multiples_of(super::decimal::Decimal::ONE);
                Self { numbers: vec![whole], ..none }
            }
            "string" => Self { strings: Text::All, ..none },
            "array" => Self { arrays: any.arrays, ..none },
            "object" => Self { objects: any.objects, ..none },
            _ => return None,
        })
    }
}

impl Space<'_> {
    /// What both sets hold.
    pub(super) fn meet(&mut self, a: &Values, b: &Values) -> Outcome<Values> {
        self.pay(1 + a.numbers.len() * b.numbers.len())?;
        let mut arrays = Vec::new();
        for (x, y) in pairs(&a.arrays, &b.arrays) {
            arrays.extend(self.meet_arrays(x, y)?);
        }
        let mut objects = Vec::new();
        for (x, y) in pairs(&a.objects, &b.objects) {
            objects.extend(self.meet_objects(x, y)?);
        }
        let both = Values {
            null: a.null && b.null,
            truth: [a.truth[0] && b.truth[0], a.truth[1] && b.truth[1]],
            numbers: number::meet(&a.numbers, &b.numbers),
            strings: self.patterns.and(a.strings.clone(), b.strings.clone())?,
            arrays,
            objects,
        };
        self.bounded(both)
    }

    /// What either set holds.
    pub(super) fn join(&mut self, a: Values, b: Values) -> Outcome<Values> {
        self.pay(1 + a.numbers.len() + b.numbers.len())?;
        self.bounded(Values {
            null: a.null || b.null,
            truth: [a.truth[0] || b.truth[0], a.truth[1] || b.truth[1]],
            numbers: number::join(&a.numbers, &b.numbers),
            strings: a.strings.or(b.strings),
            arrays: a.arrays.into_iter().chain(b.arrays).collect(),
            objects: a.objects.into_iter().chain(b.objects).collect(),
        })
    }

    /// Every value that the set does not hold.
    pub(super) fn complement(&mut self, set: &Values) -> Outcome<Values> {
        self.pay(1 + set.numbers.len() * set.numbers.len())?;
        let strings = self.patterns.not(&set.strings);
        let mut rest = Values {
            null: !set.null,
            truth: set.truth.map(|held| !held),
            numbers: number::complement(&set.numbers),
            strings: strings.ok_or_else(|| self.not_here("format"))?,
            arrays: vec![ArrayForm::any()],
            objects: vec![ObjectForm::any()],
        };
        for form in &set.arrays {
            let others = self.other_arrays(form)?;
            let mut arrays = Vec::new();
            for (x, y) in pairs(&rest.arrays, &others) {
                arrays.extend(self.meet_arrays(x, y)?);
            }
            rest.arrays = arrays;
            rest = self.bounded(rest)?;
        }
        for form in &set.objects {
            let others = self.other_objects(form)?;
            let mut objects = Vec::new();
            for (x, y) in pairs(&rest.objects, &others) {
                objects.extend(self.meet_objects(x, y)?);
            }
            rest.objects = objects;
            rest = self.bounded(rest)?;
        }
        Ok(rest)
    }

    /// Without forms that stand there twice or add nothing.
    pub(super) fn bounded(&mut self, mut set: Values) -> Outcome<Values> {
        distinct(&mut set.arrays);
        distinct(&mut set.objects);
        if let Some(all) = set.arrays.iter().position(|form| *form == ArrayForm::any())
            && !self.document.has_unevaluated
        {
            set.arrays = vec![set.arrays.swap_remove(all)];
        }
        if let Some(all) = set.objects.iter().position(|form| *form == ObjectForm::any())
            && !self.document.has_unevaluated
        {
            set.objects = vec![set.objects.swap_remove(all)];
        }
        self.pay(set.arrays.len() + set.objects.len())?;
        match set {
            Values { ref arrays, ref objects, .. }
                if arrays.len().max(objects.len()) > MAX_FORMS =>
            {
                Err(too_large(format!("{MAX_FORMS} combinations of alternatives")))
            }
            Values { ref numbers, .. } if numbers.len() > MAX_SPANS => {
                Err(too_large(format!("{MAX_SPANS} separate numbers or ranges")))
            }
            set => Ok(set),
        }
    }

    /// Whether the set surely holds no value, looking `depth` values deep.
    pub(super) fn is_void(&mut self, set: &Values, depth: usize) -> Outcome<bool> {
        self.pay(1)?;
        if set.null || set.truth != [false; 2] || !set.numbers.is_empty() {
            return Ok(false);
        }
        let strings = self.patterns.at_most(&set.strings)?;
        if !self.patterns.is_void(&strings)? {
            return Ok(false);
        }
        for form in &set.arrays {
            if !self.is_void_array(form, depth)? {
                return Ok(false);
            }
        }
        for form in &set.objects {
            if !self.is_void_object(form, depth)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

fn pairs<'f, T>(a: &'f [T], b: &'f [T]) -> impl Iterator<Item = (&'f T, &'f T)> {
    a.iter().flat_map(move |x| b.iter().map(move |y| (x, y)))
}

fn distinct<T: PartialEq>(forms: &mut Vec<T>) {
    let mut kept = Vec::with_capacity(forms.len());
    for form in forms.drain(..) {
        if !kept.contains(&form) {
            kept.push(form);
        }
    }
    *forms = kept;
}

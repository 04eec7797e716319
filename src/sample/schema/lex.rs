//! Regular languages as expressions: with `and` and `not` besides what regular expressions have.
//!
//! What a terminal of the grammar is made of. Knows nothing of schemas.

use llguidance::derivre::{RegexAst, RegexBuilder};

/// Work on one question whether an expression matches anything; some milliseconds.
const FUEL: u64 = 100_000;

/// A regular language over the text of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Lex {
    /// This text.
    Literal(String),
    /// What matches from beginning to end, in the syntax of `regex-syntax`.
    Regex(String),
    /// One after the other.
    Then(Vec<Lex>),
    /// All of them.
    And(Vec<Lex>),
    /// One of them; none of none.
    Or(Vec<Lex>),
    /// Anything else, also what is no UTF-8: always with an [`Lex::And`] around it.
    Not(Box<Lex>),
}

impl Lex {
    /// One of them, without needless nesting.
    pub(super) fn either(mut options: Vec<Self>) -> Self {
        match options.len() {
            1 => options.remove(0),
            _ => Self::Or(options),
        }
    }

    /// This and not that.
    pub(super) fn without(self, other: Self) -> Self {
        Self::And(vec![self, Self::Not(Box::new(other))])
    }

    pub(super) fn ast(&self) -> RegexAst {
        let all = |list: &[Self]| list.iter().map(Self::ast).collect();
        match self {
            Self::Literal(text) => RegexAst::Literal(text.clone()),
            Self::Regex(text) => RegexAst::Regex(text.clone()),
            Self::Then(list) => RegexAst::Concat(all(list)),
            Self::And(list) => RegexAst::And(all(list)),
            Self::Or(list) => RegexAst::Or(all(list)),
            Self::Not(inner) => RegexAst::Not(Box::new(inner.ast())),
        }
    }

    /// Whether it matches nothing; `None` if that takes too long to find out.
    pub(super) fn is_void(&self) -> Option<bool> {
        match self {
            Self::Literal(_) => Some(false),
            Self::Or(list) if list.iter().any(|l| matches!(l, Self::Literal(_))) => Some(false),
            _ => {
                let mut builder = RegexBuilder::new();
                let expression = builder.mk(&self.ast()).ok()?;
                let mut regex = builder.into_regex_limited(expression, FUEL).ok()?;
                Some(regex.always_empty())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn void_is_found() {
        let regex = |text: &str| Lex::Regex(text.into());
        assert_eq!(Lex::And(vec![regex("a+"), regex("b+")]).is_void(), Some(true));
        assert_eq!(Lex::And(vec![regex("a+"), regex("[ab]{3}")]).is_void(), Some(false));
        assert_eq!(regex("[a-z]{2}").without(regex("[a-z]+")).is_void(), Some(true));
        assert_eq!(Lex::Or(vec![]).is_void(), Some(true));
    }
}

//! What a profile must keep to beyond its form, and where in its file it does not.

use super::profile::{BoardBudget, BoardCores, BoardProfile};
use crate::config::ThermalDefaults;
use crate::core::provider::Provider;
use std::ops::{Range, RangeInclusive};
use std::path::Path;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The least memory that a budget may be made of: [`crate::config`] refuses less.
const LEAST_MEMORY_BYTES: u64 = 32 << 20;

/// The way to a value: keys, and numbers of tables in a list.
type Way = Vec<String>;
type Broken = Option<(Way, String)>;

fn at(path: &str, problem: impl Into<String>) -> Broken {
    Some((path.split('.').map(str::to_owned).collect(), problem.into()))
}

/// The first rule that the profile breaks: the way to the value, and what is wrong with it.
pub fn broken(profile: &BoardProfile) -> Broken {
    name(profile)
        .or_else(|| matching(profile))
        .or_else(|| cores(&profile.cores, profile.threads))
        .or_else(|| memory(&profile.memory.sizes))
        .or_else(|| budget(&profile.budget))
        .or_else(|| thermal(&profile.thermal))
        .or_else(|| devices(profile))
        .or_else(|| profile.provider.iter().enumerate().find_map(|(i, p)| provider(i, p, profile)))
}

fn within<T: TryInto<i64>>(path: &str, value: Option<T>, range: RangeInclusive<i64>) -> Broken {
    let value = value?.try_into().unwrap_or(i64::MAX);
    let (low, high) = (range.start(), range.end());
    (!range.contains(&value)).then_some(())?;
    at(path, format!("{value} is out of range: {low} to {high}"))
}

fn name(profile: &BoardProfile) -> Broken {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c);
    match !profile.name.is_empty() && profile.name.chars().all(allowed) {
        true => None,
        false => at("name", "a name has small letters, digits, `-`, `_` and `.`"),
    }
}

/// An empty text is in every model.
fn matching(profile: &BoardProfile) -> Broken {
    let lists = [
        ("match.compatible", &profile.r#match.compatible),
        ("match.model", &profile.r#match.model),
    ];
    lists.into_iter().find_map(|(path, list)| {
        list.iter().any(String::is_empty).then_some(())?;
        at(path, "an empty text matches everything")
    })
}

fn cores(cores: &BoardCores, threads: Option<usize>) -> Broken {
    let count = cores.count.unwrap_or(1024);
    let last = cores.big.as_ref().and_then(|big| big.as_slice().last().copied());
    within("threads", threads, 1..=256)
        .or_else(|| within("cores.count", cores.count, 1..=1024))
        .or_else(|| match threads {
            Some(threads) if threads > count => {
                at("threads", format!("{threads} threads on {count} cores"))
            }
            _ => None,
        })
        .or_else(|| match (last, &cores.big) {
            (Some(last), _) if last >= count => {
                at("cores.big", format!("CPU {last} of {count}: they are counted from 0"))
            }
            (_, Some(big)) if cores.count == Some(big.len()) => {
                at("cores.big", "all cores; leave it out where none is slow")
            }
            _ => None,
        })
}

fn memory(sizes: &[u64]) -> Broken {
    if sizes.iter().any(|bytes| *bytes < LEAST_MEMORY_BYTES) {
        return at("memory.sizes", "a board with less than 32MiB cannot run slmd");
    }
    match sizes.is_sorted_by(|a, b| a < b) {
        true => None,
        false => at("memory.sizes", "the sizes must rise"),
    }
}

fn budget(budget: &BoardBudget) -> Broken {
    within("budget.memory-percent", budget.memory_percent, 1..=100)
        .or_else(|| within("budget.context-tokens", budget.context_tokens, 16..=1 << 20))
        .or_else(|| within("budget.sessions", budget.sessions, 1..=64))
}

fn thermal(thermal: &ThermalDefaults) -> Broken {
    let keys = ["thermal.warm-c", "thermal.hot-c", "thermal.severe-c", "thermal.critical-c"];
    let bounds = keys.into_iter().zip(thermal.enter_c());
    let known: Vec<(&str, u8)> = bounds.filter_map(|(key, c)| Some((key, c?))).collect();
    known
        .iter()
        .find_map(|(key, c)| within(key, Some(*c), 1..=150))
        .or_else(|| {
            let pair = known.windows(2).find(|pair| pair[0].1 >= pair[1].1)?;
            let [(low, low_c), (high, high_c)] = [pair[0], pair[1]];
            at(high, format!("{high_c} must be more than {low}, which is {low_c}"))
        })
        .or_else(|| within("thermal.hysteresis-c", thermal.hysteresis_c, 1..=30))
}

fn devices(profile: &BoardProfile) -> Broken {
    let all = profile.device.iter().enumerate();
    all.clone().find_map(|(i, device)| {
        let earlier = &profile.device[..i];
        match () {
            () if !device.path.starts_with("/dev") || has_parent(&device.path) => {
                at(&format!("device.{i}.path"), "a device is a path below /dev")
            }
            () if device.reason.trim().is_empty() => {
                at(&format!("device.{i}.reason"), "say why the service must open it")
            }
            () if earlier.iter().any(|other| other.path == device.path) => {
                at(&format!("device.{i}.path"), "listed twice")
            }
            () => None,
        }
    })
}

fn has_parent(path: &Path) -> bool {
    path.components().any(|part| part == std::path::Component::ParentDir)
}

fn provider(index: usize, provider: &Provider, profile: &BoardProfile) -> Broken {
    let key = |key: &str| format!("provider.{index}.{key}");
    let name = provider.name.as_str();
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    match () {
        () if name.is_empty() || !name.chars().all(allowed) => {
            at(&key("name"), "a provider's name has small letters and digits: `xnnpack`, `cuda`")
        }
        () if name.ends_with("executionprovider") => {
            at(&key("name"), "the name without `ExecutionProvider`: `xnnpack`, `cuda`")
        }
        () if name == "cpu" && index + 1 < profile.provider.len() => {
            at(&key("name"), "the CPU comes last; what follows it would never be tried")
        }
        () if provider.requires.iter().any(|path| !path.is_absolute()) => {
            at(&key("requires"), "required files are absolute paths")
        }
        () => provider.fault().and_then(|fault| at(&key("name"), fault)),
    }
}

/// The bytes of the value that `path` leads to, or of the last thing on the way that is there.
pub fn place(text: &str, path: &[String]) -> Range<usize> {
    let Ok(table) = DeTable::parse(text) else { return 0..0 };
    let mut span = 0..0;
    let mut here = step_in(table.get_ref(), path.first());
    for key in path.iter().skip(1).map(Some).chain([None]) {
        let Some(value) = here else { break };
        span = value.span();
        here = match value.get_ref() {
            DeValue::Table(table) => step_in(table, key),
            DeValue::Array(list) => key.and_then(|k| list.get(k.parse::<usize>().ok()?)),
            _ => None,
        };
    }
    span
}

fn step_in<'a, 'i>(
    table: &'a DeTable<'i>,
    key: Option<&String>,
) -> Option<&'a Spanned<DeValue<'i>>> {
    let key = key?;
    table.iter().find(|(name, _)| name.get_ref().as_ref() == key).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        let text = format!("name = 'mine'\n{text}");
        BoardProfile::parse("mine.toml", &text).expect_err("refused").to_string()
    }

    #[test]
    fn what_breaks_a_rule_is_shown_in_its_place() {
        for (text, place, problem) in [
            ("threads = 0", "2:11", "0 is out of range: 1 to 256"),
            ("[match]\nmodel = ['']", "3:9", "matches everything"),
            ("threads = 5\n[cores]\ncount = 4", "2:11", "5 threads on 4 cores"),
            ("[cores]\ncount = 0", "3:9", "out of range"),
            ("[cores]\ncount = 8\nbig = '4-8'", "4:7", "CPU 8 of 8"),
            ("[cores]\ncount = 2\nbig = '0-1'", "4:7", "leave it out"),
            ("[cores]\nbig = 'fast'", "3:7", "no list of CPUs"),
            ("[memory]\nsizes = ['4GiB', '2GiB']", "3:9", "must rise"),
            ("[memory]\nsizes = ['1MiB']", "3:9", "less than 32MiB"),
            ("[memory]\nsizes = ['4']", "3:", "has no unit"),
            ("[budget]\nmemory-percent = 0", "3:18", "out of range: 1 to 100"),
            ("[budget]\ncontext-tokens = 8", "3:18", "out of range: 16 to 1048576"),
            ("[budget]\nsessions = 65", "3:12", "out of range: 1 to 64"),
            ("[budget]\nkv = 'f8'", "3:6", "auto, f32, f16 or int8"),
            ("[thermal]\nhot-c = 151", "3:9", "out of range: 1 to 150"),
            ("[thermal]\nwarm-c = 80\nhot-c = 80", "4:9", "must be more than thermal.warm-c"),
            ("[thermal]\nhysteresis-c = 31", "3:16", "out of range: 1 to 30"),
            ("[[device]]\npath = '/etc/x'\nreason = 'r'", "3:8", "below /dev"),
            ("[[device]]\npath = '/dev/../x'\nreason = 'r'", "3:8", "below /dev"),
            ("[[device]]\npath = '/dev/x'\nreason = ' '", "4:10", "say why"),
            (
                "[[device]]\npath = '/dev/x'\nreason = 'r'\n[[device]]\npath = '/dev/x'\nreason = 's'",
                "6:8",
                "listed twice",
            ),
            ("[[provider]]\nname = 'XNNPACK'", "3:8", "small letters"),
            ("[[provider]]\nname = 'cudaexecutionprovider'", "3:8", "without `ExecutionProvider`"),
            ("[[provider]]\nname = 'cpu'\n[[provider]]\nname = 'cuda'", "3:8", "comes last"),
            ("[[provider]]\nname = 'qnn'\nrequires = ['x']", "4:12", "absolute paths"),
            ("[[provider]]\nname = 'qnn'\nrequire = []", "4:1", "did you mean `requires`?"),
            ("thread = 1", "2:1", "did you mean `threads`?"),
        ] {
            let error = refused(text);
            let place = format!("mine.toml:{place}");
            assert!(error.starts_with(&place), "{text}: {error}");
            assert!(error.contains(problem), "{text}: {error}");
            assert!(error.contains('^'), "{text}: {error}");
        }
        let unnamed = BoardProfile::parse("mine.toml", "name = 'My Board'").expect_err("refused");
        assert!(unnamed.to_string().starts_with("mine.toml:1:8: a name"), "{unnamed}");
    }

    #[test]
    fn a_profile_may_leave_everything_out_but_its_name() {
        let profile = BoardProfile::parse("mine.toml", "name = 'mine'").expect("sound");
        assert_eq!((profile.memory_percent(), profile.budget_of(1000)), (50, 500));
        assert!(BoardProfile::parse("mine.toml", "threads = 1").is_err());
    }

    #[test]
    fn a_way_that_ends_early_gives_the_last_thing_on_it() {
        let text = "[a]\nb = [1, 2]\n";
        let path = |keys: &[&str]| keys.iter().map(|k| (*k).to_owned()).collect::<Vec<_>>();
        assert_eq!(&text[place(text, &path(&["a", "b", "1"]))], "2");
        assert_eq!(&text[place(text, &path(&["a", "b", "9"]))], "[1, 2]");
        assert_eq!(place(text, &path(&["x"])), 0..0);
        assert_eq!(place("not = ", &path(&["not"])), 0..0);
    }
}

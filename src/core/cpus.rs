//! A list of CPUs, as Linux writes them: `0-3,6`.

use std::fmt;

/// One more than the largest number of a CPU that can be named: `CPU_SETSIZE` of glibc.
const MOST: usize = 1024;

/// CPUs by their numbers, rising, each once; none: any CPU will do.
#[derive(Debug, Clone, PartialEq, Eq, Default, Hash)]
pub struct CpuList(Vec<usize>);

impl CpuList {
    /// Reads `4-7` or `0,2-3`.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no list of CPUs: write it as \"4-7\" or \"0,2-3\"");
        let mut cpus = Vec::new();
        for part in text.trim().split(',') {
            let (low, high) = part.split_once('-').unwrap_or((part, part));
            let number = |n: &str| n.trim().parse::<usize>().map_err(|_| wrong());
            let (low, high) = (number(low)?, number(high)?);
            if high >= MOST {
                return Err(format!("CPU {high} is out of range: 0 to {}", MOST - 1));
            }
            if low > high {
                return Err(wrong());
            }
            cpus.extend(low..=high);
        }
        Ok(cpus.into_iter().collect())
    }

    /// The numbers.
    pub fn as_slice(&self) -> &[usize] {
        &self.0
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether any CPU will do.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those that are not in `others`.
    #[must_use]
    pub fn without(&self, others: &Self) -> Self {
        self.0.iter().copied().filter(|cpu| !others.0.contains(cpu)).collect()
    }
}

impl FromIterator<usize> for CpuList {
    fn from_iter<T: IntoIterator<Item = usize>>(numbers: T) -> Self {
        let mut cpus: Vec<usize> = numbers.into_iter().collect();
        cpus.sort_unstable();
        cpus.dedup();
        Self(cpus)
    }
}

/// As it is read: neighbours as a range.
impl fmt::Display for CpuList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let runs = self.0.chunk_by(|a, b| a + 1 == *b);
        for (index, run) in runs.enumerate() {
            let comma = if index == 0 { "" } else { "," };
            match run {
                [one] => write!(f, "{comma}{one}")?,
                [first, .., last] => write!(f, "{comma}{first}-{last}")?,
                [] => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_and_written_as_linux_has_them() {
        for (text, numbers, written) in [
            ("4-7", &[4, 5, 6, 7][..], "4-7"),
            ("0", &[0], "0"),
            ("6, 0-1,1\n", &[0, 1, 6], "0-1,6"),
            ("1023", &[1023], "1023"),
        ] {
            let list = CpuList::parse(text).expect("a list");
            assert_eq!((list.as_slice(), list.to_string().as_str()), (numbers, written));
            assert_eq!(CpuList::parse(&list.to_string()), Ok(list));
        }
    }

    #[test]
    fn what_is_no_list_is_refused_in_words() {
        for wrong in ["", "x", "3-1", "1-", "-1", "1,,2", "0-3;4"] {
            let problem = CpuList::parse(wrong).expect_err("refused");
            assert!(problem.contains("no list of CPUs"), "{wrong}: {problem}");
        }
        assert!(CpuList::parse("0-1024").expect_err("refused").contains("0 to 1023"));
    }

    #[test]
    fn what_is_missing_is_found() {
        let (wanted, there) = (CpuList::parse("4-7"), CpuList::parse("0-5"));
        let missing = wanted.expect("a list").without(&there.expect("a list"));
        assert_eq!(missing.to_string(), "6-7");
        assert!(CpuList::default().is_empty());
    }
}

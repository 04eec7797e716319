//! Which CPUs ONNX Runtime's threads are kept on, as its session options want it said.

use crate::core::cpus::CpuList;

/// The value of `session.intra_op_thread_affinities`; none: nothing is to be set.
///
/// One entry for each thread but the caller's, which is ours to keep; CPUs are counted from 1, and an
/// entry is a range or a list, not both
/// (<https://onnxruntime.ai/docs/performance/tune-performance/threading.html>). Every thread gets all
/// the CPUs: which of them is free the kernel knows best.
pub fn thread_affinities(threads: usize, cpus: &CpuList) -> Option<String> {
    let started = threads.checked_sub(1).filter(|n| *n > 0)?;
    let cpus = cpus.as_slice();
    let (first, last) = (cpus.first()?, cpus.last()?);
    let entry = if last - first + 1 == cpus.len() && first != last {
        format!("{}-{}", first + 1, last + 1)
    } else {
        cpus.iter().map(|cpu| (cpu + 1).to_string()).collect::<Vec<_>>().join(",")
    };
    Some(vec![entry; started].join(";"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_thread_but_the_callers_has_its_cpus_counted_from_1() {
        for (threads, cpus, value) in [
            (4, "4-7", Some("5-8;5-8;5-8")),
            (2, "4-7", Some("5-8")),
            (3, "0,2", Some("1,3;1,3")),
            (2, "5", Some("6")),
            (3, "0-1,6", Some("1,2,7;1,2,7")),
            (1, "4-7", None),
            (0, "4-7", None),
        ] {
            let cpus = CpuList::parse(cpus).expect("a list");
            assert_eq!(thread_affinities(threads, &cpus).as_deref(), value, "{threads} {cpus}");
        }
        assert_eq!(thread_affinities(4, &CpuList::default()), None);
    }
}

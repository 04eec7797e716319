//! Limits on memory that the kernel's control groups set: version 1, version 2, and both at once.

use std::path::{Path, PathBuf};

/// Version 1 writes "no limit" as the largest whole page that it can count.
const UNLIMITED: u64 = 1 << 62;

/// A limit, and who uses how much of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CgroupLimit {
    /// The file that sets it.
    pub file: PathBuf,
    /// The limit, in bytes.
    pub limit_bytes: u64,
    /// What all processes in the group use that the kernel cannot take back, in bytes.
    pub used_bytes: u64,
}

impl CgroupLimit {
    /// What is left to a process that holds `own_bytes` of what is used already.
    pub const fn room_bytes(&self, own_bytes: u64) -> u64 {
        self.limit_bytes.saturating_sub(self.used_bytes.saturating_sub(own_bytes))
    }
}

/// Every limit on this process: of its own groups and of those above them. `root` holds `proc` and
/// `sys`.
pub fn limits(root: &Path) -> Vec<CgroupLimit> {
    let groups = std::fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    groups.lines().flat_map(|line| hierarchy(root, line)).collect()
}

/// The lowest limit, in bytes.
pub fn lowest(root: &Path) -> Option<u64> {
    limits(root).into_iter().map(|l| l.limit_bytes).min()
}

/// The limits along one line of `/proc/self/cgroup`: `0::/a/b`, or `4:memory:/a/b`.
fn hierarchy(root: &Path, line: &str) -> Vec<CgroupLimit> {
    let mut parts = line.splitn(3, ':');
    let (Some(number), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next())
    else {
        return Vec::new();
    };
    let mounted = root.join("sys/fs/cgroup");
    let (tops, files): (&[&str], &[&str]) = match controllers {
        // Beside version 1, version 2 has a folder of its own.
        "" if number == "0" => (&["", "unified"], &["memory.max", "memory.high"]),
        list if list.split(',').any(|c| c == "memory") => (&["memory"], &["memory.limit_in_bytes"]),
        _ => return Vec::new(),
    };
    let tops = tops.iter().map(|top| mounted.join(top));
    tops.flat_map(|top| walk(&top, path)).flat_map(|dir| read(&dir, files)).collect()
}

/// The folder of `path` below `top`, and those above it. In a container the path may be the host's,
/// and its folders not be there; the topmost is the container's own then.
fn walk(top: &Path, path: &str) -> Vec<PathBuf> {
    let mut folders = vec![top.to_owned()];
    for part in path.split('/').filter(|part| !matches!(*part, "" | "." | "..")) {
        let next = folders.last().expect("the top at least").join(part);
        folders.push(next);
    }
    folders
}

fn read(dir: &Path, files: &[&str]) -> Vec<CgroupLimit> {
    let number = |name: &str| -> Option<u64> {
        std::fs::read_to_string(dir.join(name)).ok()?.trim().parse().ok()
    };
    let limit = |name: &&str| -> Option<CgroupLimit> {
        let limit_bytes = number(name).filter(|bytes| *bytes < UNLIMITED)?;
        let all = number("memory.current").or_else(|| number("memory.usage_in_bytes"));
        let used_bytes = all.unwrap_or(0).saturating_sub(reclaimable(dir));
        Some(CgroupLimit { file: dir.join(name), limit_bytes, used_bytes })
    };
    files.iter().filter_map(limit).collect()
}

/// The page cache of a group, which gives way.
fn reclaimable(dir: &Path) -> u64 {
    let stat = std::fs::read_to_string(dir.join("memory.stat")).unwrap_or_default();
    let field = |name: &str| {
        let value = stat.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(' '));
        value.and_then(|v| v.trim().parse::<u64>().ok())
    };
    // Version 1 counts the groups below under names of their own.
    let both = |name: &str| field(&format!("total_{name}")).or_else(|| field(name)).unwrap_or(0);
    both("active_file") + both("inactive_file")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a directory");
        for (name, text) in files {
            let path = root.path().join(name);
            std::fs::create_dir_all(path.parent().expect("inside")).expect("a directory");
            std::fs::write(path, text).expect("writable");
        }
        root
    }

    fn found(files: &[(&str, &str)]) -> Vec<(u64, u64)> {
        let root = root(files);
        limits(root.path()).iter().map(|l| (l.limit_bytes, l.used_bytes)).collect()
    }

    #[test]
    fn version_2_counts_the_maximum_and_the_throttle_of_every_level() {
        let limits = found(&[
            ("proc/self/cgroup", "0::/a/b\n"),
            ("sys/fs/cgroup/a/memory.max", "max\n"),
            ("sys/fs/cgroup/a/memory.high", "700\n"),
            ("sys/fs/cgroup/a/memory.current", "650\n"),
            ("sys/fs/cgroup/a/memory.stat", "anon 1\nactive_file 100\ninactive_file 50\n"),
            ("sys/fs/cgroup/a/b/memory.max", "900\n"),
        ]);
        assert_eq!(limits, [(700, 500), (900, 0)]);
    }

    #[test]
    fn version_1_counts_the_limit_of_every_level_and_its_unlimited_is_none() {
        let files = [
            ("proc/self/cgroup", "4:cpu:/x\n3:blkio,memory:/a/b\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "1000\n"),
            ("sys/fs/cgroup/memory/a/memory.usage_in_bytes", "800\n"),
            ("sys/fs/cgroup/memory/a/memory.stat", "active_file 1\ntotal_active_file 300\n"),
            ("sys/fs/cgroup/memory/a/b/memory.limit_in_bytes", "2000\n"),
            ("sys/fs/cgroup/memory/x/memory.limit_in_bytes", "5\n"),
        ];
        assert_eq!(found(&files), [(1000, 500), (2000, 0)]);
        assert_eq!(lowest(root(&files).path()), Some(1000));
    }

    #[test]
    fn both_versions_at_once_and_containers_are_understood() {
        let hybrid = found(&[
            ("proc/self/cgroup", "4:memory:/a\n0::/u\n"),
            ("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "1000"),
            ("sys/fs/cgroup/unified/u/memory.max", "600"),
        ]);
        assert_eq!(hybrid, [(1000, 0), (600, 0)]);
        // The path is the host's; what is mounted here begins with the container.
        let container = found(&[
            ("proc/self/cgroup", "4:memory:/docker/0a1b\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "512"),
        ]);
        assert_eq!(container, [(512, 0)]);
        for odd in ["", "nonsense", "0:", "4:memory", "0::/../../etc"] {
            assert_eq!(found(&[("proc/self/cgroup", odd)]), []);
        }
    }

    #[test]
    fn others_in_the_group_take_from_the_room() {
        let limit = CgroupLimit { file: "f".into(), limit_bytes: 1000, used_bytes: 300 };
        assert_eq!(limit.room_bytes(100), 800);
        assert_eq!(limit.room_bytes(400), 1000, "our own may be charged elsewhere");
        assert_eq!(CgroupLimit { used_bytes: 2000, ..limit }.room_bytes(0), 0);
    }
}

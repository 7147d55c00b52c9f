//! How much memory the work may take: what the user says, or half of what the machine can spare.

use std::path::Path;

/// Where nothing is known about the machine.
const FALLBACK: usize = 2 << 30;

/// The budget in bytes: as typed, or half of the memory that is available.
pub(crate) fn budget(typed: Option<usize>) -> usize {
    typed.or_else(|| Some(available()? / 2)).unwrap_or(FALLBACK)
}

/// What the system says it could hand out, or the group of processes we run in if that is less.
fn available() -> Option<usize> {
    let system =
        std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| mem_available(&text));
    system.into_iter().chain(group_limit()).min()
}

fn mem_available(meminfo: &str) -> Option<usize> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: usize = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// The tightest limit among our control group and those around it (version 2), or ours (version 1).
fn group_limit() -> Option<usize> {
    let read = |path: &Path| std::fs::read_to_string(path).ok()?.trim().parse::<usize>().ok();
    let root = Path::new("/sys/fs/cgroup");
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let own = groups.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
    let around = Path::new(own).ancestors().map(|group| root.join(group).join("memory.max"));
    let version1 = root.join("memory/memory.limit_in_bytes");
    around.chain([version1]).filter_map(|path| read(&path)).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_counts() {
        assert_eq!(budget(Some(7)), 7);
        assert!(budget(None) > 0);
    }

    #[test]
    fn meminfo_is_in_kib() {
        let text = "MemTotal:       24000 kB\nMemAvailable:   1000 kB\n";
        assert_eq!(mem_available(text), Some(1_024_000));
        assert_eq!(mem_available("MemTotal: 1 kB"), None);
    }
}

//! How much memory the work may take: what the user says, or half of what the machine can spare.

use std::path::Path;

/// Where nothing is known about the machine.
const FALLBACK: usize = 2 << 30;

/// The budget in bytes for what is still to be computed: as typed, less what the program holds already,
/// or half of the memory that is available.
pub(crate) fn budget(typed: Option<usize>) -> usize {
    match typed {
        Some(typed) => left_of(typed, resident().unwrap_or(0)),
        None => available().map_or(FALLBACK, |available| available / 2),
    }
}

/// A program that holds nearly all of it already is not told that it has nothing: the data are most of
/// what it holds, and results are of about their size.
fn left_of(typed: usize, resident: usize) -> usize {
    typed.saturating_sub(resident).max(typed / 4)
}

/// Memory that this process holds.
fn resident() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    field(&status, "VmRSS:")
}

/// What the system says it could hand out, or the group of processes we run in if that is less.
fn available() -> Option<usize> {
    let system =
        std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| mem_available(&text));
    system.into_iter().chain(group_limit()).min()
}

fn mem_available(meminfo: &str) -> Option<usize> {
    field(meminfo, "MemAvailable:")
}

/// A field in KiB of one of the system's lists, in bytes.
fn field(text: &str, name: &str) -> Option<usize> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
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
        assert_eq!(left_of(1000, 100), 900);
        assert_eq!(left_of(1000, 2000), 250);
        assert!(budget(Some(1 << 40)) < 1 << 40 && budget(None) > 0);
    }

    #[test]
    fn meminfo_is_in_kib() {
        let text = "MemTotal:       24000 kB\nMemAvailable:   1000 kB\n";
        assert_eq!(mem_available(text), Some(1_024_000));
        assert_eq!(mem_available("MemTotal: 1 kB"), None);
    }
}

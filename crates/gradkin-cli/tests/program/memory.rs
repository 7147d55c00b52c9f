//! The memory that the program takes, as the system sees it.

use std::process::Stdio;
use std::time::Duration;

use gradkin_data::ArrayData;

use crate::support::{Folder, references};

/// The most memory in bytes that a run of the program held, read from outside while it runs.
fn peak(folder: &Folder, line: &str) -> usize {
    let mut command = folder.command(line.split_whitespace());
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut most = 0;
    loop {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let held = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        if let Some(kib) =
            held.and_then(|held| held.trim().trim_end_matches("kB").trim().parse::<usize>().ok())
        {
            most = most.max(1024 * kib);
        }
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success(), "{line}: {status}");
            return most;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// So many images, and the start of a command that compares them.
#[cfg(target_os = "linux")]
fn compared(folder: &Folder, examples: usize) -> String {
    let values: Vec<f32> =
        (0..examples * 784).map(|i| ((i * 7919) % 1013) as f32 / 1013.0).collect();
    folder.npy("x.npy", &[examples, 1, 28, 28], ArrayData::F32(values));
    format!("kernel {} x.npy -o k.npy", references().join("paper_cnn/model.onnx").display())
}

/// Where gradients are written out when pairs are taken, that counts too, and so does widening them.
#[test]
#[cfg(target_os = "linux")]
fn the_limit_holds_where_gradients_are_written_late() {
    const LIMIT: usize = 250 << 20;
    let folder = Folder::new();
    let line = compared(&folder, 1100);
    for storage in ["full", "f16"] {
        let limited = peak(&folder, &format!("{line} --storage {storage} --memory 250M"));
        assert!(limited <= LIMIT, "{storage}: {} MiB", limited >> 20);
    }
    let free = peak(&folder, &format!("{line} --memory 4G"));
    assert!(free > LIMIT, "the limit would not be noticed: {} MiB", free >> 20);
}

/// Features of all examples take more than they may.
#[test]
#[cfg(target_os = "linux")]
fn the_limit_holds() {
    const LIMIT: usize = 200 << 20;
    let folder = Folder::new();
    let line = format!("{} --outputs 0", compared(&folder, 2500));
    let limited = peak(&folder, &format!("{line} --memory 200M"));
    assert!(limited <= LIMIT, "{} MiB", limited >> 20);
    let free = peak(&folder, &format!("{line} --memory 4G"));
    assert!(free > LIMIT, "the limit would not be noticed: {} MiB", free >> 20);
}

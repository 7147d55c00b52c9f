//! Ctrl-C leaves no partial file.

#![cfg(unix)]

use std::process::{Command, Stdio};
use std::time::Duration;

use gradkin_data::ArrayData;

use crate::support::{Folder, Ran, references};

#[test]
fn ctrl_c_ends_with_130_and_leaves_nothing() {
    let folder = Folder::new();
    let values = (0..4000 * 784).map(|i| (i % 255) as u8).collect();
    folder.npy("x.npy", &[4000, 28, 28], ArrayData::U8(values));
    folder.npy("l.npy", &[4000], ArrayData::I64((0..4000).map(|i| i % 10).collect()));
    let model = references().join("paper_cnn/model.onnx");
    let before = folder.names();
    for (command, flags) in [
        ("kernel", "-o k.npy"),
        ("neighbors", "-o n.parquet"),
        ("density", "-o d.parquet"),
        ("density", "--hard 0.9 -o d.parquet --show d.png"),
        ("duplicates", "-o d.csv"),
        ("labels", "--labels l.npy -o l.parquet"),
        ("train", "--labels l.npy --enforce class -o t.onnx --metrics m.parquet"),
    ] {
        let child = folder
            .command([command.as_ref(), model.as_os_str(), "x.npy".as_ref()])
            .args(["--scale", "1/255", "--dtype", "f64", "--memory", "2G", "--threads", "2"])
            .args(flags.split(' '))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(1500));
        let id = child.id().to_string();
        assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
        let ran = Ran::new(child.wait_with_output().unwrap());
        assert_eq!(ran.code, Some(130), "{ran:?}");
        assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("", "interrupted\n"));
        assert_eq!(folder.names(), before);
    }
}

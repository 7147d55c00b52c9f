//! `gradkin demo` needs nothing, and what it recommends works.

use crate::support::{Folder, Ran, read_f64};

#[test]
fn an_empty_folder_is_enough() {
    let folder = Folder::new();
    let ran = folder.run("demo").succeeds();
    assert_eq!(folder.names(), ["gradkin-demo"]);
    let mut names: Vec<_> = std::fs::read_dir(folder.file("gradkin-demo"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let expected = [
        "digits-images.idx.gz",
        "digits-labels.idx.gz",
        "digits.onnx",
        "kernel.npy",
        "kernel.npy.json",
        "neighbors.csv",
        "neighbors.parquet",
        "neighbors.png",
    ];
    assert_eq!(names, expected);
    let (shape, kernel) = read_f64(&folder.file("gradkin-demo/kernel.npy"));
    assert_eq!(shape, [500, 500]);
    assert!((0..500).all(|i| (kernel[501 * i] - 1.0).abs() < 1e-4));
    let commands: Vec<&str> =
        ran.stdout.lines().filter_map(|line| line.strip_prefix("  gradkin ")).collect();
    assert!(commands.len() >= 4, "{}", ran.stdout);
    let there = folder.file("gradkin-demo");
    for command in commands {
        let mut program = folder.command(command.split_whitespace());
        Ran::new(program.current_dir(&there).output().unwrap()).succeeds();
    }
}

#[test]
fn most_nearest_neighbours_share_their_label() {
    let folder = Folder::new();
    let ran = folder.run("demo -o elsewhere/deep").succeeds();
    let share = ran
        .stdout
        .lines()
        .find_map(|line| line.strip_prefix("nearest neighbours with the query's own label: "));
    let share: f64 = share.unwrap().split_whitespace().next().unwrap().parse().unwrap();
    assert!(share > 90.0, "{share}");
    assert!(folder.file("elsewhere/deep/neighbors.png").exists());
}

//! The conventions of the command line.

use std::process::Stdio;

use crate::support::Folder;

#[test]
fn help_has_examples_and_version_a_number() {
    let folder = Folder::new();
    for command in [
        "",
        "demo ",
        "inspect ",
        "kernel ",
        "neighbors ",
        "density ",
        "duplicates ",
        "labels ",
        "completions ",
    ] {
        let ran = folder.run(&format!("{command}--help")).succeeds();
        assert!(ran.stdout.contains("Examples:\n  gradkin "), "{ran:?}");
        assert!(ran.stdout.lines().all(|line| line.chars().count() <= 100), "{}", ran.stdout);
    }
    let version = folder.run("--version").succeeds().stdout;
    assert_eq!(version, format!("gradkin {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn completions_for_every_shell() {
    let folder = Folder::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ran = folder.run(&format!("completions {shell}")).succeeds();
        assert!(ran.stdout.contains("neighbors"), "{shell}");
    }
}

#[test]
fn what_is_mistyped_is_named() {
    let folder = Folder::with_relu();
    for (flags, word) in [
        ("--outputs logits", "--outputs"),
        ("--memory lots", "--memory"),
        ("--threads 0", "--threads"),
        ("--kind cosine", "inner"),
        ("--scale a", "--scale"),
        ("--device gpu", "`gpu` is no device; expected cpu, cuda, cuda:N or metal"),
        ("--missing", "--missing"),
    ] {
        let ran = folder.run(&format!("neighbors m.onnx x.npy {flags}"));
        assert_eq!(ran.code, Some(2), "{ran:?}");
        assert!(ran.stderr.starts_with("error: ") && ran.stderr.contains(word), "{ran:?}");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let folder = Folder::with_relu();
    let mut child = folder
        .command(["neighbors", "m.onnx", "x.npy"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(!stderr.contains("error"), "{stderr}");
}

#[test]
fn colour_only_where_it_is_wanted() {
    let folder = Folder::with_relu();
    let escape = '\u{1b}';
    let plain = folder.run("neighbors m.onnx x.npy --format table").succeeds();
    assert!(!plain.stdout.contains(escape) && !plain.stderr.contains(escape));
    let colored = folder.run("neighbors m.onnx x.npy --format table --color always").succeeds();
    assert!(colored.stdout.contains(escape));
}

#[test]
fn quiet_and_verbose() {
    let folder = Folder::with_relu();
    let quiet = folder.run("kernel m.onnx x.npy --take 9 -q -o k.npy").succeeds();
    assert_eq!((quiet.stdout.as_str(), quiet.stderr.as_str()), ("", ""));
    let verbose = folder.run("kernel m.onnx x.npy --take 9 -v --threads 1 -o k.npy").succeeds();
    assert!(verbose.stderr.contains("1 thread"), "{verbose:?}");
    assert!(verbose.stderr.contains("multiply-adds a pair"), "{verbose:?}");
}

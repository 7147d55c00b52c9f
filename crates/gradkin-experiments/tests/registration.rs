//! The registration experiment as a whole, small.
#![allow(clippy::unwrap_used)]

use gradkin_experiments::{Setup, registration};

/// Without it every tensor is a call to the system, and the test takes twice as long.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[test]
fn labels_out_of_line_teach_to_bring_them_into_line() {
    let folder = tempfile::tempdir().unwrap();
    let setup = Setup {
        quick: true,
        threads: 1,
        ..Setup::new(folder.path().join("registration"), &|_, _, _| true)
    };
    let summary = registration::run(&setup).unwrap();
    assert!(summary.files.iter().all(|file| file.exists()));
    let page = std::fs::read_to_string(&summary.page).unwrap();
    for name in [
        "errors.svg",
        "training.svg",
        "foretold.svg",
        "scene.png",
        "neighbours.png",
        "neighbours_rotation.png",
        "buildings.parquet",
        "patches.parquet",
    ] {
        assert!(page.contains(name), "{name} is not on the page");
        assert!(summary.page.with_file_name(name).exists(), "{name}");
    }
    assert_eq!(summary.left_out.len(), 1, "the real image is not given: {:?}", summary.left_out);
    let [before, after] =
        ["median_error_before", "median_error_after"].map(|name| summary.number(name).unwrap());
    assert!(after < before, "{after} px after training, {before} px before");
}

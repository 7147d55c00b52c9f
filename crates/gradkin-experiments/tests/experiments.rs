//! Every experiment in its quick form: the page, its figures and its tables are there, and the numbers
//! are sound.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, clippy::panic)]

use std::path::{Path, PathBuf};

use gradkin_experiments::{Error, Setup, Summary, mnist, shared_folder, toy};

/// Data beside the checkout, or where the environment says.
fn shared() -> Option<PathBuf> {
    let named = std::env::var_os("GRADKIN_SHARED").map(PathBuf::from);
    shared_folder(named, Path::new(env!("CARGO_MANIFEST_DIR")))
}

fn setup<'a>(folder: &Path, watch: &'a (dyn Fn(&str, u64, u64) -> bool + Sync)) -> Setup<'a> {
    Setup { quick: true, seed: 1, shared: shared(), ..Setup::new(folder, watch) }
}

/// Every file that the page names exists, and every number is finite.
fn check(summary: &Summary, figures: &[&str], tables: &[&str]) -> String {
    let folder = summary.page.parent().unwrap();
    let page = std::fs::read_to_string(&summary.page).unwrap();
    for figure in figures {
        assert!(page.contains(&format!("({figure}.svg)")), "{figure} on the page");
        let svg = std::fs::read_to_string(folder.join(format!("{figure}.svg"))).unwrap();
        assert!(svg.starts_with("<svg"), "{figure}");
        let png = std::fs::read(folder.join(format!("{figure}.png"))).unwrap();
        assert!(png.starts_with(b"\x89PNG"), "{figure}");
    }
    for table in tables {
        let bytes = std::fs::read(folder.join(format!("{table}.parquet"))).unwrap();
        assert!(bytes.starts_with(b"PAR1") && bytes.len() < 300_000, "{table}: {}", bytes.len());
    }
    for (name, value) in &summary.numbers {
        assert!(value.is_finite(), "{name} is {value}");
    }
    assert!(page.contains("## Settings") && page.contains("Run time"));
    assert!(!page.contains("NaN"), "{page}");
    page
}

#[test]
fn toy_density() {
    let folder = tempfile::tempdir().unwrap();
    let summary = toy::run(&setup(folder.path(), &|_, _, _| true)).unwrap();
    let figures = ["frequency", "position", "curvature", "training"];
    let page = check(&summary, &figures, &["runs", "counts"]);
    assert!(page.contains("Fewer epochs than the paper's"));
    let number = |name: &str| summary.number(name).expect(name);
    assert!(number("rmse f=1") < 0.2, "{}", number("rmse f=1"));
    for frequency in [1, 4] {
        let density = number(&format!("density f={frequency}"));
        assert!(density > 0.0 && density <= 1.0, "f = {frequency}: {density}");
    }
    assert!(number("density f=4") < number("density f=1"), "{:?}", summary.numbers);
    assert!(number("gap of soft counts") < 1e-4);
}

#[test]
fn mnist_with_similarity_enforced() {
    let folder = tempfile::tempdir().unwrap();
    let summary = mnist::run(&setup(folder.path(), &|_, _, _| true)).unwrap();
    for line in &summary.left_out {
        println!("{line}");
    }
    check(&summary, &["accuracy", "gain"], &["curves"]);
    for lambda in ["0", "0.3"] {
        let accuracy = summary.number(&format!("accuracy λ={lambda}")).unwrap();
        // Ten classes; thirty steps are enough to leave chance behind.
        assert!(accuracy > 0.12 && accuracy <= 1.0, "λ = {lambda}: {accuracy}");
    }
    let unlike = summary.number("dissimilarity λ=0.3").unwrap();
    assert!((0.0..=2.0).contains(&unlike), "{unlike}");
}

#[test]
fn made_up_pictures_stand_in() {
    let folder = tempfile::tempdir().unwrap();
    let settings = mnist::MnistSettings {
        runs: 2,
        grid: vec![2, 4],
        validation: 50,
        ..mnist::MnistSettings::quick()
    };
    let without = Setup { shared: None, ..setup(folder.path(), &|_, _, _| true) };
    let summary = mnist::run_with(&without, &settings).unwrap();
    assert!(summary.left_out[0].starts_with("LEFT OUT: MNIST"), "{:?}", summary.left_out);
    check(&summary, &["accuracy", "gain"], &["curves"]);
    let full = Setup { quick: false, ..without };
    assert!(matches!(mnist::run_with(&full, &settings), Err(Error::Missing { .. })));
}

#[test]
fn a_watcher_stops_an_experiment() {
    let folder = tempfile::tempdir().unwrap();
    let stopped = toy::run(&setup(folder.path(), &|_, done, _| done < 3));
    assert!(matches!(stopped, Err(Error::Cancelled)));
    assert!(!folder.path().join("index.md").exists());
}

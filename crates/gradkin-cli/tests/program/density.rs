//! `gradkin density` against the kernel's own sums.

use crate::support::{Csv, Folder, distance, parquet, read_f64, references, shared};

/// Sums over the rows of the kernel that `gradkin kernel` writes.
struct Brute {
    rows: Vec<Vec<f64>>,
}

impl Brute {
    fn new(folder: &Folder, files_and_flags: &str) -> Self {
        folder.run(&format!("kernel {files_and_flags} -o brute.npy")).succeeds();
        let (shape, values) = read_f64(&folder.file("brute.npy"));
        Self { rows: values.chunks(shape[1]).map(<[f64]>::to_vec).collect() }
    }

    fn sums(&self, of: impl Fn(f64) -> f64) -> Vec<f64> {
        self.rows.iter().map(|row| row.iter().map(|k| of(*k)).sum()).collect()
    }

    fn hard(&self, threshold: f64) -> Vec<f64> {
        self.sums(|k| f64::from(u8::from(k >= threshold)))
    }

    fn power(&self, exponent: f64) -> Vec<f64> {
        self.sums(|k| k.max(0.0).powf(exponent))
    }
}

fn check(found: &[f64], expected: &[f64], most: f64, what: &str) {
    let distance = distance(found, expected);
    assert!(distance <= most, "{what}: {distance:e}");
}

#[test]
fn counts_are_the_kernels_sums() {
    let folder = Folder::new();
    for name in ["paper_cnn", "resnet_bn", "tied", "toy_mlp", "transformer"] {
        let place = references().join(name);
        let files =
            format!("{} {}", place.join("model.onnx").display(), place.join("input.npy").display());
        for (dtype, most) in [("f64", 1e-9), ("f32", 1e-4)] {
            let files = format!("{files} --dtype {dtype}");
            let brute = Brute::new(&folder, &files);
            let n = brute.rows.len() as f64;
            let line = format!("density {files} --power 2,2.5 -o d.csv");
            folder.run(&line).succeeds();
            let pairs = Csv::read(&folder.file("d.csv"));
            folder.run(&format!("density {files} -o d.csv")).succeeds();
            let linear = Csv::read(&folder.file("d.csv"));
            assert_eq!(linear.names, ["example", "soft", "soft_share"]);
            for table in [&pairs, &linear] {
                check(&table.numbers("soft"), &brute.sums(|k| k), most, name);
                let shares: Vec<f64> = table.numbers("soft_share").iter().map(|s| s * n).collect();
                check(&shares, &table.numbers("soft"), 1e-12, name);
            }
            check(&pairs.numbers("power_2"), &brute.power(2.0), most, name);
            check(&pairs.numbers("power_2.5"), &brute.power(2.5), most, name);
        }
    }
}

#[test]
fn hard_counts_and_examples_without_a_similarity() {
    let folder = Folder::with_relu();
    let brute = Brute::new(&folder, "m.onnx x.npy");
    let ran = folder.run("density m.onnx x.npy --hard 0.90,0.5,0.9 --power 1").succeeds();
    assert!(
        ran.stderr.contains("warning: similarity is undefined for 1 of 10 examples"),
        "{ran:?}"
    );
    assert!(ran.stderr.contains("counted against 9 examples of x.npy"), "{ran:?}");
    let table = Csv::new(&ran.stdout);
    let expected = ["soft", "hard_0.9", "hard_0.5", "power_1"];
    let expected = expected.iter().flat_map(|name| [name.to_string(), format!("{name}_share")]);
    let expected: Vec<String> = ["example".to_owned()].into_iter().chain(expected).collect();
    assert_eq!(table.names, expected);
    assert_eq!(table.column("soft")[9], "");
    assert_eq!(table.column("hard_0.9_share")[9], "");
    assert_eq!(&table.numbers("hard_0.9")[..9], brute.hard(0.9));
    assert_eq!(&table.numbers("hard_0.5")[..9], brute.hard(0.5));
    check(&table.numbers("power_1")[..9], &brute.power(1.0), 1e-5, "power 1");
    let shares = table.numbers("hard_0.9_share");
    assert!((shares[0] - brute.hard(0.9)[0] / 9.0).abs() < 1e-12);
}

#[test]
fn another_set_counts_and_the_query_does_not() {
    let folder = Folder::with_relu();
    folder.rows("y.npy", 7);
    for flags in ["", " --kind influence", " --kind inner", " --reduce rotation"] {
        let files = format!("m.onnx y.npy --against x.npy --dtype f64{flags}");
        let brute = Brute::new(&folder, &files);
        let ran = folder.run(&format!("density {files} --power 2")).succeeds();
        let table = Csv::new(&ran.stdout);
        let defined = brute.rows.len();
        let soft = table.numbers("soft");
        assert!(soft[defined..].iter().all(|v| v.is_nan()), "{soft:?}");
        check(&soft[..defined], &brute.sums(|k| k), 1e-9, flags);
        check(&table.numbers("power_2")[..defined], &brute.power(2.0), 1e-9, flags);
        let share = table.numbers("soft_share")[0] * brute.rows[0].len() as f64;
        assert!((share - soft[0]).abs() < 1e-9 * soft[0].abs(), "{share} {}", soft[0]);
        assert_eq!(ran.stderr.contains("unlike anything in it"), !flags.contains("in"), "{ran:?}");
    }
}

#[test]
fn counts_by_class_add_up() {
    let folder = Folder::with_relu();
    folder.write("labels.txt", "cat\nshare\ndog\n".repeat(3) + "cat\n");
    let brute = Brute::new(&folder, "m.onnx x.npy --dtype f64");
    let files = "m.onnx x.npy --labels labels.txt --dtype f64 --hard 0.9";
    let table = Csv::new(&folder.run(&format!("density {files}")).succeeds().stdout);
    assert_eq!(table.column("given_label")[1], "share");
    assert_eq!(table.names[6..], ["soft_cat", "soft_dog", "soft_share_", "outlier_score"]);
    for (first, name) in [(0, "soft_cat"), (2, "soft_dog"), (1, "soft_share_")] {
        let of_class = |row: &Vec<f64>| row.iter().skip(first).step_by(3).sum::<f64>();
        let expected: Vec<f64> = brute.rows.iter().map(of_class).collect();
        check(&table.numbers(name)[..9], &expected, 1e-9, name);
    }
    // The largest of the classes' means; the last cat has no similarity and is not among them.
    let means = ["soft_cat", "soft_dog", "soft_share_"].map(|name| table.numbers(name));
    let largest = |i: usize| means.iter().map(|counts| counts[i] / 3.0).fold(-1.0, f64::max);
    let expected: Vec<f64> = (0..9).map(largest).collect();
    check(&table.numbers("outlier_score")[..9], &expected, 1e-12, "outlier_score");
    assert_eq!(table.column("outlier_score")[9], "");
    // Gradients' inner products have no scale on which to be low.
    let inner = folder.run(&format!("density {files} --kind inner")).succeeds();
    assert!(!Csv::new(&inner.stdout).names.contains(&"outlier_score".to_owned()));
    // Classes are those of the set that is counted against.
    folder.rows("y.npy", 5);
    folder.write("train.txt", "dog\ncat\n".repeat(5));
    folder.write("own.txt", "cow\n".repeat(5));
    let line = "density m.onnx y.npy --labels own.txt --against x.npy --against-labels train.txt";
    let table = Csv::new(&folder.run(line).succeeds().stdout);
    let expected =
        ["example", "given_label", "soft", "soft_share", "soft_cat", "soft_dog", "outlier_score"];
    let mut names = table.names.clone();
    names.sort();
    let mut sorted = expected.to_vec();
    sorted.sort_unstable();
    assert_eq!(names, sorted);
    assert_eq!(table.column("given_label")[0], "cow");
}

#[test]
fn a_sample_estimates_with_errors() {
    let folder = Folder::new();
    folder.run("demo -q").succeeds();
    let data = "gradkin-demo/digits.onnx gradkin-demo/digits-images.idx.gz --scale 1/16";
    let run = |flags: &str| {
        Csv::new(
            &folder.run(&format!("density {data} --hard 0.8 --power 3 {flags}")).succeeds().stdout,
        )
    };
    let (exact, estimate) = (run(""), run("--sample 120 --seed 5"));
    assert!(!estimate.names.contains(&"soft_error".to_owned()), "{:?}", estimate.names);
    // Soft counts need no sample.
    check(&estimate.numbers("soft"), &exact.numbers("soft"), 1e-5, "soft");
    for name in ["hard_0.8", "power_3"] {
        let errors = estimate.numbers(&format!("{name}_error"));
        let values = exact.numbers(name).into_iter().zip(estimate.numbers(name)).zip(&errors);
        let squares: Vec<f64> = values
            .filter(|(_, error)| **error > 0.0)
            .map(|((exact, found), error)| ((exact - found) / error).powi(2))
            .collect();
        let mean = squares.iter().sum::<f64>() / squares.len() as f64;
        // One sample serves all examples, so that their errors go together.
        assert!(squares.len() > 400 && (0.02..4.0).contains(&mean), "{name}: {mean}");
    }
    // The same examples; threads add them up in any order.
    let again = run("--sample 120 --seed 5").numbers("power_3");
    check(&again, &estimate.numbers("power_3"), 1e-12, "the same seed");
    let other = run("--sample 120 --seed 6").numbers("power_3");
    assert!(distance(&other, &estimate.numbers("power_3")) > 1e-3);
    let whole = run("--sample 5000");
    check(&whole.numbers("power_3"), &exact.numbers("power_3"), 1e-9, "whole");
    assert!(whole.numbers("power_3_error").iter().all(|error| *error == 0.0));
}

#[test]
fn formats_settings_and_people() {
    let folder = Folder::with_relu();
    for name in ["d.csv", "d.json", "d.jsonl", "d.parquet"] {
        let ran = folder.run(&format!("density m.onnx x.npy --hard 0.9 -o {name}")).succeeds();
        assert_eq!(ran.stdout, "");
        assert!(ran.stderr.contains(&format!("wrote {name} (10 rows)")), "{ran:?}");
    }
    let (names, settings) = parquet(&folder.file("d.parquet"));
    assert_eq!(names, ["example", "soft", "soft_share", "hard_0.9", "hard_0.9_share"]);
    assert_eq!(settings["command"], "density");
    assert_eq!(settings["hard"], serde_json::json!([0.9]));
    assert_eq!(settings["counted_against"], 9);
    assert_eq!(settings["undefined_examples"]["zero_gradient"], serde_json::json!([9]));
    let json = folder.run("density m.onnx x.npy --format json").succeeds().stdout;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert!(json[9]["soft"].is_null() && json[0]["soft"].is_number());
    let table = folder.run("density m.onnx x.npy --hard 0.9 --format table").succeeds().stdout;
    for words in ["soft_share of the examples", "lowest", "highest", "median", "hard_0.9"] {
        assert!(table.contains(words), "no {words:?} in {table}");
    }
    assert!(table.contains("effective neighbours"), "{table}");
}

#[test]
fn what_makes_no_sense_is_refused() {
    let folder = Folder::with_relu();
    let before = folder.names();
    let refused = |flags: &str, words: &[&str]| {
        folder.run(&format!("density m.onnx x.npy {flags} -o d.csv")).refused(words);
        assert_eq!(folder.names(), before);
    };
    refused("--hard 1.5", &["--hard 1.5", "-1 to 1"]);
    refused("--hard 0.9,-2", &["--hard -2"]);
    refused("--power 0", &["--power 0", "above 0"]);
    refused("--reduce none", &["--reduce none", "hint: use --reduce trace"]);
    refused("--sample 5", &["nothing to estimate", "--hard"]);
    refused("--sample 1 --hard 0.9", &["at least 2"]);
    refused("--sample 5 --hard 0.9 --kind inner", &["--kind correlation"]);
    refused("--show d.png", &["no images"]);
    let ran = folder.run("density m.onnx x.npy --hard high");
    assert_eq!(ran.code, Some(2));
    folder.rows("dead.npy", 1);
    folder.run("density m.onnx dead.npy").fails(1, &["no example of dead.npy has a similarity"]);
    folder.run("density m.onnx x.npy --against dead.npy").fails(1, &["no example of dead.npy"]);
}

#[test]
fn the_loneliest_on_a_sheet() {
    let folder = Folder::new();
    folder.run("demo -q").succeeds();
    let data = "gradkin-demo/digits.onnx gradkin-demo/digits-images.idx.gz --scale 1/16 --take 60";
    folder.run(&format!("density {data} --show low.png --show-rows 7")).succeeds();
    assert!(std::fs::read(folder.file("low.png")).unwrap().starts_with(b"\x89PNG"));
}

#[test]
fn test_images_are_familiar_and_turned_ones_less() {
    let Some(images) = shared("density of MNIST", "mnist/t10k-images-idx3-ubyte.gz") else {
        return;
    };
    let Some(model) = shared("density of MNIST", "models/mnist/mnist_cnn.onnx") else { return };
    let folder = Folder::new();
    let pixels = gradkin_data::Dataset::open(images.display().to_string(), &Default::default());
    let pixels = pixels.unwrap().take(200);
    let mut turned = Vec::new();
    for i in 0..200 {
        let picture = pixels.picture(i).unwrap();
        turned.extend((0..784).map(|at| picture.rgb[3 * (28 * (at % 28) + 27 - at / 28)]));
    }
    folder.npy("turned.npy", &[200, 28, 28], gradkin_data::ArrayData::U8(turned));
    let median = |data: &str| {
        let line = format!(
            "density {} {data} --against {} --take 200 --scale 1/255 --mean 0.1307 --std 0.3081",
            model.display(),
            images.display()
        );
        let mut shares = Csv::new(&folder.run(&line).succeeds().stdout).numbers("soft_share");
        shares.sort_by(f64::total_cmp);
        shares[100]
    };
    let (upright, turned) = (median(&images.display().to_string()), median("turned.npy"));
    assert!(turned < upright, "{turned} {upright}");
}

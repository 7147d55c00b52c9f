//! `gradkin duplicates` against the kernel.

use gradkin_data::ArrayData;

use crate::support::{Csv, Folder, parquet, read_f64};

/// Twelve examples for the small network: the eighth repeats the third, the tenth nearly the first,
/// and the last is dead.
fn with_copies() -> Folder {
    let folder = Folder::with_relu();
    let mut values: Vec<f32> = (0..48).map(|i| 0.2 + (i * i % 23) as f32).collect();
    values.copy_within(8..12, 28);
    values.copy_within(0..4, 36);
    values[36] += 0.01;
    values[44..].fill(-1.0);
    folder.npy("c.npy", &[12, 4], ArrayData::F32(values));
    folder
}

#[test]
fn groups_are_those_of_the_kernel() {
    let folder = with_copies();
    folder.run("kernel m.onnx c.npy --dtype f64 -o k.npy").succeeds();
    let (shape, kernel) = read_f64(&folder.file("k.npy"));
    let n = shape[0];
    assert_eq!(n, 11);
    for threshold in [0.9999, 0.99, 0.9, 0.5] {
        let line =
            format!("duplicates m.onnx c.npy --dtype f64 --threshold {threshold} --format json");
        let rows: serde_json::Value =
            serde_json::from_str(&folder.run(&line).succeeds().stdout).unwrap();
        let mut group: Vec<usize> = (0..n).collect();
        // Joining until nothing changes.
        for _ in 0..n {
            for (i, j) in (0..n).flat_map(|i| (0..n).map(move |j| (i, j))) {
                if kernel[i * n + j] >= threshold {
                    let least = group[i].min(group[j]);
                    (group[i], group[j]) = (least, least);
                }
            }
        }
        for i in 0..n {
            let others: Vec<String> = (0..n)
                .filter(|j| *j != i && group[*j] == group[i])
                .map(|j| j.to_string())
                .collect();
            let row = &rows[i];
            assert_eq!(row["near_duplicate_sets"], others.join(","), "{threshold} {i}");
            assert_eq!(row["is_near_duplicate_issue"], !others.is_empty());
            assert_eq!(row["group_size"], others.len() + 1);
            assert_eq!(row["group"].is_null(), others.is_empty());
            let nearest =
                (0..n).filter(|j| *j != i).map(|j| kernel[i * n + j]).fold(-1.0, f64::max);
            assert!((row["similarity"].as_f64().unwrap() - nearest).abs() < 1e-9);
            let score = row["near_duplicate_score"].as_f64().unwrap();
            assert!((score - (1.0 - nearest).clamp(0.0, 1.0)).abs() < 1e-9);
            let at = row["nearest"].as_u64().unwrap() as usize;
            assert!((kernel[i * n + at] - nearest).abs() < 1e-9);
        }
        let dead = &rows[11];
        for name in ["is_near_duplicate_issue", "near_duplicate_score", "group", "nearest"] {
            assert!(dead[name].is_null(), "{name}: {dead}");
        }
    }
}

#[test]
fn copies_are_found_and_contradictions_named() {
    let folder = with_copies();
    let labels = ["a", "b", "c", "a", "b", "c", "a", "d", "c", "a", "b", "c"];
    folder.write("labels.txt", labels.join("\n") + "\n");
    let line = "duplicates m.onnx c.npy --labels labels.txt --threshold 0.99999";
    let ran = folder.run(line).succeeds();
    let table = Csv::new(&ran.stdout);
    assert_eq!(
        table.names,
        [
            "example",
            "given_label",
            "is_near_duplicate_issue",
            "near_duplicate_score",
            "near_duplicate_sets",
            "group",
            "group_size",
            "nearest",
            "similarity",
            "labels_contradict"
        ]
    );
    assert_eq!(table.column("near_duplicate_sets")[2], "7");
    assert_eq!(table.column("labels_contradict")[2], "true");
    assert_eq!(table.column("near_duplicate_sets")[0], "9");
    assert_eq!(table.column("labels_contradict")[0], "false");
    assert_eq!(table.column("labels_contradict")[1], "false");
    assert!(
        ran.stderr.contains("labels contradict each other in 1 of 2 groups: [2 (c), 7 (d)]"),
        "{ran:?}"
    );
    assert!(ran.stderr.contains("2 groups of near duplicates hold 4 of 11 examples"), "{ran:?}");
    assert!(ran.stderr.contains("warning: similarity is undefined for 1 of 12"), "{ran:?}");
    let table = folder.run(&format!("{line} --format table")).succeeds().stdout;
    assert!(table.contains("2 of 2 groups") && table.contains("labels contradict"), "{table}");
}

#[test]
fn files_and_settings() {
    let folder = with_copies();
    for name in ["d.csv", "d.json", "d.jsonl", "d.parquet"] {
        let ran = folder.run(&format!("duplicates m.onnx c.npy -o {name}")).succeeds();
        assert!(ran.stdout.is_empty() && ran.stderr.contains(&format!("wrote {name}")), "{ran:?}");
    }
    let (names, settings) = parquet(&folder.file("d.parquet"));
    assert!(!names.contains(&"labels_contradict".to_owned()));
    assert_eq!(
        (&settings["command"], &settings["threshold"]),
        (&"duplicates".into(), &0.99.into())
    );
    assert_eq!(settings["undefined_examples"]["zero_gradient"], serde_json::json!([11]));
}

#[test]
fn a_threshold_that_says_nothing_is_noticed() {
    let folder = with_copies();
    let ran = folder.run("duplicates m.onnx c.npy --threshold 0 -q").succeeds();
    assert!(ran.stderr.contains("warning: one group holds 11 of 11 examples"), "{ran:?}");
    assert!(ran.stderr.contains("try --threshold 0.9"), "{ran:?}");
    folder.write("t.csv", "a,b,c,d\n1,0.01,0.01,0.01\n");
    let ran = folder.run("duplicates m.onnx t.csv").succeeds();
    assert!(ran.stderr.contains("no other to be compared with"), "{ran:?}");
}

#[test]
fn what_makes_no_sense_is_refused() {
    let folder = with_copies();
    let before = folder.names();
    let refused = |flags: &str, words: &[&str]| {
        folder.run(&format!("duplicates m.onnx c.npy {flags} -o d.csv")).refused(words);
        assert_eq!(folder.names(), before);
    };
    refused("--threshold 1.01", &["--threshold 1.01", "-1 to 1"]);
    refused("--threshold -1.5", &["--threshold -1.5"]);
    refused("--kind inner", &["--kind correlation"]);
    refused("--reduce none", &["--reduce trace"]);
    refused("--show d.png", &["no images"]);
    folder.rows("dead.npy", 1);
    folder.run("duplicates m.onnx dead.npy").fails(1, &["no example of dead.npy"]);
}

#[test]
fn a_row_for_each_group() {
    let folder = Folder::new();
    folder.run("demo -q").succeeds();
    let data = "gradkin-demo/digits.onnx gradkin-demo/digits-images.idx.gz --scale 1/16";
    let ran = folder.run(&format!("duplicates {data} --show d.png --show-rows 3")).succeeds();
    assert!(ran.stderr.contains("drew d.png (3 of "), "{ran:?}");
    assert!(std::fs::read(folder.file("d.png")).unwrap().starts_with(b"\x89PNG"));
    let ran = folder.run(&format!("duplicates {data} --threshold 1 --show none.png")).succeeds();
    assert!(ran.stderr.contains("no group to draw"), "{ran:?}");
    assert!(ran.stderr.contains("no two of 500 examples"), "{ran:?}");
    assert!(!folder.file("none.png").exists());
}

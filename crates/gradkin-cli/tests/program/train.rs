//! `gradkin train`: what it writes, how it goes on, what it refuses.

use gradkin_data::ArrayData;

use crate::support::{Csv, Folder, distance, parquet, read_f64, references};

fn model(name: &str) -> String {
    references().join(name).join("model.onnx").display().to_string()
}

/// Points of a circle and whether they lie above its middle, for the network with two inputs.
fn circle(folder: &Folder, count: usize) {
    let angle = |i: usize| i as f64 * 2.399_963;
    let points = (0..count).flat_map(|i| [angle(i).cos() as f32, angle(i).sin() as f32]);
    folder.npy("x.npy", &[count, 2], ArrayData::F32(points.collect()));
    let heights = (0..count).map(|i| (2.0 * angle(i)).sin() as f32);
    folder.npy("y.npy", &[count, 1], ArrayData::F32(heights.collect()));
}

/// Images in ten classes that differ by where a bar lies.
fn bars(folder: &Folder, count: usize) {
    let pixel = |i: usize, at: usize| {
        let (row, column) = (at / 28, at % 28);
        let bar = row / 3 == i % 10 || (column + i).is_multiple_of(11);
        if bar { 1.0f32 } else { 0.05 * ((i * 31 + at * 17) % 7) as f32 / 7.0 }
    };
    let pixels = (0..count).flat_map(|i| (0..784).map(move |at| pixel(i, at)));
    folder.npy("x.npy", &[count, 1, 28, 28], ArrayData::F32(pixels.collect()));
    folder.npy("y.npy", &[count], ArrayData::I64((0..count).map(|i| (i % 10) as i64).collect()));
}

#[test]
fn a_regression_is_learnt_and_recorded() {
    let folder = Folder::new();
    circle(&folder, 256);
    let line = format!(
        "train {} x.npy --labels y.npy --init random --seed 4 --epochs 60 --lr 0.003 \
         --schedule cosine --hold-out 0.25 --watch 60 --probe 40 --metrics m.parquet --events runs \
         --checkpoint c.safetensors -o trained.onnx",
        model("toy_mlp")
    );
    let ran = folder.run(&line).succeeds();
    assert!(ran.stdout.contains("180 steps, training loss"), "{}", ran.stdout);
    let (columns, settings) = parquet(&folder.file("m.parquet"));
    for name in ["step", "train_loss", "validation_rmse", "similarity_between", "density"] {
        assert!(columns.iter().any(|column| column == name), "{columns:?}");
    }
    assert_eq!(settings["seed"], 4);
    assert_eq!(std::fs::read_dir(folder.file("runs")).unwrap().count(), 1);
    // What was written is what was trained: it predicts held-out heights.
    folder
        .run(
            "train trained.onnx x.npy --labels y.npy --epochs 1 --lr 1e-12 -o same.onnx \
                --metrics m.csv",
        )
        .succeeds();
    let loss = Csv::read(&folder.file("m.csv")).numbers("train_loss")[0];
    assert!(loss < 0.05, "{loss}");
    // The checkpoint holds the same weights under their own names.
    let kernel = |extra: &str| {
        folder.run(&format!("kernel trained.onnx x.npy --take 8 -o k.npy {extra}")).succeeds();
        read_f64(&folder.file("k.npy")).1
    };
    let plain = kernel("");
    assert!(distance(&kernel("--weights c.safetensors"), &plain) < 1e-6);
}

#[test]
fn similarity_is_enforced_in_every_way() {
    let folder = Folder::new();
    bars(&folder, 60);
    folder.write("pairs.csv", "first,second\n0,10\n3,13\n25,45\n");
    let model = model("paper_cnn");
    let common = format!("train {model} x.npy --labels y.npy --epochs 2 --batch 20 --init random");
    let enforced = |extra: &str| -> f64 {
        folder.run(&format!("{common} {extra} --metrics m.csv -o t.onnx")).succeeds();
        *Csv::read(&folder.file("m.csv")).numbers("similarity_enforced").last().unwrap()
    };
    let apart = enforced("--enforce class --lambda -1");
    let alike = enforced("--enforce class --lambda 3");
    assert!(alike > apart + 0.02, "{alike} {apart}");
    enforced("--enforce pairs:pairs.csv --lambda 0.5");
    enforced("--enforce augment:shift:1,noise:0.05 --lambda 0.5 --outputs sum");
}

#[test]
fn a_run_goes_on_where_it_stopped() {
    let folder = Folder::new();
    circle(&folder, 96);
    let common = |epochs: usize| {
        format!(
            "train {} x.npy --labels y.npy --batch 16 --epochs {epochs} --threads 1 --optimizer adamw \
             --weight-decay 0.01",
            model("toy_mlp")
        )
    };
    folder.run(&format!("{} -o whole.onnx", common(4))).succeeds();
    // A checkpoint of the same run, as an interruption leaves it, made by ending at the second epoch.
    folder.run(&format!("{} --checkpoint c.safetensors -o part.onnx", common(2))).succeeds();
    let refused = format!("{} --checkpoint c.safetensors --resume -o rest.onnx", common(4));
    folder.run(&refused).refused(&["c.safetensors", "other settings"]);
    assert!(!folder.file("rest.onnx").exists());
    let again = format!("{} --checkpoint d.safetensors --resume -o again.onnx", common(4));
    folder.run(&again).succeeds();
    let bytes = |name: &str| std::fs::read(folder.file(name)).unwrap();
    assert_eq!(bytes("whole.onnx"), bytes("again.onnx"));
    // Nothing is left to do, and the result is the same once more.
    folder.run(&again.replace("again.onnx", "third.onnx")).succeeds();
    assert_eq!(bytes("whole.onnx"), bytes("third.onnx"));
}

#[test]
fn mistakes_are_named() {
    let folder = Folder::new();
    circle(&folder, 16);
    folder.npy("classes.npy", &[16], ArrayData::I64((0..16).collect()));
    folder.npy("short.npy", &[5, 1], ArrayData::F32(vec![0.0; 5]));
    folder.write("pairs.csv", "0,99\n");
    folder.write("words.csv", "0,1\n2,two\n");
    let model = model("toy_mlp");
    let train = |rest: &str| folder.run(&format!("train {model} x.npy {rest} -o t.onnx"));
    train("").refused(&["no labels"]);
    train("--labels short.npy").refused(&["short.npy", "5", "16"]);
    train("--labels y.npy --loss cross-entropy")
        .refused(&["numbers, not classes", "--loss squared"]);
    train("--labels classes.npy").refused(&["class"]);
    train("--labels y.npy --enforce class").refused(&["one class", "numbers"]);
    train("--labels y.npy --enforce augment:shift:2").refused(&["no images"]);
    train("--labels y.npy --enforce pairs:pairs.csv").refused(&["99"]);
    train("--labels y.npy --enforce pairs:words.csv").refused(&["words.csv", "line 2"]);
    train("--labels y.npy --patience 2").refused(&["--hold-out"]);
    train("--labels y.npy --params nothing_like_it").refused(&["parameter"]);
    train("--labels y.npy --lr 1e30 --optimizer sgd --batch 4").refused(&["learning rate"]);
    // What the command line itself refuses, in the words of its parser.
    for (flags, words) in [
        ("--loss hinge", "use cross-entropy, squared, absolute or huber:DELTA"),
        ("--enforce augment:twist", "turn:DEGREES"),
        ("--lr 0", "it is not above 0"),
        ("--schedule stairs", "steps:EPOCHS:FACTOR"),
    ] {
        let ran = train(&format!("--labels y.npy {flags}"));
        assert_eq!(ran.code, Some(2), "{ran:?}");
        assert!(ran.stderr.contains(words), "{ran:?}");
    }
    folder.run(&format!("train {model} x.npy --labels y.npy -o {model}")).refused(&["is read"]);
    assert!(!folder.file("t.onnx").exists());
}

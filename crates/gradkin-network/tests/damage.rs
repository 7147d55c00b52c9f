//! Damaged and hostile model files: an error or a working network every time, within bounds of memory
//! and time; never a panic.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

#[path = "support/memory.rs"]
mod memory;
#[path = "support/mutate.rs"]
mod mutate;
#[path = "support/trial.rs"]
mod trial;
#[path = "support/written.rs"]
#[allow(dead_code)]
mod written;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use rten_onnx::onnx::{DataType, NodeProto, TensorProto};
use written::{floats, ints, model, node, raw, with_int, with_ints, with_text};

/// Flips per model.
const FLIPS: u64 = 600;

/// How long one file may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// What loading a file of so many bytes may allocate.
///
/// The fixed part is what the loader grants any file (2^26 numbers that it computes at once, and a
/// few values of 2^26 numbers while it tries a node); the factor is what decoding takes of a file
/// that consists of nothing but empty nodes.
fn granted(size: usize) -> usize {
    (2 << 30) + 2048 * size
}

fn models() -> Vec<PathBuf> {
    const LARGEST: u64 = 40_000;
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests");
    let mut found = Vec::new();
    for root in ["reference", "networks"] {
        let Ok(entries) = std::fs::read_dir(tests.join(root)) else { continue };
        let models = entries.flatten().map(|e| e.path().join("model.onnx"));
        found.extend(models.filter(|m| m.metadata().is_ok_and(|m| m.len() < LARGEST)));
    }
    found.sort();
    assert!(found.len() >= 5, "the small models are missing");
    found
}

#[derive(Debug)]
enum Outcome {
    Ran,
    Refused(String),
    Panicked(String),
}

/// How a file fares, and the most memory that loading it took.
fn fare(bytes: &[u8]) -> (Outcome, usize) {
    let (loaded, peak) = memory::peak(|| catch_unwind(AssertUnwindSafe(|| trial::load(bytes))));
    let ran = loaded.and_then(|network| {
        catch_unwind(AssertUnwindSafe(|| {
            let network = network?;
            trial::redraw(bytes);
            trial::run(&network)
        }))
    });
    let outcome = match ran {
        Ok(Ok(())) => Outcome::Ran,
        Ok(Err(error)) => Outcome::Refused(error.to_string()),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
            Outcome::Panicked(text.unwrap_or_default())
        }
    };
    (outcome, peak)
}

/// What has become of a file.
struct Fate {
    name: String,
    size: usize,
    /// How it ended, and the memory it took; `None` while it is tried.
    end: Option<(Outcome, usize)>,
}

/// The fates of files, which are tried on a thread of their own, so that one that never ends is
/// noticed.
fn try_all(files: impl Iterator<Item = (String, Vec<u8>)> + Send + 'static) -> Receiver<Fate> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for (name, bytes) in files {
            let size = bytes.len();
            // First the name alone, so that the one that hangs has a name.
            let _ = sender.send(Fate { name: name.clone(), size, end: None });
            let _ = sender.send(Fate { name, size, end: Some(fare(&bytes)) });
        }
    });
    receiver
}

/// Go through the fates of files; what must never happen ends the test.
fn watch(fates: &Receiver<Fate>, mut each: impl FnMut(&str, Outcome, usize)) {
    let mut last = String::new();
    let mut failures = Vec::new();
    loop {
        let Fate { name, size, end } = match fates.recv_timeout(PATIENCE) {
            Ok(fate) => fate,
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => break,
            Err(_) => panic!("{last} is not done after {PATIENCE:?}"),
        };
        last.clone_from(&name);
        let Some((outcome, peak)) = end else { continue };
        if peak > granted(size) {
            failures.push(format!("{name} of {size} bytes: {} MiB allocated", peak >> 20));
        }
        if let Outcome::Panicked(text) = &outcome {
            failures.push(format!("{name}: {text}"));
        }
        each(&name, outcome, peak);
    }
    let shown = &failures[..failures.len().min(20)];
    assert!(failures.is_empty(), "{} failures: {shown:#?}", failures.len());
}

/// A model with some bits flipped, and sometimes its end cut off.
fn damaged(whole: &[u8], trial: u64, state: &mut u64) -> Vec<u8> {
    let mut bytes = whole.to_vec();
    for _ in 0..1 + trial % 3 {
        *state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let at = (*state >> 20) as usize % bytes.len();
        bytes[at] ^= 1 << (*state >> 60 & 7);
    }
    if trial.is_multiple_of(10) {
        bytes.truncate((*state >> 24) as usize % bytes.len());
    }
    bytes
}

#[test]
fn damaged_models_are_refused_or_run() {
    let _alone = memory::alone();
    let files = models().into_iter().flat_map(|path| {
        let whole = std::fs::read(&path).unwrap();
        let mut state = 0x9e37_79b9_7f4a_7c15u64;
        let name = path.display().to_string();
        (0..FLIPS).map(move |k| (format!("{name} flip {k}"), damaged(&whole, k, &mut state)))
    });
    let (mut refused, mut ran, mut most) = (0, 0, 0);
    watch(&try_all(files), |_, outcome, peak| {
        most = most.max(peak);
        match outcome {
            Outcome::Ran => ran += 1,
            _ => refused += 1,
        }
    });
    eprintln!("{ran} damaged models run, {refused} are refused; at most {} MiB", most >> 20);
    assert!(refused > 100 && ran > 100, "the damage is too heavy or too light to say anything");
}

/// Models changed as models: other attributes, shapes, operators, wires. The node tests of ONNX, where
/// they have been fetched, bring nearly every operator.
#[test]
fn changed_models_are_refused_or_run() {
    let _alone = memory::alone();
    let most = std::env::var("GRADKIN_CHANGES").ok().and_then(|n| n.parse().ok());
    let changes: u64 = most.unwrap_or(6);
    let nodes = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/conformance/node");
    let nodes = std::fs::read_dir(nodes).into_iter().flatten();
    let mut nodes: Vec<PathBuf> = nodes.map(|e| e.unwrap().path().join("model.onnx")).collect();
    if nodes.is_empty() {
        eprintln!("LEFT OUT: changes of the node tests of onnx; conformance/fetch.py gets them");
    }
    nodes.sort();
    let files = models().into_iter().map(move |path| (path, 20 * changes));
    let files = files.chain(nodes.into_iter().map(move |path| (path, changes)));
    let files = files.flat_map(|(path, changes)| {
        let whole = std::fs::read(&path).unwrap_or_default();
        let name = path.display().to_string();
        (0..changes).filter_map(move |k| {
            let mut random = mutate::Random(k ^ (name.len() as u64) << 32);
            Some((format!("{name} change {k}"), mutate::mutated(&whole, &mut random)?))
        })
    });
    let (mut refused, mut ran, mut most) = (0, 0, 0);
    watch(&try_all(files), |_, outcome, peak| {
        most = most.max(peak);
        match outcome {
            Outcome::Ran => ran += 1,
            _ => refused += 1,
        }
    });
    eprintln!("{ran} changed models run, {refused} are refused; at most {} MiB", most >> 20);
    assert!(refused > 100 && ran > 100, "the changes are too heavy or too light to say anything");
}

/// One node that reads `x` or a stored tensor and is asked for too much.
fn one(node: NodeProto, stored: Vec<TensorProto>) -> Vec<u8> {
    model(vec![node], stored, &[4])
}

/// `x` or a stored row of four, joined to itself forty times over.
fn doubled(first: &str) -> Vec<u8> {
    let name = |k: usize| match k {
        0 => first.to_owned(),
        40 => "y".to_owned(),
        k => format!("d{k}"),
    };
    let join = |k: usize| {
        let before = name(k);
        with_int(node("Concat", &[&before, &before], &name(k + 1)), "axis", 1)
    };
    model((0..40).map(join).collect(), vec![floats("s", &[1, 4], &[1.0; 4])], &[4])
}

/// Small files that ask for much memory or work.
fn greedy() -> Vec<(String, Vec<u8>)> {
    const MUCH: i64 = 1 << 20;
    let pair = || ints("n", &[2], &[MUCH, MUCH]);
    let seed = || floats("s", &[1, 1], &[1.0]);
    let long = |name: &str, shape: &[usize]| floats(name, shape, &vec![1.0; 1 << 14]);
    let mut list: Vec<(&str, Vec<u8>)> = vec![
        ("ConstantOfShape", one(node("ConstantOfShape", &["n"], "y"), vec![pair()])),
        ("Expand a constant", one(node("Expand", &["s", "n"], "y"), vec![seed(), pair()])),
        ("Expand", one(node("Expand", &["x", "n"], "y"), vec![ints("n", &[3], &[MUCH, MUCH, 4])])),
        ("Tile a constant", one(node("Tile", &["s", "n"], "y"), vec![seed(), pair()])),
        ("Tile", one(node("Tile", &["x", "n"], "y"), vec![pair()])),
        (
            "Range",
            one(
                node("Range", &["a", "b", "c"], "y"),
                vec![floats("a", &[], &[0.0]), floats("b", &[], &[1e12]), floats("c", &[], &[1.0])],
            ),
        ),
        (
            "OneHot",
            model(
                vec![
                    with_int(node("Cast", &["x"], "i"), "to", 7),
                    node("OneHot", &["i", "n", "v"], "y"),
                ],
                vec![ints("n", &[], &[1 << 40]), floats("v", &[2], &[0.0, 1.0])],
                &[4],
            ),
        ),
        (
            "Pad a constant",
            one(node("Pad", &["s", "n"], "y"), vec![seed(), ints("n", &[4], &[MUCH; 4])]),
        ),
        ("Pad", one(node("Pad", &["x", "n"], "y"), vec![ints("n", &[4], &[0, MUCH, 0, 1 << 40])])),
        (
            "Resize",
            one(node("Resize", &["x", "", "", "n"], "y"), vec![ints("n", &[2], &[1, 1 << 40])]),
        ),
        (
            "Add of a row and a column",
            one(
                node("Add", &["a", "b"], "y"),
                vec![long("a", &[1 << 14, 1]), long("b", &[1, 1 << 14])],
            ),
        ),
        (
            "MatMul of a row and a column",
            one(
                node("MatMul", &["a", "b"], "y"),
                vec![long("a", &[1 << 14, 1]), long("b", &[1, 1 << 14])],
            ),
        ),
        (
            "Gather again and again",
            model(
                vec![node("Gather", &["a", "i"], "g"), node("Gather", &["g", "i"], "y")],
                vec![long("a", &[2, 1 << 13]), ints("i", &[1 << 13], &[0; 1 << 13])],
                &[4],
            ),
        ),
        (
            "Einsum",
            one(
                with_text(node("Einsum", &["a", "b"], "y"), "equation", "i,j->ij"),
                vec![long("a", &[1 << 14]), long("b", &[1 << 14])],
            ),
        ),
        ("doubled", doubled("x")),
        ("a constant doubled", doubled("s")),
        ("an input without end", model(vec![node("Relu", &["x"], "y")], vec![], &[1 << 40, 4])),
        ("an input of many axes", model(vec![node("Relu", &["x"], "y")], vec![], &[1 << 13; 5])),
    ];
    for (operator, wide) in [("MaxPool", 1 << 20), ("AveragePool", 1 << 20), ("LpPool", 1 << 12)] {
        let pool = with_ints(node(operator, &["x"], "y"), "kernel_shape", &[wide, wide]);
        let pool = with_ints(pool, "pads", &[wide - 1; 4]);
        list.push((operator, model(vec![pool], vec![], &[1, 4, 4])));
    }
    let transposed = with_ints(node("ConvTranspose", &["x", "w"], "y"), "strides", &[1 << 24; 2]);
    let kernel = || floats("w", &[1, 1, 2, 2], &[1.0; 4]);
    list.push(("ConvTranspose", model(vec![transposed], vec![kernel()], &[1, 4, 4])));
    let padded = with_ints(node("Conv", &["x", "w"], "y"), "pads", &[1 << 24; 4]);
    list.push(("Conv", model(vec![padded], vec![kernel()], &[1, 4, 4])));
    list.into_iter().map(|(name, bytes)| (name.to_owned(), bytes)).collect()
}

#[test]
fn greedy_files_are_refused() {
    let _alone = memory::alone();
    let mut count = 0;
    watch(&try_all(greedy().into_iter()), |name, outcome, peak| {
        count += 1;
        match outcome {
            Outcome::Refused(error) => eprintln!("{name}: {} MiB, {error}", peak >> 20),
            other => panic!("{name}: {other:?}"),
        }
    });
    assert!(count > 20);
}

/// What the fuzzer found and was mended, and any other folder of files that is named.
#[test]
fn what_the_fuzzer_found() {
    let _alone = memory::alone();
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/damage");
    let more = std::env::var_os("GRADKIN_DAMAGED").map(PathBuf::from);
    let folders = [own].into_iter().chain(more);
    let entries = folders.flat_map(|folder| std::fs::read_dir(folder).into_iter().flatten());
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let read = |path: PathBuf| (path.display().to_string(), std::fs::read(path).unwrap());
    let mut start = std::time::Instant::now();
    watch(&try_all(paths.into_iter().map(read)), |name, outcome, peak| {
        eprintln!("{name}: {:?}, {} MiB, {outcome:?}", start.elapsed(), peak >> 20);
        start = std::time::Instant::now();
    });
}

/// A length-delimited field.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![number << 3 | 2];
    let mut length = content.len();
    while length >= 0x80 {
        bytes.push(length as u8 | 0x80);
        length >>= 7;
    }
    bytes.push(length as u8);
    bytes.extend(content);
    bytes
}

/// Files that are large and nearly empty: decoding must not take far more than they are long.
#[test]
fn decoding_takes_memory_in_proportion() {
    let _alone = memory::alone();
    const LENGTH: usize = 1 << 19;
    let node = field(1, &[]);
    let tensor = field(5, &[]);
    let attribute = field(1, &field(5, &[]).repeat(LENGTH / 2));
    let branches = field(1, &field(5, &field(6, &field(1, &[]).repeat(LENGTH / 2))));
    let dims = field(5, &field(1, &vec![1; LENGTH]));
    let strings = field(1, &field(1, &[]).repeat(LENGTH / 2));
    let files = [
        ("nodes", node.repeat(LENGTH / 2)),
        ("tensors", tensor.repeat(LENGTH / 2)),
        ("attributes", attribute),
        ("nodes of a branch", branches),
        ("axes", dims),
        ("inputs", strings),
        ("declared inputs", field(11, &[]).repeat(LENGTH / 2)),
    ];
    let files = files.map(|(name, graph)| {
        // An output, so that the graph is looked at further.
        let graph = [graph, field(12, &field(1, b"y"))].concat();
        (name.to_owned(), field(7, &graph))
    });
    watch(&try_all(files.into_iter()), |name, outcome, peak| {
        eprintln!("{name}: {} times the file", peak / LENGTH);
        assert!(peak < 2048 * LENGTH, "{name}: {peak}");
        assert!(matches!(outcome, Outcome::Refused(_)), "{name}: {outcome:?}");
    });
}

/// The counter counts: a tensor of 2^20 numbers is seen.
#[test]
fn memory_is_counted() {
    let _alone = memory::alone();
    let stored = raw("s", DataType::INT8, &[1 << 20], vec![1; 1 << 20]);
    let bytes = model(vec![node("Relu", &["x"], "y")], vec![stored], &[4]);
    let (outcome, peak) = fare(&bytes);
    assert!(matches!(outcome, Outcome::Ran), "{outcome:?}");
    assert!(peak >= 8 << 20, "{peak}");
    let (_, none) = memory::peak(|| ());
    assert!(none < 1 << 16, "{none}");
}

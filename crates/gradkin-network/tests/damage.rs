//! Damaged model files: an error or a working network every time, never a panic.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use gradkin_network::{Collected, InputData, Model, Network, Sweep};

/// Flips per model.
const FLIPS: u64 = 600;

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

/// Load, and where that works run one example forward and back.
fn try_out(bytes: &[u8]) -> Result<(), gradkin_network::NetworkError> {
    let model = Model::from_bytes(bytes, "a damaged model")?;
    let network = Network::new(&model, &Default::default())?;
    let sweep = Sweep::new(&network, None, None)?;
    // Sizes that a damaged shape blew up are not worth the wait.
    const MOST: usize = 1 << 20;
    if sweep.output_shape().iter().product::<usize>() > 64 || sweep.working_set(1) > MOST {
        return Ok(());
    }
    let inputs = network
        .inputs()
        .iter()
        .map(|input| {
            let count = input.shape.iter().product();
            if input.integer {
                InputData::I64(vec![1; count])
            } else {
                InputData::F32(vec![0.5; count])
            }
        })
        .collect();
    let pass = sweep.forward(inputs, 1)?;
    sweep.reverse(&pass, &sweep.identity(1)?, &mut Collected::default())
}

#[test]
fn damaged_models_are_refused_or_run() {
    std::panic::set_hook(Box::new(|_| {}));
    let mut failures = Vec::new();
    let (mut refused, mut ran) = (0, 0);
    for path in models() {
        let whole = std::fs::read(&path).unwrap();
        let mut state = 0x9e37_79b9_7f4a_7c15u64;
        for trial in 0..FLIPS {
            let mut bytes = whole.clone();
            for _ in 0..1 + trial % 3 {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                let at = (state >> 20) as usize % bytes.len();
                bytes[at] ^= 1 << (state >> 60 & 7);
            }
            if trial % 10 == 0 {
                bytes.truncate((state >> 24) as usize % bytes.len());
            }
            match catch_unwind(AssertUnwindSafe(|| try_out(&bytes))) {
                Ok(Ok(())) => ran += 1,
                Ok(Err(_)) => refused += 1,
                Err(panic) => {
                    let text = panic.downcast_ref::<String>().cloned();
                    let text =
                        text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
                    failures.push(format!("{path:?} flip {trial}: {}", text.unwrap_or_default()));
                }
            }
        }
    }
    let _ = std::panic::take_hook();
    assert!(
        failures.is_empty(),
        "{} panics: {:#?}",
        failures.len(),
        &failures[..failures.len().min(20)]
    );
    assert!(refused > 100 && ran > 100, "the damage is too heavy or too light to say anything");
}

//! Features kept in 16 bits: how near results stay, and what it saves.

#![allow(clippy::unwrap_used)]

mod common;

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use common::{Data, folders, open, read, relative};
use gradkin::network::Precision;
use gradkin::{Form, Kind, Reduction, Settings, Similarity, Stage, Storage};

const FORMS: [Form; 4] = [Form::Dense, Form::Factored, Form::Deferred, Form::Rows];

fn inner(storage: Storage, form: Form) -> Settings {
    let (kind, reduction, form) = (Kind::Inner, Reduction::Matrix, Some(form));
    Settings { kind, reduction, form, storage, ..Settings::default() }
}

/// Numbers are rounded to eleven or eight bits each, and an inner product is not further off than they are.
#[test]
fn kernels_stay_as_near_pytorchs_as_their_bits_say() {
    for folder in folders() {
        let (_, wanted) = read(&folder.join("kernel.npy")).unwrap();
        for form in FORMS {
            for (storage, bound) in [(Storage::F16, 5e-4), (Storage::BF16, 4e-3)] {
                let (network, data) = open(&folder, Precision::F32).unwrap();
                let similarity = Similarity::new(&network, inner(storage, form)).unwrap();
                let kernel = similarity.kernel(&data, None, &|_| true).unwrap();
                let error = relative(&kernel.values.to_f64(), &wanted);
                assert!(error <= bound, "{} {form:?} {storage:?}: {error:e}", folder.display());
            }
        }
    }
}

fn reference(name: &str) -> std::path::PathBuf {
    folders().into_iter().find(|folder| folder.ends_with(Path::new(name))).unwrap()
}

/// A sample of all examples has the error of all.
#[test]
fn the_error_that_is_told_is_the_error() {
    let (network, data) = open(&reference("paper_cnn"), Precision::F32).unwrap();
    let count = gradkin::Examples::len(&data);
    for reduction in [Reduction::Trace, Reduction::Rotation] {
        let run = |storage| {
            let settings = Settings { reduction, storage, ..Settings::default() };
            let similarity = Similarity::new(&network, settings).unwrap();
            let kernel = similarity.kernel(&data, None, &|_| true).unwrap().values.to_f64();
            (kernel, similarity.storage_error(&data, count, 1).unwrap())
        };
        let (full, none) = run(Storage::Full);
        assert_eq!(none, 0.0);
        let largest = full.iter().fold(0f64, |m, x| m.max(x.abs()));
        let [fine, coarse] = [Storage::F16, Storage::BF16].map(|storage| {
            let (kept, told) = run(storage);
            let gaps = full.iter().zip(&kept).map(|(x, y)| (x - y).abs());
            let error = gaps.fold(0.0, f64::max) / largest;
            assert!((told - error).abs() <= 0.01 * error, "{storage:?}: {told:e} {error:e}");
            error
        });
        // Eight bits less three: were numbers not rounded at all, both would be zero.
        assert!(fine > 1e-7 && coarse > 3.0 * fine && coarse < 1e-2, "{fine:e} {coarse:e}");
    }
}

/// Where features fit the memory in 16 bits and in full do not, full ones are swept again and again.
#[test]
fn twice_as_many_examples_are_swept_once() {
    const COUNT: usize = 6000;
    let (network, data) = open(&reference("toy_mlp"), Precision::F32).unwrap();
    let values = data.values.iter().copied().cycle();
    let mut shape = data.shape.clone();
    let each: usize = shape[1..].iter().product();
    shape[0] = COUNT;
    let data = Data::new(shape, values.take(COUNT * each).collect());
    let sweeps = |storage: Storage, memory: usize| {
        let settings = Settings { storage, memory, ..Settings::default() };
        let similarity = Similarity::new(&network, settings).unwrap();
        let total = AtomicU64::new(0);
        let watch = |progress: gradkin::Progress| {
            if progress.stage == Stage::Sweep {
                total.store(progress.total, Ordering::Relaxed);
            }
            false
        };
        similarity.neighbors(&data, None, 1, &watch).unwrap_err();
        total.into_inner()
    };
    let least = |storage: Storage| {
        let mut memory = 1 << 20;
        // Zero where two examples do not fit.
        while sweeps(storage, memory) != COUNT as u64 {
            memory += memory / 16;
        }
        memory as f64
    };
    let ratio = least(Storage::F16) / least(Storage::Full);
    assert!((0.45..0.75).contains(&ratio), "{ratio}");
}

//! Damaged files of every format: each byte changed in turn, and the file cut at
//! each place. Anything may come of it but a panic or a claim on memory that the
//! file cannot pay for.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use gradkin_data::{Dataset, Labels, OpenOptions, Preprocessing, TargetInput};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// Opens `path` in every way there is and looks at what comes out.
fn use_up(path: &Path) {
    let _ = Labels::open(path, None);
    let Ok(data) = Dataset::open(path, &OpenOptions::default()) else { return };
    let _ = data.picture(0);
    let inputs: Vec<TargetInput> = data
        .inputs()
        .into_iter()
        .map(|input| TargetInput {
            name: input.name.unwrap_or_default(),
            shape: vec![None],
            integer: false,
        })
        .collect();
    let Ok(ready) = data.prepare(&Preprocessing::default(), &inputs) else { return };
    for input in 0..inputs.len() {
        let _ = ready.batch_f32(input, 0..ready.len().min(4));
        let _ = ready.batch_i64(input, 0..ready.len().min(4));
    }
}

/// Damages `name` at about `places` places.
fn damage(name: &str, places: usize) {
    let whole = fs::read(fixture(name)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let is_picture = name.ends_with("png") || name.ends_with("jpg");
    let path = folder.path().join(Path::new(name).file_name().unwrap());
    let opened = if is_picture { folder.path() } else { &path };
    let head = 160.min(whole.len());
    let step = (whole.len() - head) / places + 1;
    for at in (0..head).chain((head..whole.len()).step_by(step)) {
        for flip in [0x01, 0x80, 0xff] {
            let mut bytes = whole.clone();
            bytes[at] ^= flip;
            fs::write(&path, bytes).unwrap();
            use_up(opened);
        }
        fs::write(&path, &whole[..at]).unwrap();
        use_up(opened);
    }
}

#[test]
fn npy() {
    for name in ["fortran.npy", "version3.npy", "object.npy"] {
        damage(name, 100);
    }
}

#[test]
fn npz() {
    damage("stored.npz", 300);
    damage("deflated.npz", 300);
}

#[test]
fn idx() {
    damage("small-idx3-ubyte", 100);
    damage("small-idx3-ubyte.gz", 100);
    damage("labels-idx1-ubyte", 100);
}

#[test]
fn cifar() {
    damage("cifar10.bin.gz", 100);
}

#[test]
fn pictures() {
    damage("classes/dog/plain.png", 300);
    damage("classes/dog/palette.png", 300);
    damage("classes/cat/photo.jpg", 300);
}

#[test]
fn tables() {
    damage("houses.csv", 100);
    damage("houses.csv.gz", 100);
}

#[test]
fn a_bomb_is_not_set_off() {
    use std::io::Write;
    // A gzipped IDX whose header claims a petabyte, from a few kilobytes.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bomb.gz");
    let file = fs::File::create(&path).unwrap();
    let mut gzip = flate2::write::GzEncoder::new(file, flate2::Compression::best());
    gzip.write_all(&[0, 0, 8, 2, 0x7f, 0xff, 0xff, 0xff, 0, 0x10, 0, 0]).unwrap();
    gzip.write_all(&vec![0; 1 << 22]).unwrap();
    gzip.finish().unwrap();
    let error = Dataset::open(&path, &OpenOptions::default()).unwrap_err().to_string();
    assert!(error.contains("left at most"), "{error}");
}

//! f32 products `a · bᵀ` on one thread, in the shapes that sweeps and pairs are made of, by each library
//! that gradkin could take them from. The libraries take turns, so that all meet the same machine; the best
//! of the turns counts.
//!
//! ```sh
//! cargo run --release --manifest-path benches/products/Cargo.toml
//! cargo run --release --manifest-path benches/products/Cargo.toml --features blas   # needs libopenblas-dev
//! ```

use std::time::{Duration, Instant};

use faer::{Accum, MatMut, MatRef, Par};
use rten_gemm::{GemmExecutor, GemmInputA, GemmInputB, GemmOptions};
use rten_tensor::NdTensorView;

/// m, n, k.
type Shape = (usize, usize, usize);

/// `c = a · bᵀ` for row-major a `[m, k]`, b `[n, k]`, c `[m, n]`.
type Product<'p> = Box<dyn Fn(Shape, &[f32], &[f32], &mut [f32]) + 'p>;

/// Two large squares, rows of gradients that meet, a weight that meets an unfolded image, and the like.
const SHAPES: [Shape; 9] = [
    (2048, 2048, 2048),
    (512, 512, 400),
    (512, 512, 4096),
    (256, 256, 16),
    (12, 576, 25),
    (12, 64, 300),
    (32, 64, 512),
    (300, 300, 25),
    (128, 64, 10),
];

const TURNS: usize = 5;

/// How long a library is kept at one shape, each turn.
const ENOUGH: Duration = Duration::from_millis(120);

fn main() {
    one_thread();
    let executor = GemmExecutor::<f32, f32, f32>::default();
    let libraries = libraries(&executor);
    let names: Vec<&str> = libraries.iter().map(|(name, _)| *name).collect();
    println!("| m × n × k | {} |", names.join(" | "));
    println!("|{}", "---|".repeat(1 + names.len()));
    for shape in SHAPES {
        let rates = rates(shape, &libraries);
        let cells: Vec<String> = rates.iter().map(|rate| format!("{rate:.0}")).collect();
        let (m, n, k) = shape;
        println!("| {m} × {n} × {k} | {} |", cells.join(" | "));
    }
}

/// Libraries with threads of their own are asked for one, before any of them looks.
fn one_thread() {
    // SAFETY: no other thread exists yet.
    unsafe { std::env::set_var("RAYON_NUM_THREADS", "1") };
    #[cfg(feature = "blas")]
    blas::one_thread();
}

fn libraries(executor: &GemmExecutor<f32, f32, f32>) -> Vec<(&'static str, Product<'_>)> {
    #[allow(unused_mut)]
    let mut list: Vec<(&str, Product)> = vec![
        ("faer", Box::new(by_faer)),
        ("gemm", Box::new(by_gemm)),
        ("matrixmultiply", Box::new(by_matrixmultiply)),
        ("rten-gemm", Box::new(|shape, a, b, c| by_rten(executor, shape, a, b, c))),
    ];
    #[cfg(feature = "blas")]
    list.push(("OpenBLAS", Box::new(blas::product)));
    list
}

/// GFLOP/s of each library, the best of the turns, once its result has been compared with the first one's.
fn rates(shape: Shape, libraries: &[(&str, Product)]) -> Vec<f64> {
    let (m, n, k) = shape;
    let a: Vec<f32> = (0..m * k).map(|i| (i as f32 * 0.7).sin()).collect();
    let b: Vec<f32> = (0..n * k).map(|i| (i as f32 * 0.3).cos()).collect();
    let mut wanted = vec![0.0; m * n];
    (libraries[0].1)(shape, &a, &b, &mut wanted);
    let mut best = vec![0f64; libraries.len()];
    for _ in 0..TURNS {
        for ((name, product), best) in libraries.iter().zip(&mut best) {
            let mut c = vec![0.0; m * n];
            let (start, mut runs) = (Instant::now(), 0u32);
            while runs == 0 || start.elapsed() < ENOUGH {
                product(shape, &a, &b, &mut c);
                runs += 1;
            }
            let seconds = start.elapsed().as_secs_f64() / f64::from(runs);
            *best = best.max(2e-9 * (m * n * k) as f64 / seconds);
            let gap = c.iter().zip(&wanted).fold(0f32, |gap, (x, y)| gap.max((x - y).abs()));
            assert!(gap < 1e-5 * (k as f32), "{name} differs by {gap} at {shape:?}");
        }
    }
    best
}

fn by_faer((m, n, k): Shape, a: &[f32], b: &[f32], c: &mut [f32]) {
    let (a, b) = (MatRef::from_row_major_slice(a, m, k), MatRef::from_row_major_slice(b, n, k));
    let c = MatMut::from_row_major_slice_mut(c, m, n);
    faer::linalg::matmul::matmul(c, Accum::Replace, a, b.transpose(), 1.0, Par::Seq);
}

fn by_gemm((m, n, k): Shape, a: &[f32], b: &[f32], c: &mut [f32]) {
    let (a, b, c) = (a[..m * k].as_ptr(), b[..n * k].as_ptr(), c[..m * n].as_mut_ptr());
    let (row_of_c, row) = (n as isize, k as isize);
    // SAFETY: the slices hold as many numbers as these strides reach.
    unsafe {
        let alone = gemm::Parallelism::None;
        gemm::gemm(
            m, n, k, c, 1, row_of_c, false, a, 1, row, b, row, 1, 0.0, 1.0, false, false, false,
            alone,
        );
    }
}

fn by_matrixmultiply((m, n, k): Shape, a: &[f32], b: &[f32], c: &mut [f32]) {
    let (a, b, c) = (a[..m * k].as_ptr(), b[..n * k].as_ptr(), c[..m * n].as_mut_ptr());
    let (row_of_c, row) = (n as isize, k as isize);
    // SAFETY: the slices hold as many numbers as these strides reach.
    unsafe {
        matrixmultiply::sgemm(m, k, n, 1.0, a, row, 1, b, 1, row, 0.0, c, row_of_c, 1);
    }
}

fn by_rten(
    executor: &GemmExecutor<f32, f32, f32>,
    (m, n, k): Shape,
    a: &[f32],
    b: &[f32],
    c: &mut [f32],
) {
    let a = NdTensorView::from_data([m, k], a);
    let b = NdTensorView::from_data([n, k], b);
    let b = b.transposed();
    let sides = (GemmInputA::Unpacked(a), GemmInputB::Unpacked(b));
    executor.gemm(c, sides.0, sides.1, GemmOptions::default()).expect("shapes that multiply");
}

/// OpenBLAS, which build.rs links.
#[cfg(feature = "blas")]
mod blas {
    use std::ffi::c_int;

    use super::Shape;

    const ROW_MAJOR: c_int = 101;
    const AS_IT_IS: c_int = 111;
    const TRANSPOSED: c_int = 112;

    unsafe extern "C" {
        fn openblas_set_num_threads(count: c_int);
        fn cblas_sgemm(
            order: c_int,
            of_a: c_int,
            of_b: c_int,
            m: c_int,
            n: c_int,
            k: c_int,
            alpha: f32,
            a: *const f32,
            row_of_a: c_int,
            b: *const f32,
            row_of_b: c_int,
            beta: f32,
            c: *mut f32,
            row_of_c: c_int,
        );
    }

    pub(super) fn one_thread() {
        // SAFETY: it may be called at any time between products.
        unsafe { openblas_set_num_threads(1) };
    }

    pub(super) fn product((m, n, k): Shape, a: &[f32], b: &[f32], c: &mut [f32]) {
        let (a, b, c) = (a[..m * k].as_ptr(), b[..n * k].as_ptr(), c[..m * n].as_mut_ptr());
        let [m, n, k] = [m, n, k].map(|size| size as c_int);
        // SAFETY: the slices hold as many numbers as these rows reach.
        unsafe {
            cblas_sgemm(ROW_MAJOR, AS_IT_IS, TRANSPOSED, m, n, k, 1.0, a, k, b, k, 0.0, c, n);
        }
    }
}

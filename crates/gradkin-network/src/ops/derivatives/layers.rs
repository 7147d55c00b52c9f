//! Cases of layers with weights: products, convolutions, pools and normalisations.

use super::Maker;
use super::case::{Case, Draw, Random};

pub(super) const CASES: &[(&str, Maker)] = &[
    ("MatMul", matmul),
    ("Gemm", gemm),
    ("Conv", convolution),
    ("ConvTranspose", transposed),
    ("MaxPool", |name, r| {
        let case = pool(name, r, Draw::Distinct(0.0)).outputs(r.size(1, 2));
        case.int("storage_order", r.int(0, 1))
    }),
    ("LpPool", |name, r| {
        let case = pool(name, r, Draw::NotZero);
        case.int("p", r.int(1, 3))
    }),
    ("GlobalLpPool", |name, r| {
        let shape = image(r, 1, 3);
        Case::new(name, 2).int("p", r.int(1, 3)).either(r, &shape).draw(Draw::NotZero)
    }),
    ("AveragePool", |name, r| {
        let case = pool(name, r, Draw::Normal);
        case.int("count_include_pad", r.int(0, 1))
    }),
    ("BatchNormalization", batch_normalization),
    ("LayerNormalization", |name, r| layer(name, r, true).outputs(r.size(1, 3))),
    ("RMSNormalization", |name, r| layer(name, r, false)),
    ("SimplifiedLayerNormalization", |name, r| layer(name, r, false).outputs(r.size(1, 2))),
    ("LpNormalization", |name, r| {
        let rank = r.size(1, 4);
        let shape = r.shape(rank, 3);
        let axis = r.int(-(rank as i64), rank as i64 - 1);
        let case = Case::new(name, 22).int("axis", axis).int("p", r.int(1, 2));
        case.either(r, &shape).draw(Draw::NotZero)
    }),
    ("LRN", |name, r| {
        let shape = [r.size(1, 2), r.size(1, 5), r.size(1, 3), r.size(1, 3)];
        let case = Case::new(name, 13).int("size", r.int(1, 4)).float("alpha", 0.5);
        case.float("beta", r.pick(&[0.75, 0.5]))
            .float("bias", r.pick(&[1.0, 2.0]))
            .either(r, &shape)
    }),
    ("MeanVarianceNormalization", |name, r| {
        // Two numbers alone would come out as one and minus one, whatever they are.
        let shape = [r.size(1, 2), r.size(3, 4), r.size(2, 3), r.size(3, 4)];
        let case = Case::new(name, 13).either(r, &shape);
        if r.chance(0.5) { case.ints("axes", r.pick(&[&[1][..], &[2, 3], &[-1, 0]])) } else { case }
    }),
    ("InstanceNormalization", |name, r| {
        let shape = image(r, 2, 4);
        let case = Case::new(name, 6).float("epsilon", 0.01).either(r, &shape);
        case.either(r, &shape[1..2]).either(r, &shape[1..2])
    }),
    ("GroupNormalization", |name, r| {
        let groups = r.size(1, 3);
        let mut shape = image(r, 2, 4);
        shape[1] = groups * r.size(1, 3);
        let stored = if r.chance(0.5) { [groups] } else { [shape[1]] };
        let case = Case::new(name, 21).int("num_groups", groups as i64).float("epsilon", 0.01);
        let case = case.either(r, &shape);
        case.either(r, &stored).either(r, &stored)
    }),
];

/// `[1 or 2, channels, *spatial]` with spatial sizes between two bounds.
fn image(r: &mut Random, low: usize, high: usize) -> Vec<usize> {
    let rank = r.pick(&[1, 1, 2, 2, 3]);
    let mut shape = vec![r.pick(&[1, 1, 2]), r.size(1, 3)];
    shape.extend((0..rank).map(|_| r.size(low, high)));
    shape
}

fn matmul(name: &'static str, r: &mut Random) -> Case {
    let (m, k, n) = (r.size(1, 3), r.size(1, 4), r.size(1, 3));
    let rank = r.size(0, 2);
    let batch = r.shape(rank, 3);
    let (first, second) = match r.size(0, 6) {
        // A weight on either side, one matrix.
        0 => (join(&batch, &[m, k]), vec![k, n]),
        1 => (vec![m, k], join(&batch, &[k, n])),
        // One matrix per head.
        2 => (join(&batch, &[m, k]), join(&batch[rank.min(1)..], &[k, n])),
        3 => (join(&batch[rank.min(1)..], &[m, k]), join(&batch, &[k, n])),
        // Vectors.
        4 => (vec![k], join(&batch, &[k, n])),
        5 => (join(&batch, &[m, k]), vec![k]),
        // Any broadcast.
        _ => (join(&r.below(&batch), &[m, k]), join(&r.below(&batch), &[k, n])),
    };
    Case::new(name, 13).either(r, &first).either(r, &second)
}

fn join(a: &[usize], b: &[usize]) -> Vec<usize> {
    [a, b].concat()
}

fn gemm(name: &'static str, r: &mut Random) -> Case {
    let (m, k, n) = (r.size(1, 3), r.size(1, 4), r.size(1, 3));
    let (flip_a, flip_b) = (r.int(0, 1), r.int(0, 1));
    let a = if flip_a == 1 { [k, m] } else { [m, k] };
    let b = if flip_b == 1 { [n, k] } else { [k, n] };
    let case = Case::new(name, 13).int("transA", flip_a).int("transB", flip_b);
    let case = case.float("alpha", r.pick(&[1.0, 0.5])).float("beta", r.pick(&[1.0, 2.0]));
    let case = case.either(r, &a).either(r, &b);
    let bias = r.below(&[m, n]);
    if r.chance(0.8) { case.either(r, &bias) } else { case }
}

fn convolution(name: &'static str, r: &mut Random) -> Case {
    let mut shape = image(r, 3, 5);
    let rank = shape.len() - 2;
    let groups = r.pick(&[1, 1, 2, 3]);
    let (per_in, per_out) = (r.size(1, 2), r.size(1, 2));
    shape[1] = groups * per_in;
    let kernel = r.shape(rank, 3);
    let weight = join(&[groups * per_out, per_in], &kernel);
    let mut case = Case::new(name, 11).int("group", groups as i64).either(r, &shape);
    case = case.shared(&weight);
    if r.chance(0.6) {
        case = case.shared(&[groups * per_out]);
    }
    window(case, r, &kernel, &shape[2..])
}

/// Strides, dilations and padding for a kernel that must still fit.
fn window(case: Case, r: &mut Random, kernel: &[usize], spatial: &[usize]) -> Case {
    let rank = kernel.len();
    let strides = r.shape(rank, 3);
    let case = if r.chance(0.7) { case.sizes("strides", &strides) } else { case };
    let case = if r.chance(0.5) { case.sizes("kernel_shape", kernel) } else { case };
    let dilations: Vec<usize> = (0..rank)
        .map(|axis| if 2 * (kernel[axis] - 1) < spatial[axis] { r.size(1, 2) } else { 1 })
        .collect();
    let case = case.sizes("dilations", &dilations);
    match r.size(0, 4) {
        0 => case.text("auto_pad", "SAME_UPPER"),
        1 => case.text("auto_pad", "SAME_LOWER"),
        2 => case.text("auto_pad", "VALID"),
        3 => case,
        _ => {
            let pads: Vec<usize> =
                (0..2 * rank).map(|k| r.size(0, 2).min(kernel[k % rank] - 1)).collect();
            case.sizes("pads", &pads)
        }
    }
}

fn transposed(name: &'static str, r: &mut Random) -> Case {
    let mut shape = image(r, 1, 3);
    let rank = shape.len() - 2;
    let groups = r.pick(&[1, 1, 2, 3]);
    let (per_in, per_out) = (r.size(1, 2), r.size(1, 2));
    shape[1] = groups * per_in;
    let kernel: Vec<usize> = (0..rank).map(|_| r.size(1, 3)).collect();
    let strides = r.shape(rank, 3);
    let mut case = Case::new(name, 11).int("group", groups as i64).sizes("strides", &strides);
    case = case.either(r, &shape).shared(&join(&[groups * per_in, per_out], &kernel));
    if r.chance(0.6) {
        case = case.shared(&[groups * per_out]);
    }
    if r.chance(0.5) {
        let extra: Vec<usize> = strides.iter().map(|stride| r.size(0, stride - 1)).collect();
        case = case.sizes("output_padding", &extra);
    }
    if r.chance(0.5) {
        case = case.sizes("dilations", &r.shape(rank, 2));
    }
    match r.size(0, 4) {
        0 => case.text("auto_pad", "SAME_UPPER"),
        1 => case.text("auto_pad", "SAME_LOWER"),
        2 => {
            let out: Vec<usize> = shape[2..].iter().zip(&strides).map(|(n, s)| n * s).collect();
            case.sizes("output_shape", &out)
        }
        3 => case,
        _ => {
            let pads: Vec<usize> = (0..2 * rank).map(|k| (kernel[k % rank] - 1) / 2).collect();
            case.sizes("pads", &pads)
        }
    }
}

fn pool(name: &'static str, r: &mut Random, draw: Draw) -> Case {
    let shape = image(r, 3, 5);
    let kernel: Vec<usize> = (2..shape.len()).map(|_| r.size(1, 3)).collect();
    let case = Case::new(name, 19).either(r, &shape).draw(draw);
    let case = window(case, r, &kernel, &shape[2..]).sizes("kernel_shape", &kernel);
    case.int("ceil_mode", r.int(0, 1))
}

fn batch_normalization(name: &'static str, r: &mut Random) -> Case {
    let rank = r.size(2, 5);
    let shape = r.shape(rank, 3);
    let shape = if rank > 2 && r.chance(0.5) { r.long(shape) } else { shape };
    let channels = [shape[1]];
    let mean = (0..shape[1]).map(|_| r.normal()).collect::<Vec<_>>();
    let variance = (0..shape[1]).map(|_| r.real(0.2, 2.0)).collect::<Vec<_>>();
    let case = Case::new(name, 15).float("epsilon", 0.01).either(r, &shape);
    let case = case.shared(&channels).shared(&channels);
    case.constant_floats(&channels, &mean).constant_floats(&channels, &variance)
}

fn layer(name: &'static str, r: &mut Random, bias: bool) -> Case {
    let rank = r.size(1, 4);
    let mut shape = r.shape(rank, 3);
    shape[rank - 1] = r.size(2, 4);
    let axis = r.int(-(rank as i64), rank as i64 - 1);
    let from = (axis + rank as i64) as usize % rank;
    let own = if r.chance(0.7) { shape[from..].to_vec() } else { r.below(&shape[from..]) };
    let case = Case::new(name, 17).int("axis", axis).float("epsilon", 0.01).either(r, &shape);
    let case = case.either(r, &own);
    if bias && r.chance(0.7) { case.either(r, &own) } else { case }
}

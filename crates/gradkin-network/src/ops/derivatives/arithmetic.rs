//! Cases of activations, arithmetic, reductions, softmax and shapes.

use super::Maker;
use super::case::{Case, Draw, Random};

pub(super) const CASES: &[(&str, Maker)] = &[
    ("Relu", |name, r| unary(name, r, Draw::Away(vec![0.0]))),
    ("LeakyRelu", |name, r| sloped(name, r, Draw::Away(vec![0.0]))),
    ("ThresholdedRelu", |name, r| {
        let alpha = r.pick(&[0.25, 0.5, 1.0]);
        unary(name, r, Draw::Away(vec![f64::from(alpha)])).float("alpha", alpha)
    }),
    ("Elu", |name, r| sloped(name, r, Draw::Away(vec![0.0]))),
    ("Selu", |name, r| sloped(name, r, Draw::Away(vec![0.0]))),
    ("Celu", |name, r| sloped(name, r, Draw::Away(vec![0.0]))),
    ("Sigmoid", |name, r| unary(name, r, Draw::Normal)),
    ("HardSigmoid", |name, r| {
        let (alpha, beta) = r.pick(&[(0.2f32, 0.5f32), (0.5, 0.25), (1.0, 0.5)]);
        let ends = [(0.0 - beta) / alpha, (1.0 - beta) / alpha].map(f64::from);
        let case = unary(name, r, Draw::Away(ends.to_vec()));
        case.float("alpha", alpha).float("beta", beta)
    }),
    ("HardSwish", |name, r| {
        let shape = r.shape(2, 4);
        Case::new(name, 14).varying(&shape).draw(Draw::Steps(-5, 4, 0.1, 0.9))
    }),
    ("Swish", |name, r| sloped(name, r, Draw::Normal)),
    ("Mish", |name, r| unary(name, r, Draw::Normal)),
    ("Softplus", |name, r| unary(name, r, Draw::Normal)),
    ("Softsign", |name, r| unary(name, r, Draw::Away(vec![0.0]))),
    ("Tanh", |name, r| unary(name, r, Draw::Normal)),
    ("Shrink", |name, r| {
        let lambd = r.pick(&[0.25f32, 0.5, 1.0]);
        let ends = vec![f64::from(lambd), -f64::from(lambd)];
        unary(name, r, Draw::Away(ends)).float("lambd", lambd).float("bias", 0.25)
    }),
    ("Gelu", |name, r| {
        let kind = r.pick(&["none", "tanh"]);
        unary(name, r, Draw::Normal).text("approximate", kind)
    }),
    ("DequantizeLinear", dequantize),
    ("PRelu", |name, r| {
        let shape = any_shape(r);
        // Below one axis of slopes, what meets the same slope lies together.
        let axis = r.size(0, shape.len() - 1);
        let of_axis = || (axis..shape.len()).map(|at| if at == axis { shape[at] } else { 1 });
        let slope = if r.chance(0.4) { of_axis().collect() } else { r.below(&shape) };
        Case::new(name, 16).either(r, &shape).draw(Draw::Away(vec![0.0])).either(r, &slope)
    }),
    ("Neg", |name, r| unary(name, r, Draw::Normal)),
    ("Abs", |name, r| unary(name, r, Draw::Away(vec![0.0]))),
    ("Sqrt", |name, r| unary(name, r, Draw::Between(0.2, 2.0))),
    ("Exp", |name, r| unary(name, r, Draw::Normal)),
    ("Log", |name, r| unary(name, r, Draw::Between(0.2, 2.0))),
    ("Reciprocal", |name, r| unary(name, r, Draw::NotZero)),
    ("Erf", |name, r| unary(name, r, Draw::Normal)),
    ("Sin", |name, r| unary(name, r, Draw::Normal)),
    ("Cos", |name, r| unary(name, r, Draw::Normal)),
    ("Tan", |name, r| unary(name, r, Draw::Between(-1.2, 1.2))),
    ("Sinh", |name, r| unary(name, r, Draw::Normal)),
    ("Cosh", |name, r| unary(name, r, Draw::Normal)),
    ("Asin", |name, r| unary(name, r, Draw::Between(-0.9, 0.9))),
    ("Acos", |name, r| unary(name, r, Draw::Between(-0.9, 0.9))),
    ("Atan", |name, r| unary(name, r, Draw::Normal)),
    ("Asinh", |name, r| unary(name, r, Draw::Normal)),
    ("Acosh", |name, r| unary(name, r, Draw::Between(1.2, 3.0))),
    ("Atanh", |name, r| unary(name, r, Draw::Between(-0.9, 0.9))),
    ("Sign", |name, r| unary(name, r, Draw::Away(vec![0.0]))),
    ("Floor", |name, r| unary(name, r, Draw::Steps(-3, 3, 0.1, 0.9))),
    ("Ceil", |name, r| unary(name, r, Draw::Steps(-3, 3, 0.1, 0.9))),
    ("Round", |name, r| unary(name, r, Draw::Steps(-3, 3, 0.6, 1.4))),
    ("Add", |name, r| binary(name, r, Draw::Normal, Draw::Normal)),
    ("Sub", |name, r| binary(name, r, Draw::Normal, Draw::Normal)),
    ("Mul", |name, r| binary(name, r, Draw::Normal, Draw::Normal)),
    ("Div", |name, r| binary(name, r, Draw::Normal, Draw::NotZero)),
    ("Pow", power),
    ("Mod", |name, r| {
        let fmod = r.int(0, 1);
        let (a, b) = (Draw::Steps(-3, 2, 0.3, 0.7), Draw::Between(0.97, 1.03));
        binary(name, r, a, b).int("fmod", fmod)
    }),
    ("Sum", |name, r| variadic(name, r)),
    ("Mean", |name, r| variadic(name, r)),
    ("Min", |name, r| variadic(name, r)),
    ("Max", |name, r| variadic(name, r)),
    ("Clip", clip),
    ("Where", |name, r| {
        let shape = any_shape(r);
        let shapes = [r.below(&shape), r.below(&shape), r.below(&shape)];
        let case = Case::new(name, 16).either(r, &shapes[0]).draw(Draw::Flags);
        case.either(r, &shapes[1]).either(r, &shapes[2])
    }),
    ("ReduceMean", |name, r| reduce(name, r, Draw::Normal)),
    ("ReduceSum", |name, r| reduce(name, r, Draw::Normal)),
    ("ReduceMax", |name, r| reduce(name, r, Draw::Distinct(0.0))),
    ("ReduceMin", |name, r| reduce(name, r, Draw::Distinct(0.0))),
    ("ReduceSumSquare", |name, r| reduce(name, r, Draw::Normal)),
    ("ReduceL1", |name, r| reduce(name, r, Draw::Away(vec![0.0]))),
    ("ReduceL2", |name, r| reduce(name, r, Draw::NotZero)),
    ("ReduceLogSum", |name, r| reduce(name, r, Draw::Between(0.2, 2.0))),
    ("ReduceLogSumExp", |name, r| reduce(name, r, Draw::Normal)),
    ("ReduceProd", |name, r| {
        // Zeros among the factors: the product's slope is not y / x there.
        let draw = if r.chance(0.4) { Draw::Steps(-1, 1, 0.0, 0.0) } else { Draw::NotZero };
        reduce(name, r, draw)
    }),
    ("GlobalAveragePool", |name, r| global(name, r)),
    ("GlobalMaxPool", |name, r| global(name, r)),
    ("Softmax", softmax),
    ("LogSoftmax", softmax),
];

fn any_shape(r: &mut Random) -> Vec<usize> {
    let rank = r.size(1, 4);
    let shape = r.shape(rank, 3);
    if r.chance(0.3) { r.long(shape) } else { shape }
}

fn unary(name: &'static str, r: &mut Random, draw: Draw) -> Case {
    let shape = any_shape(r);
    Case::new(name, 20).either(r, &shape).draw(draw)
}

fn sloped(name: &'static str, r: &mut Random, draw: Draw) -> Case {
    let alpha = r.pick(&[0.0f32, 0.25, 1.0, 1.5]);
    let case = unary(name, r, draw);
    match alpha {
        0.0 => case,
        alpha => case.float("alpha", alpha),
    }
}

fn binary(name: &'static str, r: &mut Random, first: Draw, second: Draw) -> Case {
    let shape = any_shape(r);
    let (a, b) = if r.chance(0.5) {
        (shape.clone(), r.below(&shape))
    } else {
        (r.below(&shape), r.below(&shape))
    };
    let (a, b) = if r.chance(0.3) { (b, a) } else { (a, b) };
    Case::new(name, 14).either(r, &a).draw(first).either(r, &b).draw(second)
}

fn power(name: &'static str, r: &mut Random) -> Case {
    let shape = any_shape(r);
    match r.size(0, 3) {
        0 => binary(name, r, Draw::Between(0.3, 2.0), Draw::Normal),
        1 => {
            let exponent = r.pick(&[-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
            let case = Case::new(name, 15).either(r, &shape).draw(Draw::NotZero);
            case.constant_floats(&[], &[exponent])
        }
        2 => {
            let exponent = r.pick(&[-1.5, -0.5, 0.5, 0.7, 2.5]);
            let case = Case::new(name, 15).either(r, &shape).draw(Draw::Between(0.3, 2.0));
            case.constant_floats(&[1], &[exponent])
        }
        _ => {
            let own = r.below(&shape);
            let case = Case::new(name, 15).either(r, &shape).draw(Draw::NotZero);
            case.either(r, &own).draw(Draw::Whole(-2, 4))
        }
    }
}

fn variadic(name: &'static str, r: &mut Random) -> Case {
    let shape = any_shape(r);
    let mut case = Case::new(name, 13);
    for k in 0..r.size(1, 4) {
        let own = r.below(&shape);
        case = case.either(r, &own).draw(Draw::Distinct(0.02 * k as f64));
    }
    case
}

fn clip(name: &'static str, r: &mut Random) -> Case {
    let draw = Draw::Away(vec![-0.5, 0.75]);
    let (low, high) = (r.chance(0.7), r.chance(0.7));
    if r.chance(0.3) {
        let case = unary(name, r, draw);
        let case = if low { case.float("min", -0.5) } else { case };
        return if high { case.float("max", 0.75) } else { case };
    }
    let case = unary(name, r, draw);
    let case = if low { case.constant_floats(&[], &[-0.5]) } else { case.absent() };
    if high { case.constant_floats(&[], &[0.75]) } else { case }
}

fn reduce(name: &'static str, r: &mut Random, draw: Draw) -> Case {
    let shape = any_shape(r);
    let rank = shape.len();
    let count = r.size(0, rank);
    let axes: Vec<i64> = r.permutation(rank)[..count]
        .iter()
        .map(|axis| if r.chance(0.3) { axis - rank as i64 } else { *axis })
        .collect();
    let keep = r.int(0, 1);
    let case = Case::new(name, 18).either(r, &shape).draw(draw).int("keepdims", keep);
    match (r.size(0, 2), axes.is_empty()) {
        (0, false) => case.ints("axes", &axes),
        (1, true) => case.int("noop_with_empty_axes", 1),
        (_, true) => case,
        _ => case.list(&axes),
    }
}

fn global(name: &'static str, r: &mut Random) -> Case {
    let rank = r.size(3, 5);
    let shape = r.shape(rank, 3);
    Case::new(name, 1).either(r, &shape).draw(Draw::Distinct(0.0))
}

fn softmax(name: &'static str, r: &mut Random) -> Case {
    let shape = any_shape(r);
    let rank = shape.len() as i64;
    let opset = r.pick(&[11, 13]);
    let axis = r.int(-rank, rank - 1);
    let case = Case::new(name, opset).either(r, &shape);
    // The default axis of the old form is 1, which a vector has not but may name.
    if r.chance(0.8) { case.int("axis", axis) } else { case }
}

/// Scale and zero point for everything, for one axis, or for blocks along one.
fn dequantize(name: &'static str, r: &mut Random) -> Case {
    let shape = r.shape(3, 4);
    let axis = r.size(0, 2);
    let block = r.size(1, 3);
    let (grid, size) = match r.size(0, 2) {
        0 => (Vec::new(), 0),
        1 => (vec![shape[axis]], 0),
        _ => {
            let mut grid = shape.clone();
            grid[axis] = shape[axis].div_ceil(block);
            (grid, block)
        }
    };
    let case = Case::new(name, 21).either(r, &shape).draw(Draw::Whole(-128, 127));
    let case = case.either(r, &grid).draw(Draw::Between(0.1, 1.0));
    let case = if r.chance(0.5) { case.shared(&grid).draw(Draw::Whole(-9, 9)) } else { case };
    case.int("axis", axis as i64).int("block_size", size as i64)
}

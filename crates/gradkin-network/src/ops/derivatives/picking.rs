//! Cases of operators whose indices the data may choose, and of blocks, sums and masks.

use super::Maker;
use super::case::{Case, Draw, Random};

pub(super) const CASES: &[(&str, Maker)] = &[
    ("CumSum", |name, r| {
        let shape = r.shape(3, 4);
        let case = Case::new(name, 14).int("exclusive", r.int(0, 1)).int("reverse", r.int(0, 1));
        case.either(r, &shape).constant_ints(&[], &[r.int(-3, 2)])
    }),
    ("DepthToSpace", |name, r| {
        let size = r.size(1, 2);
        let shape = [1, size * size * r.size(1, 2), r.size(1, 3), r.size(1, 3)];
        let case = Case::new(name, 13).int("blocksize", size as i64);
        case.text("mode", r.pick(&["DCR", "CRD"])).either(r, &shape)
    }),
    ("SpaceToDepth", |name, r| {
        let size = r.size(1, 2);
        let shape = [r.size(1, 2), r.size(1, 3), size * r.size(1, 2), size * r.size(1, 2)];
        Case::new(name, 13).int("blocksize", size as i64).either(r, &shape)
    }),
    ("GatherElements", |name, r| {
        let (case, index, size) = elements(name, r);
        indices(case, r, &index, size)
    }),
    ("GatherND", |name, r| {
        let batch = r.size(0, 1);
        let (shape, index, named) = tuples(r, batch);
        let case = Case::new(name, 13).int("batch_dims", batch as i64).either(r, &shape);
        let size = shape[batch..batch + named].iter().min().copied().unwrap_or(1);
        indices(case, r, &index, size)
    }),
    ("Scatter", |name, r| {
        let (case, index, size) = elements(name, r);
        let case = indices(case, r, &index, size);
        case.either(r, &index)
    }),
    ("ScatterElements", |name, r| {
        let (case, index, size) = elements(name, r);
        let case = indices(case, r, &index, size);
        reduced(case, r, &index)
    }),
    ("ScatterND", |name, r| {
        let (shape, index, named) = tuples(r, 0);
        let case = Case::new(name, 18).either(r, &shape);
        let size = shape[..named].iter().min().copied().unwrap_or(1);
        let case = indices(case, r, &index, size);
        let mut updates = index[..index.len() - 1].to_vec();
        updates.extend(&shape[named..]);
        reduced(case, r, &updates)
    }),
    ("TopK", |name, r| {
        let shape = r.shape(3, 4);
        let axis = r.size(0, 2);
        let k = r.int(1, shape[axis] as i64);
        let axis = if r.chance(0.5) { axis as i64 } else { axis as i64 - 3 };
        let case = Case::new(name, 11).int("axis", axis).int("largest", r.int(0, 1)).outputs(2);
        case.either(r, &shape).draw(Draw::Distinct(0.0)).list(&[k])
    }),
    ("ReverseSequence", |name, r| {
        let shape = r.shape(3, 3);
        let time = r.int(0, 1);
        let (steps, rows) = (shape[time as usize] as i64, shape[1 - time as usize]);
        let case = Case::new(name, 10).int("time_axis", time).int("batch_axis", 1 - time);
        case.either(r, &shape).either(r, &[rows]).draw(Draw::Whole(1, steps))
    }),
    ("OneHot", |name, r| {
        let shape = r.shape(2, 3);
        let case = Case::new(name, 11).int("axis", r.int(-3, 2)).varying(&shape);
        let case = case.draw(Draw::Whole(-4, 3)).constant_ints(&[], &[4]);
        case.either(r, &[2])
    }),
    ("Trilu", |name, r| {
        let shape = r.shape(3, 4);
        let case = Case::new(name, 14).int("upper", r.int(0, 1)).either(r, &shape);
        if r.chance(0.6) { case.constant_ints(&[], &[r.int(-3, 3)]) } else { case }
    }),
];

/// Data, and an index of the same rank that is no larger on any axis but the chosen one.
fn elements(name: &'static str, r: &mut Random) -> (Case, Vec<usize>, usize) {
    let rank = r.size(1, 3);
    let shape = r.shape(rank, 3);
    let axis = r.size(0, rank - 1);
    let index: Vec<usize> =
        (0..rank).map(|k| if k == axis { r.size(1, 4) } else { r.size(1, shape[k]) }).collect();
    let size = shape[axis];
    let case =
        Case::new(name, 18).int("axis", axis as i64 - if r.chance(0.3) { rank as i64 } else { 0 });
    (case.either(r, &shape).draw(Draw::Distinct(0.0)), index, size)
}

/// Data, an index of tuples into it behind `batch` common axes, and the length of a tuple.
fn tuples(r: &mut Random, batch: usize) -> (Vec<usize>, Vec<usize>, usize) {
    let rank = r.size(1 + batch, 3);
    let shape = r.shape(rank, 3);
    let named = r.size(1, rank - batch);
    let mut index = shape[..batch].to_vec();
    let more = r.size(0, 2 - batch);
    index.extend(r.shape(more, 3));
    index.push(named);
    (shape, index, named)
}

/// Indices below `size`, known or not when the operator is built.
fn indices(case: Case, r: &mut Random, shape: &[usize], size: usize) -> Case {
    let size = size as i64;
    if r.chance(0.4) {
        let count: usize = shape.iter().product();
        let values: Vec<i64> = (0..count).map(|_| r.int(-size, size - 1)).collect();
        return case.constant_ints(shape, &values);
    }
    case.either(r, shape).draw(Draw::Whole(-size, size - 1))
}

/// Updates, replacing or joined.
fn reduced(case: Case, r: &mut Random, updates: &[usize]) -> Case {
    let reduction = r.pick(&["none", "add", "mul", "min", "max"]);
    case.text("reduction", reduction).either(r, updates).draw(Draw::Distinct(0.03))
}

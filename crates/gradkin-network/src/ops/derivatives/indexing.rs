//! Cases of operators that move, pick and pad entries.

use super::Maker;
use super::case::{Case, Draw, Random};

pub(super) const CASES: &[(&str, Maker)] = &[
    ("Identity", |name, r| plain(name, r)),
    ("Dropout", |name, r| plain(name, r)),
    ("Reshape", reshape),
    ("Flatten", |name, r| {
        let case = plain(name, r);
        let rank = shape_of(&case).len() as i64;
        case.int("axis", r.int(-rank, rank))
    }),
    ("Squeeze", squeeze),
    ("Unsqueeze", unsqueeze),
    ("Transpose", |name, r| {
        let case = plain(name, r);
        let order = r.permutation(shape_of(&case).len());
        if r.chance(0.8) { case.ints("perm", &order) } else { case }
    }),
    ("Expand", |name, r| {
        let rank = r.size(1, 4);
        let shape = r.shape(rank, 3);
        let (own, target) = (r.below(&shape), r.below(&shape));
        let target: Vec<i64> = target.iter().map(|size| *size as i64).collect();
        Case::new(name, 13).either(r, &own).list(&target)
    }),
    ("Tile", |name, r| {
        let case = plain(name, r);
        let repeats: Vec<i64> = shape_of(&case).iter().map(|_| r.int(1, 3)).collect();
        case.list(&repeats)
    }),
    ("Concat", |name, r| {
        let rank = r.size(1, 4);
        let mut shape = r.shape(rank, 3);
        let axis = r.size(0, rank - 1);
        let mut case = Case::new(name, 13).int("axis", signed(r, axis, rank));
        for _ in 0..r.size(1, 4) {
            shape[axis] = r.size(1, 3);
            case = case.either(r, &shape);
        }
        case
    }),
    ("Split", split),
    ("Cast", |name, r| {
        let kind = r.pick(&[1, 9, 10, 7, 11]);
        let draw = Draw::Steps(-2, 2, 0.2, 0.8);
        plain(name, r).draw(draw).int("to", kind)
    }),
    ("CastLike", |name, r| {
        let draw = r.pick(&[0, 1]);
        let case = plain(name, r).draw(Draw::Steps(-2, 2, 0.2, 0.8)).shared(&[2]);
        if draw == 0 { case } else { case.draw(Draw::Whole(0, 3)) }
    }),
    ("Slice", slice),
    ("Gather", gather),
    ("Pad", pad),
];

fn plain(name: &'static str, r: &mut Random) -> Case {
    let rank = r.size(1, 4);
    let shape = r.shape(rank, 3);
    Case::new(name, 13).either(r, &shape)
}

fn shape_of(case: &Case) -> Vec<usize> {
    case.arguments[0].as_ref().map(|a| a.shape.clone()).unwrap_or_default()
}

/// An axis, at times counted from the end.
fn signed(r: &mut Random, axis: usize, rank: usize) -> i64 {
    let axis = axis as i64;
    if r.chance(0.3) { axis - rank as i64 } else { axis }
}

fn reshape(name: &'static str, r: &mut Random) -> Case {
    let case = plain(name, r);
    let shape = shape_of(&case);
    let count = shape.iter().product::<usize>() as i64;
    match r.size(0, 3) {
        0 => case.list(&[-1]),
        1 => case.list(&[1, count]),
        2 => case.list(&[0, -1]),
        _ => case.ints("shape", &[-1, shape.last().copied().unwrap_or(1) as i64]),
    }
}

fn squeeze(name: &'static str, r: &mut Random) -> Case {
    let case = Case::new(name, 13);
    let shape = [1, r.size(2, 3), 1, r.size(2, 3)];
    let case = case.either(r, &shape);
    match r.size(0, 3) {
        0 => case,
        1 => case.list(&[0]),
        2 => case.list(&[-2, 0]),
        _ => case.ints("axes", &[2]),
    }
}

fn unsqueeze(name: &'static str, r: &mut Random) -> Case {
    let shape = r.shape(2, 3);
    let case = Case::new(name, 13).either(r, &shape);
    let axes = r.pick(&[&[0][..], &[1], &[-1], &[0, 3], &[2, 1], &[-1, 0]]);
    if r.chance(0.3) { case.ints("axes", axes) } else { case.list(axes) }
}

fn split(name: &'static str, r: &mut Random) -> Case {
    let rank = r.size(1, 3);
    let mut shape = r.shape(rank, 3);
    let axis = r.size(0, rank - 1);
    let parts = r.size(1, 4);
    let way = r.size(0, 2);
    let sizes: Vec<i64> = (0..parts).map(|_| if way == 0 { 2 } else { r.int(1, 3) }).collect();
    shape[axis] = sizes.iter().sum::<i64>() as usize;
    let case = Case::new(name, 18).int("axis", signed(r, axis, rank)).outputs(parts);
    let case = case.either(r, &shape);
    match way {
        0 if r.chance(0.5) => case.int("num_outputs", parts as i64),
        0 => case,
        1 => case.list(&sizes),
        _ => case.ints("split", &sizes),
    }
}

fn slice(name: &'static str, r: &mut Random) -> Case {
    let rank = r.size(1, 4);
    let shape = r.shape(rank, 5);
    let count = r.size(1, rank);
    let axes: Vec<i64> = r.permutation(rank)[..count].to_vec();
    let (mut starts, mut ends, mut steps) = (Vec::new(), Vec::new(), Vec::new());
    for axis in &axes {
        let n = shape[*axis as usize] as i64;
        let step = r.pick(&[1, 1, 2, 3, -1, -2]);
        let (start, end) = match step > 0 {
            true => (r.int(0, n - 1), r.pick(&[n, n + 5, i64::MAX, -1, n - 1])),
            false => (r.pick(&[n - 1, n + 3, -1]), r.pick(&[-n - 1, i64::MIN, 0, 1])),
        };
        // Some from the end.
        starts.push(if r.chance(0.3) && (0..n).contains(&start) { start - n } else { start });
        ends.push(end);
        steps.push(step);
    }
    if r.chance(0.2) && steps.iter().all(|step| *step == 1) {
        let case = Case::new(name, 9).either(r, &shape);
        return case.ints("starts", &starts).ints("ends", &ends).ints("axes", &axes);
    }
    let case = Case::new(name, 13).either(r, &shape).list(&starts).list(&ends);
    let axes: Vec<i64> = axes.iter().map(|axis| signed(r, *axis as usize, rank)).collect();
    case.list(&axes).list(&steps)
}

fn gather(name: &'static str, r: &mut Random) -> Case {
    let rank = r.size(1, 3);
    let shape = r.shape(rank, 4);
    let axis = r.size(0, rank - 1);
    let size = shape[axis] as i64;
    let case = Case::new(name, 13).int("axis", signed(r, axis, rank)).either(r, &shape);
    let rank = r.size(0, 2);
    let picked = r.shape(rank, 3);
    let draw = Draw::Whole(-size, size - 1);
    match r.size(0, 2) {
        0 => {
            let count: usize = picked.iter().product();
            let values: Vec<i64> = (0..count).map(|_| r.int(-size, size - 1)).collect();
            case.constant_ints(&picked, &values)
        }
        1 => case.shared(&picked).draw(draw),
        _ => case.varying(&picked).draw(draw),
    }
}

fn pad(name: &'static str, r: &mut Random) -> Case {
    let rank = r.size(1, 4);
    let shape: Vec<usize> = (0..rank).map(|_| r.size(2, 4)).collect();
    let mode = r.pick(&["constant", "edge", "reflect", "wrap"]);
    let chosen = r.chance(0.4) && rank > 1;
    let axes: Vec<usize> = if chosen { vec![rank - 1, 0] } else { (0..rank).collect() };
    let pads: Vec<i64> = (0..2 * axes.len())
        .map(|k| {
            let most = shape[axes[k % axes.len()]] as i64 - 1;
            if r.chance(0.15) { -1 } else { r.int(0, most) }
        })
        .collect();
    let case = Case::new(name, 19).text("mode", mode).either(r, &shape);
    if !chosen && r.chance(0.3) {
        return case.ints("pads", &pads).float("value", 0.5);
    }
    let case = case.list(&pads);
    let case = match r.size(0, 2) {
        0 => case.absent(),
        1 => case.constant_floats(&[], &[1.5]),
        _ => case.constant_floats(&[1], &[0.0]),
    };
    let axes: Vec<i64> = axes.iter().map(|axis| signed(r, *axis, rank)).collect();
    if chosen { case.list(&axes) } else { case }
}

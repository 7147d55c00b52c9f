//! Cases of Resize, Upsample and GridSample.

use super::Maker;
use super::case::{Case, Draw, Random};

pub(super) const CASES: &[(&str, Maker)] = &[
    ("Resize", |name, r| match r.size(0, 4) {
        0 => old(name, r, 10),
        _ => resize(name, r),
    }),
    ("Upsample", |name, r| old(name, r, 9)),
    ("GridSample", |name, r| {
        let rank = r.pick(&[1, 2, 2, 3]);
        let batch = r.pick(&[1, 2]);
        let mut picture = vec![batch, r.size(1, 2)];
        picture.extend((0..rank).map(|_| r.size(2, 4)));
        let mut grid = vec![batch];
        grid.extend(r.shape(rank, 2));
        grid.push(rank);
        let case = Case::new(name, 20)
            .text("mode", r.pick(&["linear", "nearest", "cubic"]))
            .text("padding_mode", r.pick(&["zeros", "border", "reflection"]))
            .int("align_corners", r.int(0, 1));
        case.either(r, &picture).either(r, &grid).draw(Draw::Between(-1.4, 1.4))
    }),
];

fn image(r: &mut Random) -> Vec<usize> {
    let rank = r.size(1, 2);
    let mut shape = vec![1, r.size(1, 2)];
    shape.extend((0..rank).map(|_| r.size(2, 4)));
    shape
}

fn scales(r: &mut Random, shape: &[usize]) -> Vec<f64> {
    let mut scales = vec![1.0, 1.0];
    scales.extend((2..shape.len()).map(|_| r.pick(&[0.5, 0.75, 1.0, 1.5, 2.0, 3.0])));
    scales
}

fn old(name: &'static str, r: &mut Random, opset: i64) -> Case {
    let shape = image(r);
    let scales = scales(r, &shape);
    let mode = r.pick(&["nearest", "linear"]);
    let case = Case::new(name, opset).text("mode", mode).either(r, &shape);
    if name == "Upsample" && r.chance(0.4) {
        return case.floats("scales", &scales.iter().map(|s| *s as f32).collect::<Vec<_>>());
    }
    case.constant_floats(&[scales.len()], &scales)
}

fn resize(name: &'static str, r: &mut Random) -> Case {
    let shape = image(r);
    let mode = r.pick(&["nearest", "linear", "cubic"]);
    let transformation = r.pick(&[
        "half_pixel",
        "half_pixel_symmetric",
        "pytorch_half_pixel",
        "align_corners",
        "asymmetric",
        "tf_half_pixel_for_nn",
        "tf_crop_and_resize",
    ]);
    let nearest = r.pick(&["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"]);
    let mut case = Case::new(name, 19)
        .text("mode", mode)
        .text("coordinate_transformation_mode", transformation)
        .text("nearest_mode", nearest)
        .float("cubic_coeff_a", r.pick(&[-0.75, -0.5]))
        .int("exclude_outside", r.int(0, 1))
        .int("antialias", if mode == "nearest" { 0 } else { r.int(0, 1) })
        .float("extrapolation_value", r.pick(&[0.0, 3.5]));
    case = case.either(r, &shape);
    let chosen = r.chance(0.4);
    let from = if chosen { 2 } else { 0 };
    let count = shape.len() - from;
    if chosen {
        let axes: Vec<i64> = (2..shape.len() as i64).collect();
        case = case.ints("axes", &axes);
    }
    let mut region: Vec<f64> = (0..count).map(|_| r.real(-0.2, 0.4)).collect();
    region.extend((0..count).map(|_| r.real(0.6, 1.2)));
    case = case.constant_floats(&[2 * count], &region);
    if r.chance(0.5) {
        return case.constant_floats(&[count], &scales(r, &shape)[from..]);
    }
    let sizes: Vec<i64> = shape[from..]
        .iter()
        .enumerate()
        .map(|(k, size)| if k + from < 2 { *size as i64 } else { r.int(1, 6) })
        .collect();
    let policy = r.pick(&["stretch", "not_larger", "not_smaller"]);
    let policy = if chosen { policy } else { "stretch" };
    case.constant_floats(&[0], &[]).list(&sizes).text("keep_aspect_ratio_policy", policy)
}

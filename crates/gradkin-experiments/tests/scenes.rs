//! Scenes as the training meets them: sound, the same for a seed, and with buildings where the image
//! shows them.
#![allow(clippy::unwrap_used)]

use geo::{Area, BooleanOps, BoundingRect, Coord, Polygon, Validation};
use gradkin_experiments::registration::scene::District;
use gradkin_experiments::registration::{Raster, Scene, SceneOptions, Shift};

fn small(district: Option<District>) -> SceneOptions {
    SceneOptions { width: 160, height: 128, district, ..Default::default() }
}

#[test]
fn a_seed_decides_everything() {
    let one = Scene::generate(&small(None), 11);
    assert_eq!(one, Scene::generate(&small(None), 11));
    assert_ne!(one.image, Scene::generate(&small(None), 12).image);
}

#[test]
fn scenes_are_sound() {
    let mut courts = 0;
    for (i, district) in [District::Suburb, District::City, District::Industry, District::Country]
        .into_iter()
        .cycle()
        .take(24)
        .enumerate()
    {
        let scene = Scene::generate(&small(Some(district)), i as u64);
        assert_eq!(scene.image.shape(), [3, 128, 160]);
        assert!((0.3..0.5).contains(&scene.metres_per_pixel));
        assert!(scene.image.values().iter().all(|v| (0.0..=1.0).contains(v)));
        let mut groups = 0;
        for (number, building) in scene.buildings.iter().enumerate() {
            assert_eq!(building.id, number);
            assert!(building.group <= groups, "groups are numbered as they come");
            groups = groups.max(building.group + 1);
            assert!(building.polygon.is_valid());
            let area = building.polygon.unsigned_area() * scene.metres_per_pixel.powi(2);
            assert!((8.0..6000.0).contains(&area), "{district:?}: {area} m²");
            courts += building.polygon.interiors().len();
        }
        no_two_overlap(&scene);
    }
    assert!(courts > 0, "no polygon with a hole in 24 scenes");
}

fn no_two_overlap(scene: &Scene) {
    let polygons = scene.outlines(&[]);
    for (i, one) in polygons.iter().enumerate() {
        for other in &polygons[..i] {
            let common = one.intersection(other).unsigned_area();
            assert!(common < 1e-6, "{common} px² of two buildings");
        }
    }
}

#[test]
fn most_scenes_have_buildings_to_learn_from() {
    let count = |seed: u64| Scene::generate(&SceneOptions::default(), seed).buildings.len();
    let mut counts: Vec<usize> = (0..21).map(count).collect();
    counts.sort_unstable();
    assert!(counts[10] >= 8, "{counts:?}");
    assert!(counts[20] <= 150, "{counts:?}");
}

#[test]
fn odd_sizes_are_scenes_too() {
    for (width, height) in [(0, 0), (1, 1), (3, 40), (0, 7)] {
        for metres_per_pixel in [None, Some(0.0), Some(-3.0), Some(f64::NAN), Some(1e12)] {
            for trees in [-1.0, f64::NAN, 1e9] {
                let options =
                    SceneOptions { width, height, metres_per_pixel, trees, ..Default::default() };
                assert_eq!(Scene::generate(&options, 1).image.shape(), [3, height, width]);
            }
        }
    }
}

/// Outlines must lie where the image changes. This finds an error of half a pixel: what the image changes
/// by across a wall, taken over many scenes (and so many suns), is largest with the outline in its place
/// and falls alike to both sides.
#[test]
fn walls_are_where_the_image_changes() {
    let steps = [-1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5];
    let mut change = [[0.0; 7]; 2];
    for seed in 0..40 {
        let scene = Scene::generate(&SceneOptions { trees: 0.2, ..Default::default() }, seed);
        let grey = scene.image.grey();
        for (axis, sums) in change.iter_mut().enumerate() {
            for (sum, step) in sums.iter_mut().zip(steps) {
                let by =
                    if axis == 0 { Shift { x: step, y: 0.0 } } else { Shift { x: 0.0, y: step } };
                let shifts = vec![by; scene.buildings.len()];
                *sum += scene.outlines(&shifts).iter().map(|p| across(&grey, p)).sum::<f64>();
            }
        }
    }
    for sums in change {
        let shares = sums.map(|sum| sum / sums[3]);
        assert!(shares.iter().all(|share| *share <= 1.0), "{shares:?}");
        for (low, high) in [(0, 6), (1, 5), (2, 4)] {
            // Half a pixel off makes differences of 0.2 and more.
            assert!((shares[low] - shares[high]).abs() < 0.1, "{shares:?}");
        }
        assert!(shares[0] < 0.85, "{shares:?}");
    }
}

/// The change of the image over a pixel across the walls that lie in it, summed along them.
fn across(image: &Raster, polygon: &Polygon<f64>) -> f64 {
    let inside = |bounds: geo::Rect<f64>| {
        let (min, max) = (bounds.min(), bounds.max());
        let (width, height) = (image.width() as f64, image.height() as f64);
        min.x > 4.0 && min.y > 4.0 && max.x < width - 4.0 && max.y < height - 4.0
    };
    if !polygon.bounding_rect().is_some_and(inside) {
        return 0.0;
    }
    let rings = std::iter::once(polygon.exterior()).chain(polygon.interiors());
    let mut sum = 0.0;
    for line in rings.flat_map(|ring| ring.lines()) {
        let along = line.delta();
        let length = along.x.hypot(along.y);
        let normal = Coord { x: -along.y, y: along.x } / length.max(1e-9);
        for step in 0..length as usize {
            let at = line.start + along * ((step as f64 + 0.5) / length);
            sum += (sampled(image, at + normal) - sampled(image, at - normal)).abs();
        }
    }
    sum
}

/// The image between its pixels' centres.
fn sampled(image: &Raster, at: Coord<f64>) -> f64 {
    let (x, y) = (at.x - 0.5, at.y - 0.5);
    let (column, row) = (x.floor(), y.floor());
    let (right, down) = (x - column, y - row);
    let value =
        |dy: usize, dx: usize| f64::from(image.at(0, row as usize + dy, column as usize + dx));
    let above = value(0, 0) * (1.0 - right) + value(0, 1) * right;
    let below = value(1, 0) * (1.0 - right) + value(1, 1) * right;
    above * (1.0 - down) + below * down
}

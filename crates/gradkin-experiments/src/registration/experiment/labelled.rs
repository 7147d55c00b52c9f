//! Scenes whose labels are out of line, as a data set is: once and for all.

use geo::{BoundingRect, Rect, Translate};
use rand::rngs::ChaCha12Rng;
use rand::{Rng, RngExt, SeedableRng};

use super::evened::evened;
use crate::registration::{Building, Misalignment, Raster, Scene, SceneOptions, Shift};

/// A scene, and by how much the label of each building is off.
#[derive(Debug, Clone)]
pub(super) struct Labelled {
    /// The image is [`evened`].
    pub(super) scene: Scene,
    /// The image as it was taken, to look at.
    pub(super) taken: Raster,
    /// From the truth to the label as it was given.
    pub(super) noise: Vec<Shift>,
    /// From the truth to the label as it is now.
    pub(super) labels: Vec<Shift>,
}

impl Labelled {
    /// A scene whose labels are as they were given.
    pub(super) fn new(mut scene: Scene, noise: Vec<Shift>) -> Self {
        let evened = evened(&scene.image);
        let taken = std::mem::replace(&mut scene.image, evened);
        Self { scene, taken, labels: noise.clone(), noise }
    }

    /// A square part of the scene, or the whole of it where that is no larger, and its labels as they are now.
    pub(super) fn somewhere(&self, side: usize, random: &mut impl Rng) -> (Scene, Vec<Shift>) {
        let [_, height, width] = self.scene.image.shape();
        let (rows, columns) = (height.saturating_sub(side), width.saturating_sub(side));
        let (top, left) = (random.random_range(0..=rows), random.random_range(0..=columns));
        self.part(top, left, side).unwrap_or_else(|| (self.scene.clone(), self.labels.clone()))
    }

    /// A square part with the buildings in it or near it; none if it reaches past the border.
    fn part(&self, top: usize, left: usize, side: usize) -> Option<(Scene, Vec<Shift>)> {
        let image = self.scene.image.cut(top, left, side, side)?;
        let mut part = Scene { image, buildings: Vec::new(), ..self.scene };
        let mut labels = Vec::new();
        let (x, y) = (left as f64, top as f64);
        for (building, label) in self.scene.buildings.iter().zip(&self.labels) {
            let polygon = building.polygon.translate(-x, -y);
            if polygon.bounding_rect().is_some_and(|bounds| near(bounds, side as f64)) {
                part.buildings.push(Building { polygon, ..*building });
                labels.push(*label);
            }
        }
        Some((part, labels))
    }
}

/// Whether what lies within these bounds, moved by labels and by what they are drawn off, may reach into a
/// picture.
fn near(bounds: Rect<f64>, side: f64) -> bool {
    const FURTHEST: f64 = 16.0;
    let (min, max) = (bounds.min(), bounds.max());
    let reaches = |min: f64, max: f64| min < side + FURTHEST && max > -FURTHEST;
    reaches(min.x, max.x) && reaches(min.y, max.y)
}

/// Scenes with at least so many buildings are used; others have little to learn from.
const FEWEST: usize = 3;

/// So many scenes, their labels off.
pub(super) fn generate(
    count: usize,
    side: usize,
    noise: &Misalignment,
    seed: u64,
) -> Vec<Labelled> {
    let options = SceneOptions { width: side, height: side, ..SceneOptions::default() };
    let mut random = ChaCha12Rng::seed_from_u64(seed);
    let mut scenes = Vec::with_capacity(count);
    while scenes.len() < count {
        let scene = Scene::generate(&options, random.next_u64());
        let noise = noise.draw(&scene, random.next_u64());
        if scene.buildings.len() >= FEWEST {
            scenes.push(Labelled::new(scene, noise));
        }
    }
    scenes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registration::{OutlineStyle, Sample};

    #[test]
    fn a_part_shows_what_the_whole_shows_there() {
        let noise = Misalignment::default();
        let labelled = generate(1, 320, &noise, 5).remove(0);
        let (part, labels) = labelled.part(24, 40, 96).unwrap();
        assert!(part.buildings.len() < labelled.scene.buildings.len());
        let style = OutlineStyle::default();
        let still = vec![Shift::default(); labelled.labels.len()];
        let whole = Sample::draw(&labelled.scene, &labelled.labels, &still, &style);
        let of_part = Sample::draw(&part, &labels, &still, &style);
        let wanted = whole.cut(24, 40, 96).unwrap();
        assert_eq!(of_part.image, wanted.image);
        let furthest = (of_part.outline.values().iter().zip(wanted.outline.values()))
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, f32::max);
        assert!(furthest < 1e-3, "{furthest}");
        assert!(labelled.part(250, 0, 96).is_none());
        let random = &mut ChaCha12Rng::seed_from_u64(1);
        assert_eq!(labelled.somewhere(500, random).1, labelled.labels);
    }
}

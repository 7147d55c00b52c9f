//! Scenes whose labels are out of line, as a data set is: once and for all.

use rand::rngs::ChaCha12Rng;
use rand::{Rng, SeedableRng};

use crate::registration::{Misalignment, Scene, SceneOptions, Shift};

/// A scene, and by how much the label of each building is off.
#[derive(Debug, Clone)]
pub(super) struct Labelled {
    /// The image is grey.
    pub(super) scene: Scene,
    /// From the truth to the label as it was given.
    pub(super) noise: Vec<Shift>,
    /// From the truth to the label as it is now.
    pub(super) labels: Vec<Shift>,
}

impl Labelled {
    /// A scene whose labels are as they were given.
    pub(super) fn new(mut scene: Scene, noise: Vec<Shift>) -> Self {
        scene.image = scene.image.grey();
        Self { scene, labels: noise.clone(), noise }
    }
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

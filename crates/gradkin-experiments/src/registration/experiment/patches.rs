//! What a training step is given: patches of scenes, with outlines drawn off their labels.

use gradkin::network::InputData;
use gradkin::train::{Batch, Targets, TrainingSet};
use rand::rngs::ChaCha12Rng;
use rand::{Rng, RngExt, SeedableRng};

use super::labelled::Labelled;
use super::settings::Settings;
use crate::registration::{Sample, Turn};

/// Buildings and what is near them cover at least this share of a patch.
const COVERED: f64 = 0.15;
/// Parts of a scene that are tried for such a patch.
const TRIES: usize = 5;

/// Scenes in any order; every time one comes, its outlines are drawn in other places, and the patches
/// are others.
pub(super) struct Patches<'a> {
    pub(super) scenes: &'a [Labelled],
    pub(super) settings: &'a Settings,
}

impl TrainingSet for Patches<'_> {
    fn len(&self) -> usize {
        self.scenes.len()
    }

    fn batch(&self, indices: &[usize], draw: u64) -> gradkin::Result<Batch> {
        let mut random = ChaCha12Rng::seed_from_u64(draw);
        let mut batch = Collected::default();
        let side = self.settings.patch_side;
        for index in indices {
            for _ in 0..self.settings.batch_patches {
                if let Some(patch) = self.patch(&self.scenes[*index], &mut random) {
                    let mut patch = patch.turned(Turn::draw(&mut random));
                    if random.random_bool(self.settings.grey) {
                        patch.image.values_mut()[side * side..].fill(0.0);
                    }
                    batch.add(&patch);
                }
            }
        }
        if batch.size == 0 {
            return Err(gradkin::Error::Usage(
                "no patch of these scenes has a building; draw others".into(),
            ));
        }
        Ok(batch.finish())
    }
}

impl Patches<'_> {
    /// A patch somewhere in a scene, its outlines drawn off their labels.
    fn patch(&self, labelled: &Labelled, random: &mut ChaCha12Rng) -> Option<Sample> {
        let side = self.settings.patch_side;
        (0..TRIES).find_map(|_| {
            let (scene, labels) = labelled.somewhere(2 * side, random);
            let start = self.settings.start.draw(&scene, random.next_u64());
            let part = Sample::draw(&scene, &labels, &start, &self.settings.style);
            part.random_patch(side, COVERED, random)
        })
    }
}

/// Patches one after another.
#[derive(Default)]
struct Collected {
    images: Vec<f32>,
    outlines: Vec<f32>,
    targets: Vec<f64>,
    weights: Vec<f64>,
    size: usize,
}

impl Collected {
    fn add(&mut self, patch: &Sample) {
        self.images.extend(patch.image.values());
        self.outlines.extend(patch.outline.values());
        self.targets.extend(patch.target.values().iter().map(|v| f64::from(*v)));
        // Both components of the displacement count where the mask says so.
        for _ in 0..2 {
            self.weights.extend(patch.mask.values().iter().map(|v| f64::from(*v)));
        }
        self.size += 1;
    }

    fn finish(self) -> Batch {
        Batch {
            inputs: vec![InputData::F32(self.images), InputData::F32(self.outlines)],
            targets: Targets::Numbers(self.targets),
            weights: Some(self.weights),
            size: self.size,
            groups: Vec::new(),
        }
    }
}

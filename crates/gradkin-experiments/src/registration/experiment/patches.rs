//! What a training step is given: patches of scenes, with outlines drawn off their labels.

use gradkin::network::InputData;
use gradkin::train::{Batch, Targets, TrainingSet};
use rand::rngs::ChaCha12Rng;
use rand::{Rng, SeedableRng};

use super::labelled::Labelled;
use super::settings::Settings;
use crate::registration::{Raster, Sample};

/// Buildings and what is near them cover at least this share of a patch.
const COVERED: f64 = 0.15;

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
        for index in indices {
            let Labelled { scene, labels, .. } = &self.scenes[*index];
            let start = self.settings.start.draw(scene, random.next_u64());
            let whole = Sample::draw(scene, labels, &start, &self.settings.style);
            for _ in 0..self.settings.batch_patches {
                let patch = whole.random_patch(self.settings.patch_side, COVERED, &mut random);
                if let Some(patch) = patch {
                    batch.add(patch);
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
    fn add(&mut self, patch: Sample) {
        self.images.extend(contrast(&patch.image));
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

/// A grey image with mean zero and deviation one: how bright the day was does not matter.
pub(super) fn contrast(image: &Raster) -> impl Iterator<Item = f32> + '_ {
    let values = image.channel(0);
    let count = values.len().max(1) as f32;
    let mean = values.iter().sum::<f32>() / count;
    let square = values.iter().map(|value| (value - mean).powi(2)).sum::<f32>() / count;
    let deviation = square.sqrt().max(1e-3);
    values.iter().map(move |value| (value - mean) / deviation)
}

//! Small pictures in classes: from files, or made up where there are none.

use std::f64::consts::TAU;
use std::path::Path;

use gradkin::network::InputData;
use gradkin::train::{Batch, Targets, TrainingSet};
use gradkin_data::{Dataset, Labels, OpenOptions, Preprocessing, TargetInput};
use rand::rngs::ChaCha12Rng;
use rand::{RngExt, SeedableRng};

use crate::Error;

/// Pictures with a class each.
#[derive(Debug, Clone)]
pub(super) struct Pictures {
    /// Channels, height, width.
    pub(super) shape: [usize; 3],
    /// One after another.
    pixels: Vec<f32>,
    pub(super) classes: Vec<usize>,
}

/// How pixels of 0…255 become what the network sees.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pixels {
    pub(super) mean: f64,
    pub(super) deviation: f64,
}

impl Pictures {
    /// All pictures of a file, with their own labels or those of another file.
    pub(super) fn open(
        path: &Path,
        labels: Option<&Path>,
        shape: [usize; 3],
        pixels: Pixels,
    ) -> Result<Self, Error> {
        let data = Dataset::open(path, &OpenOptions::default())?;
        let labels = match labels {
            Some(labels) => Some(Labels::open(labels, None)?),
            None => data.labels().cloned(),
        };
        let ids = match labels {
            Some(Labels::Classes { ids, .. }) if ids.len() == data.len() => ids,
            _ => {
                return Err(Error::Missing {
                    what: format!("a class for each picture of {}", path.display()),
                    remedy: "give a file of as many labels".to_owned(),
                });
            }
        };
        let classes = ids.iter().map(|id| usize::try_from(*id).unwrap_or(0)).collect();
        let input = TargetInput {
            name: "image".to_owned(),
            shape: shape.iter().map(|length| Some(*length)).collect(),
            integer: false,
        };
        let settings = Preprocessing {
            scale: Some(1.0 / 255.0),
            mean: vec![pixels.mean; shape[0]],
            std: vec![pixels.deviation; shape[0]],
            ..Preprocessing::default()
        };
        let ready = data.prepare(&settings, &[input])?;
        let pixels = ready.batch_f32(0, 0..data.len())?;
        Ok(Self { shape, pixels, classes })
    }

    /// Stripes whose direction and width are the class's, at random places, in noise.
    pub(super) fn made_up(count: usize, shape: [usize; 3], seed: u64) -> Self {
        let mut random = ChaCha12Rng::seed_from_u64(seed);
        let [channels, height, width] = shape;
        let mut pixels = Vec::with_capacity(count * channels * height * width);
        let classes: Vec<usize> = (0..count).map(|_| random.random_range(0..10)).collect();
        for class in &classes {
            let (sine, cosine) = (0.5 * TAU * *class as f64 / 10.0).sin_cos();
            let (phase, waves) = (random.random_range(0.0..TAU), 2.0 + (class % 3) as f64);
            for _ in 0..channels {
                for place in 0..height * width {
                    let (y, x) = ((place / width) as f64, (place % width) as f64);
                    let along = (x * cosine + y * sine) / width as f64;
                    let noise: f64 = random.random_range(-0.7..0.7);
                    pixels.push(((TAU * waves * along + phase).sin() + noise) as f32);
                }
            }
        }
        Self { shape, pixels, classes }
    }

    /// The places of each class's pictures.
    pub(super) fn by_class(&self) -> Vec<Vec<usize>> {
        let count = self.classes.iter().max().map_or(0, |most| most + 1);
        let mut places = vec![Vec::new(); count];
        for (place, class) in self.classes.iter().enumerate() {
            places[*class].push(place);
        }
        places
    }

    /// The pictures of a range by themselves.
    pub(super) fn part(&self, range: std::ops::Range<usize>) -> Self {
        let range = range.start.min(self.classes.len())..range.end.min(self.classes.len());
        let size: usize = self.shape.iter().product();
        Self {
            shape: self.shape,
            pixels: self.pixels[range.start * size..range.end * size].to_vec(),
            classes: self.classes[range].to_vec(),
        }
    }
}

impl TrainingSet for Pictures {
    fn len(&self) -> usize {
        self.classes.len()
    }

    fn batch(&self, indices: &[usize], _draw: u64) -> Result<Batch, gradkin::Error> {
        let size: usize = self.shape.iter().product();
        let mut pixels = Vec::with_capacity(indices.len() * size);
        for i in indices {
            pixels.extend_from_slice(&self.pixels[i * size..(i + 1) * size]);
        }
        Ok(Batch {
            inputs: vec![InputData::F32(pixels)],
            targets: Targets::Classes(indices.iter().map(|i| self.classes[*i]).collect()),
            weights: None,
            size: indices.len(),
            groups: Vec::new(),
        })
    }
}

//! How large the experiment is.

use crate::registration::{Misalignment, OutlineStyle};

/// Everything that decides the numbers of the experiment, besides the seed.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Channels of the network at a half, a quarter and an eighth of the size.
    pub widths: [usize; 3],
    /// Scenes with labels to learn from.
    pub training_scenes: usize,
    /// Scenes that the network never learns from.
    pub held_out_scenes: usize,
    /// The side of a scene, a multiple of eight pixels.
    pub scene_side: usize,
    /// The side of a patch, likewise.
    pub patch_side: usize,
    /// Steps of each round.
    pub steps: Vec<usize>,
    /// Scenes to a step.
    pub batch_scenes: usize,
    /// Patches of each of them.
    pub batch_patches: usize,
    /// Adam's rate at its highest, in the first round.
    pub rate: f64,
    /// The same in the other rounds, which go on with the weights of the one before.
    pub later_rate: f64,
    /// By how much labels are off.
    pub noise: Misalignment,
    /// By how much outlines are drawn off their labels.
    pub start: Misalignment,
    /// Outlines as the network sees them.
    pub style: OutlineStyle,
    /// Whether displacements of neighbouring buildings are drawn together, and how far a building's own
    /// counts then against that of its neighbourhood.
    pub own: Option<f64>,
    /// A control: the network learns from the truth in place of the labels.
    pub from_truth: bool,
    /// How often the network looks at an outline, each time where it has put it.
    pub passes: usize,
    /// Patches that similarities are computed between, no two of one scene.
    pub patches: usize,
}

impl Settings {
    /// The experiment as it is reported.
    pub fn full() -> Self {
        Self {
            widths: [16, 32, 48],
            training_scenes: 1200,
            held_out_scenes: 60,
            scene_side: 160,
            patch_side: 64,
            steps: vec![8000, 2000],
            batch_scenes: 8,
            batch_patches: 1,
            rate: 3e-3,
            later_rate: 2e-3,
            noise: Misalignment::default(),
            start: Misalignment {
                group_deviation: 2.0,
                building_deviation: 1.0,
                length: 100.0,
                limit: 4.0,
            },
            style: OutlineStyle::default(),
            own: Some(0.8),
            from_truth: false,
            passes: 3,
            patches: 150,
        }
    }

    /// A look at the whole within a minute.
    pub fn quick() -> Self {
        Self {
            training_scenes: 80,
            held_out_scenes: 20,
            steps: vec![250, 50],
            patches: 30,
            ..Self::full()
        }
    }
}

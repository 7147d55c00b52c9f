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
    /// The share of patches that lose their colours, so that the network learns to do without.
    pub grey: f64,
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
    /// Ways of laying a picture down, of the eight, that the network looks at it in; the mean counts.
    pub turns: usize,
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
            training_scenes: 400,
            held_out_scenes: 40,
            scene_side: 320,
            patch_side: 96,
            grey: 0.2,
            steps: vec![9000, 3000],
            batch_scenes: 4,
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
            own: Some(0.9),
            from_truth: false,
            turns: 4,
            passes: 3,
            patches: 150,
        }
    }

    /// A look at the whole within a minute.
    pub fn quick() -> Self {
        Self {
            training_scenes: 80,
            held_out_scenes: 20,
            scene_side: 160,
            steps: vec![250, 50],
            turns: 1,
            patches: 30,
            ..Self::full()
        }
    }
}

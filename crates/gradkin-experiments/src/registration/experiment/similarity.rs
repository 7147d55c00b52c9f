//! What the network's gradients say of patches (METHOD.md, sections 2 and 3).
//!
//! A patch's output is the mean displacement over its middle, two numbers.

use gradkin::network::{InputData, Network, OutputData};
use gradkin::{
    Examples, Kind, Neighbor, OutputChoice, PairSettings, Positions, Quantity, Reduction,
    Settings as SimilaritySettings, Similarity, State,
};

use super::centred::CentredPatches;
use super::network::{CENTRE, middle_cell};
use crate::registration::Shift;
use crate::{Error, Setup};

/// Neighbours kept of each patch.
const NEAREST: usize = 6;

/// What is said of every patch, in their order.
pub(super) struct Measures {
    /// The displacement that the network predicts.
    pub(super) predicted: Vec<Shift>,
    /// N_S with the trace, itself included.
    pub(super) soft: Vec<f64>,
    /// N_S with the best rotation.
    pub(super) soft_rotation: Vec<f64>,
    /// The nearest by the trace, and by the best rotation.
    pub(super) nearest: [Vec<Vec<Neighbor>>; 2],
    /// D: what share of independent noise on labels is left in their kernel average.
    pub(super) denoising: Vec<Option<f64>>,
    /// The same with k^C for weights, numbers and not matrices.
    pub(super) denoising_trace: Vec<Option<f64>>,
    /// E_k of the labels' noise: what is left of it.
    pub(super) averaged_noise: Vec<Option<Shift>>,
    /// ‖f(x) − E_k[f](x)‖.
    pub(super) consistency: Vec<Option<f64>>,
}

/// Computes them for a set of patches among themselves.
pub(super) fn measure(
    network: &Network,
    patches: &CentredPatches,
    size: usize,
    setup: &Setup,
) -> Result<Measures, Error> {
    let watch =
        |progress: gradkin::Progress| (setup.watch)("similarity", progress.done, progress.total);
    let with = |kind, reduction| Similarity::new(network, settings(kind, reduction, size));
    let trace = with(Kind::Correlation, Reduction::Trace)?;
    let rotation = with(Kind::Correlation, Reduction::Rotation)?;
    let matrices = with(Kind::Inner, Reduction::Matrix)?;

    let pairs = trace.pair_statistics(patches, None, &PairSettings::default(), &watch)?;
    let turned = rotation.pair_statistics(patches, None, &PairSettings::default(), &watch)?;
    let near = trace.neighbors(patches, None, NEAREST, &watch)?.lists;
    let near_turned = rotation.neighbors(patches, None, NEAREST, &watch)?.lists;

    let predicted = predict(network, patches, size)?;
    let denoised = matrices.denoising(patches, None, &watch)?;
    let noise: Vec<f64> = patches.0.iter().flat_map(|p| [p.noise().x, p.noise().y]).collect();
    let outputs: Vec<f64> = predicted.iter().flat_map(|f| [f.x, f.y]).collect();
    let quantities = [&noise, &outputs].map(|values| Quantity::Numbers { values, width: 2 });
    let averages = matrices.averages(patches, None, &quantities, &watch)?;
    let average = |which: usize, i: usize| {
        let values = &averages.averages[which].values;
        (averages.states[i] == State::Fine)
            .then(|| Shift { x: values[2 * i], y: values[2 * i + 1] })
    };
    let factor = |(factor, state): (&f64, &State)| (*state == State::Fine).then_some(*factor);
    let count = patches.len();
    Ok(Measures {
        denoising: denoised.factors.iter().zip(&denoised.states).map(factor).collect(),
        denoising_trace: pairs.denoising_factors(),
        averaged_noise: (0..count).map(|i| average(0, i)).collect(),
        consistency: (0..count)
            .map(|i| average(1, i).map(|mean| length(predicted[i] - mean)))
            .collect(),
        predicted,
        soft: pairs.soft,
        soft_rotation: turned.soft,
        nearest: [near, near_turned],
    })
}

fn settings(kind: Kind, reduction: Reduction, size: usize) -> SimilaritySettings {
    let cell = middle_cell(size);
    let output = OutputChoice {
        name: Some(CENTRE.into()),
        positions: Some(Positions::List(vec![vec![cell, cell]])),
        ..OutputChoice::default()
    };
    SimilaritySettings { kind, reduction, output, ..SimilaritySettings::default() }
}

fn predict(network: &Network, patches: &CentredPatches, size: usize) -> Result<Vec<Shift>, Error> {
    let mut predicted = Vec::with_capacity(patches.len());
    for i in 0..patches.len() {
        let inputs: Vec<InputData> = patches.batch(i..i + 1).map_err(gradkin::Error::Examples)?;
        let outputs = network.evaluate(inputs, 1)?;
        let centre = outputs.into_iter().find(|output| output.name == CENTRE);
        let (side, cell) = (2 * middle_cell(size) + 1, middle_cell(size));
        let at = |values: &[f32], c: usize| f64::from(values[(c * side + cell) * side + cell]);
        match centre.map(|output| output.data) {
            Some(OutputData::F32(values)) if values.len() == 2 * side * side => {
                predicted.push(Shift { x: at(&values, 0), y: at(&values, 1) });
            }
            _ => {
                return Err(Error::Missing {
                    what: format!("the output `{CENTRE}`"),
                    remedy: "build the network for the size of the patches".into(),
                });
            }
        }
    }
    Ok(predicted)
}

/// Of a displacement, in pixels.
pub(super) fn length(shift: Shift) -> f64 {
    shift.x.hypot(shift.y)
}

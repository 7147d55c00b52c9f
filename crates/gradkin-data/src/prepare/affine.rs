//! x' = (x · scale − mean) / std, with one mean and deviation per channel.

use super::Preprocessing;
use crate::error::{DataError, Result, show_shape};
use crate::layout::Layout;

/// (x · scale − mean) / std, for values whose channel repeats every `inner` values.
#[derive(Debug, Clone)]
pub(super) struct Affine {
    scale: f64,
    mean: Vec<f64>,
    std: Vec<f64>,
    inner: usize,
}

impl Affine {
    /// The map that changes nothing.
    pub(super) fn identity() -> Self {
        Self { scale: 1.0, mean: vec![0.0], std: vec![1.0], inner: 1 }
    }

    /// The map for examples of `shape`, whose channels stand where `layout` says.
    pub(super) fn new(
        preprocessing: &Preprocessing,
        shape: &[usize],
        layout: Option<Layout>,
    ) -> Result<Self> {
        let layout = layout.or(preprocessing.layout).unwrap_or(Layout::Nchw);
        let axis = match layout {
            Layout::Nhwc if shape.len() > 1 => shape.len() - 1,
            _ => 0,
        };
        let channels = shape.get(axis).copied().unwrap_or(1);
        for (setting, values) in [("--mean", &preprocessing.mean), ("--std", &preprocessing.std)] {
            if values.len() > 1 && values.len() != channels {
                let reason = format!(
                    "{} values, but an example of shape {} has {channels} channels in layout {}",
                    values.len(),
                    show_shape(shape),
                    layout.name()
                );
                return Err(DataError::setting(setting, reason));
            }
        }
        let per_channel = |values: &[f64], fallback: f64| match values {
            [] => vec![fallback; channels],
            [one] => vec![*one; channels],
            all => all.to_vec(),
        };
        Ok(Self {
            scale: preprocessing.scale.unwrap_or(1.0),
            mean: per_channel(&preprocessing.mean, 0.0),
            std: per_channel(&preprocessing.std, 1.0),
            inner: shape.iter().skip(axis + 1).product(),
        })
    }

    pub(super) fn apply(&self, values: &mut [f64]) {
        for (block, chunk) in values.chunks_mut(self.inner.max(1)).enumerate() {
            let channel = block % self.mean.len().max(1);
            let (mean, std) = (self.mean[channel], self.std[channel]);
            chunk.iter_mut().for_each(|x| *x = (*x * self.scale - mean) / std);
        }
    }
}

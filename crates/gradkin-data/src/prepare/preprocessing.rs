//! What a user may ask to be done to the values, and whether it makes sense.

use super::TargetInput;
use crate::error::{DataError, Result};
use crate::layout::Layout;

const MOST_PIXELS: usize = 1 << 28;

/// What is done to the values of every input that is not an integer input.
///
/// The order is: resize, bring the channels to their place, x' = (x·scale − mean)/std.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Preprocessing {
    /// The factor before the mean is taken off: 1/255 brings bytes to 0…1.
    pub scale: Option<f64>,
    /// The mean, one for all values or one per channel (per feature for rows); empty for 0.
    pub mean: Vec<f64>,
    /// The standard deviation, likewise; empty for 1.
    pub std: Vec<f64>,
    /// The height and width to bring pictures to, bilinearly (as Pillow does, shrinking
    /// included). A picture is an example of two axes, or of three with 1, 3 or 4 channels.
    pub resize: Option<(usize, usize)>,
    /// Where the network wants the channels. Pictures from files and CIFAR go to
    /// `nchw` without it; arrays are left as they are without it.
    pub layout: Option<Layout>,
}

impl Preprocessing {
    /// Refuses settings that make no sense whatever the data is.
    pub(super) fn check(&self, targets: &[TargetInput]) -> Result<()> {
        let finite = |setting, values: &[f64]| match values.iter().find(|x| !x.is_finite()) {
            Some(x) => Err(DataError::setting(setting, format!("{x} is not a finite number"))),
            None => Ok(()),
        };
        finite("--scale", self.scale.as_slice())?;
        finite("--mean", &self.mean)?;
        finite("--std", &self.std)?;
        if self.scale == Some(0.0) {
            return Err(DataError::setting("--scale", "0 would make every example the same"));
        }
        if let Some(x) = self.std.iter().find(|&&x| x <= 0.0) {
            return Err(DataError::setting("--std", format!("{x} is not greater than 0")));
        }
        if let Some((height, width)) = self.resize
            && (height == 0 || width == 0 || height.saturating_mul(width) > MOST_PIXELS)
        {
            let reason = format!("{height}x{width} is no size of a picture");
            return Err(DataError::setting("--resize", reason));
        }
        if *self != Self::default() && targets.iter().all(|target| target.integer) {
            let reason = "the network takes integers only, which are passed on as they are";
            return Err(DataError::setting("preprocessing", reason));
        }
        Ok(())
    }
}

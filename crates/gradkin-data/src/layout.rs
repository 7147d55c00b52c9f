//! Where a picture's channels stand: before height and width, or after.

use std::str::FromStr;

use crate::error::{DataError, Result};

/// The order of a picture's axes, named with the batch axis in front.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Channels, height, width: what PyTorch exports.
    Nchw,
    /// Height, width, channels: what TensorFlow exports and image files hold.
    Nhwc,
}

impl FromStr for Layout {
    type Err = DataError;

    fn from_str(text: &str) -> Result<Self> {
        match text.to_lowercase().as_str() {
            "nchw" => Ok(Self::Nchw),
            "nhwc" => Ok(Self::Nhwc),
            _ => Err(DataError::setting("--layout", format!("{text:?} is neither nchw nor nhwc"))),
        }
    }
}

impl Layout {
    /// The name as it is typed.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nchw => "nchw",
            Self::Nhwc => "nhwc",
        }
    }

    /// The layout that `shape`, one example's, must have if it is a picture of one,
    /// three or four channels.
    pub(crate) fn guess(shape: &[usize]) -> Option<Self> {
        let channels = |length: usize| [1, 3, 4].contains(&length);
        match *shape {
            [c, _, _] if channels(c) => Some(Self::Nchw),
            [_, _, c] if channels(c) => Some(Self::Nhwc),
            _ => None,
        }
    }

    /// Height, width and channels of a picture of `shape`.
    pub(crate) fn sizes<T: Copy>(self, [a, b, c]: [T; 3]) -> [T; 3] {
        match self {
            Self::Nchw => [b, c, a],
            Self::Nhwc => [a, b, c],
        }
    }

    /// The shape of a picture of this height, width and channel count.
    pub(crate) fn shape<T: Copy>(self, [height, width, channels]: [T; 3]) -> [T; 3] {
        match self {
            Self::Nchw => [channels, height, width],
            Self::Nhwc => [height, width, channels],
        }
    }

    /// The same picture in the other layout; `sizes` are height, width, channels.
    pub(crate) fn flip(self, values: &[f64], [height, width, channels]: [usize; 3]) -> Vec<f64> {
        let pixels = height * width;
        let (rows, columns) = match self {
            Self::Nchw => (channels, pixels),
            Self::Nhwc => (pixels, channels),
        };
        (0..columns).flat_map(|c| (0..rows).map(move |r| values[r * columns + c])).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flipping_twice_is_nothing() {
        let values: Vec<f64> = (0..24).map(f64::from).collect();
        let sizes = [2, 4, 3];
        let there = Layout::Nhwc.flip(&values, sizes);
        assert_eq!(there[..3], [0.0, 3.0, 6.0]);
        assert_eq!(Layout::Nchw.flip(&there, sizes), values);
    }

    #[test]
    fn guesses() {
        assert_eq!(Layout::guess(&[3, 32, 32]), Some(Layout::Nchw));
        assert_eq!(Layout::guess(&[32, 32, 1]), Some(Layout::Nhwc));
        assert_eq!(Layout::guess(&[32, 32, 32]), None);
        assert_eq!("NHWC".parse::<Layout>().unwrap(), Layout::Nhwc);
        assert!("chw".parse::<Layout>().is_err());
    }
}

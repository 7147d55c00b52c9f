//! Where a network runs: the processor, or a GPU that the tensor library was built for.
//!
//! A network is always built on the processor, where shapes are worked out and tried. What is the same for every
//! example then moves to the device once; a batch goes there as it enters, and stays until factors are taken.
//! Operators that [`crate::ops::runs_on_devices`] does not name fetch their inputs, run on the processor and
//! send their results back: slow, but the same.

use std::fmt;
use std::str::FromStr;

use candle_core::Tensor;

use crate::error::{NetworkError, Result};
use crate::graph::Precision;

/// Where a network runs.
///
/// ```
/// use gradkin_network::Device;
/// assert_eq!("cuda:1".parse(), Ok(Device::Cuda(1)));
/// assert_eq!(Device::Cuda(0).to_string(), "cuda:0");
/// assert!("gpu".parse::<Device>().is_err());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Device {
    /// The processor.
    #[default]
    Cpu,
    /// An NVIDIA GPU by its number; needs the cargo feature `cuda`.
    Cuda(usize),
    /// An Apple GPU by its number; needs the cargo feature `metal`.
    Metal(usize),
}

impl fmt::Display for Device {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => write!(formatter, "cpu"),
            Self::Cuda(number) => write!(formatter, "cuda:{number}"),
            Self::Metal(number) => write!(formatter, "metal:{number}"),
        }
    }
}

impl FromStr for Device {
    type Err = String;

    /// `cpu`, `cuda`, `cuda:1`, `metal`, `metal:0`.
    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let wrong = || format!("`{text}` is no device; expected cpu, cuda, cuda:N or metal");
        let (kind, number) = match text.split_once(':') {
            Some((kind, number)) => (kind, number.parse().map_err(|_| wrong())?),
            None => (text, 0),
        };
        match kind {
            "cpu" if !text.contains(':') => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(number)),
            "metal" => Ok(Self::Metal(number)),
            _ => Err(wrong()),
        }
    }
}

impl Device {
    /// The device as the tensor library knows it.
    pub(crate) fn open(self, precision: Precision) -> Result<candle_core::Device> {
        type Open = fn(usize) -> candle_core::Result<candle_core::Device>;
        let (feature, built, open, number): (_, _, Open, _) = match self {
            Self::Cpu => return Ok(candle_core::Device::Cpu),
            Self::Cuda(number) => {
                ("cuda", cfg!(feature = "cuda"), candle_core::Device::new_cuda, number)
            }
            Self::Metal(number) => {
                ("metal", cfg!(feature = "metal"), candle_core::Device::new_metal, number)
            }
        };
        if !built {
            return Err(NetworkError::Usage(format!(
                "this gradkin was built without {feature}; build it with `--features {feature}`, or run on \
                 the processor"
            )));
        }
        if matches!((self, precision), (Self::Metal(_), Precision::F64)) {
            return Err(NetworkError::Usage(format!(
                "{self} has no double precision; run in single precision, or on the processor"
            )));
        }
        open(number).map_err(|error| {
            NetworkError::Usage(format!(
                "cannot use {self}: {error}; is there such a GPU and its driver?"
            ))
        })
    }
}

/// Tensors as operators take them.
pub(crate) fn borrowed(tensors: &[Option<Tensor>]) -> Vec<Option<&Tensor>> {
    tensors.iter().map(Option::as_ref).collect()
}

/// The same tensors in the processor's memory.
pub(crate) fn fetched(tensors: &[Option<&Tensor>]) -> candle_core::Result<Vec<Option<Tensor>>> {
    let fetch = |x: &Option<&Tensor>| x.map(|x| x.to_device(&candle_core::Device::Cpu)).transpose();
    tensors.iter().map(fetch).collect()
}

/// The same tensors in a device's memory.
pub(crate) fn sent(
    tensors: Vec<Tensor>,
    device: &candle_core::Device,
) -> candle_core::Result<Vec<Tensor>> {
    tensors.iter().map(|x| x.to_device(device)).collect()
}

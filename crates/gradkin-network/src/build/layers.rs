//! Layers that have parameters.

use super::write::{Attribute, Stored, StoredData};
use super::{Edge, GraphBuilder};
use crate::error::Result;

/// A convolution, or its transpose. Kernel, stride and padding are the same along every spatial axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Convolution {
    channels: usize,
    kernel: usize,
    stride: usize,
    pad: usize,
    groups: usize,
    bias: bool,
}

impl Convolution {
    /// A convolution to so many channels, with a kernel of this length along every axis; stride one,
    /// no padding, one group, with a bias.
    pub fn new(channels: usize, kernel: usize) -> Self {
        Self { channels, kernel, stride: 1, pad: 0, groups: 1, bias: true }
    }

    /// With another stride.
    pub fn stride(self, stride: usize) -> Self {
        Self { stride, ..self }
    }

    /// With zeros around the input: so many at each end of every axis.
    pub fn pad(self, pad: usize) -> Self {
        Self { pad, ..self }
    }

    /// With channels in groups that do not see each other.
    pub fn groups(self, groups: usize) -> Self {
        Self { groups, ..self }
    }

    /// Without a bias.
    pub fn no_bias(self) -> Self {
        Self { bias: false, ..self }
    }

    fn attributes(&self, axes: usize) -> Vec<Attribute> {
        let all = |value: usize, count| Attribute::ints(vec![value; count]);
        vec![
            ("kernel_shape", all(self.kernel, axes)),
            ("strides", all(self.stride, axes)),
            ("pads", all(self.pad, 2 * axes)),
            ("group", Attribute::int(self.groups)),
        ]
        .into_iter()
        .map(|(name, value)| value.called(name))
        .collect()
    }
}

/// Zeros for a parameter whose values are drawn later.
fn zeros(name: &str, part: &str, shape: Vec<usize>) -> Option<Stored> {
    filled(name, part, shape, 0.0)
}

fn filled(name: &str, part: &str, shape: Vec<usize>, value: f32) -> Option<Stored> {
    Some(Stored { name: format!("{name}.{part}"), shape, data: StoredData::Filled(value) })
}

impl GraphBuilder {
    /// A convolution over `[channels, …]`, with parameters `name.weight` and `name.bias`.
    pub fn conv(&mut self, name: &str, x: Edge, conv: Convolution) -> Result<Edge> {
        let (inner, spatial) = self.planes(name, x)?;
        self.check_groups(name, inner, conv)?;
        let mut shape = vec![conv.channels];
        for size in &spatial {
            let padded = conv.pad.saturating_mul(2).saturating_add(*size);
            match padded.checked_sub(conv.kernel) {
                Some(free) => shape.push(free / conv.stride + 1),
                None => {
                    return self.refuse(&format!(
                        "layer `{name}` has a kernel of {}, longer than its input of {spatial:?} \
                         with {} zeros at each end",
                        conv.kernel, conv.pad
                    ));
                }
            }
        }
        let mut weight = vec![conv.channels, inner / conv.groups];
        weight.resize(2 + spatial.len(), conv.kernel);
        self.convolution("Conv", name, x, conv, weight, shape)
    }

    /// A transposed convolution over `[channels, …]`, with parameters `name.weight` and `name.bias`;
    /// with kernel and stride of two and no padding it doubles every spatial axis.
    pub fn conv_transpose(&mut self, name: &str, x: Edge, conv: Convolution) -> Result<Edge> {
        let (inner, spatial) = self.planes(name, x)?;
        self.check_groups(name, inner, conv)?;
        let mut shape = vec![conv.channels];
        for size in &spatial {
            let full = (size - 1).saturating_mul(conv.stride).saturating_add(conv.kernel);
            shape.push(full.saturating_sub(conv.pad.saturating_mul(2)));
        }
        let mut weight = vec![inner, conv.channels / conv.groups];
        weight.resize(2 + spatial.len(), conv.kernel);
        self.convolution("ConvTranspose", name, x, conv, weight, shape)
    }

    fn convolution(
        &mut self,
        operator: &'static str,
        name: &str,
        x: Edge,
        conv: Convolution,
        weight: Vec<usize>,
        shape: Vec<usize>,
    ) -> Result<Edge> {
        let attributes = conv.attributes(weight.len() - 2);
        let mut stored = vec![zeros(name, "weight", weight)];
        if conv.bias {
            stored.push(zeros(name, "bias", vec![conv.channels]));
        }
        self.layer(operator, name.to_owned(), &[x], stored, shape, attributes)
    }

    /// A fully connected layer over `[features]`, with parameters `name.weight` (`[size, features]`)
    /// and, with a bias, `name.bias`.
    pub fn linear(&mut self, name: &str, x: Edge, size: usize, bias: bool) -> Result<Edge> {
        let [features] = *self.shape(x)? else {
            let shape = self.shape(x)?.to_vec();
            return self.refuse(&format!(
                "layer `{name}` wants one axis of features and gets {shape:?}; flatten it first"
            ));
        };
        let mut stored = vec![zeros(name, "weight", vec![size, features])];
        if bias {
            stored.push(zeros(name, "bias", vec![size]));
        }
        let turned = vec![Attribute::int(1).called("transB")];
        self.layer("Gemm", name.to_owned(), &[x], stored, vec![size], turned)
    }

    /// Normalisation of each channel by its running mean and variance, as in inference: parameters
    /// `name.weight` and `name.bias`, statistics `name.running_mean` and `name.running_var`.
    pub fn batch_norm(&mut self, name: &str, x: Edge) -> Result<Edge> {
        let shape = self.shape(x)?.to_vec();
        let channels = vec![shape.first().copied().unwrap_or(1)];
        let stored = [("weight", 1.0), ("bias", 0.0), ("running_mean", 0.0), ("running_var", 1.0)];
        let stored = stored.map(|(part, value)| filled(name, part, channels.clone(), value));
        let epsilon = vec![Attribute::float(1e-5).called("epsilon")];
        self.layer("BatchNormalization", name.to_owned(), &[x], stored.into(), shape, epsilon)
    }

    /// Below zero a line whose slope is learned, `name.weight`: one slope, or one per channel.
    pub fn prelu(&mut self, name: &str, x: Edge, slopes: usize) -> Result<Edge> {
        let shape = self.shape(x)?.to_vec();
        let mut slope = vec![1; shape.len()];
        match slope.first_mut() {
            Some(first) if slopes == shape[0] => *first = slopes,
            _ if slopes == 1 => slope = vec![1],
            _ => {
                return self.refuse(&format!(
                    "layer `{name}` has {slopes} slopes for an input of shape {shape:?}; give one, \
                     or one per channel"
                ));
            }
        }
        let stored = vec![filled(name, "weight", slope, 0.25)];
        self.layer("PRelu", name.to_owned(), &[x], stored, shape, Vec::new())
    }

    /// Channels and spatial axes of a value.
    pub(super) fn planes(&self, name: &str, x: Edge) -> Result<(usize, Vec<usize>)> {
        match self.shape(x)? {
            [channels, spatial @ ..] if !spatial.is_empty() => Ok((*channels, spatial.to_vec())),
            shape => self.refuse(&format!(
                "layer `{name}` wants channels and at least one spatial axis and gets {shape:?}"
            )),
        }
    }

    fn check_groups(&self, name: &str, inner: usize, conv: Convolution) -> Result<()> {
        if conv.kernel == 0 || conv.stride == 0 || conv.groups == 0 {
            return self.refuse(&format!(
                "layer `{name}` has kernel {}, stride {} and {} groups; none may be zero",
                conv.kernel, conv.stride, conv.groups
            ));
        }
        if inner.is_multiple_of(conv.groups) && conv.channels.is_multiple_of(conv.groups) {
            return Ok(());
        }
        self.refuse(&format!(
            "layer `{name}` cannot part {inner} channels in and {} out into {} groups",
            conv.channels, conv.groups
        ))
    }
}

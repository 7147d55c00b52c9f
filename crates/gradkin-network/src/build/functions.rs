//! Layers without parameters.

use std::ops::Range;

use super::write::{Attribute, Stored, StoredData};
use super::{Edge, GraphBuilder};
use crate::error::Result;

/// A window that moves over the spatial axes, the same along each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pooling {
    kernel: usize,
    stride: usize,
    pad: usize,
}

impl Pooling {
    /// Windows of this length that neither overlap nor leave gaps.
    pub fn new(kernel: usize) -> Self {
        Self { kernel, stride: kernel, pad: 0 }
    }

    /// With another stride.
    pub fn stride(self, stride: usize) -> Self {
        Self { stride, ..self }
    }

    /// With so many places more at each end of every axis; averages count them as zeros.
    pub fn pad(self, pad: usize) -> Self {
        Self { pad, ..self }
    }
}

impl GraphBuilder {
    /// max(x, 0)
    pub fn relu(&mut self, x: Edge) -> Result<Edge> {
        self.entrywise("Relu", "relu", x, Vec::new())
    }

    /// x, and `slope`·x below zero.
    pub fn leaky_relu(&mut self, x: Edge, slope: f32) -> Result<Edge> {
        self.entrywise("LeakyRelu", "leaky_relu", x, vec![Attribute::float(slope).called("alpha")])
    }

    /// Hyperbolic tangent.
    pub fn tanh(&mut self, x: Edge) -> Result<Edge> {
        self.entrywise("Tanh", "tanh", x, Vec::new())
    }

    /// 1 / (1 + exp(−x))
    pub fn sigmoid(&mut self, x: Edge) -> Result<Edge> {
        self.entrywise("Sigmoid", "sigmoid", x, Vec::new())
    }

    /// Probabilities over the first axis (classes, or channels).
    pub fn softmax(&mut self, x: Edge) -> Result<Edge> {
        self.entrywise("Softmax", "softmax", x, vec![Attribute::int(1).called("axis")])
    }

    /// Logarithms of the probabilities over the first axis (classes, or channels).
    pub fn log_softmax(&mut self, x: Edge) -> Result<Edge> {
        self.entrywise("LogSoftmax", "log_softmax", x, vec![Attribute::int(1).called("axis")])
    }

    fn entrywise(
        &mut self,
        operator: &'static str,
        name: &str,
        x: Edge,
        attributes: Vec<Attribute>,
    ) -> Result<Edge> {
        let shape = self.shape(x)?.to_vec();
        self.node(operator, self.free_name(name), &[x], shape, attributes)
    }

    /// The sum of two values of the same shape.
    pub fn add(&mut self, a: Edge, b: Edge) -> Result<Edge> {
        self.together("Add", "add", a, b)
    }

    /// The product of two values of the same shape, entry by entry.
    pub fn mul(&mut self, a: Edge, b: Edge) -> Result<Edge> {
        self.together("Mul", "mul", a, b)
    }

    fn together(&mut self, operator: &'static str, name: &str, a: Edge, b: Edge) -> Result<Edge> {
        let shape = self.shape(a)?.to_vec();
        if self.shape(b)? != shape {
            let other = self.shape(b)?.to_vec();
            return self.refuse(&format!("values of shapes {shape:?} and {other:?} do not {name}"));
        }
        self.node(operator, self.free_name(name), &[a, b], shape, Vec::new())
    }

    /// Values one after the other along the first axis (channels, or features).
    pub fn concat(&mut self, parts: &[Edge]) -> Result<Edge> {
        let Some(first) = parts.first() else {
            return self.refuse("nothing was given to concatenate");
        };
        let mut shape = self.shape(*first)?.to_vec();
        let mut channels = 0usize;
        for part in parts {
            match self.shape(*part)? {
                [own, rest @ ..] if Some(rest) == shape.get(1..) => {
                    channels = channels.saturating_add(*own);
                }
                other => {
                    return self.refuse(&format!(
                        "values of shapes {shape:?} and {other:?} cannot stand one after the other"
                    ));
                }
            }
        }
        shape[0] = channels;
        let axis = vec![Attribute::int(1).called("axis")];
        self.node("Concat", self.free_name("concat"), parts, shape, axis)
    }

    /// Some of the channels (or features).
    pub fn channels(&mut self, x: Edge, range: Range<usize>) -> Result<Edge> {
        let mut shape = self.shape(x)?.to_vec();
        match shape.first_mut() {
            Some(first) if range.start < range.end && range.end <= *first => {
                *first = range.end - range.start;
            }
            _ => {
                return self.refuse(&format!(
                    "a value of shape {shape:?} has no channels {} to {}",
                    range.start, range.end
                ));
            }
        }
        let name = self.free_name("slice");
        let bound = |part, value| whole(&name, part, &[value]);
        let stored = vec![bound("starts", range.start), bound("ends", range.end), bound("axes", 1)];
        self.layer("Slice", name.clone(), &[x], stored, shape, Vec::new())
    }

    /// All entries of an example in one axis.
    pub fn flatten(&mut self, x: Edge) -> Result<Edge> {
        let count = self.shape(x)?.iter().product();
        let axis = vec![Attribute::int(1).called("axis")];
        self.node("Flatten", self.free_name("flatten"), &[x], vec![count], axis)
    }

    /// The entries of an example in another shape.
    pub fn reshape(&mut self, x: Edge, shape: &[usize]) -> Result<Edge> {
        let have: usize = self.shape(x)?.iter().product();
        let wanted = shape.iter().try_fold(1usize, |count, size| count.checked_mul(*size));
        if wanted != Some(have) {
            return self.refuse(&format!("{have} entries cannot take the shape {shape:?}"));
        }
        let name = self.free_name("reshape");
        // A zero keeps the batch as it is.
        let full: Vec<usize> = std::iter::once(0).chain(shape.iter().copied()).collect();
        let stored = vec![whole(&name, "shape", &full)];
        self.layer("Reshape", name, &[x], stored, shape.to_vec(), Vec::new())
    }

    /// The largest entry of each window.
    pub fn max_pool(&mut self, x: Edge, pooling: Pooling) -> Result<Edge> {
        self.pool("MaxPool", "max_pool", x, pooling)
    }

    /// The mean over each window.
    pub fn average_pool(&mut self, x: Edge, pooling: Pooling) -> Result<Edge> {
        self.pool("AveragePool", "average_pool", x, pooling)
    }

    /// The mean over all spatial axes, each of which keeps one entry.
    pub fn global_average_pool(&mut self, x: Edge) -> Result<Edge> {
        let name = self.free_name("global_average_pool");
        let (channels, spatial) = self.planes(&name, x)?;
        let mut shape = vec![1; 1 + spatial.len()];
        shape[0] = channels;
        self.node("GlobalAveragePool", name, &[x], shape, Vec::new())
    }

    fn pool(
        &mut self,
        operator: &'static str,
        name: &str,
        x: Edge,
        pooling: Pooling,
    ) -> Result<Edge> {
        let name = self.free_name(name);
        let (channels, spatial) = self.planes(&name, x)?;
        let Pooling { kernel, stride, pad } = pooling;
        if kernel == 0 || stride == 0 || pad >= kernel {
            return self.refuse(&format!(
                "`{name}` has a window of {kernel}, a stride of {stride} and {pad} places more at \
                 each end; window and stride need at least one, and a window must not lie outside"
            ));
        }
        let mut shape = vec![channels];
        for size in &spatial {
            match (size + 2 * pad).checked_sub(kernel) {
                Some(free) => shape.push(free / stride + 1),
                None => {
                    return self.refuse(&format!(
                        "`{name}` has a window of {kernel} over an input of {spatial:?}"
                    ));
                }
            }
        }
        let all = |value: usize, count| Attribute::ints(vec![value; count]);
        let mut attributes = vec![
            all(kernel, spatial.len()).called("kernel_shape"),
            all(stride, spatial.len()).called("strides"),
            all(pad, 2 * spatial.len()).called("pads"),
        ];
        if operator == "AveragePool" {
            attributes.push(Attribute::int(1).called("count_include_pad"));
        }
        self.node(operator, name, &[x], shape, attributes)
    }

    /// Every entry repeated `factor` times along each spatial axis.
    pub fn upsample(&mut self, x: Edge, factor: usize) -> Result<Edge> {
        let name = self.free_name("upsample");
        let (channels, spatial) = self.planes(&name, x)?;
        let mut shape = vec![channels];
        shape.extend(spatial.iter().map(|size| size.saturating_mul(factor)));
        let mut scales = vec![factor as f32; 2 + spatial.len()];
        scales[..2].fill(1.0);
        let scales = Stored {
            name: format!("{name}.scales"),
            shape: vec![scales.len()],
            data: StoredData::Floats(scales),
        };
        let text = |name, value| Attribute::text(value).called(name);
        let attributes = vec![
            text("mode", "nearest"),
            text("coordinate_transformation_mode", "asymmetric"),
            text("nearest_mode", "floor"),
        ];
        self.layer("Resize", name, &[x], vec![None, Some(scales)], shape, attributes)
    }
}

/// A stored list of whole numbers.
fn whole(name: &str, part: &str, values: &[usize]) -> Option<Stored> {
    let values: Vec<i64> = values.iter().map(|v| *v as i64).collect();
    Some(Stored {
        name: format!("{name}.{part}"),
        shape: vec![values.len()],
        data: StoredData::Whole(values),
    })
}

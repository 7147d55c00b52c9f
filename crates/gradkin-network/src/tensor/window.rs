//! The geometry of sliding windows: where a kernel of given size, stride, dilation and padding lies.

use std::cmp::Ordering;

use crate::error::{OpResult, fail};
use crate::onnx::Attributes;

use super::{checked_count, countable};

/// One spatial axis of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Axis {
    /// Size of what the window slides over.
    pub(crate) size: usize,
    pub(crate) kernel: usize,
    pub(crate) stride: usize,
    pub(crate) dilation: usize,
    /// Padding in front.
    pub(crate) before: usize,
    /// Padding behind.
    pub(crate) after: usize,
    /// Number of window positions.
    pub(crate) out: usize,
}

/// A window over one to three spatial axes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) axes: Vec<Axis>,
}

/// How ONNX gives the padding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Padding {
    Explicit(Vec<usize>),
    SameUpper,
    SameLower,
    Valid,
}

impl Padding {
    pub(crate) fn read(attributes: &Attributes, rank: usize) -> OpResult<Self> {
        Ok(match attributes.text("auto_pad", "NOTSET")? {
            "SAME_UPPER" => Self::SameUpper,
            "SAME_LOWER" => Self::SameLower,
            "VALID" => Self::Valid,
            "NOTSET" | "" => {
                let pads = attributes.ints("pads")?.unwrap_or_else(|| vec![0; 2 * rank]);
                Self::Explicit(sizes("pads", &pads, 2 * rank, 0)?)
            }
            other => fail!("auto_pad `{other}` is unknown"),
        })
    }
}

/// A list attribute of whole numbers with a lower bound and a given length.
pub(crate) fn sizes(name: &str, values: &[i64], count: usize, least: i64) -> OpResult<Vec<usize>> {
    const MOST: i64 = 1 << 24;
    if values.len() != count {
        fail!("attribute `{name}` has {} entries where {count} are needed", values.len());
    }
    if let Some(bad) = values.iter().find(|v| **v < least || **v > MOST) {
        fail!("attribute `{name}` holds {bad}, which is out of range");
    }
    Ok(values.iter().map(|v| *v as usize).collect())
}

impl Window {
    /// Read `kernel_shape` (or take `kernel`), `strides`, `dilations` and padding for `spatial` axes.
    pub(crate) fn read(
        attributes: &Attributes,
        spatial: &[usize],
        kernel: Option<&[usize]>,
    ) -> OpResult<Self> {
        let rank = spatial.len();
        let kernel = match (attributes.ints("kernel_shape")?, kernel) {
            (Some(given), Some(weight)) => {
                let given = sizes("kernel_shape", &given, rank, 1)?;
                if given != weight {
                    fail!("kernel_shape {given:?} differs from the weight's {weight:?}");
                }
                given
            }
            (Some(given), None) => sizes("kernel_shape", &given, rank, 1)?,
            (None, Some(weight)) if weight.len() == rank => weight.to_vec(),
            _ => fail!("kernel_shape is missing or has not {rank} entries"),
        };
        let ones = || vec![1; rank];
        let strides = attributes.ints("strides")?.unwrap_or_else(ones);
        let strides = sizes("strides", &strides, rank, 1)?;
        let dilations = attributes.ints("dilations")?.unwrap_or_else(ones);
        let dilations = sizes("dilations", &dilations, rank, 1)?;
        let padding = Padding::read(attributes, rank)?;
        let ceil = attributes.int("ceil_mode", 0)? != 0;
        let mut axes = Vec::with_capacity(rank);
        for i in 0..rank {
            let geometry = (kernel[i], strides[i], dilations[i]);
            axes.push(Axis::new(spatial[i], geometry, &padding, (i, rank), ceil)?);
        }
        countable(&axes.iter().map(|axis| axis.kernel).collect::<Vec<_>>())?;
        countable(&axes.iter().map(|axis| axis.out).collect::<Vec<_>>())?;
        Ok(Self { axes })
    }

    pub(crate) fn kernel_count(&self) -> usize {
        self.axes.iter().map(|a| a.kernel).product()
    }

    pub(crate) fn in_count(&self) -> usize {
        self.axes.iter().map(|a| a.size).product()
    }

    pub(crate) fn out_count(&self) -> usize {
        self.axes.iter().map(|a| a.out).product()
    }

    pub(crate) fn out_shape(&self) -> Vec<usize> {
        self.axes.iter().map(|a| a.out).collect()
    }

    pub(crate) fn in_shape(&self) -> Vec<usize> {
        self.axes.iter().map(|a| a.size).collect()
    }

    /// What of the window lies along one axis, the axes before it done already and those behind it not yet.
    pub(crate) fn along(&self, axis: usize) -> Self {
        let axes = self.axes.iter().enumerate().map(|(k, own)| match k.cmp(&axis) {
            Ordering::Less => Axis::still(own.out),
            Ordering::Equal => *own,
            Ordering::Greater => Axis::still(own.size),
        });
        Self { axes: axes.collect() }
    }

    /// Whether every window is one element and each element has one window.
    pub(crate) fn is_pointwise(&self) -> bool {
        self.axes.iter().all(|a| a.kernel == 1 && a.stride == 1 && a.before == 0 && a.out == a.size)
    }
}

impl Axis {
    /// An axis that nothing slides over.
    fn still(size: usize) -> Self {
        Self { size, kernel: 1, stride: 1, dilation: 1, before: 0, after: 0, out: size }
    }

    fn new(
        size: usize,
        (kernel, stride, dilation): (usize, usize, usize),
        padding: &Padding,
        (axis, rank): (usize, usize),
        ceil: bool,
    ) -> OpResult<Self> {
        let reach = dilation * (kernel - 1) + 1;
        let same = |upper: bool| {
            let out = size.div_ceil(stride);
            let total = ((out.max(1) - 1) * stride + reach).saturating_sub(size);
            let (less, more) = (total / 2, total - total / 2);
            if upper { (less, more) } else { (more, less) }
        };
        let (before, after) = match padding {
            Padding::Explicit(pads) => (pads[axis], pads[axis + rank]),
            Padding::SameUpper => same(true),
            Padding::SameLower => same(false),
            Padding::Valid => (0, 0),
        };
        let padded = size + before + after;
        if padded < reach {
            fail!("a kernel that reaches over {reach} does not fit into {padded} elements");
        }
        let span = padded - reach;
        let mut out = if ceil { span.div_ceil(stride) } else { span / stride } + 1;
        // A window that would start in the padding behind the data is dropped.
        if ceil && (out - 1) * stride >= size + before {
            out -= 1;
        }
        checked_count(&[out, kernel])?;
        Ok(Self { size, kernel, stride, dilation, before, after, out })
    }

    /// The input position under kernel element `k` of window `o`, if it is not padding.
    pub(crate) fn position(&self, o: usize, k: usize) -> Option<usize> {
        (o * self.stride + k * self.dilation).checked_sub(self.before).filter(|i| *i < self.size)
    }

    /// The windows `o` whose element `k` lies on data: a range.
    pub(crate) fn covered(&self, k: usize) -> std::ops::Range<usize> {
        let offset = k * self.dilation;
        let first = self.before.saturating_sub(offset).div_ceil(self.stride);
        let end = (self.size + self.before).saturating_sub(offset).div_ceil(self.stride);
        let end = end.min(self.out);
        first.min(end)..end
    }
}

//! How a convolution's windows turn an image into the rows a_t of its weight's gradient Σ_t δ_t ⊗ a_t.
//!
//! Unfolded, an image is as many times larger as a window has elements, and whoever keeps the factors of
//! many examples keeps mostly that. Those who can unfold where they need the rows keep the image.

use std::fmt;
use std::ops::Range;

use candle_core::{Tensor, WithDType};

use crate::tensor::{SummedGradient, Unfoldable};

/// The windows of a convolution of one group over the image of one example, `[channels, size]`.
///
/// ```no_run
/// # fn main() -> Result<(), gradkin_network::NetworkError> {
/// use gradkin_network::{Model, Network, Options, Sweep};
/// let network = Network::new(&Model::open("model.onnx")?, &Options::default())?;
/// let sweep = Sweep::new(&network, None, None)?;
/// let windows = sweep.components()[0].windows.as_ref().expect("a convolution's weight");
/// let image = vec![1f32; windows.numbers()];
/// let mut columns = vec![0f32; windows.channels() * windows.elements() * windows.positions()];
/// windows.unfold(&image, 0..windows.channels(), &mut columns);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Windows {
    channels: usize,
    unfoldable: Unfoldable,
}

impl fmt::Debug for Windows {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { channels, unfoldable } = self;
        formatter
            .debug_struct("Windows")
            .field("channels", channels)
            .field("window", &unfoldable.window)
            .finish()
    }
}

impl PartialEq for Windows {
    fn eq(&self, other: &Self) -> bool {
        (self.channels, &self.unfoldable.window) == (other.channels, &other.unfoldable.window)
    }
}

impl Windows {
    pub(crate) fn new(channels: usize, unfoldable: Unfoldable) -> Self {
        Self { channels, unfoldable }
    }

    /// Channels of the image.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// Numbers of an image: all its channels.
    pub fn numbers(&self) -> usize {
        self.channels * self.unfoldable.window.in_count()
    }

    /// Elements of a window in one channel.
    pub fn elements(&self) -> usize {
        self.unfoldable.window.kernel_count()
    }

    /// Numbers of one channel of an image.
    pub fn pixels(&self) -> usize {
        self.unfoldable.window.in_count()
    }

    /// Positions of the window, T.
    pub fn positions(&self) -> usize {
        self.unfoldable.window.out_count()
    }

    /// What windows cover in some channels of an image: `[|channels| · elements, T]`, row-major, in the order
    /// of the weight's entries for one output channel.
    ///
    /// Everything in `columns` is written over; what lies on padding is zero.
    ///
    /// # Panics
    /// Where `image`, which may be the first few channels only, ends before `channels` do.
    pub fn unfold<T: WithDType>(&self, image: &[T], channels: Range<usize>, columns: &mut [T]) {
        let plane = self.pixels();
        self.unfoldable
            .unfolding()
            .write(&image[channels.start * plane..channels.end * plane], columns);
    }

    /// What windows cover in all channels of an image: `[channels · elements, T]`, row-major. That is the
    /// image itself where a window is one pixel and meets each; otherwise it is written to `room`, which
    /// grows as needed and serves any windows, one after the other.
    ///
    /// # Panics
    /// Where `image` is shorter than [`Windows::numbers`].
    pub fn columns<'r, T: WithDType>(&self, image: &'r [T], room: &'r mut Vec<T>) -> &'r [T] {
        if self.unfoldable.window.is_pointwise() {
            return &image[..self.numbers()];
        }
        let numbers = self.channels * self.elements() * self.positions();
        if room.len() < numbers {
            room.resize(numbers, T::zero());
        }
        self.unfold(image, 0..self.channels, &mut room[..numbers]);
        &room[..numbers]
    }

    /// Σ over images of δ · columnsᵀ: images `[M, channels, size]` and δ `[M, r, T]` give `[r, channels · elements]`.
    pub(crate) fn summed_gradient(
        &self,
        images: &Tensor,
        delta: &Tensor,
    ) -> candle_core::Result<Tensor> {
        SummedGradient(self.unfoldable.clone()).apply(images, delta)
    }

    /// The transpose of [`Windows::columns`]: what lies in columns `[channels · elements, T]` is added to the
    /// pixels of the image that it would have come from.
    ///
    /// # Panics
    /// Where `image` is shorter than [`Windows::numbers`].
    pub fn fold<T: WithDType>(&self, columns: &[T], image: &mut [T]) {
        self.unfoldable.unfolding().add(columns, &mut image[..self.numbers()]);
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::tensor::{Axis, Unfold, Window};

    #[test]
    fn channels_unfold_one_by_one_as_all_at_once() -> candle_core::Result<()> {
        let axis = |size: usize, stride: usize| {
            let out = (size + 2 - 3) / stride + 1;
            Axis { size, kernel: 3, stride, dilation: 1, before: 1, after: 1, out }
        };
        for stride in [1, 2] {
            let window = Window { axes: vec![axis(7, stride), axis(6, stride)] };
            let unfoldable = Unfoldable::from(window);
            let windows = Windows::new(4, unfoldable.clone());
            assert_eq!((windows.numbers(), windows.elements()), (4 * 42, 9));
            let x = Tensor::randn(0f64, 1.0, (1, 4, 42), &Device::Cpu)?;
            let wanted = x.apply_op1(Unfold(unfoldable))?.flatten_all()?.to_vec1::<f64>()?;
            let image = x.flatten_all()?.to_vec1::<f64>()?;
            let one = windows.elements() * windows.positions();
            let mut columns = vec![0.0; one];
            for channel in 0..4 {
                windows.unfold(&image, channel..channel + 1, &mut columns);
                assert_eq!(columns, wanted[channel * one..(channel + 1) * one]);
            }
            let mut room = Vec::new();
            assert_eq!(windows.columns(&image, &mut room), wanted);
            // ⟨unfold(x), y⟩ = ⟨x, fold(y)⟩.
            let y: Vec<f64> = (0..wanted.len()).map(|i| (0.3 * i as f64).sin()).collect();
            let mut folded = vec![0.0; windows.numbers()];
            windows.fold(&y, &mut folded);
            let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
            assert!((dot(&wanted, &y) - dot(&image, &folded)).abs() < 1e-10);
        }
        Ok(())
    }

    #[test]
    fn pixels_are_their_own_columns() {
        let pixel =
            |size| Axis { size, kernel: 1, stride: 1, dilation: 1, before: 0, after: 0, out: size };
        let windows = Windows::new(3, Window { axes: vec![pixel(4), pixel(2)] }.into());
        let image: Vec<f64> = (0..24).map(f64::from).collect();
        let mut room = Vec::new();
        assert_eq!(windows.columns(&image, &mut room), image);
        assert!(room.is_empty());
    }
}

//! Gradients of convolutions' weights from images, for the similarity term: each image is unfolded where
//! its gradient is written out and once more where derivatives go back to it, so that columns stay in the
//! processor's cache. Unfolded beforehand, those of a batch would go through main memory several times.

use faer::{Accum, MatMut, MatRef};
use gradkin_network::candle_core::{Device, Storage, Tensor};
use gradkin_network::{Imaged, Windows, multiply};

use super::alike::{View, not_here, number, reading};
use crate::error::Result;
use crate::number::Number;

/// One convolution's part in every gradient: an image `[B, channels, size]`, and δ `[B, d, q, T]`.
#[derive(Debug)]
pub(super) struct Pictured {
    imaged: Imaged,
    windows: Windows,
}

/// Memory to unfold in, for one component after the other.
#[derive(Default)]
pub(super) struct Room<T> {
    columns: Vec<T>,
    by_columns: Vec<T>,
}

impl Pictured {
    pub(super) fn new(
        imaged: Imaged,
        windows: &Windows,
    ) -> gradkin_network::candle_core::Result<Self> {
        let Imaged { image, cotangent } = imaged;
        let imaged = Imaged { image: image.contiguous()?, cotangent: cotangent.contiguous()? };
        Ok(Self { imaged, windows: windows.clone() })
    }

    pub(super) fn cotangent(&self) -> &Tensor {
        &self.imaged.cotangent
    }

    /// Numbers of a at one position.
    pub(super) fn input(&self) -> usize {
        self.windows.channels() * self.windows.elements()
    }

    /// Σ_t δ_t ⊗ a_t of some examples: `[|rows|, d·q·p]`.
    pub(super) fn write_out<T: Number>(
        &self,
        rows: &[usize],
        target: &mut [T],
        room: &mut Room<T>,
    ) -> Result<()> {
        let (p, positions) = (self.input(), self.windows.positions());
        reading!(images, self.imaged.image);
        reading!(deltas, self.imaged.cotangent);
        for (row, target) in rows.iter().zip(target.chunks_exact_mut(self.height() * p)) {
            let columns = self.windows.columns(images.row(*row), &mut room.columns);
            let columns = MatRef::from_row_major_slice(columns, p, positions);
            let delta = MatRef::from_row_major_slice(deltas.row(*row), self.height(), positions);
            let target = MatMut::from_row_major_slice_mut(target, self.height(), p);
            multiply(target, Accum::Replace, delta, columns.transpose(), number(1.0));
        }
        Ok(())
    }

    /// Derivatives by image and δ, given those by an example's gradient, `[d·q·p]`, for the examples that
    /// have any; zero for all others.
    pub(super) fn adjoint<T: Number>(
        &self,
        room: &mut Room<T>,
        by_gradients: impl FnOnce(&mut dyn FnMut(usize, &[T])),
    ) -> Result<Imaged> {
        let (p, positions) = (self.input(), self.windows.positions());
        let Imaged { image, cotangent } = &self.imaged;
        reading!(images, image);
        reading!(deltas, cotangent);
        let (numbers, each) = (self.windows.numbers(), self.height() * positions);
        let mut by_image = vec![T::zero(); image.elem_count()];
        let mut by_delta = vec![T::zero(); cotangent.elem_count()];
        let Room { columns: unfolded, by_columns } = room;
        if by_columns.len() < p * positions {
            by_columns.resize(p * positions, T::zero());
        }
        let by_columns = &mut by_columns[..p * positions];
        by_gradients(&mut |row, by_gradient| {
            let by_gradient = MatRef::from_row_major_slice(by_gradient, self.height(), p);
            let columns = self.windows.columns(images.row(row), unfolded);
            let columns = MatRef::from_row_major_slice(columns, p, positions);
            let target = &mut by_delta[row * each..][..each];
            let target = MatMut::from_row_major_slice_mut(target, self.height(), positions);
            multiply(target, Accum::Replace, by_gradient, columns, number(1.0));
            let delta = MatRef::from_row_major_slice(deltas.row(row), self.height(), positions);
            let target = MatMut::from_row_major_slice_mut(by_columns, p, positions);
            multiply(target, Accum::Replace, by_gradient.transpose(), delta, number(1.0));
            self.windows.fold(by_columns, &mut by_image[row * numbers..][..numbers]);
        });
        Ok(Imaged {
            image: Tensor::from_vec(by_image, image.dims(), &Device::Cpu)?,
            cotangent: Tensor::from_vec(by_delta, cotangent.dims(), &Device::Cpu)?,
        })
    }

    /// Rows of a gradient, those of all outputs one below another.
    fn height(&self) -> usize {
        let dims = self.cotangent().dims();
        dims[1] * dims[2]
    }
}

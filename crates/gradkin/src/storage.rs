//! Features kept in 16 bits: half the memory, so that twice as many examples are swept once only. Products
//! are taken in single precision as ever.
//!
//! Each example's part of an array has a scale, a power of two, so that its largest number is near one:
//! gradients of different layers differ by more than what f16 has of exponents. f16 then keeps eleven
//! digits of two, bf16 eight, and bf16 numbers that are far smaller than the largest.

use std::ops::Range;

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

use crate::number::Number;

/// How gradients are kept between the sweep that finds them and the products of pairs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Storage {
    /// As they were computed.
    #[default]
    Full,
    /// In half precision, eleven significant bits.
    F16,
    /// In eight significant bits with the exponents of single precision.
    BF16,
}

impl Storage {
    /// Bytes of a number that takes so many in full.
    pub(crate) fn bytes(self, full: usize) -> usize {
        match self {
            Self::Full => full,
            Self::F16 | Self::BF16 => 2,
        }
    }
}

/// An array `[N, width]` in 16 bits.
pub(crate) struct Packed {
    width: usize,
    bits: Bits,
    /// What an example's numbers are multiplied with.
    scales: Vec<f32>,
}

enum Bits {
    F16(Vec<f16>),
    BF16(Vec<bf16>),
}

/// Some examples of such an array, to be filled.
pub(crate) struct PackedTarget<'t> {
    width: usize,
    bits: BitsMut<'t>,
    scales: &'t mut [f32],
}

enum BitsMut<'t> {
    F16(&'t mut [f16]),
    BF16(&'t mut [bf16]),
}

/// Numbers that are widened at once.
const BLOCK: usize = 1024;

impl Packed {
    /// Room for so many examples; none where numbers are kept in full.
    pub(crate) fn new(storage: Storage, count: usize, width: usize) -> Option<Self> {
        let bits = match storage {
            Storage::Full => return None,
            Storage::F16 => Bits::F16(vec![f16::ZERO; count * width]),
            Storage::BF16 => Bits::BF16(vec![bf16::ZERO; count * width]),
        };
        Some(Self { width, bits, scales: vec![1.0; count] })
    }

    /// Numbers of an example.
    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// Cut into parts of so many examples each.
    pub(crate) fn split(&mut self, each: usize) -> Vec<PackedTarget<'_>> {
        let (width, each) = (self.width, each.max(1));
        let scales = self.scales.chunks_mut(each);
        // An array of no width has no chunks of bits but as many parts as the others.
        let bits: Vec<BitsMut> = match &mut self.bits {
            _ if width == 0 => (0..scales.len()).map(|_| BitsMut::F16(&mut [])).collect(),
            Bits::F16(bits) => bits.chunks_mut(each * width).map(BitsMut::F16).collect(),
            Bits::BF16(bits) => bits.chunks_mut(each * width).map(BitsMut::BF16).collect(),
        };
        let parts = bits.into_iter().zip(scales);
        parts.map(|(bits, scales)| PackedTarget { width, bits, scales }).collect()
    }

    /// The array seen as `[N, rows, width/rows]`, some examples and columns of it widened: `[examples, rows,
    /// columns]`.
    pub(crate) fn read<T: Number>(
        &self,
        examples: Range<usize>,
        rows: usize,
        columns: Range<usize>,
    ) -> Vec<T> {
        let mut all = Vec::with_capacity(examples.len() * rows * columns.len());
        let mut block = [0f32; BLOCK];
        for row in examples.start * rows..examples.end * rows {
            let scale = self.scales[row / rows];
            let row = row * (self.width / rows);
            for first in columns.clone().step_by(BLOCK) {
                let at = row + first..row + (first + BLOCK).min(columns.end);
                let block = &mut block[..at.len()];
                match &self.bits {
                    Bits::F16(bits) => bits[at].convert_to_f32_slice(block),
                    Bits::BF16(bits) => bits[at].convert_to_f32_slice(block),
                }
                all.extend(block.iter().map(|x| T::of_f32(x * scale)));
            }
        }
        all
    }
}

impl PackedTarget<'_> {
    /// Keep these numbers `[examples, width]`, which are finite.
    pub(crate) fn fill<T: Number>(&mut self, numbers: &[T]) {
        if self.width == 0 {
            return;
        }
        let mut block = [0f32; BLOCK];
        for (b, (row, scale)) in numbers.chunks_exact(self.width).zip(&mut *self.scales).enumerate()
        {
            let largest = row.iter().fold(0f32, |largest, x| largest.max(x.to_f32().abs()));
            *scale = power_of_two_above(largest);
            let shrink = scale.recip();
            for (k, numbers) in row.chunks(BLOCK).enumerate() {
                let block = &mut block[..numbers.len()];
                block.iter_mut().zip(numbers).for_each(|(to, x)| *to = x.to_f32() * shrink);
                let start = b * self.width + k * BLOCK;
                let at = start..start + numbers.len();
                match &mut self.bits {
                    BitsMut::F16(bits) => bits[at].convert_from_f32_slice(block),
                    BitsMut::BF16(bits) => bits[at].convert_from_f32_slice(block),
                }
            }
        }
    }
}

/// The least power of two that is no smaller, of those whose reciprocals single precision has; one for zero.
fn power_of_two_above(x: f32) -> f32 {
    if x == 0.0 { 1.0 } else { x.log2().ceil().clamp(-120.0, 120.0).exp2() }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_to_within_a_rounding_of_the_largest() {
        for (storage, bound) in [(Storage::F16, 2f32.powi(-11)), (Storage::BF16, 2f32.powi(-8))] {
            let (count, width) = (5, 2500);
            let numbers: Vec<f32> = (0..count * width)
                .map(|i| (i as f32 * 0.37).sin() * 10f32.powi(8 * (i / width) as i32 - 20))
                .collect();
            let mut packed = Packed::new(storage, count, width).unwrap();
            for (target, numbers) in packed.split(2).iter_mut().zip(numbers.chunks(2 * width)) {
                target.fill(numbers);
            }
            for (example, row) in numbers.chunks(width).enumerate() {
                let largest = row.iter().fold(0f32, |m, x| m.max(x.abs()));
                let found: Vec<f32> = packed.read(example..example + 1, 1, 7..2400);
                assert_eq!(found.len(), 2393);
                let halves: Vec<f32> = packed.read(example..example + 1, 2, 7..9);
                let whole: Vec<f32> = packed.read(example..example + 1, 1, 0..width);
                assert_eq!(halves, [&whole[7..9], &whole[1257..1259]].concat());
                for (x, y) in found.iter().zip(&row[7..2400]) {
                    assert!((x - y).abs() <= bound * largest, "{storage:?} {x} {y}");
                }
            }
        }
        assert!(Packed::new(Storage::Full, 3, 4).is_none());
    }

    #[test]
    fn arrays_without_width_have_as_many_parts() {
        let mut packed = Packed::new(Storage::F16, 5, 0).unwrap();
        let mut parts = packed.split(2);
        assert_eq!(parts.len(), 3);
        parts.iter_mut().for_each(|part| part.fill::<f32>(&[]));
    }
}

//! Features kept in 16 bits: half the memory, so that twice as many examples are swept once only. Products
//! are taken in single precision as ever.
//!
//! Each example's part of an array has a scale, a power of two, so that its largest number is near one:
//! gradients of different layers differ by more than f16 has exponents for. f16 then keeps eleven binary digits,
//! bf16 eight, but those of numbers far smaller than the largest too.

use std::ops::Range;

use half::slice::{HalfBitsSliceExt, HalfFloatSliceExt};
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

/// A format of 16 bits.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Half {
    F16,
    BF16,
}

impl Storage {
    /// The format of 16 bits that it is, if it is one.
    pub(crate) fn half(self) -> Option<Half> {
        match self {
            Self::Full => None,
            Self::F16 => Some(Half::F16),
            Self::BF16 => Some(Half::BF16),
        }
    }

    /// Bytes of a number that takes so many in full.
    pub(crate) fn bytes(self, full: usize) -> usize {
        self.half().map_or(full, |_| 2)
    }
}

/// An array `[N, width]` in 16 bits.
pub(crate) struct Packed {
    format: Half,
    width: usize,
    bits: Vec<u16>,
    /// What an example's numbers are multiplied with.
    scales: Vec<f32>,
}

/// Some examples of such an array, to be filled.
pub(crate) struct PackedTarget<'t> {
    format: Half,
    width: usize,
    bits: &'t mut [u16],
    scales: &'t mut [f32],
}

/// Numbers that are widened at once.
const BLOCK: usize = 1024;

impl Packed {
    /// Room for so many examples.
    pub(crate) fn new(format: Half, count: usize, width: usize) -> Self {
        Self { format, width, bits: vec![0; count * width], scales: vec![1.0; count] }
    }

    /// Numbers of an example.
    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// Cut into parts of so many examples each.
    pub(crate) fn split(&mut self, each: usize) -> Vec<PackedTarget<'_>> {
        let Self { format, width, bits, scales } = self;
        let mut rest = bits.as_mut_slice();
        let mut parts = Vec::new();
        for scales in scales.chunks_mut(each.max(1)) {
            let (bits, tail) = rest.split_at_mut(scales.len() * *width);
            rest = tail;
            parts.push(PackedTarget { format: *format, width: *width, bits, scales });
        }
        parts
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
                widen(self.format, &self.bits[at], block);
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
                narrow(self.format, block, &mut self.bits[start..start + numbers.len()]);
            }
        }
    }
}

fn widen(format: Half, bits: &[u16], numbers: &mut [f32]) {
    match format {
        Half::BF16 => bits.reinterpret_cast::<bf16>().convert_to_f32_slice(numbers),
        Half::F16 => bits.reinterpret_cast::<f16>().convert_to_f32_slice(numbers),
    }
}

fn narrow(format: Half, numbers: &[f32], bits: &mut [u16]) {
    match format {
        Half::BF16 => bits.reinterpret_cast_mut::<bf16>().convert_from_f32_slice(numbers),
        Half::F16 => bits.reinterpret_cast_mut::<f16>().convert_from_f32_slice(numbers),
    }
}

/// The least power of two that is no smaller, of those whose reciprocals single precision has; one for zero.
fn power_of_two_above(x: f32) -> f32 {
    if x == 0.0 { 1.0 } else { x.log2().ceil().clamp(-120.0, 120.0).exp2() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_to_within_a_rounding_of_the_largest() {
        for (format, bound) in [(Half::F16, 2f32.powi(-11)), (Half::BF16, 2f32.powi(-8))] {
            let (count, width) = (5, 2500);
            let numbers: Vec<f32> = (0..count * width)
                .map(|i| (i as f32 * 0.37).sin() * 10f32.powi(8 * (i / width) as i32 - 20))
                .collect();
            let mut packed = Packed::new(format, count, width);
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
                    assert!((x - y).abs() <= bound * largest, "{format:?} {x} {y}");
                }
            }
        }
    }

    #[test]
    fn arrays_without_width_have_as_many_parts() {
        let mut packed = Packed::new(Half::F16, 5, 0);
        let mut parts = packed.split(2);
        assert_eq!(parts.len(), 3);
        parts.iter_mut().for_each(|part| part.fill::<f32>(&[]));
    }
}

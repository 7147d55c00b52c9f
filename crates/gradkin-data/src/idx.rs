//! IDX, the format of MNIST: two zero bytes, an element type, a rank, one
//! big-endian length per axis, then the values, big-endian.

use crate::array::{Array, ArrayData, element_count};
use crate::bytes::Source;
use crate::error::{DataError, Result};

const FORMAT: &str = "IDX";

/// Whether a file that begins with `start` can be IDX; `length` is the whole
/// file's where it is known, and must then be what the header says.
pub(crate) fn looks_like(start: &[u8], length: Option<u64>) -> bool {
    let &[0, 0, kind @ 0x08..=0x0e, rank, ref lengths @ ..] = start else { return false };
    let (Some(width), true) = (width(kind), rank > 0) else { return false };
    let rank = usize::from(rank);
    let Some(length) = length else { return true };
    if lengths.len() < rank * 4 {
        return false;
    }
    let shape: Vec<usize> = lengths[..rank * 4]
        .as_chunks::<4>()
        .0
        .iter()
        .map(|&bytes| u32::from_be_bytes(bytes) as usize)
        .collect();
    let body = element_count(&shape).and_then(|n| n.checked_mul(width));
    body.is_some_and(|body| body as u64 + 4 + 4 * rank as u64 == length)
}

fn width(kind: u8) -> Option<usize> {
    Some(match kind {
        0x08 | 0x09 => 1,
        0x0b => 2,
        0x0c | 0x0d => 4,
        0x0e => 8,
        _ => return None,
    })
}

/// Reads one array and insists that the source ends with it.
pub(crate) fn read(source: &mut Source) -> Result<Array> {
    let [zero, nought, kind, rank] = source.take::<4>(FORMAT)?;
    if (zero, nought) != (0, 0) || width(kind).is_none() {
        let found = format!("{zero:02x} {nought:02x} {kind:02x}");
        let reason = format!("it begins with {found}, not with 00 00 and an element type");
        return Err(DataError::malformed(source.name(), FORMAT, reason));
    }
    let lengths = source.elements(usize::from(rank), FORMAT, u32::from_be_bytes)?;
    let shape: Vec<usize> = lengths.into_iter().map(|d| d as usize).collect();
    let count = element_count(&shape).unwrap_or(usize::MAX);
    let data = match kind {
        0x08 => ArrayData::U8(source.take_vec(count, FORMAT)?),
        0x09 => ArrayData::I32(source.elements(count, FORMAT, |b| i8::from_be_bytes(b).into())?),
        0x0b => ArrayData::I32(source.elements(count, FORMAT, |b| i16::from_be_bytes(b).into())?),
        0x0c => ArrayData::I32(source.elements(count, FORMAT, i32::from_be_bytes)?),
        0x0d => ArrayData::F32(source.elements(count, FORMAT, f32::from_be_bytes)?),
        _ => ArrayData::F64(source.elements(count, FORMAT, f64::from_be_bytes)?),
    };
    source.end(FORMAT)?;
    Array::new(shape, data)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES: &[u8] = &[0, 0, 0x0b, 2, 0, 0, 0, 1, 0, 0, 0, 2, 0, 1, 255, 254];

    #[test]
    fn sixteen_bit_matrix() {
        let array = read(&mut Source::memory(BYTES)).unwrap();
        assert_eq!(array.shape(), [1, 2]);
        assert_eq!(array.data(), &ArrayData::I32(vec![1, -2]));
        assert!(looks_like(BYTES, Some(BYTES.len() as u64)));
        assert!(!looks_like(BYTES, Some(BYTES.len() as u64 + 1)));
    }

    #[test]
    fn cut_short_or_too_long() {
        for end in 0..BYTES.len() {
            assert!(read(&mut Source::memory(&BYTES[..end])).is_err(), "{end}");
        }
        let long = [BYTES, &[0]].concat();
        assert!(read(&mut Source::memory(&long)).unwrap_err().to_string().contains("more bytes"));
    }

    #[test]
    fn absurd_lengths_are_refused() {
        let mut bytes = vec![0, 0, 8, 255];
        bytes.extend([255; 255 * 4]);
        assert!(read(&mut Source::memory(&bytes)).is_err());
        assert!(!looks_like(&bytes, Some(bytes.len() as u64)));
    }
}

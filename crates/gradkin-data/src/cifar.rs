//! CIFAR's binary files: records of one label byte (two for CIFAR-100: coarse,
//! then fine) and 3,072 bytes, the red, green and blue planes of a 32×32 picture.

use crate::array::{Array, ArrayData};
use crate::bytes::Source;
use crate::error::{DataError, Result};
use crate::labels::Labels;

const FORMAT: &str = "CIFAR";
const PIXELS: usize = 3 * 32 * 32;

/// Whether a file of `length` bytes is a whole number of records.
pub(crate) fn fits(length: u64) -> bool {
    length > 0 && [1, 2].iter().any(|labels| length.is_multiple_of(labels + PIXELS as u64))
}

/// Reads pictures `[n, 3, 32, 32]` and their labels (the fine ones of CIFAR-100).
pub(crate) fn read(source: &mut Source) -> Result<(Array, Labels)> {
    let bytes = source.rest()?;
    let label_bytes = label_bytes(&bytes).ok_or_else(|| {
        let reason = format!(
            "{} bytes are not a whole number of records of 3073 (CIFAR-10) or 3074 (CIFAR-100)",
            bytes.len()
        );
        DataError::malformed(source.name(), FORMAT, reason)
    })?;
    let (pixels, ids) = split(&bytes, label_bytes);
    let count = ids.len();
    let array = Array::new(vec![count, 3, 32, 32], ArrayData::U8(pixels))?;
    Ok((array, Labels::Classes { ids, names: None }))
}

/// One where the records are CIFAR-10's, two where they are CIFAR-100's.
fn label_bytes(bytes: &[u8]) -> Option<usize> {
    let whole = |labels: usize| bytes.len().is_multiple_of(labels + PIXELS);
    let ten = || bytes.chunks(1 + PIXELS).all(|record| record[0] < 10);
    match (whole(1), whole(2)) {
        (true, true) => Some(if ten() { 1 } else { 2 }),
        (true, false) => Some(1),
        (false, true) => Some(2),
        (false, false) => None,
    }
}

fn split(bytes: &[u8], label_bytes: usize) -> (Vec<u8>, Vec<i64>) {
    let count = bytes.len() / (label_bytes + PIXELS);
    let mut pixels = Vec::with_capacity(count * PIXELS);
    let mut ids = Vec::with_capacity(count);
    for record in bytes.chunks_exact(label_bytes + PIXELS) {
        ids.push(i64::from(record[label_bytes - 1]));
        pixels.extend_from_slice(&record[label_bytes..]);
    }
    (pixels, ids)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels_of(record: usize) -> Vec<i64> {
        let mut bytes = vec![0; 2 * record];
        (bytes[record - PIXELS - 1], bytes[2 * record - PIXELS - 1]) = (7, 9);
        let (array, labels) = read(&mut Source::memory(&bytes)).unwrap();
        assert_eq!(array.shape(), [2, 3, 32, 32]);
        let Labels::Classes { ids, .. } = labels else { panic!("classes") };
        ids
    }

    #[test]
    fn both_record_lengths() {
        assert_eq!(labels_of(1 + PIXELS), [7, 9]);
        assert_eq!(labels_of(2 + PIXELS), [7, 9]);
    }

    #[test]
    fn other_lengths_are_refused() {
        let error = read(&mut Source::memory(&[0; 3000])).unwrap_err().to_string();
        assert!(error.contains("3000 bytes are not a whole number of records"), "{error}");
        assert!(!fits(0) && fits(6146) && fits(6148) && !fits(6147));
    }
}

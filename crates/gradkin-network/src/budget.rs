//! How much memory and work a model file may ask for before anything is known of it but its size.
//!
//! A few bytes can ask for a tensor of any size, so each of these is bounded by a fixed amount, which
//! any honest small file gets along with, plus a multiple of the file's size (external weights
//! included):
//!
//! - what does not depend on the example and is computed once while the graph is built, all together;
//! - a single value for one example, and all values for one example together;
//! - what functions are written out to (see [`crate::onnx`]).
//!
//! An example whose shape the caller names, as a program does that has the data, is not the file's
//! word: it adds to what values may take.
//!
//! Values that depend on the example are tried one node at a time and not kept; so the memory that
//! building takes is a few times the first bound plus a few times that of a single value.

use crate::error::{OpResult, fail};

/// What is left of the bounds, counted in numbers.
#[derive(Debug)]
pub(crate) struct Budget {
    constants: usize,
    single: usize,
    values: usize,
}

impl Budget {
    /// The bounds for a file of so many bytes, and an example of so many numbers that the caller
    /// vouches for.
    pub(crate) fn new(file: usize, example: usize) -> Self {
        let bound = |fixed: usize, factor: usize| file.saturating_mul(factor).saturating_add(fixed);
        let values = |bound: usize, factor| bound.saturating_add(example.saturating_mul(factor));
        Self {
            constants: bound(1 << 26, 16),
            single: values(bound(1 << 26, 64), 512),
            values: values(bound(1 << 28, 1024), 1 << 16),
        }
    }

    /// What one tensor of a node may hold.
    pub(crate) fn limit(&self, constant: bool) -> usize {
        if constant { self.constants } else { self.single.min(self.values) }
    }

    /// Count a result.
    pub(crate) fn take(&mut self, constant: bool, shape: &[usize]) -> OpResult<()> {
        let limit = self.limit(constant);
        let count = shape.iter().try_fold(1usize, |n, s| n.checked_mul(*s));
        let Some(count) = count.filter(|count| *count <= limit) else {
            fail!(
                "with this tensor of shape {shape:?} the network asks for more memory than gradkin \
                 grants a file of this size ({limit} numbers are left); check the shapes and \
                 constants of the export"
            );
        };
        let left = if constant { &mut self.constants } else { &mut self.values };
        *left -= count;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_and_values_have_bounds_of_their_own() {
        let mut budget = Budget::new(1000, 0);
        assert!(budget.take(true, &[1 << 13, 1 << 13]).is_ok());
        assert!(budget.take(true, &[16_001]).is_err());
        assert!(budget.take(true, &[16_000]).is_ok());
        assert!(budget.take(false, &[1 << 26, 2]).is_err());
        assert!((0..4).all(|_| budget.take(false, &[1 << 26]).is_ok()));
        assert!(budget.take(false, &[1_024_001]).is_err());
        assert!(Budget::new(1000, 1 << 20).take(false, &[1 << 26, 2]).is_ok());
        assert!(Budget::new(usize::MAX, 1).take(false, &[usize::MAX, 2]).is_err());
    }
}

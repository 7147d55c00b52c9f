//! How many numbers one tensor may hold: a damaged file could ask for any number.
//!
//! While a network is built the bound follows from the size of its file (see [`crate::budget`]). It
//! holds for the building thread only and for as long as the building takes; networks that run have
//! the wide one.

use std::cell::Cell;

use crate::error::{OpResult, fail};

/// The wide bound.
const MOST: usize = 1 << 33;

thread_local! {
    static LIMIT: Cell<usize> = const { Cell::new(MOST) };
}

/// Puts the former bound back, also when what runs under the narrow one panics.
struct Restore(usize);

impl Drop for Restore {
    fn drop(&mut self) {
        LIMIT.set(self.0);
    }
}

/// Run with a narrower bound.
pub(crate) fn within<T>(limit: usize, run: impl FnOnce() -> T) -> T {
    let _restore = Restore(LIMIT.replace(limit.min(MOST)));
    run()
}

/// The product of a shape, refused where it overflows or passes the bound.
pub(crate) fn checked_count(shape: &[usize]) -> OpResult<usize> {
    checked(shape, LIMIT.get())
}

/// The same for what is not computed while the network is built, only counted.
pub(crate) fn countable(shape: &[usize]) -> OpResult<usize> {
    checked(shape, MOST)
}

fn checked(shape: &[usize], limit: usize) -> OpResult<usize> {
    let count = shape.iter().try_fold(1usize, |n, s| n.checked_mul(*s));
    match count {
        Some(count) if count <= limit => Ok(count),
        _ => fail!(
            "a tensor of shape {shape:?} is larger than gradkin will allocate here ({limit} numbers)"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_narrow_bound_ends_with_what_runs_under_it() {
        assert!(checked_count(&[MOST]).is_ok() && checked_count(&[MOST, 2]).is_err());
        assert!(checked_count(&[usize::MAX, 2]).is_err());
        within(6, || {
            assert!(checked_count(&[2, 3]).is_ok() && checked_count(&[7]).is_err());
            assert!(countable(&[7]).is_ok());
        });
        let panics = std::panic::catch_unwind(|| within(6, || panic!("as expected")));
        assert!(panics.is_err() && checked_count(&[7]).is_ok());
    }
}

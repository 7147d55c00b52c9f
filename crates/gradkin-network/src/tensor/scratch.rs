//! Memory that one step after another works in.
//!
//! Unfolded columns of one image are as large as a second-level cache. Memory of that size that is fresh has
//! to be cleared by the system and brought into the cache; what the thread has just worked in is there.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};
use std::thread::LocalKey;

/// Numbers that a thread keeps at most in one piece of memory: what is larger does not stay in the cache.
const MOST: usize = 1 << 20;

/// Pieces that a thread keeps: no step works in more at once.
const PIECES: usize = 2;

type Kept<T> = RefCell<Vec<Vec<T>>>;

/// Numbers that there is such memory for.
pub(crate) trait Scratch: Copy + Default + 'static {
    #[doc(hidden)]
    fn of_thread() -> &'static LocalKey<Kept<Self>>;
}

macro_rules! scratch {
    ($float:ty) => {
        impl Scratch for $float {
            fn of_thread() -> &'static LocalKey<Kept<Self>> {
                thread_local! {
                    static KEPT: Kept<$float> = const { RefCell::new(Vec::new()) };
                }
                &KEPT
            }
        }
    };
}

scratch!(f32);
scratch!(f64);

/// So many numbers, whatever they are, until dropped.
pub(crate) struct Room<T: Scratch> {
    memory: Vec<T>,
    len: usize,
}

impl<T: Scratch> Room<T> {
    pub(crate) fn of(len: usize) -> Self {
        let mut memory = T::of_thread().with(|kept| {
            let mut kept = kept.borrow_mut();
            // The smallest that is large enough; else the last, which has to grow.
            let enough = (0..kept.len()).filter(|at| kept[*at].len() >= len);
            let best = enough.min_by_key(|at| kept[*at].len());
            best.map(|at| kept.swap_remove(at)).or_else(|| kept.pop()).unwrap_or_default()
        });
        if memory.len() < len {
            memory.resize(len, T::default());
        }
        Self { memory, len }
    }
}

impl<T: Scratch> Deref for Room<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.memory[..self.len]
    }
}

impl<T: Scratch> DerefMut for Room<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.memory[..self.len]
    }
}

impl<T: Scratch> Drop for Room<T> {
    fn drop(&mut self) {
        if self.memory.len() > MOST {
            return;
        }
        let own = std::mem::take(&mut self.memory);
        // A thread that is ending keeps nothing.
        let _ = T::of_thread().try_with(|kept| {
            let mut kept = kept.borrow_mut();
            if kept.len() < PIECES {
                kept.push(own);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_comes_back_and_two_never_share_it() {
        let mut first = Room::<f32>::of(100);
        first.fill(1.0);
        let at = first.as_ptr();
        let mut second = Room::<f32>::of(50);
        second.fill(2.0);
        assert!(first.iter().all(|x| *x == 1.0) && second.len() == 50);
        drop((first, second));
        let again = Room::<f32>::of(80);
        assert_eq!((again.as_ptr(), again.len()), (at, 80));
        drop(Room::<f32>::of(MOST + 1));
        f32::of_thread().with(|kept| {
            assert!(kept.borrow().iter().all(|own| own.len() <= MOST));
        });
    }
}

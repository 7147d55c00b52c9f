//! Independent pieces of work, shared among threads in their order.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::Error;

/// The results of `work` for 0…`count`, in that order. After a failure nothing new is begun, and the
/// failure of the lowest number is returned.
pub(crate) fn each<T: Send>(
    threads: usize,
    count: usize,
    work: impl Fn(usize) -> Result<T, Error> + Sync,
) -> Result<Vec<T>, Error> {
    let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let one = || {
        let mut done = Vec::new();
        while !failed.load(Ordering::Relaxed) {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                break;
            }
            let result = work(number);
            failed.fetch_or(result.is_err(), Ordering::Relaxed);
            done.push((number, result));
        }
        done
    };
    let mut all: Vec<(usize, Result<T, Error>)> = std::thread::scope(|scope| {
        let workers: Vec<_> =
            (1..threads.clamp(1, count.max(1))).map(|_| scope.spawn(one)).collect();
        let mut all = one();
        for worker in workers {
            match worker.join() {
                Ok(done) => all.extend(done),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        all
    });
    all.sort_by_key(|(number, _)| *number);
    all.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn results_keep_their_order() {
        let squares = each(3, 20, |i| Ok(i * i)).unwrap();
        assert_eq!(squares, (0..20).map(|i| i * i).collect::<Vec<_>>());
        assert!(each(4, 0, Ok).unwrap().is_empty());
        let stopped = each(2, 9, |i| if i == 4 { Err(Error::Cancelled) } else { Ok(i) });
        assert!(matches!(stopped, Err(Error::Cancelled)));
    }
}

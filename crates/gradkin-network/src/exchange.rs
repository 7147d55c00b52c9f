//! Sums over the parts of a batch that several threads work on at the same time.
//!
//! A normalisation over the batch needs the mean and variance of all of it; each thread holds a part.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::error::{OpResult, fail};

/// Where the threads of one training step meet.
#[derive(Debug)]
struct Meeting {
    parties: usize,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// What the parties of the present round have brought so far.
    brought: Vec<Option<Vec<f64>>>,
    /// The sum of the last full round, and how many have yet to take it.
    sum: Arc<Vec<f64>>,
    to_take: usize,
    abandoned: bool,
}

/// One thread's part in a training step.
///
/// Every party has to run the same passes in the same order. Whoever fails calls [`Party::abandon`];
/// else the others would wait for ever.
#[derive(Debug, Clone)]
pub struct Party {
    meeting: Arc<Meeting>,
    index: usize,
}

impl Party {
    /// The parties of a batch that is worked on in `count` parts.
    pub fn all(count: usize) -> Vec<Party> {
        let count = count.max(1);
        let state = State { brought: vec![None; count], ..State::default() };
        let meeting =
            Arc::new(Meeting { parties: count, state: Mutex::new(state), changed: Condvar::new() });
        (0..count).map(|index| Party { meeting: meeting.clone(), index }).collect()
    }

    /// Tell the others not to wait.
    pub fn abandon(&self) {
        self.lock().abandoned = true;
        self.meeting.changed.notify_all();
    }

    /// The sum over all parties, added in their order so that it never depends on who came first.
    pub(crate) fn sum(&self, own: Vec<f64>) -> OpResult<Vec<f64>> {
        if self.meeting.parties == 1 {
            return Ok(own);
        }
        let mut state = self.lock();
        // The last round's sum must have been taken by all before a new round begins.
        while state.to_take > 0 && !state.abandoned {
            state = self.wait(state);
        }
        state.brought[self.index] = Some(own);
        if state.brought.iter().all(Option::is_some) {
            let parts: Vec<Vec<f64>> = state.brought.iter_mut().filter_map(Option::take).collect();
            let mut total = vec![0.0; parts[0].len()];
            for part in &parts {
                total.iter_mut().zip(part).for_each(|(total, more)| *total += more);
            }
            state.sum = Arc::new(total);
            state.to_take = self.meeting.parties;
            self.meeting.changed.notify_all();
        } else {
            while state.brought[self.index].is_some() && !state.abandoned {
                state = self.wait(state);
            }
        }
        if state.abandoned {
            fail!("another part of the batch failed");
        }
        let sum = state.sum.as_ref().clone();
        state.to_take -= 1;
        if state.to_take == 0 {
            self.meeting.changed.notify_all();
        }
        Ok(sum)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.meeting.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'m>(&self, state: MutexGuard<'m, State>) -> MutexGuard<'m, State> {
        self.meeting.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn sums_over_many_rounds() {
        let parties = Party::all(3);
        std::thread::scope(|scope| {
            for party in &parties {
                scope.spawn(move || {
                    for round in 0..200 {
                        let own = (party.index + 10 * round) as f64;
                        let sum = party.sum(vec![own, 1.0]).unwrap();
                        assert_eq!(sum, [(3 + 30 * round) as f64, 3.0]);
                    }
                });
            }
        });
    }

    #[test]
    fn one_failure_frees_the_others() {
        let parties = Party::all(2);
        let (one, other) = (&parties[0], &parties[1]);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| one.sum(vec![1.0]));
            other.abandon();
            assert!(waiting.join().unwrap().is_err());
        });
    }
}

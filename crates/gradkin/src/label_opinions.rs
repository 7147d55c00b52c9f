//! Which labels to doubt (beyond the paper): from similarities to an opinion on each label. Which class
//! an example's neighbours vote for, what the network says of it, and how given labels come about from
//! true ones, together say how likely the given label is the true one.
//!
//! ρ_c(j), the mean similarity of j to the others of class c, votes by q_j = softmax(κ ρ(j)); κ is
//! what makes the given labels likeliest. With the network's probabilities p_j, u_j ∝ q_j p_j^b is the
//! opinion on the true class. b ≤ 1 is how far the network is trusted: q_j leaves j out and cannot know
//! its label by heart, so a network that fits given labels better than the vote has less say. The noise T[t, g], how often true class t is given as g, follows from
//! opinions and given labels by expectation maximisation, and with it the posterior
//! π_j(t) ∝ u_j(t) T[t, g_j]. What else was tried is in `docs/label-errors.md`.

use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::quantity::Quantity;

/// What is known of each example, rows of one number per class.
#[derive(Debug, Clone, Copy)]
pub struct LabelEvidence<'a> {
    /// Number of classes.
    pub classes: usize,
    /// Σ_i k(j, i) over the examples i of each class, j itself included, with k(j, j) = 1.
    pub sums: &'a [f64],
    /// Class probabilities that the network gives.
    pub probabilities: &'a [f64],
    /// The class that each example has been given.
    pub given: &'a [usize],
}

/// What to think of each label.
#[derive(Debug, Clone, PartialEq)]
pub struct LabelOpinions {
    /// q: the neighbours' vote without the example itself, rows of one number per class.
    pub votes: Vec<f64>,
    /// The same with the example itself.
    pub votes_with_self: Vec<f64>,
    /// π: probabilities of the true class, likewise.
    pub posterior: Vec<f64>,
    /// n[t, g]: expected number of examples of true class t that were given g.
    pub counts: Vec<f64>,
}

/// Below this no class is thought impossible on the network's word alone.
const LEAST_PROBABILITY: f64 = 1e-9;
/// The largest κ tried.
const SHARPEST: f64 = 1000.0;
/// Where the noise starts from: the share of labels that are right.
const FIRST_RIGHT: f64 = 0.9;
const ROUNDS: usize = 30;

impl LabelEvidence<'_> {
    /// Weigh the evidence.
    ///
    /// # Errors
    /// Where there are fewer than two classes or examples, where rows and labels do not go together,
    /// and where `go_on` returns false.
    pub fn opinions(&self, go_on: &dyn Fn() -> bool) -> Result<LabelOpinions> {
        self.check()?;
        let rho = self.means(true);
        let kappa = self.sharpness(&rho, go_on)?;
        let vote = |rho: &[f64]| self.rows(rho).flat_map(|row| softmax(row, kappa)).collect();
        let votes: Vec<f64> = vote(&rho);
        let trust = self.trust(&votes);
        let opinions: Vec<f64> = self
            .rows(&votes)
            .zip(self.rows(self.probabilities))
            .flat_map(|(votes, p)| {
                let say = |p: &f64| p.max(LEAST_PROBABILITY).powf(trust);
                normalised(votes.iter().zip(p).map(|(q, p)| q * say(p)))
            })
            .collect();
        let mut noise = self.first_noise();
        let mut counts = Vec::new();
        for _ in 0..ROUNDS {
            if !go_on() {
                return Err(Error::Cancelled);
            }
            counts = self.counts(&opinions, &noise);
            noise = self.noise(&counts);
        }
        Ok(LabelOpinions {
            posterior: self.posterior(&opinions, &noise),
            votes_with_self: vote(&self.means(false)),
            votes,
            counts,
        })
    }

    fn check(&self) -> Result<()> {
        let (c, n) = (self.classes, self.given.len());
        if c < 2 || n < 2 {
            let message = "labels are doubted among at least two classes and two examples";
            return Err(Error::Usage(message.into()));
        }
        if self.sums.len() != n * c || self.probabilities.len() != n * c {
            return Err(Error::Usage(format!(
                "{n} labels of {c} classes do not go with {} sums and {} probabilities",
                self.sums.len(),
                self.probabilities.len()
            )));
        }
        Quantity::Classes { ids: self.given, count: c }.check(n, "the set")
    }

    fn rows<'r>(&self, values: &'r [f64]) -> std::slice::Chunks<'r, f64> {
        values.chunks(self.classes)
    }

    /// ρ: mean similarity to the examples of each class, without the example itself or with it. A
    /// class without any has no say: it gets the mean over all.
    fn means(&self, without_self: bool) -> Vec<f64> {
        let itself = f64::from(u8::from(without_self));
        let mut sizes = vec![0.0; self.classes];
        self.given.iter().for_each(|class| sizes[*class] += 1.0);
        let mean = |(sums, given): (&[f64], &usize)| {
            let all: f64 = sums.iter().sum::<f64>() - itself;
            let all = all / (self.given.len() as f64 - itself).max(1.0);
            let of_class = |(class, sum): (usize, &f64)| {
                let own = if class == *given { itself } else { 0.0 };
                let others = sizes[class] - own;
                if others > 0.0 { (sum - own) / others } else { all }
            };
            sums.iter().enumerate().map(of_class).collect::<Vec<f64>>()
        };
        self.rows(self.sums).zip(self.given).flat_map(mean).collect()
    }

    /// κ ≥ 0 where Σ_j log softmax(κ ρ_j)[g_j] is highest. It is concave: its slope is halved between
    /// two values of κ until they meet.
    fn sharpness(&self, rho: &[f64], go_on: &dyn Fn() -> bool) -> Result<f64> {
        const HALVINGS: usize = 40;
        let slope = |kappa: f64| -> f64 {
            let own = |(row, given): (&[f64], &usize)| {
                let votes = softmax(row, kappa);
                row[*given] - row.iter().zip(&votes).map(|(r, q)| r * q).sum::<f64>()
            };
            // Added up in one order whatever the number of threads, so that results do not vary.
            let slopes: Vec<f64> = rho.par_chunks(self.classes).zip(self.given).map(own).collect();
            slopes.iter().sum()
        };
        let (mut low, mut high) = (0.0, SHARPEST);
        for _ in 0..HALVINGS {
            if !go_on() {
                return Err(Error::Cancelled);
            }
            let middle = 0.5 * (low + high);
            if slope(middle) > 0.0 { low = middle } else { high = middle }
        }
        Ok(0.5 * (low + high))
    }

    /// b: the mean of −log p_j(g_j) over that of −log q_j(g_j), at most one.
    fn trust(&self, votes: &[f64]) -> f64 {
        let surprise = |rows: &[f64]| -> f64 {
            let own = |(row, given): (&[f64], &usize)| -row[*given].max(LEAST_PROBABILITY).ln();
            self.rows(rows).zip(self.given).map(own).sum()
        };
        let (network, vote) = (surprise(self.probabilities), surprise(votes));
        if network < vote { (network / vote).max(0.0) } else { 1.0 }
    }

    fn first_noise(&self) -> Vec<f64> {
        let c = self.classes;
        let wrong = (1.0 - FIRST_RIGHT) / (c as f64 - 1.0);
        (0..c * c).map(|at| if at / c == at % c { FIRST_RIGHT } else { wrong }).collect()
    }

    fn posterior(&self, opinions: &[f64], noise: &[f64]) -> Vec<f64> {
        let c = self.classes;
        let own = |(row, given): (&[f64], &usize)| {
            normalised(row.iter().enumerate().map(|(t, u)| u * noise[t * c + given]))
        };
        opinions.par_chunks(self.classes).zip(self.given).flat_map_iter(own).collect()
    }

    fn counts(&self, opinions: &[f64], noise: &[f64]) -> Vec<f64> {
        let c = self.classes;
        let mut counts = vec![0.0; c * c];
        let posterior = self.posterior(opinions, noise);
        for (row, given) in self.rows(&posterior).zip(self.given) {
            row.iter().enumerate().for_each(|(t, share)| counts[t * c + given] += share);
        }
        counts
    }

    /// T from n, each row shrunk half-way to labels that are changed to any other alike.
    fn noise(&self, counts: &[f64]) -> Vec<f64> {
        let c = self.classes;
        let all: f64 = counts.iter().sum();
        let right: f64 = (0..c).map(|t| counts[t * c + t]).sum();
        let off = (all - right) / all.max(f64::MIN_POSITIVE) / (c as f64 - 1.0);
        let row = |row: &[f64]| {
            let total: f64 = row.iter().sum();
            normalised(row.iter().map(|n| n + off * total).collect::<Vec<f64>>().into_iter())
        };
        counts.chunks(c).flat_map(row).collect()
    }
}

fn softmax(row: &[f64], kappa: f64) -> Vec<f64> {
    let top = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    normalised(row.iter().map(|r| (kappa * (r - top)).exp()))
}

/// Over their sum; all alike where there is nothing to divide by.
fn normalised(numbers: impl Iterator<Item = f64>) -> Vec<f64> {
    let numbers: Vec<f64> = numbers.collect();
    let total: f64 = numbers.iter().sum();
    if total > 0.0 && total.is_finite() {
        return numbers.iter().map(|number| number / total).collect();
    }
    vec![1.0 / numbers.len().max(1) as f64; numbers.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two classes of ten: neighbours of one class have similarity 0.9, others 0.3. The first label is
    /// wrong.
    fn two_classes(probabilities: &[f64]) -> LabelOpinions {
        let truth = |i: usize| usize::from(i >= 10);
        let given: Vec<usize> = (0..20).map(|i| if i == 0 { 1 } else { truth(i) }).collect();
        let similarity = |i: usize, j: usize| match (i == j, truth(i) == truth(j)) {
            (true, _) => 1.0,
            (false, true) => 0.9,
            (false, false) => 0.3,
        };
        let mut sums = vec![0.0; 40];
        for (i, j) in (0..20).flat_map(|i| (0..20).map(move |j| (i, j))) {
            sums[2 * i + given[j]] += similarity(i, j);
        }
        LabelEvidence { classes: 2, sums: &sums, probabilities, given: &given }
            .opinions(&|| true)
            .unwrap()
    }

    #[test]
    fn a_wrong_label_is_outvoted() {
        let opinion = two_classes(&[0.5; 40]);
        assert!(
            opinion.votes[0] > 0.9 && opinion.posterior[1] < 0.3,
            "{:?}",
            &opinion.posterior[..4]
        );
        for i in 1..20 {
            assert!(opinion.posterior[2 * i + usize::from(i >= 10)] > 0.9, "{i}");
        }
        for row in opinion.posterior.chunks(2) {
            assert!((row.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        }
        assert!((opinion.counts.iter().sum::<f64>() - 20.0).abs() < 1e-9);
    }

    #[test]
    fn the_network_has_a_say() {
        let mut probabilities = vec![0.5; 40];
        (probabilities[10], probabilities[11]) = (0.0, 1.0);
        let (without, with) = (two_classes(&[0.5; 40]), two_classes(&probabilities));
        assert!(with.posterior[10] < without.posterior[10]);
        assert!(with.posterior.iter().all(|p| p.is_finite()));
    }

    #[test]
    fn a_network_that_knows_labels_by_heart_has_no_say() {
        let given = |i: usize| usize::from(i == 0 || i >= 10);
        let by_heart: Vec<f64> =
            (0..40).map(|at| f64::from(u8::from(at % 2 == given(at / 2)))).collect();
        let opinion = two_classes(&by_heart);
        assert!(opinion.posterior[1] < 0.3, "{:?}", &opinion.posterior[..4]);
    }

    #[test]
    fn a_class_of_one_is_no_reason_to_fail() {
        let sums = [0.5, 1.0, 1.5, 0.5, 1.5, 0.5];
        let evidence =
            LabelEvidence { classes: 2, sums: &sums, probabilities: &[0.5; 6], given: &[1, 0, 0] };
        assert!(evidence.opinions(&|| true).unwrap().posterior.iter().all(|p| p.is_finite()));
    }
}

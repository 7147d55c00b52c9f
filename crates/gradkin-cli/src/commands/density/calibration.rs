//! What the distribution of neighbour counts says about a network's fit, as the paper uses it.
//!
//! Counts near N: everything is moved together, the network cannot tell its inputs apart (under-fit).
//! Counts near one: nothing but the example itself holds its output, and any label could have been
//! fitted there (over-fit, or too few examples of the sort). The paper gives no limits; these are ours.

use crate::quantiles::Sorted;
use crate::text;

/// A median share above this is "near one": examples are as similar to the average example as others
/// are to their near duplicates.
const UNDER_FIT_SHARE: f64 = 0.9;
/// Fewer effective neighbours than this, the example itself among them, is "about one": all others
/// together hold less of its output than it does itself.
const LONE_COUNT: f64 = 2.0;
/// From this part on, lone examples are said to be many: a few odd ones are to be expected in any data
/// and say nothing about the network.
const MANY_LONE: f64 = 0.1;

/// Soft counts, and how they came about.
pub(super) struct Distribution<'a> {
    pub(super) counts: Sorted,
    pub(super) against: usize,
    /// The name of the set counted against, where the examples do not belong to it.
    pub(super) other: Option<&'a str>,
}

impl Distribution<'_> {
    /// What the counts say, in words.
    pub(super) fn sentences(&self) -> Vec<String> {
        let mut lines = match self.other {
            None => vec![self.fit()],
            Some(name) => vec![self.strangeness(name)],
        };
        lines.extend(self.cancelling());
        lines
    }

    /// Examples among their own: under-fit, over-fit or neither.
    fn fit(&self) -> String {
        let (lone, all) = (self.lone(), self.counts.len());
        let lone_text = format!(
            "{} of {} ({}) have fewer than {LONE_COUNT}, themselves included",
            text::count(lone),
            text::counted(all, "example"),
            text::percent(lone, all),
        );
        if self.is_blind() {
            return format!("{}; {lone_text}", self.blindness());
        }
        if lone as f64 > MANY_LONE * all as f64 {
            return format!(
                "over-fit or under-sampled: of effective neighbours {lone_text}; hardly anything but the \
                 example itself holds the output there, and any label could have been fitted"
            );
        }
        format!(
            "neither under-fit nor over-fit by these counts: half of the examples have {} to {} of all \
             as effective neighbours; {lone_text}",
            self.share(0.25),
            self.share(0.75),
        )
    }

    /// Examples as another set sees them: how unlike anything in it they are.
    fn strangeness(&self, name: &str) -> String {
        let (lone, all) = (self.lone(), self.counts.len());
        let text = format!(
            "how familiar each example is to the network through {name}, low meaning unlike anything in \
             it: half of them have {} to {} of it as effective neighbours, the lowest twentieth below {}; \
             {} of {} have less than one",
            self.share(0.25),
            self.share(0.75),
            self.share(0.05),
            text::count(lone),
            text::count(all),
        );
        if self.is_blind() { format!("{}; {text}", self.blindness()) } else { text }
    }

    fn is_blind(&self) -> bool {
        self.part(0.5) > UNDER_FIT_SHARE
    }

    fn blindness(&self) -> String {
        format!(
            "under-fit: the median example has {} of all as effective neighbours, so that the network \
             hardly tells its inputs apart",
            self.share(0.5)
        )
    }

    /// Below one there must be negative similarities, and a low count may be a sum that cancels.
    fn cancelling(&self) -> Option<String> {
        let least = if self.other.is_none() { 1.0 - 1e-3 } else { 0.0 };
        let below = self.counts.below(least);
        (below > 0).then(|| {
            format!(
                "similarities of both signs cancel in the soft counts of {}; --power 2 counts without \
                 the negative ones",
                text::counted(below, "example")
            )
        })
    }

    /// How many have hardly any neighbour besides themselves.
    fn lone(&self) -> usize {
        let own = if self.other.is_none() { 0.0 } else { 1.0 };
        self.counts.below(LONE_COUNT - own)
    }

    fn part(&self, probability: f64) -> f64 {
        self.counts.quantile(probability) / self.against.max(1) as f64
    }

    fn share(&self, probability: f64) -> String {
        text::share(self.part(probability))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(counts: &[f64], other: Option<&str>) -> String {
        let counts = Sorted::new(counts.iter().copied());
        Distribution { counts, against: 100, other }.sentences().join("\n")
    }

    #[test]
    fn the_three_cases() {
        assert!(
            of(&[95.0, 96.0, 97.0], None).starts_with("under-fit: the median example has 96 %")
        );
        let lonely = of(&[1.0, 1.1, 20.0], None);
        assert!(
            lonely.contains(
                "over-fit or under-sampled: of effective neighbours 2 of 3 examples (66.7 %)"
            ),
            "{lonely}"
        );
        let between = of(&[10.0, 20.0, 30.0], None);
        assert!(between.starts_with("neither"), "{between}");
        assert!(between.contains("15 % to 25 %") && !between.contains("cancel"), "{between}");
    }

    #[test]
    fn another_set_does_not_count_the_query() {
        let text = of(&[0.5, 1.5, 30.0], Some("train.npy"));
        assert!(text.contains("train.npy") && text.contains("1 of 3 have less than one"), "{text}");
        assert!(of(&[-0.5], Some("t")).contains("cancel"));
        assert!(of(&[0.5], None).contains("cancel in the soft counts of 1 example;"));
    }
}

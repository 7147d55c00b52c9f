//! What can be said of an example only by meeting the others one by one: hard and power counts, sums
//! of squares, labels of the nearest. All pairs stream by; none is kept.
//!
//! Counts are METHOD's section 2, squares serve its section 3. Where all pairs are too many, the sums
//! are estimated from a random sample of the set, with their standard errors.

use std::sync::Mutex;

use gradkin_network::Precision;

use crate::error::{Error, Result};
use crate::examples::Examples;
use crate::kernel::{Similarity, Tile, Undefined};
use crate::neighbors::{Best, Neighbor};
use crate::number::Number;
use crate::progress::Watch;
use crate::quantity::Quantity;
use crate::sample::Subset;
use crate::similarity::{Kind, Reduction};

/// A random sample of a set, drawn without replacement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// How many examples are drawn.
    pub size: usize,
    /// Equal seeds draw equally.
    pub seed: u64,
}

/// What is wanted of all pairs.
#[derive(Debug, Clone, Default)]
pub struct PairSettings<'a> {
    /// Thresholds τ of the hard counts N_τ.
    pub hard: Vec<f64>,
    /// Exponents α of the positive-power counts N_α.
    pub power: Vec<f64>,
    /// Labels of the set, to be summed with the same weights max(0, k)^α.
    pub quantity: Option<Quantity<'a>>,
    /// How many of the nearest with the query's own class, and with another, are kept. Needs classes
    /// for a quantity.
    pub nearest: usize,
    /// Classes of the queries, where they are not the set's own.
    pub query_classes: Option<&'a [usize]>,
    /// Meet a sample of the set only, and estimate.
    pub sample: Option<Sample>,
}

/// Sums over all pairs, one entry per query. Where queries are the set's own examples, each counts
/// itself, as the definitions say; [`PairStatistics::own`] is what to take off.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PairStatistics {
    /// k(i, i), where queries are the set's own examples; empty else. Zero for undefined queries.
    pub own: Vec<f64>,
    /// Σ_j k(i, j).
    pub soft: Vec<f64>,
    /// Σ_j k(i, j)².
    pub squares: Vec<f64>,
    /// N_τ(i) = #{j : k(i, j) ≥ τ}, for each threshold.
    pub hard: Vec<Vec<f64>>,
    /// N_α(i) = Σ_j max(0, k(i, j))^α, for each exponent.
    pub power: Vec<Vec<f64>>,
    /// Σ_j max(0, k(i, j))^α a_j for each exponent, `[queries, width]`; empty without a quantity.
    pub weighted: Vec<Vec<f64>>,
    /// Σ_j max(0, k(i, j))^α |a_j|² for each exponent; empty without a quantity.
    pub weighted_squares: Vec<Vec<f64>>,
    /// The nearest of the query's class, most similar first, without the query itself.
    pub agreeing: Vec<Vec<Neighbor>>,
    /// The nearest of other classes.
    pub disagreeing: Vec<Vec<Neighbor>>,
    /// Standard errors of the estimates above, where a sample was drawn; empty else.
    pub errors: Option<StandardErrors>,
    /// Queries that have no similarity.
    pub undefined_queries: Undefined,
    /// Examples of the set (or of its sample) that have no similarity and are in no sum.
    pub undefined: Undefined,
}

/// Standard errors of sums that were estimated from a sample, one entry per query.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct StandardErrors {
    /// Of [`PairStatistics::soft`].
    pub soft: Vec<f64>,
    /// Of [`PairStatistics::squares`].
    pub squares: Vec<f64>,
    /// Of [`PairStatistics::hard`].
    pub hard: Vec<Vec<f64>>,
    /// Of [`PairStatistics::power`].
    pub power: Vec<Vec<f64>>,
}

impl PairStatistics {
    /// The denoising factor D = √(Σ_j k²) / |Σ_j k| of each query: independent noise of deviation σ
    /// on the set's labels reaches their kernel average as σ·D (METHOD section 3). `None` where the
    /// sum vanishes, as it does for undefined queries.
    pub fn denoising_factors(&self) -> Vec<Option<f64>> {
        let factor = |(soft, squares): (&f64, &f64)| {
            let factor = squares.sqrt() / soft.abs();
            factor.is_finite().then_some(factor)
        };
        self.soft.iter().zip(&self.squares).map(factor).collect()
    }

    /// Labels averaged with the weights max(0, k)^α of exponent number `alpha`, `[queries, width]`:
    /// `None` for a query all of whose weights are zero. Without the queries' own labels where
    /// `without` gives them.
    pub fn averaged(
        &self,
        alpha: usize,
        exponent: f64,
        without: Option<Quantity>,
    ) -> Vec<Option<Vec<f64>>> {
        let queries = self.soft.len();
        let width = self.weighted[alpha].len() / queries.max(1);
        let average = |i: usize| {
            let sums = &self.weighted[alpha][i * width..(i + 1) * width];
            let mut total = self.power[alpha][i];
            let mut sums = sums.to_vec();
            if let Some(own) = without {
                let weight = self.own[i].max(0.0).powf(exponent);
                total -= weight;
                sums.iter_mut().enumerate().for_each(|(c, s)| *s -= weight * own.get(i, c));
            }
            (total > 1e-9 * self.power[alpha][i].max(f64::MIN_POSITIVE))
                .then(|| sums.iter().map(|s| s / total).collect())
        };
        (0..queries).map(average).collect()
    }
}

impl Similarity<'_> {
    /// Sums over all pairs of `queries` (or the set's own examples) and `set`.
    ///
    /// # Errors
    /// With `Reduction::Matrix`; where a threshold is no similarity, an exponent not positive, labels
    /// do not fit; where a sample is asked for of another kind than correlation; where `watch` returns
    /// false.
    pub fn pair_statistics(
        &self,
        set: &dyn Examples,
        queries: Option<&dyn Examples>,
        settings: &PairSettings,
        watch: Watch,
    ) -> Result<PairStatistics> {
        self.check_pairs(set, queries, settings)?;
        match self.network().precision() {
            Precision::F32 => self.pair_statistics_in::<f32>(set, queries, settings, watch),
            Precision::F64 => self.pair_statistics_in::<f64>(set, queries, settings, watch),
        }
    }

    fn check_pairs(
        &self,
        set: &dyn Examples,
        queries: Option<&dyn Examples>,
        settings: &PairSettings,
    ) -> Result<()> {
        let refuse = |message: String| Err(Error::Usage(message));
        let kind = self.settings().kind;
        if self.settings().reduction == Reduction::Matrix {
            return refuse(
                "counts need one number per pair; use --reduce trace or rotation".into(),
            );
        }
        for tau in &settings.hard {
            let inside = kind == Kind::Inner || (-1.0..=1.0).contains(tau);
            if !tau.is_finite() || !inside {
                return refuse(format!("the threshold {tau} is no similarity, which is -1 to 1"));
            }
        }
        for alpha in &settings.power {
            if !alpha.is_finite() || *alpha <= 0.0 {
                return refuse(format!("the exponent {alpha} is not a positive number"));
            }
        }
        if let Some(quantity) = settings.quantity {
            quantity.check(set.len(), set.name())?;
        }
        if let (Some(classes), Some(queries)) = (settings.query_classes, queries)
            && classes.len() != queries.len()
        {
            let (name, n) = (queries.name(), queries.len());
            return refuse(format!("{name} has {} labels for {n} examples", classes.len()));
        }
        if let Some(sample) = settings.sample {
            if kind != Kind::Correlation {
                return refuse("a sample serves correlations only (--kind correlation)".into());
            }
            if sample.size < 2 {
                return refuse("a sample needs at least 2 examples".into());
            }
        }
        Ok(())
    }

    fn pair_statistics_in<T: Number>(
        &self,
        set: &dyn Examples,
        queries: Option<&dyn Examples>,
        settings: &PairSettings,
        watch: Watch,
    ) -> Result<PairStatistics> {
        let rows = queries.unwrap_or(set);
        let subset = settings.sample.filter(|s| s.size < set.len());
        let subset = subset.map(|sample| Subset::draw(set, sample.size, sample.seed));
        let columns = match &subset {
            Some(subset) => Some(subset as &dyn Examples),
            None => queries.map(|_| set),
        };
        let of_column = |j: usize| subset.as_ref().map_or(j, |subset| subset.indices[j]);
        let with_self = queries.is_none();
        let tallies: Vec<Mutex<Tally>> =
            (0..rows.len()).map(|_| Mutex::new(Tally::new(settings, subset.is_some()))).collect();
        let visit = |tile: &Tile<T>| {
            tile.meet(&|query, found| {
                let Ok(mut tally) = tallies[query].lock() else { return };
                // A sample's columns are numbered among themselves. Its tiles are never mirrored.
                for (j, similarity) in found.map(|(j, similarity)| (of_column(j), similarity)) {
                    match with_self && j == query {
                        true => tally.own = Some(similarity),
                        false => tally.add(settings, query, j, similarity),
                    }
                }
            });
            Ok(())
        };
        let budget = self.settings().memory;
        let (undefined_queries, undefined) = self.visit(rows, columns, budget, watch, &visit)?;
        let mut result = PairStatistics { undefined_queries, undefined, ..Default::default() };
        result.prepare(settings, subset.is_some());
        let sampled = subset.as_ref().map(|subset| subset.indices.as_slice());
        for (i, tally) in tallies.into_iter().enumerate() {
            let tally = tally.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
            let defined = !result.undefined_queries.contains(i);
            let own = (with_self && defined).then(|| tally.own.unwrap_or(1.0));
            // How many others there are, and how many of them were met.
            let others = set.len() - usize::from(with_self);
            let met = sampled.map(|indices| {
                let inside = with_self && indices.binary_search(&i).is_ok();
                indices.len() - usize::from(inside)
            });
            result.push(settings, i, tally, own, with_self, others, met);
        }
        Ok(result)
    }
}

/// Sums of one query over the others.
struct Tally {
    own: Option<f64>,
    soft: Sum,
    squares: Sum,
    hard: Vec<Sum>,
    power: Vec<Sum>,
    weighted: Vec<Vec<f64>>,
    weighted_squares: Vec<f64>,
    agreeing: Best,
    disagreeing: Best,
}

/// Σ x and, for an estimate's standard error, Σ x².
#[derive(Debug, Clone, Copy, Default)]
struct Sum {
    value: f64,
    squares: f64,
    sampled: bool,
}

impl Sum {
    fn add(&mut self, x: f64) {
        self.value += x;
        if self.sampled {
            self.squares += x * x;
        }
    }

    /// The same where x is 0 or 1. A sample of equals has no variance, which would claim certainty: one
    /// success and one failure more are assumed (Agresti and Coull).
    fn estimate_count(&self, others: usize, met: usize) -> (f64, f64) {
        let (n, m) = (others as f64, met as f64);
        let share = (self.value + 1.0) / (m + 2.0);
        let error = n * (share * (1.0 - share) / (m + 2.0) * (1.0 - m / n).max(0.0)).sqrt();
        (n * self.value / m.max(1.0), error)
    }

    /// The estimate of the sum over `others` examples from the `met` that were drawn without
    /// replacement, and its standard error (with the correction for a finite population).
    fn estimate(&self, others: usize, met: usize) -> (f64, f64) {
        let (n, m) = (others as f64, met as f64);
        if met < 2 {
            return (self.value * n / m.max(1.0), f64::INFINITY);
        }
        let mean = self.value / m;
        let variance = ((self.squares - m * mean * mean) / (m - 1.0)).max(0.0);
        (n * mean, n * (variance / m * (1.0 - m / n).max(0.0)).sqrt())
    }
}

impl Tally {
    fn new(settings: &PairSettings, sampled: bool) -> Self {
        let sum = Sum { sampled, ..Sum::default() };
        let width = settings.quantity.map_or(0, |q| q.width());
        let powers = settings.power.len();
        Self {
            own: None,
            soft: sum,
            squares: sum,
            hard: vec![sum; settings.hard.len()],
            power: vec![sum; powers],
            weighted: vec![vec![0.0; width]; powers],
            weighted_squares: vec![0.0; powers],
            agreeing: Best::new(settings.nearest),
            disagreeing: Best::new(settings.nearest),
        }
    }

    fn add(&mut self, settings: &PairSettings, query: usize, example: usize, similarity: f64) {
        self.soft.add(similarity);
        self.squares.add(similarity * similarity);
        for (sum, tau) in self.hard.iter_mut().zip(&settings.hard) {
            sum.add(f64::from(u8::from(similarity >= *tau)));
        }
        for (at, alpha) in settings.power.iter().enumerate() {
            let weight = positive_power(similarity, *alpha);
            self.power[at].add(weight);
            match settings.quantity {
                Some(Quantity::Classes { ids, .. }) => {
                    self.weighted[at][ids[example]] += weight;
                    self.weighted_squares[at] += weight;
                }
                Some(Quantity::Numbers { values, width }) => {
                    let own = &values[example * width..(example + 1) * width];
                    let sums = self.weighted[at].iter_mut().zip(own);
                    sums.for_each(|(sum, a)| *sum += weight * a);
                    self.weighted_squares[at] += weight * own.iter().map(|a| a * a).sum::<f64>();
                }
                None => {}
            }
        }
        if settings.nearest > 0
            && let Some(Quantity::Classes { ids, .. }) = settings.quantity
        {
            let own = settings.query_classes.map_or(ids[query.min(ids.len() - 1)], |q| q[query]);
            let best = if ids[example] == own { &mut self.agreeing } else { &mut self.disagreeing };
            best.offer(Neighbor { example, similarity });
        }
    }
}

/// max(0, k)^α.
fn positive_power(similarity: f64, alpha: f64) -> f64 {
    let positive = similarity.max(0.0);
    match alpha.fract() == 0.0 && alpha <= 64.0 {
        true => positive.powi(alpha as i32),
        false => positive.powf(alpha),
    }
}

impl PairStatistics {
    fn prepare(&mut self, settings: &PairSettings, sampled: bool) {
        let powers = settings.power.len();
        self.hard = vec![Vec::new(); settings.hard.len()];
        self.power = vec![Vec::new(); powers];
        if settings.quantity.is_some() {
            self.weighted = vec![Vec::new(); powers];
            self.weighted_squares = vec![Vec::new(); powers];
        }
        self.errors = sampled.then(|| StandardErrors {
            hard: self.hard.clone(),
            power: self.power.clone(),
            ..StandardErrors::default()
        });
    }

    /// Take one query's tally over: scale it up where it is a sample's, and add its own share.
    #[allow(clippy::too_many_arguments)]
    fn push(
        &mut self,
        settings: &PairSettings,
        query: usize,
        tally: Tally,
        own: Option<f64>,
        with_self: bool,
        others: usize,
        met: Option<usize>,
    ) {
        let whole = |sum: Sum, share: &dyn Fn(f64) -> f64| {
            let own = own.map_or(0.0, share);
            match met {
                None => (sum.value + own, 0.0),
                Some(met) => {
                    let (value, error) = sum.estimate(others, met);
                    (value + own, error)
                }
            }
        };
        let factor = met.map_or(1.0, |met| others as f64 / (met as f64).max(1.0));
        let (soft, soft_error) = whole(tally.soft, &|k| k);
        let (squares, squares_error) = whole(tally.squares, &|k| k * k);
        self.soft.push(soft);
        self.squares.push(squares);
        let mut errors = (Vec::new(), Vec::new());
        for (at, sum) in tally.hard.into_iter().enumerate() {
            let tau = settings.hard[at];
            let own = own.map_or(0.0, |k| f64::from(u8::from(k >= tau)));
            let (value, error) =
                met.map_or((sum.value, 0.0), |met| sum.estimate_count(others, met));
            self.hard[at].push(value + own);
            errors.0.push(error);
        }
        for (at, sum) in tally.power.into_iter().enumerate() {
            let alpha = settings.power[at];
            let (value, error) = whole(sum, &|k| positive_power(k, alpha));
            self.power[at].push(value);
            errors.1.push(error);
            let Some(quantity) = settings.quantity else { continue };
            let weight = own.map_or(0.0, |k| positive_power(k, alpha));
            let own = |c: usize| if with_self { quantity.get(query, c) } else { 0.0 };
            let mut square = factor * tally.weighted_squares[at];
            for (c, sum) in tally.weighted[at].iter().enumerate() {
                self.weighted[at].push(factor * sum + weight * own(c));
                square += weight * own(c) * own(c);
            }
            self.weighted_squares[at].push(square);
        }
        if let Some(all) = &mut self.errors {
            all.soft.push(soft_error);
            all.squares.push(squares_error);
            all.hard.iter_mut().zip(errors.0).for_each(|(list, error)| list.push(error));
            all.power.iter_mut().zip(errors.1).for_each(|(list, error)| list.push(error));
        }
        if with_self {
            self.own.push(own.unwrap_or(0.0));
        }
        if settings.nearest > 0 {
            self.agreeing.push(tally.agreeing.sorted());
            self.disagreeing.push(tally.disagreeing.sorted());
        }
    }
}

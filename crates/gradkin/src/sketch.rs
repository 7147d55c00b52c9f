//! Random projections of gradients, taken from the factors: one short vector per example whose inner
//! products are, on average, the similarities.
//!
//! An outer product is projected without being written out: with rows r of random signs over a's
//! index and s over δ's, ⟨r, a⟩⟨s, δ⟩ has the right mean product with another's, so
//! m^−½ (R a) ∘ (S δ) summed over positions is a sketch of Σ δ ⊗ a. Its inner products have a
//! standard error of about √(3/m) times the product of the norms, per term.

use std::hash::{DefaultHasher, Hash, Hasher};

use gradkin_network::Precision;
use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::examples::Examples;
use crate::features::{Arrays, Recipe, Side, Swept};
use crate::kernel::Similarity;
use crate::number::{Into, Number, product_abt};
use crate::plan::Purpose;
use crate::progress::{Counter, Stage, Watch};
use crate::similarity::{Kind, Reduction};

impl Similarity<'_> {
    /// Sketches `[N, size]` of all examples, row by row: ⟨sketch i, sketch j⟩ estimates the
    /// trace-reduced similarity of i and j without bias. Equal seeds give equal projections.
    ///
    /// # Errors
    /// Where the reduction is not the trace or the kind is influence (it is not symmetric), where the
    /// examples do not fit the network, and where `watch` returns false.
    pub fn sketches(
        &self,
        examples: &dyn Examples,
        size: usize,
        seed: u64,
        watch: Watch,
    ) -> Result<Vec<f64>> {
        let settings = self.settings();
        if settings.reduction != Reduction::Trace || settings.kind == Kind::Influence {
            return Err(Error::Usage(
                "sketches estimate trace-reduced inner products and correlations only".into(),
            ));
        }
        match self.network().precision() {
            Precision::F32 => self.sketches_in::<f32>(examples, size, seed, watch),
            Precision::F64 => self.sketches_in::<f64>(examples, size, seed, watch),
        }
    }

    fn sketches_in<T: Number>(
        &self,
        examples: &dyn Examples,
        size: usize,
        seed: u64,
        watch: Watch,
    ) -> Result<Vec<f64>> {
        let recipe = self.recipe(Purpose::Sums(1))?;
        let (layout, ..) = recipe.layout();
        let signs = Signs::<T>::new(&recipe, &layout, size, seed);
        let counter = Counter::new(watch, Stage::Sweep, examples.len() as u64);
        let mut sketches = vec![0.0; examples.len() * size];
        let step = recipe.micro_batch();
        sketches.par_chunks_mut(step * size).enumerate().try_for_each(|(chunk, target)| {
            let range = chunk * step..chunk * step + target.len() / size;
            let count = range.len();
            let swept = Swept::<T>::new(&recipe, examples, &layout, Side::Row, None, range)?;
            for (b, target) in
                target.chunks_mut(size).enumerate().filter(|(b, _)| swept.state(*b).1)
            {
                signs.project(&layout, &swept, b, target);
            }
            counter.add(count as u64)
        })?;
        Ok(sketches)
    }
}

/// Random signs for every component: `[size, inner]` for a and for δ.
struct Signs<T> {
    size: usize,
    width: usize,
    arrays: Vec<Vec<[Vec<T>; 2]>>,
}

impl<T: Number> Signs<T> {
    fn new(recipe: &Recipe, layout: &[Arrays], size: usize, seed: u64) -> Self {
        let d = recipe.width();
        let draw = |component: usize, group: usize, side: u8, inner: usize| -> Vec<T> {
            signs(&(seed, component, group, side), size * inner)
        };
        let arrays = layout
            .iter()
            .zip(&recipe.plan)
            .enumerate()
            .map(|(k, (arrays, planned))| match arrays {
                Arrays::Dense { len, .. } => vec![[Vec::new(), draw(k, 0, 1, d * len)]],
                Arrays::Factored { groups, input, cotangent, .. } => (0..groups.len())
                    .map(|g| [draw(k, g, 0, *input), draw(k, g, 1, d * cotangent)])
                    .collect(),
                Arrays::Rows { width, .. } => {
                    let rows = planned.shape.weights() / width.max(&1);
                    vec![[draw(k, 0, 0, rows), draw(k, 0, 1, d * width)]]
                }
            })
            .collect();
        Self { size, width: d, arrays }
    }

    /// Add one example's sketch to `target`.
    fn project(&self, layout: &[Arrays], swept: &Swept<T>, b: usize, target: &mut [f64]) {
        let (m, d) = (self.size, self.width);
        let scale = (m as f64).sqrt().recip();
        for (component, arrays) in layout.iter().enumerate() {
            let delta = swept.mapped(component, b, d);
            let signs = &self.arrays[component];
            match arrays {
                Arrays::Dense { len, .. } => {
                    let mut projected = vec![T::default(); m];
                    product_abt(
                        (1, m, d * len),
                        &delta,
                        &signs[0][1],
                        &mut projected,
                        Into::Replace,
                    );
                    target.iter_mut().zip(&projected).for_each(|(s, x)| *s += scale * x.to_f64());
                }
                Arrays::Factored { groups, positions, input, cotangent, .. } => {
                    let (t, p, q) = (*positions, *input, *cotangent);
                    for (g, [left_signs, right_signs]) in signs.iter().enumerate() {
                        let a = &swept.input(component, b)[g * t * p..(g + 1) * t * p];
                        let delta = by_position(&delta, (d, groups.len(), t, q), g);
                        let (mut left, mut right) =
                            (vec![T::default(); t * m], vec![T::default(); t * m]);
                        product_abt((t, m, p), a, left_signs, &mut left, Into::Replace);
                        product_abt((t, m, d * q), &delta, right_signs, &mut right, Into::Replace);
                        for (i, (x, y)) in left.iter().zip(&right).enumerate() {
                            target[i % m] += scale * x.to_f64() * y.to_f64();
                        }
                    }
                }
                Arrays::Rows { positions, width, .. } => {
                    let rows = signs[0][0].len() / m;
                    let delta = by_position(&delta, (d, 1, *positions, *width), 0);
                    let mut right = vec![T::default(); positions * m];
                    product_abt(
                        (*positions, m, d * width),
                        &delta,
                        &signs[0][1],
                        &mut right,
                        Into::Replace,
                    );
                    for (t, row) in swept.index(component, b).iter().enumerate() {
                        for i in 0..m {
                            let sign = signs[0][0][i * rows + *row as usize].to_f64();
                            target[i] += scale * sign * right[t * m + i].to_f64();
                        }
                    }
                }
            }
        }
    }
}

/// δ of one group, `[d, G, T, q]` → `[T, d·q]`.
fn by_position<T: Number>(
    delta: &[T],
    (d, groups, t_count, q): (usize, usize, usize, usize),
    g: usize,
) -> Vec<T> {
    let mut result = Vec::with_capacity(d * t_count * q);
    for t in 0..t_count {
        for c in 0..d {
            let at = ((c * groups + g) * t_count + t) * q;
            result.extend_from_slice(&delta[at..at + q]);
        }
    }
    result
}

/// Reproducible random signs: bits of SplitMix64 started from a hash of the key.
fn signs<T: Number>(key: &impl Hash, count: usize) -> Vec<T> {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    let mut state = hasher.finish();
    let mut next = move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    let mut result = Vec::with_capacity(count + 63);
    while result.len() < count {
        let bits = next();
        result.extend((0..64).map(|i| T::from_f64(if bits >> i & 1 == 0 { 1.0 } else { -1.0 })));
    }
    result.truncate(count);
    result
}

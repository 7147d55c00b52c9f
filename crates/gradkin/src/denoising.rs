//! How far independent label noise is averaged away where weights are matrices (METHOD section 3):
//! A_i = (Σ K)⁻¹ K(j, i), and the covariance factor D_j² = Σ_i A_i A_iᵀ.

use std::sync::Mutex;

use faer::Mat;
use gradkin_network::Precision;

use crate::averages::{Averages, State, tolerance};
use crate::error::{Error, Result};
use crate::examples::Examples;
use crate::features::Side;
use crate::kernel::{Similarity, Tile, Undefined};
use crate::number::{Into, Number, product_abt};
use crate::progress::Watch;
use crate::similarity::Reduction;

/// Denoising factors of networks with several outputs.
#[derive(Debug, Clone, PartialEq)]
pub struct Denoising {
    /// D_j² per query, `[queries, d, d]`: noise of covariance σ² I on the set's labels reaches their
    /// kernel average with covariance σ² D_j². Zero where the state is not fine.
    pub covariances: Vec<f64>,
    /// √(Tr D_j² / d): the factor of one output, on average.
    pub factors: Vec<f64>,
    /// Ratio of the largest to the smallest singular value of Σ_i K(j, i) that is not numerically
    /// zero.
    pub conditions: Vec<f64>,
    /// Whether each factor can be relied on.
    pub states: Vec<State>,
    /// Queries that have no similarity.
    pub undefined_queries: Undefined,
    /// Examples of the set that have no similarity.
    pub undefined: Undefined,
}

impl Similarity<'_> {
    /// D_j² over all pairs of `queries` (or the set's own examples) and `set`; the reduction must be
    /// matrices.
    ///
    /// # Errors
    /// Where another reduction is set, where the examples do not fit the network, and where `watch`
    /// returns false.
    pub fn denoising(
        &self,
        set: &dyn Examples,
        queries: Option<&dyn Examples>,
        watch: Watch,
    ) -> Result<Denoising> {
        if self.settings().reduction != Reduction::Matrix {
            return Err(Error::Usage(
                "covariance factors need matrices (--reduce none); with one number per pair the \
                 factor is the root of the sum of squares over the sum"
                    .into(),
            ));
        }
        match self.network().precision() {
            Precision::F32 => self.denoising_in::<f32>(set, queries, watch),
            Precision::F64 => self.denoising_in::<f64>(set, queries, watch),
        }
    }

    fn denoising_in<T: Number>(
        &self,
        set: &dyn Examples,
        queries: Option<&dyn Examples>,
        watch: Watch,
    ) -> Result<Denoising> {
        let d = self.outputs()?;
        let rows = queries.unwrap_or(set);
        // Σ_i K(j, i) and Σ_i K(j, i) K(j, i)ᵀ.
        let sums: Vec<Mutex<[Vec<f64>; 2]>> =
            (0..rows.len()).map(|_| Mutex::new([vec![0.0; d * d], vec![0.0; d * d]])).collect();
        let add = |query: usize, pair: &[f64]| {
            let Ok(mut sums) = sums[query].lock() else { return };
            let [sum, squares] = &mut *sums;
            sum.iter_mut().zip(pair).for_each(|(s, k)| *s += k);
            product_abt((d, d, d), pair, pair, squares, Into::Add);
        };
        let visit = |tile: &Tile<T>| {
            let width = tile.columns.len();
            for (row, i) in tile.rows.clone().enumerate() {
                for (col, j) in tile.columns.clone().enumerate() {
                    if (tile.undefined)(i, Side::Row) || (tile.undefined)(j, Side::Column) {
                        continue;
                    }
                    let pair = &tile.values[(row * width + col) * d * d..][..d * d];
                    let pair: Vec<f64> = pair.iter().map(|k| k.to_f64()).collect();
                    add(i, &pair);
                    if tile.mirrored {
                        let turned = |at: usize| pair[at % d * d + at / d];
                        add(j, &(0..d * d).map(turned).collect::<Vec<f64>>());
                    }
                }
            }
            Ok(())
        };
        let columns = queries.map(|_| set);
        let budget = self.settings().memory;
        let (undefined_queries, undefined) = self.visit(rows, columns, budget, watch, &visit)?;
        let tolerance = tolerance(self.network().precision());
        let mut result = Denoising {
            covariances: Vec::new(),
            factors: Vec::new(),
            conditions: Vec::new(),
            states: Vec::new(),
            undefined_queries,
            undefined,
        };
        for (j, sums) in sums.into_iter().enumerate() {
            let [sum, squares] = sums.into_inner().unwrap_or_else(|p| p.into_inner());
            let undefined = result.undefined_queries.contains(j);
            let found = if undefined { None } else { covariance(&sum, &squares, d, tolerance) };
            let (state, condition, covariance) = match found {
                None if undefined => (State::Undefined, f64::INFINITY, vec![0.0; d * d]),
                Some((covariance, condition)) if condition <= Averages::WORST_CONDITION => {
                    (State::Fine, condition, covariance)
                }
                found => {
                    let condition = found.map_or(f64::INFINITY, |f| f.1);
                    (State::Unstable, condition, vec![0.0; d * d])
                }
            };
            let trace: f64 = (0..d).map(|c| covariance[c * d + c]).sum();
            result.factors.push((trace / d as f64).max(0.0).sqrt());
            result.covariances.extend(covariance);
            result.conditions.push(condition);
            result.states.push(state);
        }
        Ok(result)
    }
}

/// M⁺ Q M⁺ᵀ and the condition of M; `None` where M vanishes.
fn covariance(sum: &[f64], squares: &[f64], d: usize, tolerance: f64) -> Option<(Vec<f64>, f64)> {
    let sum = Mat::from_fn(d, d, |a, b| sum[a * d + b]);
    let squares = Mat::from_fn(d, d, |a, b| squares[a * d + b]);
    let svd = sum.svd().ok()?;
    let (u, s, v) = (svd.U(), svd.S(), svd.V());
    let top = (0..d).map(|k| s[k]).fold(0.0, f64::max);
    let kept: Vec<usize> = (0..d).filter(|k| s[*k] > 0.0 && s[*k] > tolerance * top).collect();
    let least = kept.iter().map(|k| s[*k]).min_by(f64::total_cmp)?;
    let inverse = Mat::from_fn(d, d, |a, b| {
        kept.iter().map(|k| v[(a, *k)] * u[(b, *k)] / s[*k]).sum::<f64>()
    });
    let product = &inverse * &squares * inverse.transpose();
    let values = (0..d * d).map(|at| product[(at / d, at % d)]).collect();
    Some((values, top / least))
}

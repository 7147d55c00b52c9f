//! Inner products between two blocks of examples, component by component, each in its planned form.

use std::ops::Range;

use crate::features::{Arrays, Features};
use crate::number::{Into, Number, add_product_aat, product_abt};

/// Entries of the intermediate products of the factored form that are held at once, so that they
/// stay in the second-level cache.
const SCRATCH: usize = 1 << 17;

/// Columns of arrays in 16 bits that are widened at once.
const WIDENED: usize = 1024;

/// What does not change from tile to tile.
pub(crate) struct Products<'a> {
    pub(crate) layout: &'a [Arrays],
    /// d.
    pub(crate) outputs: usize,
    /// Whether traces are wanted, rather than d×d matrices.
    pub(crate) trace: bool,
}

impl Products<'_> {
    /// Rows that one example takes in a tile.
    pub(crate) fn rows(&self) -> usize {
        if self.trace { 1 } else { self.outputs }
    }

    /// The tile of examples `i` of `left` and `j` of `right`: `[|i|·rows, |j|·rows]`. Of the same examples
    /// twice it holds the lower triangle only.
    pub(crate) fn tile<T: Number>(
        &self,
        left: &Features<T>,
        i: Range<usize>,
        right: &Features<T>,
        j: Range<usize>,
    ) -> Vec<T> {
        let mut out = vec![T::default(); i.len() * j.len() * self.rows() * self.rows()];
        let symmetric = std::ptr::eq(left, right) && i == j;
        for arrays in self.layout {
            match arrays {
                Arrays::Dense { array, len } => {
                    let k = if self.trace { self.outputs * len } else { *len };
                    let (m, n) = (i.len() * self.rows(), j.len() * self.rows());
                    let mut add = |k: usize, a: &[T], b: &[T]| {
                        if symmetric {
                            add_product_aat((m, k), a, &mut out);
                        } else {
                            product_abt((m, n, k), a, b, &mut out, Into::Add);
                        }
                    };
                    let Some((a, b)) = left.packed.get(*array).zip(right.packed.get(*array)) else {
                        let (a, b) = (left.part(*array, i.clone()), right.part(*array, j.clone()));
                        add(k, &a, &b);
                        continue;
                    };
                    for first in (0..k).step_by(WIDENED) {
                        let columns = first..(first + WIDENED).min(k);
                        let a: Vec<T> = a.read(i.clone(), self.rows(), columns.clone());
                        let b = if symmetric {
                            Vec::new()
                        } else {
                            b.read(j.clone(), self.rows(), columns.clone())
                        };
                        add(columns.len(), &a, &b);
                    }
                }
                // Written out for many tiles at once.
                Arrays::Factored { deferred: true, .. } => {}
                Arrays::Factored {
                    groups, positions, input, cotangent, deferred: false, ..
                } => {
                    for [a, delta] in groups {
                        let factored = Factored {
                            rows: self.rows(),
                            positions: *positions,
                            input: *input,
                            cotangent: cotangent * self.outputs / self.rows(),
                        };
                        let arrays = (*a, *delta);
                        factored.add(arrays, (left, i.clone()), (right, j.clone()), &mut out);
                    }
                }
                Arrays::Rows { index, array, positions, width } => {
                    let rows = Rows {
                        outputs: self.outputs,
                        trace: self.trace,
                        positions: *positions,
                        width: *width,
                    };
                    let (a, b) = (left.part(*array, i.clone()), right.part(*array, j.clone()));
                    let cut = |features: &'_ Features<T>, examples: &Range<usize>| {
                        let index = &features.indices[*index];
                        index[examples.start * positions..examples.end * positions].to_vec()
                    };
                    let (of_left, of_right) = (cut(left, &i), cut(right, &j));
                    rows.add((&of_left, &a), (&of_right, &b), (i.len(), j.len()), &mut out);
                }
            }
        }
        out
    }
}

/// Σ_{t,t'} (a_t · a'_t') (δ_t · δ'_t') for one group.
struct Factored {
    rows: usize,
    positions: usize,
    input: usize,
    cotangent: usize,
}

impl Factored {
    /// With a and δ in these arrays.
    fn add<T: Number>(
        &self,
        arrays: (usize, usize),
        (left, i): (&Features<T>, Range<usize>),
        (right, j): (&Features<T>, Range<usize>),
        out: &mut [T],
    ) {
        let columns = j.len() * self.rows;
        // Sub-tiles whose intermediate products fit the cache.
        let per_pair = (self.positions * self.rows) * (self.positions * self.rows);
        let side = ((SCRATCH / per_pair.max(1)) as f64).sqrt() as usize;
        let side = side.clamp(1, 256);
        let (mut inner, mut outer) = (Vec::new(), Vec::new());
        for i0 in i.clone().step_by(side) {
            let i1 = (i0 + side).min(i.end);
            for j0 in j.clone().step_by(side) {
                let j1 = (j0 + side).min(j.end);
                let made = (&mut inner, &mut outer);
                self.products(arrays, (left, i0..i1), (right, j0..j1), made);
                let at = (i0 - i.start) * self.rows * columns + (j0 - j.start) * self.rows;
                self.combine(&inner, &outer, (i1 - i0, j1 - j0), &mut out[at..], columns);
            }
        }
    }

    /// a·a' `[ni·T, nj·T]` and δ·δ' `[ni·rows·T, nj·rows·T]`.
    fn products<T: Number>(
        &self,
        (a, delta): (usize, usize),
        (left, i): (&Features<T>, Range<usize>),
        (right, j): (&Features<T>, Range<usize>),
        (inner, outer): (&mut Vec<T>, &mut Vec<T>),
    ) {
        let (t, p, q) = (self.positions, self.input, self.cotangent);
        let (m, n) = (i.len() * t, j.len() * t);
        inner.resize(m * n, T::default());
        let (of_left, of_right) = (left.part(a, i.clone()), right.part(a, j.clone()));
        product_abt((m, n, p), &of_left, &of_right, inner, Into::Replace);
        let (m, n) = (m * self.rows, n * self.rows);
        outer.resize(m * n, T::default());
        let (of_left, of_right) = (left.part(delta, i), right.part(delta, j));
        product_abt((m, n, q), &of_left, &of_right, outer, Into::Replace);
    }

    /// out[(i,c),(j,e)] += Σ_{t,u} inner[(i,t),(j,u)] · outer[(i,c,t),(j,e,u)].
    fn combine<T: Number>(
        &self,
        inner: &[T],
        outer: &[T],
        (ni, nj): (usize, usize),
        out: &mut [T],
        columns: usize,
    ) {
        let (t_count, rows) = (self.positions, self.rows);
        if t_count == 1 && rows == 1 {
            for (i, (x, y)) in inner.chunks_exact(nj).zip(outer.chunks_exact(nj)).enumerate() {
                let target = &mut out[i * columns..i * columns + nj];
                for ((target, x), y) in target.iter_mut().zip(x).zip(y) {
                    *target += *x * *y;
                }
            }
            return;
        }
        let (inner_width, outer_width) = (nj * t_count, nj * rows * t_count);
        for i in 0..ni {
            for c in 0..rows {
                let target = &mut out[(i * rows + c) * columns..][..nj * rows];
                for t in 0..t_count {
                    let x = &inner[(i * t_count + t) * inner_width..][..inner_width];
                    let y = &outer[((i * rows + c) * t_count + t) * outer_width..][..outer_width];
                    for j in 0..nj {
                        let x = &x[j * t_count..(j + 1) * t_count];
                        for e in 0..rows {
                            let y = &y[(j * rows + e) * t_count..][..t_count];
                            let sum: T = x.iter().zip(y).map(|(x, y)| *x * *y).sum();
                            target[j * rows + e] += sum;
                        }
                    }
                }
            }
        }
    }
}

/// Σ over positions of two examples that name the same row of the table.
struct Rows {
    outputs: usize,
    trace: bool,
    positions: usize,
    width: usize,
}

impl Rows {
    fn add<T: Number>(
        &self,
        left: (&[i64], &[T]),
        right: (&[i64], &[T]),
        (ni, nj): (usize, usize),
        out: &mut [T],
    ) {
        let rows = if self.trace { 1 } else { self.outputs };
        let columns = nj * rows;
        let t_count = self.positions;
        // Which positions of the right block name a row, so that each left row asks once.
        let mut named: std::collections::HashMap<i64, Vec<(usize, usize)>> = Default::default();
        for col in 0..nj {
            for u in 0..t_count {
                named.entry(right.0[col * t_count + u]).or_default().push((col, u));
            }
        }
        for row in 0..ni {
            for t in 0..t_count {
                let Some(partners) = named.get(&left.0[row * t_count + t]) else { continue };
                for (col, u) in partners {
                    let target = &mut out[row * rows * columns + col * rows..];
                    self.pair(left.1, (row, t), right.1, (*col, *u), target, columns);
                }
            }
        }
    }

    fn pair<T: Number>(
        &self,
        left: &[T],
        (i, t): (usize, usize),
        right: &[T],
        (j, u): (usize, usize),
        out: &mut [T],
        columns: usize,
    ) {
        let row = |array: &'_ [T], example: usize, c: usize, at: usize| {
            let start = ((example * self.outputs + c) * self.positions + at) * self.width;
            debug_assert!(start + self.width <= array.len());
            start..start + self.width
        };
        let product = |c: usize, e: usize| -> T {
            let (x, y) = (&left[row(left, i, c, t)], &right[row(right, j, e, u)]);
            x.iter().zip(y).map(|(x, y)| *x * *y).sum()
        };
        if self.trace {
            out[0] += (0..self.outputs).map(|c| product(c, c)).sum::<T>();
            return;
        }
        for c in 0..self.outputs {
            for e in 0..self.outputs {
                out[c * columns + e] += product(c, e);
            }
        }
    }
}

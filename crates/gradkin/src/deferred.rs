//! Gradients written out where pairs are taken, slice by slice, for components whose factors are far
//! smaller than their gradients.
//!
//! A slice is a range of the rows and columns of Σ_t δ_t ⊗ a_t, of all examples of a square of pairs: written
//! once, it serves every pair of the square, and the next slice is written over it. Inner products are the
//! sum over slices. A convolution's slice takes whole channels of the image, which are unfolded for it alone.

use std::ops::Range;

use gradkin_network::Windows;
use rayon::prelude::*;

use crate::blocks::even_steps;
use crate::features::{Arrays, Features};
use crate::number::{Into, Number, add_product_aat, product_ab, product_abt, product_atb};

/// Numbers of a gradient's row that a slice has at most. Shorter slices read more of the factors for each number that
/// is written; longer ones lose digits in single precision, where slices are added up in double, and need memory
/// whose first use costs more than the sums. No power of two: the starts of examples would share few places in the
/// cache (a twentieth of the time).
const LONGEST: usize = 8000;

/// Pairs of a square in the making: examples of the left and of the right block, and each product.
pub(crate) struct Part {
    pub(crate) rows: Range<usize>,
    pub(crate) columns: Range<usize>,
    pub(crate) values: Vec<f64>,
}

/// One group of a component.
struct Group {
    /// Where its a and its δ lie among the arrays.
    arrays: [usize; 2],
    positions: usize,
    input: usize,
    /// Numbers of δ at one position that one row of products takes: q, or d·q for the trace.
    width: usize,
    /// Where the image stands in place of a.
    windows: Option<Windows>,
}

/// Part of the gradients of a group.
#[derive(Debug, Clone)]
struct Slice {
    /// Which numbers of δ.
    rows: Range<usize>,
    /// Which numbers of a.
    columns: Range<usize>,
}

impl Slice {
    fn len(&self) -> usize {
        self.rows.len() * self.columns.len()
    }
}

impl Group {
    /// Columns that are not cut apart: those of a channel.
    fn unit(&self) -> usize {
        self.windows.as_ref().map_or(1, Windows::elements).max(1)
    }

    /// Slices of about so many numbers, of rows and columns anywhere; where there are images, columns are cut
    /// at channels.
    ///
    /// Each slice reads δ at all positions for its rows and a for its columns, both from main memory, for other
    /// examples were read in between. Rows and columns are balanced so that the fewest numbers are read for each
    /// that is written.
    fn slices(&self, most: usize) -> Vec<Slice> {
        let unit = self.unit();
        let read = match &self.windows {
            // A channel's pixels, and what windows cover of them, which is laid down.
            Some(windows) => windows.pixels() + unit * self.positions,
            None => self.positions,
        };
        let balanced = (most / unit * read / self.positions.max(1)).isqrt();
        let height = balanced.min(most / unit).max(1);
        let rows: Vec<Range<usize>> = even_steps(0..self.width, height).collect();
        let height = rows.first().map_or(1, Range::len);
        let units = (most / (unit * height)).max(1);
        let mut list = Vec::new();
        for units in even_steps(0..self.input.div_ceil(unit), units) {
            let columns = units.start * unit..(units.end * unit).min(self.input);
            list.extend(rows.iter().cloned().map(|rows| Slice { rows, columns: columns.clone() }));
        }
        list
    }
}

/// The deferred components of a layout.
pub(crate) struct Deferred {
    groups: Vec<Group>,
    /// Rows of products that one example takes: one, or d for matrices.
    rows: usize,
}

impl Deferred {
    pub(crate) fn new(layout: &[Arrays], outputs: usize, trace: bool) -> Self {
        let rows = if trace { 1 } else { outputs };
        let mut list = Vec::new();
        for arrays in layout {
            if let Arrays::Factored {
                groups,
                positions: positions @ 1..,
                input,
                cotangent,
                deferred: true,
                windows,
            } = arrays
            {
                let width = cotangent * outputs / rows;
                let group = |arrays: &[usize; 2]| Group {
                    arrays: *arrays,
                    positions: *positions,
                    input: *input,
                    width,
                    windows: windows.clone(),
                };
                list.extend(groups.iter().map(group));
            }
        }
        Self { groups: list, rows }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// Add the products of examples `i` of `left` and `j` of `right` to the parts that these are cut
    /// into, `same` where both are the same examples of one block; of parts on the diagonal then only the
    /// lower triangle. Slices take about `room` numbers.
    /// After each, `done` hears which share of all is done.
    pub(crate) fn add<T: Number, E: Send>(
        &self,
        (left, i): (&Features<T>, Range<usize>),
        (right, j): (&Features<T>, Range<usize>),
        same: bool,
        room: usize,
        parts: &mut [Part],
        done: &dyn Fn(f64) -> Result<(), E>,
    ) -> Result<(), E> {
        let examples = i.len() + if same { 0 } else { j.len() };
        let whole: usize = self.groups.iter().map(|group| group.width * group.input).sum();
        let mut finished = 0;
        let (mut of_left, mut of_right) = (Vec::new(), Vec::new());
        for group in &self.groups {
            let most = (room / (examples * self.rows).max(1)).min(LONGEST);
            for slice in group.slices(most) {
                self.write(group, left, i.clone(), &slice, &mut of_left);
                if !same {
                    self.write(group, right, j.clone(), &slice, &mut of_right);
                }
                let other = if same { &of_left } else { &of_right };
                let len = slice.len();
                let each = self.rows * len;
                parts.par_iter_mut().for_each_init(Vec::new, |share, part| {
                    let (ni, nj) = (part.rows.len(), part.columns.len());
                    let a = &of_left[(part.rows.start - i.start) * each..][..ni * each];
                    let b = &other[(part.columns.start - j.start) * each..][..nj * each];
                    let (m, n) = (ni * self.rows, nj * self.rows);
                    share.resize(m * n, T::default());
                    if same && part.rows == part.columns {
                        share.fill(T::default());
                        add_product_aat((m, len), a, share);
                    } else {
                        product_abt((m, n, len), a, b, share, Into::Replace);
                    }
                    part.values.iter_mut().zip(&*share).for_each(|(sum, x)| *sum += x.to_f64());
                });
                finished += len;
                done(finished as f64 / whole as f64)?;
            }
        }
        Ok(())
    }

    /// A slice of the gradients of some examples: `[examples, rows, |slice|]`, in an order that is the same for
    /// all of them.
    fn write<T: Number>(
        &self,
        group: &Group,
        features: &Features<T>,
        examples: Range<usize>,
        slice: &Slice,
        out: &mut Vec<T>,
    ) {
        let (t, Slice { rows, columns }) = (group.positions, slice);
        let len = slice.len();
        out.resize(examples.len() * self.rows * len, T::default());
        let writing = out.par_chunks_exact_mut(self.rows * len).zip(examples);
        writing.for_each_init(Vec::new, |unfolded, (out, example)| {
            let [a, delta] = group.arrays;
            let (delta, apart) = features.columns(delta, example, self.rows * t, rows.clone());
            let deltas = delta.chunks(t * apart).zip(out.chunks_exact_mut(len));
            let Some(windows) = &group.windows else {
                let (a, width) = features.columns(a, example, t, columns.clone());
                let shape = (rows.len(), columns.len(), t);
                deltas
                    .for_each(|(delta, out)| product_atb(shape, (delta, apart), (&a, width), out));
                return;
            };
            let channels = columns.start / group.unit()..columns.end / group.unit();
            let pixels = channels.start * windows.pixels()..channels.end * windows.pixels();
            let (image, _) = features.columns(a, example, 1, pixels);
            unfolded.resize(columns.len() * t, T::default());
            windows.unfold(&image, 0..channels.len(), unfolded);
            let shape = (columns.len(), rows.len(), t);
            deltas.for_each(|(delta, out)| product_ab(shape, unfolded, (delta, apart), out));
        });
    }
}

#[cfg(test)]
#[allow(clippy::expect_used)]
pub(crate) mod tests {
    use super::*;

    const POSITIONS: usize = 3;
    const INPUT: usize = 2;
    const COTANGENT: usize = 4;
    const OUTPUTS: usize = 2;
    const EXAMPLES: usize = 5;

    fn features() -> Features<f64> {
        let mut state = 7u64;
        let mut numbers = |width: usize| -> Vec<f64> {
            let mut next = || {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                (state >> 40) as f64 / (1 << 24) as f64 - 0.5
            };
            (0..EXAMPLES * width).map(|_| next()).collect()
        };
        let widths = [POSITIONS * INPUT, POSITIONS * OUTPUTS * COTANGENT];
        let arrays = [widths, widths].concat().into_iter().map(&mut numbers).collect();
        Features {
            count: EXAMPLES,
            arrays,
            packed: Vec::new(),
            indices: Vec::new(),
            ranks: vec![OUTPUTS; EXAMPLES],
            finite: vec![true; EXAMPLES],
            own: Vec::new(),
            maps: Vec::new(),
        }
    }

    /// Row `c` of the gradient of an example, both groups: `[q, p]` each.
    fn gradient(features: &Features<f64>, example: usize, c: usize, trace: bool) -> Vec<f64> {
        let mut all = Vec::new();
        for [a, delta] in [[0, 1], [2, 3]] {
            let a = &features.arrays[a][example * POSITIONS * INPUT..];
            let delta = &features.arrays[delta][example * POSITIONS * OUTPUTS * COTANGENT..];
            for q in 0..COTANGENT {
                for p in 0..INPUT {
                    let at = |t: usize| match trace {
                        true => (t * OUTPUTS + c) * COTANGENT + q,
                        false => (c * POSITIONS + t) * COTANGENT + q,
                    };
                    all.push((0..POSITIONS).map(|t| delta[at(t)] * a[t * INPUT + p]).sum());
                }
            }
        }
        all
    }

    #[test]
    fn slices_add_up_to_the_gradients_products() {
        let features = features();
        let groups = vec![[0, 1], [2, 3]];
        let (positions, input, cotangent) = (POSITIONS, INPUT, COTANGENT);
        let (deferred, windows) = (true, None);
        let layout = [Arrays::Factored { groups, positions, input, cotangent, deferred, windows }];
        for (trace, room) in [(true, 0), (true, 60), (true, 10_000), (false, 0), (false, 10_000)] {
            let deferred = Deferred::new(&layout, OUTPUTS, trace);
            let rows = if trace { 1 } else { OUTPUTS };
            let (i, j) = (1..4, 2..5);
            let values = vec![0.0; 9 * rows * rows];
            let mut parts = [Part { rows: i.clone(), columns: j.clone(), values }];
            let shares = std::cell::RefCell::new(Vec::new());
            let done = |share: f64| {
                shares.borrow_mut().push(share);
                Ok::<(), ()>(())
            };
            let sides = ((&features, i.clone()), (&features, j.clone()));
            deferred.add(sides.0, sides.1, false, room, &mut parts, &done).expect("no end");
            let product = |i: usize, c: usize, j: usize, e: usize| -> f64 {
                let x = gradient(&features, i, c, trace);
                x.iter().zip(gradient(&features, j, e, trace)).map(|(x, y)| x * y).sum()
            };
            for (row, i) in i.enumerate() {
                for (column, j) in j.clone().enumerate() {
                    for (c, e) in (0..rows).flat_map(|c| (0..rows).map(move |e| (c, e))) {
                        let found =
                            parts[0].values[(row * rows + c) * 3 * rows + column * rows + e];
                        let wanted = match trace {
                            true => (0..OUTPUTS).map(|c| product(i, c, j, c)).sum(),
                            false => product(i, c, j, e),
                        };
                        assert!((found - wanted).abs() < 1e-12, "{found} {wanted}");
                    }
                }
            }
            let shares = shares.into_inner();
            assert!(shares.is_sorted() && shares.last() == Some(&1.0), "{shares:?}");
            assert_eq!(shares.len() > 2, room < 10_000);
        }
    }

    /// The windows of 2 × 2 pixels over images of three channels, 4 × 4 pixels each.
    pub(crate) fn windows() -> Windows {
        use gradkin_network::build::{Convolution, GraphBuilder};
        use gradkin_network::{Model, Network, Options, Sweep};
        let file = || -> Result<Vec<u8>, gradkin_network::NetworkError> {
            let mut graph = GraphBuilder::new("windows");
            let x = graph.input("x", &[3, 4, 4])?;
            let y = graph.conv("c", x, Convolution::new(COTANGENT, 2).no_bias())?;
            graph.output("y", y)?;
            graph.finish()
        };
        let model = Model::from_bytes(&file().expect("a graph"), "windows").expect("a model");
        let network = Network::new(&model, &Options::default()).expect("a network");
        let sweep = Sweep::new(&network, None, None).expect("an output");
        sweep.components()[0].windows.clone().expect("windows")
    }

    /// Every number of a gradient is in one slice, which has no more than it may; what slices read is cut
    /// both ways, where windows overlap and where there are none.
    #[test]
    fn slices_cover_a_gradient_once() {
        let of_images = windows();
        let (positions, input) = (of_images.positions(), 12);
        let arrays = [0, 1];
        for windows in [Some(of_images), None] {
            let group = Group { arrays, positions, input, width: 40, windows };
            for most in [0, 1, 7, 64, 100, 480] {
                let slices = group.slices(most);
                let mut seen = vec![0; input * 40];
                for Slice { rows, columns } in &slices {
                    let entries =
                        rows.clone().flat_map(|row| columns.clone().map(move |c| (row, c)));
                    entries.for_each(|(row, column)| seen[row * input + column] += 1);
                }
                assert!(seen.iter().all(|times| *times == 1), "{most}");
                let unit = group.unit();
                let longest = slices.iter().map(Slice::len).max();
                assert!(longest <= Some(most.max(unit)), "{most} {longest:?}");
                let cut =
                    |whole: usize, of: fn(&Slice) -> usize| slices.iter().all(|s| of(s) < whole);
                let both = cut(40, |s| s.rows.len()) && cut(input, |s| s.columns.len());
                assert_eq!(both, most <= 100, "{most}");
            }
        }
    }

    /// Slices of rows, of channels, and of both add up to the products with the unfolded image.
    #[test]
    fn slices_of_images_add_up_as_those_of_windows() {
        let windows = windows();
        let (positions, input) = (windows.positions(), windows.channels() * windows.elements());
        assert_eq!((positions, input), (9, 12));
        let numbers = |width: usize, pace: f64| -> Vec<f64> {
            (0..EXAMPLES * width).map(|i| (i as f64 * pace).sin()).collect()
        };
        let images = numbers(windows.numbers(), 0.7);
        let delta = numbers(positions * OUTPUTS * COTANGENT, 0.3);
        let mut unfolded = Vec::new();
        for image in images.chunks_exact(windows.numbers()) {
            let mut columns = vec![0.0; input * positions];
            windows.unfold(image, 0..windows.channels(), &mut columns);
            unfolded
                .extend((0..positions * input).map(|i| columns[i % input * positions + i / input]));
        }
        let products = |first: &Vec<f64>, windows: Option<Windows>, trace: bool, room: usize| {
            let features = Features { arrays: vec![first.clone(), delta.clone()], ..features() };
            let (groups, cotangent, deferred) = (vec![[0, 1]], COTANGENT, true);
            let layout =
                [Arrays::Factored { groups, positions, input, cotangent, deferred, windows }];
            let deferred = Deferred::new(&layout, OUTPUTS, trace);
            let rows = if trace { 1 } else { OUTPUTS };
            let (i, j) = (1..4, 2..5);
            let values = vec![0.0; 9 * rows * rows];
            let mut parts = [Part { rows: i.clone(), columns: j.clone(), values }];
            let slices = std::cell::Cell::new(0);
            let done = |_: f64| {
                slices.set(slices.get() + 1);
                Ok::<(), ()>(())
            };
            let sides = ((&features, i), (&features, j));
            deferred.add(sides.0, sides.1, false, room, &mut parts, &done).expect("no end");
            let [part] = parts;
            (part.values, slices.get())
        };
        for trace in [true, false] {
            let (wanted, _) = products(&unfolded, None, trace, 10_000);
            // In rows of products of six examples: all at once; of the trace two channels by half of the rows
            // and of matrices one by all; one channel by two rows.
            let width = if trace { OUTPUTS * COTANGENT } else { COTANGENT };
            let rows = if trace { 6 } else { 6 * OUTPUTS };
            let some = if trace { 4 } else { 3 };
            let cases = [(10_000, 1), (rows * 4 * width, some), (rows * 8, 3 * width / 2)];
            for (room, slices) in cases {
                let (found, count) = products(&images, Some(windows.clone()), trace, room);
                assert_eq!(count, slices, "{trace} {room}");
                let gaps = found.iter().zip(&wanted).map(|(x, y)| (x - y).abs());
                assert!(gaps.fold(0.0, f64::max) < 1e-12, "{trace} {room}");
            }
        }
    }
}

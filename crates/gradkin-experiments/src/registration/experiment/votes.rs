//! Votes for displacements: how well an image answers its outlines when they are moved a little, for
//! every displacement of a grid (a correlation layer, as networks for optical flow have; Dosovitskiy et
//! al., 2015), and the displacement that the votes elect.
//!
//! A network without them has to find out by itself that it is to compare the two at many displacements,
//! which takes it most of its training.

use gradkin::network::build::{Convolution, Edge, GraphBuilder, Pooling};
use gradkin::network::{Model, NetworkError};

type Result<T> = std::result::Result<T, NetworkError>;

/// Displacements reach so many cells to each side.
const REACH: usize = 2;
const SIDE: usize = 2 * REACH + 1;
/// The number of displacements.
pub(super) const DISPLACEMENTS: usize = SIDE * SIDE;
/// Cells along the side of the window that votes are averaged over: about a house.
const WINDOW: usize = 9;
/// The deviation of votes at first, over all places: so large that the best displacements count for most,
/// so small that the others are still heard, and learn.
const SPREAD: f64 = 2.0;

/// A vote for each displacement at every cell, from features of the image and of the outlines, as many
/// of the one as of the other.
///
/// A vote is the sum over features of the image's times the outlines' moved by the displacement,
/// averaged over a window. How outlines are moved and features are summed are parameters, which
/// [`prepare`] sets to just that; training makes them better filters.
pub(super) fn votes(graph: &mut GraphBuilder, image: Edge, outline: Edge) -> Result<Edge> {
    let features = graph.shape(image)?.first().copied().unwrap_or_default();
    let move_each = Convolution::new(features * DISPLACEMENTS, SIDE).pad(REACH).groups(features);
    let moved = graph.conv("moved", outline, move_each.no_bias())?;
    let mut repeated = Vec::with_capacity(features * DISPLACEMENTS);
    for feature in 0..features {
        let one = graph.channels(image, feature..feature + 1)?;
        repeated.extend([one; DISPLACEMENTS]);
    }
    let repeated = graph.concat(&repeated)?;
    let products = graph.mul(repeated, moved)?;
    let sums = graph.conv("sums", products, Convolution::new(DISPLACEMENTS, 1).no_bias())?;
    let averaged = graph.average_pool(sums, Pooling::new(WINDOW).pad(WINDOW / 2).stride(1))?;
    graph.batch_norm("votes_norm", averaged)
}

/// The mean of the displacements at every cell, x before y in pixels, each as probable as votes say.
pub(super) fn elected(graph: &mut GraphBuilder, votes: Edge) -> Result<Edge> {
    let probable = graph.softmax(votes)?;
    graph.conv("elected", probable, Convolution::new(2, 1))
}

/// The weights that votes and elections begin with, cells being so many pixels wide.
pub(super) fn prepare(model: &mut Model, features: usize, cell: f64) -> Result<()> {
    let all = features * DISPLACEMENTS;
    // Channel after channel of the first feature, then of the next; a kernel for each.
    let moved = (0..all * DISPLACEMENTS)
        .map(|i| f64::from(i / DISPLACEMENTS % DISPLACEMENTS == i % DISPLACEMENTS));
    let sums = (0..DISPLACEMENTS * all).map(|i| f64::from(i / all == i % all % DISPLACEMENTS));
    // A kernel that looks to the right moves outlines to the left.
    let along = |index: usize| cell * (REACH as f64 - index as f64);
    let x = (0..DISPLACEMENTS).map(|k| along(k % SIDE));
    let y = (0..DISPLACEMENTS).map(|k| along(k / SIDE));
    let begin: [(&str, Vec<f64>); 5] = [
        ("moved.weight", moved.collect()),
        ("sums.weight", sums.collect()),
        ("votes_norm.weight", vec![SPREAD; DISPLACEMENTS]),
        ("elected.weight", x.chain(y).collect()),
        ("elected.bias", vec![0.0; 2]),
    ];
    model.set_all_values(&begin.each_ref().map(|(name, values)| (*name, values.as_slice())))
}

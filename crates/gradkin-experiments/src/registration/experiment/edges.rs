//! What the encoders begin with: filters for edges in eight directions, which both encoders pair into four
//! orientations, for an outline does not say on which side of a wall it is brighter.
//!
//! First layers of trained networks look like that anyway; beginning there, votes mean something from the
//! first step on. Everything stays free to move.

use std::f64::consts::TAU;

use gradkin::network::{Model, NetworkError};

type Result<T> = std::result::Result<T, NetworkError>;

/// Directions of edges, of which two opposite ones are one orientation.
const DIRECTIONS: usize = 8;
/// Features that image and outlines are compared by.
pub(super) const ORIENTATIONS: usize = DIRECTIONS / 2;
/// Breadth of an edge, as the deviation of a Gaussian in pixels.
const BREADTH: f64 = 1.1;
/// The share that is kept of weights drawn at random, so that no two filters are alike.
const RANDOM: f64 = 0.1;

/// Gives the first layers of both encoders their weights; the outlines' sees the area.
pub(super) fn prepare(model: &mut Model) -> Result<()> {
    // An image has edges of brightness and of greenness.
    for (encoder, channels) in [("image", 2), ("outline", 1)] {
        let edges = channels * DIRECTIONS;
        lean(model, &format!("{encoder}1.weight"), |[filter, channel, row, column]| {
            let edge = filter < edges && channel == filter / DIRECTIONS;
            if edge { derivative(filter, row as f64 - 2.0, column as f64 - 2.0) } else { 0.0 }
        })?;
        lean(model, &format!("{encoder}2.weight"), |[to, from, row, column]| {
            f64::from(to == from && (row, column) == (1, 1))
        })?;
        lean(model, &format!("{encoder}_compared.weight"), |[orientation, filter, _, _]| {
            f64::from(filter < edges && filter % ORIENTATIONS == orientation)
        })?;
    }
    Ok(())
}

/// A Gaussian's derivative in one direction.
fn derivative(direction: usize, y: f64, x: f64) -> f64 {
    let (sin, cos) = (TAU * direction as f64 / DIRECTIONS as f64).sin_cos();
    let fade = (-(x * x + y * y) / (2.0 * BREADTH * BREADTH)).exp();
    (x * cos + y * sin) / (2.0 * BREADTH) * fade
}

/// Sets a convolution's weights, but for a small part of what was drawn.
fn lean(model: &mut Model, name: &str, wanted: impl Fn([usize; 4]) -> f64) -> Result<()> {
    let shape = model.parameters().0.into_iter().find(|p| p.name == name).map(|p| p.shape);
    let (Some(mut values), Some(&[_, inner, rows, columns])) =
        (model.values(name), shape.as_deref())
    else {
        return Err(NetworkError::Usage(format!("`{name}` is no convolution over pictures")));
    };
    for (index, value) in values.iter_mut().enumerate() {
        let (filter, place) = (index / (inner * rows * columns), index % (rows * columns));
        let channel = index / (rows * columns) % inner;
        *value = RANDOM * *value + wanted([filter, channel, place / columns, place % columns]);
    }
    model.set_all_values(&[(name, &values)])
}

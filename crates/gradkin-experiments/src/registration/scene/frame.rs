//! A place on the ground with a direction: where things are built.

use geo::{Coord, MapCoords, Polygon};

/// An origin in metres and the unit vector of the local x axis; the local y axis is a right angle
/// further, clockwise as pixels lie.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Frame {
    pub(super) origin: Coord<f64>,
    pub(super) along: Coord<f64>,
}

impl Frame {
    /// The ground point of local coordinates.
    pub(super) fn ground(&self, local: Coord<f64>) -> Coord<f64> {
        self.origin + self.turned(local)
    }

    /// A local direction as one on the ground.
    pub(super) fn turned(&self, local: Coord<f64>) -> Coord<f64> {
        let Coord { x, y } = self.along;
        Coord { x: x * local.x - y * local.y, y: y * local.x + x * local.y }
    }

    /// The local coordinates of a ground point.
    pub(super) fn local(&self, ground: Coord<f64>) -> Coord<f64> {
        let (Coord { x, y }, off) = (self.along, ground - self.origin);
        Coord { x: x * off.x + y * off.y, y: x * off.y - y * off.x }
    }

    /// The frame with its origin at local coordinates.
    pub(super) fn at(&self, x: f64, y: f64) -> Self {
        Self { origin: self.ground(Coord { x, y }), along: self.along }
    }

    /// The frame turned by an angle.
    pub(super) fn rotated(&self, angle: f64) -> Self {
        let (y, x) = angle.sin_cos();
        Self { origin: self.origin, along: self.turned(Coord { x, y }) }
    }

    /// A local polygon on the ground.
    pub(super) fn place(&self, local: &Polygon<f64>) -> Polygon<f64> {
        local.map_coords(|c| self.ground(c))
    }

    /// A local rectangle on the ground.
    pub(super) fn rectangle(&self, low: (f64, f64), high: (f64, f64)) -> Polygon<f64> {
        let corners = vec![low, (high.0, low.1), high, (low.0, high.1)];
        self.place(&Polygon::new(corners.into(), Vec::new()))
    }
}

/// A unit vector in a direction, along x where there is none.
pub(super) fn unit(direction: Coord<f64>) -> Coord<f64> {
    let length = direction.x.hypot(direction.y);
    if length > 0.0 { direction / length } else { Coord { x: 1.0, y: 0.0 } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_and_ground_are_inverse() {
        let along = unit(Coord { x: 3.0, y: -1.0 });
        let frame = Frame { origin: Coord { x: 5.0, y: 2.0 }, along }.rotated(0.3).at(1.0, -4.0);
        let local = Coord { x: 2.5, y: 7.0 };
        let back = frame.local(frame.ground(local)) - local;
        assert!(back.x.abs() + back.y.abs() < 1e-12, "{back:?}");
        assert!((frame.along.x.hypot(frame.along.y) - 1.0).abs() < 1e-12);
    }
}

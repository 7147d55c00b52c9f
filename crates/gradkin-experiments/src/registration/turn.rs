//! The eight ways to lay a square picture down: turned by quarters, mirrored or not. From above, none is more
//! likely than another.

use rand::{Rng, RngExt};

use super::Raster;

/// One of the eight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Turn {
    /// Rows become columns, before anything else.
    transposed: bool,
    /// Left becomes right.
    mirrored: bool,
    /// Top becomes bottom.
    upended: bool,
}

impl Turn {
    /// All eight, the first of which turns nothing.
    pub fn all() -> [Self; 8] {
        std::array::from_fn(|i| Self {
            transposed: i & 4 > 0,
            mirrored: i & 1 > 0,
            upended: i & 2 > 0,
        })
    }

    /// The one that undoes this one.
    pub fn back(self) -> Self {
        let Self { transposed, mirrored, upended } = self;
        if transposed { Self { transposed, mirrored: upended, upended: mirrored } } else { self }
    }

    /// Each equally likely.
    pub fn draw(random: &mut impl Rng) -> Self {
        let [transposed, mirrored, upended] = [(); 3].map(|()| random.random_bool(0.5));
        Self { transposed, mirrored, upended }
    }

    /// A picture so turned; one that is not square takes its other side as its height.
    pub fn raster(self, raster: &Raster) -> Raster {
        let [channels, height, width] = raster.shape();
        let [to_height, to_width] = if self.transposed { [width, height] } else { [height, width] };
        let mut turned = Raster::zeros(channels, to_height, to_width);
        for channel in 0..channels {
            let (from, to) = (raster.channel(channel), turned.channel_mut(channel));
            for (row, line) in to.chunks_exact_mut(to_width.max(1)).enumerate() {
                let row = if self.upended { to_height - 1 - row } else { row };
                for (column, value) in line.iter_mut().enumerate() {
                    let column = if self.mirrored { to_width - 1 - column } else { column };
                    let [y, x] = if self.transposed { [column, row] } else { [row, column] };
                    *value = from[y * width + x];
                }
            }
        }
        turned
    }

    /// A field of displacements `[2, height, width]`, x before y: pixels go to other places, and what they
    /// hold points into other directions.
    pub fn field(self, field: &Raster) -> Raster {
        let mut turned = self.raster(field);
        let (x, y) = turned.values_mut().split_at_mut(field.height() * field.width());
        if self.transposed {
            x.swap_with_slice(y);
        }
        for (values, against) in [(x, self.mirrored), (y, self.upended)] {
            if against {
                values.iter_mut().for_each(|value| *value = -*value);
            }
        }
        turned
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where the only 1 of a picture is, as column and row.
    fn place(raster: &Raster) -> (f32, f32) {
        let index = raster.channel(0).iter().position(|v| *v == 1.0).unwrap();
        ((index % raster.width()) as f32, (index / raster.width()) as f32)
    }

    fn dot(column: usize, row: usize) -> Raster {
        let mut raster = Raster::zeros(1, 7, 7);
        raster.channel_mut(0)[row * 7 + column] = 1.0;
        raster
    }

    #[test]
    fn what_moves_before_moves_after() {
        for turn in Turn::all() {
            let mut field = Raster::zeros(2, 7, 7);
            field.channel_mut(0).fill(2.0);
            field.channel_mut(1).fill(-1.0);
            let field = turn.field(&field);
            let [from, to] = [dot(1, 4), dot(3, 3)].map(|dot| place(&turn.raster(&dot)));
            let by = (field.at(0, 0, 0), field.at(1, 0, 0));
            assert_eq!((to.0 - from.0, to.1 - from.1), by, "{turn:?}");
        }
    }

    #[test]
    fn all_eight_differ_and_a_long_picture_is_laid_on_its_side() {
        let places: Vec<(f32, f32)> =
            Turn::all().iter().map(|turn| place(&turn.raster(&dot(1, 2)))).collect();
        let differ = |i: usize| places[..i].iter().all(|other| *other != places[i]);
        assert!((0..8).all(differ), "{places:?}");
        let long = Raster::zeros(3, 2, 5);
        assert_eq!(Turn::all()[4].raster(&long).shape(), [3, 5, 2]);
    }

    #[test]
    fn each_is_undone() {
        let field = Raster::from_values([2, 3, 4], (0..24).map(|i| i as f32).collect()).unwrap();
        assert_eq!(Turn::all()[0].field(&field), field);
        for turn in Turn::all() {
            assert_eq!(turn.back().field(&turn.field(&field)), field, "{turn:?}");
        }
    }
}

//! A sheet of pixels and the few shapes drawn on it. What falls outside is cut off.

use crate::picture::Rendered;

/// Red, green and blue.
pub(crate) type Color = [u8; 3];

pub(crate) const PAPER: Color = [0xFF, 0xFF, 0xFF];
pub(crate) const INK: Color = [0x1F, 0x23, 0x28];
pub(crate) const MUTED: Color = [0x5F, 0x68, 0x72];
pub(crate) const HAIRLINE: Color = [0xD0, 0xD7, 0xDE];
pub(crate) const BLANK: Color = [0xEC, 0xEF, 0xF2];
/// Vermilion, dark enough for white letters on it and told from grey by every kind of colour vision.
pub(crate) const WARNING: Color = [0xC8, 0x44, 0x0C];

/// A box in pixels: left, top, width, height.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rect {
    pub(crate) x: i64,
    pub(crate) y: i64,
    pub(crate) width: i64,
    pub(crate) height: i64,
}

impl Rect {
    pub(crate) fn right(&self) -> i64 {
        self.x + self.width
    }

    pub(crate) fn bottom(&self) -> i64 {
        self.y + self.height
    }

    pub(crate) fn center(&self) -> (i64, i64) {
        (self.x + self.width / 2, self.y + self.height / 2)
    }

    /// The same box grown by `by` on every side.
    pub(crate) fn grown(&self, by: i64) -> Self {
        let (width, height) = (self.width + 2 * by, self.height + 2 * by);
        Self { x: self.x - by, y: self.y - by, width, height }
    }
}

/// A sheet of pixels.
pub(crate) struct Canvas {
    width: usize,
    height: usize,
    rgb: Vec<u8>,
}

impl Canvas {
    pub(crate) fn new(width: usize, height: usize) -> Self {
        Self { width, height, rgb: PAPER.repeat(width * height) }
    }

    pub(crate) fn over(rendered: Rendered) -> Self {
        Self { width: rendered.width, height: rendered.height, rgb: rendered.rgb }
    }

    pub(crate) fn finish(self) -> Rendered {
        Rendered { width: self.width, height: self.height, rgb: self.rgb }
    }

    /// Mixes `color` into one pixel; `coverage` from 0 to 1.
    pub(crate) fn blend(&mut self, x: i64, y: i64, color: Color, coverage: f32) {
        let (Ok(x), Ok(y)) = (usize::try_from(x), usize::try_from(y)) else { return };
        if x >= self.width || y >= self.height {
            return;
        }
        let at = 3 * (y * self.width + x);
        let coverage = coverage.clamp(0.0, 1.0);
        for (under, over) in self.rgb[at..at + 3].iter_mut().zip(color) {
            let mixed = f32::from(*under) + (f32::from(over) - f32::from(*under)) * coverage;
            *under = mixed.round() as u8;
        }
    }

    pub(crate) fn fill(&mut self, rect: Rect, color: Color) {
        for y in rect.y..rect.bottom() {
            for x in rect.x..rect.right() {
                self.blend(x, y, color, 1.0);
            }
        }
    }

    /// A frame of the given thickness around the inside of `rect`, on its outer side.
    pub(crate) fn frame(&mut self, rect: Rect, thickness: i64, color: Color) {
        let outer = rect.grown(thickness);
        let (x, y, width) = (outer.x, outer.y, outer.width);
        self.fill(Rect { x, y, width, height: thickness }, color);
        self.fill(Rect { x, y: rect.bottom(), width, height: thickness }, color);
        let (y, height) = (rect.y, rect.height);
        self.fill(Rect { x, y, width: thickness, height }, color);
        self.fill(Rect { x: rect.right(), y, width: thickness, height }, color);
    }

    /// A filled disc, smooth at its rim.
    pub(crate) fn disc(&mut self, center: (f32, f32), radius: f32, color: Color) {
        let reach = radius.ceil() as i64 + 1;
        for y in center.1 as i64 - reach..=center.1 as i64 + reach {
            for x in center.0 as i64 - reach..=center.0 as i64 + reach {
                let (dx, dy) = (x as f32 + 0.5 - center.0, y as f32 + 0.5 - center.1);
                self.blend(x, y, color, radius + 0.5 - dx.hypot(dy));
            }
        }
    }

    /// Copies pixels with their upper left corner at (x, y).
    pub(crate) fn paste(&mut self, picture: &Rendered, x: i64, y: i64) {
        for (row, pixels) in picture.rgb.chunks_exact(3 * picture.width).enumerate() {
            for (column, pixel) in pixels.chunks_exact(3).enumerate() {
                let color = [pixel[0], pixel[1], pixel[2]];
                self.blend(x + column as i64, y + row as i64, color, 1.0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(rendered: &Rendered, color: Color) -> usize {
        rendered.rgb.chunks_exact(3).filter(|pixel| *pixel == color).count()
    }

    #[test]
    fn shapes_are_cut_off_at_the_edge() {
        let mut canvas = Canvas::new(10, 10);
        canvas.fill(Rect { x: -5, y: -5, width: 7, height: 6 }, INK);
        canvas.disc((10.0, 10.0), 3.0, WARNING);
        let rendered = canvas.finish();
        assert_eq!(count(&rendered, INK), 2);
        assert!((1..9).contains(&count(&rendered, WARNING)));
    }

    #[test]
    fn a_frame_lies_outside_its_box() {
        let mut canvas = Canvas::new(10, 10);
        canvas.frame(Rect { x: 3, y: 3, width: 4, height: 4 }, 2, INK);
        assert_eq!(count(&canvas.finish(), INK), 8 * 8 - 4 * 4);
    }
}

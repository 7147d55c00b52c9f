//! Scenes, outlines over them, and displacement fields, to look at.

use geo::{MapCoords, Polygon};
use image::{Rgb, RgbImage, imageops};

use super::outline::{rings, widen};
use super::{OutlineStyle, Raster, Scene, Shift, draw_outlines};

/// The colour of true outlines.
pub const TRUE: [u8; 3] = [60, 230, 90];
/// The colour of outlines out of place.
pub const MOVED: [u8; 3] = [255, 70, 60];

/// A raster of one or three channels from 0 to 1, as it is; of other rasters the first channel.
pub fn plain(raster: &Raster) -> RgbImage {
    let [channels, height, width] = raster.shape();
    let channel = |k: usize| if channels == 3 { k } else { 0 };
    RgbImage::from_fn(width as u32, height as u32, |x, y| {
        let at = |k: usize| raster.at(channel(k), y as usize, x as usize);
        Rgb([0, 1, 2].map(|k| byte(at(k))))
    })
}

/// A picture made larger by a whole number, with outlines drawn over it in a colour. Outlines are in
/// pixels of the smaller picture, so fractions of a pixel show.
pub fn overlay(picture: &RgbImage, times: u32, layers: &[(&[Polygon<f64>], [u8; 3])]) -> RgbImage {
    let (width, height) = (picture.width() * times, picture.height() * times);
    let mut large = imageops::resize(picture, width, height, imageops::FilterType::Nearest);
    for (polygons, colour) in layers {
        let mut lines = vec![0.0; (width * height) as usize];
        for polygon in *polygons {
            let polygon = polygon.map_coords(|c| c * f64::from(times));
            for line in rings(&polygon).flat_map(|ring| ring.lines()) {
                widen(line, 0.6, &mut lines, width as usize);
            }
        }
        for (pixel, share) in large.pixels_mut().zip(&lines) {
            for (old, new) in pixel.0.iter_mut().zip(colour) {
                *old = (f32::from(*old) + (f32::from(*new) - f32::from(*old)) * share) as u8;
            }
        }
    }
    large
}

/// A scene with the true outlines in green, and outlines moved by shifts in red.
pub fn scene(scene: &Scene, shifts: &[Shift], times: u32) -> RgbImage {
    let (right, moved) = (scene.outlines(&[]), scene.outlines(shifts));
    overlay(&plain(&scene.image), times, &[(&right, TRUE), (&moved, MOVED)])
}

/// A field of displacements: the direction as hue, the length, up to `largest` pixels, as strength.
pub fn field(field: &Raster, largest: f64) -> RgbImage {
    let [channels, height, width] = field.shape();
    RgbImage::from_fn(width as u32, height as u32, |x, y| {
        let at = |k: usize| {
            f64::from(field.at(k.min(channels.saturating_sub(1)), y as usize, x as usize))
        };
        let (dx, dy) = (at(0), at(1));
        let strength = (dx.hypot(dy) / largest).min(1.0);
        let angle = dy.atan2(dx);
        let tone = |k: f64| 0.5 + 0.5 * strength * (angle - k * std::f64::consts::TAU / 3.0).cos();
        Rgb([0.0, 1.0, 2.0].map(|k| byte(tone(k) as f32)))
    })
}

/// Pictures of one height side by side, a little apart.
pub fn beside(pictures: &[RgbImage]) -> RgbImage {
    const APART: u32 = 4;
    let width = pictures.iter().map(|p| p.width() + APART).sum::<u32>().saturating_sub(APART);
    let height = pictures.iter().map(RgbImage::height).max().unwrap_or(0);
    let mut sheet = RgbImage::from_pixel(width, height, Rgb([255; 3]));
    let mut left = 0;
    for picture in pictures {
        imageops::replace(&mut sheet, picture, i64::from(left), 0);
        left += picture.width() + APART;
    }
    sheet
}

/// Outlines as the network sees them: area, edge and vertex as red, green and blue.
pub fn outlines(polygons: &[Polygon<f64>], height: usize, width: usize) -> RgbImage {
    plain(&draw_outlines(polygons, height, width, &OutlineStyle::default()))
}

fn byte(value: f32) -> u8 {
    (value.clamp(0.0, 1.0) * 255.0).round() as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registration::{Building, coverage::polygon};

    #[test]
    fn outlines_are_drawn_where_they_are() {
        let square = polygon([(2.0, 2.0), (6.0, 2.0), (6.0, 6.0), (2.0, 6.0)]);
        let seen = Scene {
            image: Raster::from_values([1, 8, 8], vec![0.5; 64]).unwrap(),
            metres_per_pixel: 0.5,
            buildings: vec![Building { id: 0, group: 0, polygon: square }],
        };
        let drawn = scene(&seen, &[Shift { x: 1.0, y: 0.0 }], 4);
        assert_eq!(drawn.dimensions(), (32, 32));
        let differs = |x: u32, y: u32, colour: [u8; 3]| {
            let [r, g, _] = drawn.get_pixel(x, y).0;
            (r > g) == (colour[0] > colour[1]) && r != g
        };
        assert!(differs(8, 16, TRUE));
        assert!(differs(12, 16, MOVED));
        assert_eq!(drawn.get_pixel(18, 18).0, [128; 3]);
    }

    #[test]
    fn still_fields_are_grey_and_directions_have_colours() {
        let mut moving = Raster::zeros(2, 1, 3);
        moving.channel_mut(0).copy_from_slice(&[0.0, 4.0, -4.0]);
        let drawn = field(&moving, 4.0);
        assert_eq!(drawn.get_pixel(0, 0).0, [128; 3]);
        assert_eq!(drawn.get_pixel(1, 0).0[0], 255);
        assert_eq!(drawn.get_pixel(2, 0).0[0], 0);
        let sheet = beside(&[drawn.clone(), drawn]);
        assert_eq!(sheet.dimensions(), (10, 1));
    }
}

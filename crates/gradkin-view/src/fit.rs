//! A picture brought to the size of its cell: small ones by whole factors, so that each pixel stays
//! a sharp square; large ones smoothed down.

use image::imageops::{self, FilterType};
use image::{ImageBuffer, Rgb};

use crate::picture::{PictureRef, Rendered};

/// The size of a picture of `width` × `height` in a square of `side` pixels.
pub(crate) fn fitted(width: usize, height: usize, side: usize) -> (usize, usize) {
    let longest = width.max(height);
    if longest <= side {
        let factor = side / longest.max(1);
        return (width * factor, height * factor);
    }
    let shrunk = |length: usize| {
        let exact = length as f64 * side as f64 / longest as f64;
        (exact.round() as usize).max(1)
    };
    (shrunk(width), shrunk(height))
}

/// The picture at its [`fitted`] size.
pub(crate) fn fit(picture: PictureRef<'_>, side: usize) -> Rendered {
    let (width, height) = fitted(picture.width(), picture.height(), side);
    if width >= picture.width() && height >= picture.height() {
        return enlarged(picture, width / picture.width());
    }
    resized(picture, width, height)
}

/// The picture with each pixel repeated `factor` times in both directions.
fn enlarged(picture: PictureRef<'_>, factor: usize) -> Rendered {
    let mut rgb = Vec::with_capacity(picture.rgb().len() * factor * factor);
    for row in picture.rgb().chunks_exact(3 * picture.width()) {
        let wide: Vec<u8> = row.chunks_exact(3).flat_map(|pixel| pixel.repeat(factor)).collect();
        for _ in 0..factor {
            rgb.extend_from_slice(&wide);
        }
    }
    Rendered { width: picture.width() * factor, height: picture.height() * factor, rgb }
}

/// The picture at any size, smoothed where it shrinks.
pub(crate) fn resized(picture: PictureRef<'_>, width: usize, height: usize) -> Rendered {
    let (from_width, from_height) = (picture.width() as u32, picture.height() as u32);
    let source: Option<ImageBuffer<Rgb<u8>, &[u8]>> =
        ImageBuffer::from_raw(from_width, from_height, picture.rgb());
    // `PictureRef` has as many bytes as its size asks for, so there is always a source.
    let rgb = source.map_or_else(
        || vec![0; 3 * width * height],
        |source| {
            imageops::resize(&source, width as u32, height as u32, FilterType::Lanczos3).into_raw()
        },
    );
    Rendered { width, height, rgb }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_pictures_grow_by_whole_factors_and_large_ones_shrink() {
        let cases = [((8, 8), (96, 96)), ((28, 28), (84, 84)), ((32, 16), (96, 48))];
        for ((width, height), expected) in cases {
            assert_eq!(fitted(width, height, 96), expected);
        }
        assert_eq!(fitted(640, 480, 96), (96, 72));
        assert_eq!(fitted(1, 5000, 96), (1, 96));
    }

    #[test]
    fn enlarging_repeats_pixels() {
        let rgb = [10, 20, 30, 40, 50, 60];
        let fitted = fit(PictureRef::new(2, 1, &rgb).unwrap(), 4);
        assert_eq!((fitted.width, fitted.height), (4, 2));
        let row = [10, 20, 30, 10, 20, 30, 40, 50, 60, 40, 50, 60];
        assert_eq!(fitted.rgb, [row, row].concat());
    }

    #[test]
    fn shrinking_averages() {
        let rgb: Vec<u8> = (0..200 * 200).flat_map(|i| [(i % 2 * 255) as u8; 3]).collect();
        let fitted = fit(PictureRef::new(200, 200, &rgb).unwrap(), 20);
        assert_eq!(fitted.rgb.len(), 20 * 20 * 3);
        assert!(fitted.rgb.iter().all(|&value| (110..146).contains(&value)));
    }
}

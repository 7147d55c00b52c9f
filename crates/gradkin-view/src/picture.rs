//! Pictures on their way in ([`PictureRef`]) and out ([`Rendered`]).

use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};

use crate::error::{Result, ViewError};

/// A borrowed 8-bit colour picture, known to be sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PictureRef<'a> {
    width: usize,
    height: usize,
    rgb: &'a [u8],
}

impl<'a> PictureRef<'a> {
    /// A picture from red, green and blue of each pixel, row by row: `3 × width × height` bytes.
    pub fn new(width: usize, height: usize, rgb: &'a [u8]) -> Result<Self> {
        let expected = width.saturating_mul(height).saturating_mul(3);
        if rgb.is_empty() || rgb.len() != expected || u32::try_from(width.max(height)).is_err() {
            return Err(ViewError::PictureSize { width, height, expected, found: rgb.len() });
        }
        Ok(Self { width, height, rgb })
    }

    /// Pixels per row; at least one.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Rows; at least one.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Red, green and blue of each pixel, row by row.
    pub fn rgb(&self) -> &'a [u8] {
        self.rgb
    }
}

impl<'a> TryFrom<&'a gradkin_data::Picture> for PictureRef<'a> {
    type Error = ViewError;

    fn try_from(picture: &'a gradkin_data::Picture) -> Result<Self> {
        Self::new(picture.width, picture.height, &picture.rgb)
    }
}

/// What was drawn, as 8-bit colours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// Pixels per row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Red, green and blue of each pixel, row by row: `3 × width × height` bytes.
    pub rgb: Vec<u8>,
}

impl Rendered {
    /// As a borrowed picture, to set it on another sheet or into a terminal.
    pub fn picture(&self) -> Result<PictureRef<'_>> {
        PictureRef::new(self.width, self.height, &self.rgb)
    }

    /// As the bytes of a PNG file.
    pub fn png(&self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let picture = self.picture()?;
        PngEncoder::new(&mut bytes).write_image(
            picture.rgb,
            picture.width as u32,
            picture.height as u32,
            ExtendedColorType::Rgb8,
        )?;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_must_fit_the_size() {
        assert!(PictureRef::new(2, 2, &[0; 12]).is_ok());
        for (width, height, bytes) in [(2, 2, 11), (2, 2, 13), (0, 0, 0), (0, 5, 0)] {
            let rgb = vec![0; bytes];
            let error = PictureRef::new(width, height, &rgb).unwrap_err();
            assert!(error.to_string().contains(&format!("not {bytes}")), "{error}");
        }
        assert!(PictureRef::new(usize::MAX, 2, &[0; 12]).is_err());
    }

    #[test]
    fn a_png_holds_the_same_pixels() {
        let rgb = (0..36).map(|i| i * 7).collect();
        let rendered = Rendered { width: 4, height: 3, rgb };
        let back = image::load_from_memory(&rendered.png().unwrap()).unwrap().into_rgb8();
        assert_eq!((back.width(), back.height()), (4, 3));
        assert_eq!(back.into_raw(), rendered.rgb);
    }

    #[test]
    fn a_picture_of_the_data_crate_is_taken_as_it_is() {
        let picture = gradkin_data::Picture { width: 1, height: 2, rgb: vec![1, 2, 3, 4, 5, 6] };
        let borrowed = PictureRef::try_from(&picture).unwrap();
        assert_eq!((borrowed.width(), borrowed.height()), (1, 2));
        assert_eq!(borrowed.rgb(), picture.rgb);
    }
}

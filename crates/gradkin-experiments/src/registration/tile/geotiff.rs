//! The image, and where on the earth its pixels are.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use geo::Coord;
use tiff::decoder::{Decoder, DecodingResult};
use tiff::tags::Tag;
use tiff::{ColorType, TiffError};

use crate::registration::{Raster, Result, TileError};

/// Keys of the GeoKey directory (OGC GeoTIFF 1.1, section 7).
const MODEL_TYPE: u16 = 1024;
const RASTER_TYPE: u16 = 1025;
const PROJECTED_SYSTEM: u16 = 3072;
const LINEAR_UNITS: u16 = 3076;
const PROJECTED: u16 = 1;
const PIXEL_IS_POINT: u16 = 2;
const METRE: u16 = 9001;
/// A system that is described in the file instead of by a number.
const USER_DEFINED: u16 = 32_767;

pub(super) struct GeoImage {
    pub(super) path: String,
    /// As stored; at most three channels.
    pub(super) values: Raster,
    /// Number of the projected coordinate system in the EPSG register.
    pub(super) epsg: u16,
    /// The outer corner of the first pixel, in metres.
    origin: Coord<f64>,
    /// In metres, y southwards.
    pub(super) pixel_size: Coord<f64>,
}

impl GeoImage {
    /// The pixel coordinates of a place.
    pub(super) fn pixel(&self, place: Coord<f64>) -> Coord<f64> {
        Coord {
            x: (place.x - self.origin.x) / self.pixel_size.x,
            y: (self.origin.y - place.y) / self.pixel_size.y,
        }
    }

    /// In words.
    pub(super) fn extent(&self) -> String {
        let [_, height, width] = self.values.shape();
        let right = self.origin.x + width as f64 * self.pixel_size.x;
        let bottom = self.origin.y - height as f64 * self.pixel_size.y;
        format!("x {} to {right}, y {bottom} to {}", self.origin.x, self.origin.y)
    }
}

pub(super) fn read(path: &Path) -> Result<GeoImage> {
    let shown = path.display().to_string();
    let file = File::open(path).map_err(|source| TileError::Io { path: shown.clone(), source })?;
    let damaged = |source: TiffError| TileError::Image { path: shown.clone(), source };
    let mut decoder = Decoder::new(BufReader::new(file)).map_err(damaged)?;

    let keys = list(&mut decoder, Tag::GeoKeyDirectoryTag, tiff::decoder::ifd::Value::into_u16_vec);
    let scale =
        list(&mut decoder, Tag::ModelPixelScaleTag, tiff::decoder::ifd::Value::into_f64_vec);
    let ties = list(&mut decoder, Tag::ModelTiepointTag, tiff::decoder::ifd::Value::into_f64_vec);
    let keys = keys.map_err(damaged)?;
    let unexpected = |expected: &str, found: String| TileError::Unexpected {
        path: shown.clone(),
        expected: expected.to_owned(),
        found,
    };
    let epsg = projection(&keys).map_err(|found| {
        unexpected("a projected coordinate system in metres, by its EPSG number", found)
    })?;
    let pixel_is_point = key(&keys, RASTER_TYPE) == Some(PIXEL_IS_POINT);
    let (origin, pixel_size) =
        grid(&scale.map_err(damaged)?, &ties.map_err(damaged)?, pixel_is_point).map_err(
            |found| {
                unexpected("a pixel scale and one tie point (north up, square to the axes)", found)
            },
        )?;
    let values = values(&mut decoder).map_err(damaged)?.map_err(|found| {
        unexpected("grey or colour values of 8 or 16 bits, or floating point", found)
    })?;
    Ok(GeoImage { path: shown, values, epsg, origin, pixel_size })
}

/// The values of a tag; empty if the file has none.
fn list<T>(
    decoder: &mut Decoder<BufReader<File>>,
    tag: Tag,
    into: impl Fn(tiff::decoder::ifd::Value) -> Result<Vec<T>, TiffError>,
) -> Result<Vec<T>, TiffError> {
    decoder.find_tag(tag)?.map_or(Ok(Vec::new()), into)
}

/// The directory is rows of four: key, where its value is, how many, the value itself (if where is 0).
fn key(directory: &[u16], wanted: u16) -> Option<u16> {
    let mut rows = directory.chunks_exact(4).skip(1);
    rows.find(|row| row[0] == wanted && row[1] == 0).map(|row| row[3])
}

fn projection(keys: &[u16]) -> Result<u16, String> {
    if keys.is_empty() {
        return Err("no GeoKey directory: a TIFF that does not say where it is".to_owned());
    }
    if key(keys, MODEL_TYPE) != Some(PROJECTED) {
        return Err(format!("model type {:?}, not 1", key(keys, MODEL_TYPE)));
    }
    if let Some(units) = key(keys, LINEAR_UNITS).filter(|units| *units != METRE) {
        return Err(format!("linear units {units}, not 9001"));
    }
    match key(keys, PROJECTED_SYSTEM) {
        Some(epsg) if epsg != USER_DEFINED && epsg != 0 => Ok(epsg),
        _ => Err("a projection without a number".to_owned()),
    }
}

/// Origin and size of pixels.
fn grid(
    scale: &[f64],
    ties: &[f64],
    pixel_is_point: bool,
) -> Result<(Coord<f64>, Coord<f64>), String> {
    let (&[x, y, ..], &[column, row, _, east, north, _]) = (scale, ties) else {
        return Err(format!("{} scale values and {} tie point values", scale.len(), ties.len()));
    };
    if !(x > 0.0 && y > 0.0 && x.is_finite() && y.is_finite()) {
        return Err(format!("pixels of {x} × {y}"));
    }
    // A tie to a pixel's centre is half a pixel from its corner.
    let half = if pixel_is_point { 0.5 } else { 0.0 };
    let origin = Coord { x: east - (column + half) * x, y: north + (row + half) * y };
    Ok((origin, Coord { x, y }))
}

/// Channel after channel, the first three at most; in words what is there instead of numbers that can be
/// used.
fn values(decoder: &mut Decoder<BufReader<File>>) -> Result<Result<Raster, String>, TiffError> {
    let (width, height) = decoder.dimensions()?;
    let colour = decoder.colortype()?;
    let bands = match colour {
        ColorType::Gray(_) => 1,
        ColorType::GrayA(_) => 2,
        ColorType::RGB(_) => 3,
        ColorType::RGBA(_) => 4,
        ColorType::Multiband { num_samples, .. } => usize::from(num_samples),
        other => return Ok(Err(format!("{other:?}"))),
    };
    let flat: Vec<f32> = match decoder.read_image()? {
        DecodingResult::U8(values) => values.into_iter().map(f32::from).collect(),
        DecodingResult::U16(values) => values.into_iter().map(f32::from).collect(),
        DecodingResult::I16(values) => values.into_iter().map(f32::from).collect(),
        DecodingResult::F32(values) => values,
        _ => return Ok(Err(format!("{colour:?} of another kind"))),
    };
    let (width, height) = (width as usize, height as usize);
    if width == 0 || height == 0 || bands == 0 || flat.len() != width * height * bands {
        return Ok(Err(format!("{} values for {width} × {height} × {bands}", flat.len())));
    }
    let channels = if bands >= 3 { 3 } else { 1 };
    let mut raster = Raster::zeros(channels, height, width);
    for channel in 0..channels {
        let plane = raster.channel_mut(channel).iter_mut();
        for (value, pixel) in plane.zip(flat.chunks_exact(bands)) {
            *value = pixel[channel];
        }
    }
    Ok(Ok(raster))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tie_points_and_their_meaning_give_the_corner() {
        let ties = [2.0, 4.0, 0.0, 1000.0, 5000.0, 0.0];
        let (origin, size) = grid(&[0.5, 0.25, 0.0], &ties, false).unwrap();
        assert_eq!((origin.x, origin.y, size.x, size.y), (999.0, 5001.0, 0.5, 0.25));
        let (origin, _) = grid(&[0.5, 0.25, 0.0], &ties, true).unwrap();
        assert_eq!((origin.x, origin.y), (998.75, 5001.125));
        assert!(grid(&[0.0, 1.0, 0.0], &ties, false).is_err());
        assert!(grid(&[1.0, 1.0, 0.0], &[], false).is_err());
    }

    #[test]
    fn only_projections_in_metres_are_taken() {
        let keys =
            |rows: &[[u16; 4]]| [&[1, 1, 0, rows.len() as u16], rows.as_flattened()].concat();
        let model = [MODEL_TYPE, 0, 1, PROJECTED];
        let system = [PROJECTED_SYSTEM, 0, 1, 32_616];
        assert_eq!(projection(&keys(&[model, system])), Ok(32_616));
        assert_eq!(projection(&keys(&[model, system, [LINEAR_UNITS, 0, 1, METRE]])), Ok(32_616));
        assert!(projection(&keys(&[model, system, [LINEAR_UNITS, 0, 1, 9002]])).is_err());
        assert!(projection(&keys(&[[MODEL_TYPE, 0, 1, 2], system])).is_err());
        assert!(projection(&keys(&[model, [PROJECTED_SYSTEM, 0, 1, USER_DEFINED]])).is_err());
        assert!(projection(&[]).is_err());
    }
}

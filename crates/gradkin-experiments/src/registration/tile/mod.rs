//! A real image with its buildings: a GeoTIFF and polygons in GeoJSON, as a [`Scene`].

mod geotiff;
mod labels;

use std::path::Path;

use geo::{BoundingRect, Coord, MapCoords, Polygon};
use image::{ImageBuffer, Luma, imageops};

use self::geotiff::GeoImage;
use super::{Building, Raster, Result, Scene, TileError};

/// No image is resampled to more pixels on a side.
const LARGEST_SIDE: f64 = 16_384.0;

/// How a tile is read.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TileOptions {
    /// Resample to this size of a pixel on the ground; by default pixels stay as they are.
    pub metres_per_pixel: Option<f64>,
    /// The percentages of values that become 0 and 1.
    pub percentiles: (f64, f64),
    /// Buildings this near to each other, in metres, are one group, as are those near to a third one.
    pub group_reach: f64,
}

impl Default for TileOptions {
    fn default() -> Self {
        Self { metres_per_pixel: None, percentiles: (0.5, 99.5), group_reach: 25.0 }
    }
}

/// Reads an image and the buildings on it. Both must be in one projected coordinate system in metres,
/// the image with north up; labels off the image are left out. Image and labels are taken as they are:
/// whether the labels lie where the image shows buildings is another question.
pub fn read(image: &Path, labels: &Path, options: &TileOptions) -> Result<Scene> {
    let picture = geotiff::read(image)?;
    let labelled = labels::read(labels, picture.epsg)?;
    let (raster, scale) = resample(&picture, options)?;
    let [_, height, width] = raster.shape();

    let place = |c: Coord<f64>| picture.pixel(c);
    let in_pixels = labelled.iter().map(|polygon| {
        polygon.map_coords(|c| Coord { x: place(c).x * scale.x, y: place(c).y * scale.y })
    });
    let shown: Vec<Polygon<f64>> =
        in_pixels.filter(|polygon| shows(polygon, width as f64, height as f64)).collect();
    if shown.is_empty() {
        return Err(TileError::Unexpected {
            path: labels.display().to_string(),
            expected: format!("polygons on {}, which covers {}", image.display(), picture.extent()),
            found: format!("{} polygons, none of them there", labelled.len()),
        });
    }
    let metres_per_pixel = picture.pixel_size.x / scale.x;
    let groups = group(&shown, options.group_reach / metres_per_pixel);
    let buildings = shown.into_iter().zip(groups).enumerate();
    let buildings = buildings.map(|(id, (polygon, group))| Building { id, group, polygon });
    Ok(Scene { image: raster, metres_per_pixel, buildings: buildings.collect() })
}

fn shows(polygon: &Polygon<f64>, width: f64, height: f64) -> bool {
    polygon.bounding_rect().is_some_and(|bounds| {
        let (min, max) = (bounds.min(), bounds.max());
        min.x < width && max.x > 0.0 && min.y < height && max.y > 0.0
    })
}

/// The image at the size asked for, from 0 to 1, and how much larger it became along each axis.
fn resample(picture: &GeoImage, options: &TileOptions) -> Result<(Raster, Coord<f64>)> {
    let [channels, height, width] = picture.values.shape();
    let (dark, bright) = stretch(picture.values.values(), options.percentiles);
    let (columns, rows) = new_size(picture, options)?;
    let mut values = Vec::with_capacity(channels * columns as usize * rows as usize);
    for channel in 0..channels {
        let plane = picture.values.channel(channel).iter().map(|v| (v - dark) / (bright - dark));
        let plane = plane.map(|v| if v.is_nan() { 0.0 } else { v.clamp(0.0, 1.0) }).collect();
        if (columns as usize, rows as usize) == (width, height) {
            values.extend::<Vec<f32>>(plane);
            continue;
        }
        let buffer =
            ImageBuffer::<Luma<f32>, Vec<f32>>::from_raw(width as u32, height as u32, plane);
        let resized =
            buffer.map(|b| imageops::resize(&b, columns, rows, imageops::FilterType::Triangle));
        values.extend(resized.into_iter().flat_map(ImageBuffer::into_raw));
    }
    let scale = Coord { x: f64::from(columns) / width as f64, y: f64::from(rows) / height as f64 };
    let shape = [channels, rows as usize, columns as usize];
    let raster = Raster::from_values(shape, values).ok_or_else(|| TileError::Unexpected {
        path: picture.path.clone(),
        expected: format!("an image that can be resampled to {columns} × {rows} pixels"),
        found: format!("{width} × {height} pixels"),
    })?;
    Ok((raster, scale))
}

/// Columns and rows after resampling.
fn new_size(picture: &GeoImage, options: &TileOptions) -> Result<(u32, u32)> {
    let [_, height, width] = picture.values.shape();
    let Some(metres) = options.metres_per_pixel else { return Ok((width as u32, height as u32)) };
    let size = |pixels: usize, side: f64| (pixels as f64 * side / metres).round();
    let (columns, rows) = (size(width, picture.pixel_size.x), size(height, picture.pixel_size.y));
    let possible = 1.0..=LARGEST_SIDE;
    if possible.contains(&columns) && possible.contains(&rows) {
        return Ok((columns as u32, rows as u32));
    }
    Err(TileError::Unexpected {
        path: picture.path.clone(),
        expected: format!("a size of pixels that leaves 1 to {LARGEST_SIDE} pixels a side"),
        found: format!("{metres} m, which makes {columns} × {rows} pixels"),
    })
}

/// The values at two percentages, never one and the same.
fn stretch(values: &[f32], (low, high): (f64, f64)) -> (f32, f32) {
    let mut sorted: Vec<f32> = values.iter().copied().filter(|v| v.is_finite()).collect();
    sorted.sort_by(f32::total_cmp);
    let last = sorted.len().saturating_sub(1);
    let at = |percent: f64| {
        let place = (percent / 100.0 * last as f64).round().clamp(0.0, last as f64) as usize;
        sorted.get(place).copied().unwrap_or(0.0)
    };
    let (dark, bright) = (at(low), at(high));
    (dark, if bright > dark { bright } else { dark + 1.0 })
}

/// Group numbers: polygons whose boxes are within `reach` of each other share one.
fn group(polygons: &[Polygon<f64>], reach: f64) -> Vec<usize> {
    let boxes: Vec<_> = polygons.iter().map(BoundingRect::bounding_rect).collect();
    let near = |i: usize, j: usize| {
        let (Some(a), Some(b)) = (boxes[i], boxes[j]) else { return false };
        let gap = |a: (f64, f64), b: (f64, f64)| (b.0 - a.1).max(a.0 - b.1).max(0.0);
        let x = gap((a.min().x, a.max().x), (b.min().x, b.max().x));
        let y = gap((a.min().y, a.max().y), (b.min().y, b.max().y));
        x.hypot(y) <= reach
    };
    let mut groups = vec![usize::MAX; polygons.len()];
    let mut count = 0;
    for first in 0..polygons.len() {
        if groups[first] != usize::MAX {
            continue;
        }
        let mut waiting = vec![first];
        groups[first] = count;
        while let Some(one) = waiting.pop() {
            for (other, group) in groups.iter_mut().enumerate() {
                if *group == usize::MAX && near(one, other) {
                    *group = count;
                    waiting.push(other);
                }
            }
        }
        count += 1;
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registration::coverage::polygon;

    #[test]
    fn groups_are_chains_of_near_polygons() {
        let square =
            |x: f64, y: f64| polygon([(x, y), (x + 4.0, y), (x + 4.0, y + 4.0), (x, y + 4.0)]);
        let polygons = [
            square(0.0, 0.0),
            square(30.0, 0.0),
            square(7.0, 0.0),
            square(14.0, 2.0),
            square(30.0, 6.0),
        ];
        assert_eq!(group(&polygons, 3.0), [0, 1, 0, 0, 1]);
        assert_eq!(group(&polygons, 1.0), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn a_stretch_leaves_out_the_few_brightest() {
        let values: Vec<f32> = (0..1000).map(|v| if v == 999 { 1e6 } else { v as f32 }).collect();
        assert_eq!(stretch(&values, (0.5, 99.5)), (5.0, 994.0));
        assert_eq!(stretch(&[3.0; 4], (0.5, 99.5)), (3.0, 4.0));
    }
}

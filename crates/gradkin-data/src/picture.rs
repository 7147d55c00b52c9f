//! An example as a picture to look at, for contact sheets and reports.

use crate::array::ArrayData;
use crate::dataset::{Dataset, Input};
use crate::layout::Layout;

/// An 8-bit colour picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// Pixels per row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Red, green and blue of each pixel, row by row: `3 × width × height` bytes.
    pub rgb: Vec<u8>,
}

impl Dataset {
    /// Example `i` as a picture: bytes as they are, other values stretched from
    /// the example's smallest (black) to its largest (white). `None` if no input
    /// has the shape of a picture of one or three channels, if values are not
    /// finite, if the file can no longer be read, or if there is no example `i`.
    pub fn picture(&self, i: usize) -> Option<Picture> {
        if i >= self.len() {
            return None;
        }
        self.inputs.iter().find_map(|input| picture_of(input, self.row(i)))
    }
}

fn picture_of(input: &Input, row: usize) -> Option<Picture> {
    let drawn = input.storage.with_row(row, |data, offset, shape| {
        Ok(sizes(shape, input.layout).and_then(|(layout, sizes)| draw(data, offset, layout, sizes)))
    });
    drawn.ok().flatten()
}

/// The layout and height, width and channels, if `shape` is a picture's.
fn sizes(shape: &[usize], layout: Option<Layout>) -> Option<(Layout, [usize; 3])> {
    match *shape {
        [height, width] => Some((Layout::Nhwc, [height, width, 1])),
        [a, b, c] => {
            let layout = layout.or_else(|| Layout::guess(shape))?;
            let sizes = layout.sizes([a, b, c]);
            [1, 3].contains(&sizes[2]).then_some((layout, sizes))
        }
        _ => None,
    }
}

fn draw(
    data: &ArrayData,
    offset: usize,
    layout: Layout,
    [height, width, channels]: [usize; 3],
) -> Option<Picture> {
    let pixels = height * width;
    let bytes = bytes(data, offset, pixels * channels)?;
    let value = |pixel: usize, channel: usize| match layout {
        Layout::Nchw => bytes[channel * pixels + pixel],
        Layout::Nhwc => bytes[pixel * channels + channel],
    };
    // A grey picture repeats its one channel.
    let colour = |pixel: usize| (0..3).map(move |c| value(pixel, c.min(channels - 1)));
    let rgb = (0..pixels).flat_map(colour).collect();
    Some(Picture { width, height, rgb })
}

fn bytes(data: &ArrayData, offset: usize, count: usize) -> Option<Vec<u8>> {
    if let ArrayData::U8(bytes) = data {
        return bytes.get(offset..offset + count).map(<[u8]>::to_vec);
    }
    let values = (offset..offset + count).map(|i| data.f64_at(i).ok().filter(|x| x.is_finite()));
    let values: Vec<f64> = values.collect::<Option<_>>()?;
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    // Halves first, so that the difference of two huge numbers stays finite.
    let span = (high / 2.0 - low / 2.0).max(f64::MIN_POSITIVE);
    Some(values.iter().map(|x| ((x / 2.0 - low / 2.0) / span * 255.0).round() as u8).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::array::Array;

    fn picture(shape: &[usize], data: ArrayData) -> Option<Picture> {
        let shape = [&[1], shape].concat();
        let array = Array::new(shape, data).unwrap();
        Dataset::from_arrays(vec![(None, array)], None).unwrap().picture(0)
    }

    #[test]
    fn bytes_stay_and_grey_is_repeated() {
        let grey = picture(&[1, 2], ArrayData::U8(vec![7, 9])).unwrap();
        assert_eq!(grey.rgb, [7, 7, 7, 9, 9, 9]);
        let planes = picture(&[3, 1, 2], ArrayData::U8(vec![1, 2, 3, 4, 5, 6])).unwrap();
        assert_eq!(planes.rgb, [1, 3, 5, 2, 4, 6]);
    }

    #[test]
    fn other_values_are_stretched() {
        let float = picture(&[1, 3], ArrayData::F32(vec![-1.0, 0.0, 1.0])).unwrap();
        assert_eq!(float.rgb, [0, 0, 0, 128, 128, 128, 255, 255, 255]);
        let flat = picture(&[1, 1], ArrayData::F64(vec![5.0])).unwrap();
        assert_eq!(flat.rgb, [0, 0, 0]);
        let huge = picture(&[1, 2], ArrayData::F64(vec![f64::MIN, f64::MAX])).unwrap();
        assert_eq!(huge.rgb[3], 255);
    }

    #[test]
    fn what_is_no_picture_is_none() {
        assert!(picture(&[4], ArrayData::U8(vec![0; 4])).is_none());
        assert!(picture(&[2, 2, 2], ArrayData::U8(vec![0; 8])).is_none());
        assert!(picture(&[1, 1], ArrayData::F32(vec![f32::NAN])).is_none());
    }
}

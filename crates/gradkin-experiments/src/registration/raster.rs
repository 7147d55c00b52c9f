//! Numbers on a grid of pixels, channel after channel, as a network takes them.

/// Channels of rows of pixels: `values[(channel · height + row) · width + column]`.
///
/// Channels, rows and columns are indices like those of a slice: one past the end panics.
#[derive(Debug, Clone, PartialEq)]
pub struct Raster {
    channels: usize,
    height: usize,
    width: usize,
    values: Vec<f32>,
}

impl Raster {
    /// All zero.
    pub fn zeros(channels: usize, height: usize, width: usize) -> Self {
        Self { channels, height, width, values: vec![0.0; channels * height * width] }
    }

    /// From values in the order given above; none if their number does not fit.
    pub fn from_values(shape: [usize; 3], values: Vec<f32>) -> Option<Self> {
        let [channels, height, width] = shape;
        (values.len() == channels * height * width).then_some(Self {
            channels,
            height,
            width,
            values,
        })
    }

    /// Channels, height, width.
    pub fn shape(&self) -> [usize; 3] {
        [self.channels, self.height, self.width]
    }

    /// The number of channels.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// The number of rows.
    pub fn height(&self) -> usize {
        self.height
    }

    /// The number of columns.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Every value, channel after channel.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// Every value, channel after channel.
    pub fn values_mut(&mut self) -> &mut [f32] {
        &mut self.values
    }

    /// Every value, without the shape.
    pub fn into_values(self) -> Vec<f32> {
        self.values
    }

    /// One channel, row by row.
    pub fn channel(&self, channel: usize) -> &[f32] {
        let size = self.height * self.width;
        &self.values[channel * size..(channel + 1) * size]
    }

    /// One channel, row by row.
    pub fn channel_mut(&mut self, channel: usize) -> &mut [f32] {
        let size = self.height * self.width;
        &mut self.values[channel * size..(channel + 1) * size]
    }

    /// One value.
    pub fn at(&self, channel: usize, row: usize, column: usize) -> f32 {
        self.channel(channel)[row * self.width + column]
    }

    /// A part of all channels; none if it reaches past the border.
    pub fn cut(&self, top: usize, left: usize, height: usize, width: usize) -> Option<Self> {
        let fits = |start: usize, length: usize, size: usize| {
            start.checked_add(length).is_some_and(|end| end <= size)
        };
        if !fits(top, height, self.height) || !fits(left, width, self.width) {
            return None;
        }
        let mut values = Vec::with_capacity(self.channels * height * width);
        for channel in 0..self.channels {
            for row in top..top + height {
                let start = row * self.width + left;
                values.extend_from_slice(&self.channel(channel)[start..start + width]);
            }
        }
        Some(Self { channels: self.channels, height, width, values })
    }

    /// The mean of all channels.
    pub fn grey(&self) -> Self {
        let mut grey = Self::zeros(1, self.height, self.width);
        for channel in 0..self.channels {
            for (sum, value) in grey.values.iter_mut().zip(self.channel(channel)) {
                *sum += value / self.channels as f32;
            }
        }
        grey
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted() -> Raster {
        Raster::from_values([2, 3, 4], (0..24).map(|i| i as f32).collect()).unwrap()
    }

    #[test]
    fn values_must_fit_the_shape() {
        assert!(Raster::from_values([1, 2, 2], vec![0.0; 5]).is_none());
        assert_eq!(counted().shape(), [2, 3, 4]);
    }

    #[test]
    fn a_part_holds_the_values_of_its_place() {
        let part = counted().cut(1, 2, 2, 2).unwrap();
        assert_eq!(part.values(), [6.0, 7.0, 10.0, 11.0, 18.0, 19.0, 22.0, 23.0]);
        assert_eq!(part.at(1, 1, 0), 22.0);
    }

    #[test]
    fn a_part_past_the_border_is_refused() {
        assert!(counted().cut(0, 0, 3, 4).is_some());
        for (top, left, height, width) in [(1, 0, 3, 1), (0, 3, 1, 2), (usize::MAX, 0, 2, 1)] {
            assert!(counted().cut(top, left, height, width).is_none());
        }
    }

    #[test]
    fn grey_is_the_mean() {
        assert_eq!(counted().grey().values()[..3], [6.0, 7.0, 8.0]);
    }
}

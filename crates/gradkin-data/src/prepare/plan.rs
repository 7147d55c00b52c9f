//! What happens to the examples of one input: settled once, carried out per example.

use super::affine::Affine;
use super::{Preprocessing, TargetInput};
use crate::dataset::{Dataset, Input, Storage};
use crate::error::{DataError, Result, show_open_shape, show_shape};
use crate::fit::{fit, remedy};
use crate::layout::Layout;
use crate::resize::bilinear;

/// What happens to the examples of one input.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    /// Which of the data set's inputs.
    pub(super) input: usize,
    pub(super) integer: bool,
    pub(super) resize: Option<(usize, usize)>,
    /// Where the channels are in the data, if the example is a picture.
    stored: Option<Layout>,
    /// Where the channels are to be.
    layout: Option<Layout>,
    pub(super) affine: Affine,
    pub(super) shape: Vec<usize>,
}

impl Plan {
    /// How the data's input `index` becomes the network's `target`.
    pub(super) fn new(
        data: &Dataset,
        index: usize,
        target: &TargetInput,
        preprocessing: &Preprocessing,
    ) -> Result<Self> {
        let input = &data.inputs[index];
        let mut plan = Self {
            input: index,
            integer: target.integer,
            resize: None,
            stored: input.natural_layout(),
            layout: input.natural_layout(),
            affine: Affine::identity(),
            shape: Vec::new(),
        };
        let mut open = input.storage.shape();
        if !target.integer {
            plan.place(input, preprocessing, &mut open);
        }
        let shape: Option<Vec<usize>> = open.iter().copied().collect();
        let shape = shape.ok_or_else(|| unequal_sizes(&data.source, input, &target.shape))?;
        if !target.integer {
            plan.affine = Affine::new(preprocessing, &shape, plan.layout)?;
        }
        plan.shape = fit(&shape, &target.shape).ok_or_else(|| DataError::Shape {
            path: input.title(&data.source),
            found: show_shape(&shape),
            input: target.name.clone(),
            expected: show_open_shape(&target.shape),
            remedy: remedy(&shape, plan.layout, &target.shape),
        })?;
        Ok(plan)
    }

    /// Decides on resizing and layout, and brings `shape` up to date.
    fn place(&mut self, input: &Input, preprocessing: &Preprocessing, shape: &mut [Option<usize>]) {
        if let (&[_, _], Some(size)) = (&*shape, preprocessing.resize) {
            self.resize = Some(size);
            shape.copy_from_slice(&[Some(size.0), Some(size.1)]);
        }
        let (&[a, b, c], Some(natural)) = (&*shape, self.stored) else { return };
        let [mut height, mut width, channels] = natural.sizes([a, b, c]);
        if let Some(size) = preprocessing.resize {
            self.resize = Some(size);
            (height, width) = (Some(size.0), Some(size.1));
        }
        let wanted = match (preprocessing.layout, input.layout) {
            (Some(wanted), _) => wanted,
            (None, Some(_)) => Layout::Nchw,
            (None, None) => natural,
        };
        self.layout = Some(wanted);
        shape.copy_from_slice(&wanted.shape([height, width, channels]));
    }

    /// The values of one stored row after resizing and layout, before the affine map.
    pub(super) fn arrange(&self, values: Vec<f64>, shape: &[usize]) -> Vec<f64> {
        let mut sizes = match (shape, self.stored) {
            (&[height, width], _) => [height, width, 1],
            (&[a, b, c], Some(layout)) => layout.sizes([a, b, c]),
            _ => return values,
        };
        let mut values = values;
        if let Some(to) = self.resize {
            values = match self.stored {
                Some(Layout::Nchw) => values
                    .chunks_exact(sizes[0] * sizes[1])
                    .flat_map(|plane| bilinear(plane, [sizes[0], sizes[1], 1], to))
                    .collect(),
                _ => bilinear(&values, sizes, to),
            };
            (sizes[0], sizes[1]) = to;
        }
        match self.stored {
            Some(stored) if self.stored != self.layout => stored.flip(&values, sizes),
            _ => values,
        }
    }
}

impl Input {
    /// Where the channels are: as the format says, or as the shape suggests.
    fn natural_layout(&self) -> Option<Layout> {
        let shape: Option<Vec<usize>> = self.storage.shape().into_iter().collect();
        self.layout.or_else(|| Layout::guess(&shape?))
    }
}

fn unequal_sizes(source: &str, input: &Input, want: &[Option<usize>]) -> DataError {
    let example = match &input.storage {
        Storage::Images(folder) => folder.unequal().unwrap_or_default(),
        Storage::Memory(_) => String::new(),
    };
    let size = match *want {
        [Some(3 | 1), Some(h), Some(w)] | [Some(h), Some(w), _] => format!("{h}x{w}"),
        _ => "HEIGHTxWIDTH".into(),
    };
    let found = format!("pictures of several sizes ({example})");
    DataError::unsupported(source, found, format!("bring them to one with --resize {size}"))
}

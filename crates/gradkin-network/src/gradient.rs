//! The gradient of a loss: factors of a whole batch added up, never written out per example.

use candle_core::Tensor;

use crate::error::{NetworkError, Result};
use crate::factor::{Factor, Order};
use crate::forward::Pass;
use crate::sweep::{Imaged, Sink, Sweep, add};
use crate::tensor::{sum_of_products, sum_rows};

impl Factor {
    /// Σ over examples and outputs of the gradient: `[weights]`, weights in their stored order.
    pub fn sum(&self) -> candle_core::Result<Tensor> {
        match self {
            Self::Dense(gradient) => {
                let (batch, outputs, weights) = gradient.dims3()?;
                sum_rows(&gradient.contiguous()?.reshape((batch * outputs, weights))?)
            }
            Self::Outer { input, cotangent, order } => {
                let (batch, outputs, groups, positions, rows) = cotangent.dims5()?;
                let columns = input.dims()[3];
                // Every output meets the same input: Σ_c δ_c ⊗ a = (Σ_c δ_c) ⊗ a.
                let cotangent =
                    if outputs == 1 { cotangent.squeeze(1)? } else { cotangent.sum(1)? };
                // With one group, rows that lie one after another are positions of one sum.
                let (input, cotangent) = if groups == 1
                    && (positions == 1 || (input.is_contiguous() && cotangent.is_contiguous()))
                {
                    (
                        input.reshape((1, 1, batch * positions, columns))?,
                        cotangent.reshape((1, 1, batch * positions, rows))?,
                    )
                } else {
                    (input.clone(), cotangent)
                };
                let total = match order {
                    Order::CotangentFirst => sum_of_products(&cotangent, &input)?,
                    Order::InputFirst => sum_of_products(&input, &cotangent)?,
                };
                total.flatten_all()
            }
            Self::Rows { index, cotangent, rows } => {
                let (batch, _, positions, width) = cotangent.dims4()?;
                let flat = cotangent.sum(1)?.reshape((1, batch * positions, width))?;
                let index = index.contiguous()?.reshape((1, batch * positions))?;
                crate::tensor::add_rows(&flat, &index, *rows)?.flatten_all()
            }
        }
    }
}

/// Adds up the factors of a batch.
struct Sum<'s, 'a> {
    sweep: &'s Sweep<'a>,
    /// By parameter, flat.
    total: Vec<Option<Tensor>>,
}

impl Sink for Sum<'_, '_> {
    fn accept(&mut self, component: usize, factor: Factor) -> Result<()> {
        self.take(component, factor.sum()?)
    }

    /// Columns of a whole batch would go through main memory.
    fn takes_images(&self, _component: usize) -> bool {
        true
    }

    fn accept_imaged(&mut self, component: usize, factor: Imaged) -> Result<()> {
        let Some(windows) = &self.sweep.components()[component].windows else {
            return Err(NetworkError::Usage(format!("component {component} has no windows")));
        };
        let Imaged { image, cotangent } = factor;
        // Every output meets the same image.
        let outputs = cotangent.dims()[1];
        let delta = if outputs == 1 { cotangent.squeeze(1)? } else { cotangent.sum(1)? };
        let own = windows.summed_gradient(&image, &delta)?.flatten_all()?;
        self.take(component, own)
    }
}

impl Sum<'_, '_> {
    fn take(&mut self, component: usize, own: Tensor) -> Result<()> {
        let parameter = self.sweep.components()[component].parameter;
        let own = match self.sweep.held(component)? {
            None => own,
            Some(map) => {
                let len = self.sweep.network().parameters()[parameter].len();
                Tensor::zeros(len, own.dtype(), own.device())?.index_add(&map, &own, 0)?
            }
        };
        add(&mut self.total[parameter], own)
    }
}

impl Sweep<'_> {
    /// Σ over the batch of Jᵀ s for cotangents s, `[B, d, *shape]` of the output: the gradient of a
    /// loss whose derivatives by the outputs are the cotangents. One tensor of the stored shape per
    /// parameter of the network; `None` where it is not among those chosen or does not reach the
    /// output.
    pub fn gradient(&self, pass: &Pass, seeds: &Tensor) -> Result<Vec<Option<Tensor>>> {
        self.summed(pass, self.seeded(seeds)?, (seeds.dims()[0], seeds.dims()[1]))
    }

    /// The same from cotangents of any values, `[B, *shape]` each.
    pub(crate) fn gradient_from(
        &self,
        pass: &Pass,
        start: Vec<Option<Tensor>>,
        batch: usize,
    ) -> Result<Vec<Option<Tensor>>> {
        self.summed(pass, start, (batch, 1))
    }

    fn summed(
        &self,
        pass: &Pass,
        start: Vec<Option<Tensor>>,
        size: (usize, usize),
    ) -> Result<Vec<Option<Tensor>>> {
        let parameters = self.network().parameters();
        let mut sink = Sum { sweep: self, total: vec![None; parameters.len()] };
        self.sweep_back(pass, start, size, &mut sink, None)?;
        let stored = sink.total.into_iter().zip(parameters);
        let shaped = stored.map(|(total, parameter)| {
            total.map(|total| total.reshape(parameter.shape.as_slice())).transpose()
        });
        Ok(shaped.collect::<candle_core::Result<_>>()?)
    }
}

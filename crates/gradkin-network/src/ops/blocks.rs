//! DepthToSpace and SpaceToDepth: blocks of pixels exchanged with channels.

use candle_core::Tensor;

use super::{Build, Forward, Inputs, Operator, Reverse, Setup, required};
use crate::error::{OpResult, fail};
use crate::tensor::lead_shape;

pub(super) const OPERATORS: &[(&str, Build)] =
    &[("DepthToSpace", |s| Blocks::build(s, true)), ("SpaceToDepth", |s| Blocks::build(s, false))];

/// Axes split, put in another order and joined again.
#[derive(Debug)]
struct Blocks {
    split: Vec<usize>,
    order: [usize; 6],
    out: Vec<usize>,
}

impl Blocks {
    fn build(setup: &Setup, to_space: bool) -> OpResult<Box<dyn Operator>> {
        let shape = setup.shape(0)?;
        let [n, c, h, w] = *shape else { fail!("shape {shape:?} has not four axes") };
        let size = setup.attributes.int("blocksize", 0)?;
        let b = usize::try_from(size).unwrap_or(0);
        let square = b.checked_mul(b).unwrap_or(0);
        let fits = square > 0
            && if to_space {
                c.is_multiple_of(square)
            } else {
                h.is_multiple_of(b) && w.is_multiple_of(b)
            };
        if !fits {
            fail!("shape {shape:?} does not split into blocks of {size}");
        }
        let (split, order, out) = if to_space {
            let out = vec![n, c / square, h * b, w * b];
            match setup.attributes.text("mode", "DCR")? {
                "DCR" => (vec![n, b, b, c / square, h, w], [0, 3, 4, 1, 5, 2], out),
                "CRD" => (vec![n, c / square, b, b, h, w], [0, 1, 4, 2, 5, 3], out),
                other => fail!("mode `{other}` is unknown; expected DCR or CRD"),
            }
        } else {
            let out = vec![n, c * square, h / b, w / b];
            (vec![n, c, h / b, b, w / b, b], [0, 3, 5, 1, 2, 4], out)
        };
        Ok(Box::new(Self { split, order, out }))
    }
}

impl Operator for Blocks {
    fn forward(&self, inputs: &Inputs) -> OpResult<Forward> {
        let x = required(inputs, 0)?;
        let mut order = vec![0];
        order.extend(self.order.map(|axis| axis + 1));
        let split = x.contiguous()?.reshape(lead_shape(x.dims()[0], &self.split))?;
        let moved = split.permute(order)?.contiguous()?;
        Ok(moved.reshape(lead_shape(x.dims()[0], &self.out))?.into())
    }

    fn reverse(&self, sweep: &Reverse) -> OpResult<Vec<Option<Tensor>>> {
        let cotangent = sweep.cotangent()?;
        let rows = cotangent.dims()[0];
        let moved: Vec<usize> = self.order.iter().map(|axis| self.split[*axis]).collect();
        let mut inverse = vec![0; 7];
        for (to, from) in self.order.iter().enumerate() {
            inverse[from + 1] = to + 1;
        }
        let split = cotangent.contiguous()?.reshape(lead_shape(rows, &moved))?;
        let back = split.permute(inverse)?.contiguous()?;
        Ok(vec![Some(back.reshape(lead_shape(rows, sweep.shape(0)?))?)])
    }

    fn moves_entries(&self) -> bool {
        true
    }
}

//! Inverse trigonometric and hyperbolic functions, which the tensor library has not.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};

use super::elementwise::{Elementwise, Function, Slope};
use super::{Build, Operator};
use crate::error::OpResult;

type Derivative = fn(&Tensor) -> Result<Tensor>;

pub(super) const OPERATORS: &[(&str, Build)] = &[
    ("Asin", |_| unary("Asin", |x, _| map(x, f64::asin, asin), |x, _, _| asin(x))),
    ("Acos", |_| unary("Acos", |x, _| map(x, f64::acos, acos), |x, _, _| acos(x))),
    ("Atan", |_| unary("Atan", |x, _| map(x, f64::atan, atan), |x, _, _| atan(x))),
    ("Asinh", |_| unary("Asinh", |x, _| map(x, f64::asinh, asinh), |x, _, _| asinh(x))),
    ("Acosh", |_| unary("Acosh", |x, _| map(x, f64::acosh, acosh), |x, _, _| acosh(x))),
    ("Atanh", |_| unary("Atanh", |x, _| map(x, f64::atanh, atanh), |x, _, _| atanh(x))),
];

/// d asin x = 1 / √(1 − x²)
fn asin(x: &Tensor) -> Result<Tensor> {
    (1.0 - x.sqr()?)?.sqrt()?.recip()
}

/// d acos x = −1 / √(1 − x²)
fn acos(x: &Tensor) -> Result<Tensor> {
    asin(x)?.neg()
}

/// d atan x = 1 / (1 + x²)
fn atan(x: &Tensor) -> Result<Tensor> {
    (x.sqr()? + 1.0)?.recip()
}

/// d asinh x = 1 / √(x² + 1)
fn asinh(x: &Tensor) -> Result<Tensor> {
    (x.sqr()? + 1.0)?.sqrt()?.recip()
}

/// d acosh x = 1 / √(x² − 1)
fn acosh(x: &Tensor) -> Result<Tensor> {
    (x.sqr()? - 1.0)?.sqrt()?.recip()
}

/// d atanh x = 1 / (1 − x²)
fn atanh(x: &Tensor) -> Result<Tensor> {
    (1.0 - x.sqr()?)?.recip()
}

fn unary(name: &'static str, f: Function, df: Slope) -> OpResult<Box<dyn Operator>> {
    Ok(Box::new(Elementwise {
        name,
        numbers: Vec::new(),
        f,
        df: Some(df),
        straight: false,
        below: None,
    }))
}

/// A function of one number as an operation of the tensor library.
struct Map {
    f: fn(f64) -> f64,
    df: Derivative,
}

fn map(x: &Tensor, f: fn(f64) -> f64, df: Derivative) -> Result<Tensor> {
    x.contiguous()?.apply_op1(Map { f, df })
}

impl CustomOp1 for Map {
    fn name(&self) -> &'static str {
        "map"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let Some((start, end)) = layout.contiguous_offsets() else {
            candle_core::bail!("a map needs contiguous data")
        };
        let out = match storage {
            CpuStorage::F32(data) => CpuStorage::F32(
                data[start..end].iter().map(|x| (self.f)(f64::from(*x)) as f32).collect(),
            ),
            CpuStorage::F64(data) => {
                CpuStorage::F64(data[start..end].iter().map(|x| (self.f)(*x)).collect())
            }
            other => candle_core::bail!("a map over {:?} data", other.dtype()),
        };
        Ok((out, layout.shape().clone()))
    }

    fn bwd(&self, arg: &Tensor, _res: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some((grad * (self.df)(arg)?)?))
    }
}

//! The exponential function and its kin of every number: in single precision on all lanes of a vector at once, else by
//! the tensor library.
//!
//! The tensor library asks for one number after the other, which for a transformer's GELU and softmax takes more time
//! than a tenth of its sweeps.

use candle_core::{DType, Device, Result, Tensor};
use rten_simd::ops::{BitOps, FloatOps, NumOps};
use rten_simd::{Isa, SimdOp, SimdUnaryOp};
use rten_vecmath::{Exp, ExtendInit, Sigmoid, Tanh};

use super::rows::{are_ours, with};

/// e^x.
pub(crate) fn exp(x: &Tensor) -> Result<Tensor> {
    by_vectors(x, &Exp {}, Tensor::exp)
}

/// tanh x.
pub(crate) fn tanh(x: &Tensor) -> Result<Tensor> {
    by_vectors(x, &Tanh {}, Tensor::tanh)
}

/// 1 / (1 + e^−x); where e^−x overflows the result is the right one, zero.
pub(crate) fn sigmoid(x: &Tensor) -> Result<Tensor> {
    by_vectors(x, &Sigmoid {}, |x| (x.neg()?.exp()? + 1.0)?.recip())
}

/// 2/√π ∫ e^−t² dt from 0 to x.
pub(crate) fn erf(x: &Tensor) -> Result<Tensor> {
    by_vectors(x, &Erf {}, Tensor::erf)
}

/// The derivative of erf, 2/√π e^−x².
pub(crate) fn erf_slope(x: &Tensor) -> Result<Tensor> {
    const SCALE: f64 = std::f64::consts::FRAC_2_SQRT_PI;
    by_vectors(x, &Bell { rate: -1.0, height: SCALE as f32 }, |x| x.sqr()?.neg()?.exp()? * SCALE)
}

/// x Φ(x), Φ being the normal distribution function.
pub(crate) fn gelu(x: &Tensor) -> Result<Tensor> {
    by_vectors(x, &Gelu {}, |x| x * normal_cdf(x)?)
}

/// Its derivative, Φ(x) + x φ(x).
pub(crate) fn gelu_slope(x: &Tensor) -> Result<Tensor> {
    by_vectors(x, &GeluSlope {}, |x| {
        let density = ((x.sqr()? * -0.5)?.exp()? * DENSITY)?;
        normal_cdf(x)? + (x * density)?
    })
}

const DENSITY: f64 = 0.398_942_280_401_432_7; // 1/√(2π)

fn normal_cdf(x: &Tensor) -> Result<Tensor> {
    (x * std::f64::consts::FRAC_1_SQRT_2)?.erf()?.affine(0.5, 0.5)
}

/// The softmax of rows of so many numbers, if they are ours and of single precision.
pub(crate) fn softmax(x: &Tensor, size: usize) -> Result<Option<Tensor>> {
    if !is_met(x) || size == 0 {
        return Ok(None);
    }
    let mut out = Vec::with_capacity(x.elem_count());
    with(x, |x: &[f32]| {
        for row in x.chunks_exact(size) {
            out.extend_init(|room| rten_vecmath::Softmax::new(row, &mut room[..size]).dispatch());
        }
        Ok(())
    })?;
    Tensor::from_vec(out, x.shape(), &Device::Cpu).map(Some)
}

fn is_met(x: &Tensor) -> bool {
    x.dtype() == DType::F32 && are_ours(&[x])
}

fn by_vectors(
    x: &Tensor,
    function: &impl SimdUnaryOp<f32>,
    otherwise: impl Fn(&Tensor) -> Result<Tensor>,
) -> Result<Tensor> {
    if !is_met(x) {
        return otherwise(x);
    }
    let mut out = Vec::with_capacity(x.elem_count());
    with(x, |x: &[f32]| {
        out.extend_init(|room| function.map(x, &mut room[..x.len()]));
        Ok(())
    })?;
    Tensor::from_vec(out, x.shape(), &Device::Cpu)
}

/// Σ c_i x^i.
#[inline(always)]
fn polynomial<V: Copy, T: NumOps<f32, Simd = V>>(ops: T, x: V, coefficients: &[f32]) -> V {
    let highest_first = coefficients.iter().rev().map(|c| ops.splat(*c));
    highest_first.fold(ops.zero(), |sum, c| ops.mul_add(sum, x, c))
}

/// The error function to 1.2 · 2⁻²⁴ of itself. The library's own is off by seven times as much of one, so that nothing
/// is left of it near zero.
///
/// Up to one it is x + x P(x²), beyond 1 − e^−Q(x), P and Q fitted to the least largest error of erf
/// (by iteratively weighted least squares, Lawson 1961, in double precision).
#[derive(Default)]
struct Erf {}

impl SimdUnaryOp<f32> for Erf {
    #[inline(always)]
    fn eval<I: Isa>(&self, isa: I, x: I::F32) -> I::F32 {
        const P: [f32; 7] = [
            1.283_791_7e-1,
            -3.761_262_6e-1,
            1.128_358_5e-1,
            -2.685_381_3e-2,
            5.188_327_7e-3,
            -8.010_193_7e-4,
            7.853_861_5e-5,
        ];
        const Q: [f32; 7] = [
            3.415_230_3e-4,
            1.127_089_1,
            6.381_448_5e-1,
            1.031_067_5e-1,
            -2.183_806_3e-2,
            2.947_658_3e-3,
            -1.863_792e-4,
        ];
        // From here on it is one to within half of 2⁻²⁴.
        const LARGEST: f32 = 4.0;
        let ops = isa.f32();
        let near = ops.mul_add(x, polynomial(ops, ops.mul(x, x), &P), x);
        let size = ops.abs(x);
        let far = polynomial(ops, ops.min(size, ops.splat(LARGEST)), &Q);
        let far = ops.sub(ops.one(), Exp::apply(isa, ops.neg(far)));
        let far = ops.select(ops.neg(far), far, ops.lt(x, ops.zero()));
        // What is not a number stays so.
        ops.select(far, near, ops.ge(size, ops.one()))
    }
}

/// height · e^(rate · x²).
struct Bell {
    rate: f32,
    height: f32,
}

impl SimdUnaryOp<f32> for Bell {
    #[inline(always)]
    fn eval<I: Isa>(&self, isa: I, x: I::F32) -> I::F32 {
        let ops = isa.f32();
        let power = ops.mul(ops.mul(x, x), ops.splat(self.rate));
        ops.mul(Exp::apply(isa, power), ops.splat(self.height))
    }
}

/// Φ(x) = (1 + erf(x/√2)) / 2.
#[derive(Default)]
struct NormalCdf {}

impl SimdUnaryOp<f32> for NormalCdf {
    #[inline(always)]
    fn eval<I: Isa>(&self, isa: I, x: I::F32) -> I::F32 {
        let ops = isa.f32();
        let half = ops.splat(0.5);
        let erf = Erf::apply(isa, ops.mul(x, ops.splat(std::f32::consts::FRAC_1_SQRT_2)));
        ops.mul_add(erf, half, half)
    }
}

struct Gelu {}

impl SimdUnaryOp<f32> for Gelu {
    #[inline(always)]
    fn eval<I: Isa>(&self, isa: I, x: I::F32) -> I::F32 {
        isa.f32().mul(x, NormalCdf::apply(isa, x))
    }
}

struct GeluSlope {}

impl SimdUnaryOp<f32> for GeluSlope {
    #[inline(always)]
    fn eval<I: Isa>(&self, isa: I, x: I::F32) -> I::F32 {
        let density = Bell { rate: -0.5, height: DENSITY as f32 }.eval(isa, x);
        isa.f32().mul_add(x, density, NormalCdf::apply(isa, x))
    }
}

#[cfg(all(test, not(feature = "portable")))]
mod tests {
    use super::*;

    type Function = fn(&Tensor) -> Result<Tensor>;

    /// The largest error of a function in single precision against itself in double, where it is the tensor
    /// library's, in units of 2⁻²⁴ of the larger of the value and `least`.
    fn error(function: Function, (from, to): (f32, f32), least: f64) -> Result<f64> {
        const COUNT: usize = 100_003;
        let x: Vec<f32> =
            (0..COUNT).map(|i| from + (to - from) * (i as f32 / (COUNT - 1) as f32)).collect();
        let x = Tensor::new(x, &Device::Cpu)?;
        let found = function(&x)?.to_dtype(DType::F64)?.to_vec1::<f64>()?;
        let exact = function(&x.to_dtype(DType::F64)?)?.to_vec1::<f64>()?;
        let gaps = found.iter().zip(&exact).map(|(x, y)| (x - y).abs() / y.abs().max(least));
        Ok(gaps.fold(0.0, f64::max) * 2f64.powi(24))
    }

    #[test]
    fn functions_are_right_to_a_few_roundings() -> Result<()> {
        // Below it numbers lose digits.
        let tiny = f64::from(f32::MIN_POSITIVE);
        assert!(error(exp, (-104.0, 88.0), tiny)? < 2.5);
        assert!(error(tanh, (-10.0, 10.0), 0.0)? < 3.5);
        assert!(error(sigmoid, (-80.0, 20.0), 0.0)? < 4.0);
        assert!(error(erf, (-5.0, 5.0), tiny)? < 1.5);
        assert!(error(erf, (-1e-3, 1e-3), tiny)? < 1.5);
        // x² is rounded, and so many times over the more it is.
        assert!(error(erf_slope, (-2.0, 2.0), 0.0)? < 8.0);
        assert!(error(gelu, (-5.0, 5.0), 1.0)? < 3.0);
        assert!(error(gelu_slope, (-5.0, 5.0), 1.0)? < 3.0);
        Ok(())
    }

    #[test]
    fn infinities_and_undefined_numbers_are_what_the_library_makes_of_them() -> Result<()> {
        let functions: [(Function, &str); 7] = [
            (exp, "exp"),
            (tanh, "tanh"),
            (sigmoid, "sigmoid"),
            (erf, "erf"),
            (erf_slope, "erf'"),
            (gelu, "gelu"),
            (gelu_slope, "gelu'"),
        ];
        let special = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0, -0.0, 1e30, -1e30];
        for (function, name) in functions {
            let x = Tensor::new(&special, &Device::Cpu)?;
            let found = function(&x)?.to_vec1::<f32>()?;
            let wanted = function(&x.to_dtype(DType::F64)?)?.to_vec1::<f64>()?;
            for ((x, found), wanted) in special.iter().zip(found).zip(wanted) {
                let alike = f64::from(found) == wanted || found.is_nan() && wanted.is_nan();
                assert!(alike || found == wanted as f32, "{name}({x}): {found}, not {wanted}");
            }
        }
        Ok(())
    }

    /// Rows of many lengths, one of them masked in part.
    #[test]
    fn softmax_is_a_chain_of_whole_tensors() -> Result<()> {
        for size in [1, 7, 64, 129] {
            let x = (Tensor::randn(0f32, 3.0, (5, size), &Device::Cpu)? + 80.0)?;
            let mask: Vec<f32> =
                (0..size).map(|i| if i % 3 == 1 { f32::NEG_INFINITY } else { 0.0 }).collect();
            let x = x.broadcast_add(&Tensor::new(mask, &Device::Cpu)?)?;
            let Some(found) = softmax(&x, size)? else { candle_core::bail!("rows are not met") };
            let x = x.to_dtype(DType::F64)?;
            let exp = x.broadcast_sub(&x.max_keepdim(1)?)?.exp()?;
            let wanted = exp.broadcast_div(&exp.sum_keepdim(1)?)?;
            let gap =
                (found.to_dtype(DType::F64)? - &wanted)?.abs()?.max_all()?.to_scalar::<f64>()?;
            assert!(gap < 3e-7, "{size}: {gap}");
        }
        assert!(softmax(&Tensor::zeros((2, 3), DType::F64, &Device::Cpu)?, 3)?.is_none());
        Ok(())
    }
}

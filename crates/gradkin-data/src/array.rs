//! An n-dimensional array as it was stored: a shape and one flat vector of the
//! stored type, last axis fastest. Nothing is converted before somebody asks.

use crate::error::{DataError, Result, show_shape};

/// The values of an [`Array`], in the type they are kept in.
///
/// Narrower stored types widen without loss: bool to `U8`, 8- and 16-bit
/// signed and 16-bit unsigned integers to `I32`, 32-bit unsigned to `I64`,
/// 16-bit floats to `F32`.
#[derive(Debug, Clone, PartialEq)]
pub enum ArrayData {
    /// Bytes, the usual form of pictures.
    U8(Vec<u8>),
    /// 32-bit integers.
    I32(Vec<i32>),
    /// 64-bit integers.
    I64(Vec<i64>),
    /// Single-precision floats.
    F32(Vec<f32>),
    /// Double-precision floats.
    F64(Vec<f64>),
}

/// The largest integer below which every integer is exact in an `f64`.
const EXACT: i64 = 1 << 53;

impl ArrayData {
    /// The number of values.
    pub fn len(&self) -> usize {
        match self {
            Self::U8(v) => v.len(),
            Self::I32(v) => v.len(),
            Self::I64(v) => v.len(),
            Self::F32(v) => v.len(),
            Self::F64(v) => v.len(),
        }
    }

    /// Whether there are no values.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the stored type is an integer type.
    pub fn is_integer(&self) -> bool {
        matches!(self, Self::U8(_) | Self::I32(_) | Self::I64(_))
    }

    /// The stored type's name: `u8`, `i32`, `i64`, `f32` or `f64`.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::U8(_) => "u8",
            Self::I32(_) => "i32",
            Self::I64(_) => "i64",
            Self::F32(_) => "f32",
            Self::F64(_) => "f64",
        }
    }

    /// Value `i` as `f64`; the error is the integer that has no exact `f64`.
    pub(crate) fn f64_at(&self, i: usize) -> Result<f64, i64> {
        Ok(match self {
            Self::U8(v) => f64::from(v[i]),
            Self::I32(v) => f64::from(v[i]),
            Self::I64(v) if v[i].unsigned_abs() > EXACT as u64 => return Err(v[i]),
            Self::I64(v) => v[i] as f64,
            Self::F32(v) => f64::from(v[i]),
            Self::F64(v) => v[i],
        })
    }

    /// Value `i` as `i64`; the error is the float that is not a whole number in range.
    pub(crate) fn i64_at(&self, i: usize) -> Result<i64, f64> {
        match self {
            Self::U8(v) => Ok(i64::from(v[i])),
            Self::I32(v) => Ok(i64::from(v[i])),
            Self::I64(v) => Ok(v[i]),
            Self::F32(v) => whole(f64::from(v[i])),
            Self::F64(v) => whole(v[i]),
        }
    }
}

/// `x` as an integer; the error is an `x` that is none, or too large to be told exactly.
pub(crate) fn whole(x: f64) -> Result<i64, f64> {
    if x.fract() == 0.0 && x.abs() <= EXACT as f64 { Ok(x as i64) } else { Err(x) }
}

/// An n-dimensional array, row-major: the last axis is contiguous.
///
/// ```
/// use gradkin_data::{Array, ArrayData};
/// let a = Array::new(vec![2, 3], ArrayData::U8(vec![0, 1, 2, 3, 4, 5]))?;
/// assert_eq!(a.shape(), [2, 3]);
/// assert_eq!(a.to_f32()?, [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
/// # Ok::<(), gradkin_data::DataError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Array {
    shape: Vec<usize>,
    data: ArrayData,
}

impl Array {
    /// An array of `shape` over `data`; an error when the lengths disagree.
    pub fn new(shape: Vec<usize>, data: ArrayData) -> Result<Self> {
        if element_count(&shape) != Some(data.len()) {
            let shape = show_shape(&shape);
            let reason = format!("shape {shape} does not describe {} values", data.len());
            return Err(DataError::setting("array", reason));
        }
        Ok(Self { shape, data })
    }

    /// The length of each axis.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The values, last axis fastest.
    pub fn data(&self) -> &ArrayData {
        &self.data
    }

    /// The shape and the values, given away.
    pub fn into_parts(self) -> (Vec<usize>, ArrayData) {
        (self.shape, self.data)
    }

    /// The number of values.
    pub fn len(&self) -> usize {
        self.data.len()
    }

    /// Whether there are no values.
    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    /// All values rounded to `f32`; an error where one is beyond its range.
    pub fn to_f32(&self) -> Result<Vec<f32>> {
        match &self.data {
            ArrayData::F32(v) => Ok(v.clone()),
            _ => (0..self.len()).map(|i| self.convert(i, Self::f32_at)).collect(),
        }
    }

    /// All values as `f64`; an error for integers beyond ±2⁵³, which have no exact `f64`.
    pub fn to_f64(&self) -> Result<Vec<f64>> {
        match &self.data {
            ArrayData::F64(v) => Ok(v.clone()),
            _ => (0..self.len()).map(|i| self.convert(i, Self::f64_at)).collect(),
        }
    }

    /// All values as `i64`; an error for floats that are not whole numbers.
    pub fn to_i64(&self) -> Result<Vec<i64>> {
        match &self.data {
            ArrayData::I64(v) => Ok(v.clone()),
            _ => (0..self.len()).map(|i| self.convert(i, Self::i64_at)).collect(),
        }
    }

    fn f32_at(&self, i: usize) -> Result<f32, (String, &'static str)> {
        let x = self.f64_at(i)?;
        let narrow = x as f32;
        if x.is_finite() && narrow.is_infinite() {
            return Err((x.to_string(), BEYOND_F32));
        }
        Ok(narrow)
    }

    fn f64_at(&self, i: usize) -> Result<f64, (String, &'static str)> {
        self.data.f64_at(i).map_err(|x| (x.to_string(), BEYOND_EXACT))
    }

    fn i64_at(&self, i: usize) -> Result<i64, (String, &'static str)> {
        self.data.i64_at(i).map_err(|x| (x.to_string(), NOT_WHOLE))
    }

    fn convert<T>(
        &self,
        i: usize,
        get: impl Fn(&Self, usize) -> Result<T, (String, &'static str)>,
    ) -> Result<T> {
        get(self, i).map_err(|(value, reason)| {
            let row: usize = self.shape.iter().skip(1).product();
            let shape = self.shape.get(1..).unwrap_or(&[]);
            let position = position(i % row.max(1), shape);
            DataError::OutOfRange {
                path: "array".into(),
                example: i / row.max(1),
                position,
                value,
                reason,
            }
        })
    }
}

pub(crate) const BEYOND_F32: &str = "is beyond the range of a 32-bit float";
pub(crate) const BEYOND_EXACT: &str = "is an integer too large to be exact in a 64-bit float";
pub(crate) const NOT_WHOLE: &str = "is not a whole number, and a whole number is wanted";

/// The number of values in `shape`, or `None` where it overflows.
pub(crate) fn element_count(shape: &[usize]) -> Option<usize> {
    if shape.contains(&0) {
        return Some(0);
    }
    shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d))
}

/// The flat index `flat` as one index per axis of `shape`, as it is shown to people.
pub(crate) fn position(mut flat: usize, shape: &[usize]) -> String {
    let mut index = vec![0; shape.len()];
    for (place, &length) in index.iter_mut().zip(shape).rev() {
        *place = flat % length.max(1);
        flat /= length.max(1);
    }
    show_shape(&index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shape_must_describe_the_values() {
        let error = Array::new(vec![2, 2], ArrayData::U8(vec![1, 2, 3])).unwrap_err();
        assert!(error.to_string().contains("[2, 2] does not describe 3 values"));
        assert!(Array::new(vec![usize::MAX, 2], ArrayData::U8(vec![])).is_err());
        assert!(Array::new(vec![usize::MAX, 2, 0], ArrayData::U8(vec![])).is_ok());
    }

    #[test]
    fn conversions_refuse_what_does_not_fit() {
        let big = Array::new(vec![2, 1], ArrayData::F64(vec![1.5, 1e300])).unwrap();
        assert!(big.to_f32().unwrap_err().to_string().contains("example 1, position [0]: 1"));
        assert!(big.to_i64().unwrap_err().to_string().contains("1.5 is not a whole number"));
        let exact = Array::new(vec![1], ArrayData::I64(vec![i64::MIN])).unwrap();
        assert!(exact.to_f64().is_err());
        assert_eq!(exact.to_i64().unwrap(), [i64::MIN]);
        let nan = Array::new(vec![1], ArrayData::F32(vec![f32::NAN])).unwrap();
        assert!(nan.to_i64().is_err());
    }

    #[test]
    fn position_reads_row_major() {
        assert_eq!(position(7, &[2, 3, 2]), "[1, 0, 1]");
        assert_eq!(position(0, &[]), "[]");
    }
}

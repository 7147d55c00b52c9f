//! Tensors stored in the file or beside it, as typed arrays.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use rten_onnx::onnx::{DataLocation, DataType, TensorProto};

use crate::error::{NetworkError, Result};
use crate::onnx::Width;

/// The values of a stored tensor. Narrow floats are widened to f32, all integers to i64.
#[derive(Debug, Clone)]
pub(crate) enum ConstantData {
    F32(Vec<f32>),
    F64(Vec<f64>),
    I64(Vec<i64>),
    Bool(Vec<u8>),
}

/// A stored tensor.
#[derive(Debug, Clone)]
pub(crate) struct Constant {
    pub(crate) shape: Vec<usize>,
    pub(crate) data: ConstantData,
    /// The type that the file has for whole numbers.
    pub(crate) width: Option<Width>,
}

impl Constant {
    /// A tensor of floats, or of whole numbers whose width says nothing.
    pub(crate) fn new(shape: Vec<usize>, data: ConstantData) -> Self {
        Self { shape, data, width: None }
    }

    pub(crate) fn is_float(&self) -> bool {
        matches!(self.data, ConstantData::F32(_) | ConstantData::F64(_))
    }

    /// The tensor with a leading axis of one, floats in `dtype`; single numbers that are no
    /// parameters as [`exact_decimal`] has them.
    pub(crate) fn to_tensor(&self, dtype: DType, parameter: bool) -> candle_core::Result<Tensor> {
        let mut shape = vec![1];
        shape.extend(&self.shape);
        let device = &Device::Cpu;
        match &self.data {
            ConstantData::F32(v) if v.len() == 1 && !parameter && dtype == DType::F64 => {
                Tensor::from_vec(v.iter().map(|x| exact_decimal(*x)).collect(), shape, device)
            }
            ConstantData::F32(v) => Tensor::from_slice(v, shape, device)?.to_dtype(dtype),
            ConstantData::F64(v) => Tensor::from_slice(v, shape, device)?.to_dtype(dtype),
            ConstantData::I64(v) => Tensor::from_slice(v, shape, device),
            ConstantData::Bool(v) => Tensor::from_slice(v, shape, device),
        }
    }

    /// The whole numbers; `None` for anything else.
    pub(crate) fn whole(&self) -> Option<Vec<i64>> {
        match &self.data {
            ConstantData::I64(v) => Some(v.clone()),
            _ => None,
        }
    }

    /// The float values widened to f64; empty for integers.
    pub(crate) fn floats(&self) -> Vec<f64> {
        match &self.data {
            ConstantData::F32(v) => v.iter().map(|x| f64::from(*x)).collect(),
            ConstantData::F64(v) => v.clone(),
            _ => Vec::new(),
        }
    }
}

/// The number an exporter most likely rounded to reach this f32.
///
/// Exporters store constants that were written or computed in double precision (an epsilon of
/// 1e-5, the √d of attention) as f32. In float64 runs that rounding is the largest error left,
/// so the shortest decimal, or the square root of a small whole number or its reciprocal, that
/// rounds to the very same f32 is taken instead.
pub(crate) fn exact_decimal(x: f32) -> f64 {
    if !x.is_finite() || x == 0.0 {
        return f64::from(x);
    }
    let shortest = format!("{x:e}");
    let digits = shortest.chars().take_while(|c| *c != 'e').filter(char::is_ascii_digit).count();
    if digits <= 6 {
        return shortest.parse().unwrap_or_else(|_| f64::from(x));
    }
    let wide = f64::from(x.abs());
    // Attention scales by √d, 1/√d or their square roots; d is at most a few thousand.
    let powers = [0.5, -0.5, 0.25, -0.25];
    for power in powers {
        let whole = wide.powf(1.0 / power).round();
        if (2.0..=65536.0).contains(&whole) {
            let exact = whole.powf(power);
            if exact as f32 == x.abs() {
                return exact.copysign(f64::from(x));
            }
        }
    }
    f64::from(x)
}

pub(crate) fn is_float(kind: DataType) -> bool {
    [DataType::FLOAT, DataType::DOUBLE, DataType::FLOAT16, DataType::BFLOAT16].contains(&kind)
}

/// Reads tensors of one model, looking beside it for external ones.
pub(crate) struct Reader<'a> {
    model: &'a str,
    folder: Option<&'a Path>,
    /// Bytes read from each file beside the model.
    external: RefCell<HashMap<PathBuf, u64>>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(model: &'a str, folder: Option<&'a Path>) -> Self {
        Self { model, folder, external: RefCell::default() }
    }

    /// How many bytes were read from files beside the model.
    pub(crate) fn external_bytes(&self) -> usize {
        usize::try_from(self.external.borrow().values().sum::<u64>()).unwrap_or(usize::MAX)
    }

    pub(crate) fn error(&self, message: String) -> NetworkError {
        NetworkError::Model { model: self.model.into(), message }
    }

    pub(crate) fn read(&self, name: &str, tensor: &TensorProto) -> Result<Constant> {
        let kind = tensor.data_type.unwrap_or(DataType::FLOAT);
        let (shape, count) = self.shape(name, tensor)?;
        let external = tensor.data_location == Some(DataLocation::EXTERNAL);
        let bits = bit_width(kind).ok_or_else(|| {
            self.error(format!(
                "tensor `{name}` has element type {kind}, which gradkin cannot read"
            ))
        })?;
        let bytes = count.checked_mul(bits).map(|bits| bits.div_ceil(8));
        let wrong_length = |found: usize| {
            self.error(format!(
                "tensor `{name}` of shape {shape:?} ({kind}) needs {count} values but the file holds {found}"
            ))
        };
        let raw = if external {
            let size = bytes.ok_or_else(|| wrong_length(0))?;
            Some(self.external(name, tensor, size)?)
        } else {
            tensor.raw_data.as_ref().map(|cell| cell.borrow().clone())
        };
        let data = match raw {
            Some(raw) if !raw.is_empty() || count == 0 => {
                if Some(raw.len()) != bytes {
                    return Err(wrong_length(raw.len().saturating_mul(8) / bits));
                }
                from_bytes(kind, count, &raw)
            }
            _ => from_fields(kind, count, tensor),
        };
        let found = length(&data);
        if found != count {
            return Err(wrong_length(found));
        }
        Ok(Constant { shape, data, width: Width::of(kind) })
    }

    fn shape(&self, name: &str, tensor: &TensorProto) -> Result<(Vec<usize>, usize)> {
        let bad =
            || self.error(format!("tensor `{name}` has the impossible shape {:?}", tensor.dims));
        let mut count: usize = 1;
        let mut shape = Vec::with_capacity(tensor.dims.len());
        for dim in &tensor.dims {
            let dim = usize::try_from(*dim).map_err(|_| bad())?;
            count =
                count.checked_mul(dim).filter(|c| *c <= isize::MAX as usize / 8).ok_or_else(bad)?;
            shape.push(dim);
        }
        Ok((shape, count))
    }

    fn external(&self, name: &str, tensor: &TensorProto, size: usize) -> Result<Vec<u8>> {
        let entry = |key: &str| {
            tensor.external_data.iter().find(|e| e.key.as_deref() == Some(key))?.value.clone()
        };
        let location = entry("location").unwrap_or_default();
        let fail = |path: &Path, message: String| NetworkError::ExternalData {
            model: self.model.into(),
            tensor: name.into(),
            path: path.to_owned(),
            message,
        };
        let relative = Path::new(&location);
        // ONNX forbids leaving the model's folder; a hostile file must not read others.
        let inside = relative.components().all(|c| matches!(c, std::path::Component::Normal(_)));
        let Some(folder) = self.folder.filter(|_| inside && !location.is_empty()) else {
            return Err(fail(relative, "that is not a file beside the model".into()));
        };
        let path = folder.join(relative);
        let number = |key: &str| entry(key).and_then(|v| v.parse::<u64>().ok());
        let offset = number("offset").unwrap_or(0);
        if let Some(stored) = number("length").filter(|l| *l != size as u64) {
            return Err(fail(&path, format!("the model expects {size} bytes and stores {stored}")));
        }
        let open = || -> std::io::Result<Vec<u8>> {
            let mut file = std::fs::File::open(&path)?;
            let length = file.metadata()?.len();
            if offset.checked_add(size as u64).is_none_or(|end| end > length) {
                return Err(std::io::Error::other(format!(
                    "it is {length} bytes long and should hold {size} from byte {offset}"
                )));
            }
            // Tensors may share their bytes, but not so often that a small file fills the memory.
            const MOST_USES: u64 = 16;
            let mut external = self.external.borrow_mut();
            let total = external.entry(path.clone()).or_default();
            *total = total.saturating_add(size as u64);
            if *total > length.saturating_mul(MOST_USES) {
                return Err(std::io::Error::other(format!(
                    "its tensors ask for {total} bytes of a file of {length}"
                )));
            }
            file.seek(SeekFrom::Start(offset))?;
            let mut bytes = vec![0; size];
            file.read_exact(&mut bytes)?;
            Ok(bytes)
        };
        open().map_err(|e| fail(&path, e.to_string()))
    }
}

fn length(data: &ConstantData) -> usize {
    match data {
        ConstantData::F32(v) => v.len(),
        ConstantData::F64(v) => v.len(),
        ConstantData::I64(v) => v.len(),
        ConstantData::Bool(v) => v.len(),
    }
}

fn bit_width(kind: DataType) -> Option<usize> {
    Some(match kind {
        DataType::FLOAT | DataType::INT32 | DataType::UINT32 => 32,
        DataType::DOUBLE | DataType::INT64 | DataType::UINT64 => 64,
        DataType::FLOAT16 | DataType::BFLOAT16 | DataType::INT16 | DataType::UINT16 => 16,
        DataType::UINT8 | DataType::INT8 | DataType::BOOL => 8,
        DataType::UINT4 | DataType::INT4 => 4,
        _ => return None,
    })
}

/// `count` little-endian values of any kind that gradkin reads; those of four bits stand two in a
/// byte, the first in the lower half.
pub(crate) fn from_bytes(kind: DataType, count: usize, raw: &[u8]) -> ConstantData {
    fn each<const N: usize, T>(raw: &[u8], f: impl Fn([u8; N]) -> T) -> Vec<T> {
        raw.as_chunks::<N>().0.iter().map(|chunk| f(*chunk)).collect()
    }
    match kind {
        DataType::DOUBLE => ConstantData::F64(each(raw, f64::from_le_bytes)),
        DataType::FLOAT16 => ConstantData::F32(each(raw, |b| half(u16::from_le_bytes(b)))),
        DataType::BFLOAT16 => {
            ConstantData::F32(each(raw, |b| f32::from_bits(u32::from(u16::from_le_bytes(b)) << 16)))
        }
        DataType::INT64 => ConstantData::I64(each(raw, i64::from_le_bytes)),
        DataType::UINT64 => ConstantData::I64(each(raw, |b| u64::from_le_bytes(b) as i64)),
        DataType::INT32 => ConstantData::I64(each(raw, |b| i64::from(i32::from_le_bytes(b)))),
        DataType::UINT32 => ConstantData::I64(each(raw, |b| i64::from(u32::from_le_bytes(b)))),
        DataType::INT16 => ConstantData::I64(each(raw, |b| i64::from(i16::from_le_bytes(b)))),
        DataType::UINT16 => ConstantData::I64(each(raw, |b| i64::from(u16::from_le_bytes(b)))),
        DataType::INT8 => ConstantData::I64(raw.iter().map(|b| i64::from(*b as i8)).collect()),
        DataType::UINT8 => ConstantData::I64(raw.iter().map(|b| i64::from(*b)).collect()),
        DataType::BOOL => ConstantData::Bool(raw.iter().map(|b| u8::from(*b != 0)).collect()),
        DataType::INT4 | DataType::UINT4 => {
            let wrap = |half: u8| Width::of(kind).map_or(0, |width| width.wrap(i64::from(half)));
            let halves = raw.iter().flat_map(|byte| [byte & 0xf, byte >> 4]);
            ConstantData::I64(halves.map(wrap).take(count).collect())
        }
        _ => ConstantData::F32(each(raw, f32::from_le_bytes)),
    }
}

/// Small tensors may use the typed fields in place of raw bytes.
fn from_fields(kind: DataType, count: usize, tensor: &TensorProto) -> ConstantData {
    let narrow = &tensor.int32_data;
    match kind {
        DataType::DOUBLE => ConstantData::F64(tensor.double_data.clone()),
        DataType::FLOAT16 => ConstantData::F32(narrow.iter().map(|v| half(*v as u16)).collect()),
        DataType::BFLOAT16 => ConstantData::F32(
            narrow.iter().map(|v| f32::from_bits(u32::from(*v as u16) << 16)).collect(),
        ),
        DataType::INT64 | DataType::UINT64 => ConstantData::I64(tensor.int64_data.clone()),
        DataType::BOOL => ConstantData::Bool(narrow.iter().map(|v| u8::from(*v != 0)).collect()),
        DataType::FLOAT => ConstantData::F32(tensor.float_data.clone()),
        DataType::INT4 | DataType::UINT4 => {
            let bytes: Vec<u8> = narrow.iter().map(|v| *v as u8).collect();
            from_bytes(kind, count, &bytes)
        }
        _ => ConstantData::I64(narrow.iter().map(|v| i64::from(*v)).collect()),
    }
}

/// IEEE 754 half precision to single.
fn half(bits: u16) -> f32 {
    let sign = if bits & 0x8000 == 0 { 1.0 } else { -1.0 };
    let exponent = i32::from((bits >> 10) & 0x1f);
    let fraction = f32::from(bits & 0x3ff);
    sign * match exponent {
        0 => fraction * 2f32.powi(-24),
        31 if fraction == 0.0 => f32::INFINITY,
        31 => f32::NAN,
        _ => (1.0 + fraction / 1024.0) * 2f32.powi(exponent - 15),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounded_constants_are_recovered() {
        for (stored, meant) in [
            (0.1f32, 0.1),
            (1e-5, 1e-5),
            (8f32.sqrt(), 8f64.sqrt()),
            (1.0 / 8f32.sqrt(), 1.0 / 8f64.sqrt()),
            (4.0, 4.0),
            (8f64.powf(-0.25) as f32, 8f64.powf(-0.25)),
            (0.1307, 0.1307),
        ] {
            assert!((exact_decimal(stored) - meant).abs() <= 1e-15 * meant);
        }
        let weight = 0.123_456_79_f32;
        assert_eq!(exact_decimal(weight), f64::from(weight));
    }

    #[test]
    fn numbers_of_four_bits_stand_two_in_a_byte() {
        let of = |kind, count| match from_bytes(kind, count, &[0x1f, 0x80]) {
            ConstantData::I64(values) => values,
            other => panic!("{other:?}"),
        };
        assert_eq!(of(DataType::INT4, 3), [-1, 1, 0]);
        assert_eq!(of(DataType::UINT4, 4), [15, 1, 0, 8]);
    }

    #[test]
    fn halves() {
        assert_eq!(half(0x3c00), 1.0);
        assert_eq!(half(0xc000), -2.0);
        assert_eq!(half(0x0001), 2f32.powi(-24));
        assert_eq!(half(0x7bff), 65504.0);
    }
}

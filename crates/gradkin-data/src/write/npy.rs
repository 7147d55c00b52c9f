//! `.npy` out: the header first, since the shape is known, then rows as they come.

use std::io::Write;
use std::path::Path;

use crate::array::{Array, ArrayData, element_count};
use crate::error::{DataError, Result, show_shape};
use crate::npy::MAGIC;
use crate::write::AtomicFile;

/// The element type of a `.npy` file to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dtype {
    /// Bytes.
    U8,
    /// 32-bit integers.
    I32,
    /// 32-bit unsigned integers.
    U32,
    /// 64-bit integers.
    I64,
    /// Single-precision floats.
    F32,
    /// Double-precision floats.
    F64,
}

impl Dtype {
    fn descr(self) -> &'static str {
        match self {
            Self::U8 => "|u1",
            Self::I32 => "<i4",
            Self::U32 => "<u4",
            Self::I64 => "<i8",
            Self::F32 => "<f4",
            Self::F64 => "<f8",
        }
    }
}

/// Writes one array row by row; the file appears when [`finish`](Self::finish) is called.
///
/// ```
/// use gradkin_data::write::{Dtype, NpyWriter};
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("a.npy");
/// let mut writer = NpyWriter::create(&path, &[2, 3], Dtype::F32)?;
/// writer.append_f32(&[1.0, 2.0, 3.0])?;
/// writer.append_f32(&[4.0, 5.0, 6.0])?;
/// writer.finish()?;
/// assert_eq!(gradkin_data::read_npy(&path)?.shape(), [2, 3]);
/// # Ok::<(), gradkin_data::DataError>(())
/// ```
#[derive(Debug)]
pub struct NpyWriter {
    file: AtomicFile,
    shape: Vec<usize>,
    dtype: Dtype,
    total: usize,
    written: usize,
}

macro_rules! append {
    ($name:ident, $type:ty, $dtype:ident) => {
        /// Appends values, last axis fastest. An error if the file's element type is
        /// another, if there are more values than its shape has, or on a full disk.
        pub fn $name(&mut self, values: &[$type]) -> Result<()> {
            self.claim(Dtype::$dtype, values.len())?;
            let mut bytes = Vec::with_capacity(PIECE * size_of::<$type>());
            for piece in values.chunks(PIECE) {
                bytes.clear();
                bytes.extend(piece.iter().flat_map(|x| x.to_le_bytes()));
                let written = self.file.write_all(&bytes);
                written.map_err(|e| DataError::io("write", self.file.path(), e))?;
            }
            Ok(())
        }
    };
}

const PIECE: usize = 1 << 13;

impl NpyWriter {
    /// Begins a file of this shape and element type.
    pub fn create(path: impl AsRef<Path>, shape: &[usize], dtype: Dtype) -> Result<Self> {
        let path = path.as_ref();
        let total = element_count(shape).ok_or_else(|| {
            DataError::unwritable(path, format!("shape {} is too large", show_shape(shape)))
        })?;
        let mut file = AtomicFile::create(path)?;
        file.write_all(&header(shape, dtype)).map_err(|e| DataError::io("write", path, e))?;
        Ok(Self { file, shape: shape.to_vec(), dtype, total, written: 0 })
    }

    append!(append_u8, u8, U8);
    append!(append_i32, i32, I32);
    append!(append_u32, u32, U32);
    append!(append_i64, i64, I64);
    append!(append_f32, f32, F32);
    append!(append_f64, f64, F64);

    /// Gives the file its name; an error if values are missing.
    pub fn finish(self) -> Result<()> {
        if self.written != self.total {
            return Err(self.miscounted());
        }
        self.file.persist()
    }

    fn claim(&mut self, dtype: Dtype, count: usize) -> Result<()> {
        if dtype != self.dtype {
            let reason = format!("its elements are {:?}, not {dtype:?}", self.dtype);
            return Err(DataError::unwritable(self.file.path(), reason));
        }
        self.written = self.written.saturating_add(count);
        if self.written > self.total { Err(self.miscounted()) } else { Ok(()) }
    }

    fn miscounted(&self) -> DataError {
        let (written, total, shape) = (self.written, self.total, show_shape(&self.shape));
        let reason = format!("{written} values were given, but shape {shape} has {total}");
        DataError::unwritable(self.file.path(), reason)
    }
}

/// Version 1 header, padded so that the values begin at a multiple of 64.
fn header(shape: &[usize], dtype: Dtype) -> Vec<u8> {
    let lengths: Vec<String> = shape.iter().map(usize::to_string).collect();
    let comma = if shape.len() == 1 { "," } else { "" };
    let shape = format!("({}{comma})", lengths.join(", "));
    let descr = dtype.descr();
    let text = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}");
    let length = (MAGIC.len() + 4 + text.len() + 1).next_multiple_of(64) - MAGIC.len() - 4;
    let mut bytes = MAGIC.to_vec();
    bytes.extend([1, 0]);
    bytes.extend((length as u16).to_le_bytes());
    bytes.extend(format!("{text:<width$}\n", width = length - 1).as_bytes());
    bytes
}

/// Writes a whole array.
pub fn write_npy(path: impl AsRef<Path>, array: &Array) -> Result<()> {
    let create = |dtype| NpyWriter::create(path, array.shape(), dtype);
    let writer = match array.data() {
        ArrayData::U8(v) => filled(create(Dtype::U8)?, |w| w.append_u8(v)),
        ArrayData::I32(v) => filled(create(Dtype::I32)?, |w| w.append_i32(v)),
        ArrayData::I64(v) => filled(create(Dtype::I64)?, |w| w.append_i64(v)),
        ArrayData::F32(v) => filled(create(Dtype::F32)?, |w| w.append_f32(v)),
        ArrayData::F64(v) => filled(create(Dtype::F64)?, |w| w.append_f64(v)),
    };
    writer?.finish()
}

fn filled(
    mut writer: NpyWriter,
    append: impl FnOnce(&mut NpyWriter) -> Result<()>,
) -> Result<NpyWriter> {
    append(&mut writer)?;
    Ok(writer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read_npy;

    #[test]
    fn every_type_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.npy");
        for data in [
            ArrayData::U8(vec![0, 255]),
            ArrayData::I32(vec![i32::MIN, 1]),
            ArrayData::I64(vec![i64::MIN, 1]),
            ArrayData::F32(vec![f32::MIN_POSITIVE, -0.0]),
            ArrayData::F64(vec![f64::MAX, 0.1]),
        ] {
            for shape in [vec![2], vec![2, 1], vec![1, 2, 1]] {
                let array = Array::new(shape, data.clone()).unwrap();
                write_npy(&path, &array).unwrap();
                assert_eq!(read_npy(&path).unwrap(), array);
            }
        }
        let scalar = Array::new(vec![], ArrayData::F64(vec![3.0])).unwrap();
        write_npy(&path, &scalar).unwrap();
        assert_eq!(read_npy(&path).unwrap(), scalar);
    }

    #[test]
    fn values_begin_at_a_multiple_of_64() {
        for rank in 0..30 {
            assert_eq!(header(&vec![12345; rank], Dtype::F32).len() % 64, 0);
        }
    }

    #[test]
    fn a_wrong_count_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.npy");
        let mut writer = NpyWriter::create(&path, &[2, 2], Dtype::F32).unwrap();
        writer.append_f32(&[1.0, 2.0, 3.0]).unwrap();
        assert!(writer.append_f64(&[1.0]).unwrap_err().to_string().contains("F32, not F64"));
        let error = writer.finish().unwrap_err().to_string();
        assert!(error.contains("3 values were given, but shape [2, 2] has 4"), "{error}");
        let mut writer = NpyWriter::create(&path, &[1], Dtype::U32).unwrap();
        assert!(writer.append_u32(&[1, 2]).is_err());
        drop(writer);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}

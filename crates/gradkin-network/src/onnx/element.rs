//! Numbers in the element type that a file stores them in: little-endian bytes, the inverse of
//! [`from_bytes`](super::from_bytes).

use half::{bf16, f16};
use rten_onnx::onnx::DataType;

use super::constant::ConstantData;

/// The bytes of a tensor; the error says which value the type cannot hold.
pub(super) fn to_bytes(kind: DataType, data: &ConstantData) -> Result<Vec<u8>, String> {
    match data {
        ConstantData::F32(values) => floats(kind, values.iter().map(|v| f64::from(*v))),
        ConstantData::F64(values) => floats(kind, values.iter().copied()),
        ConstantData::I64(values) => whole(kind, values.iter().copied()),
        ConstantData::Bool(values) => whole(kind, values.iter().map(|v| i64::from(*v))),
    }
}

fn floats(kind: DataType, values: impl Iterator<Item = f64>) -> Result<Vec<u8>, String> {
    let each = |narrow: &dyn Fn(f64, &mut Vec<u8>) -> bool| {
        let mut out = Vec::new();
        for value in values {
            // What was finite stays finite.
            if !narrow(value, &mut out) && value.is_finite() {
                return Err(format!("{value:e} is too large for its element type {kind}"));
            }
        }
        Ok(out)
    };
    match kind {
        DataType::FLOAT => each(&|v, out| {
            out.extend((v as f32).to_le_bytes());
            (v as f32).is_finite()
        }),
        DataType::DOUBLE => each(&|v, out| {
            out.extend(v.to_le_bytes());
            true
        }),
        DataType::FLOAT16 => each(&|v, out| {
            out.extend(f16::from_f64(v).to_le_bytes());
            f16::from_f64(v).is_finite()
        }),
        DataType::BFLOAT16 => each(&|v, out| {
            out.extend(bf16::from_f64(v).to_le_bytes());
            bf16::from_f64(v).is_finite()
        }),
        _ => Err(format!("its element type {kind} holds no floats")),
    }
}

/// The low bits of whole numbers, which were read from this very type.
fn whole(kind: DataType, values: impl Iterator<Item = i64>) -> Result<Vec<u8>, String> {
    Ok(match kind {
        DataType::INT64 | DataType::UINT64 => values.flat_map(i64::to_le_bytes).collect(),
        DataType::INT32 | DataType::UINT32 => {
            values.flat_map(|v| (v as u32).to_le_bytes()).collect()
        }
        DataType::INT16 | DataType::UINT16 => {
            values.flat_map(|v| (v as u16).to_le_bytes()).collect()
        }
        DataType::INT8 | DataType::UINT8 | DataType::BOOL => values.map(|v| v as u8).collect(),
        DataType::INT4 | DataType::UINT4 => {
            let halves: Vec<u8> = values.map(|v| v as u8 & 0xf).collect();
            halves.chunks(2).map(|pair| pair[0] | pair.get(1).unwrap_or(&0) << 4).collect()
        }
        _ => return Err(format!("its element type {kind} holds no whole numbers")),
    })
}

#[cfg(test)]
mod tests {
    use super::super::from_bytes;
    use super::*;

    #[test]
    fn what_was_read_is_written() {
        let bytes: Vec<u8> = (0..48).map(|k| (k * 5 % 120) ^ ((k & 1) << 7)).collect();
        let kinds = [
            (DataType::FLOAT, 4),
            (DataType::DOUBLE, 8),
            (DataType::FLOAT16, 2),
            (DataType::BFLOAT16, 2),
            (DataType::INT64, 8),
            (DataType::UINT64, 8),
            (DataType::INT32, 4),
            (DataType::UINT32, 4),
            (DataType::INT16, 2),
            (DataType::UINT16, 2),
            (DataType::INT8, 1),
            (DataType::UINT8, 1),
        ];
        for (kind, size) in kinds {
            let data = from_bytes(kind, bytes.len() / size, &bytes);
            assert_eq!(to_bytes(kind, &data).unwrap(), bytes, "{kind}");
        }
        let data = from_bytes(DataType::INT4, 3, &[0x1f, 0x08]);
        assert_eq!(to_bytes(DataType::INT4, &data).unwrap(), [0x1f, 0x08]);
    }

    #[test]
    fn narrow_floats_are_rounded_to_the_nearest_and_never_to_infinity() {
        let bytes = |kind, value: f64| to_bytes(kind, &ConstantData::F64(vec![value]));
        assert_eq!(bytes(DataType::FLOAT16, 1.0 + 0.4 / 1024.0).unwrap(), [0x00, 0x3c]);
        assert_eq!(bytes(DataType::FLOAT16, 1.0 + 0.6 / 1024.0).unwrap(), [0x01, 0x3c]);
        assert_eq!(bytes(DataType::BFLOAT16, -2.0).unwrap(), [0x00, 0xc0]);
        assert!(bytes(DataType::FLOAT16, 7e4).unwrap_err().contains("too large"));
        assert!(bytes(DataType::FLOAT, 1e39).is_err());
        assert_eq!(bytes(DataType::FLOAT16, f64::INFINITY).unwrap(), [0x00, 0x7c]);
        assert!(bytes(DataType::INT8, 1.0).is_err());
    }
}

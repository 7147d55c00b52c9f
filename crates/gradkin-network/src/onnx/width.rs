//! Integer types. While a network runs all whole numbers are held in 64 bits; what a narrower type
//! does to them (conversions wrap, quantisation saturates) needs its range.

use rten_onnx::onnx::DataType;

/// The range of an integer type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Width {
    Signed(u32),
    Unsigned(u32),
}

impl Width {
    /// The integer type of this number in ONNX's list of element types.
    pub(crate) fn of_code(code: i64) -> Option<Self> {
        i32::try_from(code).ok().and_then(|code| Self::of(DataType(code)))
    }

    pub(crate) fn of(kind: DataType) -> Option<Self> {
        Some(match kind {
            DataType::INT4 => Self::Signed(4),
            DataType::INT8 => Self::Signed(8),
            DataType::INT16 => Self::Signed(16),
            DataType::INT32 => Self::Signed(32),
            DataType::INT64 => Self::Signed(64),
            DataType::UINT4 => Self::Unsigned(4),
            DataType::UINT8 => Self::Unsigned(8),
            DataType::UINT16 => Self::Unsigned(16),
            DataType::UINT32 => Self::Unsigned(32),
            DataType::UINT64 => Self::Unsigned(64),
            _ => return None,
        })
    }

    /// The low bits, as a conversion to the narrow type keeps them.
    pub(crate) fn wrap(self, x: i64) -> i64 {
        match self {
            Self::Signed(bits) => x << (64 - bits) >> (64 - bits),
            Self::Unsigned(64) => x,
            Self::Unsigned(bits) => x & ((1 << bits) - 1),
        }
    }

    /// The smallest and the largest number.
    pub(crate) fn range(self) -> (f64, f64) {
        match self {
            Self::Signed(bits) => (-2f64.powi(bits as i32 - 1), 2f64.powi(bits as i32 - 1) - 1.0),
            Self::Unsigned(bits) => (0.0, 2f64.powi(bits as i32) - 1.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_and_low_bits() {
        assert_eq!(Width::Signed(8).range(), (-128.0, 127.0));
        assert_eq!(Width::Unsigned(4).range(), (0.0, 15.0));
        assert_eq!(Width::Signed(4).wrap(0b1111), -1);
        assert_eq!(Width::Unsigned(8).wrap(-1), 255);
        assert_eq!(Width::Signed(64).wrap(i64::MIN), i64::MIN);
    }
}

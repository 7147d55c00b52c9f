//! NumPy's `.npy`: a magic number, a Python dictionary as text (element type,
//! axis order, shape), then the bare values. Versions 1 to 3, either byte order,
//! either axis order; the values come out row-major in the machine's order.

use std::path::Path;

use crate::array::{Array, ArrayData, element_count};
use crate::bytes::Source;
use crate::error::{DataError, Result};

pub(crate) const MAGIC: &[u8] = b"\x93NUMPY";
const FORMAT: &str = "npy";
const LONGEST_HEADER: usize = 1 << 20;

/// Reads a `.npy` file (gzipped or not) into memory.
///
/// Errors: the file cannot be read, is damaged or cut short, or holds Python
/// objects, strings, complex numbers or records.
pub fn read_npy(path: impl AsRef<Path>) -> Result<Array> {
    read(&mut Source::open(path.as_ref())?)
}

/// Reads one array and insists that the source ends with it.
pub(crate) fn read(source: &mut Source) -> Result<Array> {
    let header = read_header(source)?;
    let count = element_count(&header.shape)
        .ok_or_else(|| malformed(source, "its shape has more values than can be counted"))?;
    let data = read_values(source, count, &header)?;
    source.end(FORMAT)?;
    let (shape, data) = match header.fortran_order && header.shape.len() > 1 {
        true => (header.shape.clone(), reorder(&data, &header.shape)),
        false => (header.shape, data),
    };
    Array::new(shape, data)
}

fn malformed(source: &Source, reason: impl Into<String>) -> DataError {
    DataError::malformed(source.name(), FORMAT, reason)
}

#[derive(Debug, Default, PartialEq)]
struct Header {
    descr: String,
    fortran_order: bool,
    shape: Vec<usize>,
}

fn read_header(source: &mut Source) -> Result<Header> {
    let [start @ .., major, _minor] = source.take::<8>(FORMAT)?;
    if start != MAGIC {
        return Err(malformed(source, "it does not begin with \\x93NUMPY"));
    }
    let length = match major {
        1 => u16::from_le_bytes(source.take(FORMAT)?) as usize,
        2 | 3 => u32::from_le_bytes(source.take(FORMAT)?) as usize,
        _ => return Err(malformed(source, format!("version {major} is unknown; 1 to 3 are read"))),
    };
    if length > LONGEST_HEADER {
        return Err(malformed(source, format!("its header is {length} bytes long")));
    }
    let text = source.take_vec(length, FORMAT)?;
    let text = String::from_utf8_lossy(&text);
    let parsed = HeaderText { rest: &text }.parse();
    parsed.ok_or_else(|| malformed(source, format!("its header cannot be read: {}", text.trim())))
}

/// A reader of the one dictionary NumPy writes.
struct HeaderText<'a> {
    rest: &'a str,
}

impl HeaderText<'_> {
    fn parse(mut self) -> Option<Header> {
        let mut header = Header::default();
        let mut seen = [false; 3];
        self.expect('{')?;
        while !self.accept('}') {
            let key = self.string()?;
            self.expect(':')?;
            match key.as_str() {
                "descr" => (header.descr, seen[0]) = (self.descr()?, true),
                "fortran_order" => (header.fortran_order, seen[1]) = (self.boolean()?, true),
                "shape" => (header.shape, seen[2]) = (self.tuple()?, true),
                _ => return None,
            }
            self.accept(',');
        }
        (seen == [true; 3]).then_some(header)
    }

    fn accept(&mut self, c: char) -> bool {
        let trimmed = self.rest.trim_start();
        let rest = trimmed.strip_prefix(c);
        self.rest = rest.unwrap_or(trimmed);
        rest.is_some()
    }

    fn expect(&mut self, c: char) -> Option<()> {
        self.accept(c).then_some(())
    }

    fn string(&mut self) -> Option<String> {
        let quote = if self.accept('"') { '"' } else { self.accept('\'').then_some('\'')? };
        let (text, rest) = self.rest.split_once(quote)?;
        self.rest = rest;
        Some(text.into())
    }

    /// The element type; a list is how records are described, and is given back as it stands.
    fn descr(&mut self) -> Option<String> {
        if !self.accept('[') {
            return self.string();
        }
        let (fields, rest) = self.rest.split_once(']')?;
        self.rest = rest;
        Some(format!("[{fields}]"))
    }

    fn boolean(&mut self) -> Option<bool> {
        self.accept(' ');
        let (value, length) = match self.rest {
            rest if rest.starts_with("True") => (true, 4),
            rest if rest.starts_with("False") => (false, 5),
            _ => return None,
        };
        self.rest = &self.rest[length..];
        Some(value)
    }

    fn tuple(&mut self) -> Option<Vec<usize>> {
        self.expect('(')?;
        let mut lengths = Vec::new();
        while !self.accept(')') {
            let digits = self.rest.find(|c: char| !c.is_ascii_digit())?;
            lengths.push(self.rest[..digits].parse().ok()?);
            self.rest = &self.rest[digits..];
            self.accept('L');
            self.accept(',');
        }
        Some(lengths)
    }
}

fn read_values(source: &mut Source, count: usize, header: &Header) -> Result<ArrayData> {
    let (order, kind) = header.descr.split_at_checked(1).unwrap_or(("", ""));
    let big = match order {
        "<" | "|" => false,
        "=" => cfg!(target_endian = "big"),
        ">" => true,
        _ => return Err(unsupported(source, &header.descr)),
    };
    macro_rules! read {
        ($type:ty, $variant:ident, $convert:expr) => {{
            let convert = $convert;
            ArrayData::$variant(source.elements(count, FORMAT, move |bytes| {
                convert(if big {
                    <$type>::from_be_bytes(bytes)
                } else {
                    <$type>::from_le_bytes(bytes)
                })
            })?)
        }};
    }
    Ok(match kind {
        "b1" => read!(u8, U8, |x: u8| u8::from(x != 0)),
        "u1" => read!(u8, U8, |x| x),
        "i1" => read!(i8, I32, i32::from),
        "i2" => read!(i16, I32, i32::from),
        "u2" => read!(u16, I32, i32::from),
        "i4" => read!(i32, I32, |x| x),
        "u4" => read!(u32, I64, i64::from),
        "i8" => read!(i64, I64, |x| x),
        "u8" => return read_u64(source, count, big),
        "f2" => read!(half::f16, F32, half::f16::to_f32),
        "f4" => read!(f32, F32, |x| x),
        "f8" => read!(f64, F64, |x| x),
        _ => return Err(unsupported(source, &header.descr)),
    })
}

fn read_u64(source: &mut Source, count: usize, big: bool) -> Result<ArrayData> {
    let values = source.elements(count, FORMAT, |bytes| {
        i64::try_from(if big { u64::from_be_bytes(bytes) } else { u64::from_le_bytes(bytes) })
    })?;
    let values = values.into_iter().collect::<Result<Vec<i64>, _>>();
    let values = values.map_err(|_| {
        let remedy = "save them as int64 or float64";
        DataError::unsupported(source.name(), "unsigned integers beyond 2^63", remedy)
    })?;
    Ok(ArrayData::I64(values))
}

fn unsupported(source: &Source, descr: &str) -> DataError {
    let kind = descr.get(1..2).unwrap_or("");
    let (found, remedy) = match kind {
        _ if descr.starts_with('[') => ("records", "save one plain array per field"),
        "O" => (
            "pickled Python objects (dtype object)",
            "save a plain number array, e.g. numpy.save(path, numpy.stack(list))",
        ),
        "U" | "S" | "a" => ("text", "save a text file with one value per line instead"),
        "c" => ("complex numbers", "save real and imaginary part as two channels"),
        "M" | "m" => ("dates", "save them as float64"),
        _ => ("elements of an unknown type", "save as float32, float64 or an integer type"),
    };
    DataError::unsupported(source.name(), format!("{found} ({descr})"), remedy)
}

/// Column-major values of `shape` in row-major order.
fn reorder(data: &ArrayData, shape: &[usize]) -> ArrayData {
    match data {
        ArrayData::U8(v) => ArrayData::U8(row_major(v, shape)),
        ArrayData::I32(v) => ArrayData::I32(row_major(v, shape)),
        ArrayData::I64(v) => ArrayData::I64(row_major(v, shape)),
        ArrayData::F32(v) => ArrayData::F32(row_major(v, shape)),
        ArrayData::F64(v) => ArrayData::F64(row_major(v, shape)),
    }
}

fn row_major<T: Copy>(values: &[T], shape: &[usize]) -> Vec<T> {
    let strides: Vec<usize> = shape
        .iter()
        .scan(1, |stride, &length| {
            let this = *stride;
            *stride *= length;
            Some(this)
        })
        .collect();
    let mut index = vec![0; shape.len()];
    let mut offset = 0;
    let mut out = Vec::with_capacity(values.len());
    for _ in 0..values.len() {
        out.push(values[offset]);
        for axis in (0..shape.len()).rev() {
            index[axis] += 1;
            offset += strides[axis];
            if index[axis] < shape[axis] {
                break;
            }
            offset -= strides[axis] * shape[axis];
            index[axis] = 0;
        }
    }
    out
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn npy(descr: &str, fortran: bool, shape: &str, body: &[u8]) -> Vec<u8> {
        let fortran = if fortran { "True" } else { "False" };
        let header =
            format!("{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape}, }}\n");
        let mut bytes = MAGIC.to_vec();
        bytes.extend([1, 0]);
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.extend(body);
        bytes
    }

    fn read_bytes(bytes: &[u8]) -> Result<Array> {
        read(&mut Source::memory(bytes))
    }

    #[test]
    fn column_major_is_put_in_row_order() {
        let array = read_bytes(&npy("|u1", true, "(2, 3)", &[1, 4, 2, 5, 3, 6])).unwrap();
        assert_eq!(array.data(), &ArrayData::U8(vec![1, 2, 3, 4, 5, 6]));
    }

    #[test]
    fn both_byte_orders() {
        let big = read_bytes(&npy(">i2", false, "(2,)", &[0, 1, 255, 255])).unwrap();
        let small = read_bytes(&npy("<i2", false, "(2L,)", &[1, 0, 255, 255])).unwrap();
        assert_eq!(big.data(), &ArrayData::I32(vec![1, -1]));
        assert_eq!(big, small);
    }

    #[test]
    fn refusals_say_why() {
        let say = |bytes: &[u8]| read_bytes(bytes).unwrap_err().to_string();
        assert!(say(&npy("|O", false, "(2,)", b"\x80\x04")).contains("pickled Python objects"));
        assert!(say(&npy("<U5", false, "(2,)", b"")).contains("one value per line"));
        let petabyte = say(&npy("<f8", false, "(1000000, 1000000, 1000)", &[0; 16]));
        assert!(petabyte.contains("but there are 16"), "{petabyte}");
        let huge = npy("<f8", false, "(18446744073709551615, 9)", &[]);
        assert!(say(&huge).contains("more values than can be counted"));
        assert!(say(&npy("|u1", false, "(2,)", &[1])).contains("calls for 2 bytes"));
        assert!(say(&npy("|u1", false, "(1,)", &[1, 2])).contains("more bytes than"));
        assert!(say(b"\x93NUMPY\x09\0").contains("version 9"));
        assert!(say(b"\x93NU").contains("ends early"));
        assert!(say(&npy("<u8", false, "(1,)", &[255; 8])).contains("2^63"));
    }

    #[test]
    fn header_survives_any_text() {
        for text in ["", "{", "{'descr': ", "{'shape': (3", "{'shape': (é,)}", "{'x': 1}", "}"] {
            assert_eq!(HeaderText { rest: text }.parse(), None, "{text}");
        }
    }
}

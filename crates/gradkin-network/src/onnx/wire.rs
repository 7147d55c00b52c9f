//! The bytes of a model as protobuf has them: a look over them before they are decoded, and the
//! fields one by one.
//!
//! The decoder of rten-onnx 0.27 never returns from a varint of ten bytes that does not end, which a
//! damaged file may well hold. So the parts of the file that it will read as messages and varints are
//! walked first: every varint must end, and every length must lie inside what surrounds it.

/// What a length-delimited field holds.
#[derive(Clone, Copy)]
enum Content {
    Bytes,
    Varints,
    Message(&'static Message),
}

/// The fields of a message that hold more than bytes.
struct Message(&'static [(u64, Content)]);

use Content::{Message as Sub, Varints};

static MODEL: Message =
    Message(&[(7, Sub(&GRAPH)), (8, Sub(&PLAIN)), (14, Sub(&PLAIN)), (25, Sub(&FUNCTION))]);
static GRAPH: Message = Message(&[
    (1, Sub(&NODE)),
    (5, Sub(&TENSOR)),
    (11, Sub(&VALUE)),
    (12, Sub(&VALUE)),
    (13, Sub(&VALUE)),
    (16, Sub(&PLAIN)),
]);
static NODE: Message = Message(&[(5, Sub(&ATTRIBUTE))]);
static ATTRIBUTE: Message =
    Message(&[(5, Sub(&TENSOR)), (6, Sub(&GRAPH)), (7, Varints), (8, Varints)]);
static TENSOR: Message = Message(&[(1, Varints), (5, Varints), (7, Varints), (13, Sub(&PLAIN))]);
static VALUE: Message = Message(&[(2, Sub(&TYPE)), (4, Sub(&PLAIN))]);
static TYPE: Message = Message(&[(1, Sub(&TENSOR_TYPE)), (4, Sub(&SEQUENCE))]);
static TENSOR_TYPE: Message = Message(&[(2, Sub(&SHAPE))]);
static SEQUENCE: Message = Message(&[(1, Sub(&TYPE))]);
static SHAPE: Message = Message(&[(1, Sub(&PLAIN))]);
static FUNCTION: Message = Message(&[(7, Sub(&NODE)), (9, Sub(&PLAIN)), (11, Sub(&ATTRIBUTE))]);
/// A message of plain fields.
static PLAIN: Message = Message(&[]);

/// Messages inside messages deeper than this are no model.
const DEEPEST: usize = 100;

/// Walk a model file; the error says at which byte it stops making sense.
pub(super) fn check(bytes: &[u8]) -> Result<(), String> {
    walk(bytes, 0, &MODEL, 0)
}

fn walk(bytes: &[u8], start: usize, message: &Message, depth: usize) -> Result<(), String> {
    let broken = |at: usize, what: &str| Err(format!("{what} at byte {}", start + at));
    if depth > DEEPEST {
        return broken(0, "messages are nested too deeply");
    }
    let mut at = 0;
    while at < bytes.len() {
        let field = match next(bytes, &mut at) {
            Ok(field) => field,
            Err(what) => return broken(at, what),
        };
        if field.kind != Field::BYTES {
            continue;
        }
        let inner = at - field.content.len();
        let content = message.0.iter().find(|(number, _)| *number == field.number);
        match content.map_or(Content::Bytes, |(_, content)| *content) {
            Content::Bytes => {}
            Content::Message(message) => walk(field.content, start + inner, message, depth + 1)?,
            Content::Varints => {
                let mut place = 0;
                while place < field.content.len() {
                    if varint(field.content, &mut place).is_none() {
                        return broken(inner + place, "a broken number");
                    }
                }
            }
        }
    }
    Ok(())
}

/// One field of a message as it stands in the bytes.
pub(super) struct Field<'a> {
    pub(super) number: u64,
    /// How it is written, the low three bits of its tag.
    pub(super) kind: u64,
    /// Tag, length and content.
    pub(super) whole: &'a [u8],
    /// What it holds; empty where that is a number.
    pub(super) content: &'a [u8],
    /// The number that it holds, where it holds one of varying length.
    pub(super) value: u64,
}

impl Field<'_> {
    /// Written with its length before it.
    pub(super) const BYTES: u64 = 2;
}

/// The field that begins at `at`, which moves behind it; the error says what is wrong there.
pub(super) fn next<'a>(bytes: &'a [u8], at: &mut usize) -> Result<Field<'a>, &'static str> {
    const NUMBER: &str = "a broken number";
    let start = *at;
    let tag = varint(bytes, at).ok_or(NUMBER)?;
    let (number, kind) = (tag >> 3, tag & 7);
    let mut value = 0;
    let length = match kind {
        0 => {
            value = varint(bytes, at).ok_or(NUMBER)?;
            0
        }
        1 => 8,
        5 => 4,
        Field::BYTES => varint(bytes, at).ok_or(NUMBER)?,
        _ => return Err("an unknown kind of field"),
    };
    let end = usize::try_from(length).ok().and_then(|length| at.checked_add(length));
    let end =
        end.filter(|end| *end <= bytes.len()).ok_or("a field that is longer than the rest")?;
    let content = &bytes[*at..end];
    *at = end;
    Ok(Field { number, kind, whole: &bytes[start..end], content, value })
}

/// Write a number of varying length.
fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Write a field that holds a number.
pub(crate) fn put_number(out: &mut Vec<u8>, number: u64, value: u64) {
    put_varint(out, number << 3);
    put_varint(out, value);
}

/// Write a field that holds a float32.
pub(crate) fn put_float(out: &mut Vec<u8>, number: u64, value: f32) {
    put_varint(out, number << 3 | 5);
    out.extend(value.to_le_bytes());
}

/// Write a field that holds bytes, a text or a message.
pub(crate) fn put_bytes(out: &mut Vec<u8>, number: u64, content: &[u8]) {
    put_varint(out, number << 3 | Field::BYTES);
    put_varint(out, content.len() as u64);
    out.extend_from_slice(content);
}

/// A number of up to ten bytes, seven bits each, the last below 128.
fn varint(bytes: &[u8], at: &mut usize) -> Option<u64> {
    let mut value = 0u64;
    for index in 0..10 {
        let byte = *bytes.get(*at)?;
        *at += 1;
        value |= u64::from(byte & 0x7f).checked_shl(7 * index)?;
        if byte < 0x80 {
            return (index < 9 || byte <= 1).then_some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endless_numbers_and_long_fields_are_found() {
        assert!(check(&[]).is_ok());
        // ir_version = 8, then a graph of two bytes: a node of none.
        assert!(check(&[0x08, 8, 0x3a, 2, 0x0a, 0]).is_ok());
        assert!(
            check(&[0x08, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80]).is_err()
        );
        assert!(check(&[0x3a, 3, 0x0a, 0]).is_err());
        assert!(check(&[0x3a, 2, 0x0a, 1]).is_err());
        assert!(check(&[0x0b, 0]).is_err());
    }
}

//! A look over the bytes of a model before they are decoded.
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
        let Some(tag) = varint(bytes, &mut at) else { return broken(at, "a broken number") };
        let length = match tag & 7 {
            0 => match varint(bytes, &mut at) {
                Some(_) => 0,
                None => return broken(at, "a broken number"),
            },
            1 => 8,
            5 => 4,
            2 => match varint(bytes, &mut at) {
                Some(length) => length,
                None => return broken(at, "a broken number"),
            },
            _ => return broken(at, "an unknown kind of field"),
        };
        let end = usize::try_from(length).ok().and_then(|length| at.checked_add(length));
        let Some(end) = end.filter(|end| *end <= bytes.len()) else {
            return broken(at, "a field that is longer than the rest");
        };
        let inner = &bytes[at..end];
        if tag & 7 == 2 {
            let content = message.0.iter().find(|(field, _)| *field == tag >> 3);
            match content.map_or(Content::Bytes, |(_, content)| *content) {
                Content::Bytes => {}
                Content::Message(message) => walk(inner, start + at, message, depth + 1)?,
                Content::Varints => {
                    let mut place = 0;
                    while place < inner.len() {
                        if varint(inner, &mut place).is_none() {
                            return broken(at + place, "a broken number");
                        }
                    }
                }
            }
        }
        at = end;
    }
    Ok(())
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

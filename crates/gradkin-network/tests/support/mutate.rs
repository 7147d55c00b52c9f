//! Changes of models that still are models. Bytes flipped at random mostly fail to decode, and what
//! lies behind the decoder is never reached.

use gradkin_network::{Model, NetworkError, supported_operators};
use rten_onnx::onnx::{GraphProto, ModelProto, NodeProto, TensorProto};

/// Numbers that have broken code before.
const NUMBERS: [i64; 16] =
    [0, 1, -1, 2, 3, -2, 5, 7, 8, 16, 255, 1 << 20, 1 << 31, 1 << 40, i64::MAX, i64::MIN];

/// splitmix64.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, count: usize) -> usize {
        (self.next() % count.max(1) as u64) as usize
    }

    fn number(&mut self) -> i64 {
        // Mostly small: large ones make large tensors, which take their time.
        match self.below(4) {
            0 => NUMBERS[self.below(NUMBERS.len())],
            _ => self.below(9) as i64 - 2,
        }
    }

    fn of<'a, T>(&mut self, list: &'a mut [T]) -> Option<&'a mut T> {
        let at = self.below(list.len());
        list.get_mut(at)
    }
}

/// The model with one thing changed, or `None` where there is none in these bytes.
pub(crate) fn mutated(bytes: &[u8], random: &mut Random) -> Option<Vec<u8>> {
    // The decoder alone may never return from damaged bytes; the loader looks them over first.
    if let Err(NetworkError::NotOnnx { .. }) = Model::from_bytes(bytes, "a model to change") {
        return None;
    }
    let mut model = ModelProto::parse_buf(bytes).ok()?;
    let graph = model.graph.as_mut()?;
    for _ in 0..1 + random.below(3) {
        match random.below(8) {
            0 | 1 => attribute(random.of(&mut graph.node)?, random),
            2 => stored(random.of(&mut graph.initializer)?, random),
            3 => axis(graph, random),
            4 => wire(graph, random)?,
            5 => {
                let known = supported_operators();
                let operator = known[random.below(known.len())].to_owned();
                random.of(&mut graph.node)?.op_type = Some(operator);
            }
            6 => {
                let node = random.of(&mut graph.node)?;
                node.input.truncate(random.below(node.input.len()));
            }
            _ => {
                if let Some(set) = random.of(&mut model.opset_import) {
                    set.version = Some(7 + random.below(18) as i64);
                }
            }
        }
    }
    model.write_buf().ok()
}

fn attribute(node: &mut NodeProto, random: &mut Random) {
    let Some(attribute) = random.of(&mut node.attribute) else { return };
    let number = random.number();
    attribute.i = attribute.i.map(|_| number);
    attribute.f = attribute.f.map(|_| number as f32);
    if random.below(4) == 0 {
        attribute.ints.push(number);
    } else if let Some(value) = random.of(&mut attribute.ints) {
        *value = number;
    }
    if let Some(value) = random.of(&mut attribute.floats) {
        *value = number as f32;
    }
    if let Some(tensor) = &mut attribute.t {
        stored(tensor, random);
    }
}

fn stored(tensor: &mut TensorProto, random: &mut Random) {
    let number = random.number();
    if random.below(3) == 0 {
        if let Some(size) = random.of(&mut tensor.dims) {
            *size = number;
        }
        return;
    }
    if let Some(value) = random.of(&mut tensor.int64_data) {
        *value = number;
    }
    if let Some(raw) = &tensor.raw_data {
        let mut raw = raw.borrow_mut();
        // Eight bytes is a whole number, which shapes and axes are.
        let at = random.below(raw.len() / 8) * 8;
        if let Some(bytes) = raw.get_mut(at..at + 8) {
            bytes.copy_from_slice(&number.to_le_bytes());
        }
    }
}

/// One size of a declared input, which a stored tensor of the same name does not have.
fn axis(graph: &mut GraphProto, random: &mut Random) {
    let number = random.number();
    let input = random.of(&mut graph.input).and_then(|input| input.r#type.as_mut());
    let tensor = input.and_then(|kind| kind.tensor_type.as_mut());
    let shape = tensor.and_then(|tensor| tensor.shape.as_mut());
    if let Some(dim) = shape.and_then(|shape| random.of(&mut shape.dim)) {
        dim.dim_value = Some(number);
        dim.dim_param = None;
    }
}

/// One input of a node read from somewhere else.
fn wire(graph: &mut GraphProto, random: &mut Random) -> Option<()> {
    let at = random.below(graph.node.len());
    let before = graph.node.get(..at)?.iter().flat_map(|node| node.output.clone());
    let given = graph.input.iter().filter_map(|input| input.name.clone());
    let held = graph.initializer.iter().filter_map(|tensor| tensor.name.clone());
    let names: Vec<String> = before.chain(given).chain(held).chain([String::new()]).collect();
    let name = names[random.below(names.len())].clone();
    let inputs = &mut graph.node.get_mut(at)?.input;
    match random.below(3) {
        0 => inputs.push(name),
        _ => *random.of(inputs)? = name,
    }
    Some(())
}

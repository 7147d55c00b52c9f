//! The values of stored tensors, read and changed.

use std::collections::HashMap;

use crate::error::{NetworkError, Result};
use crate::onnx::{Constant, ConstantData, Model};
use crate::parameters::{self, Found};

impl Model {
    /// The values of a stored tensor of floats; `None` where the file has none of this name.
    pub fn values(&self, name: &str) -> Option<Vec<f64>> {
        let stored = self.initializers.iter().find(|(stored, _)| stored == name);
        let constant = match stored {
            Some((_, constant)) => constant.clone(),
            None => parameters::constant_nodes(self).into_iter().find(|(n, _)| n == name)?.1,
        };
        constant.is_float().then(|| constant.floats())
    }

    /// Give a stored tensor of floats other values, rounded to the float type of the file.
    ///
    /// A tied weight that the file stores several times changes everywhere, transposed where it is
    /// stored so. Which tensors count as parameters stays as it was.
    ///
    /// # Errors
    ///
    /// Where no tensor of floats has this name, where the number of values is another, and where a
    /// finite value is too large for the type. Nothing is changed then.
    ///
    /// ```
    /// # fn main() -> Result<(), gradkin_network::NetworkError> {
    /// # let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/reference/toy_mlp/model.onnx");
    /// let mut model = gradkin_network::Model::open(path)?;
    /// let name = model.parameters().0[0].name.clone();
    /// let halved: Vec<f64> = model.values(&name).unwrap_or_default().iter().map(|v| v / 2.0).collect();
    /// model.set_values(&name, &halved)?;
    /// assert_eq!(model.values(&name), Some(halved));
    /// # Ok(()) }
    /// ```
    pub fn set_values(&mut self, name: &str, values: &[f64]) -> Result<()> {
        self.set_all_values(&[(name, values)])
    }

    /// [`set_values`](Self::set_values) for many tensors at once, all of them or none. The network is
    /// looked through only once, so prefer this for a whole set of weights.
    pub fn set_all_values(&mut self, tensors: &[(&str, &[f64])]) -> Result<()> {
        let found = parameters::find(self);
        let inline = parameters::constant_nodes(self);
        let stored: HashMap<&str, &Constant> =
            self.initializers.iter().chain(&inline).map(|(n, c)| (n.as_str(), c)).collect();
        let wrong = |message| Err(NetworkError::Usage(format!("{}: {message}", self.source)));
        let mut new: HashMap<String, Constant> = HashMap::with_capacity(tensors.len());
        for (name, values) in tensors {
            let Some(old) = stored.get(name).filter(|constant| constant.is_float()) else {
                return wrong(format!("no stored tensor of floats is called `{name}`"));
            };
            let value = match like(old, values) {
                Ok(value) => value,
                Err(message) => return wrong(format!("tensor `{name}` {message}")),
            };
            for (name, value) in everywhere(&found, name, value) {
                match new.get(&name) {
                    Some(before) if !same(before, &value) => {
                        return wrong(format!(
                            "`{name}` is given twice, or is one tied weight with another tensor \
                             that is given other values"
                        ));
                    }
                    _ => new.insert(name, value),
                };
            }
        }
        self.put(new, &found);
        Ok(())
    }

    /// Put other values in the place of some tensors; what was decided of all tensors stays.
    pub(crate) fn put<K>(&mut self, mut values: HashMap<K, Constant>, found: &Found)
    where
        K: std::borrow::Borrow<str> + Eq + std::hash::Hash,
    {
        self.verdicts = found.verdicts();
        for (name, constant) in &mut self.initializers {
            if let Some(value) = values.remove(name.as_str()) {
                *constant = value;
            }
        }
        for node in self.nodes.iter_mut().filter(|node| node.operator == "Constant") {
            let output = node.outputs.first().map(String::as_str);
            if let Some(value) = output.and_then(|name| values.remove(name)) {
                node.attributes.set_constant(value);
            }
        }
    }
}

/// Other values in the shape and type of a tensor.
fn like(old: &Constant, values: &[f64]) -> Result<Constant, String> {
    let count: usize = old.shape.iter().product();
    if values.len() != count {
        let (shape, given) = (&old.shape, values.len());
        return Err(format!("of shape {shape:?} holds {count} values and was given {given}"));
    }
    let data = match &old.data {
        ConstantData::F64(_) => ConstantData::F64(values.to_vec()),
        _ => {
            let narrow: Vec<f32> = values.iter().map(|v| *v as f32).collect();
            let large = narrow.iter().zip(values).find(|(n, v)| n.is_infinite() && v.is_finite());
            if let Some((_, value)) = large {
                return Err(format!("cannot hold {value:e}, which is too large for float32"));
            }
            ConstantData::F32(narrow)
        }
    };
    Ok(Constant::new(old.shape.clone(), data))
}

/// The tensor, and those that hold the same parameter once more, each as it is stored.
fn everywhere(found: &Found, name: &str, value: Constant) -> Vec<(String, Constant)> {
    let turned = |name: &str| found.copies.get(name).is_some_and(|copy| copy.transposed);
    let parameter = match found.copies.get(name) {
        Some(copy) => found.parameters.get(copy.parameter),
        None => found.parameters.iter().find(|p| p.name == name && !p.copies.is_empty()),
    };
    let Some(parameter) = parameter else { return vec![(name.to_owned(), value)] };
    let upright = oriented(&value, turned(name));
    let names = std::iter::once(&parameter.name).chain(&parameter.copies);
    names.map(|name| (name.clone(), oriented(&upright, turned(name)))).collect()
}

/// The tensor, its two axes exchanged where asked for.
pub(crate) fn oriented(constant: &Constant, turn: bool) -> Constant {
    fn turned<T: Copy>(values: &[T], rows: usize, columns: usize) -> Vec<T> {
        (0..columns).flat_map(|c| (0..rows).map(move |r| values[r * columns + c])).collect()
    }
    let (true, [rows, columns]) = (turn, &constant.shape[..]) else { return constant.clone() };
    let data = match &constant.data {
        ConstantData::F32(v) => ConstantData::F32(turned(v, *rows, *columns)),
        ConstantData::F64(v) => ConstantData::F64(turned(v, *rows, *columns)),
        other => other.clone(),
    };
    Constant::new(vec![*columns, *rows], data)
}

/// Whether two tensors hold the same numbers, bit for bit but for the sign of zero.
pub(crate) fn same(a: &Constant, b: &Constant) -> bool {
    a.shape == b.shape
        && match (&a.data, &b.data) {
            (ConstantData::F32(x), ConstantData::F32(y)) => x == y,
            _ => a.floats() == b.floats(),
        }
}

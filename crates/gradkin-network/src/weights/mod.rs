//! Files of weights: written and read by a training, and the weights of another checkpoint of the same
//! network put in the place of those that the model file holds.
//!
//! The exporter kept most names of the training program, and a checkpoint is a list of named tensors,
//! so names say what belongs where (see `names`). Everything must fit: each parameter of the network
//! gets values from the file, and each tensor of the file has a place. Otherwise one error lists
//! all that does not, and nothing is replaced: half a checkpoint is another network.

mod checkpoint;
mod file;
mod names;

pub use checkpoint::{Array, TRAINING, Values, read, write};

use std::collections::{HashMap, HashSet};
use std::path::Path;

use crate::error::{NetworkError, Result};
use crate::onnx::{Constant, Model};
use crate::parameters::{self, Found};
use crate::stored::{oriented, same};

use file::Stored;

/// What [`Model::with_weights`] did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WeightsReport {
    /// Tensors of the network that hold other values now, each with the name that it has in the
    /// file. A tied weight that the model file stores twice stands here twice.
    pub replaced: Vec<(String, String)>,
    /// Running statistics of normalisations that stay as the model file has them, because the file
    /// of weights holds no statistics at all. They belong to the weights of the model file: a
    /// network whose statistics changed in training is then not the one that was trained.
    pub kept: Vec<String>,
    /// Tensors of the file that were left out: whole numbers, buffers that the exporter wrote into
    /// the graph as constants, and tied weights that the file holds once more.
    pub left_out: Vec<String>,
}

impl Model {
    /// The same network with the weights of a `.safetensors` file, such as another checkpoint of its
    /// training.
    ///
    /// Tensors are matched by name. The prefixes that wrappers put before names (`module.`,
    /// `_orig_mod.`, `model.` …) and the spelling of PyTorch's tracer (`p_layer_weight`) are seen
    /// through where only one tensor can be meant. Values are converted to the float type of the
    /// model file. Running means and variances are replaced like weights; a file without any leaves
    /// them as they are, and the report says so. Which tensors count as parameters stays as it was.
    /// Tensors whose names begin with [`weights::TRAINING`](TRAINING) are passed over.
    ///
    /// # Errors
    ///
    /// Where the file cannot be read, and where not everything fits: a parameter without values, a
    /// tensor without a place, another shape or element type. One error names them all.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), gradkin_network::NetworkError> {
    /// use gradkin_network::{Model, Network, Options};
    /// let model = Model::open("model.onnx")?;
    /// for checkpoint in ["epoch1.safetensors", "epoch2.safetensors"] {
    ///     let (trained, report) = model.with_weights(checkpoint)?;
    ///     println!("{checkpoint}: {} tensors", report.replaced.len());
    ///     let network = Network::new(&trained, &Options::default())?;
    /// }
    /// # Ok(()) }
    /// ```
    pub fn with_weights(&self, path: impl AsRef<Path>) -> Result<(Self, WeightsReport)> {
        let path = path.as_ref();
        let bytes = std::fs::read(path)
            .map_err(|source| NetworkError::Read { path: path.to_owned(), source })?;
        self.with_file(&bytes, path)
    }

    fn with_file(&self, bytes: &[u8], path: &Path) -> Result<(Self, WeightsReport)> {
        let mut stored = file::parse(bytes, path)?;
        let ours = |name: &str| self.initializers.iter().any(|(own, _)| own == name);
        stored.retain(|tensor| !tensor.name.starts_with(TRAINING) || ours(&tensor.name));
        let found = parameters::find(self);
        let inline = parameters::constant_nodes(self);
        let mut fit = Fit::new(self, &inline, &found, &stored);
        fit.replace();
        fit.settle_ties();
        fit.check_network();
        fit.check_file();
        let Fit { values, report, misfits, remedies, .. } = fit;
        if !misfits.is_empty() {
            return Err(NetworkError::WeightsDoNotFit {
                path: path.to_owned(),
                model: self.source.clone(),
                misfits,
                remedy: remedies.join("; "),
            });
        }
        let mut model = self.clone();
        model.put(values, &found);
        Ok((model, report))
    }
}

/// The fitting of one file into one model.
struct Fit<'a> {
    /// Every stored tensor of the model that may get other values.
    tensors: Vec<(&'a str, &'a Constant)>,
    found: &'a Found,
    stored: &'a [Stored<'a>],
    /// Position in `stored` by tensor of the model.
    matches: HashMap<&'a str, usize>,
    values: HashMap<&'a str, Constant>,
    report: WeightsReport,
    misfits: Vec<String>,
    remedies: Vec<&'static str>,
}

const SAME_NETWORK: &str =
    "give the state dict of the very network that was exported, or export that network again";
const KEEP_NAMES: &str = "export with names kept: torch.onnx.export(…, dynamo=True, \
     optimize=False), or do_constant_folding=False with the older exporter";

impl<'a> Fit<'a> {
    fn new(
        model: &'a Model,
        inline: &'a [(String, Constant)],
        found: &'a Found,
        stored: &'a [Stored<'a>],
    ) -> Self {
        let tensors = model.initializers.iter().chain(inline);
        let tensors: Vec<_> = tensors.map(|(name, value)| (name.as_str(), value)).collect();
        let ours: Vec<&str> = tensors.iter().map(|(name, _)| *name).collect();
        let theirs: Vec<&str> = stored.iter().map(|s| s.name.as_str()).collect();
        let matches = names::matched(&ours, &theirs);
        let matches: HashMap<&str, usize> =
            matches.into_iter().map(|(k, other)| (ours[k], other)).collect();
        let tied = other_name(model, found, stored, &matches);
        let matches = matches.into_iter().chain(tied).collect();
        Self {
            tensors,
            found,
            stored,
            matches,
            values: HashMap::new(),
            report: WeightsReport::default(),
            misfits: Vec::new(),
            remedies: Vec::new(),
        }
    }

    fn misfit(&mut self, clause: String, remedy: &'static str) {
        self.misfits.push(clause);
        if !self.remedies.contains(&remedy) {
            self.remedies.push(remedy);
        }
    }

    /// Whether a tensor of the network is a parameter or a copy of one.
    fn counts(&self, name: &str) -> bool {
        self.found.copies.contains_key(name)
            || self.found.parameters.iter().any(|parameter| parameter.name == name)
    }

    /// Whether a tensor of the file is no weight and no statistic, but a constant of the program.
    fn is_constant(&self, name: &str, stored: &Stored) -> bool {
        let statistic = self.found.statistics.contains(name)
            || name.ends_with("running_mean")
            || name.ends_with("running_var");
        stored.is_whole() || (parameters::is_buffer(name) && !statistic)
    }

    /// Take the values of every tensor that has a match.
    fn replace(&mut self) {
        for (name, constant) in self.tensors.clone() {
            let Some(stored) = self.matches.get(name).map(|at| &self.stored[*at]) else { continue };
            let whole = !constant.is_float() && stored.is_whole();
            let other = stored.shape != constant.shape && self.is_constant(name, stored);
            if whole || (other && !self.counts(name)) {
                // Positions, masks and the like; the graph was traced with its own.
                self.report.left_out.push(stored.name.clone());
                continue;
            }
            let Some(data) = stored.values(&constant.data) else {
                let holds = if constant.is_float() { "floats" } else { "whole numbers" };
                let clause =
                    format!("`{}` has element type {}, not {holds}", stored.name, stored.kind);
                self.misfit(clause, SAME_NETWORK);
                continue;
            };
            if stored.shape != constant.shape {
                let clause = format!(
                    "`{}` has shape {:?} in the file and {:?} in the network",
                    stored.name, stored.shape, constant.shape
                );
                self.misfit(clause, SAME_NETWORK);
                continue;
            }
            self.report.replaced.push((name.to_owned(), stored.name.clone()));
            self.values.insert(name, Constant::new(stored.shape.clone(), data));
        }
    }

    /// A weight that the model stores several times gets the same values everywhere, from whichever
    /// of its names the file has.
    fn settle_ties(&mut self) {
        let found = self.found;
        for parameter in found.parameters.iter().filter(|p| !p.copies.is_empty()) {
            let names = || std::iter::once(&parameter.name).chain(&parameter.copies);
            let turned = |name: &str| found.copies.get(name).is_some_and(|copy| copy.transposed);
            let given: Vec<&String> =
                names().filter(|name| self.values.contains_key(name.as_str())).collect();
            let Some(first) = given.first() else { continue };
            let upright = |name: &str| oriented(&self.values[name], turned(name));
            let value = upright(first);
            let differs = given.iter().find(|name| !same(&upright(name), &value)).copied();
            let open: Vec<&String> = names().filter(|name| !given.contains(name)).collect();
            for name in open {
                if self.matches.contains_key(name.as_str()) {
                    continue;
                }
                if let Some(differs) = differs {
                    let clause = format!(
                        "`{name}` of the network repeats both `{first}` and `{differs}`, which \
                         differ in the file"
                    );
                    self.misfit(clause, KEEP_NAMES);
                    continue;
                }
                let from = &self.stored[self.matches[first.as_str()]].name;
                self.report.replaced.push((name.clone(), from.clone()));
                self.values.insert(name, oriented(&value, turned(name)));
            }
        }
    }

    /// Parameters that got no values, and statistics where the file has any.
    fn check_network(&mut self) {
        let found = self.found;
        let lacks =
            |name: &str| !self.matches.contains_key(name) && !self.values.contains_key(name);
        let parameters: Vec<_> = found.parameters.iter().filter(|p| lacks(&p.name)).collect();
        let statistics = || self.tensors.iter().filter(|(n, _)| found.statistics.contains(*n));
        let missing: Vec<String> =
            statistics().map(|(n, _)| (*n).to_owned()).filter(|n| lacks(n)).collect();
        let none = missing.len() == statistics().count();
        for parameter in parameters {
            let (name, shape) = (&parameter.name, &parameter.shape);
            if parameters::is_made_up(name) {
                let clause = format!(
                    "the weight of shape {shape:?} in node {} is stored without its name (as \
                     `{name}`), so nothing can be matched to it",
                    parameter.layer
                );
                self.misfit(clause, KEEP_NAMES);
            } else {
                let clause =
                    format!("`{name}` of the network, of shape {shape:?}, is not in the file");
                self.misfit(clause, SAME_NETWORK);
            }
        }
        if none {
            self.report.kept = missing;
            return;
        }
        for name in missing {
            let clause =
                format!("the running statistic `{name}` of the network is not in the file");
            self.misfit(clause, SAME_NETWORK);
        }
    }

    /// Tensors of the file without a place.
    fn check_file(&mut self) {
        const FOLDED: &str = "export without folding BatchNormalization into the layer before it: \
             torch.onnx.export(…, dynamo=True, optimize=False), or training=TrainingMode.PRESERVE \
             with the older exporter";
        let used: HashSet<usize> = self.matches.values().copied().collect();
        for (at, tensor) in self.stored.iter().enumerate() {
            let name = &tensor.name;
            if used.contains(&at) || name.ends_with("num_batches_tracked") {
                continue;
            }
            if self.is_constant(name, tensor)
                || used.iter().any(|other| tensor.repeats(&self.stored[*other]))
            {
                self.report.left_out.push(name.clone());
                continue;
            }
            let clause = format!("`{name}` of the file fits nothing in the network");
            let statistic = name.ends_with("running_mean") || name.ends_with("running_var");
            self.misfit(clause, if statistic { FOLDED } else { SAME_NETWORK });
        }
    }
}

/// A tied weight has one name in the model file and may have another of its names in a checkpoint.
///
/// PyTorch's exporter lists both. Where just one parameter is left, and just one tensor of its shape
/// that is such a name, they are the same.
fn other_name<'a>(
    model: &'a Model,
    found: &'a Found,
    stored: &[Stored],
    matches: &HashMap<&str, usize>,
) -> Option<(&'a str, usize)> {
    let used: HashSet<usize> = matches.values().copied().collect();
    let matched = |name: &String| matches.contains_key(name.as_str());
    let mut open = found.parameters.iter().filter(|p| {
        !parameters::is_made_up(&p.name) && !matched(&p.name) && !p.copies.iter().any(matched)
    });
    let (Some(parameter), None) = (open.next(), open.next()) else { return None };
    let is_name = |name: &str| model.signature.targets.iter().any(|target| target == name);
    let fits = |s: &Stored| s.shape == parameter.shape && is_name(&s.name);
    let mut left = (0..stored.len()).filter(|k| !used.contains(k) && fits(&stored[*k]));
    let (Some(at), None) = (left.next(), left.next()) else { return None };
    Some((parameter.name.as_str(), at))
}

#[cfg(test)]
mod tests {
    use rten_onnx::onnx::{
        DataType, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto,
    };
    use safetensors::Dtype;
    use safetensors::tensor::TensorView;

    use super::*;

    /// y = x · w
    fn product() -> Model {
        let w = TensorProto {
            name: Some("w".into()),
            dims: vec![2, 2],
            data_type: Some(DataType::FLOAT),
            float_data: vec![1.0, 2.0, 3.0, 4.0],
            ..TensorProto::default()
        };
        let node = NodeProto {
            op_type: Some("MatMul".into()),
            input: vec!["x".into(), "w".into()],
            output: vec!["y".into()],
            ..NodeProto::default()
        };
        let value = |name: &str| ValueInfoProto { name: Some(name.into()), r#type: None };
        let graph = GraphProto {
            node: vec![node],
            initializer: vec![w],
            input: vec![value("x")],
            output: vec![value("y")],
            value_info: Vec::new(),
        };
        let file = ModelProto { graph: Some(graph), ..ModelProto::default() };
        Model::from_bytes(&file.write_buf().unwrap(), "test").unwrap()
    }

    fn file(names: &[&str]) -> Vec<u8> {
        let bytes: Vec<u8> = [5f32, 6.0, 7.0, 8.0].iter().flat_map(|v| v.to_le_bytes()).collect();
        let view = || TensorView::new(Dtype::F32, vec![2, 2], &bytes).unwrap();
        safetensors::serialize(names.iter().map(|name| (*name, view())), None).unwrap()
    }

    /// A tied weight is stored under one of its names in either file, not always under the same.
    #[test]
    fn the_other_name_of_a_tied_weight_is_known_from_the_exporter() {
        let mut model = product();
        assert!(model.with_file(&file(&["v"]), Path::new("v")).is_err());
        model.signature.targets = vec!["v".into(), "w".into()];
        let (other, report) = model.with_file(&file(&["v"]), Path::new("v")).unwrap();
        assert_eq!(other.initializers[0].1.floats(), [5.0, 6.0, 7.0, 8.0]);
        assert_eq!(report.replaced, [("w".to_owned(), "v".to_owned())]);
        let (_, report) = model.with_file(&file(&["v", "w"]), Path::new("v")).unwrap();
        assert_eq!(report.left_out, ["v"]);
        // Two that it could be: neither.
        model.signature.targets.push("u".into());
        assert!(model.with_file(&file(&["u", "v"]), Path::new("v")).is_err());
    }
}

//! The settings that made a result, to be kept with it.

use std::path::{Path, PathBuf};

use gradkin::Undefined;
use gradkin::network::Network;
use serde_json::{Map, Value, json};

use crate::args::{DataArgs, Dtype, Kind, Metric, Missing, Reduce, SimilarityArgs};
use crate::examples::Set;
use crate::grammar::{show_outputs, show_positions};
use gradkin::Examples;

/// Named values in the order in which they were noted.
#[derive(Debug, Clone, Default)]
pub(crate) struct Record {
    entries: Map<String, Value>,
}

impl Record {
    pub(crate) fn new(command: &str) -> Self {
        let mut record = Self::default();
        record.note("program", format!("gradkin {}", env!("CARGO_PKG_VERSION")));
        record.note("command", command);
        record
    }

    pub(crate) fn note(&mut self, name: &str, value: impl Into<Value>) {
        self.entries.insert(name.into(), value.into());
    }

    pub(crate) fn network(&mut self, model: &Path, weights: &[PathBuf], network: &Network) {
        self.note("model", model.display().to_string());
        if !weights.is_empty() {
            let weights = weights.iter().map(|path| path.display().to_string());
            self.note("weights", weights.collect::<Vec<String>>());
        }
        let count: usize = network.parameters().iter().map(|p| p.len()).sum();
        self.note("parameters_in_model", count);
    }

    pub(crate) fn set(&mut self, name: &str, set: &Set, labels: Option<&str>) {
        let mut entry = json!({ "source": set.data().source(), "examples": set.len() });
        if let Some(labels) = labels {
            entry["labels"] = labels.into();
        }
        if !set.data().notes().is_empty() {
            entry["notes"] = set.data().notes().into();
        }
        self.note(name, entry);
    }

    /// How values were prepared; only what differs from doing nothing.
    pub(crate) fn preparation(&mut self, args: &DataArgs) {
        let mut entry = Map::new();
        let mut note = |name: &str, value: Option<Value>| {
            value.map(|value| entry.insert(name.into(), value));
        };
        let list = |list: &[f64]| (!list.is_empty()).then(|| Value::from(list));
        let names = |list: &[String]| (!list.is_empty()).then(|| Value::from(list));
        note("scale", args.scale.map(Value::from));
        note("mean", list(&args.mean));
        note("std", list(&args.std));
        note("resize", args.resize.map(|(h, w)| format!("{h}x{w}").into()));
        note("layout", args.layout.map(|l| format!("{l:?}").to_lowercase().into()));
        note("label_column", args.label_column.clone().map(Value::from));
        note("keep", names(&args.keep));
        note("drop", names(&args.drop));
        note("take", args.take.map(Value::from));
        note("missing", (args.missing != Missing::Error).then(|| word(args.missing)));
        self.note("preparation", entry);
    }

    pub(crate) fn similarity(&mut self, args: &SimilarityArgs, counted: usize) {
        self.note("kind", word::<Kind>(args.kind));
        self.note("reduce", word::<Reduce>(args.reduce));
        self.note("metric", word::<Metric>(args.metric));
        self.note("dtype", word::<Dtype>(args.dtype));
        self.note("device", args.device.to_string());
        self.note("outputs", show_outputs(&args.outputs));
        self.note("output_name", args.output_name.clone());
        self.note("positions", args.positions.as_ref().map(show_positions));
        self.note("channel_axis", args.channel_axis);
        self.note("params", args.params.clone());
        self.note("parameters_compared", counted);
    }

    /// Examples without a similarity, by where they stand in the file.
    pub(crate) fn undefined(&mut self, name: &str, undefined: &Undefined, set: &Set) {
        let entry = json!({
            "zero_gradient": set.ids(&undefined.rank_zero),
            "not_finite": set.ids(&undefined.not_finite),
        });
        self.note(name, entry);
    }

    /// As JSON for people to read.
    pub(crate) fn pretty(&self) -> String {
        let text = serde_json::to_string_pretty(&self.entries).unwrap_or_default();
        text + "\n"
    }

    /// As JSON on one line.
    pub(crate) fn compact(&self) -> String {
        serde_json::to_string(&self.entries).unwrap_or_default()
    }
}

fn word<T: std::fmt::Debug>(value: T) -> Value {
    format!("{value:?}").to_lowercase().into()
}

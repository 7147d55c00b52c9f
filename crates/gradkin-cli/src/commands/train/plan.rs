//! What was asked of a training, brought together with the files.

use std::path::Path;

use gradkin::network::{Model, Network, Options, Precision};
use gradkin::train::{Enforcement, Grouping, Objective, Optimizer, TrainerSettings};
use gradkin::{Labels, OutputChoice, Reduction, Select, Settings};
use gradkin_data::{Dataset, Prepared};
use regex::Regex;
use serde_json::json;

use super::Labelling;
use crate::args::{Common, Dtype, Enforce, Method, TrainArgs};
use crate::examples::Set;
use crate::exit::{Failure, Outcome};
use crate::{grammar, memory, reading};

/// Everything but the network itself.
pub(super) struct Plan {
    pub(super) options: Options,
    data: Prepared,
    held: Option<Dataset>,
    loss: Option<Objective>,
    preprocessing: gradkin_data::Preprocessing,
    memory: usize,
}

impl Plan {
    pub(super) fn new(
        args: &TrainArgs,
        common: &Common,
        model: &Model,
        data: Dataset,
        held: Option<Dataset>,
    ) -> Outcome<Self> {
        if data.labels().is_none() {
            return Err(Failure::mistake(format!("{} has no labels to train with", data.source()))
                .hint("give them with --labels or --label-column"));
        }
        if let Some(held) = &held
            && held.labels().is_none()
        {
            return Err(Failure::mistake(format!(
                "{} has no labels to validate with",
                held.source()
            ))
            .hint("give them with --validate-labels or --label-column"));
        }
        let preprocessing = reading::preprocessing(&args.data_args);
        let wanted = reading::targets(model, &args.data_args.input_shapes.shapes, &data)?;
        let data = data.prepare(&preprocessing, &wanted)?;
        let names = wanted.iter().map(|input| input.name.clone());
        let shapes = data.shapes().into_iter().map(<[usize]>::to_vec);
        let precision = match args.goal.dtype {
            Dtype::F32 => Precision::F32,
            Dtype::F64 => Precision::F64,
        };
        let input_shapes = names.zip(shapes).collect();
        let options = Options { precision, input_shapes, ..Options::default() };
        let loss = args.goal.loss;
        let memory = memory::budget(common.memory);
        Ok(Self { options, data, held, loss, preprocessing, memory })
    }

    /// The examples as the network takes them, with labels in the form that the loss wants.
    pub(super) fn examples(&self, network: &Network) -> Outcome<Labelling> {
        self.labelled(self.data.clone(), network)
    }

    pub(super) fn validation(&self, network: &Network) -> Outcome<Option<Labelling>> {
        let Some(held) = self.held.clone() else { return Ok(None) };
        let held = held.prepare(&self.preprocessing, &reading::resolved(network))?;
        self.labelled(held, network).map(Some)
    }

    fn labelled(&self, prepared: Prepared, network: &Network) -> Outcome<Labelling> {
        let integers = network.inputs().iter().map(|input| input.integer).collect();
        let set = Set::new(prepared, self.options.precision, integers);
        set.check_values()?;
        let labels = set.training_labels(self.loss == Some(Objective::CrossEntropy))?;
        Ok((set, labels))
    }

    /// What is minimised.
    pub(super) fn objective(&self, labels: &Labels) -> Objective {
        self.loss.unwrap_or(match labels {
            Labels::Classes(_) => Objective::CrossEntropy,
            Labels::Targets { .. } => Objective::Squared,
        })
    }

    /// Which outputs are compared where similarity is enforced or watched.
    fn choice(args: &TrainArgs, labels: &Labels) -> OutputChoice {
        let fallback = match labels {
            Labels::Classes(_) => Select::Contrast,
            Labels::Targets { .. } => Select::All,
        };
        OutputChoice {
            select: args.enforce.outputs.clone().unwrap_or(fallback),
            positions: args.enforce.positions.clone(),
            ..OutputChoice::default()
        }
    }

    pub(super) fn settings(
        &self,
        args: &TrainArgs,
        objective: Objective,
        labels: &Labels,
    ) -> Outcome<TrainerSettings> {
        let [beta1, beta2, epsilon] = [0.9, 0.999, 1e-8];
        let momentum = args.steps.momentum;
        let optimizer = match args.steps.optimizer {
            Method::Adam => Optimizer::Adam { beta1, beta2, epsilon },
            Method::Adamw => Optimizer::AdamW { beta1, beta2, epsilon },
            Method::Nesterov => Optimizer::Sgd { momentum, nesterov: true },
            Method::Sgd => Optimizer::Sgd { momentum, nesterov: false },
        };
        let enforcement = args.enforce.enforce.as_ref().map(|_| Enforcement {
            lambda: args.enforce.lambda,
            output: Self::choice(args, labels),
        });
        let pattern = |text: &String| {
            Regex::new(text).map_err(|_| {
                Failure::mistake(format!("--params {text:?} is no regular expression"))
            })
        };
        Ok(TrainerSettings {
            output: args.goal.output_name.clone(),
            objective,
            optimizer,
            decay: args.steps.weight_decay,
            clip: args.steps.clip,
            parameters: args.goal.params.as_ref().map(pattern).transpose()?,
            enforcement,
            threads: rayon::current_num_threads(),
        })
    }

    /// How similarity is measured while training goes on.
    pub(super) fn compared(&self, args: &TrainArgs, labels: &Labels) -> Outcome<Settings> {
        let mut output = Self::choice(args, labels);
        output.name = args.goal.output_name.clone();
        let memory = self.memory;
        Ok(Settings { output, reduction: Reduction::Trace, memory, ..Settings::default() })
    }

    pub(super) fn grouping(
        &self,
        args: &TrainArgs,
        network: &Network,
    ) -> Outcome<Option<Grouping>> {
        Ok(Some(match &args.enforce.enforce {
            None => return Ok(None),
            Some(Enforce::Class) => Grouping::Classes,
            Some(Enforce::Augment(changes)) => {
                let shape = network.inputs().first().map(|input| input.shape.clone());
                Grouping::Augmented { changes: changes.clone(), shape: shape.unwrap_or_default() }
            }
            Some(Enforce::Pairs(path)) => Grouping::Pairs(pairs(path)?),
        }))
    }

    /// Everything that a resumed run has to share with the one it goes on with.
    pub(super) fn fingerprint(&self, args: &TrainArgs) -> String {
        let (goal, steps, enforce) = (&args.goal, &args.steps, &args.enforce);
        json!({
            "model": args.model.display().to_string(),
            "data": args.data,
            "labels": args.data_args.labels,
            "examples": self.data.len(),
            "loss": format!("{:?}", goal.loss),
            "label_weights": goal.label_weights,
            "output": goal.output_name,
            "params": goal.params,
            "init": format!("{:?}", goal.init),
            "weights": goal.weights.as_ref().map(|path| path.display().to_string()),
            "seed": goal.seed,
            "dtype": format!("{:?}", goal.dtype),
            "batch": steps.batch,
            "epochs": steps.epochs,
            "optimizer": format!("{:?}", steps.optimizer),
            "lr": steps.lr,
            "schedule": format!("{:?}", steps.schedule),
            "warmup": steps.warmup,
            "momentum": steps.momentum,
            "weight_decay": steps.weight_decay,
            "clip": steps.clip,
            "hold_out": steps.hold_out,
            "validate": steps.validate,
            "patience": steps.patience,
            "enforce": format!("{:?}", enforce.enforce),
            "lambda": enforce.lambda,
            "outputs": enforce.outputs.as_ref().map(grammar::show_outputs),
            "positions": enforce.positions.as_ref().map(grammar::show_positions),
        })
        .to_string()
    }
}

/// Pairs of examples: an array `[N, 2]`, or lines of two numbers, under a heading or not.
fn pairs(path: &Path) -> Outcome<Vec<[usize; 2]>> {
    let shown = path.display();
    if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("npy")) {
        let values = reading::numbers(&shown.to_string())?;
        if !values.len().is_multiple_of(2) {
            return Err(Failure::mistake(format!("{shown} holds no pairs; its shape is [N, 2]")));
        }
        let pair = |pair: &[f64]| Some([index(pair[0])?, index(pair[1])?]);
        let found: Option<Vec<[usize; 2]>> = values.chunks_exact(2).map(pair).collect();
        return found.ok_or_else(|| {
            Failure::mistake(format!("{shown} holds numbers that are no examples' numbers"))
        });
    }
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::mistake(format!("cannot read {shown}: {error}")))?;
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let words = line.split([',', ';', '\t', ' ']).filter(|word| !word.is_empty());
        let numbers: Vec<Option<usize>> = words.map(|word| word.trim().parse().ok()).collect();
        match numbers[..] {
            [Some(a), Some(b)] => found.push([a, b]),
            // A heading.
            _ if number == 0 && numbers.iter().all(Option::is_none) => {}
            _ => {
                return Err(Failure::mistake(format!(
                    "{shown}, line {}: {line:?} is no pair of examples' numbers",
                    number + 1
                )));
            }
        }
    }
    Ok(found)
}

fn index(value: f64) -> Option<usize> {
    (value >= 0.0 && value.fract() == 0.0 && value < 1e15).then_some(value as usize)
}

/// Weights of examples or of their numbers.
pub(super) fn label_weights(
    args: &TrainArgs,
    labels: &Labels,
    count: usize,
) -> Outcome<Option<Vec<f64>>> {
    let Some(source) = &args.goal.label_weights else { return Ok(None) };
    let values = reading::numbers(source)?;
    let width = match labels {
        Labels::Classes(_) => 1,
        Labels::Targets { width, .. } => *width,
    };
    if values.len() < count || values.len() % count != 0 {
        return Err(Failure::mistake(format!(
            "{source} has {} weights for {count} examples with {width} numbers each",
            values.len()
        )));
    }
    Ok(Some(values))
}

/// Evenly spread examples to watch similarity on.
pub(super) fn probe_rows(args: &TrainArgs, count: usize) -> Vec<usize> {
    let size = args.enforce.probe.clamp(1, count.max(1));
    (0..size).map(|k| k * count / size).collect()
}

/// Those examples in memory, for they are looked at again and again.
pub(super) fn probe(
    set: &Set,
    labels: &Labels,
    rows: &[usize],
) -> Outcome<(gradkin::train::Gathered, Labels)> {
    let own = match labels {
        Labels::Classes(ids) => Labels::Classes(rows.iter().map(|row| ids[*row]).collect()),
        Labels::Targets { values, width } => Labels::Targets {
            values: rows
                .iter()
                .flat_map(|r| &values[r * width..(r + 1) * width])
                .copied()
                .collect(),
            width: *width,
        },
    };
    Ok((gradkin::train::Gathered::new(set, rows, Some(own.clone()))?, own))
}

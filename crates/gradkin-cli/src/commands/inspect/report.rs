//! All that is known of a network, for people and for other programs.

use std::path::{Path, PathBuf};

use gradkin::network::{Declared, Dimension, Model, Network, Parameter, Uncounted};
use gradkin_data::write::Table;
use serde_json::{Value, json};

use super::advice;
use super::cost::Cost;
use crate::args::{Format, InspectArgs};
use crate::exit::Outcome;
use crate::printer::Printer;
use crate::text::{self, Align};

/// All there is to tell.
pub(super) struct Report<'a> {
    path: &'a Path,
    weights: &'a [PathBuf],
    model: &'a Model,
    network: Option<&'a Network>,
    parameters: Vec<Parameter>,
    uncounted: Vec<Uncounted>,
    cost: Option<Cost>,
    pub(super) warnings: Vec<String>,
}

impl<'a> Report<'a> {
    pub(super) fn new(
        args: &'a InspectArgs,
        model: &'a Model,
        network: Option<&'a Network>,
        cost: Option<Cost>,
    ) -> Self {
        let (parameters, uncounted) = model.parameters();
        let warnings = advice::warnings(model, &parameters);
        let (path, weights) = (&args.model, &args.similarity.weights);
        Self { path, weights, model, network, parameters, uncounted, cost, warnings }
    }

    fn total(&self) -> usize {
        self.parameters.iter().map(Parameter::len).sum()
    }

    pub(super) fn tell(&self, format: Format, printer: &Printer) -> Outcome {
        match format {
            Format::Table => self.print(printer),
            Format::Json => printer.line(format!("{:#}", self.json())),
            Format::Csv => {
                self.warnings.iter().for_each(|warning| printer.warning(warning));
                printer.table(&self.table()?, Format::Csv)
            }
        }
    }

    fn print(&self, printer: &Printer) -> Outcome {
        self.head().into_iter().try_for_each(|line| printer.line(line))?;
        section(printer, "parameters", self.parameter_lines())?;
        if !self.uncounted.is_empty() {
            let title = "stored tensors that do not count as parameters";
            section(printer, title, self.uncounted_lines())?;
        }
        if let Some(cost) = &self.cost {
            let title = format!("comparing {}", text::counted(cost.examples, "example"));
            section(printer, &title, cost.lines())?;
        }
        if !self.warnings.is_empty() {
            section(printer, "to be aware of", self.warnings.clone())?;
        }
        Ok(())
    }

    fn head(&self) -> Vec<String> {
        let bytes = std::fs::metadata(self.path).map(|data| data.len()).unwrap_or_default();
        let producer = match self.model.producer().trim() {
            "" => "unknown".into(),
            producer => producer.to_owned(),
        };
        let opset = format!("{producer}, opset {}", self.model.opset());
        let mut lines = vec![
            format!("model      {} ({})", self.path.display(), text::bytes(bytes as f64)),
            format!("producer   {opset}"),
        ];
        lines.extend(self.weights.iter().map(|path| format!("weights    {}", path.display())));
        let inputs = self.model.inputs().iter();
        let mut ends: Vec<Vec<String>> = inputs
            .map(|input| vec!["input".into(), input.name.clone(), self.describe_input(input)])
            .collect();
        ends.extend(self.model.outputs().iter().map(|output| {
            vec!["output   ".into(), output.name.clone(), self.describe_output(output)]
        }));
        lines.extend(text::columns(&ends, &[Align::Left; 3]));
        let counts = self.model.operator_counts();
        let counts: Vec<String> = counts.iter().map(|(name, n)| format!("{name} {n}")).collect();
        lines.push(format!("operators  {}", counts.join(", ")));
        lines
    }

    fn describe_input(&self, input: &Declared) -> String {
        let known = self.network.and_then(|n| n.inputs().iter().find(|i| i.name == input.name));
        let shape = match (known, input.example_shape()) {
            (Some(known), _) => text::shape(&known.shape),
            (None, Some(shape)) => open_shape(&shape),
            (None, None) => "of no declared shape".into(),
        };
        let batch = match known.map(|known| known.batch_axis) {
            Some(Some(axis)) => format!(", batch axis {axis}{}", axis_name(input, axis)),
            Some(None) => ", no batch axis: the whole input is one example".into(),
            None => String::new(),
        };
        format!("{shape} {}{batch}", type_name(input))
    }

    fn describe_output(&self, output: &Declared) -> String {
        let known = self.network.map(Network::outputs).unwrap_or_default();
        match known.iter().find(|(name, ..)| *name == output.name) {
            Some((_, shape, head)) => {
                let shape = shape.strip_prefix(&[1]).unwrap_or(shape);
                let by = head.map(|head| format!(", made by {head}")).unwrap_or_default();
                format!("{} {}{by}", text::shape(shape), type_name(output))
            }
            None => match output.example_shape() {
                Some(shape) => format!("{} {}", open_shape(&shape), type_name(output)),
                None => type_name(output).into(),
            },
        }
    }

    fn parameter_lines(&self) -> Vec<String> {
        let head =
            ["name", "shape", "count", "layer", "uses", "form", "work/pair", "numbers/example"];
        let mut rows = vec![head.map(str::to_owned).to_vec()];
        for (index, parameter) in self.parameters.iter().enumerate() {
            let mut row = vec![
                parameter.name.clone(),
                text::shape(&parameter.shape),
                text::count(parameter.len()),
                short_layer(&parameter.layer),
                parameter.uses.to_string(),
            ];
            row.extend(
                self.cost
                    .as_ref()
                    .map(|cost| match cost.of(index) {
                        Some((form, work, numbers)) => {
                            [form, text::short(work), text::count(numbers)]
                        }
                        None => ["not compared".into(), String::new(), String::new()],
                    })
                    .into_iter()
                    .flatten(),
            );
            rows.push(row);
        }
        rows.push(vec!["total".into(), String::new(), text::count(self.total())]);
        if self.cost.is_none() {
            rows[0].truncate(5);
        }
        let (left, right) = (Align::Left, Align::Right);
        text::columns(&rows, &[left, left, right, left, right, left, right, right])
    }

    fn uncounted_lines(&self) -> Vec<String> {
        let row = |u: &Uncounted| vec![u.name.clone(), text::shape(&u.shape), u.reason.to_owned()];
        let rows: Vec<Vec<String>> = self.uncounted.iter().map(row).collect();
        text::columns(&rows, &[Align::Left; 3])
    }

    /// The parameters for other programs.
    fn table(&self) -> Outcome<Table> {
        let mut table = Table::new();
        let of =
            |f: &dyn Fn(&Parameter) -> String| self.parameters.iter().map(f).collect::<Vec<_>>();
        let numbers = |f: &dyn Fn(&Parameter) -> usize| {
            self.parameters.iter().map(|p| f(p) as i64).collect::<Vec<i64>>()
        };
        table.push("name", of(&|p| p.name.clone()))?;
        table.push("shape", of(&|p| text::shape(&p.shape)))?;
        table.push("count", numbers(&Parameter::len))?;
        table.push("layer", of(&|p| p.layer.clone()))?;
        table.push("uses", numbers(&|p| p.uses))?;
        if let Some(cost) = &self.cost {
            let all: Vec<_> = (0..self.parameters.len()).map(|index| cost.of(index)).collect();
            let forms = all.iter().map(|c| c.as_ref().map(|(form, ..)| form.clone()));
            let work = all.iter().map(|c| c.as_ref().map(|(_, work, _)| *work));
            let numbers = all.iter().map(|c| c.as_ref().map(|(.., numbers)| *numbers as i64));
            table.push("form", forms.collect::<Vec<Option<String>>>())?;
            table.push("work_per_pair", work.collect::<Vec<Option<f64>>>())?;
            table.push("numbers_per_example", numbers.collect::<Vec<Option<i64>>>())?;
        }
        Ok(table)
    }

    fn json(&self) -> Value {
        let inputs = self.model.inputs().iter().map(|input| self.input_json(input));
        let outputs = self.model.outputs().iter().map(|output| self.output_json(output));
        let parameters = self.parameters.iter().enumerate();
        let counts = self.model.operator_counts().into_iter().map(|(name, n)| (name, n.into()));
        json!({
            "model": self.path.display().to_string(),
            "weights": self.weights.iter().map(|w| w.display().to_string()).collect::<Vec<_>>(),
            "producer": self.model.producer(),
            "opset": self.model.opset(),
            "inputs": inputs.collect::<Vec<_>>(),
            "outputs": outputs.collect::<Vec<_>>(),
            "operators": counts.collect::<serde_json::Map<String, Value>>(),
            "unsupported": self.model.unsupported_nodes(),
            "parameters": parameters.map(|(i, p)| self.parameter_json(i, p)).collect::<Vec<_>>(),
            "parameter_count": self.total(),
            "not_parameters": self.uncounted.iter().map(|u| json!({
                "name": u.name, "shape": u.shape, "reason": u.reason,
            })).collect::<Vec<_>>(),
            "cost": self.cost.as_ref().map(Cost::json),
            "warnings": self.warnings,
        })
    }

    fn input_json(&self, input: &Declared) -> Value {
        let known = self.network.and_then(|n| n.inputs().iter().find(|i| i.name == input.name));
        json!({
            "name": input.name,
            "type": type_name(input),
            "example_shape": match known {
                Some(known) => json!(known.shape),
                None => json!(input.example_shape()),
            },
            "batch_axis": known.and_then(|known| known.batch_axis),
        })
    }

    fn output_json(&self, output: &Declared) -> Value {
        let known = self.network.map(Network::outputs).unwrap_or_default();
        let known = known.iter().find(|(name, ..)| *name == output.name);
        json!({
            "name": output.name,
            "type": type_name(output),
            "shape": known.map(|(_, shape, _)| shape.strip_prefix(&[1]).unwrap_or(shape)),
            "made_by": known.and_then(|(.., head)| *head),
        })
    }

    fn parameter_json(&self, index: usize, parameter: &Parameter) -> Value {
        let mut entry = json!({
            "name": parameter.name,
            "shape": parameter.shape,
            "count": parameter.len(),
            "layer": parameter.layer,
            "uses": parameter.uses,
            "copies": parameter.copies,
        });
        if let Some((form, work, numbers)) = self.cost.as_ref().and_then(|cost| cost.of(index)) {
            entry["form"] = form.into();
            entry["work_per_pair"] = work.into();
            entry["numbers_per_example"] = numbers.into();
        }
        entry
    }
}

fn section(printer: &Printer, title: &str, lines: Vec<String>) -> Outcome {
    printer.line("")?;
    printer.heading(title)?;
    lines.into_iter().try_for_each(|line| printer.line(format!("  {line}")))
}

/// A layer's `name (operator)` with a long name cut.
fn short_layer(layer: &str) -> String {
    const LONGEST: usize = 24;
    match layer.rsplit_once(" (") {
        Some((name, operator)) if name.chars().count() > LONGEST => {
            let kept: String = name.chars().take(LONGEST - 1).collect();
            format!("{kept}… ({operator}")
        }
        _ => layer.to_owned(),
    }
}

pub(super) fn open_shape(shape: &[Option<usize>]) -> String {
    let lengths = shape.iter().map(|l| l.map_or("?".into(), |length| length.to_string()));
    format!("[{}]", lengths.collect::<Vec<String>>().join(", "))
}

/// The name that the file gives to an axis, in brackets.
fn axis_name(input: &Declared, axis: usize) -> String {
    match input.shape.as_ref().and_then(|shape| shape.get(axis)) {
        Some(Dimension::Symbolic(name)) if !name.is_empty() => format!(" (`{name}`)"),
        Some(Dimension::Fixed(size)) => format!(" (of length {size} in the file)"),
        _ => String::new(),
    }
}

fn type_name(declared: &Declared) -> &'static str {
    match (declared.boolean, declared.integer) {
        (true, _) => "boolean",
        (false, true) => "integer",
        (false, false) => "float",
    }
}

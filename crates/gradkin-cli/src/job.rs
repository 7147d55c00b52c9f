//! What was typed, brought together with the files it names: a network, one or two data sets that
//! fit it, and the library's settings. Everything that can be wrong is found here, before the work.

use std::path::Path;

use gradkin::network::{Network, Options, Precision};
use gradkin::{
    Examples, Kernel, Kind, Metric, Neighbors, OutputChoice, Reduction, Select, Settings,
    Similarity, Storage, Undefined, Watch,
};
use gradkin_data::{Dataset, Prepared, TargetInput};
use regex::Regex;

use crate::args::{self, Common, DataArgs, SimilarityArgs};
use crate::examples::{Set, with_classes_of};
use crate::exit::{Failure, Outcome};
use crate::printer::Printer;
use crate::progress::Bars;
use crate::record::Record;
use crate::{interrupt, memory, reading, text};

/// What a command was asked to do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request<'a> {
    pub(crate) command: &'a str,
    pub(crate) model: &'a Path,
    pub(crate) data: &'a str,
    /// A second data set and its labels.
    pub(crate) other: Option<&'a str>,
    pub(crate) other_labels: Option<&'a str>,
    pub(crate) data_args: &'a DataArgs,
    pub(crate) similarity: &'a SimilarityArgs,
    pub(crate) common: &'a Common,
}

/// Everything that a computation needs.
#[derive(Debug)]
pub(crate) struct Job {
    /// The network, or its checkpoints, at least one.
    networks: Vec<Network>,
    pub(crate) data: Set,
    other: Option<Set>,
    settings: Settings,
    /// The settings that make the result.
    pub(crate) record: Record,
}

impl Job {
    /// Open the files and check that all fits together.
    pub(crate) fn open(request: &Request, printer: &Printer) -> Outcome<Self> {
        let args = request.data_args;
        let model = reading::model(request.model)?;
        let (data, other) = data_sets(request, printer)?;
        interrupt::check()?;
        let wanted = reading::targets(&model, &args.input_shapes.shapes, &data)?;
        let data = data.prepare(&reading::preprocessing(args), &wanted)?;
        let options = options(request.similarity, &wanted, &data);
        let models = reading::checkpoints(model, &request.similarity.weights, printer)?;
        let networks = models.iter().map(|model| Ok(Network::new(model, &options)?));
        let networks = networks.collect::<Outcome<Vec<Network>>>()?;
        let network = &networks[0];
        let resolved = reading::resolved(network);
        let other = other.map(|other| other.prepare(&reading::preprocessing(args), &resolved));
        let settings = settings(request.similarity, request.common, network)?;
        let width = loss_width(network, &settings);
        let set = |prepared| {
            let integers = network.inputs().iter().map(|input| input.integer).collect();
            let set = Set::new(prepared, options.precision, integers);
            set.with_labels_for(&request.similarity.outputs, width)
        };
        let (data, other) = (set(data)?, other.transpose()?.map(set).transpose()?);
        let record = Record::new(request.command);
        let mut job = Self { networks, data, other, settings, record };
        job.check()?;
        job.note(request)?;
        job.tell(printer)?;
        Ok(job)
    }

    /// How gradients are compared.
    pub(crate) fn kind(&self) -> Kind {
        self.settings.kind
    }

    /// How many outputs are compared.
    pub(crate) fn outputs(&self) -> Outcome<usize> {
        Ok(self.similarity()?.outputs()?)
    }

    /// Where the output ends in a Softmax or LogSoftmax, compare the logits that enter it.
    pub(crate) fn compare_logits(&mut self, printer: &Printer) -> Outcome {
        let network = self.network();
        let outputs = network.outputs();
        let first = outputs.first().map(|(name, ..)| (*name).to_owned());
        let Some(output) = self.settings.output.name.clone().or(first) else { return Ok(()) };
        let Some(logits) = network.logits(&output).map(str::to_owned) else { return Ok(()) };
        printer.detail(format!("comparing the logits `{logits}` of the output `{output}`"));
        self.record.note("output_name", logits.clone());
        self.settings.output.name = Some(logits);
        self.similarity().map(|_| ())
    }

    /// Keep gradients as asked for.
    pub(crate) fn keep_in(&mut self, wanted: args::Storage) -> Outcome {
        self.settings.storage = match wanted {
            args::Storage::Full => return Ok(()),
            args::Storage::F16 => Storage::F16,
            args::Storage::Bf16 => Storage::BF16,
        };
        if self.network().precision() == Precision::F64 {
            let message = "gradients in double precision are not kept in 16 bits";
            return Err(Failure::mistake(message).hint("leave out --storage or --dtype f64"));
        }
        self.record.note("storage", format!("{wanted:?}").to_lowercase());
        Ok(())
    }

    /// Measure on a sample what it changes that gradients were kept in 16 bits, if they were; tell and record it.
    /// A result that is there already is not lost where this fails.
    pub(crate) fn tell_storage(&mut self, printer: &Printer) -> Outcome {
        const SAMPLE: usize = 16;
        if self.settings.storage == Storage::Full {
            return Ok(());
        }
        let error = match self.similarity()?.storage_error(&self.data, SAMPLE, 0) {
            Ok(error) => error,
            Err(reason) => {
                printer.note(format!("what 16 bits change could not be measured: {reason}"));
                return Ok(());
            }
        };
        self.record.note("storage_error", error);
        printer.note(format!(
            "gradients were kept in 16 bits; among {} that moves similarities by at most {error:.1e} of \
             the largest",
            text::counted(SAMPLE.min(self.data.len()), "example"),
        ));
        Ok(())
    }

    /// Whether there are two data sets.
    pub(crate) fn has_other(&self) -> bool {
        self.other.is_some()
    }

    /// The second data set, or the first where there is only one.
    pub(crate) fn other_or_data(&self) -> &Set {
        self.other.as_ref().unwrap_or(&self.data)
    }

    /// The kernel between the data and the other data, or of the data with itself.
    pub(crate) fn kernel(&self, printer: &Printer) -> Outcome<Kernel> {
        let other = self.other.as_ref().map(|set| set as &dyn Examples);
        self.compute(printer, |similarity, watch| similarity.kernel(&self.data, other, watch))
    }

    /// The neighbours among the data of the other data, or of the data itself.
    pub(crate) fn neighbors(&self, k: usize, printer: &Printer) -> Outcome<Neighbors> {
        let other = self.other.as_ref().map(|set| set as &dyn Examples);
        self.compute(printer, |similarity, watch| similarity.neighbors(&self.data, other, k, watch))
    }

    /// Have the library do something, under bars that show how far it is.
    pub(crate) fn compute<T>(
        &self,
        printer: &Printer,
        work: impl FnOnce(&Similarity, Watch) -> gradkin::Result<T>,
    ) -> Outcome<T> {
        let bars = Bars::new(printer);
        let found = work(&self.similarity()?, &|progress| bars.watch(progress));
        printer.detail(format!("computed in {:.1} s", bars.finish().as_secs_f64()));
        Ok(found?)
    }

    /// The network, the first of several checkpoints.
    pub(crate) fn network(&self) -> &Network {
        &self.networks[0]
    }

    fn similarity(&self) -> Outcome<Similarity<'_>> {
        let networks: Vec<&Network> = self.networks.iter().collect();
        Ok(Similarity::over_checkpoints(&networks, self.settings.clone())?)
    }

    /// Whatever would stop the work after it has begun.
    fn check(&self) -> Outcome {
        self.similarity()?;
        self.data.check_values()?;
        self.other.as_ref().map_or(Ok(()), Set::check_values)
    }

    fn note(&mut self, request: &Request) -> Outcome {
        let args = request.data_args;
        let compared = self.compared()?;
        let record = &mut self.record;
        record.network(request.model, &request.similarity.weights, &self.networks[0]);
        record.set("data", &self.data, args.labels.as_deref());
        if let Some(other) = &self.other {
            record.set("other_data", other, request.other_labels);
        }
        record.preparation(args);
        record.similarity(request.similarity, compared);
        Ok(())
    }

    /// Number of weights that are compared.
    fn compared(&self) -> Outcome<usize> {
        let plan = self.similarity()?.plan(1)?;
        Ok(plan.iter().map(|planned| planned.shape.weights()).sum())
    }

    /// How many others an example meets for each time that it is swept, as the library counts them.
    fn partners(&self) -> usize {
        let (n, m) = (self.data.len(), self.other_or_data().len());
        (n * m / (n + m)).max(1)
    }

    fn tell(&self, printer: &Printer) -> Outcome {
        let similarity = self.similarity()?;
        for set in [Some(&self.data), self.other.as_ref()].into_iter().flatten() {
            printer.detail(format!("{}: {}", set.name(), text::counted(set.len(), "example")));
        }
        printer.detail(format!(
            "{}: {} weights and {} outputs compared, memory budget {}, {}",
            self.network().source(),
            text::count(self.compared()?),
            similarity.outputs()?,
            text::bytes(self.settings.memory as f64),
            text::counted(rayon::current_num_threads(), "thread"),
        ));
        let away = self.network().away_from_device();
        if !away.is_empty() {
            printer.note(format!("run on the processor all the same: {}", away.join(", ")));
        }
        for planned in similarity.plan(self.partners())? {
            printer.detail(format!(
                "  {} {}: {}, {} multiply-adds a pair, {} numbers an example",
                planned.name,
                text::shape(&self.network().parameters()[planned.parameter].shape),
                planned.form,
                text::short(planned.work_per_pair),
                text::short(planned.numbers as f64),
            ));
        }
        Ok(())
    }
}

/// The data, and the other data where there is some, with its classes numbered alike.
fn data_sets(request: &Request, printer: &Printer) -> Outcome<(Dataset, Option<Dataset>)> {
    let args = request.data_args;
    let data = reading::data(request.data, args.labels.as_deref(), args, printer)?;
    let other = request.other.map(|source| {
        let other = reading::data(source, request.other_labels, args, printer)?;
        with_classes_of(other, &data)
    });
    let other = other.transpose()?;
    Ok((data, other))
}

/// The network's options, its open shapes settled by the data.
fn options(args: &SimilarityArgs, wanted: &[TargetInput], data: &Prepared) -> Options {
    let names = wanted.iter().map(|input| input.name.clone());
    let shapes = data.shapes().into_iter().map(<[usize]>::to_vec);
    let input_shapes = names.zip(shapes).collect();
    Options { precision: precision(args), device: args.device, input_shapes }
}

/// How many numbers a loss is made of; zero where none is asked for.
fn loss_width(network: &Network, settings: &Settings) -> usize {
    let Select::Loss(_) = settings.output.select else { return 0 };
    let all = OutputChoice { select: Select::All, ..settings.output.clone() };
    let settings = Settings { output: all, ..settings.clone() };
    let outputs = Similarity::new(network, settings).and_then(|all| all.outputs());
    outputs.unwrap_or_default()
}

/// The float type that was asked for.
pub(crate) fn precision(args: &SimilarityArgs) -> Precision {
    match args.dtype {
        args::Dtype::F32 => Precision::F32,
        args::Dtype::F64 => Precision::F64,
    }
}

/// The library's settings.
pub(crate) fn settings(
    args: &SimilarityArgs,
    common: &Common,
    network: &Network,
) -> Outcome<Settings> {
    Ok(Settings {
        kind: match args.kind {
            args::Kind::Inner => Kind::Inner,
            args::Kind::Influence => Kind::Influence,
            args::Kind::Correlation => Kind::Correlation,
        },
        reduction: match args.reduce {
            args::Reduce::None => Reduction::Matrix,
            args::Reduce::Trace => Reduction::Trace,
            args::Reduce::Rotation => Reduction::Rotation,
        },
        output: OutputChoice {
            name: args.output_name.clone(),
            positions: args.positions.clone(),
            channel_axis: args.channel_axis,
            select: args.outputs.clone(),
            metric: match args.metric {
                args::Metric::Euclidean => Metric::Euclidean,
                args::Metric::Fisher => Metric::Fisher,
            },
        },
        parameters: args.params.as_deref().map(|p| parameters(p, network)).transpose()?,
        memory: memory::budget(common.memory),
        ..Settings::default()
    })
}

/// The parameters whose name matches a pattern, of which there must be some.
fn parameters(pattern: &str, network: &Network) -> Outcome<Vec<bool>> {
    let regex = Regex::new(pattern).map_err(|error| {
        let error = error.to_string();
        let reason = error.lines().last().unwrap_or_default().trim_start_matches("error: ");
        Failure::mistake(format!("--params {pattern:?} is no regular expression: {reason}"))
    })?;
    let chosen = network.select(&regex);
    if chosen.contains(&true) {
        return Ok(chosen);
    }
    let names: Vec<&str> = network.parameters().iter().map(|p| p.name.as_str()).collect();
    let message = format!("--params {pattern:?} matches no parameter of {}", network.source());
    Err(Failure::mistake(message).hint(format!("its parameters are {}", text::first_few(&names))))
}

/// Say that examples have no similarity: how many, which and why.
pub(crate) fn warn_of_undefined(printer: &Printer, set: &Set, undefined: &Undefined) {
    if let Some(text) = describe_undefined(set, undefined) {
        printer.warning(text);
    }
}

/// One sentence about the examples that have no similarity; `None` where all have one.
pub(crate) fn describe_undefined(set: &Set, undefined: &Undefined) -> Option<String> {
    let reasons = [
        (&undefined.rank_zero, "zero gradient (no parameter moves the output)"),
        (&undefined.not_finite, "gradient not finite"),
    ];
    let reasons = reasons.into_iter().filter(|(list, _)| !list.is_empty());
    let reasons: Vec<String> = reasons
        .map(|(list, reason)| format!("{reason} at {}", text::first_few(&set.ids(list))))
        .collect();
    let (count, whole) = (text::count(undefined.len()), text::counted(set.len(), "example"));
    let which = format!("similarity is undefined for {count} of {whole} of {}", set.name());
    (!reasons.is_empty()).then(|| format!("{which}: {}", reasons.join(", ")))
}

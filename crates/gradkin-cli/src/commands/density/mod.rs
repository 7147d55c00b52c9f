//! `gradkin density`: how many neighbours each example has, as a table, as a summary that says what
//! the counts tell of the network, and as a picture of the loneliest.

mod calibration;
mod counts;
mod report;

use crate::args::{Common, DensityArgs, Kind, Reduce};
use crate::exit::{Failure, Outcome};
use crate::job::{Job, Request};
use crate::printer::Printer;
use crate::{interrupt, results, show};
use counts::{Counts, Wanted};

pub(crate) fn run(args: &DensityArgs, common: &Common, printer: &Printer) -> Outcome {
    results::check_writable(args.table.output.as_deref(), args.show.as_deref())?;
    let wanted = wanted(args)?;
    let request = Request {
        command: "density",
        model: &args.model,
        data: &args.data,
        other: args.against.as_deref(),
        other_labels: args.against_labels.as_deref(),
        data_args: &args.data_args,
        similarity: &args.similarity,
        common,
    };
    let mut job = Job::open(&request, printer)?;
    wanted.note(&mut job.record);
    if args.show.is_some() {
        show::check_images(&job.data)?;
    }
    let counts = Counts::of(&wanted, &job, printer)?;
    counts.warn(&job, printer)?;
    let table = counts.table(&job)?;
    interrupt::check()?;
    results::write(&table, &args.table, printer)?;
    let order = counts.ascending();
    if let Some(path) = &args.show {
        let lowest = &order[..order.len().min(args.show_rows.max(1))];
        show::lowest(path, &job, lowest, |example| counts.captions(example))?;
        printer.note(format!("drew {}", path.display()));
    }
    let report = report::report(&counts, &order, &job, printer.width());
    results::print(&report, &table, &args.table, printer)
}

/// What is to be counted, after a check that it makes sense.
fn wanted(args: &DensityArgs) -> Outcome<Wanted> {
    if args.similarity.reduce == Reduce::None {
        let message = "--reduce none: counts need one number per pair";
        return Err(Failure::mistake(message).hint("use --reduce trace or rotation"));
    }
    let inner = args.similarity.kind == Kind::Inner;
    if let Some(threshold) = args.hard.iter().find(|t| !inner && !(-1.0..=1.0).contains(*t)) {
        let message = format!("--hard {threshold}: a threshold is a similarity, -1 to 1");
        return Err(Failure::mistake(message));
    }
    if let Some(exponent) = args.power.iter().find(|exponent| **exponent <= 0.0) {
        return Err(Failure::mistake(format!("--power {exponent}: an exponent is above 0")));
    }
    let wanted = Wanted {
        kind: args.similarity.kind,
        reduce: args.similarity.reduce,
        hard: without_repeats(&args.hard),
        power: without_repeats(&args.power),
        sample: args.sample.map(|size| gradkin::Sample { size, seed: args.seed }),
    };
    check_sample(&wanted)?;
    Ok(wanted)
}

fn check_sample(wanted: &Wanted) -> Outcome {
    let Some(sample) = wanted.sample else { return Ok(()) };
    let size = sample.size;
    if !wanted.meets_pairs() {
        let message = format!("--sample {size}: there is nothing to estimate");
        return Err(Failure::mistake(message)
            .hint("soft counts are exact without meeting pairs; add --hard or --power"));
    }
    if size < 2 {
        return Err(Failure::mistake(format!("--sample {size}: a sample has at least 2 examples")));
    }
    if wanted.kind != Kind::Correlation {
        let message = "--sample serves correlations only; use --kind correlation";
        return Err(Failure::mistake(message));
    }
    Ok(())
}

fn without_repeats(list: &[f64]) -> Vec<f64> {
    let mut kept: Vec<f64> = Vec::new();
    for number in list {
        if !kept.contains(number) {
            kept.push(*number);
        }
    }
    kept
}

//! `gradkin kernel`: similarities of all pairs as a .npy file, and beside it how they were made.

use std::borrow::Cow;
use std::io::Write;
use std::path::{Path, PathBuf};

use gradkin::{Examples, Kernel, Values};
use gradkin_data::write::{AtomicFile, Dtype, NpyWriter};

use crate::args::{Common, KernelArgs, Undefined};
use crate::exit::{Failure, Outcome};
use crate::job::{Job, Request, describe_undefined, warn_of_undefined};
use crate::printer::Printer;
use crate::record::Record;
use crate::{interrupt, text};

pub(crate) fn run(args: &KernelArgs, common: &Common, printer: &Printer) -> Outcome {
    check_output(&args.output)?;
    let request = Request {
        command: "kernel",
        model: &args.model,
        data: &args.data,
        other: args.against.as_deref(),
        other_labels: args.against_labels.as_deref(),
        data_args: &args.data_args,
        similarity: &args.similarity,
        common,
    };
    let mut job = Job::open(&request, printer)?;
    job.keep_in(args.storage.storage)?;
    let kernel = job.kernel(printer)?;
    job.tell_storage(printer)?;
    if args.undefined == Undefined::Error {
        refuse_undefined(&job, &kernel)?;
    }
    warn(&job, &kernel, printer);
    let shape = text::shape(&write(&args.output, &job, &kernel)?);
    let (array, record) = (args.output.display(), sidecar(&args.output));
    printer.note(format!("wrote {array} {shape} and {}", record.display()));
    Ok(())
}

/// Write a kernel, as far as it is defined, and its record; what shape it has then.
pub(crate) fn write(path: &Path, job: &Job, kernel: &Kernel) -> Outcome<Vec<usize>> {
    let (kept, rows, columns) = defined(kernel);
    if kept.values.is_empty() {
        return Err(Failure::other("no pair of examples has a similarity, so there is no kernel"));
    }
    let mut record = job.record.clone();
    record.note("shape", kept.shape.clone());
    record.note("rows", job.data.len());
    record.note("columns", job.other_or_data().len());
    if !undefined_anywhere(kernel) {
        record.note("kept", "all");
    } else {
        record.note("kept_rows", job.data.ids(&rows));
        record.note("kept_columns", job.other_or_data().ids(&columns));
    }
    record.undefined("undefined_rows", &kernel.undefined_rows, &job.data);
    record.undefined("undefined_columns", &kernel.undefined_columns, job.other_or_data());
    write_files(path, &kept, &record)?;
    Ok(kept.shape.clone())
}

/// Both files, the array first, so that a record never stands for an array that is not there.
fn write_files(path: &Path, kernel: &Kernel, record: &Record) -> Outcome {
    let beside = sidecar(path);
    let mut settings = AtomicFile::create(&beside)?;
    settings
        .write_all(record.pretty().as_bytes())
        .map_err(|e| Failure::other(format!("cannot write {}: {e}", beside.display())))?;
    write_array(path, kernel)?;
    Ok(settings.persist()?)
}

fn write_array(path: &Path, kernel: &Kernel) -> Outcome {
    const AT_ONCE: usize = 1 << 20;
    let dtype = match kernel.values {
        Values::F32(_) => Dtype::F32,
        Values::F64(_) => Dtype::F64,
    };
    let mut file = NpyWriter::create(path, &kernel.shape, dtype)?;
    match &kernel.values {
        Values::F32(values) => values.chunks(AT_ONCE).try_for_each(|part| {
            interrupt::check()?;
            Ok::<_, Failure>(file.append_f32(part)?)
        })?,
        Values::F64(values) => values.chunks(AT_ONCE).try_for_each(|part| {
            interrupt::check()?;
            Ok::<_, Failure>(file.append_f64(part)?)
        })?,
    }
    Ok(file.finish()?)
}

/// The kernel without what is undefined, and which rows and columns remain.
fn defined(kernel: &Kernel) -> (Cow<'_, Kernel>, Vec<usize>, Vec<usize>) {
    if !undefined_anywhere(kernel) {
        return (Cow::Borrowed(kernel), Vec::new(), Vec::new());
    }
    let (kept, rows, columns) = kernel.defined();
    (Cow::Owned(kept), rows, columns)
}

fn undefined_anywhere(kernel: &Kernel) -> bool {
    !kernel.undefined_rows.is_empty() || !kernel.undefined_columns.is_empty()
}

/// The kernel of a set with itself would say everything twice.
fn warn(job: &Job, kernel: &Kernel, printer: &Printer) {
    warn_of_undefined(printer, &job.data, &kernel.undefined_rows);
    if job.has_other() {
        warn_of_undefined(printer, job.other_or_data(), &kernel.undefined_columns);
    }
}

fn refuse_undefined(job: &Job, kernel: &Kernel) -> Outcome {
    let rows = describe_undefined(&job.data, &kernel.undefined_rows);
    let columns = || describe_undefined(job.other_or_data(), &kernel.undefined_columns);
    match rows.or_else(columns) {
        Some(text) => Err(Failure::other(text).hint(
            "leave --undefined error out to get the kernel of the others, or remove the examples",
        )),
        None => Ok(()),
    }
}

fn check_output(path: &Path) -> Outcome {
    if path.extension().is_none_or(|e| !e.eq_ignore_ascii_case("npy")) {
        let message = format!("-o {}: a kernel's name ends in .npy", path.display());
        return Err(Failure::mistake(message));
    }
    AtomicFile::check_writable(path)?;
    Ok(AtomicFile::check_writable(sidecar(path))?)
}

/// The name of the file that says how an array was made.
fn sidecar(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".json");
    name.into()
}

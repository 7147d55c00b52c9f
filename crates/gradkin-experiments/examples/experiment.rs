//! Runs one experiment: `experiment toy|mnist FOLDER [quick] [NAME=NUMBER …]`. Names are `threads`;
//! `epochs` and `runs` of the toy; `runs`, `further`, `standardized`, `lambdas` and `further-lambdas`
//! (with commas) of MNIST. Data is looked for in `$GRADKIN_SHARED` or `../shared`.

use std::error::Error;
use std::io::Write;
use std::path::Path;
use std::time::Instant;

use gradkin_experiments::{Setup, Summary, mnist, shared_folder, toy};

/// Without it every tensor is a call to the system.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [name, folder, rest @ ..] = arguments.as_slice() else {
        return Err("experiment toy|mnist FOLDER [quick] [NAME=NUMBER …]".into());
    };
    let number = |name: &str| -> Option<usize> {
        rest.iter().find_map(|text| text.strip_prefix(name)?.strip_prefix('=')?.parse().ok())
    };
    let weights = |name: &str| -> Option<Vec<f64>> {
        let text = rest.iter().find_map(|text| text.strip_prefix(name)?.strip_prefix('='))?;
        text.split(',').map(|weight| weight.parse().ok()).collect()
    };
    let started = Instant::now();
    let watch = |stage: &str, done: u64, total: u64| {
        if done.is_multiple_of((total / 100).max(1)) {
            let seconds = started.elapsed().as_secs();
            // Nothing depends on whether progress is seen.
            let _ = writeln!(std::io::stderr(), "{seconds:>5} s  {stage}: {done} of {total}");
        }
        true
    };
    let named = std::env::var_os("GRADKIN_SHARED").map(Into::into);
    let mut setup = Setup::new(folder, &watch);
    setup.shared = shared_folder(named, &std::env::current_dir()?.join("x"));
    setup.quick = rest.iter().any(|text| text == "quick");
    setup.threads = number("threads").unwrap_or(setup.threads);
    let summary = match name.as_str() {
        "toy" => {
            let mut settings =
                if setup.quick { toy::ToySettings::quick() } else { toy::ToySettings::paper() };
            settings.epochs = number("epochs").unwrap_or(settings.epochs);
            settings.runs = number("runs").map_or(settings.runs, |runs| runs as u64);
            toy::run_with(&setup, &settings)?
        }
        "mnist" => {
            let mut settings = match setup.quick {
                true => mnist::MnistSettings::quick(),
                false => mnist::MnistSettings::paper(),
            };
            settings.runs = number("runs").unwrap_or(settings.runs);
            settings.further_runs = number("further").unwrap_or(settings.further_runs);
            settings.standardized = number("standardized").is_none_or(|one| one == 1);
            settings.lambdas = weights("lambdas").unwrap_or(settings.lambdas);
            settings.further_lambdas =
                weights("further-lambdas").unwrap_or(settings.further_lambdas);
            mnist::run_with(&setup, &settings)?
        }
        other => return Err(format!("no experiment is called `{other}`").into()),
    };
    show(&summary)?;
    Ok(())
}

fn show(summary: &Summary) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    for line in &summary.left_out {
        writeln!(out, "{line}")?;
    }
    for (name, value) in &summary.numbers {
        writeln!(out, "{name}: {value:.4}")?;
    }
    let page = Path::new(&summary.page).display();
    writeln!(out, "{page} after {:.1} s", summary.seconds)
}

//! Runs the registration experiment: `registration FOLDER [quick] [truth] [alone] [NAME=NUMBER…]`; data are looked for in
//! `$GRADKIN_SHARED`, or in `shared` beside the checkout.

use std::error::Error;
use std::io::Write;
use std::path::PathBuf;

use gradkin_experiments::registration::{self, Settings};
use gradkin_experiments::{Setup, shared_folder};

/// Steps allocate and free the same large arrays again and again.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let folder = arguments.first().map_or("registration", String::as_str);
    let watch = |stage: &str, done: u64, total: u64| {
        if done.is_multiple_of(20) {
            let _ = writeln!(std::io::stderr(), "{stage}: {done} of {total}");
        }
        true
    };
    let named = std::env::var_os("GRADKIN_SHARED").map(PathBuf::from);
    let setup = Setup {
        quick: arguments.iter().any(|argument| argument == "quick"),
        threads: number_of(&arguments, "threads").map_or(1, |n| n as usize),
        seed: number_of(&arguments, "seed").map_or(0, |n| n as u64),
        shared: shared_folder(named, &std::env::current_dir()?),
        ..Setup::new(folder, &watch)
    };
    let number = |name: &str| number_of(&arguments, name);
    let mut settings = if setup.quick { Settings::quick() } else { Settings::full() };
    settings.rate = number("rate").unwrap_or(settings.rate);
    settings.later_rate = number("later_rate").unwrap_or(settings.later_rate);
    let count = |name: &str, default: usize| number(name).map_or(default, |n| n as usize);
    settings.training_scenes = count("scenes", settings.training_scenes);
    settings.held_out_scenes = count("held_out", settings.held_out_scenes);
    settings.patches = count("patches", settings.patches);
    settings.passes = count("passes", settings.passes);
    settings.turns = count("turns", settings.turns);
    settings.patch_side = count("patch", settings.patch_side);
    settings.scene_side = count("side", settings.scene_side);
    settings.grey = number("grey").unwrap_or(settings.grey);
    settings.own = number("own").or(settings.own);
    if arguments.iter().any(|argument| argument == "alone") {
        settings.own = None;
    }
    settings.from_truth = arguments.iter().any(|argument| argument == "truth");
    let noise = number("noise").unwrap_or(1.0);
    settings.noise.group_deviation *= noise;
    settings.noise.building_deviation *= noise;
    settings.batch_scenes = count("batch", settings.batch_scenes);
    settings.batch_patches = count("cuts", settings.batch_patches);
    let width = count("width", settings.widths[0]);
    settings.widths = [width, 2 * width, 3 * width];
    let rounds = count("rounds", settings.steps.len());
    let first = count("steps", settings.steps[0]);
    let later = count("later_steps", settings.steps.last().copied().unwrap_or(0));
    settings.steps = (0..rounds).map(|round| if round == 0 { first } else { later }).collect();
    let summary = registration::run_with(&setup, &settings)?;
    for (name, value) in &summary.numbers {
        writeln!(std::io::stdout(), "{name}: {value:.4}")?;
    }
    for line in &summary.left_out {
        writeln!(std::io::stdout(), "{line}")?;
    }
    Ok(())
}

/// The number of an argument `NAME=NUMBER`.
fn number_of(arguments: &[String], name: &str) -> Option<f64> {
    arguments.iter().find_map(|text| text.strip_prefix(name)?.strip_prefix('=')?.parse().ok())
}

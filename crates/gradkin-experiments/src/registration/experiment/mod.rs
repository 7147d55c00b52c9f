//! The registration experiment of METHOD.md, section 5: how far a network that learns from labels out of
//! line brings outlines into line, and whether its gradients foretell how far.

mod alignment;
mod centred;
mod correlation;
mod edges;
mod evened;
mod labelled;
mod neighbourhood;
mod neighbours;
mod network;
mod outcome;
mod patches;
mod real;
mod rounds;
mod settings;
mod similarity;
mod votes;

use gradkin::network::Model;

use self::centred::CentredPatches;
use self::labelled::Labelled;
use self::neighbourhood::Foretold;
use self::outcome::{Standing, median};
pub use self::settings::Settings;
use crate::registration::Shift;
use crate::{Error, Report, Setup, Summary};

/// Train a network with labels that are out of line, correct them with it, train again, and see how far
/// outlines are off then; at the size that the setup asks for.
///
/// # Errors
/// Where the report cannot be written, and where the setup's watcher wants to stop.
pub fn run(setup: &Setup) -> Result<Summary, Error> {
    run_with(setup, &if setup.quick { Settings::quick() } else { Settings::full() })
}

/// The same with other settings.
///
/// # Errors
/// As [`run`], and where sizes do not fit each other.
pub fn run_with(setup: &Setup, settings: &Settings) -> Result<Summary, Error> {
    let mut report = Report::begin(&setup.folder, "Registration with noisy labels")?;
    introduce(&mut report, setup, settings);
    let [mut training, mut held_out] = scenes(setup, settings);
    // As many are shown of those learned from as of those held out.
    let shown = settings.held_out_scenes.min(training.len());
    let mut standings =
        vec![Standing::of("as given".to_owned(), &training[..shown], &held_out, Vec::new())];
    let mut curves = Vec::new();
    let mut model = network::draw(settings.widths, settings.patch_side, setup.seed)?;
    if settings.from_truth {
        training.iter_mut().for_each(|scene| scene.labels.fill(Shift::default()));
    }
    let mut first = None;
    for round in 0..settings.steps.len() {
        curves.push(rounds::train(&mut model, &training, settings, round, setup)?);
        // Nothing learns from the labels that the last round leaves.
        let last = round + 1 == settings.steps.len();
        let corrected = if last { &mut training[..shown] } else { &mut training[..] };
        rounds::correct(&model, corrected, settings, setup)?;
        let looks = rounds::correct(&model, &mut held_out, settings, setup)?;
        let name = format!("after round {}", round + 1);
        standings.push(Standing::of(name, &training[..shown], &held_out, looks));
        first.get_or_insert_with(|| model.clone());
    }
    outcome::tell(&mut report, &standings, &curves)?;
    let visible = outcome::visible(&held_out);
    outcome::tell_visible(&mut report, &visible, &standings);
    outcome::show(&mut report, &held_out)?;
    report.table(
        "buildings",
        outcome::table(&visible, &standings)?,
        "every building of the held-out scenes: the share of it in the picture, and from its true outline \
         to its label, in pixels, as given (0) and after each round",
    )?;
    similarities(&mut report, &first.unwrap_or_else(|| model.clone()), &training, setup, settings)?;
    tile(&mut report, &model, setup, settings)?;
    compare(&mut report, &standings);
    report.finish()
}

/// What is done, and with which settings.
fn introduce(report: &mut Report, setup: &Setup, settings: &Settings) {
    report.text(
        "A network is shown an aerial image and outlines of buildings drawn out of place, and is taught \
         to say by how much each outline has to be moved to reach its label. The labels themselves are \
         out of line, once and for all, by a smooth displacement common to a neighbourhood and one of \
         each building. After each round of training the labels are put where the network sees the \
         buildings, and the next round learns from those. Scenes are generated, so that the truth is \
         known; it is used for measuring only.",
    );
    report.text(
        "The network has an encoder for each of the two. Their features are multiplied under every \
         displacement of a grid of 5 × 5, two pixels apart; averaged over a window, the products are \
         votes, to which a U-shaped decoder adds its opinion, and the answer is the mean displacement \
         under the softmax of both. The encoders' first layers begin as filters for edges. A building \
         is moved by the mean of the answers over its area.",
    );
    report.text(
        "Images are in colour; the network sees brightness, greenness and redness, each made even from place \
         to place. Some patches to learn from lose their colours, so that it can do without; all are turned \
         and mirrored at random. What an outline is moved by in the end is the mean over a picture turned in \
         several ways.",
    );
    if settings.own.is_some() {
        report.text(
            "For the noise of labels is known to be mostly in common, what is found of a building is \
             drawn towards the median of its neighbours, the more the less of it is in the picture, and \
             never further from that than two deviations of the noise of single buildings.",
        );
    }
    report.setting("seed", setup.seed);
    report.setting("threads", setup.threads);
    report.setting("scenes learned from", settings.training_scenes);
    report.setting("scenes held out", settings.held_out_scenes);
    report.setting("side of a scene and of a patch (px)", {
        format!("{}, {}", settings.scene_side, settings.patch_side)
    });
    report.setting("channels of the network", format!("{:?}", settings.widths));
    report.setting("share of patches without colours", settings.grey);
    report.setting("steps of the rounds", format!("{:?}", settings.steps));
    report.setting(
        "scenes to a step, patches of each",
        format!("{}, {}", settings.batch_scenes, settings.batch_patches),
    );
    report.setting(
        "optimizer",
        format!(
            "Adam, cosine from {} (first round) and {} (others), squared error under a mask",
            settings.rate, settings.later_rate
        ),
    );
    report.setting("looks at each outline", settings.passes);
    report.setting("ways of turning the picture in each look", settings.turns);
    report.setting("weight of a building's own displacement beside its neighbours'", {
        settings.own.map_or("alone".to_owned(), |weight| weight.to_string())
    });
    report.setting("learned from the truth", settings.from_truth);
    for (name, kind) in [("noise of labels", settings.noise), ("outlines off", settings.start)] {
        report.setting(
            name,
            format!(
                "deviation {} px in common (over {} px) and {} px of each building, along each axis, \
                 at most {} px",
                kind.group_deviation, kind.length, kind.building_deviation, kind.limit
            ),
        );
    }
}

/// Scenes to learn from and scenes held out.
fn scenes(setup: &Setup, settings: &Settings) -> [Vec<Labelled>; 2] {
    let (side, noise) = (settings.scene_side, &settings.noise);
    let seeds = [2 * setup.seed, 2 * setup.seed + 1];
    let counts = [settings.training_scenes, settings.held_out_scenes];
    [0, 1].map(|k| labelled::generate(counts[k], side, noise, seeds[k]))
}

/// Similarities between patches, with a network that has learned from labels as they were given.
fn similarities(
    report: &mut Report,
    model: &Model,
    training: &[Labelled],
    setup: &Setup,
    settings: &Settings,
) -> Result<(), Error> {
    report.heading("Similarity between patches");
    report.text(
        "Patches have a building in the middle; the output that is compared is the mean displacement \
         over the middle 16 × 16 pixels, two numbers. The mean over the whole patch would also count \
         pixels without a building, where the network is taught nothing.",
    );
    let size = settings.patch_side;
    let patches = CentredPatches::draw(training, settings.patches, settings, setup.seed);
    if patches.0.len() < 2 {
        report.left_out("similarities, for no scene has a building in the middle of a patch");
        return Ok(());
    }
    let network = network::resized(model, settings.widths, size)?;
    let measures = similarity::measure(&network, &patches, size, setup)?;
    let sigma = neighbourhood::deviation(&patches);
    let foretold = Foretold::new(&patches, &measures, sigma);
    neighbourhood::tell(report, &foretold, sigma)?;
    neighbourhood::tell_share(report, &patches, &foretold);
    let sheets = [
        ("neighbours", "Nearest by the trace of K^C"),
        ("neighbours_rotation", "Nearest by K^C with the best rotation"),
    ];
    for (names, nearest) in sheets.into_iter().zip(&measures.nearest) {
        neighbourhood::sheet(report, names, &patches, nearest)?;
    }
    let table = neighbourhood::table(&patches, &foretold)?;
    report.table("patches", table, "every patch: displacements, errors and similarities")
}

/// The real tile, of which nothing but numbers is written.
fn tile(
    report: &mut Report,
    model: &Model,
    setup: &Setup,
    settings: &Settings,
) -> Result<(), Error> {
    report.heading("A real image");
    let Some(folder) = setup.data("aerial_pan_tile") else {
        report.left_out("the real image, for `data/aerial_pan_tile` is not among the shared data");
        return Ok(());
    };
    let real = match real::aligned(&folder, model, settings, setup.seed)? {
        Ok(real) => real,
        Err(reason) => {
            report.left_out(format!("the real image, for it cannot be read: {reason}"));
            return Ok(());
        }
    };
    let [before, after, alone] = [&real.before, &real.after, &real.left_alone].map(median);
    let [scattered, apart] = [&real.scattered, &real.apart].map(median);
    report.text(format!(
        "The network, trained on generated scenes only, was given a real panchromatic image at {} m per \
         pixel with {} buildings. Their outlines, displaced like the labels above, were {before:.2} px \
         (median) from where they came with the image, and {after:.2} px after alignment; left where \
         they came, they are moved by {alone:.2} px: in common by ({:+.2}, {:+.2}) px, and by \
         {scattered:.2} px apart from that. Outlines that were displaced end {apart:.2} px from where the \
         same outlines end that were not. The labels that came with the image are themselves the work of \
         people, and are not exact.",
        real::METRES_PER_PIXEL,
        real.buildings,
        real.common.x,
        real.common.y,
    ));
    if after > before && apart < alone / 4.0 {
        report.text(
            "Measured by those labels the network does harm. Yet where an outline ends hardly depends on \
             where it was drawn: network and labels disagree on the place, and numbers cannot say which of \
             them is right.",
        );
    } else if after > before {
        report.text("On this image the network does harm: what it learned does not carry over.");
    }
    report.number("real_before", before);
    report.number("real_after", after);
    report.number("real_left_alone", alone);
    report.number("real_common_x", real.common.x);
    report.number("real_common_y", real.common.y);
    report.number("real_scattered", scattered);
    report.number("real_apart", apart);
    Ok(())
}

/// How it compares with the paper.
fn compare(report: &mut Report, standings: &[Standing]) {
    report.heading("Against the paper");
    let (Some(given), Some(last)) = (standings.first(), standings.last()) else { return };
    let (before, after) = (median(&given.held_out), median(&last.held_out));
    report.text(format!(
        "The paper's authors found errors far below the noise of the labels that the network had learned \
         from, and explain it by the average over similar examples. Here, on generated scenes with a \
         network small enough for one processor, the median error falls from {before:.2} to {after:.2} \
         px. How well the denoising factor foretells what is left, patch by patch, is in the table of \
         correlations above.",
    ));
    let least = standings.iter().min_by(|a, b| median(&a.held_out).total_cmp(&median(&b.held_out)));
    if let Some(least) = least.filter(|least| median(&least.held_out) < after) {
        report.text(format!(
            "The error was lowest {} ({:.2} px): a network that sees buildings too dimly corrects labels \
             towards its own mistakes, and the next round learns those.",
            least.name,
            median(&least.held_out),
        ));
    }
    if after > before / 4.0 {
        let learned = median(&last.training);
        report.text(format!(
            "The aim of a quarter is missed. Labels that the network learned from end {learned:.2} px \
             off, those held out {after:.2} px: {}.",
            if (learned / after - 1.0).abs() < 0.2 {
                "they are alike: the network does not know the scenes by heart, and what is left is what \
                 it does not see, and noise that its average has not taken off"
            } else {
                "they differ, so that the scenes are too few for the network"
            }
        ));
    }
}

//! Writes pictures of generated scenes, and of a tile if one is given:
//! `scenes FOLDER [COUNT [IMAGE LABELS]]`.

use std::error::Error;
use std::io::Write;
use std::path::Path;
use std::time::Instant;

use gradkin_experiments::registration::picture;
use gradkin_experiments::registration::tile::{self, TileOptions};
use gradkin_experiments::registration::{Misalignment, OutlineStyle, Sample, Scene, SceneOptions};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let folder = arguments.first().map_or("scenes", String::as_str);
    let count: u64 = arguments.get(1).map_or(Ok(12), |text| text.parse())?;
    std::fs::create_dir_all(folder)?;
    let start = Instant::now();
    let scenes: Vec<Scene> =
        (0..count).map(|seed| Scene::generate(&SceneOptions::default(), seed)).collect();
    let each = start.elapsed() / u32::try_from(count.max(1))?;
    for (seed, scene) in scenes.iter().enumerate() {
        write(scene, seed as u64, &Path::new(folder).join(format!("scene{seed:02}")))?;
    }
    let bare: Vec<_> = scenes.iter().map(|scene| picture::plain(&scene.image)).collect();
    for (page, pictures) in bare.chunks(4).enumerate() {
        picture::beside(pictures).save(Path::new(folder).join(format!("sheet{page:02}.png")))?;
    }
    if let [_, _, image, labels] = arguments.as_slice() {
        let options = TileOptions { metres_per_pixel: Some(0.4), ..Default::default() };
        let tile = tile::read(Path::new(image), Path::new(labels), &options)?;
        write(&tile, 0, &Path::new(folder).join("tile"))?;
    }
    writeln!(std::io::stderr(), "{each:?} a scene")?;
    Ok(())
}

/// The bare picture, the picture with outlines, and what a network sees.
fn write(scene: &Scene, seed: u64, stem: &Path) -> Result<(), Box<dyn Error>> {
    let noise = Misalignment::default().draw(scene, seed);
    let sample = Sample::draw(scene, &[], &noise, &OutlineStyle::default());
    let bare = picture::plain(&scene.image);
    bare.save(stem.with_extension("png"))?;
    picture::scene(scene, &noise, 3).save(stem.with_extension("outlines.png"))?;
    let seen = [bare, picture::plain(&sample.outline), picture::field(&sample.target, 4.0)];
    picture::beside(&seen).save(stem.with_extension("sample.png"))?;
    Ok(())
}

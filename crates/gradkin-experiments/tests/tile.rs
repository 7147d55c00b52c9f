//! Reading tiles: one made here, and the real one where it is at hand.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::path::{Path, PathBuf};

use geo::{Area, Centroid};
use gradkin_experiments::registration::Raster;
use gradkin_experiments::registration::tile::{self, TileOptions};
use tempfile::TempDir;
use tiff::encoder::{TiffEncoder, colortype};
use tiff::tags::Tag;

/// Writes a grey image of 40 × 30 pixels of half a metre, whose corner is at (1000, 5000), dark but for a
/// bright rectangle over columns 10 to 20 and rows 5 to 15.
fn write_image(folder: &TempDir, epsg: u16) -> PathBuf {
    let path = folder.path().join("image.tif");
    let mut encoder = TiffEncoder::new(std::fs::File::create(&path).unwrap()).unwrap();
    let mut image = encoder.new_image::<colortype::Gray16>(40, 30).unwrap();
    let tags = image.encoder();
    tags.write_tag(Tag::ModelPixelScaleTag, &[0.5, 0.5, 0.0][..]).unwrap();
    tags.write_tag(Tag::ModelTiepointTag, &[0.0, 0.0, 0.0, 1000.0, 5000.0, 0.0][..]).unwrap();
    let keys = [1, 1, 0, 3, 1024, 0, 1, 1, 1025, 0, 1, 1, 3072, 0, 1, epsg];
    tags.write_tag(Tag::GeoKeyDirectoryTag, &keys[..]).unwrap();
    let inside = |i: usize| (10..20).contains(&(i % 40)) && (5..15).contains(&(i / 40));
    let values: Vec<u16> = (0..1200).map(|i| if inside(i) { 900 } else { 100 }).collect();
    image.write_data(&values).unwrap();
    path
}

/// Labels for that rectangle, and for another far away.
fn write_labels(folder: &TempDir, system: &str, kind: &str) -> PathBuf {
    let path = folder.path().join("labels.geojson");
    let ring = |x: f64, y: f64| {
        let (right, bottom) = (x + 5.0, y - 5.0);
        format!("[[{x},{y}],[{right},{y}],[{right},{bottom}],[{x},{bottom}],[{x},{y}]]")
    };
    let feature = |ring: String| {
        let coordinates = if kind == "Polygon" { format!("[{ring}]") } else { ring };
        format!(
            r#"{{"type":"Feature","properties":{{}},"geometry":{{"type":"{kind}","coordinates":{coordinates}}}}}"#
        )
    };
    let (here, there) = (feature(ring(1005.0, 4997.5)), feature(ring(9005.0, 4997.5)));
    let text = format!(r#"{{"type":"FeatureCollection",{system}"features":[{here},{there}]}}"#);
    std::fs::write(&path, text).unwrap();
    path
}

const SYSTEM: &str =
    r#""crs":{"type":"name","properties":{"name":"urn:ogc:def:crs:EPSG::32616"}},"#;

fn message(image: &Path, labels: &Path) -> String {
    tile::read(image, labels, &TileOptions::default()).unwrap_err().to_string()
}

/// Where the light of an image is, in pixels.
fn bright_centre(image: &Raster) -> (f64, f64) {
    let (mut sum, mut x, mut y) = (0.0, 0.0, 0.0);
    for row in 0..image.height() {
        for column in 0..image.width() {
            let value = f64::from(image.at(0, row, column));
            sum += value;
            x += value * (column as f64 + 0.5);
            y += value * (row as f64 + 0.5);
        }
    }
    (x / sum, y / sum)
}

#[test]
fn labels_lie_where_the_image_shows_the_building() {
    let folder = TempDir::new().unwrap();
    let (image, labels) = (write_image(&folder, 32_616), write_labels(&folder, SYSTEM, "Polygon"));
    for metres_per_pixel in [None, Some(0.25), Some(0.8)] {
        let options = TileOptions { metres_per_pixel, ..Default::default() };
        let scene = tile::read(&image, &labels, &options).unwrap();
        let size = metres_per_pixel.unwrap_or(0.5);
        assert!((scene.metres_per_pixel - size).abs() < 0.02, "{}", scene.metres_per_pixel);
        assert_eq!(scene.buildings.len(), 1, "the other one is off the image");
        let area = scene.buildings[0].polygon.unsigned_area() * scene.metres_per_pixel.powi(2);
        assert!((area - 25.0).abs() < 0.5, "{area}");
        let centre = scene.buildings[0].polygon.centroid().unwrap();
        let (x, y) = bright_centre(&scene.image);
        assert!(
            (centre.x() - x).abs() < 0.05 && (centre.y() - y).abs() < 0.05,
            "{x} {y} {centre:?}"
        );
    }
}

#[test]
fn errors_name_the_file_and_what_is_wrong() {
    let folder = TempDir::new().unwrap();
    let image = write_image(&folder, 32_616);
    let labels = write_labels(&folder, "", "Polygon");
    let said = message(&image, &labels);
    assert!(said.contains("labels.geojson") && said.contains("EPSG:32616"), "{said}");
    assert!(said.contains("degrees"), "{said}");

    let labels = write_labels(&folder, SYSTEM, "LineString");
    let said = message(&image, &labels);
    assert!(said.contains("LineString in feature 0"), "{said}");

    let labels = write_labels(&folder, SYSTEM, "Polygon");
    let other = write_image(&folder, 32_617);
    assert!(message(&other, &labels).contains("32617"));

    std::fs::write(&labels, "{").unwrap();
    assert!(message(&image, &labels).contains("labels.geojson"));
    std::fs::write(&image, "II*\0").unwrap();
    assert!(message(&image, &labels).contains("image.tif cannot be decoded as TIFF"));
    assert!(message(&folder.path().join("none.tif"), &labels).contains("cannot read"));
}

/// The file, or a loud remark that the test was left out.
fn shared(test: &str, file: &str) -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let root = std::env::var_os("GRADKIN_SHARED").map_or(beside, PathBuf::from);
    let path = root.join("data").join(file);
    if !path.exists() {
        eprintln!("LEFT OUT: {test} needs ../shared/data/{file}");
        return None;
    }
    Some(path)
}

#[test]
fn the_real_tile_is_read() {
    let test = "the real aerial tile";
    let (Some(image), Some(labels)) = (
        shared(test, "aerial_pan_tile/sample_geotiff.tif"),
        shared(test, "aerial_pan_tile/geotiff_labels.geojson"),
    ) else {
        return;
    };
    let scene = tile::read(&image, &labels, &TileOptions::default()).unwrap();
    assert_eq!(scene.image.shape(), [1, 900, 900]);
    assert_eq!((scene.metres_per_pixel, scene.buildings.len()), (0.5, 43));
    // The first corner of the first polygon: (733633.917563494 − 733601) / 0.5, (5139 − 4917.327…) / 0.5.
    let corner = scene.buildings[0].polygon.exterior()[0];
    assert!(
        (corner.x - 65.835_126).abs() < 1e-5 && (corner.y - 443.345_881).abs() < 1e-5,
        "{corner:?}"
    );
    let mean = scene.image.values().iter().sum::<f32>() / 810_000.0;
    assert!((0.1..0.6).contains(&mean), "{mean}");

    let options = TileOptions { metres_per_pixel: Some(1.0), ..Default::default() };
    let coarse = tile::read(&image, &labels, &options).unwrap();
    assert_eq!(coarse.image.shape(), [1, 450, 450]);
    let moved = coarse.buildings[0].polygon.exterior()[0];
    assert!((moved.x * 2.0 - corner.x).abs() < 1e-6);
}

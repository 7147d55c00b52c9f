//! The polygons, in the coordinate system that their file names.

use std::path::Path;

use geo::{MultiPolygon, Polygon};
use geojson::{FeatureCollection, GeometryValue};

use crate::registration::{Result, TileError};

/// Every polygon of a file, which must be in a coordinate system given by its EPSG number.
pub(super) fn read(path: &Path, epsg: u16) -> Result<Vec<Polygon<f64>>> {
    let shown = path.display().to_string();
    let text = std::fs::read_to_string(path)
        .map_err(|source| TileError::Io { path: shown.clone(), source })?;
    let malformed = |source: geojson::Error| TileError::Labels { path: shown.clone(), source };
    let collection: FeatureCollection = text.parse().map_err(malformed)?;
    let unexpected = |expected: String, found: String| TileError::Unexpected {
        path: shown.clone(),
        expected,
        found,
    };

    let system = system(&collection);
    if system.as_deref().and_then(number) != Some(epsg) {
        let found = system.unwrap_or_else(|| "none, which means degrees".to_owned());
        let expected = format!("the image's coordinate system, EPSG:{epsg}, as member `crs`");
        return Err(unexpected(expected, found));
    }
    let mut polygons = Vec::new();
    for (number, feature) in collection.features.iter().enumerate() {
        let Some(geometry) = &feature.geometry else { continue };
        match &geometry.value {
            GeometryValue::Polygon { .. } => {
                polygons.push(Polygon::try_from(&geometry.value).map_err(malformed)?);
            }
            GeometryValue::MultiPolygon { .. } => {
                polygons.extend(MultiPolygon::try_from(&geometry.value).map_err(malformed)?);
            }
            other => {
                let found = format!("{} in feature {number}", other.type_name());
                return Err(unexpected("polygons".to_owned(), found));
            }
        }
    }
    Ok(polygons)
}

/// The name that files before RFC 7946, and most for projected data since, carry.
fn system(collection: &FeatureCollection) -> Option<String> {
    let members = collection.foreign_members.as_ref()?;
    let name = members.get("crs")?.get("properties")?.get("name")?;
    name.as_str().map(str::to_owned)
}

/// Of `urn:ogc:def:crs:EPSG::32616` as of `EPSG:32616`.
fn number(name: &str) -> Option<u16> {
    if !name.to_ascii_uppercase().contains("EPSG") {
        return None;
    }
    name.rsplit(':').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_in_both_ways_of_writing() {
        assert_eq!(number("urn:ogc:def:crs:EPSG::32616"), Some(32_616));
        assert_eq!(number("epsg:3857"), Some(3857));
        assert_eq!(number("urn:ogc:def:crs:OGC:1.3:CRS84"), None);
    }
}

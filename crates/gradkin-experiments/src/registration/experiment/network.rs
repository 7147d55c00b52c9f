//! The network: one encoder for the image, one for the outlines, and a decoder that reads both.
//!
//! The encoders halve the picture three times; the decoder goes back to half of its size, for a
//! displacement is the same all over a building, and repeats every pixel of it. Features of both
//! encoders meet at a half and a quarter of the size, beside each other and as products: a product is
//! large where an image answers an outline, which a network finds much sooner than sums.

use gradkin::network::build::{Convolution, Edge, GraphBuilder, Pooling};
use gradkin::network::{Model, Network, NetworkError, Options};

type Result<T> = std::result::Result<T, NetworkError>;

/// The size of a picture is a multiple of this.
pub(super) const MULTIPLE: usize = 8;
/// The output that is trained, `[2, size, size]`: x before y, in pixels.
pub(super) const FIELD: &str = "displacement";
/// The output that patches are compared by, `[2, 1, 1]`: the mean of the field over the middle.
pub(super) const CENTRE: &str = "centre";
/// The side of the middle, in pixels.
pub(super) const MIDDLE: usize = 16;

const SLOPE: f32 = 0.1;

/// The network for pictures of one size, its weights drawn.
pub(super) fn draw(widths: [usize; 3], size: usize, seed: u64) -> Result<Model> {
    let mut model = Model::from_bytes(&file(widths, size)?, "registration")?;
    model.draw_weights(seed)?;
    widen(&mut model)?;
    Ok(model)
}

/// The network of a model for pictures of another size, with the same weights.
pub(super) fn resized(model: &Model, widths: [usize; 3], size: usize) -> Result<Network> {
    let mut other = Model::from_bytes(&file(widths, size)?, "registration")?;
    let weights: Vec<(String, Vec<f64>)> = (names(model).into_iter())
        .filter_map(|name| model.values(&name).map(|values| (name, values)))
        .collect();
    let weights: Vec<(&str, &[f64])> =
        weights.iter().map(|(name, values)| (name.as_str(), values.as_slice())).collect();
    other.set_all_values(&weights)?;
    Network::new(&other, &Options::default())
}

/// The names of all parameters, and of the running statistics of normalisations.
fn names(model: &Model) -> Vec<String> {
    let mut names: Vec<String> = model.parameters().0.into_iter().map(|p| p.name).collect();
    let scales = names.iter().filter_map(|name| name.strip_suffix("_norm.weight"));
    let statistics: Vec<String> = scales
        .flat_map(|norm| ["mean", "var"].map(|of| format!("{norm}_norm.running_{of}")))
        .collect();
    names.extend(statistics);
    names
}

/// Weights are drawn uniform within ±1/√fan-in, which takes five sixths of the variance in every
/// layer; √6 times as wide they keep it (He et al., 2015).
fn widen(model: &mut Model) -> Result<()> {
    let names = model.parameters().0.into_iter().map(|p| p.name);
    let wide: Vec<(String, Vec<f64>)> = names
        .filter(|name| {
            name.ends_with(".weight") && !name.contains("_norm") && name != "field.weight"
        })
        .filter_map(|name| {
            let values = model.values(&name)?;
            Some((name, values.iter().map(|v| v * 6f64.sqrt()).collect()))
        })
        .collect();
    let wide: Vec<(&str, &[f64])> =
        wide.iter().map(|(name, values)| (name.as_str(), values.as_slice())).collect();
    model.set_all_values(&wide)
}

fn file(widths: [usize; 3], size: usize) -> Result<Vec<u8>> {
    let [fine, middle, coarse] = widths;
    let mut graph = GraphBuilder::new("registration");
    let image = graph.input("image", &[1, size, size])?;
    let outline = graph.input("outline", &[3, size, size])?;
    let image = encoder(&mut graph, "image", image, fine, middle)?;
    let outline = encoder(&mut graph, "outline", outline, fine, middle)?;

    // Where features of both answer each other, their products are large: what a shift is read from.
    let match_fine = graph.mul(image.fine, outline.fine)?;
    let match_middle = graph.mul(image.middle, outline.middle)?;
    let matches = block(&mut graph, "matches", match_fine, halved(middle))?;
    let seen = [image.middle, outline.middle];
    let [image_middle, outline_middle] = active(&mut graph, seen)?;
    let both = graph.concat(&[matches, match_middle, image_middle, outline_middle])?;
    let met = block(&mut graph, "meet", both, same(coarse))?;
    let down = block(&mut graph, "down", met, halved(coarse))?;
    let deep = block(&mut graph, "deep1", down, same(coarse))?;
    let deep = block(&mut graph, "deep2", deep, same(coarse))?;

    let up = graph.upsample(deep, 2)?;
    let both = graph.concat(&[met, up])?;
    let near = block(&mut graph, "near", both, same(middle))?;
    let up = graph.upsample(near, 2)?;
    let [outline_fine] = active(&mut graph, [outline.fine])?;
    let both = graph.concat(&[match_fine, outline_fine, up])?;
    let nearest = block(&mut graph, "nearest", both, same(fine))?;
    let half = graph.conv("field", nearest, Convolution::new(2, 3).pad(1))?;
    let field = graph.upsample(half, 2)?;
    graph.output(FIELD, field)?;
    let cells = graph.average_pool(half, Pooling::new(MIDDLE / 2).stride(MULTIPLE / 2))?;
    graph.output(CENTRE, cells)?;
    graph.finish()
}

/// Features of one input, before their activation.
#[derive(Clone, Copy)]
struct Encoded {
    /// At a half of the size.
    fine: Edge,
    /// At a quarter.
    middle: Edge,
}

fn encoder(
    graph: &mut GraphBuilder,
    name: &str,
    x: Edge,
    fine: usize,
    middle: usize,
) -> Result<Encoded> {
    let wide = Convolution::new(fine, 5).pad(2).stride(2);
    let x = block(graph, &format!("{name}1"), x, wide)?;
    let fine = normed(graph, &format!("{name}2"), x, same(fine))?;
    let x = graph.leaky_relu(fine, SLOPE)?;
    let x = block(graph, &format!("{name}3"), x, halved(middle))?;
    let middle = normed(graph, &format!("{name}4"), x, same(middle))?;
    Ok(Encoded { fine, middle })
}

fn active<const N: usize>(graph: &mut GraphBuilder, edges: [Edge; N]) -> Result<[Edge; N]> {
    let mut active = edges;
    for edge in &mut active {
        *edge = graph.leaky_relu(*edge, SLOPE)?;
    }
    Ok(active)
}

fn block(graph: &mut GraphBuilder, name: &str, x: Edge, conv: Convolution) -> Result<Edge> {
    let x = normed(graph, name, x, conv)?;
    graph.leaky_relu(x, SLOPE)
}

fn normed(graph: &mut GraphBuilder, name: &str, x: Edge, conv: Convolution) -> Result<Edge> {
    let x = graph.conv(name, x, conv.no_bias())?;
    graph.batch_norm(&format!("{name}_norm"), x)
}

fn same(channels: usize) -> Convolution {
    Convolution::new(channels, 3).pad(1)
}

fn halved(channels: usize) -> Convolution {
    same(channels).stride(2)
}

/// Where the cells of [`CENTRE`] lie that is in the middle of a picture of this size.
pub(super) fn middle_cell(size: usize) -> usize {
    (size - MIDDLE) / MULTIPLE / 2
}

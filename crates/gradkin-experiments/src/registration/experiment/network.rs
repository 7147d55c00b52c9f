//! The network: one encoder for the image, one for the outlines, and a decoder that reads both.
//!
//! The encoders halve the picture twice. At half of its size their features are compared: they vote for
//! the displacements under which outlines answer the image. The decoder, which goes down to an eighth and
//! up again, sees the votes among the features and adds its opinion to them; the displacement is what
//! both together elect. That is done at half of the size, and every pixel of it repeated, for a
//! displacement is the same all over a building.

use gradkin::network::build::{Convolution, Edge, GraphBuilder, Pooling};
use gradkin::network::{Model, Network, NetworkError, Options};

use super::edges::{self, ORIENTATIONS};
use super::evened;
use super::votes::{self, DISPLACEMENTS, elected, votes};

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
/// Pixels along the side of a cell where they are compared.
const CELL: usize = 2;

/// The network for pictures of one size, its weights drawn.
pub(super) fn draw(widths: [usize; 3], size: usize, seed: u64) -> Result<Model> {
    let mut model = Model::from_bytes(&file(widths, size)?, "registration")?;
    model.draw_weights(seed)?;
    widen(&mut model)?;
    edges::prepare(&mut model)?;
    votes::prepare(&mut model, ORIENTATIONS, CELL as f64)?;
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
/// layer; √6 times as wide they keep it (He et al., 2015). An opinion stays small at first.
fn widen(model: &mut Model) -> Result<()> {
    let names = model.parameters().0.into_iter().map(|p| p.name);
    let wide: Vec<(String, Vec<f64>)> = names
        .filter(|name| {
            name.ends_with(".weight") && !name.contains("_norm") && name != "opinion.weight"
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
    let image = graph.input("image", &[evened::CHANNELS, size, size])?;
    let outline = graph.input("outline", &[3, size, size])?;
    let image = encoder(&mut graph, "image", image, fine, middle)?;
    let outline = encoder(&mut graph, "outline", outline, fine, middle)?;

    let votes = votes(&mut graph, image.compared, outline.compared)?;
    let coarse_votes = graph.average_pool(votes, Pooling::new(2).stride(2))?;
    let both = graph.concat(&[coarse_votes, image.middle, outline.middle])?;
    let met = block(&mut graph, "meet", both, same(coarse))?;
    let down = block(&mut graph, "down", met, halved(coarse))?;
    let deep = block(&mut graph, "deep1", down, same(coarse))?;
    let deep = block(&mut graph, "deep2", deep, same(coarse))?;

    let up = graph.upsample(deep, 2)?;
    let both = graph.concat(&[met, up])?;
    let near = block(&mut graph, "near", both, same(middle))?;
    let opinion = graph.conv("opinion", near, Convolution::new(DISPLACEMENTS, 1))?;
    let opinion = graph.upsample(opinion, 2)?;
    let all = graph.add(votes, opinion)?;
    let half = elected(&mut graph, all)?;
    let field = graph.upsample(half, CELL)?;
    graph.output(FIELD, field)?;
    let cells = graph.average_pool(half, Pooling::new(MIDDLE / CELL).stride(MULTIPLE / CELL))?;
    graph.output(CENTRE, cells)?;
    graph.finish()
}

/// Features of one input.
#[derive(Clone, Copy)]
struct Encoded {
    /// At half of the size, few, before any activation: those that are compared.
    compared: Edge,
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
    let wide = Convolution::new(fine, 5).pad(2).stride(CELL);
    let x = block(graph, &format!("{name}1"), x, wide)?;
    let x = block(graph, &format!("{name}2"), x, same(fine))?;
    let compared =
        normed(graph, &format!("{name}_compared"), x, Convolution::new(ORIENTATIONS, 1))?;
    let x = block(graph, &format!("{name}3"), x, halved(middle))?;
    let middle = block(graph, &format!("{name}4"), x, same(middle))?;
    Ok(Encoded { compared, middle })
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

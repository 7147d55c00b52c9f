//! Pictures in a terminal: two pixels to a character in 256 colours, or shades made of ASCII.

use super::width;
use crate::fit::resized;
use crate::picture::{PictureRef, Rendered};

/// From dark to light, as seen on a dark terminal.
const SHADES: &[u8; 10] = b" .:-=+*#%@";
/// The levels of red, green and blue in the 6 × 6 × 6 colours of a 256-colour terminal.
const LEVELS: [u8; 6] = [0, 95, 135, 175, 215, 255];

/// The picture in lines of `columns` characters, each line ending in the terminal's own colours.
/// With `color`, a character shows two pixels, one above the other; without, the lines are ASCII,
/// lighter pixels in denser characters.
///
/// ```
/// use gradkin_view::{PictureRef, terminal};
///
/// let rgb = [[0; 3], [255; 3], [255; 3], [0; 3]].concat();
/// let picture = PictureRef::new(2, 2, &rgb)?;
/// assert_eq!(terminal::picture(picture, 4, false), ["  @@", "@@  "]);
/// # Ok::<(), gradkin_view::ViewError>(())
/// ```
pub fn picture(picture: PictureRef<'_>, columns: usize, color: bool) -> Vec<String> {
    let columns = columns.clamp(1, 1000);
    let exact = columns as f64 * picture.height() as f64 / picture.width() as f64;
    if color {
        let rows = (exact.round() as usize).clamp(1, 2000);
        return colored(&sampled(picture, columns, rows));
    }
    let rows = ((exact / 2.0).round() as usize).clamp(1, 1000);
    let small = sampled(picture, columns, rows);
    small.rgb.chunks_exact(3 * columns).map(shaded).collect()
}

/// The picture at the given size: averaged where it shrinks, its own pixels where it does not.
fn sampled(picture: PictureRef<'_>, width: usize, height: usize) -> Rendered {
    if width < picture.width() || height < picture.height() {
        let (width_first, height_first) =
            (width.min(picture.width()), height.min(picture.height()));
        let small = resized(picture, width_first, height_first);
        return PictureRef::new(small.width, small.height, &small.rgb)
            .map(|small| nearest(small, width, height))
            .unwrap_or(small);
    }
    nearest(picture, width, height)
}

fn nearest(picture: PictureRef<'_>, width: usize, height: usize) -> Rendered {
    let mut rgb = Vec::with_capacity(3 * width * height);
    for y in 0..height {
        for x in 0..width {
            let from =
                (y * picture.height() / height * picture.width()) + x * picture.width() / width;
            rgb.extend_from_slice(&picture.rgb()[3 * from..3 * from + 3]);
        }
    }
    Rendered { width, height, rgb }
}

fn shaded(row: &[u8]) -> String {
    let shade = |pixel: &[u8]| {
        let light = luminance(pixel) * (SHADES.len() - 1) as f64 / 255.0;
        char::from(SHADES[(light.round() as usize).min(SHADES.len() - 1)])
    };
    row.chunks_exact(3).map(shade).collect()
}

/// How light a pixel looks, from 0 to 255.
fn luminance(pixel: &[u8]) -> f64 {
    let [red, green, blue] = [pixel[0], pixel[1], pixel[2]].map(f64::from);
    0.299 * red + 0.587 * green + 0.114 * blue
}

/// Each pair of rows as upper half blocks: the foreground is the upper pixel.
fn colored(small: &Rendered) -> Vec<String> {
    let rows: Vec<&[u8]> = small.rgb.chunks_exact(3 * small.width).collect();
    let lines = rows.chunks(2).map(|pair| {
        let (mut line, mut last) = (String::new(), None);
        for x in 0..small.width {
            let upper = code(&pair[0][3 * x..]);
            let lower = pair.get(1).map(|row| code(&row[3 * x..]));
            if last != Some((upper, lower)) {
                let under = lower.map_or("49".to_owned(), |lower| format!("48;5;{lower}"));
                line.push_str(&format!("\u{1b}[38;5;{upper};{under}m"));
            }
            last = Some((upper, lower));
            line.push('▀');
        }
        line + "\u{1b}[0m"
    });
    lines.collect()
}

/// The nearest of the terminal's 256 colours: its ramp of greys or its cube.
fn code(pixel: &[u8]) -> u8 {
    let pixel = [pixel[0], pixel[1], pixel[2]];
    let steps = pixel.map(|value| {
        let distance = |&step: &usize| LEVELS[step].abs_diff(value);
        (0..LEVELS.len()).min_by_key(distance).unwrap_or(0)
    });
    let cube = (16 + 36 * steps[0] + 6 * steps[1] + steps[2], steps.map(|step| LEVELS[step]));
    let mean = pixel.iter().map(|&value| usize::from(value)).sum::<usize>() / 3;
    let step = (mean.saturating_sub(3) / 10).min(23);
    let grey = (232 + step, [(8 + 10 * step) as u8; 3]);
    let distance = |(_, color): &(usize, [u8; 3])| {
        let squares = color.iter().zip(pixel).map(|(a, b)| u32::from(a.abs_diff(b)).pow(2));
        squares.sum::<u32>()
    };
    if distance(&grey) < distance(&cube) { grey.0 as u8 } else { cube.0 as u8 }
}

/// Blocks of lines set side by side, `gap` spaces between them, each as wide as its widest line.
/// Lines of [`picture`] and plain words may stand in one block: a caption under a picture.
pub fn beside(blocks: &[Vec<String>], gap: usize) -> Vec<String> {
    let widths: Vec<usize> = blocks
        .iter()
        .map(|block| block.iter().map(|line| visible(line)).max().unwrap_or(0))
        .collect();
    let height = blocks.iter().map(Vec::len).max().unwrap_or(0);
    let lines = (0..height).map(|row| {
        let cells = blocks.iter().zip(&widths).map(|(block, &width)| {
            let line = block.get(row).map_or("", String::as_str);
            format!("{line}{}", " ".repeat(width.saturating_sub(visible(line))))
        });
        cells.collect::<Vec<_>>().join(&" ".repeat(gap)).trim_end().to_owned()
    });
    lines.collect()
}

/// How many columns a line takes, colours not counted.
fn visible(line: &str) -> usize {
    let mut parts = line.split('\u{1b}');
    let first = parts.next().map_or(0, width);
    first
        + parts.map(|part| width(part.split_once('m').map_or("", |(_, rest)| rest))).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_as_wide_as_asked() {
        let rgb: Vec<u8> = (0..28 * 28).flat_map(|i| [(i % 251) as u8; 3]).collect();
        let digit = PictureRef::new(28, 28, &rgb).unwrap();
        for columns in [1usize, 7, 28, 40] {
            for color in [true, false] {
                let drawn = picture(digit, columns, color);
                assert_eq!(drawn.len(), columns.div_ceil(2), "{columns} columns");
                assert!(drawn.iter().all(|line| visible(line) == columns));
                assert_eq!(drawn.iter().all(|line| line.is_ascii()), !color);
            }
        }
        let strip = vec![9; 3 * 50_000];
        let strip = PictureRef::new(1, 50_000, &strip).unwrap();
        assert_eq!(picture(strip, 10, false).len(), 1000);
    }

    #[test]
    fn colours_are_the_nearest() {
        assert_eq!(code(&[0, 0, 0]), 16);
        assert_eq!(code(&[255, 255, 255]), 231);
        assert_eq!(code(&[128, 128, 128]), 244);
        assert_eq!(code(&[250, 10, 5]), 196);
    }

    #[test]
    fn an_odd_last_row_leaves_the_background_alone() {
        let rgb = [7; 9];
        let lines = picture(PictureRef::new(1, 3, &rgb).unwrap(), 1, true);
        assert_eq!(lines.len(), 2);
        assert!(lines[1].contains(";49m▀") && lines[1].ends_with("\u{1b}[0m"));
    }

    #[test]
    fn blocks_stand_side_by_side() {
        let digit = vec!["\u{1b}[38;5;16;49m▀▀▀\u{1b}[0m".to_owned(), "#1".to_owned()];
        let lines = beside(&[digit.clone(), vec!["ab".to_owned()], digit], 2);
        assert_eq!(lines[1], "#1       #1");
        assert_eq!(visible(&lines[0]), 3 + 2 + 2 + 2 + 3);
        assert!(beside(&[], 2).is_empty());
    }
}

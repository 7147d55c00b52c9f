//! A sheet's pixels.

use super::layout::{FRAME, Layout, Place, Types, Words};
use super::{Cell, ContactSheet, Line, Mark};
use crate::canvas::{BLANK, Canvas, HAIRLINE, INK, MUTED, PAPER, Rect, WARNING};
use crate::error::Result;
use crate::fit::fit;
use crate::picture::Rendered;
use crate::text::{CAP_HEIGHT, Fonts, Type, Weight};

/// What is needed to draw.
struct Pen {
    canvas: Canvas,
    fonts: Fonts,
    types: Types,
    scale: i64,
    side: usize,
}

pub(super) fn draw(sheet: &ContactSheet<'_>) -> Result<Rendered> {
    let (fonts, types) = (Fonts::load()?, Types::new(sheet.scale));
    let layout = Layout::new(sheet, &fonts, &types)?;
    let canvas = Canvas::new(layout.width, layout.height);
    let mut pen = Pen { canvas, fonts, types, scale: sheet.scale as i64, side: layout.side };
    let (title, small) = (pen.types.title, pen.types.small);
    pen.words(&layout.title, title);
    pen.words(&layout.headings, small);
    pen.words(&layout.footer, small);
    if let Some((center, meaning)) = &layout.key {
        pen.sign((center.0 as f32, center.1 as f32), 7.0);
        pen.words(std::slice::from_ref(meaning), small);
    }
    for (cell, place) in sheet.lines.iter().flat_map(Line::cells).zip(&layout.places) {
        pen.cell(cell, place);
    }
    Ok(pen.canvas.finish())
}

impl Pen {
    fn words(&mut self, words: &[Words], kind: Type) {
        for Words { text, x, baseline } in words {
            self.fonts.draw(&mut self.canvas, text, kind, *x, *baseline);
        }
    }

    fn cell(&mut self, cell: &Cell<'_>, place: &Place) {
        let picture = match cell.picture {
            Some(picture) => {
                let fitted = fit(picture, self.side);
                let rect = within(place.cell, fitted.width as i64, fitted.height as i64);
                self.canvas.paste(&fitted, rect.x, rect.y);
                rect
            }
            None => self.blank(place),
        };
        // A hairline, so that a white picture has an end on white paper.
        self.canvas.frame(picture, 1, HAIRLINE);
        let (gap, thickness) = (FRAME.0 * self.scale, FRAME.1 * self.scale);
        if place.query {
            self.canvas.frame(picture.grown(gap), thickness, INK);
        }
        if cell.mark == Mark::Differs {
            self.canvas.frame(picture, thickness, WARNING);
            let corner = ((picture.right() + 1) as f32, (picture.y - 1) as f32);
            self.sign(corner, 8.0);
        }
        self.caption(cell, place);
    }

    /// A grey cell with the first word of its caption.
    fn blank(&mut self, place: &Place) -> Rect {
        self.canvas.fill(place.cell, BLANK);
        let word = place.caption.first().and_then(|line| line.split_whitespace().next());
        let kind = Type { weight: Weight::Regular, em: 14.0 * self.scale as f32, color: MUTED };
        let word = self.fonts.shortened(word.unwrap_or("–"), kind, place.cell.width as f32 * 0.9);
        let (x, y) = place.cell.center();
        let baseline = y + (kind.em * CAP_HEIGHT / 2.0).round() as i64;
        self.fonts.centered(&mut self.canvas, &word, kind, x, baseline);
        place.cell
    }

    fn caption(&mut self, cell: &Cell<'_>, place: &Place) {
        let (x, _) = place.caption_box.center();
        for (line, text) in place.caption.iter().enumerate() {
            let kind = self.types.caption(cell.mark, line);
            let baseline = place.baseline(line, self.scale);
            self.fonts.centered(&mut self.canvas, text, kind, x, baseline);
        }
    }

    /// The sign "≠" in a disc.
    fn sign(&mut self, center: (f32, f32), radius: f32) {
        let radius = radius * self.scale as f32;
        self.canvas.disc(center, radius + 1.5 * self.scale as f32, PAPER);
        self.canvas.disc(center, radius, WARNING);
        let kind = Type { weight: Weight::SemiBold, em: radius * 1.7, color: PAPER };
        let baseline = (center.1 + kind.em * CAP_HEIGHT / 2.0).round() as i64;
        self.fonts.centered(&mut self.canvas, "≠", kind, center.0.round() as i64, baseline);
    }
}

/// A box of the given size in the middle of another.
fn within(outer: Rect, width: i64, height: i64) -> Rect {
    let (x, y) = (outer.x + (outer.width - width) / 2, outer.y + (outer.height - height) / 2);
    Rect { x, y, width, height }
}

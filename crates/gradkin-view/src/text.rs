//! Letters: the built-in font, how wide a line is, and its pixels.

use ab_glyph::{Font, FontRef, Glyph, PxScale, ScaleFont, point};

use crate::canvas::{Canvas, Color};
use crate::error::{Result, ViewError};

pub(crate) const REGULAR: &[u8] = include_bytes!("../fonts/Inter-Regular.ttf");
pub(crate) const SEMIBOLD: &[u8] = include_bytes!("../fonts/Inter-SemiBold.ttf");

/// The height of a capital letter, in ems.
pub(crate) const CAP_HEIGHT: f32 = 0.7275;
/// The height of a small letter, in ems.
pub(crate) const X_HEIGHT: f32 = 0.546;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weight {
    Regular,
    SemiBold,
}

/// How a line of text looks; `em` in pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Type {
    pub(crate) weight: Weight,
    pub(crate) em: f32,
    pub(crate) color: Color,
}

/// The built-in font in its two weights.
pub(crate) struct Fonts {
    regular: FontRef<'static>,
    semibold: FontRef<'static>,
}

impl Fonts {
    pub(crate) fn load() -> Result<Self> {
        let read = |bytes| FontRef::try_from_slice(bytes).map_err(|_| ViewError::Font);
        Ok(Self { regular: read(REGULAR)?, semibold: read(SEMIBOLD)? })
    }

    /// The glyphs of a line that starts at (0, 0) on its baseline, and its width.
    fn lay(&self, text: &str, kind: Type) -> (&FontRef<'static>, Vec<Glyph>, f32) {
        let font = match kind.weight {
            Weight::Regular => &self.regular,
            Weight::SemiBold => &self.semibold,
        };
        let per_em = font.height_unscaled() / font.units_per_em().unwrap_or(2048.0);
        let scale = PxScale::from(kind.em * per_em);
        let scaled = font.as_scaled(scale);
        let (mut glyphs, mut x, mut last) = (Vec::new(), 0.0, None);
        for letter in text.chars() {
            let id = font.glyph_id(letter);
            x += last.map_or(0.0, |last| scaled.kern(last, id));
            glyphs.push(id.with_scale_and_position(scale, point(x, 0.0)));
            x += scaled.h_advance(id);
            last = Some(id);
        }
        (font, glyphs, x)
    }

    pub(crate) fn width(&self, text: &str, kind: Type) -> f32 {
        self.lay(text, kind).2
    }

    /// Calls `put` with every covered pixel of a line that starts at (0, 0) on its baseline.
    pub(crate) fn pixels(&self, text: &str, kind: Type, mut put: impl FnMut(i64, i64, f32)) {
        let (font, glyphs, _) = self.lay(text, kind);
        for outlined in glyphs.into_iter().filter_map(|glyph| font.outline_glyph(glyph)) {
            let corner = outlined.px_bounds().min;
            let (left, top) = (corner.x as i64, corner.y as i64);
            outlined.draw(|x, y, coverage| put(left + i64::from(x), top + i64::from(y), coverage));
        }
    }

    /// Draws a line that starts at (x, baseline).
    pub(crate) fn draw(&self, canvas: &mut Canvas, text: &str, kind: Type, x: i64, baseline: i64) {
        self.pixels(text, kind, |dx, dy, coverage| {
            canvas.blend(x + dx, baseline + dy, kind.color, coverage);
        });
    }

    /// Draws a line centred on `x`.
    pub(crate) fn centered(
        &self,
        canvas: &mut Canvas,
        text: &str,
        kind: Type,
        x: i64,
        baseline: i64,
    ) {
        let half = (self.width(text, kind) / 2.0).round() as i64;
        self.draw(canvas, text, kind, x - half, baseline);
    }

    /// The text, or its beginning and "…" if it is wider than `limit` pixels.
    pub(crate) fn shortened(&self, text: &str, kind: Type, limit: f32) -> String {
        if self.width(text, kind) <= limit {
            return text.to_owned();
        }
        let mut kept = String::new();
        for letter in text.chars() {
            kept.push(letter);
            if self.width(&format!("{}…", kept.trim_end()), kind) > limit {
                kept.pop();
                break;
            }
        }
        format!("{}…", kept.trim_end())
    }

    /// The text in lines of at most `limit` pixels, broken between words.
    pub(crate) fn wrapped(&self, text: &str, kind: Type, limit: f32) -> Vec<String> {
        let mut lines: Vec<String> = Vec::new();
        for word in text.split_whitespace() {
            let longer = lines.last().map(|line| format!("{line} {word}"));
            match (longer, lines.last_mut()) {
                (Some(longer), Some(line)) if self.width(&longer, kind) <= limit => *line = longer,
                _ => lines.push(word.to_owned()),
            }
        }
        lines.into_iter().map(|line| self.shortened(&line, kind, limit)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canvas::INK;

    const KIND: Type = Type { weight: Weight::Regular, em: 20.0, color: INK };

    #[test]
    fn figures_are_equally_wide_and_pairs_are_kerned() {
        let fonts = Fonts::load().unwrap();
        let ones = fonts.width("1111", KIND);
        assert_eq!(ones, fonts.width("8080", KIND));
        let apart = fonts.width("A", KIND) + fonts.width("V", KIND);
        assert!(fonts.width("AV", KIND) < apart - 0.5);
    }

    #[test]
    fn letters_are_as_high_as_stated() {
        let fonts = Fonts::load().unwrap();
        for (letter, height) in [("H", CAP_HEIGHT), ("x", X_HEIGHT)] {
            let kind = Type { em: 1000.0, ..KIND };
            let (mut top, mut bottom) = (0, i64::MIN);
            fonts.pixels(letter, kind, |_, y, coverage| {
                if coverage > 0.5 {
                    (top, bottom) = (top.min(y), bottom.max(y));
                }
            });
            assert!((top as f32 + height * 1000.0).abs() < 3.0, "{letter}: {top}");
            assert!(bottom <= 0);
        }
    }

    #[test]
    fn text_is_shortened_and_wrapped_to_the_limit() {
        let fonts = Fonts::load().unwrap();
        let text = "a rather long label of some class";
        let short = fonts.shortened(text, KIND, 100.0);
        assert!(short.ends_with('…') && fonts.width(&short, KIND) <= 100.0);
        assert_eq!(fonts.shortened("7", KIND, 100.0), "7");
        assert_eq!(fonts.shortened("anything", KIND, 1.0), "…");
        let lines = fonts.wrapped(text, KIND, 120.0);
        assert!(lines.len() > 1 && lines.iter().all(|line| fonts.width(line, KIND) <= 120.0));
        assert_eq!(lines.join(" "), text);
        assert!(fonts.wrapped("  ", KIND, 120.0).is_empty());
    }
}

//! A figure as pixels: lines are averaged from a larger bitmap, letters are drawn at their final
//! size afterwards, which keeps them crisp.

use std::cell::RefCell;
use std::rc::Rc;

use plotters::backend::{BitMapBackend, DrawingBackend};
use plotters::drawing::IntoDrawingArea;
use plotters_backend::text_anchor::{HPos, VPos};
use plotters_backend::{
    BackendColor, BackendCoord, BackendStyle, BackendTextStyle, DrawingErrorKind, FontStyle,
    FontTransform,
};

use super::chart::{SIZE_PER_EM, Scene, UNIT, register};
use crate::canvas::Canvas;
use crate::error::{Result, ViewError};
use crate::picture::Rendered;
use crate::text::{CAP_HEIGHT, Fonts, Type, Weight, X_HEIGHT};

pub(super) fn render(scene: &impl Scene, width: u32, height: u32) -> Result<Rendered> {
    register()?;
    let fonts = Fonts::load()?;
    let (wide, high) = (width * UNIT, height * UNIT);
    let mut large = vec![0; 3 * wide as usize * high as usize];
    let labels = Rc::new(RefCell::new(Vec::new()));
    let inner = BitMapBackend::with_buffer(&mut large, (wide, high));
    let area = Recorder { inner, labels: Rc::clone(&labels) }.into_drawing_area();
    scene.draw(&area, &fonts).map_err(|e| ViewError::Draw(e.to_string()))?;
    drop(area);
    let mut canvas = Canvas::over(averaged(&large, width as usize, height as usize));
    for label in labels.borrow().iter() {
        label.draw(&mut canvas, &fonts);
    }
    Ok(canvas.finish())
}

/// Every pixel the mean of `UNIT` × `UNIT`.
fn averaged(large: &[u8], width: usize, height: usize) -> Rendered {
    let unit = UNIT as usize;
    let mut rgb = Vec::with_capacity(3 * width * height);
    for y in 0..height {
        for at in 0..3 * width {
            let left = at / 3 * 3 * unit + at % 3;
            let sum: usize = (0..unit * unit)
                .map(|i| {
                    let row = y * unit + i / unit;
                    usize::from(large[row * 3 * width * unit + left + 3 * (i % unit)])
                })
                .sum();
            rgb.push(((sum + unit * unit / 2) / (unit * unit)) as u8);
        }
    }
    Rendered { width, height, rgb }
}

/// A line of text that plotters asked for, in our pixels.
struct Label {
    text: String,
    kind: Type,
    at: (f64, f64),
    horizontal: HPos,
    vertical: VPos,
    upright: bool,
}

impl Label {
    fn new<S: BackendTextStyle>(text: &str, style: &S, at: BackendCoord) -> Self {
        let (red, green, blue) = style.color().rgb;
        let weight = match style.style() {
            FontStyle::Bold => Weight::SemiBold,
            _ => Weight::Regular,
        };
        let em = (style.size() / SIZE_PER_EM / f64::from(UNIT)) as f32;
        Self {
            text: text.to_owned(),
            kind: Type { weight, em, color: [red, green, blue] },
            at: (f64::from(at.0) / f64::from(UNIT), f64::from(at.1) / f64::from(UNIT)),
            horizontal: style.anchor().h_pos,
            vertical: style.anchor().v_pos,
            upright: matches!(style.transform(), FontTransform::Rotate270),
        }
    }

    /// Draws from left to right, or from bottom to top if `upright`.
    fn draw(&self, canvas: &mut Canvas, fonts: &Fonts) {
        let width = fonts.width(&self.text, self.kind);
        let along = match self.horizontal {
            HPos::Left => 0.0,
            HPos::Center => -width / 2.0,
            HPos::Right => -width,
        };
        let across = self.kind.em
            * match self.vertical {
                VPos::Top => CAP_HEIGHT,
                VPos::Center => X_HEIGHT / 2.0,
                VPos::Bottom => -X_HEIGHT / 2.0,
            };
        let shift = (along.round() as i64, across.round() as i64);
        let origin = (self.at.0.round() as i64, self.at.1.round() as i64);
        fonts.pixels(&self.text, self.kind, |x, y, coverage| {
            let (x, y) = (x + shift.0, y + shift.1);
            let (x, y) = if self.upright { (y, -1 - x) } else { (x, y) };
            canvas.blend(origin.0 + x, origin.1 + y, self.kind.color, coverage);
        });
    }
}

/// plotters' bitmap, but for text, which is only noted down.
struct Recorder<'a> {
    inner: BitMapBackend<'a>,
    labels: Rc<RefCell<Vec<Label>>>,
}

type Outcome<'a> = Result<(), DrawingErrorKind<<BitMapBackend<'a> as DrawingBackend>::ErrorType>>;

impl<'a> DrawingBackend for Recorder<'a> {
    type ErrorType = <BitMapBackend<'a> as DrawingBackend>::ErrorType;

    fn get_size(&self) -> (u32, u32) {
        self.inner.get_size()
    }

    fn ensure_prepared(&mut self) -> Outcome<'a> {
        self.inner.ensure_prepared()
    }

    fn present(&mut self) -> Outcome<'a> {
        self.inner.present()
    }

    fn draw_pixel(&mut self, point: BackendCoord, color: BackendColor) -> Outcome<'a> {
        self.inner.draw_pixel(point, color)
    }

    fn draw_line<S: BackendStyle>(
        &mut self,
        from: BackendCoord,
        to: BackendCoord,
        style: &S,
    ) -> Outcome<'a> {
        self.inner.draw_line(from, to, style)
    }

    fn draw_rect<S: BackendStyle>(
        &mut self,
        upper_left: BackendCoord,
        bottom_right: BackendCoord,
        style: &S,
        fill: bool,
    ) -> Outcome<'a> {
        self.inner.draw_rect(upper_left, bottom_right, style, fill)
    }

    fn draw_text<S: BackendTextStyle>(
        &mut self,
        text: &str,
        style: &S,
        at: BackendCoord,
    ) -> Outcome<'a> {
        self.labels.borrow_mut().push(Label::new(text, style, at));
        Ok(())
    }
}

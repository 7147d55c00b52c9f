//! Whether an example of one shape can stand where a network wants another:
//! axes of length 1 come and go, lengths the network leaves open are taken from
//! the data, and a network that takes rows takes any example flattened.

use crate::layout::Layout;

/// The shape an example of shape `data` takes as an input of shape `want`
/// (`None` = any length), or `None` if it does not fit. The order of the values
/// never changes.
pub(crate) fn fit(data: &[usize], want: &[Option<usize>]) -> Option<Vec<usize>> {
    let exact = data.len() == want.len() && data.iter().zip(want).all(|(&d, w)| agrees(d, *w));
    if exact {
        return Some(data.to_vec());
    }
    if let Some(shape) =
        (Aligner { data, want, dead: vec![false; (data.len() + 1) * (want.len() + 1)] }).align(0, 0)
    {
        return Some(shape);
    }
    match want {
        [length] => {
            let count = data.iter().product();
            agrees(count, *length).then(|| vec![count])
        }
        _ => None,
    }
}

fn agrees(length: usize, want: Option<usize>) -> bool {
    want.is_none_or(|want| want == length)
}

/// Pairs the axes of two shapes, skipping axes of length 1 on either side.
struct Aligner<'a> {
    data: &'a [usize],
    want: &'a [Option<usize>],
    /// Pairs of positions from which no pairing was found.
    dead: Vec<bool>,
}

impl Aligner<'_> {
    /// The wanted shape from axis `w` on, given the data's axes from `d` on.
    fn align(&mut self, d: usize, w: usize) -> Option<Vec<usize>> {
        let mark = d * (self.want.len() + 1) + w;
        if self.dead[mark] {
            return None;
        }
        let (data, want) = (self.data.get(d).copied(), self.want.get(w).copied());
        let found = match (data, want) {
            (None, None) => return Some(Vec::new()),
            (Some(length), Some(want)) if agrees(length, want) => {
                self.align(d + 1, w + 1).map(|rest| [vec![length], rest].concat())
            }
            _ => None,
        };
        let found = found.or_else(|| match data {
            Some(1) => self.align(d + 1, w),
            _ => None,
        });
        let found = found.or_else(|| match want {
            Some(want) if agrees(1, want) => {
                self.align(d, w + 1).map(|rest| [vec![1], rest].concat())
            }
            _ => None,
        });
        self.dead[mark] = found.is_none();
        found
    }
}

/// What to do about an example of shape `data` (in `layout`, if it is a picture)
/// that does not fit `want`.
pub(crate) fn remedy(data: &[usize], layout: Option<Layout>, want: &[Option<usize>]) -> String {
    if let (Some(layout), &[a, b, c]) = (layout, data) {
        let sizes = layout.sizes([a, b, c]);
        for other in [Layout::Nchw, Layout::Nhwc] {
            if other != layout && fit(&other.shape(sizes), want).is_some() {
                return format!(
                    "put the channels where the network wants them with --layout {}",
                    other.name()
                );
            }
        }
    }
    if let Some(remedy) = resize_remedy(data, layout, want) {
        return remedy;
    }
    match (data, want) {
        ([_], [Some(want)]) => format!(
            "give the network the {want} values it was trained on; for a table choose columns with --keep or --drop"
        ),
        _ => "reshape the array to what the network takes, or name another network".into(),
    }
}

/// `--resize`, or the advice to mend the channels, where both sides are pictures.
fn resize_remedy(data: &[usize], layout: Option<Layout>, want: &[Option<usize>]) -> Option<String> {
    let (height, width, channels) = match (data, layout) {
        (&[a, b, c], Some(layout)) => layout.sizes([a, b, c]).into(),
        (&[height, width], _) => (height, width, 1),
        _ => return None,
    };
    for target in [Layout::Nchw, Layout::Nhwc] {
        let &[a, b, c] = want else { break };
        let [h, w, c] = target.sizes([a, b, c]);
        if !agrees(channels, c) {
            continue;
        }
        let size = format!("--resize {}x{}", h.unwrap_or(height), w.unwrap_or(width));
        return Some(match layout {
            Some(layout) if layout != target && data.len() == 3 => {
                format!("bring the pictures to size with {size} --layout {}", target.name())
            }
            _ => format!("bring the pictures to size with {size}"),
        });
    }
    flat_remedy(channels, want).or_else(|| {
        (want.len() == 3).then(|| {
            format!("its pictures have {channels} channel(s); convert them to the number the network takes")
        })
    })
}

/// `--resize` for a network that takes flattened square pictures.
fn flat_remedy(channels: usize, want: &[Option<usize>]) -> Option<String> {
    let &[Some(length)] = want else { return None };
    let side = ((length / channels) as f64).sqrt().round() as usize;
    (side * side * channels == length && side > 0)
        .then(|| format!("bring the pictures to size with --resize {side}x{side}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn want(shape: &[i64]) -> Vec<Option<usize>> {
        shape.iter().map(|&d| usize::try_from(d).ok()).collect()
    }

    #[test]
    fn ones_come_and_go() {
        assert_eq!(fit(&[28, 28], &want(&[1, 28, 28])), Some(vec![1, 28, 28]));
        assert_eq!(fit(&[1, 28, 28], &want(&[28, 28])), Some(vec![28, 28]));
        assert_eq!(fit(&[28, 28, 1], &want(&[1, 28, 28])), Some(vec![1, 28, 28]));
        assert_eq!(fit(&[28, 28], &want(&[-1, -1, -1])), Some(vec![28, 28, 1]));
        assert_eq!(fit(&[28, 28], &want(&[1, -1, -1])), Some(vec![1, 28, 28]));
        assert_eq!(fit(&[], &want(&[1])), Some(vec![1]));
        assert_eq!(fit(&[5], &want(&[])), None);
    }

    #[test]
    fn rows_take_anything() {
        assert_eq!(fit(&[28, 28], &want(&[784])), Some(vec![784]));
        assert_eq!(fit(&[3, 4], &want(&[-1])), Some(vec![12]));
        assert_eq!(fit(&[28, 28], &want(&[783])), None);
        assert_eq!(fit(&[784], &want(&[28, 28])), None);
    }

    #[test]
    fn many_ones_are_no_trouble() {
        assert_eq!(fit(&[1; 64], &want(&[1, 1, 1, 1, 1, 2])), None);
    }

    #[test]
    fn remedies_name_the_flag() {
        let say = |data: &[usize], layout, shape: &[i64]| remedy(data, layout, &want(shape));
        let (nchw, nhwc) = (Some(Layout::Nchw), Some(Layout::Nhwc));
        assert!(say(&[3, 32, 32], nchw, &[32, 32, 3]).contains("--layout nhwc"));
        assert!(say(&[3, 28, 28], nchw, &[3, 32, 32]).contains("--resize 32x32"));
        assert!(say(&[28, 28], None, &[1, 32, 32]).contains("--resize 32x32"));
        assert!(say(&[28, 28], None, &[1024]).contains("--resize 32x32"));
        assert!(say(&[28, 28, 3], nhwc, &[3, 32, 32]).contains("--resize 32x32 --layout nchw"));
        assert!(say(&[1, 28, 28], nchw, &[3, 28, 28]).contains("channel"));
        assert!(say(&[9], None, &[8]).contains("--drop"));
        assert!(say(&[9, 9, 9, 9], None, &[8]).contains("reshape"));
    }
}

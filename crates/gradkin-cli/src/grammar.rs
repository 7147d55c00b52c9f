//! The small languages of the command line: output choices, positions, sizes, shapes, numbers.
//!
//! Each parser returns what was wrong as a sentence; clap adds the flag in front of it.

use gradkin::{Class, Loss, Positions, Select};

const OUTPUTS: &str = "all, a list such as 0,3 or 0-4, sum, mean, logprob:given, \
                       logprob:predicted, contrast, loss:cross-entropy or loss:squared";

/// `--outputs`.
pub(crate) fn outputs(text: &str) -> Result<Select, String> {
    Ok(match text {
        "all" => Select::All,
        "sum" => Select::Sum,
        "mean" => Select::Mean,
        "logprob:given" => Select::LogProbability(Class::Given),
        "logprob:predicted" => Select::LogProbability(Class::Predicted),
        "contrast" => Select::Contrast,
        "loss:cross-entropy" => Select::Loss(Loss::CrossEntropy),
        "loss:squared" => Select::Loss(Loss::Squared),
        list => Select::List(indices(list).map_err(|wrong| format!("{wrong}; use {OUTPUTS}"))?),
    })
}

/// The choice of outputs as it would be typed.
pub(crate) fn show_outputs(select: &Select) -> String {
    match select {
        Select::All => "all".into(),
        Select::Sum => "sum".into(),
        Select::Mean => "mean".into(),
        Select::LogProbability(Class::Given) => "logprob:given".into(),
        Select::LogProbability(Class::Predicted) => "logprob:predicted".into(),
        Select::Contrast => "contrast".into(),
        Select::Loss(Loss::CrossEntropy) => "loss:cross-entropy".into(),
        Select::Loss(Loss::Squared) => "loss:squared".into(),
        Select::List(list) => joined(list, ","),
    }
}

/// Indices and ranges (both ends included), `0,3,7-9`, in the order given.
pub(crate) fn indices(text: &str) -> Result<Vec<usize>, String> {
    const MOST: usize = 1 << 24;
    let mut list = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (whole(first)?, whole(last)?);
        if last < first {
            return Err(format!("the range {part} runs backwards"));
        }
        if last - first >= MOST {
            return Err(format!("the range {part} is too long"));
        }
        list.extend(first..=last);
    }
    let mut seen = list.clone();
    seen.sort_unstable();
    match seen.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(format!("{} is named twice", pair[0])),
        None => Ok(list),
    }
}

/// `--positions`: `mean`, or positions apart by `;`, each one index per axis: `3,4;10,12`.
pub(crate) fn positions(text: &str) -> Result<Positions, String> {
    if text == "mean" {
        return Ok(Positions::Mean);
    }
    let position = |part: &str| part.split(',').map(whole).collect::<Result<Vec<usize>, _>>();
    let list = text.split(';').map(position).collect::<Result<Vec<_>, _>>();
    Ok(Positions::List(list.map_err(|wrong| format!("{wrong}; use mean, or 3,4;10,12"))?))
}

/// The choice of positions as it would be typed.
pub(crate) fn show_positions(positions: &Positions) -> String {
    match positions {
        Positions::Mean => "mean".into(),
        Positions::List(list) => list.iter().map(|p| joined(p, ",")).collect::<Vec<_>>().join(";"),
    }
}

/// `--memory`: bytes, with K, M, G or T for powers of 1024.
pub(crate) fn size(text: &str) -> Result<usize, String> {
    let upper = text.trim().to_uppercase();
    let number = upper.trim_end_matches("IB").trim_end_matches('B');
    let (number, unit) = match number.char_indices().last() {
        Some((at, letter)) if letter.is_alphabetic() => (&number[..at], Some(letter)),
        _ => (number, None),
    };
    let shift = match unit {
        None => 0,
        Some('K') => 10,
        Some('M') => 20,
        Some('G') => 30,
        Some('T') => 40,
        Some(_) => return Err("it is not a size such as 512M or 4G".into()),
    };
    let value: f64 = number.trim().parse().map_err(|_| "it is not a size such as 512M or 4G")?;
    let bytes = value * (1u64 << shift) as f64;
    if !(bytes >= 1.0 && bytes < usize::MAX as f64) {
        return Err("it is not a size such as 512M or 4G".into());
    }
    Ok(bytes as usize)
}

/// A number, or one divided by another: `0.1307`, `1/255`.
pub(crate) fn number(text: &str) -> Result<f64, String> {
    let parse = |part: &str| {
        let value: Option<f64> = part.trim().parse().ok();
        value.filter(|v| v.is_finite()).ok_or_else(|| format!("{part:?} is not a number"))
    };
    match text.split_once('/') {
        None => parse(text),
        Some((over, under)) => match parse(under)? {
            0.0 => Err("it divides by zero".into()),
            under => Ok(parse(over)? / under),
        },
    }
}

/// `HEIGHTxWIDTH`.
pub(crate) fn height_by_width(text: &str) -> Result<(usize, usize), String> {
    let wrong = || "it is not HEIGHTxWIDTH, such as 32x32".to_string();
    let (height, width) = text.split_once('x').ok_or_else(wrong)?;
    match (whole(height), whole(width)) {
        (Ok(height), Ok(width)) => Ok((height, width)),
        _ => Err(wrong()),
    }
}

/// The shape given for an input, which has to be named where the network has several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NamedShape {
    pub(crate) name: Option<String>,
    pub(crate) shape: Vec<usize>,
}

/// `[NAME=]1x28x28`.
pub(crate) fn named_shape(text: &str) -> Result<NamedShape, String> {
    let (name, shape) = match text.rsplit_once('=') {
        Some((name, shape)) => (Some(name.to_owned()), shape),
        None => (None, text),
    };
    let lengths = shape.split(['x', ',']).map(whole).collect::<Result<Vec<usize>, _>>();
    match lengths {
        Ok(shape) if !shape.contains(&0) => Ok(NamedShape { name, shape }),
        _ => Err("it is not [NAME=]SHAPE, such as image=1x28x28".into()),
    }
}

fn whole(text: &str) -> Result<usize, String> {
    text.trim().parse().map_err(|_| format!("{text:?} is not a whole number"))
}

fn joined(list: &[usize], between: &str) -> String {
    list.iter().map(usize::to_string).collect::<Vec<_>>().join(between)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_are_read_and_shown_alike() {
        for text in ["all", "sum", "mean", "logprob:given", "logprob:predicted", "loss:squared"] {
            assert_eq!(show_outputs(&outputs(text).unwrap()), text);
        }
        assert_eq!(outputs("0,3-5").unwrap(), Select::List(vec![0, 3, 4, 5]));
        for wrong in ["", "logits", "3-1", "1,1", "0,", "-1", "0-99999999999"] {
            assert!(outputs(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn positions_have_one_index_per_axis() {
        let two = positions("3,4;10,12").unwrap();
        assert_eq!(two, Positions::List(vec![vec![3, 4], vec![10, 12]]));
        assert_eq!(show_positions(&two), "3,4;10,12");
        assert!(positions("3,x").unwrap_err().contains("mean"));
    }

    #[test]
    fn sizes_and_numbers() {
        assert_eq!(size("4G"), Ok(4 << 30));
        assert_eq!(size("1.5GiB"), Ok(3 << 29));
        assert_eq!(size("512m"), Ok(512 << 20));
        assert_eq!(size("100"), Ok(100));
        for wrong in ["", "G", "4X", "-1G", "0", "nan", "1e40"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
        assert_eq!(number("1/255"), Ok(1.0 / 255.0));
        assert!(number("1/0").is_err() && number("x").is_err() && number("inf").is_err());
    }

    #[test]
    fn shapes_may_be_named() {
        let shape = named_shape("image=1x28x28").unwrap();
        assert_eq!(shape, NamedShape { name: Some("image".into()), shape: vec![1, 28, 28] });
        assert_eq!(named_shape("5").unwrap().shape, [5]);
        assert!(named_shape("image=").is_err() && named_shape("1x0").is_err());
        assert_eq!(height_by_width("32x48"), Ok((32, 48)));
        assert!(height_by_width("32").is_err());
    }
}

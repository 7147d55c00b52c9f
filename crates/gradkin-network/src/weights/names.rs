//! Which tensor of a checkpoint is which tensor of the network, by name.
//!
//! A name that both have is a match. What is left is compared again without the prefixes that
//! wrappers put before names, and then spelled as PyTorch's tracer spells names. Such a match counts
//! only where no other name of either side could be meant.

use std::collections::HashMap;

/// What wrappers of whole networks put before the names of their tensors: `DataParallel`,
/// `torch.compile`, training frameworks and the modules that people write around a network to
/// export it.
const PREFIXES: [&str; 5] = ["module", "_orig_mod", "model", "net", "network"];

/// Pairs of positions in `network` and `file`, in the order of `network`.
pub(super) fn matched(network: &[&str], file: &[&str]) -> Vec<(usize, usize)> {
    let mut taken = vec![false; file.len()];
    let mut found: Vec<Option<usize>> = vec![None; network.len()];
    let rounds: [fn(&str) -> String; 3] = [str::to_owned, unwrapped, traced];
    for key in rounds {
        let theirs = unique(file, key);
        let ours = unique(network, key);
        for (name, at) in ours {
            let Some((at, other)) = at.zip(theirs.get(&name).copied().flatten()) else { continue };
            if found[at].is_none() && !taken[other] {
                found[at] = Some(other);
                taken[other] = true;
            }
        }
    }
    found.into_iter().enumerate().filter_map(|(k, other)| Some((k, other?))).collect()
}

/// The position of each key, `None` where several names share it.
fn unique(names: &[&str], key: fn(&str) -> String) -> HashMap<String, Option<usize>> {
    let mut places = HashMap::with_capacity(names.len());
    for (at, name) in names.iter().enumerate() {
        places.entry(key(name)).and_modify(|place| *place = None).or_insert(Some(at));
    }
    places
}

/// A name without the prefixes of wrappers.
fn unwrapped(name: &str) -> String {
    // torch.compile may wrap any module inside, and then stands in the middle.
    let mut rest = name.replace("._orig_mod.", ".");
    while let Some((_, inner)) = rest.split_once('.').filter(|(f, _)| PREFIXES.contains(f)) {
        rest = inner.to_owned();
    }
    rest
}

/// A name as PyTorch's tracer spells it: `p_` or `b_`, then the path in lower case with underscores.
fn traced(name: &str) -> String {
    let flat = unwrapped(name).replace(|c: char| !c.is_ascii_alphanumeric(), "_").to_lowercase();
    let mut rest = flat.strip_prefix("p_").or(flat.strip_prefix("b_")).unwrap_or(&flat);
    let inner = |rest: &str, prefix: &str| {
        rest.strip_prefix(prefix).and_then(|r| r.strip_prefix('_')).map(str::len)
    };
    while let Some(length) = PREFIXES.iter().find_map(|prefix| inner(rest, prefix)) {
        rest = &rest[rest.len() - length..];
    }
    rest.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_name_comes_first() {
        assert_eq!(matched(&["a", "b"], &["b", "a"]), [(0, 1), (1, 0)]);
        // `module.a` is left over; it could only be meant by an `a` that is taken already.
        assert_eq!(matched(&["a"], &["module.a", "a"]), [(0, 1)]);
    }

    #[test]
    fn prefixes_of_either_side_are_seen_through() {
        let plain = ["fc.weight", "fc.bias"];
        for wrapped in [
            ["module.fc.weight", "module.fc.bias"],
            ["_orig_mod.module.fc.weight", "_orig_mod.module.fc.bias"],
            ["model.fc._orig_mod.weight", "model.fc._orig_mod.bias"],
            ["p_fc_weight", "p_fc_bias"],
            ["p_model_fc_weight", "p_net_fc_bias"],
        ] {
            assert_eq!(matched(&plain, &wrapped), [(0, 0), (1, 1)], "{wrapped:?}");
            assert_eq!(matched(&wrapped, &plain), [(0, 0), (1, 1)], "{wrapped:?}");
        }
        assert_eq!(matched(&["net.0.weight"], &["model.0.weight"]), [(0, 0)]);
    }

    #[test]
    fn what_could_be_two_is_none() {
        assert_eq!(matched(&["fc.weight"], &["module.fc.weight", "model.fc.weight"]), []);
        assert_eq!(matched(&["net.a", "model.a"], &["a"]), []);
        assert_eq!(matched(&["p_a_b"], &["a.b", "a_b"]), []);
        assert_eq!(matched(&["a.weight"], &["b.weight"]), []);
    }
}

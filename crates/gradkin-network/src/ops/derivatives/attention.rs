//! Cases of attention, rotary embeddings and Einsum.

use super::Maker;
use super::case::{Case, Draw, Random};

pub(super) const CASES: &[(&str, Maker)] =
    &[("Attention", attention), ("Einsum", einsum), ("RotaryEmbedding", rotary)];

/// `[batch, heads, length, size]`, or the heads as parts of the last axis.
fn headed(split: bool, batch: usize, heads: usize, length: usize, size: usize) -> Vec<usize> {
    if split { vec![batch, heads, length, size] } else { vec![batch, length, heads * size] }
}

fn attention(name: &'static str, r: &mut Random) -> Case {
    let (split, batch) = (r.chance(0.5), r.pick(&[1, 1, 2]));
    let kv_heads = r.size(1, 2);
    let heads = kv_heads * r.size(1, 2);
    let (queries, keys, past) = (r.size(1, 3), r.size(1, 3), r.pick(&[0, 0, 1, 2]));
    let (key_size, value_size) = (r.size(1, 3), r.size(1, 3));
    let total = past + keys;
    let mut case = Case::new(name, 24).outputs(r.pick(&[1, 1, 3, 4]));
    if !split {
        case = case.int("q_num_heads", heads as i64).int("kv_num_heads", kv_heads as i64);
    }
    if r.chance(0.3) {
        case = case.float("scale", 0.5);
    }
    if r.chance(0.3) {
        case = case.float("softcap", 1.5);
    }
    case = case.either(r, &headed(split, batch, heads, queries, key_size));
    case = case.either(r, &headed(split, batch, kv_heads, keys, key_size));
    case = case.either(r, &headed(split, batch, kv_heads, keys, value_size));
    let whole = [batch, heads, queries, total];
    let rank = r.size(2, 4);
    let mut mask = whole[4 - rank..].to_vec();
    for size in &mut mask[..rank - 1] {
        *size = if r.chance(0.3) { 1 } else { *size };
    }
    let kind = r.size(0, 2);
    case = match kind {
        0 => case.absent(),
        1 => case.either(r, &mask),
        _ => case.either(r, &mask).draw(Draw::Flags),
    };
    let causal = r.chance(0.3);
    let lengths = past == 0 && r.chance(0.3);
    if causal {
        case = case.int("is_causal", 1);
    }
    // Scores shown after the mask would be infinite where something is hidden.
    let hides = kind == 2 || causal || lengths;
    case =
        case.int("qk_matmul_output_mode", r.pick(if hides { &[0, 1, 3] } else { &[0, 1, 2, 3] }));
    if past > 0 {
        case = case.either(r, &[batch, kv_heads, past, key_size]);
        case = case.either(r, &[batch, kv_heads, past, value_size]);
    } else if lengths {
        case = case.absent().absent().either(r, &[batch]).draw(Draw::Whole(1, keys as i64));
    }
    case
}

fn rotary(name: &'static str, r: &mut Random) -> Case {
    let (split, batch) = (r.chance(0.5), r.pick(&[1, 2]));
    let (heads, length, pairs, rows) = (r.size(1, 2), r.size(1, 3), r.size(1, 2), 4);
    let rest = r.size(0, 1);
    let x = headed(split, batch, heads, length, 2 * pairs + rest);
    let mut case = Case::new(name, 23).int("interleaved", r.int(0, 1)).either(r, &x);
    if !split {
        case = case.int("num_heads", heads as i64);
    }
    if rest > 0 {
        case = case.int("rotary_embedding_dim", 2 * pairs as i64);
    }
    if r.chance(0.5) {
        let table = [batch, length, pairs];
        return case.either(r, &table).either(r, &table);
    }
    case = case.either(r, &[rows, pairs]).either(r, &[rows, pairs]);
    case.either(r, &[batch, length]).draw(Draw::Whole(0, rows as i64 - 1))
}

const EQUATIONS: &[&str] = &[
    "ij,jk->ik",
    "ij,kj",
    "bij,bjk->bik",
    "bhqd,bhkd->bhqk",
    "btd,dk->btk",
    "btd,dhk->bhtk",
    "bhtk,hkd->btd",
    "hdk,bthd->bthk",
    "ij->ji",
    "ij->i",
    "ij->",
    "ii->i",
    "ii",
    "iji,j->i",
    "i,j->ij",
    "i,i",
    "ijk,k->ji",
    "ij,jk,kl->il",
    "bi,oij,bj->bo",
    "...ij,...jk->...ik",
    "...d,dk->...k",
    "b...,b...->...",
    "...i,...i",
];

fn einsum(name: &'static str, r: &mut Random) -> Case {
    let equation = r.pick(EQUATIONS);
    let sizes: Vec<usize> = r.shape(26, 3);
    let rank = r.size(0, 2);
    let dots = r.shape(rank, 3);
    let mut case = Case::new(name, 12).text("equation", equation);
    for side in equation.split("->").next().unwrap_or_default().split(',') {
        let mut shape = Vec::new();
        for part in side.replace("...", ".").chars() {
            match part {
                '.' => shape.extend(r.below(&dots)),
                letter => shape.push(sizes[letter as usize - 'a' as usize]),
            }
        }
        case = case.either(r, &shape);
    }
    case
}

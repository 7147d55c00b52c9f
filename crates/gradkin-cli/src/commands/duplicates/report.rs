//! Near duplicates for people: how many groups there are, and the first of them.

use gradkin::Examples;

use super::groups::Groups;
use crate::examples::{Classes, numbered};
use crate::results::Report;
use crate::text;

/// How many groups are listed.
const LISTED: usize = 10;

pub(super) fn report(groups: &Groups) -> Report {
    let mut report = Report::default();
    let order = groups.worst_first();
    if !order.is_empty() {
        let shown = order.len().min(LISTED);
        report.heading(format!("{shown} of {}", text::counted(order.len(), "group")));
        report.columns(&order.iter().take(LISTED).map(|g| row(groups, *g)).collect::<Vec<_>>());
    }
    report.summary.push(found(groups));
    report.summary.extend(contradictions(groups, &order));
    report
}

/// A group's members with their labels.
fn row(groups: &Groups, group: usize) -> Vec<String> {
    let members = &groups.found.groups[group];
    let names: Vec<String> = members.iter().map(|i| numbered(groups.job.data.data(), *i)).collect();
    let contradict = if groups.contradicts(members) { "labels contradict" } else { "" };
    vec![
        format!("{} examples", text::count(members.len())),
        text::first_few(&names),
        contradict.into(),
    ]
}

fn found(groups: &Groups) -> String {
    let set = &groups.job.data;
    let defined = set.len() - groups.found.undefined.len();
    let inside: usize = groups.found.groups.iter().map(Vec::len).sum();
    let Some(nearest) = highest(groups) else {
        return format!("the only example of {} has no other to be compared with", set.name());
    };
    if inside == 0 {
        return format!(
            "no two of {} of {} are near duplicates (similarity {} or above, every pair met); the \
             most similar two have {nearest:.4}",
            text::counted(defined, "example"),
            set.name(),
            groups.threshold
        );
    }
    format!(
        "{} of near duplicates hold {} of {} of {} (similarity {} or above, every pair met)",
        text::counted(groups.found.groups.len(), "group"),
        text::count(inside),
        text::counted(defined, "example"),
        set.name(),
        groups.threshold
    )
}

/// The highest similarity of two examples.
fn highest(groups: &Groups) -> Option<f64> {
    let nearest = groups.found.nearest.iter().flatten().map(|near| near.similarity);
    nearest.max_by(f64::total_cmp)
}

/// How many groups have labels that contradict each other, and which.
fn contradictions(groups: &Groups, order: &[usize]) -> Option<String> {
    Classes::of(groups.job.data.data())?;
    if order.is_empty() {
        return None;
    }
    let members = order.iter().map(|group| &groups.found.groups[*group]);
    let contradicting: Vec<&Vec<usize>> = members.filter(|m| groups.contradicts(m)).collect();
    if contradicting.is_empty() {
        return Some("no group has labels that contradict each other".into());
    }
    let list = |members: &&Vec<usize>| {
        let names: Vec<String> =
            members.iter().map(|i| numbered(groups.job.data.data(), *i)).collect();
        format!("[{}]", text::first_few(&names))
    };
    let lists: Vec<String> = contradicting.iter().map(list).collect();
    Some(format!(
        "labels contradict each other in {} of {}: {}",
        text::count(contradicting.len()),
        text::counted(order.len(), "group"),
        text::first_few(&lists)
    ))
}

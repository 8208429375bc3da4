//! Circles of a small graph, and the order in which it can be read.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// From whom to whom, and what shows it.
pub(crate) type Graph = BTreeMap<String, BTreeMap<String, Vec<String>>>;

/// As many circles as must be cut: a shortest one; then, with its weakest arrow taken away, the
/// next.
pub(crate) fn circles(graph: &Graph) -> Vec<String> {
    let mut graph = graph.clone();
    let mut found = Vec::new();
    while let Some(circle) = shortest(&graph) {
        let steps = circle.iter().zip(circle.iter().cycle().skip(1));
        let steps: Vec<_> = steps.collect();
        let mut shown = String::new();
        for (from, to) in &steps {
            let evidence = &graph[*from][*to];
            let more = match evidence.len() {
                1 => String::new(),
                n => format!(", and {} more", n - 1),
            };
            shown.push_str(&format!("\n    {from} -> {to}  ({}{more})", evidence[0]));
        }
        found.push(shown);
        let weakest = steps
            .iter()
            .min_by_key(|(from, to)| graph[*from][*to].len());
        if let Some((from, to)) = weakest
            .copied()
            .map(|(from, to)| (from.clone(), to.clone()))
        {
            graph.entry(from).or_default().remove(&to);
        }
    }
    found
}

fn shortest(graph: &Graph) -> Option<Vec<String>> {
    graph
        .keys()
        .filter_map(|start| back_to(graph, start))
        .min_by_key(Vec::len)
}

/// The shortest way from a node back to itself, by breadth.
fn back_to(graph: &Graph, start: &String) -> Option<Vec<String>> {
    let mut ways = VecDeque::from([vec![start.clone()]]);
    let mut seen = BTreeSet::new();
    while let Some(way) = ways.pop_front() {
        let last = way.last()?;
        for next in graph.get(last).into_iter().flat_map(BTreeMap::keys) {
            if next == start {
                return Some(way);
            }
            if seen.insert(next.clone()) {
                let mut longer = way.clone();
                longer.push(next.clone());
                ways.push_back(longer);
            }
        }
    }
    None
}

/// Users first. What is in a circle, or above one, is left out.
pub(crate) fn order(graph: &Graph) -> Vec<String> {
    let mut left: BTreeSet<_> = graph
        .keys()
        .chain(graph.values().flat_map(BTreeMap::keys))
        .collect();
    let mut order = Vec::new();
    loop {
        let uses_left = |node: &&String| {
            graph
                .get(*node)
                .is_some_and(|used| used.keys().any(|used| left.contains(used)))
        };
        let free: Vec<_> = left
            .iter()
            .copied()
            .filter(|node| !uses_left(node))
            .collect();
        if free.is_empty() {
            order.reverse();
            return order;
        }
        order.push(
            free.iter()
                .map(|node| &***node)
                .collect::<Vec<_>>()
                .join(" "),
        );
        for node in free {
            left.remove(node);
        }
    }
}

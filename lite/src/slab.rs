//! The nodes of a trie, each named by a small number. The number of a node that is gone is used again.

use std::ops::{Index, IndexMut};

/// The number of the node that everything else is below.
pub(crate) const ROOT: usize = 0;

#[derive(Debug)]
pub(crate) struct Slab<N> {
    nodes: Vec<N>,
    free: Vec<usize>,
}

impl<N> Slab<N> {
    pub(crate) fn new(root: N) -> Self {
        Self {
            nodes: vec![root],
            free: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, node: N) -> usize {
        match self.free.pop() {
            Some(number) => {
                self.nodes[number] = node;
                number
            }
            None => {
                self.nodes.push(node);
                self.nodes.len() - 1
            }
        }
    }

    /// Takes a node out. Whoever still has its number finds `blank`, until it is another's.
    pub(crate) fn take(&mut self, number: usize, blank: N) -> N {
        self.free.push(number);
        std::mem::replace(&mut self.nodes[number], blank)
    }

    /// Whether every node but the root was taken out, once.
    #[cfg(test)]
    pub(crate) fn is_only_root(&self) -> bool {
        self.free.len() == self.nodes.len() - 1
    }
}

impl<N> Index<usize> for Slab<N> {
    type Output = N;

    fn index(&self, number: usize) -> &N {
        &self.nodes[number]
    }
}

impl<N> IndexMut<usize> for Slab<N> {
    fn index_mut(&mut self, number: usize) -> &mut N {
        &mut self.nodes[number]
    }
}

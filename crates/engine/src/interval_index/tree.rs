//! An interval tree: which intervals hold this key.
//!
//! A treap: ordered by (start, end) as a search tree, by random priorities as a heap, so that its
//! depth is logarithmic on average whatever the order of insertion. Every node knows the furthest
//! end in its subtree; a stab leaves out the subtrees that end before the key, and what starts
//! behind it. For `n` intervals and `k` hits it visits O((k + 1) log n) nodes on average.
//!
//! Priorities come from a seeded generator: the same history makes the same tree.

use std::cmp::Ordering;

use value::Interval;

use super::subscribers::Subscribers;

/// The place of a node in the arena.
type NodeId = usize;
type Link = Option<NodeId>;

/// Intervals, each once, with who waits on it.
#[derive(Debug)]
pub(super) struct IntervalTree<S> {
    root: Link,
    nodes: Vec<Node<S>>,
    free: Vec<NodeId>,
    random: SplitMix64,
}

#[derive(Debug)]
struct Node<S> {
    interval: Interval,
    subscribers: Subscribers<S>,
    priority: u64,
    left: Link,
    right: Link,
    /// The node of this subtree whose interval ends furthest: no end is copied.
    furthest: NodeId,
}

impl<S: Copy + Ord> IntervalTree<S> {
    pub(super) fn new() -> Self {
        Self { root: None, nodes: Vec::new(), free: Vec::new(), random: SplitMix64(0) }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.root.is_none()
    }

    /// Who waits on `interval`; the caller must add somebody.
    pub(super) fn place_of(&mut self, interval: &Interval) -> &mut Subscribers<S> {
        let id = self.find(interval).unwrap_or_else(|| {
            let id = self.allocate(interval.clone());
            self.root = Some(self.insert_below(self.root, id));
            id
        });
        &mut self.nodes[id].subscribers
    }

    /// Takes `subscriber` out of those who wait on `interval`.
    pub(super) fn remove(&mut self, subscriber: S, interval: &Interval) {
        let Some(id) = self.find(interval) else { return };
        if self.nodes[id].subscribers.remove(subscriber) {
            self.root = self.remove_below(self.root, id);
            self.nodes[id].interval = Interval::empty();
            self.free.push(id);
        }
        if self.root.is_none() {
            self.nodes = Vec::new();
            self.free = Vec::new();
        }
    }

    /// Calls `found` with everyone whose interval holds `key`. Returns the number of nodes visited.
    pub(super) fn stab(&self, key: &[u8], found: &mut impl FnMut(S)) -> usize {
        let mut visited = 0;
        let mut pending: Vec<NodeId> = self.root.into_iter().collect();
        while let Some(id) = pending.pop() {
            visited += 1;
            let node = &self.nodes[id];
            if !ends_after(&self.nodes[node.furthest].interval, key) {
                continue;
            }
            if node.interval.start.as_slice() <= key {
                if ends_after(&node.interval, key) {
                    node.subscribers.for_each(found);
                }
                pending.extend(node.right);
            }
            pending.extend(node.left);
        }
        visited
    }

    fn find(&self, interval: &Interval) -> Link {
        let mut link = self.root;
        while let Some(id) = link {
            let node = &self.nodes[id];
            link = match compare(interval, &node.interval) {
                Ordering::Equal => return link,
                Ordering::Less => node.left,
                Ordering::Greater => node.right,
            };
        }
        None
    }

    fn allocate(&mut self, interval: Interval) -> NodeId {
        let id = self.free.pop().unwrap_or(self.nodes.len());
        let node = Node {
            interval,
            subscribers: Subscribers::new(),
            priority: self.random.next(),
            left: None,
            right: None,
            furthest: id,
        };
        if id == self.nodes.len() {
            self.nodes.push(node);
        } else {
            self.nodes[id] = node;
        }
        id
    }

    /// Puts `new` into the subtree `link` and returns its new root.
    fn insert_below(&mut self, link: Link, new: NodeId) -> NodeId {
        let Some(id) = link else { return new };
        if self.nodes[new].priority > self.nodes[id].priority {
            let (left, right) = self.split(link, new);
            self.nodes[new].left = left;
            self.nodes[new].right = right;
            self.update(new);
            return new;
        }
        if self.is_before(new, id) {
            self.nodes[id].left = Some(self.insert_below(self.nodes[id].left, new));
        } else {
            self.nodes[id].right = Some(self.insert_below(self.nodes[id].right, new));
        }
        self.update(id);
        id
    }

    /// Takes `gone`, which is in the subtree `link`, out of it and returns its new root.
    fn remove_below(&mut self, link: Link, gone: NodeId) -> Link {
        let id = link?;
        if id == gone {
            return self.join(self.nodes[id].left, self.nodes[id].right);
        }
        if self.is_before(gone, id) {
            self.nodes[id].left = self.remove_below(self.nodes[id].left, gone);
        } else {
            self.nodes[id].right = self.remove_below(self.nodes[id].right, gone);
        }
        self.update(id);
        Some(id)
    }

    /// The parts of the subtree `link` before and behind `pivot`.
    fn split(&mut self, link: Link, pivot: NodeId) -> (Link, Link) {
        let Some(id) = link else { return (None, None) };
        if self.is_before(id, pivot) {
            let (before, behind) = self.split(self.nodes[id].right, pivot);
            self.nodes[id].right = before;
            self.update(id);
            (Some(id), behind)
        } else {
            let (before, behind) = self.split(self.nodes[id].left, pivot);
            self.nodes[id].left = behind;
            self.update(id);
            (before, Some(id))
        }
    }

    /// One tree of two, where all of `left` is before all of `right`.
    fn join(&mut self, left: Link, right: Link) -> Link {
        let (Some(before), Some(behind)) = (left, right) else { return left.or(right) };
        if self.nodes[before].priority > self.nodes[behind].priority {
            self.nodes[before].right = self.join(self.nodes[before].right, right);
            self.update(before);
            left
        } else {
            self.nodes[behind].left = self.join(left, self.nodes[behind].left);
            self.update(behind);
            right
        }
    }

    /// Finds the furthest end of a subtree again, from its root and its two halves.
    fn update(&mut self, id: NodeId) {
        let node = &self.nodes[id];
        let mut furthest = id;
        for half in [node.left, node.right].into_iter().flatten() {
            let candidate = self.nodes[half].furthest;
            let end = &self.nodes[candidate].interval.end;
            if compare_ends(end, &self.nodes[furthest].interval.end).is_gt() {
                furthest = candidate;
            }
        }
        self.nodes[id].furthest = furthest;
    }

    fn is_before(&self, a: NodeId, b: NodeId) -> bool {
        compare(&self.nodes[a].interval, &self.nodes[b].interval).is_lt()
    }
}

fn compare(a: &Interval, b: &Interval) -> Ordering {
    a.start.cmp(&b.start).then_with(|| compare_ends(&a.end, &b.end))
}

/// `None` is the end behind all keys.
fn compare_ends(a: &Option<Vec<u8>>, b: &Option<Vec<u8>>) -> Ordering {
    match (a, b) {
        (None, None) => Ordering::Equal,
        (None, Some(_)) => Ordering::Greater,
        (Some(_), None) => Ordering::Less,
        (Some(a), Some(b)) => a.cmp(b),
    }
}

fn ends_after(interval: &Interval, key: &[u8]) -> bool {
    interval.end.as_deref().is_none_or(|end| end > key)
}

/// Steele, Lea, Flood: Fast splittable pseudorandom number generators (2014).
#[derive(Debug)]
struct SplitMix64(u64);

impl SplitMix64 {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
impl<S: Copy + Ord> IntervalTree<S> {
    /// Panics unless the tree is ordered both ways and every node knows its furthest end.
    pub(super) fn assert_sound(&self) {
        let mut ids = Vec::new();
        self.collect(self.root, &mut ids);
        assert!(ids.windows(2).all(|pair| self.is_before(pair[0], pair[1])));
        assert_eq!(ids.len() + self.free.len(), self.nodes.len());
    }

    fn collect(&self, link: Link, ids: &mut Vec<NodeId>) {
        let Some(id) = link else { return };
        let node = &self.nodes[id];
        assert!(!node.subscribers.is_empty());
        let first = ids.len();
        self.collect(node.left, ids);
        ids.push(id);
        self.collect(node.right, ids);
        for below in &ids[first..] {
            let below = &self.nodes[*below];
            assert!(below.priority <= node.priority);
            let furthest = &self.nodes[node.furthest].interval;
            assert!(compare_ends(&below.interval.end, &furthest.end).is_le());
        }
    }
}

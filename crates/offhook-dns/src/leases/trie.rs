//! A hash map whose copies share what they have in common.
//!
//! A copy is one reference count; a change copies the few small nodes on its way, however many entries there are.
//! So readers keep a snapshot for as long as they like, and whoever changes the map never waits for them.

use std::borrow::Borrow;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::Arc;

/// Bits of the hash that choose a branch.
const BITS: u32 = 3;
const BRANCHES: usize = 1 << BITS;

/// Entries of a leaf before it becomes a branch.
const LEAF: usize = 8;

/// The hash is used up: leaves grow without bound from here, which takes entries of one keyed 64-bit hash.
const DEEPEST: u32 = 64;

#[derive(Clone, Debug)]
pub(super) struct Trie<K, V> {
    root: Arc<Node<K, V>>,
    len: usize,
    /// Keyed: clients choose their names, and must not choose them to collide.
    hasher: RandomState,
}

#[derive(Clone, Debug)]
enum Node<K, V> {
    Leaf(Vec<Entry<K, V>>),
    Branch([Arc<Node<K, V>>; BRANCHES]),
}

#[derive(Clone, Debug)]
struct Entry<K, V> {
    hash: u64,
    key: K,
    value: V,
}

impl<K, V> Trie<K, V> {
    pub(super) fn new() -> Self {
        Self { root: Arc::new(Node::empty()), len: 0, hasher: RandomState::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Every entry, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        let mut branches = vec![&*self.root];
        let leaves = std::iter::from_fn(move || {
            loop {
                match branches.pop()? {
                    Node::Leaf(entries) => return Some(entries),
                    Node::Branch(below) => branches.extend(below.iter().map(Arc::as_ref)),
                }
            }
        });
        leaves.flatten().map(|entry| (&entry.key, &entry.value))
    }
}

impl<K: Clone + Eq + Hash, V: Clone> Trie<K, V> {
    pub(super) fn get<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        if self.len == 0 {
            return None;
        }
        let hash = self.hasher.hash_one(key);
        let (mut node, mut depth) = (&*self.root, 0);
        loop {
            match node {
                Node::Leaf(entries) => {
                    let is_it =
                        |entry: &&Entry<K, V>| entry.hash == hash && entry.key.borrow() == key;
                    return entries.iter().find(is_it).map(|entry| &entry.value);
                }
                Node::Branch(branches) => node = branches.get(branch(hash, depth))?,
            }
            depth += BITS;
        }
    }

    /// Puts an entry in, and returns the value that its key had.
    pub(super) fn insert(&mut self, key: K, value: V) -> Option<V> {
        let hash = self.hasher.hash_one(&key);
        let old = insert(&mut self.root, 0, Entry { hash, key, value });
        self.len += usize::from(old.is_none());
        old
    }

    /// Takes an entry out, and returns its value.
    pub(super) fn remove<Q: Hash + Eq + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        // Nothing is copied for what is not there.
        self.get(key)?;
        let hash = self.hasher.hash_one(key);
        let old = remove(&mut self.root, 0, hash, key);
        self.len -= usize::from(old.is_some());
        old
    }
}

impl<K, V> Node<K, V> {
    const fn empty() -> Self {
        Self::Leaf(Vec::new())
    }
}

fn branch(hash: u64, depth: u32) -> usize {
    (hash >> depth) as usize % BRANCHES
}

fn insert<K: Clone + Eq, V: Clone>(
    node: &mut Arc<Node<K, V>>,
    depth: u32,
    entry: Entry<K, V>,
) -> Option<V> {
    let node = Arc::make_mut(node);
    match node {
        Node::Branch(branches) => {
            let below = branches.get_mut(branch(entry.hash, depth))?;
            insert(below, depth + BITS, entry)
        }
        Node::Leaf(entries) => {
            let is_it = |old: &&mut Entry<K, V>| old.hash == entry.hash && old.key == entry.key;
            if let Some(old) = entries.iter_mut().find(is_it) {
                return Some(std::mem::replace(&mut old.value, entry.value));
            }
            if entries.len() < LEAF || depth >= DEEPEST {
                entries.push(entry);
                return None;
            }
            let mut leaves: [Vec<Entry<K, V>>; BRANCHES] = std::array::from_fn(|_| Vec::new());
            for entry in entries.drain(..).chain([entry]) {
                if let Some(leaf) = leaves.get_mut(branch(entry.hash, depth)) {
                    leaf.push(entry);
                }
            }
            // All in one branch would be one too many for a leaf: the next insertion divides that one.
            *node = Node::Branch(leaves.map(|leaf| Arc::new(Node::Leaf(leaf))));
            None
        }
    }
}

fn remove<K: Clone + Borrow<Q>, V: Clone, Q: Eq + ?Sized>(
    node: &mut Arc<Node<K, V>>,
    depth: u32,
    hash: u64,
    key: &Q,
) -> Option<V> {
    let node = Arc::make_mut(node);
    match node {
        Node::Leaf(entries) => {
            let is_it = |entry: &Entry<K, V>| entry.hash == hash && entry.key.borrow() == key;
            let place = entries.iter().position(is_it)?;
            Some(entries.swap_remove(place).value)
        }
        Node::Branch(branches) => {
            let below = branches.get_mut(branch(hash, depth))?;
            let old = remove(below, depth + BITS, hash, key);
            let is_empty = |node: &Arc<Node<K, V>>| matches!(&**node, Node::Leaf(entries) if entries.is_empty());
            // What has shrunk to nothing is nothing, not a tree of empty leaves.
            if is_empty(below) && branches.iter().all(is_empty) {
                *node = Node::empty();
            }
            old
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn entries(trie: &Trie<u32, u8>) -> HashMap<u32, u8> {
        trie.iter().map(|(key, value)| (*key, *value)).collect()
    }

    proptest! {
        #[test]
        fn it_is_a_map_and_a_copy_keeps_what_it_was(
            steps in prop::collection::vec((0..200u32, any::<Option<u8>>(), any::<bool>()), 1..600),
        ) {
            let (mut trie, mut model) = (Trie::new(), HashMap::new());
            let mut kept = Vec::new();
            for (key, value, keep) in steps {
                if keep && kept.len() < 4 {
                    kept.push((trie.clone(), model.clone()));
                }
                match value {
                    Some(value) => prop_assert_eq!(trie.insert(key, value), model.insert(key, value)),
                    None => prop_assert_eq!(trie.remove(&key), model.remove(&key)),
                }
                prop_assert_eq!(trie.len(), model.len());
                prop_assert_eq!(trie.get(&key), model.get(&key));
            }
            kept.push((trie, model));
            for (trie, model) in kept {
                prop_assert_eq!(entries(&trie), model);
            }
        }
    }

    #[test]
    fn a_change_copies_few_nodes_however_many_entries_there_are() {
        fn nodes<'a>(node: &'a Arc<Node<u32, u8>>, all: &mut Vec<&'a Arc<Node<u32, u8>>>) {
            all.push(node);
            if let Node::Branch(branches) = &**node {
                branches.iter().for_each(|below| nodes(below, all));
            }
        }
        let mut trie = Trie::new();
        for key in 0..100_000 {
            trie.insert(key, 0);
        }
        let before = trie.clone();
        trie.insert(100_000, 1);
        trie.remove(&7);
        let (mut old, mut new) = (Vec::new(), Vec::new());
        nodes(&before.root, &mut old);
        nodes(&trie.root, &mut new);
        let old: std::collections::HashSet<_> = old.into_iter().map(Arc::as_ptr).collect();
        let copied = new.iter().filter(|node| !old.contains(&Arc::as_ptr(node))).count();
        assert!(copied <= 2 * 8 + BRANCHES, "{copied} of {}", new.len());
        for key in 0..100_001 {
            trie.remove(&key);
        }
        assert!(matches!(&*trie.root, Node::Leaf(entries) if entries.is_empty()));
    }

    #[test]
    fn entries_of_one_hash_are_told_apart() {
        #[derive(Clone, Debug, PartialEq, Eq)]
        struct Same(u32);
        impl Hash for Same {
            fn hash<H: std::hash::Hasher>(&self, _: &mut H) {}
        }
        let mut trie = Trie::new();
        for key in 0..40 {
            assert_eq!(trie.insert(Same(key), key), None);
        }
        assert!((0..40).all(|key| trie.get(&Same(key)) == Some(&key)));
        assert!((0..40).all(|key| trie.remove(&Same(key)) == Some(key)));
        assert_eq!(trie.len(), 0);
    }
}

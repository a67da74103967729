//! The keys of a configuration.

use std::hint::black_box;

use crate::sha256::{Digest, sha256};

/// So many keys are compared one by one, which is cheaper than a hash.
const FEW: usize = 8;

/// A key and what it stands for.
#[derive(Debug)]
pub(crate) struct Key<T> {
    text: Vec<u8>,
    digest: Digest,
    value: T,
}

impl<T> Key<T> {
    pub(crate) fn new(text: &[u8], value: T) -> Key<T> {
        Key {
            text: text.to_vec(),
            digest: sha256(text),
            value,
        }
    }
}

/// Finds what a key stands for. What that takes does not tell how much of a key was right.
#[derive(Debug)]
pub(crate) struct Keyring<T> {
    keys: Vec<Key<T>>, // by digest once it is closed, over which who guesses has no control
}

impl<T> Default for Keyring<T> {
    fn default() -> Keyring<T> {
        Keyring { keys: Vec::new() }
    }
}

impl<T> Keyring<T> {
    /// Adds a key; false: it is there already.
    pub(crate) fn add(&mut self, key: Key<T>) -> bool {
        match self.keys.binary_search_by(|k| k.digest.cmp(&key.digest)) {
            Ok(_) => false,
            Err(i) => {
                self.keys.insert(i, key);
                true
            }
        }
    }

    /// Says that no more keys come.
    pub(crate) fn close(&mut self) {
        self.keys.shrink_to_fit();
    }

    /// Returns what a key stands for; None: it is unknown.
    pub(crate) fn find(&self, text: &[u8]) -> Option<&T> {
        if self.keys.len() <= FEW {
            let mut found = None;
            for k in &self.keys {
                if equal(&k.text, text) {
                    found = Some(&k.value);
                }
            }
            return found;
        }
        let digest = sha256(text);
        let i = self.keys.partition_point(|k| k.digest < digest);
        let k = self.keys.get(i)?;
        equal(&k.digest, &digest).then_some(&k.value)
    }
}

/// Compares two secrets of one length in a time that does not tell where they differ.
fn equal(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let mut difference = 0;
    for (x, y) in a.iter().zip(b) {
        difference |= black_box(x ^ y);
    }
    black_box(difference) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(keys: &[&str]) -> Keyring<usize> {
        let mut ring = Keyring::default();
        for (i, k) in keys.iter().enumerate() {
            assert!(ring.add(Key::new(k.as_bytes(), i)));
        }
        ring.close();
        ring
    }

    #[test]
    fn a_key_is_found() {
        let few = ring(&["first-key", "second-key"]);
        assert_eq!(few.find(b"second-key"), Some(&1));
        let names: Vec<String> = (0..100).map(|i| format!("another-key-{i}")).collect();
        let many = ring(&names.iter().map(String::as_str).collect::<Vec<_>>());
        for (i, name) in names.iter().enumerate() {
            assert_eq!(many.find(name.as_bytes()), Some(&i));
        }
        for unknown in ["", "first", "first-key ", "FIRST-KEY", "another-key-100"] {
            assert_eq!(few.find(unknown.as_bytes()), None, "{unknown}");
            assert_eq!(many.find(unknown.as_bytes()), None, "{unknown}");
        }
        assert_eq!(Keyring::<usize>::default().find(b""), None);
    }

    #[test]
    fn a_key_is_there_once() {
        let mut ring = ring(&["first-key"]);
        assert!(!ring.add(Key::new(b"first-key", 7)));
        assert_eq!(ring.find(b"first-key"), Some(&0));
    }

    #[test]
    fn secrets_compare() {
        assert!(equal(b"", b"") && equal(b"ab", b"ab"));
        assert!(!equal(b"ab", b"ac") && !equal(b"ab", b"bb") && !equal(b"ab", b"abc"));
    }
}

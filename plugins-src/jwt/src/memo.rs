//! Tokens that were verified before.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::rc::Rc;

/// Bounds on a generation; there are two.
const MOST: usize = 2048;
const MOST_BYTES: usize = 2 << 20;

/// Remembers what tokens stand for, each until its time is over. What is not asked for is
/// forgotten first.
#[derive(Debug)]
pub(crate) struct Memo<T> {
    young: Generation<T>,
    old: Generation<T>,
}

#[derive(Debug)]
struct Generation<T> {
    all: HashMap<u64, Entry<T>, BuildHasherDefault<Plain>>,
    bytes: usize,
}

#[derive(Debug)]
struct Entry<T> {
    token: Box<[u8]>,
    until: u64,
    value: Rc<T>,
}

impl<T> Default for Generation<T> {
    fn default() -> Self {
        Generation {
            all: HashMap::default(),
            bytes: 0,
        }
    }
}

impl<T> Default for Memo<T> {
    fn default() -> Self {
        Memo {
            young: Generation::default(),
            old: Generation::default(),
        }
    }
}

impl<T> Memo<T> {
    /// Returns what a token stands for at a time; the time is over at until.
    pub(crate) fn find(&mut self, token: &[u8], now: u64) -> Option<Rc<T>> {
        let place = place(token);
        if let Some(e) = self.young.all.get(&place) {
            return e.right(token, now).then(|| e.value.clone());
        }
        if !self.old.all.get(&place)?.right(token, now) {
            return None;
        }
        let e = self.old.all.remove(&place)?;
        let value = e.value.clone();
        self.insert(place, e);
        Some(value)
    }

    /// Remembers a token.
    pub(crate) fn put(&mut self, token: &[u8], until: u64, value: Rc<T>) {
        let entry = Entry {
            token: token.into(),
            until,
            value,
        };
        self.insert(place(token), entry);
    }

    fn insert(&mut self, place: u64, entry: Entry<T>) {
        let size = entry.token.len();
        if self.young.all.len() >= MOST || self.young.bytes + size > MOST_BYTES {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.bytes += size;
        if let Some(before) = self.young.all.insert(place, entry) {
            self.young.bytes -= before.token.len();
        }
    }

    /// Forgets all.
    pub(crate) fn clear(&mut self) {
        *self = Memo::default();
    }
}

impl<T> Entry<T> {
    fn right(&self, token: &[u8], now: u64) -> bool {
        now < self.until && same(&self.token, token)
    }
}

/// Returns where a token lies: by its end, which is a part of the signature, so that no two
/// that were verified lie in one place but by chance.
fn place(token: &[u8]) -> u64 {
    let mut place = token.len() as u64;
    for c in token[token.len().saturating_sub(24)..].chunks(8) {
        let mut word = [0; 8];
        word[..c.len()].copy_from_slice(c);
        place =
            (place.rotate_left(23) ^ u64::from_le_bytes(word)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
    place
}

/// Says whether two texts are the same, 32 bytes at a time: WebAssembly's own comparison goes
/// byte by byte.
fn same(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let (mut x, mut y) = (a.chunks_exact(32), b.chunks_exact(32));
    for (x, y) in (&mut x).zip(&mut y) {
        let differ = |at: usize| word(x, at) ^ word(y, at);
        if differ(0) | differ(8) | differ(16) | differ(24) != 0 {
            return false;
        }
    }
    x.remainder() == y.remainder()
}

fn word(b: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(b[at..at + 8].try_into().unwrap_or_default())
}

/// Takes a number as it is.
#[derive(Debug, Default)]
struct Plain(u64);

impl Hasher for Plain {
    fn write(&mut self, bytes: &[u8]) {
        for b in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*b);
        }
    }

    fn write_u64(&mut self, n: u64) {
        self.0 = n;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_found_until_their_time_is_over() {
        let mut memo = Memo::default();
        memo.put(b"a.b.c", 100, Rc::new(7));
        assert_eq!(memo.find(b"a.b.c", 99).as_deref(), Some(&7));
        for (token, now) in [
            ("a.b.c", 100),
            ("a.b.d", 5),
            ("a.b.cc", 5),
            ("", 5),
            ("b.c", 5),
        ] {
            assert_eq!(memo.find(token.as_bytes(), now), None, "{token} at {now}");
        }
        memo.put(b"a.b.c", 200, Rc::new(8));
        assert_eq!(memo.find(b"a.b.c", 150).as_deref(), Some(&8));
        memo.clear();
        assert_eq!(memo.find(b"a.b.c", 150), None);
    }

    /// A token that differs in any byte is another one, also if it lies in the same place.
    #[test]
    fn every_byte_counts() {
        let token: Vec<u8> = (0..203).map(|i| b'a' + i % 23).collect();
        let mut memo = Memo::default();
        memo.put(&token, 10, Rc::new(()));
        for i in 0..token.len() {
            let mut other = token.clone();
            other[i] ^= 1;
            assert_eq!(memo.find(&other, 1), None, "byte {i}");
            assert!(!same(&token, &other) && !same(&token, &token[..i]));
        }
        assert!(memo.find(&token, 1).is_some());
    }

    #[test]
    fn what_is_asked_for_stays() {
        let mut memo = Memo::default();
        let name = |i: usize| format!("token-{i:020}").into_bytes();
        memo.put(&name(0), 10, Rc::new(0));
        for i in 1..10 * MOST {
            memo.put(&name(i), 10, Rc::new(i));
            assert_eq!(memo.find(&name(0), 1).as_deref(), Some(&0));
        }
        assert!(memo.young.all.len() <= MOST && memo.old.all.len() <= MOST);
        assert_eq!(memo.find(&name(1), 1), None);
        let long = vec![b'x'; 16 << 10];
        for i in 0..1000usize {
            let mut token = long.clone();
            token.extend_from_slice(&i.to_le_bytes());
            memo.put(&token, 10, Rc::new(i));
        }
        assert!(memo.young.bytes <= MOST_BYTES && memo.old.bytes <= MOST_BYTES);
        let bytes: usize = memo.young.all.values().map(|e| e.token.len()).sum();
        assert_eq!(memo.young.bytes, bytes);
    }
}

//! Tables by the numbers that the host gives.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// A map by numbers that the host chooses, one after another: nobody can choose them so that
/// they collide, and hashing them well would cost more than all else that a callback does.
pub(crate) type NumberMap<T> = HashMap<u32, T, BuildHasherDefault<NumberHasher>>;

/// The hash of one u32.
#[derive(Default)]
pub(crate) struct NumberHasher(u64);

impl Hasher for NumberHasher {
    fn write(&mut self, _bytes: &[u8]) {
        unreachable!("BUG: the key is no u32")
    }

    /// An odd factor keeps numbers that follow each other apart in the lower bits, and gives
    /// the upper ones, which the map looks at too, something of each.
    fn write_u32(&mut self, n: u32) {
        self.0 = u64::from(n).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 ^= self.0 >> 32;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// What the host knows by number: plugins, or streams. One that a callback runs on
/// is out of its place meanwhile, so that the callback may use the table.
pub(crate) struct Table<T: ?Sized>(RefCell<NumberMap<Option<Box<T>>>>);

impl<T: ?Sized> Table<T> {
    pub(crate) fn new() -> Table<T> {
        Table(RefCell::default())
    }

    pub(crate) fn insert(&self, id: u32, one: Box<T>) {
        let before = self.0.borrow_mut().insert(id, Some(one));
        drop(before); // not while the table is borrowed
    }

    pub(crate) fn contains(&self, id: u32) -> bool {
        self.0.borrow().contains_key(&id)
    }

    /// Says whether there was one.
    pub(crate) fn remove(&self, id: u32) -> bool {
        let before = self.0.borrow_mut().remove(&id);
        before.is_some()
    }

    /// Runs a callback; None: there is none of that number.
    pub(crate) fn run<R>(&self, id: u32, callback: impl FnOnce(&mut T) -> R) -> Option<R> {
        let slot = self.0.borrow_mut().get_mut(&id)?.take();
        let mut one = slot.expect("BUG: the host makes a callback within another one");
        let result = callback(&mut one);
        if let Some(slot) = self.0.borrow_mut().get_mut(&id) {
            *slot = Some(one);
        }
        Some(result)
    }
}

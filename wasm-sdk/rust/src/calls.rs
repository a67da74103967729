//! Calls under way.

use std::cell::RefCell;

use crate::table::NumberMap;

/// The calls of one kind, by their number, each with the context that made it.
pub(crate) struct Calls<T>(RefCell<NumberMap<(u32, T)>>);

impl<T> Calls<T> {
    pub(crate) fn new() -> Calls<T> {
        Calls(RefCell::default())
    }

    pub(crate) fn insert(&self, id: u32, context: u32, call: T) {
        let before = self.0.borrow_mut().insert(id, (context, call));
        drop(before); // not while they are borrowed: it may make calls
    }

    pub(crate) fn remove(&self, id: u32) -> Option<(u32, T)> {
        self.0.borrow_mut().remove(&id)
    }

    pub(crate) fn get(&self, id: u32) -> Option<(u32, T)>
    where
        T: Clone,
    {
        self.0.borrow().get(&id).cloned()
    }

    /// Says whether a context has made one.
    pub(crate) fn of(&self, context: u32) -> bool {
        self.0.borrow().values().any(|c| c.0 == context)
    }

    /// Removes those of a context that ends, and returns them.
    pub(crate) fn leave(&self, context: u32) -> Vec<(u32, T)> {
        let mut calls = self.0.borrow_mut();
        let mut left = Vec::new();
        while let Some(id) = calls.iter().find(|c| c.1.0 == context).map(|c| *c.0) {
            left.extend(calls.remove(&id).map(|c| (id, c.1)));
        }
        left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_of_a_context_leave_with_it() {
        let calls = Calls::new();
        for id in 1..=6 {
            calls.insert(id, id % 2, id * 10);
        }
        assert_eq!(calls.get(2), Some((0, 20)));
        assert_eq!(calls.remove(2), Some((0, 20)));
        assert_eq!((calls.get(2), calls.remove(2)), (None, None));
        assert!(calls.of(1) && calls.of(0) && !calls.of(2));
        let mut left = calls.leave(1);
        left.sort();
        assert_eq!(left, [(1, 10), (3, 30), (5, 50)]);
        assert!(calls.leave(1).is_empty() && calls.get(4).is_some());
    }
}

//! Memory that the host writes to, and where arguments for it are put together.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::ops::Deref;
use std::str::{self, Utf8Error};

use crate::Status;
use crate::status::failure;

/// Blocks are of at least so many bytes,
const LEAST: usize = 512;
/// and kept for the next use up to this size,
const KEPT: usize = 64 << 10;
/// so many of them.
const MOST: usize = 8;

/// The blocks that the host asked for. A host function that returns bytes asks for
/// one, and says where it put them.
struct Blocks {
    handed: Vec<Vec<u8>>, // to the host function that runs
    free: Vec<Vec<u8>>,
}

impl Blocks {
    /// Returns the address of a block of at least that size; 0: there is none.
    fn hand(&mut self, size: usize) -> usize {
        if self.handed.len() == MOST {
            return 0; // no host function returns as much
        }
        let block = match self.free.iter().position(|b| b.len() >= size) {
            Some(i) => self.free.swap_remove(i),
            None => {
                let size = if size > KEPT {
                    size
                } else {
                    size.max(LEAST).next_power_of_two()
                };
                let mut block = Vec::new();
                if block.try_reserve_exact(size).is_err() {
                    return 0;
                }
                block.resize(size, 0);
                block
            }
        };
        self.handed.push(block);
        self.handed
            .last_mut()
            .map_or(0, |b| b.as_mut_ptr().expose_provenance())
    }

    /// Returns the block at an address, where the host put n bytes. It is
    /// Status::InvalidMemory if the host was handed none there, or a smaller one.
    fn take(&mut self, address: usize, n: usize) -> Result<Vec<u8>, Status> {
        let i = self
            .handed
            .iter()
            .position(|b| b.as_ptr().addr() == address && b.len() >= n);
        let block = i.map(|i| self.handed.swap_remove(i));
        while let Some(b) = self.handed.pop() {
            self.free(b);
        }
        block.ok_or(Status::InvalidMemory)
    }

    fn free(&mut self, block: Vec<u8>) {
        if block.is_empty() || block.len() > KEPT {
            return;
        }
        if self.free.len() < MOST {
            self.free.push(block);
        } else if let Some(smaller) = self.free.iter_mut().find(|b| b.len() < block.len()) {
            *smaller = block;
        }
    }
}

thread_local! {
    static BLOCKS: RefCell<Blocks> = const { RefCell::new(Blocks { handed: Vec::new(), free: Vec::new() }) };
    static ROOM: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// This is proxy_on_memory_allocate.
pub(crate) fn allocate(size: usize) -> usize {
    BLOCKS.with(|b| b.try_borrow_mut().map_or(0, |mut b| b.hand(size)))
}

/// Returns what a host function returns that leaves the place and size of bytes.
pub(crate) fn returned(call: impl FnOnce(&mut u32, &mut u32) -> u32) -> Result<Bytes, Status> {
    let (mut p, mut n) = (0, 0);
    let status = call(&mut p, &mut n);
    BLOCKS.with_borrow_mut(|b| {
        if n == 0 || status != 0 {
            let _ = b.take(0, 0); // nothing is there: what was handed is free again
            return failure(status).map(|()| Bytes::default());
        }
        let block = b.take(p as usize, n as usize)?;
        Ok(Bytes {
            block,
            n: n as usize,
        })
    })
}

/// Runs f with room for the arguments of a host function, which is used again.
pub(crate) fn with_room<T>(f: impl FnOnce(&mut Vec<u8>) -> T) -> T {
    let mut room = ROOM.take();
    room.clear();
    let result = f(&mut room);
    if room.capacity() <= KEPT {
        ROOM.set(room);
    }
    result
}

/// What the proxy returned: a field's value, a part of a body, a property. They
/// stay until they are dropped; their memory is used again then. It may be larger than
/// they are, so that what is kept for long is better copied, by `to_vec`.
#[derive(Default)]
pub struct Bytes {
    block: Vec<u8>,
    n: usize, // of the block
}

impl Bytes {
    /// Returns them as a text; the error says that they are none.
    pub fn to_str(&self) -> Result<&str, Utf8Error> {
        str::from_utf8(self)
    }
}

impl Drop for Bytes {
    fn drop(&mut self) {
        let block = std::mem::take(&mut self.block);
        // It cannot be given back while a thread ends, which is not in WebAssembly.
        let _ = BLOCKS.try_with(|b| b.borrow_mut().free(block));
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.block[..self.n]
    }
}

impl AsRef<[u8]> for Bytes {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

/// Display shows them as a text; what is none as U+FFFD.
impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.pad(&String::from_utf8_lossy(self))
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "\"{}\"", self.escape_ascii())
    }
}

impl<T: AsRef<[u8]> + ?Sized> PartialEq<T> for Bytes {
    fn eq(&self, other: &T) -> bool {
        **self == *other.as_ref()
    }
}

impl Eq for Bytes {}

/// Returns bytes as the host would.
#[cfg(test)]
pub(crate) fn of(text: &[u8]) -> Bytes {
    Bytes {
        block: text.to_vec(),
        n: text.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A host function that hands over text, in parts of what it asked for.
    fn host(text: &[u8], p: &mut u32, n: &mut u32, blocks: &mut Blocks) {
        *p = blocks.hand(text.len()) as u32;
        *n = text.len() as u32;
        blocks.handed.last_mut().unwrap()[..text.len()].copy_from_slice(text);
    }

    fn empty() -> Blocks {
        Blocks {
            handed: Vec::new(),
            free: Vec::new(),
        }
    }

    #[test]
    fn a_block_is_used_again() {
        let mut b = empty();
        let (mut p, mut n) = (0, 0);
        host(b"value", &mut p, &mut n, &mut b);
        let at = b.handed[0].as_ptr().addr();
        let block = b.take(at, 5).unwrap();
        assert_eq!(&block[..5], b"value");
        b.free(block);
        assert_eq!(b.hand(LEAST), at);
        assert!(b.handed.len() == 1 && b.free.is_empty());
    }

    #[test]
    fn what_the_host_was_not_handed_is_refused() {
        let mut b = empty();
        let at = b.hand(10);
        for (address, n) in [
            (at + 1, 1),
            (at, LEAST + 1),
            (0, 1),
            (usize::MAX, 1),
            (at, usize::MAX),
        ] {
            assert_eq!(b.take(address, n), Err(Status::InvalidMemory));
            assert!(b.handed.is_empty());
            assert_eq!(b.hand(10), at);
        }
        assert!(b.take(at, LEAST).is_ok());
        assert_eq!(b.take(at, 1), Err(Status::InvalidMemory)); // once only
    }

    #[test]
    fn a_host_that_asks_for_too_much_gets_nothing() {
        let mut b = empty();
        assert_eq!(b.hand(usize::MAX), 0);
        assert_eq!(b.hand(isize::MAX as usize - 1), 0);
        for _ in 0..MOST {
            assert_ne!(b.hand(1), 0);
        }
        assert_eq!(b.hand(1), 0);
        assert!(b.take(0, 1).is_err());
        assert_ne!(b.hand(1), 0);
    }

    #[test]
    fn not_everything_is_kept() {
        let mut b = empty();
        for size in [KEPT + 1, 1 << 20] {
            let at = b.hand(size);
            let block = b.take(at, size).unwrap();
            b.free(block);
            assert!(b.free.is_empty());
        }
        for _ in 0..2 * MOST {
            b.free(vec![0; LEAST]);
        }
        assert_eq!(b.free.len(), MOST);
        b.free(vec![0; KEPT]);
        assert_eq!(
            (
                b.free.len(),
                b.free.iter().filter(|b| b.len() == KEPT).count()
            ),
            (MOST, 1)
        );
    }

    #[test]
    fn bytes_compare_and_show() {
        let b = Bytes {
            block: b"a\xffb and more".to_vec(),
            n: 3,
        };
        assert!(b == b"a\xffb" && b != "a");
        assert_eq!(
            (format!("{b}"), format!("{b:?}")),
            ("a\u{fffd}b".into(), r#""a\xffb""#.into())
        );
        assert!(b.to_str().is_err());
        assert!(Bytes::default().is_empty());
    }

    #[test]
    fn a_status_and_a_wrong_place_are_errors() {
        assert_eq!(returned(|_, _| 1).unwrap_err(), Status::NotFound);
        let wrong = returned(|p, n| {
            allocate(1);
            (*p, *n) = (7, 3);
            0
        });
        assert_eq!(wrong.unwrap_err(), Status::InvalidMemory);
        assert!(returned(|_, _| 0).unwrap().is_empty());
        BLOCKS.with_borrow(|b| assert!(b.handed.is_empty() && b.free.len() == 1));
    }

    #[test]
    fn room_is_used_again() {
        let at = with_room(|r| {
            r.extend_from_slice(b"text");
            r.as_ptr()
        });
        with_room(|r| assert!(r.is_empty() && r.as_ptr() == at));
        with_room(|r| r.reserve(KEPT + 1));
        with_room(|r| assert_eq!(r.capacity(), 0));
    }
}

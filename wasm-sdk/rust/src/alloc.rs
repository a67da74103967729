//! The allocator of plugins: most of what a callback allocates is small and soon freed.
#![allow(unsafe_code)] // what an allocator is made of

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ptr;

/// Small blocks are of a multiple of so many bytes,
const STEP: usize = 16;
/// of this many sizes,
const SIZES: usize = 32;
/// and aligned to so much at most, which every block of System's is.
const ALIGN: usize = 8;

/// Keeps small blocks that were freed, in a list for each size, where the next one of that
/// size is found in a few instructions; System, which finds the best place among all, takes
/// ten times as many. They are never given back: a plugin keeps as many of each size as it
/// once used together. Whatever is larger is System's.
struct Lists {
    free: [Cell<*mut Free>; SIZES],
}

/// A block that is free; it lies in the block.
struct Free {
    next: *mut Free,
}

// SAFETY: WebAssembly without threads, which this is only used in, has one thread.
unsafe impl Sync for Lists {}

/// Returns the list that a block belongs to; None: it is System's.
fn list(layout: &Layout) -> Option<usize> {
    (layout.size() <= STEP * SIZES && layout.size() > 0 && layout.align() <= ALIGN)
        .then(|| (layout.size() - 1) / STEP)
}

// SAFETY: a block is in a list only while it is free, and each is at least as large, and
// aligned as, what list says of the layouts that it serves.
unsafe impl GlobalAlloc for Lists {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some(n) = list(&layout) else {
            return unsafe { System.alloc(layout) };
        };
        let first = self.free[n].get();
        if first.is_null() {
            let whole = unsafe { Layout::from_size_align_unchecked((n + 1) * STEP, ALIGN) };
            return unsafe { System.alloc(whole) };
        }
        self.free[n].set(unsafe { (*first).next });
        first.cast()
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let Some(n) = list(&layout) else {
            return unsafe { System.dealloc(block, layout) };
        };
        let free = block.cast::<Free>();
        unsafe {
            (*free).next = self.free[n].get();
        }
        self.free[n].set(free);
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let new = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        match (list(&layout), list(&new)) {
            (None, None) => unsafe { System.realloc(block, layout, size) },
            (old, new) if old == new => block,
            _ => unsafe {
                let to = self.alloc(new);
                if !to.is_null() {
                    ptr::copy_nonoverlapping(block, to, layout.size().min(size));
                    self.dealloc(block, layout);
                }
                to
            },
        }
    }
}

#[cfg(all(target_arch = "wasm32", feature = "allocator"))]
#[global_allocator]
static LISTS: Lists = Lists {
    free: [const { Cell::new(ptr::null_mut()) }; SIZES],
};

#[cfg(test)]
mod tests {
    use super::*;

    /// Random blocks of many sizes keep what is written to them, whatever is freed, grown and
    /// shrunk between, and lie where their layout wants them.
    #[test]
    fn blocks_keep_what_they_hold() {
        let lists = Lists {
            free: [const { Cell::new(ptr::null_mut()) }; SIZES],
        };
        let mut seed = 1u64;
        let mut random = |below: usize| {
            seed = seed
                .wrapping_mul(0x5851_f42d_4c95_7f2d)
                .wrapping_add(0x1405_7b7e_f767_814f);
            (seed >> 33) as usize % below
        };
        let mut held: Vec<(*mut u8, Layout, u8)> = Vec::new();
        for round in 0..200_000 {
            let mark = round as u8;
            if held.len() < 200 && random(2) == 0 {
                let layout =
                    Layout::from_size_align(1 + random(700), 1 << random(6)).expect("a layout");
                let block = unsafe { lists.alloc(layout) };
                assert!(!block.is_null() && block.addr().is_multiple_of(layout.align()));
                unsafe { block.write_bytes(mark, layout.size()) };
                held.push((block, layout, mark));
                continue;
            }
            if held.is_empty() {
                continue;
            }
            let at = random(held.len());
            let (block, layout, mark) = held.swap_remove(at);
            let whole = |block: *mut u8, n: usize| unsafe {
                std::slice::from_raw_parts(block, n)
                    .iter()
                    .all(|b| *b == mark)
            };
            assert!(whole(block, layout.size()));
            if random(2) == 0 {
                unsafe { lists.dealloc(block, layout) };
                continue;
            }
            let size = 1 + random(700);
            let new = unsafe { lists.realloc(block, layout, size) };
            assert!(whole(new, layout.size().min(size)));
            unsafe { new.write_bytes(mark, size) };
            let layout = Layout::from_size_align(size, layout.align()).expect("a layout");
            held.push((new, layout, mark));
        }
        for (block, layout, _) in held {
            unsafe { lists.dealloc(block, layout) };
        }
    }
}

//! The allocator of this test binary. A world makes and drops tens of millions of small things, JSON above all, in one
//! thread: a list of free blocks per size costs a tenth of what a general allocator costs, and nothing is ever given back.
//!
//! The shelves of free blocks belong to a thread. A seed's thread borrows those of the thread that waits for it
//! ([`lend`], [`Shelves::install`], [`Shelves::remove`], [`take_back`]), so that what the outcome's drop sets free is there
//! for the next seed.

#![allow(unsafe_code, reason = "an allocator hands out raw memory; beside `entropy`, the only place")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    ptr,
};

/// Blocks are multiples of this, and aligned to it.
const GRAIN: usize = 16;
/// Up to here there is a shelf for each multiple of [`GRAIN`], from here on one for each power of two.
const FINE: usize = 1024;
/// Shelves of the first kind, without the empty one.
const FINE_SHELVES: usize = FINE / GRAIN;
/// The largest block; what is larger comes from the system.
const LARGEST: usize = FINE << 6;
const SHELVES: usize = FINE_SHELVES + 1 + 6;
/// What is asked of the system at once.
const CHUNK: usize = 1 << 20;

/// The allocator.
struct Shelved;

#[global_allocator]
static SHELVED: Shelved = Shelved;

/// A free block: its first bytes say which one is below it.
struct Block {
    below: *mut Block,
}

/// Free blocks by size, and a chunk that is not yet cut into blocks.
#[derive(Clone, Copy)]
pub struct Shelves {
    free: [*mut Block; SHELVES],
    chunk: *mut u8,
    left: usize,
}

// SAFETY: whoever has the shelves is the only one who has the free memory on them.
unsafe impl Send for Shelves {}

thread_local! {
    static OWN: Cell<Shelves> = const { Cell::new(Shelves::EMPTY) };
    /// A thread's own while it has lent the others.
    static SPARE: Cell<Shelves> = const { Cell::new(Shelves::EMPTY) };
}

/// Takes this thread's shelves, for a thread that it will wait for.
pub fn lend() -> Shelves {
    OWN.replace(SPARE.take())
}

/// Puts them back.
pub fn take_back(shelves: Shelves) {
    SPARE.set(OWN.replace(shelves));
}

impl Default for Shelves {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl Shelves {
    const EMPTY: Self = Self { free: [ptr::null_mut(); SHELVES], chunk: ptr::null_mut(), left: 0 };

    /// From now on this thread allocates from them.
    pub fn install(self) {
        OWN.set(self);
    }

    /// Takes them off this thread again.
    pub fn remove() -> Self {
        OWN.take()
    }

    /// A block of a shelf's size; null if the system has no memory.
    fn get(&mut self, shelf: usize) -> *mut u8 {
        let block = self.free[shelf];
        if !block.is_null() {
            // SAFETY: a block on a shelf is free memory of ours that begins with a `Block`.
            self.free[shelf] = unsafe { (*block).below };
            return block.cast();
        }
        let size = size_of_shelf(shelf);
        if self.left < size {
            // SAFETY: the layout has a size.
            self.chunk = unsafe { System.alloc(Layout::from_size_align_unchecked(CHUNK, GRAIN)) };
            self.left = if self.chunk.is_null() { 0 } else { CHUNK };
            if self.chunk.is_null() {
                return ptr::null_mut();
            }
        }
        let block = self.chunk;
        // SAFETY: there is so much left of the chunk.
        self.chunk = unsafe { block.add(size) };
        self.left -= size;
        block
    }

    /// Takes a block back.
    ///
    /// # Safety
    /// It came from a shelf of this number, and nobody uses it any more.
    unsafe fn put(&mut self, shelf: usize, block: *mut u8) {
        let block: *mut Block = block.cast();
        // SAFETY: the block is ours, aligned, and no smaller than a `Block`.
        unsafe { block.write(Block { below: self.free[shelf] }) };
        self.free[shelf] = block;
    }
}

/// Which shelf has blocks for a layout; `None`: the system has.
fn shelf_of(layout: Layout) -> Option<usize> {
    let size = layout.size();
    if size > LARGEST || layout.align() > GRAIN {
        None
    } else if size <= FINE {
        Some(size.div_ceil(GRAIN))
    } else {
        Some(FINE_SHELVES + (usize::BITS - (size - 1).leading_zeros() - FINE.trailing_zeros()) as usize)
    }
}

fn size_of_shelf(shelf: usize) -> usize {
    if shelf <= FINE_SHELVES { shelf * GRAIN } else { FINE << (shelf - FINE_SHELVES) }
}

/// Works on this thread's shelves.
fn own<T>(work: impl FnOnce(&mut Shelves) -> T) -> T {
    // SAFETY: only this thread has them, and `work` neither allocates from here nor lends them.
    OWN.with(|own| work(unsafe { &mut *own.as_ptr() }))
}

// SAFETY: blocks are as large and as aligned as asked for, and belong to one caller at a time. Which shelf or whether the
// system has a block follows from its layout alone.
unsafe impl GlobalAlloc for Shelved {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match shelf_of(layout) {
            Some(shelf) => own(|own| own.get(shelf)),
            // SAFETY: as the caller's.
            None => unsafe { System.alloc(layout) },
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        match shelf_of(layout) {
            // SAFETY: by its layout it came from this shelf, and the caller gives it up.
            Some(shelf) => own(|own| unsafe { own.put(shelf, block) }),
            // SAFETY: by its layout it came from the system.
            None => unsafe { System.dealloc(block, layout) },
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller promises that the new size fits a layout.
        let wanted = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        match (shelf_of(layout), shelf_of(wanted)) {
            (Some(old), Some(new)) if old == new => block,
            // SAFETY: as the caller's.
            (None, None) => unsafe { System.realloc(block, layout, size) },
            _ => {
                // SAFETY: both blocks are as large as their layouts say, and are two.
                unsafe {
                    let new = self.alloc(wanted);
                    if !new.is_null() {
                        ptr::copy_nonoverlapping(block, new, layout.size().min(size));
                        self.dealloc(block, layout);
                    }
                    new
                }
            }
        }
    }
}

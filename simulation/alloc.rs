//! The allocator of this test binary. A world makes and drops tens of millions of small things, JSON above all, in one
//! thread: a list of free blocks per size costs a tenth of what a general allocator costs, and nothing is ever given back.
//!
//! The bins of free blocks belong to a thread. A seed's thread borrows those of the thread that waits for it
//! ([`lend`], [`Bins::install`], [`Bins::remove`], [`take_back`]), so that what the outcome's drop sets free is there
//! for the next seed.

#![allow(unsafe_code, reason = "an allocator hands out raw memory; beside `entropy`, the only place")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    ptr,
};

/// Blocks are multiples of this, and aligned to it.
const GRAIN: usize = 16;
/// Up to here there is a bin for each multiple of [`GRAIN`], from here on one for each power of two.
const FINE: usize = 1024;
/// Bins of the first kind, without the empty one.
const FINE_BINS: usize = FINE / GRAIN;
/// The largest block; what is larger comes from the system.
const LARGEST: usize = FINE << 6;
const BINS: usize = FINE_BINS + 1 + 6;
/// What is asked of the system at once.
const CHUNK: usize = 1 << 20;

/// The allocator.
struct Binned;

#[global_allocator]
static BINNED: Binned = Binned;

/// A free block: its first bytes say which one is below it.
struct Block {
    below: *mut Block,
}

/// Free blocks by size, and a chunk that is not yet cut into blocks.
#[derive(Clone, Copy)]
pub struct Bins {
    free: [*mut Block; BINS],
    chunk: *mut u8,
    left: usize,
}

// SAFETY: whoever has the bins is the only one who has the free memory on them.
unsafe impl Send for Bins {}

thread_local! {
    static OWN: Cell<Bins> = const { Cell::new(Bins::EMPTY) };
    /// A thread's own while it has lent the others.
    static SPARE: Cell<Bins> = const { Cell::new(Bins::EMPTY) };
}

/// Takes this thread's bins, for a thread that it will wait for.
pub fn lend() -> Bins {
    OWN.replace(SPARE.take())
}

/// Puts them back.
pub fn take_back(bins: &Bins) {
    SPARE.set(OWN.replace(*bins));
}

impl Default for Bins {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl Bins {
    const EMPTY: Self = Self { free: [ptr::null_mut(); BINS], chunk: ptr::null_mut(), left: 0 };

    /// From now on this thread allocates from them.
    pub fn install(self) {
        OWN.set(self);
    }

    /// Takes them off this thread again.
    pub fn remove() -> Self {
        OWN.take()
    }

    /// A block of a bin's size; null if the system has no memory.
    fn get(&mut self, bin: usize) -> *mut u8 {
        let block = self.free[bin];
        if !block.is_null() {
            // SAFETY: a block in a bin is free memory of ours that begins with a `Block`.
            self.free[bin] = unsafe { (*block).below };
            return block.cast();
        }
        let size = size_of_bin(bin);
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
    /// It came from a bin of this number, and nobody uses it any more.
    unsafe fn put(&mut self, bin: usize, block: *mut u8) {
        let block: *mut Block = block.cast();
        // SAFETY: the block is ours, aligned, and no smaller than a `Block`.
        unsafe { block.write(Block { below: self.free[bin] }) };
        self.free[bin] = block;
    }
}

/// Which bin has blocks for a layout; `None`: the system has.
fn bin_of(layout: Layout) -> Option<usize> {
    let size = layout.size();
    if size > LARGEST || layout.align() > GRAIN {
        None
    } else if size <= FINE {
        Some(size.div_ceil(GRAIN))
    } else {
        Some(FINE_BINS + (usize::BITS - (size - 1).leading_zeros() - FINE.trailing_zeros()) as usize)
    }
}

fn size_of_bin(bin: usize) -> usize {
    if bin <= FINE_BINS { bin * GRAIN } else { FINE << (bin - FINE_BINS) }
}

/// Works on this thread's bins.
fn own<T>(work: impl FnOnce(&mut Bins) -> T) -> T {
    // SAFETY: only this thread has them, and `work` neither allocates from here nor lends them.
    OWN.with(|own| work(unsafe { &mut *own.as_ptr() }))
}

// SAFETY: blocks are as large and as aligned as asked for, and belong to one caller at a time. Which bin or whether the
// system has a block follows from its layout alone.
unsafe impl GlobalAlloc for Binned {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match bin_of(layout) {
            Some(bin) => own(|own| own.get(bin)),
            // SAFETY: as the caller's.
            None => unsafe { System.alloc(layout) },
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        match bin_of(layout) {
            // SAFETY: by its layout it came from this bin, and the caller gives it up.
            Some(bin) => own(|own| unsafe { own.put(bin, block) }),
            // SAFETY: by its layout it came from the system.
            None => unsafe { System.dealloc(block, layout) },
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller promises that the new size fits a layout.
        let wanted = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        match (bin_of(layout), bin_of(wanted)) {
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

//! The allocator: a world allocates half a million times, and the system's allocator was a fifth of the run.
//!
//! mimalloc, asked for by its shortest way: the crate hands the alignment over with every request, which takes three times the
//! instructions, and nearly all are for words and bytes.

#![allow(unsafe_code, reason = "an allocator hands out raw memory; it does no more than pass requests on")]

use std::{
    alloc::{GlobalAlloc, Layout},
    ffi::c_void,
};

use mimalloc::MiMalloc;

unsafe extern "C" {
    fn mi_malloc(size: usize) -> *mut c_void;
    fn mi_realloc(pointer: *mut c_void, size: usize) -> *mut c_void;
}

/// Every piece of memory of mimalloc is aligned to it, whatever its size.
const WORD: usize = align_of::<usize>();

/// mimalloc.
pub struct Allocator;

// SAFETY: mimalloc's own promises; the short ways are taken only for alignments that all its memory has.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.align() <= WORD {
            // SAFETY: any size will do.
            return unsafe { mi_malloc(layout.size()) }.cast();
        }
        // SAFETY: as the caller promises.
        unsafe { MiMalloc.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller promises.
        unsafe { MiMalloc.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises; all of it is mimalloc's.
        unsafe { MiMalloc.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if layout.align() <= WORD {
            // SAFETY: the caller promises that it was handed out here; all of it is mimalloc's.
            return unsafe { mi_realloc(pointer.cast(), size) }.cast();
        }
        // SAFETY: as the caller promises.
        unsafe { MiMalloc.realloc(pointer, layout, size) }
    }
}

//! The only source of randomness of this test binary: libc's `getrandom`, interposed.
//!
//! Everything random in a seed's thread begins here: std's `RandomState` (weakly linked), the crates getrandom 0.3 and 0.4
//! (`dlsym`, which finds the executable's symbol first; they feed ahash, rand and proptest), and fastrand's own generator.
//! tokio's begins from `RandomState` too, but with a number that counts the process's runtimes. So nothing may draw from it:
//! every `select!` is biased, and no two wait for one `tokio::sync::watch` where their order matters (it wakes by chance).
//! getrandom 0.2 makes the system call itself; only ring uses it, and a simulation has
//! no TLS. ahash keeps one seed a process: nothing that the controllers use (`watcher`, our own tables) iterates over it.
//! What the linker made of it is checked by [`is_interposed`] before the first seed runs.

#![allow(unsafe_code, reason = "a symbol of libc takes a raw pointer")]

use std::{
    cell::Cell,
    ffi::{c_uint, c_void},
    hash::{BuildHasher, RandomState},
};

thread_local! {
    /// A thread that was not seeded draws the same numbers each time: all its randomness is this counter.
    static STATE: Cell<u64> = const { Cell::new(0) };
    static DRAWN: Cell<u64> = const { Cell::new(0) };
}

/// Seeds this thread: call it first thing in a fresh one, before anything draws.
pub fn seed(seed: u64) {
    STATE.set(seed);
    fastrand::seed(seed);
}

/// `splitmix64`.
fn draw() -> u64 {
    let state = STATE.get().wrapping_add(0x9E37_79B9_7F4A_7C15);
    STATE.set(state);
    let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

/// libc's `getrandom`, for this thread. Never fails and never draws from the system.
///
/// # Safety
/// As libc's: `buffer` has room for `length` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getrandom(buffer: *mut c_void, length: usize, _flags: c_uint) -> isize {
    DRAWN.set(DRAWN.get() + 1);
    // SAFETY: the caller hands over a buffer of that length, and nobody else has it.
    let bytes = unsafe { std::slice::from_raw_parts_mut(buffer.cast::<u8>(), length) };
    for chunk in bytes.chunks_mut(8) {
        let drawn = draw().to_le_bytes();
        chunk.copy_from_slice(&drawn[..chunk.len()]);
    }
    length.cast_signed()
}

/// Whether std draws from here: two fresh threads with the same seed hash the same, one with another seed differently.
pub fn is_interposed() -> bool {
    let hash = |with: u64| {
        let thread = std::thread::spawn(move || {
            seed(with);
            let before = DRAWN.get();
            (RandomState::new().hash_one(1), DRAWN.get() > before)
        });
        thread.join().unwrap_or_default()
    };
    let (one, again, other) = (hash(1), hash(1), hash(2));
    one.1 && one == again && one.0 != other.0
}

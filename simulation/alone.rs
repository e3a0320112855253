//! The checker by itself: its own tests, without a world.
#![allow(dead_code)]

mod checker;

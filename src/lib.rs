//! Seatrial.

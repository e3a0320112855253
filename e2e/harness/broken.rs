//! Why a claim does not hold: one sentence for a person, made from any error.

use std::{error::Error, fmt};

/// A claim that does not hold, or a step towards it that could not be taken.
#[derive(Clone)]
pub struct Broken(String);

/// What a scenario or a step of it comes to.
pub type Outcome<T = ()> = Result<T, Broken>;

impl Broken {
    /// With this sentence.
    pub fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }

    /// The same, said of `what`.
    #[must_use]
    pub fn of(self, what: impl fmt::Display) -> Self {
        Self(format!("{what}: {}", self.0))
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Any error with its sources. `Broken` itself is no `Error`, so that this does not meet `From<T> for T`.
impl<E: Error> From<E> for Broken {
    fn from(error: E) -> Self {
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            let cause_text = cause.to_string();
            if !message.contains(&cause_text) {
                message = format!("{message}: {cause_text}");
            }
            source = cause.source();
        }
        Self(message)
    }
}

/// A part of a claim: returns from the scenario, with the sentence, when it does not hold.
#[macro_export]
macro_rules! ensure {
    ($holds:expr, $($sentence:tt)+) => {
        let holds: bool = $holds;
        if !holds {
            return Err($crate::harness::Broken::new(format!($($sentence)+)));
        }
    };
}

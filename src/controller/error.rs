//! What may go wrong while reconciling. User mistakes are not here: they are conditions.

use kube::core::Status;

/// A reconcile that did not come to its end; it is tried again.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A request to the API server failed.
    #[error("cannot {action}")]
    Api {
        /// What was done to what: `apply Deployment ml/iris-1a2b3c4d`.
        action: String,
        /// Why not.
        #[source]
        source: Box<kube::Error>,
    },
    /// An object of the unit bears an epoch that is higher than this replica's: either another leads, or the Lease has to be
    /// renewed with a higher one first.
    #[error(
        "an object bears epoch {theirs}, this replica's is {own}: nothing is written before it has a higher one"
    )]
    Outranked {
        /// This replica's.
        own: i64,
        /// The object's.
        theirs: i64,
    },
    /// The reconcile panicked. A bug; it is contained, counted and tried again.
    #[error("reconcile panicked: {0}")]
    Panic(String),
}

impl Error {
    /// Wraps a failed request.
    pub fn api(action: impl Into<String>) -> impl FnOnce(kube::Error) -> Self {
        let action = action.into();
        move |source| Self::Api { action, source: Box::new(source) }
    }

    /// What the API server answered, if it did.
    #[must_use]
    pub fn status(&self) -> Option<&Status> {
        match self {
            Self::Api { source, .. } => match &**source {
                kube::Error::Api(status) => Some(status),
                _ => None,
            },
            Self::Outranked { .. } | Self::Panic(_) => None,
        }
    }

    /// The HTTP status, if the API server answered.
    #[must_use]
    pub fn code(&self) -> Option<u16> {
        self.status().map(|status| status.code)
    }

    /// The object's namespace is on its way out: whatever cannot be made in it is no fault.
    #[must_use]
    pub fn is_leaving(&self) -> bool {
        self.status().is_some_and(|status| status.code == 403 && status.message.contains("being terminated"))
    }

    /// Somebody else was faster, or the object went: look again at once, nothing is wrong.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        matches!(self.code(), Some(404 | 409))
    }
}

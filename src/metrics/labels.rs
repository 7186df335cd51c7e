//! The labels of the metrics. Each metric's values come from the code, so the number of series is fixed.

use prometheus_client::encoding::EncodeLabelSet;

/// Defines a label set of one label.
macro_rules! define_label {
    ($(#[$doc:meta])* $set:ident, $label:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
        pub struct $set {
            $label: &'static str,
        }

        impl From<&'static str> for $set {
            fn from($label: &'static str) -> Self {
                Self { $label }
            }
        }
    };
}

define_label!(
    /// The reason for an end, a loss or a refusal.
    Reason, reason
);
define_label!(
    /// The outcome of a ticket or a change.
    Outcome, outcome
);
define_label!(
    /// An operation of the store.
    Operation, operation
);
define_label!(
    /// The kind of a redirect.
    Kind, kind
);

/// The status code of a response.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Status {
    status: u16,
}

impl From<u16> for Status {
    fn from(status: u16) -> Self {
        Self { status }
    }
}

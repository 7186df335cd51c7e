//! Defines groups of metrics: a group's struct, the registration of its metrics and their first series come from one table.

use std::hash::Hash;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry, Unit};

/// Defines a struct of metrics and its `register` function. Each metric is one line: field, type, name, unit if it has one, help
/// text, and after `series` the label values that are known in advance. Their series start at zero, so that the first failure
/// is a rise and not a new series.
macro_rules! define_metrics {
    (
        $(#[$doc:meta])*
        $visibility:vis struct $group:ident {
            $(
                $field_visibility:vis $field:ident: $metric:ty =
                    $name:literal $(in $unit:ident)?, $help:literal $(, series $series:expr)?;
            )*
        }
    ) => {
        $(#[$doc])*
        #[derive(Debug)]
        $visibility struct $group {
            $(#[doc = $help] $field_visibility $field: $metric,)*
        }

        impl $group {
            pub(super) fn register(registry: &mut prometheus_client::registry::Registry) -> Self {
                $(
                    let unit = None$(.or(Some(prometheus_client::registry::Unit::$unit)))?;
                    let $field = $crate::metrics::define::register::<$metric>(registry, $name, unit, $help);
                    $(for labels in $series {
                        drop($field.get_or_create(&labels.into()));
                    })?
                )*
                Self { $($field,)* }
            }
        }
    };
}
pub(super) use define_metrics;

/// A metric with a zero value.
pub(super) trait ZeroValue {
    fn zero() -> Self;
}

impl ZeroValue for Counter {
    fn zero() -> Self {
        Self::default()
    }
}

impl ZeroValue for Gauge {
    fn zero() -> Self {
        Self::default()
    }
}

/// A histogram of durations. Its buckets range from half a millisecond to ten seconds.
impl ZeroValue for Histogram {
    fn zero() -> Self {
        Self::new([0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0])
    }
}

impl<L: Clone + Eq + Hash, M: ZeroValue> ZeroValue for Family<L, M> {
    fn zero() -> Self {
        Self::new_with_constructor(M::zero)
    }
}

pub(super) fn register<M: ZeroValue + Metric + Clone>(
    registry: &mut Registry,
    name: &str,
    unit: Option<Unit>,
    help: &str,
) -> M {
    let metric = M::zero();
    match unit {
        Some(unit) => registry.register_with_unit(name, help, unit, metric.clone()),
        None => registry.register(name, help, metric.clone()),
    }
    metric
}

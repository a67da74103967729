//! Metrics.

use crate::Status;
use crate::host;
use crate::status::failure;

/// A metric that only grows. Its methods, as those of the other metrics, allocate
/// nothing and do not fail: what the ABI does not permit changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counter(u32);

/// A metric that goes up and down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gauge(u32);

/// A metric that counts samples by their size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Histogram(u32);

/// Returns the counter of that name (proxy_define_metric); all instances
/// have the same one. Define metrics once, in configure.
pub fn define_counter(name: &str) -> Result<Counter, Status> {
    define(0, name).map(Counter)
}

/// Returns the gauge of that name, as define_counter.
pub fn define_gauge(name: &str) -> Result<Gauge, Status> {
    define(1, name).map(Gauge)
}

/// Returns the histogram of that name, as define_counter.
pub fn define_histogram(name: &str) -> Result<Histogram, Status> {
    define(2, name).map(Histogram)
}

fn define(kind: u32, name: &str) -> Result<u32, Status> {
    let mut id = 0;
    failure(host::proxy_define_metric(
        kind,
        name.as_ptr(),
        name.len(),
        &mut id,
    ))
    .map(|()| id)
}

impl Counter {
    /// Adds delta, which is above 0 (proxy_increment_metric).
    pub fn increment(self, delta: i64) {
        host::proxy_increment_metric(self.0, delta);
    }

    /// Returns how much it is (proxy_get_metric).
    pub fn value(self) -> i64 {
        value(self.0)
    }
}

impl Gauge {
    /// Adds delta, which may be negative (proxy_increment_metric).
    pub fn increment(self, delta: i64) {
        host::proxy_increment_metric(self.0, delta);
    }

    /// Sets it (proxy_record_metric).
    pub fn record(self, value: i64) {
        host::proxy_record_metric(self.0, value);
    }

    /// Returns how much it is (proxy_get_metric).
    pub fn value(self) -> i64 {
        value(self.0)
    }
}

impl Histogram {
    /// Adds a sample (proxy_record_metric).
    pub fn record(self, value: u64) {
        host::proxy_record_metric(self.0, value as i64);
    }
}

fn value(id: u32) -> i64 {
    let mut value = 0;
    if host::proxy_get_metric(id, &mut value) != 0 {
        return 0;
    }
    value as i64
}

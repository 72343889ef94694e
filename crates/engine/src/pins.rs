//! Which timestamps are being read, so that nobody collects what they see.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use value::Timestamp;

/// The timestamps that are pinned, with how often.
#[derive(Debug, Default)]
pub(crate) struct Pins(Mutex<BTreeMap<Timestamp, usize>>);

/// Keeps one timestamp readable while it lives.
#[derive(Debug)]
pub(crate) struct Pin {
    pins: Arc<Pins>,
    ts: Timestamp,
}

impl Pins {
    /// Pins a timestamp. What was collected before stays collected.
    pub(crate) fn pin(self: &Arc<Self>, ts: Timestamp) -> Pin {
        *self.0.lock().entry(ts).or_default() += 1;
        Pin { pins: Arc::clone(self), ts }
    }

    /// The oldest timestamp that is read now, or `head` when none is older. `note` hears of it
    /// before anybody can pin another one.
    pub(crate) fn oldest(&self, head: Timestamp, note: impl FnOnce(Timestamp)) -> Timestamp {
        let pins = self.0.lock();
        let oldest = pins.keys().next().map_or(head, |oldest| (*oldest).min(head));
        note(oldest);
        oldest
    }
}

impl Pin {
    pub(crate) fn ts(&self) -> Timestamp {
        self.ts
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut pins = self.pins.0.lock();
        if let Some(count) = pins.get_mut(&self.ts) {
            *count -= 1;
            if *count == 0 {
                pins.remove(&self.ts);
            }
        }
    }
}

//! Reservations: a call that lost a conflict gets the intervals it needs to itself, in turn.
//!
//! A call that conflicted asks for what its last attempt read. It is granted when no older request
//! touches the same intervals, runs again on the newest data, and commits; commits of others that
//! would write there are refused and queue in the same way. Others pass. So a hot document costs one
//! wasted run a call at most, and no call ever fails because of a conflict.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use value::Timestamp;

use crate::env::Clock;
use crate::read_set::ReadSet;
use crate::write_log::IndexWrite;

/// How long a reservation keeps others away. A body that runs longer loses its turn, not its life.
pub const RESERVATION_NS_MAX: u64 = 5_000_000_000;

/// Told when a request has been granted. Must not block.
pub type ReserveTicket = Box<dyn FnOnce(Reservation) + Send>;

enum Request {
    Waiting { reads: ReadSet, granted: ReserveTicket },
    Granted { reads: ReadSet, until: Timestamp },
}

impl Request {
    fn reads(&self) -> &ReadSet {
        match self {
            Self::Waiting { reads, .. } | Self::Granted { reads, .. } => reads,
        }
    }
}

#[derive(Default)]
struct Queue {
    next: u64,
    requests: BTreeMap<u64, Request>,
}

/// All requests of one engine, oldest first.
#[derive(Clone)]
pub(crate) struct Reservations {
    queue: Arc<Mutex<Queue>>,
    clock: Arc<dyn Clock>,
}

/// A granted turn; given back when it is dropped.
pub struct Reservation {
    queue: Reservations,
    number: u64,
}

impl Reservations {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { queue: Arc::default(), clock }
    }

    /// Asks for `reads`; `granted` is called at once or when it is this request's turn.
    pub(crate) fn ask(&self, reads: ReadSet, granted: ReserveTicket) {
        {
            let mut queue = self.queue.lock();
            let number = queue.next;
            queue.next += 1;
            queue.requests.insert(number, Request::Waiting { reads, granted });
        }
        self.grant();
    }

    /// Whether commits of others keep away from what is written here. `own` is the writer's turn.
    pub(crate) fn refuse(&self, writes: &[IndexWrite], own: Option<u64>) -> bool {
        let queue = self.queue.lock();
        if queue.requests.is_empty() {
            return false;
        }
        let now = self.clock.now();
        let older = queue.requests.range(..own.unwrap_or(u64::MAX));
        older.into_iter().any(|(_, request)| match request {
            Request::Granted { reads, until } => {
                now < *until && writes.iter().any(|w| reads.contains(w.index, &w.key))
            }
            Request::Waiting { .. } => false,
        })
    }

    /// How many calls have a turn or wait for one.
    pub(crate) fn len(&self) -> usize {
        self.queue.lock().requests.len()
    }

    /// Grants every waiting request that no older one touches.
    fn grant(&self) {
        let mut calls = Vec::new();
        {
            let mut queue = self.queue.lock();
            let until = self.deadline();
            let mut ready = Vec::new();
            for (number, request) in &queue.requests {
                let waits = matches!(request, Request::Waiting { .. });
                let mut older = queue.requests.range(..number).map(|(_, older)| older);
                if waits && !older.any(|older| older.reads().intersects(request.reads())) {
                    ready.push(*number);
                }
            }
            for number in ready {
                if let Some(Request::Waiting { reads, granted }) = queue.requests.remove(&number) {
                    queue.requests.insert(number, Request::Granted { reads, until });
                    calls.push((granted, Reservation { queue: self.clone(), number }));
                }
            }
        }
        // Outside the lock: the call may be made at once by whoever is told.
        for (granted, reservation) in calls {
            granted(reservation);
        }
    }

    fn give_back(&self, number: u64) {
        self.queue.lock().requests.remove(&number);
        self.grant();
    }

    fn deadline(&self) -> Timestamp {
        Timestamp(self.clock.now().0.saturating_add(RESERVATION_NS_MAX))
    }
}

impl Reservation {
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Adds what the latest attempt read; the time starts anew.
    pub fn extend(&self, reads: &ReadSet) {
        let deadline = self.queue.deadline();
        let mut queue = self.queue.queue.lock();
        if let Some(Request::Granted { reads: held, until }) = queue.requests.get_mut(&self.number)
        {
            held.merge(reads);
            *until = deadline;
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.queue.give_back(self.number);
    }
}

impl std::fmt::Debug for Reservation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Reservation({})", self.number)
    }
}

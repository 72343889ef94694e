//! Reservations: a call that lost a conflict gets the intervals it needs to itself, in turn.
//!
//! A call that conflicted asks for what its last attempt read. It is granted when no older request
//! touches the same intervals, runs again on the newest data, and commits; commits of others that
//! would write there are refused and queue in the same way. Others pass. So a hot document costs one
//! wasted run a call at most, and no call ever fails because of a conflict.

use std::collections::{BTreeMap, BTreeSet};
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

    fn is_in_the_way(&self, younger: &Self, now: Timestamp) -> bool {
        let holds = match self {
            Self::Waiting { .. } => true,
            Self::Granted { until, .. } => now < *until,
        };
        holds && self.reads().intersects(younger.reads())
    }
}

#[derive(Default)]
struct Queue {
    next: u64,
    /// Somebody is telling those whose turn has come.
    granting: bool,
    requests: BTreeMap<u64, Request>,
    /// Who waits behind whom: each waiting request behind the youngest of those in its way, so that
    /// a long line in front of one document moves by one when its first one goes.
    behind: BTreeMap<u64, Vec<u64>>,
    /// Waiting requests that have lost the one in front of them, or just came.
    moved: BTreeSet<u64>,
}

impl Queue {
    fn add(&mut self, request: Request) {
        self.requests.insert(self.next, request);
        self.moved.insert(self.next);
        self.next += 1;
    }

    fn remove(&mut self, number: u64) {
        self.requests.remove(&number);
        self.moved.extend(self.behind.remove(&number).unwrap_or_default());
    }

    /// A turn that has lasted too long keeps nobody waiting.
    fn pass_expired(&mut self, now: Timestamp) {
        let expired = self.requests.iter().filter(|(_, request)| match request {
            Request::Granted { until, .. } => *until <= now,
            Request::Waiting { .. } => false,
        });
        for (number, _) in expired {
            self.moved.extend(self.behind.remove(number).unwrap_or_default());
        }
    }

    /// Gives a turn to those who moved and have nobody in their way.
    fn take_ready(&mut self, now: Timestamp) -> Vec<(u64, ReserveTicket)> {
        let until = Timestamp(now.0.saturating_add(RESERVATION_NS_MAX));
        let mut tickets = Vec::new();
        while let Some(number) = self.moved.pop_first() {
            let Some(request @ Request::Waiting { .. }) = self.requests.get(&number) else {
                continue;
            };
            let mut older = self.requests.range(..number).rev();
            if let Some((front, _)) = older.find(|(_, older)| older.is_in_the_way(request, now)) {
                self.behind.entry(*front).or_default().push(number);
            } else if let Some(Request::Waiting { reads, granted }) = self.requests.remove(&number)
            {
                self.requests.insert(number, Request::Granted { reads, until });
                tickets.push((number, granted));
            }
        }
        tickets
    }
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
        self.queue.lock().add(Request::Waiting { reads, granted });
        self.tell();
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

    /// Lets those go who wait for a turn that has lasted too long.
    pub(crate) fn pass_expired(&self) {
        self.queue.lock().pass_expired(self.clock.now());
        self.tell();
    }

    /// Tells every waiting request whose turn has come.
    fn tell(&self) {
        {
            let mut queue = self.queue.lock();
            // Whoever is told may give its turn back at once: then the loop below goes on, as one
            // call inside another for each who waits would not fit on the stack.
            if queue.granting || queue.moved.is_empty() {
                return;
            }
            queue.granting = true;
        }
        loop {
            let tickets = {
                let mut queue = self.queue.lock();
                let tickets = queue.take_ready(self.clock.now());
                queue.granting = !tickets.is_empty();
                tickets
            };
            if tickets.is_empty() {
                return;
            }
            // Outside the lock: the call may be made at once by whoever is told.
            for (number, granted) in tickets {
                granted(Reservation { queue: self.clone(), number });
            }
        }
    }

    fn give_back(&self, number: u64) {
        self.queue.lock().remove(number);
        self.tell();
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

//! Work for the worker threads, in order. Bodies are synchronous, so they run here and nowhere else.
//!
//! In production [`crate::Pool`] takes it from its threads; a simulation takes it one piece at a time.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::runtime::Runtime;

/// Most pieces that wait. Above it, new calls are refused as overloaded; reruns are never refused.
pub const WORK_WAITING_MAX: usize = 50_000;

/// One run of one body, or a part of the bookkeeping around it.
pub(crate) type Work = Box<dyn FnOnce(&Arc<Runtime>) + Send>;

#[derive(Default)]
struct State {
    waiting: VecDeque<Work>,
    closed: bool,
}

/// The queue of all workers.
#[derive(Default)]
pub(crate) struct WorkQueue {
    state: Mutex<State>,
    ready: Condvar,
}

impl WorkQueue {
    pub(crate) fn push(&self, work: Work) {
        self.state.lock().waiting.push_back(work);
        self.ready.notify_one();
    }

    /// Puts work first: it holds a reservation that others wait for.
    pub(crate) fn push_first(&self, work: Work) {
        self.state.lock().waiting.push_front(work);
        self.ready.notify_one();
    }

    pub(crate) fn is_full(&self) -> bool {
        self.state.lock().waiting.len() >= WORK_WAITING_MAX
    }

    pub(crate) fn len(&self) -> usize {
        self.state.lock().waiting.len()
    }

    /// The piece at a position, if any is there; a simulation draws the position.
    pub(crate) fn try_nth(&self, position: usize) -> Option<Work> {
        let mut state = self.state.lock();
        let waiting = state.waiting.len();
        if waiting == 0 { None } else { state.waiting.remove(position % waiting) }
    }

    /// The next piece; `None` once the queue is closed and empty.
    pub(crate) fn next(&self) -> Option<Work> {
        let mut state = self.state.lock();
        loop {
            if let Some(work) = state.waiting.pop_front() {
                return Some(work);
            }
            if state.closed {
                return None;
            }
            self.ready.wait_for(&mut state, Duration::from_secs(1));
        }
    }

    pub(crate) fn close(&self) {
        self.state.lock().closed = true;
        self.ready.notify_all();
    }
}

//! Readers: a few connections that scans borrow, so that they never wait for an append.

use parking_lot::{Condvar, Mutex};
use rusqlite::Connection;

/// Connections for reading. Empty while the store is closed.
pub(super) struct Pool {
    state: Mutex<State>,
    returned: Condvar,
}

struct State {
    free: Vec<Connection>,
    /// Free and borrowed ones together.
    total: usize,
    /// No connection is lent while they are being closed.
    closing: bool,
}

impl Pool {
    pub(super) fn new(free: Vec<Connection>) -> Pool {
        let state = State { total: free.len(), free, closing: false };
        Pool { state: Mutex::new(state), returned: Condvar::new() }
    }

    /// Lends a connection for one read; waits for a free one. `None`: the store is closed.
    pub(super) fn read<T>(&self, read: impl FnOnce(&Connection) -> T) -> Option<T> {
        let mut state = self.state.lock();
        let connection = loop {
            if state.closing || state.total > 0 && state.free.is_empty() {
                self.returned.wait(&mut state);
            } else {
                break state.free.pop()?;
            }
        };
        drop(state);
        let lent = Lent { pool: self, connection: Some(connection) };
        lent.connection.as_ref().map(read)
    }

    /// Closes all connections, waiting for those that are lent. New reads wait until `open`.
    pub(super) fn close(&self) {
        let mut state = self.state.lock();
        state.closing = true;
        while state.free.len() < state.total {
            self.returned.wait(&mut state);
        }
        state.free.clear();
        state.total = 0;
    }

    /// Lends these connections from now on.
    pub(super) fn open(&self, free: Vec<Connection>) {
        let mut state = self.state.lock();
        *state = State { total: free.len(), free, closing: false };
        self.returned.notify_all();
    }
}

/// Brings a connection back, also if the read panicked.
struct Lent<'a> {
    pool: &'a Pool,
    connection: Option<Connection>,
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        let mut state = self.pool.state.lock();
        state.free.extend(self.connection.take());
        self.pool.returned.notify_all();
    }
}

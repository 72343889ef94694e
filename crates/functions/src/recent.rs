//! The newest executions, in memory: what a person sees who follows a server.
//!
//! Two rings with one numbering: all executions, and those that have something to say (log lines, or
//! a failure), so that busy functions do not push out what people look for. A reader gives the number it
//! has seen, and misses nothing that is still there. What is noted here may be told to others: a mutation
//! is noted when it is durable.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use value::Timestamp;

use crate::door::Origin;
use crate::log::LogLine;
use crate::registry::FunctionKind;

/// Executions remembered, unless an operator says otherwise.
pub const RECENT_MAX: usize = 1000;
/// Bytes of error texts and log lines remembered.
pub const RECENT_SAID_BYTES_MAX: usize = 4 << 20;
/// Bytes kept of the error text and log lines of one execution.
pub const RECENT_TEXT_BYTES_MAX: usize = 64 << 10;

/// One execution that has ended.
#[derive(Clone, Debug)]
pub struct Execution {
    /// Its number: they ascend, and start anew with the process.
    pub number: u64,
    /// The function, as it was called.
    pub function: Arc<str>,
    /// What it is.
    pub kind: FunctionKind,
    /// How it came to run.
    pub origin: Origin,
    /// The request that asked for it.
    pub request: Option<Arc<str>>,
    /// The subject of the identity.
    pub user: Option<Arc<str>>,
    /// The commit of a mutation, else the snapshot.
    pub ts: Timestamp,
    /// When it began.
    pub began: Timestamp,
    /// From there to its end; of a mutation until it was durable.
    pub elapsed: Duration,
    /// Why it failed.
    pub error: Option<String>,
    /// What it logged; cut at [`RECENT_TEXT_BYTES_MAX`].
    pub log_lines: Vec<LogLine>,
}

impl Execution {
    /// An execution of which nothing else is known yet.
    pub(crate) fn new(function: Arc<str>, kind: FunctionKind, origin: Origin) -> Self {
        Self {
            number: 0,
            function,
            kind,
            origin,
            request: None,
            user: None,
            ts: Timestamp::MIN,
            began: Timestamp::MIN,
            elapsed: Duration::ZERO,
            error: None,
            log_lines: Vec::new(),
        }
    }

    fn text_bytes(&self) -> usize {
        let lines: usize = self.log_lines.iter().map(|line| line.text.len()).sum();
        lines + self.error.as_ref().map_or(0, String::len)
    }

    fn cut(&mut self) {
        if let Some(error) = &mut self.error {
            error.truncate(error.floor_char_boundary(RECENT_TEXT_BYTES_MAX));
        }
        let mut left =
            RECENT_TEXT_BYTES_MAX.saturating_sub(self.error.as_ref().map_or(0, String::len));
        let fits = self.log_lines.iter().take_while(|line| {
            let fits = line.text.len() <= left;
            left = left.saturating_sub(line.text.len());
            fits
        });
        let kept = fits.count();
        self.log_lines.truncate(kept);
    }
}

/// A part of what is remembered.
#[derive(Clone, Debug, Default)]
pub struct RecentPage {
    /// Oldest first.
    pub executions: Vec<Arc<Execution>>,
    /// What to give for the next page.
    pub cursor: u64,
    /// Executions after the given number that were forgotten before they were read.
    pub missed: bool,
}

#[derive(Default)]
struct State {
    next: u64,
    all: VecDeque<Arc<Execution>>,
    said: VecDeque<Arc<Execution>>,
    said_bytes: usize,
    /// The number up to which something was forgotten, of each ring.
    forgotten: u64,
    said_forgotten: u64,
}

/// The newest executions.
pub struct Recent {
    /// Most of each ring.
    kept: usize,
    state: Mutex<State>,
    news: Notify,
}

impl Recent {
    /// Remembers `kept` executions, and as many that have something to say.
    pub(crate) fn new(kept: usize) -> Self {
        Self { kept, state: Mutex::default(), news: Notify::new() }
    }

    /// Takes note of an execution.
    pub(crate) fn note(&self, mut execution: Execution) {
        let says = execution.error.is_some() || !execution.log_lines.is_empty();
        if says {
            execution.cut();
        }
        let mut state = self.state.lock();
        state.next += 1;
        execution.number = state.next;
        let execution = Arc::new(execution);
        let gone =
            if says { state.push_said(Arc::clone(&execution), self.kept) } else { Vec::new() };
        state.all.push_back(execution);
        let old = if state.all.len() > self.kept { state.all.pop_front() } else { None };
        state.forgotten = old.as_ref().map_or(state.forgotten, |old| old.number);
        drop(state);
        // What is forgotten is freed outside the lock.
        drop((gone, old));
        self.news.notify_waiters();
    }

    /// Executions after number `after`, oldest first, at most `limit`; those alone that have something
    /// to say if `said`.
    pub fn page(&self, after: u64, limit: usize, said: bool) -> RecentPage {
        let state = self.state.lock();
        let (ring, forgotten) =
            if said { (&state.said, state.said_forgotten) } else { (&state.all, state.forgotten) };
        // A number that was not given out yet is one of a process before this one.
        let (after, foreign) = if after > state.next { (0, true) } else { (after, false) };
        let first = ring.partition_point(|execution| execution.number <= after);
        let executions: Vec<_> = ring.range(first..).take(limit).cloned().collect();
        let cursor = executions.last().map_or(state.next.max(after), |last| last.number);
        RecentPage { executions, cursor, missed: foreign || forgotten > after }
    }

    /// As [`Recent::page`]; waits until there is something.
    pub async fn wait(&self, after: u64, limit: usize, said: bool) -> RecentPage {
        loop {
            let news = self.news.notified();
            let mut news = std::pin::pin!(news);
            // Before looking, so that nothing falls in between.
            news.as_mut().enable();
            let page = self.page(after, limit, said);
            if !page.executions.is_empty() || page.missed {
                return page;
            }
            news.await;
        }
    }
}

impl State {
    fn push_said(&mut self, execution: Arc<Execution>, kept: usize) -> Vec<Arc<Execution>> {
        self.said_bytes += execution.text_bytes();
        self.said.push_back(execution);
        let mut gone = Vec::new();
        while self.said.len() > kept || self.said_bytes > RECENT_SAID_BYTES_MAX {
            let Some(old) = self.said.pop_front() else { break };
            self.said_bytes -= old.text_bytes();
            self.said_forgotten = old.number;
            gone.push(old);
        }
        gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::LogLevel;

    fn quiet() -> Execution {
        Execution::new(Arc::from("m:f"), FunctionKind::Query, Origin::Client)
    }

    fn loud(bytes: usize) -> Execution {
        let line = LogLine {
            level: LogLevel::Log,
            text: "x".repeat(bytes),
            truncated: false,
            ts: Timestamp(0),
            system_code: None,
            function: None,
        };
        Execution { log_lines: vec![line.clone(), line], ..quiet() }
    }

    fn numbers(page: &RecentPage) -> Vec<u64> {
        page.executions.iter().map(|execution| execution.number).collect()
    }

    #[test]
    fn readers_go_on_where_they_were() {
        let recent = Recent::new(RECENT_MAX);
        recent.note(quiet());
        recent.note(loud(3));
        recent.note(quiet());
        let first = recent.page(0, 2, false);
        assert_eq!((numbers(&first), first.cursor, first.missed), (vec![1, 2], 2, false));
        let rest = recent.page(first.cursor, 9, false);
        assert_eq!((numbers(&rest), rest.cursor), (vec![3], 3));
        let said = recent.page(0, 9, true);
        assert_eq!((numbers(&said), said.cursor), (vec![2], 2));
        let none = recent.page(2, 9, true);
        assert_eq!((numbers(&none), none.cursor, none.missed), (vec![], 3, false));
        assert!(recent.page(99, 9, false).missed, "a number of another process");
    }

    #[test]
    fn rings_are_bounded_and_say_what_is_gone() {
        let recent = Recent::new(RECENT_MAX);
        recent.note(loud(1));
        for _ in 0..RECENT_MAX {
            recent.note(quiet());
        }
        let all = recent.page(0, usize::MAX, false);
        assert_eq!((all.executions.len(), all.missed), (RECENT_MAX, true));
        assert_eq!(numbers(&recent.page(0, 9, true)), [1], "loud ones stay");
        for _ in 0..200 {
            recent.note(loud(RECENT_TEXT_BYTES_MAX / 2));
        }
        let said = recent.page(0, usize::MAX, true);
        assert!(said.missed);
        assert_eq!(said.executions.len(), RECENT_SAID_BYTES_MAX / RECENT_TEXT_BYTES_MAX);
        recent.note(loud(RECENT_TEXT_BYTES_MAX));
        let last = recent.page(0, usize::MAX, true).executions.pop().unwrap();
        assert_eq!(last.log_lines.len(), 1, "the second line is cut");
    }

    #[test]
    fn an_operator_says_how_many_are_kept() {
        let recent = Recent::new(2);
        for _ in 0..3 {
            recent.note(quiet());
            recent.note(loud(1));
        }
        let (all, said) = (recent.page(0, 9, false), recent.page(0, 9, true));
        assert_eq!((numbers(&all), all.missed), (vec![5, 6], true));
        assert_eq!((numbers(&said), said.missed), (vec![4, 6], true));
    }

    #[tokio::test]
    async fn waiting_ends_with_news() {
        let recent = Arc::new(Recent::new(RECENT_MAX));
        let waits = tokio::spawn({
            let recent = Arc::clone(&recent);
            async move { recent.wait(0, 9, true).await }
        });
        tokio::task::yield_now().await;
        recent.note(quiet());
        tokio::task::yield_now().await;
        assert!(!waits.is_finished());
        recent.note(loud(1));
        assert_eq!(numbers(&waits.await.unwrap()), [2]);
    }
}

//! A store that fails when it is told to.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use engine::system::FIRST_USER_TABLET;
use parking_lot::Mutex;
use store::{
    AppendError, Collected, Commit, EntryWrite, IndexId, LogRow, Order, Page, Store, StoreError,
    TabletId,
};
use value::{Interval, Timestamp};

/// How the next append fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendFault {
    /// Surely nothing is written.
    NotWritten,
    /// It is written, and the caller is not told.
    UnknownWritten,
    /// It is not written, and the caller is not told.
    UnknownNotWritten,
}

#[derive(Default)]
struct Plan {
    append: Option<AppendFault>,
    /// An append had an unknown outcome, and the store was not reopened since.
    broken: bool,
    /// How many times a reopen fails before one succeeds.
    reopen_failures: u32,
    /// How many scans of user tables fail.
    scan_failures: u32,
}

/// Called before each scan of a user table.
pub type ScanHook = Rc<dyn Fn()>;

thread_local! {
    static SCAN: RefCell<Option<ScanHook>> = const { RefCell::new(None) };
}

/// Has `hook` called before each scan of a user table on this thread: where a thread that reads the
/// disk would let others in.
pub fn on_scan(hook: Option<ScanHook>) {
    SCAN.with(|scan| *scan.borrow_mut() = hook);
}

/// Another store, and what is to fail of it.
pub struct FaultStore {
    inner: Arc<dyn Store>,
    plan: Mutex<Plan>,
}

impl FaultStore {
    /// A store without faults over `inner`.
    pub fn new(inner: Arc<dyn Store>) -> Self {
        Self { inner, plan: Mutex::default() }
    }

    /// The next append fails like this.
    pub fn fail_append(&self, fault: AppendFault, reopen_failures: u32) {
        let mut plan = self.plan.lock();
        plan.append = Some(fault);
        plan.reopen_failures = reopen_failures;
    }

    /// The next scans of user tables fail.
    pub fn fail_scans(&self, times: u32) {
        self.plan.lock().scan_failures = times;
    }

    /// Nothing fails any more.
    pub fn heal(&self) {
        let broken = self.plan.lock().broken;
        *self.plan.lock() = Plan { broken, ..Plan::default() };
    }

    fn unknown() -> AppendError {
        AppendError::Unknown("the disk does not answer".to_owned())
    }
}

impl Store for FaultStore {
    fn append(&self, group: &[Commit]) -> Result<(), AppendError> {
        let mut plan = self.plan.lock();
        if plan.broken {
            return Err(AppendError::NotWritten("not reopened".to_owned()));
        }
        match plan.append.take() {
            None => self.inner.append(group),
            Some(AppendFault::NotWritten) => {
                Err(AppendError::NotWritten("the disk is full".to_owned()))
            }
            Some(AppendFault::UnknownNotWritten) => {
                plan.broken = true;
                Err(Self::unknown())
            }
            Some(AppendFault::UnknownWritten) => {
                plan.broken = true;
                self.inner.append(group)?;
                Err(Self::unknown())
            }
        }
    }

    fn backfill(&self, at: Timestamp, entries: &[EntryWrite]) -> Result<(), AppendError> {
        self.inner.backfill(at, entries)
    }

    fn scan(
        &self,
        tablet: TabletId,
        index: IndexId,
        interval: &Interval,
        at: Timestamp,
        order: Order,
        limit: usize,
    ) -> Result<Page, StoreError> {
        if tablet.0 < FIRST_USER_TABLET {
            return self.inner.scan(tablet, index, interval, at, order, limit);
        }
        let fails = {
            let mut plan = self.plan.lock();
            let fails = plan.scan_failures > 0;
            plan.scan_failures = plan.scan_failures.saturating_sub(1);
            fails
        };
        if fails {
            return Err(StoreError::Io("the disk cannot be read".to_owned()));
        }
        let hook = || SCAN.with(|scan| scan.borrow().clone());
        if let Some(hook) = hook() {
            hook();
        }
        let page = self.inner.scan(tablet, index, interval, at, order, limit);
        if let Some(hook) = hook() {
            hook();
        }
        page
    }

    fn log(&self, after: Timestamp, limit: usize) -> Result<Vec<LogRow>, StoreError> {
        self.inner.log(after, limit)
    }

    fn head(&self) -> Result<Timestamp, StoreError> {
        self.inner.head()
    }

    fn reserve(&self, up_to: Timestamp) -> Result<(), StoreError> {
        self.inner.reserve(up_to)
    }

    fn counts(&self) -> Result<BTreeMap<TabletId, u64>, StoreError> {
        self.inner.counts()
    }

    fn global(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.inner.global(key)
    }

    fn set_global(&self, key: &str, value: &[u8]) -> Result<(), StoreError> {
        self.inner.set_global(key, value)
    }

    fn collect(&self, horizon: Timestamp, budget: usize) -> Result<Collected, StoreError> {
        self.inner.collect(horizon, budget)
    }

    fn drop_index(&self, index: IndexId, budget: usize) -> Result<Collected, StoreError> {
        self.inner.drop_index(index, budget)
    }

    fn drop_tablet(&self, tablet: TabletId, budget: usize) -> Result<Collected, StoreError> {
        self.inner.drop_tablet(tablet, budget)
    }

    fn reopen(&self) -> Result<(), StoreError> {
        let mut plan = self.plan.lock();
        if plan.reopen_failures > 0 {
            plan.reopen_failures -= 1;
            return Err(StoreError::Io("the disk is away".to_owned()));
        }
        plan.broken = false;
        self.inner.reopen()
    }

    fn size_bytes(&self) -> Result<u64, StoreError> {
        self.inner.size_bytes()
    }
}

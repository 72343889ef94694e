//! A disk in memory that keeps only what was synced.
//!
//! Each file has a durable image, and the operations since its last sync. Reads see both. When the
//! power goes, any subset of the operations may have reached the durable image, and a write may
//! have reached it in part, sector by sector.

use std::collections::BTreeMap;

/// The unit that a disk writes whole.
pub(crate) const SECTOR_BYTES: usize = 512;

/// A small generator of seeded random numbers (splitmix64).
#[derive(Clone)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// Why an operation failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// There is no power, or the operation was made to fail.
    Broken,
    /// No space is left; a part may be written.
    Full,
}

enum Pending {
    Write { at: usize, bytes: Vec<u8> },
    Truncate(usize),
}

#[derive(Default)]
struct File {
    durable: Vec<u8>,
    current: Vec<u8>,
    pending: Vec<Pending>,
    /// Its name is durable: it was synced once.
    linked: bool,
}

pub(crate) struct Disk {
    files: BTreeMap<String, File>,
    pub(crate) random: Random,
    /// Operations that still succeed before the power goes.
    cut_after: Option<u64>,
    dark: bool,
    /// Bytes that all files may have together.
    pub(crate) capacity: Option<usize>,
    /// Syncs answer at once and do nothing, like a drive that lies.
    pub(crate) ignore_syncs: bool,
    /// So many of the next syncs fail.
    pub(crate) failing_syncs: u64,
}

impl Disk {
    pub(crate) fn new(seed: u64) -> Disk {
        Disk {
            files: BTreeMap::new(),
            random: Random(seed),
            cut_after: None,
            dark: false,
            capacity: None,
            ignore_syncs: false,
            failing_syncs: 0,
        }
    }

    /// The power goes after so many more operations.
    pub(crate) fn cut_power_after(&mut self, operations: u64) {
        self.cut_after = Some(operations);
    }

    /// The power goes now if it did not before, and comes back. What was not synced may be gone.
    pub(crate) fn power_cycle(&mut self) {
        (self.dark, self.cut_after) = (false, None);
        let taste = self.random.below(4);
        let random = &mut self.random;
        self.files.retain(|_, file| file.lose(taste, random));
    }

    pub(crate) fn bytes(&self) -> usize {
        self.files.values().map(|file| file.current.len()).sum()
    }

    pub(crate) fn open(&mut self, name: &str) -> Result<(), Fault> {
        self.powered()?;
        self.files.entry(name.to_owned()).or_default();
        Ok(())
    }

    pub(crate) fn exists(&self, name: &str) -> bool {
        self.files.contains_key(name)
    }

    pub(crate) fn delete(&mut self, name: &str) -> Result<(), Fault> {
        self.operate()?;
        self.files.remove(name);
        Ok(())
    }

    /// Fills what there is; says how many bytes those were.
    pub(crate) fn read(&self, name: &str, at: usize, into: &mut [u8]) -> Result<usize, Fault> {
        self.powered()?;
        let bytes = &self.file(name)?.current;
        let from = &bytes[at.min(bytes.len())..(at + into.len()).min(bytes.len())];
        into[..from.len()].copy_from_slice(from);
        Ok(from.len())
    }

    pub(crate) fn write(&mut self, name: &str, at: usize, bytes: &[u8]) -> Result<(), Fault> {
        self.powered()?;
        // The write that the power cut meets fails, yet may be on disk.
        let outcome = self.operate();
        let room = match self.capacity {
            Some(capacity) => self.length_of(name) + capacity.saturating_sub(self.bytes()),
            None => usize::MAX,
        };
        let fitting = room.saturating_sub(at).min(bytes.len());
        let file = self.files.get_mut(name).ok_or(Fault::Broken)?;
        if fitting > 0 {
            put(&mut file.current, at, &bytes[..fitting]);
            file.pending.push(Pending::Write { at, bytes: bytes[..fitting].to_vec() });
        }
        outcome?;
        if fitting < bytes.len() { Err(Fault::Full) } else { Ok(()) }
    }

    pub(crate) fn truncate(&mut self, name: &str, length: usize) -> Result<(), Fault> {
        self.operate()?;
        let file = self.files.get_mut(name).ok_or(Fault::Broken)?;
        file.current.resize(length, 0);
        file.pending.push(Pending::Truncate(length));
        Ok(())
    }

    pub(crate) fn sync(&mut self, name: &str) -> Result<(), Fault> {
        self.operate()?;
        if self.failing_syncs > 0 {
            self.failing_syncs -= 1;
            return Err(Fault::Broken);
        }
        if self.ignore_syncs {
            return Ok(());
        }
        let file = self.files.get_mut(name).ok_or(Fault::Broken)?;
        for operation in file.pending.drain(..) {
            operation.apply(&mut file.durable);
        }
        file.linked = true;
        Ok(())
    }

    pub(crate) fn length(&self, name: &str) -> Result<usize, Fault> {
        self.powered()?;
        Ok(self.file(name)?.current.len())
    }

    fn length_of(&self, name: &str) -> usize {
        self.files.get(name).map_or(0, |file| file.current.len())
    }

    fn file(&self, name: &str) -> Result<&File, Fault> {
        self.files.get(name).ok_or(Fault::Broken)
    }

    fn powered(&self) -> Result<(), Fault> {
        if self.dark { Err(Fault::Broken) } else { Ok(()) }
    }

    /// Counts an operation that changes something.
    fn operate(&mut self) -> Result<(), Fault> {
        self.powered()?;
        match &mut self.cut_after {
            Some(0) => {
                self.dark = true;
                Err(Fault::Broken)
            }
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

impl File {
    /// What a power cut leaves of a file. False: not even its name.
    fn lose(&mut self, taste: u64, random: &mut Random) -> bool {
        for operation in std::mem::take(&mut self.pending) {
            match taste {
                // All is lost, or all was just in time.
                0 => {}
                1 => operation.apply(&mut self.durable),
                // Some operations reached the disk, in any order, and some in part.
                _ => match random.below(3) {
                    0 => {}
                    1 => operation.apply(&mut self.durable),
                    _ => operation.tear(&mut self.durable, random),
                },
            }
        }
        self.current = self.durable.clone();
        let named = self.linked || random.below(2) == 0;
        self.linked = named;
        named
    }
}

impl Pending {
    fn apply(&self, image: &mut Vec<u8>) {
        match self {
            Pending::Write { at, bytes } => put(image, *at, bytes),
            Pending::Truncate(length) => image.resize(*length, 0),
        }
    }

    fn tear(&self, image: &mut Vec<u8>, random: &mut Random) {
        match self {
            Pending::Write { at, bytes } => {
                let mut from = 0;
                while from < bytes.len() {
                    // Up to the next border of sectors on disk.
                    let to = from + SECTOR_BYTES - (at + from) % SECTOR_BYTES;
                    let to = to.min(bytes.len());
                    if random.below(2) == 0 {
                        put(image, at + from, &bytes[from..to]);
                    }
                    from = to;
                }
            }
            Pending::Truncate(_) => {}
        }
    }
}

fn put(image: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    if image.len() < at + bytes.len() {
        image.resize(at + bytes.len(), 0);
    }
    image[at..at + bytes.len()].copy_from_slice(bytes);
}

//! The memory of one engine: one fixed stretch of addresses, with the allocator's state inside.
//!
//!     ┌ Head ┬ blocks ─────────────► top ┐ ... reserved, committed when touched ... ┐
//!
//! Copying `[0, top)` aside and back again brings everything to the state of the copy, since the
//! engine keeps its state nowhere else. Blocks come in size classes, four to a doubling; a freed
//! block waits in the list of its class. The block at the top grows in place.

use std::ffi::c_void;
use std::ptr::{null_mut, write_bytes};

use rquickjs_sys::JSMallocFunctions;

/// Addresses reserved for one engine. Pages that are never touched cost nothing.
pub(crate) const ARENA_BYTES: usize = 512 << 20;
/// Every block begins with its class and stands on a boundary of so many bytes.
const ALIGN: usize = 16;
/// Four classes to a doubling, from 16 bytes up to the whole arena.
const CLASSES: usize = 4 * 26;

/// One stretch of addresses. Not moved, not shared between threads.
pub(crate) struct Arena {
    base: *mut u8,
}

/// The allocator's state, at the beginning of its arena.
#[repr(C, align(16))]
struct Head {
    /// Bytes in use, from the beginning of the arena.
    top: usize,
    /// Bytes in blocks that are held now.
    live: usize,
    /// What `live` may not exceed.
    live_max: usize,
    /// Whether an allocation was refused since this was asked last.
    refused: bool,
    /// Freed blocks of each class.
    free: [*mut Block; CLASSES],
}

/// What stands before each block.
#[repr(C, align(16))]
struct Block {
    class: usize,
    /// The next one in the list of freed ones.
    next: *mut Block,
}

const HEADER: usize = size_of::<Block>();

impl Arena {
    /// An empty arena. None: the system has no addresses left.
    #[expect(unsafe_code, reason = "memory comes from the system")]
    pub(crate) fn new(live_max: usize) -> Option<Arena> {
        // SAFETY: a fresh private mapping without a wish for its place.
        let base = unsafe {
            libc::mmap(
                null_mut(),
                ARENA_BYTES,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return None;
        }
        let arena = Arena { base: base.cast() };
        // SAFETY: the mapping is larger than the head, zeroed, and nobody else knows it.
        unsafe {
            (*arena.head()).top = size_of::<Head>().next_multiple_of(ALIGN);
            (*arena.head()).live_max = live_max;
        }
        Some(arena)
    }

    /// What the engine is to allocate with. The opaque pointer is `self.opaque()`.
    pub(crate) fn functions() -> JSMallocFunctions {
        JSMallocFunctions {
            js_calloc: Some(js_calloc),
            js_malloc: Some(js_malloc),
            js_free: Some(js_free),
            js_realloc: Some(js_realloc),
            js_malloc_usable_size: Some(js_usable_size),
        }
    }

    pub(crate) fn opaque(&self) -> *mut c_void {
        self.base.cast()
    }

    /// Bytes from the beginning to the end of the highest block.
    #[expect(unsafe_code, reason = "the head is in the arena")]
    pub(crate) fn used(&self) -> usize {
        // SAFETY: the head lives as long as the arena, and nothing holds a reference to it.
        unsafe { (*self.head()).top }
    }

    /// Whether memory was refused since the last question.
    #[expect(unsafe_code, reason = "the head is in the arena")]
    pub(crate) fn take_refused(&self) -> bool {
        // SAFETY: as in `used`.
        unsafe { std::mem::take(&mut (*self.head()).refused) }
    }

    /// A copy of everything in use.
    #[expect(unsafe_code, reason = "reads the arena")]
    pub(crate) fn copy(&self) -> Box<[u8]> {
        // SAFETY: [0, top) is mapped, and no code of the engine runs meanwhile.
        unsafe { std::slice::from_raw_parts(self.base, self.used()) }.into()
    }

    /// Brings the arena to the state of `copy`, which was made of it, and gives memory above it back
    /// to the system where there is much.
    #[expect(unsafe_code, reason = "writes the arena")]
    pub(crate) fn restore(&mut self, copy: &[u8]) {
        let used = self.used();
        let kept = copy.len().next_multiple_of(PAGE) + KEPT_ABOVE;
        // SAFETY: `copy` is no longer than the arena; no code of the engine runs meanwhile. What lies
        // above it is unused afterwards.
        unsafe {
            self.base.copy_from_nonoverlapping(copy.as_ptr(), copy.len());
            if used > kept {
                libc::madvise(self.base.add(kept).cast(), used - kept, libc::MADV_DONTNEED);
            }
        }
    }

    fn head(&self) -> *mut Head {
        self.base.cast()
    }
}

const PAGE: usize = 4096;
/// Memory above an image that a call may leave committed.
const KEPT_ABOVE: usize = 1 << 20;

impl Drop for Arena {
    #[expect(unsafe_code, reason = "memory goes back to the system")]
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `new`; the engine in it is not used after its arena.
        unsafe { libc::munmap(self.base.cast(), ARENA_BYTES) };
    }
}

/// The class whose blocks hold `size` bytes; None: more than an arena.
fn class_of(size: usize) -> Option<usize> {
    let size = size.max(ALIGN);
    if size > ARENA_BYTES / 2 {
        return None;
    }
    // Doublings above 16, then quarters of the doubling.
    let log = (size - 1).ilog2().max(3) as usize;
    let step = 1 << log >> 2;
    let quarter = (size - 1 - (1 << log).min(size - 1)) / step.max(1);
    Some((log - 3) * 4 + quarter.min(3))
}

/// Bytes of a block of a class.
fn bytes_of(class: usize) -> usize {
    let log = class / 4 + 3;
    let step = 1 << log >> 2;
    ((1 << log) + (class % 4 + 1) * step).next_multiple_of(ALIGN)
}

/// Takes a block. Null: there is no memory for it.
#[expect(unsafe_code, reason = "hands out memory of the arena")]
unsafe fn take(head: *mut Head, size: usize) -> *mut c_void {
    // SAFETY: `head` is the head of a mapped arena, used by this thread alone; blocks in the lists
    // were made here, and the new one lies below the arena's end.
    unsafe {
        let Some(class) = class_of(size) else {
            (*head).refused = true;
            return null_mut();
        };
        let bytes = bytes_of(class);
        if (*head).live + bytes > (*head).live_max {
            (*head).refused = true;
            return null_mut();
        }
        let listed = (*head).free[class];
        let block = if listed.is_null() {
            let end = (*head).top + HEADER + bytes;
            if end > ARENA_BYTES {
                (*head).refused = true;
                return null_mut();
            }
            let block: *mut Block = head.cast::<u8>().add((*head).top).cast();
            (*head).top = end;
            block
        } else {
            (*head).free[class] = (*listed).next;
            listed
        };
        (*block).class = class;
        (*head).live += bytes;
        block.cast::<u8>().add(HEADER).cast()
    }
}

#[expect(unsafe_code, reason = "called by the engine")]
unsafe extern "C" fn js_malloc(opaque: *mut c_void, size: u64) -> *mut c_void {
    // SAFETY: the engine passes what `opaque` gave.
    unsafe { take(opaque.cast(), size as usize) }
}

#[expect(unsafe_code, reason = "called by the engine")]
unsafe extern "C" fn js_calloc(opaque: *mut c_void, count: u64, size: u64) -> *mut c_void {
    let Some(bytes) = (count as usize).checked_mul(size as usize) else { return null_mut() };
    // SAFETY: as above; the block has room for `bytes`.
    unsafe {
        let block = take(opaque.cast(), bytes);
        if !block.is_null() {
            write_bytes(block.cast::<u8>(), 0, bytes);
        }
        block
    }
}

#[expect(unsafe_code, reason = "called by the engine")]
unsafe extern "C" fn js_free(opaque: *mut c_void, pointer: *mut c_void) {
    if pointer.is_null() {
        return;
    }
    let head: *mut Head = opaque.cast();
    // SAFETY: the pointer came from `take`, so its block stands right before it.
    unsafe {
        let block: *mut Block = pointer.cast::<u8>().sub(HEADER).cast();
        let class = (*block).class;
        (*head).live -= bytes_of(class);
        (*block).next = (*head).free[class];
        (*head).free[class] = block;
    }
}

#[expect(unsafe_code, reason = "called by the engine")]
unsafe extern "C" fn js_realloc(
    opaque: *mut c_void,
    pointer: *mut c_void,
    size: u64,
) -> *mut c_void {
    let size = size as usize;
    if pointer.is_null() {
        // SAFETY: as in `js_malloc`.
        return unsafe { take(opaque.cast(), size) };
    }
    let head: *mut Head = opaque.cast();
    // SAFETY: the pointer came from `take`; blocks do not overlap; the block at the top may grow into
    // what is unused above it.
    unsafe {
        let block: *mut Block = pointer.cast::<u8>().sub(HEADER).cast();
        let old = bytes_of((*block).class);
        if size <= old {
            return pointer;
        }
        let at = block.cast::<u8>().offset_from(head.cast::<u8>()) as usize;
        if let Some(class) = class_of(size)
            && at + HEADER + old == (*head).top
        {
            let bytes = bytes_of(class);
            if at + HEADER + bytes <= ARENA_BYTES && (*head).live - old + bytes <= (*head).live_max
            {
                (*head).top = at + HEADER + bytes;
                (*head).live += bytes - old;
                (*block).class = class;
                return pointer;
            }
        }
        let moved = take(head, size);
        if !moved.is_null() {
            moved.cast::<u8>().copy_from_nonoverlapping(pointer.cast::<u8>(), old);
            js_free(opaque, pointer);
        }
        moved
    }
}

#[expect(unsafe_code, reason = "called by the engine")]
unsafe extern "C" fn js_usable_size(pointer: *const c_void) -> u64 {
    if pointer.is_null() {
        return 0;
    }
    // SAFETY: the pointer came from `take`.
    unsafe { bytes_of((*pointer.cast::<u8>().sub(HEADER).cast::<Block>()).class) as u64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_hold_what_they_are_asked_for_and_not_much_more() {
        let mut last = 0;
        for size in (1..100_000).chain([1 << 20, (1 << 20) + 1, ARENA_BYTES / 2]) {
            let class = class_of(size).unwrap();
            let bytes = bytes_of(class);
            assert!(bytes >= size, "{size} does not fit {bytes} of class {class}");
            assert!(bytes <= (size + size / 4).next_multiple_of(ALIGN) + ALIGN, "{size}: {bytes}");
            assert!(class < CLASSES && (size > 100_000 || class >= last));
            last = class;
        }
        assert_eq!(class_of(ARENA_BYTES), None);
    }

    #[test]
    #[expect(unsafe_code, reason = "calls what the engine calls")]
    fn blocks_keep_their_bytes_and_a_copy_brings_them_back() {
        let mut arena = Arena::new(1 << 20).unwrap();
        let opaque = arena.opaque();
        // SAFETY: pointers are used as the engine would use them.
        unsafe {
            let a = js_calloc(opaque, 10, 10).cast::<u8>();
            assert!((0..100).all(|n| *a.add(n) == 0));
            *a = 7;
            let b = js_realloc(opaque, a.cast(), 5000).cast::<u8>();
            assert_eq!(*b, 7);
            let copy = arena.copy();
            *b = 9;
            js_free(opaque, b.cast());
            let c = js_malloc(opaque, 5000).cast::<u8>();
            assert_eq!(c, b, "a freed block is used again");
            arena.restore(&copy);
            assert_eq!(*b, 7);
            assert!(js_malloc(opaque, 2 << 20).is_null());
            assert!(arena.take_refused() && !arena.take_refused());
        }
    }
}

//! The failing disk as a file layer of SQLite.
//!
//! Version 1 of the file methods: no shared memory, no mapping. So a store over it must be opened
//! with `exclusive` and without readers.
#![expect(unsafe_code, reason = "SQLite takes a file layer only as C functions over raw pointers")]

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use rusqlite::ffi;

use crate::disk::{Disk, Fault, SECTOR_BYTES};

/// Longest path in bytes, with the closing zero.
const PATH_BYTES_MAX: c_int = 1024;

/// A registered file layer over a disk.
pub(crate) struct Layer {
    name: String,
    disk: Arc<Mutex<Disk>>,
    vfs: Box<ffi::sqlite3_vfs>,
    _c_name: CString,
}

impl Layer {
    /// Registers a file layer under a fresh name.
    pub(crate) fn new(disk: Disk) -> Layer {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let name = format!("failing-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let c_name = CString::new(name.clone()).unwrap();
        let disk = Arc::new(Mutex::new(disk));
        let mut vfs = Box::new(ffi::sqlite3_vfs {
            iVersion: 1,
            szOsFile: size_of::<OpenFile>() as c_int,
            mxPathname: PATH_BYTES_MAX,
            pNext: std::ptr::null_mut(),
            zName: c_name.as_ptr(),
            pAppData: Arc::as_ptr(&disk).cast_mut().cast::<c_void>(),
            xOpen: Some(x_open),
            xDelete: Some(x_delete),
            xAccess: Some(x_access),
            xFullPathname: Some(x_full_pathname),
            xDlOpen: None,
            xDlError: None,
            xDlSym: None,
            xDlClose: None,
            xRandomness: Some(x_randomness),
            xSleep: Some(x_sleep),
            xCurrentTime: Some(x_current_time),
            xGetLastError: None,
            xCurrentTimeInt64: None,
            xSetSystemCall: None,
            xGetSystemCall: None,
            xNextSystemCall: None,
        });
        // SAFETY: the structure and what it points to live until `drop` takes the layer away.
        let code = unsafe { ffi::sqlite3_vfs_register(&raw mut *vfs, 0) };
        assert_eq!(code, ffi::SQLITE_OK);
        Layer { name, disk, vfs, _c_name: c_name }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap()
    }
}

impl Drop for Layer {
    fn drop(&mut self) {
        // SAFETY: it was registered by `new`; tests close their connections before.
        unsafe { ffi::sqlite3_vfs_unregister(&raw mut *self.vfs) };
    }
}

/// SQLite allocates this and knows only its first field.
#[repr(C)]
struct OpenFile {
    base: ffi::sqlite3_file,
    disk: *const Mutex<Disk>,
    /// From `CString::into_raw`.
    name: *mut c_char,
}

static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 1,
    xClose: Some(x_close),
    xRead: Some(x_read),
    xWrite: Some(x_write),
    xTruncate: Some(x_truncate),
    xSync: Some(x_sync),
    xFileSize: Some(x_file_size),
    xLock: Some(x_lock),
    xUnlock: Some(x_lock),
    xCheckReservedLock: Some(x_check_reserved_lock),
    xFileControl: Some(x_file_control),
    xSectorSize: Some(x_sector_size),
    xDeviceCharacteristics: Some(x_device_characteristics),
    xShmMap: None,
    xShmLock: None,
    xShmBarrier: None,
    xShmUnmap: None,
    xFetch: None,
    xUnfetch: None,
};

fn code(outcome: Result<(), Fault>, broken: c_int) -> c_int {
    match outcome {
        Ok(()) => ffi::SQLITE_OK,
        Err(Fault::Broken) => broken,
        Err(Fault::Full) => ffi::SQLITE_FULL,
    }
}

/// SAFETY: `vfs` is one of ours.
unsafe fn disk_of<'a>(vfs: *mut ffi::sqlite3_vfs) -> MutexGuard<'a, Disk> {
    unsafe { (*(*vfs).pAppData.cast::<Mutex<Disk>>()).lock().unwrap() }
}

/// SAFETY: `file` was opened by `x_open`.
unsafe fn file_of<'a>(file: *mut ffi::sqlite3_file) -> (MutexGuard<'a, Disk>, &'a str) {
    unsafe {
        let file = &*file.cast::<OpenFile>();
        ((*file.disk).lock().unwrap(), text(file.name))
    }
}

/// SAFETY: a string that ends with zero.
unsafe fn text<'a>(name: *const c_char) -> &'a str {
    unsafe { CStr::from_ptr(name) }.to_str().unwrap()
}

unsafe extern "C" fn x_open(
    vfs: *mut ffi::sqlite3_vfs,
    name: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    // SAFETY: SQLite passes a file of `szOsFile` bytes, and names that end with zero or none.
    unsafe {
        let open = file.cast::<OpenFile>();
        (*open).base.pMethods = std::ptr::null();
        // Files without a name would be temporary ones, which stay in memory.
        if name.is_null() {
            return ffi::SQLITE_CANTOPEN;
        }
        if disk_of(vfs).open(text(name)).is_err() {
            return ffi::SQLITE_CANTOPEN;
        }
        (*open).disk = (*vfs).pAppData.cast();
        (*open).name = CStr::from_ptr(name).to_owned().into_raw();
        (*open).base.pMethods = &raw const METHODS;
        if !out_flags.is_null() {
            *out_flags = flags;
        }
        ffi::SQLITE_OK
    }
}

unsafe extern "C" fn x_delete(
    vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    _sync_folder: c_int,
) -> c_int {
    // SAFETY: as in `x_open`.
    unsafe { code(disk_of(vfs).delete(text(name)), ffi::SQLITE_IOERR_DELETE) }
}

unsafe extern "C" fn x_access(
    vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    _flags: c_int,
    answer: *mut c_int,
) -> c_int {
    // SAFETY: as in `x_open`; `answer` can be written.
    unsafe { *answer = c_int::from(disk_of(vfs).exists(text(name))) };
    ffi::SQLITE_OK
}

unsafe extern "C" fn x_full_pathname(
    _vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    room: c_int,
    out: *mut c_char,
) -> c_int {
    // SAFETY: `out` has `room` bytes.
    unsafe {
        let bytes = CStr::from_ptr(name).to_bytes_with_nul();
        if bytes.len() > room as usize {
            return ffi::SQLITE_CANTOPEN;
        }
        out.copy_from_nonoverlapping(bytes.as_ptr().cast(), bytes.len());
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn x_randomness(
    vfs: *mut ffi::sqlite3_vfs,
    length: c_int,
    out: *mut c_char,
) -> c_int {
    // SAFETY: `out` has `length` bytes.
    unsafe {
        let bytes = std::slice::from_raw_parts_mut(out.cast::<u8>(), length as usize);
        let mut disk = disk_of(vfs);
        bytes.fill_with(|| disk.random.next() as u8);
    }
    length
}

unsafe extern "C" fn x_sleep(_vfs: *mut ffi::sqlite3_vfs, microseconds: c_int) -> c_int {
    microseconds
}

unsafe extern "C" fn x_current_time(_vfs: *mut ffi::sqlite3_vfs, out: *mut f64) -> c_int {
    // SAFETY: `out` can be written. The day is of no matter.
    unsafe { *out = 2_460_000.5 };
    ffi::SQLITE_OK
}

unsafe extern "C" fn x_close(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: opened by `x_open`, closed once.
    unsafe { drop(CString::from_raw((*file.cast::<OpenFile>()).name)) };
    ffi::SQLITE_OK
}

unsafe extern "C" fn x_read(
    file: *mut ffi::sqlite3_file,
    out: *mut c_void,
    length: c_int,
    at: ffi::sqlite3_int64,
) -> c_int {
    // SAFETY: `out` has `length` bytes.
    unsafe {
        let bytes = std::slice::from_raw_parts_mut(out.cast::<u8>(), length as usize);
        let (disk, name) = file_of(file);
        match disk.read(name, at as usize, bytes) {
            Ok(read) if read == bytes.len() => ffi::SQLITE_OK,
            Ok(read) => {
                bytes[read..].fill(0);
                ffi::SQLITE_IOERR_SHORT_READ
            }
            Err(_) => ffi::SQLITE_IOERR_READ,
        }
    }
}

unsafe extern "C" fn x_write(
    file: *mut ffi::sqlite3_file,
    from: *const c_void,
    length: c_int,
    at: ffi::sqlite3_int64,
) -> c_int {
    // SAFETY: `from` has `length` bytes.
    unsafe {
        let bytes = std::slice::from_raw_parts(from.cast::<u8>(), length as usize);
        let (mut disk, name) = file_of(file);
        code(disk.write(name, at as usize, bytes), ffi::SQLITE_IOERR_WRITE)
    }
}

unsafe extern "C" fn x_truncate(file: *mut ffi::sqlite3_file, length: ffi::sqlite3_int64) -> c_int {
    // SAFETY: opened by `x_open`.
    unsafe {
        let (mut disk, name) = file_of(file);
        code(disk.truncate(name, length as usize), ffi::SQLITE_IOERR_TRUNCATE)
    }
}

unsafe extern "C" fn x_sync(file: *mut ffi::sqlite3_file, _flags: c_int) -> c_int {
    // SAFETY: opened by `x_open`.
    unsafe {
        let (mut disk, name) = file_of(file);
        code(disk.sync(name), ffi::SQLITE_IOERR_FSYNC)
    }
}

unsafe extern "C" fn x_file_size(
    file: *mut ffi::sqlite3_file,
    out: *mut ffi::sqlite3_int64,
) -> c_int {
    // SAFETY: opened by `x_open`; `out` can be written.
    unsafe {
        let (disk, name) = file_of(file);
        match disk.length(name) {
            Ok(length) => {
                *out = length as ffi::sqlite3_int64;
                ffi::SQLITE_OK
            }
            Err(_) => ffi::SQLITE_IOERR_FSTAT,
        }
    }
}

/// One connection alone needs no locks.
unsafe extern "C" fn x_lock(_file: *mut ffi::sqlite3_file, _level: c_int) -> c_int {
    ffi::SQLITE_OK
}

unsafe extern "C" fn x_check_reserved_lock(
    _file: *mut ffi::sqlite3_file,
    out: *mut c_int,
) -> c_int {
    // SAFETY: `out` can be written.
    unsafe { *out = 0 };
    ffi::SQLITE_OK
}

unsafe extern "C" fn x_file_control(
    _file: *mut ffi::sqlite3_file,
    _operation: c_int,
    _argument: *mut c_void,
) -> c_int {
    ffi::SQLITE_NOTFOUND
}

unsafe extern "C" fn x_sector_size(_file: *mut ffi::sqlite3_file) -> c_int {
    SECTOR_BYTES as c_int
}

/// As the default layer on Unix says: a write never harms bytes beside it.
unsafe extern "C" fn x_device_characteristics(_file: *mut ffi::sqlite3_file) -> c_int {
    ffi::SQLITE_IOCAP_POWERSAFE_OVERWRITE
}

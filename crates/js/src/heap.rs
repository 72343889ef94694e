//! One engine: a runtime with one realm in an arena of its own, and the only door to its C interface.
//!
//!     Heap::new ─► run script, import module ─► freeze (an image) ─► call, jobs ... ─► thaw ─► call ...
//!
//! What is inside talks to the outside through one function, `host(name, text)`, which gives a text, a
//! number or nothing. No Rust value is reachable from the arena: so an image is only bytes, and
//! thawing it undoes whatever a call did. A heap stays on the thread that made it.
//!
//! May not know functions, values or requests. All unsafe code of this crate is in here.

mod arena;

use std::cell::{Cell, RefCell};
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr::null_mut;
use std::time::Duration;

use rquickjs_sys as qjs;

use arena::Arena;

/// Stack that JavaScript may use, where its thread has so much left.
pub const STACK_BYTES_MAX: usize = 12 << 20;
/// Stack that stays free for what the host does below JavaScript.
const STACK_BYTES_KEPT: usize = 512 << 10;

/// What a host function gives back.
#[derive(Debug)]
pub enum Reply {
    /// A string.
    Text(String),
    /// A number.
    Number(f64),
    /// `null`.
    Null,
    /// Throws an `Error` with this message, which the caller may catch.
    Throw(String),
    /// Ends the call; nothing in it can prevent that.
    Stop(Stop),
}

/// Why a call was ended from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// It ran longer than it may.
    Time,
    /// It needed more memory than it may.
    Memory,
    /// The host refused to go on.
    Host(String),
}

/// What is outside of the heap, for one call.
pub trait Host {
    /// Answers `host(name, text)`.
    fn call(&mut self, name: &str, text: &str) -> Reply;

    /// A clock that only goes forward; it measures how long JavaScript runs.
    fn elapsed(&self) -> Duration;
}

/// Gives modules to a heap that imports.
pub trait Modules {
    /// The compiled form of the module, by its canonical name; None: there is none.
    fn bytecode(&self, name: &str) -> Option<&[u8]>;
}

/// Why something in the heap did not end well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failed {
    /// An exception; the text is `name: message` and the stack, if it has one.
    Thrown {
        /// The thrown value as a text.
        message: String,
        /// Frames, a line each.
        stack: String,
    },
    /// Ended from outside.
    Stopped(Stop),
}

/// The engine. Freed with its arena, as a whole.
pub struct Heap {
    runtime: *mut qjs::JSRuntime,
    context: *mut qjs::JSContext,
    arena: Arena,
    /// Outside the arena, known to the engine by its address.
    outside: Box<Outside>,
    image: Option<Box<[u8]>>,
}

/// What the callbacks of the engine find.
struct Outside {
    host: Cell<Option<*mut dyn Host>>,
    modules: Cell<Option<*const dyn Modules>>,
    arena: Cell<*const Arena>,
    /// Imports are met, and not followed.
    compiling: Cell<bool>,
    /// When the running JavaScript must end, by the host's clock.
    deadline: Cell<Duration>,
    stopped: Cell<Option<Stop>>,
    /// Rejected promises that nobody handles yet, by address, with their reasons.
    unhandled: RefCell<Vec<(usize, qjs::JSValue)>>,
}

/// A function of the realm, found once. Good until its heap is thawed from an image made before it.
#[derive(Clone, Copy)]
pub struct Handle(qjs::JSValue);

impl Heap {
    /// An empty realm whose JavaScript may hold `memory_max` bytes. None: no memory for it.
    #[expect(unsafe_code, reason = "makes the engine")]
    pub fn new(memory_max: usize) -> Option<Heap> {
        let arena = Arena::new(memory_max)?;
        let outside = Box::new(Outside {
            host: Cell::new(None),
            modules: Cell::new(None),
            arena: Cell::new(std::ptr::null()),
            compiling: Cell::new(false),
            deadline: Cell::new(Duration::MAX),
            stopped: Cell::new(None),
            unhandled: RefCell::default(),
        });
        // SAFETY: the arena outlives the runtime, which is never used after it; `outside` has a fixed
        // address and lives as long as the heap.
        let (runtime, context) = unsafe {
            let functions = Arena::functions();
            let runtime = qjs::JS_NewRuntime2(&raw const functions, arena.opaque());
            if runtime.is_null() {
                return None;
            }
            let opaque: *mut c_void = (&raw const *outside).cast_mut().cast();
            qjs::JS_SetRuntimeOpaque(runtime, opaque);
            qjs::JS_SetCanBlock(runtime, false);
            qjs::JS_SetInterruptHandler(runtime, Some(interrupt), opaque);
            qjs::JS_SetHostPromiseRejectionTracker(runtime, Some(rejection), opaque);
            qjs::JS_SetModuleLoaderFunc(runtime, None, Some(load_module), opaque);
            let context = qjs::JS_NewContext(runtime);
            if context.is_null() {
                return None;
            }
            let global = qjs::JS_GetGlobalObject(context);
            let host = qjs::JS_NewCFunction2(
                context,
                Some(host_call),
                c"host".as_ptr(),
                2,
                qjs::JSCFunctionEnum_JS_CFUNC_generic,
                0,
            );
            qjs::JS_SetPropertyStr(context, global, c"host".as_ptr(), host);
            qjs::JS_FreeValue(context, global);
            (runtime, context)
        };
        Some(Heap { runtime, context, arena, outside, image: None })
    }

    /// Compiles a script or module to bytecode; what a module imports is not looked at.
    ///
    /// Leaves traces of the module in the realm: compile in a heap of its own.
    /// Errors: `Thrown`: it does not parse.
    #[expect(unsafe_code, reason = "calls the engine")]
    pub fn compile(&mut self, name: &str, source: &str, module: bool) -> Result<Vec<u8>, Failed> {
        let (name, source) = (c_string(name), c_string(source));
        let kind = if module { qjs::JS_EVAL_TYPE_MODULE } else { qjs::JS_EVAL_TYPE_GLOBAL };
        let flags = (kind | qjs::JS_EVAL_FLAG_COMPILE_ONLY) as c_int;
        self.measure_stack();
        // SAFETY: both texts end with NUL, and the length leaves it out; the bytes that the engine
        // wrote are copied before they are freed.
        unsafe {
            let length = source.as_bytes().len();
            self.outside.compiling.set(true);
            let value =
                qjs::JS_Eval(self.context, source.as_ptr(), length as _, name.as_ptr(), flags);
            self.outside.compiling.set(false);
            if qjs::JS_IsException(value) {
                return Err(self.failure());
            }
            let mut size = 0;
            let flags = qjs::JS_WRITE_OBJ_BYTECODE as c_int;
            let bytes = qjs::JS_WriteObject(self.context, &raw mut size, value, flags);
            qjs::JS_FreeValue(self.context, value);
            if bytes.is_null() {
                return Err(self.failure());
            }
            let copy = std::slice::from_raw_parts(bytes, size as usize).to_vec();
            qjs::js_free(self.context, bytes.cast());
            Ok(copy)
        }
    }

    /// Runs a compiled script in the realm.
    pub fn run(&mut self, script: &[u8], host: &mut dyn Host) -> Result<(), Failed> {
        self.enter(host, Duration::MAX, |heap| {
            let value = heap.evaluate(script)?;
            heap.free(value);
            Ok(())
        })
    }

    /// Imports a module and everything it imports, and gives its namespace to the function `taker`.
    ///
    /// Errors: `Thrown` by a module while it is evaluated, or because one is missing.
    #[expect(unsafe_code, reason = "calls the engine")]
    pub fn import(
        &mut self,
        name: &str,
        taker: Handle,
        modules: &dyn Modules,
        host: &mut dyn Host,
        time: Duration,
    ) -> Result<(), Failed> {
        // SAFETY: the pointer is taken away below, before the borrow ends.
        let pointer: *const dyn Modules = unsafe { std::mem::transmute(&raw const *modules) };
        self.outside.modules.set(Some(pointer));
        let imported = self.enter(host, time, |heap| {
            let Some(bytecode) = modules.bytecode(name) else {
                return Err(thrown(format!("Couldn't find JavaScript module '{name}'.")));
            };
            // SAFETY: the bytecode was made by `compile` of this very engine.
            unsafe {
                let module = heap.read(bytecode)?;
                let definition = qjs::JS_VALUE_GET_PTR(module).cast();
                if qjs::JS_ResolveModule(heap.context, module) < 0 {
                    return Err(heap.failure());
                }
                let promise = qjs::JS_EvalFunction(heap.context, module);
                let promise = heap.checked(promise)?;
                let jobs = heap.jobs_within();
                let state = qjs::JS_PromiseState(heap.context, promise);
                let reason = qjs::JS_PromiseResult(heap.context, promise);
                heap.free(promise);
                if let Err(failed) = jobs {
                    heap.free(reason);
                    return Err(failed);
                }
                if state == qjs::JSPromiseStateEnum_JS_PROMISE_REJECTED {
                    heap.forget_unhandled();
                    return Err(heap.describe(reason));
                }
                heap.free(reason);
                if state == qjs::JSPromiseStateEnum_JS_PROMISE_PENDING {
                    let text = "Top-level awaits in source files are unsupported";
                    return Err(thrown(text.to_string()));
                }
                let namespace = qjs::JS_GetModuleNamespace(heap.context, definition);
                let namespace = heap.checked(namespace)?;
                let mut args = [heap.string(name), namespace];
                let done = heap.call_raw(taker, &mut args)?;
                heap.free(done);
                Ok(())
            }
        });
        self.outside.modules.set(None);
        imported
    }

    /// A property of the global object that is a function. None: there is none.
    #[expect(unsafe_code, reason = "calls the engine")]
    pub fn global_function(&mut self, name: &str) -> Option<Handle> {
        let name = c_string(name);
        // SAFETY: the value found stays referenced by the handle, for as long as the heap lives.
        unsafe {
            let global = qjs::JS_GetGlobalObject(self.context);
            let value = qjs::JS_GetPropertyStr(self.context, global, name.as_ptr());
            qjs::JS_FreeValue(self.context, global);
            qjs::JS_IsFunction(self.context, value).then_some(Handle(value))
        }
    }

    /// Takes a property off the global object.
    #[expect(unsafe_code, reason = "calls the engine")]
    pub fn remove_global(&mut self, name: &str) {
        let name = c_string(name);
        // SAFETY: the atom is freed after its use.
        unsafe {
            let global = qjs::JS_GetGlobalObject(self.context);
            let atom = qjs::JS_NewAtom(self.context, name.as_ptr());
            qjs::JS_DeleteProperty(self.context, global, atom, 0);
            qjs::JS_FreeAtom(self.context, atom);
            qjs::JS_FreeValue(self.context, global);
        }
    }

    /// Calls a function with texts; its result as a text, or None for `null` and `undefined`.
    /// `time` is what its JavaScript may take.
    pub fn call(
        &mut self,
        function: Handle,
        args: &[&str],
        host: &mut dyn Host,
        time: Duration,
    ) -> Result<Option<String>, Failed> {
        self.enter(host, time, |heap| {
            let mut values: Vec<qjs::JSValue> = args.iter().map(|arg| heap.string(arg)).collect();
            let value = heap.call_raw(function, &mut values)?;
            let text = heap.text(value);
            heap.free(value);
            text
        })
    }

    /// Runs what promises wait for, until nothing is left.
    pub fn run_jobs(&mut self, host: &mut dyn Host, time: Duration) -> Result<(), Failed> {
        self.enter(host, time, Heap::jobs_within)
    }

    /// What `function` makes of the reason of the first rejection that nobody handles; None: all are
    /// handled.
    pub fn unhandled(
        &mut self,
        function: Handle,
        host: &mut dyn Host,
        time: Duration,
    ) -> Result<Option<String>, Failed> {
        let reason = self.outside.unhandled.borrow().first().map(|(_, reason)| *reason);
        let Some(reason) = reason else { return Ok(None) };
        self.enter(host, time, |heap| {
            let mut args = [heap.again(reason)];
            let value = heap.call_raw(function, &mut args)?;
            let text = heap.text(value);
            heap.free(value);
            text
        })
    }

    /// Makes the present state the image that `thaw` goes back to. Nothing may be under way.
    #[expect(unsafe_code, reason = "calls the engine")]
    pub fn freeze(&mut self) {
        // SAFETY: no JavaScript runs; what is collected is unreachable.
        unsafe { qjs::JS_RunGC(self.runtime) };
        self.image = Some(self.arena.copy());
    }

    /// Undoes everything since `freeze`.
    pub fn thaw(&mut self) {
        let image = self.image.as_ref().expect("a heap is frozen before it is thawed");
        self.arena.restore(image);
        // Their values are gone with everything else.
        self.outside.unhandled.borrow_mut().clear();
        self.outside.stopped.set(None);
        self.arena.take_refused();
    }

    /// Bytes in use, from the beginning of the arena to the highest block.
    pub fn used_bytes(&self) -> usize {
        self.arena.used()
    }

    /// Runs `step` with the host at hand and a limit of time; a stop wins over whatever came of it.
    #[expect(unsafe_code, reason = "the engine needs the host's address")]
    fn enter<R>(
        &mut self,
        host: &mut dyn Host,
        time: Duration,
        step: impl FnOnce(&mut Heap) -> Result<R, Failed>,
    ) -> Result<R, Failed> {
        self.outside.deadline.set(host.elapsed().saturating_add(time));
        self.outside.arena.set(&raw const self.arena);
        // SAFETY: the address is taken away below, before the borrow ends; the engine calls back on
        // this thread only, while `step` runs.
        let pointer: *mut dyn Host = unsafe { std::mem::transmute(&raw mut *host) };
        let before = self.outside.host.replace(Some(pointer));
        self.measure_stack();
        let result = step(self);
        self.outside.host.set(before);
        match self.outside.stopped.take() {
            Some(stop) => Err(Failed::Stopped(stop)),
            None if result.is_err() && self.arena.take_refused() => {
                Err(Failed::Stopped(Stop::Memory))
            }
            None => result,
        }
    }

    /// Tells the engine where the stack of this call begins and how much of it it may use.
    #[expect(unsafe_code, reason = "calls the engine")]
    fn measure_stack(&mut self) {
        let size = stack_left().saturating_sub(STACK_BYTES_KEPT).clamp(1, STACK_BYTES_MAX);
        // SAFETY: plain calls.
        unsafe {
            qjs::JS_UpdateStackTop(self.runtime);
            qjs::JS_SetMaxStackSize(self.runtime, size as u64);
        }
    }

    #[expect(unsafe_code, reason = "calls the engine")]
    fn evaluate(&mut self, script: &[u8]) -> Result<qjs::JSValue, Failed> {
        let function = self.read(script)?;
        // SAFETY: the bytecode was made by `compile` of this very engine.
        let value = unsafe { qjs::JS_EvalFunction(self.context, function) };
        self.checked(value)
    }

    #[expect(unsafe_code, reason = "calls the engine")]
    fn read(&mut self, bytecode: &[u8]) -> Result<qjs::JSValue, Failed> {
        let flags = qjs::JS_READ_OBJ_BYTECODE as c_int;
        // SAFETY: the bytecode was made by `compile` of this very engine, and is copied.
        let value = unsafe {
            qjs::JS_ReadObject(self.context, bytecode.as_ptr(), bytecode.len() as _, flags)
        };
        self.checked(value)
    }

    /// Calls a function; its arguments are used up.
    #[expect(unsafe_code, reason = "calls the engine")]
    fn call_raw(
        &mut self,
        function: Handle,
        args: &mut [qjs::JSValue],
    ) -> Result<qjs::JSValue, Failed> {
        // SAFETY: the handle is a live function of this realm, the arguments are live values.
        let value = unsafe {
            let count = args.len() as c_int;
            qjs::JS_Call(self.context, function.0, qjs::JS_UNDEFINED, count, args.as_mut_ptr())
        };
        for arg in args {
            self.free(*arg);
        }
        self.checked(value)
    }

    #[expect(unsafe_code, reason = "calls the engine")]
    fn jobs_within(&mut self) -> Result<(), Failed> {
        loop {
            let mut context = null_mut();
            // SAFETY: plain call; `context` is only written.
            match unsafe { qjs::JS_ExecutePendingJob(self.runtime, &raw mut context) } {
                0 => return Ok(()),
                ran if ran > 0 => {}
                _ => return Err(self.failure()),
            }
        }
    }

    #[expect(unsafe_code, reason = "calls the engine")]
    fn string(&mut self, text: &str) -> qjs::JSValue {
        // SAFETY: the bytes are UTF-8 and are copied.
        unsafe { qjs::JS_NewStringLen(self.context, text.as_ptr().cast(), text.len() as _) }
    }

    /// The value as a text; None: `null` or `undefined`.
    fn text(&mut self, value: qjs::JSValue) -> Result<Option<String>, Failed> {
        if is_nothing(value) {
            return Ok(None);
        }
        match text_of(self.context, value) {
            Some(text) => Ok(Some(text)),
            None => Err(self.failure()),
        }
    }

    #[expect(unsafe_code, reason = "calls the engine")]
    fn checked(&mut self, value: qjs::JSValue) -> Result<qjs::JSValue, Failed> {
        // SAFETY: looks at the tag alone.
        if unsafe { qjs::JS_IsException(value) } { Err(self.failure()) } else { Ok(value) }
    }

    /// The pending exception.
    #[expect(unsafe_code, reason = "calls the engine")]
    fn failure(&mut self) -> Failed {
        // SAFETY: takes the exception out of the realm.
        let exception = unsafe { qjs::JS_GetException(self.context) };
        self.describe(exception)
    }

    /// What was thrown; the value is used up.
    #[expect(unsafe_code, reason = "calls the engine")]
    fn describe(&mut self, thrown: qjs::JSValue) -> Failed {
        let message = text_of(self.context, thrown);
        // SAFETY: looks up a property of a live value; an exception on the way is dropped.
        let stack = unsafe {
            let stack = if qjs::JS_IsError(thrown) {
                qjs::JS_GetPropertyStr(self.context, thrown, c"stack".as_ptr())
            } else {
                qjs::JS_UNDEFINED
            };
            let text = if is_nothing(stack) { None } else { text_of(self.context, stack) };
            qjs::JS_FreeValue(self.context, stack);
            qjs::JS_FreeValue(self.context, qjs::JS_GetException(self.context));
            text
        };
        self.free(thrown);
        Failed::Thrown { message: message.unwrap_or_default(), stack: stack.unwrap_or_default() }
    }

    fn forget_unhandled(&mut self) {
        for (_, reason) in self.outside.unhandled.take() {
            self.free(reason);
        }
    }

    /// Another reference to a value.
    #[expect(unsafe_code, reason = "calls the engine")]
    fn again(&mut self, value: qjs::JSValue) -> qjs::JSValue {
        // SAFETY: the value is live.
        unsafe { qjs::JS_DupValue(self.context, value) }
    }

    #[expect(unsafe_code, reason = "calls the engine")]
    fn free(&mut self, value: qjs::JSValue) {
        // SAFETY: every caller owns the value.
        unsafe { qjs::JS_FreeValue(self.context, value) };
    }
}

thread_local! {
    /// The lowest address of this thread's stack.
    static STACK_END: usize = stack_end();
}

/// Bytes of this thread's stack that nobody uses yet.
fn stack_left() -> usize {
    let here = 0_u8;
    (&raw const here).addr().saturating_sub(STACK_END.with(|end| *end))
}

#[expect(unsafe_code, reason = "asks the system")]
fn stack_end() -> usize {
    // SAFETY: the attributes are initialised by the first call and destroyed by the last.
    unsafe {
        let mut attributes: libc::pthread_attr_t = std::mem::zeroed();
        if libc::pthread_getattr_np(libc::pthread_self(), &raw mut attributes) != 0 {
            return usize::MAX;
        }
        let (mut end, mut size) = (null_mut(), 0);
        let told = libc::pthread_attr_getstack(&raw const attributes, &raw mut end, &raw mut size);
        libc::pthread_attr_destroy(&raw mut attributes);
        if told == 0 { end.addr() } else { usize::MAX }
    }
}

fn thrown(message: String) -> Failed {
    Failed::Thrown { message, stack: String::new() }
}

/// A text for C; it ends at a NUL inside.
fn c_string(text: &str) -> CString {
    let end = text.find('\0').unwrap_or(text.len());
    CString::new(&text[..end]).expect("cut at the first NUL")
}

#[expect(unsafe_code, reason = "reads the tag")]
fn is_nothing(value: qjs::JSValue) -> bool {
    // SAFETY: looks at the tag alone.
    let tag = unsafe { qjs::JS_VALUE_GET_TAG(value) };
    tag == qjs::JS_TAG_NULL || tag == qjs::JS_TAG_UNDEFINED || tag == qjs::JS_TAG_UNINITIALIZED
}

/// The value as a text, lone surrogates replaced. None: the conversion threw.
#[expect(unsafe_code, reason = "calls the engine")]
fn text_of(context: *mut qjs::JSContext, value: qjs::JSValue) -> Option<String> {
    let mut length = 0;
    // SAFETY: the bytes are copied before they are freed.
    unsafe {
        let bytes = qjs::JS_ToCStringLen2(context, &raw mut length, value, false);
        if bytes.is_null() {
            return None;
        }
        let slice = std::slice::from_raw_parts(bytes.cast::<u8>(), length as usize);
        let text = String::from_utf8_lossy(slice).into_owned();
        qjs::JS_FreeCString(context, bytes);
        Some(text)
    }
}

/// `host(name, text)`.
#[expect(unsafe_code, reason = "called by the engine")]
unsafe extern "C" fn host_call(
    context: *mut qjs::JSContext,
    _this: qjs::JSValue,
    count: c_int,
    args: *mut qjs::JSValue,
) -> qjs::JSValue {
    // SAFETY: the opaque pointer is the heap's `Outside`; the host's address is set while code runs,
    // and this is the only use of it; there are `count` arguments.
    unsafe {
        let runtime = qjs::JS_GetRuntime(context);
        let outside = &*qjs::JS_GetRuntimeOpaque(runtime).cast::<Outside>();
        let text = |n: c_int| match n < count {
            true => text_of(context, *args.add(n as usize)),
            false => Some(String::new()),
        };
        let (Some(name), Some(text)) = (text(0), text(1)) else { return qjs::JS_EXCEPTION };
        let Some(host) = outside.host.take() else {
            return throw(context, "nothing is outside");
        };
        let began = (*host).elapsed();
        let reply = (*host).call(&name, &text);
        let ended = (*host).elapsed();
        outside.host.set(Some(host));
        // The time outside is not the function's.
        let deadline = outside.deadline.get().saturating_add(ended.saturating_sub(began));
        outside.deadline.set(deadline);
        match reply {
            Reply::Text(text) => {
                qjs::JS_NewStringLen(context, text.as_ptr().cast(), text.len() as _)
            }
            Reply::Number(number) => qjs::JS_NewFloat64(number),
            Reply::Null => qjs::JS_NULL,
            Reply::Throw(message) => throw(context, &message),
            Reply::Stop(stop) => {
                outside.stopped.set(Some(stop));
                let error = qjs::JS_NewError(context);
                qjs::JS_SetUncatchableError(context, error);
                qjs::JS_Throw(context, error)
            }
        }
    }
}

/// Throws an `Error`.
#[expect(unsafe_code, reason = "called by the engine")]
unsafe fn throw(context: *mut qjs::JSContext, message: &str) -> qjs::JSValue {
    // SAFETY: the message is copied; the error is handed to the engine.
    unsafe {
        let error = qjs::JS_NewError(context);
        let text = qjs::JS_NewStringLen(context, message.as_ptr().cast(), message.len() as _);
        qjs::JS_DefinePropertyValueStr(
            context,
            error,
            c"message".as_ptr(),
            text,
            (qjs::JS_PROP_WRITABLE | qjs::JS_PROP_CONFIGURABLE) as c_int,
        );
        qjs::JS_Throw(context, error)
    }
}

/// Asked by running code every few thousand steps: 1 ends it.
#[expect(unsafe_code, reason = "called by the engine")]
unsafe extern "C" fn interrupt(_runtime: *mut qjs::JSRuntime, opaque: *mut c_void) -> c_int {
    // SAFETY: the opaque pointer is the heap's `Outside`; addresses in it are good while code runs.
    unsafe {
        let outside = &*opaque.cast::<Outside>();
        let arena = outside.arena.get();
        if !arena.is_null() && (*arena).take_refused() {
            outside.stopped.set(Some(Stop::Memory));
            return 1;
        }
        let Some(host) = outside.host.get() else { return 0 };
        if (*host).elapsed() >= outside.deadline.get() {
            outside.stopped.set(Some(Stop::Time));
            return 1;
        }
        0
    }
}

/// Notes rejected promises that nobody handles, and forgets those that somebody does.
#[expect(unsafe_code, reason = "called by the engine")]
unsafe extern "C" fn rejection(
    context: *mut qjs::JSContext,
    promise: qjs::JSValue,
    reason: qjs::JSValue,
    is_handled: bool,
    opaque: *mut c_void,
) {
    // SAFETY: the opaque pointer is the heap's `Outside`; a promise is an object, and the reasons in
    // the list are referenced by it.
    unsafe {
        let outside = &*opaque.cast::<Outside>();
        let address = qjs::JS_VALUE_GET_PTR(promise) as usize;
        let mut unhandled = outside.unhandled.borrow_mut();
        if !is_handled {
            if unhandled.len() < UNHANDLED_MAX {
                unhandled.push((address, qjs::JS_DupValue(context, reason)));
            }
        } else if let Some(at) = unhandled.iter().position(|(other, _)| *other == address) {
            let (_, reason) = unhandled.remove(at);
            drop(unhandled);
            qjs::JS_FreeValue(context, reason);
        }
    }
}

/// Rejections that are remembered at most; any one of them fails the call.
const UNHANDLED_MAX: usize = 1000;

/// Gives an imported module, by its canonical name.
#[expect(unsafe_code, reason = "called by the engine")]
unsafe extern "C" fn load_module(
    context: *mut qjs::JSContext,
    name: *const c_char,
    opaque: *mut c_void,
) -> *mut qjs::JSModuleDef {
    // SAFETY: the opaque pointer is the heap's `Outside`, the modules' address is good while code is
    // imported; the name ends with NUL; bytecode was made by `compile` of this very engine.
    unsafe {
        let outside = &*opaque.cast::<Outside>();
        if outside.compiling.get() {
            return qjs::JS_NewCModule(context, name, Some(empty_module));
        }
        let name = CStr::from_ptr(name).to_string_lossy();
        let bytecode = outside.modules.get().and_then(|modules| (*modules).bytecode(&name));
        let Some(bytecode) = bytecode else {
            let text = match outside.modules.get() {
                Some(_) => format!("Couldn't find JavaScript module '{name}'."),
                None => "Dynamic import is not supported in queries and mutations".to_string(),
            };
            throw(context, &text);
            return null_mut();
        };
        let flags = qjs::JS_READ_OBJ_BYTECODE as c_int;
        let module = qjs::JS_ReadObject(context, bytecode.as_ptr(), bytecode.len() as _, flags);
        if qjs::JS_IsException(module) {
            return null_mut();
        }
        let definition = qjs::JS_VALUE_GET_PTR(module).cast();
        // The realm keeps its modules; this reference is not needed.
        qjs::JS_FreeValue(context, module);
        definition
    }
}

/// Evaluates nothing: stands for what a module imports while it is compiled.
#[expect(unsafe_code, reason = "called by the engine")]
unsafe extern "C" fn empty_module(
    _context: *mut qjs::JSContext,
    _module: *mut qjs::JSModuleDef,
) -> c_int {
    0
}

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::*;

/// Echoes, counts, throws and stops, by name.
struct Echo {
    began: Instant,
    heard: Vec<String>,
}

impl Host for Echo {
    fn call(&mut self, name: &str, text: &str) -> Reply {
        self.heard.push(format!("{name} {text}"));
        match name {
            "echo" => Reply::Text(text.to_string()),
            "count" => Reply::Number(text.len() as f64),
            "throw" => Reply::Throw(text.to_string()),
            "stop" => Reply::Stop(Stop::Host(text.to_string())),
            _ => Reply::Null,
        }
    }

    fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }
}

struct Sources(BTreeMap<String, Vec<u8>>);

impl Modules for Sources {
    fn bytecode(&self, name: &str) -> Option<&[u8]> {
        self.0.get(name).map(Vec::as_slice)
    }
}

#[expect(clippy::disallowed_methods, reason = "measures how long a loop runs")]
fn echo() -> Echo {
    Echo { began: Instant::now(), heard: Vec::new() }
}

const SECOND: Duration = Duration::from_secs(1);
const MEMORY: usize = 32 << 20;

fn heap(script: &str) -> Heap {
    let mut heap = Heap::new(MEMORY).unwrap();
    let script = heap.compile("test.js", script, false).unwrap();
    heap.run(&script, &mut echo()).unwrap();
    heap
}

fn call(heap: &mut Heap, name: &str, args: &[&str]) -> Result<Option<String>, Failed> {
    let function = heap.global_function(name).unwrap();
    heap.call(function, args, &mut echo(), SECOND)
}

fn compiled(name: &str, source: &str) -> Result<Vec<u8>, Failed> {
    Heap::new(MEMORY).unwrap().compile(name, source, true)
}

fn message(failed: Failed) -> String {
    match failed {
        Failed::Thrown { message, .. } => message,
        Failed::Stopped(stop) => format!("stopped: {stop:?}"),
    }
}

#[test]
fn functions_take_and_give_texts() {
    let mut heap = heap(
        "function greet(name) { return `hello ${name} ${host('count', name)}` }
         function nothing() {}
         function fails() { throw new TypeError('no') }
         function caught() { try { host('throw', 'why') } catch (e) { return e.message } }",
    );
    assert_eq!(call(&mut heap, "greet", &["bøb"]).unwrap().as_deref(), Some("hello bøb 4"));
    assert_eq!(call(&mut heap, "nothing", &[]).unwrap(), None);
    assert_eq!(message(call(&mut heap, "fails", &[]).unwrap_err()), "TypeError: no");
    assert_eq!(call(&mut heap, "caught", &[]).unwrap().as_deref(), Some("why"));
}

#[test]
fn nothing_catches_a_stop() {
    let mut heap = heap(
        "function host_stops() { try { host('stop', 'enough') } catch (e) { return 'caught' } }
         function spins() { for (;;) { try { for (;;); } catch (e) {} } }
         function eats() { const all = []; for (;;) { try { all.push(new Array(1000).fill(1)) } catch (e) {} } }
         function recurses() { return recurses() + 1 }
         function fine() { return 'fine' }",
    );
    heap.freeze();
    let function = heap.global_function("host_stops").unwrap();
    let stopped = heap.call(function, &[], &mut echo(), SECOND).unwrap_err();
    assert_eq!(stopped, Failed::Stopped(Stop::Host("enough".to_string())));
    heap.thaw();
    let function = heap.global_function("spins").unwrap();
    let stopped = heap.call(function, &[], &mut echo(), Duration::from_millis(20)).unwrap_err();
    assert_eq!(stopped, Failed::Stopped(Stop::Time));
    heap.thaw();
    let function = heap.global_function("eats").unwrap();
    let stopped = heap.call(function, &[], &mut echo(), Duration::from_secs(60)).unwrap_err();
    assert_eq!(stopped, Failed::Stopped(Stop::Memory));
    heap.thaw();
    assert_eq!(call(&mut heap, "fine", &[]).unwrap().as_deref(), Some("fine"));
}

#[test]
fn recursion_ends_as_an_error_of_the_caller() {
    let deep = || {
        let mut heap = heap(
            "function recurses(n) { return recurses(n + 1) + 1 }
             function survives() { try { recurses(0) } catch (e) { return e.name } }",
        );
        assert_eq!(call(&mut heap, "survives", &[]).unwrap().as_deref(), Some("RangeError"));
    };
    for stack in [1 << 20, 16 << 20] {
        std::thread::Builder::new().stack_size(stack).spawn(deep).unwrap().join().unwrap();
    }
}

#[test]
fn a_thawed_heap_knows_nothing_of_the_call_before() {
    let mut heap = heap(
        "let n = 0; const kept = new WeakMap(); const key = {};
         function next() {
             n += 1; Array.prototype.push = null; globalThis.leak = 'x'.repeat(100000);
             kept.set(key, (kept.get(key) ?? 0) + 1); delete globalThis.JSON;
             return `${n} ${kept.get(key)}`;
         }",
    );
    heap.freeze();
    let used = heap.used_bytes();
    for _ in 0..100 {
        assert_eq!(call(&mut heap, "next", &[]).unwrap().as_deref(), Some("1 1"));
        heap.thaw();
        assert_eq!(heap.used_bytes(), used);
    }
}

#[test]
fn modules_import_each_other_and_are_handed_over() {
    let mut heap =
        heap("let found; function take(name, ns) { found = ns } function a() { return found.a() }");
    let mut modules = BTreeMap::new();
    for (name, source) in [
        ("convex:/dir/a.js", "import { b } from '../b.js'; export const a = () => `a${b()}`;"),
        (
            "convex:/b.js",
            "import * as a from './dir/a.js'; export const b = () => `b${typeof a.a}`;",
        ),
        ("convex:/bad.js", "throw new Error('at import')"),
        ("convex:/late.js", "await new Promise(() => {})"),
        ("convex:/lost.js", "import './nowhere.js'"),
    ] {
        modules.insert(name.to_string(), compiled(name, source).unwrap());
    }
    let modules = Sources(modules);
    let taker = heap.global_function("take").unwrap();
    let import = |heap: &mut Heap, name: &str| {
        heap.import(name, taker, &modules, &mut echo(), SECOND).map_err(message)
    };
    assert_eq!(import(&mut heap, "convex:/dir/a.js"), Ok(()));
    assert_eq!(call(&mut heap, "a", &[]).unwrap().as_deref(), Some("abfunction"));
    let check = |result: Result<(), String>, expected: &str| {
        assert!(result.as_ref().unwrap_err().contains(expected), "{result:?}");
    };
    check(import(&mut heap, "convex:/bad.js"), "Error: at import");
    check(import(&mut heap, "convex:/late.js"), "Top-level awaits");
    check(
        import(&mut heap, "convex:/lost.js"),
        "Couldn't find JavaScript module 'convex:/nowhere.js'",
    );
    check(
        import(&mut heap, "convex:/none.js"),
        "Couldn't find JavaScript module 'convex:/none.js'",
    );
    assert!(message(compiled("x.js", "export const = 1").unwrap_err()).contains("SyntaxError"));
}

#[test]
fn rejections_that_nobody_handles_are_told() {
    let mut heap = heap(
        "function lost() { Promise.reject(new Error('lost')); Promise.reject(2) }
         function found() { Promise.reject(1).catch(() => {}) }
         function describe(e) { return `${e.name}: ${e.message}` }",
    );
    heap.freeze();
    let describe = heap.global_function("describe").unwrap();
    let told = |heap: &mut Heap| {
        heap.run_jobs(&mut echo(), SECOND).unwrap();
        heap.unhandled(describe, &mut echo(), SECOND).unwrap()
    };
    call(&mut heap, "found", &[]).unwrap();
    assert_eq!(told(&mut heap), None);
    call(&mut heap, "lost", &[]).unwrap();
    assert_eq!(told(&mut heap).as_deref(), Some("Error: lost"));
    heap.thaw();
    assert_eq!(told(&mut heap), None);
}

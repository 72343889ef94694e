use std::collections::BTreeMap;
use std::time::Instant;

use super::*;

struct Fake {
    began: Instant,
    random: f64,
    calls: Vec<String>,
    log: Vec<String>,
}

#[expect(clippy::disallowed_methods, reason = "measures how long a loop runs")]
fn fake() -> Fake {
    Fake { began: Instant::now(), random: 0.25, calls: Vec::new(), log: Vec::new() }
}

impl Outside for Fake {
    fn syscall(&mut self, op: &str, args: &str) -> Result<String, Refused> {
        self.calls.push(format!("{op} {args}"));
        match op {
            "1.0/queryStream" => Ok(r#"{"queryId":0}"#.to_string()),
            "1.0/queryCleanup" => Ok("true".to_string()),
            _ => Err(Refused::Error { message: format!("Unknown operation {op}"), data: None }),
        }
    }

    fn ask(&mut self, _number: u64, op: &str, args: &str) -> Option<Result<String, Refused>> {
        self.calls.push(format!("{op} {args}"));
        Some(match op {
            "1.0/queryStreamNext" if self.calls.len() < 4 => {
                Ok(r#"{"value":{"n":{"$integer":"AQAAAAAAAAA="}},"done":false}"#.to_string())
            }
            "1.0/queryStreamNext" => Ok(r#"{"value":null,"done":true}"#.to_string()),
            "1.0/getUserIdentity" => Err(Refused::Stop("no identity".to_string())),
            "1.0/insert" => Ok(r#"{"_id":"id1"}"#.to_string()),
            "1.0/runUdf" => Err(Refused::Error {
                message: "Uncaught ConvexError: full".to_string(),
                data: Some(serde_json::json!({"room": {"$integer": "AQAAAAAAAAA="}})),
            }),
            _ => {
                Err(Refused::Error { message: format!("Unknown async operation {op}"), data: None })
            }
        })
    }

    fn wait(&mut self) -> Waited {
        Waited::Nothing
    }

    fn mode(&self) -> Mode {
        Mode::Transaction
    }

    fn performance(&mut self) -> f64 {
        0.0
    }

    fn now(&mut self) -> f64 {
        1_700_000_000_000.0
    }

    fn fill_random(&mut self, bytes: &mut [u8]) {
        self.random += 0.125;
        let number = (self.random * (1_u64 << 53) as f64) as u64;
        bytes.fill(7);
        if let Some(first) = bytes.first_chunk_mut() {
            *first = (number << 11).to_le_bytes();
        }
    }

    fn env(&mut self, name: &str) -> Option<String> {
        (name == "KEY").then(|| "value".to_string())
    }

    fn log(&mut self, level: &str, text: &str) {
        self.log.push(format!("[{level}] {text}"));
    }

    fn unavailable(&mut self, thing: &str) -> String {
        format!("Can't use {thing} in queries and mutations.")
    }

    fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }
}

struct Compiled(BTreeMap<String, Vec<u8>>);

impl Modules for Compiled {
    fn bytecode(&self, name: &str) -> Option<&[u8]> {
        self.0.get(name).map(Vec::as_slice)
    }
}

/// A realm of a module that may use `convex/server` and `convex/values`.
fn realm(source: &str) -> Realm {
    let mut modules = BTreeMap::new();
    for (name, source) in [
        ("convex/values", include_str!("../convex/values.js")),
        ("convex/server", include_str!("../convex/server.js")),
        ("app.js", source),
    ] {
        let bytecode = Heap::new(64 << 20).unwrap().compile(name, source, true).unwrap();
        modules.insert(name.to_string(), bytecode);
    }
    Realm::build(&Compiled(modules), "app.js", &mut fake(), &Limits::default()).unwrap()
}

fn body(body: &str) -> Realm {
    realm(&format!(
        "import {{ mutationGeneric, queryGeneric }} from 'convex/server';
         import {{ ConvexError, v }} from 'convex/values';
         export const f = mutationGeneric(async (ctx, args) => {{ {body} }});"
    ))
}

fn value(source: &str) -> String {
    body(source).run("f", "mutation", r#"[{"a":1}]"#, &mut fake()).unwrap()
}

fn threw_by(source: &str) -> Thrown {
    match body(source).run("f", "mutation", "[{}]", &mut fake()).unwrap_err() {
        Ended::Threw(thrown) => thrown,
        other => panic!("{other:?}"),
    }
}

#[test]
fn results_and_sources_of_values() {
    assert_eq!(value("return args.a + 1"), "2");
    assert_eq!(value("return undefined"), "null");
    assert_eq!(value("return 5n"), r#"{"$integer":"BQAAAAAAAAA="}"#);
    assert_eq!(
        value("return [Date.now(), new Date().toISOString(), new Date(0).getTime()]"),
        r#"[1700000000000,"2023-11-14T22:13:20.000Z",0]"#
    );
    assert_eq!(value("return [Math.random(), Math.random()]"), "[0.375,0.5]");
    assert_eq!(
        value("return [process.env.KEY, process.env.NONE ?? 'unset']"),
        r#"["value","unset"]"#
    );
    assert_eq!(
        value("return [typeof host, typeof driver_next, Object.keys(globalThis).length]"),
        r#"["undefined","undefined",0]"#
    );
    assert_eq!(
        value("return [new Date(1) instanceof Date, Date.name, typeof Date()]"),
        r#"[true,"Date","string"]"#
    );
}

#[test]
fn errors_tell_name_message_frames_and_data() {
    let thrown = threw_by("function deep() { throw new TypeError('no') } deep()");
    assert_eq!(thrown.message, "Uncaught TypeError: no");
    assert!(thrown.stack.contains("at deep (app.js:3:"), "{}", thrown.stack);
    assert_eq!(threw_by("throw 'text'").message, "Uncaught text");
    assert_eq!(threw_by("throw Object.create(null)").message, "Uncaught ");
    let thrown = threw_by("throw new ConvexError({ code: 1n })");
    assert_eq!(thrown.data.as_deref(), Some(r#"{"code":{"$integer":"AQAAAAAAAAA="}}"#));
    let thrown = threw_by(
        "try { await ctx.runQuery('a:b', {}) } catch (e) { throw new Error(`${e.message} ${e.data.room}`) }",
    );
    assert_eq!(thrown.message, "Uncaught Error: Uncaught ConvexError: full 1");
    assert_eq!(
        threw_by("await fetch('http://x')").message,
        "Uncaught Error: Can't use fetch() in queries and mutations."
    );
    assert_eq!(
        threw_by("Promise.reject(new Error('lost')); return 1").message,
        "Uncaught Error: lost"
    );
    assert_eq!(threw_by("return Symbol()").message.split(' ').nth(1), Some("Error:"));
}

#[test]
fn a_query_streams_its_rows_through_the_host() {
    let mut outside = fake();
    let mut realm = body(
        "return (await ctx.db.query('t').withIndex('by_a', q => q.eq('a', 1)).take(5)).map(d => d.n)",
    );
    let result = realm.run("f", "mutation", "[{}]", &mut outside).unwrap();
    assert_eq!(result, r#"[{"$integer":"AQAAAAAAAAA="},{"$integer":"AQAAAAAAAAA="}]"#);
    assert_eq!(
        outside.calls[0],
        r#"1.0/queryStream {"query":{"source":{"type":"IndexRange","indexName":"t.by_a","range":[{"type":"Eq","fieldPath":"a","value":1}],"order":null},"operators":[{"limit":5}]},"version":"1.48.0"}"#
    );
    assert_eq!(outside.calls[4], r#"1.0/queryCleanup {"queryId":0}"#);
}

#[test]
fn calls_that_nobody_awaits_run_all_the_same() {
    let mut outside = fake();
    let mut realm = body("ctx.db.insert('t', { a: 1 }); return 7");
    assert_eq!(realm.run("f", "mutation", "[{}]", &mut outside).unwrap(), "7");
    assert_eq!(outside.calls, [r#"1.0/insert {"table":"t","value":{"a":1}}"#]);
}

#[test]
fn ends_from_outside_cannot_be_caught_and_the_next_call_is_clean() {
    let mut realm = realm(
        "import { mutationGeneric as m } from 'convex/server';
         let n = 0;
         export const identity = m(async (ctx) => { try { await ctx.auth.getUserIdentity() } catch { return 'caught' } });
         export const never = m(() => new Promise(() => {}));
         export const count = m(() => { n += 1; Promise.prototype.then = null; Array.isArray = null; Date.now = null; return n });
         export const plain = 5;",
    );
    let mut run = |name: &str, kind: &str| realm.run(name, kind, "[{}]", &mut fake());
    assert_eq!(run("identity", "mutation"), Err(Ended::Stopped("no identity".to_string())));
    let never = "Returned promise will never resolve".to_string();
    assert_eq!(run("never", "mutation"), Err(Ended::Failed(never)));
    for _ in 0..3 {
        assert_eq!(run("count", "mutation").as_deref(), Ok("1"));
    }
    let failed = |text: &str| Err(Ended::Failed(text.to_string()));
    assert_eq!(run("nope", "mutation"), failed("Couldn't find \"nope\" in module \"app.js\"."));
    assert_eq!(
        run("count", "query"),
        failed("Function count is registered as a mutation but is being run as a query.")
    );
    assert_eq!(
        run("plain", "query"),
        failed(
            "Function plain is neither a query or mutation. Did you forget to wrap it with `query` or `mutation`?"
        )
    );
}

#[test]
fn exports_are_listed_with_their_validators() {
    let mut realm = realm(
        "import { queryGeneric, internalMutationGeneric } from 'convex/server';
         import { v } from 'convex/values';
         export const list = queryGeneric({ args: { room: v.id('rooms'), n: v.optional(v.number()) }, returns: v.null(), handler: () => null });
         export const clean = internalMutationGeneric(() => null);
         export const helper = () => 1; export default { isQuery: true, isMutation: true };",
    );
    let exports = realm.exports(&mut fake()).unwrap();
    assert_eq!(exports.len(), 2);
    let list = exports.iter().find(|export| export.name == "list").unwrap();
    assert_eq!((list.kind.as_str(), list.visibility.as_str()), ("query", "public"));
    assert_eq!(
        list.args.as_deref(),
        Some(
            r#"{"type":"object","value":{"room":{"fieldType":{"type":"id","tableName":"rooms"},"optional":false},"n":{"fieldType":{"type":"number"},"optional":true}}}"#
        )
    );
    assert_eq!(list.returns.as_deref(), Some(r#"{"type":"null"}"#));
    let clean = exports.iter().find(|export| export.name == "clean").unwrap();
    assert_eq!((clean.visibility.as_str(), clean.returns.as_deref()), ("internal", Some("null")));
}

#[test]
fn console_shows_values() {
    let check = |given: &str, expected: &str| {
        let mut outside = fake();
        body(&format!("console.log({given})")).run("f", "mutation", "[{}]", &mut outside).unwrap();
        assert_eq!(outside.log, [format!("[LOG] {expected}")], "{given}");
    };
    check("'hi', 1, -0, 10n, undefined, null, true", "'hi' 1 -0 10n undefined null true");
    check("\"it's\"", "'it\\'s'");
    check("{ a: 1 }", "{\n  a: 1\n}");
    check("{}, [], [1, 2]", "{} [] [ 1, 2 ]");
    check("new Map([['k', { a: [1] }]])", "Map (1) {\n  'k' => {\n    a: [ 1 ]\n  }\n}");
    check(
        "new Set([1]), new Error('boom'), () => 1, function foo() {}",
        "Set (1) {\n  1\n} [Error: boom] [Function (anonymous)] [Function: foo]",
    );
    check("(() => { const o = {}; o.self = o; return o })()", "{\n  self: [Circular]\n}");
    check("new (class A { x = 1 })()", "A {\n  x: 1\n}");
    check("Object.create(null)", "[Object: null prototype] {}");
}

#[path = "web_tests.rs"]
mod web_tests;

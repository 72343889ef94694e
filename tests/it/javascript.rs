//! Functions in JavaScript over a real engine: values, reads, writes, errors, nested calls, pages.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use engine::Options;
use functions::{Application, Caller, ClientCall, FunctionKind, Parent, Pool, Registry};
use js::{Limits, Program, Settings, Source};
use serde_json::{Value as Json, json};
use tests::world::{World, user};
use value::schema::Schema;

const MESSAGES: &str = r#"
import { actionGeneric as action, mutationGeneric as mutation, queryGeneric as query, internalMutationGeneric as internalMutation, anyApi, paginationOptsValidator } from "convex/server";
import { ConvexError, v } from "convex/values";
import { shout } from "./lib/text.js";

let calls = 0;
export const send = mutation({
  args: { room: v.string(), author: v.string(), body: v.string(), n: v.number() },
  returns: v.id("messages"),
  handler: async (ctx, args) => {
    calls += 1;
    console.log("call", calls);
    return await ctx.db.insert("messages", { ...args, body: shout(args.body) });
  },
});
export const list = query({
  args: { room: v.string() },
  handler: (ctx, { room }) => ctx.db.query("messages").withIndex("by_room", (q) => q.eq("room", room)).collect(),
});
export const above = query({
  args: { room: v.string(), n: v.number() },
  handler: async (ctx, { room, n }) => {
    const found = await ctx.db.query("messages").withIndex("by_room_n", (q) => q.eq("room", room).gt("n", n)).order("desc")
      .filter((q) => q.neq(q.field("author"), "bot")).take(2);
    return found.map((message) => message.n);
  },
});
export const page = query({
  args: { opts: paginationOptsValidator },
  handler: async (ctx, { opts }) => {
    const page = await ctx.db.query("messages").order("desc").paginate(opts);
    return { ...page, page: page.page.map((message) => message.n) };
  },
});
export const edit = mutation({
  args: { id: v.id("messages"), body: v.optional(v.string()) },
  handler: async (ctx, { id, body }) => {
    if (body === undefined) return void (await ctx.db.delete(id));
    await ctx.db.patch(id, { body });
    const after = await ctx.db.get(id);
    if (after.body !== body) throw new Error("a mutation does not see its own write");
    return after.body;
  },
});
export const fails = mutation(async (ctx, { how }) => {
  await ctx.db.insert("messages", { room: "lost", author: "a", body: "b", n: 1 });
  if (how === "convex") throw new ConvexError({ code: "full", left: 0n });
  if (how === "schema") await ctx.db.insert("messages", { room: 1 });
  if (how === "fetch") await fetch("http://example.com");
  if (how === "never") await new Promise(() => {});
  throw new TypeError("broken");
});
export const careful = mutation(async (ctx) => {
  try {
    await ctx.runMutation(anyApi.messages.fails, { how: "convex" });
  } catch (error) {
    return { data: error.data, lost: (await ctx.runQuery(anyApi.messages.list, { room: "lost" })).length };
  }
});
export const who = query(async (ctx) => (await ctx.auth.getUserIdentity())?.subject ?? "nobody");
export const hidden = internalMutation(() => 1);
export const relay = action(async (ctx, { rooms }) => {
  let ticks = 0;
  const timer = setInterval(() => { ticks += 1; if (ticks === 3) clearInterval(timer); }, 1);
  await new Promise((resolve) => setTimeout(resolve, 20));
  const sent = await Promise.all(rooms.map((room, n) =>
    ctx.runMutation(anyApi.messages.send, { room, author: "relay", body: "x", n })));
  const counts = await Promise.all(rooms.map(async (room) => (await ctx.runQuery(anyApi.messages.list, { room })).length));
  console.log("relayed", sent.length);
  try { await ctx.runMutation(anyApi.messages.fails, { how: "convex" }); } catch (error) { counts.push(error.data.code); }
  return { counts, ticks, who: (await ctx.auth.getUserIdentity())?.subject };
});
export const lost = action(async () => { await new Promise(() => {}); });
export const later = mutation(async (ctx) => await ctx.scheduler.runAfter(1000, anyApi.messages.hidden, {}));
"#;

const TEXT: &str = "export const shout = (text) => text.toUpperCase();";

const SCHEMA: &str = r#"{"tables":[{"tableName":"messages","indexes":[
  {"indexDescriptor":"by_room","fields":["room"]},{"indexDescriptor":"by_room_n","fields":["room","n"]}],
  "searchIndexes":[],"vectorIndexes":[],"documentType":{"type":"object","value":{
    "room":{"fieldType":{"type":"string"},"optional":false},"author":{"fieldType":{"type":"string"},"optional":false},
    "body":{"fieldType":{"type":"string"},"optional":false},"n":{"fieldType":{"type":"number"},"optional":false}}}}],
  "schemaValidation":true}"#;

fn program(sources: &[(&str, &str)]) -> Result<Arc<Program>, js::PushError> {
    let sources: Vec<Source> = sources
        .iter()
        .map(|(path, text)| Source { path: (*path).to_owned(), text: (*text).to_owned() })
        .collect();
    let settings = Settings {
        env: BTreeMap::new(),
        limits: Limits::default(),
        clock: Arc::new(|| Duration::ZERO),
        import_time_ms: 0.0,
    };
    Program::compile(&sources, settings)
}

fn world() -> World {
    let program = program(&[("messages.js", MESSAGES), ("lib/text.js", TEXT)]).unwrap();
    let mut registry = Registry::default();
    for function in program.functions().unwrap() {
        registry.add(function).unwrap();
    }
    let schema = Some(Schema::from_json(SCHEMA).unwrap());
    let application = Application { name: "js".to_owned(), schema, registry, crons: Vec::new() };
    World::new(application, 1, Options::default())
}

struct Ran {
    result: Result<Json, functions::Error>,
    log: Vec<String>,
}

fn run(world: &World, kind: FunctionKind, path: &str, args: Json, caller: Caller) -> Ran {
    let Ok(value::Value::Array(args)) = value::json::from_json(json!([args])) else { panic!() };
    let call = ClientCall { path: path.to_owned(), args, caller };
    let (told, end) = std::sync::mpsc::channel();
    let done = Box::new(move |end| told.send(end).unwrap());
    match kind {
        FunctionKind::Mutation => world.runtime.mutation(call, None, Parent::default(), done),
        _ => world.runtime.query(call, None, done),
    }
    world.settle();
    let end: functions::CallEnd = end.try_recv().unwrap();
    let result = end.result.map(|value| value::json::to_json(&value));
    Ran { result, log: end.log_lines.iter().map(functions::LogLine::to_text).collect() }
}

fn mutation(world: &World, path: &str, args: Json) -> Ran {
    run(world, FunctionKind::Mutation, path, args, Caller::default())
}

fn query(world: &World, path: &str, args: Json) -> Json {
    run(world, FunctionKind::Query, path, args, Caller::default()).result.unwrap()
}

fn send(world: &World, room: &str, author: &str, n: f64) -> String {
    let args = json!({"room": room, "author": author, "body": "hi", "n": n});
    let ran = mutation(world, "messages:send", args);
    assert_eq!(ran.log, ["[LOG] 'call' 1"], "a call begins with fresh globals");
    ran.result.unwrap().as_str().unwrap().to_owned()
}

#[test]
fn functions_read_and_write_the_database() {
    let world = world();
    let id = send(&world, "a", "bob", 1.0);
    send(&world, "a", "bot", 2.0);
    send(&world, "a", "eve", 3.0);
    send(&world, "b", "eve", 4.0);
    let listed = query(&world, "messages:list", json!({"room": "a"}));
    assert_eq!(listed.as_array().unwrap().len(), 3);
    assert_eq!((&listed[0]["_id"], &listed[0]["body"]), (&json!(id), &json!("HI")));
    assert_eq!(query(&world, "messages:above", json!({"room": "a", "n": 0})), json!([3.0, 1.0]));
    let edited = mutation(&world, "messages:edit", json!({"id": id, "body": "new"}));
    assert_eq!(edited.result.unwrap(), json!("new"));
    assert_eq!(mutation(&world, "messages:edit", json!({"id": id})).result.unwrap(), Json::Null);
    assert_eq!(query(&world, "messages:above", json!({"room": "a", "n": 0})), json!([3.0]));
    let opts = json!({"numItems": 2, "cursor": null});
    let page = query(&world, "messages:page", json!({"opts": opts}));
    assert_eq!((&page["page"], &page["isDone"]), (&json!([4.0, 3.0]), &json!(false)));
    let opts = json!({"numItems": 2, "cursor": page["continueCursor"]});
    let page = query(&world, "messages:page", json!({"opts": opts}));
    assert_eq!((&page["page"], &page["isDone"]), (&json!([2.0]), &json!(true)));
}

#[test]
fn errors_reach_the_caller_and_undo_what_was_written() {
    let world = world();
    let failed =
        |how: &str| mutation(&world, "messages:fails", json!({"how": how})).result.unwrap_err();
    let error = failed("convex");
    assert_eq!(
        error.data().map(value::json::to_json).unwrap(),
        json!({"code": "full", "left": {"$integer": "AAAAAAAAAAA="}})
    );
    let error = failed("plain");
    let first = error.message().lines().next();
    assert_eq!(first, Some("Uncaught TypeError: broken"));
    assert!(error.message().contains("(convex:/messages.js:"), "{}", error.message());
    assert!(failed("fetch").message().contains("Can't use fetch() in queries and mutations"));
    assert_eq!(failed("never").message(), "Returned promise will never resolve");
    assert!(failed("schema").message().contains("Failed to insert or update a document"));
    assert_eq!(query(&world, "messages:list", json!({"room": "lost"})), json!([]));
    let careful = mutation(&world, "messages:careful", json!({})).result.unwrap();
    assert_eq!(
        careful,
        json!({"data": {"code": "full", "left": {"$integer": "AAAAAAAAAAA="}}, "lost": 0.0})
    );
    let wrong = mutation(&world, "messages:send", json!({"room": 1})).result.unwrap_err();
    assert!(wrong.message().contains("ArgumentValidationError"), "{wrong}");
}

#[test]
fn identity_visibility_and_later_calls() {
    let world = world();
    assert_eq!(query(&world, "messages:who", json!({})), json!("nobody"));
    let ran = run(&world, FunctionKind::Query, "messages:who", json!({}), user("bob"));
    assert_eq!(ran.result.unwrap(), json!("bob"));
    let hidden = mutation(&world, "messages:hidden", json!({})).result.unwrap_err();
    assert!(hidden.message().contains("Could not find public function"), "{hidden}");
    assert!(mutation(&world, "messages:later", json!({})).result.unwrap().is_string());
}

/// Runs an action, with the threads that a server has.
async fn action(world: &World, path: &str, args: Json) -> functions::CallEnd {
    let Ok(value::Value::Array(args)) = value::json::from_json(json!([args])) else { panic!() };
    let call = ClientCall { path: path.to_owned(), args, caller: user("bob") };
    world.runtime.action_async(call, Parent::default()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn actions_wait_for_several_things_at_once() {
    let world = world();
    let pool = Pool::start(&world.runtime, 2).unwrap();
    let rooms: Vec<String> = (0..20).map(|n| format!("room{n}")).collect();
    let end = action(&world, "messages:relay", json!({ "rooms": rooms })).await;
    assert_eq!(end.log_lines[0].to_text(), "[LOG] 'relayed' 20");
    let result = value::json::to_json(&end.result.unwrap());
    let mut counts = vec![json!(1.0); 20];
    counts.push(json!("full"));
    assert_eq!(result["counts"], json!(counts));
    assert_eq!((&result["ticks"], &result["who"]), (&json!(3.0), &json!("bob")));
    let lost = action(&world, "messages:lost", json!({})).await.result.unwrap_err();
    assert_eq!(lost.message(), "Returned promise will never resolve");
    pool.stop();
}

#[test]
fn what_cannot_be_pushed_says_why() {
    let check = |source: &str, expected: &str| {
        let pushed = program(&[("bad.js", source)]).and_then(|program| program.functions());
        let error = pushed.unwrap_err().to_string();
        assert!(error.starts_with("Failed to analyze bad.js: "), "{error}");
        assert!(error.contains(expected), "{error}");
    };
    check("export const = 1", "SyntaxError");
    check("throw new Error('at import')", "Uncaught Error: at import");
    check("import './gone.js'", "Couldn't find JavaScript module 'convex:/gone.js'");
    check(
        "await Promise.resolve(new Promise(() => {}))",
        "Top-level awaits in source files are unsupported",
    );
    check("Convex.syscall('1.0/queryStream', '{}')", "unsupported at import time");
    check("export const f = { isQuery: true, exportArgs: () => 1 }", "did not return a string");
    check("export const f = { isQuery: true, exportArgs: () => '{}' }", "");
}

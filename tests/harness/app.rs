//! A small application whose tables and functions tests share: rooms of messages, named counters.
//!
//! Bodies call [`pause`] between reading and writing, where on several threads others could come in;
//! a simulation uses it to run something else there.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use functions::{
    AnyDocument, App, Doc, Id, MutationCtx, Order, PaginationOptions, PaginationResult, QueryCtx,
    Result, Shape, application_error, error, object,
};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use value::DocumentId;

/// Called by [`pause`].
pub type PauseHook = Rc<dyn Fn()>;

thread_local! {
    static PAUSE: RefCell<Option<PauseHook>> = const { RefCell::new(None) };
}

/// Has `hook` called at every pause of this thread; `None`: nothing happens there.
pub fn on_pause(hook: Option<PauseHook>) {
    PAUSE.with(|pause| *pause.borrow_mut() = hook);
}

/// Does something without pauses.
pub fn without_pauses<R>(run: impl FnOnce() -> R) -> R {
    let hook = PAUSE.with(|pause| pause.borrow_mut().take());
    let result = run();
    on_pause(hook);
    result
}

/// A place where others may run.
pub fn pause() {
    let hook = PAUSE.with(|pause| pause.borrow().clone());
    if let Some(hook) = hook {
        hook();
    }
}

/// How often the bodies of some queries ran in this process.
static EXECUTIONS: Mutex<BTreeMap<String, f64>> = Mutex::new(BTreeMap::new());

/// How often the bodies of `list`, `count` and `me` ran in this process.
pub fn executions() -> BTreeMap<String, f64> {
    EXECUTIONS.lock().clone()
}

fn ran(name: &str) {
    *EXECUTIONS.lock().entry(name.to_owned()).or_default() += 1.0;
}

/// What a server of this application tells about itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Shape)]
pub struct ServerState {
    /// How often bodies ran, by name: see [`executions`].
    pub executions: BTreeMap<String, f64>,
    /// Live queries that somebody shows.
    pub shown: f64,
    /// Live queries that are kept for whoever comes.
    pub idle: f64,
    /// Sockets with live queries.
    pub sessions: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Shape)]
#[table("messages")]
struct Message {
    room: String,
    author: String,
    body: String,
    n: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Shape)]
#[table("counters")]
struct Counter {
    name: String,
    value: f64,
}

const SCHEMA: &str = r#"{"schemaValidation":true,"tables":[
  {"tableName":"messages",
   "indexes":[
     {"indexDescriptor":"by_room","fields":["room"]},
     {"indexDescriptor":"by_room_n","fields":["room","n"]},
     {"indexDescriptor":"by_author","fields":["author"]}],
   "documentType":{"type":"object","value":{
     "room":{"fieldType":{"type":"string"},"optional":false},
     "author":{"fieldType":{"type":"string"},"optional":false},
     "body":{"fieldType":{"type":"string"},"optional":false},
     "n":{"fieldType":{"type":"number"},"optional":false}}}},
  {"tableName":"counters",
   "indexes":[{"indexDescriptor":"by_name","fields":["name"]}],
   "documentType":{"type":"object","value":{
     "name":{"fieldType":{"type":"string"},"optional":false},
     "value":{"fieldType":{"type":"number"},"optional":false}}}}]}"#;

#[derive(Deserialize, Shape)]
struct Room {
    room: String,
}

#[derive(Deserialize, Shape)]
struct Name {
    name: String,
}

#[derive(Deserialize, Shape)]
struct Place {
    room: String,
    n: f64,
}

#[derive(Deserialize, Shape)]
struct Move {
    room: String,
    n: f64,
    to: String,
}

#[derive(Deserialize, Shape)]
struct SetAuthor {
    room: String,
    n: f64,
    author: String,
}

#[derive(Deserialize, Shape)]
struct ByAuthor {
    room: String,
    author: String,
}

#[derive(Deserialize, Shape)]
struct Body {
    room: String,
    body: String,
    n: f64,
}

#[derive(Deserialize, Shape)]
struct ById {
    id: Id<Message>,
}

#[derive(Deserialize, Shape)]
struct Transfer {
    from: String,
    to: String,
}

#[derive(Deserialize, Shape)]
struct Later {
    name: String,
    ms: f64,
}

#[derive(Deserialize, Shape)]
struct Burst {
    burst: f64,
    jobs: f64,
}

#[derive(Deserialize, Shape)]
struct Table {
    table: String,
}

#[derive(Deserialize, Shape)]
#[serde(rename_all = "camelCase")]
struct Page {
    room: String,
    #[serde(default)]
    descending: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    author: Option<String>,
    pagination_opts: PaginationOptions,
}

/// The application.
pub fn base() -> App {
    App::new("base")
        .schema(SCHEMA)
        .query("messages:list", list)
        .query("messages:after", after)
        .query("messages:firstBy", first_by)
        .query("messages:page", page)
        .query("messages:get", |ctx: &QueryCtx, args: ById| {
            Ok(ctx.db().get(args.id)?.into_iter().collect::<Vec<_>>())
        })
        .query("messages:mine", mine)
        .query("tables:all", |ctx: &QueryCtx, args: Table| -> Result<Vec<AnyDocument>> {
            ctx.db().query_table(&args.table).collect()
        })
        .query("counters:count", count)
        .query("counters:strict", strict)
        .query("users:me", me)
        .query("users:whoIf", who_if)
        .query("users:nested", nested)
        .internal_query("users:internal", |_: &QueryCtx, (): ()| Ok(1.0))
        .mutation("messages:send", send)
        .mutation("messages:sendNext", send_next)
        .mutation("messages:sendMine", send_mine)
        .mutation("messages:sendAndCount", send_and_count)
        .mutation("messages:move", move_message)
        .mutation("messages:setAuthor", set_author)
        .mutation("messages:remove", remove)
        .mutation("tables:insert", insert_any)
        .mutation("counters:incr", incr)
        .mutation("counters:getOrCreate", get_or_create)
        .mutation("counters:transfer", transfer)
        .mutation("counters:drop", drop_counter)
        .mutation("counters:fail", fail)
        .mutation("jobs:later", later)
        .mutation("jobs:burst", burst)
        .internal_mutation("jobs:tick", tick)
        .action("counters:act", act)
        .action("counters:echo", |_: functions::ActionCtx, args: Name| async move { Ok(args.name) })
        .action("counters:actAndThrow", act_and_throw)
}

fn list(ctx: &QueryCtx, args: Room) -> Result<Vec<Doc<Message>>> {
    ran("list");
    let rows = ctx.db().query::<Message>().with_index("by_room", |q| q.eq("room", &args.room));
    pause();
    rows.collect()
}

fn after(ctx: &QueryCtx, args: Place) -> Result<Vec<Doc<Message>>> {
    ctx.db()
        .query::<Message>()
        .with_index("by_room_n", |q| q.eq("room", &args.room).gt("n", args.n))
        .collect()
}

fn first_by(ctx: &QueryCtx, args: ByAuthor) -> Result<Vec<Doc<Message>>> {
    let first = ctx
        .db()
        .query::<Message>()
        .with_index("by_room_n", |q| q.eq("room", &args.room))
        .filter(|q| q.eq(q.field("author"), &args.author))
        .first()?;
    pause();
    Ok(first.into_iter().collect())
}

fn page(ctx: &QueryCtx, args: Page) -> Result<PaginationResult<Doc<Message>>> {
    let order = if args.descending { Order::Desc } else { Order::Asc };
    let query = ctx
        .db()
        .query::<Message>()
        .with_index("by_room_n", |q| q.eq("room", &args.room))
        .order(order);
    let query = match &args.author {
        Some(author) => query.filter(|q| q.eq(q.field("author"), author)),
        None => query,
    };
    query.paginate(&args.pagination_opts)
}

/// What the caller wrote; nothing for nobody.
fn mine(ctx: &QueryCtx, (): ()) -> Result<Vec<Doc<Message>>> {
    let Some(user) = ctx.auth().get_user_identity()? else { return Ok(Vec::new()) };
    ctx.db().query::<Message>().with_index("by_author", |q| q.eq("author", &user.subject)).collect()
}

fn find(ctx: &QueryCtx, name: &str) -> Result<Option<Doc<Counter>>> {
    ctx.db().query::<Counter>().with_index("by_name", |q| q.eq("name", name)).unique()
}

fn value_of(ctx: &QueryCtx, name: &str) -> Result<f64> {
    Ok(find(ctx, name)?.map_or(0.0, |counter| counter.value))
}

fn count(ctx: &QueryCtx, args: Name) -> Result<value::Value> {
    ran("count");
    let counter = find(ctx, &args.name)?;
    pause();
    Ok(counter.map_or(value::Value::Null, |counter| value::Value::from(counter.value)))
}

/// As `count`, but without a counter it fails with data.
fn strict(ctx: &QueryCtx, args: Name) -> Result<f64> {
    let counter = find(ctx, &args.name)?;
    ctx.log(format!("looked for {}", args.name));
    let missing = || application_error(object! { "code" => "missing", "name" => args.name });
    counter.map(|counter| counter.value).ok_or_else(missing)
}

fn subject(ctx: &QueryCtx) -> Result<value::Value> {
    let user = ctx.auth().get_user_identity()?;
    Ok(user.map_or(value::Value::Null, |user| value::Value::from(user.subject.as_str())))
}

fn me(ctx: &QueryCtx, (): ()) -> Result<value::Value> {
    ran("me");
    subject(ctx)
}

/// Asks who looks only where a counter exists, so it may begin to do so at any time.
fn who_if(ctx: &QueryCtx, args: Name) -> Result<value::Value> {
    match find(ctx, &args.name)? {
        Some(_) => subject(ctx),
        None => Ok(value::Value::from("anybody")),
    }
}

/// Two reads in two functions, one of them of the identity.
fn nested(ctx: &QueryCtx, args: Name) -> Result<Vec<value::Value>> {
    let count = ctx.run_query("counters:count", object! { "name" => args.name })?;
    Ok(vec![ctx.run_query("users:me", object! {})?, count])
}

fn send(ctx: &MutationCtx, args: Message) -> Result<Id<Message>> {
    pause();
    ctx.db().insert(args)
}

/// A message whose number is how many there were in the room.
fn send_next(ctx: &MutationCtx, args: Room) -> Result<f64> {
    let n = list(ctx, Room { room: args.room.clone() })?.len() as f64;
    let (author, body) = ("next".to_owned(), String::new());
    ctx.db().insert(Message { room: args.room, author, body, n })?;
    Ok(n)
}

fn send_mine(ctx: &MutationCtx, args: Body) -> Result<String> {
    let user = ctx.auth().get_user_identity()?.ok_or_else(|| error("Not authenticated"))?;
    let author = user.subject.clone();
    let Body { room, body, n } = args;
    ctx.db().insert(Message { room, author: author.clone(), body, n })?;
    Ok(author)
}

fn send_and_count(ctx: &MutationCtx, args: Message) -> Result<f64> {
    let name = args.room.clone();
    ctx.db().insert(args)?;
    bump(ctx, &name)
}

fn bump(ctx: &MutationCtx, name: &str) -> Result<f64> {
    let counter = find(ctx, name)?;
    pause();
    let value = counter.as_ref().map_or(0.0, |counter| counter.value) + 1.0;
    match counter {
        Some(counter) => ctx.db().patch(counter.id, object! { "value" => value })?,
        None => drop(ctx.db().insert(Counter { name: name.to_owned(), value })?),
    }
    Ok(value)
}

fn at(ctx: &MutationCtx, room: &str, n: f64) -> Result<Option<Doc<Message>>> {
    let found = ctx
        .db()
        .query::<Message>()
        .with_index("by_room_n", |q| q.eq("room", room).gte("n", n))
        .first()?;
    pause();
    Ok(found)
}

/// Moves the first message from `n` on to another room; gives its number, -1 if there is none.
fn move_message(ctx: &MutationCtx, args: Move) -> Result<f64> {
    let Some(message) = at(ctx, &args.room, args.n)? else { return Ok(-1.0) };
    ctx.db().patch(message.id, object! { "room" => args.to })?;
    Ok(message.n)
}

fn set_author(ctx: &MutationCtx, args: SetAuthor) -> Result<f64> {
    let Some(message) = at(ctx, &args.room, args.n)? else { return Ok(-1.0) };
    ctx.db().patch(message.id, object! { "author" => args.author })?;
    Ok(message.n)
}

fn remove(ctx: &MutationCtx, args: Place) -> Result<f64> {
    let Some(message) = at(ctx, &args.room, args.n)? else { return Ok(-1.0) };
    ctx.db().delete(message.id)?;
    Ok(message.n)
}

fn insert_any(ctx: &MutationCtx, args: Table) -> Result<String> {
    let id: DocumentId = ctx.db().insert_into(&args.table, object! {})?;
    Ok(id.to_string())
}

fn incr(ctx: &MutationCtx, args: Name) -> Result<f64> {
    ctx.log(format!("incr {}", args.name));
    bump(ctx, &args.name)
}

fn get_or_create(ctx: &MutationCtx, args: Name) -> Result<Id<Counter>> {
    let found = find(ctx, &args.name)?;
    pause();
    match found {
        Some(counter) => Ok(counter.id),
        None => ctx.db().insert(Counter { name: args.name, value: 0.0 }),
    }
}

/// Takes one from a counter that has something, and gives it to another; the values after it, and
/// how much was given.
fn transfer(ctx: &MutationCtx, args: Transfer) -> Result<Vec<f64>> {
    let from = value_of(ctx, &args.from)?;
    pause();
    if from < 1.0 || args.from == args.to {
        return Ok(vec![from, value_of(ctx, &args.to)?, 0.0]);
    }
    let source = find(ctx, &args.from)?.ok_or_else(|| error("a counter vanished"))?;
    ctx.db().patch(source.id, object! { "value" => from - 1.0 })?;
    Ok(vec![from - 1.0, bump(ctx, &args.to)?, 1.0])
}

fn drop_counter(ctx: &MutationCtx, args: Name) -> Result<f64> {
    let found = find(ctx, &args.name)?;
    pause();
    let Some(counter) = found else { return Ok(-1.0) };
    ctx.db().delete(counter.id)?;
    Ok(counter.value)
}

/// Writes, then throws what it read: nothing of it may stay.
fn fail(ctx: &MutationCtx, args: Name) -> Result<f64> {
    let value = bump(ctx, &args.name)? - 1.0;
    Err(application_error(object! { "value" => value }))
}

/// Has a row written later.
fn later(ctx: &MutationCtx, args: Later) -> Result<()> {
    let delay = Duration::from_millis(args.ms as u64);
    ctx.scheduler().run_after(delay, "jobs:tick", object! { "name" => args.name })?;
    pause();
    Ok(())
}

/// Has many rows written now, each by a job of its own.
fn burst(ctx: &MutationCtx, args: Burst) -> Result<()> {
    for job in 0..args.jobs as u64 {
        let name = format!("{}/{job}", args.burst);
        ctx.scheduler().run_after(Duration::ZERO, "jobs:tick", object! { "name" => name })?;
    }
    Ok(())
}

/// A job is nobody's, whoever had it scheduled.
fn tick(ctx: &MutationCtx, args: Name) -> Result<()> {
    if ctx.auth().get_user_identity()?.is_some() {
        return Err(error("a job has the identity of a caller"));
    }
    pause();
    ctx.db().insert_into("ticks", object! { "name" => args.name }).map(|_| ())
}

async fn act(ctx: functions::ActionCtx, args: Name) -> Result<value::Value> {
    ctx.run_mutation("counters:incr", object! { "name" => args.name }).await
}

/// What an action has done stays done when it throws.
async fn act_and_throw(ctx: functions::ActionCtx, args: Name) -> Result<()> {
    ctx.log("about to throw");
    ctx.run_mutation("counters:incr", object! { "name" => args.name }).await?;
    Err(application_error(object! { "code" => "thrown" }))
}

//! Cursors and journals of paginated queries, against a small table.
//!
//! The first byte says what the rest is: a cursor or journal as a stranger would send it, or the
//! content of one that this deployment sealed itself, which only a broken seal could bring in.

use std::sync::{Arc, LazyLock};

use engine::{Engine, Env, Head, ManualClock, SeededRandom};
use functions::instance::{InstanceSecret, Purpose};
use functions::{
    AnyDocument, App, Application, End, IdentityAccess, Order, PaginationOptions, PaginationResult,
    Parent, QueryCtx, Shape, Start,
};
use serde::Deserialize;
use store::MemoryStore;
use value::{Object, Timestamp, Value, object};

/// Rows of the table; half of them pass the filter of `m:odd`.
const ROWS: u32 = 12;
/// Bytes of the content of a cursor before its position: fingerprint, length and name.
const HEAD_BYTES: usize = 32 + 2 + INSTANCE.len();
const INSTANCE: &str = "fuzz";
const QUERIES: [&str; 3] = ["m:up", "m:down", "m:odd"];

const SCHEMA: &str = r#"{"schemaValidation":true,"tables":[
  {"tableName":"rows","indexes":[{"indexDescriptor":"by_n","fields":["n"]}]}]}"#;

struct World {
    app: Application,
    engine: Arc<Engine>,
    secret: InstanceSecret,
    /// For each query its numbers, and the cursors of its first two pages of five.
    queries: Vec<(Vec<f64>, [String; 2])>,
}

static WORLD: LazyLock<World> = LazyLock::new(World::new);

#[derive(Deserialize, Shape)]
#[serde(rename_all = "camelCase")]
struct Args {
    pagination_opts: PaginationOptions,
}

/// The first byte chooses the query and what the rest means.
pub fn cursors(data: &[u8]) {
    let Some((&mode, rest)) = data.split_first() else { return };
    let query = usize::from(mode >> 4) % QUERIES.len();
    match mode & 0x0f {
        0..4 => stranger(query, mode, &String::from_utf8_lossy(rest)),
        4..8 => sealed(query, mode, rest),
        8..12 => changed(query, rest),
        _ => options(query, rest),
    }
}

/// A text that somebody made up: refused, as cursor, end cursor and journal.
fn stranger(query: usize, mode: u8, text: &str) {
    let known = WORLD.queries.iter().any(|(_, cursors)| cursors.iter().any(|it| it == text));
    if known {
        return;
    }
    let end = match mode & 3 {
        0 => WORLD.page(query, object! { "numItems" => 5.0, "cursor" => text }, None),
        1 => {
            let options = object! { "numItems" => 5.0, "cursor" => (), "endCursor" => text };
            WORLD.page(query, options, None)
        }
        _ => WORLD.page(query, first(), Some(text)),
    };
    refused(&end);
    let secret = &WORLD.secret;
    assert_eq!(secret.open_deterministic(Purpose::Cursor, text), None);
    assert_eq!(secret.open(Purpose::QueryJournal, text), None);
}

/// Any content under our seal. With the head of a real cursor: any position, which is a place in the
/// order or nothing; a page is then a part of the whole list.
fn sealed(query: usize, mode: u8, content: &[u8]) {
    let secret = &WORLD.secret;
    let own = mode & 1 == 1;
    let mut bytes = Vec::new();
    if own {
        let cursor = &WORLD.queries[query].1[0];
        let real = secret.open_deterministic(Purpose::Cursor, cursor).expect("it is ours");
        bytes.extend_from_slice(&real[..HEAD_BYTES]);
    }
    bytes.extend_from_slice(content);
    let cursor = secret.seal_deterministic(Purpose::Cursor, &bytes);
    let journal = secret.seal(Purpose::QueryJournal, [5; 12], &bytes);
    let pages = [
        WORLD.page(query, object! { "numItems" => 5.0, "cursor" => cursor.as_str() }, None),
        WORLD.page(
            query,
            object! { "numItems" => 5.0, "cursor" => (), "endCursor" => cursor.as_str() },
            None,
        ),
        WORLD.page(query, first(), Some(&journal)),
    ];
    let is_position = matches!(content.split_first(), Some((0, []) | (1, _)));
    for end in &pages {
        if own && is_position {
            part(query, end);
        } else if !own {
            // A content with a right head by chance would be one of the real cursors.
            if end.result.is_ok() {
                part(query, end);
            }
        } else {
            refused(end);
        }
    }
    // After the start and up to the end at one place: together the whole list.
    if own && is_position {
        let (after, before) = (numbers(&pages[0]), numbers(&pages[1]));
        let all = &WORLD.queries[query].0;
        assert_eq!(&all[..before.len()], before);
        assert!(all[before.len()..].starts_with(&after), "{before:?} {after:?}");
    }
    let other = (query + 1) % QUERIES.len();
    let options = object! { "numItems" => 5.0, "cursor" => cursor.as_str() };
    if own {
        refused(&WORLD.page(other, options, None));
    }
}

/// A real cursor with a byte changed or an end cut off is nobody's.
fn changed(query: usize, data: &[u8]) {
    let [which, at, byte, ..] = data else { return };
    let cursor = &WORLD.queries[query].1[usize::from(*which & 1)];
    let mut bytes = cursor.clone().into_bytes();
    let at = usize::from(*at) % bytes.len();
    if *which & 2 == 0 {
        bytes[at] = *byte;
    } else {
        bytes.truncate(at);
    }
    let text = String::from_utf8_lossy(&bytes).into_owned();
    if text != *cursor {
        let options = object! { "numItems" => 5.0, "cursor" => text };
        refused(&WORLD.page(query, options, None));
    }
}

/// Any options, as the JSON of a client: an error, or a part of the list.
fn options(query: usize, data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let [first, second] = &WORLD.queries[query].1;
    let text = text.replace("<1>", first).replace("<2>", second);
    if let Ok(Value::Object(options)) = value::json::parse(&text) {
        let end = WORLD.page(query, options, None);
        if end.result.is_ok() {
            part(query, &end);
        }
    }
}

fn first() -> Object {
    object! { "numItems" => 5.0, "cursor" => () }
}

fn refused(end: &End) {
    let error = end.result.as_ref().expect_err("a foreign cursor is refused");
    assert!(error.message().contains("InvalidCursor"), "{}", error.message());
}

/// The page is a run of the whole list, and its cursor continues there.
fn part(query: usize, end: &End) {
    let all = &WORLD.queries[query].0;
    let page = numbers(end);
    let found = (0..=all.len()).any(|start| all[start..].starts_with(&page));
    assert!(found, "{page:?} of {all:?}");
    let result = end.result.as_ref().expect("a page").as_object().expect("an object");
    let text = |name: &str| result.get(name).and_then(Value::as_str).map(str::to_owned);
    let cursor = text("continueCursor").expect("a page has a cursor");
    let options = object! { "numItems" => 100.0, "cursor" => cursor.as_str() };
    let rest = numbers(&WORLD.page(query, options, None));
    assert!(all.ends_with(&rest));
    if let (Some(last), Some(next)) = (page.last(), rest.first()) {
        let place = |n: &f64| all.iter().position(|it| it == n);
        assert_eq!(place(last).map(|at| at + 1), place(next), "nothing between two pages");
    }
    if let Some(journal) = &end.journal {
        let again = WORLD.page(query, object! { "numItems" => 1.0, "cursor" => () }, Some(journal));
        assert!(again.result.is_ok(), "a journal is good for its own query");
    }
}

fn numbers(end: &End) -> Vec<f64> {
    let result = end.result.as_ref().expect("a page").as_object().expect("an object");
    let rows = result.get("page").and_then(Value::as_array).expect("rows");
    let number = |row: &Value| row.as_object().and_then(|row| row.get("n")?.as_f64());
    rows.iter().map(|row| number(row).expect("a row has a number")).collect()
}

impl World {
    fn new() -> World {
        let app = App::new("fuzz")
            .schema(SCHEMA)
            .query("m:up", |ctx: &QueryCtx, args: Args| list(ctx, &args, Order::Asc, 0.0))
            .query("m:down", |ctx: &QueryCtx, args: Args| list(ctx, &args, Order::Desc, 0.0))
            .query("m:odd", |ctx: &QueryCtx, args: Args| list(ctx, &args, Order::Asc, 6.0));
        let app = app.build().expect("a good application");
        let clock = Arc::new(ManualClock::new(Timestamp(1_700_000_000_000_000_000)));
        let env = Env { clock, random: Arc::new(SeededRandom::new(1)) };
        let store = Arc::new(MemoryStore::default());
        let engine = Engine::open(store, env, engine::Options::default()).expect("it opens");
        let schema = app.schema.clone().expect("it has a schema");
        engine.apply_schema(schema).expect("a good schema");
        engine.flush();
        let secret = InstanceSecret::new([9; 32]);
        let mut world = World { app, engine, secret, queries: Vec::new() };
        world.fill();
        for query in 0..QUERIES.len() {
            let all = world.page(query, object! { "numItems" => 100.0, "cursor" => () }, None);
            let one = world.page(query, first(), None);
            let options = object! { "numItems" => 3.0, "cursor" => cursor(&one) };
            let two = world.page(query, options, None);
            world.queries.push((numbers(&all), [cursor(&one), cursor(&two)]));
        }
        world
    }

    fn fill(&self) {
        let mut tx = self.engine.begin(Head::Durable);
        let table = value::TableName::new("rows").expect("a name");
        for n in 0..ROWS {
            tx.insert(&table, object! { "n" => f64::from(n) }).expect("a good row");
        }
        self.engine.commit(&mut tx, None).expect("nobody else writes");
        self.engine.flush();
    }

    fn page(&self, query: usize, options: Object, journal: Option<&str>) -> End {
        let function = self.app.registry.find(QUERIES[query], true).expect("it is declared");
        let start = Start {
            registry: Arc::new(self.app.registry.clone()),
            secret: Arc::new(self.secret.clone()),
            instance_name: Arc::from(INSTANCE),
            identity: IdentityAccess::anonymous(),
            now: Timestamp(1_700_000_000_000_000_000),
            seed: [0; 32],
            journal: journal.map(str::to_owned),
            parent: Parent::default(),
        };
        let args = vec![Value::Object(object! { "paginationOpts" => options })];
        functions::run(function, args, start, self.engine.begin(Head::Durable))
    }
}

fn cursor(end: &End) -> String {
    let result = end.result.as_ref().expect("a page").as_object().expect("an object");
    result.get("continueCursor").and_then(Value::as_str).expect("a cursor").to_owned()
}

fn list(
    ctx: &QueryCtx,
    args: &Args,
    order: Order,
    min: f64,
) -> functions::Result<PaginationResult<AnyDocument>> {
    ctx.db()
        .query_table("rows")
        .with_index("by_n", |q| q)
        .order(order)
        .filter(|q| q.gte(q.field("n"), min))
        .paginate(&args.pagination_opts)
}

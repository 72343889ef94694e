//! The functions of the benchmarks.

use functions::{App, Doc, Id, MutationCtx, QueryCtx, Result, Shape, object};
use serde::{Deserialize, Serialize};

const SCHEMA: &str = r#"{"schemaValidation":true,"tables":[
  {"tableName":"rows","indexes":[
     {"indexDescriptor":"by_room","fields":["room"]},
     {"indexDescriptor":"by_room_owner","fields":["room","owner"]}],
   "documentType":{"type":"object","value":{
     "room":{"fieldType":{"type":"string"},"optional":false},
     "owner":{"fieldType":{"type":"string"},"optional":false},
     "value":{"fieldType":{"type":"number"},"optional":false}}}}]}"#;

#[derive(Serialize, Deserialize, Shape)]
#[table("rows")]
struct Row {
    room: String,
    owner: String,
    value: f64,
}

#[derive(Deserialize, Shape)]
struct Room {
    room: String,
}

#[derive(Deserialize, Shape)]
struct Member {
    room: String,
    owner: String,
}

/// `bench:list`, `bench:put`, `bench:insert`, `bench:increment`.
pub(crate) fn app() -> App {
    App::new("bench")
        .schema(SCHEMA)
        .query("bench:list", list)
        .mutation("bench:put", put)
        .mutation("bench:insert", insert)
        .mutation("bench:increment", increment)
}

fn list(ctx: &QueryCtx<'_>, args: Room) -> Result<Vec<Doc<Row>>> {
    ctx.db().query::<Row>().with_index("by_room", |q| q.eq("room", &args.room)).collect()
}

fn put(ctx: &MutationCtx<'_>, args: Row) -> Result<()> {
    let existing = find(ctx, &args.room, &args.owner)?;
    match existing {
        Some(row) => ctx.db().patch(row.id, object! { "value" => args.value }),
        None => ctx.db().insert(args).map(drop),
    }
}

fn insert(ctx: &MutationCtx<'_>, args: Row) -> Result<Id<Row>> {
    ctx.db().insert(args)
}

fn increment(ctx: &MutationCtx<'_>, args: Member) -> Result<f64> {
    let Some(row) = find(ctx, &args.room, &args.owner)? else {
        let Member { room, owner } = args;
        return ctx.db().insert(Row { room, owner, value: 1.0 }).map(|_| 1.0);
    };
    let value = row.value + 1.0;
    ctx.db().patch(row.id, object! { "value" => value })?;
    Ok(value)
}

fn find(ctx: &MutationCtx<'_>, room: &str, owner: &str) -> Result<Option<Doc<Row>>> {
    let rows = ctx.db().query::<Row>();
    rows.with_index("by_room_owner", |q| q.eq("room", room).eq("owner", owner)).first()
}

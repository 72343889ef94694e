use value::{DocumentId, InternalId, TableNumber, Value, json, object};

use super::world::{Message, SCHEMA, World, message};
use crate::{App, Doc, Id, MutationCtx, Order, QueryCtx, Result, Shape, patch};
use serde::Deserialize;

#[derive(Deserialize, Shape)]
struct ById {
    id: Id<Message>,
}

#[derive(Deserialize, Shape)]
struct InRoom {
    room: String,
}

fn send(ctx: &MutationCtx, args: Message) -> Result<Id<Message>> {
    ctx.db().insert(args)
}

fn list(ctx: &QueryCtx, args: InRoom) -> Result<Vec<Doc<Message>>> {
    ctx.db().query::<Message>().with_index("by_room_n", |q| q.eq("room", &args.room)).collect()
}

fn app() -> App {
    App::new("chat")
        .schema(SCHEMA)
        .mutation("m:send", send)
        .query("m:list", list)
        .query("m:get", |ctx: &QueryCtx, args: ById| ctx.db().get(args.id))
        .mutation("m:delete", |ctx: &MutationCtx, args: ById| ctx.db().delete(args.id))
}

fn ns(value: &Value) -> Vec<f64> {
    let rows = value.as_array().unwrap().iter();
    rows.map(|row| row.as_object().unwrap().get("n").unwrap().as_f64().unwrap()).collect()
}

#[test]
fn documents_come_back_as_they_are_stored() {
    let world = World::new(app());
    let id = world.ok("m:send", message("a", 1.0));
    let got = world.ok("m:get", object! { "id" => id.clone() });
    let object = got.as_object().unwrap();
    assert_eq!(object.get("_id"), Some(&id));
    assert!(object.get("_creationTime").unwrap().as_f64().unwrap() > 1.7e12);
    assert_eq!(object.get("reply"), None);
    let other = object! { "room" => "a", "n" => 2.0, "reply" => id.clone() };
    world.ok("m:send", other);
    let listed = world.ok("m:list", object! { "room" => "a" });
    assert_eq!(ns(&listed), [1.0, 2.0]);
    assert_eq!(listed.as_array().unwrap()[0], got);
    world.ok("m:delete", object! { "id" => id.clone() });
    assert_eq!(world.ok("m:get", object! { "id" => id }), Value::Null);
}

#[test]
fn every_type_of_value_survives_a_function() {
    #[derive(Debug, Deserialize, serde::Serialize, Shape)]
    #[table("things")]
    struct Thing {
        int: i64,
        small: u8,
        bytes: crate::Bytes,
        any: Value,
    }
    let app = app()
        .mutation("m:thing", |ctx: &MutationCtx, args: Thing| ctx.db().insert(args))
        .query("m:things", |ctx: &QueryCtx, (): ()| ctx.db().query::<Thing>().collect())
        .query("m:any", |ctx: &QueryCtx, (): ()| ctx.db().query_table("things").collect())
        .query("m:fields", |ctx: &QueryCtx, (): ()| {
            let things = ctx.db().query::<Thing>().collect()?;
            Ok(things.into_iter().map(Doc::into_fields).collect::<Vec<_>>())
        });
    let world = World::new(app);
    let any = object! {
        "nan" => f64::NAN,
        "zero" => -0.0,
        "list" => vec![Value::Int64(1), Value::Float64(1.0), Value::Null, vec![1_u8].into()],
    };
    let thing = object! {
        "int" => i64::MIN, "small" => 255.0, "bytes" => vec![0_u8, 255], "any" => any,
    };
    world.ok("m:thing", thing.clone());
    for path in ["m:things", "m:any", "m:fields"] {
        let things = world.ok(path, object! {});
        let mut got = things.as_array().unwrap()[0].clone().into_object().unwrap();
        got.remove("_id");
        got.remove("_creationTime");
        assert_eq!(got, thing, "{path}");
    }
}

#[test]
fn a_query_walks_an_index_within_bounds() {
    let app = app().query("m:walk", |ctx: &QueryCtx, (): ()| -> Result<Vec<Value>> {
        let db = ctx.db();
        let room = || db.query::<Message>();
        let numbers = |rows: Vec<Doc<Message>>| {
            Value::Array(rows.iter().map(|row| Value::from(row.n)).collect())
        };
        let after = room()
            .with_index("by_room_n", |q| q.eq("room", "a").gt("n", 1).lte("n", 3))
            .collect()?;
        let newest =
            room().with_index("by_room_n", |q| q.eq("room", "a")).order(Order::Desc).take(2)?;
        let filtered = room()
            .filter(|q| q.and([q.eq(q.field("room"), "a"), q.gte(q.field("n"), 3.0)]))
            .collect()?;
        let replies = room().filter(|q| q.neq(q.field("reply"), None::<f64>)).collect()?;
        let first = room().with_index("by_room_n", |q| q.eq("room", "b")).first()?;
        let only = room().with_index("by_room_n", |q| q.eq("room", "b")).unique()?;
        assert_eq!(first.map(|row| row.id), only.map(|row| row.id));
        assert_eq!(db.query::<Message>().count()?, 5);
        assert!(db.query_table("nowhere").first()?.is_none());
        assert_eq!(db.query_table("nowhere").count()?, 0);
        Ok(vec![numbers(after), numbers(newest), numbers(filtered), numbers(replies)])
    });
    let world = World::new(app);
    for n in [1.0, 2.0, 3.0, 4.0] {
        world.clock.advance_ms(1);
        world.ok("m:send", message("a", n));
    }
    world.ok("m:send", message("b", 9.0));
    let walked = world.ok("m:walk", object! {});
    assert_eq!(json::to_string(&walked), "[[2.0,3.0],[4.0,3.0],[3.0,4.0],[]]");
}

#[test]
fn mistakes_in_a_query_are_its_error() {
    let app = app()
        .query("m:unique", |ctx: &QueryCtx, (): ()| {
            ctx.db().query::<Message>().unique().map(|_| ())
        })
        .query("m:noIndex", |ctx: &QueryCtx, (): ()| {
            ctx.db().query::<Message>().with_index("by_x", |q| q).first().map(|_| ())
        })
        .query("m:badField", |ctx: &QueryCtx, (): ()| {
            let query = ctx.db().query::<Message>();
            query.with_index("by_room_n", |q| q.eq("n", 1)).first().map(|_| ())
        })
        .query("m:badName", |ctx: &QueryCtx, (): ()| {
            ctx.db().query_table("no table").first().map(|_| ())
        })
        .query("m:system", |ctx: &QueryCtx, (): ()| {
            ctx.db().query_table("_scheduled_jobs").first().map(|_| ())
        })
        .query("m:userAsSystem", |ctx: &QueryCtx, (): ()| {
            ctx.db().system().query_table("messages").first().map(|_| ())
        })
        .query("m:badFilter", |ctx: &QueryCtx, (): ()| {
            ctx.db().query::<Message>().filter(|q| q.field("n")).first().map(|_| ())
        })
        .mutation("m:intoSystem", |ctx: &MutationCtx, (): ()| {
            ctx.db().insert_into("_storage", object! {}).map(|_| ())
        });
    let world = World::new(app);
    world.ok("m:send", message("a", 1.0));
    world.ok("m:send", message("a", 2.0));
    let check = |path: &str, expected: &str| {
        let message = world.fails(path, object! {});
        assert!(message.contains(expected), "{path}: {message}");
    };
    check(
        "m:unique",
        "Uncaught Error: unique() query returned more than one result from table messages",
    );
    check("m:noIndex", "Index messages.by_x not found.");
    check("m:badField", "needs an equality on \"room\"");
    check("m:badName", "table name");
    check("m:system", "System table \"_scheduled_jobs\" is not accessible here");
    check("m:userAsSystem", "\"messages\" is not a system table");
    check("m:badFilter", "boolean");
    check("m:intoSystem", "_storage");
}

#[test]
fn patches_merge_remove_and_elide() {
    let app = app()
        .mutation("m:patch", |ctx: &MutationCtx, args: ById| {
            ctx.db().patch(args.id, patch! { "n" => 5, "reply" => args.id })
        })
        .mutation("m:unreply", |ctx: &MutationCtx, args: ById| {
            let nobody: Option<Id<Message>> = None;
            ctx.db().patch(args.id, patch! { "reply" => nobody })
        })
        .mutation("m:plain", |ctx: &MutationCtx, args: ById| {
            ctx.db().patch(args.id, object! { "n" => 5.0 })
        })
        .mutation("m:replace", |ctx: &MutationCtx, args: ById| {
            ctx.db().replace(&args.id, Message::new("b", 6.0))
        })
        .mutation("m:broken", |ctx: &MutationCtx, args: ById| {
            ctx.db().patch(args.id, patch! { "room" => 5 })
        });
    let world = World::new(app);
    let id = world.ok("m:send", message("a", 1.0));
    let args = || object! { "id" => id.clone() };
    let stored = || world.ok("m:get", args()).into_object().unwrap();
    let created = stored().get("_creationTime").cloned();
    world.ok("m:patch", args());
    assert_eq!(stored().get("reply"), Some(&id));
    world.ok("m:unreply", args());
    assert_eq!(stored().get("reply"), None);
    assert_eq!(stored().get("n"), Some(&Value::from(5.0)));
    assert!(!world.run("m:plain", args()).transaction.has_writes(), "nothing changes");
    world.ok("m:replace", args());
    assert_eq!(stored().get("room"), Some(&Value::from("b")));
    assert_eq!(stored().get("_creationTime"), created.as_ref());
    let message = world.fails("m:broken", args());
    assert!(message.contains("does not match the schema"), "{message}");
    assert_eq!(stored().get("room"), Some(&Value::from("b")));
}

#[test]
fn ids_of_other_tables_are_refused() {
    let app = app()
        .mutation("m:room", |ctx: &MutationCtx, (): ()| {
            ctx.db().insert_into("rooms", object! {}).map(|id| id.to_string())
        })
        .query("m:anyGet", |ctx: &QueryCtx, args: BTree| {
            let id: DocumentId = args["id"].parse().unwrap();
            ctx.db().get(Id::<Message>::from_document_id(id)).map(|_| ())
        })
        .query("m:normalize", |ctx: &QueryCtx, args: BTree| {
            Ok(ctx.db().normalize_id::<Message>(&args["id"]).is_some())
        });
    type BTree = std::collections::BTreeMap<String, String>;
    // Arguments of a record are no object validator, so the id comes unchecked.
    let world = World::new(app);
    let room = world.ok("m:room", object! {});
    let message_id = world.ok("m:send", message("a", 1.0));
    let args = |id: &Value| object! { "id" => id.clone() };
    let text = world.fails("m:anyGet", args(&room));
    assert!(
        text.contains("expected an id of table 'messages'") && text.contains("'rooms'"),
        "{text}"
    );
    let unknown = DocumentId::new(TableNumber(60_000), InternalId([1; 16])).to_string();
    world.ok("m:anyGet", args(&Value::from(unknown.as_str())));
    let text = world.fails("m:get", args(&room));
    assert!(text.starts_with("ArgumentValidationError: "), "{text}");
    let text = world.fails("m:get", args(&Value::from("no id")));
    assert!(text.starts_with("ArgumentValidationError: Value does not match validator."), "{text}");
    assert_eq!(world.ok("m:normalize", args(&message_id)), Value::from(true));
    assert_eq!(world.ok("m:normalize", args(&room)), Value::from(false));
    assert_eq!(world.ok("m:normalize", args(&Value::from("x"))), Value::from(false));
    world.ok("m:delete", args(&message_id));
    let text = world.fails("m:delete", args(&message_id));
    assert!(text.contains("Delete on nonexistent document"), "{text}");
}

use serde::Deserialize;
use value::{Object, Value, object};

use super::world::{Message, SCHEMA, World, message};
use crate::{
    App, Doc, Error, Id, MutationCtx, Order, PaginationOptions, PaginationResult, Parent, QueryCtx,
    Result, Shape,
};

#[derive(Deserialize, Shape)]
#[serde(rename_all = "camelCase")]
struct Paged {
    room: String,
    #[serde(default)]
    descending: bool,
    #[serde(default)]
    min: f64,
    pagination_opts: PaginationOptions,
}

fn page(ctx: &QueryCtx, args: Paged) -> Result<PaginationResult<Doc<Message>>> {
    ctx.db()
        .query::<Message>()
        .with_index("by_room_n", |q| q.eq("room", &args.room))
        .order(if args.descending { Order::Desc } else { Order::Asc })
        .filter(|q| q.gte(q.field("n"), args.min))
        .paginate(&args.pagination_opts)
}

fn world(rows: u32) -> std::sync::Arc<World> {
    let app = App::new("chat")
        .schema(SCHEMA)
        .mutation("m:send", |ctx: &MutationCtx, args: Message| ctx.db().insert(args))
        .mutation("m:delete", |ctx: &MutationCtx, args: ById| ctx.db().delete(args.id))
        .query("m:page", page)
        .query("m:twice", |ctx: &QueryCtx, args: PaginationOptions| {
            ctx.db().query::<Message>().paginate(&args)?;
            ctx.db().query::<Message>().paginate(&args).map(|_| ())
        })
        .query("m:nested", |ctx: &QueryCtx, (): ()| {
            ctx.run_query("m:page", first("a", 1.0))?;
            ctx.run_query("m:page", first("a", 1.0)).map(|_| ())
        })
        .query("m:unknown", |ctx: &QueryCtx, args: PaginationOptions| {
            let page = ctx.db().query_table("later").paginate(&args)?;
            Ok(page.map(|_| 0.0))
        })
        .mutation("m:later", |ctx: &MutationCtx, (): ()| {
            ctx.db().insert_into("later", object! {}).map(|_| ())
        });
    let world = World::new(app);
    for n in 1..=rows {
        world.ok("m:send", message("a", f64::from(n)));
    }
    world.ok("m:send", message("b", 100.0));
    world
}

#[derive(Deserialize, Shape)]
struct ById {
    id: Id<Message>,
}

fn options(items: f64, cursor: Option<&str>) -> Object {
    object! { "numItems" => items, "cursor" => cursor }
}

fn with(room: &str, options: Object) -> Object {
    object! { "room" => room, "paginationOpts" => options }
}

fn first(room: &str, items: f64) -> Object {
    with(room, options(items, None))
}

/// The numbers of a page, whether it is the last, its cursor, its split cursor and status.
#[derive(Clone, Debug)]
struct Page {
    numbers: Vec<f64>,
    ids: Vec<Value>,
    done: bool,
    cursor: String,
    split: Option<String>,
    status: Option<String>,
}

fn read(value: Value) -> Page {
    let value = value.into_object().unwrap();
    let text = |name: &str| value.get(name).unwrap().as_str().map(str::to_string);
    let rows = value.get("page").unwrap().as_array().unwrap();
    let rows: Vec<_> = rows.iter().map(|row| row.as_object().unwrap()).collect();
    Page {
        numbers: rows.iter().map(|row| row.get("n").unwrap().as_f64().unwrap()).collect(),
        ids: rows.iter().map(|row| row.get("_id").unwrap().clone()).collect(),
        done: value.get("isDone").unwrap().as_bool().unwrap(),
        cursor: text("continueCursor").unwrap(),
        split: text("splitCursor"),
        status: text("pageStatus"),
    }
}

fn is_invalid_cursor(error: &Error) -> bool {
    let data = error.data().map(ToString::to_string);
    data.as_deref() == Some(r#"{isConvexSystemError: true, paginationError: "InvalidCursor"}"#)
        && error.message().contains("InvalidCursor")
}

#[test]
fn pages_cover_everything_once_in_both_directions() {
    let world = world(12);
    for (descending, items) in [(false, 5.0), (true, 5.0), (false, 1.0), (true, 12.0)] {
        let mut cursor = None;
        let mut seen = Vec::new();
        for _ in 0..20 {
            let mut args = with("a", options(items, cursor.as_deref()));
            args.insert("descending", descending);
            let page = read(world.ok("m:page", args));
            seen.extend(page.numbers);
            cursor = Some(page.cursor);
            if page.done {
                break;
            }
        }
        let mut expected: Vec<f64> = (1..=12).map(f64::from).collect();
        if descending {
            expected.reverse();
        }
        assert_eq!(seen, expected);
        // The end stays the end.
        let mut args = with("a", options(items, cursor.as_deref()));
        args.insert("descending", descending);
        let page = read(world.ok("m:page", args));
        assert!(page.numbers.is_empty() && page.done && Some(page.cursor) == cursor);
    }
}

#[test]
fn a_cursor_is_a_position_and_not_a_document() {
    let world = world(12);
    let page = read(world.ok("m:page", first("a", 5.0)));
    let next = read(world.ok("m:page", with("a", options(5.0, Some(&page.cursor)))));
    world.ok("m:delete", object! { "id" => page.ids[4].clone() });
    world.ok("m:delete", object! { "id" => next.ids[0].clone() });
    let next = read(world.ok("m:page", with("a", options(5.0, Some(&page.cursor)))));
    assert_eq!(next.numbers, [7.0, 8.0, 9.0, 10.0, 11.0]);
}

#[test]
fn an_end_cursor_and_a_journal_keep_the_bounds_of_a_page() {
    let world = world(6);
    let ran = world.run("m:page", first("a", 3.0));
    let journal = ran.journal.unwrap();
    let page = read(ran.result.unwrap());
    assert_eq!(page.numbers, [1.0, 2.0, 3.0]);
    world.ok("m:send", message("a", 2.5));
    world.ok("m:send", message("a", 0.5));

    let mut start = world.start(Parent::default());
    start.journal = Some(journal.clone());
    let again = world.run_with("m:page", first("a", 3.0), start);
    let second_journal = again.journal.clone().unwrap();
    let grown = read(again.result.unwrap());
    assert_eq!(grown.numbers, [0.5, 1.0, 2.0, 2.5, 3.0]);
    assert_eq!(grown.cursor, page.cursor, "equal positions are equal texts");
    assert_ne!(second_journal, journal, "journals have a nonce");

    let mut bounded = options(1.0, None);
    bounded.insert("endCursor", page.cursor.as_str());
    let explicit = read(world.ok("m:page", with("a", bounded)));
    assert_eq!(explicit.numbers, grown.numbers);
    assert!(!explicit.done);

    // The page behind starts where this one ends: no gap, nothing twice.
    let rest = read(world.ok("m:page", with("a", options(9.0, Some(&page.cursor)))));
    assert_eq!(rest.numbers, [4.0, 5.0, 6.0]);

    for bad in ["", "07", "junk", &page.cursor] {
        let mut start = world.start(Parent::default());
        start.journal = Some(bad.to_string());
        let error = world.run_with("m:page", first("a", 3.0), start).result.unwrap_err();
        assert!(is_invalid_cursor(&error), "{bad:?}: {error}");
    }
}

#[test]
fn cursors_of_other_queries_are_recognised() {
    let world = world(12);
    let page = read(world.ok("m:page", first("a", 5.0)));
    let check = |mut args: Object, field: &str, value: Value| {
        if !field.is_empty() {
            args.insert(field, value);
        }
        let error = world.run("m:page", args).result.unwrap_err();
        assert!(is_invalid_cursor(&error), "{error}");
    };
    let next = || options(5.0, Some(&page.cursor));
    check(with("b", next()), "", Value::Null);
    check(with("a", next()), "descending", true.into());
    check(with("a", next()), "min", 3.0.into());
    check(with("a", options(5.0, Some("junk"))), "", Value::Null);
    check(with("a", options(5.0, Some(""))), "", Value::Null);
    check(with("a", options(5.0, Some(&page.cursor[2..]))), "", Value::Null);

    let mut start = world.start(Parent::default());
    start.instance_name = "other".into();
    let error = world.run_with("m:page", with("a", next()), start).result.unwrap_err();
    assert!(is_invalid_cursor(&error));
    // Equal queries of anybody share cursors.
    assert_eq!(read(world.ok("m:page", first("a", 5.0))).cursor, page.cursor);
}

#[test]
fn limits_of_a_page() {
    let world = world(12);
    let run = |mut options: Object, field: &str, value: f64, min: f64| {
        options.insert(field, value);
        let mut args = with("a", options);
        args.insert("min", min);
        world.run("m:page", args).result
    };
    let page = read(run(options(10.0, None), "maximumRowsRead", 4.0, 3.0).unwrap());
    assert_eq!(page.numbers, [3.0, 4.0], "dropped rows count");
    assert_eq!(page.status.as_deref(), Some("SplitRequired"));
    let split = page.split.unwrap();
    let mut half = options(10.0, None);
    half.insert("endCursor", split);
    let mut args = with("a", half);
    args.insert("min", 3.0);
    assert!(read(world.ok("m:page", args)).numbers.is_empty(), "the middle is after row 2");

    let page = read(run(options(9.0, None), "maximumRowsRead", 10.0, 0.0).unwrap());
    assert_eq!((page.numbers.len(), page.status.as_deref()), (9, Some("SplitRecommended")));
    let page = read(run(options(2.0, None), "maximumBytesRead", 1.0, 0.0).unwrap());
    assert_eq!((page.numbers.len(), page.status.as_deref()), (1, Some("SplitRequired")));
    let page = read(run(options(2.0, None), "id", 1.0, 0.0).unwrap());
    assert_eq!((page.split, page.status), (None, None), "two rows are not split");

    let code = |result: Result<Value>| result.unwrap_err().code();
    assert_eq!(code(run(options(0.0, None), "id", 1.0, 0.0)), Some("NoDocumentsForPagination"));
    assert_eq!(
        code(run(options(f64::NAN, None), "id", 1.0, 0.0)),
        Some("NoDocumentsForPagination")
    );
    assert_eq!(code(run(options(32_001.0, None), "id", 1.0, 0.0)), Some("PageSizeTooLarge"));
    let zero = run(options(1.0, None), "maximumRowsRead", 0.0, 0.0);
    assert_eq!(code(zero), Some("InvalidPaginationLimit"));
}

#[test]
fn one_page_in_each_function() {
    let world = world(3);
    let twice = world.run("m:twice", options(1.0, None)).result.unwrap_err();
    assert_eq!(twice.code(), Some("MultiplePaginatedDatabaseQueries"));
    let nested = world.run("m:nested", object! {});
    assert!(nested.result.is_ok());
    assert_eq!(nested.journal, None, "a journal belongs to the outermost function");
}

#[test]
fn a_page_of_a_table_that_appears_later() {
    let world = world(0);
    let ran = world.run("m:unknown", options(5.0, None));
    let journal = ran.journal.unwrap();
    assert_eq!(ran.result.unwrap().as_object().unwrap().get("isDone"), Some(&Value::from(true)));
    world.ok("m:later", object! {});
    let mut start = world.start(Parent::default());
    start.journal = Some(journal);
    let again = world.run_with("m:unknown", options(5.0, None), start).result.unwrap();
    assert_eq!(again.as_object().unwrap().get("page").unwrap().as_array().unwrap().len(), 1);
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(48))]

    /// Rows that were there all the time come exactly once and in order, whatever happens beside.
    #[test]
    fn a_walk_sees_what_stays(
        stay in proptest::collection::btree_set(0_u32..40, 0..12),
        changes in proptest::collection::vec((0_u32..40, proptest::bool::ANY), 0..12),
        items in 1_u32..5,
        descending in proptest::bool::ANY,
    ) {
        let world = world(0);
        for n in &stay {
            world.ok("m:send", message("a", f64::from(*n)));
        }
        let (mut cursor, mut seen, mut extra) = (None, Vec::new(), Vec::new());
        let mut changes = changes.into_iter();
        loop {
            let mut args = with("a", options(f64::from(items), cursor.as_deref()));
            args.insert("descending", descending);
            let page = read(world.ok("m:page", args));
            seen.extend(page.numbers);
            if page.done {
                break;
            }
            cursor = Some(page.cursor);
            match changes.next() {
                // Halves never meet the rows that stay.
                Some((n, true)) => {
                    extra.push(world.ok("m:send", message("a", f64::from(n) + 0.5)));
                }
                Some((_, false)) => {
                    if let Some(id) = extra.pop() {
                        world.ok("m:delete", object! { "id" => id });
                    }
                }
                None => {}
            }
        }
        let mut expected: Vec<f64> = stay.into_iter().map(f64::from).collect();
        if descending {
            expected.reverse();
        }
        let whole: Vec<f64> = seen.iter().copied().filter(|n| n.fract() == 0.0).collect();
        proptest::prop_assert_eq!(whole, expected);
        let sorted = seen.is_sorted_by(|a, b| if descending { a >= b } else { a <= b });
        proptest::prop_assert!(sorted, "{seen:?}");
    }
}

//! What queries and mutations ask of the database: system calls by name, JSON in and out.
//!
//! May trust nothing in their arguments: any code of a module can call them. Source:
//! spec/function-runtime.md 4, 5.

use std::time::Duration;

use functions::{
    AnyDocument, Error, Id, LogLevel, MutationCtx, PaginationOptions, PaginationResult, Patch,
    QueryCtx, QueryPlan, Result, Rows, UserIdentity,
};
use serde_json::{Value as Json, json};
use value::{DocumentId, Object, Value};

use crate::program::Program;
use crate::realm::{Mode, Outside, Refused, Waited};

/// Queries that one call may have open. The official limit is that of databases queries.
pub(crate) const QUERIES_OPEN_MAX: usize = 4096;

/// The context of the running function.
#[derive(Clone, Copy)]
pub(crate) enum Ctx<'a> {
    Query(&'a QueryCtx<'a>),
    Mutation(&'a MutationCtx<'a>),
}

/// System calls of one run.
pub(crate) struct Syscalls<'a> {
    ctx: Ctx<'a>,
    program: &'a Program,
    /// Open queries by their number; None: cleaned up.
    rows: Vec<Option<Rows<'a, AnyDocument>>>,
    /// What ended the run from outside.
    pub(crate) stopped_by: Option<Error>,
}

impl<'a> Ctx<'a> {
    fn reading(self) -> &'a QueryCtx<'a> {
        match self {
            Ctx::Query(ctx) => ctx,
            Ctx::Mutation(ctx) => ctx,
        }
    }

    /// Errors: the function is a query.
    fn writing(self) -> Result<&'a MutationCtx<'a>> {
        match self {
            Ctx::Mutation(ctx) => Ok(ctx),
            Ctx::Query(_) => Err(functions::error("a query cannot write")),
        }
    }
}

impl<'a> Syscalls<'a> {
    pub(crate) fn new(ctx: Ctx<'a>, program: &'a Program) -> Self {
        Syscalls { ctx, program, rows: Vec::new(), stopped_by: None }
    }

    fn sync(&mut self, op: &str, args: &Json) -> Result<Json> {
        match op {
            "1.0/queryStream" => self.query_stream(args),
            "1.0/queryCleanup" => {
                let open = self.open_query(args, "queryCleanup")?;
                Ok(json!(open.is_some_and(|rows| rows.take().is_some())))
            }
            "1.0/db/normalizeId" => {
                let (table, id) = (text(args, "table", op)?, text(args, "idString", op)?);
                let id = self.ctx.reading().db().normalize_table_id(table, id);
                Ok(json!({ "id": id.map(|id| id.to_string()) }))
            }
            _ => Err(functions::error(format!("Unknown operation {op}"))),
        }
    }

    fn query_stream(&mut self, args: &Json) -> Result<Json> {
        if self.rows.len() >= QUERIES_OPEN_MAX {
            return Err(functions::error(format!(
                "more than {QUERIES_OPEN_MAX} queries in one call"
            )));
        }
        let plan = QueryPlan::from_json(&args["query"])?;
        self.rows.push(Some(self.ctx.reading().db().query_plan(plan).iter()?));
        Ok(json!({ "queryId": self.rows.len() - 1 }))
    }

    fn open_query(
        &mut self,
        args: &Json,
        api: &str,
    ) -> Result<Option<&mut Option<Rows<'a, AnyDocument>>>> {
        let id = args["queryId"].as_u64().and_then(|id| usize::try_from(id).ok());
        let id = id.ok_or_else(|| invalid("queryId", api, "expected a number"))?;
        Ok(self.rows.get_mut(id))
    }

    fn answer(&mut self, op: &str, args: &Json) -> Result<Json> {
        let ctx = self.ctx;
        match op {
            "1.0/get" => self.get(args),
            "1.0/queryStreamNext" => {
                let open = self.open_query(args, "queryStreamNext")?.and_then(Option::as_mut);
                let rows = open.ok_or_else(|| functions::error("QueryNotFound: no such query"))?;
                Ok(match rows.next().transpose()? {
                    Some(row) => json!({ "value": document(&row), "done": false }),
                    None => json!({ "value": null, "done": true }),
                })
            }
            "1.0/queryPage" => self.page(args),
            "1.0/count" => {
                let table = text(args, "table", "db.count")?;
                let count = ctx.reading().db().query_table(table).count()?;
                Ok(value::json::to_json(&Value::Float64(count as f64)))
            }
            "1.0/insert" => {
                let fields = object(args, "value", "db.insert")?;
                let table = text(args, "table", "db.insert")?;
                let id = ctx.writing()?.db().insert_into(table, fields)?;
                Ok(json!({ "_id": id.to_string() }))
            }
            "1.0/shallowMerge" => {
                let id = self.id(args, "db.patch")?;
                let fields = value::json::patch_from_json(args["value"].clone())
                    .map_err(|error| invalid("value", "db.patch", &error.message))?;
                ctx.writing()?.db().patch(id, Patch::from(fields))?;
                Ok(Json::Null)
            }
            "1.0/replace" => {
                let id = self.id(args, "db.replace")?;
                let fields = object(args, "value", "db.replace")?;
                ctx.writing()?.db().replace_fields(id, fields)?;
                Ok(Json::Null)
            }
            "1.0/remove" => {
                let id = self.id(args, "db.delete")?;
                ctx.writing()?.db().delete(id)?;
                Ok(Json::Null)
            }
            "1.0/getUserIdentity" => {
                let identity = ctx.reading().auth().get_user_identity()?;
                Ok(identity.map_or(Json::Null, |user| identity_json(&user)))
            }
            "1.0/runUdf" => self.run_udf(args),
            "1.0/schedule" => self.schedule(args),
            "1.0/cancel_job" => {
                let id = document_id(args, "db.cancel_job")?;
                ctx.writing()?.scheduler().cancel(&Id::from_document_id(id))?;
                Ok(Json::Null)
            }
            _ => Err(functions::error(format!("Unknown async operation {op}"))),
        }
    }

    fn get(&self, args: &Json) -> Result<Json> {
        let id = self.id(args, "db.get")?;
        let db = self.ctx.reading().db();
        let found = match args["isSystem"].as_bool() {
            Some(true) => db.system().get(id)?,
            Some(false) | None => db.get(id)?,
        };
        Ok(found.map_or(Json::Null, |row| document(&row)))
    }

    /// The id in `args`; of the table in `args`, where one is given.
    fn id(&self, args: &Json, api: &str) -> Result<DocumentId> {
        let id = document_id(args, api)?;
        let Some(expected) = args["table"].as_str() else { return Ok(id) };
        match self.ctx.reading().db().table_of(id) {
            Some(table) if table.as_str() != expected => Err(invalid(
                "id",
                api,
                &format!("expected to be an Id<\"{expected}\">, got Id<\"{table}\"> instead."),
            )),
            Some(_) | None => Ok(id),
        }
    }

    fn page(&self, args: &Json) -> Result<Json> {
        let number = |name: &str| match &args[name] {
            Json::Null => Ok(None),
            Json::Number(number) => Ok(number.as_f64()),
            _ => Err(invalid(name, "queryPage", "expected a number")),
        };
        let cursor = |name: &str| match &args[name] {
            Json::Null => Ok(None),
            Json::String(cursor) => Ok(Some(cursor.clone())),
            _ => Err(invalid(name, "queryPage", "expected a string")),
        };
        let options = PaginationOptions {
            num_items: number("pageSize")?.unwrap_or(0.0),
            cursor: cursor("cursor")?,
            end_cursor: cursor("endCursor")?,
            id: None,
            maximum_rows_read: number("maximumRowsRead")?,
            maximum_bytes_read: number("maximumBytesRead")?,
        };
        let plan = QueryPlan::from_json(&args["query"])?;
        let page: PaginationResult<AnyDocument> =
            self.ctx.reading().db().query_plan(plan).paginate(&options)?;
        Ok(json!({
            "page": page.page.iter().map(document).collect::<Vec<_>>(),
            "isDone": page.is_done,
            "continueCursor": page.continue_cursor,
            "splitCursor": page.split_cursor,
            "pageStatus": page.page_status,
        }))
    }

    fn run_udf(&self, args: &Json) -> Result<Json> {
        let path = address(args)?;
        let arguments = object(args, "args", "runUdf")?;
        let result = match args["udfType"].as_str() {
            Some("query") => self.ctx.reading().run_query(path, arguments)?,
            Some("mutation") => match self.ctx {
                Ctx::Mutation(ctx) => ctx.run_mutation(path, arguments)?,
                Ctx::Query(_) => {
                    let text = "Cannot call a Mutation function from a Query function.";
                    return Err(Error::coded("InvalidFunctionCall", text));
                }
            },
            Some("snapshotQuery") => {
                return Err(functions::error("useStaleSnapshot is not supported yet"));
            }
            Some(_) | None => return Err(invalid("udfType", "runUdf", "no kind of function")),
        };
        Ok(value::json::to_json(&result))
    }

    fn schedule(&self, args: &Json) -> Result<Json> {
        let ctx = self.ctx.writing()?;
        let seconds = args["ts"].as_f64();
        let seconds = seconds.ok_or_else(|| invalid("ts", "scheduler", "expected a number"))?;
        let arguments = arguments(args, "scheduler")?;
        let id = ctx.scheduler().run_at(seconds * 1000.0, address(args)?, arguments)?;
        Ok(json!(id.to_string()))
    }

    /// An error as the function sees it; one of the system ends the run.
    fn refuse(&mut self, error: Error) -> Refused {
        match error {
            Error::Developer { message, code: _ } => Refused::Error { message, data: None },
            Error::Application { data, message } => {
                Refused::Error { message, data: Some(value::json::to_json(&data)) }
            }
            system @ Error::System { .. } => {
                let why = system.to_string();
                self.stopped_by = Some(system);
                Refused::Stop(why)
            }
        }
    }
}

impl Outside for Syscalls<'_> {
    fn syscall(&mut self, op: &str, args: &str) -> Result<String, Refused> {
        let answer = parsed(args).and_then(|args| self.sync(op, &args));
        answer.map(|json| json.to_string()).map_err(|error| self.refuse(error))
    }

    fn ask(&mut self, _number: u64, op: &str, args: &str) -> Option<Result<String, Refused>> {
        let answer = parsed(args).and_then(|args| self.answer(op, &args));
        Some(answer.map(|json| json.to_string()).map_err(|error| self.refuse(error)))
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
        self.ctx.reading().now()
    }

    fn fill_random(&mut self, bytes: &mut [u8]) {
        self.ctx.reading().fill_random(bytes);
    }

    fn env(&mut self, name: &str) -> Option<String> {
        self.program.env(name)
    }

    fn log(&mut self, level: &str, text: &str) {
        self.ctx.reading().log_at(log_level(level), text);
    }

    fn unavailable(&mut self, thing: &str) -> String {
        format!(
            "Can't use {thing} in queries and mutations. Please consider using an action. See \
             https://docs.convex.dev/functions/actions for more details."
        )
    }

    fn elapsed(&self) -> Duration {
        self.program.elapsed()
    }
}

/// The level of a line of `console`.
pub(crate) fn log_level(name: &str) -> LogLevel {
    match name {
        "DEBUG" => LogLevel::Debug,
        "INFO" => LogLevel::Info,
        "WARN" => LogLevel::Warn,
        "ERROR" => LogLevel::Error,
        _ => LogLevel::Log,
    }
}

pub(crate) fn parsed(args: &str) -> Result<Json> {
    serde_json::from_str(args)
        .map_err(|error| Error::coded("SyscallArgsInvalidJson", format!("invalid JSON: {error}")))
}

fn document(row: &AnyDocument) -> Json {
    let mut text = String::new();
    value::json::write_object(row.stored().body(), &mut text);
    serde_json::from_str(&text).expect("a document is written as JSON")
}

pub(crate) fn identity_json(user: &UserIdentity) -> Json {
    value::json::to_json(&user.to_value())
}

pub(crate) fn text<'j>(args: &'j Json, name: &str, api: &str) -> Result<&'j str> {
    args[name].as_str().ok_or_else(|| invalid(name, api, "expected a string"))
}

pub(crate) fn object(args: &Json, name: &str, api: &str) -> Result<Object> {
    let value = value::json::from_json(args[name].clone())
        .map_err(|error| invalid(name, api, &error.message))?;
    value.into_object().map_err(|_| invalid(name, api, "Value must be an Object"))
}

/// The arguments of a call: an object, or a list of one.
pub(crate) fn arguments(args: &Json, api: &str) -> Result<Object> {
    match &args["args"] {
        Json::Array(list) if list.len() == 1 => object(&json!({ "args": list[0] }), "args", api),
        _ => object(args, "args", api),
    }
}

pub(crate) fn document_id(args: &Json, api: &str) -> Result<DocumentId> {
    text(args, "id", api)?
        .parse()
        .map_err(|error: value::IdError| invalid("id", api, &error.to_string()))
}

/// The path of the function that a call names.
pub(crate) fn address(args: &Json) -> Result<&str> {
    if let Some(name) = args["name"].as_str() {
        return Ok(name);
    }
    if let Some(reference) = args["reference"].as_str() {
        return reference.strip_prefix("_reference/function/").ok_or_else(|| {
            functions::error(format!("components are not supported yet: {reference}"))
        });
    }
    if args["functionHandle"].is_string() {
        return Err(functions::error("function handles are not supported yet"));
    }
    Err(functions::error("Missing required argument 'name'"))
}

pub(crate) fn invalid(argument: &str, api: &str, cause: &str) -> Error {
    Error::coded("InvalidArgument", format!("Invalid argument `{argument}` for `{api}`: {cause}"))
}

//! The example frames in `schema/wire`: one file for each kind of message, read and written.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use crate::client::{AddQuery, CallRequest, Connect, ModifyQuerySet, QuerySetModification};
use crate::{
    CallError, ClientMessage, ImpersonatedUser, Modification, Outgoing, QueryId, QueryResult,
    RequestId, Token, Transition, Version,
};
use value::{ComponentPath, Timestamp, Value};

const REQUEST_ID: &str = "1f2e3d4c5b6a7988";

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../schema/wire")
}

fn example(name: &str) -> String {
    let text = std::fs::read_to_string(folder().join(name).with_extension("json")).unwrap();
    text.trim_end().to_owned()
}

fn lines(lines: &[&str]) -> Vec<String> {
    lines.iter().map(|line| (*line).to_owned()).collect()
}

fn error(detail: Option<&str>, data: Option<&str>) -> CallError {
    CallError {
        request_id: REQUEST_ID.to_owned(),
        detail: detail.map(str::to_owned),
        data: data.map(Arc::from),
    }
}

fn args(text: &str) -> Result<Vec<Value>, String> {
    Ok(vec![value::json::parse(text).unwrap()])
}

fn client_messages() -> Vec<(&'static str, ClientMessage)> {
    let claims = serde_json::json!({"issuer": "https://issuer", "subject": "user1", "name": "N"});
    let acting_as = ImpersonatedUser {
        token_identifier: String::from("https://issuer|user1"),
        claims: claims.as_object().unwrap().clone(),
    };
    let key = String::from("name|key");
    let jwt = String::from("header.claims.signature");
    let authenticate = |base, token| ClientMessage::Authenticate { base, token };
    vec![
        (
            "client-connect",
            ClientMessage::Connect(Connect {
                session: "13478595-f848-451a-93d5-7745e5088ed0".parse().unwrap(),
                connection_count: 3,
                last_close_reason: Some(String::from("InternalServerError")),
                max_observed: Some(Timestamp(1_000_000_001_000)),
                client_ts_ms: Some(1_795_569_625_493),
            }),
        ),
        ("client-modify-query-set", ClientMessage::ModifyQuerySet(modify_query_set())),
        (
            "client-mutation",
            ClientMessage::Mutation(call(
                "client-mutation",
                0,
                "messages:send",
                r#"{"body":"hi"}"#,
            )),
        ),
        (
            "client-action",
            ClientMessage::Action(call(
                "client-action",
                1,
                "dir/mod:default",
                r#"{"n":{"$integer":"AQAAAAAAAAA="}}"#,
            )),
        ),
        ("client-authenticate-none", authenticate(1, Token::None)),
        ("client-authenticate-user", authenticate(0, Token::User(jwt))),
        (
            "client-authenticate-admin",
            authenticate(3, Token::Admin { key, acting_as: Some(acting_as) }),
        ),
        ("client-event", ClientMessage::Event),
    ]
}

fn call(name: &str, request: u32, path: &str, arg: &str) -> CallRequest {
    CallRequest {
        request: RequestId(request),
        path: path.parse().unwrap(),
        args: args(arg),
        bytes: example(name).len(),
        component: ComponentPath::root(),
    }
}

fn modify_query_set() -> ModifyQuerySet {
    let (list, page) =
        (r#"{"channel":"general"}"#, r#"{"paginationOpts":{"cursor":null,"id":-1,"numItems":10}}"#);
    let modifications = vec![
        QuerySetModification::Add(AddQuery {
            query: QueryId(4),
            path: "messages:list".parse().unwrap(),
            args: args(list),
            bytes: 83,
            journal: None,
            component: ComponentPath::root(),
        }),
        QuerySetModification::Add(AddQuery {
            query: QueryId(5),
            path: "messages:page".parse().unwrap(),
            args: args(page),
            bytes: 167,
            journal: Some(String::from("opaque")),
            component: "presence".parse().unwrap(),
        }),
        QuerySetModification::Remove(QueryId(2)),
    ];
    ModifyQuerySet { base: 1, new: 2, modifications }
}

fn server_messages() -> Vec<(&'static str, Outgoing)> {
    let nope = Some(r#"{"code":"nope"}"#);
    vec![
        ("server-transition", Outgoing::Transition(transition())),
        (
            "server-mutation-response",
            Outgoing::mutation_success(
                RequestId(0),
                "\"id1\"",
                Timestamp(1_000_000_003_000),
                &lines(&["[LOG] 'x'"]),
            ),
        ),
        (
            "server-mutation-response-failed",
            Outgoing::mutation_failure(
                RequestId(2),
                &error(Some("Uncaught ConvexError: nope"), nope),
                &[],
            ),
        ),
        ("server-action-response", Outgoing::action_success(RequestId(3), r#"{"ok":true}"#, &[])),
        (
            "server-action-response-failed",
            Outgoing::action_failure(RequestId(4), &error(None, None), &[]),
        ),
        ("server-auth-error", Outgoing::auth_error("Could not verify token", 0, true)),
        (
            "server-fatal-error",
            Outgoing::fatal_error("Base version 0 passed up doesn't match the current version 1"),
        ),
        ("server-ping", Outgoing::ping()),
    ]
}

fn transition() -> Transition {
    let updated = QueryResult::success(r#"[{"body":"hi"}]"#, &[], None);
    let failed = QueryResult::failure(
        &error(Some("Uncaught Error: boom"), None),
        &lines(&["[LOG] 'before'"]),
        None,
    );
    let refused =
        QueryResult::failure(&error(None, Some(r#"{"code":"nope"}"#)), &[], Some("opaque"));
    Transition {
        start: Version { query_set: 1, identity: 0, ts: Timestamp(1_000_000_001_000) },
        end: Version { query_set: 2, identity: 0, ts: Timestamp(1_000_000_002_000) },
        modifications: vec![
            Modification::Result(QueryId(0), Arc::new(updated)),
            Modification::Result(QueryId(1), Arc::new(failed)),
            Modification::Result(QueryId(2), Arc::new(refused)),
            Modification::Removed(QueryId(3)),
        ],
        clock_skew_ms: Some(-12),
        chunks: true,
    }
}

#[test]
fn client_examples_are_read() {
    for (name, expected) in client_messages() {
        assert_eq!(ClientMessage::decode(&example(name)), Ok(expected), "{name}");
    }
}

#[test]
fn server_examples_are_written_to_the_byte() {
    for (name, message) in server_messages() {
        assert_eq!(message.into_frames(1_795_569_575_081_000_000), [example(name)], "{name}");
    }
}

#[test]
fn the_chunk_example_is_written_to_the_byte() {
    let text = format!("{{\"type\":\"Transition\",\"start{}", "x".repeat(48));
    let frames = crate::outgoing::chunk(&text, 27);
    assert_eq!(frames[0], example("server-transition-chunk"));
}

#[test]
fn every_example_is_checked() {
    let checked: BTreeSet<String> = client_messages()
        .iter()
        .map(|(name, _)| *name)
        .chain(server_messages().iter().map(|(name, _)| *name))
        .chain(["server-transition-chunk"])
        .map(|name| format!("{name}.json"))
        .collect();
    let entries = std::fs::read_dir(folder()).unwrap();
    let files: BTreeSet<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(files, checked);
}

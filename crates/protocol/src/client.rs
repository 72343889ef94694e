//! What clients send.
//!
//! Tolerant of field order, unknown fields and the spellings of all clients; strict on what would
//! otherwise be guessed. A value error inside `args` belongs to its own call (`Args`), everything
//! else wrong in a frame ends the connection. Source: spec/sync-protocol.md section 3.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;
use value::limits::{ARRAY_LENGTH_MAX, check_array_length, quoted};
use value::{ComponentPath, FunctionPath, Timestamp, Value};

use crate::error::{ErrorClass, SystemError, cut};
use crate::ids::{QueryId, RequestId, SessionId};
use crate::limits::{ARGS_BYTES_MAX, ERROR_TEXT_BYTES_MAX, MODIFICATIONS_MAX};

/// The arguments of a call, or why they are no arguments. Usually one object.
pub type Args = Result<Vec<Value>, String>;

/// One message of a client.
#[derive(Clone, Debug, PartialEq)]
pub enum ClientMessage {
    /// Opens the session.
    Connect(Connect),
    /// Adds and removes queries.
    ModifyQuerySet(ModifyQuerySet),
    /// Runs a mutation.
    Mutation(CallRequest),
    /// Runs an action.
    Action(CallRequest),
    /// Replaces the identity.
    Authenticate {
        /// The identity version that the client believes in.
        base: u32,
        /// The new credentials.
        token: Token,
    },
    /// Telemetry, never answered.
    Event,
}

/// Opens the session. Normally the first message; may be missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connect {
    /// The client's session.
    pub session: SessionId,
    /// Successful opens before this one.
    pub connection_count: u32,
    /// Why the connection before ended, for the log. `None` when the client does not say.
    pub last_close_reason: Option<String>,
    /// The greatest timestamp this client has seen.
    pub max_observed: Option<Timestamp>,
    /// The client's clock, Unix milliseconds.
    pub client_ts_ms: Option<i64>,
}

/// A step of the query set.
#[derive(Clone, Debug, PartialEq)]
pub struct ModifyQuerySet {
    /// The query set version that the client believes in.
    pub base: u32,
    /// The version after it.
    pub new: u32,
    /// In the order to be applied; may be empty.
    pub modifications: Vec<QuerySetModification>,
}

/// One change of the query set.
#[derive(Clone, Debug, PartialEq)]
pub enum QuerySetModification {
    /// Shows one more query.
    Add(AddQuery),
    /// Shows it no longer.
    Remove(QueryId),
}

/// A query to be shown.
#[derive(Clone, Debug, PartialEq)]
pub struct AddQuery {
    /// Chosen by the client.
    pub query: QueryId,
    /// The function.
    pub path: FunctionPath,
    /// Its arguments.
    pub args: Args,
    /// Bytes of the text it came in: what the session holds for it, in round terms.
    pub bytes: usize,
    /// A journal that the server handed out earlier.
    pub journal: Option<String>,
    /// Root unless an admin looks into a component.
    pub component: ComponentPath,
}

/// A mutation or an action to be run.
#[derive(Clone, Debug, PartialEq)]
pub struct CallRequest {
    /// Names the answer.
    pub request: RequestId,
    /// The function.
    pub path: FunctionPath,
    /// Its arguments.
    pub args: Args,
    /// Bytes of the text it came in: what the session holds for it, in round terms.
    pub bytes: usize,
    /// Root unless an admin looks into a component.
    pub component: ComponentPath,
}

/// Credentials, not yet verified.
#[derive(Clone, Debug, PartialEq)]
pub enum Token {
    /// Anonymous from now on.
    None,
    /// A JWT of an auth provider.
    User(String),
    /// A deploy or admin key, as sent.
    Admin {
        /// The key, with any prefix such as `prod:`.
        key: String,
        /// The user that the admin acts as.
        acting_as: Option<ImpersonatedUser>,
    },
}

/// A user described by an admin, as it will show in `ctx.auth`.
#[derive(Clone, Debug, PartialEq)]
pub struct ImpersonatedUser {
    /// Given, or `issuer|subject`.
    pub token_identifier: String,
    /// All claims under their wire names, `issuer`, `subject` and custom claims included.
    pub claims: serde_json::Map<String, serde_json::Value>,
}

impl ClientMessage {
    /// Reads one text frame.
    ///
    /// Errors are of class `BadRequest`: `WSMessageInvalidJson` with a text that starts
    /// `Received Invalid JSON on websocket: `, or `InvalidComponentPath`.
    pub fn decode(text: &str) -> Result<ClientMessage, SystemError> {
        let tag: Tag<'_> = parse(text)?;
        match &*tag.kind {
            "Connect" => parse::<ConnectFrame>(text)?.read(),
            "ModifyQuerySet" => parse::<ModifyQuerySetFrame<'_>>(text)?.read(),
            "Mutation" => call(text).map(ClientMessage::Mutation),
            "Action" => call(text).map(ClientMessage::Action),
            "Authenticate" => parse::<AuthenticateFrame>(text)?.read(),
            "Event" => Ok(ClientMessage::Event),
            unknown => Err(invalid(format!("unknown message type {}", quoted(unknown)))),
        }
    }
}

/// Frames as serde reads them. One struct for each type, since `RawValue` can not pass through
/// an enum that is tagged from inside.
#[derive(Deserialize)]
struct Tag<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ConnectFrame {
    session_id: String,
    connection_count: u32,
    last_close_reason: Option<String>,
    max_observed_timestamp: Option<String>,
    client_ts: Option<i64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ModifyQuerySetFrame<'a> {
    base_version: u32,
    new_version: u32,
    #[serde(borrow)]
    modifications: RawList<'a, MODIFICATIONS_MAX>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AddFrame<'a> {
    query_id: u32,
    udf_path: String,
    #[serde(borrow)]
    args: RawList<'a, ARRAY_LENGTH_MAX>,
    journal: Option<String>,
    component_path: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RemoveFrame {
    query_id: u32,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CallFrame<'a> {
    request_id: u32,
    udf_path: String,
    #[serde(borrow)]
    args: RawList<'a, ARRAY_LENGTH_MAX>,
    component_path: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AuthenticateFrame {
    base_version: u32,
    token_type: String,
    value: Option<String>,
    impersonating: Option<serde_json::Map<String, serde_json::Value>>,
    #[serde(rename = "acting_as")]
    acting_as: Option<serde_json::Map<String, serde_json::Value>>,
}

impl ConnectFrame {
    fn read(self) -> Result<ClientMessage, SystemError> {
        let max_observed = match self.max_observed_timestamp.as_deref().map(Timestamp::from_wire) {
            Some(Ok(ts)) => Some(ts),
            Some(Err(error)) => return Err(invalid(format!("maxObservedTimestamp: {error}"))),
            None => None,
        };
        Ok(ClientMessage::Connect(Connect {
            session: self.session_id.parse().map_err(invalid)?,
            connection_count: self.connection_count,
            last_close_reason: self.last_close_reason,
            max_observed,
            client_ts_ms: self.client_ts,
        }))
    }
}

impl ModifyQuerySetFrame<'_> {
    fn read(self) -> Result<ClientMessage, SystemError> {
        let RawList { kept, count } = self.modifications;
        if count > kept.len() {
            return Err(invalid(format!(
                "{count} modifications, the limit is {MODIFICATIONS_MAX}"
            )));
        }
        let modifications = kept.into_iter().map(modification).collect::<Result<Vec<_>, _>>()?;
        let (base, new) = (self.base_version, self.new_version);
        Ok(ClientMessage::ModifyQuerySet(ModifyQuerySet { base, new, modifications }))
    }
}

fn modification(raw: &RawValue) -> Result<QuerySetModification, SystemError> {
    let tag: Tag<'_> = parse(raw.get())?;
    match &*tag.kind {
        "Add" => {
            let frame: AddFrame<'_> = parse(raw.get())?;
            Ok(QuerySetModification::Add(AddQuery {
                query: QueryId(frame.query_id),
                path: function_path(&frame.udf_path)?,
                args: read_args(&frame.args),
                bytes: raw.get().len(),
                journal: frame.journal,
                component: component_path(frame.component_path)?,
            }))
        }
        "Remove" => {
            let frame: RemoveFrame = parse(raw.get())?;
            Ok(QuerySetModification::Remove(QueryId(frame.query_id)))
        }
        unknown => Err(invalid(format!("unknown modification type {}", quoted(unknown)))),
    }
}

fn call(text: &str) -> Result<CallRequest, SystemError> {
    let frame: CallFrame<'_> = parse(text)?;
    Ok(CallRequest {
        request: RequestId(frame.request_id),
        path: function_path(&frame.udf_path)?,
        args: read_args(&frame.args),
        bytes: text.len(),
        component: component_path(frame.component_path)?,
    })
}

impl AuthenticateFrame {
    fn read(self) -> Result<ClientMessage, SystemError> {
        let value = || self.value.clone().ok_or_else(|| invalid("missing field `value`"));
        let token = match &*self.token_type {
            "None" => Token::None,
            "User" => Token::User(value()?),
            "Admin" => Token::Admin {
                key: value()?,
                acting_as: match self.impersonating.or(self.acting_as) {
                    Some(claims) => Some(ImpersonatedUser::read(claims)?),
                    None => None,
                },
            },
            unknown => return Err(invalid(format!("unknown token type {}", quoted(unknown)))),
        };
        Ok(ClientMessage::Authenticate { base: self.base_version, token })
    }
}

/// The claims with a fixed type. Every other key is a custom claim of any type.
const TEXT_CLAIMS: [&str; 19] = [
    "tokenIdentifier",
    "issuer",
    "subject",
    "name",
    "givenName",
    "familyName",
    "nickname",
    "preferredUsername",
    "profileUrl",
    "pictureUrl",
    "websiteUrl",
    "email",
    "gender",
    "birthday",
    "timezone",
    "language",
    "phoneNumber",
    "address",
    "updatedAt",
];
const BOOLEAN_CLAIMS: [&str; 2] = ["emailVerified", "phoneNumberVerified"];

impl ImpersonatedUser {
    fn read(
        mut claims: serde_json::Map<String, serde_json::Value>,
    ) -> Result<ImpersonatedUser, SystemError> {
        let known = |key: &str| TEXT_CLAIMS.contains(&key) || BOOLEAN_CLAIMS.contains(&key);
        claims.retain(|key, claim| !(claim.is_null() && known(key)));
        for key in TEXT_CLAIMS {
            if claims.get(key).is_some_and(|claim| !claim.is_string()) {
                return Err(invalid(format!("claim {key:?} must be a string")));
            }
        }
        for key in BOOLEAN_CLAIMS {
            if claims.get(key).is_some_and(|claim| !claim.is_boolean()) {
                return Err(invalid(format!("claim {key:?} must be a boolean")));
            }
        }
        let text = |key: &str| claims.get(key).and_then(|claim| claim.as_str());
        let token_identifier = match (text("tokenIdentifier"), text("issuer"), text("subject")) {
            (Some(identifier), _, _) => identifier.to_owned(),
            (None, Some(issuer), Some(subject)) => format!("{issuer}|{subject}"),
            (None, _, _) => {
                return Err(invalid("impersonation needs tokenIdentifier, or issuer and subject"));
            }
        };
        Ok(ImpersonatedUser { token_identifier, claims })
    }
}

fn read_args(raw: &RawList<'_, ARRAY_LENGTH_MAX>) -> Args {
    check_array_length(raw.count).map_err(|error| error.message)?;
    let mut args = Vec::with_capacity(raw.count);
    let mut size = 0;
    for value in &raw.kept {
        let value = value::json::parse(value.get()).map_err(|error| error.message)?;
        size += value.size();
        if size > ARGS_BYTES_MAX {
            return Err(format!("arguments are too large: {size} bytes of {ARGS_BYTES_MAX}"));
        }
        args.push(value);
    }
    Ok(args)
}

/// The first `MAX` items of a list, and how many there are: millions of items fit into one frame, and
/// each is smaller there than here.
#[derive(Default)]
struct RawList<'a, const MAX: usize> {
    kept: Vec<&'a RawValue>,
    count: usize,
}

impl<'de: 'a, 'a, const MAX: usize> Deserialize<'de> for RawList<'a, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(RawListVisitor(PhantomData))
    }
}

struct RawListVisitor<'a, const MAX: usize>(PhantomData<&'a RawValue>);

impl<'de: 'a, 'a, const MAX: usize> Visitor<'de> for RawListVisitor<'a, MAX> {
    type Value = RawList<'a, MAX>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a sequence")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut list = RawList::default();
        loop {
            if list.kept.len() < MAX {
                let Some(item) = seq.next_element()? else { break };
                list.kept.push(item);
            } else if seq.next_element::<IgnoredAny>()?.is_none() {
                break;
            }
            list.count += 1;
        }
        Ok(list)
    }
}

fn function_path(text: &str) -> Result<FunctionPath, SystemError> {
    FunctionPath::from_str(text)
        .map_err(|error| invalid(format!("udfPath {}: {error}", quoted(text))))
}

fn component_path(text: Option<String>) -> Result<ComponentPath, SystemError> {
    let Some(text) = text else { return Ok(ComponentPath::root()) };
    ComponentPath::from_str(&text).map_err(|error| {
        let message = format!("invalid component path {}: {error}", quoted(&text));
        let message = cut(&message, ERROR_TEXT_BYTES_MAX);
        SystemError::new(ErrorClass::BadRequest, "InvalidComponentPath", message)
    })
}

/// A JSON object. serde would take an array for a struct, too.
fn parse<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, SystemError> {
    if text.trim_ascii_start().starts_with('{') {
        serde_json::from_str(text).map_err(invalid)
    } else {
        Err(invalid("expected an object"))
    }
}

fn invalid(cause: impl std::fmt::Display) -> SystemError {
    let message = format!("Received Invalid JSON on websocket: {cause}");
    let message = cut(&message, ERROR_TEXT_BYTES_MAX);
    SystemError::new(ErrorClass::BadRequest, "WSMessageInvalidJson", message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check_refused(text: &str, code: &str, message: &str) {
        let error = ClientMessage::decode(text).unwrap_err();
        assert_eq!((error.class, &*error.code), (ErrorClass::BadRequest, code), "{text}");
        assert!(error.message.contains(message), "{text}: {}", error.message);
        if code == "WSMessageInvalidJson" {
            let start = "Received Invalid JSON on websocket: ";
            assert!(error.message.starts_with(start), "{}", error.message);
        }
    }

    fn check_invalid(text: &str, message: &str) {
        check_refused(text, "WSMessageInvalidJson", message);
    }

    const SESSION: &str = "00000000-0000-4000-8000-000000000001";

    #[test]
    fn what_is_no_message_is_refused() {
        check_invalid("", "expected an object");
        check_invalid("[\"Event\"]", "expected an object");
        check_invalid("{\"type\":\"Event\"", "EOF");
        check_invalid("{}", "missing field `type`");
        check_invalid("{\"type\":7}", "invalid type");
        check_invalid("{\"type\":\"Hello\"}", "unknown message type \"Hello\"");
    }

    #[test]
    fn lists_of_a_frame_are_bounded() {
        let zeros = |count: usize| vec!["0"; count].join(",");
        let call = |count: usize| {
            let args = zeros(count);
            let text =
                format!(r#"{{"type":"Mutation","requestId":0,"udfPath":"m:f","args":[{args}]}}"#);
            match ClientMessage::decode(&text) {
                Ok(ClientMessage::Mutation(call)) => call.args.map(|args| args.len()),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(call(ARRAY_LENGTH_MAX), Ok(ARRAY_LENGTH_MAX));
        let error = call(ARRAY_LENGTH_MAX + 1).unwrap_err();
        assert_eq!(error, "array has 8193 items, the limit is 8192");

        let modify = |count: usize| {
            let items = vec![r#"{"type":"Remove","queryId":0}"#; count].join(",");
            let start = r#"{"type":"ModifyQuerySet","baseVersion":0,"newVersion":1"#;
            ClientMessage::decode(&format!(r#"{start},"modifications":[{items}]}}"#))
        };
        assert!(modify(MODIFICATIONS_MAX).is_ok());
        let error = modify(MODIFICATIONS_MAX + 1).unwrap_err();
        assert!(error.message.ends_with("20001 modifications, the limit is 20000"), "{error}");
    }

    #[test]
    fn wrong_and_missing_fields_are_refused() {
        let connect = |fields: &str, message: &str| {
            check_invalid(&format!("{{\"type\":\"Connect\",{fields}}}"), message);
        };
        connect(r#""connectionCount":0"#, "missing field `sessionId`");
        connect(&format!(r#""sessionId":"{SESSION}""#), "missing field `connectionCount`");
        connect(r#""sessionId":"x","connectionCount":0"#, "invalid session id");
        let known = format!(r#""sessionId":"{SESSION}","connectionCount""#);
        connect(&format!("{known}:-1"), "invalid value");
        connect(&format!("{known}:0,\"clientTs\":1.5"), "invalid type");
        connect(&format!("{known}:0,\"maxObservedTimestamp\":\"AAAA\""), "maxObservedTimestamp");

        check_invalid(
            r#"{"type":"ModifyQuerySet","baseVersion":0,"newVersion":1}"#,
            "missing field `modifications`",
        );
        check_invalid(
            r#"{"type":"ModifyQuerySet","baseVersion":0,"newVersion":1,"modifications":[{"type":"X"}]}"#,
            "unknown modification type",
        );
        check_invalid(
            r#"{"type":"Mutation","requestId":0,"udfPath":"a:b"}"#,
            "missing field `args`",
        );
        check_invalid(
            r#"{"type":"Mutation","requestId":0,"udfPath":"a:b","args":{}}"#,
            "invalid type",
        );
        check_invalid(
            r#"{"type":"Action","requestId":4294967296,"udfPath":"a:b","args":[]}"#,
            "invalid value",
        );
        for token in [r#""User""#, r#""Admin""#, r#""Nobody","value":"x""#] {
            let text = format!(r#"{{"type":"Authenticate","baseVersion":0,"tokenType":{token}}}"#);
            check_invalid(&text, "");
        }
    }

    #[test]
    fn paths_follow_the_grammar() {
        let decode = |path: &str| {
            ClientMessage::decode(&format!(
                r#"{{"type":"Mutation","requestId":0,"udfPath":"{path}","args":[]}}"#
            ))
        };
        for path in ["foo.ts:bar", "foo-bar:x", "/x:y", "", ":", "a:1b", "a:__", "a/b:c-d"] {
            assert!(decode(path).is_err(), "{path}");
        }
        for (path, expected) in [
            ("mod", "mod:default"),
            ("dir/mod.js:act", "dir/mod:act"),
            ("messages:list", "messages:list"),
            ("_system/frontend/x:y", "_system/frontend/x:y"),
        ] {
            let ClientMessage::Mutation(call) = decode(path).unwrap() else { panic!("{path}") };
            assert_eq!(call.path.to_string(), expected);
        }
        check_refused(
            r#"{"type":"Action","requestId":0,"udfPath":"a","args":[],"componentPath":"a b!"}"#,
            "InvalidComponentPath",
            "a b!",
        );
    }

    #[test]
    fn null_and_unknown_fields_are_tolerated() {
        let text = format!(
            r#" {{"clientTs":null,"new":{{}},"maxObservedTimestamp":null,"lastCloseReason":null,
               "connectionCount":0,"sessionId":"{{{SESSION}}}","type":"Connect"}} "#
        );
        let expected = Connect {
            session: SESSION.parse().unwrap(),
            connection_count: 0,
            last_close_reason: None,
            max_observed: None,
            client_ts_ms: None,
        };
        assert_eq!(ClientMessage::decode(&text), Ok(ClientMessage::Connect(expected)));
    }

    #[test]
    fn impersonation_needs_to_know_whom() {
        let decode = |user: &str| {
            ClientMessage::decode(&format!(
                r#"{{"type":"Authenticate","baseVersion":0,"tokenType":"Admin","value":"k","acting_as":{user}}}"#
            ))
        };
        for user in [
            r#"{"issuer":"i"}"#,
            r#"{"issuer":"i","subject":null}"#,
            r#"{"tokenIdentifier":7}"#,
            r#"{"tokenIdentifier":"t","emailVerified":"yes"}"#,
        ] {
            assert!(decode(user).is_err(), "{user}");
        }
        let user =
            r#"{"tokenIdentifier":"t","issuer":"i","subject":"s","custom":null,"name":null}"#;
        let Ok(ClientMessage::Authenticate { token: Token::Admin { acting_as, .. }, .. }) =
            decode(user)
        else {
            panic!("refused")
        };
        let user = acting_as.unwrap();
        assert_eq!(user.token_identifier, "t");
        let claims: Vec<&str> = user.claims.keys().map(String::as_str).collect();
        assert_eq!(claims, ["custom", "issuer", "subject", "tokenIdentifier"]);
    }

    #[test]
    fn a_value_error_belongs_to_its_call() {
        let args = |args: &str| {
            let text =
                format!(r#"{{"type":"Action","requestId":0,"udfPath":"a:b","args":{args}}}"#);
            match ClientMessage::decode(&text) {
                Ok(ClientMessage::Action(call)) => call.args,
                other => panic!("{other:?}"),
            }
        };
        let deep = format!("[{}1{}]", "[".repeat(100_000), "]".repeat(100_000));
        for bad in [r#"[{"$integer":"x"}]"#, r#"[{"$x":1}]"#, "[1e999]", &deep] {
            assert!(args(bad).is_err(), "{}", &bad[..20.min(bad.len())]);
        }
        assert_eq!(args("[]"), Ok(vec![]));
        assert_eq!(args(r#"[1,"a"]"#), Ok(vec![Value::Float64(1.0), Value::String("a".into())]));
        let much = format!("[{}]", vec![format!("\"{}\"", "x".repeat(1 << 20)); 17].join(","));
        assert!(args(&much).unwrap_err().contains("too large"));
    }

    #[test]
    fn error_texts_do_not_echo_megabytes() {
        let text = format!(r#"{{"type":"{}"}}"#, "é".repeat(1 << 20));
        let error = ClientMessage::decode(&text).unwrap_err();
        assert!(error.message.len() <= ERROR_TEXT_BYTES_MAX);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in r#"(\{"type":"(Connect|Mutation|Event|Authenticate)",?)?.{0,60}"#) {
            let _ = ClientMessage::decode(&text);
        }
    }
}

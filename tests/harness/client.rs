//! How the official client behaves on one connection after another, with checks of what it is sent.
//!
//! It keeps its session, its request numbers and its queries over reconnects, sends everything again
//! that has not shown in a transition, and holds the server to these rules:
//!
//! - a transition starts where the one before ended, and its timestamp never falls
//! - no message comes twice, and none that was not asked for
//!
//! Source: spec/sync-protocol.md 5, 7.3, 9.1.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use functions::Caller;
use protocol::{ClientVersion, Close, Input, Options, Outgoing, SessionLimits, Token, Verified};
use serde_json::{Value as Json, json};
use server::connection::{Connection, Event, Out};
use value::Timestamp;

use crate::world::{World, user};

/// Who a client says it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// Nobody.
    Nobody,
    /// A user, by a token that is good.
    User(String),
    /// A user whose token ends at this time, in Unix milliseconds.
    UserUntil(String, i64),
    /// An administrator.
    Admin,
    /// An administrator whose key is read-only.
    Reader,
    /// Somebody with a token that is no good.
    Forger,
}

impl Who {
    /// What functions are told.
    pub fn caller(&self) -> Caller {
        match self {
            Who::Nobody | Who::Forger => Caller::default(),
            Who::User(name) | Who::UserUntil(name, _) => user(name),
            Who::Admin => Caller::ADMIN,
            Who::Reader => Caller { read_only: true, ..Caller::ADMIN },
        }
    }

    fn token(&self) -> Json {
        match self {
            Who::Nobody => json!({ "tokenType": "None" }),
            Who::User(name) => json!({ "tokenType": "User", "value": name }),
            Who::UserUntil(name, end) => {
                json!({ "tokenType": "User", "value": format!("{name} until {end}") })
            }
            Who::Admin => json!({ "tokenType": "Admin", "value": "admin" }),
            Who::Reader => json!({ "tokenType": "Admin", "value": "reader" }),
            Who::Forger => json!({ "tokenType": "User", "value": "forged" }),
        }
    }
}

/// What verifying a token gives in this world.
pub fn verify(token: &Token) -> Verified<Caller> {
    match token {
        Token::None => Verified::Accepted { identity: Caller::default(), expires_at_ms: None },
        Token::Admin { key, .. } => {
            let who = if key == "reader" { Who::Reader } else { Who::Admin };
            Verified::Accepted { identity: who.caller(), expires_at_ms: None }
        }
        Token::User(text) if text == "forged" => {
            Verified::Rejected { message: "Could not verify token".to_owned() }
        }
        Token::User(text) => match text.split_once(" until ") {
            Some((name, end)) => Verified::Accepted {
                identity: user(name),
                expires_at_ms: Some(end.parse().expect("a time in the token")),
            },
            None => Verified::Accepted { identity: user(text), expires_at_ms: None },
        },
    }
}

/// A query that the client shows.
#[derive(Clone, Debug)]
pub struct Shown {
    /// The function.
    pub path: String,
    /// Its arguments, as an array.
    pub args: Json,
    /// What the server last gave out for it.
    pub journal: Option<String>,
    /// The last result on this connection.
    pub result: Option<Outcome>,
}

/// A value or a failure.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The value as encoded JSON.
    Value(Json),
    /// The text after the request id, and the data of an application error.
    Failed(String, Option<Json>),
}

/// A request of the client's.
#[derive(Clone, Debug)]
pub struct Request {
    /// The function.
    pub path: String,
    /// Its arguments, as an array.
    pub args: Json,
    /// Mutations are sent again after a reconnect, actions are not.
    pub is_mutation: bool,
    /// Who asked, when it was last sent.
    pub who: Who,
    sent: bool,
    /// Answered on an earlier connection, and not yet on this one.
    awaits_another: bool,
    /// It was sent on an earlier connection already.
    resent: bool,
    /// Answered, and not shown by a transition yet: when, and how.
    answered: Option<(Timestamp, Outcome)>,
}

/// What a client has seen.
#[derive(Clone, Debug, PartialEq)]
pub enum Seen {
    /// A transition, and which queries it changed. `None`: removed.
    Transition {
        /// The versions of query set and identity after it.
        version: (u32, u32),
        /// When.
        ts: Timestamp,
        /// By query.
        changes: Vec<(u32, Option<Outcome>)>,
    },
    /// The first answer of a request.
    Answer {
        /// Which.
        request: u32,
        /// What it was.
        call: Box<(String, Json)>,
        /// Who asked.
        who: Who,
        /// The value or the failure.
        outcome: Outcome,
        /// When it committed; `None` for failures and actions.
        ts: Option<Timestamp>,
        /// Whether it was sent before.
        resent: bool,
        /// Whether a transition at or above `ts` came before it. Right only for what wrote nothing, and
        /// for what was sent before.
        shown: bool,
    },
    /// Another answer of a request that was answered before, and sent again.
    AnsweredAgain {
        /// Which.
        request: u32,
        /// The answer.
        outcome: Outcome,
        /// When it committed.
        ts: Option<Timestamp>,
        /// The answer before.
        before: (Timestamp, Outcome),
        /// What it was.
        path: String,
    },
    /// The identity was refused.
    AuthError {
        /// Why.
        text: String,
        /// The identity version of the last transition.
        base: u32,
        /// Whether it answers an `Authenticate`.
        attempted: bool,
    },
    /// The client is told that it is at fault.
    FatalError(String),
    /// Nothing, to keep the connection alive.
    Ping,
    /// The connection is over.
    Closed(Option<u16>, String),
}

/// A connection and the wires to it.
pub struct Link {
    /// The server's side.
    pub connection: Connection,
    /// Frames under way to the server.
    pub up: VecDeque<String>,
    /// Messages that the server has handed to its writer.
    pub unwritten: VecDeque<Outgoing>,
    /// Frames under way to the client.
    pub down: VecDeque<String>,
    /// Tokens to be verified.
    pub tokens: VecDeque<Token>,
    /// Actions to be run.
    pub actions: VecDeque<protocol::Call<Caller>>,
    close: Option<Close>,
}

/// A client.
pub struct Client {
    /// Its name, for people.
    pub name: String,
    /// The connection, if there is one.
    pub link: Option<Link>,
    /// Who it says it is.
    pub who: Who,
    /// The queries it shows.
    pub queries: BTreeMap<u32, Shown>,
    /// Its requests that are not settled.
    pub requests: BTreeMap<u32, Request>,
    /// Where the last transition ended: query set, identity, timestamp.
    pub version: (u32, u32, Timestamp),
    /// The identity at each identity version of this connection.
    pub identities: Vec<Who>,
    session: String,
    connections: u32,
    last_close: Option<String>,
    /// The greatest timestamp ever seen.
    pub observed: Option<Timestamp>,
    query_set: u32,
    next_query: u32,
    next_request: u32,
    /// Requests that a transition settled after they were sent again, and that will be answered again.
    settled: BTreeMap<u32, Request>,
    unfollowed: bool,
    /// Nothing reaches it any more on this connection.
    pub deaf: bool,
}

impl Client {
    /// A client that is not connected. `number` makes its session.
    pub fn new(name: &str, number: u64) -> Self {
        Self {
            name: name.to_owned(),
            link: None,
            who: Who::Nobody,
            queries: BTreeMap::new(),
            requests: BTreeMap::new(),
            version: (0, 0, Timestamp(0)),
            identities: vec![Who::Nobody],
            session: format!("00000000-0000-4000-8000-{number:012x}"),
            connections: 0,
            last_close: None,
            observed: None,
            query_set: 0,
            next_query: 0,
            next_request: 0,
            settled: BTreeMap::new(),
            unfollowed: false,
            deaf: false,
        }
    }

    /// Opens a connection, and sends everything that a new connection needs in one burst.
    pub fn connect(&mut self, world: &World) {
        let client = ClientVersion::resolve(None, Some("1.48.0")).expect("a version");
        let options = Options {
            client,
            entropy: [7; 16],
            show_errors: true,
            // Where the clock stands still, a burst would never go on.
            limits: SessionLimits { burst_interval_ms: 0, ..SessionLimits::default() },
        };
        let connection = Connection::new(&world.runtime, options, Arc::new(|| {}));
        self.link = Some(Link {
            connection,
            up: VecDeque::new(),
            unwritten: VecDeque::new(),
            down: VecDeque::new(),
            tokens: VecDeque::new(),
            actions: VecDeque::new(),
            close: None,
        });
        (self.version, self.query_set, self.unfollowed) = ((0, 0, Timestamp(0)), 0, false);
        self.identities = vec![Who::Nobody];
        self.settled.clear();
        self.deaf = false;
        let mut connect = json!({
            "type": "Connect", "sessionId": self.session, "connectionCount": self.connections,
            "lastCloseReason": self.last_close.take().unwrap_or_else(|| "InitialConnect".to_owned()),
            "clientTs": 0,
        });
        if let Some(observed) = self.observed {
            connect["maxObservedTimestamp"] = json!(observed.to_wire());
        }
        self.connections += 1;
        self.send(connect);
        if self.who != Who::Nobody {
            self.authenticate();
        }
        let adds: Vec<Json> = self.queries.iter().map(|(id, query)| add(*id, query)).collect();
        self.queries.values_mut().for_each(|query| query.result = None);
        self.modify(adds);
        // Actions under way are lost; nobody knows whether they ran.
        self.requests.retain(|_, request| request.is_mutation || !request.sent);
        for id in self.requests.keys().copied().collect::<Vec<_>>() {
            self.send_request(id);
        }
    }

    /// The connection breaks; nobody says goodbye.
    pub fn cut(&mut self) {
        if self.link.take().is_some() {
            self.last_close = Some("closed with code 1006".to_owned());
        }
    }

    /// Shows one more query; gives its number.
    pub fn subscribe(&mut self, path: &str, args: Json) -> u32 {
        let id = self.next_query;
        self.next_query += 1;
        let query =
            Shown { path: path.to_owned(), args: json!([args]), journal: None, result: None };
        if self.link.is_some() {
            let mut add = add(id, &query);
            add.as_object_mut().expect("an object").remove("journal");
            self.modify(vec![add]);
        }
        self.queries.insert(id, query);
        id
    }

    /// Shows a query no more.
    pub fn unsubscribe(&mut self, id: u32) {
        self.queries.remove(&id).expect("it was shown");
        if self.link.is_some() {
            self.modify(vec![json!({ "type": "Remove", "queryId": id })]);
        }
    }

    /// Calls a mutation or an action; gives the number of the request.
    pub fn call(&mut self, path: &str, args: Json, is_mutation: bool) -> u32 {
        let id = self.next_request;
        self.next_request += 1;
        let request = Request {
            path: path.to_owned(),
            args: json!([args]),
            is_mutation,
            who: self.who.clone(),
            sent: false,
            awaits_another: false,
            resent: false,
            answered: None,
        };
        self.requests.insert(id, request);
        if self.link.is_some() {
            self.send_request(id);
        }
        id
    }

    /// Says who it is from now on.
    pub fn sign_in(&mut self, who: Who) {
        self.who = who;
        if self.link.is_some() {
            self.authenticate();
        }
    }

    /// Sends a frame as it stands.
    pub fn send_raw(&mut self, frame: &str) {
        if let Some(link) = &mut self.link {
            link.up.push_back(frame.to_owned());
        }
    }

    /// Whether every request was answered and shown, and every announcement confirmed.
    pub fn is_quiet(&self) -> bool {
        let confirmed = (self.version.0, self.version.1) == (self.query_set, self.identity());
        self.link.is_some()
            && confirmed
            && !self.unfollowed
            && self.requests.is_empty()
            && self.queries.values().all(|query| query.result.is_some())
    }

    /// Who the last transition was for.
    pub fn shown_to(&self) -> &Who {
        &self.identities[self.version.1 as usize]
    }

    fn identity(&self) -> u32 {
        u32::try_from(self.identities.len()).expect("few sign-ins") - 1
    }

    fn authenticate(&mut self) {
        let mut frame = self.who.token();
        frame["type"] = json!("Authenticate");
        frame["baseVersion"] = json!(self.identity());
        self.identities.push(self.who.clone());
        self.send(frame);
    }

    fn modify(&mut self, modifications: Vec<Json>) {
        let base = self.query_set;
        self.query_set += 1;
        self.send(json!({
            "type": "ModifyQuerySet", "baseVersion": base, "newVersion": self.query_set,
            "modifications": modifications,
        }));
    }

    fn send_request(&mut self, id: u32) {
        let who = self.who.clone();
        let request = self.requests.get_mut(&id).expect("it is not settled");
        let kind = if request.is_mutation { "Mutation" } else { "Action" };
        let frame = json!({
            "type": kind, "requestId": id, "udfPath": request.path, "args": request.args,
        });
        request.resent = request.sent;
        request.awaits_another = request.answered.is_some();
        request.sent = true;
        request.who = who;
        self.send(frame);
    }

    fn send(&mut self, frame: Json) {
        self.send_raw(&frame.to_string());
    }

    /// Takes one message off the wire, if one is there.
    pub fn read(&mut self) -> Option<Seen> {
        let link = self.link.as_mut().filter(|_| !self.deaf)?;
        let Some(text) = link.down.pop_front() else {
            let closed = link.unwritten.is_empty();
            let close = link.close.take_if(|_| closed)?;
            self.link = None;
            self.last_close = Some(close.reason.clone());
            return Some(Seen::Closed(close.code, close.reason));
        };
        let message: Json = serde_json::from_str(&text).expect("messages are JSON");
        Some(match message["type"].as_str().expect("messages have a type") {
            "Transition" => self.transition(&message),
            "MutationResponse" | "ActionResponse" => self.answer(&message),
            "AuthError" => Seen::AuthError {
                text: text_of(&message["error"]),
                base: u32::try_from(message["baseVersion"].as_u64().expect("a version"))
                    .expect("a small version"),
                attempted: message["authUpdateAttempted"].as_bool().expect("a flag"),
            },
            "FatalError" => Seen::FatalError(text_of(&message["error"])),
            "Ping" => Seen::Ping,
            other => panic!("{}: unknown message {other}", self.name),
        })
    }

    fn transition(&mut self, message: &Json) -> Seen {
        let (start, end) = (version(&message["startVersion"]), version(&message["endVersion"]));
        assert_eq!(start, self.version, "{}: a transition starts elsewhere", self.name);
        assert!(end.2 >= start.2, "{}: timestamps fall from {start:?} to {end:?}", self.name);
        assert!(end.0 <= self.query_set && end.1 <= self.identity(), "{}: {end:?}", self.name);
        self.version = end;
        self.observed = self.observed.max(Some(end.2));
        self.unfollowed = false;
        let is_settled =
            |request: &Request| request.answered.as_ref().is_some_and(|(ts, _)| *ts <= end.2);
        for (id, request) in self.requests.extract_if(.., |_, request| is_settled(request)) {
            if request.awaits_another {
                self.settled.insert(id, request);
            }
        }
        let mut changes = Vec::new();
        for change in message["modifications"].as_array().expect("modifications") {
            let id = u32::try_from(change["queryId"].as_u64().expect("a query")).expect("small");
            let outcome = match change["type"].as_str().expect("a kind") {
                "QueryRemoved" => None,
                "QueryUpdated" => Some(Outcome::Value(change["value"].clone())),
                "QueryFailed" => Some(failure(&change["errorMessage"], change.get("errorData"))),
                other => panic!("{}: unknown modification {other}", self.name),
            };
            let last = changes.last().map_or(-1, |(id, _): &(u32, _)| i64::from(*id));
            assert!(last < i64::from(id), "{}: queries out of order", self.name);
            if let (Some(outcome), Some(query)) = (&outcome, self.queries.get_mut(&id)) {
                assert!(
                    query.result.as_ref() != Some(outcome)
                        || matches!(outcome, Outcome::Failed(..)),
                    "{}: query {id} is sent again without a change",
                    self.name
                );
                query.result = Some(outcome.clone());
                query.journal = change["journal"].as_str().map(str::to_owned);
            }
            changes.push((id, outcome));
        }
        Seen::Transition { version: (end.0, end.1), ts: end.2, changes }
    }

    fn answer(&mut self, message: &Json) -> Seen {
        let id = u32::try_from(message["requestId"].as_u64().expect("a request")).expect("small");
        self.unfollowed = true;
        let mut settled = self.settled.remove(&id);
        let request = self.requests.get_mut(&id).or(settled.as_mut());
        let request = request.expect("an answer without a request");
        let success = message["success"].as_bool().expect("a flag");
        let outcome = if success {
            Outcome::Value(message["result"].clone())
        } else {
            failure(&message["result"], message.get("errorData"))
        };
        let ts = message.get("ts").and_then(Json::as_str);
        let ts = ts.map(|ts| Timestamp::from_wire(ts).expect("a timestamp"));
        assert_eq!(ts.is_some(), success && request.is_mutation, "{}: {message}", self.name);
        self.observed = self.observed.max(ts);
        if let Some(before) = request.answered.clone() {
            assert!(std::mem::take(&mut request.awaits_another), "{}: {id} twice", self.name);
            let path = request.path.clone();
            return Seen::AnsweredAgain { request: id, outcome, ts, before, path };
        }
        let seen = Seen::Answer {
            request: id,
            call: Box::new((request.path.clone(), request.args.clone())),
            who: request.who.clone(),
            outcome: outcome.clone(),
            ts,
            resent: request.resent,
            shown: ts.is_some_and(|ts| self.version.2 >= ts),
        };
        match ts {
            Some(ts) if self.version.2 < ts => request.answered = Some((ts, outcome)),
            Some(_) | None => drop(self.requests.remove(&id)),
        }
        seen
    }
}

impl Link {
    /// The server reads one frame.
    pub fn receive(&mut self) -> bool {
        let Some(frame) = self.up.pop_front() else { return false };
        self.connection.input(Input::Frame(&frame));
        true
    }

    /// A token is verified.
    pub fn verify(&mut self) -> bool {
        let Some(token) = self.tokens.pop_front() else { return false };
        self.connection.inbox().push(Event::Verified(verify(&token)));
        true
    }

    /// The server goes on, and hands out what it has.
    pub fn turn(&mut self) {
        self.connection.turn();
        for out in self.connection.take_out() {
            match out {
                Out::Send(outgoing) => self.unwritten.push_back(outgoing),
                Out::Verify(token) => self.tokens.push_back(token),
                Out::Action(call) => self.actions.push_back(call),
                Out::Close(close) => self.close = Some(close),
            }
        }
    }

    /// The writer writes one message.
    pub fn write(&mut self, now: Timestamp) -> bool {
        let Some(outgoing) = self.unwritten.pop_front() else { return false };
        let is_transition = matches!(outgoing, Outgoing::Transition(_));
        let frames = outgoing.into_frames(i64::try_from(now.0).expect("not that late"));
        self.down.extend(frames);
        if is_transition {
            self.connection.input(Input::Drained);
        }
        true
    }
}

fn add(id: u32, query: &Shown) -> Json {
    json!({
        "type": "Add", "queryId": id, "udfPath": query.path, "args": query.args,
        "journal": query.journal,
    })
}

fn version(json: &Json) -> (u32, u32, Timestamp) {
    let number =
        |name: &str| u32::try_from(json[name].as_u64().expect("a number")).expect("a small number");
    let ts = Timestamp::from_wire(json["ts"].as_str().expect("a timestamp")).expect("base64");
    (number("querySet"), number("identity"), ts)
}

/// The text without the request id, which is different each time.
fn failure(text: &Json, data: Option<&Json>) -> Outcome {
    let text = text_of(text);
    let rest = text.split_once("Server Error").map_or(text.as_str(), |(_, rest)| rest);
    Outcome::Failed(rest.trim_start().to_owned(), data.cloned())
}

fn text_of(json: &Json) -> String {
    json.as_str().expect("a text").to_owned()
}

//! Bad input of every kind, over real connections: what its sender gets, to the letter, while
//! somebody else on the same server writes and watches, and misses nothing.
//!
//!     Row ── Attack ──► server ◄── Bystander: writes 1, 2, 3 …, sees 1, 2, 3 …
//!      └── gets: what came back, line by line; `*` stands for anything
//!
//! The rows are in `frames` (what sockets carry), `requests` (HTTP) and `peers` (connections that are
//! slow, half closed, or far too busy); ROW=… walks those with that in their name. Detailed tests of each limit are beside the code.

mod bystander;
mod frames;
mod peers;
mod requests;
mod tokens;

use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value as Json, json};
use server::auth::dev_issuer::DevIssuer;
use tests::process::{Process, base_server};
use tests::wire::{Frame, HANGS, Wire, body, exchange, mutation, post, session};
use value::Timestamp;

use bystander::Bystander;

/// The request that asks a socket whether it still answers.
const PROBE: u32 = 4_000_000_000;

/// One kind of bad input.
struct Row {
    name: &'static str,
    attack: Attack,
    /// What comes back. `*` stands for any text.
    gets: Vec<String>,
}

enum Attack {
    /// Frames of one socket, as they stand.
    Frames(Vec<String>),
    /// Bytes of one connection.
    Bytes(Vec<u8>),
    /// Something else.
    Run(Box<dyn FnOnce(Target) -> Running>),
}

type Running = Pin<Box<dyn Future<Output = Vec<String>>>>;

/// The server, and what is good or bad there.
#[derive(Clone)]
struct Target {
    address: String,
    /// What stands for what in frames and requests: `<token>` and the like.
    names: Vec<(&'static str, String)>,
}

impl Target {
    async fn new(address: &str, data: &Path) -> Target {
        let issuer = DevIssuer::open(data).unwrap();
        let other = tempfile::tempdir().unwrap();
        let other = DevIssuer::open(other.path()).unwrap();
        let day = std::time::Duration::from_secs(86_400);
        let answer = exchange(address, post("/api/query_ts", "", "{}").as_bytes()).await;
        let now = Timestamp::from_wire(body(&answer)["ts"].as_str().unwrap()).unwrap();
        let token = issuer.token("alice", day, now).unwrap();
        let long_ago = Timestamp(now.0 - 2 * 86_400_000_000_000);
        let mut names = vec![
            ("<token>", token.clone()),
            ("<expired>", issuer.token("alice", day, long_ago).unwrap()),
            ("<foreign>", other.token("alice", day, now).unwrap()),
        ];
        names.extend(tokens::tricks(&token, &issuer.jwks()));
        names.extend(requests::keys());
        let mut target = Target { address: address.to_owned(), names };
        target.names.extend(frames::cursors(&target).await);
        target
    }

    fn fill(&self, text: &str) -> String {
        self.names.iter().fold(text.to_owned(), |text, (name, real)| text.replace(name, real))
    }

    async fn run(&self, attack: Attack, lines: usize) -> Vec<String> {
        match attack {
            Attack::Frames(frames) => {
                let mut wire = Wire::open(&self.address).await.unwrap();
                for frame in frames {
                    wire.text(self.fill(&frame)).await;
                }
                told(&mut wire, lines).await
            }
            Attack::Bytes(bytes) => {
                let bytes = match String::from_utf8(bytes) {
                    Ok(text) => self.fill(&text).into_bytes(),
                    Err(error) => error.into_bytes(),
                };
                vec![answered(&exchange(&self.address, &bytes).await)]
            }
            Attack::Run(run) => run(self.clone()).await,
        }
    }
}

/// What a socket tells, until so many lines or its end; then whatever is left before the answer of one
/// more request.
async fn told(wire: &mut Wire, lines: usize) -> Vec<String> {
    let mut told = Vec::new();
    let mut asked = false;
    let end = tokio::time::Instant::now() + HANGS / 4;
    loop {
        if told.len() >= lines && !asked {
            wire.send(&mutation(PROBE, "no:where", json!({}))).await;
            asked = true;
        }
        let Ok(next) = tokio::time::timeout_at(end, wire.next()).await else {
            told.push("nothing more".to_owned());
            return told;
        };
        match next {
            Frame::Message(message) if message["requestId"] == PROBE => return told,
            Frame::Message(message) => told.extend(lines_of(&message)),
            Frame::Closed(code, reason) => {
                let code = code.map_or("without a code".to_owned(), |code| code.to_string());
                told.push(format!("closed {code} {reason}").trim_end().to_owned());
                return told;
            }
            Frame::Gone => {
                told.push("gone".to_owned());
                return told;
            }
        }
    }
}

/// A message for people. Transitions count for what they change.
fn lines_of(message: &Json) -> Vec<String> {
    let text = |name: &str| message[name].as_str().unwrap_or_default();
    match text("type") {
        "Transition" => {
            message["modifications"].as_array().unwrap().iter().map(line_of_change).collect()
        }
        "MutationResponse" | "ActionResponse" => {
            let id = &message["requestId"];
            let failed = format!("{id} failed {}{}", plain(text("result")), data(message));
            let good = format!("{id} = {}", message["result"]);
            vec![if message["success"] == true { good } else { failed }]
        }
        "AuthError" => {
            let attempted = &message["authUpdateAttempted"];
            vec![format!("auth error {} (attempted: {attempted})", text("error"))]
        }
        "FatalError" => vec![format!("fatal error {}", text("error"))],
        "Ping" => Vec::new(),
        _ => vec![message.to_string()],
    }
}

fn line_of_change(change: &Json) -> String {
    let id = &change["queryId"];
    match change["type"].as_str().unwrap() {
        "QueryUpdated" => format!("query {id} = {}", change["value"]),
        "QueryFailed" => {
            let text = plain(change["errorMessage"].as_str().unwrap());
            format!("query {id} failed {text}{}", data(change))
        }
        _ => format!("query {id} removed"),
    }
}

fn data(message: &Json) -> String {
    message.get("errorData").map(|data| format!(", data {data}")).unwrap_or_default()
}

/// An error text without the request's id.
fn plain(text: &str) -> String {
    let text = text.split_once("] Server Error\n").map_or(text, |(_, text)| text);
    text.replace('\n', " ").trim_end().to_owned()
}

/// An HTTP answer for people: status, then the code and text of an error, or the body.
fn answered(answer: &str) -> String {
    let Some((head, text)) = answer.split_once("\r\n\r\n") else {
        return if answer.is_empty() { "nothing".to_owned() } else { format!("broken {answer:?}") };
    };
    let status = head.split(' ').nth(1).unwrap_or_default();
    let Ok(body) = serde_json::from_str::<Json>(text) else {
        return format!("{status} {}", text.trim_end()).trim_end().to_owned();
    };
    match (body["code"].as_str(), body["status"].as_str()) {
        (Some(code), _) => format!("{status} {code}: {}", plain(body["message"].as_str().unwrap())),
        (None, Some("error")) => {
            format!(
                "{status} failed {}{}",
                plain(body["errorMessage"].as_str().unwrap()),
                data(&body)
            )
        }
        _ => format!("{status} {body}"),
    }
}

/// Whether `text` is `pattern`, where `*` is any text.
fn fits(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        let Some(place) = rest.find(part) else { return false };
        rest = &rest[place + part.len()..];
    }
    rest.ends_with(last)
}

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

/// Frames after a `Connect`, in a session of their own.
fn after_connect(name: &'static str, frames: &[&str], gets: &[&str]) -> Row {
    static SESSIONS: AtomicU64 = AtomicU64::new(9_000_000_000);
    let session = session(SESSIONS.fetch_add(1, Ordering::Relaxed));
    let connect = json!({
        "type": "Connect", "sessionId": session, "connectionCount": 0,
        "lastCloseReason": "InitialConnect", "clientTs": 0,
    });
    let mut all = vec![connect.to_string()];
    all.extend(strings(frames));
    Row { name, attack: Attack::Frames(all), gets: strings(gets) }
}

/// The first frames of a socket.
fn at_once(name: &'static str, frames: &[&str], gets: &[&str]) -> Row {
    Row { name, attack: Attack::Frames(strings(frames)), gets: strings(gets) }
}

/// A request as it stands.
fn bytes(name: &'static str, request: impl Into<Vec<u8>>, gets: &str) -> Row {
    Row { name, attack: Attack::Bytes(request.into()), gets: strings(&[gets]) }
}

/// Anything else.
fn run<F>(name: &'static str, gets: &[&str], attack: impl FnOnce(Target) -> F + 'static) -> Row
where
    F: Future<Output = Vec<String>> + 'static,
{
    let attack = Attack::Run(Box::new(move |target| Box::pin(attack(target))));
    Row { name, attack, gets: strings(gets) }
}

async fn walk(rows: Vec<Row>) {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mut command = base_server(&data);
    command.args(["--head-seconds", "1"]);
    let server = Process::start(command, &folder.path().join("log"));
    let target = Target::new(&server.address, &data).await;
    let mut bystander = Bystander::start(&server.address).await;
    let mut wrong = Vec::new();
    let only = std::env::var("ROW").unwrap_or_default();
    for Row { name, attack, gets } in rows.into_iter().filter(|row| row.name.contains(&only)) {
        println!("{name}");
        let got = target.run(attack, gets.len()).await;
        println!("    {got:?}");
        let fit = got.len() == gets.len()
            && gets.iter().zip(&got).all(|(pattern, line)| fits(&target.fill(pattern), line));
        if !fit {
            wrong.push(format!("{name}\n  expected {gets:#?}\n  got {got:#?}"));
        }
        bystander.check(name).await;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let log = std::fs::read_to_string(folder.path().join("log")).unwrap();
    assert!(!log.contains("panicked"), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_frames_harm_their_sender_alone() {
    walk(frames::rows()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_requests_harm_their_sender_alone() {
    walk(requests::rows()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_peers_harm_nobody() {
    walk(peers::rows()).await;
}

#[test]
fn patterns() {
    for (pattern, text) in [("a", "a"), ("*", ""), ("a*", "abc"), ("*c", "abc"), ("a*b*d", "abcd")]
    {
        assert!(fits(pattern, text), "{pattern} {text}");
    }
    for (pattern, text) in [("a", "ab"), ("a*c", "ab"), ("a*b*b", "ab"), ("", "a")] {
        assert!(!fits(pattern, text), "{pattern} {text}");
    }
}

//! The real program, killed under load: what it acknowledged is there, once.
//!
//! Clients of the sync protocol send unique messages and keep their sessions over every kill; after each
//! one they send again what was not answered. Callers over HTTP never send anything again. Nothing here
//! waits for time: the program is killed after a number of
//! answers.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use parking_lot::Mutex;
use serde_json::{Value as Json, json};
use tests::process::Process;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

/// Clients at a time, and mutations that each has under way.
const CLIENTS: u32 = 6;
const UNDER_WAY: usize = 4;
/// Callers over HTTP.
const CALLERS: u32 = 2;
/// Answers after which the program is killed: chosen uneven, so that it is hit anywhere.
const KILLS: &[usize] = &[1, 37, 150, 411, 593, 1200];
/// Longest wait for anything; never reached unless something hangs.
const HANGS: Duration = Duration::from_secs(60);

pub(super) type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// The program under test: CONCAVE_BIN, else the one beside this test.
pub(super) fn program() -> PathBuf {
    if let Some(path) = std::env::var_os("CONCAVE_BIN") {
        return PathBuf::from(path);
    }
    let test = std::env::current_exe().unwrap();
    let path = test.ancestors().nth(2).expect("target/debug/deps/it").join("concave");
    assert!(path.exists(), "{} is missing: cargo build --bin concave", path.display());
    path
}

pub(super) struct Server {
    process: Process,
    pub(super) address: String,
}

impl Server {
    pub(super) fn start(data: &Path) -> Self {
        Self::start_as(Command::new(program()), data)
    }

    /// With everything in its log that it ever says.
    pub(super) fn start_talkative(data: &Path) -> Self {
        let mut command = Command::new(program());
        command.env("CONCAVE_LOG", "trace");
        Self::start_as(command, data)
    }

    /// With at most so many open files.
    pub(super) fn start_with_files(files: usize, data: &Path) -> Self {
        let mut shell = Command::new("sh");
        let script = format!("ulimit -n {files} && exec \"$0\" \"$@\"");
        shell.arg("-c").arg(script).arg(program());
        Self::start_as(shell, data)
    }

    fn start_as(mut program: Command, data: &Path) -> Self {
        program
            .args(["serve", "--app", "presence", "--dev-auth", "--port", "0", "--site-port", "0"])
            .arg("--data")
            .arg(data.join("data"));
        let process = Process::start(program, &data.join("log"));
        Self { address: process.address.clone(), process }
    }

    fn kill(self) {
        self.process.kill();
    }

    pub(super) fn terminate(self) -> ExitStatus {
        self.process.terminate()
    }
}

pub(super) fn token(data: &Path) -> String {
    let data = data.join("data");
    let output = Command::new(program())
        .args(["token", "--user", "alice", "--ttl", "86400", "--data"])
        .arg(data)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// What all clients have sent, and what was answered.
#[derive(Default)]
struct Record {
    sent: BTreeSet<String>,
    answered: BTreeMap<String, String>,
    /// Sent over HTTP and never answered: there, or not.
    in_doubt: BTreeSet<String>,
    draining: bool,
}

/// Calls over HTTP, one after another; what is not answered stays in doubt.
struct Caller {
    number: u32,
    token: String,
    conversation: String,
    record: Arc<Mutex<Record>>,
    answers: watch::Sender<usize>,
}

impl Caller {
    async fn run(self, mut address: watch::Receiver<String>) {
        for request in 0.. {
            if self.record.lock().draining {
                return;
            }
            let body = format!("http-{}-{request}", self.number);
            self.record.lock().sent.insert(body.clone());
            let now = address.borrow_and_update().clone();
            match self.post(&now, &body).await {
                Some(id) => {
                    assert!(self.record.lock().answered.insert(body, id).is_none());
                    self.answers.send_modify(|answers| *answers += 1);
                }
                None => {
                    self.record.lock().in_doubt.insert(body);
                    let next = tokio::time::timeout(HANGS, address.changed()).await;
                    next.expect("no server comes").expect("the test goes on");
                }
            }
        }
    }

    /// The id of the new message; `None`: the connection broke before the answer was complete.
    async fn post(&self, address: &str, body: &str) -> Option<String> {
        let args = json!({ "conversationId": self.conversation, "body": body });
        let call = json!({ "path": "messages:send", "args": args, "format": "json" }).to_string();
        let mut socket = TcpStream::connect(address).await.ok()?;
        let head = format!(
            "POST /api/mutation HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\
             Content-Type: application/json\r\nAuthorization: Bearer {}\r\n\
             Content-Length: {}\r\n\r\n",
            self.token,
            call.len()
        );
        socket.write_all(format!("{head}{call}").as_bytes()).await.ok()?;
        let mut answer = String::new();
        let read = tokio::time::timeout(HANGS, socket.read_to_string(&mut answer)).await;
        read.expect("the server hangs").ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let body: Json = serde_json::from_str(body).ok()?;
        // A server that stops may refuse; one that runs must not.
        if !head.starts_with("HTTP/1.1 200") {
            assert!(head.starts_with("HTTP/1.1 503"), "{answer}");
            return None;
        }
        assert_eq!(body["status"], "success", "{answer}");
        body["value"].as_str().map(str::to_owned)
    }
}

struct Client {
    number: u32,
    connections: u32,
    requests: u32,
    unanswered: BTreeMap<u32, String>,
    token: String,
    conversation: String,
    record: Arc<Mutex<Record>>,
    answers: watch::Sender<usize>,
}

pub(super) async fn open(
    address: &str,
    session: u32,
    connections: u32,
    token: &str,
) -> Option<Socket> {
    let url = format!("ws://{address}/api/1.48.0/sync");
    let (mut socket, _) = tokio_tungstenite::connect_async(url).await.ok()?;
    let frames = [
        json!({
            "type": "Connect", "sessionId": format!("00000000-0000-4000-8000-{session:012x}"),
            "connectionCount": connections, "lastCloseReason": "InitialConnect",
        }),
        json!({ "type": "Authenticate", "baseVersion": 0, "tokenType": "User", "value": token }),
    ];
    for frame in frames {
        send(&mut socket, &frame).await?;
    }
    Some(socket)
}

pub(super) async fn send(socket: &mut Socket, frame: &Json) -> Option<()> {
    socket.send(Message::text(frame.to_string())).await.ok()
}

/// The next message of the protocol; `None`: the connection is over.
pub(super) async fn receive(socket: &mut Socket) -> Option<Json> {
    loop {
        match tokio::time::timeout(HANGS, socket.next()).await.expect("the server hangs")? {
            Ok(Message::Text(text)) => return serde_json::from_str(&text).ok(),
            Ok(Message::Ping(_) | Message::Pong(_)) => {}
            Ok(_) | Err(_) => return None,
        }
    }
}

impl Client {
    async fn run(mut self, mut address: watch::Receiver<String>) {
        loop {
            let now = address.borrow_and_update().clone();
            if let Some(socket) = open(&now, self.number, self.connections, &self.token).await {
                self.connections += 1;
                self.serve(socket).await;
            }
            if self.is_done() {
                return;
            }
            // It is gone; the next one has another address.
            let next = tokio::time::timeout(HANGS, address.changed()).await;
            next.expect("no server comes").expect("the test goes on");
        }
    }

    fn is_done(&self) -> bool {
        self.record.lock().draining && self.unanswered.is_empty()
    }

    /// Until the connection ends, or everything is answered.
    async fn serve(&mut self, mut socket: Socket) -> Option<()> {
        for (request, body) in self.unanswered.clone() {
            send(&mut socket, &self.mutation(request, &body)).await?;
        }
        loop {
            while self.unanswered.len() < UNDER_WAY && !self.record.lock().draining {
                let (request, body) = (self.requests, format!("{}-{}", self.number, self.requests));
                self.requests += 1;
                self.unanswered.insert(request, body.clone());
                self.record.lock().sent.insert(body.clone());
                send(&mut socket, &self.mutation(request, &body)).await?;
            }
            if self.is_done() {
                return None;
            }
            let message = receive(&mut socket).await?;
            match message["type"].as_str() {
                Some("MutationResponse") => self.answered(&message),
                Some("AuthError" | "FatalError") => panic!("{message}"),
                Some(_) | None => {}
            }
        }
    }

    fn answered(&mut self, message: &Json) {
        assert_eq!(message["success"], true, "{message}");
        let request = u32::try_from(message["requestId"].as_u64().unwrap()).unwrap();
        let body = self.unanswered.remove(&request).expect("answered once on a connection");
        let id = message["result"].as_str().unwrap().to_owned();
        assert!(self.record.lock().answered.insert(body, id).is_none());
        self.answers.send_modify(|answers| *answers += 1);
    }

    fn mutation(&self, request: u32, body: &str) -> Json {
        json!({
            "type": "Mutation", "requestId": request, "udfPath": "messages:send",
            "args": [{ "conversationId": self.conversation, "body": body }],
        })
    }
}

/// One mutation of a session of its own.
async fn call(address: &str, token: &str, path: &str, args: Json) -> Json {
    let mut socket = open(address, 1_000_000, 0, token).await.unwrap();
    let frame = json!({ "type": "Mutation", "requestId": 0, "udfPath": path, "args": [args] });
    send(&mut socket, &frame).await.unwrap();
    loop {
        let message = receive(&mut socket).await.unwrap();
        if message["type"] == "MutationResponse" {
            assert_eq!(message["success"], true, "{message}");
            return message["result"].clone();
        }
    }
}

/// Every message that is stored: body and id.
async fn stored(address: &str, token: &str, conversation: &str) -> Vec<(String, String)> {
    let mut socket = open(address, 2_000_000, 0, token).await.unwrap();
    let (mut cursor, mut found) = (Json::Null, Vec::new());
    for query in 0.. {
        let options = json!({ "numItems": 500.0, "cursor": cursor });
        let add = json!({
            "type": "Add", "queryId": query, "udfPath": "messages:list",
            "args": [{ "conversationId": conversation, "paginationOpts": options }],
        });
        let frame = json!({
            "type": "ModifyQuerySet", "baseVersion": query, "newVersion": query + 1,
            "modifications": [add],
        });
        send(&mut socket, &frame).await.unwrap();
        let page = loop {
            let message = receive(&mut socket).await.unwrap();
            let changes = message["modifications"].as_array().cloned().unwrap_or_default();
            if let Some(change) = changes.into_iter().find(|change| change["queryId"] == query) {
                break change["value"].clone();
            }
        };
        let text = |row: &Json, name: &str| row[name].as_str().unwrap().to_owned();
        let rows = page["page"].as_array().unwrap_or_else(|| panic!("{page}"));
        found.extend(rows.iter().map(|row| (text(row, "body"), text(row, "_id"))));
        if page["isDone"] == true {
            break;
        }
        cursor = page["continueCursor"].clone();
    }
    found
}

/// Nothing acknowledged is missing, nothing is there twice, nothing that nobody sent.
fn check(found: &[(String, String)], record: &Record, acknowledged: &BTreeMap<String, String>) {
    let by_body: BTreeMap<&str, &str> =
        found.iter().map(|(body, id)| (body.as_str(), id.as_str())).collect();
    assert_eq!(by_body.len(), found.len(), "a message is there twice");
    for (body, id) in acknowledged {
        assert_eq!(
            by_body.get(body.as_str()),
            Some(&id.as_str()),
            "acknowledged, and lost: {body}"
        );
    }
    assert!(by_body.keys().all(|body| record.sent.contains(*body)), "nobody sent that");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_kills_and_is_there_once() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    let mut server = Server::start(data);
    let token = token(data);
    let conversation =
        call(&server.address, &token, "conversations:create", json!({ "memberIds": [] }));
    let conversation = conversation.await.as_str().unwrap().to_owned();
    let record = Arc::new(Mutex::new(Record::default()));
    let (answers, mut answered) = watch::channel(0_usize);
    let (address, addresses) = watch::channel(server.address.clone());
    let callers = (0..CALLERS).map(|number| {
        let caller = Caller {
            number,
            token: token.clone(),
            conversation: conversation.clone(),
            record: Arc::clone(&record),
            answers: answers.clone(),
        };
        tokio::spawn(caller.run(addresses.clone()))
    });
    let callers: Vec<_> = callers.collect();
    let tasks: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let client = Client {
                number,
                connections: 0,
                requests: 0,
                unanswered: BTreeMap::new(),
                token: token.clone(),
                conversation: conversation.clone(),
                record: Arc::clone(&record),
                answers: answers.clone(),
            };
            tokio::spawn(client.run(addresses.clone()))
        })
        .collect();
    for (turn, kill_after) in KILLS.iter().enumerate() {
        let enough = answered.wait_for(|answered| answered >= kill_after);
        tokio::time::timeout(HANGS, enough).await.expect("no answers come").unwrap();
        // The last one is asked politely, under the same load.
        if turn + 1 == KILLS.len() {
            assert_eq!(server.terminate().code(), Some(0), "it ends well when asked to");
        } else {
            server.kill();
        }
        let acknowledged = record.lock().answered.clone();
        server = Server::start(data);
        let found = stored(&server.address, &token, &conversation).await;
        check(&found, &record.lock(), &acknowledged);
        address.send_replace(server.address.clone());
    }
    record.lock().draining = true;
    for task in tasks.into_iter().chain(callers) {
        tokio::time::timeout(HANGS, task).await.expect("a client hangs").unwrap();
    }
    let found = stored(&server.address, &token, &conversation).await;
    let record = record.lock();
    check(&found, &record, &record.answered);
    let missing = record.sent.iter().filter(|body| !found.iter().any(|(there, _)| there == *body));
    let lost: Vec<_> = missing.filter(|body| !record.in_doubt.contains(*body)).collect();
    assert!(lost.is_empty(), "sent again until it was answered, and lost: {lost:?}");
    let http = record.answered.keys().filter(|body| body.starts_with("http")).count();
    assert!(http > 0 && http < record.answered.len(), "both ways were used");
    assert!(record.sent.len() >= KILLS[KILLS.len() - 1]);
    drop(record);
    assert_eq!(server.terminate().code(), Some(0));
}

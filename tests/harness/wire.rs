//! A sync socket over a real connection, frame by frame: it sends whatever it is told to, and checks
//! only that transitions follow each other.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value as Json, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async};

/// Longest wait for anything; never reached unless something hangs.
pub const HANGS: Duration = Duration::from_secs(60);

/// One sync socket.
pub struct Wire {
    socket: WebSocketStream<TcpStream>,
    end: Json,
    query_set: u32,
}

/// What comes from the server.
#[derive(Clone, Debug, PartialEq)]
pub enum Frame {
    /// A message.
    Message(Json),
    /// A close frame: its code, if it has one, and the reason.
    Closed(Option<u16>, String),
    /// The connection broke without a close frame.
    Gone,
}

impl Frame {
    /// The message. Panics at an end.
    pub fn message(self) -> Json {
        match self {
            Frame::Message(message) => message,
            end => panic!("the connection ended: {end:?}"),
        }
    }
}

/// Waits for something that must come.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    let waited = tokio::time::timeout(HANGS, future).await;
    waited.unwrap_or_else(|_| panic!("in vain: {what}"))
}

/// The id of a session or a client by number.
pub fn session(number: u64) -> String {
    format!("00000000-0000-4000-8000-{number:012x}")
}

impl Wire {
    /// Opens a socket and sends nothing.
    pub async fn open(address: &str) -> std::io::Result<Wire> {
        let stream = TcpStream::connect(address).await?;
        Self::over(stream, address).await
    }

    /// Upgrades a connection.
    pub async fn over(stream: TcpStream, address: &str) -> std::io::Result<Wire> {
        stream.set_nodelay(true)?;
        let url = format!("ws://{address}/api/sync");
        let opened = client_async(url, stream).await;
        let (socket, _) = opened.map_err(std::io::Error::other)?;
        let end = json!({ "querySet": 0, "identity": 0, "ts": "AAAAAAAAAAA=" });
        Ok(Wire { socket, end, query_set: 0 })
    }

    /// The connection below.
    pub fn stream(&mut self) -> &mut TcpStream {
        self.socket.get_mut()
    }

    /// Sends a text frame. A connection that is over takes it, too.
    pub async fn text(&mut self, text: impl Into<String>) {
        self.raw(Message::text(text.into())).await;
    }

    /// Sends a frame of any kind.
    pub async fn raw(&mut self, message: Message) {
        let _ = soon("the server reads", self.socket.send(message)).await;
    }

    /// Sends a message.
    pub async fn send(&mut self, message: &Json) {
        self.text(message.to_string()).await;
    }

    /// Says who this is.
    pub async fn connect(&mut self, number: u64, connections: u32) {
        self.send(&json!({
            "type": "Connect", "sessionId": session(number), "connectionCount": connections,
            "lastCloseReason": "InitialConnect", "clientTs": 0,
        }))
        .await;
    }

    /// Changes the query set by one version.
    pub async fn modify(&mut self, modifications: Vec<Json>) {
        let base = self.query_set;
        self.query_set += 1;
        self.send(&json!({
            "type": "ModifyQuerySet", "baseVersion": base, "newVersion": self.query_set,
            "modifications": modifications,
        }))
        .await;
    }

    /// Shows one more query.
    pub async fn subscribe(&mut self, query: u32, path: &str, args: Json) {
        self.modify(vec![add(query, path, args)]).await;
    }

    /// Calls a mutation and gives its answer; what comes before is passed over.
    pub async fn mutate(&mut self, request: u32, path: &str, args: Json) -> Json {
        self.send(&mutation(request, path, args)).await;
        self.answer(request).await
    }

    /// The answer of a request; what comes before it is passed over.
    pub async fn answer(&mut self, request: u32) -> Json {
        loop {
            let message = self.next().await.message();
            if message["requestId"] == request {
                return message;
            }
        }
    }

    /// The next message or the end. A transition must begin where the one before ended.
    pub async fn next(&mut self) -> Frame {
        loop {
            let message = match soon("a frame", self.socket.next()).await {
                Some(Ok(message)) => message,
                Some(Err(_)) | None => return Frame::Gone,
            };
            match message {
                Message::Text(text) => {
                    let message: Json = serde_json::from_str(&text).expect("messages are JSON");
                    if message["type"] == "Transition" {
                        assert_eq!(message["startVersion"], self.end, "a transition is missing");
                        self.end = message["endVersion"].clone();
                    }
                    return Frame::Message(message);
                }
                Message::Close(None) => return Frame::Closed(None, String::new()),
                Message::Close(Some(frame)) => {
                    return Frame::Closed(Some(frame.code.into()), frame.reason.to_string());
                }
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("a server sends text: {other:?}"),
            }
        }
    }

    /// The new value of each query of the next transition that has any, by query.
    pub async fn values(&mut self) -> Vec<(u32, Json)> {
        loop {
            let message = self.next().await.message();
            let changes = message["modifications"].as_array().cloned().unwrap_or_default();
            if !changes.is_empty() {
                let value = |change: &Json| {
                    let query = change["queryId"].as_u64().expect("a query");
                    (u32::try_from(query).expect("small"), change["value"].clone())
                };
                return changes.iter().map(value).collect();
            }
        }
    }
}

/// The modification that adds a query.
pub fn add(query: u32, path: &str, args: Json) -> Json {
    json!({ "type": "Add", "queryId": query, "udfPath": path, "args": [args] })
}

/// The message that calls a mutation.
pub fn mutation(request: u32, path: &str, args: Json) -> Json {
    json!({ "type": "Mutation", "requestId": request, "udfPath": path, "args": [args] })
}

/// Sends bytes over a connection of their own and gives all that comes back.
pub async fn exchange(address: &str, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    // A server that has heard enough may answer and close before the end.
    let _ = soon("the server reads", stream.write_all(request)).await;
    let mut answer = Vec::new();
    let _ = soon("an answer", stream.read_to_end(&mut answer)).await;
    String::from_utf8_lossy(&answer).into_owned()
}

/// A request with a JSON body, on a connection of its own.
pub fn post(path: &str, headers: &str, body: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n\
         {headers}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// The body of an answer as JSON.
pub fn body(answer: &str) -> Json {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer:?}"));
    serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {head} {body}"))
}

//! Sockets from the first byte to the last, over a server in memory.
//!
//! Time is tokio's, and stands still while there is something to do. Functions run when a test says so:
//! what is not run is a query that does not end.
//!
//! The traps of the protocol itself are listed in `protocol::session::tests`; here is what needs a socket:
//!
//! | rule (spec/sync-protocol.md) or case | caught by |
//! |---|---|
//! | 1.1, 1.2 routes, versions, refusals, extensions | `upgrade` |
//! | 1.3 frames, sizes, pings, close reasons | `endings`, `frame::tests` |
//! | 3.7, 12 which fault ends the socket how | `endings`; the table: `protocol::error` |
//! | 4.2, 11 chunks, slow readers | `peers` |
//! | 7.1 a mutation has 60 s, order of mutations | `liveness`, `cases` |
//! | 7.4 lost answers | `cases` |
//! | 9.1, 9.4 reconnects, clients from the future | `cases` |
//! | 10 both pings, silence, what is dead is closed | `liveness` |
//! | 14 closes of clients, with a code and without | `endings` |
//! | versions begin at 0 | `endings` |
//! | stampedes | `cases` |
//! | compression | `compression`, `frame::tests`, `tests/clients/npm/compression.test.js` |
//! | own writes, one snapshot, unrelated writes | `tests/scripts`, `tests/clients/npm/consistency.test.js` |
//! | what is unsubscribed is gone | `cases` |

mod cases;
mod compression;
mod endings;
mod liveness;
mod peers;
mod upgrade;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use engine::{Clock, Engine, Env, SeededRandom};
use flate2::{Decompress, FlushDecompress};
use functions::{
    App, InstanceSecret, MutationCtx, QueryCtx, Result, Runtime, RuntimeParts, Shape, error, object,
};
use protocol::ClientVersion;
use serde::Deserialize;
use serde_json::{Value as Json, json};
use store::MemoryStore;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::sync::watch;
use value::Timestamp;

use super::frame::Extension;
use crate::auth::testing::FakeFetch;
use crate::auth::{Authenticator, Verifier, VerifierOptions};
use crate::service::{Service, ServiceOptions};

const START: Timestamp = Timestamp(1_800_000_000_000_000_000);
const OFFER: &str = "permessage-deflate; client_max_window_bits";

/// The clock of the runtime; told so, it panics for whoever asks it.
struct TokioClock {
    start: tokio::time::Instant,
    broken: AtomicBool,
}

impl Clock for TokioClock {
    fn now(&self) -> Timestamp {
        assert!(!self.broken.load(Ordering::Relaxed), "the clock is broken");
        let passed = tokio::time::Instant::now() - self.start;
        Timestamp(START.0 + u64::try_from(passed.as_nanos()).unwrap())
    }
}

#[derive(Deserialize, Shape)]
struct Note {
    text: String,
}

#[derive(Deserialize, Shape)]
struct Number {
    n: f64,
}

fn notes() -> App {
    App::new("notes")
        .query("notes:list", |ctx: &QueryCtx, (): ()| ctx.db().query_table("notes").collect())
        .query("notes:number", |_: &QueryCtx, number: Number| Ok(number.n))
        .query("notes:countFrom", |ctx: &QueryCtx, number: Number| {
            Ok(number.n + ctx.db().query_table("notes").collect()?.len() as f64)
        })
        .query("notes:fail", |_: &QueryCtx, (): ()| -> Result<f64> { Err(error("boom")) })
        .mutation("notes:add", |ctx: &MutationCtx, note: Note| {
            ctx.db().insert_into("notes", object! {"text" => note.text})?;
            Ok(())
        })
        .mutation("notes:replace", |ctx: &MutationCtx, note: Note| {
            let first = ctx.db().query_table("notes").first()?;
            let first = first.ok_or_else(|| error("there is no note"))?;
            ctx.db().patch(first.id(), object! {"text" => note.text})?;
            Ok(())
        })
}

/// A server without threads.
struct World {
    service: Service,
    clock: Arc<TokioClock>,
    stop: watch::Sender<bool>,
}

impl World {
    fn new() -> World {
        let start = tokio::time::Instant::now();
        let clock = Arc::new(TokioClock { start, broken: AtomicBool::new(false) });
        let env = Env { clock: clock.clone(), random: Arc::new(SeededRandom::new(7)) };
        let store = Arc::new(MemoryStore::new());
        let engine = Engine::open(store, env, engine::Options::default()).unwrap();
        let secret = InstanceSecret::new([7; 32]);
        let runtime = Runtime::new(RuntimeParts {
            engine,
            registry: notes().build().unwrap().registry,
            secret: secret.clone(),
            instance_name: "inst".into(),
            options: functions::RuntimeOptions::default(),
        });
        let verifier = Verifier::new(Vec::new(), FakeFetch::new(), VerifierOptions::default());
        let (stop, stopping) = watch::channel(false);
        let service = Service {
            runtime,
            authenticator: Arc::new(Authenticator::new(secret, "inst", verifier)),
            options: ServiceOptions::default(),
            stopping,
            watching: Arc::default(),
            codecs: Arc::default(),
        };
        World { service, clock, stop }
    }

    /// Runs functions and commits until nothing is left to do, and lets the sockets go on.
    async fn settle(&self) {
        let mut quiet = 0;
        while quiet < 20 {
            tokio::task::yield_now().await;
            let ran = self.service.runtime.run_work(0);
            let wrote = self.service.runtime.append();
            quiet = if ran || wrote { 0 } else { quiet + 1 };
        }
    }

    /// Sockets that are not yet closed by both sides.
    fn open_sockets(&self) -> usize {
        self.service.watching.sockets.totals().open
    }

    /// A socket whose wire holds 1 MiB in each direction.
    fn open(&self, offer: Option<&str>) -> Client {
        self.open_with(offer, 1 << 20)
    }

    /// A socket whose wire holds `bytes` in each direction.
    fn open_with(&self, offer: Option<&str>, bytes: usize) -> Client {
        let extension = offer.map(|offer| Extension::choose(offer).unwrap());
        let (near, far) = tokio::io::duplex(bytes);
        let client = ClientVersion::resolve(None, Some("1.48.0")).unwrap();
        tokio::spawn(super::serve(far, extension, self.service.clone(), client));
        Client::new(near)
    }
}

/// What reaches a client.
#[derive(Clone, Debug, PartialEq)]
enum Got {
    Text(Json),
    Ping,
    Pong(Vec<u8>),
    Close(Option<u16>, String),
    End,
}

/// A client that knows frames and nothing else.
struct Client<S = DuplexStream> {
    io: S,
    inflate: Decompress,
    /// Bytes of all frames that came.
    bytes: usize,
    /// Of those, frames of compressed messages.
    compressed: usize,
    query_set: u32,
}

impl<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin> Client<S> {
    fn new(io: S) -> Self {
        Client { io, inflate: Decompress::new(false), bytes: 0, compressed: 0, query_set: 0 }
    }

    async fn raw(&mut self, bytes: &[u8]) {
        self.io.write_all(bytes).await.unwrap();
    }

    async fn send(&mut self, message: &Json) {
        self.raw(&frame(0x81, message.to_string().as_bytes())).await;
    }

    async fn connect(&mut self) {
        let session = "00000000-0000-4000-8000-000000000001";
        self.send(&json!({"type":"Connect","sessionId":session,"connectionCount":0})).await;
    }

    /// Adds queries in one step.
    async fn add(&mut self, queries: &[(u32, &str, Json)]) {
        let add = |(id, path, args): &(u32, &str, Json)| json!({"type":"Add","queryId":id,"udfPath":path,"args":[args]});
        let adds: Vec<Json> = queries.iter().map(add).collect();
        let base = self.query_set;
        self.query_set += 1;
        self.send(&json!({"type":"ModifyQuerySet","baseVersion":base,"newVersion":base + 1,"modifications":adds})).await;
    }

    async fn mutate(&mut self, request: u32, path: &str, args: Json) {
        self.send(&json!({"type":"Mutation","requestId":request,"udfPath":path,"args":[args]}))
            .await;
    }

    /// The next frame, or whole message.
    async fn next(&mut self) -> Got {
        let mut message: Option<(bool, Vec<u8>)> = None;
        loop {
            let mut head = [0; 2];
            if self.io.read_exact(&mut head).await.is_err() {
                return Got::End;
            }
            assert!(head[1] & 0x80 == 0 && head[0] & 0x30 == 0, "{head:?}");
            let length = match head[1] {
                126 => usize::from(self.io.read_u16().await.unwrap()),
                127 => usize::try_from(self.io.read_u64().await.unwrap()).unwrap(),
                length => usize::from(length),
            };
            let mut payload = vec![0; length];
            self.io.read_exact(&mut payload).await.unwrap();
            self.bytes += 2 + length;
            match head[0] & 0x0f {
                1 => message = Some((head[0] & 0x40 != 0, payload)),
                0 => message.as_mut().expect("it began").1.extend(payload),
                8 => return close(&payload),
                9 => return Got::Ping,
                10 => return Got::Pong(payload),
                other => panic!("opcode {other}"),
            }
            if let (true, Some((compressed, payload))) =
                (head[0] & 0x80 != 0, message.take_if(|_| head[0] & 0x80 != 0))
            {
                self.compressed += usize::from(compressed);
                let text = if compressed { self.inflate(payload) } else { payload };
                return Got::Text(serde_json::from_slice(&text).unwrap());
            }
        }
    }

    /// The next message, whatever pings come before.
    async fn message(&mut self) -> Json {
        loop {
            match self.next().await {
                Got::Text(message) if message["type"] == "Ping" => {}
                Got::Text(message) => return message,
                Got::Ping | Got::Pong(_) => {}
                ended @ (Got::Close(..) | Got::End) => panic!("{ended:?}"),
            }
        }
    }

    /// The modifications of the next transition.
    async fn transition(&mut self) -> Vec<Json> {
        loop {
            let message = self.message().await;
            if message["type"] == "Transition" {
                return message["modifications"].as_array().unwrap().clone();
            }
        }
    }

    /// How the socket ends, whatever comes before.
    async fn end(&mut self) -> Vec<Got> {
        let mut last = Vec::new();
        loop {
            match self.next().await {
                Got::Ping | Got::Pong(_) => {}
                Got::Text(message) if message["type"] == "Ping" => {}
                Got::End => return last,
                got @ (Got::Text(_) | Got::Close(..)) => last.push(got),
            }
        }
    }

    /// What was compressed with reference to what came before.
    fn inflate(&mut self, mut payload: Vec<u8>) -> Vec<u8> {
        payload.extend([0, 0, 0xff, 0xff]);
        let (mut out, mut rest) = (Vec::new(), &payload[..]);
        loop {
            out.reserve(1 << 16);
            let before = self.inflate.total_in();
            self.inflate.decompress_vec(rest, &mut out, FlushDecompress::Sync).unwrap();
            rest = &rest[usize::try_from(self.inflate.total_in() - before).unwrap()..];
            if rest.is_empty() && out.len() < out.capacity() {
                return out;
            }
        }
    }
}

fn close(payload: &[u8]) -> Got {
    match payload.split_first_chunk() {
        None => Got::Close(None, String::new()),
        Some((code, reason)) => {
            let reason = String::from_utf8(reason.to_vec()).unwrap();
            Got::Close(Some(u16::from_be_bytes(*code)), reason)
        }
    }
}

fn closed(code: u16, reason: &str) -> Got {
    Got::Close(Some(code), reason.to_owned())
}

/// A frame of a client. `first` is the first byte.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x37, 0xfa, 0x21, 0x3d];
    let mut bytes = vec![first];
    match payload.len() {
        length @ 0..=125 => bytes.push(0x80 | length as u8),
        length @ 126..=0xffff => {
            bytes.push(0x80 | 126);
            bytes.extend((length as u16).to_be_bytes());
        }
        length => {
            bytes.push(0x80 | 127);
            bytes.extend((length as u64).to_be_bytes());
        }
    }
    bytes.extend(mask);
    bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

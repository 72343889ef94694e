//! A TCP proxy between client and server that misbehaves on request.
//!
//! It cuts (both sides reset), half-closes, refuses, holds back, delays, passes single bytes, and ends a
//! connection at a text or after a number of bytes of either side. It speaks no WebSocket: the client offers no compression and the
//! server masks nothing, so that what the server sends can be searched for a text.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{broadcast, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

const CHUNK_BYTES: usize = 64 * 1024;
const WAIT_MAX: Duration = Duration::from_secs(60);

/// One end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Client,
    Server,
}

/// How many connections there were.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Tried: let in or refused.
    pub attempts: usize,
    /// Let in.
    pub accepted: usize,
    /// Let in and over.
    pub ended: usize,
}

#[derive(Clone, Copy, Debug)]
enum Order {
    Cut,
    /// Tell this side that the other one will send nothing more, and drop what that one sends.
    HalfClose(Side),
    /// Let nothing pass any more.
    Hold,
}

#[derive(Default)]
struct Rules {
    target: u16,
    refusals_left: usize,
    /// Of the server's bytes, and of the client's.
    delay: Duration,
    delay_up: Duration,
    splitting: bool,
    cut_at: Option<(&'static [u8], usize)>,
    budgets: VecDeque<usize>,
    budgets_up: VecDeque<usize>,
}

/// Dropped, it and its connections are gone.
pub struct Proxy {
    port: u16,
    rules: Arc<Mutex<Rules>>,
    orders: broadcast::Sender<Order>,
    counts: watch::Receiver<Counts>,
    listening: JoinHandle<()>,
}

impl Proxy {
    /// A proxy on a free port in front of `target`.
    pub async fn start(target: u16) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let rules = Arc::new(Mutex::new(Rules { target, ..Rules::default() }));
        let (orders, _) = broadcast::channel(16);
        let (counting, counts) = watch::channel(Counts::default());
        let listening = listen(listener, Arc::clone(&rules), orders.clone(), counting);
        Proxy { port, rules, orders, counts, listening: tokio::spawn(listening) }
    }

    /// Where clients find it.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn counts(&self) -> Counts {
        *self.counts.borrow()
    }

    /// Returns when `accept` agrees with the counts.
    pub async fn until(&self, accept: impl FnMut(&Counts) -> bool) {
        let mut counts = self.counts.clone();
        let reached = timeout(WAIT_MAX, counts.wait_for(accept)).await;
        assert!(matches!(reached, Ok(Ok(_))), "waited in vain; counts: {:?}", self.counts());
    }

    /// Resets all connections, on both sides.
    pub fn cut(&self) {
        self.order(Order::Cut);
    }

    /// Tells `side` that the other one will send nothing more, and drops what that one still
    /// sends. The other direction stays open.
    pub fn half_close(&self, side: Side) {
        self.order(Order::HalfClose(side));
    }

    /// Lets nothing pass on the connections that are open; they stay open.
    pub fn hold(&self) {
        self.order(Order::Hold);
    }

    /// Resets the next `count` connections as soon as they are there.
    pub fn refuse(&self, count: usize) {
        self.rules().refusals_left = count;
    }

    /// Has everything that the server sends come late.
    pub fn delay(&self, delay: Duration) {
        self.rules().delay = delay;
    }

    /// Has everything that the client sends come late.
    pub fn delay_up(&self, delay: Duration) {
        self.rules().delay_up = delay;
    }

    /// Has everything come in single bytes, both ways.
    pub fn split(&self) {
        self.rules().splitting = true;
    }

    /// The next connections each end after so many bytes of the client's.
    pub fn cut_after_sent(&self, byte_counts: impl IntoIterator<Item = usize>) {
        self.rules().budgets_up = byte_counts.into_iter().collect();
    }

    /// Resets a connection on which the server sends `text`, before that passes; so many times.
    pub fn cut_at(&self, text: &'static str, times: usize) {
        self.rules().cut_at = Some((text.as_bytes(), times));
    }

    /// The next connections each end after so many bytes of the server's.
    pub fn cut_after(&self, byte_counts: impl IntoIterator<Item = usize>) {
        self.rules().budgets = byte_counts.into_iter().collect();
    }

    fn rules(&self) -> MutexGuard<'_, Rules> {
        self.rules.lock().expect("nobody panics with the rules in hand")
    }

    fn order(&self, order: Order) {
        // Nobody is there to obey when no connection is open.
        let _ = self.orders.send(order);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.cut();
        self.listening.abort();
    }
}

async fn listen(
    listener: TcpListener,
    rules: Arc<Mutex<Rules>>,
    orders: broadcast::Sender<Order>,
    counting: watch::Sender<Counts>,
) {
    let counting = Arc::new(counting);
    while let Ok((client, _)) = listener.accept().await {
        let (target, refused) = {
            let mut rules = rules.lock().expect("nobody panics with the rules in hand");
            let refused = rules.refusals_left > 0;
            rules.refusals_left = rules.refusals_left.saturating_sub(1);
            (rules.target, refused)
        };
        counting.send_modify(|counts| counts.attempts += 1);
        if refused {
            reset(&client);
            continue;
        }
        let Ok(server) = TcpStream::connect(("127.0.0.1", target)).await else {
            reset(&client);
            continue;
        };
        let (rules, orders) = (Arc::clone(&rules), orders.subscribe());
        counting.send_modify(|counts| counts.accepted += 1);
        let counting = Arc::clone(&counting);
        tokio::spawn(async move {
            relay(client, server, rules, orders).await;
            counting.send_modify(|counts| counts.ended += 1);
        });
    }
}

/// Passes bytes both ways until both have ended, one fails, or an order ends it.
async fn relay(
    client: TcpStream,
    server: TcpStream,
    rules: Arc<Mutex<Rules>>,
    mut orders: broadcast::Receiver<Order>,
) {
    for stream in [&client, &server] {
        stream.set_nodelay(true).expect("a socket of ours");
    }
    let (budget, budget_up) = {
        let mut rules = rules.lock().expect("nobody panics with the rules in hand");
        (rules.budgets.pop_front(), rules.budgets_up.pop_front())
    };
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let (gates, gate) = watch::channel(None);
    let filter =
        |side, budget| Filter { side, rules: Arc::clone(&rules), budget, tail: Vec::new() };
    let (up, down) = (filter(Side::Server, budget_up), filter(Side::Client, budget));
    let up = pump(from_client, to_server, up, Side::Server, gate.clone());
    let down = pump(from_server, to_client, down, Side::Client, gate);
    let both = async { tokio::try_join!(up, down) };
    tokio::pin!(both);
    loop {
        tokio::select! {
            // A pump that fails has reset its streams; dropping the other ends it too.
            _ = &mut both => return,
            order = orders.recv() => match order {
                Ok(Order::Cut) | Err(_) => {
                    gates.send_replace(Some(Order::Cut));
                    let _ = (&mut both).await;
                    return;
                }
                Ok(order) => {
                    gates.send_replace(Some(order));
                }
            },
        }
    }
}

/// What the direction towards `side` lets pass.
struct Filter {
    side: Side,
    rules: Arc<Mutex<Rules>>,
    budget: Option<usize>,
    tail: Vec<u8>,
}

/// What becomes of some bytes.
struct Judgement {
    /// How many pass.
    passing: usize,
    /// How many at a time.
    piece: usize,
    delay: Duration,
    /// The connection ends with them.
    last: bool,
}

impl Filter {
    fn judge(&mut self, chunk: &[u8]) -> Judgement {
        let mut rules = self.rules.lock().expect("nobody panics with the rules in hand");
        let piece = if rules.splitting { 1 } else { CHUNK_BYTES };
        let delay = if self.side == Side::Client { rules.delay } else { rules.delay_up };
        if self.side == Side::Client {
            self.tail.extend_from_slice(chunk);
            if let Some((text, times)) = &mut rules.cut_at
                && *times > 0
                && self.tail.windows(text.len()).any(|window| window == *text)
            {
                *times -= 1;
                return Judgement { passing: 0, piece, delay, last: true };
            }
            self.tail.drain(..self.tail.len().saturating_sub(64));
        }
        let Some(left) = &mut self.budget else {
            return Judgement { passing: chunk.len(), piece, delay, last: false };
        };
        let passing = chunk.len().min(*left);
        *left -= passing;
        Judgement { passing, piece, delay, last: *left == 0 }
    }
}

async fn pump(
    mut source: OwnedReadHalf,
    mut sink: OwnedWriteHalf,
    mut filter: Filter,
    towards: Side,
    mut gate: watch::Receiver<Option<Order>>,
) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut deaf = false;
    loop {
        let length = tokio::select! {
            biased;
            changed = gate.changed() => {
                let order = *gate.borrow_and_update();
                match order {
                    _ if changed.is_err() => return Ok(()),
                    Some(Order::Cut) => return Err(cut(&source, &sink)),
                    Some(Order::HalfClose(side)) if side == towards => {
                        deaf = true;
                        sink.shutdown().await?;
                    }
                    Some(Order::Hold) => deaf = true,
                    Some(Order::HalfClose(_)) | None => {}
                }
                continue;
            }
            read = source.read(&mut chunk) => match read {
                Ok(length) => length,
                Err(_) => return Err(cut(&source, &sink)),
            },
        };
        if length == 0 {
            if !deaf {
                let _ = sink.shutdown().await;
            }
            return Ok(());
        }
        let Judgement { passing, piece, delay, last } = filter.judge(&chunk[..length]);
        if !delay.is_zero() {
            sleep(delay).await;
        }
        let mut failed = false;
        for bytes in chunk[..passing].chunks(piece) {
            failed |= !deaf && sink.write_all(bytes).await.is_err();
            tokio::task::yield_now().await;
        }
        if failed || last {
            return Err(cut(&source, &sink));
        }
    }
}

fn cut(source: &OwnedReadHalf, sink: &OwnedWriteHalf) -> io::Error {
    reset(source.as_ref());
    reset(sink.as_ref());
    io::ErrorKind::ConnectionReset.into()
}

/// Has `stream` end with a reset instead of an orderly end when it is dropped.
fn reset(stream: &TcpStream) {
    let _ = stream.set_zero_linger();
}

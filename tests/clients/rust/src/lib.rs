//! What the tests stand on: a server, a proxy before it, and the official client.
//!
//! - `server`: `concave serve` as a process, with a data folder of its own
//! - `proxy`: what stands between client and server and misbehaves on request
//! - `stage`: the people, clients and proxies of one test
//! - `watch`: a subscription, awaited; and how results are read

pub mod proxy;
pub mod server;
pub mod stage;
pub mod watch;

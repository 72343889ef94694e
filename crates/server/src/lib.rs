//! WebSocket, HTTP, identity: everything that touches the network.

pub mod auth;

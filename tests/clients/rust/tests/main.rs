//! The official Rust client, unmodified, against `concave serve`.

mod actions;
mod application;
mod docs;
mod identity;
mod pages;
mod reconnect;
mod subscribe;

//! The presence of a chat: the first application, in Rust functions.

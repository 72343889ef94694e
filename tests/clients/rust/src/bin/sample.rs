//! The sample of docs/clients.md.

include!(concat!(env!("OUT_DIR"), "/sample.rs"));

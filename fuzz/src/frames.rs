//! Frames of clients, and a whole connection driven by them.
//!
//! One line is one frame. A line that begins with `.` is not sent: each of its letters is something
//! that happens at the server (`Server::event`). After a frame that begins with a blank more frames
//! are at hand, so no transition is started yet.

mod connection;
mod encode;

use protocol::ClientMessage;
use protocol::client::QuerySetModification;

use self::connection::Connection;

/// Most lines of one input: a connection, not a load test.
const LINES_MAX: usize = 64;

/// Every frame alone, then all of them as one connection.
pub fn frames(data: &[u8]) {
    let lines: Vec<&str> = super::lines(data).take(LINES_MAX).collect();
    let mut connection = Connection::new();
    for line in lines {
        if let Some(events) = line.strip_prefix('.') {
            events.chars().for_each(|event| connection.event(event));
        } else {
            decoded(line);
            connection.frame(line);
        }
    }
    connection.finish();
}

/// A frame that was understood is understood the same when it is written anew.
fn decoded(text: &str) {
    match ClientMessage::decode(text) {
        Ok(message) => {
            let Some(written) = encode::message(&message) else { return };
            let again = ClientMessage::decode(&written.to_string());
            assert_eq!(again.map(without_bytes), Ok(without_bytes(message)), "{written}");
        }
        Err(error) => {
            assert!(error.message.len() <= protocol::limits::ERROR_TEXT_BYTES_MAX);
            assert!(!error.code.is_empty());
        }
    }
}

/// The same text may be longer: numbers of bytes are not compared.
fn without_bytes(mut message: ClientMessage) -> ClientMessage {
    match &mut message {
        ClientMessage::Mutation(call) | ClientMessage::Action(call) => call.bytes = 0,
        ClientMessage::ModifyQuerySet(step) => {
            for modification in &mut step.modifications {
                match modification {
                    QuerySetModification::Add(add) => add.bytes = 0,
                    QuerySetModification::Remove(_) => {}
                }
            }
        }
        ClientMessage::Connect(_) | ClientMessage::Authenticate { .. } | ClientMessage::Event => {}
    }
    message
}

//! What the server sends: responses, errors and pings as finished text, transitions as parts
//! that are joined when the writer takes them.
//!
//! A transition is encoded late for two reasons: the shared results are copied once, into the
//! frame itself; and `serverTs` must be the time at which the writer takes it.

use std::fmt::Write;
use std::sync::Arc;

use crate::error::cut;
use crate::ids::{QueryId, RequestId, Version};
use crate::limits::CHUNK_BYTES_MAX;
use crate::result::{CallError, QueryResult};
use value::Timestamp;

/// One message to the client. The writer turns it into text frames.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outgoing {
    /// A finished message: one text frame.
    Message(String),
    /// A step from one version to the next. The writer reports it as written (`Input::Drained`).
    Transition(Transition),
}

/// A step from one version to the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition {
    /// Where the transition before ended.
    pub start: Version,
    /// Where this one ends. All results are as of `end.ts`.
    pub end: Version,
    /// By ascending query, at most one for each.
    pub modifications: Vec<Modification>,
    /// The client's clock minus ours, in milliseconds. `None` without a `Connect`.
    pub clock_skew_ms: Option<i64>,
    /// Whether this client understands `TransitionChunk`.
    pub chunks: bool,
}

/// What changed for one query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Modification {
    /// A new value or a new failure.
    Result(QueryId, Arc<QueryResult>),
    /// The query is no longer in the set.
    Removed(QueryId),
}

impl Modification {
    /// The query it is about.
    pub fn query(&self) -> QueryId {
        match self {
            Modification::Result(query, _) | Modification::Removed(query) => *query,
        }
    }
}

impl Outgoing {
    /// The text frames, to be written in this order with nothing but a `Ping` between them.
    ///
    /// `server_ts_ns` is the Unix time in nanoseconds at which the writer takes the message.
    pub fn into_frames(self, server_ts_ns: i64) -> Vec<String> {
        match self {
            Outgoing::Message(text) => vec![text],
            Outgoing::Transition(transition) => transition.into_frames(server_ts_ns),
        }
    }

    /// `Ping`: the keep-alive that browser code can see.
    pub fn ping() -> Outgoing {
        Outgoing::Message(String::from("{\"type\":\"Ping\"}"))
    }

    /// `FatalError` with the long text.
    pub fn fatal_error(error: &str) -> Outgoing {
        let mut text = String::from("{\"type\":\"FatalError\",\"error\":");
        push_json_string(&mut text, error);
        text.push('}');
        Outgoing::Message(text)
    }

    /// `AuthError`. `base_version` is the identity version of the last transition sent;
    /// `attempted` whether it answers an `Authenticate`.
    pub fn auth_error(error: &str, base_version: u32, attempted: bool) -> Outgoing {
        let mut text = String::from("{\"type\":\"AuthError\",\"error\":");
        push_json_string(&mut text, error);
        text.push_str(&format!(
            ",\"baseVersion\":{base_version},\"authUpdateAttempted\":{attempted}}}"
        ));
        Outgoing::Message(text)
    }

    /// `MutationResponse` of a committed mutation. `value` is encoded JSON.
    pub fn mutation_success(
        request: RequestId,
        value: &str,
        ts: Timestamp,
        log_lines: &[String],
    ) -> Outgoing {
        let mut text = response("MutationResponse", request, true, value);
        text.push_str(",\"ts\":");
        push_json_string(&mut text, &ts.to_wire());
        Outgoing::Message(end_response(text, log_lines, None))
    }

    /// `MutationResponse` of a mutation that wrote nothing.
    pub fn mutation_failure(
        request: RequestId,
        error: &CallError,
        log_lines: &[String],
    ) -> Outgoing {
        let mut text = response("MutationResponse", request, false, &json_string(&error.text()));
        text.push_str(",\"ts\":null");
        Outgoing::Message(end_response(text, log_lines, error.data.as_deref()))
    }

    /// `ActionResponse` of an action that returned. `value` is encoded JSON.
    pub fn action_success(request: RequestId, value: &str, log_lines: &[String]) -> Outgoing {
        let text = response("ActionResponse", request, true, value);
        Outgoing::Message(end_response(text, log_lines, None))
    }

    /// `ActionResponse` of an action that failed.
    pub fn action_failure(request: RequestId, error: &CallError, log_lines: &[String]) -> Outgoing {
        let text = response("ActionResponse", request, false, &json_string(&error.text()));
        Outgoing::Message(end_response(text, log_lines, error.data.as_deref()))
    }
}

impl Transition {
    /// The text frames of this transition: one, or its chunks.
    pub fn into_frames(self, server_ts_ns: i64) -> Vec<String> {
        let text = self.encode(server_ts_ns);
        if self.chunks && text.len() > CHUNK_BYTES_MAX {
            chunk(&text, CHUNK_BYTES_MAX)
        } else {
            vec![text]
        }
    }

    /// The whole message as JSON text.
    pub fn encode(&self, server_ts_ns: i64) -> String {
        let results: usize = self.modifications.iter().map(Modification::bytes).sum();
        let mut text = String::with_capacity(results + 320);
        text.push_str("{\"type\":\"Transition\",\"startVersion\":");
        push_version(&mut text, self.start);
        text.push_str(",\"endVersion\":");
        push_version(&mut text, self.end);
        text.push_str(",\"modifications\":[");
        for (place, modification) in self.modifications.iter().enumerate() {
            if place > 0 {
                text.push(',');
            }
            modification.push(&mut text);
        }
        text.push_str("],\"clientClockSkew\":");
        match self.clock_skew_ms {
            Some(skew) => push(&mut text, format_args!("{skew}")),
            None => text.push_str("null"),
        }
        push(&mut text, format_args!(",\"serverTs\":{server_ts_ns}}}"));
        text
    }
}

impl Modification {
    fn bytes(&self) -> usize {
        match self {
            Modification::Result(_, result) => result.fragment().len() + 64,
            Modification::Removed(_) => 64,
        }
    }

    fn push(&self, text: &mut String) {
        match self {
            Modification::Result(query, result) => {
                let kind = if result.failed() { "QueryFailed" } else { "QueryUpdated" };
                push(text, format_args!("{{\"type\":\"{kind}\",\"queryId\":{query}"));
                text.push_str(result.fragment());
            }
            Modification::Removed(query) => {
                push(text, format_args!("{{\"type\":\"QueryRemoved\",\"queryId\":{query}}}"));
            }
        }
    }
}

/// Cuts a transition at character boundaries. `transitionId` is the length of the whole text.
pub(crate) fn chunk(text: &str, part_bytes_max: usize) -> Vec<String> {
    let mut parts = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let part = cut(rest, part_bytes_max);
        parts.push(part);
        rest = &rest[part.len()..];
    }
    let total = parts.len();
    let frame = |(number, part): (usize, &str)| {
        let mut frame = String::with_capacity(part.len() + part.len() / 8 + 128);
        frame.push_str("{\"type\":\"TransitionChunk\",\"chunk\":");
        push_json_string(&mut frame, part);
        push(
            &mut frame,
            format_args!(
                ",\"partNumber\":{number},\"totalParts\":{total},\"transitionId\":\"{}\"}}",
                text.len()
            ),
        );
        frame
    };
    parts.into_iter().enumerate().map(frame).collect()
}

fn response(kind: &str, request: RequestId, success: bool, result: &str) -> String {
    format!(
        "{{\"type\":\"{kind}\",\"requestId\":{request},\"success\":{success},\"result\":{result}"
    )
}

fn end_response(mut text: String, log_lines: &[String], data: Option<&str>) -> String {
    push_log_lines(&mut text, log_lines);
    if let Some(data) = data {
        text.push_str(",\"errorData\":");
        text.push_str(data);
    }
    text.push('}');
    text
}

fn push_version(text: &mut String, version: Version) {
    let Version { query_set, identity, ts } = version;
    push(text, format_args!("{{\"querySet\":{query_set},\"identity\":{identity},\"ts\":"));
    push_json_string(text, &ts.to_wire());
    text.push('}');
}

pub(crate) fn push_log_lines(text: &mut String, log_lines: &[String]) {
    text.push_str(",\"logLines\":[");
    for (place, line) in log_lines.iter().enumerate() {
        if place > 0 {
            text.push(',');
        }
        push_json_string(text, line);
    }
    text.push(']');
}

pub(crate) fn push_json_string(text: &mut String, string: &str) {
    text.push_str(&json_string(string));
}

fn json_string(string: &str) -> String {
    serde_json::to_string(string).expect("a string always has a JSON form")
}

fn push(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    text.write_fmt(arguments).expect("a String takes all that is written");
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn transition(value: &str, chunks: bool) -> Transition {
        let result = Arc::new(QueryResult::success(value, &[], None));
        Transition {
            start: Version::START,
            end: Version { query_set: 1, identity: 0, ts: Timestamp(1) },
            modifications: vec![Modification::Result(QueryId(0), result)],
            clock_skew_ms: None,
            chunks,
        }
    }

    /// The chunks of a frame, checked and joined.
    fn join(frames: &[String]) -> String {
        let mut text = String::new();
        let mut transition_id = None;
        for (place, frame) in frames.iter().enumerate() {
            let part: serde_json::Value = serde_json::from_str(frame).unwrap();
            assert_eq!(part["type"], "TransitionChunk");
            assert_eq!(part["partNumber"], place);
            assert_eq!(part["totalParts"], frames.len());
            let id = part["transitionId"].as_str().unwrap().to_owned();
            assert_eq!(transition_id.get_or_insert(id.clone()), &id);
            text.push_str(part["chunk"].as_str().unwrap());
        }
        assert_eq!(transition_id, Some(text.len().to_string()));
        text
    }

    #[test]
    fn large_transitions_are_chunked_for_those_who_understand() {
        // Two bytes for each character, so that an odd offset makes a cut fall inside one.
        let large = format!("\"{}\"", "é".repeat(2_600_000));
        let whole = transition(&large, true).encode(7);
        let frames = transition(&large, true).into_frames(7);
        assert_eq!(frames.len(), whole.len().div_ceil(CHUNK_BYTES_MAX));
        assert_eq!(join(&frames), whole);
        assert_eq!(transition(&large, false).into_frames(7), [whole]);
        let small = transition("null", true);
        assert_eq!(small.clone().into_frames(7), [small.encode(7)]);
    }

    proptest! {
        #[test]
        fn chunks_join_to_the_whole(text in ".{1,200}", part_bytes_max in 4..50_usize) {
            let frames = chunk(&text, part_bytes_max);
            prop_assert_eq!(join(&frames), text);
        }
    }
}

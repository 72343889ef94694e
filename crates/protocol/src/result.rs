//! Results of queries as they go on the wire: encoded once, shared by every session that shows
//! them.
//!
//!     {"type":"QueryUpdated","queryId":7,"value":…,"logLines":[…],"journal":null}
//!     └────── per session ────────────┘└───── `QueryResult`, one `Arc<str>` ────┘

use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use crate::outgoing::{push_json_string, push_log_lines};

/// Tells equal results apart from changed ones: over the value or the error text and data, and
/// the log lines. Not over the journal, which differs after every run, nor over the request id
/// inside an error text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Digest(pub [u8; 16]);

/// What one run of a query gave, ready to be sent to any number of sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueryResult {
    fragment: Arc<str>,
    failed: bool,
    digest: Digest,
    journal: Option<Arc<str>>,
}

/// A failure of one query, mutation or action. It never ends the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallError {
    /// The id in the text, which also stands in the log of the server.
    pub request_id: String,
    /// The error text and stack. `None` where the deployment keeps them from clients.
    pub detail: Option<String>,
    /// The data of an application error as encoded JSON; `Some("null")` is data too.
    pub data: Option<Arc<str>>,
}

impl CallError {
    /// `[Request ID: …] Server Error`, and the detail on the lines after it.
    pub fn text(&self) -> String {
        let detail = self.detail.as_deref().map(|detail| format!("\n{detail}"));
        format!("[Request ID: {}] Server Error{}", self.request_id, detail.unwrap_or_default())
    }
}

impl QueryResult {
    /// The query returned `value`, given as encoded JSON (`value::json::to_string`).
    ///
    /// Each log line is `[LEVEL] text`. `journal` is what the query must repeat when it runs
    /// again, opaque to clients.
    pub fn success(value: &str, log_lines: &[String], journal: Option<&str>) -> QueryResult {
        let mut fragment = String::with_capacity(value.len() + 64);
        fragment.push_str(",\"value\":");
        fragment.push_str(value);
        let digest = digest(b'v', [Some(value), None], log_lines);
        QueryResult::finish(fragment, false, digest, log_lines, journal)
    }

    /// The query failed with `error`.
    pub fn failure(error: &CallError, log_lines: &[String], journal: Option<&str>) -> QueryResult {
        let mut fragment = String::from(",\"errorMessage\":");
        push_json_string(&mut fragment, &error.text());
        if let Some(data) = &error.data {
            fragment.push_str(",\"errorData\":");
            fragment.push_str(data);
        }
        let parts = [error.detail.as_deref(), error.data.as_deref()];
        let digest = digest(b'e', parts, log_lines);
        QueryResult::finish(fragment, true, digest, log_lines, journal)
    }

    fn finish(
        mut fragment: String,
        failed: bool,
        digest: Digest,
        log_lines: &[String],
        journal: Option<&str>,
    ) -> QueryResult {
        push_log_lines(&mut fragment, log_lines);
        fragment.push_str(",\"journal\":");
        match journal {
            Some(journal) => push_json_string(&mut fragment, journal),
            None => fragment.push_str("null"),
        }
        fragment.push('}');
        QueryResult { fragment: fragment.into(), failed, digest, journal: journal.map(Arc::from) }
    }

    /// The bytes after `"queryId":N`, to the closing brace.
    pub fn fragment(&self) -> &Arc<str> {
        &self.fragment
    }

    /// Whether it goes out as `QueryFailed`.
    pub fn failed(&self) -> bool {
        self.failed
    }

    /// Equal digests: nothing is sent.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// What the query must repeat when it runs again.
    pub fn journal(&self) -> Option<&Arc<str>> {
        self.journal.as_ref()
    }
}

/// Parts are told apart by their lengths, so no two different results feed the same bytes.
fn digest(kind: u8, parts: [Option<&str>; 2], log_lines: &[String]) -> Digest {
    let mut hash = Sha256::new();
    hash.update([kind]);
    for part in parts {
        match part {
            Some(text) => {
                hash.update([1]);
                hash.update((text.len() as u64).to_le_bytes());
                hash.update(text);
            }
            None => hash.update([0]),
        }
    }
    for line in log_lines {
        hash.update((line.len() as u64).to_le_bytes());
        hash.update(line);
    }
    let mut short = [0; 16];
    short.copy_from_slice(&hash.finalize()[..16]);
    Digest(short)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(request_id: &str, detail: Option<&str>, data: Option<&str>) -> CallError {
        CallError {
            request_id: request_id.to_owned(),
            detail: detail.map(str::to_owned),
            data: data.map(Arc::from),
        }
    }

    fn lines(lines: &[&str]) -> Vec<String> {
        lines.iter().map(|line| (*line).to_owned()).collect()
    }

    #[test]
    fn fragments_are_the_wire_form_after_the_query_id() {
        let check = |result: QueryResult, failed: bool, expected: &str| {
            assert_eq!(&**result.fragment(), expected);
            assert_eq!(result.failed(), failed);
        };
        check(
            QueryResult::success("[1.0]", &lines(&["[LOG] 'a\"b'"]), None),
            false,
            r#","value":[1.0],"logLines":["[LOG] 'a\"b'"],"journal":null}"#,
        );
        check(
            QueryResult::success("null", &[], Some("j\n1")),
            false,
            r#","value":null,"logLines":[],"journal":"j\n1"}"#,
        );
        check(
            QueryResult::failure(&error("1f", None, None), &[], None),
            true,
            r#","errorMessage":"[Request ID: 1f] Server Error","logLines":[],"journal":null}"#,
        );
        check(
            QueryResult::failure(&error("1f", Some("Uncaught x"), Some("null")), &[], None),
            true,
            concat!(
                r#","errorMessage":"[Request ID: 1f] Server Error\nUncaught x""#,
                r#","errorData":null,"logLines":[],"journal":null}"#
            ),
        );
    }

    #[test]
    fn the_digest_covers_what_a_reader_sees() {
        let base = QueryResult::success("1.0", &lines(&["[LOG] a"]), None).digest();
        let same = |result: QueryResult| result.digest() == base;
        assert!(same(QueryResult::success("1.0", &lines(&["[LOG] a"]), Some("journal"))));
        assert!(!same(QueryResult::success("2.0", &lines(&["[LOG] a"]), None)));
        assert!(!same(QueryResult::success("1.0", &lines(&["[LOG] b"]), None)));
        assert!(!same(QueryResult::success("1.0", &lines(&["[LOG] a", ""]), None)));
        assert!(!same(QueryResult::success("1.0", &[], None)));
    }

    #[test]
    fn the_digest_of_a_failure_ignores_the_request_id_and_sees_the_data() {
        let digest =
            |id, detail, data| QueryResult::failure(&error(id, detail, data), &[], None).digest();
        assert_eq!(digest("1", Some("boom"), None), digest("2", Some("boom"), None));
        assert_ne!(digest("1", Some("boom"), None), digest("1", Some("bang"), None));
        assert_ne!(digest("1", Some("boom"), None), digest("1", Some("boom"), Some("null")));
        assert_ne!(digest("1", Some(""), None), digest("1", None, None));
        let value = QueryResult::success("1.0", &[], None).digest();
        assert_ne!(digest("1", None, Some("1.0")), value);
        assert_ne!(digest("1", Some("1.0"), None), value);
    }
}

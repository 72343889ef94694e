//! Bounds and endings: every limit closes the connection of the client that reached it.

use crate::limits::{ACTIONS_RUNNING_MAX, MESSAGES_WAITING_MAX, MUTATIONS_QUEUED_MAX, QUERIES_MAX};
use crate::session::{Close, Input, MutationOutcome, Options, Output, Session, Verified};
use crate::{ClientVersion, Outgoing, RequestId, SessionLimits};
use value::Timestamp;

fn session() -> Session<()> {
    with(SessionLimits::default())
}

fn with(limits: SessionLimits) -> Session<()> {
    let options =
        Options { client: ClientVersion::UNKNOWN, entropy: [1; 16], show_errors: false, limits };
    Session::new(options, (), 0)
}

fn frame(session: &mut Session<()>, text: &str) -> Vec<Output<()>> {
    session.handle(0, Input::Frame(text))
}

fn call(kind: &str, request: usize) -> String {
    format!(r#"{{"type":"{kind}","requestId":{request},"udfPath":"a:b","args":[{{}}]}}"#)
}

fn close(code: Option<u16>, reason: &str) -> Output<()> {
    Output::Close(Close { code, reason: reason.to_owned() })
}

#[test]
fn mutations_queue_up_to_a_limit() {
    let mut session = session();
    for request in 0..=MUTATIONS_QUEUED_MAX {
        let out = frame(&mut session, &call("Mutation", request));
        assert_eq!(out.len(), usize::from(request == 0), "only the first one starts");
    }
    let out = frame(&mut session, &call("Mutation", MUTATIONS_QUEUED_MAX + 1));
    assert_eq!(out, [close(Some(1013), "TooManyConcurrentMutations")]);
}

#[test]
fn actions_run_side_by_side_up_to_a_limit() {
    let mut session = session();
    for request in 0..ACTIONS_RUNNING_MAX {
        let out = frame(&mut session, &call("Action", request));
        assert!(matches!(out[..], [Output::Action(_)]));
    }
    let out = frame(&mut session, &call("Action", ACTIONS_RUNNING_MAX));
    assert_eq!(out, [close(Some(1013), "TooManyInflightActionsForSingleClient")]);
}

#[test]
fn queries_are_limited() {
    let mut session = session();
    let add = |id: usize| format!(r#"{{"type":"Add","queryId":{id},"udfPath":"a","args":[]}}"#);
    let adds: Vec<String> = (0..=QUERIES_MAX).map(add).collect();
    let text = format!(
        r#"{{"type":"ModifyQuerySet","baseVersion":0,"newVersion":1,"modifications":[{}]}}"#,
        adds.join(",")
    );
    assert_eq!(frame(&mut session, &text), [close(Some(1013), "TooManyConcurrentRequests")]);
}

#[test]
fn messages_behind_an_authenticate_are_limited() {
    let mut session = session();
    frame(&mut session, r#"{"type":"Authenticate","baseVersion":0,"tokenType":"None"}"#);
    for _ in 0..MESSAGES_WAITING_MAX {
        assert_eq!(frame(&mut session, r#"{"type":"Event"}"#), []);
    }
    let out = frame(&mut session, r#"{"type":"Event"}"#);
    assert_eq!(out, [close(Some(1013), "TooManyConcurrentRequests")]);
}

#[test]
fn bytes_held_are_limited_and_given_back() {
    let mut session = session();
    let authenticate =
        |base| format!(r#"{{"type":"Authenticate","baseVersion":{base},"tokenType":"None"}}"#);
    let big = format!(r#"{{"type":"Event","event":"{}"}}"#, "x".repeat(30 << 20));
    frame(&mut session, &authenticate(0));
    for _ in 0..4 {
        assert_eq!(frame(&mut session, &big), []);
    }
    let identity = Verified::Accepted { identity: (), expires_at_ms: None };
    session.handle(0, Input::Verified(identity));
    assert_eq!(session.held_bytes, 0);
    frame(&mut session, &authenticate(1));
    for _ in 0..4 {
        assert_eq!(frame(&mut session, &big), []);
    }
    assert_eq!(frame(&mut session, &big), [close(Some(1013), "TooManyConcurrentRequests")]);
}

fn done(request: u32, value: &str) -> Input<'static, ()> {
    let (ts, value) = (Timestamp(5), value.to_owned());
    let outcome = MutationOutcome::Success { value, ts, log_lines: vec![] };
    Input::MutationDone { request: RequestId(request), outcome }
}

#[test]
fn answers_that_nobody_reads_are_limited() {
    let mut session = session();
    frame(
        &mut session,
        r#"{"type":"ModifyQuerySet","baseVersion":0,"newVersion":1,"modifications":[]}"#,
    );
    session.flush(0);
    session.handle(0, Input::Refreshed { ts: Timestamp(1), results: vec![] });
    let value = format!("\"{}\"", "x".repeat(10 << 20));
    for request in 0..7 {
        frame(&mut session, &call("Mutation", request));
        let out = session.handle(0, done(request as u32, &value));
        match request {
            0..6 => assert!(matches!(out[..], [Output::Send(_)])),
            _ => assert_eq!(out, [close(Some(1013), "TooManyConcurrentRequests")]),
        }
    }
}

#[test]
fn answers_that_were_written_do_not_count() {
    let mut session = session();
    let value = format!("\"{}\"", "x".repeat(10 << 20));
    for request in 0..20 {
        // From the second round on, behind a transition that is still being written.
        frame(&mut session, &call("Mutation", request));
        let out = session.handle(0, done(request as u32, &value));
        assert!(matches!(out[..], [Output::Send(_)]), "{request}");
        session.handle(0, Input::Drained);
        let out = session.flush(0);
        assert!(matches!(out[..], [Output::Refresh { .. }]));
        let ts = Timestamp(10);
        let out = session.handle(0, Input::Refreshed { ts, results: vec![] });
        assert!(matches!(out[..], [Output::Send(Outgoing::Transition(_))]));
    }
}

#[test]
fn protocol_faults_that_a_reconnect_heals_close_with_1011() {
    let check = |frames: &[&str]| {
        let mut session = session();
        let (last, before) = frames.split_last().unwrap();
        for text in before {
            frame(&mut session, text);
            let identity = Verified::Accepted { identity: (), expires_at_ms: None };
            session.handle(0, Input::Verified(identity));
            assert!(!session.is_closed(), "{text}");
        }
        let expected = [close(Some(1011), "InternalServerError")];
        assert_eq!(frame(&mut session, last), expected, "{last}");
        assert_eq!(frame(&mut session, last), [], "nothing after the close");
        assert_eq!(session.flush(0), []);
    };
    let connect =
        r#"{"type":"Connect","sessionId":"00000000000040008000000000000001","connectionCount":0}"#;
    let modify = |step: &str, list: &str| {
        format!(r#"{{"type":"ModifyQuerySet",{step},"modifications":[{list}]}}"#)
    };
    let add = r#"{"type":"Add","queryId":1,"udfPath":"a","args":[]}"#;
    let first = modify(r#""baseVersion":0,"newVersion":1"#, add);
    check(&[connect, connect]);
    check(&[connect, r#"{"type":"Authenticate","baseVersion":1,"tokenType":"None"}"#]);
    check(&[
        r#"{"type":"Authenticate","baseVersion":0,"tokenType":"None"}"#,
        r#"{"type":"Authenticate","baseVersion":0,"tokenType":"None"}"#,
    ]);
    check(&[connect, &modify(r#""baseVersion":0,"newVersion":0"#, "")]);
    check(&[connect, &first, &modify(r#""baseVersion":1,"newVersion":2"#, add)]);
    let remove = r#"{"type":"Remove","queryId":7}"#;
    check(&[connect, &first, &modify(r#""baseVersion":1,"newVersion":2"#, remove)]);
    check(&[&modify(r#""baseVersion":3,"newVersion":4"#, "")]);
    check(&[&call("Mutation", 0), &call("Mutation", 0)]);
    check(&[&call("Mutation", 0), &call("Action", 0)]);
}

#[test]
fn a_larger_step_of_the_query_set_is_legal() {
    let mut session = session();
    frame(
        &mut session,
        r#"{"type":"ModifyQuerySet","baseVersion":0,"newVersion":7,"modifications":[]}"#,
    );
    assert_eq!(session.flush(0), [Output::Refresh { at_least: Timestamp(0) }]);
    session.handle(0, Input::Refreshed { ts: Timestamp(3), results: vec![] });
    assert_eq!(session.version().query_set, 7);
}

#[test]
fn a_refresh_below_what_was_asked_ends_the_connection() {
    let mut session = session();
    session.handle(0, Input::Changed { ts: Timestamp(9) });
    assert_eq!(session.flush(0), [Output::Refresh { at_least: Timestamp(9) }]);
    let out = session.handle(0, Input::Refreshed { ts: Timestamp(8), results: vec![] });
    assert_eq!(out, [close(Some(1011), "InternalServerError")]);
}

#[test]
fn answers_without_a_question_are_ignored() {
    let mut session = session();
    assert_eq!(session.handle(0, done(3, "null")), []);
    frame(&mut session, &call("Mutation", 0));
    assert_eq!(session.handle(0, done(3, "null")), [], "another one runs");
    assert_eq!(session.handle(0, done(0, "null")).len(), 1);
    assert_eq!(session.handle(0, done(0, "null")), [], "answered already");
    let identity = Verified::Accepted { identity: (), expires_at_ms: None };
    assert_eq!(session.handle(0, Input::Verified(identity)), []);
    assert_eq!(session.handle(0, Input::Drained), []);
    let refreshed = Input::Refreshed { ts: Timestamp(8), results: vec![] };
    assert_eq!(session.handle(0, refreshed), []);
    assert_eq!(session.flush(0), [Output::Refresh { at_least: Timestamp(5) }], "of the answer");
}

#[test]
fn a_mutation_that_does_not_end_ends_the_connection() {
    let mut session = session();
    for request in 0..2 {
        session.handle(1000, Input::Frame(&call("Mutation", request)));
    }
    session.handle(50_000, done(0, "null"));
    session.handle(61_000, Input::Tick);
    assert!(!session.is_closed(), "the second one has its own time");
    assert!(session.deadline_ms() <= 110_000);
    session.handle(109_999, Input::Tick);
    assert!(!session.is_closed());
    let out = session.handle(110_000, Input::Tick);
    assert_eq!(out, [close(Some(1011), "InternalServerError")]);
}

#[test]
fn errors_keep_their_text_where_the_deployment_hides_it() {
    let mut session = session();
    let text = r#"{"type":"Action","requestId":3,"udfPath":"a:b","args":[{"$x":1}]}"#;
    let out = frame(&mut session, text);
    let [Output::Send(Outgoing::Message(answer))] = &out[..] else { panic!("{out:?}") };
    let answer: serde_json::Value = serde_json::from_str(answer).unwrap();
    let result = answer["result"].as_str().unwrap();
    assert!(result.starts_with("[Request ID: ") && result.ends_with("] Server Error"), "{result}");
}

#[test]
fn the_deadline_is_the_next_thing_that_time_alone_causes() {
    let mut session = session();
    assert_eq!(session.deadline_ms(), 15_000, "a ping");
    session.handle(15_000, Input::Tick);
    assert_eq!(session.deadline_ms(), 30_000, "the next ping");
    let connect =
        r#"{"type":"Connect","sessionId":"00000000000040008000000000000001","connectionCount":1}"#;
    let modify = r#"{"type":"ModifyQuerySet","baseVersion":0,"newVersion":1,"modifications":[]}"#;
    for text in [connect, modify, &call("Mutation", 0)] {
        session.handle(16_000, Input::Frame(text));
    }
    assert_eq!(session.flush(16_000), []);
    assert_eq!(session.deadline_ms(), 16_500, "the first transition waits for a mutation");
    assert_eq!(session.flush(16_500), [Output::Refresh { at_least: Timestamp(0) }]);
    session.handle(16_600, Input::Refreshed { ts: Timestamp(3), results: vec![] });
    assert_eq!(session.deadline_ms(), 76_000, "no ping behind a transition, but the mutation");
    session.handle(17_000, Input::Drained);
    assert_eq!(session.deadline_ms(), 31_600);
    session.handle(17_000, done(0, "null"));
    session.flush(17_000);
    session.handle(17_000, Input::Refreshed { ts: Timestamp(9), results: vec![] });
    assert_eq!(session.deadline_ms(), 136_000, "silence counts");
}

#[test]
fn what_an_operator_sets_takes_effect() {
    let too_many = || [close(Some(1013), "TooManyConcurrentRequests")];
    let add = |id: usize| {
        format!(
            r#"{{"type":"ModifyQuerySet","baseVersion":{id},"newVersion":{},"modifications":[{{"type":"Add","queryId":{id},"udfPath":"a","args":[{{"x":"123456"}}]}}]}}"#,
            id + 1
        )
    };
    let mut session = with(SessionLimits { queries_max: 1, ..SessionLimits::default() });
    assert_eq!(frame(&mut session, &add(0)), []);
    assert_eq!(frame(&mut session, &add(1)), too_many());

    let mut session = with(SessionLimits { held_bytes_max: 10, ..SessionLimits::default() });
    assert_eq!(frame(&mut session, &add(0)), too_many());

    let mut session = with(SessionLimits { mutation_ms_max: 7, ..SessionLimits::default() });
    frame(&mut session, &call("Mutation", 0));
    assert_eq!(session.deadline_ms(), 7);
    assert_eq!(session.handle(6, Input::Tick), []);
    assert_eq!(session.handle(7, Input::Tick), [close(Some(1011), "InternalServerError")]);
}

#[test]
fn changes_of_a_burst_wait_for_their_time_and_answers_do_not() {
    let mut session = with(SessionLimits { burst_interval_ms: 50, ..SessionLimits::default() });
    let mut ts = 0;
    let mut change = |session: &mut Session<()>, now_ms: i64| {
        ts += 1;
        session.handle(now_ms, Input::Changed { ts: Timestamp(ts) });
        let started = session.flush(now_ms).len();
        let refreshed = Input::Refreshed { ts: Timestamp(ts), results: Vec::new() };
        if started > 0 {
            assert_eq!(session.handle(now_ms, refreshed).len(), 1);
            session.handle(now_ms, Input::Drained);
        }
        started
    };
    let started: Vec<usize> = (0..5).map(|_| change(&mut session, 1000)).collect();
    assert_eq!(started, [1, 1, 1, 0, 0]);
    // It says when it wants to be asked again, and only while something waits.
    assert_eq!(session.deadline_ms(), 1050);
    // The client's own step goes at once, and brings what waited.
    session.handle(
        1001,
        Input::Frame(
            r#"{"type":"ModifyQuerySet","baseVersion":0,"newVersion":1,"modifications":[]}"#,
        ),
    );
    assert_eq!(session.flush(1001), [Output::Refresh { at_least: Timestamp(5) }]);
    session.handle(1001, Input::Refreshed { ts: Timestamp(5), results: Vec::new() });
    session.handle(1001, Input::Drained);
    assert_eq!(session.flush(1001), []);
    assert!(session.deadline_ms() > 1050);
}

use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::auth::testing::{Fake, FakeFetch};

const URL: &str = "https://a.example/doc";

fn documents(fetch: &Arc<FakeFetch>) -> Documents<serde_json::Value> {
    Documents::new(fetch.clone(), |bytes| {
        serde_json::from_slice(bytes).map_err(|error| error.to_string())
    })
}

fn at(seconds: u64) -> Timestamp {
    Timestamp(1_000_000_000 * (1_000_000 + seconds))
}

fn headers(list: &[(&'static str, &str)]) -> HeaderMap {
    list.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
}

fn other<T>(name: &'static str, value: T) -> (header::HeaderName, T) {
    (header::HeaderName::from_static(name), value)
}

#[test]
fn lifetimes_follow_http_within_bounds() {
    let check = |list: &[(&'static str, &str)], seconds: u64| {
        assert_eq!(fresh_for(&headers(list)).as_secs(), seconds, "{list:?}");
    };
    check(&[], 300);
    check(&[("cache-control", "public, max-age=600, must-revalidate")], 600);
    check(&[("cache-control", "Max-Age=\"600\"")], 600);
    check(&[("cache-control", "max-age=600"), ("age", "100")], 500);
    check(&[("cache-control", "max-age=600"), ("age", "700")], 5);
    check(&[("cache-control", "max-age=600"), ("age", "old")], 600);
    check(&[("cache-control", "max-age=0")], 5);
    check(&[("cache-control", "max-age=-1")], 5);
    check(&[("cache-control", "max-age=soon")], 5);
    check(&[("cache-control", "max-age=99999999999999999999999")], 86_400);
    check(&[("cache-control", "max-age=31536000")], 86_400);
    check(&[("cache-control", "max-age=600, no-store")], 5);
    check(&[("cache-control", "no-cache")], 5);
    check(&[("cache-control", "s-maxage=900")], 300);
    let date = ("date", "Tue, 15 Nov 1994 08:12:31 GMT");
    check(&[date, ("expires", "Tue, 15 Nov 1994 08:22:31 GMT")], 600);
    check(&[date, ("expires", "Tue, 15 Nov 1994 08:00:00 GMT")], 5);
    check(&[date, ("expires", "0")], 5);
    check(&[("expires", "Tue, 15 Nov 1994 08:22:31 GMT")], 5);
    check(&[date, ("expires", "0"), ("cache-control", "max-age=60")], 60);
}

#[test]
fn only_json_of_acceptable_size_is_read() {
    let check = |status: u16, content_type: Option<&str>, bytes: usize, expected: &str| {
        let (name, value) = other("content-type", content_type.unwrap_or("x/y"));
        let builder = Response::builder().status(status);
        let builder = match content_type {
            Some(_) => builder.header(name, value),
            None => builder,
        };
        let response = builder.body(Bytes::from(vec![b' '; bytes])).unwrap();
        let found = checked(&response).map(<[u8]>::len);
        assert_eq!(found.map_or_else(|error| error.to_string(), |len| len.to_string()), expected);
    };
    check(200, Some("application/json"), 2, "2");
    check(200, Some("Application/JSON; charset=utf-8"), 2, "2");
    check(200, Some("application/jwk-set+json"), DOCUMENT_BYTES_MAX, "1048576");
    check(200, Some("text/html"), 2, "content type \"text/html\"");
    check(200, None, 2, "content type \"\"");
    check(200, Some("application/json"), DOCUMENT_BYTES_MAX + 1, "larger than 1048576 bytes");
    check(204, Some("application/json"), 0, "status 204");
    check(302, Some("application/json"), 2, "status 302");
    check(500, Some("application/json"), 2, "status 500");
}

#[tokio::test(start_paused = true)]
async fn a_fresh_document_is_fetched_once() {
    let fetch = FakeFetch::new();
    fetch.set(URL, Fake::cached("max-age=60", &json!(1)));
    let documents = documents(&fetch);
    for second in [0, 30, 59] {
        assert_eq!(*documents.get(URL, at(second)).await.unwrap(), 1);
    }
    assert_eq!(fetch.calls().len(), 1);
    fetch.set(URL, Fake::cached("max-age=60", &json!(2)));
    assert_eq!(*documents.get(URL, at(60)).await.unwrap(), 2);
    assert_eq!(fetch.calls().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn all_who_wait_share_one_fetch() {
    let fetch = FakeFetch::new();
    fetch.set(URL, Fake::json(&json!(1)));
    let documents = documents(&fetch);
    let waiting = (0..50).map(|_| documents.get(URL, at(0)));
    let answers = futures_util::future::join_all(waiting).await;
    assert!(answers.iter().all(|answer| **answer.as_ref().unwrap() == 1));
    assert_eq!(fetch.calls().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn failures_are_shared_and_remembered_for_a_moment() {
    let fetch = FakeFetch::new();
    let documents = documents(&fetch);
    fetch.set(URL, Fake::status(503));
    let waiting = (0..50).map(|_| documents.get(URL, at(0)));
    let answers = futures_util::future::join_all(waiting).await;
    assert!(answers.iter().all(|answer| *answer == Err(FetchError::Status(503))));
    assert_eq!(documents.get(URL, at(4)).await, Err(FetchError::Status(503)));
    assert_eq!(fetch.calls().len(), 1);
    fetch.set(URL, Fake::json(&json!(1)));
    assert_eq!(*documents.get(URL, at(5)).await.unwrap(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_hangs_times_out() {
    let fetch = FakeFetch::new();
    fetch.set(URL, Fake::Hang);
    let documents = documents(&fetch);
    let start = tokio::time::Instant::now();
    assert_eq!(documents.get(URL, at(0)).await, Err(FetchError::Timeout));
    assert_eq!(start.elapsed(), FETCH_TIMEOUT);
}

#[tokio::test(start_paused = true)]
async fn a_fetch_that_everyone_left_does_not_stay() {
    let fetch = FakeFetch::new();
    fetch.set(URL, Fake::Hang);
    let documents = documents(&fetch);
    assert_eq!(documents.get(URL, at(0)).now_or_never(), None);
    fetch.set(URL, Fake::json(&json!(1)));
    assert_eq!(*documents.get(URL, at(600)).await.unwrap(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_stale_document_serves_through_an_outage() {
    let fetch = FakeFetch::new();
    fetch.set(URL, Fake::cached("max-age=60", &json!(1)));
    let documents = documents(&fetch);
    documents.get(URL, at(0)).await.unwrap();
    fetch.set(URL, Fake::Fail(FetchError::Unreachable("down".into())));
    assert_eq!(*documents.get(URL, at(100)).await.unwrap(), 1);
    assert_eq!(*documents.get(URL, at(101)).await.unwrap(), 1);
    assert_eq!(fetch.calls().len(), 2);
    let last = STALE_MAX.as_secs();
    assert_eq!(*documents.get(URL, at(last - 1)).await.unwrap(), 1);
    assert!(documents.get(URL, at(last)).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_renewal_asks_again_but_not_at_once() {
    let fetch = FakeFetch::new();
    fetch.set(URL, Fake::cached("max-age=3600", &json!(1)));
    let documents = documents(&fetch);
    documents.get(URL, at(0)).await.unwrap();
    fetch.set(URL, Fake::cached("max-age=3600", &json!(2)));
    assert_eq!(*documents.renewed(URL, at(4)).await.unwrap(), 1);
    assert_eq!(*documents.renewed(URL, at(5)).await.unwrap(), 2);
    assert_eq!(fetch.calls().len(), 2);
    fetch.set(URL, Fake::status(500));
    assert_eq!(documents.renewed(URL, at(20)).await, Err(FetchError::Status(500)));
    assert_eq!(documents.renewed(URL, at(24)).await, Err(FetchError::Status(500)));
    // What is fresh stays good for those who miss nothing in it.
    assert_eq!(*documents.get(URL, at(24)).await.unwrap(), 2);
    assert_eq!(fetch.calls().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_number_of_kept_documents_is_bounded() {
    let fetch = FakeFetch::new();
    let documents = documents(&fetch);
    for number in 0..DOCUMENTS_MAX + 10 {
        let url = format!("https://a.example/{number}");
        fetch.set(&url, Fake::json(&json!(number)));
        documents.get(&url, at(number as u64)).await.unwrap();
    }
    assert_eq!(documents.entries().len(), DOCUMENTS_MAX);
    assert!(!documents.entries().contains_key("https://a.example/9"));
    assert!(documents.entries().contains_key("https://a.example/10"));
}

//! Documents of providers, fetched once for all who wait and kept as long as HTTP allows.
//!
//!     fresh ──► kept        stale ──► one fetch for all ──► kept again
//!                                          └── failed: the stale one for a while, else the failure
//!
//! Invariant: a hostile token causes at most one fetch per URL and `FETCH_INTERVAL`, and a URL comes
//! from the configuration or from a provider, never from a token.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{HeaderMap, Response, StatusCode, header};
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use value::Timestamp;
use value::limits::quoted;

use super::fetch::{DOCUMENT_BYTES_MAX, Fetch, FetchError};

/// A provider that takes longer counts as unreachable.
pub const FETCH_TIMEOUT: Duration = Duration::from_secs(10);
/// Least time between two fetches of a document, also after a failure and whatever its headers say.
pub const FETCH_INTERVAL: Duration = Duration::from_secs(5);
/// How long a document is fresh that says nothing about it.
pub const FRESH_DEFAULT: Duration = Duration::from_secs(5 * 60);
/// Longest time a document is fresh.
pub const FRESH_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// How long after its fetch a stale document still serves when the provider does not answer.
pub const STALE_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// Most documents that are kept.
pub(super) const DOCUMENTS_MAX: usize = 256;

/// Documents of one kind, by URL.
pub(crate) struct Documents<T> {
    fetch: Arc<dyn Fetch>,
    parse: fn(&[u8]) -> Result<T, String>,
    entries: Mutex<HashMap<String, Entry<T>>>,
}

struct Entry<T> {
    kept: Option<Kept<T>>,
    failed: Option<(Timestamp, FetchError)>,
    flight: Option<Flight<T>>,
}

struct Kept<T> {
    document: Arc<T>,
    fetched: Timestamp,
    fresh_until: Timestamp,
}

/// A fetch under way; whoever waits drives it.
struct Flight<T> {
    started: Timestamp,
    answer: Answer<T>,
}

type Answer<T> = Shared<BoxFuture<'static, Result<(Arc<T>, Duration), FetchError>>>;

enum Step<T> {
    Done(Result<Arc<T>, FetchError>),
    Wait(Timestamp, Answer<T>),
}

impl<T: Send + Sync + 'static> Documents<T> {
    pub(crate) fn new(fetch: Arc<dyn Fetch>, parse: fn(&[u8]) -> Result<T, String>) -> Self {
        Documents { fetch, parse, entries: Mutex::new(HashMap::new()) }
    }

    /// The document at `url`: from memory while it is fresh, or while its provider is out of reach.
    pub(crate) async fn get(&self, url: &str, now: Timestamp) -> Result<Arc<T>, FetchError> {
        let fetched = self.go(url, now, |kept, _| now < kept.fresh_until).await;
        fetched.or_else(|error| self.stale(url, now).ok_or(error))
    }

    /// The document as it is now, for who missed something in the kept one. At most one fetch per
    /// `FETCH_INTERVAL`; in between the kept one, or the failure of the last fetch.
    pub(crate) async fn renewed(&self, url: &str, now: Timestamp) -> Result<Arc<T>, FetchError> {
        let lately =
            |kept: &Kept<T>, failed: bool| !failed && now < after(kept.fetched, FETCH_INTERVAL);
        self.go(url, now, lately).await
    }

    async fn go(
        &self,
        url: &str,
        now: Timestamp,
        serves: impl Fn(&Kept<T>, bool) -> bool,
    ) -> Result<Arc<T>, FetchError> {
        match self.step(url, now, serves) {
            Step::Done(answer) => answer,
            Step::Wait(started, answer) => {
                let answer = answer.await;
                self.settle(url, started, &answer);
                answer.map(|(document, _)| document)
            }
        }
    }

    /// `serves` says of the kept document, and whether a fetch after it failed lately, if it will do.
    fn step(&self, url: &str, now: Timestamp, serves: impl Fn(&Kept<T>, bool) -> bool) -> Step<T> {
        let mut entries = self.entries();
        make_room(&mut entries, url);
        let entry = entries.entry(url.to_owned()).or_default();
        entry.failed.take_if(|(at, _)| now >= after(*at, FETCH_INTERVAL));
        if let Some(kept) = &entry.kept
            && serves(kept, entry.failed.is_some())
        {
            return Step::Done(Ok(kept.document.clone()));
        }
        if let Some((_, error)) = &entry.failed {
            return Step::Done(Err(error.clone()));
        }
        // Everyone may have left a fetch half done; its own time limit has not run then.
        entry.flight.take_if(|flight| now >= after(flight.started, FETCH_TIMEOUT));
        let flight = entry
            .flight
            .get_or_insert_with(|| Flight { started: now, answer: self.start(url.to_owned()) });
        Step::Wait(flight.started, flight.answer.clone())
    }

    fn start(&self, url: String) -> Answer<T> {
        let (fetch, parse) = (self.fetch.clone(), self.parse);
        let answer = async move {
            let uri = url.parse().map_err(|_| FetchError::Unusable("not a URL".to_owned()))?;
            let response = tokio::time::timeout(FETCH_TIMEOUT, fetch.get(uri))
                .await
                .map_err(|_| FetchError::Timeout)??;
            let document = parse(checked(&response)?).map_err(FetchError::Unusable)?;
            Ok((Arc::new(document), fresh_for(response.headers())))
        };
        answer.boxed().shared()
    }

    /// Notes the answer of the fetch of `started`; the first of those who waited does it.
    fn settle(
        &self,
        url: &str,
        started: Timestamp,
        answer: &Result<(Arc<T>, Duration), FetchError>,
    ) {
        let mut entries = self.entries();
        let Some(entry) = entries.get_mut(url) else { return };
        if entry.flight.take_if(|flight| flight.started == started).is_none() {
            return;
        }
        match answer {
            Ok((document, fresh)) => {
                let fresh_until = after(started, *fresh);
                entry.kept =
                    Some(Kept { document: document.clone(), fetched: started, fresh_until });
                entry.failed = None;
            }
            Err(error) => {
                tracing::warn!(url, %error, "could not fetch a document of an auth provider");
                entry.failed = Some((started, error.clone()));
            }
        }
    }

    fn stale(&self, url: &str, now: Timestamp) -> Option<Arc<T>> {
        let entries = self.entries();
        let kept = entries.get(url)?.kept.as_ref()?;
        (now < after(kept.fetched, STALE_MAX)).then(|| kept.document.clone())
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<String, Entry<T>>> {
        // Every change of an entry is whole: a panic elsewhere leaves nothing half done.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Default for Entry<T> {
    fn default() -> Self {
        Entry { kept: None, failed: None, flight: None }
    }
}

/// Drops the entry that was fetched first, if `url` would be one too many.
fn make_room<T>(entries: &mut HashMap<String, Entry<T>>, url: &str) {
    if entries.len() < DOCUMENTS_MAX || entries.contains_key(url) {
        return;
    }
    let age = |entry: &Entry<T>| entry.kept.as_ref().map(|kept| kept.fetched);
    let oldest = entries.iter().min_by_key(|(_, entry)| age(entry)).map(|(url, _)| url.clone());
    if let Some(oldest) = oldest {
        entries.remove(&oldest);
    }
}

fn after(start: Timestamp, span: Duration) -> Timestamp {
    let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
    Timestamp(start.0.saturating_add(nanos))
}

/// The body, if the answer is a JSON document of acceptable size.
fn checked(response: &Response<Bytes>) -> Result<&[u8], FetchError> {
    if response.status() != StatusCode::OK {
        return Err(FetchError::Status(response.status().as_u16()));
    }
    if response.body().len() > DOCUMENT_BYTES_MAX {
        return Err(FetchError::Unusable(format!("larger than {DOCUMENT_BYTES_MAX} bytes")));
    }
    let content_type = text(response.headers(), header::CONTENT_TYPE).unwrap_or_default();
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match essence.as_str() {
        "application/json" | "application/jwk-set+json" => Ok(response.body()),
        _ => Err(FetchError::Unusable(format!("content type {}", quoted(content_type)))),
    }
}

/// How long a private cache may keep this answer, within our bounds. Source: RFC 9111 section 4.2.
fn fresh_for(headers: &HeaderMap) -> Duration {
    let control = text(headers, header::CACHE_CONTROL).unwrap_or_default().to_ascii_lowercase();
    let mut directives = control.split(',').map(str::trim);
    if directives.clone().any(|directive| matches!(directive, "no-store" | "no-cache")) {
        return FETCH_INTERVAL;
    }
    let max_age = directives.find_map(|directive| directive.strip_prefix("max-age="));
    let lifetime = match max_age {
        // A number too large to read is long; one that is none is stale at once.
        Some(seconds) => match seconds.trim_matches('"') {
            digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                digits.parse().unwrap_or(u64::MAX)
            }
            _ => 0,
        },
        None => expires_in(headers).unwrap_or(FRESH_DEFAULT.as_secs()),
    };
    let age = text(headers, header::AGE).and_then(|age| age.trim().parse().ok()).unwrap_or(0);
    Duration::from_secs(lifetime.saturating_sub(age)).clamp(FETCH_INTERVAL, FRESH_MAX)
}

/// `Expires` less `Date`, in seconds. None without `Expires`; zero for a date that is none.
fn expires_in(headers: &HeaderMap) -> Option<u64> {
    let expires = text(headers, header::EXPIRES)?;
    let date = text(headers, header::DATE).and_then(|date| httpdate::parse_http_date(date).ok());
    let expires = httpdate::parse_http_date(expires).ok();
    let span = expires.zip(date).and_then(|(expires, date)| expires.duration_since(date).ok());
    Some(span.map_or(0, |span| span.as_secs()))
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests;

//! What web interfaces leave to the host because a library does it better: addresses, encodings.
//!
//! Pure functions of their text: the same for every kind of function.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::json;
use url::{Position, Url, form_urlencoded, quirks};

use crate::heap::Reply;

/// Answers `host("thing what", text)`. Texts of the wrong form give nothing.
pub(crate) fn call(thing: &str, what: &str, text: &str) -> Reply {
    let answer = match (thing, what) {
        ("url", "parse") => parse(text),
        ("url", "set") => set(text),
        ("query", "parse") => {
            let pairs: Vec<_> = form_urlencoded::parse(text.as_bytes()).collect();
            Some(json!(pairs).to_string())
        }
        ("query", "write") => write(text),
        ("encoding", _) => encoding_rs::Encoding::for_label(text.as_bytes())
            .map(|encoding| encoding.name().to_ascii_lowercase()),
        ("decode", _) => decode(text),
        _ => return Reply::Throw(format!("the host knows no {thing}")),
    };
    answer.map_or(Reply::Null, Reply::Text)
}

pub(crate) fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// `[url, base or null]` in its parts. None: it is no address.
fn parse(text: &str) -> Option<String> {
    let (url, base): (String, Option<String>) = serde_json::from_str(text).ok()?;
    let base = base.map(|base| Url::parse(&base)).transpose().ok()?;
    let url = Url::options().base_url(base.as_ref()).parse(&url).ok()?;
    Some(parts(&url))
}

#[derive(Deserialize)]
struct Change(String, String, String);

/// `[href, part, value]`: the address with one part changed; a value that does not fit changes
/// nothing.
fn set(text: &str) -> Option<String> {
    let Change(href, part, value) = serde_json::from_str(text).ok()?;
    let mut url = Url::parse(&href).ok()?;
    // What a setter cannot take leaves the address as it is.
    let _ = match part.as_str() {
        "protocol" => quirks::set_protocol(&mut url, &value),
        "username" => quirks::set_username(&mut url, &value),
        "password" => quirks::set_password(&mut url, &value),
        "host" => quirks::set_host(&mut url, &value),
        "hostname" => quirks::set_hostname(&mut url, &value),
        "port" => quirks::set_port(&mut url, &value),
        "pathname" => {
            quirks::set_pathname(&mut url, &value);
            Ok(())
        }
        "search" => {
            quirks::set_search(&mut url, &value);
            Ok(())
        }
        "hash" => {
            quirks::set_hash(&mut url, &value);
            Ok(())
        }
        _ => Err(()),
    };
    Some(parts(&url))
}

fn parts(url: &Url) -> String {
    json!({
        "href": quirks::href(url),
        "origin": quirks::origin(url),
        "protocol": quirks::protocol(url),
        "username": quirks::username(url),
        "password": quirks::password(url),
        "host": quirks::host(url),
        "hostname": quirks::hostname(url),
        "port": quirks::port(url),
        "pathname": &url[Position::BeforePath..Position::AfterPath],
        "search": quirks::search(url),
        "hash": quirks::hash(url),
    })
    .to_string()
}

/// `[[name, value], …]` as a query string.
fn write(text: &str) -> Option<String> {
    let pairs: Vec<(String, String)> = serde_json::from_str(text).ok()?;
    Some(form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish())
}

/// `[encoding, fatal, base64]` as a text. None: fatal, and not valid.
fn decode(text: &str) -> Option<String> {
    let (label, fatal, bytes): (String, bool, String) = serde_json::from_str(text).ok()?;
    let encoding = encoding_rs::Encoding::for_label(label.as_bytes())?;
    let bytes = STANDARD.decode(bytes).ok()?;
    let (decoded, had_errors) = encoding.decode_without_bom_handling(&bytes);
    (!fatal || !had_errors).then(|| decoded.into_owned())
}

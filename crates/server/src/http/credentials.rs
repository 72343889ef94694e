//! The `Authorization` header, and the `adminKey` query parameter.
//!
//!     Bearer <JWT>
//!     Convex [prod:]<name>|<secret>[:<base64 JSON of the user to act as>]
//!
//! Source: spec/http-api.md section 3.

use axum::extract::Query;
use axum::http::{HeaderMap, HeaderValue, Uri, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Map, Value as Json};

use crate::auth::{self, Credential};
use crate::errors::HttpError;

/// Shortest header that can hold a scheme and something after it.
const HEADER_BYTES_MIN: usize = 7;

#[derive(Deserialize)]
struct AdminKeyParameter {
    #[serde(rename = "adminKey")]
    admin_key: Option<String>,
}

/// What a request shows: the header, else the query parameter, else nothing.
///
/// Errors: 400 `HeaderParseFailure` (also for a header that is there twice), `InvalidHeaderFailure`,
/// `InvalidAdminKey`; `BadQueryArgs` for a parameter that is there twice.
pub fn credential(headers: &HeaderMap, uri: &Uri) -> Result<Credential, HttpError> {
    let mut shown = headers.get_all(header::AUTHORIZATION).iter();
    if let Some(header) = shown.next() {
        // Whoever stands before this server may have looked at the other one.
        return match shown.next() {
            None => of_header(header),
            Some(_) => Err(unreadable("the header is there twice")),
        };
    }
    let Query(parameter) = Query::<AdminKeyParameter>::try_from_uri(uri)
        .map_err(|error| HttpError::bad_request("BadQueryArgs", error.body_text()))?;
    Ok(match parameter.admin_key {
        Some(key) => Credential::Admin { key, acting_as: None },
        None => Credential::None,
    })
}

fn of_header(header: &HeaderValue) -> Result<Credential, HttpError> {
    let text = header.to_str().map_err(|_| unreadable("the header is not text"))?;
    if text.len() < HEADER_BYTES_MIN {
        let message = "the Authorization header is too short";
        return Err(HttpError::bad_request("InvalidHeaderFailure", message));
    }
    let (scheme, rest) = text.split_once(' ').unwrap_or((text, ""));
    if scheme.eq_ignore_ascii_case("bearer") {
        Ok(Credential::User(rest.trim().to_owned()))
    } else if scheme.eq_ignore_ascii_case("convex") {
        of_admin(rest.trim())
    } else {
        Err(HttpError::bad_request("InvalidAdminKey", "Invalid admin key"))
    }
}

/// The colon of a type prefix is before the `|`, that of acting-as after it.
fn of_admin(text: &str) -> Result<Credential, HttpError> {
    let (prefix, rest) = match text.split_once('|') {
        Some((prefix, rest)) => (Some(prefix), rest),
        None => (None, text.strip_prefix("prod:").or(text.strip_prefix("dev:")).unwrap_or(text)),
    };
    let (secret, user) = match rest.split_once(':') {
        Some((secret, user)) => (secret, Some(user)),
        None => (rest, None),
    };
    // What these name is not the deployment.
    let named =
        prefix.filter(|name| !name.starts_with("preview:") && !name.starts_with("project:"));
    let key = match named {
        Some(name) => format!("{name}|{secret}"),
        None => secret.to_owned(),
    };
    Ok(Credential::Admin { key, acting_as: user.map(attributes).transpose()? })
}

fn attributes(text: &str) -> Result<Map<String, Json>, HttpError> {
    let bytes = STANDARD.decode(text).map_err(|_| unreadable("acting-as is not base64"))?;
    let attributes =
        serde_json::from_slice(&bytes).map_err(|_| unreadable("acting-as is not a JSON object"))?;
    let names_a_user = auth::names_a_user(&attributes);
    names_a_user.then_some(attributes).ok_or_else(|| unreadable(auth::ACTING_AS_NOBODY))
}

fn unreadable(message: &str) -> HttpError {
    HttpError::bad_request("HeaderParseFailure", message)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(header: Option<&[u8]>, uri: &str) -> Result<Credential, HttpError> {
        let mut headers = HeaderMap::new();
        if let Some(header) = header {
            headers.insert("authorization", HeaderValue::from_bytes(header).unwrap());
        }
        credential(&headers, &uri.parse().unwrap())
    }

    fn admin(key: &str) -> Credential {
        Credential::Admin { key: key.into(), acting_as: None }
    }

    #[test]
    fn accepted_forms() {
        let check = |header: &str, expected: Credential| {
            assert!(of(Some(header.as_bytes()), "/").unwrap() == expected, "{header}");
        };
        check("Bearer a.b.c", Credential::User("a.b.c".into()));
        check("bEARER   a.b.c ", Credential::User("a.b.c".into()));
        check("Bearer ", Credential::User("".into()));
        check("Convex name|00ff", admin("name|00ff"));
        check("convex 00ff", admin("00ff"));
        check("Convex prod:name|00ff", admin("prod:name|00ff"));
        check("Convex dev:00ff", admin("00ff"));
        check("Convex preview:team:project|00ff", admin("00ff"));
        check("Convex project:team:project|00ff", admin("00ff"));
    }

    #[test]
    fn acting_as() {
        let user = json!({"issuer":"i","subject":"s","n":[1]});
        let encoded = STANDARD.encode(user.to_string());
        for (start, expected) in [
            ("name|00", "name|00"),
            ("prod:name|00", "prod:name|00"),
            ("00", "00"),
            ("dev:00", "00"),
            ("preview:x|00", "00"),
        ] {
            let found = of(Some(format!("Convex {start}:{encoded}").as_bytes()), "/").unwrap();
            let acting_as = user.as_object().cloned();
            assert!(found == Credential::Admin { key: expected.into(), acting_as }, "{start}");
        }
    }

    #[test]
    fn refused_forms() {
        let check = |header: &[u8], code: &str| {
            let error = of(Some(header), "/").unwrap_err();
            assert_eq!((error.status.as_u16(), &*error.code), (400, code), "{header:?}");
        };
        check(b"", "InvalidHeaderFailure");
        check(b"Bearer", "InvalidHeaderFailure");
        check(b"Basic dXNlcg==", "InvalidAdminKey");
        check(b"Bearera.b.c", "InvalidAdminKey");
        check(b"Token 12", "InvalidAdminKey");
        check(b"Bearer \xff\xfe", "HeaderParseFailure");
        check(b"Convex name|00:!!!", "HeaderParseFailure");
        check(b"Convex name|00:", "HeaderParseFailure");
        check(b"Convex name|00:W10=", "HeaderParseFailure");
        check(b"Convex name|00:e30=", "HeaderParseFailure");
    }

    #[test]
    fn the_parameter_comes_after_the_header() {
        assert!(of(None, "/x?adminKey=name%7C00&y=1").unwrap() == admin("name|00"));
        assert!(of(None, "/x?adminkey=1").unwrap() == Credential::None);
        assert!(of(None, "/x").unwrap() == Credential::None);
        let both = of(Some(b"Bearer a.b.c"), "/x?adminKey=name%7C00").unwrap();
        assert!(both == Credential::User("a.b.c".into()));
        assert!(of(None, "/x?%zz&a=%ff&=").unwrap() == Credential::None);
    }

    #[test]
    fn what_is_there_twice_is_refused() {
        let error = of(None, "/x?adminKey=a&adminKey=b").unwrap_err();
        assert_eq!((error.status.as_u16(), &*error.code), (400, "BadQueryArgs"));
        let mut headers = HeaderMap::new();
        headers.append("authorization", HeaderValue::from_static("Bearer a.b.c"));
        headers.append("authorization", HeaderValue::from_static("Bearer a.b.c"));
        let error = credential(&headers, &"/".parse().unwrap()).unwrap_err();
        assert_eq!((error.status.as_u16(), &*error.code), (400, "HeaderParseFailure"));
    }
}

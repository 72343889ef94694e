//! In which form values go out, when a request does not say. Source: spec/http-api.md section 6.

use protocol::client_version::Semver;
use protocol::{ClientKind, ClientVersion};
use value::json::Format;

use crate::errors::HttpError;

/// The form that `name` asks for, else `default`. Errors: 400 `BadFormat`.
pub(super) fn requested(name: Option<&str>, default: Format) -> Result<Format, HttpError> {
    match name {
        None => Ok(default),
        Some(name) => name
            .parse()
            .map_err(|error: value::ValueError| HttpError::bad_request("BadFormat", error.message)),
    }
}

/// The form that a client expects: clients of the lossless form's time get it, all others, and
/// people, get plain JSON.
pub(super) fn default_of(client: &ClientVersion) -> Format {
    let older_than = |numbers: (u64, u64, u64)| {
        client.version.as_ref().is_some_and(|version| is_below(version, numbers))
    };
    let is_encoded = match &client.kind {
        ClientKind::Npm => true,
        ClientKind::Other(name) if name == "npm-cli" => true,
        ClientKind::Other(name) if name == "actions" => older_than((1, 4, 1)),
        ClientKind::Python => older_than((0, 5, 0)),
        ClientKind::Rust | ClientKind::Other(_) | ClientKind::Unknown => false,
    };
    if is_encoded { Format::Encoded } else { Format::Clean }
}

/// A pre-release comes before its release.
fn is_below(version: &Semver, numbers: (u64, u64, u64)) -> bool {
    let own = (version.major, version.minor, version.patch);
    own < numbers || own == numbers && !version.pre.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_by_client() {
        let check = |header: Option<&str>, expected: Format| {
            let client = ClientVersion::resolve(header, None).unwrap();
            assert_eq!(default_of(&client), expected, "{header:?}");
        };
        check(None, Format::Clean);
        check(Some("npm-1.48.0"), Format::Encoded);
        check(Some("npm-cli-1.2.3"), Format::Encoded);
        check(Some("actions-1.4.0"), Format::Encoded);
        check(Some("actions-1.4.1-alpha.0"), Format::Encoded);
        check(Some("actions-1.4.1"), Format::Clean);
        check(Some("python-0.4.9"), Format::Encoded);
        check(Some("python-0.5.0"), Format::Clean);
        check(Some("python-0.8.1"), Format::Clean);
        check(Some("rust-0.10.4"), Format::Clean);
        check(Some("airbyte-export-1.0.0"), Format::Clean);
    }

    #[test]
    fn a_named_format_wins() {
        assert_eq!(requested(None, Format::Encoded).unwrap(), Format::Encoded);
        assert_eq!(requested(Some("json"), Format::Encoded).unwrap(), Format::Clean);
        assert_eq!(requested(Some("convex_json"), Format::Clean).unwrap(), Format::Encoded);
        assert_eq!(requested(Some("export_json"), Format::Clean).unwrap(), Format::Export);
        for name in ["", "JSON", "xml"] {
            let error = requested(Some(name), Format::Clean).unwrap_err();
            assert_eq!((error.status.as_u16(), &*error.code), (400, "BadFormat"));
        }
    }
}

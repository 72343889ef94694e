//! Which client speaks: the `Convex-Client` header, or the version in the path.

use std::fmt;

/// A client and its version, as far as they are known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientVersion {
    /// Which client.
    pub kind: ClientKind,
    /// `None` only for `ClientKind::Unknown`.
    pub version: Option<Semver>,
}

/// The known clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientKind {
    /// The `convex` package: browsers, Node, React.
    Npm,
    /// The `convex` crate.
    Rust,
    /// The Python package, a binding over the crate.
    Python,
    /// Swift, Kotlin, the CLI and everything else that names itself.
    Other(String),
    /// Said nothing about itself.
    Unknown,
}

/// A semantic version. Build metadata is checked and dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Semver {
    /// Major.
    pub major: u64,
    /// Minor.
    pub minor: u64,
    /// Patch.
    pub patch: u64,
    /// After the hyphen; empty for a release.
    pub pre: String,
}

/// Whether a client is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Support {
    /// Served.
    Supported,
    /// Too old: HTTP 400 `ClientVersionUnsupported` with this message, on the upgrade request.
    Unsupported(String),
}

/// The header or the path does not name a version: HTTP 400 `InvalidClientVersion`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid client version {0:?}")]
pub struct InvalidClientVersion(pub String);

/// The newest versions that are refused (official).
const NPM_REFUSED: (u64, u64, u64) = (0, 19, 1);
const PYTHON_REFUSED: (u64, u64, u64) = (0, 0, 2);
const RUST_REFUSED: (u64, u64, u64) = (0, 0, 1);

/// The first npm version that understands `TransitionChunk`.
const NPM_CHUNKS: (u64, u64, u64) = (1, 28, 0);

impl ClientVersion {
    /// A client that said nothing about itself: accepted, never sent chunks.
    pub const UNKNOWN: ClientVersion = ClientVersion { kind: ClientKind::Unknown, version: None };

    /// From the `Convex-Client` header if there is one, else from the version in the path.
    ///
    /// The header is `<client>-<semver>`, split at the first hyphen whose right side is a
    /// version; a version in the path belongs to npm. Source: spec/sync-protocol.md 1.1.
    pub fn resolve(
        header: Option<&str>,
        path: Option<&str>,
    ) -> Result<ClientVersion, InvalidClientVersion> {
        match (header, path) {
            (Some(header), _) => ClientVersion::from_header(header),
            (None, Some(path)) => match Semver::parse(path) {
                Some(version) => {
                    Ok(ClientVersion { kind: ClientKind::Npm, version: Some(version) })
                }
                None => Err(InvalidClientVersion(path.to_owned())),
            },
            (None, None) => Ok(ClientVersion::UNKNOWN),
        }
    }

    fn from_header(header: &str) -> Result<ClientVersion, InvalidClientVersion> {
        let split = header.match_indices('-').find_map(|(at, _)| {
            Semver::parse(&header[at + 1..]).map(|version| (&header[..at], version))
        });
        let (name, version) = split.ok_or_else(|| InvalidClientVersion(header.to_owned()))?;
        let kind = match name {
            "npm" => ClientKind::Npm,
            "rust" => ClientKind::Rust,
            "python" => ClientKind::Python,
            other => ClientKind::Other(other.to_owned()),
        };
        Ok(ClientVersion { kind, version: Some(version) })
    }

    /// Whether this client is served, by the official thresholds.
    pub fn support(&self) -> Support {
        let refused = match self.kind {
            ClientKind::Npm => NPM_REFUSED,
            ClientKind::Python => PYTHON_REFUSED,
            ClientKind::Rust => RUST_REFUSED,
            ClientKind::Other(_) | ClientKind::Unknown => return Support::Supported,
        };
        match &self.version {
            Some(version) if version.triple() <= refused => Support::Unsupported(format!(
                "client {self} is no longer supported, please update it to a newer version"
            )),
            Some(_) | None => Support::Supported,
        }
    }

    /// Whether a large transition may be cut into `TransitionChunk` messages.
    pub fn takes_chunks(&self) -> bool {
        let Some(version) = &self.version else { return false };
        let release_or_later = version.triple() > NPM_CHUNKS
            || version.triple() == NPM_CHUNKS && version.pre.is_empty();
        self.kind == ClientKind::Npm && release_or_later
    }
}

impl fmt::Display for ClientVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            ClientKind::Npm => f.write_str("npm")?,
            ClientKind::Rust => f.write_str("rust")?,
            ClientKind::Python => f.write_str("python")?,
            ClientKind::Other(name) => f.write_str(name)?,
            ClientKind::Unknown => f.write_str("unknown")?,
        }
        match &self.version {
            Some(version) => write!(f, "-{version}"),
            None => Ok(()),
        }
    }
}

impl Semver {
    /// Strict: three numbers without leading zeros, then `-pre` and `+build` if any.
    pub fn parse(text: &str) -> Option<Semver> {
        let (rest, build) = match text.split_once('+') {
            Some((rest, build)) => (rest, Some(build)),
            None => (text, None),
        };
        let (numbers, pre) = match rest.split_once('-') {
            Some((numbers, pre)) => (numbers, Some(pre)),
            None => (rest, None),
        };
        let mut parts = numbers.split('.').map(number);
        let version = Semver {
            major: parts.next()??,
            minor: parts.next()??,
            patch: parts.next()??,
            pre: pre.unwrap_or_default().to_owned(),
        };
        let pre_is_fine = pre.is_none_or(|pre| identifiers(pre, true));
        let build_is_fine = build.is_none_or(|build| identifiers(build, false));
        (parts.next().is_none() && pre_is_fine && build_is_fine).then_some(version)
    }

    fn triple(&self) -> (u64, u64, u64) {
        (self.major, self.minor, self.patch)
    }
}

impl fmt::Display for Semver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)?;
        if self.pre.is_empty() { Ok(()) } else { write!(f, "-{}", self.pre) }
    }
}

fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let plain = text == "0" || !text.starts_with('0');
    if digits && plain { text.parse().ok() } else { None }
}

fn identifiers(text: &str, strict_numbers: bool) -> bool {
    text.split('.').all(|part| {
        let known = part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        let all_digits = part.bytes().all(|byte| byte.is_ascii_digit());
        let leading_zero = all_digits && part.len() > 1 && part.starts_with('0');
        !part.is_empty() && known && !(strict_numbers && leading_zero)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(header: Option<&str>, path: Option<&str>, expected: &str, served: bool, chunks: bool) {
        let version = ClientVersion::resolve(header, path).unwrap();
        assert_eq!(version.to_string(), expected);
        assert_eq!(version.support() == Support::Supported, served, "{expected}");
        assert_eq!(version.takes_chunks(), chunks, "{expected}");
    }

    #[test]
    fn the_header_goes_before_the_path() {
        check(None, None, "unknown", true, false);
        check(None, Some("1.48.0"), "npm-1.48.0", true, true);
        check(Some("python-0.8.1"), Some("1.48.0"), "python-0.8.1", true, false);
        check(Some("npm-cli-1.2.3"), None, "npm-cli-1.2.3", true, false);
        check(Some("python-0.2.0-a1"), None, "python-0.2.0-a1", true, false);
        check(Some("swift-0.4.0+build.7"), None, "swift-0.4.0", true, false);
    }

    #[test]
    fn old_clients_are_refused_and_only_new_npm_gets_chunks() {
        check(None, Some("0.19.1"), "npm-0.19.1", false, false);
        check(None, Some("0.19.2"), "npm-0.19.2", true, false);
        check(Some("python-0.0.2"), None, "python-0.0.2", false, false);
        check(Some("python-0.0.3"), None, "python-0.0.3", true, false);
        check(Some("rust-0.0.1"), None, "rust-0.0.1", false, false);
        check(Some("rust-0.10.4"), None, "rust-0.10.4", true, false);
        check(None, Some("1.27.9"), "npm-1.27.9", true, false);
        check(None, Some("1.28.0-alpha.1"), "npm-1.28.0-alpha.1", true, false);
        check(None, Some("1.28.0"), "npm-1.28.0", true, true);
        check(None, Some("1.28.1-alpha.1"), "npm-1.28.1-alpha.1", true, true);
    }

    #[test]
    fn what_is_no_version_is_refused() {
        for path in ["", "1", "1.2", "1.2.3.4", "v1.2.3", "01.2.3", "1.2.3-", "1.2.3-01", "1.2.3+"]
        {
            assert!(ClientVersion::resolve(None, Some(path)).is_err(), "{path}");
        }
        for header in ["", "npm", "npm-", "npm-x.y.z", "1.2.3", "rust1.2.3"] {
            assert!(ClientVersion::resolve(Some(header), None).is_err(), "{header}");
        }
        assert!(Semver::parse("99999999999999999999.0.0").is_none());
    }
}

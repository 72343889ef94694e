//! What an operator may set: one table, from which everything else follows.
//!
//!     SETTINGS ─► flags and help (args) · variables and file (layers, file) · docs/operators.md (docs)
//!                                      │
//!              flag > environment > file > default ─► Values ─► Config
//!
//! The variable of `cache-mb` is `CONCAVE_CACHE_MB`, its key in the file `cache_mb`. A setting that is
//! not in the table does not exist; `config` reads every one that is.

pub(crate) mod docs;
mod file;
mod kind;
mod layers;

pub(crate) use kind::Kind;
pub(crate) use layers::{Layers, Values};

/// Where a setting stands in help and docs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Group {
    /// Ports, addresses, what one connection may take.
    Network,
    /// What is stored, where, and how long.
    Data,
    /// Name and secret of the deployment.
    Deployment,
    /// Who may sign in.
    Identity,
    /// What runs, and how much of it at once.
    Functions,
    /// What one function may do.
    Limits,
    /// What is told, to whom.
    Logs,
}

impl Group {
    /// All of them, in the order of help and docs.
    pub(crate) const ALL: [Group; 7] = [
        Group::Network,
        Group::Data,
        Group::Deployment,
        Group::Identity,
        Group::Functions,
        Group::Limits,
        Group::Logs,
    ];

    pub(crate) fn title(self) -> &'static str {
        match self {
            Group::Network => "Network",
            Group::Data => "Data",
            Group::Deployment => "Deployment",
            Group::Identity => "Identity",
            Group::Functions => "Functions",
            Group::Limits => "Limits of one function",
            Group::Logs => "Logs",
        }
    }
}

/// One setting.
#[derive(Debug)]
pub(crate) struct Setting {
    /// The flag without its dashes; variable and key are made from it.
    pub(crate) name: &'static str,
    pub(crate) group: Group,
    pub(crate) kind: Kind,
    /// In the form of the flag. Empty: none.
    pub(crate) default: &'static str,
    /// What a number counts. Empty where the kind says it.
    pub(crate) unit: &'static str,
    /// One or more sentences for people.
    pub(crate) doc: &'static str,
    /// Also the commands beside `serve` need it.
    pub(crate) is_shared: bool,
}

impl Setting {
    const fn new(
        group: Group,
        name: &'static str,
        kind: Kind,
        default: &'static str,
        doc: &'static str,
    ) -> Setting {
        Setting { name, group, kind, default, unit: "", doc, is_shared: false }
    }

    const fn unit(self, unit: &'static str) -> Setting {
        Setting { unit, ..self }
    }

    const fn shared(self) -> Setting {
        Setting { is_shared: true, ..self }
    }

    /// The environment variable.
    pub(crate) fn variable(&self) -> String {
        variable(self.name)
    }

    /// The key in the file.
    pub(crate) fn key(&self) -> String {
        self.name.replace('-', "_")
    }
}

/// The environment variable of a flag.
pub(crate) fn variable(name: &str) -> String {
    format!("CONCAVE_{}", name.replace('-', "_").to_uppercase())
}

/// The flag that names the file. Not a setting: it cannot stand in the file.
pub(crate) const FILE: &str = "config";

/// Largest file of settings, in bytes.
pub(crate) const FILE_BYTES_MAX: u64 = 1 << 20;

const PORT: Kind = Kind::Number { min: 0, max: 65_535 };
const SECONDS: Kind = Kind::Number { min: 1, max: 86_400 };
const SOME: Kind = Kind::Number { min: 1, max: 1_000_000_000 };

/// All settings.
pub(crate) const SETTINGS: &[Setting] = &[
    Setting::new(
        Group::Network,
        "port",
        PORT,
        "3210",
        "Port of clients: WebSocket and HTTP. 0 takes a free one.",
    ),
    Setting::new(
        Group::Network,
        "site-port",
        PORT,
        "3211",
        "Port of HTTP actions. 0 takes a free one.",
    ),
    Setting::new(
        Group::Network,
        "interface",
        Kind::Address,
        "127.0.0.1",
        "Address to listen on; 0.0.0.0 for all.",
    ),
    Setting::new(
        Group::Network,
        "max-connections",
        Kind::Number { min: 1, max: 1_000_000 },
        "16384",
        "Most connections at once on each of the two ports, sockets included; more are told 503. The \
         system must allow as many open files (`ulimit -Hn`).",
    )
    .unit("connections"),
    Setting::new(
        Group::Network,
        "head-seconds",
        SECONDS,
        "15",
        "From the first byte of a request to the end of its head.",
    )
    .unit("seconds"),
    Setting::new(
        Group::Network,
        "idle-seconds",
        SECONDS,
        "120",
        "How long a connection may be without a request. Longer than that of the proxy in front, so that \
         the proxy closes first.",
    )
    .unit("seconds"),
    Setting::new(
        Group::Network,
        "write-seconds",
        SECONDS,
        "60",
        "How long a peer may read nothing of an answer.",
    )
    .unit("seconds"),
    Setting::new(
        Group::Network,
        "requests-max",
        Kind::Number { min: 1, max: 1_000_000 },
        "128",
        "HTTP requests that are handled at once; more wait. Sockets are no requests.",
    )
    .unit("requests"),
    Setting::new(
        Group::Network,
        "request-seconds",
        SECONDS,
        "300",
        "From the head of an HTTP request to its answer; 408 then. A proxy in front should wait longer.",
    )
    .unit("seconds"),
    Setting::new(
        Group::Network,
        "body-bytes-max",
        Kind::Number { min: 1, max: 256 << 20 },
        "16779216",
        "Largest body of a call over HTTP.",
    )
    .unit("bytes"),
    Setting::new(
        Group::Network,
        "frame-bytes-max",
        Kind::Number { min: 1, max: 1 << 30 },
        "16777216",
        "Largest frame that a socket takes; above it, 1009.",
    )
    .unit("bytes"),
    Setting::new(
        Group::Network,
        "message-bytes-max",
        Kind::Number { min: 1, max: 1 << 30 },
        "67108864",
        "Largest message of several frames that a socket takes, decompressed; above it, 1009.",
    )
    .unit("bytes"),
    Setting::new(
        Group::Network,
        "session-queries-max",
        Kind::Number { min: 1, max: 1_000_000 },
        "10000",
        "Queries that one socket may subscribe; above it, `TooManyConcurrentRequests`.",
    )
    .unit("queries"),
    Setting::new(
        Group::Network,
        "session-bytes-max",
        SOME,
        "134217728",
        "Bytes of arguments and waiting messages that one socket may have held for it; above it, \
         `TooManyConcurrentRequests`.",
    )
    .unit("bytes"),
    Setting::new(
        Group::Network,
        "burst-ms",
        Kind::Number { min: 0, max: 60_000 },
        "100",
        "Least time between two updates of one socket in a burst of changes; the first three of it come \
         at once, and so does what answers the client itself. 0: every change at once.",
    )
    .unit("milliseconds"),
    Setting::new(
        Group::Network,
        "deflate-mb",
        Kind::Number { min: 0, max: 1 << 20 },
        "64",
        "Memory for the compressors of all sockets. Sockets for which nothing is left get messages that \
         are compressed one by one.",
    )
    .unit("MiB"),
    Setting::new(
        Group::Data,
        "data",
        Kind::Path,
        "./concave-data",
        "Folder of the data; or a database file, as the official backend has it.",
    )
    .shared(),
    Setting::new(
        Group::Data,
        "durability",
        Kind::OneOf(&["full", "relaxed"]),
        "full",
        "What an acknowledged commit survives. `full`: a crash of the program and a loss of power. \
         `relaxed`: a crash of the program; a loss of power may take the newest commits.",
    ),
    Setting::new(Group::Data, "cache-mb", SOME, "256", "Memory for cached data.").unit("MiB"),
    Setting::new(
        Group::Data,
        "sqlite-cache-mb",
        SOME,
        "64",
        "Memory for pages of the database file, all its connections together.",
    )
    .unit("MiB"),
    Setting::new(
        Group::Data,
        "retention-seconds",
        SOME,
        "3600",
        "How long superseded versions of documents are kept.",
    )
    .unit("seconds"),
    Setting::new(
        Group::Deployment,
        "instance-name",
        Kind::Name,
        "concave",
        "Name of the deployment; stands before the `|` of its admin keys.",
    )
    .shared(),
    Setting::new(
        Group::Deployment,
        "instance-secret",
        Kind::Secret,
        "",
        "Secret of the deployment, 64 hex digits: admin keys are made from it, cursors sealed with it. \
         Without one here or in instance-secret-file, the one in the data folder, made at the first \
         start. A flag is seen by everybody on the machine: prefer the file.",
    )
    .shared(),
    Setting::new(
        Group::Deployment,
        "instance-secret-file",
        Kind::Path,
        "",
        "File that holds the secret of the deployment. Wins over instance-secret of a weaker source; \
         both from one source are refused.",
    )
    .shared(),
    Setting::new(
        Group::Deployment,
        "origin",
        Kind::Origin,
        "",
        "URL at which clients reach the first port from outside, for example https://api.example.com. \
         Without one, http://127.0.0.1 and the port.",
    ),
    Setting::new(
        Group::Deployment,
        "site-origin",
        Kind::Origin,
        "",
        "URL at which HTTP actions are reached from outside. Without one, http://127.0.0.1 and the site \
         port.",
    ),
    Setting::new(
        Group::Identity,
        "auth-config",
        Kind::Text,
        "",
        "Auth providers, as JSON: {\"providers\": [...]} in the form of Convex's auth.config, or a path \
         to it.",
    ),
    Setting::new(
        Group::Identity,
        "dev-auth",
        Kind::Switch,
        "false",
        "Accept tokens of the development issuer. Not for production: whoever reads the data folder, or \
         reaches the port, can sign in as anybody.",
    ),
    Setting::new(
        Group::Functions,
        "app",
        Kind::OneOf(&["presence", "none"]),
        "presence",
        "Application that is compiled in. `presence`: the presence of a chat. `none`: none.",
    ),
    Setting::new(
        Group::Functions,
        "workers",
        Kind::Number { min: 0, max: 1024 },
        "0",
        "Threads that run functions; 0 takes one per processor, at least two.",
    )
    .unit("threads"),
    Setting::new(
        Group::Functions,
        "mutation-seconds",
        SECONDS,
        "60",
        "How long one mutation of a socket may take, repetitions included; then the socket is closed, and \
         its client asks again.",
    )
    .unit("seconds"),
    Setting::new(
        Group::Functions,
        "jobs-parallel",
        Kind::Number { min: 1, max: 10_000 },
        "8",
        "Scheduled functions that run at once.",
    )
    .unit("functions"),
    Setting::new(
        Group::Functions,
        "crons-parallel",
        Kind::Number { min: 1, max: 10_000 },
        "8",
        "Crons that run at once.",
    )
    .unit("functions"),
    Setting::new(
        Group::Functions,
        "jobs-kept-seconds",
        Kind::Number { min: 0, max: 1_000_000_000 },
        "604800",
        "How long finished scheduled functions are kept.",
    )
    .unit("seconds"),
    Setting::new(
        Group::Functions,
        "idle-queries-max",
        Kind::Number { min: 0, max: 100_000_000 },
        "10000",
        "Results of live queries that nobody shows any more and that are kept, since somebody may come \
         back.",
    )
    .unit("queries"),
    Setting::new(
        Group::Functions,
        "idle-queries-mb",
        Kind::Number { min: 0, max: 1 << 20 },
        "32",
        "Memory for such results.",
    )
    .unit("MiB"),
    Setting::new(
        Group::Limits,
        "documents-read-max",
        SOME,
        "32000",
        "Documents that a query or mutation may read, also those that a filter drops.",
    )
    .unit("documents"),
    Setting::new(
        Group::Limits,
        "read-bytes-max",
        SOME,
        "16777216",
        "Bytes of documents that a query or mutation may read.",
    )
    .unit("bytes"),
    Setting::new(
        Group::Limits,
        "ranges-read-max",
        SOME,
        "4096",
        "Distinct ranges of indexes that a query or mutation may read.",
    )
    .unit("ranges"),
    Setting::new(
        Group::Limits,
        "documents-written-max",
        SOME,
        "16000",
        "Writes of a document in one mutation.",
    )
    .unit("writes"),
    Setting::new(
        Group::Limits,
        "write-bytes-max",
        SOME,
        "16777216",
        "Bytes of documents that a mutation may write.",
    )
    .unit("bytes"),
    Setting::new(
        Group::Limits,
        "functions-scheduled-max",
        SOME,
        "1000",
        "Functions that a mutation may schedule.",
    )
    .unit("functions"),
    Setting::new(
        Group::Limits,
        "scheduled-bytes-max",
        SOME,
        "16777216",
        "Bytes of arguments of the functions that a mutation schedules.",
    )
    .unit("bytes"),
    Setting::new(
        Group::Logs,
        "log",
        Kind::Text,
        "info",
        "What to log, for example `info` or `server=debug`.",
    ),
    Setting::new(
        Group::Logs,
        "redact-errors",
        Kind::Switch,
        "false",
        "Hide texts of errors and log lines from clients, as a production deployment does.",
    ),
    Setting::new(
        Group::Logs,
        "executions-kept",
        Kind::Number { min: 1, max: 1_000_000 },
        "1000",
        "Executions remembered for those who watch, and as many again of those that logged or failed.",
    )
    .unit("executions"),
    Setting::new(
        Group::Logs,
        "metrics-token",
        Kind::Text,
        "",
        "A token with which `/metrics` may be scraped: `Authorization: Bearer <token>`. An admin key may always.",
    ),
    Setting::new(
        Group::Logs,
        "metrics-open",
        Kind::Switch,
        "false",
        "Let everybody who reaches the port scrape `/metrics`; without effect beside a token.",
    ),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn settings_are_named_once_and_their_defaults_are_good() {
        let mut names = BTreeSet::from([FILE]);
        for setting in SETTINGS {
            assert!(names.insert(setting.name), "{} is there twice", setting.name);
            assert!(setting.doc.ends_with('.'), "{} is not a sentence", setting.name);
            if !setting.default.is_empty() {
                assert_eq!(setting.kind.check(setting.default), Ok(()), "{}", setting.name);
            }
        }
        assert!(SETTINGS.iter().is_sorted_by_key(|setting| {
            Group::ALL.iter().position(|group| *group == setting.group)
        }));
    }

    #[test]
    fn variables_and_keys_follow_the_name() {
        let setting = SETTINGS.iter().find(|setting| setting.name == "cache-mb").unwrap();
        assert_eq!(
            (setting.variable(), setting.key()),
            ("CONCAVE_CACHE_MB".into(), "cache_mb".into())
        );
    }
}

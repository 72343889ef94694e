//! How many files this process may have open: each connection is one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Open files that are no connections: the database, the sockets that listen, the runtime's own.
const OWN_FILES: u64 = 64;

/// Raises the soft limit to the hard one, and says in the log if all connections do not fit.
pub(crate) fn raise(connections_max: usize) {
    let limit = getrlimit(Resource::Nofile);
    let (soft, hard) = (limit.current, limit.maximum);
    if soft != hard
        && let Err(error) =
            setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })
    {
        tracing::warn!(%error, ?soft, ?hard, "the limit of open files cannot be raised");
    }
    let allowed = getrlimit(Resource::Nofile).current;
    if let Some(allowed) = too_few(allowed, connections_max) {
        tracing::warn!(
            open_files = allowed,
            max_connections = connections_max,
            "the system allows fewer open files than connections on both ports: new ones will wait"
        );
    }
}

/// The limit, if the connections of both ports do not fit below it. `None` is no limit.
fn too_few(allowed: Option<u64>, connections_max: usize) -> Option<u64> {
    let needed = (connections_max as u64).saturating_mul(2).saturating_add(OWN_FILES);
    allowed.filter(|allowed| *allowed < needed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_limits_are_too_few() {
        assert_eq!(too_few(None, 1_000_000), None);
        assert_eq!(too_few(Some(1024), 480), None);
        assert_eq!(too_few(Some(1023), 480), Some(1023));
    }
}

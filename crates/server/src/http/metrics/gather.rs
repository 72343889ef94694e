//! All figures, from where they are counted.

use functions::{
    DueStats, EngineStats, FunctionCounts, FunctionFiguresView, FunctionKind, HistogramView,
    LiveStats, Runtime, RuntimeStats,
};
use value::Timestamp;

use super::text::{Kind, Text};
use crate::service::Service;
use crate::watching::{SocketTotals, Watching};

/// Functions with a label of their own: those that ran most often. All others are one.
pub(super) const FUNCTION_LABELS_MAX: usize = 500;
/// The label of all others.
const OTHERS: &str = "(others)";
const NS: f64 = 1e9;

/// Waits for the disk.
pub(super) fn gather(service: &Service) -> String {
    let runtime = &service.runtime;
    let mut text = Text::default();
    text.family("concave_build_info", Kind::Gauge, "The version that runs.");
    text.sample("concave_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1);
    sockets(&mut text, &service.watching.sockets.totals());
    answers(&mut text, &service.watching);
    live(&mut text, &runtime.live().stats());
    functions(&mut text, most_busy(runtime));
    let stats = runtime.engine_stats();
    commits(&mut text, &stats);
    cache(&mut text, &stats);
    queues(&mut text, &runtime.stats(), &stats, service.now());
    delays(&mut text, &runtime.due_delays());
    data(&mut text, runtime);
    process(&mut text, service);
    text.finish()
}

fn sockets(text: &mut Text, totals: &SocketTotals) {
    use Kind::{Counter, Gauge};
    text.one("concave_sockets_open", Gauge, "Sockets of the sync protocol now.", totals.open);
    let name = "concave_sockets_opened_total";
    text.one(name, Counter, "Sockets since the start.", totals.opened);
    let name = "concave_sockets_closed_total";
    text.family(name, Counter, "Ends of sockets by close code; 1006: the connection broke.");
    for (code, count) in &totals.closed {
        let code = if *code == 0 { "other".to_owned() } else { code.to_string() };
        text.sample(name, &[("code", &code)], count);
    }
    let traffic = totals.traffic;
    for (name, help, value) in [
        (
            "concave_socket_received_messages_total",
            "Messages from clients.",
            traffic.received_messages,
        ),
        (
            "concave_socket_received_bytes_total",
            "Bytes of messages from clients.",
            traffic.received_bytes,
        ),
        ("concave_socket_sent_messages_total", "Messages to clients.", traffic.sent_messages),
        ("concave_socket_sent_bytes_total", "Bytes of messages to clients.", traffic.sent_bytes),
    ] {
        text.one(name, Counter, help, value);
    }
    let help = "Bytes of messages that wait for clients to take them.";
    text.one("concave_socket_unsent_bytes", Gauge, help, totals.unsent_bytes);
}

fn answers(text: &mut Text, watching: &Watching) {
    let name = "concave_http_answers_total";
    text.family(name, Kind::Counter, "Answers over HTTP by status.");
    for (status, count) in watching.answers.view().filter(|(_, count)| *count > 0) {
        let status = status.map_or("other".to_owned(), |status| status.to_string());
        text.sample(name, &[("status", &status)], count);
    }
}

fn live(text: &mut Text, stats: &LiveStats) {
    use Kind::{Counter, Gauge};
    text.one("concave_sessions", Gauge, "Sessions that show live queries now.", stats.sessions);
    let name = "concave_sessions_opened_total";
    text.one(name, Counter, "Sessions since the start.", stats.sessions_opened);
    text.family("concave_live_queries", Gauge, "Live queries by whether somebody shows them.");
    text.sample("concave_live_queries", &[("state", "shown")], stats.entries);
    text.sample("concave_live_queries", &[("state", "idle")], stats.idle);
    let name = "concave_subscriptions";
    text.one(
        name,
        Gauge,
        "Queries that sessions show; a shared one counts for each.",
        stats.subscriptions,
    );
    let name = "concave_live_idle_bytes";
    text.one(name, Gauge, "Bytes of results that nobody shows.", stats.idle_bytes);
    text.one("concave_live_runs_total", Counter, "Runs of live queries.", stats.runs);
    let help = "Commits that made a live query stale, counted for each.";
    text.one("concave_invalidations_total", Counter, help, stats.invalidations);
    let name = "concave_live_cache_total";
    text.family(
        name,
        Counter,
        "Subscriptions by whether a result was there, on its way, or neither.",
    );
    text.sample(name, &[("result", "hit")], stats.hits);
    text.sample(name, &[("result", "join")], stats.joins);
    let misses = stats.subscribed.saturating_sub(stats.hits + stats.joins);
    text.sample(name, &[("result", "miss")], misses);
}

/// Functions that ran, the busiest ones by name; the sum of all others, if there are any.
fn most_busy(runtime: &Runtime) -> Vec<(String, FunctionKind, FunctionFiguresView)> {
    let registry = runtime.registry();
    let mut counts: Vec<FunctionCounts> =
        registry.counts().filter(|counts| counts.figures.executions() > 0).collect();
    counts.sort_by_key(|counts| std::cmp::Reverse(counts.figures.executions()));
    let others = counts.split_off(counts.len().min(FUNCTION_LABELS_MAX));
    let mut busy: Vec<_> = counts
        .into_iter()
        .map(|counts| (counts.name.to_string(), counts.kind, counts.figures))
        .collect();
    busy.sort_by(|(a, ..), (b, ..)| a.cmp(b));
    for kind in [FunctionKind::Query, FunctionKind::Mutation, FunctionKind::Action] {
        let of_kind = others.iter().filter(|counts| counts.kind == kind);
        let sum = of_kind.map(|counts| counts.figures.clone()).reduce(|a, b| a.plus(&b));
        busy.extend(sum.map(|sum| (OTHERS.to_owned(), kind, sum)));
    }
    busy
}

fn kind_of(kind: FunctionKind) -> &'static str {
    match kind {
        FunctionKind::Query => "query",
        FunctionKind::Mutation => "mutation",
        FunctionKind::Action => "action",
    }
}

fn functions(text: &mut Text, functions: Vec<(String, FunctionKind, FunctionFiguresView)>) {
    let name = "concave_function_executions_total";
    let help =
        "Runs of function bodies; attempts of a mutation and runs of live queries each count.";
    text.family(name, Kind::Counter, help);
    for (function, kind, figures) in &functions {
        for (outcome, count) in [
            ("success", figures.succeeded),
            ("failure", figures.failed),
            ("system", figures.broken),
            ("abandoned", figures.abandoned),
        ] {
            let kind = kind_of(*kind);
            text.sample(
                name,
                &[("function", function), ("kind", kind), ("outcome", outcome)],
                count,
            );
        }
    }
    type Figure = fn(&FunctionFiguresView) -> u64;
    let figures: [(&str, &str, FunctionKind, Figure); 3] = [
        (
            "concave_function_live_runs_total",
            "Runs for those who show the result.",
            FunctionKind::Query,
            |f| f.live_runs,
        ),
        (
            "concave_function_live_reruns_total",
            "Of those: because of a commit.",
            FunctionKind::Query,
            |f| f.live_reruns,
        ),
        (
            "concave_function_conflict_reruns_total",
            "Attempts that lost a conflict and ran again.",
            FunctionKind::Mutation,
            |f| f.conflict_reruns,
        ),
    ];
    for (name, help, of_kind, figure) in figures {
        text.family(name, Kind::Counter, help);
        for (function, _, view) in functions.iter().filter(|(_, kind, _)| *kind == of_kind) {
            text.sample(name, &[("function", function)], figure(view));
        }
    }
    let name = "concave_function_seconds";
    text.family(name, Kind::Histogram, "How long bodies ran.");
    for (function, kind, view) in &functions {
        let labels = [("function", function.as_str()), ("kind", kind_of(*kind))];
        text.histogram(name, &labels, &view.elapsed_ns, NS);
    }
}

fn commits(text: &mut Text, stats: &EngineStats) {
    use Kind::{Counter, Gauge, Histogram};
    text.one("concave_commits_total", Counter, "Commits that wrote something.", stats.commits);
    let help = "Commits refused because of a conflict; their functions ran again.";
    text.one("concave_conflicts_total", Counter, help, stats.conflicts);
    let help = "Commits taken back, since they could not be written; their functions ran again.";
    text.one("concave_taken_back_total", Counter, help, stats.taken_back);
    let help = "Calls that have a reservation after a conflict, or wait for one.";
    text.one("concave_reservations", Gauge, help, stats.reservations);
    let help = "Reservations asked for since the start.";
    text.one("concave_reservations_total", Counter, help, stats.reservations_asked);
    let name = "concave_group_commits";
    text.family(name, Histogram, "How many commits shared a durable write.");
    text.histogram(name, &[], &stats.group_sizes, 1.0);
    let name = "concave_append_seconds";
    text.family(name, Histogram, "How long durable writes took.");
    text.histogram(name, &[], &stats.append_ns, NS);
}

fn cache(text: &mut Text, stats: &EngineStats) {
    use Kind::{Counter, Gauge};
    let name = "concave_index_cache_lookups_total";
    text.family(name, Counter, "Look-ups of index ranges by whether they were in memory.");
    text.sample(name, &[("result", "hit")], stats.cache_hits);
    text.sample(name, &[("result", "miss")], stats.cache_misses);
    let help = "Rows read from the store.";
    text.one("concave_index_cache_rows_loaded_total", Counter, help, stats.rows_loaded);
    text.one(
        "concave_index_cache_bytes",
        Gauge,
        "Bytes of index ranges in memory.",
        stats.cache_bytes,
    );
    let help = "Bytes of index ranges that memory may hold.";
    text.one("concave_index_cache_limit_bytes", Gauge, help, stats.cache_bytes_max);
}

fn queues(text: &mut Text, stats: &RuntimeStats, engine: &EngineStats, now: Timestamp) {
    let name = "concave_queue_waiting";
    text.family(
        name,
        Kind::Gauge,
        "What waits: work for a worker, answers and commits for the disk.",
    );
    text.sample(name, &[("queue", "work")], stats.work_waiting);
    text.sample(name, &[("queue", "answers")], stats.answers_waiting);
    text.sample(name, &[("queue", "commits")], engine.pending_commits);
    let help = "Bytes of documents that wait for the disk.";
    text.one("concave_commit_queue_bytes", Kind::Gauge, help, engine.pending_bytes);
    for (what, due) in [("scheduled", &stats.jobs), ("crons", &stats.crons)] {
        let name = |figure: &str| format!("concave_{what}_{figure}");
        text.one(
            &name("pending"),
            Kind::Gauge,
            "What waits for its time or for a place.",
            due.waiting,
        );
        text.one(&name("running"), Kind::Gauge, "What runs.", due.running);
        let help = "For how long the first of them that could run has been due.";
        text.one(&name("lag_seconds"), Kind::Gauge, help, lag(due, now));
    }
}

/// How long the first row has been due, in seconds.
fn lag(due: &DueStats, now: Timestamp) -> f64 {
    due.next.map_or(0.0, |next| now.0.saturating_sub(next.0) as f64 / NS)
}

fn delays(text: &mut Text, delays: &[HistogramView; 2]) {
    for (name, view) in
        ["concave_scheduled_delay_seconds", "concave_crons_delay_seconds"].iter().zip(delays)
    {
        text.family(name, Kind::Histogram, "From when it was due to when it began.");
        text.histogram(name, &[], view, NS);
    }
}

fn data(text: &mut Text, runtime: &Runtime) {
    let totals = runtime.totals();
    text.one("concave_tables", Kind::Gauge, "Tables of users.", totals.tables);
    text.one("concave_documents", Kind::Gauge, "Their documents.", totals.documents);
    match runtime.store_bytes() {
        Ok(bytes) => text.one("concave_store_bytes", Kind::Gauge, "Bytes on disk.", bytes),
        Err(error) => tracing::warn!(%error, "the size of the store is not known"),
    }
}

fn process(text: &mut Text, service: &Service) {
    use Kind::{Counter, Gauge};
    let started = service.watching.started;
    let name = "process_start_time_seconds";
    text.one(name, Gauge, "When it started, Unix time.", started.0 as f64 / NS);
    let uptime = service.now().0.saturating_sub(started.0) as f64 / NS;
    text.one("concave_uptime_seconds", Gauge, "How long it has been running.", uptime);
    if let Some(bytes) = crate::process::resident_bytes() {
        text.one("process_resident_memory_bytes", Gauge, "Memory in use.", bytes);
    }
    if let Some(seconds) = crate::process::cpu_seconds() {
        text.one("process_cpu_seconds_total", Counter, "Processor time used.", seconds);
    }
    if let Some(count) = crate::process::open_files() {
        text.one("process_open_fds", Gauge, "Open file descriptors.", count);
    }
}

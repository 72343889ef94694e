//! Golden session scripts: what clients do, what they see, and which live queries ran again.
//!
//! A script is made of blocks; a blank line ends one. Above `---` stand commands, below it what came of
//! them once everything at hand was done:
//!
//!     bob: mutation counters:incr {"name":"a"}
//!     ---
//!     reran: counters:count {"name":"a"}
//!     bob: answer 0 = 1 at T2
//!     alice: v(1,0,T2)
//!     alice: 0 = 1
//!
//! | command | |
//! | --- | --- |
//! | `app base` | the application, on the first line |
//! | `NAME: connect`, `NAME: cut`, `NAME: leave` | also connects again; breaks the wire; is gone |
//! | `NAME: deaf` | nothing reaches the client any more on this connection |
//! | `NAME: is USER`, `is USER for 5s`, `is nobody`, `is admin`, `is forger` | signs in |
//! | `NAME: subscribe PATH ARGS`, `unsubscribe N`, `mutation PATH ARGS`, `action PATH ARGS` | |
//! | `NAME: raw FRAME` | sends a frame as it stands |
//! | `clock 5s` | time passes |
//! | `crash` | what is not on disk is gone; connections break |
//! | `disk stops`, `disk goes on` | nothing is written meanwhile |
//! | `20x COMMAND` | 20 times, one after another; `%` is the turn |
//! | `live` | how many live queries are held |
//!
//! Of a block that repeats, answers and transitions are only counted.
//! Ids are written `#1`, cursors `cursor-1`, timestamps `T1`, times of the clock `+5ms`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use engine::Options;
use functions::{Application, ClientCall, Parent};
use protocol::Input;
use serde_json::Value as Json;
use server::connection::Event;
use value::{DocumentId, Timestamp};

use crate::client::{Client, Outcome, Seen, Who};
use crate::world::{START, World};

/// Rounds after which everything at hand must be done.
const ROUNDS_MAX: usize = 100_000;

/// The script with the outputs that it gives now. `find` knows the applications by name.
pub fn run(script: &str, find: impl Fn(&str) -> Application) -> String {
    let mut text = String::new();
    let mut stage: Option<Stage> = None;
    let mut is_output = false;
    let mut commands = Vec::new();
    for line in script.lines().chain([""]) {
        if line.is_empty() {
            if let Some(stage) = stage.as_mut().filter(|_| !commands.is_empty()) {
                text.push_str("---\n");
                text.push_str(&stage.block(&commands));
            }
            (is_output, commands) = (false, Vec::new());
            text.push('\n');
        } else if line == "---" {
            is_output = true;
        } else if !is_output {
            writeln!(text, "{line}").expect("a String takes all");
            match line.strip_prefix("app ") {
                Some(name) => stage = Some(Stage::new(find(name))),
                None if line.starts_with('#') => {}
                None => commands.push(line.to_owned()),
            }
        }
    }
    format!("{}\n", text.trim_end())
}

struct Stage {
    world: World,
    clients: Vec<Client>,
    made: u64,
    symbols: Symbols,
    disk_stopped: bool,
    runs: BTreeMap<String, u64>,
    executor: tokio::runtime::Runtime,
    acting: Arc<AtomicUsize>,
    output: Vec<String>,
}

impl Stage {
    fn new(application: Application) -> Self {
        let executor = tokio::runtime::Builder::new_current_thread().build();
        Self {
            world: World::new(application, 1, Options::default()),
            clients: Vec::new(),
            made: 0,
            symbols: Symbols::default(),
            disk_stopped: false,
            runs: BTreeMap::new(),
            executor: executor.expect("one thread"),
            acting: Arc::default(),
            output: Vec::new(),
        }
    }

    /// Carries out the commands of one block; gives its output.
    fn block(&mut self, commands: &[String]) -> String {
        let mut repeated = false;
        for command in commands {
            match command
                .split_once("x ")
                .and_then(|(n, rest)| Some((n.parse::<u32>().ok()?, rest)))
            {
                Some((times, rest)) => {
                    for turn in 0..times {
                        self.command(&rest.replace('%', &turn.to_string()));
                        self.settle();
                    }
                    repeated = true;
                }
                None => self.command(command),
            }
        }
        self.settle();
        let mut lines = self.reran(repeated);
        let output = std::mem::take(&mut self.output);
        lines.extend(if repeated { counted(output) } else { output });
        lines.iter().map(|line| format!("{line}\n")).collect()
    }

    fn command(&mut self, command: &str) {
        if let Some((name, rest)) = command.split_once(": ") {
            return self.client_command(name, rest);
        }
        let (word, rest) = command.split_once(' ').unwrap_or((command, ""));
        match (word, rest) {
            ("clock", time) => {
                self.world.clock.advance_ms(millis(time));
                self.tick();
            }
            ("crash", "") => {
                self.clients.iter_mut().for_each(Client::cut);
                self.world.crash();
                self.runs.clear();
            }
            ("disk", "stops") => self.disk_stopped = true,
            ("disk", "goes on") => self.disk_stopped = false,
            ("live", "") => {
                self.settle();
                let stats = self.world.runtime.live().stats();
                let (shown, idle, sessions) = (stats.entries, stats.idle, stats.sessions);
                self.output.push(format!("shown {shown}, idle {idle}, sessions {sessions}"));
            }
            _ => panic!("unknown command {command:?}"),
        }
    }

    fn client_command(&mut self, name: &str, command: &str) {
        let (word, rest) = command.split_once(' ').unwrap_or((command, ""));
        if !self.clients.iter().any(|client| client.name == name) {
            self.clients.push(Client::new(name, self.made));
            self.made += 1;
        }
        let now_ms = i64::try_from(self.world.runtime.now().0 / 1_000_000).expect("not that late");
        let found = self.clients.iter_mut().find(|client| client.name == name);
        let client = found.expect("made above");
        match word {
            "connect" => client.connect(&self.world),
            "cut" => client.cut(),
            "deaf" => client.deaf = true,
            "leave" => self.clients.retain(|client| client.name != name),
            "is" => client.sign_in(who(rest, now_ms)),
            "raw" => client.send_raw(rest),
            "unsubscribe" => client.unsubscribe(rest.parse().expect("the number of a query")),
            "subscribe" | "mutation" | "action" => {
                let (path, args) = rest.split_once(' ').expect("a path and arguments");
                let args = self.symbols.real(args);
                match word {
                    "subscribe" => drop(client.subscribe(path, args)),
                    _ => drop(client.call(path, args, word == "mutation")),
                }
            }
            _ => panic!("unknown command {command:?}"),
        }
    }

    fn tick(&mut self) {
        let now = i64::try_from(self.world.runtime.now().0 / 1_000_000).expect("not that late");
        for link in self.clients.iter_mut().filter_map(|client| client.link.as_mut()) {
            link.connection.input(Input::Alive);
            if link.connection.deadline_ms() <= now {
                link.connection.input(Input::Tick);
            }
        }
    }

    fn settle(&mut self) {
        for _ in 0..ROUNDS_MAX {
            let mut moved = false;
            for place in 0..self.clients.len() {
                moved |= self.pump(place);
            }
            moved |= self.world.runtime.run_work(0);
            if !moved && !self.disk_stopped {
                moved = self.world.runtime.append();
            }
            if self.acting.load(Ordering::Acquire) > 0 {
                self.executor.block_on(tokio::task::yield_now());
                moved = true;
            }
            if !moved {
                return;
            }
        }
        panic!("the script does not come to rest");
    }

    /// Moves everything of one client that is at hand.
    fn pump(&mut self, place: usize) -> bool {
        let now = self.world.runtime.now();
        let mut moved = false;
        if let Some(link) = &mut self.clients[place].link {
            while link.verify() || link.receive() {
                moved = true;
            }
            link.turn();
            while let Some(call) = link.actions.pop_front() {
                let (inbox, runtime) = (link.connection.inbox(), Arc::clone(&self.world.runtime));
                let acting = Arc::clone(&self.acting);
                acting.fetch_add(1, Ordering::AcqRel);
                self.executor.spawn(async move {
                    let (request, call_id) = (call.request, call.call_id);
                    let (path, args, caller) = (call.path.to_string(), call.args, call.identity);
                    let client = ClientCall { path, args, caller };
                    let end = runtime.action_async(client, Parent::default()).await;
                    inbox.push(Event::Action { request, end, call_id });
                    acting.fetch_sub(1, Ordering::AcqRel);
                });
            }
            while link.write(now) {
                moved = true;
            }
        }
        while let Some(seen) = self.clients[place].read() {
            moved = true;
            let name = self.clients[place].name.clone();
            self.tell(&name, &seen);
        }
        moved
    }

    fn tell(&mut self, name: &str, seen: &Seen) {
        let symbols = &mut self.symbols;
        let mut say = |text: String| self.output.push(format!("{name}: {text}"));
        match seen {
            Seen::Transition { version: (query_set, identity), ts, changes } => {
                say(format!("v({query_set},{identity},{})", symbols.ts(*ts)));
                for (query, outcome) in changes {
                    match outcome {
                        Some(outcome) => say(format!("{query} {}", symbols.outcome(outcome))),
                        None => say(format!("{query} removed")),
                    }
                }
            }
            Seen::Answer { request, outcome, ts, .. } => {
                let at = ts.map(|ts| format!(" at {}", symbols.ts(ts))).unwrap_or_default();
                say(format!("answer {request} {}{at}", symbols.outcome(outcome)));
            }
            Seen::AnsweredAgain { request, outcome, ts, .. } => {
                let at = ts.map(|ts| format!(" at {}", symbols.ts(ts))).unwrap_or_default();
                say(format!("answer {request} again {}{at}", symbols.outcome(outcome)));
            }
            Seen::AuthError { text, base, attempted } => {
                let of = if *attempted { "token refused" } else { "identity ended" };
                say(format!("auth error at {base}, {of}: {text}"));
            }
            Seen::FatalError(text) => say(format!("fatal error, {text}")),
            Seen::Ping => say("ping".to_owned()),
            Seen::Closed(code, reason) => {
                let code = code.map_or("without a code".to_owned(), |code| code.to_string());
                say(format!("closed {code} {reason}").trim_end().to_owned());
            }
        }
    }

    /// Which live queries ran since the last time; summed up by function if there are many.
    fn reran(&mut self, by_path: bool) -> Vec<String> {
        let mut now: BTreeMap<String, u64> = BTreeMap::new();
        for entry in self.world.runtime.live().entries() {
            let args: Json = serde_json::from_str(&entry.args).expect("one argument");
            let name = format!("{} {}", entry.path, self.symbols.shown(&args));
            *now.entry(name).or_default() += entry.runs;
        }
        let mut lines: BTreeMap<String, u64> = BTreeMap::new();
        for (name, runs) in &now {
            let before = self.runs.get(name).copied().filter(|before| before <= runs);
            let word = if before.is_some_and(|before| before > 0) { "reran" } else { "ran" };
            let name = if by_path { name.split(' ').next().unwrap_or(name) } else { name };
            *lines.entry(format!("{word}: {name}")).or_default() += runs - before.unwrap_or(0);
        }
        self.runs = now;
        let lines = lines.into_iter().filter(|(_, new)| *new > 0);
        lines
            .map(|(line, new)| if new == 1 { line } else { format!("{line}, {new} runs") })
            .collect()
    }
}

/// How many answers and transitions each client saw; other lines as they are.
fn counted(output: Vec<String>) -> Vec<String> {
    let mut counts: BTreeMap<String, [u64; 3]> = BTreeMap::new();
    let mut rest = Vec::new();
    for line in output {
        let Some((name, what)) = line.split_once(": ") else {
            rest.push(line);
            continue;
        };
        let kind =
            if what.starts_with("answer") { 0 } else { usize::from(!what.starts_with("v(")) + 1 };
        counts.entry(name.to_owned()).or_default()[kind] += 1;
    }
    let line = |(name, [answers, transitions, changes]): (String, [u64; 3])| {
        format!("{name}: {answers} answers, {transitions} transitions, {changes} changes")
    };
    counts.into_iter().map(line).chain(rest).collect()
}

fn millis(time: &str) -> u64 {
    match time.strip_suffix("ms") {
        Some(millis) => millis.parse().expect("milliseconds"),
        None => {
            let seconds = time.strip_suffix('s').expect("a time in s or ms");
            seconds.parse::<u64>().expect("seconds") * 1000
        }
    }
}

fn who(text: &str, now_ms: i64) -> Who {
    match text {
        "nobody" => Who::Nobody,
        "admin" => Who::Admin,
        "reader" => Who::Reader,
        "forger" => Who::Forger,
        user => match user.split_once(" for ") {
            Some((name, time)) => {
                let time = i64::try_from(millis(time)).expect("a short time");
                Who::UserUntil(name.to_owned(), now_ms + time)
            }
            None => Who::User(user.to_owned()),
        },
    }
}

/// Short names for what looks different in each run, by first appearance.
#[derive(Default)]
struct Symbols {
    ids: Vec<String>,
    cursors: Vec<String>,
    times: Vec<Timestamp>,
}

impl Symbols {
    fn ts(&mut self, ts: Timestamp) -> String {
        let known = self.times.iter().position(|known| *known == ts);
        let place = known.unwrap_or_else(|| {
            self.times.push(ts);
            self.times.len() - 1
        });
        format!("T{}", place + 1)
    }

    fn outcome(&mut self, outcome: &Outcome) -> String {
        match outcome {
            Outcome::Value(value) => format!("= {}", self.shown(value)),
            Outcome::Failed(text, data) => {
                let data = data.as_ref().map(|data| format!(", data {}", self.shown(data)));
                format!("failed, {}{}", text.replace('\n', " "), data.unwrap_or_default())
            }
        }
    }

    /// A value as people like to read it.
    fn shown(&mut self, value: &Json) -> Json {
        match value {
            Json::String(text) if text.parse::<DocumentId>().is_ok() => {
                Json::from(symbol("#", &mut self.ids, text))
            }
            Json::Number(number) => number.as_f64().map_or(value.clone(), shown_number),
            Json::Array(items) => items.iter().map(|item| self.shown(item)).collect(),
            Json::Object(fields) => {
                let mut shown = serde_json::Map::new();
                for (name, field) in fields.iter().filter(|(name, _)| *name != "_creationTime") {
                    let field = match (name.as_str(), field) {
                        (
                            "continueCursor" | "splitCursor" | "cursor" | "endCursor",
                            Json::String(text),
                        ) => Json::from(symbol("cursor-", &mut self.cursors, text)),
                        _ => self.shown(field),
                    };
                    shown.insert(name.clone(), field);
                }
                Json::Object(shown)
            }
            other => other.clone(),
        }
    }

    /// Arguments as they are sent: numbers are floats, short names stand for the real ones.
    fn real(&self, text: &str) -> Json {
        let value: Json = serde_json::from_str(text).expect("arguments are JSON");
        self.real_value(&value)
    }

    fn real_value(&self, value: &Json) -> Json {
        let nth = |items: &[String], place: &str| {
            let place: usize = place.parse().ok()?;
            items.get(place.checked_sub(1)?).cloned()
        };
        match value {
            Json::Number(number) => number.as_f64().map_or(value.clone(), Json::from),
            Json::String(text) => {
                let id = text.strip_prefix('#').and_then(|place| nth(&self.ids, place));
                let cursor = text.strip_prefix("cursor-");
                let cursor = || cursor.and_then(|place| nth(&self.cursors, place));
                Json::from(id.or_else(cursor).unwrap_or_else(|| text.clone()))
            }
            Json::Array(items) => items.iter().map(|item| self.real_value(item)).collect(),
            Json::Object(fields) => {
                let fields =
                    fields.iter().map(|(name, field)| (name.clone(), self.real_value(field)));
                Json::Object(fields.collect())
            }
            other => other.clone(),
        }
    }
}

fn symbol(prefix: &str, known: &mut Vec<String>, text: &str) -> String {
    let place = known.iter().position(|item| item == text).unwrap_or_else(|| {
        known.push(text.to_owned());
        known.len() - 1
    });
    format!("{prefix}{}", place + 1)
}

/// Whole numbers without a fraction; times by how long after the start of the clock.
fn shown_number(number: f64) -> Json {
    let start_ms = (START.0 / 1_000_000) as f64;
    if number >= start_ms {
        return Json::from(format!("+{}ms", number - start_ms));
    }
    if number.fract() == 0.0 { Json::from(number as i64) } else { Json::from(number) }
}

//! What the application does, in the plainest form: the mutations one after another, by timestamp.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value as Json, json};
use tests::client::{Outcome, Who};
use value::Timestamp;

/// An answered mutation.
#[derive(Clone, Debug)]
pub(crate) struct Done {
    pub(crate) ts: Timestamp,
    pub(crate) path: String,
    pub(crate) args: Json,
    pub(crate) who: Who,
    pub(crate) result: Json,
}

/// Where it belongs among those with its timestamp: what wrote nothing comes after what did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Wrote,
    MayHaveWritten,
    OnlyRead,
}

impl Done {
    /// Whether it surely wrote.
    pub(crate) fn wrote(&self) -> bool {
        self.place() == Place::Wrote
    }

    fn place(&self) -> Place {
        match self.path.as_str() {
            "messages:move" | "messages:setAuthor" | "messages:remove" | "counters:drop" => {
                if self.result == json!(-1.0) { Place::OnlyRead } else { Place::Wrote }
            }
            "counters:transfer" => {
                if self.result[2] == json!(0.0) {
                    Place::OnlyRead
                } else {
                    Place::Wrote
                }
            }
            "counters:getOrCreate" => Place::MayHaveWritten,
            _ => Place::Wrote,
        }
    }

    /// The order of a serial replay.
    pub(crate) fn order(&self) -> impl Ord + use<> {
        (self.ts, self.place())
    }
}

#[derive(Clone, Debug, PartialEq)]
struct Message {
    room: String,
    author: String,
    body: String,
    n: f64,
}

/// The data.
pub(crate) struct Model {
    messages: Vec<Message>,
    counters: BTreeMap<String, f64>,
    ids: BTreeMap<String, Json>,
    message_ids: BTreeSet<String>,
    /// Every value that each counter ever had, and since when first.
    pub(crate) had: BTreeMap<String, BTreeMap<i64, Timestamp>>,
    /// The timestamp of the mutation that is applied.
    now: Timestamp,
}

fn text<'a>(args: &'a Json, name: &str) -> &'a str {
    args[0][name].as_str().expect("a text argument")
}

fn number(args: &Json, name: &str) -> f64 {
    args[0][name].as_f64().expect("a number argument")
}

impl Model {
    /// No data.
    pub(crate) fn new() -> Self {
        Self {
            messages: Vec::new(),
            counters: BTreeMap::new(),
            ids: BTreeMap::new(),
            message_ids: BTreeSet::new(),
            had: BTreeMap::new(),
            now: Timestamp(0),
        }
    }

    /// Applies a mutation; its result must be the one that was answered.
    pub(crate) fn apply(&mut self, done: &Done) {
        let Done { path, args, result, .. } = done;
        self.now = done.ts;
        let expected = match path.as_str() {
            "messages:send" => {
                self.send(args, text(args, "author"));
                let id = result.as_str().expect("an id").to_owned();
                assert!(self.message_ids.insert(id), "an id was given twice: {done:?}");
                result.clone()
            }
            "messages:sendMine" => {
                let Who::User(name) = &done.who else { panic!("nobody may send: {done:?}") };
                self.send(args, &name.clone());
                json!(name)
            }
            "messages:sendAndCount" => {
                self.send(args, text(args, "author"));
                json!(self.bump(text(args, "room")))
            }
            "messages:move" => {
                let to = text(args, "to").to_owned();
                self.change(args, |message| message.room = to)
            }
            "messages:setAuthor" => {
                let author = text(args, "author").to_owned();
                self.change(args, |message| message.author = author)
            }
            "messages:remove" => match self.at(args) {
                Some(place) => json!(self.messages.remove(place).n),
                None => json!(-1.0),
            },
            "counters:incr" => json!(self.bump(text(args, "name"))),
            "counters:drop" => {
                let name = text(args, "name");
                self.ids.remove(name);
                self.note(name, 0.0);
                json!(self.counters.remove(name).unwrap_or(-1.0))
            }
            "counters:transfer" => self.transfer(args),
            "jobs:later" => Json::Null,
            "counters:getOrCreate" => {
                let name = text(args, "name").to_owned();
                self.counters.entry(name.clone()).or_insert(0.0);
                self.ids.entry(name).or_insert_with(|| result.clone()).clone()
            }
            other => panic!("the model does not know {other}"),
        };
        assert_eq!(*result, expected, "not what a serial replay gives: {done:?}");
    }

    fn send(&mut self, args: &Json, author: &str) {
        let body = text(args, "body").to_owned();
        let twice = self.messages.iter().any(|message| message.body == body);
        assert!(!twice, "a mutation is there twice: {args}");
        let (room, author) = (text(args, "room").to_owned(), author.to_owned());
        self.messages.push(Message { room, author, body, n: number(args, "n") });
    }

    fn note(&mut self, name: &str, value: f64) {
        let had = self.had.entry(name.to_owned()).or_default();
        had.entry(value as i64).or_insert(self.now);
    }

    fn bump(&mut self, name: &str) -> f64 {
        let value = self.counters.get(name).copied().unwrap_or(0.0) + 1.0;
        self.counters.insert(name.to_owned(), value);
        self.note(name, value);
        value
    }

    fn transfer(&mut self, args: &Json) -> Json {
        let (from, to) = (text(args, "from"), text(args, "to"));
        let value = |model: &Self, name| model.counters.get(name).copied().unwrap_or(0.0);
        let left = value(self, from) - 1.0;
        if left < 0.0 || from == to {
            return json!([value(self, from), value(self, to), 0.0]);
        }
        self.counters.insert(from.to_owned(), left);
        self.note(from, left);
        json!([left, self.bump(to), 1.0])
    }

    fn at(&self, args: &Json) -> Option<usize> {
        let (room, n) = (text(args, "room"), number(args, "n"));
        let found = self.messages.iter().enumerate();
        let found = found.filter(|(_, message)| message.room == room && message.n >= n);
        found.min_by(|(_, a), (_, b)| a.n.total_cmp(&b.n)).map(|(place, _)| place)
    }

    fn change(&mut self, args: &Json, change: impl FnOnce(&mut Message)) -> Json {
        let Some(place) = self.at(args) else { return json!(-1.0) };
        change(&mut self.messages[place]);
        json!(self.messages[place].n)
    }

    fn rows(&self, keep: impl Fn(&Message) -> bool) -> Vec<Json> {
        let mut rows: Vec<_> = self.messages.iter().filter(|message| keep(message)).collect();
        rows.sort_by(|a, b| a.n.total_cmp(&b.n));
        rows.into_iter()
            .map(|m| json!({ "room": m.room, "author": m.author, "body": m.body, "n": m.n }))
            .collect()
    }

    /// What a query shows to `who`; `None`: the model does not say.
    pub(crate) fn query(&self, path: &str, args: &Json, who: &Who) -> Option<Outcome> {
        let counter = |name: &str| self.counters.get(name).map_or(Json::Null, |value| json!(value));
        let me = match who {
            Who::User(name) => json!(name),
            _ => Json::Null,
        };
        let value = match path {
            "messages:list" => {
                let room = text(args, "room");
                Json::from(self.rows(|message| message.room == room))
            }
            "messages:after" => {
                let (room, n) = (text(args, "room"), number(args, "n"));
                Json::from(self.rows(|message| message.room == room && message.n > n))
            }
            "messages:firstBy" => {
                let (room, author) = (text(args, "room"), text(args, "author"));
                let rows = self.rows(|message| message.room == room && message.author == author);
                rows.into_iter().take(1).collect()
            }
            "messages:mine" => Json::from(self.rows(|message| me == json!(message.author))),
            "counters:count" => counter(text(args, "name")),
            "counters:strict" => {
                let name = text(args, "name");
                match counter(name) {
                    Json::Null => {
                        let data = json!({ "code": "missing", "name": name });
                        return Some(Outcome::Failed(String::new(), Some(data)));
                    }
                    value => value,
                }
            }
            "users:me" => me,
            "users:whoIf" => match counter(text(args, "name")) {
                Json::Null => json!("anybody"),
                _ => me,
            },
            "users:nested" => json!([me, counter(text(args, "name"))]),
            _ => return None,
        };
        Some(Outcome::Value(value))
    }
}

/// A shown result in the form of the model: rows without ids and times, by number; no error texts.
pub(crate) fn plain(outcome: &Outcome) -> Outcome {
    match outcome {
        Outcome::Failed(_, data) => Outcome::Failed(String::new(), data.clone()),
        Outcome::Value(Json::Array(rows)) if rows.iter().all(Json::is_object) => {
            let mut rows = rows.clone();
            rows.sort_by(|a, b| a["n"].as_f64().unwrap().total_cmp(&b["n"].as_f64().unwrap()));
            for row in &mut rows {
                let row = row.as_object_mut().unwrap();
                row.remove("_id");
                row.remove("_creationTime");
            }
            Outcome::Value(Json::Array(rows))
        }
        Outcome::Value(value) => Outcome::Value(value.clone()),
    }
}

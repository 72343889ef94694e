//! One run: what happens next is drawn from the seed.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use functions::Runtime;
use protocol::Input;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};
use serde_json::json;
use tempfile::TempDir;
use tests::app::{base, on_pause};
use tests::client::{Client, Who};
use tests::faults::{AppendFault, on_scan};
use tests::world::World;
use tokio::task::JoinHandle;

use crate::faults::Faults;
use crate::properties::Properties;

/// Rounds after which the world must have become quiet.
const QUIET_ROUNDS_MAX: u32 = 400;
/// Turns of the executor in one step.
const YIELDS: u32 = 20;
/// Most queries that one client shows.
const QUERIES_MAX: usize = 6;
/// Most requests of one client that are under way.
const REQUESTS_MAX: usize = 5;

/// Draws from a seed.
pub(crate) struct Rng(ChaCha8Rng);

impl Rng {
    fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0.next_u64() % bound
    }

    /// True in `percent` of a hundred cases.
    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// One of these.
    pub(crate) fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len() as u64) as usize]
    }
}

/// Lets others run in the middle of a body or of a scan, as other threads would.
struct Interleave {
    runtime: RefCell<Arc<Runtime>>,
    rng: RefCell<Rng>,
    depth: Cell<u32>,
    percent: u64,
}

impl Interleave {
    fn step(&self) {
        if self.depth.get() >= 2 || !self.rng.borrow_mut().chance(self.percent) {
            return;
        }
        self.depth.set(self.depth.get() + 1);
        let runtime = Arc::clone(&self.runtime.borrow());
        let (works, position, append) = {
            let mut rng = self.rng.borrow_mut();
            (rng.below(3), rng.below(100), rng.chance(40))
        };
        for _ in 0..works {
            runtime.run_work(position as usize);
        }
        if append {
            runtime.append();
        }
        self.depth.set(self.depth.get() - 1);
    }
}

/// One run.
pub(crate) struct Sim {
    rng: Rng,
    faults: Faults,
    world: World,
    clients: Vec<Client>,
    properties: Properties,
    interleave: Rc<Interleave>,
    executor: tokio::runtime::Runtime,
    due: Option<JoinHandle<functions::Result<()>>>,
    messages: u64,
    trace: bool,
    /// Removed with the run.
    _folder: Option<TempDir>,
}

impl Sim {
    pub(crate) fn new(seed: u64, trace: bool) -> Self {
        let mut rng = Rng::new(seed);
        let faults = Faults::draw(&mut rng);
        let application = base().build().expect("the application is sound");
        stop_interleaving();
        let (disk, folder) = faults.disk();
        let world = World::on(disk, application, seed, faults.options());
        let name = |number: u64| format!("c{number}");
        let interleave = Rc::new(Interleave {
            runtime: RefCell::new(Arc::clone(&world.runtime)),
            rng: RefCell::new(Rng::new(seed ^ 0x5eed)),
            depth: Cell::new(0),
            percent: faults.interleave,
        });
        let mut client = |number| {
            let mut client = Client::new(&name(number), number);
            client.sign_in(draw_who(&mut rng));
            client
        };
        Self {
            clients: (0..faults.clients).map(&mut client).collect(),
            properties: Properties::default(),
            rng,
            faults,
            world,
            interleave,
            executor: executor(),
            due: None,
            messages: 0,
            trace,
            _folder: folder,
        }
    }

    /// Runs the workload, waits until the world is quiet, and checks what must hold then.
    pub(crate) fn run(mut self) {
        if self.trace {
            println!("{:?}", self.faults);
        }
        self.start_interleaving();
        for step in 0..self.faults.steps {
            if self.trace {
                print!("{step}: ");
            }
            self.step();
            if self.trace {
                println!();
            }
        }
        self.quiet();
        stop_interleaving();
        for client in &self.clients {
            self.properties.shows(&self.world, client, self.world.on_disk());
        }
        self.properties.replay();
        self.leave();
    }

    fn say(&self, text: &str) {
        if self.trace {
            print!("{text} ");
        }
    }

    fn start_interleaving(&self) {
        *self.interleave.runtime.borrow_mut() = Arc::clone(&self.world.runtime);
        if self.faults.interleave > 0 {
            let (pause, scan) = (Rc::clone(&self.interleave), Rc::clone(&self.interleave));
            on_pause(Some(Rc::new(move || pause.step())));
            on_scan(Some(Rc::new(move || scan.step())));
        }
    }

    fn step(&mut self) {
        let fault = self.rng.below(1000);
        let faults = &self.faults;
        let mut upto = faults.crashes;
        if fault < upto {
            return self.crash();
        }
        upto += faults.store;
        if fault < upto {
            return self.break_store();
        }
        upto += faults.jumps;
        if fault < upto {
            let millis = self.rng.below(20_000);
            self.say(&format!("clock +{millis}"));
            self.pass(millis);
            return self.tick();
        }
        upto += faults.collects;
        if fault < upto {
            self.say("collect");
            // What cannot be read now can be later.
            let _ = self.world.runtime.engine().collect(1 + self.rng.below(50) as usize);
            return;
        }
        upto += faults.cuts;
        let client = self.rng.below(self.faults.clients) as usize;
        if fault < upto {
            self.say(&format!("c{client} cut"));
            return self.clients[client].cut();
        }
        if self.rng.chance(self.faults.appends) {
            self.say("append");
            self.world.runtime.append();
            return;
        }
        match self.rng.below(20) {
            0..=4 => self.act(client),
            5..=13 => self.move_frames(client),
            14..=16 => {
                let position = self.rng.below(100) as usize;
                self.say(&format!("work {position}"));
                self.world.runtime.run_work(position);
            }
            17..=18 => self.run_due(),
            _ => {
                let nanos = self.rng.below(3_000_000);
                self.world.clock.advance_ns(nanos);
            }
        }
    }

    fn crash(&mut self) {
        self.say("crash");
        stop_interleaving();
        for client in &mut self.clients {
            client.cut();
        }
        self.due = None;
        self.executor = executor();
        self.world.crash();
        self.start_interleaving();
    }

    fn break_store(&mut self) {
        let faults = &self.world.faults;
        let reopen = self.rng.below(3) as u32;
        let how = self.rng.below(4);
        self.say(&format!("fault {how}"));
        match how {
            0 => faults.fail_append(AppendFault::NotWritten, 0),
            1 => faults.fail_append(AppendFault::UnknownWritten, reopen),
            2 => faults.fail_append(AppendFault::UnknownNotWritten, reopen),
            _ => faults.fail_scans(1 + reopen * 3),
        }
    }

    /// Lets the loop of scheduled functions go on, and what it has started.
    fn run_due(&mut self) {
        let ended = self.due.as_ref().is_none_or(JoinHandle::is_finished);
        if ended {
            let runtime = Arc::clone(&self.world.runtime);
            self.due = Some(self.executor.spawn(async move { runtime.run_due().await }));
        }
        self.executor.block_on(async {
            for _ in 0..YIELDS {
                tokio::task::yield_now().await;
            }
        });
    }

    /// Time passes, for the world and for those who sleep in it.
    fn pass(&mut self, millis: u64) {
        self.world.clock.advance_ms(millis);
        self.executor.block_on(tokio::time::advance(Duration::from_millis(millis)));
    }

    fn tick(&mut self) {
        let now = self.world.runtime.now().0 / 1_000_000;
        for link in self.clients.iter_mut().filter_map(|client| client.link.as_mut()) {
            link.connection.input(Input::Alive);
            if link.connection.deadline_ms() <= now as i64 {
                link.connection.input(Input::Tick);
            }
            link.turn();
        }
    }

    fn act(&mut self, client: usize) {
        let (room, other) = (self.room(), self.room());
        let me = &mut self.clients[client];
        if me.link.is_none() {
            if self.rng.chance(70) {
                me.connect(&self.world);
                self.say(&format!("c{client} connect"));
            }
            return;
        }
        let choice = self.rng.below(100);
        if choice < 20 && me.queries.len() < QUERIES_MAX {
            let (path, args) = query(&mut self.rng, &room);
            let id = me.subscribe(path, args.clone());
            self.say(&format!("c{client} subscribe {id} {path} {args}"));
        } else if choice < 28 {
            if let Some(id) = me.queries.keys().next().copied() {
                me.unsubscribe(id);
                self.say(&format!("c{client} unsubscribe {id}"));
            }
        } else if choice < 36 && me.requests.is_empty() {
            let who = draw_who(&mut self.rng);
            me.sign_in(who.clone());
            self.say(&format!("c{client} is {who:?}"));
        } else if me.requests.len() < REQUESTS_MAX {
            self.messages += 1;
            let is_user = matches!(me.who, Who::User(_));
            let (path, args) = mutation(&mut self.rng, &room, &other, self.messages, is_user);
            let id = me.call(path, args.clone(), true);
            self.say(&format!("c{client} call {id} {path} {args}"));
        }
    }

    fn room(&mut self) -> String {
        let room = self.rng.below(self.faults.rooms);
        format!("r{room}")
    }

    fn move_frames(&mut self, client: usize) {
        let now = self.world.runtime.now();
        let me = &mut self.clients[client];
        let Some(link) = &mut me.link else { return };
        match self.rng.below(6) {
            0 | 1 => {
                // All that is at hand, then a turn; what is at hand is drawn.
                for _ in 0..self.rng.below(4) + 1 {
                    link.receive();
                }
                link.turn();
            }
            2 => drop(link.verify()),
            3 => link.turn(),
            4 => drop(link.write(now)),
            _ => self.read(client),
        }
    }

    fn read(&mut self, client: usize) {
        while let Some(seen) = self.clients[client].read() {
            if self.trace {
                print!("c{client} sees {seen:?} ");
            }
            self.properties.seen(&self.world, &self.clients[client], &seen, &self.faults);
            if self.rng.chance(30) {
                break;
            }
        }
    }

    /// Heals everything and goes on until every client has what it asked for.
    fn quiet(&mut self) {
        for round in 0..QUIET_ROUNDS_MAX {
            self.world.faults.heal();
            for client in 0..self.clients.len() {
                if self.clients[client].link.is_none() {
                    self.clients[client].connect(&self.world);
                }
                self.pump(client);
            }
            let ran = self.world.runtime.run_work(0);
            let wrote = self.world.runtime.append();
            self.run_due();
            let idle = self.world.runtime.stats().work_waiting == 0;
            if !ran && !wrote && idle && self.is_quiet() && self.properties.jobs_ran(&self.world) {
                return;
            }
            if round % 20 == 19 {
                self.pass(1000);
                self.tick();
            }
        }
        for client in &self.clients {
            println!("{} waits for {:?}", client.name, client.requests);
        }
        let stats = self.world.runtime.stats();
        panic!(
            "the world does not become quiet: {stats:?} {:?}",
            self.world.runtime.live().stats()
        );
    }

    fn pump(&mut self, client: usize) {
        let now = self.world.runtime.now();
        if let Some(link) = &mut self.clients[client].link {
            while link.verify() || link.receive() {}
            link.turn();
            while link.write(now) {}
            link.turn();
        }
        self.read(client);
    }

    /// Every client shows the newest state, and nothing is under way.
    fn is_quiet(&self) -> bool {
        let wires = |client: &Client| {
            client.link.as_ref().is_some_and(|link| {
                link.up.is_empty() && link.unwritten.is_empty() && link.down.is_empty()
            })
        };
        self.clients.iter().all(|client| client.is_quiet() && wires(client))
    }

    /// After everybody has left, nothing is held for them.
    fn leave(mut self) {
        self.clients.clear();
        drop(self.executor);
        self.world.settle();
        let (live, stats) = (self.world.runtime.live().stats(), self.world.runtime.stats());
        assert_eq!((live.entries, live.sessions), (0, 0), "live queries that nobody shows");
        assert_eq!((stats.work_waiting, stats.answers_waiting), (0, 0), "{stats:?}");
        assert_eq!(self.world.runtime.engine().stats().reservations, 0, "turns nobody gives back");
    }
}

/// Runs futures on this thread, in a time of its own.
fn executor() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_time().start_paused(true).build().unwrap()
}

fn stop_interleaving() {
    on_pause(None);
    on_scan(None);
}

fn draw_who(rng: &mut Rng) -> Who {
    let name = |name: &str| Who::User(name.to_owned());
    rng.pick(&[Who::Nobody, name("alice"), name("bob"), name("bob"), Who::Admin]).clone()
}

fn query(rng: &mut Rng, room: &str) -> (&'static str, serde_json::Value) {
    match rng.below(12) {
        0..=2 => ("messages:list", json!({ "room": room })),
        3 => ("messages:after", json!({ "room": room, "n": rng.below(40) as f64 })),
        4 => ("messages:firstBy", json!({ "room": room, "author": "ann" })),
        5 => ("messages:mine", json!({})),
        6 => ("counters:count", json!({ "name": room })),
        7 => ("counters:strict", json!({ "name": room })),
        8 => ("users:whoIf", json!({ "name": room })),
        9 => ("users:nested", json!({ "name": room })),
        10 => ("users:me", json!({})),
        _ => {
            let descending = rng.chance(50);
            let options = json!({ "numItems": rng.below(4) as f64 + 1.0, "cursor": null });
            let args = json!({ "room": room, "descending": descending, "paginationOpts": options });
            ("messages:page", args)
        }
    }
}

fn mutation(
    rng: &mut Rng,
    room: &str,
    other: &str,
    number: u64,
    is_user: bool,
) -> (&'static str, serde_json::Value) {
    let n = number as f64;
    let body = format!("m{number}");
    let author = rng.pick(&["ann", "alice", "bob"]);
    let from = rng.below(number) as f64;
    match rng.below(20) {
        0..=2 => {
            let args = json!({ "room": room, "author": author, "body": body, "n": n });
            ("messages:send", args)
        }
        3..=5 => {
            let args = json!({ "room": room, "author": author, "body": body, "n": n });
            ("messages:sendAndCount", args)
        }
        6 if is_user => ("messages:sendMine", json!({ "room": room, "body": body, "n": n })),
        7 | 8 if room != other => {
            ("messages:move", json!({ "room": room, "n": from, "to": other }))
        }
        9 => {
            let author = format!("a{number}");
            ("messages:setAuthor", json!({ "room": room, "n": from, "author": author }))
        }
        18 => {
            let args = json!({ "name": format!("j{number}"), "ms": rng.below(3000) as f64 });
            ("jobs:later", args)
        }
        10 => ("messages:remove", json!({ "room": room, "n": from })),
        11 => ("counters:drop", json!({ "name": room })),
        12 | 13 => ("counters:transfer", json!({ "from": room, "to": other })),
        14 | 19 => ("counters:fail", json!({ "name": room })),
        15 | 16 => ("counters:getOrCreate", json!({ "name": room })),
        _ => ("counters:incr", json!({ "name": room })),
    }
}

//! The program as operators and tools start it: settings and where they come from, the flags of the
//! official backend, health, backups.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};

use serde_json::Value as Json;

use crate::crash::program;

/// The development secret that tools of the official backend bring along, and keys made from it.
const VECTORS: &str = include_str!("../../crates/server/vectors/admin-key.json");

/// A server that ends with the test.
pub(super) struct Running {
    pub(super) child: Child,
    pub(super) address: String,
}

impl Running {
    pub(super) fn start(command: &mut Command) -> Running {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let Some(address) = line.trim().strip_prefix("listening on http://") else {
            let mut log = String::new();
            child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
            panic!("it did not start: {line:?} {log}");
        };
        let port = address.rsplit(':').next().unwrap();
        Running { address: format!("127.0.0.1:{port}"), child }
    }

    pub(super) fn get(&self, path: &str, key: Option<&str>) -> (u16, String) {
        let key = key.map_or_else(String::new, |key| format!("Authorization: Convex {key}\r\n"));
        ask(&self.address, &format!("GET {path} HTTP/1.0\r\nHost: x\r\n{key}\r\n"))
    }

    /// Ends it, and gives what it wrote into its log.
    pub(super) fn log(mut self) -> String {
        let _ = self.child.kill();
        let mut log = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        log
    }

    fn terminate(mut self) -> ExitStatus {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        self.child.wait().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Status and body.
pub(super) fn ask(address: &str, request: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}

/// The program without what the environment of the test may set.
pub(super) fn concave() -> Command {
    let mut command = Command::new(program());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CONCAVE_") {
            command.env_remove(name);
        }
    }
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

pub(super) fn output(command: &mut Command) -> (Option<i32>, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    (status.code(), text(&stdout) + &text(&stderr))
}

/// The arguments with which npm convex 1.48.0 starts the official local backend.
fn as_npm_does(folder: &Path, name: &str, secret: &str) -> Vec<String> {
    let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let mut args: Vec<String> = ["--port", "0", "--site-proxy-port", "0"].map(str::to_owned).into();
    for (flag, value) in [
        ("--sentry-identifier", "0123abcd".to_owned()),
        ("--instance-name", name.to_owned()),
        ("--instance-secret", secret.to_owned()),
        ("--local-storage", path("convex_local_storage")),
        ("--beacon-tag", "cli-anonymous-dev".to_owned()),
    ] {
        args.extend([flag.to_owned(), value]);
    }
    args.push(path("convex_local_backend.sqlite3"));
    args.extend(["--beacon-fields", r#"{"override_uuid":"x"}"#].map(str::to_owned));
    args
}

#[test]
fn it_starts_as_npm_starts_the_official_backend() {
    let folder = tempfile::tempdir().unwrap();
    let vectors: Json = serde_json::from_str(VECTORS).unwrap();
    let secret = vectors["instanceSecretHex"].as_str().unwrap();
    let args = as_npm_does(folder.path(), "carnitas", secret);
    // First it asks for help with all of them.
    let (code, help) = output(concave().args(&args).arg("--help"));
    assert!(code == Some(0) && help.contains("--site-proxy-port"), "{help}");
    let server = Running::start(concave().args(&args));
    assert_eq!(server.get("/instance_name", None), (200, "carnitas".to_owned()));
    assert_eq!(server.get("/version", None).0, 200);
    // Nothing is compiled in, and every key that the official backend takes is taken.
    for case in vectors["cases"].as_array().unwrap() {
        let key = case["key"].as_str().unwrap();
        let (status, body) = server.get("/api/v1/get_canonical_urls", Some(key));
        let accepted = case["accepted"] == true;
        assert_eq!(status, if accepted { 200 } else { 401 }, "{} {body}", case["what"]);
    }
    let query = r#"{"path":"presence:getPresence","args":{}}"#;
    let request = format!(
        "POST /api/query HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{query}",
        query.len()
    );
    let (_, body) = ask(&server.address, &request);
    assert!(body.contains("Could not find public function"), "{body}");
    assert!(server.terminate().success());
    assert!(folder.path().join("convex_local_backend.sqlite3").exists());
    // Started again, it has the same data; a key that is made as the official program makes one works.
    let server = Running::start(concave().args(&args));
    let keygen =
        ["keygen", "admin-key", "--instance-name", "carnitas", "--instance-secret", secret];
    let (code, key) = output(concave().args(keygen));
    assert_eq!(code, Some(0), "{key}");
    assert_eq!(server.get("/api/v1/get_canonical_urls", Some(key.trim())).0, 200);
    assert!(server.terminate().success());
}

#[test]
fn other_lines_of_the_official_backend() {
    let folder = tempfile::tempdir().unwrap();
    let secret = "ab".repeat(32);
    let database = folder.path().join("db.sqlite3");
    let mut command = concave();
    command.arg(&database).args(["--instance-name", "a", "--instance-secret", &secret]);
    command.args(["--interface", "127.0.0.1", "-p", "0", "--site-proxy-port", "0"]);
    command.args(["--convex-origin", "https://api.example", "--convex-site", "https://example/"]);
    command.args(["--disable-beacon", "--redact-logs-to-client", "--do-not-require-ssl"]);
    command.args(["--convex-http-proxy", "http://proxy", "--control-plane-url", "http://x"]);
    let server = Running::start(&mut command);
    let (code, key) = output(concave().args([
        "keygen",
        "admin-key",
        "--instance-name",
        "a",
        "--instance-secret",
        &secret,
    ]));
    assert_eq!(code, Some(0));
    let (status, urls) = server.get("/api/v1/get_canonical_urls", Some(key.trim()));
    let urls: Json = serde_json::from_str(&urls).unwrap();
    assert_eq!((status, &urls["convexCloudUrl"]), (200, &"https://api.example".into()));
    assert_eq!(urls["convexSiteUrl"], "https://example");
    drop(server);

    let check = |args: &[&str], part: &str| {
        let (code, said) = output(concave().current_dir(folder.path()).args(args));
        assert!(code == Some(2) && said.contains(part), "{args:?}: {said}");
    };
    check(&["--port", "1", "db.sqlite3"], "--instance-secret is required");
    check(&["--instance-secret", &secret, "--instance-name", "a", "--port", "x"], "--port takes a");
    check(&["--instance-secret", "12", "--instance-name", "a"], "--instance-secret takes 64");
    check(&["--instance-name", "a"], "--instance-secret");
    let both = ["--instance-secret", &secret, "--instance-name", "a"];
    check(&[&both[..], &["--site-proxy-port", "70000"]].concat(), "--site-proxy-port takes a");
    check(&[&both[..], &["--db", "postgres-v5"]].concat(), "only sqlite");
    check(&[&both[..], &["--s3-storage"]].concat(), "S3");
    // What is no command is not taken for a database.
    check(&["sevre"], "sevre");
}

#[test]
fn flags_go_over_the_environment_over_the_file_over_defaults() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let file = folder.path().join("concave.toml");
    let settings = "# ours\ninstance_name = \"file\"\norigin = \"https://file\"\nsite_origin = \"https://site\"\n";
    std::fs::write(&file, settings).unwrap();
    let start = |command: &mut Command| {
        let args = ["serve", "--port", "0", "--site-port", "0", "--app", "none", "--data"];
        Running::start(command.args(args).arg(&data))
    };
    let origins = |server: &Running| {
        let (_, name) = server.get("/instance_name", None);
        let (code, key) =
            output(concave().args(["admin-key", "--instance-name", &name, "--data"]).arg(&data));
        assert_eq!(code, Some(0), "{key}");
        let (_, urls) = server.get("/api/v1/get_canonical_urls", Some(key.trim()));
        let urls: Json = serde_json::from_str(&urls).unwrap();
        let url = |key: &str| urls[key].as_str().unwrap().to_owned();
        (name, url("convexCloudUrl"), url("convexSiteUrl"))
    };
    // Empty is as good as not set.
    let server = start(concave().env("CONCAVE_INSTANCE_NAME", ""));
    let (name, clients, site) = origins(&server);
    assert_eq!((name.as_str(), clients), ("concave", format!("http://{}", server.address)));
    assert!(site.starts_with("http://127.0.0.1:"));
    assert!(server.terminate().success());
    let mut command = concave();
    command.env("CONCAVE_CONFIG", &file).env("CONCAVE_ORIGIN", "https://variable");
    command.env("CONCAVE_INSTANCE_NAME", "variable");
    let args = ["serve", "--port", "0", "--site-port", "0", "--instance-name", "flag", "--data"];
    let server = Running::start(command.args(args).arg(&data));
    let expected = ("flag", "https://variable", "https://site");
    let (name, clients, site) = origins(&server);
    assert_eq!((name.as_str(), clients.as_str(), site.as_str()), expected);
}

#[test]
fn wrong_settings_are_named_with_their_place() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("concave.toml");
    let check = |command: &mut Command, parts: &[&str]| {
        let (code, said) = output(command);
        assert!(code == Some(2) && parts.iter().all(|part| said.contains(part)), "{said}");
    };
    check(concave().args(["serve", "--port", "x"]), &["--port takes a whole number", "\"x\""]);
    check(concave().arg("serve").env("CONCAVE_CACHE_MB", "0"), &["CONCAVE_CACHE_MB takes"]);
    check(
        concave().arg("serve").env("CONCAVE_DEV_AUTH", "perhaps"),
        &["CONCAVE_DEV_AUTH takes true"],
    );
    for (settings, parts) in [
        ("\n\npotr = 1", ["line 3", "potr"]),
        ("durability = \"some\"", ["line 1: durability takes full or relaxed", "some"]),
        ("port = \"1\"", ["line 1", "port takes a number"]),
        ("port = [", ["line 1", "concave.toml"]),
    ] {
        std::fs::write(&file, settings).unwrap();
        check(concave().args(["serve", "--config"]).arg(&file), &parts);
    }
    let none = folder.path().join("none.toml");
    check(concave().args(["serve", "--config"]).arg(&none), &["none.toml", "No such file"]);
    // What a command does not need cannot be in its way, except in a file that is none.
    let data = folder.path().join("data");
    let (code, key) =
        output(concave().env("CONCAVE_PORT", "x").args(["admin-key", "--data"]).arg(&data));
    assert!(code == Some(0) && key.starts_with("concave|"), "{key}");
}

#[test]
fn a_secret_may_be_in_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let (data, file) = (folder.path().join("data"), folder.path().join("secret"));
    std::fs::write(&file, format!("{}\n", "AB".repeat(32))).unwrap();
    let server = Running::start(
        concave()
            .args(["serve", "--port", "0", "--site-port", "0", "--app", "none", "--data"])
            .arg(&data)
            .env("CONCAVE_INSTANCE_SECRET_FILE", &file),
    );
    let secret = "ab".repeat(32);
    let args = ["keygen", "admin-key", "--instance-name", "concave", "--instance-secret", &secret];
    let (_, key) = output(concave().args(args));
    assert_eq!(server.get("/api/v1/get_canonical_urls", Some(key.trim())).0, 200);
    assert!(!data.join("instance-secret").exists());
    std::fs::write(&file, "not a secret").unwrap();
    let mut command = concave();
    command.args(["admin-key", "--instance-secret-file"]).arg(&file);
    let (code, said) = output(&mut command);
    assert!(
        code == Some(2) && said.contains("64 hex digits") && !said.contains("not a secret"),
        "{said}"
    );
}

#[test]
fn the_file_it_prints_is_one_it_reads() {
    let folder = tempfile::tempdir().unwrap();
    let (code, example) = output(concave().arg("config"));
    assert!(code == Some(0) && example.contains("# cache_mb = 256"), "{example}");
    let file = folder.path().join("concave.toml");
    std::fs::write(&file, example).unwrap();
    let mut command = concave();
    command.args(["admin-key", "--config"]).arg(&file).arg("--data").arg(folder.path());
    assert_eq!(output(&mut command).0, Some(0));
}

#[test]
fn a_running_server_is_alive_and_ready() {
    let folder = tempfile::tempdir().unwrap();
    let server = Running::start(
        concave().args(["serve", "--port", "0", "--site-port", "0", "--data"]).arg(folder.path()),
    );
    assert_eq!(server.get("/livez", None), (200, "alive\n".to_owned()));
    let (status, body) = server.get("/readyz", None);
    let body: Json = serde_json::from_str(&body).unwrap();
    let expected = serde_json::json!({
        "ready": true, "recovered": "ok", "writable": "ok", "accepting": "ok", "running": "ok",
    });
    assert_eq!((status, body), (200, expected));
}

#[test]
fn a_database_of_another_program_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("other.sqlite3");
    let secret = "ab".repeat(32);
    // Made without SQLite: a text file is no database either.
    std::fs::write(&database, "this is not a database, and long enough to be looked at").unwrap();
    let mut command = concave();
    command.arg(&database).args([
        "--instance-name",
        "a",
        "--instance-secret",
        &secret,
        "--port",
        "0",
    ]);
    let (code, said) = output(&mut command);
    assert!(code == Some(1) && said.contains("other.sqlite3"), "{said}");
    assert!(std::fs::read_to_string(&database).unwrap().starts_with("this is not"));
}

/// An application with users, and somebody who is signed in.
struct Chat {
    server: Running,
    token: String,
}

impl Chat {
    fn start(data: &Path) -> Chat {
        let mut command = concave();
        command
            .args(["serve", "--port", "0", "--site-port", "0", "--dev-auth", "--data"])
            .arg(data);
        // Nobody reads its log here.
        let server = Running::start(&mut command);
        let (code, token) = output(concave().args(["token", "--user", "a", "--data"]).arg(data));
        assert_eq!(code, Some(0), "{token}");
        Chat { server, token: token.trim().to_owned() }
    }

    fn call(&self, endpoint: &str, path: &str, args: &Json, ts: Option<&str>) -> Json {
        let mut call = serde_json::json!({ "path": path, "args": args, "format": "json" });
        if let Some(ts) = ts {
            call["ts"] = ts.into();
        }
        let call = call.to_string();
        let request = format!(
            "POST /api/{endpoint} HTTP/1.0\r\nContent-Type: application/json\r\n\
             Authorization: Bearer {}\r\nContent-Length: {}\r\n\r\n{call}",
            self.token,
            call.len()
        );
        let (status, body) = ask(&self.server.address, &request);
        assert_eq!(status, 200, "{body}");
        let body: Json = serde_json::from_str(&body).unwrap();
        assert_eq!(body["status"], "success", "{body}");
        body["value"].clone()
    }

    /// Every message of a conversation, as of a timestamp or the newest one.
    fn messages(&self, conversation: &Json, ts: Option<&str>) -> Vec<Json> {
        let (mut cursor, mut found) = (Json::Null, Vec::new());
        loop {
            let options = serde_json::json!({ "numItems": 200.0, "cursor": cursor });
            let args =
                serde_json::json!({ "conversationId": conversation, "paginationOpts": options });
            let endpoint = if ts.is_some() { "query_at_ts" } else { "query" };
            let page = self.call(endpoint, "messages:list", &args, ts);
            found.extend(page["page"].as_array().unwrap().iter().cloned());
            if page["isDone"] == true {
                return found;
            }
            cursor = page["continueCursor"].clone();
        }
    }

    fn send(&self, conversation: &Json, body: &str) {
        let args = serde_json::json!({ "conversationId": conversation, "body": body });
        self.call("mutation", "messages:send", &args, None);
    }
}

/// The timestamp that `concave backup` says.
fn back_up(data: &Path, file: &Path) -> u64 {
    let (code, said) = output(concave().arg("backup").arg(file).arg("--data").arg(data));
    assert_eq!(code, Some(0), "{said}");
    said.trim().rsplit(' ').next().unwrap().parse().unwrap()
}

fn restore(file: &Path, data: &Path) -> (Option<i32>, String) {
    output(concave().arg("restore").arg(file).arg("--data").arg(data))
}

#[test]
fn a_backup_made_under_load_is_the_state_of_its_timestamp() {
    use std::sync::atomic::{AtomicBool, Ordering};
    let folder = tempfile::tempdir().unwrap();
    let (data, file) = (folder.path().join("data"), folder.path().join("backup"));
    let chat = Chat::start(&data);
    let members = serde_json::json!({ "memberIds": [] });
    let conversation = chat.call("mutation", "conversations:create", &members, None);
    chat.send(&conversation, "before");
    let (sent, sends) = std::sync::mpsc::channel();
    let finished = AtomicBool::new(false);
    let ts = std::thread::scope(|scope| {
        for writer in 0..2 {
            let (sent, chat, conversation, finished) =
                (sent.clone(), &chat, &conversation, &finished);
            scope.spawn(move || {
                for number in 0.. {
                    if finished.load(Ordering::SeqCst) {
                        return;
                    }
                    chat.send(conversation, &format!("{writer}-{number}"));
                    let _ = sent.send(());
                }
            });
        }
        let wait = |answers: usize| assert_eq!(sends.iter().take(answers).count(), answers);
        wait(20);
        let ts = back_up(&data, &file);
        // Those that were sent meanwhile, and some more.
        while sends.try_recv().is_ok() {}
        wait(20);
        finished.store(true, Ordering::SeqCst);
        ts
    });
    let encoded =
        base64::Engine::encode(&base64::engine::general_purpose::STANDARD, ts.to_le_bytes());
    let expected = chat.messages(&conversation, Some(&encoded));
    let all = chat.messages(&conversation, None);
    assert!(
        expected.len() >= 21 && all.len() >= expected.len() + 18,
        "{} {}",
        expected.len(),
        all.len()
    );
    // Into a folder of its own; the server it was made from goes on.
    let other = folder.path().join("other");
    let (code, said) = restore(&file, &other);
    assert!(code == Some(0) && said.contains("--instance-name concave"), "{said}");
    let restored = Chat::start(&other);
    assert_eq!(restored.messages(&conversation, None), expected);
    restored.send(&conversation, "after");
    assert_eq!(restored.messages(&conversation, None).len(), expected.len() + 1);
    let mut command = concave();
    let (_, key) = output(command.args(["admin-key", "--data"]).arg(&data));
    assert_eq!(restored.server.get("/api/v1/get_canonical_urls", Some(key.trim())).0, 200);
}

#[test]
fn backups_that_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let (data, file) = (path("data"), path("backup"));
    let (code, said) = output(concave().arg("backup").arg(&file).arg("--data").arg(&data));
    assert!(code == Some(1) && said.contains("there is no data"), "{said}");
    drop(Chat::start(&data));
    back_up(&data, &file);
    let (code, said) = output(concave().arg("backup").arg(&file).arg("--data").arg(&data));
    assert!(code == Some(1) && said.contains("exists already"), "{said}");
    let (code, said) = restore(&file, &data);
    assert!(code == Some(1) && said.contains("nothing is overwritten"), "{said}");

    let whole = std::fs::read(&file).unwrap();
    let mut number = 0;
    let mut check = |bytes: &[u8], part: &str| {
        number += 1;
        let (bad, into) = (path("bad"), path(&format!("into-{number}")));
        std::fs::write(&bad, bytes).unwrap();
        let (code, said) = restore(&bad, &into);
        assert!(code == Some(1) && said.contains(part), "{said}");
        assert_eq!(std::fs::read_dir(&into).unwrap().count(), 0, "something was left behind");
    };
    check(b"", "it is no backup");
    check(&whole[..10], "it is no backup");
    check(&whole[..40], "truncated");
    check(&whole[..whole.len() / 2], "truncated");
    check(&whole[..whole.len() - 33], "truncated");
    check(&whole[..whole.len() - 1], "truncated");
    check(&[&whole[..], b"x"].concat(), "damaged");
    for place in [whole.len() / 3, whole.len() / 2, whole.len() - 40, whole.len() - 1] {
        let mut flipped = whole.clone();
        flipped[place] ^= 1;
        check(&flipped, "damaged");
    }
    let newer = |from: &str, to: &str| {
        let place = whole.windows(from.len()).position(|bytes| bytes == from.as_bytes()).unwrap();
        [&whole[..place], to.as_bytes(), &whole[place + from.len()..]].concat()
    };
    check(&newer("BACKUP 1", "BACKUP 2"), "newer program");
    check(&newer("\"schema\":1", "\"schema\":9"), "newer program");
    // The whole one, beside a secret of another deployment.
    let into = path("into");
    std::fs::create_dir(&into).unwrap();
    std::fs::write(into.join("instance-secret"), "ab".repeat(32)).unwrap();
    let (code, said) = restore(&file, &into);
    assert!(code == Some(1) && said.contains("another secret"), "{said}");
}

#[test]
fn a_backup_is_fetched_from_a_running_server() {
    let folder = tempfile::tempdir().unwrap();
    let (data, file) = (folder.path().join("data"), folder.path().join("fetched"));
    let chat = Chat::start(&data);
    let members = serde_json::json!({ "memberIds": [] });
    let conversation = chat.call("mutation", "conversations:create", &members, None);
    for number in 0..50 {
        chat.send(&conversation, &format!("{number} {}", "x".repeat(10_000)));
    }
    let key = |flags: &[&str]| {
        let (code, key) = output(concave().arg("admin-key").args(flags).arg("--data").arg(&data));
        assert_eq!(code, Some(0), "{key}");
        key.trim().to_owned()
    };
    let url = format!("http://{}/", chat.server.address);
    let fetch = |url: &str, key: &str| {
        output(
            concave().arg("backup").arg(&file).args(["--url", url]).env("CONCAVE_ADMIN_KEY", key),
        )
    };
    let refused = |url: &str, key: &str, part: &str| {
        let (code, said) = fetch(url, key);
        assert!(code == Some(1) && said.contains(part), "{said}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "something is left");
    };
    refused(&url, &key(&["--read-only"]), "OperationNotPermitted");
    refused(&url, "concave|00", "BadAdminKey");
    refused("ftp://x", "k", "http or https");
    refused("http://127.0.0.1:1", "k", "connect");
    // The key may also stand in a flag; without one nothing is asked.
    let (code, said) = output(concave().arg("backup").arg(&file).args(["--url", &url]));
    assert!(code == Some(2) && said.contains("--admin-key"), "{said}");

    let (code, said) = fetch(&url, &key(&[]));
    assert!(code == Some(0) && said.contains("as of timestamp"), "{said}");
    let (code, said) = fetch(&url, &key(&[]));
    assert!(code == Some(1) && said.contains("exists already"), "{said}");
    let left = std::fs::read_dir(&data).unwrap().map(|entry| entry.unwrap().file_name());
    let left: Vec<_> = left.filter(|name| name.to_string_lossy().contains("backup")).collect();
    assert!(left.is_empty(), "{left:?}");
    let other = folder.path().join("other");
    let (code, said) = restore(&file, &other);
    assert_eq!(code, Some(0), "{said}");
    let restored = Chat::start(&other);
    assert_eq!(restored.messages(&conversation, None), chat.messages(&conversation, None));
}

#[test]
fn its_own_origin_is_asked_without_the_network() {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD as URL_SAFE;
    // No such host exists: only the program itself can answer for it.
    let own = "https://own.invalid";
    let providers = serde_json::json!({"providers": [{
        "type": "customJwt", "issuer": own, "algorithm": "ES256", "applicationID": "app",
        "jwks": format!("{own}/version"),
    }]});
    let data = tempfile::tempdir().unwrap();
    let mut command = concave();
    command.args(["serve", "--port", "0", "--site-port", "0", "--origin", own, "--data"]);
    command.arg(data.path()).args(["--auth-config", &providers.to_string()]);
    let server = Running::start(&mut command);
    let claims =
        serde_json::json!({"iss": own, "aud": "app", "sub": "a", "exp": 4_000_000_000_u64});
    let part = |json: Json| URL_SAFE.encode(json.to_string());
    let head = serde_json::json!({"alg": "ES256", "kid": "k", "typ": "JWT"});
    let token = format!("{}.{}.{}", part(head), part(claims), URL_SAFE.encode([1; 64]));
    let body = r#"{"path":"presence:list","args":{}}"#;
    let (status, answer) = ask(
        &server.address,
        &format!(
            "POST /api/query HTTP/1.0\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ),
    );
    // What it serves there is no key set, and it is this program that served it.
    assert_eq!(status, 503);
    assert!(answer.contains("https://own.invalid/version: content type"), "{answer}");
}

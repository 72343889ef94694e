//! A small application over a runtime in memory, and the reading of its answers.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::response::Response;
use base64::Engine as _;
use engine::{Engine, Env, ManualClock, SeededRandom};
use functions::{
    ActionCtx, App, InstanceSecret, MutationCtx, Pool, QueryCtx, Result, Runtime, RuntimeParts,
    Shape, application_error, error, object,
};
use http_body_util::BodyExt as _;
use serde::Deserialize;
use serde_json::{Value as Tree, json};
use store::MemoryStore;
use tokio::sync::watch;
use tower::ServiceExt as _;
use value::{Timestamp, Value};

use crate::auth::dev_issuer::{DevIssuer, TTL_DEFAULT};
use crate::auth::testing::FakeFetch;
use crate::auth::{
    Admin, Authenticator, Holder, Verifier, VerifierOptions, admin_key, parse_config,
};
use crate::http::backup;
use crate::http::operation::{self, OutsideOrigins};
use crate::service::{Service, ServiceOptions};

pub(crate) const NOW: Timestamp = Timestamp(1_800_000_000_000_000_000);
/// Size of what `notes:large` gives.
pub(crate) const LARGE_BYTES: usize = 8 << 20;
pub(crate) const SECRET: [u8; 32] = [7; 32];

/// A server, its threads and the folder of its issuer.
pub(crate) struct World {
    pub(crate) router: Router,
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) service: Service,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) token: String,
    _folder: tempfile::TempDir,
    _stop: watch::Sender<bool>,
    pool: Option<Pool>,
}

impl Drop for World {
    fn drop(&mut self) {
        self.pool.take().into_iter().for_each(Pool::stop);
    }
}

#[derive(Deserialize, Shape)]
struct Note {
    text: String,
}

#[derive(Deserialize, Shape)]
struct Big {
    n: i64,
}

/// What the formats write differently.
fn all_forms() -> Value {
    Value::Array(vec![
        Value::Int64(-5),
        Value::Float64(1.0),
        Value::Float64(f64::NAN),
        Value::Float64(f64::NEG_INFINITY),
        Value::Float64(-0.0),
        Value::Bytes(vec![1, 2]),
    ])
}

fn notes() -> App {
    App::new("notes")
        .query("notes:count", |ctx: &QueryCtx, (): ()| {
            Ok(ctx.db().query_table("notes").collect()?.len() as f64)
        })
        .query("notes:echo", |_: &QueryCtx, big: Big| Ok(big.n))
        .query("notes:all", |_: &QueryCtx, (): ()| Ok(all_forms()))
        .query("notes:throw", |_: &QueryCtx, (): ()| -> Result<f64> {
            Err(application_error(all_forms()))
        })
        .query("notes:large", |_: &QueryCtx, (): ()| Ok("x".repeat(LARGE_BYTES - 2)))
        .query("notes:me", |ctx: &QueryCtx, (): ()| {
            Ok(ctx.auth().get_user_identity()?.map(|user| user.subject.clone()))
        })
        .query("notes:fail", |_: &QueryCtx, (): ()| -> Result<f64> { Err(error("boom")) })
        .query("notes:refuse", |_: &QueryCtx, (): ()| -> Result<f64> {
            Err(application_error(Value::Null))
        })
        .mutation("notes:add", |ctx: &MutationCtx, note: Note| {
            ctx.log(note.text.as_str());
            ctx.db().insert_into("notes", object! {"text" => note.text})?;
            Ok(())
        })
        .mutation("notes:later", |ctx: &MutationCtx, note: Note| {
            let args = object! {"text" => note.text};
            ctx.scheduler().run_after(Duration::from_secs(60), "notes:add", args).map(|_| ())
        })
        .internal_query("notes:secret", |_: &QueryCtx, (): ()| Ok(42.0))
        .action("dir/jobs:run", async |_: ActionCtx, (): ()| Ok(3.0))
}

/// Backups of nothing.
struct NoBackups;

impl backup::BackupSource for NoBackups {
    fn open(&self) -> Result<Box<dyn std::io::Read + Send>, String> {
        Ok(Box::new(&b"a backup"[..]))
    }
}

impl World {
    pub(crate) fn new() -> World {
        World::with(false)
    }

    pub(crate) fn with(redact: bool) -> World {
        let clock = Arc::new(ManualClock::new(NOW));
        let env = Env { clock: Arc::clone(&clock) as _, random: Arc::new(SeededRandom::new(7)) };
        let options = engine::Options::default();
        let engine = Engine::open(Arc::new(MemoryStore::new()), env, options).unwrap();
        let runtime = Runtime::new(RuntimeParts {
            engine,
            registry: notes().build().unwrap().registry,
            secret: InstanceSecret::new(SECRET),
            instance_name: "inst".into(),
            options: functions::RuntimeOptions::default(),
        });
        let folder = tempfile::tempdir().unwrap();
        let issuer = DevIssuer::open(folder.path()).unwrap();
        let token = issuer.token("alice", TTL_DEFAULT, NOW).unwrap();
        let providers = parse_config(&json!({"providers":[issuer.provider()]})).unwrap();
        let verifier = Verifier::new(providers, FakeFetch::new(), VerifierOptions::default());
        let pool = Some(Pool::start(&runtime, 2).unwrap());
        let (stop, stopping) = watch::channel(false);
        let authenticator = Authenticator::new(InstanceSecret::new(SECRET), "inst", verifier);
        let service = Service {
            runtime: Arc::clone(&runtime),
            authenticator: Arc::new(authenticator),
            watching: Arc::default(),
            codecs: Arc::default(),
            options: ServiceOptions { show_errors: !redact, ..ServiceOptions::default() },
            stopping,
        };
        let origins =
            OutsideOrigins { clients: "http://a.example".into(), site: "http://b.example".into() };
        let router = crate::dev_router(service.clone(), Arc::new(issuer));
        let router = operation::beside(router, service.clone(), origins);
        let router = backup::beside(router, service.clone(), Arc::new(NoBackups));
        World { router, runtime, service, clock, token, _folder: folder, _stop: stop, pool }
    }

    pub(crate) async fn send(&self, request: axum::http::request::Builder, body: &str) -> Response {
        let request = request.body(Body::from(body.to_owned())).unwrap();
        self.router.clone().oneshot(request).await.unwrap()
    }

    pub(crate) async fn post(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        body: Tree,
    ) -> (u16, Tree) {
        let mut request = Request::post(path)
            .header("content-type", "application/json")
            .header("convex-request-id", "id");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self.send(request, &body.to_string()).await;
        (response.status().as_u16(), json_body(response).await)
    }

    /// A call without headers that is answered with 200.
    pub(crate) async fn call(&self, kind: &str, path: &str, args: Tree) -> Tree {
        let body = json!({"path":path,"args":args});
        let (status, answer) = self.post(&format!("/api/{kind}"), &[], body).await;
        assert_eq!(status, 200, "{answer}");
        answer
    }

    pub(crate) async fn refusal(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        body: Tree,
    ) -> (u16, String) {
        let (status, answer) = self.post(path, headers, body).await;
        assert!(answer["message"].is_string(), "{answer}");
        (status, answer["code"].as_str().unwrap().to_owned())
    }
}

pub(crate) fn admin(is_read_only: bool) -> String {
    let admin = Admin { holder: Holder::Member(1), issued_s: 1, is_read_only };
    let key = admin_key::issue(&InstanceSecret::new(SECRET), "inst", &admin, [3; 12]);
    format!("Convex {key}")
}

pub(crate) fn acting_as(user: &str) -> String {
    let user = json!({"issuer":"i","subject":user}).to_string();
    format!("{}:{}", admin(false), base64::engine::general_purpose::STANDARD.encode(user))
}

pub(crate) fn success(value: Tree) -> Tree {
    json!({"status":"success","value":value})
}

pub(crate) fn failure(message: &str) -> Tree {
    json!({"status":"error","errorMessage":format!("[Request ID: id] Server Error{message}")})
}

pub(crate) fn refused(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

pub(crate) async fn body_text(response: Response) -> String {
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

pub(crate) async fn json_body(response: Response) -> Tree {
    serde_json::from_str(&body_text(response).await).unwrap()
}

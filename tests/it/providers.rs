//! What a provider of tokens can do wrong, as clients over HTTP and over a socket meet it.

use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse as _, Redirect, Response};
use engine::{Engine, Env, ManualClock, Options, SeededRandom};
use functions::{InstanceSecret, Pool, Runtime, RuntimeParts};
use futures_util::{SinkExt as _, StreamExt as _};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use parking_lot::Mutex;
use serde_json::{Value as Json, json};
use server::auth::{
    Authenticator, FETCH_INTERVAL, HttpFetch, Verifier, VerifierOptions, parse_config,
};
use server::listen::ConnectionLimits;
use server::service::{Service, ServiceOptions};
use store::MemoryStore;
use tests::app::base;
use tests::world::START;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

static KEY: LazyLock<EncodingKey> = LazyLock::new(|| {
    let pem = include_bytes!("../../crates/server/vectors/test-rsa.pem");
    EncodingKey::from_rsa_pem(pem).unwrap()
});

/// What the provider answers when it is asked for its discovery document.
#[derive(Clone)]
enum Discovery {
    Good,
    Status(u16),
    Redirect,
    OfAnother,
    Html,
    /// It sends a part, and the rest, which is none, when it is told to.
    Half(Arc<Notify>),
}

/// A provider of tokens on this machine.
#[derive(Clone)]
struct Provider {
    issuer: String,
    mode: Arc<Mutex<(Discovery, u32)>>,
}

impl Provider {
    async fn start() -> Provider {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = format!("http://{}", listener.local_addr().unwrap());
        let provider = Provider { issuer, mode: Arc::new(Mutex::new((Discovery::Good, 0))) };
        let router = Router::new().fallback(answer).with_state(provider.clone());
        tokio::spawn(axum::serve(listener, router).into_future());
        provider
    }

    /// From now on; forgets how often it was asked.
    fn be(&self, discovery: Discovery) {
        *self.mode.lock() = (discovery, 0);
    }

    fn asked(&self) -> u32 {
        self.mode.lock().1
    }

    fn token(&self, user: &str, audience: &str) -> String {
        let expires = START.0 / 1_000_000_000 + 3600;
        let claims = json!({"iss":self.issuer,"sub":user,"aud":audience,"exp":expires});
        let mut header = Header::new(Algorithm::RS256);
        header.kid = Some("k".to_owned());
        jsonwebtoken::encode(&header, &claims, &KEY).unwrap()
    }
}

async fn answer(State(provider): State<Provider>, uri: Uri) -> Response {
    if uri.path() == "/keys" {
        let jwk = Jwk::from_encoding_key(&KEY, Algorithm::RS256).unwrap();
        let mut jwk = serde_json::to_value(jwk).unwrap();
        jwk["kid"] = json!("k");
        return axum::Json(json!({ "keys": [jwk] })).into_response();
    }
    let discovery = {
        let mut mode = provider.mode.lock();
        mode.1 += 1;
        mode.0.clone()
    };
    let issuer = provider.issuer;
    let document = |of: &str| axum::Json(json!({"issuer":of,"jwks_uri":format!("{issuer}/keys")}));
    match discovery {
        Discovery::Good => document(&issuer).into_response(),
        Discovery::Status(status) => StatusCode::from_u16(status).unwrap().into_response(),
        Discovery::Redirect => Redirect::temporary("/elsewhere").into_response(),
        Discovery::OfAnother => document("https://other.example").into_response(),
        Discovery::Html => axum::response::Html("<h1>we will be back</h1>").into_response(),
        Discovery::Half(rest) => {
            let part = futures_util::stream::once(async { Ok::<_, std::io::Error>("{") });
            let rest = futures_util::stream::once(async move {
                rest.notified().await;
                Ok("")
            });
            let body = axum::body::Body::from_stream(part.chain(rest));
            ([("content-type", "application/json")], body).into_response()
        }
    }
}

/// A server whose clock stands still unless it is set.
struct Stage {
    address: SocketAddr,
    clock: Arc<ManualClock>,
    pool: Option<Pool>,
    _stop: watch::Sender<bool>,
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.pool.take().into_iter().for_each(Pool::stop);
    }
}

impl Stage {
    async fn start(providers: Json) -> Stage {
        let clock = Arc::new(ManualClock::new(START));
        let env = Env { clock: clock.clone(), random: Arc::new(SeededRandom::new(3)) };
        let engine = Engine::open(Arc::new(MemoryStore::new()), env, Options::default()).unwrap();
        let application = base().build().unwrap();
        engine.apply_schema(application.schema.unwrap()).unwrap();
        let secret = InstanceSecret::new([9; 32]);
        let runtime = Runtime::new(RuntimeParts {
            engine,
            registry: application.registry,
            secret: secret.clone(),
            instance_name: Arc::from("stage"),
            options: functions::RuntimeOptions::default(),
        });
        let pool = Some(Pool::start(&runtime, 2).unwrap());
        let providers = parse_config(&json!({ "providers": providers })).unwrap();
        let fetch = Arc::new(HttpFetch::new());
        let verifier = Verifier::new(providers, fetch, VerifierOptions::default());
        let (stop, stopping) = watch::channel(false);
        let service = Service {
            watching: Arc::default(),
            runtime,
            authenticator: Arc::new(Authenticator::new(secret, "stage", verifier)),
            codecs: Arc::default(),
            options: ServiceOptions::default(),
            stopping: stopping.clone(),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let limits = ConnectionLimits::default();
        tokio::spawn(server::listen::serve(listener, server::router(service), limits, stopping));
        Stage { address, clock, pool, _stop: stop }
    }

    /// The status and the body of a query with this token.
    async fn query(&self, token: &str) -> (u16, Json) {
        let body = json!({"path":"users:me","args":{}}).to_string();
        let request = format!(
            "POST /api/query HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Authorization: Bearer {token}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let status = answer[9..12].parse().unwrap();
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        (status, serde_json::from_str(body).unwrap())
    }

    async fn socket(&self) -> Socket {
        let (stream, _) = connect_async(format!("ws://{}/api/sync", self.address)).await.unwrap();
        let mut socket = Socket { stream, identity: 0 };
        let session = "00000000-0000-4000-8000-000000000001";
        socket.send(json!({"type":"Connect","sessionId":session,"connectionCount":0})).await;
        let add = json!({"type":"Add","queryId":0,"udfPath":"users:me","args":[{}]});
        let modify = json!({"type":"ModifyQuerySet","baseVersion":0,"newVersion":1,
            "modifications":[add]});
        socket.send(modify).await;
        assert_eq!(socket.read().await["modifications"][0]["value"], json!(null));
        socket
    }

    /// A fetch may be tried again from now on.
    fn wait_for_another_fetch(&self) {
        let millis = u64::try_from(FETCH_INTERVAL.as_millis()).unwrap();
        self.clock.advance_ms(millis);
    }
}

struct Socket {
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
    identity: u32,
}

impl Socket {
    async fn send(&mut self, message: Json) {
        self.stream.send(Message::text(message.to_string())).await.unwrap();
    }

    async fn sign_in(&mut self, token: &str) {
        let base = self.identity;
        self.identity += 1;
        let message =
            json!({"type":"Authenticate","baseVersion":base,"tokenType":"User","value":token});
        self.send(message).await;
    }

    /// The next message, or the close frame: code and reason.
    async fn next(&mut self) -> Result<Json, (Option<u16>, String)> {
        loop {
            match self.stream.next().await {
                Some(Ok(Message::Text(text))) => {
                    let message: Json = serde_json::from_str(&text).unwrap();
                    if message["type"] != "Ping" {
                        return Ok(message);
                    }
                }
                Some(Ok(Message::Close(frame))) => return Err(code_and_reason(frame)),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Err((None, "cut".to_owned())),
            }
        }
    }

    async fn read(&mut self) -> Json {
        self.next().await.unwrap()
    }
}

fn code_and_reason(frame: Option<CloseFrame>) -> (Option<u16>, String) {
    let reason = frame.as_ref().map(|frame| frame.reason.to_string()).unwrap_or_default();
    (frame.map(|frame| frame.code.into()), reason)
}

fn oidc(provider: &Provider) -> Json {
    json!([{"domain":provider.issuer,"applicationID":"convex"}])
}

/// Asks over HTTP and over a socket, each in its own fetch.
async fn meets(
    stage: &Stage,
    token: &str,
) -> ((u16, Json), Result<Json, (Option<u16>, String)>, Socket) {
    stage.wait_for_another_fetch();
    let over_http = stage.query(token).await;
    stage.wait_for_another_fetch();
    let mut socket = stage.socket().await;
    socket.sign_in(token).await;
    (over_http, socket.next().await, socket)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_out_of_order_signs_nobody_out() {
    let provider = Provider::start().await;
    let stage = Stage::start(oidc(&provider)).await;
    let token = provider.token("alice", "convex");
    let mut bystander = stage.socket().await;
    let url = format!("{}/.well-known/openid-configuration", provider.issuer);
    for (discovery, status, why) in [
        (Discovery::Status(500), 503, "status 500"),
        (Discovery::Status(404), 404, "status 404"),
        (Discovery::Status(429), 429, "status 429"),
        (Discovery::Redirect, 400, "status 307"),
        (Discovery::Html, 400, "content type"),
    ] {
        provider.be(discovery);
        let ((answered, body), over_socket, _) = meets(&stage, &token).await;
        assert_eq!((answered, &body["code"]), (status, &json!("AuthProviderDiscoveryFailed")));
        let message = body["message"].as_str().unwrap();
        assert!(message.contains(&url) && message.contains(why), "{message}");
        // Over the socket the client keeps its token and comes back with it.
        let close = over_socket.unwrap_err();
        assert_eq!(close, (Some(1013), "AuthProviderDiscoveryFailed".to_owned()), "{why}");
        assert_eq!(provider.asked(), 2);
    }
    // Nobody else noticed; and discovery is tried again with the next Authenticate.
    provider.be(Discovery::Good);
    stage.wait_for_another_fetch();
    bystander.sign_in(&token).await;
    let transition = bystander.read().await;
    assert_eq!(transition["endVersion"]["identity"], 1);
    assert_eq!(transition["modifications"][0]["value"], "alice");
    assert_eq!(stage.query(&token).await, (200, json!({"status":"success","value":"alice"})));
    assert_eq!(provider.asked(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_is_not_there() {
    let provider = Provider::start().await;
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let issuer = format!("http://{}", gone.local_addr().unwrap());
    drop(gone);
    let gone = Provider { issuer, ..provider };
    let stage = Stage::start(oidc(&gone)).await;
    let ((status, body), over_socket, _) = meets(&stage, &gone.token("a", "convex")).await;
    assert_eq!((status, &body["code"]), (400, &json!("AuthProviderDiscoveryFailed")));
    assert_eq!(over_socket.unwrap_err().0, Some(1013));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_of_another_issuer_is_told_to_the_client() {
    let provider = Provider::start().await;
    let stage = Stage::start(oidc(&provider)).await;
    provider.be(Discovery::OfAnother);
    let ((status, body), over_socket, mut socket) =
        meets(&stage, &provider.token("alice", "convex")).await;
    assert_eq!((status, &body["code"]), (400, &json!("AuthProviderDiscoveryFailed")));
    let refusal = over_socket.unwrap();
    assert_eq!(refusal["type"], "AuthError");
    assert_eq!(
        (&refusal["authUpdateAttempted"], &refusal["baseVersion"]),
        (&json!(true), &json!(0))
    );
    let text = refusal["error"].as_str().unwrap();
    assert!(text.contains(&provider.issuer) && text.contains("another issuer"), "{text}");
    assert_eq!(socket.next().await.unwrap_err(), (None, String::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_nobody_we_know_name_the_providers() {
    let provider = Provider::start().await;
    let stage = Stage::start(oidc(&provider)).await;
    let ((status, body), over_socket, mut socket) =
        meets(&stage, &provider.token("alice", "other")).await;
    assert_eq!((status, &body["code"]), (401, &json!("NoAuthProvider")));
    let configured = format!("configured: [{} for \"convex\"]", provider.issuer);
    assert!(body["message"].as_str().unwrap().ends_with(&configured), "{body}");
    let refusal = over_socket.unwrap();
    assert_eq!((&refusal["type"], &refusal["error"]), (&json!("AuthError"), &body["message"]));
    assert_eq!(socket.next().await.unwrap_err(), (None, String::new()));
    assert_eq!(provider.asked(), 0, "nobody asks the network about such a token");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_stops_in_the_middle_holds_up_its_own_client_alone() {
    let provider = Provider::start().await;
    let stage = Stage::start(oidc(&provider)).await;
    let rest = Arc::new(Notify::new());
    provider.be(Discovery::Half(Arc::clone(&rest)));
    let token = provider.token("alice", "convex");
    let mut waiting = [stage.socket().await, stage.socket().await];
    for socket in &mut waiting {
        socket.sign_in(&token).await;
        let modify =
            json!({"type":"ModifyQuerySet","baseVersion":1,"newVersion":2,"modifications":[]});
        socket.send(modify).await;
    }
    // Others are served all the while.
    stage.socket().await;
    assert_eq!(stage.query("a.b.c").await.0, 401);
    rest.notify_one();
    for socket in &mut waiting {
        let closed = (Some(1013), "AuthProviderDiscoveryFailed".to_owned());
        assert_eq!(socket.next().await.unwrap_err(), closed);
    }
    assert_eq!(provider.asked(), 1, "both shared one fetch");
}

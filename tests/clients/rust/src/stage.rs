//! The people, clients and proxies of one test. Every test has a server of its own, so that they
//! run side by side.

use std::time::Duration;

use convex::{ConvexClient, FunctionResult, Value};
use tokio::time::timeout;

use crate::proxy::Proxy;
use crate::server::Server;
use crate::watch::{Args, WAIT_MAX, args, field, page, text, value};

/// Size of a page that holds all messages of a test.
pub const ALL: f64 = 1000.0;

pub struct Stage {
    pub server: Server,
}

impl Stage {
    pub async fn new() -> Stage {
        Stage { server: Server::start().await }
    }

    /// On a server with the `base` application, which has actions.
    pub async fn base() -> Stage {
        Stage { server: Server::start_base().await }
    }

    pub async fn proxy(&self) -> Proxy {
        Proxy::start(self.server.port).await
    }

    /// A client without identity.
    pub async fn anonymous(&self) -> ConvexClient {
        connect(&self.server.url()).await
    }

    /// A client signed in as `name`.
    pub async fn client(&self, name: &str) -> ConvexClient {
        self.client_at(&self.server.url(), name).await
    }

    /// A client signed in as `name`, on the way of `proxy`.
    pub async fn client_via(&self, proxy: &Proxy, name: &str) -> ConvexClient {
        self.client_at(&proxy.url(), name).await
    }

    async fn client_at(&self, url: &str, name: &str) -> ConvexClient {
        let mut client = connect(url).await;
        client.set_auth(Some(self.server.token(name).await)).await;
        client
    }

    /// Every message of the conversation as (id, body), oldest first, read by a client of its own.
    pub async fn stored(&self, name: &str, conversation: &str) -> Vec<(String, String)> {
        let mut client = self.client(name).await;
        let result =
            value(query(&mut client, "messages:list", page(conversation, ALL, None)).await);
        let Value::Array(messages) = field(&result, "page") else { panic!("no page") };
        let pair = |message| (text(field(message, "_id")), text(field(message, "body")));
        messages.iter().rev().map(pair).collect()
    }
}

/// A client of the server at `url`.
pub async fn connect(url: &str) -> ConvexClient {
    ConvexClient::new(url).await.expect("a url")
}

/// A query that must be answered.
pub async fn query(client: &mut ConvexClient, path: &str, args: Args) -> FunctionResult {
    within(client.query(path, args)).await.expect("the connection stays")
}

/// A mutation that must be answered.
pub async fn mutation(client: &mut ConvexClient, path: &str, args: Args) -> FunctionResult {
    within(client.mutation(path, args)).await.expect("the connection stays")
}

/// An action that must be answered.
pub async fn action(client: &mut ConvexClient, path: &str, args: Args) -> FunctionResult {
    within(client.action(path, args)).await.expect("the connection stays")
}

/// A new conversation of `creator` and `others`.
pub async fn conversation(creator: &mut ConvexClient, others: &[&str]) -> String {
    let members = others.iter().map(|&other| other.into()).collect::<Vec<Value>>();
    let fields = args([("memberIds", members.into())]);
    text(&value(mutation(creator, "conversations:create", fields).await))
}

pub fn message(conversation: &str, body: &str) -> Args {
    args([("conversationId", conversation.into()), ("body", body.into())])
}

/// Sends; the id of the message.
pub async fn send(client: &mut ConvexClient, conversation: &str, body: &str) -> String {
    text(&value(mutation(client, "messages:send", message(conversation, body)).await))
}

/// Sends through a loss of the connection; `None` when the answer will not be known.
///
/// A call that the client takes up in the moment of the loss fails with "channel closed". The client
/// sends it all the same, on its next connection.
pub async fn send_once(
    client: &mut ConvexClient,
    conversation: &str,
    body: &str,
) -> Option<String> {
    match within(client.mutation("messages:send", message(conversation, body))).await {
        Ok(result) => Some(text(&value(result))),
        Err(error) => {
            assert_eq!(error.to_string(), "channel closed");
            None
        }
    }
}

/// Sets the caller's presence.
pub async fn set_presence(client: &mut ConvexClient, conversation: &str, status: &str) {
    let fields = args([("conversationId", conversation.into()), ("status", status.into())]);
    value(mutation(client, "presence:setPresence", fields).await);
}

/// What comes of `work`, which must not take long.
pub async fn within<T>(work: impl Future<Output = T>) -> T {
    timeout(WAIT_MAX, work).await.expect("waited in vain for an answer")
}

/// A pause; only where the passing of time is what is tested.
pub async fn pause(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

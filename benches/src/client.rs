//! A raw client of the sync protocol: it sends frames and looks for a few fields in answers.

use anyhow::{Context as _, Result, bail};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value as Json, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

/// One connection.
pub(crate) struct Client {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    requests: u32,
}

impl Client {
    /// Connects and says so.
    pub(crate) async fn connect(address: &str, number: usize) -> Result<Self> {
        let url = format!("ws://{address}/api/1.48.0/sync");
        let (socket, _) = tokio_tungstenite::connect_async(url).await?;
        let mut client = Self { socket, requests: 0 };
        let session = format!("00000000-0000-4000-8000-{number:012x}");
        let connect = json!({ "type": "Connect", "sessionId": session, "connectionCount": 0,
            "lastCloseReason": "InitialConnect", "clientTs": 0 });
        client.send(&connect).await?;
        Ok(client)
    }

    /// Shows a query and waits for its first result.
    pub(crate) async fn subscribe(&mut self, path: &str, args: Json) -> Result<()> {
        let add = json!({ "type": "Add", "queryId": 0, "udfPath": path, "args": [args] });
        let modify = json!({ "type": "ModifyQuerySet", "baseVersion": 0, "newVersion": 1,
            "modifications": [add] });
        self.send(&modify).await?;
        self.until(|text| text.contains("\"QueryUpdated\"")).await.map(drop)
    }

    /// Sends a mutation; the answer comes later.
    pub(crate) async fn mutate(&mut self, path: &str, args: Json) -> Result<()> {
        let mutation = json!({ "type": "Mutation", "requestId": self.requests, "udfPath": path,
            "args": [args] });
        self.requests += 1;
        self.send(&mutation).await
    }

    /// Waits for the answer of a mutation. Errors: one that failed.
    pub(crate) async fn answered(&mut self) -> Result<()> {
        let text = self.until(|text| text.contains("\"MutationResponse\"")).await?;
        if text.contains("\"success\":true") {
            return Ok(());
        }
        bail!("a mutation failed: {text}")
    }

    /// Reads messages until one is what is looked for; gives it.
    pub(crate) async fn until(&mut self, wanted: impl Fn(&str) -> bool) -> Result<String> {
        loop {
            match self.socket.next().await.context("the server closed the socket")?? {
                Message::Text(text) if wanted(&text) => return Ok(text.to_string()),
                Message::Close(frame) => bail!("the server closed the socket: {frame:?}"),
                _ => {}
            }
        }
    }

    async fn send(&mut self, message: &Json) -> Result<()> {
        Ok(self.socket.send(Message::text(message.to_string())).await?)
    }
}

//! Somebody who does nothing wrong: one socket writes, another one shows two queries of what was written,
//! and a third way, over HTTP, reads it. Each write is seen before the next one, so that none may be lost.

use serde_json::json;
use tests::wire::{Wire, body, exchange, post, soon};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Writes that must be seen after each row.
const SEEN_AFTER: u32 = 2;

/// Ends when it is dropped.
pub(super) struct Bystander {
    address: String,
    seen: watch::Receiver<u32>,
    task: Option<JoinHandle<()>>,
}

impl Bystander {
    pub(super) async fn start(address: &str) -> Bystander {
        let mut writer = Wire::open(address).await.unwrap();
        writer.connect(8_000_000_000, 0).await;
        let mut reader = Wire::open(address).await.unwrap();
        reader.connect(8_000_000_001, 0).await;
        let name = json!({ "name": "bystander" });
        writer.mutate(0, "counters:incr", name.clone()).await;
        reader.subscribe(0, "counters:count", name.clone()).await;
        assert_eq!(reader.values().await, [(0, json!(1.0))]);
        reader.subscribe(1, "counters:strict", name).await;
        assert_eq!(reader.values().await, [(1, json!(1.0))]);
        let (seen_by_all, seen) = watch::channel(1);
        let task = Some(tokio::spawn(write_and_see(writer, reader, seen_by_all)));
        Bystander { address: address.to_owned(), seen, task }
    }

    /// Nothing was lost, and it goes on.
    pub(super) async fn check(&mut self, row: &str) {
        let enough = *self.seen.borrow() + SEEN_AFTER;
        let waited = soon(row, self.seen.wait_for(|seen| *seen >= enough)).await;
        if waited.is_err() {
            let ended = self.task.take().unwrap().await;
            panic!("{row}: a bystander's connection suffered: {ended:?}");
        }
        drop(waited);
        let call = json!({ "path": "counters:count", "args": { "name": "bystander" } });
        let request = post("/api/query", "", &call.to_string());
        let count =
            body(&exchange(&self.address, request.as_bytes()).await)["value"].as_f64().unwrap();
        assert!(count >= f64::from(enough), "{row}: {count} of {enough}");
    }
}

impl Drop for Bystander {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

async fn write_and_see(mut writer: Wire, mut reader: Wire, seen: watch::Sender<u32>) {
    for request in 1.. {
        let expected = json!(f64::from(request) + 1.0);
        let name = json!({ "name": "bystander" });
        let answer = writer.mutate(request, "counters:incr", name).await;
        assert_eq!((&answer["success"], &answer["result"]), (&json!(true), &expected));
        let values = reader.values().await;
        assert_eq!(values, [(0, expected.clone()), (1, expected)], "both, in one step, in order");
        seen.send_replace(request + 1);
    }
}

//! The sample of docs/clients.md runs, and prints what it says.

use rust_client_tests::stage::{Stage, within};
use tokio::process::Command;

#[tokio::test]
async fn the_sample_runs() {
    let stage = Stage::new().await;
    let sample = include_str!(concat!(env!("OUT_DIR"), "/sample.rs"));
    let expected: Vec<_> = sample.lines().filter_map(|line| line.strip_prefix("// → ")).collect();
    let run = Command::new(env!("CARGO_BIN_EXE_sample"))
        .env("CONVEX_URL", stage.server.url())
        .env("TOKEN", stage.server.token("alice").await)
        .kill_on_drop(true)
        .output();
    let output = within(run).await.expect("the sample starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let printed = String::from_utf8(output.stdout).expect("text");
    assert_eq!(printed.lines().collect::<Vec<_>>(), expected);
}

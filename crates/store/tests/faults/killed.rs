//! A process that holds a data folder is killed: nothing acknowledged is lost, no lock stays.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use store::{Durability, SqliteOptions, SqliteStore, Store, StoreError};

use crate::disk::Random;
use crate::work::{State, group, observe};

/// Names the folder of the process that is to be killed.
const FOLDER: &str = "STORE_TEST_FOLDER";

/// Commits before the process is killed.
const COMMITS: usize = 200;

fn open(folder: &Path) -> Result<SqliteStore, StoreError> {
    let options = SqliteOptions { durability: Durability::Relaxed, ..SqliteOptions::default() };
    SqliteStore::open(folder, &options)
}

/// The states that a seed makes, one after each group.
fn states(append: &mut dyn FnMut(&[store::Commit]) -> bool) -> Vec<(u64, State)> {
    let mut random = Random(11);
    let mut states = vec![(0, State::new())];
    loop {
        let (last, state) = &states[states.len() - 1];
        let (commits, state) = group(&mut random, state, *last);
        if !append(&commits) {
            return states;
        }
        states.push((commits[commits.len() - 1].ts.0, state));
    }
}

#[test]
#[ignore = "the process that `killed_process_leaves_its_commits_and_no_lock` starts and kills"]
fn appends_until_killed() {
    let folder = std::env::var(FOLDER).unwrap();
    let store = open(Path::new(&folder)).unwrap();
    states(&mut |commits| {
        store.append(commits).unwrap();
        println!("\nappended {}", commits[commits.len() - 1].ts);
        std::io::stdout().flush().unwrap();
        true
    });
}

#[test]
fn killed_process_leaves_its_commits_and_no_lock() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "killed::appends_until_killed", "--ignored", "--nocapture"])
        .env(FOLDER, folder.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut acknowledged = lines.filter_map(|line| {
        line.unwrap().strip_prefix("appended ").map(|ts| ts.parse::<u64>().unwrap())
    });
    let last = acknowledged.nth(COMMITS).unwrap();
    let second = open(folder.path()).err().unwrap();
    assert!(second.to_string().contains("is in use by another process"), "{second}");
    child.kill().unwrap();
    child.wait().unwrap();
    let last = acknowledged.last().unwrap_or(last);

    let store = open(folder.path()).unwrap();
    let head = store.head().unwrap().0;
    assert!(head >= last, "{head} after {last} was acknowledged");
    let mut left = Some(head);
    let expected = states(&mut |commits| {
        let ts = commits[commits.len() - 1].ts.0;
        left = left.filter(|head| ts <= *head);
        left.is_some()
    });
    assert_eq!(observe(&store).unwrap(), expected[expected.len() - 1].1);
}

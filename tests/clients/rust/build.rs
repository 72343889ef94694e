//! Takes the sample of docs/clients.md out, so that it is built and can be run.

use std::path::Path;
use std::{env, fs};

const PAGE: &str = "../../../docs/clients.md";

fn main() {
    println!("cargo::rerun-if-changed={PAGE}");
    let page = fs::read_to_string(PAGE).expect("docs/clients.md is there");
    let (_, sample) = page.split_once("\n```rust\n").expect("it has a sample");
    let (sample, rest) = sample.split_once("\n```\n").expect("the sample ends");
    assert!(!rest.contains("\n```rust\n"), "one sample is built, there are more");
    let folder = env::var_os("OUT_DIR").expect("cargo says where");
    fs::write(Path::new(&folder).join("sample.rs"), sample).expect("the folder can be written");
}

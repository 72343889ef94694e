//! Tests of the whole: golden scripts, the shape of the workspace, the program under fire.

#![expect(clippy::unwrap_used, reason = "in tests a panic is the answer")]

mod answers;
mod bad_input;
mod cases;
mod corpus;
mod crash;
mod docs;
mod identity;
mod imports;
mod javascript;
mod limits;
mod live;
mod observe;
mod operate;
mod program;
mod providers;
mod scripts;
mod secrets;

//! What every reader of foreign bytes must hold, as plain functions of bytes.
//!
//!     libFuzzer (nightly, `make fuzz`) ──┐
//!                                        ├──► a target here ──► panics when a promise is broken
//!     corpus/*.txt (`make test`) ────────┘
//!
//! Each target takes any bytes, reads them in every way that suits, and checks what must be true of
//! whatever was accepted: it writes back to itself, keeps its order, stays in its limits, and opens
//! for nobody else. Refusing is always right; a panic, a hang or unbounded memory never is.

pub mod corpus;
mod cursors;
mod definitions;
mod frames;
mod ids;
mod plans;
mod tokens;
mod values;

/// Takes any bytes.
pub type Target = fn(&[u8]);

/// The targets by name: of the file in `targets/`, the corpus and the dictionary.
pub const TARGETS: [(&str, Target); 7] = [
    ("cursors", cursors::cursors),
    ("definitions", definitions::definitions),
    ("frames", frames::frames),
    ("ids", ids::ids),
    ("plans", plans::plans),
    ("tokens", tokens::tokens),
    ("values", values::values),
];

/// The target of this name. Panics when there is none: it is a mistake of who calls.
pub fn target(name: &str) -> Target {
    let found = TARGETS.iter().find(|(known, _)| *known == name);
    found.expect("a target of this name").1
}

/// Lines of the input as text; an input that is no text has none.
fn lines(data: &[u8]) -> impl Iterator<Item = &str> {
    std::str::from_utf8(data).unwrap_or_default().split('\n')
}

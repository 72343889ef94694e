//! The session against scripts, captures of real clients, and random schedules.
//!
//! Traps of the protocol (spec/sync-protocol.md section 18), and what catches them here:
//!
//! | trap | caught by |
//! |---|---|
//! | 1 no request answered twice | `properties`, `limits` |
//! | 2 answer before the transition that shows it, a transition after it | scripts 02, 08; `properties` |
//! | 3, 4 `ts`, `logLines`, integers, presence of `errorData` | `wire_examples`, `result` |
//! | 5 exact `startVersion`, from zero | `captures`, `properties` |
//! | 6 every `Add` answered, failures too | scripts 10, 11; `captures` |
//! | 7 no `Connect`, silent connections | scripts 12, 17 |
//! | 8 nulls, `.js`, both impersonation keys, empty modifications | `client`, scripts 01, 07, 16 |
//! | 9 no `FatalError` where a retry helps | `limits` |
//! | 10 `Ping` as a text message | script 17 |
//! | 11 a replay keeps its timestamp and is followed by a transition | script 05 |
//! | 12 chunks for new npm clients only | `outgoing`, `client_version` |
//! | 13 equal results after a second Authenticate are not sent | script 03 |
//! | 14 mutations in order, identity as of receipt | script 19; `properties` |

mod captures;
mod limits;
mod properties;
mod script;

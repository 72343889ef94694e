//! The session against scripts, captures of real clients, and random schedules.

mod captures;
mod limits;
mod properties;
mod script;

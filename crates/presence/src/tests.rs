//! The application over an engine in memory, driven without threads.

mod conversations;
mod messages;
mod presence;
mod refusals;
mod reruns;
mod world;

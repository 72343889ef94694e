//! The presence of a chat: the first application, in Rust functions.
//!
//! - `presence`: who is online, who types, and the clean-up of what is stale
//! - `conversations`: who talks with whom
//! - `messages`: what is said
//! - `membership`: who may do what, asked by all of them
//!
//! Tables and indexes are in `schema/chat.json`. May use value, functions. Must not know how it is
//! served. Invariant: what a message writes, no list of presence reads.

mod conversations;
mod membership;
mod messages;
mod presence;

#[cfg(test)]
mod tests;

use functions::{App, Schedule, object};

/// The application.
pub fn app() -> App {
    App::new("presence-chat")
        .schema(include_str!("../../../schema/chat.json"))
        .mutation("presence:setPresence", presence::set_presence)
        .query("presence:getPresence", presence::get_presence)
        .internal_mutation("presence:cleanupPresence", presence::cleanup_presence)
        .mutation("conversations:create", conversations::create)
        .query("conversations:list", conversations::list)
        .mutation("conversations:addMember", conversations::add_member)
        .mutation("conversations:removeMember", conversations::remove_member)
        .mutation("messages:send", messages::send)
        .query("messages:list", messages::list)
        .mutation("messages:remove", messages::remove)
        .cron(
            "cleanup-presence",
            Schedule::interval_minutes(5),
            "presence:cleanupPresence",
            object! {},
        )
}

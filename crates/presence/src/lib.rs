//! The presence of a chat: the first application, in Rust functions.
//!
//! - [`presence`]: who is online, who types, and the clean-up of what is stale
//! - [`conversations`]: who may see what
//! - [`messages`]: what is said
//!
//! Tables and indexes are in `schema/chat.json`. A conversation's row changes only with its members, and
//! the time of its last message has a row of its own, so that a message wakes no list of presence.
//! May use value, functions. Must not know how it is served.

pub mod conversations;
pub mod messages;
pub mod presence;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use functions::{App, Error, QueryCtx, Result, Schedule, UserIdentity, error, object};

/// The application.
pub fn app() -> App {
    App::new("presence-chat")
        .schema(include_str!("../../../schema/chat.json"))
        .mutation("presence:setPresence", presence::set_presence)
        .query("presence:getPresence", presence::get_presence)
        .internal_mutation("presence:cleanupPresence", presence::cleanup_presence)
        .cron(
            "cleanup-presence",
            Schedule::interval_minutes(5),
            "presence:cleanupPresence",
            object! {},
        )
        .mutation("conversations:create", conversations::create)
        .query("conversations:list", conversations::list)
        .mutation("conversations:addMember", conversations::add_member)
        .mutation("conversations:removeMember", conversations::remove_member)
        .mutation("messages:send", messages::send)
        .query("messages:list", messages::list)
        .mutation("messages:remove", messages::remove)
}

/// Who is signed in; queries show nothing to others.
fn user(ctx: &QueryCtx<'_>) -> Result<Option<Arc<UserIdentity>>> {
    ctx.auth().get_user_identity()
}

/// Who is signed in; mutations refuse others.
fn signed_in(ctx: &QueryCtx<'_>) -> Result<Arc<UserIdentity>> {
    user(ctx)?.ok_or_else(|| error("Not authenticated"))
}

fn not_a_member() -> Error {
    error("Not a member")
}

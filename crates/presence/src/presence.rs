//! Who is online, who types: one record per user, as the last call left it.

use functions::{Doc, Id, MutationCtx, PaginationOptions, QueryCtx, Result, Shape, object, patch};
use serde::{Deserialize, Serialize};

use crate::conversations::{self, Conversation};
use crate::{not_a_member, signed_in, user};

/// Records that were not renewed for so long are deleted, in milliseconds.
pub const STALE_AFTER_MS: f64 = 5.0 * 60.0 * 1000.0;
/// Records that one clean-up looks at; the next one goes on behind them.
const CLEANUP_ROWS: f64 = 1000.0;

/// What a user does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Shape)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Status {
    Online,
    Typing,
    Offline,
}

/// The record of one user.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Shape)]
#[serde(rename_all = "camelCase")]
#[table("presence")]
pub struct Presence {
    /// The subject of the identity.
    pub user_id: String,
    /// Where the user is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conversation_id: Option<Id<Conversation>>,
    /// What the user does there.
    pub status: Status,
    /// When the user last called, in milliseconds since the epoch.
    pub last_seen: f64,
}

/// Arguments of `presence:setPresence`.
#[derive(Deserialize, Shape)]
#[serde(rename_all = "camelCase")]
pub struct SetPresence {
    #[serde(default)]
    conversation_id: Option<Id<Conversation>>,
    status: Status,
}

/// `presence:setPresence`: the caller is here and does this.
pub fn set_presence(ctx: &MutationCtx<'_>, args: SetPresence) -> Result<()> {
    let user = signed_in(ctx)?;
    if let Some(conversation) = args.conversation_id
        && conversations::of_member(ctx, conversation, &user.subject)?.is_none()
    {
        return Err(not_a_member());
    }
    let records = ctx.db().query::<Presence>();
    let existing = records.with_index("by_userId", |q| q.eq("userId", &user.subject)).first()?;
    let last_seen = ctx.now();
    match existing {
        Some(record) => ctx.db().patch(
            record.id,
            patch! {
                "conversationId" => args.conversation_id,
                "status" => args.status,
                "lastSeen" => last_seen,
            },
        ),
        None => {
            ctx.db().insert(Presence {
                user_id: user.subject.clone(),
                conversation_id: args.conversation_id,
                status: args.status,
                last_seen,
            })?;
            Ok(())
        }
    }
}

/// Arguments of `presence:getPresence`.
#[derive(Deserialize, Shape)]
#[serde(rename_all = "camelCase")]
pub struct GetPresence {
    conversation_id: Id<Conversation>,
}

/// `presence:getPresence`: the records of a conversation's members, for its members.
pub fn get_presence(ctx: &QueryCtx<'_>, args: GetPresence) -> Result<Vec<Doc<Presence>>> {
    let Some(user) = user(ctx)? else { return Ok(Vec::new()) };
    let conversation = conversations::of_member(ctx, args.conversation_id, &user.subject)?;
    let Some(conversation) = conversation else { return Ok(Vec::new()) };
    let mut records = ctx
        .db()
        .query::<Presence>()
        .with_index("by_conversationId", |q| q.eq("conversationId", args.conversation_id))
        .collect()?;
    records.retain(|record| conversation.member_ids.contains(&record.user_id));
    Ok(records)
}

/// Arguments of `presence:cleanupPresence`.
#[derive(Deserialize, Shape)]
pub struct CleanupPresence {
    #[serde(default)]
    cursor: Option<String>,
}

/// `presence:cleanupPresence`: deletes stale records. A large table is walked in several runs.
pub fn cleanup_presence(ctx: &MutationCtx<'_>, args: CleanupPresence) -> Result<()> {
    let stale_before = ctx.now() - STALE_AFTER_MS;
    let options = PaginationOptions {
        num_items: CLEANUP_ROWS,
        cursor: args.cursor,
        maximum_rows_read: Some(CLEANUP_ROWS),
        ..PaginationOptions::default()
    };
    let stale = ctx
        .db()
        .query::<Presence>()
        .filter(|q| q.lt(q.field("lastSeen"), stale_before))
        .paginate(&options)?;
    for record in &stale.page {
        ctx.db().delete(record.id)?;
    }
    if !stale.is_done {
        let args = object! { "cursor" => stale.continue_cursor };
        ctx.scheduler().run_after(std::time::Duration::ZERO, "presence:cleanupPresence", args)?;
    }
    Ok(())
}

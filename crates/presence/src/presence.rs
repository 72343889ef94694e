//! Who is online and who types: one record per user, as the last call left it.

use std::collections::BTreeSet;
use std::time::Duration;

use functions::{Doc, Id, MutationCtx, QueryCtx, Result, Shape, object, patch};
use serde::{Deserialize, Serialize};

use crate::conversations::Conversation;
use crate::membership::{joined, signed_in, visible};

/// A record that was not renewed for so long is stale.
pub(crate) const STALE_AFTER_MS: f64 = 5.0 * 60.0 * 1000.0;
/// Records that one transaction of the clean-up deletes.
pub(crate) const CLEANUP_BATCH: usize = 1000;

#[derive(Serialize, Deserialize, Shape)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Status {
    Online,
    Typing,
    Offline,
}

/// What a user does, and where.
#[derive(Serialize, Deserialize, Shape)]
#[serde(rename_all = "camelCase")]
#[table("presence")]
pub(crate) struct Presence {
    /// Subject of the user's identity.
    user_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    conversation_id: Option<Id<Conversation>>,
    status: Status,
    /// When the user last called, in milliseconds since the epoch.
    last_seen: f64,
}

#[derive(Deserialize, Shape)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SetPresence {
    conversation_id: Option<Id<Conversation>>,
    status: Status,
}

/// Sets the caller's presence.
pub(crate) fn set_presence(ctx: &MutationCtx<'_>, args: SetPresence) -> Result<()> {
    let user = signed_in(ctx)?;
    if let Some(id) = args.conversation_id {
        joined(ctx, id)?;
    }
    let records = ctx.db().query::<Presence>();
    let existing = records.with_index("by_userId", |q| q.eq("userId", &user.subject)).first()?;
    if let Some(record) = existing {
        return ctx.db().patch(
            record.id,
            patch! {
                "conversationId" => args.conversation_id,
                "status" => args.status,
                "lastSeen" => ctx.now(),
            },
        );
    }
    ctx.db().insert(Presence {
        user_id: user.subject.clone(),
        conversation_id: args.conversation_id,
        status: args.status,
        last_seen: ctx.now(),
    })?;
    Ok(())
}

#[derive(Deserialize, Shape)]
#[serde(rename_all = "camelCase")]
pub(crate) struct GetPresence {
    conversation_id: Id<Conversation>,
}

/// The records of those members of a conversation who are in it.
pub(crate) fn get_presence(ctx: &QueryCtx<'_>, args: GetPresence) -> Result<Vec<Doc<Presence>>> {
    let Some(conversation) = visible(ctx, args.conversation_id)? else { return Ok(Vec::new()) };
    let mut records = ctx
        .db()
        .query::<Presence>()
        .with_index("by_conversationId", |q| q.eq("conversationId", conversation.id))
        .collect()?;
    // Who was removed may have left a record.
    let members: BTreeSet<&String> = conversation.member_ids.iter().collect();
    records.retain(|record| members.contains(&record.user_id));
    Ok(records)
}

/// Deletes stale records, oldest first. More than a batch of them take several transactions.
pub(crate) fn cleanup_presence(ctx: &MutationCtx<'_>, (): ()) -> Result<()> {
    let stale = ctx
        .db()
        .query::<Presence>()
        .with_index("by_lastSeen", |q| q.lt("lastSeen", ctx.now() - STALE_AFTER_MS))
        .take(CLEANUP_BATCH)?;
    for record in &stale {
        ctx.db().delete(record.id)?;
    }
    if stale.len() == CLEANUP_BATCH {
        ctx.scheduler().run_after(Duration::ZERO, "presence:cleanupPresence", object! {})?;
    }
    Ok(())
}

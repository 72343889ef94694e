//! Conversations and their members.
//!
//! A conversation's row changes with its members alone: every list of presence depends on it. When it
//! was last active stands in a row of its own, small however long messages are.

use std::collections::BTreeSet;
use std::iter::once;

use functions::{Doc, Id, MutationCtx, Order, QueryCtx, Result, Shape, error, patch};
use serde::{Deserialize, Serialize};

use crate::membership::{joined, signed_in};
use crate::messages::Message;

/// Most members of one conversation.
pub(crate) const MEMBERS_MAX: usize = 1000;
/// Longest id of a member, in bytes.
pub(crate) const USER_ID_BYTES_MAX: usize = 256;
/// Longest title, in bytes.
pub(crate) const TITLE_BYTES_MAX: usize = 1024;
/// Conversations in one list: those that the user joined last. Anybody may add anybody, so a list
/// must answer however many there are.
pub(crate) const LISTED_MAX: usize = 1000;
/// Bytes of conversations after which a list ends, for the same reason.
const LISTED_BYTES_MAX: usize = 8 << 20;

#[derive(Serialize, Deserialize, Shape)]
#[serde(rename_all = "camelCase")]
#[table("conversations")]
pub(crate) struct Conversation {
    /// Subjects of the members' identities.
    pub(crate) member_ids: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<String>,
}

/// One of `member_ids`, found by the user.
#[derive(Serialize, Deserialize, Shape)]
#[serde(rename_all = "camelCase")]
#[table("members")]
pub(crate) struct Member {
    user_id: String,
    conversation_id: Id<Conversation>,
}

/// When a conversation was last active: creation time of its newest message, else its own.
#[derive(Serialize, Deserialize, Shape)]
#[serde(rename_all = "camelCase")]
#[table("activity")]
struct Activity {
    conversation_id: Id<Conversation>,
    at: f64,
}

#[derive(Deserialize, Shape)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Create {
    member_ids: Vec<String>,
    title: Option<String>,
}

/// A new conversation of the caller with others.
pub(crate) fn create(ctx: &MutationCtx<'_>, args: Create) -> Result<Id<Conversation>> {
    let user = signed_in(ctx)?;
    let mut member_ids: Vec<String> = once(user.subject.clone()).chain(args.member_ids).collect();
    let mut seen = BTreeSet::new();
    member_ids.retain(|user_id| seen.insert(user_id.clone()));
    check_members(&member_ids)?;
    if args.title.as_ref().is_some_and(|title| title.len() > TITLE_BYTES_MAX) {
        return Err(error(format!("Title too long (limit: {TITLE_BYTES_MAX} bytes)")));
    }

    let conversation = Conversation { member_ids: member_ids.clone(), title: args.title };
    let conversation_id = ctx.db().insert(conversation)?;
    for user_id in member_ids {
        ctx.db().insert(Member { user_id, conversation_id })?;
    }
    note_activity(ctx, conversation_id)?;
    Ok(conversation_id)
}

fn check_members(member_ids: &[String]) -> Result<()> {
    if member_ids.len() > MEMBERS_MAX {
        return Err(error(format!("Too many members (limit: {MEMBERS_MAX})")));
    }
    if member_ids.iter().any(|user_id| user_id.len() > USER_ID_BYTES_MAX) {
        return Err(error(format!("Member id too long (limit: {USER_ID_BYTES_MAX} bytes)")));
    }
    Ok(())
}

/// Writes down when a conversation was last active, after something was said or taken back.
pub(crate) fn note_activity(ctx: &MutationCtx<'_>, id: Id<Conversation>) -> Result<()> {
    let newest = ctx
        .db()
        .query::<Message>()
        .with_index("by_conversationId", |q| q.eq("conversationId", id))
        .order(Order::Desc)
        .first()?;
    let at = match newest {
        Some(message) => message.creation_time,
        None => ctx.db().get(id)?.map_or(0.0, |conversation| conversation.creation_time),
    };
    match activity(ctx, id)? {
        Some(row) => ctx.db().patch(row.id, patch! { "at" => at }),
        None => ctx.db().insert(Activity { conversation_id: id, at }).map(drop),
    }
}

fn activity(ctx: &QueryCtx<'_>, id: Id<Conversation>) -> Result<Option<Doc<Activity>>> {
    let rows = ctx.db().query::<Activity>();
    rows.with_index("by_conversationId", |q| q.eq("conversationId", id)).first()
}

/// The caller's conversations, latest activity first: of those that were joined last, at most
/// [`LISTED_MAX`].
pub(crate) fn list(ctx: &QueryCtx<'_>, (): ()) -> Result<Vec<Doc<Conversation>>> {
    let Some(user) = ctx.auth().get_user_identity()? else { return Ok(Vec::new()) };
    let members = ctx.db().query::<Member>();
    let joined = members.with_index("by_userId", |q| q.eq("userId", &user.subject));
    let (mut mine, mut bytes) = (Vec::new(), 0);
    for member in joined.order(Order::Desc).take(LISTED_MAX)? {
        let id = member.conversation_id;
        let Some(conversation) = ctx.db().get(id)? else { continue };
        bytes += conversation.stored().size();
        if bytes > LISTED_BYTES_MAX {
            break;
        }
        let at = activity(ctx, id)?.map_or(conversation.creation_time, |activity| activity.at);
        mine.push((at, conversation));
    }
    mine.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    Ok(mine.into_iter().map(|(_, conversation)| conversation).collect())
}

#[derive(Deserialize, Shape)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ChangeMember {
    conversation_id: Id<Conversation>,
    user_id: String,
}

/// One more member; nothing happens if the user is one already.
pub(crate) fn add_member(ctx: &MutationCtx<'_>, args: ChangeMember) -> Result<()> {
    let conversation = joined(ctx, args.conversation_id)?;
    if conversation.member_ids.contains(&args.user_id) {
        return Ok(());
    }
    let mut member_ids = conversation.member_ids.clone();
    member_ids.push(args.user_id.clone());
    check_members(&member_ids)?;
    ctx.db().patch(conversation.id, patch! { "memberIds" => member_ids })?;
    ctx.db().insert(Member { user_id: args.user_id, conversation_id: conversation.id })?;
    Ok(())
}

/// One member less, who from now on sees nothing of it and is not seen; nothing happens if the user
/// is none.
pub(crate) fn remove_member(ctx: &MutationCtx<'_>, args: ChangeMember) -> Result<()> {
    let conversation = joined(ctx, args.conversation_id)?;
    let mut member_ids = conversation.member_ids.clone();
    member_ids.retain(|user_id| *user_id != args.user_id);
    ctx.db().patch(conversation.id, patch! { "memberIds" => member_ids })?;
    let member = ctx
        .db()
        .query::<Member>()
        .with_index("by_userId_conversationId", |q| {
            q.eq("userId", &args.user_id).eq("conversationId", conversation.id)
        })
        .unique()?;
    match member {
        Some(member) => ctx.db().delete(member.id),
        None => Ok(()),
    }
}

//! Conversations and their members.
//!
//! A conversation's row changes with its members alone: every list of presence depends on it. How
//! recent a conversation is, its newest message tells.

use std::collections::BTreeSet;
use std::iter::once;

use functions::{Doc, Id, MutationCtx, Order, QueryCtx, Result, Shape, patch};
use serde::{Deserialize, Serialize};

use crate::membership::{joined, signed_in};
use crate::messages::Message;

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

    let conversation = Conversation { member_ids: member_ids.clone(), title: args.title };
    let conversation_id = ctx.db().insert(conversation)?;
    for user_id in member_ids {
        ctx.db().insert(Member { user_id, conversation_id })?;
    }
    Ok(conversation_id)
}

/// The caller's conversations, latest activity first: the newest message, else the creation.
pub(crate) fn list(ctx: &QueryCtx<'_>, (): ()) -> Result<Vec<Doc<Conversation>>> {
    let Some(user) = ctx.auth().get_user_identity()? else { return Ok(Vec::new()) };
    let members = ctx.db().query::<Member>();
    let mut mine = Vec::new();
    for member in members.with_index("by_userId", |q| q.eq("userId", &user.subject)).iter()? {
        let id = member?.conversation_id;
        let Some(conversation) = ctx.db().get(id)? else { continue };
        let newest = ctx
            .db()
            .query::<Message>()
            .with_index("by_conversationId", |q| q.eq("conversationId", id))
            .order(Order::Desc)
            .first()?;
        let active = newest.map_or(conversation.creation_time, |message| message.creation_time);
        mine.push((active, conversation));
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
        .with_index("by_userId", |q| {
            q.eq("userId", &args.user_id).eq("conversationId", conversation.id)
        })
        .unique()?;
    match member {
        Some(member) => ctx.db().delete(member.id),
        None => Ok(()),
    }
}

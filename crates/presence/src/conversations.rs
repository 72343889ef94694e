//! Conversations: who is a member, and whose list they are in.

use functions::{Doc, Id, MutationCtx, QueryCtx, Result, Shape, patch};
use serde::{Deserialize, Serialize};

use crate::{not_a_member, signed_in, user};

/// A conversation. Changes only with its members: whoever watches presence reads it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Shape)]
#[serde(rename_all = "camelCase")]
#[table("conversations")]
pub struct Conversation {
    /// Subjects of the members' identities.
    pub member_ids: Vec<String>,
    /// A title, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
}

/// That a user is a member: the list of a user's conversations.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Shape)]
#[serde(rename_all = "camelCase")]
#[table("members")]
pub struct Member {
    /// The user.
    pub user_id: String,
    /// The conversation.
    pub conversation_id: Id<Conversation>,
}

/// When something last happened in a conversation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Shape)]
#[serde(rename_all = "camelCase")]
#[table("activity")]
pub struct Activity {
    /// The conversation.
    pub conversation_id: Id<Conversation>,
    /// Creation time of its newest message, or its own; in milliseconds since the epoch.
    pub at: f64,
}

/// Arguments of `conversations:create`.
#[derive(Deserialize, Shape)]
#[serde(rename_all = "camelCase")]
pub struct Create {
    member_ids: Vec<String>,
    #[serde(default)]
    title: Option<String>,
}

/// `conversations:create`: a conversation of these members and the caller.
pub fn create(ctx: &MutationCtx<'_>, args: Create) -> Result<Id<Conversation>> {
    let user = signed_in(ctx)?;
    let mut member_ids = vec![user.subject.clone()];
    for member in args.member_ids {
        if !member_ids.contains(&member) {
            member_ids.push(member);
        }
    }
    let conversation = Conversation { member_ids: member_ids.clone(), title: args.title };
    let conversation_id = ctx.db().insert(conversation)?;
    for user_id in member_ids {
        ctx.db().insert(Member { user_id, conversation_id })?;
    }
    let created = ctx.db().get(conversation_id)?.map_or(0.0, |row| row.creation_time);
    ctx.db().insert(Activity { conversation_id, at: created })?;
    Ok(conversation_id)
}

/// Arguments of `conversations:list`: none.
#[derive(Deserialize, Shape)]
pub struct List {}

/// `conversations:list`: the caller's conversations, latest activity first.
pub fn list(ctx: &QueryCtx<'_>, _: List) -> Result<Vec<Doc<Conversation>>> {
    let Some(user) = user(ctx)? else { return Ok(Vec::new()) };
    let mine = ctx.db().query::<Member>();
    let mut found = Vec::new();
    for member in mine.with_index("by_userId", |q| q.eq("userId", &user.subject)).iter()? {
        let id = member?.conversation_id;
        if let (Some(conversation), Some(activity)) = (ctx.db().get(id)?, activity(ctx, id)?) {
            found.push((activity.at, conversation));
        }
    }
    found.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    Ok(found.into_iter().map(|(_, conversation)| conversation).collect())
}

/// Arguments of `conversations:addMember` and `conversations:removeMember`.
#[derive(Deserialize, Shape)]
#[serde(rename_all = "camelCase")]
pub struct ChangeMember {
    conversation_id: Id<Conversation>,
    user_id: String,
}

/// `conversations:addMember`: one more member; a member who is one already stays one.
pub fn add_member(ctx: &MutationCtx<'_>, args: ChangeMember) -> Result<()> {
    let conversation = joined(ctx, args.conversation_id)?;
    if conversation.member_ids.contains(&args.user_id) {
        return Ok(());
    }
    let mut member_ids = conversation.member_ids.clone();
    member_ids.push(args.user_id.clone());
    ctx.db().patch(conversation.id, patch! { "memberIds" => member_ids })?;
    let member = Member { user_id: args.user_id, conversation_id: conversation.id };
    ctx.db().insert(member).map(drop)
}

/// `conversations:removeMember`: sight ends in the same transaction.
pub fn remove_member(ctx: &MutationCtx<'_>, args: ChangeMember) -> Result<()> {
    let conversation = joined(ctx, args.conversation_id)?;
    let mut member_ids = conversation.member_ids.clone();
    member_ids.retain(|member| *member != args.user_id);
    ctx.db().patch(conversation.id, patch! { "memberIds" => member_ids })?;
    let members = ctx.db().query::<Member>().with_index("by_userId", |q| {
        q.eq("userId", &args.user_id).eq("conversationId", conversation.id)
    });
    for member in members.collect()? {
        ctx.db().delete(member.id)?;
    }
    Ok(())
}

/// Notes that something happened in a conversation.
pub(crate) fn touch(ctx: &MutationCtx<'_>, id: Id<Conversation>, at: f64) -> Result<()> {
    match activity(ctx, id)? {
        Some(row) => ctx.db().patch(row.id, patch! { "at" => at }),
        None => ctx.db().insert(Activity { conversation_id: id, at }).map(drop),
    }
}

/// The conversation, if `user` is a member of it.
pub(crate) fn of_member(
    ctx: &QueryCtx<'_>,
    id: Id<Conversation>,
    user: &String,
) -> Result<Option<Doc<Conversation>>> {
    Ok(ctx.db().get(id)?.filter(|conversation| conversation.member_ids.contains(user)))
}

/// The conversation, of which the caller must be a member.
pub(crate) fn joined(ctx: &QueryCtx<'_>, id: Id<Conversation>) -> Result<Doc<Conversation>> {
    let user = signed_in(ctx)?;
    of_member(ctx, id, &user.subject)?.ok_or_else(not_a_member)
}

fn activity(ctx: &QueryCtx<'_>, id: Id<Conversation>) -> Result<Option<Doc<Activity>>> {
    let rows = ctx.db().query::<Activity>();
    rows.with_index("by_conversationId", |q| q.eq("conversationId", id)).first()
}

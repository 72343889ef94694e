//! Messages: what members of a conversation say.

use functions::{
    Doc, Id, MutationCtx, Order, PaginationOptions, PaginationResult, QueryCtx, Result, Shape,
    error,
};
use serde::{Deserialize, Serialize};

use crate::conversations::{self, Conversation};
use crate::{signed_in, user};

/// One message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Shape)]
#[serde(rename_all = "camelCase")]
#[table("messages")]
pub struct Message {
    /// Where it was said.
    pub conversation_id: Id<Conversation>,
    /// By whom: the subject of the identity.
    pub author_id: String,
    /// What.
    pub body: String,
}

/// Arguments of `messages:send`.
#[derive(Deserialize, Shape)]
#[serde(rename_all = "camelCase")]
pub struct Send {
    conversation_id: Id<Conversation>,
    body: String,
}

/// `messages:send`: says something in a conversation of the caller's.
pub fn send(ctx: &MutationCtx<'_>, args: Send) -> Result<Id<Message>> {
    let user = signed_in(ctx)?;
    let conversation = conversations::joined(ctx, args.conversation_id)?;
    let id = ctx.db().insert(Message {
        conversation_id: conversation.id,
        author_id: user.subject.clone(),
        body: args.body,
    })?;
    // Creation times tell apart messages of the same millisecond.
    let at = ctx.db().get(id)?.map_or(0.0, |message| message.creation_time);
    conversations::touch(ctx, conversation.id, at)?;
    Ok(id)
}

/// Arguments of `messages:list`.
#[derive(Deserialize, Shape)]
#[serde(rename_all = "camelCase")]
pub struct List {
    conversation_id: Id<Conversation>,
    pagination_opts: PaginationOptions,
}

/// `messages:list`: a page of a conversation's messages, newest first, for its members.
pub fn list(ctx: &QueryCtx<'_>, args: List) -> Result<PaginationResult<Doc<Message>>> {
    let Some(user) = user(ctx)? else { return Ok(PaginationResult::empty()) };
    let joined = conversations::of_member(ctx, args.conversation_id, &user.subject)?;
    let Some(conversation) = joined else { return Ok(PaginationResult::empty()) };
    ctx.db()
        .query::<Message>()
        .with_index("by_conversationId", |q| q.eq("conversationId", conversation.id))
        .order(Order::Desc)
        .paginate(&args.pagination_opts)
}

/// Arguments of `messages:remove`.
#[derive(Deserialize, Shape)]
#[serde(rename_all = "camelCase")]
pub struct Remove {
    message_id: Id<Message>,
}

/// `messages:remove`: takes back a message of the caller's.
pub fn remove(ctx: &MutationCtx<'_>, args: Remove) -> Result<()> {
    let user = signed_in(ctx)?;
    let Some(message) = ctx.db().get(args.message_id)? else { return Ok(()) };
    if message.author_id != user.subject {
        return Err(error("Not your message"));
    }
    ctx.db().delete(message.id)
}

//! What members say.

use functions::{
    Doc, Id, MutationCtx, Order, PaginationOptions, PaginationResult, QueryCtx, Result, Shape,
    error,
};
use serde::{Deserialize, Serialize};

use crate::conversations::{Conversation, note_activity};
use crate::membership::{joined, signed_in, visible};

#[derive(Serialize, Deserialize, Shape)]
#[serde(rename_all = "camelCase")]
#[table("messages")]
pub(crate) struct Message {
    conversation_id: Id<Conversation>,
    /// Subject of the author's identity.
    author_id: String,
    body: String,
}

#[derive(Deserialize, Shape)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Send {
    conversation_id: Id<Conversation>,
    body: String,
}

/// Says something in a conversation of the caller's.
pub(crate) fn send(ctx: &MutationCtx<'_>, args: Send) -> Result<Id<Message>> {
    let user = signed_in(ctx)?;
    let conversation = joined(ctx, args.conversation_id)?;
    let id = ctx.db().insert(Message {
        conversation_id: conversation.id,
        author_id: user.subject.clone(),
        body: args.body,
    })?;
    note_activity(ctx, conversation.id)?;
    Ok(id)
}

#[derive(Deserialize, Shape)]
#[serde(rename_all = "camelCase")]
pub(crate) struct List {
    conversation_id: Id<Conversation>,
    pagination_opts: PaginationOptions,
}

/// What was said in a conversation, newest first.
pub(crate) fn list(ctx: &QueryCtx<'_>, args: List) -> Result<PaginationResult<Doc<Message>>> {
    let Some(conversation) = visible(ctx, args.conversation_id)? else {
        return Ok(PaginationResult::empty());
    };
    ctx.db()
        .query::<Message>()
        .with_index("by_conversationId", |q| q.eq("conversationId", conversation.id))
        .order(Order::Desc)
        .paginate(&args.pagination_opts)
}

#[derive(Deserialize, Shape)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Remove {
    message_id: Id<Message>,
}

/// Takes back a message of the caller's; nothing happens if it is gone already.
pub(crate) fn remove(ctx: &MutationCtx<'_>, args: Remove) -> Result<()> {
    let user = signed_in(ctx)?;
    let Some(message) = ctx.db().get(args.message_id)? else { return Ok(()) };
    joined(ctx, message.conversation_id)?;
    if message.author_id != user.subject {
        return Err(error("Not your message"));
    }
    ctx.db().delete(message.id)?;
    note_activity(ctx, message.conversation_id)
}

//! Who may do what. Queries show nothing to those who may not; mutations refuse them.

use std::sync::Arc;

use functions::{Doc, Id, QueryCtx, Result, UserIdentity, error};

use crate::conversations::Conversation;

/// The caller of a mutation. Errors: `Not authenticated`.
pub(crate) fn signed_in(ctx: &QueryCtx<'_>) -> Result<Arc<UserIdentity>> {
    ctx.auth().get_user_identity()?.ok_or_else(|| error("Not authenticated"))
}

/// The conversation that a mutation is about. Errors: `Not authenticated`, `Not a member`, which
/// is also said of a conversation that does not exist.
pub(crate) fn joined(ctx: &QueryCtx<'_>, id: Id<Conversation>) -> Result<Doc<Conversation>> {
    signed_in(ctx)?;
    visible(ctx, id)?.ok_or_else(|| error("Not a member"))
}

/// The conversation that a query is about; None: the caller is nobody, or no member of it.
pub(crate) fn visible(
    ctx: &QueryCtx<'_>,
    id: Id<Conversation>,
) -> Result<Option<Doc<Conversation>>> {
    let Some(user) = ctx.auth().get_user_identity()? else { return Ok(None) };
    let conversation = ctx.db().get(id)?;
    Ok(conversation.filter(|conversation| conversation.member_ids.contains(&user.subject)))
}

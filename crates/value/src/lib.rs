//! Values, their total order, key bytes, ids, JSON forms, validators and schemas.

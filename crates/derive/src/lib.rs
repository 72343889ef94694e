//! `#[derive(Shape)]`: a validator from a Rust type, as serde sees that type.
//!
//! ```text
//! struct              →  v.object({...})     serde's names; Option and default fields are optional
//! newtype struct      →  the validator inside
//! unit-only enum      →  union of string literals
//! #[serde(tag)]       →  union of objects with a literal tag
//! #[serde(untagged)]  →  union of the members
//! #[table("t")]       →  also `impl Table`: `query::<T>()` and `Id<T>` know their table
//! ```
//!
//! `attributes` reads serde's attributes, `rename` its naming rules, `expand` writes the code. The
//! code names `::functions::shape::build` only, never the layout of a validator.

mod attributes;
mod expand;
mod rename;

use proc_macro::TokenStream;

/// Implements `functions::Shape`, and `functions::Table` when `#[table("name")]` is present.
///
/// Refused at compile time: generics, unions, tuple structs with several fields, `flatten`,
/// externally or adjacently tagged enums that carry fields: they have no plain validator.
#[proc_macro_derive(Shape, attributes(serde, table))]
pub fn derive_shape(input: TokenStream) -> TokenStream {
    let input = syn::parse_macro_input!(input as syn::DeriveInput);
    expand::expand(&input).unwrap_or_else(|error| error.to_compile_error()).into()
}

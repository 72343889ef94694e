//! What `#[serde(...)]` and `#[table("...")]` say, as far as a validator depends on it.

use syn::punctuated::Punctuated;
use syn::{Attribute, Error, Expr, Lit, LitStr, Meta, Result, Token};

use crate::rename::Rule;

/// Attributes of a struct, an enum, a variant or a field; each place reads what concerns it.
#[derive(Default)]
pub(crate) struct Attributes {
    pub(crate) rename: Option<String>,
    pub(crate) rename_all: Option<Rule>,
    pub(crate) rename_all_fields: Option<Rule>,
    pub(crate) tag: Option<String>,
    pub(crate) untagged: bool,
    /// `default` or `skip_serializing_if`: the field may be absent on one of the two ways.
    pub(crate) optional: bool,
    pub(crate) skip: bool,
    pub(crate) table: Option<LitStr>,
}

impl Attributes {
    /// Reads the attributes of one place. Errors name what has no validator.
    pub(crate) fn read(attributes: &[Attribute]) -> Result<Attributes> {
        let mut read = Attributes::default();
        for attribute in attributes {
            if attribute.path().is_ident("table") {
                read.table = Some(attribute.parse_args::<LitStr>()?);
            } else if attribute.path().is_ident("serde") {
                let metas =
                    attribute.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated)?;
                for meta in &metas {
                    read.serde(meta)?;
                }
            }
        }
        Ok(read)
    }

    fn serde(&mut self, meta: &Meta) -> Result<()> {
        let Some(name) = meta.path().get_ident().map(ToString::to_string) else {
            return Ok(());
        };
        match name.as_str() {
            "rename" => self.rename = Some(one_name(meta)?),
            "rename_all" => self.rename_all = Some(rule(meta)?),
            "rename_all_fields" => self.rename_all_fields = Some(rule(meta)?),
            "tag" => self.tag = Some(text(meta)?),
            "untagged" => self.untagged = true,
            "default" | "skip_serializing_if" => self.optional = true,
            "skip" => self.skip = true,
            "flatten" | "content" | "with" | "into" | "from" | "try_from" | "remote" => {
                let text = format!("`{name}` has no validator: write `impl Shape` by hand");
                return Err(Error::new_spanned(meta, text));
            }
            _ => {}
        }
        Ok(())
    }
}

fn text(meta: &Meta) -> Result<String> {
    if let Meta::NameValue(pair) = meta
        && let Expr::Lit(literal) = &pair.value
        && let Lit::Str(text) = &literal.lit
    {
        return Ok(text.value());
    }
    Err(Error::new_spanned(meta, "expected `name = \"text\"`"))
}

/// A rename that differs between reading and writing cannot be one field of a validator.
fn one_name(meta: &Meta) -> Result<String> {
    text(meta).map_err(|_| Error::new_spanned(meta, "Shape needs one name for both directions"))
}

fn rule(meta: &Meta) -> Result<Rule> {
    let name = text(meta)?;
    Rule::parse(&name).ok_or_else(|| Error::new_spanned(meta, "unknown rename rule"))
}

//! From a type definition to `impl Shape`.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Data, DataEnum, DataStruct, DeriveInput, Error, Fields, FieldsNamed, Result, Variant};

use crate::attributes::Attributes;
use crate::rename::Rule;

/// The implementations for one type.
pub(crate) fn expand(input: &DeriveInput) -> Result<TokenStream> {
    if !input.generics.params.is_empty() {
        return Err(Error::new_spanned(&input.generics, "Shape cannot be derived with generics"));
    }
    let attributes = Attributes::read(&input.attrs)?;
    let validator = match &input.data {
        Data::Struct(data) => structure(input, data, &attributes)?,
        Data::Enum(data) => enumeration(input, data, &attributes)?,
        Data::Union(_) => return Err(Error::new_spanned(input, "a union has no validator")),
    };
    let name = &input.ident;
    let table = attributes.table.as_ref().map(|table| {
        quote! {
            #[automatically_derived]
            impl ::functions::Table for #name { const NAME: &'static str = #table; }
        }
    });
    Ok(quote! {
        #[automatically_derived]
        impl ::functions::Shape for #name {
            fn validator() -> ::functions::Validator { #validator }
        }
        #table
    })
}

fn structure(
    input: &DeriveInput,
    data: &DataStruct,
    attributes: &Attributes,
) -> Result<TokenStream> {
    match &data.fields {
        Fields::Named(fields) => {
            let fields = object_fields(fields, attributes.rename_all)?;
            Ok(quote! { ::functions::shape::build::object(vec![#(#fields),*]) })
        }
        Fields::Unnamed(fields) if fields.unnamed.len() == 1 => {
            let inner = &fields.unnamed[0].ty;
            Ok(quote! { <#inner as ::functions::Shape>::validator() })
        }
        Fields::Unnamed(_) => {
            Err(Error::new_spanned(input, "a tuple struct with several fields has no validator"))
        }
        Fields::Unit => Ok(quote! { ::functions::shape::build::null() }),
    }
}

fn enumeration(
    input: &DeriveInput,
    data: &DataEnum,
    attributes: &Attributes,
) -> Result<TokenStream> {
    let mut members = Vec::new();
    for variant in &data.variants {
        let own = Attributes::read(&variant.attrs)?;
        if own.skip {
            continue;
        }
        let name = own.rename.clone().unwrap_or_else(|| {
            let name = variant.ident.to_string();
            attributes.rename_all.map_or(name.clone(), |rule| rule.variant(&name))
        });
        let fields_rule = own.rename_all.or(attributes.rename_all_fields);
        members.push(match &attributes.tag {
            Some(tag) => tagged(variant, tag, &name, fields_rule)?,
            None if attributes.untagged => untagged(variant, fields_rule)?,
            None if matches!(variant.fields, Fields::Unit) => {
                quote! { ::functions::shape::build::literal(#name) }
            }
            None => {
                let text = "a variant with fields needs `#[serde(tag = \"kind\")]` or `untagged`";
                return Err(Error::new_spanned(variant, text));
            }
        });
    }
    if members.is_empty() {
        return Err(Error::new_spanned(input, "an enum without variants has no value"));
    }
    Ok(quote! { ::functions::shape::build::union(vec![#(#members),*]) })
}

fn tagged(variant: &Variant, tag: &str, name: &str, rule: Option<Rule>) -> Result<TokenStream> {
    let content = match &variant.fields {
        Fields::Unit => quote! { ::functions::shape::build::object(vec![]) },
        Fields::Named(fields) => {
            let fields = object_fields(fields, rule)?;
            quote! { ::functions::shape::build::object(vec![#(#fields),*]) }
        }
        Fields::Unnamed(fields) if fields.unnamed.len() == 1 => {
            let inner = &fields.unnamed[0].ty;
            quote! { <#inner as ::functions::Shape>::validator() }
        }
        Fields::Unnamed(_) => {
            return Err(Error::new_spanned(variant, "a tagged variant cannot be a tuple"));
        }
    };
    Ok(quote! { ::functions::shape::build::tagged(#tag, #name, #content) })
}

fn untagged(variant: &Variant, rule: Option<Rule>) -> Result<TokenStream> {
    match &variant.fields {
        Fields::Unit => Ok(quote! { ::functions::shape::build::null() }),
        Fields::Named(fields) => {
            let fields = object_fields(fields, rule)?;
            Ok(quote! { ::functions::shape::build::object(vec![#(#fields),*]) })
        }
        Fields::Unnamed(fields) if fields.unnamed.len() == 1 => {
            let inner = &fields.unnamed[0].ty;
            Ok(quote! { <#inner as ::functions::Shape>::validator() })
        }
        Fields::Unnamed(_) => {
            Err(Error::new_spanned(variant, "an untagged variant cannot be a tuple"))
        }
    }
}

fn object_fields(fields: &FieldsNamed, rule: Option<Rule>) -> Result<Vec<TokenStream>> {
    let mut out = Vec::new();
    for field in &fields.named {
        let own = Attributes::read(&field.attrs)?;
        if own.skip {
            continue;
        }
        let written = field.ident.as_ref().map(ToString::to_string).unwrap_or_default();
        let written = written.trim_start_matches("r#").to_string();
        let name =
            own.rename.unwrap_or_else(|| rule.map_or(written.clone(), |rule| rule.field(&written)));
        let (ty, optional) = (&field.ty, own.optional);
        out.push(quote! { ::functions::shape::build::field::<#ty>(#name, #optional) });
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error_of(input: DeriveInput) -> String {
        expand(&input).unwrap_err().to_string()
    }

    #[test]
    fn types_without_a_validator_are_refused() {
        let check = |input: DeriveInput, expected: &str| {
            let error = error_of(input);
            assert!(error.contains(expected), "{error}");
        };
        check(syn::parse_quote! { struct A<T> { a: T } }, "generics");
        check(syn::parse_quote! { union A { a: u8 } }, "union");
        check(syn::parse_quote! { struct A(u8, u8); }, "tuple struct");
        check(syn::parse_quote! { enum A { B(u8) } }, "serde(tag");
        check(syn::parse_quote! { enum A {} }, "without variants");
        check(syn::parse_quote! { #[serde(tag = "k")] enum A { B(u8, u8) } }, "tuple");
        check(syn::parse_quote! { #[serde(tag = "k", content = "c")] enum A { B(u8) } }, "content");
        check(syn::parse_quote! { struct A { #[serde(flatten)] b: B } }, "flatten");
        check(
            syn::parse_quote! { struct A { #[serde(rename(serialize = "x"))] b: u8 } },
            "one name for both directions",
        );
        check(
            syn::parse_quote! { #[serde(rename_all = "Title")] struct A { b: u8 } },
            "rename rule",
        );
    }

    #[test]
    fn a_table_is_named_only_where_it_is_declared() {
        let plain = expand(&syn::parse_quote! { struct A { b: u8 } }).unwrap().to_string();
        assert!(!plain.contains("Table"));
        let table: DeriveInput = syn::parse_quote! { #[table("rooms")] struct A { b: u8 } };
        let table = expand(&table).unwrap().to_string();
        assert!(table.contains("Table") && table.contains("\"rooms\""), "{table}");
    }
}

//! What functions learn about a caller: claims and attributes as an identity.
//!
//! Claims that change with each renewal of a token (`iat`, `exp`, …) are dropped: so everything that
//! a function can see is in the cache key, and a renewed token finds the results of the old one.
//! Source: spec/engine.md 16.2.

use std::collections::BTreeMap;

use functions::UserIdentity;
use serde_json::{Map, Value as Json};

use super::jwt::Claims;

/// Claims about the token rather than the user, different in each token.
const VOLATILE: [&str; 9] =
    ["exp", "iat", "nbf", "jti", "fva", "auth_time", "nonce", "at_hash", "c_hash"];

/// Standard claims of OIDC that are texts, and the fields that they become.
const TEXTS: [(&str, &str); 14] = [
    ("name", "name"),
    ("given_name", "givenName"),
    ("family_name", "familyName"),
    ("nickname", "nickname"),
    ("preferred_username", "preferredUsername"),
    ("profile", "profileUrl"),
    ("picture", "pictureUrl"),
    ("website", "websiteUrl"),
    ("email", "email"),
    ("gender", "gender"),
    ("birthdate", "birthday"),
    ("zoneinfo", "timezone"),
    ("locale", "language"),
    ("phone_number", "phoneNumber"),
];

/// Standard claims that are true or false.
const FLAGS: [(&str, &str); 2] =
    [("email_verified", "emailVerified"), ("phone_number_verified", "phoneNumberVerified")];

/// The identity that a token of an OIDC provider gives. A standard claim of a wrong type is left
/// out; every other claim appears under its own name.
pub(super) fn of_oidc(claims: &Claims) -> UserIdentity {
    let mut fields = BTreeMap::new();
    for (name, claim) in &claims.all {
        let standard = standard_field(name, claim);
        match standard {
            Standard::Field(field, Some(value)) => {
                fields.insert(field.to_owned(), value);
            }
            Standard::Field(_, None) => {}
            Standard::NotOne if is_own(name) => {}
            // A standard claim wins over a custom one with the name of its field.
            Standard::NotOne => {
                fields.entry(name.clone()).or_insert_with(|| claim.clone());
            }
        }
    }
    UserIdentity::new(&claims.issuer, &claims.subject, fields)
}

/// Longest names of flattened claims of one token, all together, in bytes. A member of a claim carries
/// the names of all that it is in, so a small token could become a large identity.
pub const CLAIM_NAMES_BYTES_MAX: usize = 256 << 10;

/// The identity that a custom token gives: private claims under their own names, members of objects
/// as `outer.inner`. None: its names are longer than `CLAIM_NAMES_BYTES_MAX`.
pub(super) fn of_custom(claims: &Claims) -> Option<UserIdentity> {
    let mut fields = BTreeMap::new();
    let mut left = CLAIM_NAMES_BYTES_MAX;
    for (name, claim) in &claims.all {
        if !is_own(name) && name != "aud" {
            flatten(name.clone(), claim, &mut fields, &mut left)?;
        }
    }
    Some(UserIdentity::new(&claims.issuer, &claims.subject, fields))
}

/// The identity as which an administrator acts. None: neither `tokenIdentifier` nor `issuer` and
/// `subject`, or one of them is no text. Source: spec/sync-protocol.md 3.5.
pub(super) fn of_attributes(mut attributes: Map<String, Json>) -> Option<UserIdentity> {
    let mut text = |name: &str| match attributes.remove(name) {
        None | Some(Json::Null) => Some(None),
        Some(Json::String(text)) => Some(Some(text)),
        Some(_) => None,
    };
    let (issuer, subject) = (text("issuer")?, text("subject")?);
    let identifier = match (text("tokenIdentifier")?, &issuer, &subject) {
        (Some(identifier), _, _) => identifier,
        (None, Some(issuer), Some(subject)) => format!("{issuer}|{subject}"),
        (None, _, _) => return None,
    };
    // The identifier alone says both, as far as it has the usual form.
    let (first, rest) = identifier.split_once('|').unwrap_or(("", &identifier));
    let issuer = issuer.unwrap_or_else(|| first.to_owned());
    let subject = subject.unwrap_or_else(|| rest.to_owned());
    let mut claims: BTreeMap<String, Json> = attributes.into_iter().collect();
    claims.retain(|_, claim| !claim.is_null());
    let identity = UserIdentity::new(&issuer, &subject, claims);
    // Two identifiers may split into the same issuer and subject: the key must tell them apart.
    let cache_key = Json::from(vec![&identity.cache_key[..], &identifier]).to_string().into();
    Some(UserIdentity { token_identifier: identifier, cache_key, ..identity })
}

enum Standard {
    /// A standard claim: its field and value, if it has the right type.
    Field(&'static str, Option<Json>),
    NotOne,
}

fn standard_field(name: &str, claim: &Json) -> Standard {
    let field = |table: &[(&str, &'static str)]| {
        table.iter().find(|(claim, _)| *claim == name).map(|(_, field)| *field)
    };
    if let Some(field) = field(&TEXTS) {
        return Standard::Field(field, claim.as_str().map(Json::from));
    }
    if let Some(field) = field(&FLAGS) {
        return Standard::Field(field, flag(claim).map(Json::from));
    }
    match name {
        "address" => {
            let formatted = claim.get("formatted").and_then(Json::as_str);
            Standard::Field("address", formatted.map(Json::from))
        }
        "updated_at" => Standard::Field("updatedAt", updated_at(claim).map(Json::from)),
        _ => Standard::NotOne,
    }
}

/// Some providers write flags as texts.
fn flag(claim: &Json) -> Option<bool> {
    match (claim.as_bool(), claim.as_str()) {
        (Some(flag), _) => Some(flag),
        (None, Some("true")) => Some(true),
        (None, Some("false")) => Some(false),
        (None, _) => None,
    }
}

/// Seconds since the epoch as RFC 3339; a text is taken as it is.
fn updated_at(claim: &Json) -> Option<String> {
    match claim {
        Json::String(text) => Some(text.clone()),
        _ => rfc3339(claim.as_f64()?),
    }
}

/// Claims that never become fields: the fixed fields come from them, or they are volatile.
fn is_own(name: &str) -> bool {
    name == "iss" || name == "sub" || VOLATILE.contains(&name)
}

/// Depth is bounded by the JSON parser; `left` says how long names may still be.
fn flatten(
    name: String,
    claim: &Json,
    fields: &mut BTreeMap<String, Json>,
    left: &mut usize,
) -> Option<()> {
    *left = left.checked_sub(name.len())?;
    match claim {
        Json::Object(members) => {
            for (inner, member) in members {
                flatten(format!("{name}.{inner}"), member, fields, left)?;
            }
        }
        _ => {
            fields.insert(name, claim.clone());
        }
    }
    Some(())
}

/// A time of the years 0 to 9999, in whole seconds: `2023-11-14T22:13:20+00:00`.
fn rfc3339(seconds: f64) -> Option<String> {
    const YEARS_0_TO_9999: std::ops::Range<f64> = -62_167_219_200.0..253_402_300_800.0;
    if !YEARS_0_TO_9999.contains(&seconds) {
        return None;
    }
    let seconds = seconds.floor() as i64;
    let (day, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Days to a date by eras of 400 years that begin in March, so that leap days come last.
    let day = day + 719_468;
    let (era, of_era) = (day.div_euclid(146_097), day.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    Some(format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}+00:00"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use value::Timestamp;

    use super::*;

    fn claims(mut all: Json) -> Claims {
        all["iss"] = json!("https://a/");
        all["sub"] = json!("u");
        all["exp"] = json!(1);
        Claims {
            issuer: "https://a/".into(),
            subject: "u".into(),
            audience: Vec::new(),
            expires: Timestamp(1),
            not_before: Timestamp(0),
            all: all.as_object().unwrap().clone(),
        }
    }

    fn check(identity: UserIdentity, expected: Json) {
        assert_eq!(identity.token_identifier, "https://a/|u");
        assert_eq!((identity.issuer.as_str(), identity.subject.as_str()), ("https://a/", "u"));
        assert_eq!(json!(identity.claims), expected);
    }

    #[test]
    fn oidc_claims_become_fields() {
        let standard = json!({
            "name":"N","given_name":"G","family_name":"F","nickname":"K","preferred_username":"P",
            "profile":"p","picture":"i","website":"w","email":"e","email_verified":true,
            "gender":"g","birthdate":"b","zoneinfo":"z","locale":"l","phone_number":"1",
            "phone_number_verified":"false","address":{"formatted":"a","country":"c"},
            "updated_at":1_700_000_000});
        let fields = json!({
            "name":"N","givenName":"G","familyName":"F","nickname":"K","preferredUsername":"P",
            "profileUrl":"p","pictureUrl":"i","websiteUrl":"w","email":"e","emailVerified":true,
            "gender":"g","birthday":"b","timezone":"z","language":"l","phoneNumber":"1",
            "phoneNumberVerified":false,"address":"a","updatedAt":"2023-11-14T22:13:20+00:00"});
        check(of_oidc(&claims(standard)), fields);
        let other = json!({"org":{"id":[1]},"aud":"x","role":null,"emailVerified":true,
            "email_verified":false,"name":7,"iat":1,"jti":"j","nbf":1,"fva":[1,2],"nonce":"n"});
        let kept = json!({"org":{"id":[1]},"aud":"x","role":null,"emailVerified":false});
        check(of_oidc(&claims(other)), kept);
    }

    #[test]
    fn custom_claims_are_flattened() {
        let all = json!({"name":"N","email_verified":true,"org":{"id":1,"of":{"x":[{}]}},"e":{},
            "aud":["x"],"iat":1,"fva":1,"jti":"j"});
        let kept = json!({"name":"N","email_verified":true,"org.id":1,"org.of.x":[{}]});
        check(of_custom(&claims(all)).unwrap(), kept);
    }

    #[test]
    fn names_of_flattened_claims_are_bounded() {
        let members: Map<String, Json> = (0..600).map(|n| (n.to_string(), json!(1))).collect();
        let fits = |name: &str| of_custom(&claims(json!({ name: members }))).is_some();
        assert!(fits(&"n".repeat(400)));
        assert!(!fits(&"n".repeat(500)));
    }

    #[test]
    fn renewed_tokens_have_the_key_of_the_old_one() {
        for of in [of_oidc, |claims: &Claims| of_custom(claims).unwrap()] {
            let key = |all: Json| of(&claims(all)).cache_key;
            let first = key(json!({"iat":1,"jti":"a","nbf":1,"email":"e"}));
            assert_eq!(first, key(json!({"iat":2,"jti":"b","nbf":2,"email":"e"})));
            assert_ne!(first, key(json!({"iat":1,"jti":"a","nbf":1,"email":"f"})));
        }
    }

    #[test]
    fn claims_do_not_replace_the_fixed_fields() {
        let forged = json!({"tokenIdentifier":"x|y","subject":"y","issuer":"x"});
        for of in [of_oidc, |claims: &Claims| of_custom(claims).unwrap()] {
            let identity = of(&claims(forged.clone()));
            let seen: Json = serde_json::from_str(&identity.cache_key).unwrap();
            assert_eq!(seen["tokenIdentifier"], "https://a/|u");
            assert_eq!(seen["subject"], "u");
        }
    }

    #[test]
    fn administrators_act_as_users() {
        let of = |json: Json| of_attributes(json.as_object().unwrap().clone());
        let both = of(json!({"issuer":"i","subject":"s","name":"N","x":null})).unwrap();
        assert_eq!(both.token_identifier, "i|s");
        assert_eq!(json!(both.claims), json!({"name":"N"}));
        let one = of(json!({"tokenIdentifier":"i|s|t"})).unwrap();
        assert_eq!((one.issuer.as_str(), one.subject.as_str()), ("i", "s|t"));
        let odd = of(json!({"tokenIdentifier":"odd","issuer":"i","subject":"s"})).unwrap();
        assert_eq!(odd.token_identifier, "odd");
        let usual = of(json!({"issuer":"i","subject":"s"})).unwrap();
        assert_ne!(odd.cache_key, usual.cache_key);
        assert!(of(json!({"issuer":"i"})).is_none());
        assert!(of(json!({"subject":"s","name":"N"})).is_none());
        assert!(of(json!({"tokenIdentifier":7})).is_none());
    }

    #[test]
    fn dates() {
        let check = |seconds: f64, expected: &str| {
            assert_eq!(rfc3339(seconds).as_deref(), Some(expected));
        };
        check(0.0, "1970-01-01T00:00:00+00:00");
        check(951_782_400.5, "2000-02-29T00:00:00+00:00");
        check(951_868_799.0, "2000-02-29T23:59:59+00:00");
        check(-1.0, "1969-12-31T23:59:59+00:00");
        check(-62_167_219_200.0, "0000-01-01T00:00:00+00:00");
        check(253_402_300_799.0, "9999-12-31T23:59:59+00:00");
        assert_eq!(rfc3339(1e20), None);
        assert_eq!(rfc3339(f64::NAN), None);
    }
}

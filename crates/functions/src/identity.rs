//! Who calls, and whether the function may know it.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value as Json;
use value::limits::{OBJECT_FIELDS_MAX, VALUE_NESTING_MAX, check_field_name};
use value::{Value, json, object};

use crate::error::Result;

/// A signed-in user: what `ctx.auth().get_user_identity()` gives.
///
/// `claims` hold the other fields by the names that functions see (`name`, `email`, …); which
/// claim becomes which field is decided where tokens are verified. Source: spec/engine.md 16.2.
#[derive(Clone, Debug, PartialEq)]
pub struct UserIdentity {
    /// `issuer|subject`: one user of one provider.
    pub token_identifier: String,
    /// The provider.
    pub issuer: String,
    /// The user, by the provider's name for it.
    pub subject: String,
    /// All other fields.
    pub claims: BTreeMap<String, Json>,
    /// Equal for tokens that say the same about the user, however often they were renewed.
    pub cache_key: Arc<str>,
}

impl UserIdentity {
    /// A user with these fields. The cache key covers all of them.
    pub fn new(issuer: &str, subject: &str, claims: BTreeMap<String, Json>) -> UserIdentity {
        let identity = UserIdentity {
            token_identifier: format!("{issuer}|{subject}"),
            issuer: issuer.to_string(),
            subject: subject.to_string(),
            claims,
            cache_key: Arc::from(""),
        };
        let key = Json::Object(identity.fields()).to_string();
        UserIdentity { cache_key: Arc::from(key), ..identity }
    }

    /// A claim that is a text, such as `name` or `email`.
    pub fn claim(&self, name: &str) -> Option<&str> {
        self.claims.get(name).and_then(Json::as_str)
    }

    /// The object that JavaScript functions see: always a legal value. Claims that no field can hold
    /// are left out: by their name, by what they hold, or as more than the fields of one object.
    pub fn to_value(&self) -> Value {
        let mut object = object! {
            "tokenIdentifier" => self.token_identifier.as_str(),
            "issuer" => self.issuer.as_str(),
            "subject" => self.subject.as_str(),
        };
        for (name, claim) in &self.claims {
            if object.len() >= OBJECT_FIELDS_MAX {
                break;
            }
            if object.contains_key(name) || check_field_name(name).is_err() {
                continue;
            }
            match json::from_json(claim.clone()) {
                Ok(claim) if claim.nesting() < VALUE_NESTING_MAX => {
                    object.insert(name.as_str(), claim);
                }
                Ok(_) | Err(_) => {}
            }
        }
        Value::Object(object)
    }

    fn fields(&self) -> serde_json::Map<String, Json> {
        let mut fields: serde_json::Map<String, Json> =
            self.claims.iter().map(|(name, claim)| (name.clone(), claim.clone())).collect();
        fields.insert("tokenIdentifier".to_string(), Json::from(self.token_identifier.as_str()));
        fields.insert("issuer".to_string(), Json::from(self.issuer.as_str()));
        fields.insert("subject".to_string(), Json::from(self.subject.as_str()));
        fields
    }
}

impl serde::Serialize for UserIdentity {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.fields().serialize(serializer)
    }
}

/// What a run may know of its caller.
#[derive(Clone, Debug, PartialEq)]
pub enum IdentityAccess {
    /// This caller; None: not signed in.
    Known(Option<Arc<UserIdentity>>),
    /// The run is shared by callers of any identity: asking for it ends the run, which is then
    /// repeated for each of them.
    Withheld,
}

impl IdentityAccess {
    /// Nobody is signed in.
    pub fn anonymous() -> IdentityAccess {
        IdentityAccess::Known(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fixed_fields_win_over_claims() {
        let claims = BTreeMap::from([
            ("name".to_string(), Json::from("Ada")),
            ("subject".to_string(), Json::from("forged")),
        ]);
        let ada = UserIdentity::new("https://a.example", "u1", claims.clone());
        let json = serde_json::to_string(&ada).unwrap();
        assert_eq!(
            json,
            r#"{"issuer":"https://a.example","name":"Ada","subject":"u1","tokenIdentifier":"https://a.example|u1"}"#
        );
        assert_eq!(json::to_string(&ada.to_value()), json);
        assert_eq!(ada.claim("name"), Some("Ada"));
        let again = UserIdentity::new("https://a.example", "u1", claims.clone());
        assert_eq!(ada.cache_key, again.cache_key);
        let other = UserIdentity::new("https://a.example", "u2", claims);
        assert_ne!(ada.cache_key, other.cache_key);
    }

    #[test]
    fn claims_that_no_field_can_hold_are_left_out() {
        let deep = (0..VALUE_NESTING_MAX).fold(Json::Null, |inner, _| Json::from(vec![inner]));
        let mut claims = BTreeMap::from([
            ("é".to_string(), Json::from(1)),
            ("$integer".to_string(), Json::from("BQAAAAAAAAA=")),
            ("a\n".to_string(), Json::from(1)),
            ("inner".to_string(), serde_json::json!({"$x": 1})),
            ("zdeep".to_string(), deep[0].clone()),
            ("deep".to_string(), deep),
            ("fits".to_string(), Json::from(1)),
        ]);
        let value = UserIdentity::new("i", "s", claims.clone()).to_value();
        value::limits::check_value(&value).unwrap();
        let names: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(names, ["fits", "issuer", "subject", "tokenIdentifier", "zdeep"]);

        claims.extend((0..OBJECT_FIELDS_MAX).map(|n| (format!("c{n}"), Json::Null)));
        let value = UserIdentity::new("i", "s", claims).to_value();
        value::limits::check_value(&value).unwrap();
        assert!(value.as_object().unwrap().contains_key("subject"));
    }
}

//! What a setting takes.

use std::net::IpAddr;

/// Digits of a secret.
const SECRET_DIGITS: usize = 64;

/// The values of a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Path,
    /// An address of an interface of this machine.
    Address,
    /// A name that can stand before the `|` of an admin key.
    Name,
    /// 64 hex digits. Never shown.
    Secret,
    /// An http or https URL of a server, without a slash at its end.
    Origin,
    /// A whole number.
    Number {
        min: u64,
        max: u64,
    },
    /// On or off.
    Switch,
    /// One of these words.
    OneOf(&'static [&'static str]),
}

impl Kind {
    /// Why `text` is none of these values. The message follows the name of the setting, and never
    /// shows a secret.
    pub(crate) fn check(self, text: &str) -> Result<(), String> {
        match self {
            Kind::Text => Ok(()),
            Kind::Path if text.is_empty() => Err("takes a path, not nothing".to_owned()),
            Kind::Path => Ok(()),
            Kind::Address => match text.parse::<IpAddr>() {
                Ok(_) => Ok(()),
                Err(_) => Err(format!("takes an address such as 127.0.0.1, not {text:?}")),
            },
            Kind::Name if text.is_empty() || text.contains(['|', ':']) => {
                Err(format!("takes an instance name without `|` and `:`, not {text:?}"))
            }
            Kind::Name => Ok(()),
            Kind::Secret if is_secret(text) => Ok(()),
            Kind::Secret => Err(format!("takes {SECRET_DIGITS} hex digits")),
            Kind::Origin => check_origin(text),
            Kind::Number { min, max } => match text.parse::<u64>() {
                Ok(number) if (min..=max).contains(&number) => Ok(()),
                Ok(_) | Err(_) => {
                    Err(format!("takes a whole number from {min} to {max}, not {text:?}"))
                }
            },
            Kind::Switch => switch(text).map(drop),
            Kind::OneOf(words) if words.contains(&text) => Ok(()),
            Kind::OneOf(words) => Err(format!("takes {}, not {text:?}", words.join(" or "))),
        }
    }

    /// What stands behind the flag in help.
    pub(crate) fn placeholder(self) -> &'static str {
        match self {
            Kind::Text => "TEXT",
            Kind::Path => "PATH",
            Kind::Address => "ADDRESS",
            Kind::Name => "NAME",
            Kind::Secret => "HEX",
            Kind::Origin => "URL",
            Kind::Number { .. } => "NUMBER",
            Kind::Switch => "true|false",
            Kind::OneOf(_) => "WORD",
        }
    }
}

/// Whether a switch is on. Errors: a word for neither.
pub(crate) fn switch(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" => Ok(false),
        _ => Err(format!("takes true or false, not {text:?}")),
    }
}

fn is_secret(text: &str) -> bool {
    text.len() == SECRET_DIGITS && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn check_origin(text: &str) -> Result<(), String> {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    match rest {
        Some(rest) if !rest.is_empty() && !rest.contains([' ', '?', '#']) => Ok(()),
        Some(_) | None => {
            Err(format!("takes a URL that begins with https:// or http://, not {text:?}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_each_kind() {
        let check = |kind: Kind, good: &[&str], bad: &[&str]| {
            for text in good {
                assert_eq!(kind.check(text), Ok(()), "{kind:?}");
            }
            for text in bad {
                assert!(kind.check(text).is_err(), "{kind:?} {text:?}");
            }
        };
        check(Kind::Text, &["", "a"], &[]);
        check(Kind::Path, &["a"], &[""]);
        check(Kind::Address, &["0.0.0.0", "::1"], &["", "localhost", "1.2.3"]);
        check(Kind::Name, &["a-b"], &["", "a|b", "prod:a"]);
        let secret = "0f".repeat(32);
        check(
            Kind::Secret,
            &[&secret, &secret.to_uppercase()],
            &["", &secret[1..], &"xy".repeat(32)],
        );
        check(Kind::Origin, &["http://a", "https://a.b:1/http"], &["", "a", "https://", "ftp://a"]);
        let number = Kind::Number { min: 1, max: 9 };
        check(number, &["1", "9"], &["0", "10", "", "-1", "1.5", "x", "99999999999999999999"]);
        check(Kind::Switch, &["true", "0", "ON"], &["", "x"]);
        check(Kind::OneOf(&["a", "b"]), &["a"], &["", "c", "A"]);
    }

    #[test]
    fn a_secret_that_is_none_is_not_shown() {
        assert!(!Kind::Secret.check("hunter2").unwrap_err().contains("hunter2"));
    }
}

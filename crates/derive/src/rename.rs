//! serde's `rename_all` rules, applied to fields (`snake_case` in Rust) and to variants
//! (`PascalCase` in Rust).

/// One of serde's naming rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    Lower,
    Upper,
    Pascal,
    Camel,
    Snake,
    ScreamingSnake,
    Kebab,
    ScreamingKebab,
}

impl Rule {
    /// The rule by the name that serde gives it.
    pub(crate) fn parse(name: &str) -> Option<Rule> {
        Some(match name {
            "lowercase" => Rule::Lower,
            "UPPERCASE" => Rule::Upper,
            "PascalCase" => Rule::Pascal,
            "camelCase" => Rule::Camel,
            "snake_case" => Rule::Snake,
            "SCREAMING_SNAKE_CASE" => Rule::ScreamingSnake,
            "kebab-case" => Rule::Kebab,
            "SCREAMING-KEBAB-CASE" => Rule::ScreamingKebab,
            _ => return None,
        })
    }

    /// A field name, written in snake case.
    pub(crate) fn field(self, name: &str) -> String {
        match self {
            Rule::Lower | Rule::Snake => name.to_string(),
            Rule::Upper | Rule::ScreamingSnake => name.to_ascii_uppercase(),
            Rule::Pascal => pascal(name),
            Rule::Camel => first_lower(&pascal(name)),
            Rule::Kebab => name.replace('_', "-"),
            Rule::ScreamingKebab => name.to_ascii_uppercase().replace('_', "-"),
        }
    }

    /// A variant name, written in Pascal case.
    pub(crate) fn variant(self, name: &str) -> String {
        match self {
            Rule::Pascal => name.to_string(),
            Rule::Lower => name.to_ascii_lowercase(),
            Rule::Upper => name.to_ascii_uppercase(),
            Rule::Camel => first_lower(name),
            Rule::Snake => snake(name),
            Rule::ScreamingSnake => snake(name).to_ascii_uppercase(),
            Rule::Kebab => snake(name).replace('_', "-"),
            Rule::ScreamingKebab => snake(name).to_ascii_uppercase().replace('_', "-"),
        }
    }
}

fn pascal(name: &str) -> String {
    let mut out = String::new();
    let mut up = true;
    for c in name.chars() {
        if c == '_' {
            up = true;
        } else if up {
            out.push(c.to_ascii_uppercase());
            up = false;
        } else {
            out.push(c);
        }
    }
    out
}

fn snake(name: &str) -> String {
    let mut out = String::new();
    for (at, c) in name.char_indices() {
        if at > 0 && c.is_uppercase() {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

fn first_lower(name: &str) -> String {
    let mut chars = name.chars();
    match chars.next() {
        Some(c) => c.to_ascii_lowercase().to_string() + chars.as_str(),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::Rule;

    #[test]
    fn names_follow_serde() {
        let check = |rule: &str, field: &str, variant: &str| {
            let rule = Rule::parse(rule).unwrap();
            assert_eq!(rule.field("last_seen_at"), field);
            assert_eq!(rule.variant("VeryTasty"), variant);
        };
        check("lowercase", "last_seen_at", "verytasty");
        check("UPPERCASE", "LAST_SEEN_AT", "VERYTASTY");
        check("PascalCase", "LastSeenAt", "VeryTasty");
        check("camelCase", "lastSeenAt", "veryTasty");
        check("snake_case", "last_seen_at", "very_tasty");
        check("SCREAMING_SNAKE_CASE", "LAST_SEEN_AT", "VERY_TASTY");
        check("kebab-case", "last-seen-at", "very-tasty");
        check("SCREAMING-KEBAB-CASE", "LAST-SEEN-AT", "VERY-TASTY");
        assert_eq!(Rule::parse("Title Case"), None);
    }
}

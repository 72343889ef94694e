//! What is agreed on about compression: `permessage-deflate` (RFC 7692, 7.1).
//!
//! The answer always forbids the client to refer to earlier messages: what clients send is short, and
//! so no socket has to keep a window of 32 KiB for it. What we send may refer to earlier messages unless
//! the client forbids it.

/// The name of the extension.
const NAME: &str = "permessage-deflate";

/// The largest window, as a power of two, and the smallest that compressors can do.
const WINDOW_BITS_MAX: u8 = 15;
const WINDOW_BITS_MIN: u8 = 9;

/// The compression of one socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::socket) struct Extension {
    /// What we send may refer to earlier messages.
    pub(super) takeover: bool,
    /// How far back it may refer, as a power of two of bytes.
    pub(super) window_bits: u8,
    /// The client asked for a window, and must be told.
    window_asked: bool,
}

impl Extension {
    /// The first of the client's offers that we can keep to. Offers of other extensions, and offers with
    /// parameters that are unknown, doubled or out of range, are passed over. A quoted text with a
    /// separator in it falls apart, which is as well: no parameter has one.
    /// `header` is the value of `Sec-WebSocket-Extensions`, several joined by commas.
    pub(in crate::socket) fn choose(header: &str) -> Option<Extension> {
        header.split(',').find_map(read)
    }

    /// The value of `Sec-WebSocket-Extensions` in the answer.
    pub(in crate::socket) fn answer(&self) -> String {
        let mut answer = format!("{NAME}; client_no_context_takeover");
        if !self.takeover {
            answer.push_str("; server_no_context_takeover");
        }
        if self.window_asked {
            answer.push_str(&format!("; server_max_window_bits={}", self.window_bits));
        }
        answer
    }
}

fn read(offer: &str) -> Option<Extension> {
    let mut parts = offer.split(';');
    if !parts.next()?.trim().eq_ignore_ascii_case(NAME) {
        return None;
    }
    let mut extension =
        Extension { takeover: true, window_bits: WINDOW_BITS_MAX, window_asked: false };
    let mut seen: Vec<&str> = Vec::new();
    for part in parts {
        let (name, value) = match part.split_once('=') {
            Some((name, value)) => (name.trim(), Some(unquote(value.trim())?)),
            None => (part.trim(), None),
        };
        if seen.contains(&name) {
            return None;
        }
        seen.push(name);
        match (name, value) {
            ("server_no_context_takeover", None) => extension.takeover = false,
            // It holds anyway, and a window of any size can be read.
            ("client_no_context_takeover" | "client_max_window_bits", None) => {}
            ("client_max_window_bits", Some(bits)) => drop(window_bits(bits)?),
            ("server_max_window_bits", Some(bits)) => {
                extension.window_bits = window_bits(bits)?;
                extension.window_asked = true;
                if extension.window_bits < WINDOW_BITS_MIN {
                    return None;
                }
            }
            (_, _) => return None,
        }
    }
    Some(extension)
}

/// 8 to 15, without leading zeros.
fn window_bits(text: &str) -> Option<u8> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    text.parse().ok().filter(|bits| digits && (8..=WINDOW_BITS_MAX).contains(bits))
}

fn unquote(value: &str) -> Option<&str> {
    match value.strip_prefix('"') {
        Some(rest) => rest.strip_suffix('"'),
        None => Some(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(offer: &str, answer: Option<&str>) {
        let chosen = Extension::choose(offer).map(|extension| extension.answer());
        let answer = answer.map(|rest| format!("{NAME}; client_no_context_takeover{rest}"));
        assert_eq!(chosen, answer, "{offer}");
    }

    #[test]
    fn offers_of_real_clients() {
        // Chrome, Firefox, Safari, npm ws, Python websockets.
        check("permessage-deflate; client_max_window_bits", Some(""));
        check("permessage-deflate", Some(""));
        // Older Safari offered this one first.
        check("x-webkit-deflate-frame, permessage-deflate", Some(""));
        // Autobahn: all that it can, by preference.
        check(
            "permessage-deflate; client_no_context_takeover; client_max_window_bits, \
             permessage-deflate; client_no_context_takeover, permessage-deflate",
            Some(""),
        );
    }

    #[test]
    fn parameters_are_answered() {
        check(
            "permessage-deflate; server_no_context_takeover",
            Some("; server_no_context_takeover"),
        );
        check("permessage-deflate;server_max_window_bits=10", Some("; server_max_window_bits=10"));
        check(
            "permessage-deflate; server_max_window_bits=\"15\"",
            Some("; server_max_window_bits=15"),
        );
        check("permessage-deflate; client_max_window_bits=8", Some(""));
        check("Permessage-Deflate ; client_no_context_takeover ", Some(""));
        check(
            "permessage-deflate; server_max_window_bits=9; server_no_context_takeover",
            Some("; server_no_context_takeover; server_max_window_bits=9"),
        );
    }

    #[test]
    fn bad_offers_are_passed_over() {
        for parameters in [
            "unknown",
            "client_max_window_bits; client_max_window_bits",
            "client_no_context_takeover=1",
            "server_no_context_takeover=true",
            "server_max_window_bits",
            "server_max_window_bits=",
            "server_max_window_bits=8",
            "server_max_window_bits=16",
            "server_max_window_bits=010",
            "server_max_window_bits=+9",
            "server_max_window_bits=\"9",
            "client_max_window_bits=7",
            "client_max_window_bits=0",
            "client_max_window_bits=x",
            "client_max_window_bits=\"\"",
            "",
        ] {
            let offer = format!("permessage-deflate; {parameters}");
            check(&offer, None);
            check(&format!("{offer}, permessage-deflate"), Some(""));
        }
        check("", None);
        check("permessage-bzip2", None);
        check("deflate", None);
        check(",;=,\"", None);
    }
}

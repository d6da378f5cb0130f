//! Messages: what an owner wrote, as far as it fits on a line.

/// Longest message, bytes: a few lines of a terminal. Values of a megabyte are quoted in messages, too.
pub const BYTES_MAX: usize = 600;

/// A message on one line, and no longer than [`BYTES_MAX`].
#[must_use]
pub fn bounded(message: String) -> String {
    let mut message = message;
    if message.len() > BYTES_MAX {
        const CUT: &str = " … (cut)";
        message.truncate(message.floor_char_boundary(BYTES_MAX - CUT.len()));
        message.push_str(CUT);
    }
    if message.contains(char::is_control) {
        return message.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect();
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_stay_on_a_line() {
        for (message, want) in [("a", "a"), ("a\nb", "a\u{fffd}b"), ("é", "é")] {
            assert_eq!(bounded(message.to_owned()), want);
        }
        let long = bounded("é".repeat(BYTES_MAX));
        assert!(long.len() <= BYTES_MAX && long.ends_with("(cut)"), "{long}");
    }
}

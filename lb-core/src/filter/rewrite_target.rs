//! `rewrite-target`: the backend sees another path. `$1` to `$9` are groups of the path expression; the query is kept.

use super::{Request, Verdict};
use crate::model::PathMatch;
use serde::Serialize;
use std::borrow::Cow;

/// A parsed target.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct RewriteTarget {
    text: String,
    #[serde(skip)]
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Piece {
    Text(String),
    Group(usize),
}

/// A target that no request could be sent to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTarget {
    /// Empty.
    #[error("the target is empty")]
    Empty,
    /// Neither `/` nor a group at its start.
    #[error("\"{0}\" begins neither with / nor with a group such as $1")]
    Relative(String),
    /// Bytes that a request target cannot have.
    #[error("{0:?} contains a character that no request target can have")]
    Character(String),
}

impl RewriteTarget {
    /// Reads the value of the annotation.
    ///
    /// # Errors
    /// [`InvalidTarget`], when no request could be sent to it.
    pub fn parse(text: &str) -> Result<Self, InvalidTarget> {
        if text.is_empty() {
            return Err(InvalidTarget::Empty);
        }
        if !text.bytes().all(|b| b.is_ascii_graphic() && b != b'#') {
            return Err(InvalidTarget::Character(text.to_owned()));
        }
        let pieces = pieces(text);
        match pieces.first() {
            Some(Piece::Group(_)) => {}
            Some(Piece::Text(first)) if first.starts_with('/') => {}
            _ => return Err(InvalidTarget::Relative(text.to_owned())),
        }
        Ok(Self { text: text.to_owned(), pieces })
    }

    /// The highest group that it names; 0 when none.
    #[must_use]
    pub fn group_max(&self) -> usize {
        self.pieces.iter().map(|p| if let Piece::Group(n) = p { *n } else { 0 }).max().unwrap_or(0)
    }

    /// The value of the annotation.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn apply(&self, rule: &PathMatch, request: &mut Request<'_>) -> Verdict {
        if rule.text() == self.text {
            return Verdict::Continue;
        }
        let mut target = self.expand(rule, request.path);
        if !target.starts_with('/') {
            target.insert(0, '/');
        }
        if let Some((_, query)) = request.received_target.split_once('?') {
            target.push(if target.contains('?') { '&' } else { '?' });
            target.push_str(query);
        }
        request.target = Cow::Owned(target);
        Verdict::Continue
    }

    fn expand(&self, rule: &PathMatch, path: &str) -> String {
        let captures = match rule {
            PathMatch::Regex(expression) if self.group_max() > 0 => expression.regex().captures(path),
            _ => None,
        };
        let group = |n: usize| captures.as_ref().and_then(|c| c.get(n)).map_or("", |m| m.as_str());
        self.pieces.iter().map(|piece| if let Piece::Group(n) = piece { group(*n) } else { piece.text() }).collect()
    }
}

impl Piece {
    fn text(&self) -> &str {
        match self {
            Self::Text(text) => text,
            Self::Group(_) => "",
        }
    }
}

fn pieces(text: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut literal = String::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let digit = if c == '$' { chars.peek().and_then(|d| d.to_digit(10)).filter(|d| *d > 0) } else { None };
        let Some(digit) = digit else {
            literal.push(c);
            continue;
        };
        chars.next();
        if !literal.is_empty() {
            pieces.push(Piece::Text(std::mem::take(&mut literal)));
        }
        pieces.push(Piece::Group(digit as usize));
    }
    if !literal.is_empty() {
        pieces.push(Piece::Text(literal));
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::super::tests::request;
    use super::*;

    fn check(rule: &str, target: &str, received: &str, want: &str) {
        let filter = RewriteTarget::parse(target).expect("valid target");
        let mut request = request(received);
        assert_eq!(filter.apply(&PathMatch::regex(rule).expect("valid path"), &mut request), Verdict::Continue);
        assert_eq!(request.target, want, "{rule} {target} {received}");
    }

    #[test]
    fn rewrites() {
        check("/something(/|$)(.*)", "/$2", "/something/new?x=1", "/new?x=1");
        check("/something(/|$)(.*)", "/$2", "/something", "/");
        check("/something(/|$)(.*)", "$1$2", "/something", "/");
        check("/cart", "/", "/cart/items", "/");
        check("/cart", "/cart", "/cart/items", "/cart/items");
        check("/a(.*)", "/b$1?from=a", "/a/1?x=2", "/b/1?from=a&x=2");
        check("/a", "/$9", "/a", "/");
        check("/a", "/cost$", "/a", "/cost$");
    }

    #[test]
    fn refused_targets() {
        for (text, want) in [
            ("", InvalidTarget::Empty),
            ("foo", InvalidTarget::Relative("foo".to_owned())),
            ("/a b", InvalidTarget::Character("/a b".to_owned())),
            ("/a\r\nX: y", InvalidTarget::Character("/a\r\nX: y".to_owned())),
        ] {
            assert_eq!(RewriteTarget::parse(text), Err(want));
        }
    }
}

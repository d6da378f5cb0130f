//! The index by path of one host: Exact by one hash look-up, Prefix by one for each element, expressions in order.
//!
//! Goes in: paths of rules, then paths of requests in normal form ([`normalize`]). Comes out: the place of the winner among
//! the routes of the host.

use super::table::Table;
use crate::model::PathMatch;
use std::borrow::Cow;

/// Paths of one host.
#[derive(Debug, Default)]
pub struct PathIndex {
    exact: Table<u32>,
    /// By path without trailing slashes; `/foo` and `/foo/` share a key, and the longer one wins for both.
    prefix: Table<PrefixEntry>,
    /// Most elements that a Prefix of this host has: longer request paths are cut there before the first look-up.
    depth_max: usize,
    /// By descending length of the text.
    regex: Box<[u32]>,
}

/// An index in the making.
#[derive(Debug, Default)]
pub struct Draft {
    index: PathIndex,
    regex: Vec<u32>,
    /// Who has an expression.
    regex_texts: Table<u32>,
}

#[derive(Debug, Default)]
struct PrefixEntry {
    plain: Option<u32>,
    slashed: Option<u32>,
}

/// What became of an insertion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inserted {
    /// It is in.
    New,
    /// The same type and path are held by this route.
    Held(u32),
}

impl Draft {
    /// Adds a path.
    pub fn insert(&mut self, path: &PathMatch, id: u32) -> Inserted {
        let slot = match path {
            PathMatch::Exact(text) => return put(&mut self.index.exact, &rule_form(text), id),
            PathMatch::Regex(expression) => {
                let outcome = put(&mut self.regex_texts, expression.text(), id);
                if outcome == Inserted::New {
                    self.regex.push(id);
                }
                return outcome;
            }
            PathMatch::Prefix(text) => {
                let text = rule_form(text);
                let key = text.trim_end_matches('/');
                self.index.depth_max = self.index.depth_max.max(key.matches('/').count());
                let (entry, _) = self.index.prefix.get_or_insert_with(key, PrefixEntry::default);
                if key.len() < text.len() { &mut entry.slashed } else { &mut entry.plain }
            }
        };
        match *slot {
            Some(held) => Inserted::Held(held),
            None => {
                *slot = Some(id);
                Inserted::New
            }
        }
    }

    /// Orders the expressions by descending length; those of one length by descending text, as ingress-nginx does.
    #[must_use]
    pub fn seal<'a>(mut self, text: impl Fn(u32) -> &'a str) -> PathIndex {
        self.regex.sort_by(|a, b| {
            let (a, b) = (text(*a), text(*b));
            b.len().cmp(&a.len()).then_with(|| b.cmp(a))
        });
        PathIndex { regex: self.regex.into(), ..self.index }
    }
}

impl PathIndex {
    /// The winner for a request path in normal form: an equal Exact path, else the longest of Prefix and expression.
    #[must_use]
    pub fn find<'a>(&self, path: &str, rule: impl Fn(u32) -> &'a PathMatch) -> Option<u32> {
        if let Some(id) = self.exact.get(path) {
            return Some(*id);
        }
        let prefix = self.find_prefix(path);
        if self.regex.is_empty() {
            return prefix;
        }
        let prefix_len = prefix.map_or(0, |id| rule(id).text().len());
        for id in &self.regex {
            let PathMatch::Regex(expression) = rule(*id) else { continue };
            if expression.text().len() < prefix_len {
                break;
            }
            if expression.regex().is_match(path) {
                return Some(*id);
            }
        }
        prefix
    }

    fn find_prefix(&self, path: &str) -> Option<u32> {
        if self.prefix.is_empty() {
            return None;
        }
        let mut rest = first_elements(path, self.depth_max).trim_end_matches('/');
        loop {
            if let Some(entry) = self.prefix.get(rest) {
                return entry.slashed.or(entry.plain);
            }
            rest = &rest[..rest.rfind('/')?];
        }
    }
}

/// A request target's path that cannot be brought into normal form: the answer is 400.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadPath {
    /// `%` without two hexadecimal digits after it.
    #[error("the path has a % that two hexadecimal digits do not follow")]
    Escape,
    /// More `..` than elements before it.
    #[error("the path climbs above its root")]
    AboveRoot,
    /// `%00`.
    #[error("the path has an escaped NUL")]
    Nul,
}

/// The normal form of a request path for matching (RFC 3986 section 6.2.2): escaped unreserved characters are
/// decoded, other escapes are in upper case (`%2F` stays), dot segments are resolved. Allocates only when it must.
///
/// # Errors
/// [`BadPath`], when there is no normal form.
pub fn normalize(path: &str) -> Result<Cow<'_, str>, BadPath> {
    let decoded = if path.contains('%') { Cow::Owned(decode_unreserved(path)?) } else { Cow::Borrowed(path) };
    if !decoded.contains("/.") {
        return Ok(decoded);
    }
    Ok(match resolve_dots(&decoded)? {
        Some(resolved) => Cow::Owned(resolved),
        None => decoded,
    })
}

/// A rule's path in the normal form of requests: what a request cannot carry as it is, is escaped.
fn rule_form(text: &str) -> Cow<'_, str> {
    if text.bytes().all(|b| b.is_ascii_graphic() && b != b'%') {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for byte in text.bytes() {
        if byte.is_ascii_graphic() {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    decode_unreserved(&escaped).map_or(Cow::Borrowed(text), Cow::Owned)
}

fn decode_unreserved(path: &str) -> Result<String, BadPath> {
    let mut out = String::with_capacity(path.len());
    let mut parts = path.split('%');
    out.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let digits = part.get(..2).ok_or(BadPath::Escape)?;
        if !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(BadPath::Escape);
        }
        let byte = u8::from_str_radix(digits, 16).map_err(|_| BadPath::Escape)?;
        match byte {
            0 => return Err(BadPath::Nul),
            b if b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~') => out.push(char::from(b)),
            _ => {
                out.push('%');
                out.push_str(&digits.to_ascii_uppercase());
            }
        }
        out.push_str(&part[2..]);
    }
    Ok(out)
}

/// Resolves `.` and `..` elements; `None` when there are none.
fn resolve_dots(path: &str) -> Result<Option<String>, BadPath> {
    if !path.split('/').any(|element| matches!(element, "." | "..")) {
        return Ok(None);
    }
    let mut kept: Vec<&str> = Vec::new();
    let mut elements = path.split('/').skip(1).peekable();
    while let Some(element) = elements.next() {
        let last = elements.peek().is_none();
        match element {
            "." if last => kept.push(""),
            "." => {}
            ".." => {
                kept.pop().ok_or(BadPath::AboveRoot)?;
                if last {
                    kept.push("");
                }
            }
            other => kept.push(other),
        }
    }
    Ok(Some(format!("/{}", kept.join("/"))))
}

/// The path up to and including its first `count` elements.
fn first_elements(path: &str, count: usize) -> &str {
    match path.match_indices('/').nth(count) {
        Some((end, _)) => &path[..end],
        None => path,
    }
}

fn put(table: &mut Table<u32>, text: &str, id: u32) -> Inserted {
    match table.get_or_insert_with(text, || id) {
        (_, true) => Inserted::New,
        (held, false) => Inserted::Held(*held),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_forms() {
        let check = |path: &str, want: Result<&str, BadPath>| {
            let got = normalize(path);
            assert_eq!(got.as_deref().map_err(|e| *e), want, "{path}");
        };
        check("/", Ok("/"));
        check("/a/b", Ok("/a/b"));
        check("/%61%2fb", Ok("/a%2Fb"));
        check("/a/%2e%2E/b", Ok("/b"));
        check("/a/./b/.", Ok("/a/b/"));
        check("/a/b/..", Ok("/a/"));
        check("/.well-known/x", Ok("/.well-known/x"));
        check("/a/..b/...", Ok("/a/..b/..."));
        check("/..", Err(BadPath::AboveRoot));
        check("/a/../../b", Err(BadPath::AboveRoot));
        check("/%", Err(BadPath::Escape));
        check("/%4", Err(BadPath::Escape));
        check("/%+1", Err(BadPath::Escape));
        check("/%zz", Err(BadPath::Escape));
        check("/%00", Err(BadPath::Nul));
        check("/%é", Err(BadPath::Escape));
    }

    #[test]
    fn elements_from_the_start() {
        assert_eq!(first_elements("/a/b/c", 0), "");
        assert_eq!(first_elements("/a/b/c", 2), "/a/b");
        assert_eq!(first_elements("/a/b/c", 3), "/a/b/c");
        assert_eq!(first_elements("/a/b/c", 9), "/a/b/c");
    }
}

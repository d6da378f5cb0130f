//! A text with variables of nginx, as annotations have them: `https://example.com$request_uri`.
//!
//! Goes in: the text, once; a [`Request`], each time. Comes out: text. Every value is read into pieces when the
//! configuration is: nothing is ever interpreted a second time. Knows the variables that [`VARIABLES`] lists, no more.

use super::Request;
use serde::Serialize;

/// A parsed text.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(into = "String")]
pub struct Template {
    text: String,
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Piece {
    Text(String),
    Variable(Variable),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Variable {
    Args,
    Client,
    Host,
    IsArgs,
    Path,
    Scheme,
    Target,
}

/// Names of variables, without the dollar.
const VARIABLES: [(&str, Variable); 10] = [
    ("args", Variable::Args),
    ("best_http_host", Variable::Host),
    ("document_uri", Variable::Path),
    ("host", Variable::Host),
    ("is_args", Variable::IsArgs),
    ("query_string", Variable::Args),
    ("remote_addr", Variable::Client),
    ("request_uri", Variable::Target),
    ("scheme", Variable::Scheme),
    ("uri", Variable::Path),
];

/// A text that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTemplate {
    /// A character that ends a header field, or that no URL has.
    #[error("{0:?} contains a character that is neither a letter nor a digit nor a sign of a URL")]
    Character(String),
    /// A dollar that no name follows.
    #[error("{0:?} has a $ that no variable name follows")]
    Dollar(String),
    /// A variable that is not known.
    #[error("variable ${0} is not known")]
    Variable(String),
}

impl Template {
    /// Reads a text: `$name` and `${name}` are variables.
    ///
    /// # Errors
    /// [`InvalidTemplate`].
    pub fn parse(text: &str) -> Result<Self, InvalidTemplate> {
        if !text.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'"' | b'<' | b'>' | b'\\' | b'^' | b'`')) {
            return Err(InvalidTemplate::Character(text.to_owned()));
        }
        let mut parts = text.split('$');
        let mut pieces = Vec::new();
        push_text(&mut pieces, parts.next().unwrap_or_default());
        for part in parts {
            let (name, rest) = name(part).ok_or_else(|| InvalidTemplate::Dollar(text.to_owned()))?;
            let known = VARIABLES.iter().find(|(known, _)| *known == name);
            let (_, variable) = known.ok_or_else(|| InvalidTemplate::Variable(name.to_owned()))?;
            pieces.push(Piece::Variable(*variable));
            push_text(&mut pieces, rest);
        }
        Ok(Self { text: text.to_owned(), pieces })
    }

    /// The text for a request.
    #[must_use]
    pub fn expand(&self, request: &Request<'_>) -> String {
        let mut out = String::with_capacity(self.text.len() + request.received_target.len());
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Variable(variable) => variable.write(request, &mut out),
            }
        }
        out
    }
}

impl From<Template> for String {
    fn from(template: Template) -> Self {
        template.text
    }
}

impl Variable {
    fn write(self, request: &Request<'_>, out: &mut String) {
        let query = request.received_target.split_once('?').map(|(_, query)| query);
        match self {
            Self::Args => out.push_str(query.unwrap_or_default()),
            Self::Client => out.push_str(&request.client.to_string()),
            Self::Host => out.push_str(request.host),
            Self::IsArgs => out.push_str(if query.is_some_and(|q| !q.is_empty()) { "?" } else { "" }),
            Self::Path => out.push_str(request.path),
            Self::Scheme => out.push_str(if request.secure { "https" } else { "http" }),
            Self::Target => out.push_str(request.received_target),
        }
    }
}

/// The name at the start of what follows a dollar, and what is left. `None` where there is no name.
fn name(part: &str) -> Option<(&str, &str)> {
    if let Some(braced) = part.strip_prefix('{') {
        return braced.split_once('}').filter(|(name, _)| !name.is_empty());
    }
    let end = part.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(part.len());
    (end > 0).then(|| part.split_at(end))
}

fn push_text(pieces: &mut Vec<Piece>, text: &str) {
    if !text.is_empty() {
        pieces.push(Piece::Text(text.to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::request;
    use super::*;

    fn check(text: &str, target: &str, want: Result<&str, InvalidTemplate>) {
        let got = Template::parse(text).map(|template| template.expand(&request(target)));
        assert_eq!(got, want.map(str::to_owned), "{text} {target}");
    }

    #[test]
    fn variables() {
        check("a", "/x", Ok("a"));
        check("", "/x", Ok(""));
        check("$scheme://$host$request_uri", "/x?y=z", Ok("http://foo.com/x?y=z"));
        check("${scheme}s", "/x", Ok("https"));
        check("$uri$is_args$args", "/x?y", Ok("/x?y"));
        check("$uri$is_args$args", "/x", Ok("/x"));
        check("$document_uri/$query_string/$remote_addr", "/x?y", Ok("/x/y/192.0.2.1"));
    }

    #[test]
    fn refused() {
        let owned = str::to_owned;
        check("$nothing", "/", Err(InvalidTemplate::Variable(owned("nothing"))));
        check("a$", "/", Err(InvalidTemplate::Dollar(owned("a$"))));
        check("${host", "/", Err(InvalidTemplate::Dollar(owned("${host"))));
        check("a b", "/", Err(InvalidTemplate::Character(owned("a b"))));
        check("a\r\nb", "/", Err(InvalidTemplate::Character(owned("a\r\nb"))));
    }
}

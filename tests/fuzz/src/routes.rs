//! Routes: the table with its indexes finds what a plain look at all routes finds, for paths in normal form, which has a
//! normal form that is itself.

use crate::bytes::Bytes;
use lb_core::model::route::Target;
use lb_core::model::{HostPattern, Kind, ObjectRef, Origin, PathMatch, Route, ServiceId};
use lb_core::route::{Builder, Match, path, plain_route};
use std::sync::Arc;

/// Routes of one table, and requests to it.
const ROUTES_MAX: usize = 24;
const REQUESTS_MAX: usize = 16;

const HOSTS: [&str; 6] = ["", "a.b", "*.b", "b", "*.a.b", "c.a.b"];
const ASKED: [&str; 8] = ["a.b", "c.b", "b", "c.a.b", "d.c.a.b", "", ".b", "z"];
/// The last two only in requests: a rule with dot segments matches none.
const ELEMENTS: [&str; 8] = ["a", "b", "aa", "", "%41", "%2f", ".", ".."];
const EXPRESSIONS: [&str; 6] = ["/a", "/a(/|$)(.*)", "/[ab]+", "/.*", "/b$", "/A/B"];

/// The target.
pub fn run(data: &[u8]) {
    let mut bytes = Bytes(data);
    let routes = routes(&mut bytes);
    let mut builder = Builder::default();
    let mut held: Vec<Route> = Vec::new();
    for route in routes {
        // Two rules of one host, type and path: the first one stays.
        if builder.rule(route.clone()).is_ok() {
            held.push(route);
        }
    }
    let table = builder.build();
    for _ in 0..REQUESTS_MAX {
        let (host, asked) = (bytes.one_of(&ASKED), text(&mut bytes, ELEMENTS.len()));
        let Ok(normal) = path::normalize(&asked) else { continue };
        assert_eq!(path::normalize(&normal).as_deref(), Ok(&*normal), "{asked:?} has a normal form of a normal form");
        let found = match table.find(host, &normal) {
            Match::Rule(_, route) => Some(route),
            _ => None,
        };
        let want = plain(&held, host, &normal);
        let show = |route: Option<&Route>| route.map(|r| (r.host.clone(), r.path.kind(), r.path.text().to_owned()));
        assert_eq!(show(found), show(want), "{host:?} {normal:?}");
        if bytes.is_empty() {
            break;
        }
    }
}

fn routes(bytes: &mut Bytes<'_>) -> Vec<Route> {
    let count = usize::from(bytes.byte()) % ROUTES_MAX;
    let ingress = Arc::new(ObjectRef::new(Kind::Ingress, "n", "i"));
    let origin = Origin { ingress, rule: None, path: None };
    let one = |number| {
        let host = HostPattern::parse(bytes.one_of(&HOSTS)).ok()?;
        let path = match bytes.byte() % 3 {
            0 => PathMatch::exact(&text(bytes, 6)),
            1 => PathMatch::prefix(&text(bytes, 6)),
            _ => PathMatch::regex(bytes.one_of(&EXPRESSIONS)),
        };
        Some(plain_route(host, path.ok()?, origin.clone(), Target::Service(ServiceId(number))))
    };
    (0..u32::try_from(count).unwrap_or_default()).filter_map(one).collect()
}

fn text(bytes: &mut Bytes<'_>, kinds: usize) -> String {
    let elements = bytes.byte() % 6;
    let mut text = String::new();
    for _ in 0..elements {
        text.push('/');
        text.push_str(bytes.one_of(&ELEMENTS[..kinds]));
    }
    if text.is_empty() { "/".to_owned() } else { text }
}

/// The route by the words of the Ingress specification, and of ingress-nginx for expressions.
fn plain<'a>(routes: &'a [Route], host: &str, path: &str) -> Option<&'a Route> {
    let of = |wanted: &dyn Fn(&HostPattern) -> bool| -> Vec<&Route> {
        routes.iter().filter(|route| wanted(&route.host)).collect()
    };
    let exact = of(&|pattern| matches!(pattern, HostPattern::Exact(name) if **name == *host));
    let wildcard = of(&|pattern| matches!(pattern, HostPattern::Wildcard(_)) && pattern.covers(host));
    let any = of(&|pattern| *pattern == HostPattern::Any);
    let listed = [exact, wildcard, any].into_iter().find(|routes| !routes.is_empty())?;
    if let Some(route) = listed.iter().find(|r| matches!(&r.path, PathMatch::Exact(text) if normal(text) == path)) {
        return Some(route);
    }
    let covering = || listed.iter().copied().filter(|route| covers(&route.path, path));
    // Slashes at the end do not count, but the path that has one wins over the same without.
    let rank = |route: &&Route| {
        let text = normal(route.path.text());
        (text.trim_end_matches('/').len(), text.ends_with('/'))
    };
    let prefix = covering().filter(|route| matches!(route.path, PathMatch::Prefix(_))).max_by_key(rank);
    let expressions = covering().filter(|route| matches!(route.path, PathMatch::Regex(_)));
    let expression = expressions.max_by_key(|route| (route.path.text().len(), route.path.text().to_owned()));
    let length = |route: Option<&Route>| route.map_or(0, |route| route.path.text().len());
    if expression.is_some() && length(expression) >= length(prefix) { expression } else { prefix }
}

fn covers(rule: &PathMatch, path: &str) -> bool {
    match rule {
        PathMatch::Exact(_) => false,
        PathMatch::Regex(expression) => expression.regex().is_match(path),
        PathMatch::Prefix(text) => {
            let text = normal(text);
            let (rule, path) = (text.trim_end_matches('/'), path.trim_end_matches('/'));
            path == rule || path.strip_prefix(rule).is_some_and(|rest| rest.starts_with('/'))
        }
    }
}

/// A path of a rule as requests have it.
fn normal(text: &str) -> String {
    path::normalize(text).map_or_else(|_| text.to_owned(), std::borrow::Cow::into_owned)
}

//! Lists: selected, in pages, at a version.
//!
//! Goes in: the storage and the options of a list. Comes out: objects and the list's metadata. Source:
//! kubernetes.io/docs/reference/using-api/api-concepts, "Retrieving large results sets in chunks" and "Resource versions".
//! Does not do: the JSON of it (`view`).

use super::ask::Ask;
use super::failure::Failure;
use super::object::Object;
use super::selector::Selector;
use super::store::{Key, Store};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use std::sync::Arc;

/// The objects and the metadata of a list.
///
/// # Errors
/// 400, 410 for a continue token or an exact version that is forgotten, 422, 504 for a version that is not there yet.
pub fn list(store: &Store, ask: &Ask) -> Result<(Vec<Arc<Object>>, Value), Failure> {
    let selector = Selector::read(ask.option("labelSelector"), ask.option("fieldSelector"))?;
    selector.check(ask.resource)?;
    if !ask.option("sendInitialEvents").is_empty() {
        return Err(Failure::invalid_option("sendInitialEvents", "sendInitialEvents is forbidden for list"));
    }
    let limit =
        number(ask, "limit")?.filter(|limit| *limit > 0).map(|limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let (version, after) = start(store, ask)?;
    let is_in = |key: &Key| ask.namespace.is_empty() || key.0 == ask.namespace;
    let is_after = |key: &Key| after.as_ref().is_none_or(|after| key > after);
    let keep = |object: &Object| selector.is_empty() || selector.matches(object.value());
    let mut found: Vec<Arc<Object>> = if version == store.version() {
        let all = store.all(ask.resource, &ask.namespace);
        all.filter(|(key, object)| is_after(key) && keep(object)).map(|(_, object)| object.clone()).collect()
    } else {
        let all = store.at(ask.resource, version).map_err(|_| expired(ask))?;
        all.into_iter().filter(|(key, object)| is_in(key) && is_after(key) && keep(object)).map(|(_, o)| o).collect()
    };
    let mut metadata = json!({"resourceVersion": version.to_string()});
    if let Some(limit) = limit.filter(|limit| *limit < found.len()) {
        let rest = found.len() - limit;
        found.truncate(limit);
        if let Some(last) = found.last() {
            metadata["continue"] = json!(token(version, last));
        }
        if selector.is_empty() {
            metadata["remainingItemCount"] = json!(rest);
        }
    }
    Ok((found, metadata))
}

/// The version to list at, and the key to go on after.
fn start(store: &Store, ask: &Ask) -> Result<(u64, Option<Key>), Failure> {
    let matching = ask.option("resourceVersionMatch");
    let asked = number(ask, "resourceVersion")?;
    let current = store.version();
    if !ask.option("continue").is_empty() {
        if !matching.is_empty() {
            return Err(Failure::invalid_option(
                "resourceVersionMatch",
                "resourceVersionMatch is forbidden for continue",
            ));
        }
        if asked.is_some_and(|version| version != 0) {
            return Err(Failure::bad_request("specifying resource version is not allowed when using continue"));
        }
        let (version, key) = read_token(ask.option("continue"))
            .ok_or_else(|| Failure::bad_request("continue key is not valid: it is none of ours"))?;
        return Ok((version, Some(key)));
    }
    match (matching, asked) {
        ("", _) => {}
        (_, None) => {
            let why = "resourceVersionMatch is forbidden unless resourceVersion is provided";
            return Err(Failure::invalid_option("resourceVersionMatch", why));
        }
        ("Exact", Some(0)) => {
            let why = "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"";
            return Err(Failure::invalid_option("resourceVersionMatch", why));
        }
        ("Exact" | "NotOlderThan", _) => {}
        (other, _) => {
            let why = format!("{other} is not one of Exact, NotOlderThan");
            return Err(Failure::invalid_option("resourceVersionMatch", &why));
        }
    }
    match asked {
        Some(version) if version > current => Err(Failure::too_new(version, current)),
        Some(version) if version > 0 && matching == "Exact" => Ok((version, None)),
        // Paging with a version and no match is exact, too ("legacy exact match").
        Some(version) if version > 0 && matching.is_empty() && number(ask, "limit")?.unwrap_or(0) > 0 => {
            Ok((version, None))
        }
        _ => Ok((current, None)),
    }
}

fn expired(ask: &Ask) -> Failure {
    if ask.option("continue").is_empty() {
        return Failure::expired("The resourceVersion for the provided list is too old.");
    }
    Failure::expired(
        "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter.",
    )
}

/// A numeric option.
///
/// # Errors
/// 400 for what is no number.
pub fn number(ask: &Ask, option: &str) -> Result<Option<u64>, Failure> {
    match ask.option(option) {
        "" => Ok(None),
        text => {
            let failed = |_| Failure::bad_request(format!("{option}: Invalid value: \"{text}\": must be a number"));
            text.parse().map(Some).map_err(failed)
        }
    }
}

fn token(version: u64, last: &Object) -> String {
    let token = json!({"v": "meta.k8s.io/v1", "rv": version, "start": [last.namespace(), last.name()]});
    URL_SAFE_NO_PAD.encode(token.to_string())
}

fn read_token(text: &str) -> Option<(u64, Key)> {
    let token: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
    let part = |index: usize| token["start"][index].as_str().map(str::to_owned);
    Some((token["rv"].as_u64()?, (part(0)?, part(1)?)))
}

//! Commands in words, one a line: the handle for those who run the server as a program.
//!
//! Goes in: a line. Comes out: a text, or why it failed, in words. The list of commands is [`HELP`]. Does not do: more
//! than the handle does.

use super::{ApiServer, Bulk};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;

/// Every command.
pub const HELP: &str = "\
put FILE|DIRECTORY|JSON        create or replace objects (a directory: its *.yaml, *.yml and *.json)
get KIND NAMESPACE|- NAME      print an object
delete KIND NAMESPACE|- NAME   remove an object
load INGRESSES ENDPOINTS [class=C] [namespace=N] [port=P] [address=A]…   many objects
token USER [GROUP]…            make a token
account NAMESPACE NAME         make a service account's token
kubeconfig TOKEN               write a kubeconfig, print its path
mount TOKEN NAMESPACE          write token, ca.crt and namespace as in a pod, print the directory
version | calls | writes       the last version; calls, and writes of each user, as JSON
forget                         forget the calls
compact                        forget the history: 410 for older versions
disconnect | expire-watches    break off every watch; or end each with an ERROR event 410
watch-events-max N|off         break off each watch after N events
hang on|off, away on|off       answer nothing; close the port
refuse N CODE [VERB [RESOURCE]]   refuse the next N requests
slow-lists MS, delay RESOURCE MS  lists take longer; events of a resource come later
duplicates on|off              send every event twice
streaming on|off               whether sendInitialEvents is served
stream-expiry on|off           410 at the start of a watch as an event
skew S                         the clock is ahead by S seconds
bookmarks MS                   how often watches get bookmarks
expire-tokens [TOKEN]          one, or all but the administrator's";

/// Does what a line says. An empty answer means: done.
///
/// # Errors
/// In words, for a line that is no command or cannot be done.
pub fn run(server: &ApiServer, line: &str) -> Result<String, String> {
    let line = line.trim();
    if let Some(given) = line.strip_prefix("put ") {
        return put(server, given.trim());
    }
    let words: Vec<&str> = line.split_whitespace().collect();
    let space = |namespace: &&str| if *namespace == "-" { String::new() } else { (*namespace).to_owned() };
    match words.as_slice() {
        ["help"] => Ok(HELP.to_owned()),
        ["get", kind, namespace, name] => {
            known(kind)?;
            let found = server.get(kind, &space(namespace), name);
            found.map(|object| object.to_string()).ok_or_else(|| "not found".to_owned())
        }
        ["delete", kind, namespace, name] => {
            known(kind)?;
            if server.delete(kind, &space(namespace), name) { Ok(String::new()) } else { Err("not found".to_owned()) }
        }
        ["load", ingresses, endpoints, options @ ..] => load(server, ingresses, endpoints, options),
        ["token", user, groups @ ..] => Ok(server.token(user, groups)),
        ["account", namespace, name] => Ok(server.service_account(namespace, name)),
        ["kubeconfig", token] => Ok(server.kubeconfig(token).display().to_string()),
        ["mount", token, namespace] => Ok(server.service_account_dir(token, namespace).display().to_string()),
        ["version"] => Ok(server.resource_version().to_string()),
        ["calls"] => Ok(calls(server).to_string()),
        ["writes"] => Ok(json!(server.writes()).to_string()),
        silent => obey(server, silent),
    }
}

/// Commands that answer nothing.
fn obey(server: &ApiServer, words: &[&str]) -> Result<String, String> {
    let faults = server.faults();
    match words {
        ["forget"] => server.forget_calls(),
        ["compact"] => server.compact(),
        ["expire-tokens"] => server.expire_tokens(None),
        ["expire-tokens", token] => server.expire_tokens(Some(token)),
        ["disconnect"] => faults.disconnect_watches(),
        ["expire-watches"] => faults.expire_watches(),
        ["watch-events-max", "off"] => faults.watch_events_max(None),
        ["watch-events-max", events] => faults.watch_events_max(Some(number(events)?)),
        ["hang", switch] => faults.hang(is_on(switch)?),
        ["away", switch] => faults.go_away(is_on(switch)?),
        ["refuse", requests, code, which @ ..] if which.len() <= 2 => {
            let (verb, resource) = (which.first().unwrap_or(&""), which.get(1).unwrap_or(&""));
            faults.refuse_next_of(verb, resource, number(requests)?, number(code)?);
        }
        ["slow-lists", ms] => faults.slow_lists(Duration::from_millis(number(ms)?)),
        ["delay", resource, ms] => faults.delay_events(resource, Duration::from_millis(number(ms)?)),
        ["duplicates", switch] => faults.duplicate_events(is_on(switch)?),
        ["streaming", switch] => faults.refuse_streaming_lists(!is_on(switch)?),
        ["stream-expiry", switch] => faults.stream_expiry(is_on(switch)?),
        ["skew", seconds] => faults.skew(number(seconds)?),
        ["bookmarks", ms] => faults.bookmark_every(Duration::from_millis(number(ms)?)),
        _ => return Err(format!("no such command: {}; try help", words.join(" "))),
    }
    Ok(String::new())
}

fn put(server: &ApiServer, given: &str) -> Result<String, String> {
    if given.starts_with('{') {
        return server.try_put(given).map(|objects| objects.to_string());
    }
    let mut files = vec![Path::new(given).to_owned()];
    if files[0].is_dir() {
        let entries = std::fs::read_dir(given).map_err(|error| format!("{given}: {error}"))?;
        let is_manifest =
            |path: &std::path::PathBuf| path.extension().is_some_and(|e| e == "yaml" || e == "yml" || e == "json");
        files = entries.flatten().map(|entry| entry.path()).filter(is_manifest).collect();
        files.sort();
    }
    let mut objects = 0;
    for file in files {
        let text = std::fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
        objects += server.try_put(&text).map_err(|error| format!("{}: {error}", file.display()))?;
    }
    Ok(objects.to_string())
}

fn load(server: &ApiServer, ingresses: &str, endpoints: &str, options: &[&str]) -> Result<String, String> {
    let mut bulk = Bulk { ingresses: number(ingresses)?, endpoints: number(endpoints)?, ..Bulk::default() };
    for option in options {
        match option.split_once('=') {
            Some(("class", class)) => bulk.class = class.to_owned(),
            Some(("namespace", namespace)) => bulk.namespace = namespace.to_owned(),
            Some(("port", port)) => bulk.port = number(port)?,
            Some(("address", address)) => bulk.addresses.push(address.to_owned()),
            _ => return Err(format!("{option} is none of class=, namespace=, port=, address=")),
        }
    }
    server.load(&bulk);
    Ok(String::new())
}

fn calls(server: &ApiServer) -> Value {
    let shown = server.calls().into_iter().map(|call| {
        json!({
            "user": call.user, "verb": call.verb, "group": call.group, "resource": call.resource,
            "namespace": call.namespace, "name": call.name, "code": call.code,
        })
    });
    Value::Array(shown.collect())
}

fn known(kind: &str) -> Result<(), String> {
    super::resource::find(kind).map(|_| ()).ok_or_else(|| format!("no such kind: {kind}"))
}

fn is_on(switch: &str) -> Result<bool, String> {
    match switch {
        "on" => Ok(true),
        "off" => Ok(false),
        other => Err(format!("{other} is neither on nor off")),
    }
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{text} is no number that fits"))
}

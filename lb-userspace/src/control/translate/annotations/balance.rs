//! `load-balance`, `upstream-hash-by`, and ours: which endpoint takes the next request. Ours win; of ingress-nginx's,
//! `upstream-hash-by` does.

use super::reader::Reader;
use super::value::Invalid;
use super::{Draft, Family};
use lb_core::model::{Balance, HashKey};
use std::sync::Arc;

pub(super) const FAMILY: Family = Family { keys: &["load-balance", "upstream-hash-by", BALANCE, HASH_BY], read };

const BALANCE: &str = "sluice.dev/load-balance";
const HASH_BY: &str = "sluice.dev/hash-by";

fn read(reader: &Reader<'_, '_>, draft: &mut Draft) {
    let nginx = reader.read("load-balance", nginx_balance);
    let nginx_hash = reader.read("upstream-hash-by", variable).map(Balance::Hash);
    let hash = reader.read(HASH_BY, hash_key);
    let own = reader.read(BALANCE, |text| balance(text, hash.clone()));
    if let (Some(given), Some(_), Some(chosen)) = (reader.get(HASH_BY), &hash, &own)
        && !matches!(chosen, Balance::Hash(_))
    {
        reader.note(given, "The annotation does nothing: load-balance asks for something else.", "Remove it.");
    }
    if let Some(balance) = own.or(hash.map(Balance::Hash)).or(nginx_hash).or(nginx) {
        draft.policy.balance = balance;
    }
}

fn balance(text: &str, hash: Option<HashKey>) -> Result<Balance, Invalid> {
    match text {
        "round-robin" => Ok(Balance::RoundRobin),
        "least-requests" => Ok(Balance::LeastRequests),
        "ewma" => Ok(Balance::PeakEwma),
        "hash" => Ok(Balance::Hash(hash.unwrap_or(HashKey::Client))),
        _ => Err(Invalid::new(
            format!("{text:?} is no way to balance"),
            "Write round-robin, least-requests, ewma or hash.",
        )),
    }
}

fn nginx_balance(text: &str) -> Result<Balance, Invalid> {
    match text {
        "round_robin" => Ok(Balance::RoundRobin),
        "ewma" => Ok(Balance::PeakEwma),
        _ => Err(Invalid::new(
            format!("{text:?} is no way to balance of ingress-nginx"),
            "Write round_robin or ewma, or use sluice.dev/load-balance.",
        )),
    }
}

fn hash_key(text: &str) -> Result<HashKey, Invalid> {
    let key = match (text, text.split_once(':')) {
        ("client", _) => Some(HashKey::Client),
        ("target", _) => Some(HashKey::Target),
        ("host", _) => Some(HashKey::Host),
        (_, Some(("header", name))) if is_token(name) => Some(HashKey::Header(name.to_ascii_lowercase().into())),
        (_, Some(("cookie", name))) if is_token(name) => Some(HashKey::Cookie(name.into())),
        _ => None,
    };
    let remedy = "Write client, target, host, header:NAME or cookie:NAME.";
    key.ok_or_else(|| Invalid::new(format!("{text:?} is nothing that can be hashed"), remedy))
}

/// A single variable of nginx. Names of header fields have `-` where the variable has `_`.
fn variable(text: &str) -> Result<HashKey, Invalid> {
    let name = text.strip_prefix('$').unwrap_or_default();
    let name = name.strip_prefix('{').and_then(|name| name.strip_suffix('}')).unwrap_or(name);
    let is_name = |rest: &&str| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    let header = || {
        let rest = name.strip_prefix("http_").filter(is_name)?;
        Some(HashKey::Header(Arc::from(rest.to_ascii_lowercase().replace('_', "-"))))
    };
    let cookie = || name.strip_prefix("cookie_").filter(is_name).map(|rest| HashKey::Cookie(rest.into()));
    let key = match name {
        "remote_addr" | "binary_remote_addr" => Some(HashKey::Client),
        "request_uri" => Some(HashKey::Target),
        "host" | "http_host" => Some(HashKey::Host),
        _ => header().or_else(cookie),
    };
    key.ok_or_else(|| {
        Invalid::new(
            format!("{text:?} is not one variable that can be hashed"),
            "Write $remote_addr, $request_uri, $host, $http_NAME or $cookie_NAME.",
        )
    })
}

/// RFC 9110 section 5.6.2.
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::super::trial::trial;

    fn check(annotations: &[(&str, &str)], want: &str, problems_want: usize) {
        let full = |(name, text): &(&str, &str)| {
            let prefix = if name.starts_with("sluice.dev/") { "" } else { "nginx.ingress.kubernetes.io/" };
            (format!("{prefix}{name}"), (*text).to_owned())
        };
        let annotations: Vec<(String, String)> = annotations.iter().map(full).collect();
        let (settings, problems) = trial(&annotations);
        assert_eq!((&*settings.policy.balance.to_string(), problems.len()), (want, problems_want), "{annotations:?}");
    }

    #[test]
    fn of_ingress_nginx() {
        check(&[("load-balance", "round_robin")], "round-robin", 0);
        check(&[("load-balance", "ewma")], "ewma", 0);
        check(&[("load-balance", "least_conn")], "round-robin", 1);
        check(&[("upstream-hash-by", "$remote_addr")], "hash of client", 0);
        check(&[("upstream-hash-by", "${binary_remote_addr}")], "hash of client", 0);
        check(&[("upstream-hash-by", "$request_uri"), ("load-balance", "ewma")], "hash of target", 0);
        check(&[("upstream-hash-by", "$host")], "hash of host", 0);
        check(&[("upstream-hash-by", "$http_mcp_session_id")], "hash of header mcp-session-id", 0);
        check(&[("upstream-hash-by", "$cookie_JSESSIONID")], "hash of cookie JSESSIONID", 0);
        for text in ["$request_uri$host", "$uri", "text", "", "$", "$http_", "$cookie_", "$http_a-b", "$http_a$host"] {
            check(&[("upstream-hash-by", text)], "round-robin", 1);
        }
    }

    #[test]
    fn ours() {
        check(&[("sluice.dev/load-balance", "least-requests")], "least-requests", 0);
        check(&[("sluice.dev/load-balance", "ewma"), ("load-balance", "round_robin")], "ewma", 0);
        check(&[("sluice.dev/load-balance", "round-robin"), ("upstream-hash-by", "$host")], "round-robin", 0);
        check(&[("sluice.dev/load-balance", "hash")], "hash of client", 0);
        check(&[("sluice.dev/load-balance", "hash"), ("sluice.dev/hash-by", "host")], "hash of host", 0);
        check(&[("sluice.dev/hash-by", "header:X-User")], "hash of header x-user", 0);
        check(&[("sluice.dev/hash-by", "cookie:Session")], "hash of cookie Session", 0);
        check(&[("sluice.dev/hash-by", "client"), ("sluice.dev/load-balance", "ewma")], "ewma", 1);
        check(&[("sluice.dev/hash-by", "header:")], "round-robin", 1);
        check(&[("sluice.dev/hash-by", "header:a b")], "round-robin", 1);
        check(&[("sluice.dev/load-balance", "random")], "round-robin", 1);
    }
}

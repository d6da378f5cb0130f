//! Questions that are asked by creating: who am I, may I, and give me a token.
//!
//! Goes in: a POST to `selfsubjectaccessreviews`, `selfsubjectreviews` or a service account's `token`. Comes out: the
//! object with its status. Does not do: storing any of it.

use super::access::{self, User, Want};
use super::ask;
use super::clock;
use super::failure::Failure;
use super::resource::named;
use super::shared::Shared;
use hyper::Method;
use serde_json::{Value, json};

/// How long a token says that it lasts, in seconds. It lasts until a test expires it.
const TOKEN_S: i64 = 3600;

/// The answer; nothing when the path is something else.
pub fn answer(
    shared: &Shared,
    method: &Method,
    path: &str,
    user: &User,
    sent: impl FnOnce() -> Result<Value, Failure>,
) -> Option<Result<Value, Failure>> {
    let words = ask::words(path).filter(|_| method == Method::POST)?;
    match (words.group, words.plural, words.subresource) {
        ("authorization.k8s.io", "selfsubjectaccessreviews", "") => Some(sent().map(|sent| may_i(shared, user, sent))),
        ("authentication.k8s.io", "selfsubjectreviews", "") => Some(Ok(json!({
            "kind": "SelfSubjectReview", "apiVersion": "authentication.k8s.io/v1", "metadata": {},
            "status": {"userInfo": {"username": user.name, "groups": user.groups}},
        }))),
        ("", "serviceaccounts", "token") => Some(token(shared, user, words.namespace, words.name)),
        _ => None,
    }
}

fn may_i(shared: &Shared, user: &User, mut sent: Value) -> Value {
    let asked = sent["spec"]["resourceAttributes"].clone();
    let text = |field: &str| asked[field].as_str().unwrap_or_default();
    let subresource = text("subresource");
    let resource = if subresource.is_empty() {
        text("resource").to_owned()
    } else {
        format!("{}/{subresource}", text("resource"))
    };
    let want = Want {
        verb: text("verb"),
        group: text("group"),
        resource: &resource,
        namespace: text("namespace"),
        name: text("name"),
    };
    sent["status"] = json!({"allowed": access::is_allowed(&shared.store(), user, &want)});
    sent
}

fn token(shared: &Shared, user: &User, namespace: &str, name: &str) -> Result<Value, Failure> {
    let want = Want { verb: "create", group: "", resource: "serviceaccounts/token", namespace, name };
    access::check(&shared.store(), user, &want)?;
    let account = named("ServiceAccount");
    if shared.store().get(account, &(namespace.to_owned(), name.to_owned())).is_none() {
        return Err(Failure::not_found(account, name));
    }
    let token = shared.tokens().issue(User::service_account(namespace, name));
    let expires = clock::rfc3339(clock::now_s(shared.faults.skew_s()) + TOKEN_S);
    Ok(json!({
        "kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "metadata": {},
        "spec": {"audiences": [], "expirationSeconds": TOKEN_S}, "status": {"token": token, "expirationTimestamp": expires},
    }))
}

//! One request, answered.
//!
//! Goes in: a request as hyper has it. Comes out: the response, always: a refusal is a `Status` object. This file is the
//! order of things: faults, authentication, permission, the verb, webhooks, storage. Does not do: the verbs themselves.

use super::access::{self, ADMINS, User, Want};
use super::admission;
use super::ask::{self, Ask};
use super::birth;
use super::call::Call;
use super::clock;
use super::content::Content;
use super::discovery;
use super::failure::Failure;
use super::list;
use super::object::Object;
use super::protobuf;
use super::review;
use super::shared::Shared;
use super::view::View;
use super::watching;
use super::write::{self, Body, Draft};
use http_body_util::{BodyExt, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{
    ACCEPT, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, DATE, HeaderValue, RETRY_AFTER, USER_AGENT, WARNING,
};
use hyper::http::request::Parts;
use hyper::{Request, Response, StatusCode};
use serde_json::{Value, json};
use std::convert::Infallible;
use std::sync::Arc;

/// Largest request body, in bytes (`MaxRequestBodyBytes` of kube-apiserver).
const BODY_BYTES_MAX: usize = 3 * 1024 * 1024;

/// How often a write is decided again because somebody was faster.
const TRIES_MAX: usize = 8;

/// Answers a request. On a trusted connection it is the administrator's, and no fault concerns it.
///
/// # Errors
/// Never.
pub async fn answer(
    shared: Arc<Shared>,
    request: Request<Incoming>,
    is_trusted: bool,
) -> Result<Response<Content>, Infallible> {
    if !is_trusted {
        shared.faults.wait_while_hanging().await;
    }
    let (head, body) = request.into_parts();
    let mut response = match Limited::new(body, BODY_BYTES_MAX).collect().await {
        Ok(body) => {
            respond(&shared, &head, body.to_bytes(), is_trusted).await.unwrap_or_else(|failure| refused(&failure))
        }
        Err(_) => refused(&Failure::new(413, "RequestEntityTooLarge", "Request entity too large: limit is 3145728")),
    };
    if !is_trusted {
        shared.faults.wait_while_hanging().await;
    }
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    if let Ok(date) = HeaderValue::from_str(&clock::http_date(clock::now_s(shared.faults.skew_s()))) {
        headers.insert(DATE, date);
    }
    Ok(response)
}

async fn respond(
    shared: &Arc<Shared>,
    head: &Parts,
    body: Bytes,
    is_trusted: bool,
) -> Result<Response<Content>, Failure> {
    let path = head.uri.path();
    let header = |name| head.headers.get(name).and_then(|value| value.to_str().ok());
    if ["/healthz", "/readyz", "/livez"].iter().any(|health| path.starts_with(health)) {
        return Ok(response(200, "text/plain; charset=utf-8", Content::whole("ok")));
    }
    if path == "/version" {
        return Ok(json_response(200, discovery::version().to_string()));
    }
    let user = if is_trusted { User::new("admin", &[ADMINS]) } else { shared.tokens().user(header(AUTHORIZATION))? };
    let accept = header(ACCEPT).unwrap_or_default();
    if let Some((document, kind)) = discovery::document(path, accept) {
        return Ok(response(200, kind, Content::whole(document.to_string())));
    }
    let kind = header(CONTENT_TYPE).unwrap_or_default();
    let sent = || match read_body(kind, &body)? {
        Body::Object(sent) => Ok(sent),
        _ => Err(unsupported()),
    };
    if let Some(reviewed) = review::answer(shared, &head.method, path, &user, sent) {
        return reviewed.map(|value| json_response(201, value.to_string()));
    }
    let query = ask::query(head.uri.query().unwrap_or_default());
    let agent = header(USER_AGENT).unwrap_or("unknown");
    let ask = Ask::read(&head.method, path, query, user, agent).ok_or_else(Failure::no_such_resource)?;
    let refusal = if is_trusted { None } else { shared.faults.refusal(ask.verb, ask.resource.plural) };
    let result = match refusal {
        Some(refusal) => Err(refusal),
        None => verb(shared, &ask, accept, kind, &body).await,
    };
    let code = result.as_ref().map_or_else(|failure| failure.code, |response| response.status().as_u16());
    shared.calls().add(Call::new(&ask, code));
    result
}

async fn verb(
    shared: &Arc<Shared>,
    ask: &Ask,
    accept: &str,
    kind: &str,
    body: &[u8],
) -> Result<Response<Content>, Failure> {
    permit(shared, ask, ask.verb)?;
    if !(ask.subresource.is_empty() || (ask.subresource == "status" && ask.resource.status)) {
        return Err(Failure::no_such_resource());
    }
    let view = View::accepted(accept)?;
    match ask.verb {
        "get" => {
            let key = (ask.namespace.clone(), ask.name.clone());
            let found = shared.store().get(ask.resource, &key);
            let object = found.ok_or_else(|| Failure::not_found(ask.resource, &ask.name))?;
            Ok(json_response(200, view.object(ask.resource, &object)))
        }
        "list" => {
            tokio::time::sleep(shared.faults.state().list_delay).await;
            let (objects, metadata) = list::list(&shared.store(), ask)?;
            Ok(json_response(200, view.list(ask.resource, &objects, &metadata)))
        }
        "watch" => {
            let content = watching::begin(shared, ask.clone(), view)?;
            Ok(response(200, "application/json", content))
        }
        "deletecollection" => {
            let (objects, metadata) = list::list(&shared.store(), ask)?;
            for object in &objects {
                let namespace = object.namespace().to_owned();
                let one = Ask { name: object.name().to_owned(), namespace, ..ask.clone() };
                change(shared, &one, "DELETE", &Body::Object(json!({}))).await?;
            }
            Ok(json_response(200, view.list(ask.resource, &objects, &metadata)))
        }
        "create" => {
            let (object, _, warnings) = change(shared, ask, "CREATE", &read_body(kind, body)?).await?;
            Ok(warned(json_response(201, view.object(ask.resource, &object)), &warnings))
        }
        "delete" => {
            let options = if body.is_empty() { json!({}) } else { parsed(body)? };
            let (object, draft, _) = change(shared, ask, "DELETE", &Body::Object(options)).await?;
            if draft.new.is_some() {
                return Ok(json_response(200, view.object(ask.resource, &object)));
            }
            Ok(json_response(200, deleted(ask, &object).to_string()))
        }
        _ => {
            let (object, draft, warnings) = change(shared, ask, "UPDATE", &read_body(kind, body)?).await?;
            let code = if draft.old.is_none() { 201 } else { 200 };
            Ok(warned(json_response(code, view.object(ask.resource, &object)), &warnings))
        }
    }
}

fn permit(shared: &Shared, ask: &Ask, verb: &str) -> Result<(), Failure> {
    let (resource, name) = (ask.permission_resource(), ask.permission_name());
    let want = Want { verb, group: ask.resource.group, resource: &resource, namespace: &ask.namespace, name: &name };
    access::check(&shared.store(), &ask.user, &want)
}

/// Adds warnings of webhooks, as `k8s.io/apiserver/pkg/warning` does (RFC 7234 section 5.5).
fn warned(mut response: Response<Content>, warnings: &[String]) -> Response<Content> {
    for warning in warnings {
        let text = warning.replace('\\', "\\\\").replace('"', "\\\"");
        if let Ok(value) = HeaderValue::from_bytes(format!("299 - \"{text}\"").as_bytes()) {
            response.headers_mut().append(WARNING, value);
        }
    }
    response
}

/// Decides a change, shows it to the webhooks and stores it. Answers their warnings, too.
async fn change(
    shared: &Shared,
    ask: &Ask,
    operation: &str,
    body: &Body,
) -> Result<(Arc<Object>, Draft, Vec<String>), Failure> {
    let skew_s = shared.faults.skew_s();
    for _ in 0..TRIES_MAX {
        let draft = {
            let store = shared.store();
            match (ask.verb, body) {
                ("create", Body::Object(value)) => birth::create(&store, ask, value, skew_s)?,
                ("update", Body::Object(value)) => write::update(&store, ask, value, skew_s)?,
                ("patch", patch) => write::patch(&store, ask, patch, skew_s)?,
                ("delete" | "deletecollection", Body::Object(options)) => write::delete(&store, ask, options, skew_s)?,
                _ => return Err(unsupported()),
            }
        };
        let is_created = draft.old.is_none();
        if is_created && ask.verb != "create" {
            permit(shared, &Ask { name: String::new(), ..ask.clone() }, "create")?;
        }
        let operation = if is_created { "CREATE" } else { operation };
        let warnings = admission::review(shared, ask, operation, &draft).await?;
        let is_dry_run = ask.is_dry_run() || matches!(body, Body::Object(o) if o["dryRun"][0] == "All");
        let stored = write::commit(&mut shared.store(), &draft, is_dry_run);
        if let Some(object) = stored {
            shared.announce();
            return Ok((object, draft, warnings));
        }
    }
    Err(Failure::stale(ask.resource, &ask.name))
}

fn deleted(ask: &Ask, object: &Object) -> Value {
    let mut details = json!({"name": object.name(), "kind": ask.resource.plural, "uid": object.uid()});
    if !ask.resource.group.is_empty() {
        details["group"] = json!(ask.resource.group);
    }
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details})
}

fn read_body(kind: &str, body: &[u8]) -> Result<Body, Failure> {
    match kind.split(';').next().unwrap_or_default().trim() {
        "" | "application/json" | "application/yaml" => Ok(Body::Object(parsed(body)?)),
        protobuf::CONTENT_TYPE => Ok(Body::Object(protobuf::read(body)?)),
        "application/json-patch+json" => Ok(Body::JsonPatch(parsed(body)?)),
        "application/merge-patch+json" => Ok(Body::MergePatch(parsed(body)?)),
        "application/strategic-merge-patch+json" => Ok(Body::StrategicPatch(parsed(body)?)),
        "application/apply-patch+yaml" => Ok(Body::Apply(parsed(body)?)),
        _ => Err(unsupported()),
    }
}

fn unsupported() -> Failure {
    let why = "the body of the request was in an unknown format - accepted media types include: application/json, application/yaml";
    Failure::new(415, "UnsupportedMediaType", why)
}

/// JSON, or YAML when it is none.
fn parsed(body: &[u8]) -> Result<Value, Failure> {
    if let Ok(value) = serde_json::from_slice(body) {
        return Ok(value);
    }
    let text = std::str::from_utf8(body).map_err(|_| Failure::bad_request("the body is not UTF-8"))?;
    serde_saphyr::from_str(text).map_err(|error| Failure::bad_request(format!("error decoding the body: {error}")))
}

fn refused(failure: &Failure) -> Response<Content> {
    let mut response = json_response(failure.code, failure.status().to_string());
    if let Some(seconds) = failure.retry_after_s {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

fn json_response(code: u16, text: String) -> Response<Content> {
    response(code, "application/json", Content::whole(text))
}

fn response(code: u16, kind: &'static str, content: Content) -> Response<Content> {
    let mut response = Response::new(content);
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

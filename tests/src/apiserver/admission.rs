//! Admission: validating webhooks, as they are configured in the storage, asked about a change before it is stored.
//!
//! Goes in: a draft. Comes out: warnings, or the refusal of a webhook. A webhook by Service is called at an address of the
//! Service's EndpointSlices, with the server name `NAME.NAMESPACE.svc`. Source:
//! kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers. Does not do: mutation,
//! `matchConditions`, CEL.

use super::ask::Ask;
use super::failure::Failure;
use super::resource::named;
use super::selector::matches_selector;
use super::shared::Shared;
use super::webhook::{Target, post};
use super::write::Draft;
use serde_json::{Value, json};
use std::time::Duration;

/// Asks every webhook that the change concerns, and answers their warnings.
///
/// # Errors
/// What a webhook refused with, or 500 when one with the policy `Fail` could not be asked.
pub async fn review(shared: &Shared, ask: &Ask, operation: &str, draft: &Draft) -> Result<Vec<String>, Failure> {
    let mut warnings = Vec::new();
    for webhook in concerned(shared, ask, operation, draft) {
        let name = webhook["name"].as_str().unwrap_or_default();
        let timeout = Duration::from_secs(webhook["timeoutSeconds"].as_u64().unwrap_or(10));
        let request = request(ask, operation, draft);
        let asked = match target(shared, &webhook["clientConfig"]) {
            Ok(target) => match tokio::time::timeout(timeout, post(&target, &request)).await {
                Ok(answer) => answer,
                Err(_) => Err("context deadline exceeded".to_owned()),
            },
            Err(why) => Err(why),
        };
        match asked {
            Ok(review) if review["response"]["allowed"] == true => {
                let told = review["response"]["warnings"].as_array().into_iter().flatten();
                warnings.extend(told.filter_map(Value::as_str).map(str::to_owned));
            }
            Ok(review) if review["response"]["allowed"] == false => {
                return Err(denied(name, &review["response"]["status"]));
            }
            _ if webhook["failurePolicy"] == "Ignore" => {}
            Ok(_) => return Err(failed(name, "the answer is no AdmissionReview")),
            Err(why) => return Err(failed(name, &why)),
        }
    }
    Ok(warnings)
}

/// The webhooks whose rules and selectors match.
fn concerned(shared: &Shared, ask: &Ask, operation: &str, draft: &Draft) -> Vec<Value> {
    let store = shared.store();
    let namespace = store.get(named("Namespace"), &(String::new(), ask.namespace.clone()));
    let labels = namespace.map_or(Value::Null, |namespace| namespace.value()["metadata"]["labels"].clone());
    let resource = ask.permission_resource();
    let object = draft.new.as_ref().or(draft.old.as_ref().map(|old| old.value()));
    let object_labels = object.map_or(&Value::Null, |object| &object["metadata"]["labels"]);
    let fits = |webhook: &&Value| {
        let rule_fits = |rule: &Value| {
            let has = |field: &str, word: &str| {
                rule[field].as_array().into_iter().flatten().any(|item| item == "*" || item == word)
            };
            has("operations", operation)
                && has("apiGroups", ask.resource.group)
                && has("apiVersions", ask.resource.version)
                && has("resources", &resource)
        };
        webhook["rules"].as_array().into_iter().flatten().any(rule_fits)
            && (ask.namespace.is_empty() || matches_selector(&webhook["namespaceSelector"], &labels))
            && matches_selector(&webhook["objectSelector"], object_labels)
    };
    let all = store.all(named("ValidatingWebhookConfiguration"), "");
    let webhooks =
        all.flat_map(|(_, configuration)| configuration.value()["webhooks"].as_array().into_iter().flatten());
    webhooks.filter(fits).cloned().collect()
}

fn request(ask: &Ask, operation: &str, draft: &Draft) -> Value {
    let resource = ask.resource;
    let typed = |value: &Value| {
        let mut value = value.clone();
        value["apiVersion"] = json!(resource.api_version());
        value["kind"] = json!(resource.kind);
        value
    };
    let kind = json!({"group": resource.group, "version": resource.version, "kind": resource.kind});
    let place = json!({"group": resource.group, "version": resource.version, "resource": resource.plural});
    json!({
        "kind": "AdmissionReview",
        "apiVersion": "admission.k8s.io/v1",
        "request": {
            "uid": format!("{:032x}", fastrand::u128(..)),
            "kind": kind, "resource": place, "requestKind": kind, "requestResource": place,
            "subResource": ask.subresource, "name": draft.key.1, "namespace": draft.key.0, "operation": operation,
            "userInfo": {"username": ask.user.name, "groups": ask.user.groups},
            "object": draft.new.as_ref().map(typed),
            "oldObject": draft.old.as_ref().map(|old| typed(old.value())),
            "dryRun": ask.is_dry_run(), "options": {},
        },
    })
}

/// Where a webhook is.
fn target(shared: &Shared, client: &Value) -> Result<Target, String> {
    let authority = client["caBundle"].as_str().unwrap_or_default().to_owned();
    if let Some(url) = client["url"].as_str() {
        return Target::from_url(url, authority);
    }
    let service = &client["service"];
    let text = |field: &str| service[field].as_str().unwrap_or_default();
    let (name, namespace, path) = (text("name"), text("namespace"), text("path"));
    let port = service["port"].as_u64().unwrap_or(443);
    let host = format!("{name}.{namespace}.svc");
    let store = shared.store();
    let Some(found) = store.get(named("Service"), &(namespace.to_owned(), name.to_owned())) else {
        return Err(format!("Post \"https://{host}:{port}{path}\": service \"{name}\" not found"));
    };
    let ports = found.value()["spec"]["ports"].as_array().cloned().unwrap_or_default();
    let Some(wanted) = ports.iter().find(|p| p["port"] == port) else {
        return Err(format!("no service port {port} found for service \"{name}\""));
    };
    let of_service = |slice: &Value| slice["metadata"]["labels"]["kubernetes.io/service-name"] == name;
    let slices = store.all(named("EndpointSlice"), namespace).map(|(_, slice)| slice.value()).filter(|s| of_service(s));
    for slice in slices {
        let same = |port: &&Value| port["name"].as_str().unwrap_or("") == wanted["name"].as_str().unwrap_or("");
        let number = slice["ports"].as_array().into_iter().flatten().find(same).and_then(|port| port["port"].as_u64());
        let ready = |e: &&Value| e["conditions"]["ready"] != false;
        let endpoint = slice["endpoints"].as_array().into_iter().flatten().find(ready);
        if let (Some(number), Some(address)) = (number, endpoint.and_then(|e| e["addresses"][0].as_str())) {
            return Ok(Target { address: format!("{address}:{number}"), host, path: path.to_owned(), authority });
        }
    }
    Err(format!("no endpoints available for service \"{name}\""))
}

fn denied(name: &str, status: &Value) -> Failure {
    let message = status["message"].as_str().unwrap_or_default();
    let code =
        status["code"].as_u64().and_then(|code| u16::try_from(code).ok()).filter(|code| *code >= 400).unwrap_or(400);
    let reason = match code {
        400 => "BadRequest",
        403 => "Forbidden",
        422 => "Invalid",
        _ => "",
    };
    let mut text = format!("admission webhook \"{name}\" denied the request");
    if !message.is_empty() {
        text = format!("{text}: {message}");
    }
    Failure::new(code, reason, text)
}

fn failed(name: &str, why: &str) -> Failure {
    let message = format!("Internal error occurred: failed calling webhook \"{name}\": failed to call webhook: {why}");
    let mut failure = Failure::new(500, "InternalError", message);
    failure.details = json!({"causes": [{"message": format!("failed calling webhook \"{name}\": {why}")}]});
    failure
}

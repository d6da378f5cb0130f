//! Roles decide, and every call is on record.

use super::client::Client;
use super::{CONFIG_MAPS, JSON, config_map};
use lb_tests::apiserver::ApiServer;
use serde_json::json;

const ROLES: &str = r#"
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: reader}
rules:
- {apiGroups: [networking.k8s.io], resources: [ingresses], verbs: [get, list, watch]}
- {apiGroups: [networking.k8s.io], resources: [ingresses/status], verbs: [update, patch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: reader}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: reader}
subjects: [{kind: ServiceAccount, name: sluice, namespace: sluice-system}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: one-map, namespace: default}
rules:
- {apiGroups: [""], resources: [configmaps], resourceNames: [mine], verbs: [get, list, watch, update]}
- {apiGroups: [""], resources: [secrets], verbs: [create]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: one-map, namespace: default}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: one-map}
subjects: [{kind: Group, name: "system:serviceaccounts:sluice-system"}]
"#;

#[test]
fn roles_decide() {
    let server = ApiServer::start();
    server.put(ROLES);
    server.put("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: mine}\n");
    let mut client = Client::new(&server, &server.service_account("sluice-system", "sluice"));
    let mine = config_map("mine", &json!({}));
    let apply = "application/apply-patch+yaml";
    let everywhere = "/apis/networking.k8s.io/v1/ingresses";
    for (method, path, kind, body, code) in [
        ("GET", everywhere.to_owned(), "", "", 200),
        ("GET", format!("{}/x", super::INGRESSES), "", "", 404),
        ("POST", super::INGRESSES.to_owned(), JSON, "{}", 403),
        ("PATCH", format!("{}/x/status", super::INGRESSES), "application/merge-patch+json", "{}", 404),
        ("PATCH", format!("{}/x", super::INGRESSES), "application/merge-patch+json", "{}", 403),
        ("GET", format!("{CONFIG_MAPS}/mine"), "", "", 200),
        ("GET", format!("{CONFIG_MAPS}/other"), "", "", 403),
        ("GET", CONFIG_MAPS.to_owned(), "", "", 403),
        ("GET", format!("{CONFIG_MAPS}?fieldSelector=metadata.name%3Dmine"), "", "", 200),
        ("GET", "/api/v1/configmaps?fieldSelector=metadata.name%3Dmine".to_owned(), "", "", 403),
        ("PUT", format!("{CONFIG_MAPS}/mine"), JSON, mine.as_str(), 200),
        ("DELETE", format!("{CONFIG_MAPS}/mine"), "", "", 403),
        ("POST", "/api/v1/namespaces/default/secrets".to_owned(), JSON, r#"{"metadata":{"name":"s"}}"#, 201),
        ("POST", "/api/v1/namespaces/kube-system/secrets".to_owned(), JSON, r#"{"metadata":{"name":"s"}}"#, 403),
        ("PATCH", "/api/v1/namespaces/default/secrets/t?fieldManager=x".to_owned(), apply, "{}", 403),
        ("GET", "/apis".to_owned(), "", "", 200),
    ] {
        let (got, answer) = client.ask(method, &path, kind, body);
        assert_eq!(got, code, "{method} {path}: {answer}");
    }
    let (_, refused) = client.get(CONFIG_MAPS);
    let message = "configmaps is forbidden: User \"system:serviceaccount:sluice-system:sluice\" cannot list resource \"configmaps\" in API group \"\" in the namespace \"default\"";
    assert_eq!((refused["message"].as_str(), &refused["reason"]), (Some(message), &json!("Forbidden")));

    let refused = server.calls().into_iter().filter(|call| !call.is_allowed()).count();
    assert_eq!(refused, 9, "{:#?}", server.calls());
    let status = server.calls().into_iter().find(|call| call.resource == "ingresses/status").expect("it was asked");
    assert_eq!((status.verb, status.group, status.code), ("patch", "networking.k8s.io", 404));
    assert_eq!(server.writes()["system:serviceaccount:sluice-system:sluice"], 8);
    server.expire_tokens(None);
    assert_eq!(client.get(everywhere).0, 401);
}

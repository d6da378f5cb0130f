//! The chart, rendered with every file of values that the repository holds.

use super::decode::{documents, faults};
use super::{name, only, root, texts, tool};
use lb_tests::agent::{binary, text};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};

/// Values of the tests, below the chart; empty: the defaults.
pub const VALUES: [&str; 4] =
    ["", "ci/every-option-values.yaml", "ci/namespaces-values.yaml", "values-takeover-nginx.yaml"];

/// What the engine answers.
pub struct Rendered {
    /// Warnings and errors of `helm lint --strict`.
    pub lint: Vec<String>,
    /// Text of each template by its path.
    pub files: BTreeMap<String, String>,
}

impl Rendered {
    /// All objects.
    pub fn objects(&self) -> Vec<Value> {
        let manifests = self.files.iter().filter(|(path, _)| path.ends_with(".yaml"));
        manifests.flat_map(|(_, text)| documents(text)).collect()
    }
}

/// Renders the chart as release `sluice` in `sluice-system`, or answers why the engine would not.
pub fn render(values: &str) -> Result<Rendered, String> {
    let mut python = Command::new("python3");
    python.arg(root().join("tests/it/deploy/helm.py")).env("PYTHONPATH", tool("helm-python-sdk"));
    python.env("PYTHONDONTWRITEBYTECODE", "1").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = python.spawn().expect("python3 starts");
    let asked = json!({ "chart": root().join("deploy/helm/sluice"), "values": values });
    let mut stdin = child.stdin.take().expect("its input");
    stdin.write_all(asked.to_string().as_bytes()).expect("it reads");
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {}", text(&output)));
    if let Some(error) = answer["error"].as_str() {
        return Err(error.to_owned());
    }
    let lint = texts(&answer["lint"]).into_iter().map(str::to_owned).collect();
    let files = serde_json::from_value(answer["files"].clone()).expect("a text for each template");
    Ok(Rendered { lint, files })
}

/// As [`render`], with a file of [`VALUES`].
pub fn render_file(file: &str) -> Rendered {
    let values = match file {
        "" => String::new(),
        file => std::fs::read_to_string(root().join("deploy/helm/sluice").join(file)).expect("values"),
    };
    render(&values).unwrap_or_else(|error| panic!("{file}: {error}"))
}

#[test]
fn every_rendering_is_clean_and_known_to_the_api() {
    for file in VALUES {
        let rendered = render_file(file);
        assert!(rendered.lint.is_empty(), "{file}: {:#?}", rendered.lint);
        let objects = rendered.objects();
        assert!(objects.len() >= 7, "{file}: {} objects", objects.len());
        for object in &objects {
            assert_eq!(faults(object), [""; 0], "{file}: {}", name(object));
        }
        let mut names: Vec<String> = objects.iter().map(name).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count, "{file}: two objects of one name: {names:?}");
        references_lead_somewhere(file, &objects);
    }
}

/// What one object names in another is there.
fn references_lead_somewhere(file: &str, objects: &[Value]) {
    let has = |wanted: &str| objects.iter().any(|object| name(object) == wanted);
    let daemon_set = only(objects, "DaemonSet");
    let (template, pod) = (&daemon_set["spec"]["template"], &daemon_set["spec"]["template"]["spec"]);
    let namespace = daemon_set["metadata"]["namespace"].as_str().expect("a namespace");
    let account = format!("ServiceAccount {namespace}/{}", pod["serviceAccountName"].as_str().expect("an account"));
    assert!(has(&account), "{file}: {account}");
    let labels = template["metadata"]["labels"].as_object().expect("labels");
    let selects = |selector: &Value| {
        let selector = selector.as_object().filter(|selector| !selector.is_empty()).expect("a selector");
        selector.iter().all(|(key, value)| labels.get(key) == Some(value))
    };
    assert!(selects(&daemon_set["spec"]["selector"]["matchLabels"]), "{file}: the DaemonSet's selector");
    let container = &pod["containers"][0];
    let names = |list: &Value| -> Vec<String> {
        list.as_array().into_iter().flatten().filter_map(|item| item["name"].as_str().map(str::to_owned)).collect()
    };
    let (ports, volumes) = (names(&container["ports"]), names(&pod["volumes"]));
    assert_eq!(names(&container["volumeMounts"]), volumes, "{file}");
    for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
        let port = container[probe]["httpGet"]["port"].as_str().expect("a port by name");
        assert!(ports.iter().any(|name| name == port), "{file}: {probe} asks port {port}");
    }
    for object in objects {
        match object["kind"].as_str().unwrap_or_default() {
            "Service" => {
                assert!(selects(&object["spec"]["selector"]), "{file}: {}", name(object));
                for port in object["spec"]["ports"].as_array().into_iter().flatten() {
                    let to = port["targetPort"].as_str().expect("a port by name");
                    assert!(ports.iter().any(|name| name == to), "{file}: {} leads to {to}", name(object));
                }
            }
            "PodDisruptionBudget" => assert!(selects(&object["spec"]["selector"]["matchLabels"]), "{file}"),
            "ClusterRoleBinding" => {
                let role = format!("ClusterRole {}", object["roleRef"]["name"].as_str().expect("a role"));
                assert!(has(&role), "{file}: {role}");
            }
            "RoleBinding" => {
                let (namespace, role) = (&object["metadata"]["namespace"], &object["roleRef"]["name"]);
                let role = format!("Role {}/{}", namespace.as_str().expect("one"), role.as_str().expect("one"));
                assert!(has(&role), "{file}: {role}");
            }
            _ => {}
        }
        for subject in object["subjects"].as_array().into_iter().flatten() {
            assert_eq!(name(&json!({ "kind": subject["kind"], "metadata": subject })), account, "{file}");
        }
    }
}

#[test]
fn the_agent_takes_its_arguments() {
    for file in VALUES {
        let objects = render_file(file).objects();
        let container = &only(&objects, "DaemonSet")["spec"]["template"]["spec"]["containers"][0];
        let arguments = texts(&container["args"]);
        // One value that is wrong, so that it ends before it does anything: every other fault would be listed beside it.
        let mut sluice = Command::new(binary("sluice"));
        let output = sluice.args(&arguments).arg("--workers=0").output().expect("sluice runs");
        assert_eq!(output.status.code(), Some(64), "{file}: {}", text(&output));
        let faults = String::from_utf8_lossy(&output.stderr);
        assert_eq!(faults.lines().count(), 1, "{file}: {arguments:?}: {faults}");
        assert!(faults.contains("--workers must be"), "{file}: {arguments:?}: {faults}");
    }
}

#[test]
fn the_pod_has_few_rights_and_time_to_end() {
    for file in VALUES {
        let objects = render_file(file).objects();
        let pod = &only(&objects, "DaemonSet")["spec"]["template"]["spec"];
        let container = &pod["containers"][0];
        let mut capabilities = vec!["BPF", "NET_ADMIN", "NET_BIND_SERVICE"];
        // The one file that does without.
        if file != "ci/every-option-values.yaml" {
            capabilities.push("PERFMON");
        }
        let want = json!({
            "runAsUser": 0,
            "runAsGroup": 0,
            "allowPrivilegeEscalation": false,
            "privileged": false,
            "readOnlyRootFilesystem": true,
            "capabilities": { "drop": ["ALL"], "add": capabilities },
        });
        assert_eq!(container["securityContext"], want, "{file}");
        assert_eq!(
            (&pod["hostNetwork"], &pod["dnsPolicy"]),
            (&json!(true), &json!("ClusterFirstWithHostNet")),
            "{file}"
        );
        assert!(pod["hostPID"].is_null() && pod["hostIPC"].is_null(), "{file}");
        let paths: Vec<&Value> = pod["volumes"].as_array().expect("volumes").iter().map(|v| &v["hostPath"]).collect();
        let mut want = vec![json!({ "path": "/sys/fs/bpf", "type": "Directory" }), Value::Null];
        // The certificate of the webhook, in the one file that has it.
        want.extend((file == "ci/every-option-values.yaml").then_some(Value::Null));
        assert_eq!(paths, want.iter().collect::<Vec<_>>(), "{file}");

        let seconds = |flag: &str| -> u64 {
            let found = texts(&container["args"]).into_iter().find_map(|argument| argument.strip_prefix(flag));
            found.and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{file}: {flag}"))
        };
        let ends = seconds("--shutdown-delay-seconds=") + seconds("--drain-seconds=");
        let grace = pod["terminationGracePeriodSeconds"].as_u64().expect("seconds");
        assert!(grace >= ends + 5, "{file}: killed after {grace} s, and needs {ends} s");
    }
}

#[test]
fn the_image_is_tried_with_the_same_rights() {
    let tried = std::fs::read_to_string(root().join("xtask/src/dist/start.rs")).expect("a file");
    let line = tried.lines().find(|line| line.starts_with("const CAPABILITIES:")).expect("the line");
    assert!(line.ends_with(r#"["cap_bpf", "cap_net_admin", "cap_net_bind_service", "cap_perfmon"];"#), "{line}");
}

#[test]
fn what_contradicts_is_refused_with_a_reason() {
    for (values, want) in [
        ("ingresClass: {name: a}", "ingresClass"),
        ("ingressClass: {mode: apache}", "mode"),
        ("listen: {httpPort: 0}", "httpPort"),
        ("listen: {addresses: [lb.example]}", "addresses"),
        ("image: {digest: latest}", "digest"),
        ("updateStrategy: {maxUnavailable: 0}", "maxUnavailable"),
        ("podDisruptionBudget: {minAvailable: 50%}", "minAvailable"),
        ("extraArgs: [splice]", "extraArgs"),
        ("status: {publishService: lb}", "publishService"),
        ("watch: {namespaces: [a], namespaceSelector: b=c}", "exclude one another"),
        ("status: {addresses: [192.0.2.1], publishService: a/b}", "exclude one another"),
        ("admission: {enabled: true}", "needs admission.secretName"),
        ("admission: {enabled: true, secretName: a}", "admission.injectCaFrom or"),
        ("admission: {enabled: true, secretName: a, caBundle: YQ==, injectCaFrom: a/b}", "exclude one another"),
        ("admission: {failurePolicy: Maybe}", "failurePolicy"),
        ("metrics: {serviceMonitor: {enabled: true}}", "on loopback nobody else can"),
    ] {
        let error = render(values).map(|rendered| rendered.lint).expect_err(values);
        assert!(error.contains(want), "{values}: {error}");
    }
}

#[test]
fn the_webhook_is_off_by_default_and_leads_to_the_agents() {
    for file in VALUES {
        let objects = render_file(file).objects();
        let hooks: Vec<&Value> = objects.iter().filter(|o| o["kind"] == "ValidatingWebhookConfiguration").collect();
        assert_eq!(hooks.len(), usize::from(file == "ci/every-option-values.yaml"), "{file}");
        let arguments = &only(&objects, "DaemonSet")["spec"]["template"]["spec"]["containers"][0]["args"];
        let asked = texts(arguments).iter().any(|argument| argument.starts_with("--admission"));
        assert_eq!(asked, !hooks.is_empty(), "{file}");
    }
    let objects = render_file("ci/every-option-values.yaml").objects();
    let configuration = only(&objects, "ValidatingWebhookConfiguration");
    let annotation = &configuration["metadata"]["annotations"]["cert-manager.io/inject-ca-from"];
    assert_eq!(annotation, "sluice-system/webhook");
    let hook = &configuration["webhooks"][0];
    assert_eq!((&hook["failurePolicy"], &hook["timeoutSeconds"]), (&json!("Fail"), &json!(3)));
    assert_eq!(hook["namespaceSelector"], json!({ "matchLabels": { "team": "shop" } }));
    let asked = &hook["clientConfig"]["service"];
    let service = format!("Service {}/{}", texts(&json!([asked["namespace"]]))[0], texts(&json!([asked["name"]]))[0]);
    let service = objects.iter().find(|object| name(object) == service).expect("its Service");
    assert_eq!(service["spec"]["ports"][0]["port"], asked["port"]);
    let volumes = &only(&objects, "DaemonSet")["spec"]["template"]["spec"]["volumes"];
    let secret = &volumes.as_array().expect("volumes").last().expect("one")["secret"];
    assert_eq!((&secret["secretName"], &secret["optional"]), (&json!("webhook"), &json!(true)));

    let on = "admission: {enabled: true, secretName: webhook, caBundle: YQ==}";
    let objects = render(on).expect("it renders").objects();
    let hook = &only(&objects, "ValidatingWebhookConfiguration")["webhooks"][0];
    assert_eq!((&hook["failurePolicy"], &hook["timeoutSeconds"]), (&json!("Ignore"), &json!(5)));
    assert_eq!(hook["clientConfig"]["caBundle"], "YQ==");
}

#[test]
fn values_reach_what_they_are_for() {
    let objects = render_file("ci/every-option-values.yaml").objects();
    let class = only(&objects, "IngressClass");
    assert_eq!(class["metadata"]["annotations"]["sluice.dev/mode"], "nginx");
    assert_eq!(class["metadata"]["annotations"]["ingressclass.kubernetes.io/is-default-class"], "true");
    let monitor = only(&objects, "ServiceMonitor");
    let agents = objects.iter().find(|object| name(object) == "Service sluice-system/sluice-agents").expect("agents");
    for (key, value) in monitor["spec"]["selector"]["matchLabels"].as_object().expect("labels") {
        assert_eq!(&agents["metadata"]["labels"][key], value, "the monitor finds the Service of the agents");
    }
    assert_eq!(monitor["spec"]["endpoints"][0]["port"], agents["spec"]["ports"][0]["name"]);
    let container = &only(&objects, "DaemonSet")["spec"]["template"]["spec"]["containers"][0];
    assert!(
        container["livenessProbe"]["httpGet"]["host"].is_null(),
        "an agent on every address is asked on the node's"
    );

    // In a takeover the class is another's: nothing of it is made or changed.
    let takeover = render_file("values-takeover-nginx.yaml").objects();
    assert!(!takeover.iter().any(|object| object["kind"] == "IngressClass"));
    let notes = &render_file("values-takeover-nginx.yaml").files["sluice/templates/NOTES.txt"];
    assert!(notes.contains("migrate-from-ingress-nginx.md"), "{notes}");
}

//! Flags of the source, and of which Ingresses of it are ours.
//!
//! Goes in: arguments. Comes out: a [`Source`], and the classes in [`Objects`]; every fault is listed. What is usual depends on the
//! source and on the controller: nobody else reads a directory, and whoever takes over the class of ingress-nginx
//! wants what ingress-nginx does.

use crate::config::{ClassMode, Cluster, Objects, Source};
use clap::{ArgAction, Args};
use std::path::PathBuf;

/// Namespaces that can be named. Each is four connections to the API server; who has more of them watches all.
const NAMESPACES_MAX: usize = 16;
/// `spec.controller` of the classes of ingress-nginx.
const NGINX_CONTROLLER: &str = "k8s.io/ingress-nginx";

/// Where objects come from: a directory or a cluster.
#[derive(Debug, Args)]
#[command(next_help_heading = "Source (one of --directory and --cluster)")]
pub struct SourceArgs {
    /// Directory of YAML manifests (Ingress, Service, EndpointSlice, Secret, …). It is watched.
    #[arg(long, env = "SLUICE_DIRECTORY")]
    directory: Option<PathBuf>,
    /// Watch the API of a Kubernetes cluster: as the service account of the Pod, or by a kubeconfig.
    #[arg(long, env = "SLUICE_CLUSTER")]
    cluster: bool,
    /// Kubeconfig for --cluster; its current context is used. Default: the service account of the Pod.
    #[arg(long, env = "SLUICE_KUBECONFIG", value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Namespace that is watched; may be given several times, at most 16, or separated by commas. Default: all.
    #[arg(long, env = "SLUICE_WATCH_NAMESPACE", value_name = "NAME", value_delimiter = ',')]
    watch_namespace: Vec<String>,
    /// Label selector of the namespaces that are served, as in `team in (a,b)`. Default: all.
    #[arg(long, env = "SLUICE_WATCH_NAMESPACE_SELECTOR", value_name = "SELECTOR")]
    watch_namespace_selector: Option<String>,
}

/// Which Ingresses are ours, and what their paths mean.
#[derive(Debug, Args)]
#[command(next_help_heading = "Classes")]
pub struct ClassArgs {
    /// `spec.controller` of the IngressClasses that are ours. `k8s.io/ingress-nginx` takes over those of ingress-nginx.
    #[arg(long, env = "SLUICE_CONTROLLER_CLASS", default_value = "sluice.dev/ingress")]
    controller_class: String,
    /// Value of the annotation `kubernetes.io/ingress.class` that is ours; may be given several times. Default: `sluice`, and
    /// `nginx` with the controller of ingress-nginx.
    #[arg(long, value_name = "NAME")]
    ingress_class: Vec<String>,
    /// Serve Ingresses that name no class, where no class is the default one. Default: true for a directory, which nobody
    /// else reads, and false for a cluster.
    #[arg(long, env = "SLUICE_WATCH_INGRESS_WITHOUT_CLASS", action = ArgAction::Set, value_name = "BOOL")]
    watch_ingress_without_class: Option<bool>,
    /// What paths mean where no IngressClass says it, by the annotation sluice.dev/mode or its parameters. Default: `spec`,
    /// and `nginx` with the controller of ingress-nginx.
    #[arg(long, env = "SLUICE_CLASS_MODE", value_enum)]
    class_mode: Option<ClassMode>,
}

impl SourceArgs {
    /// The source. What is wrong is added to `faults`.
    pub fn source(&self, faults: &mut Vec<String>) -> Source {
        self.check_namespaces(faults);
        let narrows = !self.watch_namespace.is_empty() || self.watch_namespace_selector.is_some();
        match (&self.directory, self.cluster) {
            (Some(directory), false) => {
                if !directory.is_dir() {
                    let shown = directory.display();
                    faults.push(format!(
                        "--directory {shown} is no directory that can be read: make it, or name another"
                    ));
                }
                if self.kubeconfig.is_some() || narrows {
                    faults
                        .push("--kubeconfig and --watch-namespace… are for --cluster, not for --directory".to_owned());
                }
                Source::Directory(directory.clone())
            }
            (None, true) => Source::Cluster(Cluster {
                kubeconfig: self.kubeconfig.clone(),
                namespaces: self.watch_namespace.clone(),
                namespace_selector: self.watch_namespace_selector.clone(),
            }),
            (Some(_), true) => {
                faults.push("--directory and --cluster are two sources: give one".to_owned());
                Source::Cluster(Cluster::default())
            }
            (None, false) => {
                faults.push("no source: give --directory DIR, or --cluster".to_owned());
                Source::Cluster(Cluster::default())
            }
        }
    }

    fn check_namespaces(&self, faults: &mut Vec<String>) {
        if self.watch_namespace.len() > NAMESPACES_MAX {
            faults.push(format!(
                "--watch-namespace names more than {NAMESPACES_MAX}: label them and give --watch-namespace-selector"
            ));
        }
        for (i, name) in self.watch_namespace.iter().enumerate() {
            if !is_label(name) {
                faults.push(format!("--watch-namespace {name:?} is no name of a namespace (RFC 1123 label)"));
            }
            if self.watch_namespace[..i].contains(name) {
                faults.push(format!("--watch-namespace {name} is given twice"));
            }
        }
        let Some(selector) = &self.watch_namespace_selector else { return };
        if selector.trim().is_empty() {
            faults.push("--watch-namespace-selector is empty: leave it out to watch all".to_owned());
        }
        if !self.watch_namespace.is_empty() {
            faults.push("--watch-namespace and --watch-namespace-selector exclude each other: give one".to_owned());
        }
    }
}

impl ClassArgs {
    /// Classes as they are for a source. What is wrong is added to `faults`.
    pub fn objects(&self, source: &Source, faults: &mut Vec<String>) -> Objects {
        if self.controller_class.is_empty() {
            faults.push("--controller-class is empty: name the spec.controller of your IngressClass".to_owned());
        }
        let nginx = self.controller_class == NGINX_CONTROLLER;
        let usual = vec![if nginx { "nginx" } else { "sluice" }.to_owned()];
        Objects {
            controller_class: self.controller_class.clone(),
            ingress_classes: if self.ingress_class.is_empty() { usual } else { self.ingress_class.clone() },
            without_class: self.watch_ingress_without_class.unwrap_or(matches!(source, Source::Directory(_))),
            class_mode: self.class_mode.unwrap_or(if nginx { ClassMode::Nginx } else { ClassMode::Spec }),
            ..Objects::default()
        }
    }
}

/// RFC 1123 section 2.1, as Kubernetes has it: up to 63 lower-case letters, digits and hyphens inside.
fn is_label(name: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=63).contains(&name.len()) && name.bytes().all(inner) && !name.starts_with('-') && !name.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Just {
        #[command(flatten)]
        source: SourceArgs,
        #[command(flatten)]
        class: ClassArgs,
    }

    fn parse(arguments: &[&str]) -> Result<(Source, Objects), Vec<String>> {
        let just = Just::try_parse_from(["run"].iter().chain(arguments)).expect("arguments parse");
        let mut faults = Vec::new();
        let source = just.source.source(&mut faults);
        let objects = just.class.objects(&source, &mut faults);
        if faults.is_empty() { Ok((source, objects)) } else { Err(faults) }
    }

    #[test]
    fn exactly_one_source() {
        for arguments in [
            &[][..],
            &["--directory=/tmp", "--cluster"],
            &["--directory=/nonexistent"],
            &["--directory=/tmp", "--kubeconfig=x"],
            &["--directory=/tmp", "--watch-namespace=a"],
            &["--cluster", "--watch-namespace=A"],
            &["--cluster", "--watch-namespace=a,a"],
            &["--cluster", "--watch-namespace=a", "--watch-namespace-selector=b"],
            &["--cluster", "--watch-namespace-selector="],
            &["--cluster", "--controller-class="],
        ] {
            assert_eq!(parse(arguments).map_err(|faults| faults.len()), Err(1), "{arguments:?}");
        }
        let (source, _) = parse(&["--cluster", "--watch-namespace=a,b", "--kubeconfig=k"]).expect("valid");
        let namespaces = vec!["a".to_owned(), "b".to_owned()];
        let want = Cluster { kubeconfig: Some("k".into()), namespaces, ..Cluster::default() };
        assert_eq!(source, Source::Cluster(want));
    }

    #[test]
    fn what_is_usual() {
        let check = |arguments: &[&str], classes: &[&str], without: bool, mode| {
            let (_, objects) = parse(arguments).expect("valid");
            assert_eq!(objects.ingress_classes, classes, "{arguments:?}");
            assert_eq!((objects.without_class, objects.class_mode), (without, mode), "{arguments:?}");
        };
        check(&["--directory=/tmp"], &["sluice"], true, ClassMode::Spec);
        check(&["--cluster"], &["sluice"], false, ClassMode::Spec);
        let nginx = "--controller-class=k8s.io/ingress-nginx";
        check(&["--cluster", nginx], &["nginx"], false, ClassMode::Nginx);
        let all = ["--cluster", nginx, "--class-mode=spec", "--ingress-class=a", "--watch-ingress-without-class=true"];
        check(&all, &["a"], true, ClassMode::Spec);
    }
}

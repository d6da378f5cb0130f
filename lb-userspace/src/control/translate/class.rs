//! Classes: which Ingresses are ours, and in which mode their paths are read.
//!
//! In this order: `spec.ingressClassName` names an IngressClass, whose controller decides; else the annotation
//! `kubernetes.io/ingress.class`; else the class that is marked default; else the setting for Ingresses without a class.
//! The mode of a class is what its annotation says, else the ConfigMap that `spec.parameters` names, else the setting.

use super::super::reason;
use super::super::store::Store;
use super::report::Report;
use crate::config::{self, ClassMode};
use k8s_openapi::api::networking::v1::{Ingress, IngressClass, IngressSpec};
use lb_core::model::{Kind, ObjectRef};
use std::collections::HashMap;

/// The annotation that named a class before `spec.ingressClassName` did.
pub const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";

/// The annotation by which an IngressClass takes Ingresses that name none.
pub const DEFAULT_CLASS_ANNOTATION: &str = "ingressclass.kubernetes.io/is-default-class";

/// The annotation by which an IngressClass says what the paths of its Ingresses mean: `spec` or `nginx`.
pub const MODE_ANNOTATION: &str = "sluice.dev/mode";

/// The key by which a ConfigMap that `spec.parameters` of an IngressClass names says the same.
pub const MODE_KEY: &str = "mode";

/// The IngressClasses.
#[derive(Debug)]
pub struct Classes<'a> {
    objects: &'a config::Objects,
    /// By name: the controller.
    controllers: HashMap<&'a str, &'a str>,
    /// Modes of those that name one.
    modes: HashMap<&'a str, ClassMode>,
    /// The classes marked default, by name.
    defaults: Vec<&'a str>,
}

impl<'a> Classes<'a> {
    /// Reads all IngressClasses.
    pub fn read(store: &'a Store, objects: &'a config::Objects, report: &mut Report<'_>) -> Self {
        let mut classes = Self { objects, controllers: HashMap::new(), modes: HashMap::new(), defaults: Vec::new() };
        for (key, class) in store.ingress_classes() {
            let controller = class.spec.as_ref().and_then(|s| s.controller.as_deref()).unwrap_or_default();
            classes.controllers.insert(&key.name, controller);
            let annotations = class.metadata.annotations.as_ref();
            if annotations.and_then(|a| a.get(DEFAULT_CLASS_ANNOTATION)).is_some_and(|v| v == "true") {
                classes.defaults.push(&key.name);
            }
            if classes.is_ours(&key.name)
                && let Some(mode) = mode_of(key, class, store, report)
            {
                classes.modes.insert(&key.name, mode);
            }
        }
        if classes.defaults.len() > 1 {
            classes.several_defaults(store, report);
        }
        classes
    }

    /// What the Ingress asks for and the mode of its class, when it is ours; else says why it is not.
    pub fn claim<'i>(
        &self,
        key: &ObjectRef,
        ingress: &'i Ingress,
        report: &mut Report<'_>,
    ) -> Option<(&'i IngressSpec, ClassMode)> {
        let Some(spec) = &ingress.spec else {
            let message = "The Ingress has no spec, so it serves nothing.";
            report.fault(key, "spec", reason::NOTHING_TO_SERVE, message, "Add a rule or spec.defaultBackend.");
            return None;
        };
        let named = spec.ingress_class_name.as_deref().filter(|name| !name.is_empty());
        let annotated =
            ingress.metadata.annotations.as_ref().and_then(|a| a.get(CLASS_ANNOTATION)).filter(|name| !name.is_empty());
        let ours = match (named, annotated) {
            (Some(name), _) => self.named(key, name, report),
            (None, Some(name)) => self.annotated(key, name, report),
            (None, None) => self.unnamed(key, report),
        };
        ours.then(|| (spec, self.mode(named.or(annotated.map(String::as_str)))))
    }

    /// The mode of a class, or of the default one where none is named; what says nothing has that of the settings.
    fn mode(&self, class: Option<&str>) -> ClassMode {
        let class = class.or_else(|| self.defaults.iter().copied().find(|class| self.is_ours(class)));
        class.and_then(|class| self.modes.get(class)).copied().unwrap_or(self.objects.class_mode)
    }

    /// Whether a class of this name is there and ours.
    #[must_use]
    pub fn is_ours(&self, class: &str) -> bool {
        self.controllers.get(class).is_some_and(|controller| *controller == self.objects.controller_class)
    }

    fn named(&self, key: &ObjectRef, name: &str, report: &mut Report<'_>) -> bool {
        let field = "spec.ingressClassName";
        match self.controllers.get(name) {
            Some(controller) if *controller == self.objects.controller_class => true,
            Some(controller) => {
                let message =
                    format!("Class {name} is of controller {controller:?}, so the Ingress is not served here.");
                report.note(key, field, reason::OTHER_CLASS, message, "Nothing, if that is meant.");
                false
            }
            None => {
                let message = format!("There is no IngressClass {name:?}, so nobody serves this Ingress.");
                let remedy =
                    format!("Create it with spec.controller {:?}, or correct the name.", self.objects.controller_class);
                report.fault(key, field, reason::UNKNOWN_CLASS, message, remedy);
                false
            }
        }
    }

    fn annotated(&self, key: &ObjectRef, name: &str, report: &mut Report<'_>) -> bool {
        if self.is_ours(name) || self.objects.ingress_classes.iter().any(|ours| ours == name) {
            return true;
        }
        let message = format!("The Ingress asks for class {name:?}, which is not ours, so it is not served here.");
        let remedy = format!("Nothing, if that is meant; else name one of: {}.", self.names().join(", "));
        report.note(key, format!("metadata.annotations[{CLASS_ANNOTATION}]"), reason::OTHER_CLASS, message, remedy);
        false
    }

    fn unnamed(&self, key: &ObjectRef, report: &mut Report<'_>) -> bool {
        if self.defaults.iter().any(|class| self.is_ours(class)) {
            return true;
        }
        let field = "spec.ingressClassName";
        if let Some(class) = self.defaults.first() {
            let message =
                format!("The Ingress names no class, and the default one, {class}, is of another controller.");
            report.note(key, field, reason::OTHER_CLASS, message, "Nothing, if that is meant; else name a class.");
            return false;
        }
        if !self.objects.without_class {
            let message = "The Ingress names no class, no class is the default one, and such Ingresses are not served.";
            report.note(key, field, reason::NO_CLASS, message, "Name a class, or mark one as default.");
        }
        self.objects.without_class
    }

    /// The names that the annotation may have.
    fn names(&self) -> Vec<&str> {
        let classes = self.controllers.keys().copied().filter(|class| self.is_ours(class));
        let mut names: Vec<&str> = classes.chain(self.objects.ingress_classes.iter().map(String::as_str)).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    fn several_defaults(&self, store: &Store, report: &mut Report<'_>) {
        let names = self.defaults.join(", ");
        for (key, _) in store.ingress_classes().filter(|(key, _)| self.defaults.contains(&&*key.name)) {
            let message = format!(
                "Several classes are marked default ({names}); Ingresses without a class are ours if one of them is."
            );
            let field = format!("metadata.annotations[{DEFAULT_CLASS_ANNOTATION}]");
            report.fault(key, field, reason::SEVERAL_DEFAULT_CLASSES, message, "Mark one class only.");
        }
    }
}

/// The ConfigMap that the parameters of a class name; `None`: it has none.
///
/// # Errors
/// Why they name no ConfigMap.
pub fn parameters(class: &IngressClass) -> Option<Result<ObjectRef, &'static str>> {
    let parameters = class.spec.as_ref()?.parameters.as_ref()?;
    let core = parameters.api_group.as_deref().unwrap_or_default().is_empty();
    Some(match parameters.namespace.as_deref().filter(|namespace| !namespace.is_empty()) {
        _ if !core || parameters.kind != "ConfigMap" => Err("they are no ConfigMap"),
        None => Err("they name no namespace"),
        Some(namespace) => Ok(ObjectRef::new(Kind::ConfigMap, namespace, parameters.name.clone())),
    })
}

/// What a class says of modes itself; says so when that cannot be used.
fn mode_of(key: &ObjectRef, class: &IngressClass, store: &Store, report: &mut Report<'_>) -> Option<ClassMode> {
    if let Some(text) = class.metadata.annotations.as_ref().and_then(|all| all.get(MODE_ANNOTATION)) {
        let field = format!("metadata.annotations[{MODE_ANNOTATION}]");
        return mode_named(key, &field, text, report);
    }
    let field = "spec.parameters";
    let named = match parameters(class)? {
        Ok(named) => named,
        Err(why) => {
            let message = format!("The parameters of the class are not read: {why}.");
            let remedy = "Name a ConfigMap (scope: Namespace), or nothing.";
            report.note(key, field, reason::INVALID_CLASS_PARAMETERS, message, remedy);
            return None;
        }
    };
    let Some(map) = store.config_map(&named) else {
        let message = format!("{named} does not exist, so the class has the mode of --class-mode.");
        let remedy = "Create it, or take the parameters out.";
        report.fault(key, field, reason::INVALID_CLASS_PARAMETERS, message, remedy);
        return None;
    };
    let text = map.data.as_ref()?.get(MODE_KEY)?;
    mode_named(key, &format!("{field} ({named}, data.{MODE_KEY})"), text, report)
}

/// A mode by its name; says so when there is none of it.
fn mode_named(key: &ObjectRef, field: &str, text: &str, report: &mut Report<'_>) -> Option<ClassMode> {
    match text {
        "spec" => Some(ClassMode::Spec),
        "nginx" => Some(ClassMode::Nginx),
        _ => {
            let message = format!("{text:?} is no mode, so the class has that of --class-mode.");
            report.fault(key, field, reason::INVALID_CLASS_MODE, message, "Write spec or nginx.");
            None
        }
    }
}

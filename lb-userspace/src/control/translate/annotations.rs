//! Annotations: what the owner of an Ingress asks for beside its rules.
//!
//! Goes in: the annotations of one Ingress. Comes out: [`Settings`]. An invalid value voids its annotation, never the
//! Ingress. An annotation that keeps somebody out, and that this version cannot honour, closes the Ingress.

mod snippet;
pub mod table;

use super::super::reason;
use super::report::Report;
use lb_core::filter::rewrite_target::RewriteTarget;
use lb_core::filter::ssl_redirect::SslRedirect;
use lb_core::model::ObjectRef;
use std::collections::BTreeMap;
use std::sync::Arc;
use table::Meaning;

/// The prefix of ingress-nginx.
pub const NGINX: &str = "nginx.ingress.kubernetes.io/";

/// Our own prefix.
pub const SLUICE: &str = "sluice.dev/";

/// What the annotations of an Ingress ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Plain HTTP is sent to HTTPS.
    pub ssl_redirect: Option<SslRedirect>,
    /// The backend sees another path.
    pub rewrite_target: Option<RewriteTarget>,
    /// Which paths are expressions.
    pub expressions: Expressions,
    /// Its paths answer 503, for this reason.
    pub closed: Option<Arc<str>>,
    /// It is not served at all: what it stands for needs another Ingress beside it.
    pub withdrawn: bool,
}

/// Which paths of an Ingress are expressions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expressions {
    /// None.
    None,
    /// All but those of type Exact: `use-regex`.
    AllButExact,
    /// All: `rewrite-target`.
    All,
}

/// Reads the annotations of an Ingress.
pub fn read(object: &ObjectRef, annotations: Option<&BTreeMap<String, String>>, report: &mut Report<'_>) -> Settings {
    let mut reader = Reader { object, report, values: Values::default(), closed: Vec::new(), withdrawn: false };
    for (key, value) in annotations.into_iter().flatten() {
        if let Some(name) = key.strip_prefix(NGINX) {
            reader.nginx(key, name, value);
        } else if key.starts_with(SLUICE) {
            reader.unknown(key);
        }
    }
    reader.finish()
}

/// Values of the annotations that are supported.
#[derive(Debug, Default)]
struct Values {
    ssl_redirect: Option<bool>,
    force_ssl_redirect: Option<bool>,
    preserve_trailing_slash: Option<bool>,
    use_regex: Option<bool>,
    rewrite_target: Option<RewriteTarget>,
}

struct Reader<'a, 'r> {
    object: &'a ObjectRef,
    report: &'a mut Report<'r>,
    values: Values,
    closed: Vec<&'static str>,
    withdrawn: bool,
}

impl Reader<'_, '_> {
    fn nginx(&mut self, key: &str, name: &str, value: &str) {
        match table::meaning(name) {
            Some((name, meaning)) => match meaning {
                Meaning::Supported => self.supported(key, name, value),
                Meaning::Refused { default, instead } if *default != Some(value) => self.refused(key, instead),
                Meaning::Protects { off } if !value.is_empty() && *off != Some(value) => self.close(key, name),
                Meaning::Snippet if snippet::protects(value) => self.close(key, name),
                Meaning::Snippet => self.refused(key, "text for nginx is never run"),
                Meaning::Protocol if !value.eq_ignore_ascii_case("HTTP") => self.close(key, name),
                Meaning::Canary if value != "false" => self.withdraw(key),
                // The value asks for what is done anyway.
                Meaning::Refused { .. } | Meaning::Protects { .. } | Meaning::Protocol | Meaning::Canary => {}
            },
            None if table::is_obsolete(name) => {
                let message = "ingress-nginx does not read this annotation (any more), and neither do we.";
                let remedy = "Remove it.";
                self.report.note(self.object, field(key), reason::OBSOLETE_ANNOTATION, message, remedy);
            }
            None => self.unknown(key),
        }
    }

    fn supported(&mut self, key: &str, name: &str, value: &str) {
        match name {
            "ssl-redirect" => self.values.ssl_redirect = self.boolean(key, value),
            "force-ssl-redirect" => self.values.force_ssl_redirect = self.boolean(key, value),
            "preserve-trailing-slash" => self.values.preserve_trailing_slash = self.boolean(key, value),
            "use-regex" => self.values.use_regex = self.boolean(key, value),
            _ => match RewriteTarget::parse(value) {
                Ok(target) => self.values.rewrite_target = Some(target),
                Err(error) => {
                    self.invalid(key, &error.to_string(), "Write an absolute path, with $1 to $9 for groups.");
                }
            },
        }
    }

    fn boolean(&mut self, key: &str, value: &str) -> Option<bool> {
        match value {
            "true" => Some(true),
            "false" => Some(false),
            _ => {
                self.invalid(
                    key,
                    &format!("{value:?} is neither \"true\" nor \"false\""),
                    "Write \"true\" or \"false\".",
                );
                None
            }
        }
    }

    fn invalid(&mut self, key: &str, why: &str, remedy: &str) {
        let message = format!("{}, so the annotation is void.", capitalised(why));
        self.report.fault(self.object, field(key), reason::INVALID_ANNOTATION, message, remedy);
    }

    fn refused(&mut self, key: &str, instead: &str) {
        let message =
            format!("The annotation is not supported by this version; the Ingress is served without it: {instead}.");
        let remedy = "Remove it if the Ingress can do without.";
        self.report.fault(self.object, field(key), reason::UNSUPPORTED_ANNOTATION, message, remedy);
    }

    fn close(&mut self, key: &str, name: &'static str) {
        let message = "The annotation protects the backend, and this version cannot honour it; the paths of this \
                       Ingress answer 503, rather than stand open.";
        let remedy = "Remove it if the backend needs no protection, or protect it elsewhere.";
        self.report.fault(self.object, field(key), reason::PROTECTION_UNSUPPORTED, message, remedy);
        self.closed.push(name);
    }

    fn withdraw(&mut self, key: &str) {
        let message = "Canaries are not supported by this version; this Ingress is not served, and the main one takes \
                       every request.";
        let remedy = "Remove this Ingress, or keep it for later.";
        self.report.fault(self.object, field(key), reason::UNSUPPORTED_ANNOTATION, message, remedy);
        self.withdrawn = true;
    }

    fn unknown(&mut self, key: &str) {
        let message = "Nobody knows this annotation, so it does nothing.";
        self.report.fault(
            self.object,
            field(key),
            reason::UNKNOWN_ANNOTATION,
            message,
            "Correct the spelling, or remove it.",
        );
    }

    fn finish(self) -> Settings {
        let values = self.values;
        let force = values.force_ssl_redirect.unwrap_or(false);
        let preserve_trailing_slash = values.preserve_trailing_slash.unwrap_or(false);
        let redirects = force || values.ssl_redirect.unwrap_or(true);
        let expressions = match (&values.rewrite_target, values.use_regex) {
            (Some(_), _) => Expressions::All,
            (None, Some(true)) => Expressions::AllButExact,
            (None, _) => Expressions::None,
        };
        let names = self.closed.join(", ");
        let closed = (!names.is_empty()).then(|| format!("this version cannot honour {names}").into());
        Settings {
            ssl_redirect: redirects.then_some(SslRedirect { force, preserve_trailing_slash }),
            rewrite_target: values.rewrite_target,
            expressions,
            closed,
            withdrawn: self.withdrawn,
        }
    }
}

fn field(key: &str) -> String {
    format!("metadata.annotations[{key}]")
}

fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or(String::new(), |first| first.to_uppercase().chain(chars).collect())
}

//! Label and field selectors.
//!
//! Goes in: `labelSelector` and `fieldSelector` as written. Comes out: whether an object matches. Does not do: index.

use super::failure::Failure;
use super::path::dotted;
use super::resource::Resource;
use serde_json::Value;

/// Both selectors of a request.
#[derive(Clone, Debug, Default)]
pub struct Selector {
    labels: Vec<Label>,
    fields: Vec<Field>,
}

#[derive(Clone, Debug)]
enum Label {
    Exists(String),
    Absent(String),
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
}

#[derive(Clone, Debug)]
struct Field {
    path: String,
    value: String,
    negated: bool,
}

impl Selector {
    /// Reads both; empty ones match everything.
    ///
    /// # Errors
    /// 400 for what is no selector.
    pub fn read(labels: &str, fields: &str) -> Result<Self, Failure> {
        let labels = split(labels).iter().map(|term| label(term)).collect::<Result<_, _>>()?;
        let fields = split(fields).iter().map(|term| field(term)).collect::<Result<_, _>>()?;
        Ok(Self { labels, fields })
    }

    /// Refuses fields that the resource cannot be selected by, as the API server does.
    ///
    /// # Errors
    /// 400 that names the field.
    pub fn check(&self, resource: &Resource) -> Result<(), Failure> {
        let known = |path: &str| {
            matches!(path, "metadata.name" | "metadata.namespace")
                || resource.fields.contains(&path)
                || (resource.kind == "Namespace" && path == "name")
        };
        match self.fields.iter().find(|field| !known(&field.path)) {
            Some(field) => {
                let (version, kind) = (resource.api_version(), resource.kind);
                let why = format!(
                    "\"{}\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"",
                    field.path
                );
                Err(Failure::bad_request(format!(
                    "Unable to find \"{version}, Kind={kind}\" that match field selector: {why}"
                )))
            }
            None => Ok(()),
        }
    }

    /// Whether everything matches.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    /// The one name that a field selector allows, if it does.
    #[must_use]
    pub fn one_name(&self) -> Option<String> {
        self.fields.iter().find(|f| f.path == "metadata.name" && !f.negated).map(|f| f.value.clone())
    }

    /// Whether an object matches.
    #[must_use]
    pub fn matches(&self, object: &Value) -> bool {
        self.labels.iter().all(|label| label.matches(&object["metadata"]["labels"]))
            && self.fields.iter().all(|field| (field_value(object, &field.path) == field.value) != field.negated)
    }
}

impl Label {
    fn matches(&self, labels: &Value) -> bool {
        let value = |key: &String| labels[key.as_str()].as_str();
        match self {
            Self::Exists(key) => value(key).is_some(),
            Self::Absent(key) => value(key).is_none(),
            Self::In(key, values) => value(key).is_some_and(|value| values.iter().any(|v| v == value)),
            Self::NotIn(key, values) => value(key).is_none_or(|value| values.iter().all(|v| v != value)),
        }
    }
}

/// Whether labels match a `LabelSelector` object (`matchLabels`, `matchExpressions`). None matches everything.
#[must_use]
pub fn matches_selector(selector: &Value, labels: &Value) -> bool {
    let pairs = selector["matchLabels"].as_object().into_iter().flatten();
    let expressions = selector["matchExpressions"].as_array().into_iter().flatten();
    pairs.into_iter().all(|(key, value)| labels[key] == *value)
        && expressions.into_iter().all(|expression| {
            let key = expression["key"].as_str().unwrap_or_default().to_owned();
            let values = expression["values"].as_array().into_iter().flatten();
            let values = values.filter_map(|value| value.as_str().map(str::to_owned)).collect();
            match expression["operator"].as_str() {
                Some("In") => Label::In(key, values).matches(labels),
                Some("NotIn") => Label::NotIn(key, values).matches(labels),
                Some("Exists") => Label::Exists(key).matches(labels),
                Some("DoesNotExist") => Label::Absent(key).matches(labels),
                _ => false,
            }
        })
}

/// A missing field is an empty text, or `false`.
fn field_value(object: &Value, path: &str) -> String {
    let path = if path == "name" { "metadata.name" } else { path };
    match (path, dotted(object, path)) {
        ("source", source) => {
            let component = source["component"].as_str().filter(|c| !c.is_empty());
            component.or(object["reportingComponent"].as_str()).unwrap_or_default().to_owned()
        }
        (_, Value::String(text)) => text.clone(),
        ("spec.unschedulable", Value::Null) => "false".to_owned(),
        (_, Value::Null) => String::new(),
        (_, other) => other.to_string(),
    }
}

/// Splits at commas outside of parentheses.
fn split(text: &str) -> Vec<String> {
    let mut depth = 0;
    let parts = text.split(|c: char| {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        c == ',' && depth == 0
    });
    parts.map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect()
}

fn label(term: &str) -> Result<Label, Failure> {
    let refused = || Failure::bad_request(format!("unable to parse requirement: {term}"));
    if let Some(open) = term.find('(') {
        let values = term[open + 1..].strip_suffix(')').ok_or_else(refused)?;
        let values = values.split(',').map(|value| value.trim().to_owned()).collect();
        let mut words = term[..open].split_whitespace();
        return match (words.next(), words.next()) {
            (Some(key), Some("in")) => Ok(Label::In(key.to_owned(), values)),
            (Some(key), Some("notin")) => Ok(Label::NotIn(key.to_owned(), values)),
            _ => Err(refused()),
        };
    }
    let word = |text: &str| text.trim().to_owned();
    let found = if let Some((key, value)) = term.split_once("!=") {
        Label::NotIn(word(key), vec![word(value)])
    } else if let Some((key, value)) = term.split_once("==").or_else(|| term.split_once('=')) {
        Label::In(word(key), vec![word(value)])
    } else if let Some(key) = term.strip_prefix('!') {
        Label::Absent(word(key))
    } else if term.contains(char::is_whitespace) {
        return Err(refused());
    } else {
        Label::Exists(word(term))
    };
    Ok(found)
}

fn field(term: &str) -> Result<Field, Failure> {
    let (split, negated) = match term.split_once("!=") {
        Some(split) => (Some(split), true),
        None => (term.split_once("==").or_else(|| term.split_once('=')), false),
    };
    let (path, value) =
        split.ok_or_else(|| Failure::bad_request(format!("invalid selector: '{term}'; can't understand '{term}'")))?;
    Ok(Field { path: path.trim().to_owned(), value: value.trim().to_owned(), negated })
}

#[cfg(test)]
mod tests {
    use super::Selector;
    use serde_json::json;

    #[test]
    fn selectors() {
        let object = json!({"metadata": {"name": "n", "labels": {"a": "1", "b": "2"}}, "type": "kubernetes.io/tls"});
        for (labels, fields, want) in [
            ("", "", true),
            ("a=1,b==2", "", true),
            ("a!=1", "", false),
            ("c!=1", "", true),
            ("a in (1, 3),b notin (3)", "", true),
            ("a,!c", "", true),
            ("!a", "", false),
            ("", "metadata.name=n", true),
            ("", "metadata.name!=n", false),
            ("", "type=kubernetes.io/tls", true),
            ("", "type=Opaque,metadata.name=n", false),
        ] {
            let selector = Selector::read(labels, fields).expect("they are selectors");
            assert_eq!(selector.matches(&object), want, "{labels} {fields}");
        }
        for (labels, fields) in [("a in 1", ""), ("a of (1)", ""), ("", "type")] {
            assert_eq!(Selector::read(labels, fields).expect_err("it is none").code, 400, "{labels} {fields}");
        }
    }
}

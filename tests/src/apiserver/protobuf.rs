//! Bodies in protobuf: what `kubectl create` and `kubectl auth can-i` send, which is always protobuf.
//!
//! Goes in: `application/vnd.kubernetes.protobuf`, the magic `k8s\0` and a `runtime.Unknown`. Comes out: the same object
//! as JSON would have it. The tables are excerpts of `generated.proto` in k8s.io/api. Does not do: answering in protobuf;
//! kinds without a table.

use super::failure::Failure;
use base64::Engine;
use serde_json::{Map, Value, json};

/// Content type of such a body.
pub const CONTENT_TYPE: &str = "application/vnd.kubernetes.protobuf";

const MAGIC: &[u8] = b"k8s\0";

/// Messages within messages; our tables have eight levels.
const DEPTH_MAX: usize = 16;

/// A message: the number of each field, its name in JSON and its type. An empty name means: part of the parent.
type Message = &'static [(u64, &'static str, Type)];

#[derive(Clone, Copy)]
enum Type {
    Text,
    Number,
    Bool,
    Texts,
    TextMap,
    BytesMap,
    IntOrString,
    One(Message),
    Many(Message),
}

use Type::{Bool, BytesMap, IntOrString, Many, Number, One, Text, TextMap, Texts};

const METADATA: Message = &[
    (1, "name", Text),
    (2, "generateName", Text),
    (3, "namespace", Text),
    (5, "uid", Text),
    (6, "resourceVersion", Text),
    (11, "labels", TextMap),
    (12, "annotations", TextMap),
    (14, "finalizers", Texts),
];
const NAMESPACE: Message = &[(1, "metadata", One(METADATA))];
const CONFIG_MAP: Message =
    &[(1, "metadata", One(METADATA)), (2, "data", TextMap), (3, "binaryData", BytesMap), (4, "immutable", Bool)];
const SECRET: Message =
    &[(1, "metadata", One(METADATA)), (2, "data", BytesMap), (3, "type", Text), (4, "stringData", TextMap)];
const SERVICE_PORT: Message = &[
    (1, "name", Text),
    (2, "protocol", Text),
    (3, "port", Number),
    (4, "targetPort", IntOrString),
    (5, "nodePort", Number),
    (6, "appProtocol", Text),
];
const SERVICE_SPEC: Message = &[
    (1, "ports", Many(SERVICE_PORT)),
    (2, "selector", TextMap),
    (3, "clusterIP", Text),
    (4, "type", Text),
    (10, "externalName", Text),
];
const SERVICE: Message = &[(1, "metadata", One(METADATA)), (2, "spec", One(SERVICE_SPEC))];
const BACKEND_PORT: Message = &[(1, "name", Text), (2, "number", Number)];
const BACKEND_SERVICE: Message = &[(1, "name", Text), (2, "port", One(BACKEND_PORT))];
const BACKEND: Message = &[(4, "service", One(BACKEND_SERVICE))];
const HTTP_PATH: Message = &[(1, "path", Text), (2, "backend", One(BACKEND)), (3, "pathType", Text)];
const HTTP: Message = &[(1, "paths", Many(HTTP_PATH))];
const RULE_VALUE: Message = &[(1, "http", One(HTTP))];
const RULE: Message = &[(1, "host", Text), (2, "", One(RULE_VALUE))];
const INGRESS_TLS: Message = &[(1, "hosts", Texts), (2, "secretName", Text)];
const INGRESS_SPEC: Message = &[
    (1, "defaultBackend", One(BACKEND)),
    (2, "tls", Many(INGRESS_TLS)),
    (3, "rules", Many(RULE)),
    (4, "ingressClassName", Text),
];
const INGRESS: Message = &[(1, "metadata", One(METADATA)), (2, "spec", One(INGRESS_SPEC))];
const ATTRIBUTES: Message = &[
    (1, "namespace", Text),
    (2, "verb", Text),
    (3, "group", Text),
    (4, "version", Text),
    (5, "resource", Text),
    (6, "subresource", Text),
    (7, "name", Text),
];
const ACCESS_SPEC: Message = &[(1, "resourceAttributes", One(ATTRIBUTES))];
const ACCESS: Message = &[(1, "metadata", One(METADATA)), (2, "spec", One(ACCESS_SPEC))];

const TYPE_META: Message = &[(1, "apiVersion", Text), (2, "kind", Text)];

/// Reads a body.
///
/// # Errors
/// 400 for what is no such body, 415 for a kind without a table.
pub fn read(body: &[u8]) -> Result<Value, Failure> {
    let refused = || Failure::bad_request("the body is not a protobuf message of Kubernetes");
    let envelope = body.strip_prefix(MAGIC).ok_or_else(refused)?;
    let (mut head, mut raw) = (json!({}), &[][..]);
    for field in Fields(envelope) {
        match field.ok_or_else(refused)? {
            (1, Wire::Bytes(bytes)) => head = message(TYPE_META, bytes, 0).ok_or_else(refused)?,
            (2, Wire::Bytes(bytes)) => raw = bytes,
            _ => {}
        }
    }
    let table = match head["kind"].as_str().unwrap_or_default() {
        "Namespace" => NAMESPACE,
        "ConfigMap" => CONFIG_MAP,
        "Secret" => SECRET,
        "Service" => SERVICE,
        "ServiceAccount" => NAMESPACE,
        "Ingress" => INGRESS,
        "SelfSubjectAccessReview" => ACCESS,
        kind => {
            let why = format!("the stand-in reads no protobuf of kind {kind:?}: send JSON");
            return Err(Failure::new(415, "UnsupportedMediaType", why));
        }
    };
    let mut value = message(table, raw, 0).ok_or_else(refused)?;
    value["apiVersion"] = head["apiVersion"].clone();
    value["kind"] = head["kind"].clone();
    Ok(value)
}

/// Reads a message; nothing when it is broken.
fn message(table: Message, bytes: &[u8], depth: usize) -> Option<Value> {
    let mut map = Map::new();
    for field in Fields(bytes).take_while(|_| depth < DEPTH_MAX) {
        let (number, wire) = field?;
        let Some((_, name, kind)) = table.iter().find(|(known, ..)| *known == number) else { continue };
        let name = (*name).to_owned();
        match (kind, wire) {
            // Go writes empty texts and zeros, which JSON omits.
            (Text, Wire::Bytes([])) => {}
            (Text, Wire::Bytes(bytes)) => drop(map.insert(name, text(bytes)?.into())),
            (Number, Wire::Number(0)) => {}
            (Number, Wire::Number(number)) => drop(map.insert(name, number.into())),
            (Bool, Wire::Number(number)) => drop(map.insert(name, (number != 0).into())),
            (Texts, Wire::Bytes(bytes)) => push(&mut map, name, text(bytes)?.into()),
            (Many(table), Wire::Bytes(bytes)) => push(&mut map, name, message(table, bytes, depth + 1)?),
            (One(table), Wire::Bytes(bytes)) => match message(table, bytes, depth + 1)? {
                Value::Object(inner) if name.is_empty() => map.extend(inner),
                inner => drop(map.insert(name, inner)),
            },
            (IntOrString, Wire::Bytes(bytes)) => {
                let inner =
                    message(&[(1, "type", Number), (2, "number", Number), (3, "text", Text)], bytes, depth + 1)?;
                let shown = if inner["type"] == 1 { &inner["text"] } else { &inner["number"] };
                if !shown.is_null() {
                    map.insert(name, shown.clone());
                }
            }
            (TextMap | BytesMap, Wire::Bytes(bytes)) => {
                let (mut key, mut value) = (String::new(), &[][..]);
                for part in Fields(bytes) {
                    match part? {
                        (1, Wire::Bytes(bytes)) => key = text(bytes)?,
                        (2, Wire::Bytes(bytes)) => value = bytes,
                        _ => {}
                    }
                }
                let shown = match kind {
                    TextMap => text(value)?,
                    _ => base64::engine::general_purpose::STANDARD.encode(value),
                };
                if let Value::Object(entries) = map.entry(name).or_insert_with(|| json!({})) {
                    entries.insert(key, shown.into());
                }
            }
            _ => return None,
        }
    }
    Some(Value::Object(map))
}

fn push(map: &mut Map<String, Value>, name: String, value: Value) {
    if let Value::Array(items) = map.entry(name).or_insert_with(|| json!([])) {
        items.push(value);
    }
}

fn text(bytes: &[u8]) -> Option<String> {
    String::from_utf8(bytes.to_vec()).ok()
}

/// What a field holds.
enum Wire<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// The fields of a message; `None` for a broken one, which ends it.
struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = Option<(u64, Wire<'a>)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_none() {
            self.0 = &[];
        }
        Some(field)
    }
}

impl<'a> Fields<'a> {
    fn field(&mut self) -> Option<(u64, Wire<'a>)> {
        let tag = self.varint()?;
        let wire = match tag & 7 {
            0 => Wire::Number(self.varint()?),
            1 => Wire::Bytes(self.take(8)?),
            2 => {
                let length = usize::try_from(self.varint()?).ok()?;
                Wire::Bytes(self.take(length)?)
            }
            5 => Wire::Bytes(self.take(4)?),
            _ => return None,
        };
        Some((tag >> 3, wire))
    }

    fn varint(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            number |= u64::from(byte & 127) << shift;
            if byte & 128 == 0 {
                return Some(number);
            }
        }
        None
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::read;
    use serde_json::json;

    #[test]
    fn bodies() {
        let mut body =
            b"k8s\0\x0a\x0f\x0a\x02v1\x12\x09ConfigMap\x12\x0f\x0a\x05\x0a\x01a\x1a\x00\x12\x06\x0a\x01x\x12\x01y"
                .to_vec();
        let want = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"x": "y"}});
        assert_eq!(read(&body).expect("it is one"), want);
        body.truncate(body.len() - 1);
        assert_eq!(read(&body).expect_err("it is cut off").code, 400);
        assert_eq!(read(b"k8s").expect_err("no magic").code, 400);
        assert_eq!(read(b"k8s\0").expect_err("no kind").code, 415);
    }
}

//! Requests as HTTP brings them: which object, which verb, which parameters.

use std::collections::BTreeMap;

use http::{Method, Uri};

use super::kind::Kind;

/// What a path names.
#[derive(Debug)]
pub(super) struct Target {
    pub kind: &'static Kind,
    /// Empty: all namespaces, or a cluster-scoped kind.
    pub namespace: String,
    /// Empty: the collection.
    pub name: String,
    /// `status`, or empty.
    pub subresource: String,
}

impl Target {
    /// Reads a path; `None`: nothing is served there.
    pub fn read(path: &str) -> Option<Self> {
        let mut parts = path.split('/').filter(|part| !part.is_empty()).map(decoded);
        let (group, version) = match parts.next()?.as_str() {
            "api" => (String::new(), parts.next()?),
            "apis" => (parts.next()?, parts.next()?),
            _ => return None,
        };
        let mut namespace = String::new();
        let mut plural = parts.next()?;
        if plural == "namespaces" {
            namespace = parts.next()?;
            plural = parts.next()?;
        }
        let kind = Kind::at(&group, &version, &plural)?;
        let name = parts.next().unwrap_or_default();
        let subresource = parts.next().unwrap_or_default();
        let fits = kind.namespaced != namespace.is_empty() || (kind.namespaced && name.is_empty());
        let known = subresource.is_empty() || subresource == "status" && kind.status;
        (fits && known && parts.next().is_none()).then_some(Self { kind, namespace, name, subresource })
    }

    /// As rules about permissions name it.
    pub fn permission(&self) -> String {
        if self.subresource.is_empty() {
            self.kind.name.to_owned()
        } else {
            format!("{}/{}", self.kind.name, self.subresource)
        }
    }
}

/// The parameters of a request.
#[derive(Debug)]
pub(super) struct Query(BTreeMap<String, String>);

impl Query {
    pub fn read(uri: &Uri) -> Self {
        let pairs = uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        let pair = |pair: &str| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decoded(name), decoded(value))
        };
        Self(pairs.map(pair).collect())
    }

    /// Absent is empty.
    pub fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    pub fn flag(&self, name: &str) -> bool {
        matches!(self.get(name), "true" | "1")
    }

    pub fn number(&self, name: &str) -> Option<u64> {
        self.get(name).parse().ok()
    }
}

/// The verb that permissions speak of.
pub(super) fn verb(method: &Method, target: &Target, query: &Query) -> Option<&'static str> {
    Some(match (method.as_str(), target.name.is_empty()) {
        ("GET", false) => "get",
        ("GET", true) if query.flag("watch") => "watch",
        ("GET", true) => "list",
        ("POST", true) => "create",
        ("PUT", false) => "update",
        ("PATCH", false) => "patch",
        ("DELETE", false) if target.subresource.is_empty() => "delete",
        _ => return None,
    })
}

/// Percent-decoded; `+` is a blank.
fn decoded(text: &str) -> String {
    if !text.contains(['%', '+']) {
        return text.to_owned();
    }
    let bytes = text.as_bytes();
    let (mut out, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while at < bytes.len() {
        let hex = text.get(at + 1..at + 3).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match (bytes[at], hex) {
            (b'%', Some(byte)) => {
                out.push(byte);
                at += 2;
            }
            (b'+', _) => out.push(b' '),
            (byte, _) => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

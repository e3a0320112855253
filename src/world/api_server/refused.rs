//! Answers that say no, in the words of Kubernetes.

use serde_json::{Value, json};

use super::kind::Kind;

/// Why a request was refused, as Kubernetes says it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code} {reason}: {message}")]
pub struct Refused {
    /// The HTTP status code.
    pub code: u16,
    /// `Status.reason`.
    pub reason: &'static str,
    /// `Status.message`.
    pub message: String,
    /// `Status.details.causes`: what is wrong with which field.
    pub causes: Vec<Cause>,
}

/// What is wrong with a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// In one word: `FieldValueRequired`.
    pub reason: &'static str,
    /// In a sentence.
    pub message: String,
    /// Where: `spec.backends[0].name`.
    pub field: String,
}

impl Cause {
    pub(super) fn new(reason: &'static str, field: &str, message: String) -> Self {
        Self { reason, message, field: field.to_owned() }
    }

    pub(super) fn required(field: &str, why: &str) -> Self {
        let message =
            if why.is_empty() { "Required value".to_owned() } else { format!("Required value: {why}") };
        Self::new("FieldValueRequired", field, message)
    }

    pub(super) fn invalid(field: &str, value: &Value, why: &str) -> Self {
        Self::new("FieldValueInvalid", field, format!("Invalid value: {value}: {why}"))
    }

    pub(super) fn forbidden(field: &str, why: &str) -> Self {
        Self::new("FieldValueForbidden", field, format!("Forbidden: {why}"))
    }
}

impl Refused {
    pub(super) fn new(code: u16, reason: &'static str, message: String) -> Self {
        Self { code, reason, message, causes: vec![] }
    }

    pub(super) fn not_found(kind: &Kind, name: &str) -> Self {
        Self::new(404, "NotFound", format!("{} {name:?} not found", kind.resource()))
    }

    /// No such path.
    pub(super) fn no_path() -> Self {
        Self::new(404, "NotFound", "the server could not find the requested resource".to_owned())
    }

    /// `going`: what exists is being deleted.
    pub(super) fn exists(kind: &Kind, name: &str, going: bool) -> Self {
        let going = if going { "object is being deleted: " } else { "" };
        Self::new(409, "AlreadyExists", format!("{going}{} {name:?} already exists", kind.resource()))
    }

    pub(super) fn bad(message: String) -> Self {
        Self::new(400, "BadRequest", message)
    }

    pub(super) fn expired(message: &str) -> Self {
        Self::new(410, "Expired", message.to_owned())
    }

    pub(super) fn conflict(kind: &Kind, name: &str, why: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {} {name:?}: {why}", kind.resource());
        Self::new(409, "Conflict", message)
    }

    /// Written onto another version than the one that lives.
    pub(super) fn modified(kind: &Kind, name: &str) -> Self {
        let why =
            "the object has been modified; please apply your changes to the latest version and try again";
        Self::conflict(kind, name, why)
    }

    pub(super) fn invalid(kind: &Kind, name: &str, causes: Vec<Cause>) -> Self {
        let mut said: Vec<String> =
            causes.iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect();
        said.dedup();
        let said = if said.len() == 1 { said.remove(0) } else { format!("[{}]", said.join(", ")) };
        let message = format!("{} {name:?} is invalid: {said}", kind.qualified());
        Self { code: 422, reason: "Invalid", message, causes }
    }

    /// A PUT without a resourceVersion, where one must be.
    pub(super) fn unversioned(kind: &Kind, name: &str) -> Self {
        let cause = Cause::invalid("metadata.resourceVersion", &json!(0), "must be specified for an update");
        let message = format!("{} {name:?} is invalid: {}: {}", kind.resource(), cause.field, cause.message);
        Self { causes: vec![cause], ..Self::new(422, "Invalid", message) }
    }

    /// A deletion of another object or version than the one that lives.
    pub(super) fn precondition(kind: &Kind, name: &str, what: &str, wanted: &str, is: &str) -> Self {
        let happened = if what == "UID" { "deleted and then recreated" } else { "modified" };
        let message = format!(
            "Operation cannot be fulfilled on {} {name:?}: the {what} in the precondition ({wanted}) does not match the {what} in record ({is}). The object might have been {happened}",
            kind.qualified()
        );
        Self::new(409, "Conflict", message)
    }

    pub(super) fn forbidden(kind: &Kind, who: &str, verb: &str, namespace: &str, name: &str) -> Self {
        let scope = if namespace.is_empty() {
            "at the cluster scope".to_owned()
        } else {
            format!("in the namespace {namespace:?}")
        };
        let named = if name.is_empty() { String::new() } else { format!(" {name:?}") };
        let message = format!(
            "{}{named} is forbidden: User {who:?} cannot {verb} resource {:?} in API group {:?} {scope}",
            kind.resource(),
            kind.plural,
            kind.group
        );
        Self::new(403, "Forbidden", message)
    }

    /// As a `Status` object.
    pub(super) fn status(&self, kind: Option<&Kind>, name: &str) -> Value {
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "code": self.code,
        });
        if !self.reason.is_empty() {
            status["reason"] = json!(self.reason);
        }
        let mut details = serde_json::Map::new();
        if !name.is_empty() {
            details.insert("name".to_owned(), name.into());
        }
        // Conflicts of fields, and patches that do not fit, speak of no object.
        let of_fields =
            self.code == 409 && !self.causes.is_empty() || self.code == 422 && self.causes.is_empty();
        if let (Some(kind), false) = (kind, of_fields || matches!(self.code, 400 | 410 | 500 | 504)) {
            // Some refusals speak of the kind, some of its path.
            let said = if self.message.contains(&format!("{} \"", kind.qualified())) {
                kind.name
            } else {
                kind.plural
            };
            // Of an Event as such it speaks as of one of the core group.
            if !(kind.group.is_empty() || said == "Event") {
                details.insert("group".to_owned(), kind.group.into());
            }
            details.insert("kind".to_owned(), said.into());
        } else {
            details.remove("name");
        }
        if !self.causes.is_empty() {
            let causes = self
                .causes
                .iter()
                .map(|cause| json!({"reason": cause.reason, "message": cause.message, "field": cause.field}));
            details.insert("causes".to_owned(), causes.collect());
        }
        if !details.is_empty() {
            status["details"] = Value::Object(details);
        }
        status
    }
}

//! Merge patches and JSON patches.

use serde_json::Value;

use super::refused::Refused;

/// How a patch is to be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// RFC 7386.
    Merge,
    /// RFC 6902.
    Json,
    /// Server-side apply.
    Apply,
}

impl Form {
    /// By the request's content type.
    pub fn named(content_type: &str) -> Option<Self> {
        match content_type.split(';').next().unwrap_or_default().trim() {
            "application/merge-patch+json" => Some(Self::Merge),
            "application/json-patch+json" => Some(Self::Json),
            "application/apply-patch+yaml" => Some(Self::Apply),
            _ => None,
        }
    }
}

/// The object after the patch.
///
/// # Errors
/// The patch is none, or does not fit the object.
pub(super) fn patched(form: Form, live: &Value, patch: &[u8]) -> Result<Value, Refused> {
    let mut object = live.clone();
    if form == Form::Json {
        let patch: json_patch::Patch = serde_json::from_slice(patch)
            .map_err(|error| Refused::bad(format!("error decoding patch: {error}")))?;
        let unfit = "the server rejected our request due to an error in our request".to_owned();
        json_patch::patch(&mut object, &patch).map_err(|_| Refused::new(422, "Invalid", unfit))?;
    } else {
        let patch: Value = serde_json::from_slice(patch)
            .map_err(|error| Refused::bad(format!("error decoding patch: {error}")))?;
        if !patch.is_object() {
            return Err(Refused::bad("error decoding patch: it is no object".to_owned()));
        }
        json_patch::merge(&mut object, &patch);
    }
    Ok(object)
}

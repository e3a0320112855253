//! An object that may be broken: one that this release cannot read (it was stored before a rule existed) must not disturb
//! the others in its list or watch.
//!
//! `kube::core::DeserializeGuard` does the same through a slower buffer, which it copies each time.

use std::borrow::Cow;

use kube::{
    Resource,
    core::{ObjectMeta, error_boundary::InvalidObject},
};
use serde::{Deserialize, Deserializer, de::DeserializeOwned, de::Error};
use serde_json::Value;

/// The object, or its metadata and why it cannot be read.
#[derive(Clone, Debug)]
pub struct DeserializeGuard<K>(pub Result<K, InvalidObject>);

impl<'de, K: DeserializeOwned + Resource> Deserialize<'de> for DeserializeGuard<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let object = Value::deserialize(deserializer)?;
        match K::deserialize(&object) {
            Ok(read) => Ok(Self(Ok(read))),
            Err(error) => {
                let metadata = ObjectMeta::deserialize(&object["metadata"]).map_err(D::Error::custom)?;
                Ok(Self(Err(InvalidObject { error: error.to_string(), metadata })))
            }
        }
    }
}

impl<K: Resource> Resource for DeserializeGuard<K> {
    type DynamicType = K::DynamicType;
    type Scope = K::Scope;

    fn kind(of: &Self::DynamicType) -> Cow<'_, str> {
        K::kind(of)
    }

    fn group(of: &Self::DynamicType) -> Cow<'_, str> {
        K::group(of)
    }

    fn version(of: &Self::DynamicType) -> Cow<'_, str> {
        K::version(of)
    }

    fn plural(of: &Self::DynamicType) -> Cow<'_, str> {
        K::plural(of)
    }

    fn meta(&self) -> &ObjectMeta {
        self.0.as_ref().map_or_else(|broken| &broken.metadata, K::meta)
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        self.0.as_mut().map_or_else(|broken| &mut broken.metadata, K::meta_mut)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::v1alpha1::ModelDeployment;

    type Guarded = DeserializeGuard<ModelDeployment>;

    #[test]
    fn a_broken_object_keeps_its_metadata_and_says_what_is_wrong() {
        let broken: Guarded = serde_json::from_value(
            json!({"metadata": {"name": "iris", "namespace": "ml"}, "spec": {"replicas": "three"}}),
        )
        .unwrap();
        assert_eq!(broken.meta().name.as_deref(), Some("iris"));
        assert!(broken.0.unwrap_err().error.contains("three"));
    }

    #[test]
    fn a_good_object_is_read_whole() {
        let good: Guarded = serde_json::from_str(
            r#"{"metadata": {"name": "iris"}, "spec": {"model": {"version": "1"}, "runtimeRef": {"name": "r"}}}"#,
        )
        .unwrap();
        assert_eq!(good.0.unwrap().spec.version(), "1");
    }

    #[test]
    fn what_has_no_metadata_at_all_is_an_error() {
        assert!(serde_json::from_str::<Guarded>(r#"{"metadata": 1, "spec": {}}"#).is_err());
    }
}

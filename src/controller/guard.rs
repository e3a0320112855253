//! An object as the API server has it, whether or not this release can read it: a broken one must not disturb the others.

use std::{borrow::Cow, sync::Arc};

use kube::{
    Resource,
    core::{ObjectMeta, error_boundary::InvalidObject},
};
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, Error as _},
};
use serde_json::{Value, value::RawValue};

/// What [`kube::core::DeserializeGuard`] is, and shared: whoever looks at an object takes a reference, not a copy of it.
#[derive(Clone, Debug)]
pub struct Guard<K>(pub Result<Arc<K>, InvalidObject>);

impl<K> Guard<K> {
    /// An object that could be read.
    pub fn of(object: K) -> Self {
        Self(Ok(Arc::new(object)))
    }

    /// The object, if it can be read.
    pub fn object(&self) -> Option<&Arc<K>> {
        self.0.as_ref().ok()
    }
}

impl<'de, K: Resource + DeserializeOwned> Deserialize<'de> for Guard<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // The text first: a good object, and nearly all are, is read from it without a tree of values in between.
        let text = Box::<RawValue>::deserialize(deserializer)?;
        let broken = match serde_json::from_str(text.get()) {
            Ok(object) => return Ok(Self::of(object)),
            Err(broken) => broken,
        };
        let value: Value = serde_json::from_str(text.get()).map_err(D::Error::custom)?;
        let metadata = value.get("metadata").map(ObjectMeta::deserialize);
        let metadata = metadata.transpose().map_err(D::Error::custom)?.unwrap_or_default();
        // Told without the line and the column of a text that nobody sees.
        let error = K::deserialize(&value).err().unwrap_or(broken).to_string();
        Ok(Self(Err(InvalidObject { error, metadata })))
    }
}

impl<K: Resource + Clone> Resource for Guard<K> {
    type DynamicType = K::DynamicType;
    type Scope = K::Scope;

    fn kind(kind: &Self::DynamicType) -> Cow<'_, str> {
        K::kind(kind)
    }

    fn group(kind: &Self::DynamicType) -> Cow<'_, str> {
        K::group(kind)
    }

    fn version(kind: &Self::DynamicType) -> Cow<'_, str> {
        K::version(kind)
    }

    fn plural(kind: &Self::DynamicType) -> Cow<'_, str> {
        K::plural(kind)
    }

    fn meta(&self) -> &ObjectMeta {
        self.0.as_ref().map_or_else(|broken| &broken.metadata, |object| object.meta())
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        match &mut self.0 {
            Ok(object) => Arc::make_mut(object).meta_mut(),
            Err(broken) => &mut broken.metadata,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::v1alpha1::ModelDeployment;

    fn read(replicas: &Value) -> Guard<ModelDeployment> {
        let object = json!({
            "metadata": {"name": "iris", "namespace": "ml"},
            "spec": {"model": {"version": "1"}, "runtimeRef": {"name": "r"}, "replicas": replicas},
        });
        serde_json::from_value(object).unwrap()
    }

    #[test]
    fn a_good_object_is_read_and_a_broken_one_keeps_its_name() {
        let good = read(&json!(2));
        assert_eq!(good.object().unwrap().spec.replicas, Some(2));
        let broken = read(&json!("two"));
        assert_eq!(broken.meta().name.as_deref(), Some("iris"));
        let why = broken.0.unwrap_err().to_string();
        assert!(why.contains("expected i32"), "{why}");
    }
}

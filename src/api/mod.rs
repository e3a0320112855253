//! What users write and read: the custom resources of the group `seatrial.dev`.

pub mod conditions;
pub mod v1alpha1;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

/// The API group of every kind here.
pub const GROUP: &str = "seatrial.dev";

/// The custom resource definitions with the file name of each under `crds/`, in the order in which they are printed.
#[must_use]
pub fn crds() -> Vec<(&'static str, CustomResourceDefinition)> {
    vec![
        ("modeldeployments.yaml", v1alpha1::ModelDeployment::crd()),
        ("modelruntimes.yaml", v1alpha1::ModelRuntime::crd()),
        ("trafficsplits.yaml", v1alpha1::TrafficSplit::crd()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `crds/` is what Helm installs; a field that is only in Rust would be pruned by the API server.
    /// `UPDATE=1 cargo test` writes the files.
    #[test]
    fn the_files_in_crds_are_what_the_types_say() {
        for (file, crd) in crds() {
            let path = format!("{}/crds/{file}", env!("CARGO_MANIFEST_DIR"));
            let want = serde_saphyr::to_string(&crd).unwrap();
            if std::env::var_os("UPDATE").is_some() {
                std::fs::write(&path, &want).unwrap();
            }
            let have = std::fs::read_to_string(&path).unwrap_or_default();
            assert!(
                have == want,
                "crds/{file} is not what the types say: run `UPDATE=1 cargo test --lib crds`"
            );
        }
    }
}

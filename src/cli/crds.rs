//! `seatrial crds`: the custom resource definitions of this version, as `kubectl apply -f -` takes them.

use std::io::{self, Write};

use crate::api;

/// Writes one YAML document per kind.
pub fn print(out: &mut impl Write) -> io::Result<()> {
    for (_, crd) in api::crds() {
        let yaml = serde_saphyr::to_string(&crd).map_err(io::Error::other)?;
        write!(out, "---\n{yaml}")?;
    }
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_a_document_that_reads_back() {
        let mut out = Vec::new();
        print(&mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let documents: Vec<serde_json::Value> = serde_saphyr::from_multiple(&text).unwrap();
        let names: Vec<_> = documents.iter().map(|crd| crd["metadata"]["name"].as_str().unwrap()).collect();
        assert_eq!(
            names,
            ["modeldeployments.seatrial.dev", "modelruntimes.seatrial.dev", "trafficsplits.seatrial.dev"]
        );
    }
}

//! The operator's configuration file: which Prometheus servers there are and how each is asked.
//!
//! Users name a provider and never address one; URLs, tokens and certificates are here and nowhere else. A wrong file is
//! refused as a whole when the process starts, with the field and what to write instead.

use std::{
    collections::BTreeMap,
    fmt, fs, io,
    io::Read,
    path::{Path, PathBuf},
};

use http::Uri;
use serde::Deserialize;

use crate::api::v1alpha1::Duration;

/// The largest file that is read. A provider takes about 200 bytes.
const MAX_BYTES: u64 = 256 * 1024;
/// The most providers; each is a label value in the operator's metrics.
const MAX_PROVIDERS: usize = 100;

/// The configuration. Example:
///
/// ```yaml
/// providers:
///   default: {url: "http://prometheus.monitoring:9090", metrics: contour}
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Config {
    /// The Prometheus servers by the name that `analysis.provider` uses. A `TrafficSplit` that names none uses `default`.
    #[serde(default)]
    pub providers: BTreeMap<String, ProviderConfig>,
}

/// One Prometheus server, or anything that answers its query API.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ProviderConfig {
    /// Where it answers: `http://` or `https://`, host, and a path if it stands behind one.
    /// Example: `http://prometheus.monitoring:9090`.
    pub url: String,
    /// The metric pack: whose counters tell total, bad and slow requests per revision. Default: `contour`.
    #[serde(default)]
    pub metrics: Pack,
    /// The label that holds the revision, for packs that need one. Default: the pack's own.
    #[serde(default)]
    pub revision_label: Option<String>,
    /// How often that Prometheus scrapes; a block of measurements is closed two scrapes after its end.
    /// 100ms to 10m. Default: `15s`.
    #[serde(default = "scrape_interval")]
    pub scrape_interval: Duration,
    /// How long a route may take to reach every proxy after its controller has accepted it. At most 10m. Default: `10s`.
    #[serde(default = "propagation")]
    pub propagation: Duration,
    /// A file with a bearer token, read anew when it changes. Default: no token is sent.
    #[serde(default)]
    pub bearer_token_file: Option<PathBuf>,
    /// A file with the certificate authorities to trust, in PEM. Default: those of the system.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
}

/// Whose metrics a provider holds; each is a file in `src/prometheus/packs/`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pack {
    /// Envoy as Contour runs it.
    #[default]
    Contour,
    /// Envoy as Envoy Gateway runs it.
    EnvoyGateway,
    /// Istio's standard metrics.
    Istio,
    /// The plain Envoy beside a caller in a mesh (Istio without its own filters).
    EnvoyMesh,
    /// Linkerd's proxy and its outbound route metrics.
    Linkerd,
    /// The model servers' own metrics, scraped from the pods.
    Pods,
}

impl Pack {
    /// As it is written in the configuration, and the pack's file without its ending.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Contour => "contour",
            Self::EnvoyGateway => "envoy-gateway",
            Self::Istio => "istio",
            Self::EnvoyMesh => "envoy-mesh",
            Self::Linkerd => "linkerd",
            Self::Pods => "pods",
        }
    }
}

impl fmt::Display for Pack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

fn scrape_interval() -> Duration {
    Duration::from_secs(15)
}

fn propagation() -> Duration {
    Duration::from_secs(10)
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file is missing or cannot be read.
    #[error("cannot read the configuration {path}")]
    Read {
        /// As given by `--config`.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It is larger than any configuration.
    #[error("the configuration {path} is larger than {} KiB: is it the right file?", MAX_BYTES / 1024)]
    TooLarge {
        /// As given by `--config`.
        path: PathBuf,
    },
    /// It is not YAML, has an unknown field, or a value of the wrong kind.
    #[error("the configuration is not valid: {0}")]
    Parse(String),
    /// A value cannot be used.
    #[error("{field}: {problem}")]
    Value {
        /// Its path. Example: `providers.default.url`.
        field: String,
        /// What is wrong, and what to write instead.
        problem: String,
    },
}

impl Config {
    /// Reads and checks the file at `path`.
    ///
    /// # Errors
    /// When it cannot be read, is not YAML of this form, or holds a value that cannot be used.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let read = |source| Error::Read { path: path.to_owned(), source };
        let mut text = String::new();
        fs::File::open(path)
            .and_then(|file| file.take(MAX_BYTES + 1).read_to_string(&mut text))
            .map_err(read)?;
        if text.len() as u64 > MAX_BYTES {
            return Err(Error::TooLarge { path: path.to_owned() });
        }
        Self::parse(&text)
    }

    /// Reads and checks YAML. An empty text is a configuration without providers.
    ///
    /// # Errors
    /// When it is not YAML of this form, or holds a value that cannot be used.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let options = serde_saphyr::options! {
            budget: serde_saphyr::budget! { max_depth: 8, max_nodes: 10_000, max_aliases: 100 },
            with_snippet: false,
        };
        let config: Option<Self> = serde_saphyr::from_str_with_options(text, options)
            .map_err(|error| Error::Parse(error.to_string()))?;
        let config = config.unwrap_or_default();
        if config.providers.len() > MAX_PROVIDERS {
            let problem =
                format!("{} providers: at most {MAX_PROVIDERS} are allowed", config.providers.len());
            return Err(Error::Value { field: "providers".to_owned(), problem });
        }
        for (name, provider) in &config.providers {
            check_name(name)?;
            provider.check().map_err(|(field, problem)| Error::Value {
                field: format!("providers.{name}.{field}"),
                problem,
            })?;
        }
        Ok(config)
    }
}

/// A provider's name stands in `analysis.provider` and in labels of metrics.
fn check_name(name: &str) -> Result<(), Error> {
    let letters = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if !name.is_empty() && name.len() <= 63 && name.chars().all(letters) {
        return Ok(());
    }
    let problem = format!("{name:?} is not a name: write at most 63 of a-z, 0-9 and -, for instance default");
    Err(Error::Value { field: "providers".to_owned(), problem })
}

impl ProviderConfig {
    fn check(&self) -> Result<(), (&'static str, String)> {
        check_url(&self.url).map_err(|problem| ("url", problem))?;
        if !(100..=600_000).contains(&self.scrape_interval.millis()) {
            return Err((
                "scrapeInterval",
                format!(
                    "{} is not from 100ms to 10m: write what that Prometheus has, for instance 15s",
                    self.scrape_interval
                ),
            ));
        }
        if self.propagation.millis() > 600_000 {
            return Err((
                "propagation",
                format!("{} is longer than 10m: write for instance 10s", self.propagation),
            ));
        }
        if let Some(label) = &self.revision_label
            && !is_label(label)
        {
            return Err((
                "revisionLabel",
                format!("{label:?} is not the name of a label: write for instance revision"),
            ));
        }
        for (field, file) in [("bearerTokenFile", &self.bearer_token_file), ("caFile", &self.ca_file)] {
            if let Some(file) = file
                && !file.is_absolute()
            {
                return Err((
                    field,
                    format!("{} does not begin with /: write the whole path", file.display()),
                ));
            }
        }
        Ok(())
    }
}

fn check_url(url: &str) -> Result<(), String> {
    let wrong = |why: &str| format!("{url:?} {why}: write for instance http://prometheus.monitoring:9090");
    let uri: Uri = url.parse().map_err(|_| wrong("is not a URL"))?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err(wrong("does not begin with http:// or https://"));
    }
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    if authority.contains('@') {
        return Err("holds a user or a password, which logs would show: use bearerTokenFile".to_owned());
    }
    if uri.host().is_none_or(str::is_empty) {
        return Err(wrong("names no host"));
    }
    if uri.query().is_some() || url.contains('#') {
        return Err(wrong("has a query or a fragment"));
    }
    if uri.path().trim_end_matches('/').ends_with("/api/v1") {
        return Err(wrong("ends with /api/v1, which is added to it"));
    }
    Ok(())
}

/// Prometheus' rule for the name of a label.
fn is_label(name: &str) -> bool {
    let head = |c: char| c.is_ascii_alphabetic() || c == '_';
    name.len() <= 128 && name.starts_with(head) && name.chars().all(|c| head(c) || c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[test]
    fn a_provider_needs_only_a_url() {
        let config = Config::parse("providers: {default: {url: 'http://prometheus:9090'}}").unwrap();
        assert_eq!(
            config.providers["default"],
            ProviderConfig {
                url: "http://prometheus:9090".to_owned(),
                metrics: Pack::Contour,
                revision_label: None,
                scrape_interval: Duration::from_secs(15),
                propagation: Duration::from_secs(10),
                bearer_token_file: None,
                ca_file: None,
            }
        );
    }

    #[test]
    fn every_field_is_read() {
        let config = Config::parse(
            "
            providers:
              mesh:
                url: https://thanos.example.com/prometheus/
                metrics: envoy-gateway
                revisionLabel: model_revision
                scrapeInterval: 1m30s
                propagation: 500ms
                bearerTokenFile: /var/run/secrets/seatrial/prometheus/token
                caFile: /etc/seatrial/ca.pem
            ",
        );
        assert_eq!(
            config.unwrap().providers["mesh"],
            ProviderConfig {
                url: "https://thanos.example.com/prometheus/".to_owned(),
                metrics: Pack::EnvoyGateway,
                revision_label: Some("model_revision".to_owned()),
                scrape_interval: Duration::from_secs(90),
                propagation: Duration::from_millis(500),
                bearer_token_file: Some("/var/run/secrets/seatrial/prometheus/token".into()),
                ca_file: Some("/etc/seatrial/ca.pem".into()),
            }
        );
    }

    #[rstest]
    #[case("")]
    #[case("# nothing\n")]
    #[case("providers: {}")]
    fn no_provider_is_a_configuration_too(#[case] text: &str) {
        assert_eq!(Config::parse(text).unwrap(), Config::default());
    }

    #[rstest]
    #[case("provider: {}", &["provider", "providers"])]
    #[case("providers: {a: {url: 'http://p', token: x}}", &["token", "bearerTokenFile"])]
    #[case("providers: {a: {metrics: istio}}", &["url"])]
    #[case("providers: {a: {url: 'http://p', metrics: nginx}}", &["nginx", "contour", "linkerd"])]
    #[case("providers: {a: {url: 'http://p', scrapeInterval: 15}}", &["15", "90s"])]
    #[case("providers: {a: {url: 'http://p', scrapeInterval: 1.5s}}", &["1.5s", "write for instance 90s"])]
    #[case("providers: {a: {url: 'http://p', scrapeInterval: 0s}}", &["providers.a.scrapeInterval", "15s"])]
    #[case("providers: {a: {url: 'http://p', propagation: 1h}}", &["providers.a.propagation", "10m"])]
    #[case("providers: {a: {url: 'prometheus:9090'}}", &["providers.a.url", "http://"])]
    #[case("providers: {a: {url: 'ftp://p'}}", &["providers.a.url", "http://"])]
    #[case("providers: {a: {url: '/query'}}", &["providers.a.url", "http://"])]
    #[case("providers: {a: {url: 'http://u:p@host'}}", &["providers.a.url", "bearerTokenFile"])]
    #[case("providers: {a: {url: 'http://p/api/v1'}}", &["providers.a.url", "/api/v1"])]
    #[case("providers: {a: {url: 'http://p/?x=1'}}", &["providers.a.url", "query"])]
    #[case("providers: {a: {url: ''}}", &["providers.a.url", "write for instance"])]
    #[case("providers: {a: {url: 'http://p', revisionLabel: 'a\"b'}}", &["providers.a.revisionLabel"])]
    #[case("providers: {a: {url: 'http://p', caFile: ca.pem}}", &["providers.a.caFile", "whole path"])]
    #[case("providers: {'A b': {url: 'http://p'}}", &["providers", "\"A b\""])]
    #[case("providers: {a: {url: 'http://p'}, a: {url: 'http://q'}}", &["duplicate"])]
    #[case("providers: [", &["not valid"])]
    #[case("[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]", &["not valid"])]
    fn a_wrong_file_names_the_field_and_what_to_write(#[case] text: &str, #[case] words: &[&str]) {
        let message = Config::parse(text).unwrap_err().to_string();
        for word in words {
            assert!(message.contains(word), "{word:?} is not in {message:?}");
        }
    }

    #[test]
    fn a_file_that_is_missing_too_large_or_not_text_is_refused_by_its_name() {
        let folder = std::env::temp_dir().join(format!("seatrial-config-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let file = folder.join("config.yaml");
        let message = |error: &Error| error.to_string();
        assert!(message(&Config::read(&file).unwrap_err()).contains("config.yaml"));
        fs::write(&file, "# 0123456789\n".repeat(100_000)).unwrap();
        assert!(matches!(Config::read(&file), Err(Error::TooLarge { .. })));
        fs::write(&file, [0xff, 0xfe, 0x00]).unwrap();
        assert!(matches!(Config::read(&file), Err(Error::Read { .. })));
        fs::write(&file, "providers: {a: {url: 'http://p'}}").unwrap();
        assert_eq!(Config::read(&file).unwrap().providers.len(), 1);
        fs::remove_dir_all(folder).unwrap();
    }
}

//! The API server's audit log: what the operator asked for, counted where it arrives.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{BufRead, BufReader, Seek, SeekFrom},
    path::PathBuf,
};

use jiff::Timestamp;
use serde::Deserialize;

use super::{Cluster, Outcome};

/// A place in the audit log: what is read from here on came later.
pub struct Audit {
    path: PathBuf,
    from: u64,
}

/// A request of the operator. Leases and watches are left out: they go on whether anything changes or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// get, list, create, update, patch, delete or deletecollection.
    pub verb: String,
    /// Resource with its subresource, for instance `httproutes` or `trafficsplits/status`.
    pub resource: String,
    /// Namespace of the object; empty for cluster-scoped ones.
    pub namespace: String,
    /// Name of the object; empty for lists.
    pub name: String,
    /// When the API server received it.
    pub at: Timestamp,
}

impl Request {
    /// Whether it could change something.
    pub fn is_write(&self) -> bool {
        !matches!(self.verb.as_str(), "get" | "list")
    }

    /// One line for people.
    pub fn line(&self) -> String {
        format!("{} {} {} {}/{}", self.at, self.verb, self.resource, self.namespace, self.name)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    #[serde(rename = "auditID")]
    audit_id: String,
    verb: String,
    #[serde(default)]
    user_agent: String,
    user: User,
    #[serde(default)]
    object_ref: Option<ObjectRef>,
    request_received_timestamp: Timestamp,
}

#[derive(Deserialize)]
struct User {
    #[serde(default)]
    username: String,
}

#[derive(Default, Deserialize)]
struct ObjectRef {
    #[serde(default)]
    resource: String,
    #[serde(default)]
    subresource: String,
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    name: String,
}

impl Audit {
    /// The end of the log as it is now.
    pub fn here() -> Outcome<Self> {
        let path = Cluster::folder().join("log/audit.jsonl");
        let from = std::fs::metadata(&path)?.len();
        Ok(Self { path, from })
    }

    /// The operator's requests since then, in the order of the log.
    pub fn requests(&self) -> Outcome<Vec<Request>> {
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(self.from))?;
        let mut seen = BTreeSet::new();
        let mut requests = vec![];
        for line in BufReader::new(file).lines() {
            // The last line may be half written; it belongs to what comes later.
            let Ok(event) = serde_json::from_str::<Event>(&line?) else { continue };
            let of_operator = event.user_agent.starts_with("seatrial/")
                || event.user.username.starts_with("system:serviceaccount:seatrial-system:");
            let object = event.object_ref.unwrap_or_default();
            if !of_operator
                || event.verb == "watch"
                || object.resource == "leases"
                || !seen.insert(event.audit_id)
            {
                continue;
            }
            let resource = match object.subresource.as_str() {
                "" => object.resource,
                sub => format!("{}/{sub}", object.resource),
            };
            requests.push(Request {
                verb: event.verb,
                resource,
                namespace: object.namespace,
                name: object.name,
                at: event.request_received_timestamp,
            });
        }
        Ok(requests)
    }

    /// The writes to objects of one namespace since then; events, which only tell, are left out.
    pub fn writes_in(&self, namespace: &str) -> Outcome<Vec<Request>> {
        let mut requests = self.requests()?;
        requests.retain(|r| r.is_write() && r.namespace == namespace && r.resource != "events");
        Ok(requests)
    }
}

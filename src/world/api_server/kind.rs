//! The kinds that the API server serves, and what differs between them.

use std::sync::{Arc, OnceLock};

use super::schema::{self, Schema};

/// One kind.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "the kinds differ in each by itself")]
pub(super) struct Kind {
    /// As in `kind:`.
    pub name: &'static str,
    /// API group; empty for core.
    pub group: &'static str,
    /// As in `apiVersion:`, behind the group.
    pub version: &'static str,
    /// As in paths.
    pub plural: &'static str,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
    /// Defined by a CRD.
    pub custom: bool,
    /// Whether `status` is a subresource: ignored by all other writes.
    pub status: bool,
    /// Whether `metadata.generation` counts the changes of the spec.
    pub generation: bool,
    /// Whether a PUT may go without a resourceVersion.
    pub unconditional: bool,
    /// Whether a PUT makes what is not there.
    pub put_creates: bool,
    /// What its names must look like.
    pub names: Names,
}

/// What names of a kind must look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Names {
    /// A DNS subdomain of at most 253 characters.
    Subdomain,
    /// A DNS label of at most 63 characters that begins with a letter.
    Label1035,
}

const CUSTOM: Kind = Kind {
    name: "",
    group: "",
    version: "v1",
    plural: "",
    namespaced: true,
    custom: true,
    status: true,
    generation: true,
    unconditional: false,
    put_creates: false,
    names: Names::Subdomain,
};
const BUILT_IN: Kind = Kind { custom: false, generation: false, unconditional: true, ..CUSTOM };
const SEATRIAL: Kind = Kind { group: "seatrial.dev", version: "v1alpha1", ..CUSTOM };
const GATEWAY: Kind = Kind { group: "gateway.networking.k8s.io", ..CUSTOM };

static KINDS: [Kind; 11] = [
    Kind { name: "TrafficSplit", plural: "trafficsplits", ..SEATRIAL },
    Kind { name: "ModelDeployment", plural: "modeldeployments", ..SEATRIAL },
    Kind { name: "ModelRuntime", plural: "modelruntimes", namespaced: false, status: false, ..SEATRIAL },
    Kind { name: "HTTPRoute", plural: "httproutes", ..GATEWAY },
    Kind { name: "Gateway", plural: "gateways", ..GATEWAY },
    Kind { name: "Deployment", group: "apps", plural: "deployments", generation: true, ..BUILT_IN },
    Kind {
        name: "ControllerRevision",
        group: "apps",
        plural: "controllerrevisions",
        status: false,
        ..BUILT_IN
    },
    Kind { name: "Service", plural: "services", names: Names::Label1035, put_creates: true, ..BUILT_IN },
    Kind { name: "Pod", plural: "pods", generation: true, ..BUILT_IN },
    Kind {
        name: "Event",
        group: "events.k8s.io",
        plural: "events",
        status: false,
        put_creates: true,
        ..BUILT_IN
    },
    Kind {
        name: "Lease",
        group: "coordination.k8s.io",
        plural: "leases",
        status: false,
        unconditional: false,
        put_creates: true,
        ..BUILT_IN
    },
];

/// What an actor keeps beside them: no schema, no path.
static OTHER: Kind = Kind { generation: true, ..BUILT_IN };

impl Kind {
    /// The kind of that name; what is not served has no rules.
    pub fn named(name: &str) -> &'static Self {
        KINDS.iter().find(|kind| kind.name == name).unwrap_or(&OTHER)
    }

    /// The kind behind a path.
    pub fn at(group: &str, version: &str, plural: &str) -> Option<&'static Self> {
        KINDS.iter().find(|kind| kind.plural == plural && kind.group == group && kind.version == version)
    }

    /// As in `apiVersion:`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_owned()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// As in messages: `deployments.apps`.
    pub fn resource(&self) -> String {
        if self.group.is_empty() { self.plural.to_owned() } else { format!("{}.{}", self.plural, self.group) }
    }

    /// As in messages about invalid objects: `Deployment.apps`.
    pub fn qualified(&self) -> String {
        // Events are checked as those of the core group.
        let core = self.group.is_empty() || self.name == "Event";
        if core { self.name.to_owned() } else { format!("{}.{}", self.name, self.group) }
    }

    /// Whether it is one of those that are served.
    pub fn is_served(&self) -> bool {
        !self.plural.is_empty()
    }

    /// What its objects look like. Read once per process: that takes some milliseconds.
    pub fn schema(&self) -> &'static Arc<Schema> {
        static ANY: OnceLock<Arc<Schema>> = OnceLock::new();
        static ALL: OnceLock<Vec<Arc<Schema>>> = OnceLock::new();
        let all = ALL.get_or_init(|| KINDS.iter().map(|kind| schema::of(kind.name)).collect());
        let place = KINDS.iter().position(|kind| std::ptr::eq(kind, self));
        place.map_or_else(|| ANY.get_or_init(|| Arc::new(Schema::any())), |place| &all[place])
    }
}

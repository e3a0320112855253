"""The rules that every rendering of the chart must keep, each with a mutant that it must catch.

A rule takes a Rendering and yields one sentence per violation. A mutant takes the objects of the fullest rendering and
breaks one thing. `rule.mutants` ties them together: a rule whose mutant passes is itself a failure.
"""

import copy
import re

RULES = []

METRICS = {
    "seatrial_reconciles_total", "seatrial_reconcile_duration_seconds", "seatrial_rollouts_total", "seatrial_model_phase",
    "seatrial_candidate_weight_ratio", "seatrial_slo_verdict", "seatrial_answer_to_route_seconds",
    "seatrial_prometheus_requests_total", "seatrial_leader",
}

# Group, resource → verbs: all that the operator may do in the cluster. A new line here needs a reason in rbac.yaml.
CLUSTER_RIGHTS = {
    ("seatrial.dev", "modeldeployments"): "get list watch",
    ("seatrial.dev", "trafficsplits"): "get list watch",
    ("seatrial.dev", "modelruntimes"): "get list watch",
    ("seatrial.dev", "modeldeployments/status"): "patch update",
    ("seatrial.dev", "trafficsplits/status"): "patch update",
    ("seatrial.dev", "modeldeployments/finalizers"): "update",
    ("seatrial.dev", "trafficsplits/finalizers"): "update",
    ("apps", "controllerrevisions"): "get list watch create delete",
    ("apps", "deployments"): "get list watch create patch delete",
    ("", "services"): "get list watch create patch delete",
    ("discovery.k8s.io", "endpointslices"): "get list watch",
    ("", "pods"): "get list",
    ("gateway.networking.k8s.io", "httproutes"): "get list watch create patch delete",
    ("gateway.networking.k8s.io", "gateways"): "get list watch",
    ("events.k8s.io", "events"): "create patch",
}
LEASE_RIGHTS = [
    {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["create"]},
    {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "resourceNames": ["NAME"], "verbs": ["get", "update"]},
]
READS = {"get", "list", "watch"}
NEVER = {"secrets", "nodes", "serviceaccounts/token", "pods/exec", "pods/attach", "pods/portforward", "pods/log"}
READ_ONLY_GROUPS = {"rbac.authorization.k8s.io", "admissionregistration.k8s.io", "apiextensions.k8s.io", "certificates.k8s.io"}
CLUSTER_SCOPED = {"ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition", "ModelRuntime"}


class Rendering:
    """The objects of one `helm template`, and the values that made them."""

    def __init__(self, objects, values):
        self.objects, self.values = objects, values

    def of(self, kind, suffix=None):
        found = [o for o in self.objects if o["kind"] == kind]
        return [o for o in found if o["metadata"]["name"].endswith(suffix)] if suffix else found

    def one(self, kind, suffix=None):
        found = self.of(kind, suffix)
        assert len(found) == 1, f"expected one {kind}, found {len(found)}"
        return found[0]

    @property
    def pod(self):
        return self.one("Deployment")["spec"]["template"]

    @property
    def container(self):
        return self.pod["spec"]["containers"][0]

    @property
    def replicas(self):
        return self.one("Deployment")["spec"]["replicas"]

    def changed(self, mutate):
        mutant = Rendering(copy.deepcopy(self.objects), self.values)
        mutate(mutant)
        return mutant


def rule(*mutants):
    def register(check):
        check.mutants = mutants
        RULES.append(check)
        return check
    return register


def add_right(group, resource, *verbs):
    def mutate(r):
        r.one("ClusterRole", "seatrial")["rules"].append({"apiGroups": [group], "resources": [resource], "verbs": list(verbs)})
    return mutate


def matches(labels, selector):
    return selector.items() <= labels.items()


@rule(lambda r: r.objects.append(copy.deepcopy(r.objects[0])),
      lambda r: r.one("Service")["metadata"].pop("namespace"),
      lambda r: r.one("Deployment")["metadata"]["labels"].pop("app.kubernetes.io/managed-by"))
def every_object_is_named_once_labelled_and_in_the_release_namespace(r):
    seen = set()
    for o in r.objects:
        key = (o["apiVersion"], o["kind"], o["metadata"]["name"])
        if key in seen:
            yield f"{key} twice"
        seen.add(key)
        namespace = o["metadata"].get("namespace")
        if namespace != (None if o["kind"] in CLUSTER_SCOPED else "ship"):
            yield f"{key} in namespace {namespace}"
        if o["kind"] != "CustomResourceDefinition" and o["metadata"].get("labels", {}).get("app.kubernetes.io/managed-by") != "Helm":
            yield f"{key} lacks the recommended labels"


@rule(add_right("", "configmaps", "get"),
      lambda r: r.one("ClusterRole", "seatrial")["rules"].pop(),
      lambda r: r.one("ClusterRole", "seatrial")["rules"][0]["verbs"].append("patch"),
      lambda r: r.one("Role")["rules"][1].pop("resourceNames"))
def the_operator_has_exactly_the_rights_that_it_needs(r):
    if not r.of("Role"):
        return
    rights = {}
    for entry in r.one("ClusterRole", "seatrial")["rules"]:
        if "nonResourceURLs" in entry:
            yield "a right on non-resource URLs"
        for group in entry["apiGroups"]:
            for resource in entry["resources"]:
                rights.setdefault((group, resource), set()).update(entry["verbs"])
    for key in CLUSTER_RIGHTS.keys() | rights.keys():
        want, have = set(CLUSTER_RIGHTS.get(key, "").split()), rights.get(key, set())
        if want != have:
            yield f"{key}: want {sorted(want)}, have {sorted(have)}"
    lease = [{**entry, **({"resourceNames": ["NAME"]} if "resourceNames" in entry else {})} for entry in r.one("Role")["rules"]]
    if lease != LEASE_RIGHTS:
        yield f"rights on leases: {lease}"
    name = next(a for a in r.container["args"] if a.startswith("--lease-name=")).partition("=")[2]
    if r.one("Role")["rules"][1].get("resourceNames") != [name]:
        yield f"the Role is not about the Lease {name}"


@rule(add_right("", "secrets", "get"), add_right("*", "deployments", "get"), add_right("apps", "*", "get"),
      add_right("apps", "deployments", "*"), add_right("", "pods", "delete"), add_right("", "pods/exec", "create"),
      add_right("rbac.authorization.k8s.io", "clusterroles", "bind"), add_right("", "users", "impersonate"),
      add_right("apiextensions.k8s.io", "customresourcedefinitions", "patch"), add_right("apps", "deployments/scale", "escalate"))
def no_role_reads_secrets_writes_pods_escalates_or_has_a_wildcard(r):
    for role in r.of("ClusterRole") + r.of("Role"):
        for entry in role["rules"]:
            groups, resources, verbs = (set(entry.get(k, [])) for k in ("apiGroups", "resources", "verbs"))
            name = role["metadata"]["name"]
            if "*" in groups | resources | verbs or any(v.endswith("/*") for v in resources):
                yield f"{name}: a wildcard in {entry}"
            if resources & NEVER:
                yield f"{name}: {sorted(resources & NEVER)}"
            if "pods" in resources and verbs - READS:
                yield f"{name}: writes pods"
            if verbs & {"escalate", "bind", "impersonate", "approve", "sign"}:
                yield f"{name}: escalates by {sorted(verbs)}"
            if groups & READ_ONLY_GROUPS and verbs - READS:
                yield f"{name}: writes {sorted(groups)}"


@rule(lambda r: r.one("ClusterRoleBinding")["subjects"][0].update(name="default"),
      lambda r: r.one("ClusterRoleBinding")["roleRef"].update(name="cluster-admin"),
      lambda r: r.one("ServiceAccount").update(automountServiceAccountToken=True),
      lambda r: r.pod["spec"].update(serviceAccountName="other"))
def the_account_is_the_operators_own_and_bound_to_its_own_roles(r):
    account = r.pod["spec"]["serviceAccountName"]
    if account == "default":
        yield "the pod runs as the default account"
    if [a["metadata"]["name"] for a in r.of("ServiceAccount")] not in ([], [account]):
        yield "the pod's account is not the chart's"
    for binding in r.of("ClusterRoleBinding") + r.of("RoleBinding"):
        if binding["subjects"] != [{"kind": "ServiceAccount", "name": account, "namespace": "ship"}]:
            yield f"{binding['metadata']['name']} binds {binding['subjects']}"
        ref = binding["roleRef"]
        if ref["name"] not in [o["metadata"]["name"] for o in r.of(ref["kind"])]:
            yield f"{binding['metadata']['name']} binds the foreign {ref['kind']} {ref['name']}"
    if any(a.get("automountServiceAccountToken") is not False for a in r.of("ServiceAccount")):
        yield "the account mounts its token into every pod"


def set_security(key, value):
    return lambda r: r.container["securityContext"].update({key: value})


@rule(set_security("allowPrivilegeEscalation", True), set_security("readOnlyRootFilesystem", False),
      set_security("runAsNonRoot", False), set_security("runAsUser", 0), set_security("runAsGroup", 1000),
      set_security("privileged", True), set_security("capabilities", {"drop": ["NET_RAW"]}),
      set_security("capabilities", {"drop": ["ALL"], "add": ["NET_ADMIN"]}), set_security("seccompProfile", {"type": "Unconfined"}),
      lambda r: r.pod["spec"]["securityContext"].pop("runAsNonRoot"),
      lambda r: r.pod["spec"].update(hostNetwork=True),
      lambda r: r.pod["spec"]["volumes"].append({"name": "x", "hostPath": {"path": "/"}}),
      lambda r: r.pod["spec"].setdefault("initContainers", []).append({"name": "x", "image": "x"}))
def the_pod_keeps_the_restricted_standard(r):
    pod, container = r.pod["spec"], r.container
    security = container.get("securityContext", {})
    want = {"allowPrivilegeEscalation": False, "privileged": False, "readOnlyRootFilesystem": True, "runAsNonRoot": True,
            "capabilities": {"drop": ["ALL"]}, "seccompProfile": {"type": "RuntimeDefault"}}
    for key, value in want.items():
        if security.get(key) != value:
            yield f"container: {key} is {security.get(key)}"
    for level, context in (("pod", pod.get("securityContext", {})), ("container", security)):
        if not (context.get("runAsNonRoot") and context.get("runAsUser", 0) > 10000 and context.get("runAsGroup", 0) > 10000):
            yield f"{level}: user or group is root or low"
    if any(pod.get(key) for key in ("hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace")):
        yield "shares a namespace with the host"
    if any("hostPath" in volume for volume in pod["volumes"]):
        yield "mounts the host"
    if len(pod["containers"]) != 1 or pod.get("initContainers"):
        yield "more than the operator's own container"


@rule(lambda r: r.container.update(image="registry.example.com/seatrial:latest"),
      lambda r: r.container.update(image="registry.example.com/seatrial"),
      lambda r: r.container.update(image="registry.example.com/seatrial:1"))
def the_image_is_named_exactly_and_a_digest_wins(r):
    image, asked = r.container["image"], r.values.get("image", {})
    if asked.get("digest") and not image.endswith("@" + asked["digest"]):
        yield f"{image}: not the digest that was asked for"
    if "@sha256:" not in image and (image.endswith(":latest") or not re.search(r":[\w.-]+$", image)):
        yield f"{image}: a moving tag"


@rule(lambda r: r.container.pop("livenessProbe"), lambda r: r.container.pop("readinessProbe"),
      lambda r: r.container["livenessProbe"]["httpGet"].update(port="http"),
      lambda r: r.one("Service")["spec"]["ports"][0].update(targetPort="http"),
      lambda r: r.one("Service")["spec"]["selector"].update({"app.kubernetes.io/instance": "other"}),
      lambda r: r.container["resources"]["requests"].pop("cpu"), lambda r: r.container["resources"].pop("limits"),
      lambda r: r.pod["spec"].update(terminationGracePeriodSeconds=5),
      lambda r: r.container["env"].pop(0))
def the_pod_is_probed_sized_reachable_and_told_who_it_is(r):
    spec, container = r.one("Deployment")["spec"], r.container
    ports = {p["name"]: p["containerPort"] for p in container["ports"]}
    for probe, path in (("livenessProbe", "/livez"), ("readinessProbe", "/readyz")):
        http = container.get(probe, {}).get("httpGet", {})
        if http.get("path") != path or http.get("port") not in ports:
            yield f"{probe} asks {http}"
    labels, selector = r.pod["metadata"]["labels"], r.one("Service")["spec"]["selector"]
    if not matches(labels, selector) or not matches(labels, spec["selector"]["matchLabels"]):
        yield "a selector does not match the pod"
    if any(p["targetPort"] not in ports or ports[p["targetPort"]] < 1024 for p in r.one("Service")["spec"]["ports"]):
        yield "the Service's port leads nowhere"
    for kind, resources in (("requests", ("cpu", "memory")), ("limits", ("memory",))):
        for resource in resources:
            if not container["resources"].get(kind, {}).get(resource):
                yield f"no {kind}.{resource}"
    if r.pod["spec"].get("terminationGracePeriodSeconds") != 30:
        yield "not the time that releasing the lease may take"
    env = {e["name"]: e.get("valueFrom", {}).get("fieldRef", {}).get("fieldPath") for e in container["env"]}
    if env.get("POD_NAME") != "metadata.name" or env.get("POD_NAMESPACE") != "metadata.namespace":
        yield f"identity: {env}"
    if len(env) != len(container["env"]):
        yield "an environment variable twice"
    mounts, volumes = {m["name"] for m in container["volumeMounts"]}, {v["name"] for v in r.pod["spec"]["volumes"]}
    if mounts != volumes:
        yield f"mounts {mounts} and volumes {volumes} differ"


@rule(lambda r: r.objects.remove(r.one("PodDisruptionBudget")),
      lambda r: r.one("PodDisruptionBudget")["spec"].update(minAvailable=2),
      lambda r: r.one("PodDisruptionBudget")["spec"].pop("unhealthyPodEvictionPolicy"),
      lambda r: r.one("PodDisruptionBudget")["spec"]["selector"].update(matchLabels={"app": "x"}),
      lambda r: r.pod["spec"].pop("affinity"), lambda r: r.pod["spec"].pop("topologySpreadConstraints"),
      lambda r: r.one("Deployment")["spec"].update(strategy={"type": "Recreate"}))
def two_replicas_survive_a_drain_and_an_upgrade(r):
    if r.one("Deployment")["spec"]["strategy"].get("rollingUpdate") != {"maxSurge": 1, "maxUnavailable": 0}:
        yield "an upgrade leaves a time without an operator"
    if r.replicas < 2:
        if r.of("PodDisruptionBudget"):
            yield "a disruption budget on a single replica blocks every drain"
        return
    budgets = r.of("PodDisruptionBudget")
    if not budgets:
        yield "no disruption budget"
    for budget in budgets:
        spec = budget["spec"]
        if spec["minAvailable"] != 1 or spec.get("unhealthyPodEvictionPolicy") != "AlwaysAllow":
            yield f"the disruption budget is {spec}"
        if not matches(r.pod["metadata"]["labels"], spec["selector"]["matchLabels"]):
            yield "the disruption budget selects nothing"
    if not r.pod["spec"].get("affinity") or not r.pod["spec"].get("topologySpreadConstraints"):
        yield "replicas may share a node and a zone"


@rule(lambda r: r.one("NetworkPolicy")["spec"].update(policyTypes=["Ingress"]),
      lambda r: r.one("NetworkPolicy")["spec"].update(podSelector={"matchLabels": {"app": "x"}}),
      lambda r: r.one("NetworkPolicy")["spec"]["egress"].append({}),
      lambda r: r.one("NetworkPolicy")["spec"]["ingress"].append({"from": [{"podSelector": {}}]}),
      lambda r: r.one("NetworkPolicy")["spec"]["egress"].pop(0))
def the_network_policy_opens_metrics_dns_api_and_prometheus_only(r):
    for policy in r.of("NetworkPolicy"):
        spec = policy["spec"]
        if sorted(spec["policyTypes"]) != ["Egress", "Ingress"]:
            yield "one direction is open"
        if not matches(r.pod["metadata"]["labels"], spec["podSelector"].get("matchLabels", {"": ""})):
            yield "the policy selects nothing"
        if [p.get("port") for i in spec["ingress"] for p in i.get("ports", [{}])] != ["metrics"]:
            yield f"ingress: {spec['ingress']}"
        network = r.values.get("networkPolicy", {})
        api = network.get("apiServer", {}).get("ports", [443, 6443])
        prometheus = network.get("prometheus", {}).get("ports", [9090])
        if [p.get("port") for e in spec["egress"] for p in e.get("ports", [{}])] != [53, 53, *api, *prometheus]:
            yield f"egress: {spec['egress']}"


def metrics_in(text):
    return {re.sub(r"_(bucket|sum|count)$", "", m) for m in re.findall(r"\bseatrial_[a-z_]+", text)}


@rule(lambda r: r.one("PrometheusRule")["spec"]["groups"][0]["rules"][0].update(expr="seatrial_gone > 0"),
      lambda r: r.one("PrometheusRule")["spec"]["groups"][0]["rules"][0]["annotations"].pop("summary"),
      lambda r: r.one("ServiceMonitor")["spec"]["endpoints"][0].update(port="http"),
      lambda r: r.one("ServiceMonitor")["spec"]["selector"].update(matchLabels={"app": "x"}))
def what_is_watched_exists(r):
    for monitor in r.of("ServiceMonitor"):
        service = r.one("Service")
        if not matches(service["metadata"]["labels"], monitor["spec"]["selector"]["matchLabels"]):
            yield "the ServiceMonitor selects nothing"
        if monitor["spec"]["endpoints"][0]["port"] not in [p["name"] for p in service["spec"]["ports"]]:
            yield "the ServiceMonitor scrapes a port that is not there"
    for entry in (e for o in r.of("PrometheusRule") for g in o["spec"]["groups"] for e in g["rules"]):
        unknown = metrics_in(entry["expr"]) - METRICS
        if unknown or not metrics_in(entry["expr"]):
            yield f"{entry['alert']}: no such metric {sorted(unknown)}"
        if not {"summary", "description"} <= entry["annotations"].keys() or "severity" not in entry["labels"]:
            yield f"{entry['alert']}: nobody can act on it"


@rule(lambda r: r.of("CustomResourceDefinition")[0]["metadata"].pop("annotations"),
      lambda r: r.of("ModelRuntime")[0]["metadata"]["annotations"].pop("helm.sh/resource-policy"))
def an_uninstall_keeps_crds_and_runtimes(r):
    for o in r.of("CustomResourceDefinition") + r.of("ModelRuntime"):
        if o["metadata"].get("annotations", {}).get("helm.sh/resource-policy") != "keep":
            yield f"{o['kind']} {o['metadata']['name']} goes, and every object with it"

"""Renders the chart for the values that people use and holds the objects against check_rules.py. Standard library only.

Helm is the YAML reader, too: a throw-away chart turns rendered YAML into JSON, so no YAML package is needed.
"""

import argparse
import json
import pathlib
import re
import subprocess
import sys
import tempfile

from check_rules import METRICS, RULES, Rendering, metrics_in

HERE = pathlib.Path(__file__).resolve().parent
CHART = HERE / "seatrial"
DIGEST = "sha256:" + "0123456789abcdef" * 4
API = ["--api-versions", "seatrial.dev/v1alpha1/ModelRuntime"]
TO_JSON = '{"kind":"List","items":[{{ $first := true }}{{ range regexSplit "(?m)^---$" .Values.text -1 }}{{ $o := fromYaml . }}' \
          '{{ if $o }}{{ if not $first }},{{ end }}{{ $first = false }}{{ toRawJson $o }}{{ end }}{{ end }}]}'

PROVIDER = {"url": "http://prometheus.monitoring:9090"}
FULL = {
    "image": {"repository": "registry.example.com:5000/ml/seatrial", "digest": DIGEST, "pullPolicy": "Always", "pullSecrets": [{"name": "regcred"}]},
    "providers": {
        "default": {**PROVIDER, "metrics": "contour", "scrapeInterval": "15s", "propagation": "10s", "revisionLabel": "revision",
                    "bearerTokenFile": "/var/run/secrets/seatrial/prometheus/token", "caFile": "/etc/seatrial/tls/ca.crt"},
        "mesh": {"url": "https://thanos.example.com/query", "metrics": "istio", "bearerTokenFile": ""},
    },
    "prometheusToken": {"enabled": True, "audience": "thanos"},
    "extraVolumes": [{"name": "tls", "configMap": {"name": "prometheus-ca"}}],
    "extraVolumeMounts": [{"name": "tls", "mountPath": "/etc/seatrial/tls", "readOnly": True}],
    "extraEnv": [{"name": "RUST_BACKTRACE", "value": "1"}], "logLevel": "info,seatrial=debug",
    "replicas": 2, "priorityClassName": "system-cluster-critical", "commonLabels": {"team": "ml"}, "podLabels": {"a": "b"},
    "podAnnotations": {"c": "d"}, "nodeSelector": {"kubernetes.io/os": "linux"}, "tolerations": [{"operator": "Exists"}],
    "networkPolicy": {"enabled": True, "metricsFrom": [{"namespaceSelector": {}}],
                      "apiServer": {"to": [{"ipBlock": {"cidr": "10.0.0.1/32"}}], "ports": [6443]}, "prometheus": {"ports": [9090, 10902]}},
    "serviceMonitor": {"enabled": True, "labels": {"release": "prom"}}, "prometheusRule": {"enabled": True}, "dashboard": {"enabled": True},
    "runtimes": {"extra": [{"name": "own-1.0", "spec": {"formats": ["sklearn"]}}]},
}
GOOD = {   # name → values, arguments of helm
    "default": ({}, []),
    "one-provider": ({"providers": {"default": PROVIDER}}, []),
    "two-replicas": ({"replicas": 2, "providers": {"default": PROVIDER}}, []),
    "stopped": ({"replicas": 0}, []),
    "everything": (FULL, []),
    "everything-again": (FULL, API),
    "least": ({"crds": {"enabled": False}, "runtimes": {"enabled": False}, "rbac": {"create": False, "aggregate": False},
               "serviceAccount": {"create": False, "name": "given"}, "fullnameOverride": "seatrial"}, API),
}
BAD = {   # what Helm's message must hold → values
    "providers/default/url": [{"providers": {"default": {"url": u}}} for u in ("prometheus:9090", "http://", "http://u:p@h", 9090, "http://h/?q=1")],
    "missing property 'url'": [{"providers": {"default": {"metrics": "contour"}}}],
    "providers/default/metrics": [{"providers": {"default": {**PROVIDER, "metrics": "nginx"}}}],
    "providers/default/scrapeInterval": [{"providers": {"default": {**PROVIDER, "scrapeInterval": v}}} for v in (15, "15", "soon")],
    "providers/default/caFile": [{"providers": {"default": {**PROVIDER, "caFile": "ca.crt"}}}],
    "'token' not allowed": [{"providers": {"default": {**PROVIDER, "token": "secret"}}}],
    "'Not_A_Name' not allowed": [{"providers": {"Not_A_Name": PROVIDER}}],
    "at '/providers'": [{"providers": [PROVIDER]}],
    "'replicaCount' not allowed": [{"replicaCount": 2}],
    "/logLevel": [{"logLevel": v} for v in ("", "very much", 1)],
    "at '/replicas'": [{"replicas": v} for v in (-1, "2", 1.5, 6)],
    "/image/tag": [{"image": {"tag": v}} for v in ("latest", "a b", 1)],
    "/image/digest": [{"image": {"digest": v}} for v in ("sha256:abc", "latest")],
    "/image/repository": [{"image": {"repository": v}} for v in ("", "registry/x:1", "Upper/case")],
    "missing property 'repository'": [{"image": {"repository": None}}],
    "/image/pullPolicy": [{"image": {"pullPolicy": "always"}}],
    "/prometheusToken/audience": [{"prometheusToken": {"enabled": True}}],
    "/prometheusToken/expirationSeconds": [{"prometheusToken": {"expirationSeconds": 60}}],
    "/extraVolumes/0": [{"extraVolumes": [{"name": "x", "hostPath": {"path": "/"}}]}, {"extraVolumes": [{}]}],
    "/serviceAccount/name": [{"serviceAccount": {"name": v}} for v in ("default", "Upper")],
    "/runtimes/extra/0": [{"runtimes": {"extra": [v]}} for v in ({"name": "x"}, {"name": "X", "spec": {"a": 1}}, {"name": "x", "spec": {}}, "x")],
    "/crds/enabled": [{"crds": {"enabled": "yes"}}],
    "/networkPolicy/apiServer/ports": [{"networkPolicy": {"apiServer": {"ports": v}}} for v in ([], [0], ["https"])],
    "/serviceMonitor/interval": [{"serviceMonitor": {"interval": "30"}}],
    "/resources/limits/memory": [{"resources": {"limits": {"memory": "lots"}}}],
    "/podAnnotations/a": [{"podAnnotations": {"a": 1}}],
    "serviceAccount.name": [{"serviceAccount": {"create": False}}],
}


class Helm:
    def __init__(self, path):
        self.path, self.scratch = path, tempfile.TemporaryDirectory()
        reader = pathlib.Path(self.scratch.name, "reader")
        (reader / "templates").mkdir(parents=True)
        (reader / "Chart.yaml").write_text("apiVersion: v2\nname: reader\nversion: 0.0.0\n")
        (reader / "templates" / "list.yaml").write_text(TO_JSON)
        self.reader = reader

    def template(self, values, arguments=()):
        """The rendered YAML, or an error whose text is Helm's."""
        file = pathlib.Path(self.scratch.name, "values.json")
        file.write_text(json.dumps(values))
        run = subprocess.run([self.path, "template", "trial", CHART, "--namespace", "ship", "--values", file, *arguments],
                             capture_output=True, text=True, check=False)
        if run.returncode:
            raise ValueError(run.stderr)
        return run.stdout

    def read(self, text):
        """The objects of a YAML text."""
        file = pathlib.Path(self.scratch.name, "text.yaml")
        file.write_text(text)
        out = subprocess.run([self.path, "template", "x", self.reader, "--set-file", f"text={file}"], capture_output=True, text=True, check=True).stdout
        objects = json.loads(out[out.index('{"kind":"List"'):])["items"]
        for o in objects:
            if "Error" in o:
                raise ValueError(o["Error"])
        return objects


def check_rules(renderings):
    for name, rendering in renderings.items():
        for rule in RULES:
            for violation in rule(rendering):
                yield f"{name}: {rule.__name__}: {violation}"
    # The rule for the image has two halves; the mutants of a moving tag need a rendering without digest, too.
    for rule in RULES:
        for number, mutate in enumerate(rule.mutants):
            if not list(rule(renderings["everything"].changed(mutate))):
                yield f"mutant {number} of {rule.__name__} is not caught"
    untagged = renderings["default"].changed(lambda r: r.container.update(image="localhost/seatrial:latest"))
    if not any(list(rule(untagged)) for rule in RULES if "image" in rule.__name__):
        yield "`latest` is not caught"


def check_refusals(helm):
    for message, cases in BAD.items():
        for values in cases:
            try:
                helm.template(values)
                yield f"{values} is not refused"
            except ValueError as refusal:
                if message not in str(refusal):
                    yield f"{values} is refused without `{message}`: {refusal}"


def check_config(helm, renderings):
    """The operator reads what the values say, and starts anew when that changes."""
    for name, rendering in renderings.items():
        config = helm.read(rendering.one("ConfigMap", "seatrial")["data"]["config.yaml"])[0]
        said = {n: {k: v for k, v in p.items() if v} for n, p in rendering.values.get("providers", {}).items()}
        if config != {"providers": said}:
            yield f"{name}: the config file holds {config}"
    sums = [renderings[n].pod["metadata"]["annotations"]["checksum/config"] for n in ("default", "one-provider", "two-replicas")]
    if sums[0] == sums[1] or sums[1] != sums[2]:
        yield "the pod does not start anew exactly when its config changes"


def check_crds(helm, renderings):
    """What is installed is what is generated, all of it, but for the annotation."""
    files = sorted((HERE.parent / "crds").glob("*.yaml"))
    generated = [helm.read(f.read_text())[0] for f in files]
    for name, rendering in renderings.items():
        installed = [{**o, "metadata": {k: v for k, v in o["metadata"].items() if k != "annotations"}} for o in rendering.of("CustomResourceDefinition")]
        wanted = [] if name == "least" else generated
        if sorted(map(json.dumps, installed)) != sorted(map(json.dumps, wanted)):
            yield f"{name}: the CRDs are not those of crds/"
    if not files:
        yield "crds/ is empty"


def check_runtimes(helm, renderings):
    """Runtimes are hooks only while the API server does not know their kind; the marks let the next upgrade take them over."""
    files = {helm.read(f.read_text())[0]["metadata"]["name"]: helm.read(f.read_text())[0] for f in (CHART / "runtimes").glob("*.yaml")}
    for name, extra, hooked in (("default", 0, True), ("everything", 1, True), ("everything-again", 1, False), ("least", 0, None)):
        found = renderings[name].of("ModelRuntime")
        if len(found) != (0 if hooked is None else len(files) + extra):
            yield f"{name}: {len(found)} runtimes of {len(files)} files"
        for o in found:
            marks = o["metadata"]["annotations"]
            owned = marks.get("meta.helm.sh/release-name") == "trial" and marks.get("meta.helm.sh/release-namespace") == "ship"
            if ("helm.sh/hook" in marks) != hooked or owned != hooked:
                yield f"{name}: runtime {o['metadata']['name']} is marked {marks}"
            if o["metadata"]["name"] in files and o["spec"] != files[o["metadata"]["name"]]["spec"]:
                yield f"{name}: runtime {o['metadata']['name']} is not its file"


def keys(schema, values, path=""):
    """Keys that only one of values.yaml and values.schema.json knows."""
    known = schema.get("properties")
    if known is None or not isinstance(values, dict):
        return
    for key in known.keys() ^ values.keys():
        if path + key not in {"global"}:
            yield f"{path}{key} is in only one of values.yaml and values.schema.json"
    for key in known.keys() & values.keys():
        yield from keys(known[key], values[key], f"{path}{key}.")


def check_words(schema):
    """The chart's words are the code's: phases, verdicts, metrics, packs."""
    source = HERE.parent / "src"
    crd = (HERE.parent / "crds" / "modeldeployments.yaml").read_text()
    words = set(re.findall(r"^\s+- (\w+)$", crd, re.MULTILINE)) | set(re.findall(r"enum: \[([^]]*)\]", crd))
    used = (CHART / "rules" / "seatrial.yaml").read_text() + (CHART / "dashboards" / "seatrial.json").read_text().replace('\\"', '"')
    for values in re.findall(r'(?:phase|verdict)=~?"([^"$]+)"', used):
        for word in values.split("|"):
            if word not in words:
                yield f"no phase or verdict is called {word}"
    metrics, config = source / "controller" / "metrics.rs", source / "process" / "config.rs"
    if metrics.exists():
        names = {"seatrial_" + n for n in re.findall(r'"([a-z_]+)"', metrics.read_text())}
        for metric in METRICS:
            if names.isdisjoint({metric, metric.removesuffix("_total"), metric.removesuffix("_seconds")}):
                yield f"the operator does not register {metric}"
    if config.exists():
        packs = set(re.findall(r'Self::\w+ => "([a-z-]+)"', config.read_text()))
        known = set(schema["definitions"]["provider"]["properties"]["metrics"]["enum"])
        if packs != known:
            yield f"the schema's metric packs and the operator's differ: {sorted(packs ^ known)}"


def check_documents(helm, promtool):
    schema = json.loads((CHART / "values.schema.json").read_text())
    yield from check_words(schema)
    yield from keys(schema, helm.read((CHART / "values.yaml").read_text())[0])
    dashboard = json.loads((CHART / "dashboards" / "seatrial.json").read_text())
    shown = set()
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            shown |= metrics_in(target["expr"])
    if shown != METRICS:
        yield f"the dashboard and the metrics differ: {sorted(shown ^ METRICS)}"
    if len({p["id"] for p in dashboard["panels"]}) != len(dashboard["panels"]):
        yield "two panels have one id"
    lua = (HERE / "argocd" / "health.lua").read_text()
    patch = helm.read((HERE / "argocd" / "argocd-cm.yaml").read_text())[0]["data"]
    for kind in ("ModelDeployment", "TrafficSplit"):
        if patch.get(f"resource.customizations.health.seatrial.dev_{kind}") != lua:
            yield f"argocd-cm.yaml does not hold health.lua for {kind}"
    if promtool:
        for words in (["check", "rules", CHART / "rules" / "seatrial.yaml"], ["test", "rules", HERE / "rules_test.yaml"]):
            run = subprocess.run([promtool, *words], capture_output=True, text=True, check=False)
            if run.returncode:
                yield f"promtool {words[0]}: {run.stdout}{run.stderr}"
    else:
        print("charts: no promtool here, so the alerts' own tests did not run", file=sys.stderr)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--helm", required=True)
    parser.add_argument("--promtool", default="")
    parser.add_argument("--render", type=pathlib.Path, help="only write the rendered YAML there, one file per case")
    args = parser.parse_args()
    helm = Helm(args.helm)
    texts = {name: helm.template(values, arguments) for name, (values, arguments) in GOOD.items()}
    if args.render:
        (args.render / "everything.yaml").write_text(texts["everything"])
        return 0
    renderings = {name: Rendering(helm.read(text), GOOD[name][0]) for name, text in texts.items()}
    failures = [*check_rules(renderings), *check_refusals(helm), *check_config(helm, renderings), *check_crds(helm, renderings),
                *check_runtimes(helm, renderings), *check_documents(helm, args.promtool)]
    if texts["everything"] != helm.template(FULL):
        failures.append("the same values render differently the second time")
    for failure in failures:
        print(f"charts: {failure}", file=sys.stderr)
    refused, mutants = sum(map(len, BAD.values())), sum(len(rule.mutants) for rule in RULES)
    print(f"charts: {len(GOOD)} renderings, {len(RULES)} rules with {mutants} mutants, {refused} refused values: {len(failures)} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())

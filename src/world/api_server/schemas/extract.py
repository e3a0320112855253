#!/usr/bin/env python3
"""Writes builtin.json and gateway.json beside this file: the schemas of the kinds that are not ours, without descriptions.

    extract.py KUBERNETES_SOURCE GATEWAY_API_SOURCE

The first is the Go module k8s.io/kubernetes (its api/openapi-spec/swagger.json), the second sigs.k8s.io/gateway-api (its
config/crd/experimental), in the versions that e2e/cluster runs.
"""
import json
import pathlib
import sys

import yaml

ROOTS = {
    "Deployment": "io.k8s.api.apps.v1.Deployment",
    "ControllerRevision": "io.k8s.api.apps.v1.ControllerRevision",
    "Service": "io.k8s.api.core.v1.Service",
    "Pod": "io.k8s.api.core.v1.Pod",
    "Event": "io.k8s.api.events.v1.Event",
    "Lease": "io.k8s.api.coordination.v1.Lease",
}
CRDS = ["httproutes", "gateways"]
DROPPED = {"description", "x-kubernetes-group-version-kind", "x-kubernetes-patch-merge-key",
           "x-kubernetes-patch-strategy", "x-kubernetes-unions", "example"}
here = pathlib.Path(__file__).parent


def bare(value, properties=False):
    if isinstance(value, dict):
        kept = {k: v for k, v in value.items() if properties or k not in DROPPED}
        return {k: bare(v, not properties and k == "properties") for k, v in kept.items()}
    return [bare(v) for v in value] if isinstance(value, list) else value


def references(value):
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"].removeprefix("#/definitions/")
        for inner in value.values():
            yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


def builtin(source):
    all_types = json.loads((source / "api/openapi-spec/swagger.json").read_text())["definitions"]
    kept, due = {}, list(ROOTS.values())
    while due:
        name = due.pop()
        if name not in kept:
            kept[name] = bare(all_types[name])
            due.extend(references(kept[name]))
    # The one default that the keys of a list need; the document for OpenAPI 2 has none.
    for name in ["io.k8s.api.core.v1.ContainerPort", "io.k8s.api.core.v1.ServicePort"]:
        kept[name]["properties"]["protocol"]["default"] = "TCP"
    short = {name: ".".join(name.split(".")[-3:]) for name in kept}
    assert len(set(short.values())) == len(short)
    text = json.dumps({"kinds": ROOTS, "types": dict(sorted(kept.items()))}, separators=(",", ":"))
    for name in sorted(short, key=len, reverse=True):
        text = text.replace(f'"#/definitions/{name}"', f'"{short[name]}"').replace(f'"{name}"', f'"{short[name]}"')
    return text


def gateway(source):
    found = {}
    for plural in CRDS:
        crd = yaml.safe_load((source / f"config/crd/experimental/gateway.networking.k8s.io_{plural}.yaml").read_text())
        version = next(v for v in crd["spec"]["versions"] if v["name"] == "v1")
        found[crd["spec"]["names"]["kind"]] = bare(version["schema"]["openAPIV3Schema"])
    return json.dumps(found, separators=(",", ":"))


if __name__ == "__main__":
    (here / "builtin.json").write_text(builtin(pathlib.Path(sys.argv[1])) + "\n")
    (here / "gateway.json").write_text(gateway(pathlib.Path(sys.argv[2])) + "\n")

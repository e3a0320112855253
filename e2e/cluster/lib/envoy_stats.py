"""Gives an Envoy bootstrap the statistics that Seatrial's SLOs are judged by.

    python3 envoy_stats.py BOOTSTRAP.json

Two things differ from Envoy's defaults: histograms are merged each second (default: 5 s, so a bucket
would lag behind its counter by up to that much), and the buckets have a boundary at 300 ms, which the
default list (..., 250, 500, ...) has not: a share of requests is exact only at a boundary.
"""

import json
import sys

MILLISECONDS = [1, 2.5, 5, 10, 25, 50, 75, 100, 150, 200, 250, 300, 400, 500, 750, 1000, 2500, 5000, 10000, 30000, 60000]

path = sys.argv[1]
with open(path) as file:
    bootstrap = json.load(file)
bootstrap["stats_flush_interval"] = "1s"
bootstrap.setdefault("stats_config", {})["histogram_bucket_settings"] = [
    {"match": {"prefix": "cluster."}, "buckets": MILLISECONDS}
]
with open(path, "w") as file:
    json.dump(bootstrap, file, indent=1)

# What stands on the cluster: Gateway API, Contour with an Envoy, Prometheus, images. Sourced by ../cluster.

addons() {
  kubectl_apply "$cache/crds/gateway.yaml"; kubectl_apply "$cache/crds/contour.yaml"
  established
  kubectl apply -f "$here/manifests/gateway.yaml" > /dev/null
  kubectl -n infra patch service envoy --subresource=status --type=merge \
    -p "{\"status\": {\"loadBalancer\": {\"ingress\": [{\"ip\": \"$node\"}]}}}" > /dev/null
  start_contour; start_envoy; start_prometheus
  await 60 'the Gateway infra/public' "$dir/log/contour" \
    eval "kubectl -n infra get gateway public -o jsonpath='{.status.conditions[?(@.type==\"Programmed\")].status}' | grep -q True"
  await 30 "Envoy's listener" "$dir/log/envoy" eval "curl -s -o /dev/null http://$node:8080/"
  await 120 'the images' "$dir/log/images" [ -e images-imported ]
}

# A definition that was made just now has no conditions yet, over which `kubectl wait` stumbles.
established() {
  await 30 'the CustomResourceDefinitions' "$dir/log/apiserver" \
    kubectl wait --for=condition=Established --timeout=10s crd --all
}

# Server-side: some of these definitions are too long for the annotation of the other way.
kubectl_apply() { kubectl apply --server-side --force-conflicts -f "$1" > /dev/null; }

start_contour() {
  alive contour && return
  echo 'gateway: {gatewayRef: {namespace: infra, name: public}}' > contour.yaml
  launch contour contour serve --insecure --xds-address=127.0.0.1 --xds-port=8001 --kubeconfig="$dir/kubeconfig" --config-path=contour.yaml \
    --http-address=127.0.0.1 --http-port=8000 --health-address=127.0.0.1 --health-port=8000 \
    --envoy-service-name=envoy --envoy-service-namespace=infra --envoy-service-http-address=0.0.0.0 --disable-leader-election
  await 60 contour "$dir/log/contour" curl -sf http://127.0.0.1:8000/healthz
}

start_envoy() {
  alive envoy && return
  contour bootstrap --xds-address 127.0.0.1 --xds-port 8001 --resources-dir envoy-resources --admin-address="$dir/envoy-admin.sock" \
    envoy.json > "$dir/log/envoy" 2>&1
  python3 "$here/lib/envoy_stats.py" envoy.json
  launch_envoy envoy -c envoy.json --service-cluster contour --service-node envoy --concurrency 2 --log-level warning
  await 30 envoy "$dir/log/envoy" curl -sf --unix-socket "$dir/envoy-admin.sock" http://admin/ready
}

start_prometheus() {
  alive prometheus && return
  sed "s|@DIR@|$dir|g; s|@NODE@|$node|g" "$here/manifests/prometheus.yaml" > prometheus.yaml
  launch prometheus prometheus --config.file=prometheus.yaml --storage.tsdb.path="$dir/prometheus" --storage.tsdb.retention.time=1d \
    --web.listen-address=0.0.0.0:9090 --scrape.discovery-reload-interval=1s --web.enable-lifecycle --log.level=warn
  await 60 prometheus "$dir/log/prometheus" curl -sf http://127.0.0.1:9090/-/ready
}

# A claim `models` in a namespace: every version of iris, to read. A volume serves one claim, so each
# namespace has its own, and one that is left from a deleted namespace is made anew.
models() {
  local namespace=$1
  kubectl get namespace "$namespace" > /dev/null 2>&1 || kubectl create namespace "$namespace" > /dev/null
  if kubectl get pv "models-$namespace" -o jsonpath='{.status.phase}' 2> /dev/null | grep -q Released; then
    kubectl delete pv "models-$namespace" > /dev/null
  fi
  # Two scenarios may begin at once.
  mkdir -p "$dir/models"
  ( flock 8; cp -r "$cache/models/." "$dir/models/" ) 8> "$dir/models.lock"
  sed "s|@NAMESPACE@|$namespace|g; s|@MODELS@|$dir/models|g" "$here/manifests/models.yaml" | kubectl apply -f - > /dev/null
  await 60 "the claim $namespace/models" "$dir/log/controller-manager" \
    eval "kubectl -n $namespace get pvc models -o jsonpath='{.status.phase}' | grep -q Bound"
  say "claim $namespace/models is bound; pvc://models/iris/<version>, versions: $(ls "$dir/models/iris" | tr '\n' ' ')"
}

status() {
  first_process > /dev/null || { say "no cluster is up in $dir"; return 1; }
  say "cluster in $dir, API server https://$node:6443, gateway http://$node:8080, Prometheus http://$node:9090"
  ( inside "$here/cluster" inside processes )
}

processes() {
  local file pid
  printf '%-20s %7s %8s  %s\n' PROCESS PID 'RSS MiB' LOG
  for file in run/*; do
    pid=$(cat "$file")
    alive "${file#run/}" && printf '%-20s %7s %8s  %s\n' "${file#run/}" "$pid" \
      "$(awk '/^VmRSS/ {print int($2 / 1024)}' "/proc/$pid/status")" "$dir/log/${file#run/}" \
      || printf '%-20s %7s %8s  %s\n' "${file#run/}" - ended "$dir/log/${file#run/}"
  done
}

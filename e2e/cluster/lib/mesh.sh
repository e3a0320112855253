# The mesh: Istio's control plane and one caller's sidecar, a plain Envoy. Sourced by ../cluster.

mesh_listener=127.0.0.1:80

start_mesh() {
  kubectl_apply "$cache/crds/istio.yaml"
  established
  kubectl apply -f "$here/manifests/mesh.yaml" > /dev/null
  start_istiod
  if ! alive sidecar; then
    cp "$here/istio/envoy-sidecar.json" sidecar.json
    python3 "$here/lib/envoy_stats.py" sidecar.json
    launch_envoy sidecar -c sidecar.json --base-id 1 --concurrency 1 --log-level warning
  fi
  await 60 "the caller's sidecar" "$dir/log/sidecar" curl -sf http://127.0.0.1:15000/ready
  say "the mesh is up; a caller inside reaches a Service by http://$mesh_listener/ and 'Host: <service>.<namespace>.svc.cluster.local'"
}

# Without the certificate authority, the webhooks and the filters that only Istio's own Envoy has.
start_istiod() {
  alive istiod && return
  launch istiod env POD_NAME=istiod-0 POD_NAMESPACE=istio-system ENABLE_CA_SERVER=false PILOT_ENABLE_METADATA_EXCHANGE=false \
    PILOT_ENABLE_ALPN_FILTER=false REVISION=default CLUSTER_ID=Kubernetes INJECTION_WEBHOOK_CONFIG_NAME= VALIDATION_WEBHOOK_CONFIG_NAME= \
    pilot-discovery discovery --kubeconfig "$dir/kubeconfig" --meshConfig "$here/istio/mesh.yaml" --grpcAddr 127.0.0.1:15010 \
    --httpAddr 127.0.0.1:15080 --httpsAddr "" --secureGRPCAddr "" --monitoringAddr 127.0.0.1:15014
  await 60 istiod "$dir/log/istiod" curl -sf http://127.0.0.1:15080/ready
}

# The control plane and one node, as processes of one pid, network and mount namespace. Sourced by ../cluster.

up() {
  need_root
  if first_process > /dev/null && [ -e "$dir/up" ]; then say "the cluster in $dir is up already"; return; fi
  ! first_process > /dev/null || down   # one that did not come up whole
  [ -x "$bin/kube" ] && [ -e "$cache/models" ] || die "something is missing: run '$here/cluster install' first"
  local begun=$SECONDS
  # Aside and then away: to delete images from a slow disk may take a minute.
  [ ! -e "$dir" ] || mv "$dir" "$dir.old.$$"
  setsid rm -rf "$dir".old.* > /dev/null 2>&1 < /dev/null 9>&- &
  mkdir -p "$dir"/{log,run,cni,manifests}
  say "up: control plane and node (usually 10 s)"
  setsid unshare --net --mount --pid --uts --fork --mount-proc --kill-child \
    "$here/cluster" inside init > "$dir/log/init" 2>&1 < /dev/null 9>&- &
  local starter=$!
  await 120 'the node' "$dir/log/init" eval "[ -e '$dir/ready' ] || ! kill -0 $starter"
  [ -e "$dir/ready" ] || { tail -n 8 "$dir/log/init" >&2; die "the cluster did not come up; its logs are in $dir/log"; }
  say "up: gateway, Prometheus, images (usually 10 s)"
  ( inside "$here/cluster" inside addons )
  touch "$dir/up"
  say "up: everything answers after $((SECONDS - begun)) s"
  say "up: gateway http://$node:8080, Prometheus http://$node:9090, both inside: '$here/cluster exec CMD'"
}

down() {
  need_root
  local pid; pid=$(first_process) || { say "no cluster is up in $dir"; return; }
  kill -9 "$pid"
  await 20 'the end of the cluster' "$dir/log/init" eval "! [ -d /proc/$pid ]"
  rm -f "$dir/up" "$dir/ready"
  remove_cgroups
  say "the cluster in $dir is down; its logs stay in $dir/log"
}

# The host's cgroups are the one thing that a namespace does not take along. The state of the container
# runtime names those of the containers that were killed; rmdir takes none that has a process in it.
remove_cgroups() {
  local container
  for container in "$dir"/containerd-state/io.containerd.runtime.v2.task/k8s.io/*; do
    rmdir /sys/fs/cgroup/{,*/}k8s.io/"$(basename "$container")" 2> /dev/null || true
  done
  rmdir /sys/fs/cgroup/{,*/}k8s.io 2> /dev/null || true
}

# All pods together are one cgroup beside every other process of the machine: with its default share a build next door
# takes their readiness away. cgroup v1 counts shares (1024 by default), v2 weights (100).
prefer_pods() {
  local group
  for group in /sys/fs/cgroup/cpu/k8s.io /sys/fs/cgroup/k8s.io; do
    [ -d "${group%/k8s.io}" ] && mkdir -p "$group" 2> /dev/null || continue
    { [ -w "$group/cpu.shares" ] && echo 10240 > "$group/cpu.shares"; } 2> /dev/null || true
    { [ -w "$group/cpu.weight" ] && echo 1000 > "$group/cpu.weight"; } 2> /dev/null || true
  done
}

init() {   # the first process of the new namespaces; the rest ends with it
  readlink /proc/self/ns/net > netns
  export PATH=$bin:$PATH KUBECONFIG=$dir/kubeconfig
  host_names_and_network
  own_sysctls
  container_runtime
  import_images &   # the longest part, and the processors have time while the rest waits for each other
  control_plane
  start_kubelet
  touch ready
  # All children that are left to it are reaped here, for as long as the cluster lives.
  while :; do wait -n 2> /dev/null || sleep 1; done
}

host_names_and_network() {
  hostname node1
  ip link set lo up
  ip link add br0 type bridge   # a kernel without the dummy device has a bridge
  ip addr add $node/24 dev br0; ip link set br0 up; ip route add default dev br0
  sysctl -qw net.ipv4.ip_forward=1
  cp /etc/hosts hosts; echo "$node node1" >> hosts
  mount --bind hosts /etc/hosts
}

# The kubelet sets these where they differ, and they are the whole machine's. It shall find what it wants.
own_sysctls() {
  local setting path
  for setting in vm/overcommit_memory=1 vm/panic_on_oom=0 kernel/panic=10 kernel/panic_on_oops=1 \
    kernel/keys/root_maxkeys=1000000 kernel/keys/root_maxbytes=25000000; do
    path=/proc/sys/${setting%=*}
    [ -e "$path" ] || continue
    mkdir -p sysctl/"$(dirname "${setting%=*}")"
    echo "${setting#*=}" > "sysctl/${setting%=*}"
    mount --bind "sysctl/${setting%=*}" "$path"
  done
}

control_plane() {
  openssl genrsa -out sa.key 2048 2> /dev/null; openssl rsa -in sa.key -pubout -out sa.pub 2> /dev/null
  echo 'admin-token,admin,admin,system:masters' > tokens.csv
  write_audit_policy; write_kubeconfig
  launch etcd etcd --data-dir etcd --unsafe-no-fsync
  launch apiserver kube-apiserver --etcd-servers=http://127.0.0.1:2379 --bind-address=$node --advertise-address=$node --secure-port=6443 \
    --cert-dir=certs --service-cluster-ip-range=10.96.0.0/16 --authorization-mode=Node,RBAC --allow-privileged=true \
    --service-account-issuer=https://kubernetes.default.svc --service-account-signing-key-file=sa.key --service-account-key-file=sa.pub \
    --token-auth-file=tokens.csv --kubelet-preferred-address-types=InternalIP \
    --audit-policy-file=audit.yaml --audit-log-path="$dir/log/audit.jsonl" --audit-log-maxsize=4000
  await 60 'the API server' "$dir/log/apiserver" kubectl get --raw /readyz
  launch controller-manager kube-controller-manager --kubeconfig kubeconfig --service-account-private-key-file sa.key --leader-elect=false \
    --root-ca-file=certs/apiserver.crt --bind-address 127.0.0.1
  launch scheduler kube-scheduler --kubeconfig kubeconfig --leader-elect=false --bind-address 127.0.0.1
  launch proxy kube-proxy --kubeconfig kubeconfig --proxy-mode iptables --cluster-cidr 10.88.0.0/16 --hostname-override node1 \
    --conntrack-max-per-core 0 --conntrack-tcp-timeout-established 0 --conntrack-tcp-timeout-close-wait 0
}

# One line of JSON a request, written once it has been answered (and once more when a watch starts).
write_audit_policy() {
  cat > audit.yaml << 'K'
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules: [{level: Metadata}]
K
}

write_kubeconfig() {
  cat > kubeconfig << K
apiVersion: v1
kind: Config
clusters: [{name: seatrial, cluster: {server: "https://$node:6443", certificate-authority: "$dir/certs/apiserver.crt"}}]
users: [{name: admin, user: {token: admin-token}}]
contexts: [{name: seatrial, context: {cluster: seatrial, user: admin}}]
current-context: seatrial
K
}

container_runtime() {
  # Images in memory, where there is enough: 1.2 GB that need no disk and no cleaning up.
  mkdir containerd
  [ "$(awk '/^MemAvailable/ {print int($2 / 1048576)}' /proc/meminfo)" -lt 8 ] || mount -t tmpfs -o size=6g tmpfs containerd
  # containerd 1.6: an older kernel interface for the OOM score, and the pause image is our own.
  cat > containerd.toml << C
version = 2
root = "$dir/containerd"
state = "$dir/containerd-state"
[grpc]
  address = "$dir/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:1"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "$dir/cni"
C
  cat > cni/10-bridge.conflist << C
{"cniVersion": "0.4.0", "name": "pods", "plugins": [{"type": "bridge", "bridge": "cni0", "isGateway": true, "hairpinMode": true,
 "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.88.0.0/16"}]], "dataDir": "$dir/cni-data", "routes": [{"dst": "0.0.0.0/0"}]}}]}
C
  prefer_pods
  launch containerd containerd -c containerd.toml
  await 30 containerd "$dir/log/containerd" ctr --address "$dir/containerd.sock" version
}

import_images() {
  local image
  for image in pause mlserver; do
    nice -n 5 ctr --address "$dir/containerd.sock" --namespace k8s.io images import "$cache/images/$image.tar" >> "$dir/log/images" 2>&1
  done
  touch images-imported
}

start_kubelet() {
  cat > kubelet.yaml << K
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: $node
authentication: {anonymous: {enabled: true}, webhook: {enabled: false}}
authorization: {mode: AlwaysAllow}
cgroupDriver: cgroupfs
cgroupsPerQOS: false
enforceNodeAllocatable: []
failSwapOn: false
failCgroupV1: false
containerRuntimeEndpoint: unix://$dir/containerd.sock
imageGCHighThresholdPercent: 100
evictionHard: {memory.available: 50Mi, nodefs.available: 1%}
localStorageCapacityIsolation: false
K
  launch kubelet kubelet --config kubelet.yaml --kubeconfig kubeconfig --root-dir "$dir/kubelet" --hostname-override node1 --node-ip $node
  await 60 'the node' "$dir/log/kubelet" eval "kubectl get node node1 | grep -q ' Ready'"
}

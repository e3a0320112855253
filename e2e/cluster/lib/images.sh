# The images, and the models that the tests serve. Sourced by ../cluster.

# pack ARCHIVE NAME FOLDER [buildah config options]: FOLDER as an image of one layer, in an OCI archive.
pack() {
  local archive=$1 name=$2 folder=$3; shift 3
  local store; store=$(mktemp -d "$archive.store.XXXXXX")
  local tool=(buildah --storage-driver vfs --root "$store/root" --runroot "$store/run")
  local container code=0
  { container=$("${tool[@]}" from scratch) \
    && "${tool[@]}" copy -q "$container" "$folder" / > /dev/null \
    && "${tool[@]}" config "$@" "$container" \
    && "${tool[@]}" commit -q --disable-compression=true "$container" "oci-archive:$archive.new:$name"; } || code=$?
  rm -rf "$store"
  [ $code = 0 ] || return $code
  mv "$archive.new" "$archive"
}

make_pause() {
  local root=$cache/images/pause.root
  rm -rf "$root"; mkdir -p "$root"
  CGO_ENABLED=0 go build -buildvcs=false -trimpath -o "$root/pause" -ldflags '-s -w' "$here/pause/main.go"
  pack "$cache/images/pause.tar" localhost/pause:1 "$root" --entrypoint '["/pause"]' --user 65535:65535
  rm -rf "$root"
}

mlserver_stamp() { { cat "$here/../models/requirements.txt"; declare -f make_mlserver trim pack; } | digest; }
models_stamp() { { mlserver_stamp; cat "$here/../models/train.py" "$here/../models/runtime.py"; } | digest; }

# Runs a command in MLServer's root file system, with the host's way to the package registries.
in_mlserver() {
  local names; names=$(env | sed -nE 's/^((https?|no|all)_proxy|PIP_(INDEX_URL|EXTRA_INDEX_URL|DEFAULT_TIMEOUT|TRUSTED_HOST))=.*/\1/Ip')
  local keep=() name
  for name in $names; do keep+=("$name=${!name}"); done
  env -i PATH=/usr/bin:/bin:/usr/sbin:/sbin HOME=/root PIP_CERT=/tmp/ca.crt PIP_DISABLE_PIP_VERSION_CHECK=1 "${keep[@]}" \
    chroot "$cache/mlserver" "$@"
}

make_mlserver() {
  local root=$cache/mlserver site
  rm -rf "$root"; mkdir -p "$cache/images"
  mmdebstrap --variant=minbase --include=python3,python3-venv,ca-certificates \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    bookworm "$root"
  cp -L /etc/resolv.conf "$root/etc/resolv.conf"
  cp /etc/ssl/certs/ca-certificates.crt "$root/tmp/ca.crt"
  cp "$here/../models/requirements.txt" "$root/tmp/"
  in_mlserver python3 -m venv /opt/mlserver
  in_mlserver /opt/mlserver/bin/pip install -q --no-cache-dir --no-compile -r /tmp/requirements.txt
  # Envoy keeps a connection to a pod for an hour, uvicorn ends an idle one after 5 s, and a request
  # that meets that end fails. The server has to be the more patient of the two.
  site=$(echo "$root"/opt/mlserver/lib/python3*/site-packages)
  sed -i 's/^\( *\)"port": self._settings.http_port,$/&\n\1"timeout_keep_alive": 7200,/' "$site/mlserver/rest/server.py"
  grep -q timeout_keep_alive "$site/mlserver/rest/server.py"
  trim "$root" "$site"
  # Compiled code that does not look at its source: an archive rounds times, Python then takes what is
  # compiled for stale, cannot write to the image, and compiles 300 files again at every start.
  in_mlserver /opt/mlserver/bin/python -m compileall -q -f -j 2 --invalidation-mode unchecked-hash /opt/mlserver/lib /usr/lib/python3.11
  pack "$cache/images/mlserver.tar" localhost/mlserver:1.7.1 "$root" --user 65532:65532 --workingdir /tmp \
    --env PATH=/opt/mlserver/bin:/usr/bin:/bin --env HOME=/tmp --env PYTHONUNBUFFERED=1 \
    --env OMP_NUM_THREADS=1 --env OPENBLAS_NUM_THREADS=1 \
    --env MLSERVER_DEBUG=false --env MLSERVER_PARALLEL_WORKERS=0 --env MLSERVER_GZIP_ENABLED=false \
    --entrypoint '[]' --cmd 'mlserver start /mnt/models'
}

trim() {   # what no pod reads; 240 MB of 640
  local root=$1 site=$2
  find "$site" -type d \( -name tests -o -name testing_data \) -prune -exec rm -rf {} +
  rm -rf "$root"/tmp/requirements.txt "$root"/var/cache/* "$root"/var/lib/apt/lists/* "$root"/var/log/* \
    "$root"/usr/share/{doc,man,locale,info} "$root"/usr/share/python-wheels "$site"/{pip,setuptools}
}

# Trained with the very libraries that serve them: a pickle of one scikit-learn is not for another.
make_models() {
  local work=$cache/mlserver/tmp/models
  rm -rf "$work" "$cache/models.new"
  cp "$here/../models/train.py" "$here/../models/runtime.py" "$cache/mlserver/tmp/"
  in_mlserver /opt/mlserver/bin/python /tmp/train.py /tmp/models
  chmod -R a+rX "$work"
  mv "$work" "$cache/models.new"
  rm -rf "$cache/models"; mv "$cache/models.new" "$cache/models"
}

load() { inside ctr --address "$dir/containerd.sock" --namespace k8s.io images import "$(readlink -f "$1")"; }

# image_seatrial BINARY NAME: the binary, the libraries that it links, and the public CAs; nothing else.
image_seatrial() {
  local binary=$1 name=$2 root library begun=$SECONDS
  [ -x "$binary" ] || die "$binary is not a program"
  need_root
  root=$(mktemp -d "${TMPDIR:-/tmp}/seatrial-image.XXXXXX")
  # shellcheck disable=SC2064
  trap "rm -rf '$root' '$root'.tar*" EXIT
  mkdir -p "$root/etc/ssl/certs" "$root/tmp"; chmod 1777 "$root/tmp"
  # A development build carries ten times its size in debug information.
  strip --strip-debug -o "$root/seatrial" "$binary" 2> /dev/null || cp "$binary" "$root/seatrial"
  chmod 755 "$root/seatrial"
  for library in $(ldd "$binary" 2> /dev/null | grep -oE '/[^ ]+'); do
    mkdir -p "$root$(dirname "$library")"; cp -L "$library" "$root$library"
  done
  cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
  echo 'seatrial:x:65532:65532::/tmp:/none' > "$root/etc/passwd"
  chmod 755 "$root"
  pack "$root.tar" "$name" "$root" --user 65532:65532 --entrypoint '["/seatrial"]'
  ( load "$root.tar" "$name" ) | tail -n 1
  say "$name is in the cluster ($((SECONDS - begun)) s)"
}

# Paths, words to the person who waits, and the ways in. Sourced by ../cluster.

cache=${XDG_CACHE_HOME:-$HOME/.cache}/seatrial
bin=$cache/bin
dir=${CLUSTER_DIR:-/tmp/seatrial-cluster}
node=10.77.0.1

say() { printf '%s\n' "$*"; }
die() { printf 'cluster: %s\n' "$*" >&2; exit 1; }

need_root() { [ "$(id -u)" = 0 ] || die "this needs root: it makes namespaces and mounts. Run it again with sudo -E."; }

# await SECONDS WHAT LOG CMD...: until CMD succeeds; past the deadline, or when the process of that log
# has ended, it names the log to read.
await() {
  local seconds=$1 what=$2 log=$3; shift 3
  local deadline=$((SECONDS + seconds)) process; process=$(basename "$log")
  until "$@" > /dev/null 2>&1; do
    if [ $SECONDS -ge $deadline ] || { [ -e "run/$process" ] && ! alive "$process"; }; then
      tail -n 5 "$log" >&2 2> /dev/null || true
      die "$what did not come within $seconds s; its log is $log"
    fi
    sleep 0.1
  done
}

# The pid, seen from here, of the cluster's first process. The number of a namespace that has ended is given to another one
# later, of a second cluster, say: its output tells whose it is.
first_process() {
  local want log pid
  want=$(cat "$dir/netns" 2> /dev/null) || return 1
  log=$(readlink -f "$dir")/log/init
  for pid in /proc/[0-9]*; do
    [ "$(readlink "$pid/ns/net" 2> /dev/null)" = "$want" ] || continue
    [ "$(readlink "$pid/fd/1" 2> /dev/null)" = "$log" ] || continue
    if [ "$(awk '/^NSpid/ {print $3}' "$pid/status" 2> /dev/null)" = 1 ]; then echo "${pid#/proc/}"; return; fi
  done
  return 1
}

inside() {   # run a command in the cluster's namespaces
  need_root
  local pid; pid=$(first_process) || die "no cluster is up in $dir: run '$here/cluster up'"
  exec nsenter -t "$pid" --net --mount --pid --uts --wd="$PWD" \
    env KUBECONFIG="$dir/kubeconfig" PATH="$bin:$PATH" "$@"
}

reenter() { ( inside "$here/cluster" inside "$@" ); }   # this script, there

within() {
  local command=$1; shift
  cd "$dir"
  case $command in
    init) init ;;
    addons) addons ;;
    models) models "$@" ;;
    processes) processes ;;
    service) service "$@" ;;
    *) die "unknown: inside $command" ;;
  esac
}

# Processes inside: one log and one pid file each. `up` and `stop` know them by the pid file. They come somewhat
# before the builds that share the machine, and so do the pods: latency is judged in here.
launch() {   # launch NAME CMD...
  local name=$1; shift
  setsid nice -n -5 "$@" > "$dir/log/$name" 2>&1 < /dev/null &
  echo $! > "$dir/run/$name"
}

# Envoy asks the kernel to end it when its parent ends (for its hot restarts), so it gets a parent that stays.
launch_envoy() {   # launch_envoy NAME ARGS...
  local name=$1; shift
  rm -f "$dir/run/$name"
  # shellcheck disable=SC2016
  setsid nice -n -5 sh -c 'envoy "$@" & echo $! > "$0.new"; mv "$0.new" "$0"; wait' "$dir/run/$name" "$@" > "$dir/log/$name" 2>&1 < /dev/null &
  await 10 "$name" "$dir/log/init" [ -e "$dir/run/$name" ]
}

alive() { local pid; pid=$(cat "$dir/run/$1" 2> /dev/null) && [ -d "/proc/$pid" ] && ! grep -q '^State:.Z' "/proc/$pid/status"; }

finish() {   # finish NAME: ends it, and waits until it has ended
  local deadline=$((SECONDS + 20)) pid
  pid=$(cat "$dir/run/$1" 2> /dev/null) || return 0
  kill "$pid" 2> /dev/null || true
  while alive "$1"; do
    [ $SECONDS -lt $deadline ] || die "$1 does not end; its log is $dir/log/$1"
    sleep 0.1
  done
  rm -f "$dir/run/$1"
}

service() {   # service NAME start|stop
  local name=$1 verb=$2
  case $verb in
    start) "start_$name" ;;
    stop) "stop_$name" ;;
  esac
}
stop_prometheus() { finish prometheus; say "prometheus is stopped; its data stays in $dir/prometheus"; }
stop_contour() { finish contour; say "contour is stopped; Envoy goes on with the routes that it has"; }
stop_envoy() { finish envoy; say "envoy is stopped"; }
stop_mesh() { finish sidecar; finish istiod; say "istiod and the sidecar are stopped"; }

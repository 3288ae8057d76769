#!/usr/bin/env bash
# engine.sh - a real, private, throw-away Docker or Podman engine for tests. Needs root, no systemd, no network.
#
#   eval "$(bash tests/engine.sh start)"      start (or reuse) it; prints `export DOCKER_HOST=...`
#   bash tests/engine.sh stop                 kill everything in it, remove every trace
#   bash tests/engine.sh run CMD [ARG...]     start, run CMD with DOCKER_HOST set, always stop; exits as CMD did
#   bash tests/engine.sh status               exit 0 and a line if it runs, else 1
#   bash tests/engine.sh inside CMD [ARG...]  run CMD in the engine's network namespace (reach published ports)
#   bash tests/engine.sh install              only install the packages
#
# dockerd (or podman's API service) runs as a child of PID 1 of its own mount/pid/net/ipc/uts namespaces: bridge, iptables rules,
# ip_forward, overlay mounts, /run files and all container processes live and die with that one process.
# Settings (environment):
#   ENGINE_DIR      state folder         (default /tmp/agentctl-engine; another folder = another engine)
#   ENGINE_KIND     docker | podman      which engine                     (default docker)
#   ENGINE_TTL      seconds until it stops by itself                      (default 3600)
#   ENGINE_OWNER    pid; the engine stops by itself when that pid is gone (default none)
#   ENGINE_NET      own | host           host = machine's network, no bridge, no iptables (default own)
#   ENGINE_SAMPLES  1 | 0                start the sample containers      (default 1)
#   ENGINE_STORAGE  storage driver       (default: dockerd's choice, overlay2; podman: vfs)
#   ENGINE_INSTALL  1 | 0                apt-get install what lacks       (default 1)
set -euo pipefail

DIR=${ENGINE_DIR:-/tmp/agentctl-engine}
TTL=${ENGINE_TTL:-3600}
OWNER=${ENGINE_OWNER:-0}
NET=${ENGINE_NET:-own}
KIND=${ENGINE_KIND:-docker}
SOCK=$DIR/$KIND.sock
URL=unix://$SOCK
CG=agentctl-engine-$(printf %s "$DIR" | cksum | cut -d' ' -f1)
SELF=$(readlink -f "$0")

say() { echo "engine: $*" >&2; }
die() { say "$*"; exit 1; }
cli() { DOCKER_HOST=$URL DOCKER_CONFIG=$DIR/config docker "$@"; }
ping() { curl -fs -m 2 --unix-socket "$SOCK" http://engine/_ping >/dev/null 2>&1; }

# The supervisor's pid is trusted only together with its start time, so a reused pid is never killed.
started_at() { local s; s=$(cat "/proc/$1/stat" 2>/dev/null) || return 1; set -- ${s##*) }; echo "${20}"; }
supervisor() {
    local pid at
    [ -r "$DIR/pid" ] && read -r pid at <"$DIR/pid" || return 1
    [ -n "${at:-}" ] && [ "$(started_at "$pid")" = "$at" ] && echo "$pid"
}

lock() { # the folder above ENGINE_DIR is the lock: no lock file to leave behind
    mkdir -p "$(dirname "$DIR")"; exec 9<"$(dirname "$DIR")"; flock -w 120 9 || die "another start or stop hangs"
}

install() {
    [ "${ENGINE_INSTALL:-1}" = 1 ] || return 0
    local want=()
    if [ "$KIND" = podman ]; then
        command -v podman >/dev/null || want+=(podman)
        command -v runc >/dev/null || want+=(runc) # crun refuses machines whose cgroups are of both versions
        { command -v catatonit || [ -x /usr/libexec/podman/catatonit ]; } >/dev/null || want+=(catatonit)
        command -v docker >/dev/null || want+=(docker.io)
    else command -v dockerd >/dev/null || want+=(docker.io); fi
    command -v busybox >/dev/null && [ -z "$(ldd "$(command -v busybox)" 2>/dev/null | grep '=>')" ] || want+=(busybox-static)
    command -v tini >/dev/null || want+=(tini)
    command -v ip >/dev/null || want+=(iproute2)
    command -v curl >/dev/null || want+=(curl)
    [ ${#want[@]} -eq 0 ] || fetch "${want[@]}"
    command -v docker >/dev/null || fetch docker-cli # newer Debians keep the client in a package of its own
}

fetch() {
    command -v apt-get >/dev/null || die "lacks: $*; without apt-get install them by hand"
    say "installing $*"
    local log; log=$(mktemp)
    # RUNLEVEL=1 keeps the packages' own service from starting where no policy-rc.d forbids it
    { RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@" ||
        { apt-get update && RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@"; }
    } >"$log" 2>&1 || { tail -5 "$log" >&2; rm -f "$log"; die "apt-get failed"; }
    rm -f "$log"
}

# --- inside: PID 1 of the namespaces is tini (reaps orphaned shims); this is its child ---------------
inner() {
    [ "$KIND" = docker ] || inner_podman
    mkdir -p /etc/docker # dockerd writes a key there
    mount -t tmpfs -o mode=755 tmpfs /run; mount -t tmpfs -o mode=755 tmpfs /etc/docker
    local opt=(--data-root "$DIR/data" --exec-root "$DIR/exec" --pidfile "$DIR/dockerd.pid" --host "$URL"
        --exec-opt native.cgroupdriver=cgroupfs --cgroup-parent "/$CG" --shutdown-timeout 1 --config-file "$DIR/daemon.json")
    [ -z "${ENGINE_STORAGE:-}" ] || opt+=(--storage-driver "$ENGINE_STORAGE")
    if [ "$NET" = host ]; then opt+=(--bridge=none --iptables=false --ip6tables=false --ip-forward=false)
    else ip link set lo up; fi
    exec dockerd "${opt[@]}"
}

inner_podman() {
    mount -t tmpfs -o mode=755 tmpfs /run
    ip link set lo up
    printf '%s\n' '[engine]' 'runtime="runc"' 'cgroup_manager="cgroupfs"' 'events_logger="file"' \
        '[containers]' 'log_driver="k8s-file"' '[network]' "network_config_dir=\"$DIR/networks\"" >"$DIR/containers.conf"
    printf '%s\n' '[storage]' "driver=\"${ENGINE_STORAGE:-vfs}\"" "graphroot=\"$DIR/data\"" "runroot=\"$DIR/exec\"" >"$DIR/storage.conf"
    mkdir -p "$DIR/tmp"
    export CONTAINERS_CONF=$DIR/containers.conf CONTAINERS_STORAGE_CONF=$DIR/storage.conf TMPDIR=$DIR/tmp
    exec podman --tmpdir "$DIR/libpod" system service --time 0 "$URL"
}

# --- the supervisor, in its own session: starts the namespaces, ends them on TTL, owner's death, TERM --
supervise() {
    local ns=(--mount --pid --ipc --uts --fork --kill-child=KILL --mount-proc) child end
    [ "$NET" = host ] || ns+=(--net)
    # pdeathsig: a supervisor that is SIGKILLed takes the namespaces with it
    setpriv --pdeathsig KILL unshare "${ns[@]}" tini -g -- bash "$SELF" inner &
    child=$!
    local z=
    trap 'kill -KILL $child $z 2>/dev/null || :; wait; exit 0' TERM INT HUP
    end=$((SECONDS + TTL))
    while kill -0 $child 2>/dev/null; do
        [ $SECONDS -lt $end ] || { echo "supervisor: TTL of $TTL s is over"; break; }
        [ "$OWNER" = 0 ] || kill -0 "$OWNER" 2>/dev/null || { echo "supervisor: owner $OWNER is gone"; break; }
        sleep 0.5 & z=$!; wait $z || :
    done
    kill -KILL $child 2>/dev/null || :
    wait $child 2>/dev/null || :
    sweep
}

# Kill whatever is left in our cgroups (nothing, once the PID namespace is gone), remove cgroups and files.
sweep() {
    local d p i ours=(-path "*/$CG*")
    for d in "$DIR"/data/*-containers/*/; do # podman's cgroups have the ids of its containers
        [ ! -d "$d" ] || ours+=(-o -path "*/libpod_parent/libpod-$(basename "$d")*")
    done
    for i in $(seq 100); do
        d=$(find /sys/fs/cgroup -type d \( "${ours[@]}" \) 2>/dev/null) || :
        [ -n "$d" ] || break
        for p in $d; do # a frozen process does not end, even of SIGKILL (version 1)
            [ ! -e "$p/freezer.state" ] || echo THAWED >"$p/freezer.state" 2>/dev/null || :
        done
        for p in $(cat $(printf '%s/cgroup.procs ' $d) 2>/dev/null | sort -u); do kill -KILL "$p" 2>/dev/null || :; done
        printf '%s\n' "$d" | sort -r | xargs -r rmdir 2>/dev/null || sleep 0.05
    done
    if [ "$KIND" = podman ]; then # these are empty unless another engine uses them
        rmdir /sys/fs/cgroup/*/libpod_parent/conmon /sys/fs/cgroup/libpod_parent/conmon 2>/dev/null || :
        rmdir /sys/fs/cgroup/*/libpod_parent /sys/fs/cgroup/libpod_parent 2>/dev/null || :
    fi
    case $DIR in /|/tmp|/root|/home|"${HOME:-/root}"|.|"") die "will not remove $DIR";; esac
    rm -rf --one-file-system "$DIR"
}

image() {
    cli image inspect busybox:local >/dev/null 2>&1 && return 0
    local r=$DIR/rootfs
    rm -rf "$r"; mkdir -p "$r"/{bin,etc,tmp,proc,sys,dev,root,var,home}; chmod 1777 "$r/tmp"
    cp "$(command -v busybox)" "$r/bin/busybox"
    chroot "$r" /bin/busybox --install -s /bin
    echo 'root:x:0:0:root:/root:/bin/sh' >"$r/etc/passwd"; echo 'root:x:0:' >"$r/etc/group"
    tar -C "$r" -c . | cli import -c 'CMD ["sh"]' -c 'LABEL agentctl.sample=1' - busybox:local >/dev/null
    rm -rf "$r"
}

sample() { # NAME WANTED-STATE DOCKER-RUN-ARGS...; a sample in another state is made anew
    local name=$1 want=$2 is; shift 2
    is=$(cli ps -a --filter "name=^$name\$" --format '{{.State}}')
    [ "$is" != "$want" ] || return 0
    [ -z "$is" ] || cli rm -f "$name" >/dev/null
    cli run -d --name "$name" --label agentctl.sample=1 "$@" >/dev/null
}

samples() {
    local n=(); [ "$NET" = host ] && n=(--network none)
    # web: serves a page, logs a line a second, ends on TERM. worker: ignores TERM (docker stop must escalate).
    # failed: has exited with 3, one line on stderr.
    sample sample-web running "${n[@]}" busybox:local sh -c 'trap "echo bye; exit 0" TERM; mkdir -p /w; echo "hello from web" >/w/index.html
        httpd -p 80 -h /w; i=0; while :; do echo "tick $i"; i=$((i+1)); sleep 1 & wait $!; done' & local a=$!
    sample sample-worker running --network none -m 64m busybox:local sh -c 'trap "" TERM; echo started; sleep 86400' & local b=$!
    sample sample-failed exited --network none busybox:local sh -c 'echo "fatal: no config" >&2; exit 3' & local c=$!
    wait $a && wait $b && wait $c
}

start() {
    [ "$(id -u)" = 0 ] || die "needs root"
    [ ${#SOCK} -lt 104 ] || die "ENGINE_DIR is too long for a unix socket"
    lock
    install
    if supervisor >/dev/null && ping; then say "already runs"
    else
        stop_locked
        mkdir -p "$DIR/config"; chmod 711 "$DIR"
        echo '{}' >"$DIR/daemon.json"; echo '{}' >"$DIR/config/config.json"
        local log=$DIR/log pid i
        setsid bash "$SELF" supervise </dev/null >"$log" 2>&1 9>&- &
        pid=$!; disown
        echo "$pid $(started_at $pid)" >"$DIR/pid"
        for i in $(seq 600); do ping && break
            kill -0 $pid 2>/dev/null || { grep -E 'level=(error|fatal)|failed|supervisor' "$log" | tail -5 >&2; stop_locked; die "$KIND ended"; }
            sleep 0.05; done
        ping || { tail -5 "$log" >&2; stop_locked; die "no answer from $KIND in 30 s"; }
    fi
    image
    [ "${ENGINE_SAMPLES:-1}" = 0 ] || samples
    echo "export DOCKER_HOST=$URL"
}

stop_locked() {
    local pid i
    if pid=$(supervisor); then
        kill -TERM "$pid" 2>/dev/null || :
        for i in $(seq 200); do supervisor >/dev/null || break; sleep 0.05; done
        kill -KILL "$pid" 2>/dev/null || :
    fi
    sweep
}

stop() { lock; stop_locked; }

case ${1:-} in
    start) start ;;
    stop) stop ;;
    run) shift; [ $# -gt 0 ] || die "run needs a command"
        export ENGINE_OWNER=$$; OWNER=$$
        child=
        trap '[ -z "$child" ] || kill -TERM $child 2>/dev/null || :; stop' EXIT; trap 'exit 143' TERM; trap 'exit 130' INT
        ( start ) >/dev/null
        DOCKER_HOST=$URL "$@" <&0 & child=$!
        rc=0; wait $child || rc=$?
        child=; exit $rc ;;
    status) if pid=$(supervisor) && ping; then echo "runs: pid $pid, DOCKER_HOST=$URL"; else echo "does not run"; exit 1; fi ;;
    inside) shift; pid=$(supervisor) || die "does not run"
        c=$(pgrep -P "$pid" -x unshare | head -1); t=$(pgrep -P "$c" | head -1)
        exec nsenter -t "$t" -n -- "$@" ;;
    install) install ;;
    inner) inner ;;
    supervise) supervise ;;
    *) sed -n '2,23s/^# \{0,1\}//p' "$SELF" >&2; exit 2 ;;
esac

#!/usr/bin/env bash
# systemd.sh DIR - run a real systemd as process 1 of its own namespaces, with the units in DIR/units alone, until
# stdin ends. Needs root and a kernel with cgroups of version 2. Prints the pid of systemd when it is ready.
set -euo pipefail
if [ "${2:-}" != inside ]; then
    exec unshare --mount --propagation private bash "$0" "$1" inside
fi
dir=$1
mkdir -p "$dir/cgroups"
mount -t cgroup2 cgroup2 "$dir/cgroups"
group=$dir/cgroups/agentctl-systemd-$$
mkdir "$group"
before=$(sed -n 's/^0:://p' /proc/self/cgroup)
echo $$ >"$group/cgroup.procs"
unshare --mount --pid --ipc --uts --net --cgroup --fork --kill-child=KILL --mount-proc bash -euc '
    mount -t tmpfs -o mode=755 tmpfs /run
    mount -t tmpfs tmpfs /sys/fs/cgroup
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
    mount -t tmpfs tmpfs /var/log
    mkdir -p /run/log/journal
    hostname box
    exec env -i container=other PATH="$PATH" SYSTEMD_UNIT_PATH="$1/units" SYSTEMD_LOG_TARGET=journal \
        /lib/systemd/systemd --system --unit=ready.target --show-status=no
' boot "$dir" </dev/null &
child=$!
end() {
    trap - EXIT TERM INT HUP
    kill -KILL "$child" 2>/dev/null || true
    wait "$child" 2>/dev/null || true
    echo $$ >"$dir/cgroups$before/cgroup.procs" || true
    for _ in $(seq 100); do
        find "$group" -depth -type d -exec rmdir {} + 2>/dev/null && break
        sleep 0.05
    done
    umount -l "$dir/cgroups" || true
}
trap end EXIT
trap 'exit 0' TERM INT HUP
for _ in $(seq 200); do
    pid=$(pgrep -P "$child" | head -n 1) || true
    if [ -n "$pid" ] && nsenter -t "$pid" -a systemctl is-active --quiet ready.target 2>/dev/null; then
        echo "$pid"
        cat >/dev/null || true # until stdin ends
        exit 0
    fi
    kill -0 "$child" || exit 1
    sleep 0.1
done
echo "systemd was not ready in time" >&2
exit 1

#!/bin/sh
# Take the container's control group, if it was granted, and start the command as the user `sandbox`.
#
# Groups with limits may not stand beside processes, and who moves a process must own the groups on the way (cgroups(7)). So all
# processes go into /sandbox/service, and /sandbox belongs to the user: its runs get groups beside `service`.
set -eu
root=/sys/fs/cgroup
group=$root/sandbox

if [ "$(id -u)" != 0 ]; then
    exec "$@"
fi

if [ -e "$root/cgroup.controllers" ] && mkdir -p "$group/service" 2>/dev/null; then
    while read -r pid; do
        # One that has ended meanwhile cannot be moved.
        echo "$pid" >"$group/service/cgroup.procs" 2>/dev/null || true
    done <"$root/cgroup.procs"
    echo "+cpu +memory +pids" >"$root/cgroup.subtree_control"
    echo "+cpu +memory +pids" >"$group/cgroup.subtree_control"
    for place in "$group" "$group/service"; do
        chown sandbox:sandbox "$place" "$place/cgroup.procs" "$place/cgroup.subtree_control" "$place/cgroup.threads"
    done
    SANDBOX_CGROUP=$group
    export SANDBOX_CGROUP
else
    echo "entrypoint: $root cannot be written: no control groups (deploy/README.md says what to grant)" >&2
fi

exec setpriv --reuid=sandbox --regid=sandbox --clear-groups --inh-caps=-all --no-new-privs "$@"

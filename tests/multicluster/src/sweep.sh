# Removes everything that a lab made. It is given by name, so it works whatever the lab's owner came to.
#
# usage: sweep.sh watch|at-once LAB CGROUP RUN_DIR
#
# `watch` waits until the owner closes standard input, which the kernel does for an owner that died; the word `keep`
# on it lets the lab live.
trap '' INT TERM HUP PIPE
when=$1 lab=$2 cgroup=$3 run=$4

if [ "$when" = watch ]; then
    read -r word
    [ "$word" = keep ] && exit 0
fi

# Whoever is in the lab's control group is the lab's, so no foreign process is hit.
kill_all() {
    if [ -e "$cgroup/cgroup.kill" ]; then
        echo 1 >"$cgroup/cgroup.kill"
    else
        find "$cgroup" -name cgroup.procs -exec cat {} + | xargs -r kill -9 2>/dev/null
    fi
}
# Again and again, because a program may join while its group is being cleared, and because a group stays busy until the
# kernel is through with those who died in it. Whoever joins later finds no group and ends.
rounds=0
while [ -d "$cgroup" ] && [ $rounds -lt 250 ]; do
    kill_all 2>/dev/null
    find "$cgroup" -depth -type d -exec rmdir {} + 2>/dev/null || sleep 0.01
    rounds=$((rounds + 1))
done
rmdir "${cgroup%/*}" 2>/dev/null

# Pinned programs and maps live as long as their files do. The file system's own two files can't be deleted.
if [ -d "$run/bpf" ]; then
    find "$run/bpf" -mindepth 1 ! -name '*.debug' -delete
    while mountpoint -q "$run/bpf"; do umount "$run/bpf" || break; done
fi

for netns in /run/netns/ist-"$lab"-*; do
    [ -e "$netns" ] && echo "netns del ${netns##*/}"
done | ip -batch -

rm -rf --one-file-system "$run"
rmdir "${run%/*}" 2>/dev/null

for left in "$cgroup" "$run" /run/netns/ist-"$lab"-*; do
    if [ -e "$left" ]; then
        echo "$left is still there" >&2
        failed=1
    fi
done
exit ${failed:-0}

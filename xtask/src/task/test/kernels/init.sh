#!/bin/sh
# Runs the suites inside a guest. What they say goes to the second serial line, and the kernel's own words to the first.
# The shell prefers its own programs to those of the same name, so some are named in full.
export PATH=/sbin:/bin:/busybox HOME=/tmp
/bin/busybox mkdir -p /busybox /sys
/bin/busybox --install -s /busybox
exec >/dev/console 2>&1
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /tmp
mount -t cgroup2 none /sys/fs/cgroup
mkdir -p /run/netns /dev/net /var
ln -s /run /var/run
[ -e /dev/net/tun ] || mknod /dev/net/tun c 10 200
/sbin/modprobe tun
/sbin/ip link set lo up

exec >/dev/ttyS1 2>&1
# suite NAME SECONDS COMMAND...
suite() {
    name=$1 seconds=$2
    shift 2
    echo "@begin $name"
    timeout -s KILL "$seconds" env "$@"
    echo "@end $name $?"
}
. /suites/list
echo "@done"
sync
reboot -f

#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# The first process of the guest that vm.sh boots: mounts, loads the module,
# runs /vm/command, looks at what it left behind, switches the machine off.
# /vm is the run's directory on the host.

PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH HOME=/tmp TERM=dumb LC_ALL=C.UTF-8

off() {
	dmesg >/vm/dmesg
	sync
	echo o >/proc/sysrq-trigger
	sleep 60
}

{
	mount -t proc proc /proc
	mount -t sysfs sysfs /sys
	mountpoint -q /dev || mount -t devtmpfs devtmpfs /dev
	mkdir -p /dev/pts /dev/shm
	mount -t devpts devpts /dev/pts
	mount -t tmpfs -o mode=1777 tmpfs /dev/shm
	mount -t tmpfs -o mode=755 tmpfs /run
	mount -t debugfs debugfs /sys/kernel/debug
	mount -t cgroup2 cgroup2 /sys/fs/cgroup
	ln -s /proc/self/fd /dev/fd
	ln -s /proc/self/fd/0 /dev/stdin
	ln -s /proc/self/fd/1 /dev/stdout
	ln -s /proc/self/fd/2 /dev/stderr
	ip link set lo up

	# What is visible below /tmp has to stay visible when the tmpfs comes.
	visible=$(sed -n 's/^visible="\(.*\)"$/\1/p' /vm/command)
	mkdir /run/root
	mount --bind / /run/root
	mount -t tmpfs -o mode=1777 tmpfs /tmp
	mount -t tmpfs -o mode=1777 tmpfs /var/tmp
	for dir in $visible; do
		case $dir in
		/tmp/* | /var/tmp/*)
			mkdir -p "$dir"
			ls "/run/root$dir"
			mount --bind "/run/root$dir" "$dir"
			;;
		esac
	done
	umount /run/root
} >/vm/init.log 2>&1

if [ -e /vm/qemufile.ko ]; then
	insmod /vm/qemufile.ko 2>/run/insmod || {
		cat /run/insmod >/vm/insmod
		off
	}
fi

# Standard output and error are pipes here, so that the command may reopen them;
# the ports to the host can be open only once.
for name in /sys/class/virtio-ports/*/name; do
	port=${name%/name}
	mkfifo "/run/$(cat "$name")"
	cat "/run/$(cat "$name")" >"/dev/${port##*/}" &
	readers="$readers $!"
done
sh /vm/command </dev/null >/run/stdout 2>/run/stderr
status=$?
# Whoever the command left in the background may hold the pipes: no endless wait.
# shellcheck disable=SC2086
{ sleep 5; kill $readers; } 2>/dev/null &
# shellcheck disable=SC2086
wait $readers 2>/dev/null
# Nothing of the command's may outlive it: what is open now would stay open.
kill -KILL -1 2>/dev/null
sleep 0.2

if [ -d /sys/module/qemufile ]; then
	rmmod qemufile 2>/run/rmmod || cat /run/rmmod >/vm/rmmod
fi
if [ -e /sys/kernel/debug/kmemleak ]; then
	# An object counts only if it is unreferenced in two scans.
	echo scan >/sys/kernel/debug/kmemleak
	sleep 6
	echo scan >/sys/kernel/debug/kmemleak
	cat /sys/kernel/debug/kmemleak >/vm/kmemleak
fi
echo "$status" >/vm/status
off

#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# The first process of the User-Mode Linux that uml.sh starts: mounts, loads the module,
# runs the command with its output in files, and ends the kernel. /vm is the run's directory
# on the host; the root is read-only, so it is mounted once more.

PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH HOME=/tmp TERM=dumb LC_ALL=C.UTF-8

mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/shm
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs /run
mkdir /run/host
mount -t hostfs -o hostfs=/vm none /run/host
# /tmp may be where the checkout is.
mkdir -m 1777 /run/tmp
export TMPDIR=/run/tmp
ip link set lo up

exec >/run/host/stdout 2>/run/host/stderr
if insmod /run/host/qemufile.ko; then
	bash /run/host/command </dev/null
	echo $? >/run/host/status
fi
dmesg >/run/host/dmesg
sync
# No init that could switch it off; RB_POWER_OFF of <sys/reboot.h>.
exec python3 -c 'import ctypes; ctypes.CDLL(None).reboot(0x4321fedc)'

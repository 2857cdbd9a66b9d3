#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# The first process of the guest that vm.sh boots: mounts, loads the module,
# runs /vm/command, looks at what it left behind, switches the machine off.
# /vm is the run's directory on the host. As few processes as can be: on the
# debug kernel under emulation each costs a good part of a second.

PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH HOME=/tmp TERM=dumb LC_ALL=C.UTF-8

off() {
	dmesg >/vm/dmesg
	sync
	echo b >/proc/sysrq-trigger	# a reset, which ends QEMU (-no-reboot)
	sleep 60
}

visible="" kunit=""
# shellcheck source=/dev/null
. /vm/settings
exec 3>&1 4>&2 >/vm/init.log 2>&1

cat >/vm/fstab <<-'END'
proc		/proc			proc
sysfs		/sys			sysfs
devtmpfs	/dev			devtmpfs
devpts		/dev/pts		devpts		X-mount.mkdir
tmpfs		/dev/shm		tmpfs		X-mount.mkdir,mode=1777
tmpfs		/run			tmpfs		mode=755
debugfs		/sys/kernel/debug	debugfs
cgroup2		/sys/fs/cgroup		cgroup2
END
mount --all --fstab /vm/fstab
ln -s /proc/self/fd /dev/fd
ln -s /proc/self/fd/1 /dev/stdout
ln -s /proc/self/fd/2 /dev/stderr
ip link set lo up

# What is visible below /tmp has to stay visible when the tmpfs comes.
keep=
for dir in $visible; do
	case $dir in
	/tmp/* | /var/tmp/*) keep="$keep $dir" ;;
	esac
done
if [ -n "$keep" ]; then
	mkdir /run/root
	mount --bind / /run/root
fi
mount -t tmpfs -o mode=1777 tmpfs /tmp
mount -t tmpfs -o mode=1777 tmpfs /var/tmp
for dir in $keep; do
	mkdir -p "$dir"
	: /run/root"$dir"/*	# a submount comes with its first use
	mount --bind "/run/root$dir" "$dir"
done
[ -z "$keep" ] || umount -l /run/root
exec >&3 2>&4 3>&- 4>&-

if [ -n "$kunit" ]; then
	# The kernel's own suites were kept from running at boot; the module's may.
	printf '*' >/sys/module/kunit/parameters/filter_glob
fi
if [ -e /vm/qemufile.ko ]; then
	insmod /vm/qemufile.ko 2>/run/insmod || {
		cat /run/insmod >/vm/insmod
		off
	}
	# Loaded again, it need not be tested again.
	[ -z "$kunit" ] || printf none >/sys/module/kunit/parameters/filter_glob
fi

# Standard output and error are pipes here, so that the command may reopen them;
# the ports to the host can be open only once.
mkfifo /run/stdout /run/stderr
readers=
for file in /sys/class/virtio-ports/*/name; do
	read -r name <"$file"
	port=${file%/name}
	cat "/run/$name" >"/dev/${port##*/}" &
	readers="$readers $!"
done
bash /vm/command </dev/null >/run/stdout 2>/run/stderr
status=$?
# Whoever the command left in the background may hold the pipes: no endless wait.
# shellcheck disable=SC2086
{ sleep 5; kill $readers; } 2>/dev/null &
# shellcheck disable=SC2086
wait $readers 2>/dev/null
# Nothing of the command's may outlive it: what is open now would stay open.
kill -KILL -1 2>/dev/null

if [ -d /sys/module/qemufile ]; then
	umount --all --types qemufile 2>/run/umount
	# Files of the killed may be released a moment late.
	rmmod qemufile 2>/run/rmmod ||
		{ sleep 1; rmmod qemufile 2>/run/rmmod; } ||
		cat /run/rmmod >/vm/rmmod
fi
if [ -e /sys/kernel/debug/kmemleak ] && ! grep -q kmemleak=off /proc/cmdline; then
	# An object is reported when it has been unreferenced for 5 s.
	echo scan >/sys/kernel/debug/kmemleak
	sleep 6
	echo scan >/sys/kernel/debug/kmemleak
	cat /sys/kernel/debug/kmemleak >/vm/kmemleak
fi
echo "$status" >/vm/status
off

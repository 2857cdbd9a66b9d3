#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The host's half of vm.sh: the first process of fresh mount and process
# namespaces. Composes the tree that the guest sees, serves it with virtiofsd
# and boots the kernel with the root's QEMU.
# Usage: vm-host.sh CACHE CHECKOUT RUN KERNEL TIMEOUT MEMORY CPUS ICOUNT APPEND [SHARE]...
set -euo pipefail

cache=$1 checkout=$2 run=$3 kernel=$4 timeout=$5 memory=$6 cpus=$7 icount=$8 append=$9
shift 9
root=$cache/root
tree=$root/mnt		# the guest's /
guest=$root		# what is in it
[ "$kernel" != arm64 ] || guest=$cache/root-arm64
in_root() { exec chroot "$root" env -i PATH=/usr/sbin:/usr/bin HOME=/ "$@"; }

mkdir -p "$root/vm" "$root/kernel" "$guest/vm" "$guest/usr/lib/modules" "$guest$checkout"
for share; do mkdir -p "$guest$share"; done

# The root alone, before anything is mounted in it; read-only.
mount --bind "$guest" "$tree"
mount -o remount,bind,ro "$tree"
mount --bind "$run" "$tree/vm"
mount --bind "$cache/kernel/$kernel/lib/modules" "$tree/usr/lib/modules"
mount --bind "$checkout" "$tree$checkout"
mount -o remount,bind,ro "$tree$checkout"
for share; do mount --bind "$share" "$tree$share"; done

# What QEMU and virtiofsd themselves need.
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount --bind "$cache/kernel" "$root/kernel"
mount --bind "$run" "$root/vm"

# Under TCG, qemu64 copies several times faster than max: without ERMS the
# kernel does not use rep movsb, which TCG emulates byte by byte. The arm64
# machine has EL2, and therefore KVM in the guest.
case $kernel in
arm64)
	qemu=qemu-system-aarch64 cpu=neoverse-n1 console=ttyAMA0 clock=
	machine=(-M 'virt,gic-version=3,virtualization=on')
	;;
*)
	qemu=qemu-system-x86_64 cpu=qemu64 console=ttyS0
	clock='tsc=reliable no_timer_check'
	machine=(-M q35)
	;;
esac
# /dev/kvm may be there and yet run no guest: only the processor's word counts.
if [ -n "$icount" ]; then
	machine+=(-accel tcg -icount 'shift=0,sleep=off' -cpu "$cpu")
elif [ "$kernel" != arm64 ] && grep -qwE 'vmx|svm' /proc/cpuinfo && : <>/dev/kvm; then
	machine+=(-accel kvm -cpu host)
else
	machine+=(-accel 'tcg,thread=multi' -cpu "$cpu")
fi 2>/dev/null

in_root /usr/libexec/virtiofsd --socket-path=/run/vfs --shared-dir=/mnt \
	--announce-submounts --cache=always --sandbox=none --log-level=warn \
	>"$run/virtiofsd.log" 2>&1 &
cat <"$run/stdout" &
out=$!
cat <"$run/stderr" >&2 &
err=$!
for ((i = 0; i < 200; i++)); do
	[ ! -S "$root/run/vfs" ] || break
	sleep 0.05
done

# A socket a CPU: the MP table, all that a kernel without ACPI has, names only
# the first CPU of each.
in_root "$qemu" -nodefaults -no-user-config -display none -no-reboot \
	"${machine[@]}" -smp "cpus=$cpus,sockets=$cpus" -m "$memory" \
	-object memory-backend-memfd,id=ram,size="${memory}M",share=on -numa node,memdev=ram \
	-chardev socket,id=vfs,path=/run/vfs \
	-device vhost-user-fs-pci,chardev=vfs,tag=rootfs,queue-size=1024 \
	-chardev file,id=console,path=/vm/console.log -serial chardev:console \
	-device virtio-serial-pci \
	-chardev file,id=stdout,path=/vm/stdout -device virtserialport,chardev=stdout,name=stdout \
	-chardev file,id=stderr,path=/vm/stderr -device virtserialport,chardev=stderr,name=stderr \
	-device virtio-rng-pci \
	-kernel "/kernel/$kernel/vmlinuz" \
	-append "root=rootfs rootfstype=virtiofs rw init=/vm/init console=$console loglevel=5 \
panic=1 oops=panic log_buf_len=8M random.trust_cpu=1 $clock $append" \
	>"$run/qemu.log" 2>&1 &
qemu=$!
(
	sleep "$timeout"
	touch "$run/timeout"
	kill "$qemu"
	sleep 3
	kill -KILL "$qemu"
) &

trap 'exit 130' INT
trap 'exit 143' TERM HUP
status=0
wait "$qemu" || status=$?
# Let the readers reach the end; if QEMU never opened the pipes, they never will.
[ -s "$run/console.log" ] || exit 1
wait "$out" "$err"
exit "$status"

#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Boots an installed system with its own kernel and its own systemd, as far as basic.target, runs a
# script there as root, and switches it off. QEMU and virtiofsd are those of the set-up's root.
#
# Usage: boot.sh SYSTEM RELEASE SCRIPT [OUTPUT]
#   SYSTEM is the root directory, which the guest can write to; RELEASE one of its kernels. What
#   SCRIPT prints goes to OUTPUT too; the exit status is its own, or 123 if the guest did not end it.

# shellcheck source=scripts/package/lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

inside() {
	local system=$1 release=$2 machine kernel
	mount --bind "$system" "$ROOT/mnt"
	mount -t proc proc "$ROOT/proc"
	mount --rbind /dev "$ROOT/dev"
	mount -t tmpfs -o mode=1777 tmpfs "$ROOT/tmp"
	mount -t tmpfs -o mode=755 tmpfs "$ROOT/run"
	# As in vm-host.sh.
	if grep -qwE 'vmx|svm' /proc/cpuinfo && : <>/dev/kvm; then
		machine=(-accel kvm -cpu host)
	else
		machine=(-accel 'tcg,thread=multi' -cpu qemu64)
	fi 2>/dev/null
	for kernel in "/boot/vmlinuz-$release" "/usr/lib/modules/$release/vmlinuz"; do
		[ ! -f "$ROOT/mnt$kernel" ] || break
	done
	chroot "$ROOT" /usr/libexec/virtiofsd --socket-path=/run/vfs --shared-dir=/mnt \
		--cache=always --sandbox=none --log-level=error &
	while [ ! -S "$ROOT/run/vfs" ]; do sleep 0.1; done
	timeout 300 chroot "$ROOT" qemu-system-x86_64 -nodefaults -no-user-config -display none \
		-no-reboot -M q35 "${machine[@]}" -smp 2 -m 2048 \
		-object memory-backend-memfd,id=ram,size=2048M,share=on -numa node,memdev=ram \
		-chardev socket,id=vfs,path=/run/vfs \
		-device vhost-user-fs-pci,chardev=vfs,tag=rootfs,queue-size=1024 \
		-chardev file,id=console,path=/mnt/check/console -serial chardev:console \
		-device virtio-rng-pci -kernel "/mnt$kernel" \
		-append "root=rootfs rootfstype=virtiofs rw console=ttyS0 quiet panic=1 \
systemd.run=/check/run systemd.run_success_action=poweroff-force \
systemd.run_failure_action=poweroff-force"
}
if [ "$1" = --inside ]; then
	inside "$2" "$3"
	exit
fi

system=$1 release=$2 script=$3 output=${4:-/dev/null}
rm -rf "$system/check"
mkdir "$system/check"
cp "$script" "$system/check/script"
printf '#!/bin/sh\nsh /check/script >/check/output 2>&1\necho $? >/check/status\n' >"$system/check/run"
chmod +x "$system/check/run"
setpriv --pdeathsig KILL unshare --mount --pid --fork --kill-child \
	bash "$0" --inside "$system" "$release" </dev/null || true
tee "$output" <"$system/check/output" || true
status=$(cat "$system/check/status" 2>/dev/null || true)
[ -n "$status" ] || tail -n 30 "$system/check/console" >&2
rm -rf "$system/check"
exit "${status:-123}"

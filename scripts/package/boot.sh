#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Boots an installed system with its own kernel and its own systemd, as far as basic.target, runs a
# script there as root, and switches it off. QEMU and virtiofsd are those of the set-up's root.
#
# Usage: boot.sh [--secure-boot] [--mok CERTIFICATE] SYSTEM RELEASE SCRIPT [OUTPUT]
#   SYSTEM is the root directory, which the guest can write to; RELEASE one of its kernels. What
#   SCRIPT prints goes to OUTPUT too; the exit status is its own, or 123 if the guest did not end it.
#   --secure-boot  the firmware is OVMF with Secure Boot and Microsoft's keys. It starts shim, shim
#                  starts GRUB, GRUB starts the kernel: each one checks the signature of the next.
#   --mok          CERTIFICATE (DER) is in the firmware's MokList, as if MokManager had enrolled it.

# shellcheck source=scripts/package/lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

command_line="root=rootfs rootfstype=virtiofs rw console=ttyS0 quiet panic=1 \
systemd.run=/check/run systemd.run_success_action=poweroff-force \
systemd.run_failure_action=poweroff-force"

kernel_of() {
	local kernel
	for kernel in "/boot/vmlinuz-$2" "/usr/lib/modules/$2/vmlinuz"; do
		[ ! -f "$1$kernel" ] || break
	done
	echo "$kernel"
}

# secure_boot SYSTEM RELEASE [CERTIFICATE]: the firmware, its variables, and the disk that it boots.
# The owner's GUID is shim's; nothing looks at it.
secure_boot() {
	local check=$1/check kernel
	kernel=$(kernel_of "$1" "$2")
	mkdir "$check/boot"
	printf "linux /vmlinuz %s\nboot\n" "$command_line" >"$check/boot/grub.cfg"
	cp "$1$kernel" "$check/boot/vmlinuz"
	[ $# -lt 3 ] || cp "$3" "$check/boot/mok.der"
	# shellcheck disable=SC2016
	in_package_root "$PACKAGES/firmware" --mount "$check/boot:/mnt" -- sh -euc 'cd /mnt
		cp /usr/share/OVMF/OVMF_CODE_4M.ms.fd code
		cp /usr/share/OVMF/OVMF_VARS_4M.ms.fd vars
		if [ -e mok.der ]; then
			openssl x509 -inform der -in mok.der -out mok.pem
			virt-fw-vars --inplace vars \
				--add-mok 605dab50-e046-4300-abb6-3dd810dd8b23 mok.pem
		fi
		export MTOOLSRC=/dev/null
		mformat -C -F -T 131072 -i esp ::
		mmd -i esp ::EFI ::EFI/BOOT ::EFI/debian
		mcopy -i esp /usr/lib/shim/shimx64.efi.signed ::EFI/BOOT/BOOTX64.EFI
		mcopy -i esp /usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed ::EFI/BOOT/grubx64.efi
		mcopy -i esp grub.cfg ::EFI/debian/
		mcopy -i esp vmlinuz ::'
}

inside() {
	local system=$1 release=$2 machine q35=q35 start
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
	if [ -d "$ROOT/mnt/check/boot" ]; then
		# Only code in system management mode can write the variables.
		q35=q35,smm=on
		start=(-global 'driver=cfi.pflash01,property=secure,value=on'
			-global ICH9-LPC.disable_s3=1
			-drive 'if=pflash,unit=0,format=raw,readonly=on,file=/mnt/check/boot/code'
			-drive 'if=pflash,unit=1,format=raw,file=/mnt/check/boot/vars'
			-drive 'if=virtio,format=raw,readonly=on,file=/mnt/check/boot/esp')
	else
		start=(-kernel "/mnt$(kernel_of "$ROOT/mnt" "$release")" -append "$command_line")
	fi
	chroot "$ROOT" /usr/libexec/virtiofsd --socket-path=/run/vfs --shared-dir=/mnt \
		--cache=always --sandbox=none --log-level=error &
	while [ ! -S "$ROOT/run/vfs" ]; do sleep 0.1; done
	timeout 900 chroot "$ROOT" qemu-system-x86_64 -nodefaults -no-user-config -display none \
		-no-reboot -M "$q35" "${machine[@]}" -smp 2 -m 2048 \
		-object memory-backend-memfd,id=ram,size=2048M,share=on -numa node,memdev=ram \
		-chardev socket,id=vfs,path=/run/vfs \
		-device vhost-user-fs-pci,chardev=vfs,tag=rootfs,queue-size=1024 \
		-chardev file,id=console,path=/mnt/check/console -serial chardev:console \
		-device virtio-rng-pci "${start[@]}"
}
if [ "$1" = --inside ]; then
	inside "$2" "$3"
	exit
fi

secure='' mok=()
while :; do
	case $1 in
	--secure-boot) secure=1 ;;
	--mok) mok=("$2"); shift ;;
	*) break ;;
	esac
	shift
done
system=$1 release=$2 script=$3 output=${4:-/dev/null}
rm -rf "$system/check"
mkdir "$system/check"
cp "$script" "$system/check/script"
printf '#!/bin/sh\nsh /check/script >/check/output 2>&1\necho $? >/check/status\n' >"$system/check/run"
chmod +x "$system/check/run"
[ -z "$secure" ] || secure_boot "$system" "$release" "${mok[@]}"
setpriv --pdeathsig KILL unshare --mount --pid --fork --kill-child \
	bash "$0" --inside "$system" "$release" </dev/null || true
tee "$output" <"$system/check/output" || true
status=$(cat "$system/check/status" 2>/dev/null || true)
[ -n "$status" ] || tail -n 30 "$system/check/console" >&2
rm -rf "$system/check"
exit "${status:-123}"

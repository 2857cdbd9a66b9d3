#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Tests the packages as a user meets them: in a fresh system of trixie, installed with apt, and booted
# with its own kernels in a virtual machine. It takes the kernels of trixie-backports, about 1 GB to
# download at the first time. The last line is "N passed, N failed", or "..., N skipped".
#
# Usage: check.sh

# shellcheck source=scripts/package/lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

"$TOP/scripts/setup.sh" stock
as_root "$@"
begin=$SECONDS
out=$TOP/build/check-packages
system=$PACKAGES/system
mkdir -p "$out" "$PACKAGES/archives"
rm -f "$out"/*
passed=0 failed=0 skipped=0
# What dkms.conf admits: the newest series of kernels, and the one before it.
series=7.3 old_series=7.2

# ---- for the tests

# test_that NAME COMMAND...: passes if COMMAND does. Its output is in $out/NUMBER.log.
test_that() {
	local name=$1 start=$SECONDS status=0 log
	shift
	log=$out/$(printf %02d $((passed + failed + 1))).log
	echo "== $name" >"$log"
	ticker &
	TICKER=$!
	(set -eu; "$@") </dev/null >>"$log" 2>&1 || status=$?
	stop_ticker
	if [ "$status" -eq 0 ]; then
		passed=$((passed + 1))
		say "ok: $name, $((SECONDS - start)) s"
	else
		failed=$((failed + 1))
		say "FAILED: $name (status $status), the end of ${log#"$TOP/"}:"
		tail -n 25 "$log" | sed 's/^/    /'
	fi
}
# A figure for the documentation.
note() { say "    $*"; }

on_system() {
	in_package_root "$system" --mount "$PACKAGES/archives:/var/cache/apt/archives" -- \
		env DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 "$@"
}
apt() { on_system apt-get -y -o APT::Keep-Downloaded-Packages=true -o Dpkg::Use-Pty=0 "$@"; }
log_of() { cat "$(printf '%s/%02d.log' "$out" $((passed + failed)))"; }
# The newest kernel of a series and a flavour: cloud-amd64, amd64, rt-amd64.
release_of() {
	on_system apt-cache search --names-only "^linux-headers-$1[.][0-9.]*[+]deb13-$2\$" |
		awk '{ print $1 }' | sed 's/^linux-headers-//' | sort -V | tail -n 1
}
has_module() { [ -e "$(echo "$system/lib/modules/$1/updates/dkms/"qemufile.ko*)" ]; }
has_no_module() { [ ! -e "$system/lib/modules/$1/updates/dkms" ] || ! has_module "$1"; }
# boot [OPTION OF boot.sh]... RELEASE SCRIPT
boot() {
	local count=$#
	nice "$TOP/scripts/package/boot.sh" "${@:1:count-2}" "$system" "${@:count-1}"
}

# ---- the tests

build() {
	"$TOP/scripts/package/build.sh" --version "$1"
}
# The module that DKMS installed is loaded, by nobody but the boot.
write_boot_script() {
	cat >"$out/boot.sh" <<'END'
set -eux
uname -r
systemctl is-active systemd-modules-load.service
test "$(cat /sys/module/qemufile/taint)" != ""
modinfo -F filename qemufile | grep -F updates/dkms
udevadm settle
test "$(stat -c '%U %G %a' /dev/qemufile)" = 'root qemufile 660'
systemctl start run-qemufile.mount
test "$(stat -c '%U %G %a' /run/qemufile)" = 'root qemufile 770'
grep ' /run/qemufile qemufile ' /proc/mounts
# A member of the group uses both; others neither.
cat >/tmp/use <<'USE'
set -eu
perl -e 'open(S, "+<", "/dev/qemufile") && syswrite(S, "hello") && sysseek(S, 0, 0) &&
	sysread(S, $text, 5) && $text eq "hello" or die'
echo state >/run/qemufile/a
cp --reflink=always /run/qemufile/a /run/qemufile/b
cmp /run/qemufile/a /run/qemufile/b
USE
setpriv --reuid nobody --regid nogroup --groups qemufile sh /tmp/use
if setpriv --reuid nobody --regid nogroup --clear-groups sh /tmp/use; then exit 1; fi
END
}
boots() {
	write_boot_script
	boot "$1" "$out/boot.sh"
}
# With Secure Boot on, the kernel is locked down.
write_secure_boot_script() {
	cat >"$out/boot.sh" <<'END'
set -eux
test "$(od -An -tu1 -j4 /sys/firmware/efi/efivars/SecureBoot-*)" -eq 1
grep -F '[integrity]' /sys/kernel/security/lockdown
modinfo -F signer qemufile | grep DKMS
END
}
key_is_refused() {
	write_secure_boot_script
	cat >>"$out/boot.sh" <<'END'
systemctl is-failed systemd-modules-load.service
if modprobe qemufile 2>/tmp/error; then exit 1; fi
grep 'Key was rejected by service' /tmp/error
test ! -d /sys/module/qemufile
test ! -e /dev/qemufile
END
	boot --secure-boot "$1" "$out/boot.sh"
}
key_is_enrolled() {
	local script
	write_boot_script
	script=$(cat "$out/boot.sh")
	write_secure_boot_script
	echo "$script" >>"$out/boot.sh"
	boot --secure-boot --mok "$system/var/lib/dkms/mok.pub" "$1" "$out/boot.sh"
}
upgrade_keeps_streams() {
	write_boot_script
	cp "$TOP/build/qemufile-tools_${2}_amd64.deb" "$system/root/tools.deb"
	cat >>"$out/boot.sh" <<'END'
dpkg -i /root/tools.deb
test "$(cat /run/qemufile/a)" = state
END
	boot "$1" "$out/boot.sh"
	rm "$system/root/tools.deb"
}
removal_unloads() {
	write_boot_script
	cat >>"$out/boot.sh" <<'END'
apt-get -y remove qemufile-dkms qemufile-tools
test ! -d /run/qemufile/ || ! grep ' /run/qemufile ' /proc/mounts
test ! -d /sys/module/qemufile
END
	boot "$1" "$out/boot.sh"
}
only_version() {
	on_system dkms status | tee /dev/stderr | grep -v "qemufile/$1" && return 1
	[ "$(ls -d "$system/usr/src/qemufile-"*)" = "$system/usr/src/qemufile-$1" ]
	[ -n "$(find "$system/lib/modules" -name 'qemufile.ko*')" ]
}
is_gone() {
	local left
	left=$(find "$system" -xdev -not -path "$system/root/*" -name '*qemufile*' -print)
	[ -z "$left" ] || { echo "$left"; return 1; }
}
copy_debs() { cp "$TOP/build/qemufile-dkms_$1_all.deb" "$TOP/build/qemufile-tools_$1_amd64.deb" "$system/root/"; }
install_version() {
	local version=$1
	shift
	copy_debs "$version"
	apt install "$@" "/root/qemufile-dkms_${version}_all.deb" "/root/qemufile-tools_${version}_amd64.deb"
}

version=$(sed -n '1s/.*(\(.*\)).*/\1/p' "$TOP/scripts/package/debian/changelog")
next=$version+next

test_that 'the packages are built, and lintian has no error and no warning' build "$version"
make_root base systemd-sysv,udev,kmod,ca-certificates
rm -rf "$system"
cp -a --reflink=auto "$PACKAGES/base" "$system"
test_that 'apt-get update' apt update
cloud=$(release_of "$series" cloud-amd64) rt=$(release_of "$series" rt-amd64)
full=$(release_of "$series" amd64) old=$(release_of "$old_series" cloud-amd64)
[ -n "$cloud" ] || die "trixie-backports has no kernel $series"
kernels=(linux-image-cloud-amd64/trixie-backports linux-headers-cloud-amd64/trixie-backports)
newest=$(on_system apt-cache madison linux-image-cloud-amd64 |
	awk -F' *[|] *' '/trixie-backports/ { print $2; exit }')
case $newest in
"$series".*) ;;
*)
	note "the newest kernel of trixie-backports is $newest: the newest $series is taken by name"
	kernels=("linux-image-$cloud" "linux-headers-$cloud")
	;;
esac

test_that 'one apt command installs a kernel of backports and both packages' \
	install_version "$version" "${kernels[@]}"
log_of | grep -E 'Need to get|After this operation|space will be used' | while read -r line; do note "$line"; done
test_that "$cloud: the module is built" has_module "$cloud"
note "module: $(stat -L -c %s "$system/lib/modules/$cloud/updates/dkms/"*) bytes; subset:" \
	"$(stat -c %s "$system"/var/lib/qemufile-dkms/linux-rust_*) bytes"
note "$(grep -h -E 'elapsed time|^metadata:|^module:' \
	"$system/var/lib/dkms/qemufile/$version/$cloud/x86_64/log/make.log" | tr '\n' ' ')"
test_that "$cloud: it is loaded at boot, and the group can use it" boots "$cloud"

make_firmware
test_that "$cloud: Secure Boot, without the key of DKMS: the module is refused" key_is_refused "$cloud"
test_that "$cloud: Secure Boot, with the key in MokList: it is loaded at boot, and the group can use it" \
	key_is_enrolled "$cloud"

test_that 'a newer package is built' build "$next"
test_that 'the packages are upgraded' install_version "$next"
test_that 'the old module and its source are gone' only_version "$next"
test_that 'an upgrade of qemufile-tools leaves the streams in /run/qemufile' \
	upgrade_keeps_streams "$cloud" "$next"

test_that "two more kernels come ($rt, $full)" apt install --no-install-recommends \
	"linux-image-$rt" "linux-headers-$rt" "linux-image-$full" "linux-headers-$full"
for kernel in "$rt" "$full"; do
	test_that "$kernel: the module is built" has_module "$kernel"
	test_that "$kernel: it is loaded at boot, and the group can use it" boots "$kernel"
done

old_without_source() {
	apt install --no-install-recommends "linux-image-$old" "linux-headers-$old" | tee "$out/apt"
	grep "qemufile: no module for $old: install the package linux-source-$old_series=" "$out/apt"
	has_no_module "$old"
}
if [ -n "$old" ]; then
	test_that "$old without its source: skipped, one sentence, apt goes on" old_without_source
	test_that "$old: its source comes" \
		apt install --no-install-recommends "linux-source-$old_series"
	test_that "$old: the module is built" has_module "$old"
	test_that "$old: it is loaded at boot, and the group can use it" boots "$old"
else
	skipped=$((skipped + 5))
	say "skipped: trixie-backports has no kernel $old_series any more"
fi
new_revision() {
	local ko=$system/lib/modules/$cloud/updates/dkms
	touch "$out/before"
	echo "$series-0" >"$system/var/lib/qemufile-dkms/$cloud.version"
	on_system /usr/libexec/qemufile-dkms/update
	[ -n "$(find "$ko" -name 'qemufile.ko*' -newer "$out/before")" ]
	[ "$(cat "$system/var/lib/qemufile-dkms/$cloud.version")" != "$series-0" ]
}
test_that 'a new revision of the same kernel: built again' new_revision
kernel_goes() {
	# The trees of DKMS in /lib/modules keep no package from being purged.
	apt purge "linux-image-$old" "linux-headers-$old" "linux-base-$old" \
		"linux-source-$old_series"
	apt autoremove
	has_no_module "$old"
	[ -z "$(find "$system/var/lib/qemufile-dkms" -name "*$old_series.*")" ]
	ls "$system/var/lib/qemufile-dkms/linux-rust_$series"*
}
[ -z "$old" ] || test_that "$old goes, and its subset with it" kernel_goes

test_that 'the packages are removed from the running system: unmounted, unloaded' removal_unloads "$cloud"
test_that 'no module is left' test -z "$(find "$system/lib/modules" "$system/usr/src" -name '*qemufile*')"
test_that 'the packages are purged' apt purge qemufile-dkms qemufile-tools
test_that 'no file is left' is_gone

rm -rf "$system"
say "check-packages: finished in $((SECONDS - begin)) s"
say "$passed passed, $failed failed$([ "$skipped" -eq 0 ] || echo ", $skipped skipped")"
[ "$failed" -eq 0 ]

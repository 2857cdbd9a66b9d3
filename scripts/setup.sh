#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Set-up: everything that the build, the virtual machines and the tests need,
# in the cache (see lib.sh), phase by phase. A finished phase leaves a stamp
# that holds a hash of what made it; a phase that was interrupted, or whose
# part of this script changed, is made again. Quiet when there is nothing to do.
#
# Usage: setup.sh [stock|debug|arm64|uml|bench|perf|semver]...      (default: stock)

# shellcheck source=scripts/lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

SUITE=trixie
IMAGE=linux-image-cloud-amd64
HOST_PACKAGES=(mmdebstrap)
ROOT_PACKAGES=(
	# What built Debian's kernel, and what building on it needs
	ca-certificates make gcc-14 gcc g++ gcc-multilib libc6-dev flex bison bc
	libssl-dev libelf-dev pahole python3 perl rsync xz-utils zstd cpio kmod
	rustc cargo rust-src rustfmt rust-clippy bindgen
	# Clang for the debug kernel (Rust with KASAN), coverage and fuzzing
	clang-19 lld-19 llvm-19 libclang-rt-19-dev
	# The virtual machines, and what runs in them
	qemu-system-x86 virtiofsd procps iproute2 socat strace util-linux
	libaio-dev liburing-dev libvirt-daemon libvirt-daemon-driver-qemu libvirt-clients
	# The other machine of Documentation/user/remote.rst: moto is its object store
	openssh-server openssh-client curl python3-moto python3-flask-cors
	# Only for make check: shellcheck, and Sphinx for make htmldocs
	shellcheck python3-sphinx
)
# Installed into the finished root, and only if somebody asks for the phase of that name.
BENCH_PACKAGES=(python3-matplotlib)	# the plots of make bench
PERF_PACKAGES=(linux-perf)	# scripts/bench.sh --profile
CROSS_PACKAGES=(gcc-14-aarch64-linux-gnu qemu-system-arm)	# make check-arm64
# The root of the arm64 machines: what vm-init.sh and the selftests call, and what the
# selftests are linked with.
ARM64_IMAGE=linux-image-cloud-arm64
ARM64_PACKAGES=(base-files bash coreutils dash iproute2 kmod libc-bin mount sed
	util-linux libc6-dev liburing-dev)
# make check-semver. Of crates.io, the newest version that the root's rustc builds: each version reads
# rustdoc's JSON of a few compilers only.
SEMVER_CHECKS=0.42.0

# ---- stamps: what is done, and by which text of this script

hash_of() { sha256sum <<<"$*" | cut -c1-32; }

# wanted PHASE: the hash that PHASE's stamp has when PHASE is up to date. It
# takes in the phase's own text and the hash of the phases that it builds on.
wanted() {
	case $1 in
	root) hash_of "$(declare -f make_root)" "$SUITE ${ROOT_PACKAGES[*]}" ;;
	kernel) hash_of "$(declare -f make_kernel)" "$IMAGE" "$(cat "$TOP/scripts/fetch-kernel.sh")" ;;
	source) hash_of "$(declare -f make_source)" "$(cat "$KERNEL_ENV" 2>/dev/null)" ;;
	metadata) hash_of "$(declare -f make_metadata)" "$(cat "$TOP/scripts/build-metadata.sh")" \
		"${STOCK_COMPILER[*]}" \
		"$(stamped source)" "$(cat "$ROOT/compilers" 2>/dev/null)" ;;
	debug) hash_of "$(declare -f make_debug)" \
		"$(stamped source)" "$(cat "$ROOT/compilers" 2>/dev/null)" \
		"$(cat "$TOP/scripts/build-debug.sh" "$TOP/scripts/debug.config")" ;;
	uml) hash_of "$(declare -f make_uml)" \
		"$(stamped source)" "$(cat "$ROOT/compilers" 2>/dev/null)" \
		"$(cat "$TOP/scripts/build-uml.sh")" ;;
	bench) hash_of "$(declare -f add_packages make_bench)" "$(stamped root)" \
		"${BENCH_PACKAGES[*]}" ;;
	perf) hash_of "$(declare -f add_packages make_perf)" "$(stamped root)" \
		"${PERF_PACKAGES[*]}" ;;
	cross) hash_of "$(declare -f add_packages make_cross)" "$(stamped root)" \
		"${CROSS_PACKAGES[*]}" ;;
	root_arm64) hash_of "$(declare -f make_root_arm64)" "$SUITE ${ARM64_PACKAGES[*]}" ;;
	arm64) hash_of "$(declare -f make_arm64)" "$ARM64_IMAGE ${ARM64_COMPILER[*]}" \
		"$(stamped source)" "$(cat "$ROOT/compilers" 2>/dev/null)" \
		"$(cat "$TOP/scripts/fetch-kernel.sh" "$TOP/scripts/build-metadata.sh")" ;;
	semver) hash_of "$(declare -f make_semver)" "$SEMVER_CHECKS" \
		"$(cat "$ROOT/compilers" 2>/dev/null)" ;;
	esac
}
stamped() { cat "$CACHE/stamps/$1" 2>/dev/null || true; }
done_with() { [ "$(stamped "$1")" = "$(wanted "$1")" ]; }
warm() {
	local phase
	for phase; do done_with "$phase" || return 1; done
}
phase() {
	done_with "$1" && return
	rm -f "$CACHE/stamps/$1"
	# The metadata is inside what a new kernel replaces.
	[ "$1" != kernel ] || rm -f "$CACHE/stamps/metadata"
	"make_$1" || die "set-up stopped in the part '$1'; the whole log is $LOG.
What was finished before is kept: run the same command again to go on."
	wanted "$1" >"$CACHE/stamps/$1.tmp"
	mv "$CACHE/stamps/$1.tmp" "$CACHE/stamps/$1"
}

# ---- host: packages by name, only if they are missing

make_host() {
	local package missing=()
	for package in "${HOST_PACKAGES[@]}"; do
		[ "$(dpkg-query -Wf '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] ||
			missing+=("$package")
	done
	[ ${#missing[@]} -gt 0 ] || return 0
	step "host: apt-get update" apt-get update
	step "host: apt-get install ${missing[*]}" \
		env DEBIAN_FRONTEND=noninteractive \
		apt-get install -y --no-install-recommends "${missing[@]}"
}

# ---- root: trixie with the compilers, in one apt transaction

# Where this machine's own apt has Debian from; nothing before its first update.
apt_mirror() {
	# shellcheck disable=SC2016
	apt-get indextargets --format '$(ORIGIN) $(LABEL) $(COMPONENT) $(REPO_URI)' \
		'Created-By: Packages' |
		awk '/^Debian Debian main / && !seen++ { sub("/$", "", $4); print $4 }'
}

make_root() {
	local mirror option sources=() pockets=("$SUITE" "$SUITE-updates" "$SUITE-backports")
	make_host || return
	mirror=$(apt_mirror)
	if [ -z "$mirror" ]; then
		step "host: apt-get update" apt-get update || return
		mirror=$(apt_mirror)
	fi
	if [ -z "$mirror" ]; then
		warn "error: apt of this machine has no mirror of Debian (component main) in its sources"
		return 1
	fi
	for option in "${pockets[@]}"; do sources+=("deb $mirror $option main"); done
	rm -rf "$ROOT.tmp" || return
	step "root: $SUITE with ${#ROOT_PACKAGES[@]} packages and what they need (a minute or two)" \
		setpriv --pdeathsig KILL unshare --mount --pid --fork --kill-child --mount-proc \
		mmdebstrap --mode=root --variant=minbase \
		--aptopt='APT::Install-Recommends "false"' \
		--aptopt='Acquire::Languages "none"' --aptopt='Acquire::Retries "3"' \
		--dpkgopt='path-exclude=/usr/share/man/*' \
		--dpkgopt='path-exclude=/usr/share/locale/*' \
		--dpkgopt='path-exclude=/usr/share/doc/*' \
		--include="$(IFS=,; echo "${ROOT_PACKAGES[*]}")" \
		"$SUITE" "$ROOT.tmp" "${sources[@]}" || return
	# A root that differs only in other packages leaves the kernels as they are.
	# shellcheck disable=SC2016
	chroot "$ROOT.tmp" dpkg-query -Wf '${Package} ${Version}\n' gcc-14 rustc rust-src \
		bindgen clang-19 lld-19 binutils pahole >"$ROOT.tmp/compilers" || return
	mkdir -p "$ROOT.tmp/kernel" "$ROOT.tmp/usr/lib/modules" || return
	rm -rf "$ROOT.old" || return
	[ ! -e "$ROOT" ] || mv "$ROOT" "$ROOT.old" || return
	mv "$ROOT.tmp" "$ROOT" && rm -rf "$ROOT.old"
}

# ---- kernel: image, modules, headers and source, resolved to one version

make_kernel() {
	local new=$CACHE/kernel/stock.tmp
	rm -rf "$new" && mkdir -p "$new" || return
	step "kernel: the newest $IMAGE of $SUITE-backports, its headers and its source (300 MB)" \
		in_root -- "$TOP/scripts/fetch-kernel.sh" \
		"$IMAGE" "$SUITE-backports" /kernel/stock.tmp || return
	rm -rf "$CACHE/kernel/stock" &&
		mv "$new" "$CACHE/kernel/stock" &&
		mv "$CACHE/kernel/stock/kernel.env" "$KERNEL_ENV"
}

make_source() {
	local new=$CACHE/kernel/source.tmp tar=$CACHE/kernel/stock/source.tar.xz
	if [ ! -e "$tar" ]; then	# unpacked once before, by another script
		rm -f "$CACHE/stamps/kernel" && phase kernel || return
	fi
	load_kernel_env
	rm -rf "$new" && mkdir -p "$new" || return
	step "kernel: unpack the source of $KERNEL_VERSION" \
		in_root -- tar -C /kernel/source.tmp --strip-components=1 -xf \
		/kernel/stock/source.tar.xz || return
	rm -rf "$CACHE/kernel/source" && mv "$new" "$CACHE/kernel/source"
}

make_metadata() {
	load_kernel_env
	step "kernel: rebuild the Rust metadata of $KERNEL_RELEASE (a minute or two)" \
		in_root -- "$TOP/scripts/build-metadata.sh" \
		/kernel/stock /kernel/source "$KERNEL_RELEASE" "${STOCK_COMPILER[@]}" || return
	say "  kernel: $KERNEL_VERSION, $KERNEL_RUSTC: all $(cat "$CACHE/kernel/stock/rust-symbols")" \
		"Rust symbols of Debian's Module.symvers are among the rebuilt ones"
}

make_debug() {
	load_kernel_env
	step "kernel: build the debug kernel from the source of $KERNEL_VERSION (10 minutes and more)" \
		in_root -- nice "$TOP/scripts/build-debug.sh" /kernel/debug /kernel/source
}

make_uml() {
	load_kernel_env
	step "kernel: build User-Mode Linux from the source of $KERNEL_VERSION (5 minutes)" \
		in_root -- nice "$TOP/scripts/build-uml.sh" /kernel/uml /kernel/source
}

# ---- packages on demand

# add_packages PACKAGE...: into the root as it is. A new root is without them, and so
# is its stamp.
add_packages() {
	step "root: install $*" in_root -- sh -c 'apt-get update &&
		DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-upgrade "$@" &&
		apt-get clean' sh "$@"
}

make_bench() { add_packages "${BENCH_PACKAGES[@]}"; }
make_perf() { add_packages "${PERF_PACKAGES[@]}"; }
make_cross() { add_packages "${CROSS_PACKAGES[@]}"; }

# ---- arm64 on demand: the root of its guests, and the kernel

# Unpacked and not configured: no program of arm64 runs on this machine.
make_root_arm64() {
	local new=$CACHE/root-arm64.tmp
	make_host || return
	rm -rf "$new" || return
	step "root: $SUITE for arm64, unpacked: ${#ARM64_PACKAGES[@]} packages and what they need" \
		mmdebstrap --mode=root --variant=extract --architectures=arm64 \
		--aptopt='APT::Install-Recommends "false"' \
		--aptopt='Acquire::Languages "none"' --aptopt='Acquire::Retries "3"' \
		--dpkgopt='path-exclude=/usr/share/man/*' \
		--dpkgopt='path-exclude=/usr/share/locale/*' \
		--dpkgopt='path-exclude=/usr/share/doc/*' \
		--include="$(IFS=,; echo "${ARM64_PACKAGES[*]}")" \
		"$SUITE" "$new" "$ROOT/etc/apt/sources.list" || return
	rm -rf "$CACHE/root-arm64" && mv "$new" "$CACHE/root-arm64"
}

# Of the version of the stock kernel, whose source is here.
make_arm64() {
	local new=$CACHE/kernel/arm64.tmp
	load_kernel_env
	rm -rf "$new" && mkdir -p "$new/lists/partial" || return
	cat >"$new/apt.conf" <<-'END'
	APT::Architecture "arm64";
	APT::Architectures { "arm64"; };
	Dir::State::Lists "/kernel/arm64.tmp/lists";
	END
	step "kernel: $ARM64_IMAGE $KERNEL_VERSION and its headers" \
		in_root -- env APT_CONFIG=/kernel/arm64.tmp/apt.conf "$TOP/scripts/fetch-kernel.sh" \
		"$ARM64_IMAGE" "$KERNEL_SUITE" /kernel/arm64.tmp "$KERNEL_VERSION" || return
	rm -rf "$new/lists" "$new/apt.conf" "$CACHE/kernel/arm64" &&
		mv "$new" "$CACHE/kernel/arm64" || return
	load_kernel_env arm64
	step "kernel: rebuild the Rust metadata of $KERNEL_RELEASE (two minutes or three)" \
		in_root -- "$TOP/scripts/build-metadata.sh" \
		/kernel/arm64 /kernel/source "$KERNEL_RELEASE" "${ARM64_COMPILER[@]}" || return
	say "  kernel: $KERNEL_RELEASE: all $(cat "$CACHE/kernel/arm64/rust-symbols")" \
		"Rust symbols of Debian's Module.symvers are among the rebuilt ones"
}

# Its release profile links for minutes; the checks take a fraction of a second either way.
make_semver() {
	rm -rf "$CACHE/semver" && mkdir -p "$CACHE/semver" "$CACHE/cargo" || return
	give_back "$CACHE/semver"
	step "semver: build cargo-semver-checks $SEMVER_CHECKS (5 minutes and more)" \
		in_root --user --mount "$CACHE/cargo:/cargo" --mount "$CACHE/semver:/semver" -- \
		env CARGO_HOME=/cargo CARGO_TARGET_DIR=/semver/target CARGO_TERM_COLOR=never \
		CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
		CARGO_PROFILE_RELEASE_OPT_LEVEL=1 \
		cargo install --locked --root /semver cargo-semver-checks --version "=$SEMVER_CHECKS" &&
		rm -rf "$CACHE/semver/target"
}

# ---- what is wanted

phases=(root kernel source metadata)
for kernel; do
	case $kernel in
	stock) ;;
	debug | uml | bench | perf | semver) phases+=("$kernel") ;;
	arm64) phases+=(cross root_arm64 arm64) ;;
	*) die "no such kernel: '$kernel' (stock, debug, arm64 or uml)" ;;
	esac
done
! warm "${phases[@]}" || exit 0

mkdir -p "$CACHE"	# as the caller, whose ~/.cache it may be the first in
as_root "$@"
mkdir -p "$CACHE"/{stamps,log,run,cargo,kernel}
give_back "$CACHE/cargo"
LOG=$CACHE/log/setup.log
exec 9>"$CACHE/setup.lock"
if ! flock --nonblock 9; then
	say "set-up: another one is running; waiting for it"
	ticker 9>&- &
	TICKER=$!
	flock 9
	stop_ticker
fi
! warm "${phases[@]}" || exit 0
trap stop_ticker EXIT
trap 'warn "set-up: interrupted; the same command goes on from here"; exit 130' INT
trap 'exit 143' TERM
start=$SECONDS
say "set-up: into $CACHE (needs 6 GB; log: $LOG)"
: >"$LOG"
for part in "${phases[@]}"; do phase "$part"; done
say "set-up: finished in $((SECONDS - start)) s"

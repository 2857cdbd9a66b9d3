#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# DKMS runs this script in its build directory, a copy of /usr/src/qemufile-VERSION: it builds
# qemufile.ko for the kernel RELEASE. Debian's header packages lack the Rust metadata (*.rmeta, the
# proc macros, target.json). The script builds it first, in kdir/, from the header packages and
# 0.8 MB of the kernel's source (below: "subset").
#
# Usage: build.sh RELEASE HEADERS
# Exit status: 0, or 77, which DKMS takes as "skipped": any other would stop apt. The reason is then
# in STATE/RELEASE.skipped, for update.sh to print.
#
# STATE has, for each kernel, RELEASE.version (the package version that the module was built for) or
# RELEASE.skipped; and the subsets.
set -euo pipefail

release=$1 headers=$(realpath "$2")
state=/var/lib/qemufile-dkms
top=$PWD kdir=$PWD/kdir

# The distribution's compilers, whatever else PATH has.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8
unset RUSTC RUSTFLAGS MAKEFLAGS

reason="the build failed; the log is $state/$release.log"
skip() { reason=$*; exit 77; }
finish() {
	local status=$?
	[ "$status" -ne 0 ] || return 0
	echo "qemufile: no module for $release: $reason"
	echo "$reason" >"$state/$release.skipped"
	[ "$status" -eq 77 ] || cp "$top/make.log" "$state/$release.log" || true
	exit 77
}
mkdir -p "$state"
rm -f "$state/$release".*
trap finish EXIT

package_version() {
	# shellcheck disable=SC2016
	dpkg-query -Wf '${source:Version}' "$1" 2>/dev/null || true
}
version=$(package_version "linux-headers-$release")

build_module() {
	make -j"$(nproc)" -C "$1" M="$top" modules
	echo "$version" >"$state/$release.version"
}

# A tree with metadata: a kernel of one's own, or of a distribution that ships it.
if [ -e "$headers/rust/libkernel.rmeta" ]; then
	build_module "$headers"
	exit
fi

# ---- what it takes

wanted=$(sed -n 's/^CONFIG_RUSTC_VERSION_TEXT="\(.*\)"$/\1/p' "$headers/.config")
here=$(rustc --version)
[ "$here" = "$wanted" ] ||
	skip "the kernel was built with $wanted, and this machine has $here"
common=$(sed -n 's|^include \(/.*\)/Makefile$|\1|p' "$headers/Makefile")
if [ -z "$version" ] || [ ! -d "$common" ]; then
	skip "$headers has no Rust metadata, and is not a header package of Debian"
fi
[[ $release =~ ^[0-9]+\.[0-9]+ ]]
series=${BASH_REMATCH[0]}
source=linux-source-$series

# The subset is of the headers' own version, or there is no module. Without CONFIG_MODVERSIONS,
# nothing else says that a struct is the same.
files=(Makefile rust scripts/generate_rust_target.rs scripts/rust_is_available_bindgen_libclang.h
	drivers/base/base.h drivers/android/binder/rust_binder.h
	drivers/android/binder/rust_binder_events.h)
subset=$state/linux-rust_$version.tar.xz
if [ ! -e "$subset" ]; then
	[ "$(package_version "$source")" = "$version" ] ||
		skip "install the package $source=$version"
	echo "taking the subset from $source $version"
	unpacked=$(mktemp -d "$top/subset.XXXXXX")
	tar -xJf "/usr/src/$source.tar.xz" -C "$unpacked" --strip-components=1 --no-same-owner \
		"${files[@]/#/$source/}"
	tar -cJf "$subset.tmp" -C "$unpacked" --exclude=rust/zerocopy/benches \
		--sort=name --owner=root --group=root "${files[@]}"
	mv "$subset.tmp" "$subset"
	rm -r "$unpacked"
fi

# ---- a source tree: the header packages' own, by symbolic links, and the subset

mkdir -p "$kdir"/{src,obj}
cd "$kdir/src"
tar -xJf "$subset" --no-same-owner
cmp Makefile "$common/Makefile" || skip "$subset is not of $common: remove it"
rm Makefile
ln -s "$common"/{Makefile,arch,tools} .
# A real directory, because the bindings include <../../drivers/base/base.h>.
mkdir -p include/uapi
for file in "$common"/include/* "$common"/include/uapi/* "$common"/scripts/*; do
	name=${file#"$common"/}
	[ -e "$name" ] || ln -s "$file" "$name"
done
# In place of the kernel's, which builds what the header packages have.
rm -f scripts/Makefile
cat >scripts/Makefile <<'END'
always-$(CONFIG_RUST) += target.json
filechk_rust_target = $< < include/config/auto.conf
$(obj)/target.json: scripts/generate_rust_target include/config/auto.conf FORCE
	$(call filechk,rust_target)
hostprogs += generate_rust_target
generate_rust_target-rust := y
END

# ---- an object tree, likewise

cd "$kdir/obj"
for name in .config .kernelvariables Module.symvers vmlinux arch include tools; do
	[ ! -e "$headers/$name" ] || ln -s "$headers/$name" "$name"
done
mkdir scripts
for file in "$headers"/scripts/*; do
	[ "${file##*/}" = Makefile ] || ln -s "$file" scripts/
done
printf 'KBUILD_OUTPUT=%s\ninclude %s/Makefile\n' "$kdir/obj" "$kdir/src" >Makefile
ln -s ../src source

# ---- the metadata

start=$SECONDS
# Only these two directories: to configure and to prepare takes the whole source.
# shellcheck disable=SC2016
make -j"$(nproc)" -C "$kdir/src" O="$kdir/obj" need-config=1 may-sync-config= need-compiler=1 \
	run-command KBUILD_RUN_COMMAND='+$(MAKE) $(build)=scripts && $(MAKE) $(build)=rust'
echo "metadata: $((SECONDS - start)) s"

# The kernel and the metadata agree on each Rust symbol by its hash.
awk '$2 ~ /^_R/ { print $2 }' Module.symvers | sort -u >symbols
sed -n 's/.*(\(_R[A-Za-z0-9_]*\)).*/\1/p' rust/exports_*_generated.h | sort -u >rebuilt
missing=$(comm -23 symbols rebuilt | wc -l)
if [ ! -s symbols ] || [ "$missing" -ne 0 ]; then
	skip "the metadata lacks $missing of the kernel's $(wc -l <symbols) Rust symbols"
fi
echo "metadata: has all $(wc -l <symbols) Rust symbols of the kernel"

start=$SECONDS
build_module "$kdir/obj"
echo "module: $((SECONDS - start)) s"

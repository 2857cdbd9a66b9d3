# SPDX-License-Identifier: GPL-2.0
#
# The front door; the work is done by Kbuild and scripts/. `make help` lists what there is.

# Without either, the module is built for the running kernel.
KERNEL ?=
KDIR ?=

# Kbuild's own variables, handed on when they are given.
KBUILD_VARS := $(foreach v,V W C CLIPPY KCFLAGS KRUSTFLAGS INSTALL_MOD_PATH,\
	$(if $(filter-out undefined,$(origin $v)),$v='$($v)'))
OUT := $(if $(CLIPPY),--out clippy-$(KERNEL))

# The scripts run make themselves, in the trixie root: with the variables above and no others. They
# get the signals that make does.
run := unset MAKEFLAGS MFLAGS MAKELEVEL MAKEOVERRIDES; exec

.PHONY: modules modules_install install rust-analyzer clean help setup rustfmt rustfmtcheck \
	demo check check-arm64 kunit soak coverage fuzz bench bench-check htmldocs vm deb check-packages \
	check-semver

modules:

ifneq ($(if $(KDIR),,$(KERNEL)),)
# A kernel of the set-up.
modules modules_install rust-analyzer:
	@$(run) scripts/build.sh $(OUT) $(KERNEL) $@ $(KBUILD_VARS)
else
# With the tools of this machine, and nothing else.
tree = $(or $(KDIR),/lib/modules/$(shell uname -r)/build)
kbuild = $(MAKE) --no-print-directory -C '$(tree)' M='$(CURDIR)' MO='$(CURDIR)/build/custom'
modules rust-analyzer:
	@scripts/kdir-check.sh $(if $(KDIR),'$(KDIR)')
	@mkdir -p build/custom
	@$(kbuild) $@
# Signed if the tree has the key. Kbuild's own depmod wants a System.map, which few trees have.
key = $(shell sed -n 's/^CONFIG_MODULE_SIG_KEY="\(.*\)"/\1/p' '$(tree)/.config' 2>/dev/null)
modules_install:
	@scripts/kdir-check.sh $(if $(KDIR),'$(KDIR)')
	@[ -e build/custom/qemufile.ko ] || { echo "error: nothing is built yet: run 'make' first" >&2; exit 1; }
	@$(kbuild) cmd_depmod=: $(if $(wildcard $(key) $(tree)/$(key)),,CONFIG_MODULE_SIG_ALL=) $@
	@PATH="$$PATH:/usr/sbin:/sbin" depmod -b '$(INSTALL_MOD_PATH)/' "$$(cat '$(tree)/include/config/kernel.release')"
endif

install: modules_install

clean:
	@rm -rf build rust-project.json

setup:
	@$(run) scripts/setup.sh $(or $(KERNEL),stock)

rustfmt:
	@$(run) scripts/rustfmt.sh

rustfmtcheck:
	@$(run) scripts/rustfmt.sh --check

demo:
	@$(run) scripts/build.sh stock modules
	@$(run) scripts/demo.sh

check:
	@$(run) scripts/check.sh $(PARTS)

check-arm64:
	@$(run) scripts/check.sh selftests-arm64

kunit:
	@$(run) scripts/check.sh kunit

soak:
	@$(run) scripts/soak.sh $(SECONDS)

coverage:
	@$(run) scripts/host.sh coverage

fuzz:
	@$(run) scripts/host.sh fuzz $(SECONDS)

# Drawn into the documentation only if all of it is measured.
bench:
	@$(run) scripts/bench.sh --kernel $(or $(KERNEL),stock) $(if $(COUNTED),--counted) \
		$(if $(WORKS),--works '$(WORKS)',--draw) $(if $(ROUNDS),--rounds $(ROUNDS)) \
		$(if $(NOTE),--note '$(NOTE)')

# Instructions, as these are the same on a machine that has other work.
bench-check:
	@$(run) scripts/bench.sh --counted --rounds 3 --name check \
		--compare $(or $(OLD),Documentation/develop/performance/stock-counted.json)

htmldocs:
	@$(run) scripts/docs.sh

vm:
	@$(run) scripts/build.sh $(or $(KERNEL),stock) modules
	@$(run) scripts/vm.sh --kernel $(or $(KERNEL),stock) -- $(CMD)

deb:
	@$(run) scripts/package/build.sh

check-packages:
	@$(run) scripts/package/check.sh

check-semver:
	@$(run) scripts/check.sh semver

help:
	@echo 'make [modules]        build qemufile.ko for the running kernel: build/custom/qemufile.ko'
	@echo 'make install          install it (as root), and run depmod; also modules_install'
	@echo 'make deb              the Debian packages qemufile-dkms and qemufile-tools: build/*.deb'
	@echo
	@echo 'make demo             park the state of a running QEMU in /dev/qemufile, and bring it back'
	@echo 'make check            all tests; PARTS="source selftests-stock ..." for some of them'
	@echo 'make check-arm64      the module and the selftests for arm64, in an emulated machine'
	@echo 'make check-packages   install, upgrade and remove the packages in a fresh system'
	@echo 'make check-semver     whether the crate still has the interface of its last version'
	@echo 'make kunit            the KUnit suites, on the debug kernel'
	@echo 'make soak [SECONDS=600]  races and random calls for long, on the debug kernel'
	@echo 'make coverage         which lines of SizedBuffer and QemuFile the tests on the host reach'
	@echo 'make fuzz [SECONDS=0] SizedBuffer with operations that a fuzzer makes up; 0 is for ever'
	@echo 'make bench            qemufile against memfd, tmpfs, pipes and sockets: tables, JSON, plots'
	@echo '                      KERNEL=stock|uml, COUNTED=1 (instructions), WORKS=REGEX, ROUNDS=9'
	@echo 'make bench-check      whether a ratio is worse than in the documentation, or in OLD=NAME.json'
	@echo 'make htmldocs         the documentation as HTML: build/docs/html/index.html'
	@echo 'make vm CMD=...       run a command in a virtual machine with the module (see scripts/vm.sh --help)'
	@echo 'make setup            only the set-up, into $${XDG_CACHE_HOME:-~/.cache}/qemufile'
	@echo 'make rustfmt          format the Rust code; rustfmtcheck only looks'
	@echo 'make rust-analyzer    write rust-project.json for editors (KERNEL=stock)'
	@echo 'make clean            remove build/'
	@echo
	@echo 'KERNEL=stock|debug|arm64  build for a kernel of the set-up (stock: unmodified Debian): build/$$KERNEL/'
	@echo 'KDIR=DIR              build with that kernel tree, and install for its kernel'
	@echo 'INSTALL_MOD_PATH=DIR  install there'
	@echo 'CLIPPY=1 V=1 W=1      as in the kernel'

# SPDX-License-Identifier: GPL-2.0
#
# The front door; the work is done by Kbuild and scripts/. `make help` lists what there is.

KERNEL ?= stock
KDIR ?=

# Kbuild's own variables, handed on when they are given.
KBUILD_VARS := $(foreach v,V W C CLIPPY KCFLAGS KRUSTFLAGS INSTALL_MOD_PATH,\
	$(if $(filter-out undefined,$(origin $v)),$v='$($v)'))
OUT := $(if $(CLIPPY),--out clippy-$(KERNEL))

# The scripts run make themselves, in the trixie root: with the variables above and no others. They
# get the signals that make does.
run := unset MAKEFLAGS MFLAGS MAKELEVEL MAKEOVERRIDES; exec

.PHONY: modules modules_install rust-analyzer clean help setup rustfmt rustfmtcheck \
	demo check kunit soak coverage fuzz htmldocs vm

ifeq ($(KDIR),)
modules modules_install rust-analyzer:
	@$(run) scripts/build.sh $(OUT) $(KERNEL) $@ $(KBUILD_VARS)
else
modules modules_install rust-analyzer:
	@scripts/kdir-check.sh '$(KDIR)'
	@mkdir -p build/custom
	@$(MAKE) --no-print-directory -C '$(KDIR)' M='$(CURDIR)' MO='$(CURDIR)/build/custom' $@
endif

clean:
	@rm -rf build rust-project.json

setup:
	@$(run) scripts/setup.sh $(KERNEL)

rustfmt:
	@$(run) scripts/rustfmt.sh

rustfmtcheck:
	@$(run) scripts/rustfmt.sh --check

demo: modules
	@$(run) scripts/demo.sh

check:
	@$(run) scripts/check.sh $(PARTS)

kunit:
	@$(run) scripts/check.sh kunit

soak:
	@$(run) scripts/soak.sh $(SECONDS)

coverage:
	@$(run) scripts/host.sh coverage

fuzz:
	@$(run) scripts/host.sh fuzz $(SECONDS)

htmldocs:
	@$(run) scripts/docs.sh

vm: modules
	@$(run) scripts/vm.sh --kernel $(KERNEL) -- $(CMD)

help:
	@echo 'make [modules]        build qemufile.ko for the kernel of the set-up: build/$$KERNEL/qemufile.ko'
	@echo 'make demo             park the state of a running QEMU in /dev/qemufile, and bring it back'
	@echo 'make check            all tests; PARTS="source selftests-stock ..." for some of them'
	@echo 'make kunit            the KUnit suites, on the debug kernel'
	@echo 'make soak [SECONDS=600]  races and random calls for long, on the debug kernel'
	@echo 'make coverage         which lines of SizedBuffer and QemuFile the tests on the host reach'
	@echo 'make fuzz [SECONDS=0] SizedBuffer with operations that a fuzzer makes up; 0 is for ever'
	@echo 'make htmldocs         the documentation as HTML: build/docs/html/index.html'
	@echo 'make vm CMD=...       run a command in a virtual machine with the module (see scripts/vm.sh --help)'
	@echo 'make setup            only the set-up, into $${XDG_CACHE_HOME:-~/.cache}/qemufile'
	@echo 'make rustfmt          format the Rust code; rustfmtcheck only looks'
	@echo 'make rust-analyzer    write rust-project.json for editors'
	@echo 'make modules_install  into INSTALL_MOD_PATH, or this machine if it runs the same kernel'
	@echo 'make clean            remove build/'
	@echo
	@echo 'KERNEL=stock|debug    which kernel of the set-up (default stock: unmodified Debian)'
	@echo 'KDIR=DIR              build with that kernel tree and the tools of this machine: build/custom/'
	@echo 'CLIPPY=1 V=1 W=1      as in the kernel'

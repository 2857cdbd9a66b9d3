# SPDX-License-Identifier: GPL-2.0
#
# What the programs with the kernel's test harness need, on top of common.mk. KSRC
# is the kernel source, or nothing is built. M32=1 makes 32-bit programs.

KSRC ?=

include $(dir $(lastword $(MAKEFILE_LIST)))common.mk

ifeq ($(filter list clean,$(MAKECMDGOALS)),)
ifeq ($(wildcard $(KSRC)/tools/testing/selftests/kselftest_harness.h),)
$(error KSRC='$(KSRC)' is no kernel source: there is no kselftest_harness.h in it)
endif
endif

# As a system directory: the harness's macros are not ours to warn about.
CPPFLAGS += -isystem $(KSRC)/tools/testing/selftests
# Bad arguments are what many of the tests are about.
CFLAGS += -Wno-missing-field-initializers \
	-Wno-stringop-overflow -Wno-stringop-overread -Wno-nonnull -pthread $(if $(M32),-m32)
# A static program has fewer mappings. The harness forks twice a test, which copies and tears down
# each of them: on the debug kernel that takes longer than most tests. Static is a fifth less.
LDFLAGS = -static
LDLIBS =

PROGRAMS := $(patsubst %.c,%,$(wildcard *_test.c))
HEADERS := $(wildcard *.h $(SELFTESTS)*.h)

# run-selftests.sh runs all programs that are there: not those of tests that are gone.
all: | $(OUT)
	@rm -f $(filter-out $(addprefix $(OUT)/,$(PROGRAMS)),$(wildcard $(OUT)/*_test))

$(OUT)/%: %.c $(HEADERS) Makefile $(wildcard $(SELFTESTS)*.mk) $(ABI) | $(OUT)
	$(CC) $(CPPFLAGS) $(CFLAGS) $(LDFLAGS) -o $@ $< $(LDLIBS)

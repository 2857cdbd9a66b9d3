# SPDX-License-Identifier: GPL-2.0
#
# What the Makefiles of the tests, the storm and the examples share. OUT, the
# directory for the programs, is set before this is included.
#
# Why this is not kselftest's lib.mk: see Documentation/develop/testing.rst.

SELFTESTS := $(dir $(lastword $(MAKEFILE_LIST)))
ABI := $(wildcard $(SELFTESTS)../include/uapi/linux/*.h)

CC = gcc
CPPFLAGS = -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -D_TIME_BITS=64 -I$(SELFTESTS)../include/uapi
CFLAGS = -std=gnu11 -O2 -Wall -Wextra -Werror

all:

$(OUT):
	mkdir -p $@

clean:
	rm -rf $(OUT)

.PHONY: all clean
.DELETE_ON_ERROR:

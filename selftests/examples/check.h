/* SPDX-License-Identifier: GPL-2.0 */
/* Ends an example, with a message, where something is not as its page says. */
#ifndef QEMUFILE_EXAMPLES_CHECK_H
#define QEMUFILE_EXAMPLES_CHECK_H

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <linux/qemufile.h>

#define check(what)								\
	do {									\
		if (!(what)) {							\
			fprintf(stderr, "%s:%d: not so: %s (errno: %s)\n",	\
				__FILE__, __LINE__, #what, strerror(errno));	\
			exit(1);						\
		}								\
	} while (0)

/* What fails with this error, and with no other. */
#define fails_with(error, call) ((call) == -1 && errno == (error))

#endif /* QEMUFILE_EXAMPLES_CHECK_H */

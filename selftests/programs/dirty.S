/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The guest of the demo, which also keeps its memory busy: at each tick, before it
 * counts, it looks whether 256 pages hold the number of the last tick, "lost" if
 * one does not, and writes the next into each of them. A page that was sent, then
 * written, and not sent again is found at the first tick on the other side.
 */
#define BUSY	0x00200000
#define BUSY_END 0x00300000

#define incl							\
	movl	counter, %eax;					\
	movl	$BUSY, %edi;					\
busy:	cmpl	%eax, %fs:4(%edi);				\
	jne	lost;						\
	incl	%fs:4(%edi);					\
	addl	$PAGE, %edi;					\
	cmpl	$BUSY_END, %edi;				\
	jb	busy;						\
	incl

#include "../../scripts/demo/counter.S"

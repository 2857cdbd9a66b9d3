/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A guest that reads a disk all the while: a page at a time, from one place after
 * the other, into one of 32 pages after the other. It marks a page before the
 * read, and looks afterwards whether all 32 hold what was last read into them.
 * Each sector of the disk begins with its own number. It prints on COM1 how many
 * reads it has done, a line a read; "lost" if a page does not hold what it should,
 * and "error" if the BIOS cannot read.
 */
#define DISK	0x80
#define SECTORS	4096		/* of the disk */
#define SECTOR	512
#define A_PAGE	(4096 / SECTOR)
#define PAGES	32
#define BUFFER	0x2000		/* the segment of the first page */
#define SEGMENT	0x100		/* from one page to the next */

#include "../../scripts/demo/serial.h"

	.globl _start
_start:	cli
	xorw	%ax, %ax
	movw	%ax, %ds
	movw	%ax, %ss
	movw	$0x7c00, %sp
	serial_init
	sti

read:	call	place
	movl	$-1, %eax		/* what no sector begins with */
	call	each_sector

	movl	counter, %eax
	shll	$3, %eax
	andl	$SECTORS - 1, %eax
	movl	%eax, packet_lba
	movw	%es, packet_segment
	movw	$packet, %si
	movb	$0x42, %ah
	movb	$DISK, %dl
	int	$0x13
	jc	failed

	movw	$PAGES, %cx		/* this page, and those of the reads before */
check:	pushw	%cx
	call	place
	movl	counter, %eax
	shll	$3, %eax
	andl	$SECTORS - 1, %eax
	xorw	%di, %di
	movw	$A_PAGE, %cx
1:	cmpl	%eax, %es:(%di)
	jne	lost
	incl	%eax
	addw	$SECTOR, %di
	loop	1b
	popw	%cx
	decl	counter
	js	2f
	loop	check
2:	movl	total, %eax
	incl	%eax
	movl	%eax, total
	movl	%eax, counter
	call	print_line
	jmp	read

/* es: the page of the read with the number in counter */
place:	movl	counter, %eax
	andw	$PAGES - 1, %ax
	shlw	$8, %ax
	addw	$BUFFER, %ax
	movw	%ax, %es
	ret

/* Stores eax at the start of each sector of the page at es. */
each_sector:
	xorw	%di, %di
	movw	$A_PAGE, %cx
1:	movl	%eax, %es:(%di)
	addw	$SECTOR, %di
	loop	1b
	ret

lost:	movw	$lost_text, %si
	jmp	say
failed:	movw	$failed_text, %si
say:	lodsb
	testb	%al, %al
	jz	stop
	call	putc
	jmp	say
stop:	hlt
	jmp	stop

	serial_routines

lost_text:
	.asciz	"lost\n"
failed_text:
	.asciz	"error\n"
	.balign	4
packet:	.byte	16, 0
	.word	A_PAGE
	.word	0			/* the offset, and the segment, of the memory */
packet_segment:
	.word	0
packet_lba:
	.quad	0
counter: .long	0
total:	.long	0
	.org	510
	.word	0xaa55

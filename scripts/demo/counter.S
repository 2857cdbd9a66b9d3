/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The guest of the demo: a boot sector that marks every page from 1 MiB to
 * 24 MiB, and then, at each tick of the PC's timer (18.2 Hz), looks whether all
 * the marks are still there, adds one to a counter in its memory, and prints it
 * on COM1, a line a number. A page that lost its mark prints "lost" instead.
 */
#define FIRST	0x00100000
#define END	0x01800000
#define PAGE	4096

#include "serial.h"

	.globl _start
_start:	cli
	xorw	%ax, %ax
	movw	%ax, %ds
	movw	%ax, %ss
	movw	$0x7c00, %sp

	inb	$0x92, %al		/* A20 */
	orb	$2, %al
	outb	%al, $0x92
	lgdt	gdtr			/* fs reaches 4 GiB, in real mode too */
	movl	%cr0, %eax
	orb	$1, %al
	movl	%eax, %cr0
	movw	$8, %bx
	movw	%bx, %fs
	andb	$0xfe, %al
	movl	%eax, %cr0

	serial_init

	movl	$FIRST, %edi
mark:	movl	%edi, %fs:(%edi)
	addl	$PAGE, %edi
	cmpl	$END, %edi
	jb	mark

	sti
tick:	hlt
	movl	$FIRST, %edi
look:	cmpl	%edi, %fs:(%edi)
	jne	lost
	addl	$PAGE, %edi
	cmpl	$END, %edi
	jb	look

	incl	counter
	movl	counter, %eax
	call	print_line
	jmp	tick

lost:	movw	$text, %si
1:	lodsb
	testb	%al, %al
	jz	tick
	call	putc
	jmp	1b

	serial_routines

text:	.asciz	"lost\n"
	.balign	8
gdt:	.quad	0, 0x00cf92000000ffff
gdtr:	.word	. - gdt - 1
	.long	gdt
counter: .long	0
	.org	510
	.word	0xaa55

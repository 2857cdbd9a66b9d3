/* SPDX-License-Identifier: GPL-2.0 */
/* The serial port of a boot sector's guest, in real mode. */
#ifndef SERIAL_H
#define SERIAL_H

#define COM1	0x3f8

	.code16

	.macro	serial_init		/* 115200 8N1, FIFO */
	movw	$COM1 + 3, %dx
	movb	$0x80, %al
	outb	%al, %dx
	movw	$COM1, %dx
	movb	$1, %al
	outb	%al, %dx
	incw	%dx
	xorb	%al, %al
	outb	%al, %dx
	movw	$COM1 + 3, %dx
	movb	$3, %al
	outb	%al, %dx
	movw	$COM1 + 2, %dx
	movb	$7, %al
	outb	%al, %dx

	.endm

	.macro	serial_routines
/* Prints the number in eax, and ends the line. */
print_line:
	movl	$10, %ebx
	xorw	%cx, %cx
digit:	xorl	%edx, %edx
	divl	%ebx
	pushw	%dx
	incw	%cx
	testl	%eax, %eax
	jnz	digit
print:	popw	%ax
	addb	$'0', %al
	call	putc
	loop	print
	movb	$'\n', %al
putc:	movb	%al, %ah
	movw	$COM1 + 5, %dx
1:	inb	%dx, %al
	testb	$0x20, %al
	jz	1b
	movw	$COM1, %dx
	movb	%ah, %al
	outb	%al, %dx
	ret
	.endm

#endif

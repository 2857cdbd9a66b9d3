/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The guest of the demo: a boot sector that marks every page from 1 MiB to
 * 24 MiB, and then, at each tick of the PC's timer (18.2 Hz), looks whether all
 * the marks are still there, adds one to a counter in its memory, and prints it
 * on COM1, a line a number. A page that lost its mark prints "lost" instead.
 */
#define COM1	0x3f8
#define FIRST	0x00100000
#define END	0x01800000
#define PAGE	4096

	.code16
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

	movw	$COM1 + 3, %dx		/* 115200 8N1, FIFO */
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
	call	putc
	jmp	tick

lost:	movw	$text, %si
1:	lodsb
	testb	%al, %al
	jz	tick
	call	putc
	jmp	1b

putc:	movb	%al, %ah
	movw	$COM1 + 5, %dx
1:	inb	%dx, %al
	testb	$0x20, %al
	jz	1b
	movw	$COM1, %dx
	movb	%ah, %al
	outb	%al, %dx
	ret

text:	.asciz	"lost\n"
	.balign	8
gdt:	.quad	0, 0x00cf92000000ffff
gdtr:	.word	. - gdt - 1
	.long	gdt
counter: .long	0
	.org	510
	.word	0xaa55

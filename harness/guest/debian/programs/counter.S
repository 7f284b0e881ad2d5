/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The firmware, and all there is, of the machine in the machine: at each fourth tick of
 * its timer it takes a step, looks through its memory, and says on its serial port how far
 * it is: the number of the step, a sum that follows from it, and words that are wrong.
 */
	.code16
	.set	SERIAL, 0x3f8
	.set	WORDS, 512
	.set	FACTOR, 1664525
	.set	SUMMAND, 1013904223
	.globl	start
start:
	cli
	cld
	xor	%ax, %ax
	mov	%ax, %ds
	mov	%ax, %ss
	mov	$0x7000, %sp
	/* The vector of the timer, once the controller is told to begin at 8. */
	movw	$tick, 8 * 4
	movw	$0xf000, 8 * 4 + 2
	mov	$0x11, %al
	out	%al, $0x20
	mov	$8, %al
	out	%al, $0x21
	mov	$4, %al
	out	%al, $0x21
	mov	$1, %al
	out	%al, $0x21
	mov	$0xfe, %al
	out	%al, $0x21
	/* 18.2 times a second. */
	mov	$0x36, %al
	out	%al, $0x43
	xor	%al, %al
	out	%al, $0x40
	out	%al, $0x40
	/* The memory at 64 KiB holds its own addresses, turned over. */
	mov	$0x1000, %ax
	mov	%ax, %es
	xor	%di, %di
	mov	$WORDS, %cx
fill:
	mov	%di, %ax
	not	%ax
	stosw
	loop	fill
	xor	%ebx, %ebx
	xor	%ebp, %ebp
step:
	/* The fourth tick. */
	sti
	hlt
	hlt
	hlt
	hlt
	inc	%ebx
	imul	$FACTOR, %ebp, %ebp
	add	$SUMMAND, %ebp
	xor	%esi, %esi
	xor	%di, %di
	mov	$WORDS, %cx
look:
	mov	%di, %ax
	not	%ax
	scasw
	je	right
	inc	%esi
right:
	loop	look
	mov	%ebx, %eax
	call	number
	mov	%ebp, %eax
	call	number
	mov	%esi, %eax
	call	number
	mov	$'\n', %al
	call	put
	jmp	step

/* Eight digits of EAX, and a space. */
number:
	mov	$8, %cx
digit:
	rol	$4, %eax
	push	%eax
	and	$15, %al
	add	$'0', %al
	cmp	$'9', %al
	jbe	decimal
	add	$'a' - '9' - 1, %al
decimal:
	call	put
	pop	%eax
	loop	digit
	mov	$' ', %al
put:
	push	%dx
	push	%ax
	mov	$SERIAL + 5, %dx
wait:
	in	%dx, %al
	test	$0x20, %al
	jz	wait
	pop	%ax
	mov	$SERIAL, %dx
	out	%al, %dx
	pop	%dx
	ret

tick:
	push	%ax
	mov	$0x20, %al
	out	%al, $0x20
	pop	%ax
	iret

	/* Where a processor begins. */
	.org	0xfff0
	ljmp	$0xf000, $start
	.org	0x10000

; an unrolled loop and its alignment
	jne L0
	nop
	push rbp
	push rbp
	add rax, 8
	pop rbp
	ret
	pop rbp
	push rbp
L9:
	jne L5
	ret
	push rbp
	ret
	mov rax, rbx
	mov rax, rbx
	add rax, 8
	pop rbp
	add rax, 8
	jne L9
	mov rax, rbx
	push rbp
	push rbp
	ret
	jne L12
	pop rbp
	ret
	nop
L28:
	add rax, 8
	pop rbp
	cmp rax, 0
	pop rbp
	ret
	add rax, 8
	nop
	nop
	pop rbp
	add rax, 8
	mov rax, rbx
	mov rax, rbx
	push rbp
	jne L21
	jne L21
	push rbp
	add rax, 8
	jne L23
	cmp rax, 0
L48:
	pop rbp
	push rbp
	push rbp
	pop rbp
	add rax, 8
	push rbp
	jne L27
L56:
	add rax, 8
	pop rbp
	mov rax, rbx
	add rax, 8
	cmp rax, 0
	ret
	add rax, 8
	pop rbp
	pop rbp
	add rax, 8
L67:
	nop
	mov rax, rbx
	mov rax, rbx
	ret
	nop
	add rax, 8
	pop rbp
	add rax, 8
	mov rax, rbx
	cmp rax, 0
	jne L39
	pop rbp
L80:
	cmp rax, 0
	push rbp
	jne L41
	push rbp
	jne L42
	nop
	pop rbp
L88:
	mov rax, rbx
	mov rax, rbx
	cmp rax, 0
	jne L46
	nop
	push rbp
	add rax, 8
	cmp rax, 0
	nop
	nop
	jne L49
L100:
L101:
	jne L51
	cmp rax, 0
L104:
	pop rbp
	push rbp
	jne L53
	push rbp
	jne L54
	ret
	ret
	nop
	jne L56
	jne L57
	push rbp
	nop
	push rbp
L118:
	add rax, 8
	pop rbp
	jne L60
	push rbp
	nop
	nop
	cmp rax, 0
	push rbp
L127:
L128:
	add rax, 8
	add rax, 8
	mov rax, rbx
	mov rax, rbx
	ret
	add rax, 8
	nop
	jne L68
	pop rbp
	nop
	pop rbp
	nop
	nop
	nop
	nop
	nop
	nop
	nop
	nop
	nop
	nop
	nop
	nop
	nop
	nop
	nop

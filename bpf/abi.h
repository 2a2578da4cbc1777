/* SPDX-License-Identifier: GPL-2.0-only */
/* How each architecture enters the kernel: which ABI a call is of, and where its arguments are. */
#ifndef UIDTRACED_ABI_H
#define UIDTRACED_ABI_H

#include "vmlinux.h"
#include "event.h"
#include "task.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#define NO_ABI 0xffff

#if defined(__TARGET_ARCH_x86)

#define X32_BIT 0x40000000 /* __X32_SYSCALL_BIT, arch/x86/include/uapi/asm/unistd.h */
#define TS_COMPAT 0x0002   /* arch/x86/include/asm/thread_info.h: inside a 32-bit system call */
#define NR_SOCKETCALL 102  /* arch/x86/entry/syscalls/syscall_32.tbl */
#define NR_IPC 117
/* a bit for each call that they make: include/uapi/linux/net.h and ipc.h */
#define SOCKETCALLS 0x001ffffe
#define IPC_CALLS 0x01e0781e

static __always_inline __u64 nr_of(__u64 id)
{
	return id & ~(__u64)X32_BIT;
}

/* TS_COMPAT and not the code segment: 64-bit code may well use int 0x80 */
static __always_inline __u32 abi_of(struct task_struct *task, __u64 id)
{
	if (LOAD(task, thread_info.status) & TS_COMPAT)
		return id & X32_BIT ? NO_ABI : UIDTRACED_I386;
	return id & X32_BIT ? UIDTRACED_X32 : UIDTRACED_X86_64;
}

static __always_inline void read_args(const struct pt_regs *regs, __u32 abi, __u64 *args)
{
	if (abi == UIDTRACED_I386) {
		args[0] = (__u32)regs->bx;
		args[1] = (__u32)regs->cx;
		args[2] = (__u32)regs->dx;
		args[3] = (__u32)regs->si;
		args[4] = (__u32)regs->di;
		args[5] = (__u32)regs->bp;
		return;
	}
	args[0] = regs->di;
	args[1] = regs->si;
	args[2] = regs->dx;
	args[3] = regs->r10;
	args[4] = regs->r8;
	args[5] = regs->r9;
}

/* The number of the call that nr makes, its own for those that make no other. */
static __always_inline __u32 inner_nr(const struct pt_regs *regs, __u32 abi, __u32 nr)
{
	__u32 call, calls = SOCKETCALLS, first = UIDTRACED_SOCKETCALL;

	if (abi != UIDTRACED_I386 || (nr != NR_SOCKETCALL && nr != NR_IPC))
		return nr;
	call = regs->bx;
	if (nr == NR_IPC) {
		call &= 0xffff; /* above is a version */
		calls = IPC_CALLS;
		first = UIDTRACED_IPC;
	}
	if (call > 31 || !(calls >> call & 1))
		return nr;
	barrier_var(call); /* else clang leaves out the mask, which old verifiers need */
	return first + (call & 31);
}

#elif defined(__TARGET_ARCH_arm64)

#define TIF_32BIT 22 /* arch/arm64/include/asm/thread_info.h */

static __always_inline __u64 nr_of(__u64 id)
{
	return id;
}

static __always_inline __u32 abi_of(struct task_struct *task, __u64 id)
{
	return LOAD(task, thread_info.flags) >> TIF_32BIT & 1 ? UIDTRACED_ARM : UIDTRACED_ARM64;
}

static __always_inline void read_args(const struct pt_regs *regs, __u32 abi, __u64 *args)
{
	__u64 mask = abi == UIDTRACED_ARM ? 0xffffffff : ~0ULL;

	args[0] = regs->orig_x0 & mask;
	args[1] = regs->regs[1] & mask;
	args[2] = regs->regs[2] & mask;
	args[3] = regs->regs[3] & mask;
	args[4] = regs->regs[4] & mask;
	args[5] = regs->regs[5] & mask;
}

/* 32-bit programs of the EABI have neither socketcall nor ipc */
static __always_inline __u32 inner_nr(const struct pt_regs *regs, __u32 abi, __u32 nr)
{
	return nr;
}

#endif
#endif

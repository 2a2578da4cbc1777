/* SPDX-License-Identifier: GPL-2.0-only */
/* How each architecture enters the kernel: which ABI a call is of, and where its arguments are. */
#ifndef UIDTRACED_ABI_H
#define UIDTRACED_ABI_H

#include "vmlinux.h"
#include "event.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#define NO_ABI 0xffff

#if defined(__TARGET_ARCH_x86)

#define X32_BIT 0x40000000 /* __X32_SYSCALL_BIT, arch/x86/include/uapi/asm/unistd.h */
#define TS_COMPAT 0x0002   /* arch/x86/include/asm/thread_info.h: inside a 32-bit system call */

static __always_inline __u64 nr_of(__u64 id)
{
	return id & ~(__u64)X32_BIT;
}

/* TS_COMPAT and not the code segment: 64-bit code may well use int 0x80 */
static __always_inline __u32 abi_of(struct task_struct *task, __u64 id)
{
	if (BPF_CORE_READ(task, thread_info.status) & TS_COMPAT)
		return id & X32_BIT ? NO_ABI : UIDTRACED_I386;
	return id & X32_BIT ? UIDTRACED_X32 : UIDTRACED_X86_64;
}

static __always_inline void read_args(const struct pt_regs *regs, __u32 abi, __u64 *args)
{
	struct pt_regs r = {};

	bpf_probe_read_kernel(&r, sizeof(r), regs);
	if (abi == UIDTRACED_I386) {
		args[0] = (__u32)r.bx;
		args[1] = (__u32)r.cx;
		args[2] = (__u32)r.dx;
		args[3] = (__u32)r.si;
		args[4] = (__u32)r.di;
		args[5] = (__u32)r.bp;
		return;
	}
	args[0] = r.di;
	args[1] = r.si;
	args[2] = r.dx;
	args[3] = r.r10;
	args[4] = r.r8;
	args[5] = r.r9;
}

#elif defined(__TARGET_ARCH_arm64)

#define TIF_32BIT 22 /* arch/arm64/include/asm/thread_info.h */

static __always_inline __u64 nr_of(__u64 id)
{
	return id;
}

static __always_inline __u32 abi_of(struct task_struct *task, __u64 id)
{
	return BPF_CORE_READ(task, thread_info.flags) >> TIF_32BIT & 1 ? UIDTRACED_ARM
								       : UIDTRACED_ARM64;
}

static __always_inline void read_args(const struct pt_regs *regs, __u32 abi, __u64 *args)
{
	struct pt_regs r = {};
	__u64 mask = abi == UIDTRACED_ARM ? 0xffffffff : ~0ULL;

	bpf_probe_read_kernel(&r, sizeof(r), regs);
	args[0] = r.orig_x0 & mask;
	args[1] = r.regs[1] & mask;
	args[2] = r.regs[2] & mask;
	args[3] = r.regs[3] & mask;
	args[4] = r.regs[4] & mask;
	args[5] = r.regs[5] & mask;
}

#endif
#endif

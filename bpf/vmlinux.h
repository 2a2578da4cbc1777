/* SPDX-License-Identifier: GPL-2.0-only */
/* The few kernel types that the program reads; CO-RE finds the real offsets at load time. */
#ifndef UIDTRACED_VMLINUX_H
#define UIDTRACED_VMLINUX_H

#include <linux/bpf.h>
#include <linux/types.h>

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

typedef struct {
	__u32 val;
} kuid_t;

struct thread_info {
	unsigned long flags;
	__u32 status;
};

struct cred {
	kuid_t uid;
	kuid_t euid;
};

struct ns_common {
	unsigned int inum;
};

struct pid_namespace {
	struct ns_common ns;
};

struct upid {
	int nr;
	struct pid_namespace *ns;
};

struct pid {
	unsigned int level;
	struct upid numbers[1]; /* level + 1 of them */
};

struct qstr {
	__u32 hash;
	const unsigned char *name;
};

struct hlist_bl_node {
	struct hlist_bl_node **pprev;
};

struct dentry {
	struct hlist_bl_node d_hash;
	struct dentry *d_parent;
	struct qstr d_name;
};

struct vfsmount {
	struct dentry *mnt_root;
};

struct mount {
	struct mount *mnt_parent;
	struct dentry *mnt_mountpoint;
	struct vfsmount mnt;
};

struct path {
	struct vfsmount *mnt;
	struct dentry *dentry;
};

struct file {
	struct path f_path;
};

struct mm_struct {
	struct file *exe_file;
};

struct kernfs_node {
	__u64 id;
};

struct cgroup {
	struct kernfs_node *kn;
};

struct css_set {
	struct cgroup *dfl_cgrp;
};

struct task_struct {
	struct thread_info thread_info;
	int pid;
	int tgid;
	struct mm_struct *mm;
	struct task_struct *real_parent;
	struct task_struct *group_leader;
	struct pid *thread_pid;
	const struct cred *cred;
	char comm[16];
	struct css_set *cgroups;
	kuid_t loginuid;
};

#pragma clang attribute pop

/* the user-visible part of pt_regs never changes: arch/x86/include/uapi/asm/ptrace.h */
#if defined(__TARGET_ARCH_x86)
struct pt_regs {
	unsigned long r15, r14, r13, r12, bp, bx, r11, r10, r9, r8;
	unsigned long ax, cx, dx, si, di, orig_ax;
};
#elif defined(__TARGET_ARCH_arm64)
/* arch/arm64/include/asm/ptrace.h: user_pt_regs, then orig_x0 */
struct pt_regs {
	__u64 regs[31];
	__u64 sp, pc, pstate, orig_x0;
};
#else
#error "no system-call convention for this architecture"
#endif

#endif

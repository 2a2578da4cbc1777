/* SPDX-License-Identifier: GPL-2.0-only */
/* Tells which program a task runs: its path is walked once, and kept for user space to read. */
#ifndef UIDTRACED_EXE_H
#define UIDTRACED_EXE_H

#include "vmlinux.h"
#include "event.h"
#include "data.h"
#include "task.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <stdbool.h>

#define MAX_EXES 4096
#define RECENT_EXES 256
#define MAX_STEPS 40 /* names and mounts on the way up */
#define EXE_NAME_MAX 256

/* by what exe_of makes of a file and its place; who ran nothing for longest makes room */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, MAX_EXES);
	__type(key, __u64);
	__type(value, struct exe);
} exes SEC(".maps");

static __always_inline struct mount *mount_of(struct vfsmount *mnt)
{
	return (void *)mnt - bpf_core_field_offset(struct mount, mnt);
}

/*
 * From the file, whose place is in this cpu's workspace, up to the root of its mount namespace, as
 * d_path() of fs/d_path.c goes. Not static, as put_string() of data.h.
 */
__noinline int walk(__u32 marks)
{
	struct workspace *w = workspace();
	struct dentry *dentry, *parent, *root;
	struct mount *above, *mount;
	const unsigned char *name;
	struct exe *exe;
	__u32 at;
	long got;
	int i;

	if (!w)
		return 0;
	exe = (void *)w->data; /* nothing else is there yet */
	exe->marks = marks;
	exe->length = 0;
	dentry = (void *)w->place.dentry;
	mount = mount_of((void *)w->place.mnt);
	root = BPF_CORE_READ(mount, mnt.mnt_root);
	/* from memory: a number that the verifier knew to be 0 would be one more way to follow */
	at = *(volatile __u32 *)&exe->length & (UIDTRACED_EXE_MAX - 1);
	for (i = 0; i < MAX_STEPS; i++) {
		if (dentry == root) {
			above = BPF_CORE_READ(mount, mnt_parent);
			if (above == mount)
				break;
			dentry = BPF_CORE_READ(mount, mnt_mountpoint);
			mount = above;
			root = BPF_CORE_READ(mount, mnt.mnt_root);
			continue;
		}
		parent = BPF_CORE_READ(dentry, d_parent);
		if (parent == dentry && at)
			break; /* its file system was unmounted lazily */
		name = BPF_CORE_READ(dentry, d_name.name);
		got = bpf_probe_read_kernel_str(exe->names + at, EXE_NAME_MAX, name);
		if (got < 0 || at + got > UIDTRACED_EXE_MAX - EXE_NAME_MAX) {
			exe->marks |= UIDTRACED_M_TRUNCATED;
			break;
		}
		at = (at + got) & (UIDTRACED_EXE_MAX - 1);
		if (parent == dentry)
			break; /* a memfd has a name and no place */
		dentry = parent;
	}
	if (i == MAX_STEPS)
		exe->marks |= UIDTRACED_M_TRUNCATED;
	exe->length = at;
	return 0;
}

static __always_inline __u64 mixed(__u64 sum, __u64 more)
{
	sum = (sum ^ more) * 0x9e3779b97f4a7c15ULL; /* 2^64 by the golden ratio */
	return sum ^ sum >> 32;
}

/*
 * Numbers that are in exes, each where its low bits say: most look-ups end here. It is so small
 * that it forgets a number long before exes does.
 */
__u64 recent_exes[RECENT_EXES];

/*
 * The number under which exes has the path of the program that the task runs; 0 for none. It is
 * another one where the file, its directory or its mount is, where it is renamed or deleted.
 */
static __always_inline __u64 exe_of(struct workspace *w, struct task_struct *task)
{
	struct mm_struct *mm = LOAD(task, mm);
	struct file *file = mm ? LOAD(mm, exe_file) : NULL;
	struct dentry *dentry, *parent;
	struct vfsmount *mnt;
	bool deleted;
	__u64 key, *recent;

	if (!file)
		return 0;
	mnt = LOAD(file, f_path.mnt);
	dentry = LOAD(file, f_path.dentry);
	parent = LOAD(dentry, d_parent);
	/* d_unlinked() of include/linux/dcache.h */
	deleted = !LOAD(dentry, d_hash.pprev);
	/* in memory they are numbers, and no longer pointers, with which nobody may calculate */
	w->place.mnt = (__u64)mnt;
	w->place.dentry = (__u64)dentry;
	w->place.parent = (__u64)parent;
	key = mixed(w->place.mnt + deleted, w->place.dentry);
	key = mixed(key, w->place.parent);
	key = mixed(key, (__u64)LOAD(dentry, d_name.hash) << 32 | LOAD(parent, d_name.hash)) ?: 1;
	recent = &recent_exes[key % RECENT_EXES];
	if (*recent == key)
		return key;
	if (!bpf_map_lookup_elem(&exes, &key)) {
		walk(deleted ? UIDTRACED_M_DELETED : 0);
		bpf_map_update_elem(&exes, &key, w->data, BPF_ANY);
	}
	*recent = key;
	return key;
}

#endif

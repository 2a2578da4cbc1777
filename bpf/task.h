/* SPDX-License-Identifier: GPL-2.0-only */
/* Reads what the kernel knows of the task that makes the call. */
#ifndef UIDTRACED_TASK_H
#define UIDTRACED_TASK_H

#include "vmlinux.h"
#include "event.h"
#include "control.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <stdbool.h>

#define NO_UID 0xffffffff /* (uid_t)-1: never a user */

/*
 * From 5.11 the kernel tells of which type the current task's pointer is, and what it leads to can
 * be had by plain loads in place of calls to copy it; the verifier drops the way that is not taken.
 */
#define TYPED bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_get_current_task_btf)
#define LOAD(pointer, member) (TYPED ? (pointer)->member : BPF_CORE_READ(pointer, member))

static __always_inline struct task_struct *current_task(void)
{
	return TYPED ? bpf_get_current_task_btf() : (void *)bpf_get_current_task();
}

static __always_inline __u32 uid_of(struct task_struct *task)
{
	const struct cred *cred = LOAD(task, cred);

	return LOAD(cred, uid.val);
}

static __always_inline __u32 euid_of(struct task_struct *task)
{
	const struct cred *cred = LOAD(task, cred);

	return LOAD(cred, euid.val);
}

static __always_inline __u32 loginuid_of(struct task_struct *task)
{
	return bpf_core_field_exists(task->loginuid) ? LOAD(task, loginuid.val) : NO_UID;
}

/* as bpf_get_current_cgroup_id() */
static __always_inline __u64 cgroup_of(struct task_struct *task)
{
	return TYPED ? task->cgroups->dfl_cgrp->kn->id : bpf_get_current_cgroup_id();
}

/* as bpf_get_current_comm(), but behind the NUL there may be what was there before */
static __always_inline void read_comm(struct task_struct *task, __u8 *comm)
{
	if (TYPED) {
		((__u64 *)comm)[0] = *(__u64 *)&task->comm[0];
		((__u64 *)comm)[1] = *(__u64 *)&task->comm[8];
	} else {
		bpf_get_current_comm(comm, UIDTRACED_COMM_LEN);
	}
}

static __always_inline int read_upid(struct upid *upid, struct pid *pid, __u32 level)
{
	if (level > 32) /* MAX_PID_NS_LEVEL, include/linux/pid_namespace.h */
		return -1;
	return bpf_core_read(upid, sizeof(*upid),
			     (void *)pid + bpf_core_field_offset(struct pid, numbers) +
				     level * bpf_core_type_size(struct upid));
}

/* as the daemon's pid namespace numbers the task; 0 where it does not */
static __always_inline __u32 pid_in_ns(struct task_struct *task, __u32 initial)
{
	__u32 level = control.pidns_level;
	struct upid upid;
	struct pid *pid;

	if (!level)
		return initial;
	pid = BPF_CORE_READ(task, thread_pid);
	if (BPF_CORE_READ(pid, level) < level || read_upid(&upid, pid, level))
		return 0;
	return BPF_CORE_READ(upid.ns, ns.inum) == control.pidns_inum ? upid.nr : 0;
}

/* never trace the tracer: writing an event must not make one */
static __always_inline bool is_tracer(struct task_struct *task, __u32 *pid)
{
	__u32 tgid = LOAD(task, tgid);

	if (tgid == control.self_tgid)
		return true;
	*pid = pid_in_ns(LOAD(task, group_leader), tgid);
	return *pid && *pid == control.journal_pid;
}

#endif

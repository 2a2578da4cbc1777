// SPDX-License-Identifier: GPL-2.0-only
/* Logs the system calls that the rule set of the calling user names. */
#include "vmlinux.h"
#include "event.h"
#include "abi.h"
#include "control.h"
#include "data.h"
#include "exe.h"
#include "passage.h"
#include "rules.h"
#include "send.h"
#include "task.h"
#include "uring.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <stdbool.h>

/* user space's own, of each uid, kept here so that they outlive a daemon */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_COUNTED_UIDS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct account);
} accounts SEC(".maps");

/* all but the arguments, and what they point to */
static __always_inline void fill(struct workspace *w, struct task_struct *task, __u32 pid)
{
	struct task_struct *parent = LOAD(task, real_parent);
	__u32 tid = LOAD(task, pid), tgid = LOAD(task, tgid), parent_tgid = LOAD(parent, tgid);

	w->e.boot_ns = bpf_ktime_get_boot_ns();
	w->e.ret = 0;
	w->e.duration_ns = 0;
	w->e.cgroup = cgroup_of(task);
	w->e.loginuid = loginuid_of(task);
	/* a task of another pid namespace has no number in ours: the initial one's must do */
	w->e.pid = pid ?: tgid;
	w->e.tid = pid_in_ns(task, tid) ?: tid;
	w->e.ppid = pid_in_ns(LOAD(parent, group_leader), parent_tgid) ?: parent_tgid;
	read_comm(task, w->e.comm);
	w->e.exe = exe_of(w, task);
	w->unread = 0;
	w->addr_room = 0;
	w->e.data_bytes = 0;
}

/* Begin the event of a match, if it may come to one. */
static __always_inline struct workspace *begin(struct counters *counters, struct finding *f,
					       bool for_exit)
{
	__u32 zero = 0;
	struct workspace *w = bpf_map_lookup_elem(&workspaces, &zero);

	if (!w) /* cannot be: the array is whole */
		return NULL;
	if (!for_exit && !is_due(counters, f->rule.action, f->rule.limit, f->payer))
		return NULL;
	w->action = f->rule.action;
	w->limit = f->rule.limit;
	w->payer = f->payer;
	w->e.uid = f->caller.uid;
	w->e.revision = f->rule.revision;
	w->e.nr = f->call.nr;
	w->e.abi = f->call.abi;
	return w;
}

/* Send the event now, or once what key stands for is over. */
static __always_inline void send_or_keep(struct workspace *w, struct counters *counters,
					 bool for_exit, __u64 key)
{
	if (!for_exit)
		send(w, counters, UIDTRACED_ENTERED);
	else if ((!key || !keep(w, key)) && is_due(counters, w->action, w->limit, w->payer))
		send(w, counters, UIDTRACED_UNKNOWN); /* better without a result than not at all */
}

/* Tell the daemon of a call of bpf(2), without which nobody can change its maps. */
static __always_inline void note_bpf(struct task_struct *task)
{
	if (LOAD(task, tgid) == control.self_tgid)
		__sync_fetch_and_add((__u64 *)&control.own_bpf, 1);
	else
		__sync_fetch_and_add((__u64 *)&control.others_bpf, 1);
}

/* tp_btf, not raw_tp: the registers are plain loads */
SEC("tp_btf/sys_enter")
int on_sys_enter(__u64 *ctx)
{
	const struct pt_regs *regs = (void *)ctx[0];
	__u64 number = ctx[1], nr = nr_of(number);
	struct task_struct *task;
	struct counters *counters;
	struct workspace *w;
	struct finding *f;
	struct call call;
	__u32 abi, pid = 0;
	bool for_exit;
	__u8 wanted;

	/* most calls end here: no look-up for what nobody traces (-1, a skipped call, is huge) */
	if (nr >= UIDTRACED_NR_MAX || !(wanted = control.wanted[nr]))
		return 0;
	if (control.generation != generation)
		return 0;
	task = current_task();
	if (wanted & UIDTRACED_W_BPF)
		note_bpf(task);
	abi = abi_of(task, number);
	if (abi > UIDTRACED_ARM || !(wanted >> abi & 1))
		return 0;
	nr = inner_nr(regs, abi, nr);
	if (nr >= UIDTRACED_NR_MAX && !(control.wanted[nr] >> abi & 1))
		return 0;

	call.nr = nr;
	call.abi = abi;
	f = find_rule(&call, task, NULL, uid_of(task));
	if (!f || !f->rule.action || is_tracer(task, &pid))
		return 0;
	counters = counters_of(f->caller.uid);
	if (!counters)
		return 0; /* cannot be: user space makes NO_UID's */
	for_exit = is_for_exit(f->rule.action);
	w = begin(counters, f, for_exit);
	if (!w)
		return 0;
	fill(w, task, pid);
	w->e.via = 0;
	w->e.euid = euid_of(task);
	read_args(regs, abi, w->e.args);
	if (w->e.nr >= UIDTRACED_NR_MAX && !read_inner_args(w))
		w->e.via = UIDTRACED_V_UNREAD;
	else
		read_data(w, ~0U, false);
	send_or_keep(w, counters, for_exit, (__u64)task);
	return 0;
}

/*
 * A request of io_uring was taken over, by its submitter or by the ring's kernel thread, which has
 * the ring's credentials. From 6.4; before, from 6.0, the tracepoint is io_uring_submit_sqe.
 */
SEC("raw_tp/io_uring_submit_req")
int on_uring_submit(struct bpf_raw_tracepoint_args *ctx)
{
	struct io_kiocb *req = (void *)ctx->args[0];
	struct io_ring_ctx *ring;
	struct task_struct *task;
	struct counters *counters;
	const struct cred *cred;
	struct workspace *w;
	struct finding *f;
	struct call call;
	__u32 op, nr, abi, flags, pid = 0;
	bool compat, for_exit;

	if (!uring.seen || control.generation != generation)
		return 0;
	op = BPF_CORE_READ(req, opcode);
	if (op >= UIDTRACED_URING_OPS)
		return 0;
	ring = BPF_CORE_READ(req, ctx);
	compat = BPF_CORE_READ_BITFIELD_PROBED(ring, compat);
	abi = uring.abis[compat];
	nr = call_of(req, op, compat);
	if (nr >= UIDTRACED_NR_MAX || !(control.wanted[nr] >> abi & 1))
		return 0;

	call.nr = nr;
	call.abi = abi;
	task = current_task();
	flags = BPF_CORE_READ(req, flags);
	cred = flags & uring.creds ? BPF_CORE_READ(req, creds) : BPF_CORE_READ(task, cred);
	f = find_rule(&call, task, cred, BPF_CORE_READ(cred, uid.val));
	if (!f || !f->rule.action || is_tracer(task, &pid))
		return 0;
	for_exit = is_for_exit(f->rule.action);
	/* one before it in the same memory, whose end was not shown: its ring was full */
	if (for_exit)
		finish((__u64)req, UIDTRACED_UNKNOWN, 0, false);
	counters = counters_of(f->caller.uid);
	if (!counters)
		return 0;
	w = begin(counters, f, for_exit);
	if (!w)
		return 0;
	fill(w, task, pid);
	w->e.via = UIDTRACED_V_URING | (flags & uring.registered ? UIDTRACED_V_REGISTERED : 0);
	w->e.euid = BPF_CORE_READ(cred, euid.val);
	__builtin_memset(w->e.args, 0, sizeof(w->e.args));
	read_request(w, req, op);
	send_or_keep(w, counters, for_exit, flags & uring.endless ? 0 : (__u64)req);
	return 0;
}

/* Attached with the next three. */
SEC("raw_tp/io_uring_complete")
int on_uring_complete(struct bpf_raw_tracepoint_args *ctx)
{
	__s32 ret;

	if (uring.cqe_pointer)
		ret = BPF_CORE_READ((struct io_uring_cqe *)ctx->args[2], res);
	else
		ret = ctx->args[3]; /* only where there is one: the kernel looks */
	finish(ctx->args[1], UIDTRACED_RETURNED, (__s64)ret, true);
	return 0;
}

/* The next three are attached while some rule wants results. */
SEC("raw_tp/sys_exit")
int on_sys_exit(struct bpf_raw_tracepoint_args *ctx)
{
	finish(bpf_get_current_task(), UIDTRACED_RETURNED, ctx->args[1], false);
	return 0;
}

/* calls that never return, and threads that are killed inside one */
SEC("raw_tp/sched_process_exit")
int on_thread_end(struct bpf_raw_tracepoint_args *ctx)
{
	finish(bpf_get_current_task(), UIDTRACED_ENDED, 0, false);
	return 0;
}

/* From 6.10: execve has read its arguments, and the memory they are in is still there. */
SEC("raw_tp/sched_prepare_exec")
int on_exec(struct bpf_raw_tracepoint_args *ctx)
{
	__u64 key = bpf_get_current_task();
	struct passage *passage = bpf_map_lookup_elem(&passages, &key);
	struct workspace *w;
	bool was_long;

	if (!passage || !passage->unread)
		return 0;
	w = kept(key, passage);
	if (w) {
		was_long = is_long(&w->e);
		read_again(w, false);
		store_again(w, key, was_long);
	}
	return 0;
}

/*
 * Run by the daemon (BPF_PROG_TEST_RUN) for a task whose call it will not see the end of: nobody
 * puts any in by then.
 */
SEC("raw_tp")
int give_up(struct bpf_raw_tracepoint_args *ctx)
{
	finish(ctx->args[0], UIDTRACED_UNKNOWN, 0, false);
	return 0;
}

/* Run once by the daemon itself (BPF_PROG_TEST_RUN): only the kernel can tell it who it is. */
SEC("raw_tp")
int who_am_i(struct bpf_raw_tracepoint_args *ctx)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct pid *pid = BPF_CORE_READ(task, thread_pid);
	__u32 level = BPF_CORE_READ(pid, level);
	struct upid upid;

	if (read_upid(&upid, pid, level))
		return 1;
	control.self_tgid = bpf_get_current_pid_tgid() >> 32;
	control.pidns_level = level;
	control.pidns_inum = BPF_CORE_READ(upid.ns, ns.inum);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";

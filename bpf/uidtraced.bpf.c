// SPDX-License-Identifier: GPL-2.0-only
/* Logs the system calls that the rule set of the calling user names. */
#include "vmlinux.h"
#include "event.h"
#include "abi.h"
#include "data.h"
#include "task.h"
#include "exe.h"
#include "uring.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <stdbool.h>

#define NS_PER_SECOND 1000000000ULL
#define MAX_UIDS 262144	   /* entries of an outer map: twice what a plan may have, to change it */
#define MAX_BLOCKS 1048576 /* of a scope; a range takes 62 at the most */
#define MAX_CLASSES 32768  /* rule sets that blocks use, twice what a plan may have */
#define MAX_COUNTED_UIDS 65536 /* uids that have counters of their own */
#define MAX_PASSAGES 65536     /* calls under way whose results are waited for */
#define MAX_LONG_PASSAGES 4096 /* of these, such with much data */
#define MAX_ERRNO 4095	       /* include/linux/err.h */

/* a section of its own, so that it starts the map that user space writes to */
volatile struct control control SEC(".data.control") = {};

/* of this program; where a new version takes over, control.generation says whose turn it is */
const volatile __u32 generation SEC(".rodata.generation") = 1;

/* types that only pointers reach: without these clang leaves them out of the object's BTF */
const struct call *keep_call __attribute__((unused));
const struct block *keep_block __attribute__((unused));
const struct allowance *keep_allowance __attribute__((unused));
const struct rule *keep_rule __attribute__((unused));

/*
 * An inner map: the calls to log for whoever points to it; user space freezes it. Sizes in place of
 * types, as user space makes them: from 5.15 to 6.1 (bpf_map_meta_equal) a map with BTF does
 * not equal one without, and so would not go into the outer map.
 */
struct rule_set {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1); /* each has its own size */
	__uint(key_size, sizeof(struct call));
	__uint(value_size, sizeof(struct rule));
};

/* the outer maps, one for each kind of uid that can be matched */
struct outer_map {
	__uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
	__uint(max_entries, MAX_UIDS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__array(values, struct rule_set);
};

struct outer_map real SEC(".maps"), effective SEC(".maps"), login SEC(".maps");

/* beside each outer map, for uids that are not in it: the longest block matches; value: a class */
struct block_map {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, MAX_BLOCKS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct block);
	__type(value, __u32);
};

struct block_map real_blocks SEC(".maps"), effective_blocks SEC(".maps"), login_blocks SEC(".maps");

/* the inner maps that blocks use, by the kernel's id for each */
struct {
	__uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
	__uint(max_entries, MAX_CLASSES);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__array(values, struct rule_set);
} classes SEC(".maps");

/* when the next event of a uid under a limit is due, in ns; who was quiet for longest makes room */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, MAX_COUNTED_UIDS);
	__type(key, struct allowance);
	__type(value, __u64);
} allowances SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 23); /* user space may set another size before loading */
} events SEC(".maps");

/* made at a uid's first match, so that only those who are logged cost memory */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, MAX_COUNTED_UIDS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct counters);
} counts SEC(".maps");

/* of each cpu: 0, the last event's number; 1, how many events found the ring full */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u64);
} last_seq SEC(".maps");

/* calls that are under way and whose event is due when they are over, by task */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_PASSAGES);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, struct passage);
} passages SEC(".maps");

/* the data of those that have much of it, whole */
struct long_data {
	__u8 data[DATA_KEPT];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_LONG_PASSAGES);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, struct long_data);
} long_passages SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_COUNTED_UIDS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct account);
} accounts SEC(".maps");

/* as Rule.__add__ in rules.py */
static __always_inline void add_rule(struct rule *sum, const struct rule *rule)
{
	if (!(sum->action & rule->action & UIDTRACED_F_LOG))
		sum->limit = sum->limit ?: rule->limit;
	else if (!sum->limit || !rule->limit)
		sum->limit = 0;
	else if (rule->limit > sum->limit)
		sum->limit = rule->limit;
	sum->action |= rule->action;
	if (rule->revision > sum->revision)
		sum->revision = rule->revision;
}

/* Add the rule that uid has for a call; whether there is one. */
static __always_inline bool add_rule_of(struct rule *sum, void *outer, void *blocks,
					bool with_blocks, __u32 uid, struct call *call)
{
	void *rules = bpf_map_lookup_elem(outer, &uid);
	struct block key = {32, bpf_htonl(uid)};
	struct rule *rule = NULL;
	__u32 *class;

	if (rules) {
		rule = bpf_map_lookup_elem(rules, call);
		/* its own, not shared with the next: only so the kernel knows whose maps it is of
		 */
		barrier();
	} else if (with_blocks) {
		class = bpf_map_lookup_elem(blocks, &key);
		rules = class ? bpf_map_lookup_elem(&classes, class) : NULL;
		rule = rules ? bpf_map_lookup_elem(rules, call) : NULL;
	}
	if (!rule)
		return false;
	add_rule(sum, rule);
	return true;
}

/*
 * Whether uid may have one more event: a token bucket that holds a second's worth, kept as the
 * time at which it would be full again (GCRA). Two cpus at once may let one event too many pass;
 * each is counted as what it was.
 */
static __always_inline bool within_limit(__u32 uid, __u32 limit)
{
	struct allowance key = {uid, limit};
	__u64 now = bpf_ktime_get_ns(), step = NS_PER_SECOND / limit, full = now;
	__u64 *due = bpf_map_lookup_elem(&allowances, &key);

	if (due && *due > now)
		full = *due;
	full += step;
	if (full > now + NS_PER_SECOND)
		return false;
	if (due)
		*due = full;
	else
		bpf_map_update_elem(&allowances, &key, &full, BPF_ANY);
	return true;
}

static __always_inline struct counters *counters_of(__u32 uid)
{
	static const struct counters zero;
	struct counters *c = bpf_map_lookup_elem(&counts, &uid);

	if (c)
		return c;
	bpf_map_update_elem(&counts, &uid, &zero, BPF_NOEXIST);
	c = bpf_map_lookup_elem(&counts, &uid);
	if (c)
		return c;
	uid = NO_UID; /* counts for all that found no room */
	return bpf_map_lookup_elem(&counts, &uid);
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

/* Count a match whose event is due; whether there shall be one. */
static __always_inline bool is_due(struct counters *counters, __u32 action, __u32 limit,
				   __u32 payer)
{
	counters->matched++;
	if (!(action & UIDTRACED_F_LOG)) {
		counters->counted++;
		return false;
	}
	if (limit && !within_limit(payer, limit)) {
		counters->limited++;
		return false;
	}
	return true;
}

static __always_inline void send(struct workspace *w, struct counters *counters, __u16 outcome)
{
	__u32 zero = 0, one = 1;
	__u64 *seq = bpf_map_lookup_elem(&last_seq, &zero);
	__u64 *lost = bpf_map_lookup_elem(&last_seq, &one);

	if (!seq || !lost)
		return; /* cannot be: the array is whole */
	w->e.seq = ++*seq;
	w->e.cpu = bpf_get_smp_processor_id();
	w->e.outcome = outcome;
	if (bpf_ringbuf_output(&events, &w->e, sizeof(w->e) + data_end(w), 0)) {
		counters->ring_full++;
		++*lost;
	}
}

/* the result, or the call, must be known before it is known whether there is an event */
static __always_inline bool is_for_exit(__u32 action)
{
	return action & UIDTRACED_F_EXIT &&
	       (action & UIDTRACED_F_LOG || !(action & UIDTRACED_F_SUCCESS)) && control.results;
}

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

/* Keep the event until the call is over. */
static __always_inline bool keep(struct workspace *w, __u64 key)
{
	if (data_end(w) > SMALL_DATA && bpf_map_update_elem(&long_passages, &key, w->data, BPF_ANY))
		return false;
	if (!bpf_map_update_elem(&passages, &key, w, BPF_ANY))
		return true;
	bpf_map_delete_elem(&long_passages, &key);
	return false;
}

/* The event of a task's call, copied to the workspace; NULL where it has none. */
static __always_inline struct workspace *kept(__u64 key, struct passage *passage)
{
	__u32 zero = 0;
	struct workspace *w = bpf_map_lookup_elem(&workspaces, &zero);
	struct long_data *more;

	if (!w)
		return NULL;
	bpf_probe_read_kernel(w, sizeof(*passage), passage);
	if (data_end(w) > SMALL_DATA) {
		more = bpf_map_lookup_elem(&long_passages, &key);
		if (!more)
			return NULL;
		bpf_probe_read_kernel(w->data, DATA_KEPT, more);
	}
	return w;
}

/*
 * The call, or request of io_uring, is over: send its event, where it is to have one. Who takes it
 * out sends it.
 */
static __always_inline void finish(__u64 key, __u16 outcome, __u64 ret, bool uring)
{
	struct passage *passage = bpf_map_lookup_elem(&passages, &key);
	struct counters *counters;
	struct workspace *w;
	bool failed;

	if (!passage)
		return;
	if (passage->e.abi == UIDTRACED_I386 || passage->e.abi == UIDTRACED_ARM)
		ret = (__s64)(__s32)ret;
	failed = ret >= (__u64)-MAX_ERRNO;
	if (outcome == UIDTRACED_RETURNED && !failed && !(passage->action & UIDTRACED_F_SUCCESS)) {
		if (passage->e.data_bytes > SMALL_DATA)
			bpf_map_delete_elem(&long_passages, &key);
		bpf_map_delete_elem(&passages, &key);
		return;
	}
	w = kept(key, passage);
	if (bpf_map_delete_elem(&passages, &key) || !w)
		return;
	if (data_end(w) > SMALL_DATA)
		bpf_map_delete_elem(&long_passages, &key);
	counters = counters_of(w->e.uid);
	if (!counters || !is_due(counters, w->action, w->limit, w->payer))
		return;
	w->e.ret = ret;
	w->e.duration_ns = bpf_ktime_get_boot_ns() - w->e.boot_ns;
	/* after execve the memory is another program's */
	if (uring && !failed)
		read_address_back(w);
	else if (!uring && outcome == UIDTRACED_RETURNED && !(is_exec(&w->e) && !failed))
		read_again(w, !failed);
	send(w, counters, outcome);
}

/*
 * Find the rule for a call by a task that acts with cred (NULL: its own); its action is 0 where
 * there is none. Returns the uid that the rule is for.
 */
static __always_inline __u32 find_rule(struct rule *rule, struct call *call,
				       struct task_struct *task, const struct cred *cred, __u32 uid)
{
	__u32 scopes = control.scopes, blocks = control.blocks, id, payer = uid;

	if (scopes & UIDTRACED_S_REAL)
		add_rule_of(rule, &real, &real_blocks, blocks & UIDTRACED_S_REAL, uid, call);
	if (scopes & UIDTRACED_S_EFFECTIVE) {
		id = cred ? BPF_CORE_READ(cred, euid.val) : euid_of(task);
		if (add_rule_of(rule, &effective, &effective_blocks, blocks & UIDTRACED_S_EFFECTIVE,
				id, call))
			payer = id;
	}
	if (scopes & UIDTRACED_S_LOGIN && (id = loginuid_of(task)) != NO_UID) {
		/* two who logged in and are root now are two still */
		if (add_rule_of(rule, &login, &login_blocks, blocks & UIDTRACED_S_LOGIN, id, call))
			payer = id;
	}
	return payer;
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

/* Begin the event of a match, if it may come to one. */
static __always_inline struct workspace *begin(struct counters *counters, struct rule *rule,
					       struct call *call, __u32 uid, __u32 payer,
					       bool for_exit)
{
	__u32 zero = 0;
	struct workspace *w = bpf_map_lookup_elem(&workspaces, &zero);

	if (!w) /* cannot be: the array is whole */
		return NULL;
	if (!for_exit && !is_due(counters, rule->action, rule->limit, payer))
		return NULL;
	w->action = rule->action;
	w->limit = rule->limit;
	w->payer = payer;
	w->e.uid = uid;
	w->e.revision = rule->revision;
	w->e.nr = call->nr;
	w->e.abi = call->abi;
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

/* tp_btf, not raw_tp: the registers are plain loads */
SEC("tp_btf/sys_enter")
int on_sys_enter(__u64 *ctx)
{
	const struct pt_regs *regs = (void *)ctx[0];
	__u64 number = ctx[1], nr = nr_of(number);
	struct task_struct *task;
	struct counters *counters;
	struct rule rule = {};
	struct workspace *w;
	struct call call;
	__u32 abi, uid, payer, pid = 0;
	bool for_exit;
	__u8 wanted;

	/* most calls end here: no look-up for what nobody traces (-1, a skipped call, is huge) */
	if (nr >= UIDTRACED_NR_MAX || !(wanted = control.wanted[nr]))
		return 0;
	if (control.generation != generation)
		return 0;
	task = current_task();
	abi = abi_of(task, number);
	if (abi > UIDTRACED_ARM || !(wanted >> abi & 1))
		return 0;

	call.nr = nr;
	call.abi = abi;
	uid = uid_of(task);
	payer = find_rule(&rule, &call, task, NULL, uid);
	if (!rule.action || is_tracer(task, &pid))
		return 0;
	counters = counters_of(uid);
	if (!counters)
		return 0; /* cannot be: user space makes NO_UID's */
	for_exit = is_for_exit(rule.action);
	w = begin(counters, &rule, &call, uid, payer, for_exit);
	if (!w)
		return 0;
	fill(w, task, pid);
	w->e.via = 0;
	w->e.euid = euid_of(task);
	read_args(regs, abi, w->e.args);
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
	struct rule rule = {};
	struct workspace *w;
	struct call call;
	__u32 op, nr, abi, uid, payer, flags, pid = 0;
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
	uid = BPF_CORE_READ(cred, uid.val);
	payer = find_rule(&rule, &call, task, cred, uid);
	if (!rule.action || is_tracer(task, &pid))
		return 0;
	for_exit = is_for_exit(rule.action);
	/* one before it in the same memory, whose end was not shown: its ring was full */
	if (for_exit)
		finish((__u64)req, UIDTRACED_UNKNOWN, 0, false);
	counters = counters_of(uid);
	if (!counters)
		return 0;
	w = begin(counters, &rule, &call, uid, payer, for_exit);
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

	if (!passage || !passage->unread)
		return 0;
	w = kept(key, passage);
	if (w) {
		read_again(w, false);
		keep(w, key);
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

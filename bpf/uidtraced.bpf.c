// SPDX-License-Identifier: GPL-2.0-only
/* Logs the system calls that the rule set of the calling user names. */
#include "vmlinux.h"
#include "event.h"
#include "abi.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <stdbool.h>

#define NS_PER_SECOND 1000000000ULL
#define MAX_UIDS 262144	   /* entries of an outer map: twice what a plan may have, to change it */
#define MAX_BLOCKS 1048576 /* of a scope; a range takes 62 at the most */
#define MAX_CLASSES 32768  /* rule sets that blocks use, twice what a plan may have */
#define MAX_COUNTED_UIDS 65536 /* uids that have counters of their own */
#define NO_UID 0xffffffff      /* (uid_t)-1: never a user; counts for all that found no room */

/* a section of its own, so that it starts the map that user space writes to */
volatile struct control control SEC(".data.control") = {};

/* types that only pointers reach: without these clang leaves them out of the object's BTF */
const struct call *keep_call __attribute__((unused));
const struct block *keep_block __attribute__((unused));
const struct allowance *keep_allowance __attribute__((unused));
const struct rule *keep_rule __attribute__((unused));
const struct event *keep_event __attribute__((unused));

/* an inner map: the calls to log for whoever points to it; user space freezes it */
struct rule_set {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1); /* each has its own size */
	__type(key, struct call);
	__type(value, struct rule);
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

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} last_seq SEC(".maps");

static __always_inline void *rules_of(void *outer, void *blocks, bool with_blocks, __u32 uid)
{
	void *rules = bpf_map_lookup_elem(outer, &uid);
	struct block key = {32, bpf_htonl(uid)};
	__u32 *class;

	if (rules || !with_blocks)
		return rules;
	class = bpf_map_lookup_elem(blocks, &key);
	return class ? bpf_map_lookup_elem(&classes, class) : NULL;
}

/* as Rule.__add__ in rules.py */
static __always_inline void add_rule(struct rule *sum, void *rules, struct call *call)
{
	struct rule *rule = rules ? bpf_map_lookup_elem(rules, call) : NULL;

	if (!rule)
		return;
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
	uid = NO_UID;
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

/* as the daemon's pid namespace numbers it; 0 where it does not */
static __always_inline __u32 pid_in_ns(struct pid *pid, __u32 initial)
{
	__u32 level = control.pidns_level;
	struct upid upid;

	if (!level)
		return initial;
	if (BPF_CORE_READ(pid, level) < level || read_upid(&upid, pid, level))
		return 0;
	return BPF_CORE_READ(upid.ns, ns.inum) == control.pidns_inum ? upid.nr : 0;
}

static __always_inline __u32 loginuid_of(struct task_struct *task)
{
	return bpf_core_field_exists(task->loginuid) ? BPF_CORE_READ(task, loginuid.val) : NO_UID;
}

SEC("raw_tp/sys_enter")
int on_sys_enter(struct bpf_raw_tracepoint_args *ctx)
{
	__u64 number = ctx->args[1], nr = nr_of(number), pid_tgid;
	struct task_struct *task;
	struct counters *counters;
	struct rule rule = {};
	struct event *e;
	struct call call;
	__u32 abi, uid, id, scopes, blocks, pid, zero = 0;
	void *rules;
	__u64 *seq;
	__u8 wanted;

	/* most calls end here: no look-up for what nobody traces (-1, a skipped call, is huge) */
	if (nr >= UIDTRACED_NR_MAX || !(wanted = control.wanted[nr]))
		return 0;
	task = (void *)bpf_get_current_task();
	abi = abi_of(task, number);
	if (abi > UIDTRACED_ARM || !(wanted >> abi & 1))
		return 0;

	call.nr = nr;
	call.abi = abi;
	uid = bpf_get_current_uid_gid();
	scopes = control.scopes;
	blocks = control.blocks;
	if (scopes & UIDTRACED_S_REAL) {
		rules = rules_of(&real, &real_blocks, blocks & UIDTRACED_S_REAL, uid);
		add_rule(&rule, rules, &call);
	}
	if (scopes & UIDTRACED_S_EFFECTIVE) {
		id = BPF_CORE_READ(task, cred, euid.val);
		rules = rules_of(&effective, &effective_blocks, blocks & UIDTRACED_S_EFFECTIVE, id);
		add_rule(&rule, rules, &call);
	}
	if (scopes & UIDTRACED_S_LOGIN && (id = loginuid_of(task)) != NO_UID) {
		rules = rules_of(&login, &login_blocks, blocks & UIDTRACED_S_LOGIN, id);
		add_rule(&rule, rules, &call);
	}
	if (!rule.action)
		return 0;

	/* never trace the tracer: writing an event must not make one */
	pid_tgid = bpf_get_current_pid_tgid();
	if (pid_tgid >> 32 == control.self_tgid)
		return 0;
	pid = pid_in_ns(BPF_CORE_READ(task, group_leader, thread_pid), pid_tgid >> 32);
	if (pid && pid == control.journal_pid)
		return 0;

	counters = counters_of(uid);
	seq = bpf_map_lookup_elem(&last_seq, &zero);
	if (!counters || !seq)
		return 0; /* cannot be: user space makes NO_UID's, and the array is whole */
	counters->matched++;
	if (!(rule.action & UIDTRACED_F_LOG)) {
		counters->counted++;
		return 0;
	}
	if (rule.limit && !within_limit(uid, rule.limit)) {
		counters->limited++;
		return 0;
	}
	++*seq;
	e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	if (!e) {
		counters->ring_full++;
		return 0;
	}
	e->boot_ns = bpf_ktime_get_boot_ns();
	e->seq = *seq;
	read_args((void *)ctx->args[0], abi, e->args);
	e->cpu = bpf_get_smp_processor_id();
	e->uid = uid;
	e->euid = BPF_CORE_READ(task, cred, euid.val);
	e->loginuid = loginuid_of(task);
	/* a task of another pid namespace has no number in ours: the initial one's must do */
	e->pid = pid ?: pid_tgid >> 32;
	e->tid = pid_in_ns(BPF_CORE_READ(task, thread_pid), (__u32)pid_tgid) ?: (__u32)pid_tgid;
	e->revision = rule.revision;
	e->nr = nr;
	e->abi = abi;
	bpf_get_current_comm(e->comm, sizeof(e->comm));
	bpf_ringbuf_submit(e, 0);
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

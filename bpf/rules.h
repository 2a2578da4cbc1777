/* SPDX-License-Identifier: GPL-2.0-only */
/* Finds the rule for a call: the maps that user space keeps equal to the policy. */
#ifndef UIDTRACED_RULES_H
#define UIDTRACED_RULES_H

#include "vmlinux.h"
#include "event.h"
#include "control.h"
#include "task.h"
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <stdbool.h>

#define MAX_UIDS 262144	   /* entries of an outer map: twice what a plan may have, to change it */
#define MAX_BLOCKS 1048576 /* of a scope; a range takes 62 at the most */
#define MAX_CLASSES 32768  /* rule sets that blocks use, twice what a plan may have */
#define FINDINGS 256	   /* of each cpu */

/* types that only pointers reach: without these clang leaves them out of the object's BTF */
const struct call *keep_call __attribute__((unused));
const struct block *keep_block __attribute__((unused));
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

/* not looked up: whoever changes it has waited for all runs of programs that had begun before */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct rule_set);
} waits SEC(".maps");

/* who makes a call; of scopes that are not in use, NO_UID */
struct caller {
	__u32 uid;
	__u32 euid;
	__u32 login;
};

/* what was found for a caller and a call; rule.action is 0 where there is no rule */
struct finding {
	struct caller caller;
	struct call call;
	__u64 changes; /* control.changes then */
	struct rule rule;
	__u32 payer; /* the uid that the rule is for */
};

/* the last ones of this cpu, each where its uid and call say */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, FINDINGS);
	__type(key, __u32);
	__type(value, struct finding);
} findings SEC(".maps");

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

/* Look up what the maps say of f's caller and call. */
static __always_inline void look_up(struct finding *f, __u32 scopes)
{
	__u32 blocks = control.blocks, uid = f->caller.uid;
	struct rule sum = {};

	f->payer = uid;
	if (scopes & UIDTRACED_S_REAL)
		add_rule_of(&sum, &real, &real_blocks, blocks & UIDTRACED_S_REAL, uid, &f->call);
	uid = f->caller.euid;
	if (scopes & UIDTRACED_S_EFFECTIVE &&
	    add_rule_of(&sum, &effective, &effective_blocks, blocks & UIDTRACED_S_EFFECTIVE, uid,
			&f->call))
		f->payer = uid;
	uid = f->caller.login;
	/* two who logged in and are root now are two still */
	if (scopes & UIDTRACED_S_LOGIN && uid != NO_UID &&
	    add_rule_of(&sum, &login, &login_blocks, blocks & UIDTRACED_S_LOGIN, uid, &f->call))
		f->payer = uid;
	f->rule = sum;
}

/*
 * Find the rule for a call by a task that acts with cred (NULL: its own). What this cpu found
 * before holds as long as no rule was changed; while some are (an odd number), nothing is kept.
 */
static __always_inline struct finding *find_rule(struct call *call, struct task_struct *task,
						 const struct cred *cred, __u32 uid)
{
	__u64 changes = control.changes; /* first */
	__u32 scopes = control.scopes, euid = NO_UID, loginuid = NO_UID, slot;
	struct finding *f;

	if (scopes & UIDTRACED_S_EFFECTIVE)
		euid = cred ? BPF_CORE_READ(cred, euid.val) : euid_of(task);
	if (scopes & UIDTRACED_S_LOGIN)
		loginuid = loginuid_of(task);
	/* 2^32 by the golden ratio: neighbours are spread */
	slot = (uid * UIDTRACED_NR_MAX + call->nr) * 0x9e3779b1 >> 24;
	f = bpf_map_lookup_elem(&findings, &slot);
	if (!f) /* cannot be: the array is whole */
		return NULL;
	if (f->changes == changes && f->call.nr == call->nr && f->call.abi == call->abi &&
	    f->caller.uid == uid && f->caller.euid == euid && f->caller.login == loginuid)
		return f;
	f->changes = changes & 1 ? 0 : changes;
	f->call = *call;
	f->caller = (struct caller){uid, euid, loginuid};
	look_up(f, scopes);
	return f;
}

#endif

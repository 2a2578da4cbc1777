/* SPDX-License-Identifier: GPL-2.0-only */
/* Counts the matches of each uid, and sends the events that they are due. */
#ifndef UIDTRACED_SEND_H
#define UIDTRACED_SEND_H

#include "vmlinux.h"
#include "event.h"
#include "control.h"
#include "data.h"
#include "limit.h"
#include "share.h"
#include "task.h"
#include <bpf/bpf_helpers.h>
#include <stdbool.h>

#define MAX_COUNTED_UIDS 65536 /* uids that have counters of their own */

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

/* one value, of all uids: array maps are looked up without a call */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct shares);
} shares SEC(".maps");

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

/*
 * Nobody may have more in the ring than is free: who floods leaves room for others. While half of
 * it is free nobody can have more than that.
 */
static __always_inline bool may_send(struct shares *all, __u32 share)
{
	__u64 waiting = bpf_ringbuf_query(&events, BPF_RB_AVAIL_DATA), size = control.ring_bytes;

	return 2 * waiting <= size ||
	       (__s32)(all->sent[share] - all->taken[share]) <= (__s64)(size - waiting);
}

/* Put the event in the ring; whether it is in. */
static __always_inline bool put_in_ring(struct workspace *w)
{
	__u32 zero = 0, share = share_of(w->e.uid), length = sizeof(w->e) + data_end(w);
	struct shares *all = bpf_map_lookup_elem(&shares, &zero);

	if (!all) /* cannot be: the array is whole */
		return false;
	if (!may_send(all, share) || bpf_ringbuf_output(&events, &w->e, length, 0))
		return false;
	__sync_fetch_and_add(&all->sent[share], record_bytes(length));
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
	if (!put_in_ring(w)) {
		counters->ring_full++;
		++*lost;
	}
}

#endif

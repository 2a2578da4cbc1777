/* SPDX-License-Identifier: GPL-2.0-only */
/* Keeps calls that are under way until their results are there. */
#ifndef UIDTRACED_PASSAGE_H
#define UIDTRACED_PASSAGE_H

#include "vmlinux.h"
#include "event.h"
#include "control.h"
#include "data.h"
#include "send.h"
#include "share.h"
#include "uring.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <stdbool.h>

#define MAX_PASSAGES 65536     /* calls under way whose results are waited for */
#define MAX_LONG_PASSAGES 4096 /* of these, such with much data */
#define MOST_OF_PLACES 4       /* one uid may have one part in so many of both */
#define MAX_ERRNO 4095	       /* include/linux/err.h */
#define ENOENT 2

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

/* nobody may have more than a part of the places; by share_of(uid) */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, UIDTRACED_SHARES);
	__type(key, __u32);
	__type(value, struct under_way);
} under_way SEC(".maps");

/* the result, or the call, must be known before it is known whether there is an event */
static __always_inline bool is_for_exit(__u32 action)
{
	return action & UIDTRACED_F_EXIT &&
	       (action & UIDTRACED_F_LOG || !(action & UIDTRACED_F_SUCCESS)) && control.results;
}

static __always_inline bool is_long(struct event *e)
{
	return e->data_bytes > SMALL_DATA;
}

/* Store the event under the key, which must be free; whether it is there. */
static __always_inline bool store(struct workspace *w, __u64 key)
{
	if (is_long(&w->e) && bpf_map_update_elem(&long_passages, &key, w->data, BPF_NOEXIST))
		return false;
	if (!bpf_map_update_elem(&passages, &key, w, BPF_NOEXIST))
		return true;
	if (is_long(&w->e))
		bpf_map_delete_elem(&long_passages, &key);
	return false;
}

/*
 * Keep the event until the call is over. Where one of before is under the key, its end was not
 * seen, since somebody had detached the program: the end that comes next is not its own.
 */
static __always_inline bool keep(struct workspace *w, __u64 key)
{
	__u32 share = share_of(w->e.uid);
	struct under_way *his = bpf_map_lookup_elem(&under_way, &share);
	struct passage *before;

	w->e.outcome = UIDTRACED_ENTERED;
	if (!his || his->calls >= MAX_PASSAGES / MOST_OF_PLACES ||
	    (is_long(&w->e) && his->long_calls >= MAX_LONG_PASSAGES / MOST_OF_PLACES) ||
	    !store(w, key)) {
		before = bpf_map_lookup_elem(&passages, &key);
		if (before)
			before->e.outcome = UIDTRACED_UNKNOWN;
		return false;
	}
	__sync_fetch_and_add(&his->calls, 1);
	if (is_long(&w->e))
		__sync_fetch_and_add(&his->long_calls, 1);
	return true;
}

/* Store more of an event that is kept, if it is still. */
static __always_inline void store_again(struct workspace *w, __u64 key, bool was_long)
{
	__u32 share = share_of(w->e.uid);
	struct under_way *his = bpf_map_lookup_elem(&under_way, &share);
	long error;

	if (is_long(&w->e) && bpf_map_update_elem(&long_passages, &key, w->data, BPF_ANY))
		return;
	error = bpf_map_update_elem(&passages, &key, w, BPF_EXIST);
	if (!is_long(&w->e))
		return;
	if (error == -ENOENT || (error && !was_long))
		bpf_map_delete_elem(&long_passages, &key);
	else if (!was_long && his)
		__sync_fetch_and_add(&his->long_calls, 1);
}

/* Take out what was kept; whether it was still there. */
static __always_inline bool take_out(__u64 key, __u32 uid, bool with_long)
{
	__u32 share = share_of(uid);
	struct under_way *his = bpf_map_lookup_elem(&under_way, &share);

	if (bpf_map_delete_elem(&passages, &key))
		return false;
	if (his)
		__sync_fetch_and_add(&his->calls, -1);
	if (with_long) {
		bpf_map_delete_elem(&long_passages, &key);
		if (his)
			__sync_fetch_and_add(&his->long_calls, -1);
	}
	return true;
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
	bool failed, with_long;
	__u32 uid;

	if (!passage)
		return;
	uid = passage->e.uid;
	with_long = is_long(&passage->e);
	if (passage->e.outcome == UIDTRACED_UNKNOWN)
		outcome = UIDTRACED_UNKNOWN;
	if (passage->e.abi == UIDTRACED_I386 || passage->e.abi == UIDTRACED_ARM)
		ret = (__s64)(__s32)ret;
	failed = ret >= (__u64)-MAX_ERRNO;
	if (outcome == UIDTRACED_RETURNED && !failed && !(passage->action & UIDTRACED_F_SUCCESS)) {
		take_out(key, uid, with_long);
		return;
	}
	w = kept(key, passage);
	if (!take_out(key, uid, with_long) || !w)
		return;
	counters = counters_of(w->e.uid);
	if (!counters || !is_due(counters, w->action, w->limit, w->payer))
		return;
	w->e.ret = !uring && outcome == UIDTRACED_RETURNED ? result_in_memory(w, ret) : ret;
	w->e.duration_ns = bpf_ktime_get_boot_ns() - w->e.boot_ns;
	/* after execve the memory is another program's */
	if (uring && !failed)
		read_address_back(w);
	else if (!uring && outcome == UIDTRACED_RETURNED && !(is_exec(&w->e) && !failed))
		read_again(w, !failed);
	send(w, counters, outcome);
}

#endif

/* SPDX-License-Identifier: GPL-2.0-only */
/* Holds uids to their limits. */
#ifndef UIDTRACED_LIMIT_H
#define UIDTRACED_LIMIT_H

#include "event.h"
#include <bpf/bpf_helpers.h>
#include <stdbool.h>

#define NS_PER_SECOND 1000000000ULL
#define MAX_ALLOWANCES 65536

const struct allowance *keep_allowance __attribute__((unused)); /* as in rules.h */

/* when the next event of a uid under a limit is due, in ns; who was quiet for longest makes room */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, MAX_ALLOWANCES);
	__type(key, struct allowance);
	__type(value, __u64);
} allowances SEC(".maps");

/* those of a uid that has none yet begin with a full bucket; NULL where there is no memory */
static __always_inline volatile __u64 *allowance_of(struct allowance *key, __u64 now)
{
	volatile __u64 *due = bpf_map_lookup_elem(&allowances, key);

	if (due)
		return due;
	/* of several cpus the first one's stands */
	bpf_map_update_elem(&allowances, key, &now, BPF_NOEXIST);
	return bpf_map_lookup_elem(&allowances, key);
}

/*
 * Whether uid may have one more event: a token bucket that holds a second's worth, kept as the
 * time at which it would be full again (GCRA). Other cpus may add to it at the same time: who then
 * finds that it is past its end takes his part back. Only of cpus that find it full at the same
 * moment each may let one event pass for free.
 */
static __always_inline bool within_limit(__u32 uid, __u32 limit)
{
	struct allowance key = {uid, limit};
	__u64 now = bpf_ktime_get_ns(), end = now + NS_PER_SECOND, step = NS_PER_SECOND / limit;
	volatile __u64 *due = allowance_of(&key, now);

	if (!due)
		return true;
	if (*due < now)
		*due = now;
	if (*due + step > end)
		return false;
	__sync_fetch_and_add(due, step);
	if (*due <= end)
		return true;
	__sync_fetch_and_add(due, -step);
	return false;
}

#endif

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

#endif

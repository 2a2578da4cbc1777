// SPDX-License-Identifier: GPL-2.0-only
/* The least that a program on sys_enter can cost. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("raw_tp/sys_enter")
int empty(void *ctx)
{
	return 0;
}

char LICENSE[] SEC("license") = "GPL";

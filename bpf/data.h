/* SPDX-License-Identifier: GPL-2.0-only */
/* Reads what the arguments of a call point to, within bounds, as the parts of its event. */
#ifndef UIDTRACED_DATA_H
#define UIDTRACED_DATA_H

#include "vmlinux.h"
#include "event.h"
#include <bpf/bpf_helpers.h>
#include <stdbool.h>

#define DATA_ROOM 16384		   /* a power of two: the verifier knows bounds by a mask */
#define SOCKADDR_MAX 128	   /* sizeof(struct sockaddr_storage), include/linux/socket.h */
#define SMALL_DATA 512		   /* most events have less */
#define DATA_KEPT (DATA_MAX + 512) /* all that can be: DATA_MAX, and headers without bytes */
#define DATA_MAX UIDTRACED_DATA_MAX
#define MSGRCV 12 /* include/uapi/linux/ipc.h */
#define SHMAT 21
#define SHAPES (UIDTRACED_NUMBERS * (UIDTRACED_ARM + 1))

/* user space fills it before loading; by ABI and number */
const volatile struct shape shapes[SHAPES] SEC(".rodata.shapes") = {};

/* a call on its way: what the event needs to be due, then the event */
struct passage {
	__u32 action;
	__u32 limit;
	__u32 unread;	 /* registers that could not be followed yet, a bit each */
	__u32 addr_room; /* what the caller has for an address that the kernel gives back */
	__u32 payer;	 /* the uid that the rule is for: the limit is its */
	struct event e;
	__u8 data[SMALL_DATA];
};

/* the same with room for all data and, so that no check is needed at each step, some more */
struct workspace {
	__u32 action;
	__u32 limit;
	__u32 unread;
	__u32 addr_room;
	__u32 payer;
	struct event e;
	__u8 data[DATA_ROOM + UIDTRACED_STRING_MAX + sizeof(struct part)];
	/* here and not in registers, so that verifiers take each for any number, once */
	volatile __u64 strings;
	volatile __u32 strings_reg;
	volatile __u32 mask;
	/* where the executable is, see exe.h */
	volatile struct place {
		__u64 mnt;
		__u64 dentry;
		__u64 parent;
	} place;
};

/* how many calls somebody has under way */
struct under_way {
	__s32 calls;
	__s32 long_calls; /* of these, such with much data */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct workspace);
} workspaces SEC(".maps");

/* this cpu's; NULL cannot be, since the array is whole */
static __always_inline struct workspace *workspace(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&workspaces, &zero);
}

static __always_inline __u32 data_end(struct workspace *w)
{
	return w->e.data_bytes & (DATA_ROOM - 1);
}

/* the part's bytes, *length of them, are behind its header already */
static __always_inline void end_part(struct workspace *w, __u32 reg, __u32 length, __u8 marks)
{
	__u32 at = data_end(w);
	struct part *part = (void *)w->data + at;

	part->length = length;
	part->reg = reg;
	part->marks = marks;
	w->e.data_bytes = at + sizeof(*part) + length;
}

static __always_inline void put_unreadable(struct workspace *w, __u32 reg, __u64 address)
{
	__u32 at = data_end(w);

	__builtin_memcpy(w->data + at + sizeof(struct part), &address, sizeof(address));
	end_part(w, reg, sizeof(address), UIDTRACED_M_UNREADABLE);
	w->unread |= 1 << reg;
}

/* not static: verifiers then follow it once, by itself, and not at each call */
__noinline int put_string(__u32 reg, __u64 address)
{
	struct workspace *w = workspace();
	__u32 at, room = UIDTRACED_STRING_MAX;
	__u8 after = 0;
	void *text;
	long got;

	if (!w)
		return 0;
	at = data_end(w);
	text = (void *)w->data + at + sizeof(struct part);
	if (at >= DATA_MAX - 16) {
		end_part(w, reg, 0, UIDTRACED_M_TRUNCATED);
		return 0;
	}
	if (room > DATA_MAX - at)
		room = DATA_MAX - at;
	got = bpf_probe_read_user_str(text, room, (void *)address);
	if (got <= 0) {
		put_unreadable(w, reg, address);
		return 0;
	}
	/* a string that fits exactly and one that was cut are told apart by the byte behind */
	if (got == room)
		bpf_probe_read_user(&after, 1, (void *)address + room - 1);
	end_part(w, reg, (got - 1) & (UIDTRACED_STRING_MAX - 1), after ? UIDTRACED_M_TRUNCATED : 0);
	return 0;
}

static __always_inline void put_strings(struct workspace *w)
{
	bool narrow = w->e.abi != UIDTRACED_X86_64 && w->e.abi != UIDTRACED_ARM64;
	__u64 address, vector = w->strings;
	__u32 reg = w->strings_reg & 7;
	int i;

	for (i = 0; i <= UIDTRACED_STRINGS_MAX; i++) {
		address = 0;
		if (bpf_probe_read_user(&address, narrow ? 4 : 8, (void *)vector)) {
			put_unreadable(w, reg, vector);
			return;
		}
		if (!address)
			return;
		if (i == UIDTRACED_STRINGS_MAX) {
			end_part(w, reg, 0, UIDTRACED_M_MORE);
			return;
		}
		put_string(reg, address);
		vector += narrow ? 4 : 8;
	}
}

static __always_inline void put_bytes(struct workspace *w, __u32 reg, __u64 address, __u32 length)
{
	__u8 marks = length > SOCKADDR_MAX ? UIDTRACED_M_TRUNCATED : 0;
	__u32 at = data_end(w);

	if (at >= DATA_MAX - SOCKADDR_MAX) {
		end_part(w, reg, 0, UIDTRACED_M_TRUNCATED);
		return;
	}
	if (length > SOCKADDR_MAX)
		length = SOCKADDR_MAX;
	/* else clang drops the mask, without which older verifiers lose the bound */
	barrier_var(length);
	length &= 2 * SOCKADDR_MAX - 1;
	if (bpf_probe_read_user(w->data + at + sizeof(struct part), length, (void *)address))
		put_unreadable(w, reg, address);
	else
		end_part(w, reg, length, marks);
}

/* a byte for each register; one number, so that it is read once and no bound is needed again */
static __always_inline __u64 shape_of(struct event *e)
{
	__u32 index = e->abi * UIDTRACED_NUMBERS + e->nr;

	barrier_var(index); /* else clang computes the address first, which verifiers refuse */
	return index < SHAPES ? *(const volatile __u64 *)&shapes[index] : 0;
}

#define KIND(shape, reg) ((__u8)((shape) >> (reg)*8))

/* whether the call, if it succeeds, replaces the caller's memory */
static __always_inline bool is_exec(struct event *e)
{
	__u64 shape = shape_of(e);

	return KIND(shape, 1) == UIDTRACED_STRINGS || KIND(shape, 2) == UIDTRACED_STRINGS;
}

/* the length that an address has which the kernel gives back; 0 where it cannot be told */
static __always_inline __u32 length_back(__u64 address)
{
	__u32 length = 0;

	if (address)
		bpf_probe_read_user(&length, sizeof(length), (void *)address);
	return length;
}

/*
 * Read what the arguments in the registers of mask point to; what the kernel gives back only once
 * the call has returned.
 */
static __always_inline void read_data(struct workspace *w, __u32 mask, bool returned)
{
	__u64 address, shape = shape_of(&w->e);
	__u32 length;

	if (!shape)
		return;
	w->strings = 0;
	w->mask = mask;
#pragma unroll
	for (int reg = 0; reg < UIDTRACED_ARGS; reg++) {
		__u8 kind = KIND(shape, reg);

		address = w->e.args[reg];
		if (!kind || !address)
			continue;
		if (kind == UIDTRACED_SOCKADDR_BACK && reg + 1 < UIDTRACED_ARGS) {
			length = length_back(w->e.args[reg + 1]);
			if (!returned)
				w->addr_room = length;
			else if (length)
				put_bytes(w, reg, address,
					  length < w->addr_room ? length : w->addr_room);
			continue;
		}
		if (!(w->mask >> reg & 1))
			continue;
		if (kind == UIDTRACED_STRING) {
			put_string(reg, address);
		} else if (kind == UIDTRACED_STRINGS) {
			w->strings = address;
			w->strings_reg = reg;
		} else if (kind == UIDTRACED_SOCKADDR && reg + 1 < UIDTRACED_ARGS) {
			put_bytes(w, reg, address, w->e.args[reg + 1]);
		}
	}
	/* once, at the end: its loop is most of the program */
	if (w->strings)
		put_strings(w);
}

/*
 * Read those arguments of a call through socketcall or ipc that are in memory: all of socketcall's,
 * of ipc what its fifth argument points to. The others stay in the registers of ipc, which user
 * space knows.
 */
static __always_inline bool read_inner_args(struct workspace *w)
{
	__u32 words[UIDTRACED_ARGS] = {}, count = KIND(shape_of(&w->e), 6);
	__u64 *args = w->e.args;

	if (w->e.nr == UIDTRACED_IPC + MSGRCV && args[0] >> 16) /* the new way has none */
		count = 0;
	if (!count || count > UIDTRACED_ARGS)
		return true;
	if (w->e.nr >= UIDTRACED_IPC) {
		if (bpf_probe_read_user(words, count * sizeof(*words), (void *)args[4]))
			return false;
		args[4] = words[0];
		args[5] = words[1];
		return true;
	}
	if (bpf_probe_read_user(words, count * sizeof(*words), (void *)args[1]))
		return false;
#pragma unroll
	for (int i = 0; i < UIDTRACED_ARGS; i++)
		args[i] = words[i];
	return true;
}

/* What shmat through ipc returns is in memory. */
static __always_inline __u64 result_in_memory(struct workspace *w, __u64 ret)
{
	__u32 address;

	if (w->e.nr == UIDTRACED_IPC + SHMAT && !ret &&
	    !bpf_probe_read_user(&address, sizeof(address), (void *)w->e.args[3]))
		return address;
	return ret;
}

/* The pages that a call touches are there when it has begun; try again what was not readable. */
static __always_inline void read_again(struct workspace *w, bool returned)
{
	__u32 unread = w->unread;

	if (w->e.via & UIDTRACED_V_UNREAD) {
		if (!read_inner_args(w))
			return;
		w->e.via = 0;
		unread = ~0U;
	} else if (unread) {
		w->unread = 0;
#pragma unroll
		for (int reg = 0; reg < UIDTRACED_ARGS; reg++) {
			if (unread >> reg & 1)
				end_part(w, reg, 0, UIDTRACED_M_AGAIN);
		}
	}
	read_data(w, unread, returned);
}

#endif

/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What the BPF program and user space share; clang and cffi both parse this file. */
#ifndef UIDTRACED_EVENT_H
#define UIDTRACED_EVENT_H

/* numbers from here on are never a match; the largest real one is 547 (x32) */
#define UIDTRACED_NR_MAX 1024
#define UIDTRACED_COMM_LEN 16
#define UIDTRACED_ARGS 6

enum uidtraced_abi {
	UIDTRACED_X86_64 = 0,
	UIDTRACED_I386 = 1,
	UIDTRACED_X32 = 2,
	UIDTRACED_ARM64 = 3,
	UIDTRACED_ARM = 4,
};

/* bits of rule.action; 0 is off, and what several rules want together is the union */
enum uidtraced_action {
	UIDTRACED_F_LOG = 1,	 /* make an event */
	UIDTRACED_F_COUNT = 2,	 /* count the match */
	UIDTRACED_F_EXIT = 4,	 /* the event has the result */
	UIDTRACED_F_SUCCESS = 8, /* also of calls that succeed */
};

/* bits of control.scopes and control.blocks */
enum uidtraced_scope {
	UIDTRACED_S_REAL = 1,
	UIDTRACED_S_EFFECTIVE = 2,
	UIDTRACED_S_LOGIN = 4,
};

/* key of an inner map; as one number it is abi << 16 | nr on a little-endian machine */
struct call {
	__u16 nr;
	__u16 abi;
};

/* value of an inner map */
struct rule {
	__u32 action;
	__u32 revision;
	__u32 limit; /* events per second and uid; 0: none */
};

/* key of a map of blocks: the uids that begin with the same bits */
struct block {
	__u32 bits;
	__u32 first; /* big-endian */
};

/* key of the map of allowances: all calls of a uid that have the same limit share one */
struct allowance {
	__u32 uid;
	__u32 limit;
};

/* value of the counters map, per uid and cpu */
struct counters {
	__u64 matched;
	__u64 ring_full;
	__u64 limited;
	__u64 counted;
};

/* what user space sets while the program runs; each member is read at most once a call */
struct control {
	__u8 wanted[UIDTRACED_NR_MAX]; /* [nr]: a bit for each ABI in which somebody wants it */
	__u32 scopes;		       /* outer maps in use */
	__u32 blocks;		       /* maps of blocks in use */
	__u32 self_tgid;	       /* the daemon, in the initial pid namespace */
	__u32 journal_pid;	       /* the journal, in the daemon's pid namespace; 0 if none */
	__u32 pidns_level;	       /* the daemon's pid namespace: how deep, and which */
	__u32 pidns_inum;
};

struct event {
	__u64 boot_ns; /* CLOCK_BOOTTIME */
	__u64 seq;     /* per cpu, from 1, a hole is a loss */
	__u64 args[UIDTRACED_ARGS];
	__u32 cpu;
	__u32 uid;
	__u32 euid;
	__u32 loginuid; /* 2^32 - 1: unset */
	__u32 pid;	/* thread group, in the daemon's pid namespace where it is in it */
	__u32 tid;
	__u32 revision;
	__u16 nr;
	__u16 abi;
	__u8 comm[UIDTRACED_COMM_LEN];
};

#endif

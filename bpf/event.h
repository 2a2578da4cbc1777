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

/* value of the map of accounts, per uid: user space's own, in a map so that it outlives a daemon */
struct account {
	__u64 written;	/* events that the output took */
	__u64 position; /* up to where in the ring they are counted */
	__u64 told;	/* losses that a record told of */
};

/* what user space sets while the program runs; each member is read at most once a call */
struct control {
	__u8 wanted[UIDTRACED_NR_MAX]; /* [nr]: a bit for each ABI in which somebody wants it */
	__u64 writing;		       /* the daemon writes the ring's events up to here; 0: none */
	__u64 alive_ns;		       /* when the daemon was last seen alive, CLOCK_BOOTTIME */
	__u32 revision;		       /* of the policy in force */
	__u32 generation;  /* of the programs that are to act: others may be on their way */
	__u32 scopes;	   /* outer maps in use */
	__u32 blocks;	   /* maps of blocks in use */
	__u32 results;	   /* whether the programs are attached that wait for them */
	__u32 self_tgid;   /* the daemon, in the initial pid namespace */
	__u32 journal_pid; /* the journal, in the daemon's pid namespace; 0 if none */
	__u32 pidns_level; /* the daemon's pid namespace: how deep, and which */
	__u32 pidns_inum;
};

/* event.outcome */
enum uidtraced_outcome {
	UIDTRACED_ENTERED = 0,	/* sent at the call's entry, has no result */
	UIDTRACED_RETURNED = 1, /* has one */
	UIDTRACED_ENDED = 2, /* the thread ended inside the call: exit, execve elsewhere, a kill */
	UIDTRACED_UNKNOWN = 3, /* nobody waited: no room to keep it, or tracing ended before */
};

/* how the argument in a register is read; struct shape has one for each */
enum uidtraced_kind {
	UIDTRACED_PLAIN = 0,	/* as it is */
	UIDTRACED_STRING = 1,	/* points to a string */
	UIDTRACED_STRINGS = 2,	/* points to pointers to strings, the last one NULL */
	UIDTRACED_SOCKADDR = 3, /* to an address, whose length is in the next register */
	UIDTRACED_SOCKADDR_BACK =
		4, /* to where the kernel puts one; the next points to its length */
};

/* of each call: how its arguments are read */
struct shape {
	__u8 kind[8]; /* by register; the last two are none */
};

/* what was read of one argument: this, then length bytes; a vector has one for each string */
struct part {
	__u16 length;
	__u8 reg;
	__u8 marks;
};

/* bits of part.marks */
enum uidtraced_mark {
	UIDTRACED_M_TRUNCATED = 1,  /* there is more of it */
	UIDTRACED_M_UNREADABLE = 2, /* its bytes are the pointer that could not be followed */
	UIDTRACED_M_AGAIN = 4,	    /* empty: what was read before of this argument does not hold */
	UIDTRACED_M_MORE = 8,	    /* empty: the vector has more strings */
	UIDTRACED_M_DELETED = 16,   /* of an executable: it has no name any more */
};

/* the parts of an event are this long at the most, and a few headers */
#define UIDTRACED_DATA_MAX 8704
#define UIDTRACED_STRING_MAX 4096
#define UIDTRACED_STRINGS_MAX 64
#define UIDTRACED_EXE_MAX 1024

/* value of the map of executables: a path, as its names from the last one up, each with its NUL */
struct exe {
	__u32 length;
	__u32 marks;
	__u8 names[UIDTRACED_EXE_MAX];
};

/* what comes out of the ring: this, then data_bytes of parts */
struct event {
	__u64 boot_ns; /* CLOCK_BOOTTIME, when the call was entered */
	__u64 seq;     /* per cpu, from 1, a hole is a loss */
	__u64 args[UIDTRACED_ARGS];
	__u64 ret;
	__u64 duration_ns;
	__u64 cgroup; /* id in the unified hierarchy */
	__u64 exe;    /* key of the map of executables; 0: none */
	__u32 cpu;
	__u32 uid;
	__u32 euid;
	__u32 loginuid; /* 2^32 - 1: unset */
	__u32 pid;	/* thread group, in the daemon's pid namespace where it is in it */
	__u32 tid;
	__u32 ppid;
	__u32 revision;
	__u32 data_at; /* user space's: where in the batch its parts are */
	__u32 data_bytes;
	__u16 nr;
	__u16 abi;
	__u16 outcome;
	__u8 comm[UIDTRACED_COMM_LEN];
};

#endif

/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What the BPF program and user space share; clang and cffi both parse this file. */
#ifndef UIDTRACED_EVENT_H
#define UIDTRACED_EVENT_H

/* numbers from here on are never a match; the largest real one is 547 (x32) */
#define UIDTRACED_NR_MAX 1024
/*
 * What 32-bit programs of x86 call through socketcall and ipc has numbers of its own behind: these
 * and the number of the call there, include/uapi/linux/net.h and ipc.h.
 */
#define UIDTRACED_SOCKETCALL 1024
#define UIDTRACED_IPC 1056
#define UIDTRACED_NUMBERS 1088 /* so many with them */
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
	__u64 dropped;	/* those that it refused */
	__u64 position; /* up to where in the ring both are counted */
	/* losses that a record told of, by cause: */
	__u64 told_ring_full;
	__u64 told_limited;
	__u64 told_dropped;
};

/* the bit of control.wanted[nr] that is no ABI's: nr is bpf(2) in one of them */
enum uidtraced_wanted {
	UIDTRACED_W_BPF = 128,
};

/* what user space sets while the program runs; each member is read at most once a call */
struct control {
	/* these two stay first: the next version reads them, whatever else it changes */
	__u64 alive_ns;			/* when the daemon was last seen alive, CLOCK_BOOTTIME */
	__u64 lost;			/* how many events had found the ring full by then */
	__u8 wanted[UIDTRACED_NUMBERS]; /* [nr]: a bit for each ABI in which somebody wants it */
	__u64 changes;	   /* grows with each change of the rules; odd while they are changed */
	__u64 writing;	   /* the daemon writes the ring's events up to here; 0: none */
	__u64 own_bpf;	   /* calls of bpf(2) that the program saw: the daemon's */
	__u64 others_bpf;  /* and everybody else's, who may have changed what is the daemon's */
	__u32 revision;	   /* of the policy in force */
	__u32 generation;  /* of the programs that are to act: others may be on their way */
	__u32 scopes;	   /* outer maps in use */
	__u32 blocks;	   /* maps of blocks in use */
	__u32 ring_bytes;  /* size of the ring */
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

/* bits of event.via */
enum uidtraced_via {
	UIDTRACED_V_URING = 1,	    /* no system call: a request of io_uring that stands for it */
	UIDTRACED_V_REGISTERED = 2, /* its file is the ring's of that number, not an fd */
	UIDTRACED_V_UNREAD = 4, /* args are those of socketcall or ipc: its own were unreadable */
};

/* the operations that stand for a system call: include/uapi/linux/io_uring.h, as of Linux 6.18 */
enum uidtraced_op {
	UIDTRACED_OP_READV = 1,
	UIDTRACED_OP_WRITEV = 2,
	UIDTRACED_OP_FSYNC = 3,
	UIDTRACED_OP_READ_FIXED = 4,
	UIDTRACED_OP_WRITE_FIXED = 5,
	UIDTRACED_OP_SYNC_FILE_RANGE = 8,
	UIDTRACED_OP_SENDMSG = 9,
	UIDTRACED_OP_RECVMSG = 10,
	UIDTRACED_OP_ACCEPT = 13,
	UIDTRACED_OP_CONNECT = 16,
	UIDTRACED_OP_FALLOCATE = 17,
	UIDTRACED_OP_OPENAT = 18,
	UIDTRACED_OP_CLOSE = 19,
	UIDTRACED_OP_STATX = 21,
	UIDTRACED_OP_READ = 22,
	UIDTRACED_OP_WRITE = 23,
	UIDTRACED_OP_FADVISE = 24,
	UIDTRACED_OP_MADVISE = 25,
	UIDTRACED_OP_SEND = 26,
	UIDTRACED_OP_RECV = 27,
	UIDTRACED_OP_OPENAT2 = 28,
	UIDTRACED_OP_EPOLL_CTL = 29,
	UIDTRACED_OP_SPLICE = 30,
	UIDTRACED_OP_TEE = 33,
	UIDTRACED_OP_SHUTDOWN = 34,
	UIDTRACED_OP_RENAMEAT = 35,
	UIDTRACED_OP_UNLINKAT = 36,
	UIDTRACED_OP_MKDIRAT = 37,
	UIDTRACED_OP_SYMLINKAT = 38,
	UIDTRACED_OP_LINKAT = 39,
	UIDTRACED_OP_FSETXATTR = 41,
	UIDTRACED_OP_SETXATTR = 42,
	UIDTRACED_OP_FGETXATTR = 43,
	UIDTRACED_OP_GETXATTR = 44,
	UIDTRACED_OP_SOCKET = 45,
	UIDTRACED_OP_SEND_ZC = 47,
	UIDTRACED_OP_SENDMSG_ZC = 48,
	UIDTRACED_OP_READ_MULTISHOT = 49,
	UIDTRACED_OP_FTRUNCATE = 55,
	UIDTRACED_OP_BIND = 56,
	UIDTRACED_OP_LISTEN = 57,
	UIDTRACED_OP_RECV_ZC = 58,
	UIDTRACED_OP_EPOLL_WAIT = 59,
	UIDTRACED_OP_READV_FIXED = 60,
	UIDTRACED_OP_WRITEV_FIXED = 61,
	UIDTRACED_OP_PIPE = 62,
};

/* operations have smaller numbers: 63 of them are known, and the kernel's type ends at 255 */
#define UIDTRACED_URING_OPS 128

/* what must be known of io_uring before the programs are loaded */
struct uring {
	/*
	 * Which system call each operation stands for, UIDTRACED_NR_MAX for none: a table for
	 * rings of the machine's own ABI, one for those of its 32-bit ABI, then both again for
	 * operations at a file's own position, or of its data alone.
	 */
	__u16 calls[4 * UIDTRACED_URING_OPS];
	__u16 abis[2];	   /* of these two */
	__u32 seen;	   /* whether this kernel shows requests in a way that we know */
	__u32 cqe_pointer; /* whether tracepoint io_uring_complete has a pointer to the result */
	/* bits of this kernel's io_kiocb.flags, 0 where it has none: */
	__u32 creds;	  /* has credentials of its own */
	__u32 registered; /* its file is a registered one */
	__u32 copied;	  /* what its pointers point to was copied */
	__u32 endless;	  /* completes in silence, or many times */
	__u32 o_largefile;
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
	__u8 kind[6]; /* by register */
	__u8 words;   /* of a call through socketcall or ipc: arguments that are in memory */
	__u8 none;
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
#define UIDTRACED_STRINGS_MAX 256
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
	__u32 cpu;
	__u32 revision;
	__u32 data_at; /* user space's: where in the batch its parts are */
	__u32 data_bytes;
	__u16 nr;
	__u16 abi;
	__u16 via;
	__u16 outcome;
	/* who made the call: from here to the end, user space reads all at once */
	__u64 cgroup; /* id in the unified hierarchy */
	__u64 exe;    /* key of the map of executables; 0: none */
	__u32 uid;
	__u32 euid;
	__u32 loginuid; /* 2^32 - 1: unset */
	__u32 pid;	/* thread group, in the daemon's pid namespace where it is in it */
	__u32 tid;
	__u32 ppid;
	__u8 comm[UIDTRACED_COMM_LEN];
};

#endif

/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Whose the ring's bytes are; the BPF program and user space both include this. */
#ifndef UIDTRACED_SHARE_H
#define UIDTRACED_SHARE_H

#define UIDTRACED_SHARES 65536

/* bytes of records by share_of(uid), since ever; what waits in the ring is sent - taken */
struct shares {
	__u32 sent[UIDTRACED_SHARES];  /* put in, by the program */
	__u32 taken[UIDTRACED_SHARES]; /* released, by user space */
};

/* uids side by side have shares of their own, and so have those 65,536 apart, as containers have */
static inline __u32 share_of(__u32 uid)
{
	return (uid ^ (uid >> 16) * 0x9e37) & (UIDTRACED_SHARES - 1);
}

/* what a record with so many bytes of data takes: kernel/bpf/ringbuf.c */
static inline __u32 record_bytes(__u32 length)
{
	return (length + BPF_RINGBUF_HDR_SZ + 7) / 8 * 8;
}

#endif

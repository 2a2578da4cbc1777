/* SPDX-License-Identifier: GPL-2.0-only */
/* What of the kernel's io_uring is read; CO-RE finds the real offsets at load time. */
#ifndef UIDTRACED_URING_TYPES_H
#define UIDTRACED_URING_TYPES_H

#include "vmlinux.h"

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct io_uring_cqe {
	__s32 res;
};

struct io_cqe {
	int fd;
};

struct io_ring_ctx {
	unsigned int flags;
	unsigned int compat : 1;
	__u32 *sq_array;
	void *sq_sqes;
	unsigned int cached_sq_head;
	unsigned int sq_entries;
};

struct io_kiocb {
	struct {
	} cmd; /* of the types below, by operation */
	__u8 opcode;
	__u32 flags;
	struct io_cqe cqe;
	struct io_ring_ctx *ctx;
	void *async_data;
	const struct cred *creds;
};

struct filename {
	const char *name;
	const char *uptr;
};

struct open_how_kept {
	__u64 flags, mode, resolve;
};

struct io_open {
	int dfd;
	struct filename *filename;
	struct open_how_kept how;
};

struct io_close {
	int fd;
	__u32 file_slot;
};

struct kiocb {
	__u64 ki_pos;
};

struct io_rw {
	struct kiocb kiocb;
	__u64 addr;
	__u32 len;
	int flags;
};

struct io_sr_msg {
	void *umsg;
	void *buf;
	int len;
	unsigned int msg_flags;
	void *addr; /* before 6.14 or so; then the kernel's copy is in async_data */
	int addr_len;
};

struct io_recvzc {
	unsigned int msg_flags;
	__u32 len;
};

struct io_connect {
	void *addr;
	int addr_len;
};

struct io_accept {
	void *addr;
	int *addr_len;
	int flags;
};

struct io_bind {
	int addr_len;
};

struct io_listen {
	int backlog;
};

struct io_socket {
	int domain, type, protocol;
};

struct io_shutdown {
	int how;
};

struct io_unlink {
	int dfd, flags;
	struct filename *filename;
};

struct io_rename {
	int old_dfd, new_dfd, flags;
	struct filename *oldpath, *newpath;
};

struct io_link {
	int old_dfd, new_dfd, flags;
	struct filename *oldpath, *newpath;
};

struct io_mkdir {
	int dfd;
	__u16 mode;
	struct filename *filename;
};

struct io_statx {
	int dfd;
	unsigned int mask, flags;
	struct filename *filename;
	void *buffer;
};

struct io_splice {
	__u64 off_out, off_in;
	__u64 len;
	int splice_fd_in;
	unsigned int flags;
};

struct io_sync {
	__u64 len, off;
	int flags, mode;
};

struct io_fadvise {
	__u64 offset, len;
	__u32 advice;
};

struct io_madvise {
	__u64 addr, len;
	__u32 advice;
};

struct io_epoll {
	int epfd, op, fd;
};

struct io_epoll_wait {
	int maxevents;
	void *events;
};

struct io_ftrunc {
	__u64 len;
};

struct io_pipe {
	int *fds;
	int flags;
};

struct xattr_name {
	char name[256];
};

struct kernel_xattr_ctx {
	void *value;
	__u64 size;
	struct xattr_name *kname;
	unsigned int flags;
};

struct io_xattr {
	struct kernel_xattr_ctx ctx;
	struct filename *filename;
};

struct msghdr {
	void *msg_name;
	int msg_namelen;
};

/* where io_sr_msg has no address, a request that sends has one of these when it is submitted */
struct io_async_msghdr {
	struct msghdr msg;
};

#pragma clang attribute pop

#endif

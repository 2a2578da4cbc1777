/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Reads what a request of io_uring asks for as the arguments of the system call that it stands for.
 * Numbers and names are the kernel's own copy, made before the tracepoint: nobody can change them.
 */
#ifndef UIDTRACED_URING_H
#define UIDTRACED_URING_H

#include "vmlinux.h"
#include "event.h"
#include "data.h"
#include "uring_types.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#define FSYNC_DATASYNC 1	/* IORING_FSYNC_DATASYNC, include/uapi/linux/io_uring.h */
#define MSG_INTERNAL 0x80000000 /* MSG_CMSG_COMPAT, include/linux/socket.h */
#define SETUP_SQE128 (1U << 10) /* IORING_SETUP_SQE128 and so on, likewise */
#define SETUP_NO_SQARRAY (1U << 16)
#define NOT_NULL 1 /* in place of an address that the kernel has not kept */

/* the beginning of a request in the ring: uapi, 64 bytes long */
struct io_uring_sqe {
	__u8 opcode;
	__u8 flags;
	__u16 ioprio;
	__s32 fd;
	__u64 off;
	__u64 addr;
};

/* user space fills it before loading */
const volatile struct uring uring SEC(".rodata.uring") = {};

/* 0 where this kernel has no such member; of whatever size it is here, up to 8 bytes */
#define GET(pointer, field)                                                                        \
	({                                                                                         \
		__u64 _value = 0;                                                                  \
		__u32 _size = bpf_core_field_size((pointer)->field);                               \
		if (bpf_core_field_exists((pointer)->field))                                       \
			bpf_core_read(&_value, _size < 8 ? _size : 8, &(pointer)->field);          \
		_value;                                                                            \
	})
#define CMD(type, field) GET((struct type *)cmd, field)

static __always_inline void put_kernel_string(struct workspace *w, __u32 reg, __u64 address)
{
	__u32 at = data_end(w);
	long got;

	if (at >= DATA_MAX - UIDTRACED_STRING_MAX) {
		end_part(w, reg, 0, UIDTRACED_M_TRUNCATED);
		return;
	}
	/* a struct filename, or the name of an attribute: neither is longer */
	got = bpf_probe_read_kernel_str(w->data + at + sizeof(struct part), UIDTRACED_STRING_MAX,
					(void *)address);
	if (got > 0)
		end_part(w, reg, (got - 1) & (UIDTRACED_STRING_MAX - 1), 0);
}

static __always_inline void put_kernel_bytes(struct workspace *w, __u32 reg, __u64 address,
					     __u32 length)
{
	__u32 at = data_end(w);

	barrier_var(length); /* as 32 bits, of which the verifier knows the bounds */
	if (length > SOCKADDR_MAX)
		length = SOCKADDR_MAX;
	if (!bpf_probe_read_kernel(w->data + at + sizeof(struct part), length, (void *)address))
		end_part(w, reg, length, 0);
}

/* no name at all is NULL: with AT_EMPTY_PATH the kernel keeps none */
static __always_inline void put_name(struct workspace *w, __u32 reg, __u64 filename)
{
	struct filename *name = (void *)filename;

	w->e.args[reg & 7] = name ? GET(name, uptr) ?: NOT_NULL : 0;
	if (name)
		put_kernel_string(w, reg, GET(name, name));
}

/* As of a call, it is read from the caller's memory: where the kernel's copy lies cannot be told.
 */
static __always_inline void put_address(struct workspace *w, __u32 reg, __u64 address, __u32 length)
{
	w->e.args[reg] = address;
	w->e.args[reg + 1] = length;
	if (address)
		put_bytes(w, reg, address, length);
}

/* the request that was taken from the ring last, which is still there but for a hasty caller */
static __always_inline __u64 address_in_ring(struct io_kiocb *req)
{
	struct io_ring_ctx *ring = (void *)GET(req, ctx);
	__u32 flags = GET(ring, flags), index = GET(ring, cached_sq_head) - 1;
	struct io_uring_sqe sqe = {};

	index &= GET(ring, sq_entries) - 1;
	if (!(flags & SETUP_NO_SQARRAY))
		bpf_probe_read_kernel(&index, sizeof(index), (__u32 *)GET(ring, sq_array) + index);
	if (flags & SETUP_SQE128)
		index <<= 1;
	bpf_probe_read_kernel(&sqe, sizeof(sqe), (void *)GET(ring, sq_sqes) + index * 64);
	return sqe.opcode == UIDTRACED_OP_BIND ? sqe.addr : 0;
}

static __always_inline void put_send(struct workspace *w, struct io_kiocb *req, void *cmd)
{
	struct io_async_msghdr *msg;
	struct io_sr_msg *send = cmd;
	__u64 address;

	if (bpf_core_field_exists(send->addr)) {
		put_address(w, 4, GET(send, addr), GET(send, addr_len));
		return;
	}
	if (!(GET(req, flags) & uring.copied))
		return;
	msg = (void *)GET(req, async_data);
	address = GET(msg, msg.msg_name);
	if (!address)
		return;
	w->e.args[4] = NOT_NULL;
	w->e.args[5] = GET(msg, msg.msg_namelen);
	put_kernel_bytes(w, 4, address, w->e.args[5]);
}

/*
 * What the call would have in its registers, were all of them 64 bits wide: user space knows from
 * event.via to read them so, in every ABI.
 */
static __always_inline void read_request(struct workspace *w, struct io_kiocb *req, __u32 op)
{
	void *cmd = (void *)req + bpf_core_field_offset(req->cmd);
	__u64 *args = w->e.args;
	__u64 first = 0, second = 0;
	__u32 first_reg = 0, second_reg = 0;

	args[0] = GET(req, cqe.fd);
	switch (op) {
	case UIDTRACED_OP_READV:
	case UIDTRACED_OP_WRITEV:
	case UIDTRACED_OP_READV_FIXED:
	case UIDTRACED_OP_WRITEV_FIXED:
		args[5] = CMD(io_rw, flags);
		/* fallthrough */
	case UIDTRACED_OP_READ:
	case UIDTRACED_OP_WRITE:
	case UIDTRACED_OP_READ_FIXED:
	case UIDTRACED_OP_WRITE_FIXED:
	case UIDTRACED_OP_READ_MULTISHOT:
		args[1] = CMD(io_rw, addr);
		args[2] = CMD(io_rw, len);
		args[3] = CMD(io_rw, kiocb.ki_pos);
		break;
	case UIDTRACED_OP_SENDMSG:
	case UIDTRACED_OP_SENDMSG_ZC:
	case UIDTRACED_OP_RECVMSG:
		args[1] = CMD(io_sr_msg, umsg);
		args[2] = CMD(io_sr_msg, msg_flags) & ~(__u64)MSG_INTERNAL;
		break;
	case UIDTRACED_OP_SEND:
	case UIDTRACED_OP_SEND_ZC:
	case UIDTRACED_OP_RECV:
		args[1] = CMD(io_sr_msg, buf);
		args[2] = CMD(io_sr_msg, len);
		args[3] = CMD(io_sr_msg, msg_flags) & ~(__u64)MSG_INTERNAL;
		if (op != UIDTRACED_OP_RECV)
			put_send(w, req, cmd);
		break;
	case UIDTRACED_OP_RECV_ZC:
		args[2] = CMD(io_recvzc, len);
		args[3] = CMD(io_recvzc, msg_flags);
		break;
	case UIDTRACED_OP_CONNECT:
		put_address(w, 1, CMD(io_connect, addr), CMD(io_connect, addr_len));
		break;
	case UIDTRACED_OP_BIND:
		put_address(w, 1, address_in_ring(req), CMD(io_bind, addr_len));
		break;
	case UIDTRACED_OP_ACCEPT:
		args[1] = CMD(io_accept, addr);
		args[2] = CMD(io_accept, addr_len);
		args[3] = CMD(io_accept, flags);
		w->addr_room = length_back(args[2]);
		break;
	case UIDTRACED_OP_LISTEN:
		args[1] = CMD(io_listen, backlog);
		break;
	case UIDTRACED_OP_SOCKET:
		args[0] = CMD(io_socket, domain);
		args[1] = CMD(io_socket, type);
		args[2] = CMD(io_socket, protocol);
		break;
	case UIDTRACED_OP_SHUTDOWN:
		args[1] = CMD(io_shutdown, how);
		break;
	case UIDTRACED_OP_OPENAT:
	case UIDTRACED_OP_OPENAT2:
		args[0] = CMD(io_open, dfd);
		first = CMD(io_open, filename);
		first_reg = 1;
		args[2] = CMD(io_open, how.flags) & ~(__u64)uring.o_largefile;
		args[3] = CMD(io_open, how.mode);
		args[4] = CMD(io_open, how.resolve);
		break;
	case UIDTRACED_OP_CLOSE:
		args[0] = CMD(io_close, fd);
		if (CMD(io_close, file_slot)) {
			args[0] = CMD(io_close, file_slot) - 1;
			w->e.via |= UIDTRACED_V_REGISTERED;
		}
		break;
	case UIDTRACED_OP_STATX:
		args[0] = CMD(io_statx, dfd);
		first = CMD(io_statx, filename);
		first_reg = 1;
		args[2] = CMD(io_statx, flags);
		args[3] = CMD(io_statx, mask);
		args[4] = CMD(io_statx, buffer);
		break;
	case UIDTRACED_OP_UNLINKAT:
		args[0] = CMD(io_unlink, dfd);
		first = CMD(io_unlink, filename);
		first_reg = 1;
		args[2] = CMD(io_unlink, flags);
		break;
	case UIDTRACED_OP_MKDIRAT:
		args[0] = CMD(io_mkdir, dfd);
		first = CMD(io_mkdir, filename);
		first_reg = 1;
		args[2] = CMD(io_mkdir, mode);
		break;
	case UIDTRACED_OP_RENAMEAT:
		args[0] = CMD(io_rename, old_dfd);
		first = CMD(io_rename, oldpath);
		first_reg = 1;
		args[2] = CMD(io_rename, new_dfd);
		second = CMD(io_rename, newpath);
		second_reg = 3;
		args[4] = CMD(io_rename, flags);
		break;
	case UIDTRACED_OP_LINKAT:
		args[0] = CMD(io_link, old_dfd);
		first = CMD(io_link, oldpath);
		first_reg = 1;
		args[2] = CMD(io_link, new_dfd);
		second = CMD(io_link, newpath);
		second_reg = 3;
		args[4] = CMD(io_link, flags);
		break;
	case UIDTRACED_OP_SYMLINKAT:
		first = CMD(io_link, oldpath);
		args[1] = CMD(io_link, new_dfd);
		second = CMD(io_link, newpath);
		second_reg = 2;
		break;
	case UIDTRACED_OP_SETXATTR:
	case UIDTRACED_OP_GETXATTR:
		first = CMD(io_xattr, filename);
		/* fallthrough */
	case UIDTRACED_OP_FSETXATTR:
	case UIDTRACED_OP_FGETXATTR:
		args[1] = NOT_NULL;
		args[2] = CMD(io_xattr, ctx.value);
		args[3] = CMD(io_xattr, ctx.size);
		args[4] = CMD(io_xattr, ctx.flags);
		put_kernel_string(w, 1, CMD(io_xattr, ctx.kname));
		break;
	case UIDTRACED_OP_FSYNC:
		break;
	case UIDTRACED_OP_SYNC_FILE_RANGE:
		args[1] = CMD(io_sync, off);
		args[2] = CMD(io_sync, len);
		args[3] = CMD(io_sync, flags);
		break;
	case UIDTRACED_OP_FALLOCATE:
		args[1] = CMD(io_sync, mode);
		args[2] = CMD(io_sync, off);
		args[3] = CMD(io_sync, len);
		break;
	case UIDTRACED_OP_FTRUNCATE:
		args[1] = CMD(io_ftrunc, len);
		break;
	case UIDTRACED_OP_FADVISE:
		args[1] = CMD(io_fadvise, offset);
		args[2] = CMD(io_fadvise, len);
		args[3] = CMD(io_fadvise, advice);
		break;
	case UIDTRACED_OP_MADVISE:
		args[0] = CMD(io_madvise, addr);
		args[1] = CMD(io_madvise, len);
		args[2] = CMD(io_madvise, advice);
		break;
	case UIDTRACED_OP_SPLICE:
		args[2] = args[0];
		args[0] = CMD(io_splice, splice_fd_in);
		args[1] = CMD(io_splice, off_in);
		args[3] = CMD(io_splice, off_out);
		args[4] = CMD(io_splice, len);
		args[5] = CMD(io_splice, flags);
		break;
	case UIDTRACED_OP_TEE:
		args[1] = args[0];
		args[0] = CMD(io_splice, splice_fd_in);
		args[2] = CMD(io_splice, len);
		args[3] = CMD(io_splice, flags);
		break;
	case UIDTRACED_OP_EPOLL_CTL:
		args[0] = CMD(io_epoll, epfd);
		args[1] = CMD(io_epoll, op);
		args[2] = CMD(io_epoll, fd);
		break;
	case UIDTRACED_OP_EPOLL_WAIT:
		args[1] = CMD(io_epoll_wait, events);
		args[2] = CMD(io_epoll_wait, maxevents);
		args[3] = -1;
		break;
	case UIDTRACED_OP_PIPE:
		args[0] = CMD(io_pipe, fds);
		args[1] = CMD(io_pipe, flags);
		break;
	}
	/* here alone, since each reading of a string is much for the verifier */
	if (first)
		put_name(w, first_reg, first);
	if (second)
		put_name(w, second_reg, second);
}

/* What the kernel gives back is an address of accept4 alone. */
static __always_inline void read_address_back(struct workspace *w)
{
	__u32 length;

	if (!w->addr_room)
		return;
	length = length_back(w->e.args[2]);
	if (length)
		put_bytes(w, 1, w->e.args[1], length < w->addr_room ? length : w->addr_room);
}

/* The number of the call that the request stands for, UIDTRACED_NR_MAX for none. */
static __always_inline __u32 call_of(struct io_kiocb *req, __u32 op, bool compat)
{
	void *cmd = (void *)req + bpf_core_field_offset(req->cmd);
	__u32 index = (compat ? UIDTRACED_URING_OPS : 0) + op;
	bool other = false;

	switch (op) {
	case UIDTRACED_OP_READ:
	case UIDTRACED_OP_WRITE:
	case UIDTRACED_OP_READ_FIXED:
	case UIDTRACED_OP_WRITE_FIXED:
	case UIDTRACED_OP_READ_MULTISHOT:
		other = CMD(io_rw, kiocb.ki_pos) == -1ULL;
		break;
	case UIDTRACED_OP_FSYNC:
		other = CMD(io_sync, flags) & FSYNC_DATASYNC;
		break;
	}
	if (other)
		index += 2 * UIDTRACED_URING_OPS;
	barrier_var(index);
	return index < 4 * UIDTRACED_URING_OPS ? uring.calls[index] : UIDTRACED_NR_MAX;
}

#endif

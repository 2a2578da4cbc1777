/*
 * Does work with files and sockets through io_uring alone, one request at a time, in the directory
 * where it runs. Arguments: the uid to take on, then any of sqpoll, quiet, fixed, guest, twice;
 * says on standard output what each request was answered: "unlinkat 0".
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#define OP_FTRUNCATE 55 /* newer than some headers: include/uapi/linux/io_uring.h */
#define OP_BIND 56
#define OP_LISTEN 57

static int ring;
static unsigned char *sq, *cq;
static struct io_uring_params params;
static struct io_uring_sqe *sqes;
static char known[256];
static int personality, fixed, quiet;

static unsigned *at(unsigned char *queue, unsigned offset)
{
	return (unsigned *)(queue + offset);
}

static void *map(size_t size, unsigned long offset)
{
	void *found =
		mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring, offset);

	if (found == MAP_FAILED) {
		perror("mmap");
		exit(1);
	}
	return found;
}

static void open_ring(unsigned flags)
{
	struct {
		struct io_uring_probe probe;
		struct io_uring_probe_op ops[256];
	} probe = {};

	params.flags = flags;
	params.sq_thread_idle = 50;
	ring = syscall(SYS_io_uring_setup, 8, &params);
	if (ring < 0) {
		perror("io_uring_setup");
		exit(1);
	}
	sq = map(params.sq_off.array + params.sq_entries * sizeof(unsigned), IORING_OFF_SQ_RING);
	cq = map(params.cq_off.cqes + params.cq_entries * sizeof(struct io_uring_cqe),
		 IORING_OFF_CQ_RING);
	sqes = map(params.sq_entries * sizeof(*sqes), IORING_OFF_SQES);
	syscall(SYS_io_uring_register, ring, IORING_REGISTER_PROBE, &probe, 256);
	for (int i = 0; i < 256; i++)
		known[i] = probe.ops[i].flags & IO_URING_OP_SUPPORTED;
}

static void enter(unsigned submit, unsigned wait)
{
	unsigned flags = wait ? IORING_ENTER_GETEVENTS : 0;

	if (params.flags & IORING_SETUP_SQPOLL &&
	    *at(sq, params.sq_off.flags) & IORING_SQ_NEED_WAKEUP)
		flags |= IORING_ENTER_SQ_WAKEUP;
	if (syscall(SYS_io_uring_enter, ring, submit, wait, flags, NULL, 0) < 0) {
		perror("io_uring_enter");
		exit(1);
	}
}

static int ask(const char *name, struct io_uring_sqe sqe)
{
	unsigned tail = *at(sq, params.sq_off.tail), head = *at(cq, params.cq_off.head);
	unsigned place = tail & *at(sq, params.sq_off.ring_mask);
	struct io_uring_cqe *cqes = (void *)(cq + params.cq_off.cqes);
	int answer;

	if (!known[sqe.opcode])
		return -EOPNOTSUPP;
	sqe.personality = personality;
	if (quiet)
		sqe.flags |= IOSQE_CQE_SKIP_SUCCESS;
	sqes[place] = sqe;
	at(sq, params.sq_off.array)[place] = place;
	__atomic_store_n(at(sq, params.sq_off.tail), tail + 1, __ATOMIC_SEQ_CST);
	enter(1, !quiet);
	/* the kernel has its own copy: what is here now is nothing that was asked for */
	memset(&sqes[place], 0xff, sizeof(sqe));
	if (quiet)
		return 0;
	while (__atomic_load_n(at(cq, params.cq_off.tail), __ATOMIC_ACQUIRE) == head)
		enter(0, 1);
	answer = cqes[head & *at(cq, params.cq_off.ring_mask)].res;
	__atomic_store_n(at(cq, params.cq_off.head), head + 1, __ATOMIC_RELEASE);
	printf("%s %d\n", name, answer);
	return answer;
}

#define ASK(name, op, ...) ask(name, (struct io_uring_sqe){.opcode = op, __VA_ARGS__})
#define P(pointer) ((unsigned long)(pointer))

static void files(void)
{
	int fd;

	ASK("mkdirat", IORING_OP_MKDIRAT, .fd = AT_FDCWD, .addr = P("d"), .len = 0750);
	fd = ASK("openat", IORING_OP_OPENAT, .fd = AT_FDCWD, .addr = P("d/f"), .len = 0640,
		 .open_flags = O_CREAT | O_RDWR | O_CLOEXEC);
	ASK("pwrite64", IORING_OP_WRITE, .fd = fd, .addr = P("hello"), .len = 5, .off = 3);
	ASK("write", IORING_OP_WRITE, .fd = fd, .addr = P("hello"), .len = 4, .off = -1);
	ASK("fdatasync", IORING_OP_FSYNC, .fd = fd, .fsync_flags = IORING_FSYNC_DATASYNC);
	ASK("fallocate", IORING_OP_FALLOCATE, .fd = fd, .off = 1, .addr = 4096, .len = 0);
	ASK("ftruncate", OP_FTRUNCATE, .fd = fd, .off = 7);
	ASK("close", IORING_OP_CLOSE, .fd = fd);
	ASK("renameat2", IORING_OP_RENAMEAT, .fd = AT_FDCWD, .addr = P("d/f"), .len = AT_FDCWD,
	    .addr2 = P("d/g"), .rename_flags = 1);
	ASK("symlinkat", IORING_OP_SYMLINKAT, .fd = AT_FDCWD, .addr = P("g"), .addr2 = P("d/s"));
	ASK("linkat", IORING_OP_LINKAT, .fd = AT_FDCWD, .addr = P("d/g"), .len = AT_FDCWD,
	    .addr2 = P("d/h"), .hardlink_flags = 0x400);
	ASK("setxattr", IORING_OP_SETXATTR, .addr = P("user.x"), .off = P("1"), .len = 1,
	    .addr3 = P("d/g"));
	ASK("openat", IORING_OP_OPENAT, .fd = AT_FDCWD, .addr = P("d/nowhere"),
	    .open_flags = O_RDONLY);
	ASK("unlinkat", IORING_OP_UNLINKAT, .fd = AT_FDCWD, .addr = P("d/g"));
	ASK("unlinkat", IORING_OP_UNLINKAT, .fd = AT_FDCWD, .addr = P("d/h"));
	ASK("unlinkat", IORING_OP_UNLINKAT, .fd = AT_FDCWD, .addr = P("d/s"));
	ASK("unlinkat", IORING_OP_UNLINKAT, .fd = AT_FDCWD, .addr = P("d"),
	    .unlink_flags = AT_REMOVEDIR);
}

static void how(void)
{
	__u64 how[3] = {O_RDONLY | O_DIRECTORY, 0, 0x08};

	ASK("openat2", IORING_OP_OPENAT2, .fd = AT_FDCWD, .addr = P("."), .len = sizeof(how),
	    .addr2 = P(how));
}

static void sockets(void)
{
	struct sockaddr_in here = {.sin_family = AF_INET,
				   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct sockaddr_un there = {.sun_family = AF_UNIX, .sun_path = "socket"};
	struct sockaddr_in peer;
	socklen_t length = sizeof(here), room = sizeof(peer);
	struct iovec part = {"there", 5};
	struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
	char text[16];
	int server = socket(AF_INET, SOCK_STREAM, 0), client, taken, unix_server, unix_client;

	if (bind(server, (void *)&here, sizeof(here)) || listen(server, 5) ||
	    getsockname(server, (void *)&here, &length))
		exit(1);
	fprintf(stderr, "%d\n", ntohs(here.sin_port));
	client = ASK("socket", IORING_OP_SOCKET, .fd = AF_INET, .off = SOCK_STREAM | SOCK_CLOEXEC);
	ASK("connect", IORING_OP_CONNECT, .fd = client, .addr = P(&here), .off = sizeof(here));
	taken = ASK("accept4", IORING_OP_ACCEPT, .fd = server, .addr = P(&peer), .addr2 = P(&room),
		    .accept_flags = SOCK_CLOEXEC);
	ASK("sendto", IORING_OP_SEND, .fd = client, .addr = P("hello"), .len = 5);
	ASK("sendmsg", IORING_OP_SENDMSG, .fd = client, .addr = P(&message), .len = 1);
	ASK("recvfrom", IORING_OP_RECV, .fd = taken, .addr = P(text), .len = 16,
	    .msg_flags = MSG_PEEK);
	ASK("shutdown", IORING_OP_SHUTDOWN, .fd = client, .len = SHUT_WR);

	unix_server = socket(AF_UNIX, SOCK_DGRAM, 0);
	if (known[OP_BIND])
		ASK("bind", OP_BIND, .fd = unix_server, .addr = P(&there), .addr2 = sizeof(there));
	else if (bind(unix_server, (void *)&there, sizeof(there)))
		exit(1);
	unix_client = socket(AF_UNIX, SOCK_DGRAM, 0);
	ASK("sendto", IORING_OP_SEND, .fd = unix_client, .addr = P("hello"), .len = 5,
	    .addr2 = P(&there), .addr_len = sizeof(there));
	ASK("connect", IORING_OP_CONNECT, .fd = unix_client, .addr = P(&there),
	    .off = sizeof(there));
	ASK("listen", OP_LISTEN, .fd = server, .len = 7);
	unlink("socket");
}

static void registered(void)
{
	int fds[] = {open(".", O_RDONLY | O_DIRECTORY), open("/dev/null", O_WRONLY)};

	if (syscall(SYS_io_uring_register, ring, IORING_REGISTER_FILES, fds, 2)) {
		perror("io_uring_register");
		exit(1);
	}
	ASK("pwrite64", IORING_OP_WRITE, .fd = 1, .flags = IOSQE_FIXED_FILE, .addr = P("x"),
	    .len = 1);
	ASK("close", IORING_OP_CLOSE, .file_index = 2);
}

int main(int argc, char **argv)
{
	int uid = atoi(argv[1]), guest = 0, again = 1;
	unsigned flags = 0;

	for (int i = 2; i < argc; i++) {
		flags |= strcmp(argv[i], "sqpoll") ? 0 : IORING_SETUP_SQPOLL;
		quiet |= !strcmp(argv[i], "quiet");
		fixed |= !strcmp(argv[i], "fixed");
		guest |= !strcmp(argv[i], "guest");
		again = strcmp(argv[i], "twice") ? again : 2;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (guest) { /* root keeps the ring, and acts as the user by its credentials alone */
		open_ring(flags);
		if (setresuid(uid, uid, 0))
			return 1;
		personality =
			syscall(SYS_io_uring_register, ring, IORING_REGISTER_PERSONALITY, 0, 0);
		if (setresuid(0, 0, 0) || personality < 0)
			return 1;
	} else {
		if (setresgid(uid, uid, uid) || setresuid(uid, uid, uid))
			return 1;
		open_ring(flags);
	}
	if (fixed) {
		registered();
		return 0;
	}
	if (quiet) {
		ASK("mkdirat", IORING_OP_MKDIRAT, .fd = AT_FDCWD, .addr = P("q"), .len = 0700);
		usleep(200000);
		return rmdir("q");
	}
	while (again--)
		files();
	how();
	sockets();
	return 0;
}

/* sockets of a 32-bit program: its C library makes all calls through socketcall */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

static void stream(void)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	struct sockaddr_in peer;
	socklen_t length = sizeof(in), room = sizeof(peer), size = sizeof(int);
	int one = socket(AF_INET, SOCK_STREAM, 0), two = socket(AF_INET, SOCK_STREAM, 0);
	int on = 1, three, four;
	char text[8];

	setsockopt(one, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	getsockopt(one, SOL_SOCKET, SO_REUSEADDR, &on, &size);
	bind(one, (void *)&in, sizeof(in));
	listen(one, 1);
	getsockname(one, (void *)&in, &length);
	connect(two, (void *)&in, sizeof(in));
	three = accept(one, (void *)&peer, &room);
	getpeername(three, (void *)&peer, &room);
	send(two, "abc", 3, MSG_NOSIGNAL);
	recv(three, text, sizeof(text), MSG_PEEK);
	recvfrom(three, text, sizeof(text), 0, NULL, NULL);
	recv(three, text, sizeof(text), MSG_DONTWAIT);
	shutdown(two, SHUT_RDWR);
	connect(one, (void *)&in, sizeof(in));
	four = accept4(-1, (void *)&peer, &room, SOCK_CLOEXEC);
	close(four);
}

static void unix_names(void)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX, .sun_path = "name"}, from;
	socklen_t length = sizeof(from);
	int pair[2], one = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct iovec part = {"abc", 3};
	struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
	struct mmsghdr many = {message};
	char text[8];

	bind(one, (void *)&un, sizeof(un));
	sendto(one, "x", 1, 0, (void *)&un, sizeof(un));
	recvfrom(one, text, sizeof(text), 0, (void *)&from, &length);
	unlink("name");
	socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
	sendmsg(pair[0], &message, 0);
	recvmsg(pair[1], &message, MSG_DONTWAIT);
	syscall(SYS_socketcall, 20, (long[]){pair[0], (long)&many, 1, 0});
	syscall(SYS_socketcall, 19, (long[]){pair[1], (long)&many, 1, MSG_DONTWAIT, 0});
}

/* arguments up to the last byte of what can be read, and past it; and calls that are none */
static void edges(void)
{
	char *page = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	long *last = (long *)(page + 4096) - 3;

	munmap(page + 4096, 4096);
	memcpy(last, (long[]){AF_UNIX, SOCK_STREAM, 0}, 12);
	syscall(SYS_socketcall, 1, last);
	syscall(SYS_socketcall, 3, last + 1);
	syscall(SYS_socketcall, 5, 16);
	syscall(SYS_socketcall, 13, NULL);
	syscall(SYS_socketcall, 0, last);
	syscall(SYS_socketcall, 21, last);
	syscall(SYS_socketcall, -1, last);
	syscall(SYS_connect, -1, last, 12);
}

int main(void)
{
	stream();
	unix_names();
	edges();
	return 0;
}

/* addresses of every family, given and given back */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define ADDR(x) (struct sockaddr *)&(x)

int main(void)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(53)};
	struct sockaddr_un un = {.sun_family = AF_UNIX, .sun_path = "@odd\n\"name"}, peer;
	struct sockaddr_nl nl = {.nl_family = AF_NETLINK, .nl_groups = 5};
	struct sockaddr any = {.sa_family = AF_UNSPEC}, odd = {.sa_family = 99, .sa_data = "\1\377x"};
	socklen_t length = sizeof(in);
	int udp = socket(AF_INET, SOCK_DGRAM, 0), other = socket(AF_INET, SOCK_DGRAM, 0);
	int udp6 = socket(AF_INET6, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	int local = socket(AF_UNIX, SOCK_STREAM, 0), client = socket(AF_UNIX, SOCK_STREAM, 0);
	char buffer[8];

	bind(udp, ADDR(in), sizeof(in));
	getsockname(udp, ADDR(in), &length);
	sendto(other, "hello", 5, MSG_DONTWAIT, ADDR(in), sizeof(in));
	recvfrom(udp, buffer, sizeof(buffer), 0, ADDR(in), &length);
	connect(other, &any, sizeof(any));
	sendto(other, "hello", 5, 0, NULL, 0);
	inet_pton(AF_INET6, "::1", &in6.sin6_addr);
	sendto(udp6, "x", 1, 0, ADDR(in6), sizeof(in6));
	in6.sin6_scope_id = 7;
	in6.sin6_flowinfo = htonl(9);
	inet_pton(AF_INET6, "fe80::1:2", &in6.sin6_addr);
	connect(udp6, ADDR(in6), sizeof(in6));
	connect(udp6, &odd, sizeof(odd));
	bind(local, ADDR(un), offsetof(struct sockaddr_un, sun_path) + 10);
	listen(local, 3);
	connect(client, ADDR(un), sizeof(un));
	length = sizeof(peer);
	accept4(local, ADDR(peer), &length, SOCK_CLOEXEC);
	length = sizeof(peer);
	getpeername(client, ADDR(peer), &length);
	length = 4;
	getsockname(client, ADDR(peer), &length);
	length = sizeof(peer);
	accept(udp, ADDR(peer), &length);
	unlink(un.sun_path);
	memcpy(un.sun_path, "\0abstract\0name", 14);
	bind(socket(AF_UNIX, SOCK_DGRAM, 0), ADDR(un),
	     offsetof(struct sockaddr_un, sun_path) + 14);
	bind(socket(AF_NETLINK, SOCK_RAW, 0), ADDR(nl), sizeof(nl));
	return 0;
}

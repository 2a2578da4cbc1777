/* socket addresses of a 32-bit program */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

int main(void)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	struct sockaddr_un un = {.sun_family = AF_UNIX, .sun_path = "name"};
	socklen_t length = sizeof(in);
	int one = socket(AF_INET, SOCK_STREAM, 0), two = socket(AF_INET, SOCK_STREAM, 0);

	bind(one, (void *)&in, sizeof(in));
	listen(one, 1);
	getsockname(one, (void *)&in, &length);
	connect(two, (void *)&in, sizeof(in));
	accept(one, (void *)&in, &length);
	bind(socket(AF_UNIX, SOCK_DGRAM, 0), (void *)&un, sizeof(un));
	unlink("name");
	return 0;
}

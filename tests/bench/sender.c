// SPDX-License-Identifier: Apache-2.0
/*
 * sender FILE: send the journal the native entries in FILE, each ended by an empty line, as
 * systemd's own library does: one datagram each, with its size of buffer.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#define SEND_BUFFER (8 << 20)

int main(int argc, char **argv)
{
	struct sockaddr_un to = {AF_UNIX, "/run/systemd/journal/socket"};
	int fd, size = SEND_BUFFER;
	char *entries, *at, *end;
	struct stat status;
	FILE *file;

	if (argc != 2 || !(file = fopen(argv[1], "r")) || fstat(fileno(file), &status))
		return 2;
	entries = calloc(1, status.st_size + 1);
	if (!entries || fread(entries, 1, status.st_size, file) != status.st_size)
		return 2;
	fclose(file);
	fd = socket(AF_UNIX, SOCK_DGRAM, 0);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)) ||
	    connect(fd, (struct sockaddr *)&to, sizeof(to))) {
		perror("sender");
		return 1;
	}
	for (at = entries; (end = strstr(at, "\n\n")); at = end + 2) {
		if (send(fd, at, end + 1 - at, 0) < 0) {
			perror("sender");
			return 1;
		}
	}
	return 0;
}

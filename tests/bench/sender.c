// SPDX-License-Identifier: Apache-2.0
/* sender FILE COUNT: send the journal what is in FILE, a native entry, COUNT times. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

int main(int argc, char **argv)
{
	struct sockaddr_un to = {AF_UNIX, "/run/systemd/journal/socket"};
	static char entry[65536];
	size_t length;
	long count;
	FILE *file;
	int fd;

	if (argc != 3 || !(file = fopen(argv[1], "r")))
		return 2;
	length = fread(entry, 1, sizeof(entry), file);
	fclose(file);
	count = atol(argv[2]);
	fd = socket(AF_UNIX, SOCK_DGRAM, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof(to))) {
		perror("sender");
		return 1;
	}
	for (long done = 0; done < count; done++) {
		if (send(fd, entry, length, 0) < 0) {
			perror("sender");
			return 1;
		}
	}
	return 0;
}

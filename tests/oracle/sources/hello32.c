/* a real 32-bit program: files, memory, a child, a vector of strings */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

int main(void)
{
	char *args[] = {"sh", "-c", "echo \"$0\" >/dev/null", "from 32 bit", NULL};
	struct stat st;
	void *p = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int fd = open("file", O_RDWR | O_CREAT | O_TRUNC, 0640);

	memset(p, 1, 8192);
	pwrite(fd, p, 100, 0x100000001LL);
	ftruncate(fd, 10);
	lseek(fd, -5, SEEK_END);
	stat("file", &st);
	munmap(p, 8192);
	unlink("file");
	if (!fork()) {
		execv("/bin/sh", args);
		exit(1);
	}
	wait(NULL);
	return 7;
}

/* pointers that lead nowhere */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(void)
{
	void *volatile bad = (void *)0x1000, *volatile kernel = (void *)0xffff888000000000;
	void *vector[] = {"true", bad, 0};

	open(bad, O_RDONLY);
	open(kernel, O_RDONLY);
	open(0, O_RDONLY);
	syscall(SYS_openat, AT_FDCWD, "", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_PATH);
	syscall(SYS_renameat2, AT_FDCWD, "a", AT_FDCWD, bad, 5);
	syscall(SYS_renameat2, AT_FDCWD, bad, AT_FDCWD, "b", 0);
	execve(bad, 0, 0);
	execve("/bin/true", bad, 0);
	execve("/bin/true", (char **)vector, 0);
	execve("/nowhere", (char *[]){"a", 0}, (char *[]){"B=1", 0});
	connect(3, bad, 16);
	connect(0, 0, 0);
	bind(socket(AF_INET, SOCK_DGRAM, 0), (void *)"", 1);
	mkdir("d", 0);
	mknod("p", S_IFIFO | 0600, 0);
	return 0;
}

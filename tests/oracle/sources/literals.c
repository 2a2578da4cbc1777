/* strings in pages that nothing has touched before the call */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE __attribute__((aligned(4096)))
static const char far_path[4096 * 64] PAGE = "/bin/true";
static const char far_arg[4096 * 64] PAGE = "untouched";
static const char far_file[4096 * 64] PAGE = "/nowhere/untouched";
static const char *const args[] = {"true", far_arg, 0};

int main(void)
{
	int fd = open("/proc/self/exe", O_RDONLY);

	/* drop what came in with its neighbours */
	madvise((void *)far_path, sizeof(far_path), MADV_DONTNEED);
	madvise((void *)far_arg, sizeof(far_arg), MADV_DONTNEED);
	madvise((void *)far_file, sizeof(far_file), MADV_DONTNEED);
	open(far_file, O_RDONLY);
	close(fd);
	if (!fork()) {
		execv(far_path, (char **)args);
		_exit(1);
	}
	wait(NULL);
	return 0;
}

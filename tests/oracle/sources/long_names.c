/* names as long as they get, and argument vectors with many of them */
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void run(int count, int length)
{
	char **args = calloc(count + 1, sizeof(*args));
	int i;

	for (i = 0; i < count; i++) {
		args[i] = malloc(length + 1);
		memset(args[i], 'a' + i % 26, length);
		args[i][length] = 0;
	}
	if (!fork()) {
		execv("/bin/true", args);
		_exit(1);
	}
	wait(NULL);
}

int main(void)
{
	static char path[PATH_MAX], other[PATH_MAX + 10];
	int length;

	for (length = 1; length < PATH_MAX; length = length * 2 + 1) {
		memset(path, '/', length);
		path[length] = 0;
		open(path, O_RDONLY);
	}
	memset(other, 'x', PATH_MAX - 1);
	rename(path, other);
	rename(other, path);
	symlink(other, path);
	run(1, 10);
	run(64, 20);
	run(10, 500);
	run(3, 2500);
	return 0;
}

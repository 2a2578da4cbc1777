/* children that end in every rude way */
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

int main(void)
{
	struct rlimit none = {0, 0};
	int how;

	setrlimit(RLIMIT_CORE, &none);
	for (how = 0; how < 5; how++) {
		if (!fork()) {
			if (how == 0)
				*(volatile int *)1 = 1;
			else if (how == 1)
				abort();
			else if (how == 2)
				raise(SIGKILL);
			else if (how == 3)
				__builtin_trap();
			_exit(3);
		}
		wait(NULL);
	}
	raise(SIGSEGV);
	return 0;
}

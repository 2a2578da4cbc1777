/* handlers, masks, queued signals and a stop */
#define _GNU_SOURCE
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

static void handler(int number)
{
	(void)number;
	getppid();
}

int main(void)
{
	union sigval value = {.sival_int = 5};
	sigset_t set;
	int pid, n;

	for (n = SIGRTMIN; n < SIGRTMIN + 5; n++) {
		signal(n, handler);
		sigqueue(getpid(), n, value);
	}
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	kill(getpid(), SIGUSR1);
	read(signalfd(-1, &set, SFD_CLOEXEC), &value, 0);
	sigwaitinfo(&set, NULL);
	pid = fork();
	if (!pid) {
		raise(SIGSTOP);
		_exit(0);
	}
	waitpid(pid, NULL, WUNTRACED);
	kill(pid, SIGCONT);
	waitpid(pid, NULL, 0);
	return 0;
}

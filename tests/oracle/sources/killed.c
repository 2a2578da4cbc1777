/* threads that are killed inside calls, by exit_group and by a signal */
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static void *sleeper(void *unused)
{
	poll(NULL, 0, -1);
	return unused;
}

int main(void)
{
	pthread_t thread;
	int pid, n;

	pid = fork();
	if (!pid) {
		for (n = 0; n < 4; n++)
			pthread_create(&thread, NULL, sleeper, NULL);
		pause();
	}
	usleep(50000);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	for (n = 0; n < 4; n++)
		pthread_create(&thread, NULL, sleeper, NULL);
	usleep(50000);
	_exit(0);
}

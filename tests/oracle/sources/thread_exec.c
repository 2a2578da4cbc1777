/* a thread that is not the first calls execve: it takes over the number of the process */
#include <pthread.h>
#include <unistd.h>

static void *sleeper(void *unused)
{
	pause();
	return unused;
}

static void *runner(void *unused)
{
	usleep(20000);
	execl("/bin/true", "true", "after", "a", "thread", (char *)NULL);
	return unused;
}

int main(void)
{
	pthread_t one, two;

	pthread_create(&one, NULL, sleeper, NULL);
	pthread_create(&two, NULL, runner, NULL);
	pause();
	return 0;
}

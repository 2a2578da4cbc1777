/* each of the ways in which a signal interrupts a call */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void handler(int unused)
{
	(void)unused;
}

static void alarm_soon(int flags)
{
	struct itimerval soon = {{0, 0}, {0, 20000}};
	struct sigaction act = {.sa_handler = handler, .sa_flags = flags};

	sigaction(SIGALRM, &act, NULL);
	setitimer(ITIMER_REAL, &soon, NULL);
}

int main(void)
{
	struct timespec time = {0, 60000000};
	char byte;
	int ends[2], pid;

	pipe(ends);
	alarm_soon(0); /* ERESTARTSYS, becomes EINTR */
	read(ends[0], &byte, 1);
	pid = fork();
	if (!pid) {
		alarm_soon(SA_RESTART); /* ERESTARTSYS, is made again */
		read(ends[0], &byte, 1);
		_exit(0);
	}
	usleep(60000);
	write(ends[1], "x", 1);
	waitpid(pid, NULL, 0);
	alarm_soon(SA_RESTART); /* ERESTARTNOHAND */
	pause();
	pid = fork();
	if (!pid) {
		nanosleep(&time, NULL); /* ERESTART_RESTARTBLOCK, goes on */
		_exit(0);
	}
	usleep(20000);
	kill(pid, SIGSTOP);
	kill(pid, SIGCONT);
	waitpid(pid, NULL, 0);
	alarm_soon(0);
	nanosleep(&time, NULL);
	return 0;
}

/*
 * calls UID RATE: as UID call chdir("/"), RATE times a second by the clock (0: as fast as it can),
 * until standard input ends or has something; then print how many calls that were, and the times
 * before the first and after the last one (CLOCK_MONOTONIC, ns).
 */
#define _GNU_SOURCE
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static long now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000L + t.tv_nsec;
}

int main(int argc, char **argv)
{
	struct pollfd told = {.fd = 0, .events = POLLIN};
	struct timespec next;
	long calls = 0, rate, due = 256, began;
	uid_t uid;

	if (argc != 3)
		return 2;
	uid = strtoul(argv[1], NULL, 10);
	rate = atol(argv[2]);
	if (setresuid(uid, uid, uid))
		return 1;
	began = now_ns();
	clock_gettime(CLOCK_MONOTONIC, &next);
	while (!poll(&told, 1, 0)) {
		if (rate) { /* every 5 ms what is due until then */
			due = rate < 200 ? 1 : rate / 200;
			next.tv_nsec += 1000000000L / rate * due;
			next.tv_sec += next.tv_nsec / 1000000000L;
			next.tv_nsec %= 1000000000L;
			clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL);
		}
		for (long i = 0; i < due; i++, calls++)
			if (chdir("/"))
				return 1;
	}
	printf("%ld %ld %ld\n", calls, began, now_ns());
	return 0;
}

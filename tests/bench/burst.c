// SPDX-License-Identifier: Apache-2.0
/*
 * burst CPU UID COUNT RATE: as UID on CPU, open a file that is not there COUNT times, RATE times
 * a second (0: as fast as it can).
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static const char path[] = "/var/lib/bench/a-file-of-usual-length";

int main(int argc, char **argv)
{
	struct timespec next;
	cpu_set_t cpus;
	long count, rate;
	uid_t uid;

	if (argc != 5)
		return 2;
	CPU_ZERO(&cpus);
	CPU_SET(atoi(argv[1]), &cpus);
	uid = strtoul(argv[2], NULL, 10);
	if (sched_setaffinity(0, sizeof(cpus), &cpus) || setresuid(uid, uid, uid))
		return 1;
	count = atol(argv[3]);
	rate = atol(argv[4]);
	clock_gettime(CLOCK_MONOTONIC, &next);
	for (long done = 0; done < count; done++) {
		openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
		/* every 5 ms what is due until then */
		if (!rate || (done + 1) % (rate < 200 ? 1 : rate / 200))
			continue;
		next.tv_nsec += rate < 200 ? 1000000000L / rate : 5000000L;
		while (next.tv_nsec >= 1000000000L) {
			next.tv_nsec -= 1000000000L;
			next.tv_sec++;
		}
		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL);
	}
	return 0;
}

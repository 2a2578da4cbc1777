// SPDX-License-Identifier: Apache-2.0
/*
 * loop CPU UID NR CALLS ROUNDS: as UID on CPU, make system call NR without arguments CALLS times,
 * ROUNDS times over; print each round's ns a call. Rounds are short: most are not interrupted.
 */
#define _GNU_SOURCE
#include <sched.h>
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
	cpu_set_t cpus;
	long number, calls, rounds;
	uid_t uid;

	if (argc != 6)
		return 2;
	CPU_ZERO(&cpus);
	CPU_SET(atoi(argv[1]), &cpus);
	uid = strtoul(argv[2], NULL, 10);
	if (sched_setaffinity(0, sizeof(cpus), &cpus) || setresuid(uid, uid, uid))
		return 1;
	number = atol(argv[3]);
	calls = atol(argv[4]);
	rounds = atol(argv[5]);
	for (long round = 0; round < rounds; round++) {
		long start = now_ns();

		for (long i = 0; i < calls; i++)
			syscall(number);
		printf("%.1f\n", (double)(now_ns() - start) / calls);
	}
	return 0;
}

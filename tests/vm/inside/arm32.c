/* A 32-bit program without a library: an arm64 machine has none of that architecture. */
static long call(long nr, const void *a, long b, long c, long d)
{
	register long r7 asm("r7") = nr;
	register long r0 asm("r0") = (long)a;
	register long r1 asm("r1") = b;
	register long r2 asm("r2") = c;
	register long r3 asm("r3") = d;

	asm volatile("svc 0" : "+r"(r0) : "r"(r7), "r"(r1), "r"(r2), "r"(r3) : "memory");
	return r0;
}

void _start(void)
{
	call(172, (void *)15, (long)"subject", 0, 0); /* prctl(PR_SET_NAME) */
	call(5, "/nowhere", 0, 0, 0);		      /* open; setxattr in arm64's table */
	call(12, "/", 0, 0, 0);			      /* chdir; lremovexattr there */
	call(322, (void *)-100, (long)"/nowhere", 02000000, 0); /* openat, O_CLOEXEC */
	call(1, 0, 0, 0, 0);					/* exit */
}

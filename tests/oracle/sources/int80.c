/* 64-bit code that uses the 32-bit entry, and both tables */
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static long int80(long nr, long a, long b, long c)
{
	long ret;

	asm volatile("int $0x80"
		     : "=a"(ret)
		     : "a"(nr), "b"(a), "c"(b), "d"(c)
		     : "memory", "r8", "r9", "r10", "r11");
	return ret;
}

int main(void)
{
	char *low = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT,
			 -1, 0);

	strcpy(low, "/nowhere");
	int80(5, (long)low, 0, 0);  /* open; fstat in the other table */
	int80(12, (long)low, 0, 0); /* chdir; brk there */
	int80(20, 0, 0, 0);	    /* getpid; writev there */
	chdir("/");
	int80(5, 0, 0, 0);
	int80(9999, 0, 0, 0);
	memcpy(low, (int[]){1, 1, 0}, 12); /* AF_UNIX, SOCK_STREAM */
	int80(102, 1, (long)low, 0);	   /* socket through socketcall; getuid there */
	int80(102, 3, 16, 0);
	int80(117, 2, 0, 1);		   /* semget through ipc; semop there */
	syscall(999, 1, 2, 3);
	return 0;
}

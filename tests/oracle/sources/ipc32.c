/* System V IPC of a 32-bit program: its C library makes most calls through ipc */
#define _GNU_SOURCE
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static int ipc(int call, int version, long first, long second, long third, void *ptr, long fifth)
{
	return syscall(SYS_ipc, version << 16 | call, first, second, third, ptr, fifth);
}

static void semaphores(void)
{
	int id = semget(IPC_PRIVATE, 1, IPC_CREAT | IPC_EXCL | 0640);
	struct sembuf up = {0, 1, 0}, down = {0, -5, 0};
	struct timespec moment = {0, 1000000};

	semop(id, &up, 1);
	semtimedop(id, &down, 1, &moment);
	semctl(id, 0, GETVAL);
	semctl(id, 0, SETVAL, 7);
	ipc(1, 0, id, 1, 0, &up, 0);
	ipc(1, 5, id, 1, 0, &up, 0);
	ipc(4, 0, -1, 1, 0, &up, 16);
	ipc(3, 0, id, 0, 3, (void *)16, 0);
	ipc(3, 0, id, 0, 3, NULL, 0);
	semctl(id, 0, IPC_RMID);
	semget(0x1234, 0, 0);
}

static void messages(void)
{
	int id = msgget(IPC_PRIVATE, 0600);
	struct {
		long type;
		char text[4];
	} message = {3, "abc"};
	struct msqid_ds state;

	msgsnd(id, &message, 4, IPC_NOWAIT);
	msgrcv(id, &message, 4, 3, IPC_NOWAIT | MSG_NOERROR);
	msgsnd(id, &message, 4, 0);
	ipc(12, 1, id, 4, 0, &message, 3);
	ipc(12, 0, id, 4, 0, (void *)16, 3);
	ipc(12, 0, id, 4, 0, NULL, 3);
	msgctl(id, IPC_STAT, &state);
	msgctl(id, IPC_RMID, NULL);
}

static void memory(void)
{
	int id = shmget(IPC_PRIVATE, 4096, IPC_CREAT | 0600);
	struct shmid_ds state;
	void *there = shmat(id, NULL, SHM_RDONLY);

	shmctl(id, IPC_STAT, &state);
	shmdt(there);
	shmat(id, (void *)1, 0);
	ipc(21, 1, id, 0, 0, NULL, 0);
	ipc(21, 0, id, 0, 16, NULL, 0);
	shmctl(id, IPC_RMID, NULL);
}

int main(void)
{
	semaphores();
	messages();
	memory();
	ipc(0, 0, 1, 2, 3, NULL, 5);
	ipc(5, 0, 1, 2, 3, NULL, 5);
	ipc(25, 0, 1, 2, 3, NULL, 5);
	ipc(33, 0, 1, 2, 3, NULL, 5);
	return 0;
}

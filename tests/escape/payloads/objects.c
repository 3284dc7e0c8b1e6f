/* Objects of the host without a place in the file system: System V, POSIX queues, keys. */
#include "probe.h"
#include <mqueue.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>

#define KEY(word) ((key_t)strtoul(word, NULL, 0))

/* the segment with that key, among all of the namespace: shmget itself is refused where no control group counts its pages */
static int segment(key_t key)
{
    struct shmid_ds about;
    struct shm_info all;
    int last = shmctl(0, SHM_INFO, (void *)&all);
    for (int at = 0; at <= last && at < 100000; at++) {
        int id = shmctl(at, SHM_STAT, &about);
        if (id >= 0 && about.shm_perm.__key == key)
            return id;
    }
    if (last >= 0)
        errno = ENOENT;
    return -1;
}

static int c_shm(int count, char **words)
{
    int id = segment(KEY(words[0]));
    const char *memory = id < 0 ? (void *)-1 : shmat(id, NULL, SHM_RDONLY);
    if (memory == (void *)-1)
        return reached("shared memory of the host", -1, NULL);
    return escaped("shared memory of the host: %.40s", memory);
}

/* the queue with that key, found in the same way, as msgget is refused with it */
static int queue(key_t key)
{
    struct msqid_ds about;
    struct msginfo all;
    int last = msgctl(0, MSG_INFO, (void *)&all);
    for (int at = 0; at <= last && at < 100000; at++) {
        int id = msgctl(at, MSG_STAT, &about);
        if (id >= 0 && about.msg_perm.__key == key)
            return id;
    }
    if (last >= 0)
        errno = ENOENT;
    return -1;
}

static int c_queue(int count, char **words)
{
    struct { long type; char text[64]; } message = {0};
    int id = queue(KEY(words[0]));
    if (id < 0 || msgrcv(id, &message, sizeof message.text - 1, 0, IPC_NOWAIT) < 0)
        return reached("a queue of the host", -1, NULL);
    return escaped("a queue of the host: %s", message.text);
}

/* the semaphore with that key, found in the same way */
static int semaphore(key_t key)
{
    struct semid_ds about;
    struct seminfo all;
    int last = semctl(0, 0, SEM_INFO, &all);
    for (int at = 0; at <= last && at < 100000; at++) {
        int id = semctl(at, 0, SEM_STAT, &about);
        if (id >= 0 && about.sem_perm.__key == key)
            return id;
    }
    if (last >= 0)
        errno = ENOENT;
    return -1;
}

/* the scene looks whether the host's semaphore has changed */
static int c_semaphore(int count, char **words)
{
    int id = semaphore(KEY(words[0]));
    return reached("a semaphore of the host", id < 0 ? -1 : semctl(id, 0, SETVAL, 7), NULL);
}

static int c_posix_queue(int count, char **words)
{
    char text[9000] = "";
    struct timespec now = {0};
    long fd = syscall(SYS_mq_open, words[0], O_RDONLY | O_NONBLOCK, 0, NULL);
    if (fd < 0 || syscall(SYS_mq_timedreceive, fd, text, sizeof text - 1, NULL, &now) < 0)
        return reached("a POSIX queue of the host", -1, NULL);
    return escaped("a POSIX queue of the host: %s", text);
}

/* a key by its number, which any process can guess: the kernel looks at the host's user id only */
static int c_key(int count, char **words)
{
    char token[64] = "";
    long size = syscall(SYS_keyctl, 11, strtol(words[0], NULL, 0), token, sizeof token - 1, 0); /* KEYCTL_READ */
    return size < 0 ? reached("the caller's key", size, NULL) : escaped("the caller's key: %s", token);
}

/* what the caller's session keyring holds, by its name */
static int c_session_key(int count, char **words)
{
    char token[64] = "";
    long key = syscall(SYS_request_key, "user", words[0], NULL, 0);
    if (key < 0)
        return contained("request_key: %s", strerror(errno));
    long size = syscall(SYS_keyctl, 11, key, token, sizeof token - 1, 0);
    return size < 0 ? contained("KEYCTL_READ: %s", strerror(errno)) : escaped("the session's key: %s", token);
}

const struct entry objects[] = {
    {"shm", c_shm},   {"queue", c_queue},   {"semaphore", c_semaphore},    
    {"mq", c_posix_queue}, {"key", c_key}, {"session-key", c_session_key}, {NULL, NULL},
};

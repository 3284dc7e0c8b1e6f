/* More memory, CPU time, elapsed time and processes than the limits give; everything is bounded. */
#include "probe.h"
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/sysinfo.h>
#include <sys/xattr.h>
#include <time.h>

#define MIB (1UL << 20)
#define HELD_US 300000 /* long enough for whoever looks from time to time */

static int held(const char *what, size_t megabytes)
{
    usleep(HELD_US);
    return escaped("%zu MiB of %s", megabytes, what);
}

static int fill(void *memory, size_t megabytes)
{
    if (memory == MAP_FAILED || memory == (void *)-1)
        return 0;
    for (size_t at = 0; at < megabytes * MIB; at += 4096)
        ((volatile char *)memory)[at] = 1;
    return 1;
}

static void *fresh(size_t megabytes, int flags)
{
    return mmap(NULL, megabytes * MIB, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0);
}

static int c_private(int count, char **words)
{
    size_t size = atol(words[0]);
    return fill(fresh(size, MAP_PRIVATE), size) ? held("private memory", size) : contained("mmap: %s", strerror(errno));
}

static int c_shared(int count, char **words)
{
    size_t size = atol(words[0]);
    return fill(fresh(size, MAP_SHARED), size) ? held("shared memory", size) : contained("mmap: %s", strerror(errno));
}

static int c_each(int count, char **words)
{
    size_t size = atol(words[0]), processes = atol(words[1]), alive = 0;
    int done[2];
    char byte;
    if (pipe(done))
        return contained("pipe: %s", strerror(errno));
    for (size_t at = 0; at < processes; at++)
        if (fork() == 0) {
            if (fill(fresh(size, MAP_PRIVATE), size) && write(done[1], "!", 1) == 1)
                sleep(5);
            _exit(0);
        }
    close(done[1]);
    while (alive < processes && read(done[0], &byte, 1) == 1)
        alive++;
    return alive == processes ? held("memory of processes", size * processes) : contained("%zu of %zu", alive, processes);
}

/* nobody without rights may look into it */
static int c_unreadable(int count, char **words)
{
    prctl(PR_SET_DUMPABLE, 0);
    return c_shared(count, words);
}

static void *late(void *size)
{
    usleep(50000); /* the first thread has ended by then, and shows no memory any more */
    if (fill(fresh((size_t)size, MAP_SHARED), (size_t)size))
        held("memory without a first thread", (size_t)size);
    exit(0);
}

static int c_leader(int count, char **words)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, late, (void *)atol(words[0])))
        return contained("no thread");
    pthread_exit(NULL);
}

static void *nothing(void *unused)
{
    return NULL;
}

static void *churn(void *unused)
{
    for (pthread_t thread;;)
        if (!pthread_create(&thread, NULL, nothing, NULL))
            pthread_join(thread, NULL);
    return NULL;
}

/* threads end all the time, so that whoever asks each of them misses some */
static int c_churn(int count, char **words)
{
    size_t size = atol(words[0]);
    pthread_t thread;
    for (int at = 0; at < 2; at++)
        if (pthread_create(&thread, NULL, churn, NULL))
            return contained("no thread");
    return fill(fresh(size, MAP_SHARED), size) ? held("memory among threads that end", size) : contained("%s", strerror(errno));
}

static int c_memfd(int count, char **words)
{
    static char piece[MIB];
    size_t size = atol(words[0]), done = 0;
    int fd = syscall(SYS_memfd_create, "attack", 0);
    while (fd >= 0 && done < size && write(fd, piece, sizeof piece) == (ssize_t)sizeof piece)
        done++;
    return fd >= 0 && done == size ? held("memfd", size) : contained("memfd: %s", strerror(errno));
}

static int c_segment(int count, char **words)
{
    size_t size = atol(words[0]);
    int id = shmget(IPC_PRIVATE, size * MIB, 0600);
    void *memory = id < 0 ? (void *)-1 : shmat(id, NULL, 0);
    if (memory != (void *)-1)
        shmctl(id, IPC_RMID, NULL);
    return fill(memory, size) ? held("System V memory", size) : contained("shmget: %s", strerror(errno));
}

static int c_pipes(int count, char **words)
{
    static char piece[MIB];
    size_t size = atol(words[0]), done = 0;
    for (; done < size; done++) {
        int ends[2];
        if (pipe2(ends, O_NONBLOCK) || fcntl(ends[1], 1031, MIB) < 0) /* F_SETPIPE_SZ */
            break;
        if (write(ends[1], piece, sizeof piece) < (ssize_t)sizeof piece)
            break;
    }
    return done == size ? held("pipes", size) : contained("%zu pipes: %s", done, strerror(errno));
}

static int c_sockets(int count, char **words)
{
    static char piece[65536];
    size_t size = atol(words[0]), bytes = 0;
    int ends[2];
    while (bytes < size * MIB && !socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends))
        for (int end = 0; end < 2; end++)
            for (ssize_t sent; (sent = write(ends[end], piece, sizeof piece)) > 0;)
                bytes += sent;
    return bytes >= size * MIB ? held("socket buffers", size) : contained("%zu bytes: %s", bytes, strerror(errno));
}

static int c_tables(int count, char **words)
{
    size_t size = atol(words[0]), reach = size * 512 * MIB; /* 4 KiB of tables for each 2 MiB */
    volatile char *memory = mmap(NULL, reach, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED)
        return contained("mmap: %s", strerror(errno));
    madvise((void *)memory, reach, MADV_NOHUGEPAGE);
    char sum = 0;
    for (size_t at = 0; at < reach; at += 2 * MIB)
        sum += memory[at];
    return held("page tables", size + (size_t)sum);
}

static int c_semaphores(int count, char **words)
{
    size_t size = atol(words[0]), done = 0; /* 64 bytes each: 2 MB for a full set */
    for (; done < size; done += 2)
        if (semget(IPC_PRIVATE, 32000, 0600) < 0)
            break;
    return done >= size ? held("semaphores", done) : contained("semget: %s", strerror(errno));
}

static int c_queues(int count, char **words)
{
    static struct { long type; char text[8000]; } message = {1};
    size_t size = atol(words[0]), bytes = 0;
    for (int id; bytes < size * MIB && (id = msgget(IPC_PRIVATE, 0600)) >= 0;)
        while (!msgsnd(id, &message, sizeof message.text, IPC_NOWAIT))
            bytes += sizeof message.text;
    return bytes >= size * MIB ? held("queues", size) : contained("msgget: %s", strerror(errno));
}

static int watches(void *unused)
{
    int polls[100], events[100], made = 0;
    struct epoll_event event = {0};
    for (int at = 0; at < 100; at++) {
        polls[at] = epoll_create1(0);
        events[at] = eventfd(0, 0);
    }
    for (int at = 0; at < 100; at++)
        for (int other = 0; other < 100; other++)
            made += !epoll_ctl(polls[at], EPOLL_CTL_ADD, events[other], &event);
    return made == 10000;
}

static int c_watches(int count, char **words)
{
    int children = atoi(words[0]), done[2], full = 0;
    char byte;
    if (pipe(done))
        return contained("pipe: %s", strerror(errno));
    for (int at = 0; at < children; at++)
        if (fork() == 0) {
            if (watches(NULL) && write(done[1], "!", 1) == 1)
                sleep(5);
            _exit(0);
        }
    close(done[1]);
    while (full < children && read(done[0], &byte, 1) == 1)
        full++;
    return full == children ? held("what epoll watches (2 MiB each)", full * 2) : contained("%d of %d", full, children);
}

static int c_xattrs(int count, char **words)
{
    static char value[60000];
    size_t size = atol(words[0]), bytes = 0;
    memset(value, 'x', sizeof value);
    for (int file = 0; bytes < size * MIB; file++, bytes += sizeof value) {
        char name[32];
        snprintf(name, sizeof name, "attributes-%d", file);
        int fd = open(name, O_WRONLY | O_CREAT, 0600);
        if (fd < 0 || fsetxattr(fd, "user.attack", value, sizeof value, 0))
            return errno == EOPNOTSUPP ? not_here("this tmpfs has no attributes") : contained("setxattr: %s", strerror(errno));
        close(fd);
    }
    return held("extended attributes", size);
}

static int deeper(size_t left)
{
    volatile char frame[65536];
    for (size_t at = 0; at < sizeof frame; at += 4096)
        frame[at] = (char)left;
    return left ? deeper(left - 1) + frame[0] : 0;
}

static int c_stack(int count, char **words)
{
    size_t size = atol(words[0]);
    return held("stack", size + 0 * deeper(size * 16));
}

static int c_locked(int count, char **words)
{
    void *memory = fresh(1, MAP_PRIVATE);
    return reached("1 MiB of locked memory", mlock(memory, MIB), NULL);
}

static int c_swapped(int count, char **words)
{
    struct sysinfo about;
    size_t size = atol(words[0]);
    if (sysinfo(&about) || !about.totalswap)
        return not_here("this host has no swap");
    return fill(fresh(size, MAP_PRIVATE), size) ? held("swap", size) : contained("mmap: %s", strerror(errno));
}

static double used(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return now.tv_sec + now.tv_nsec / 1e9;
}

static double elapsed(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec + now.tv_nsec / 1e9;
}

static double until;

static void *burn(void *in_kernel)
{
    static char buffer[65536];
    while (used() < until) {
        for (volatile int at = 0; at < 50000 && !in_kernel; at++)
            continue;
        if (in_kernel && getrandom(buffer, sizeof buffer, 0) < 0)
            break;
    }
    return NULL;
}

/* SECONDS THREADS how: the signal that says "enough" is caught */
static int c_spin(int count, char **words)
{
    void *in_kernel = !strcmp(words[2], "kernel") ? words : NULL;
    pthread_t other;
    signal(SIGXCPU, SIG_IGN);
    until = atof(words[0]);
    for (int at = 1; at < atoi(words[1]); at++)
        if (pthread_create(&other, NULL, burn, in_kernel))
            return contained("no thread");
    burn(in_kernel);
    return escaped("%.1f s of CPU time", used());
}

/* each lives for a tenth of a second, and nobody waits for it */
static int c_orphans(int count, char **words)
{
    for (int at = 0; at < atoi(words[0]); at++) {
        pid_t child = fork();
        if (child < 0)
            return contained("fork: %s", strerror(errno));
        if (child == 0) {
            if (fork() == 0) {
                until = 0.1;
                burn(NULL);
            }
            _exit(0);
        }
        waitpid(child, NULL, 0);
        usleep(110000);
    }
    return escaped("%s tenths of a second in orphans", words[0]);
}

static int c_quota(int count, char **words)
{
    double start = elapsed();
    pthread_t other;
    until = 1e9;
    pthread_create(&other, NULL, burn, NULL);
    while (elapsed() < start + 0.6)
        continue;
    double share = used() / (elapsed() - start);
    return share > atof(words[0]) ? escaped("%.2f CPUs", share) : contained("%.2f CPUs", share);
}

/* MILLISECONDS how */
static int c_stay(int count, char **words)
{
    useconds_t time = atol(words[0]) * 1000;
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, NULL);
    if (!strcmp(words[1], "stopped")) {
        pid_t main = getpid(), child = fork();
        if (child < 0)
            return contained("fork: %s", strerror(errno));
        if (child)
            return kill(main, SIGSTOP);
    } else if (!strcmp(words[1], "vfork")) {
        pid_t child = vfork();
        if (child == 0) {
            usleep(time);
            _exit(0);
        }
        return child < 0 ? contained("vfork: %s", strerror(errno)) : escaped("%s ms in a vfork", words[0]);
    }
    usleep(time);
    return escaped("%s ms, %s", words[0], words[1]);
}

const struct entry resources[] = {
    {"memory-private", c_private}, {"memory-shared", c_shared}, {"memory-unreadable", c_unreadable}, {"memory-each", c_each}, {"memory-leader", c_leader}, {"memory-churn", c_churn},
    {"memory-memfd", c_memfd}, {"memory-segment", c_segment}, {"memory-pipes", c_pipes}, {"memory-sockets", c_sockets},
    {"memory-tables", c_tables}, {"memory-semaphores", c_semaphores}, {"memory-queues", c_queues},
    {"memory-watches", c_watches}, {"memory-xattrs", c_xattrs}, {"memory-stack", c_stack}, {"memory-locked", c_locked},
    {"memory-swapped", c_swapped}, {"spin", c_spin}, {"orphans", c_orphans}, {"quota", c_quota}, {"stay", c_stay},
    {NULL, NULL},
};

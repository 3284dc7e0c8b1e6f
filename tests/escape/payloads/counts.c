/* More processes, files, bytes and kernel objects than the limits give; everything is bounded. */
#include "probe.h"
#include <pthread.h>
#include <signal.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>

#define MIB (1L << 20)

static int all(const char *what, int made, int wanted)
{
    return made >= wanted ? escaped("%d %s", made, what) : contained("%d %s: %s", made, what, strerror(errno));
}

static int c_forks(int count, char **words)
{
    int wanted = atoi(words[0]), zombies = !strcmp(words[1], "zombies"), made = 0;
    for (; made < wanted; made++) {
        pid_t child = fork();
        if (child == 0) {
            if (!zombies)
                sleep(5);
            _exit(0);
        }
        if (child < 0)
            break;
    }
    return all(words[1], made, wanted);
}

static void *wait_long(void *unused)
{
    sleep(5);
    return NULL;
}

static int c_threads(int count, char **words)
{
    int wanted = atoi(words[0]), made = 0;
    pthread_attr_t small;
    pthread_t thread;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 65536);
    while (made < wanted && !(errno = pthread_create(&thread, &small, wait_long, NULL)))
        made++;
    return all("threads", made, wanted);
}

/* each waits for the one below it */
static void __attribute__((noinline)) nest(volatile int *made, int left)
{
    pid_t child = left ? vfork() : -1;
    if (child == 0) {
        (*made)++;
        nest(made, left - 1);
        _exit(0);
    }
}

static int c_nested(int count, char **words)
{
    volatile int *made = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    nest(made, atoi(words[0]));
    return all("processes in each other's vfork", *made, atoi(words[0]));
}

/* NUMBER KIND of names in the work directory */
static int c_names(int count, char **words)
{
    int wanted = atoi(words[0]), made = 0, failed = 0;
    char name[32];
    close(open("first", O_WRONLY | O_CREAT, 0600));
    for (; made < wanted && !failed; made += !failed) {
        snprintf(name, sizeof name, "%s-%d", words[1], made);
        if (!strcmp(words[1], "files"))
            failed = close(open(name, O_WRONLY | O_CREAT | O_EXCL, 0600));
        else if (!strcmp(words[1], "links"))
            failed = link("first", name);
        else if (!strcmp(words[1], "symlinks"))
            failed = symlink("first", name);
        else
            failed = mkdir("deeper", 0700) || chdir("deeper");
    }
    return all(words[1], made, wanted);
}

static long grow(int fd, long bytes)
{
    static char piece[65536];
    long done = 0;
    memset(piece, 'x', sizeof piece);
    for (ssize_t part; done < bytes && (part = write(fd, piece, sizeof piece)) > 0;)
        done += part;
    return done;
}

/* MIB KIND */
static int c_bytes(int count, char **words)
{
    long wanted = atol(words[0]) * MIB, done = 0;
    const char *kind = words[1];
    if (!strcmp(kind, "places")) {
        const char *places[] = {"/work/part", "/tmp/part", "/dev/shm/part"};
        for (int at = 0; at < 3; at++)
            done += grow(open(places[at], O_WRONLY | O_CREAT, 0600), wanted / 3);
    } else if (!strcmp(kind, "deleted")) {
        for (int at = 0; at < 8; at++) {
            int fd = open("deleted", O_WRONLY | O_CREAT, 0600);
            unlink("deleted");
            done += grow(fd, wanted / 8);
        }
    } else if (!strcmp(kind, "nameless")) {
        done = grow(open("/tmp", O_WRONLY | O_TMPFILE, 0600), wanted);
    } else {
        int fd = open("/tmp/file", O_RDWR | O_CREAT, 0600);
        if (!strcmp(kind, "allocated")) {
            done = fallocate(fd, 0, 0, wanted) ? 0 : wanted;
        } else if (!strcmp(kind, "mapped")) { /* a bus error where it ends */
            char *memory = ftruncate(fd, wanted) ? MAP_FAILED : mmap(NULL, wanted, PROT_WRITE, MAP_SHARED, fd, 0);
            for (; memory != MAP_FAILED && done < wanted; done += 4096)
                memory[done] = 1;
        } else {
            done = grow(fd, wanted);
        }
    }
    return done >= wanted ? escaped("%ld bytes (%s)", done, kind) : contained("%ld bytes: %s", done, strerror(errno));
}

static int c_sparse(int count, char **words)
{
    signal(SIGXFSZ, SIG_IGN);
    int fd = open("/tmp/sparse", O_RDWR | O_CREAT, 0600);
    return attempt("a file of 1 TiB", ftruncate(fd, 1L << 40));
}

static int c_descriptors(int count, char **words)
{
    int wanted = atoi(words[0]), made = 0;
    while (made < wanted && dup(1) >= 0)
        made++;
    return all("descriptors", made, wanted);
}

/* descriptors that nobody has taken out of a socket count for the user */
static int c_in_flight(int count, char **words)
{
    int wanted = atoi(words[0]), made = 0, ends[2], many[64];
    union { char bytes[CMSG_SPACE(sizeof many)]; struct cmsghdr aligned; } control;
    struct iovec byte = {"!", 1};
    struct msghdr message = {.msg_iov = &byte, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    for (int at = 0; at < 64; at++)
        many[at] = 1;
    while (made < wanted) {
        if (socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, ends))
            break;
        for (int packet = 0; packet < 8; packet++, made += 64) {
            struct cmsghdr *head = CMSG_FIRSTHDR(&message);
            head->cmsg_level = SOL_SOCKET;
            head->cmsg_type = SCM_RIGHTS;
            head->cmsg_len = CMSG_LEN(sizeof many);
            memcpy(CMSG_DATA(head), many, sizeof many);
            if (sendmsg(ends[0], &message, 0) < 0)
                return all("descriptors in flight", made, wanted);
        }
    }
    return all("descriptors in flight", made, wanted);
}

static int c_timers(int count, char **words)
{
    int wanted = atoi(words[0]), made = 0;
    timer_t timer;
    while (made < wanted && !timer_create(CLOCK_MONOTONIC, NULL, &timer))
        made++;
    return all("timers", made, wanted);
}

static int c_pending(int count, char **words)
{
    int wanted = atoi(words[0]), made = 0;
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN);
    sigprocmask(SIG_BLOCK, &set, NULL);
    while (made < wanted && !sigqueue(getpid(), SIGRTMIN, (union sigval){0}))
        made++;
    return all("queued signals", made, wanted);
}

static int c_instances(int count, char **words)
{
    int wanted = atoi(words[0]), made = 0;
    while (made < wanted && inotify_init() >= 0)
        made++;
    return all("inotify instances", made, wanted);
}

static int c_watched(int count, char **words)
{
    int wanted = atoi(words[0]), files = 3000, made = 0, instance;
    char name[32];
    for (int at = 0; at < files; at++) {
        snprintf(name, sizeof name, "watched-%d", at);
        close(open(name, O_WRONLY | O_CREAT, 0600));
    }
    while (made < wanted && (instance = inotify_init()) >= 0)
        for (int at = 0; at < files && made < wanted; at++, made++) {
            snprintf(name, sizeof name, "watched-%d", at);
            if (inotify_add_watch(instance, name, IN_MODIFY) < 0)
                return all("inotify watches", made, wanted);
        }
    return all("inotify watches", made, wanted);
}

static int c_terminals(int count, char **words)
{
    int wanted = atoi(words[0]), made = 0;
    while (made < wanted && open("/dev/pts/ptmx", O_RDWR | O_NOCTTY) >= 0)
        made++;
    return all("terminals", made, wanted);
}

static int c_raise(int count, char **words)
{
    int raised = 0;
    if (prctl(PR_CAPBSET_READ, 0) == 1 && prctl(PR_CAPBSET_READ, 24) == 0) /* CAP_SYS_RESOURCE, of all only that one */
        return not_here("the caller has not got it either");
    for (int number = 0; number < RLIM_NLIMITS; number++) {
        struct rlimit limit;
        if (getrlimit(number, &limit) || limit.rlim_max == RLIM_INFINITY)
            continue;
        limit.rlim_max += 1;
        raised += !setrlimit(number, &limit);
    }
    return raised ? escaped("%d limits are higher", raised) : contained("none is higher: %s", strerror(errno));
}

static int c_score(int count, char **words)
{
    int fd = open("/proc/self/oom_score_adj", O_WRONLY);
    return attempt("another score for the OOM killer", fd < 0 ? fd : write(fd, words[0], strlen(words[0])));
}

static int c_message_queue(int count, char **words)
{
    struct { long flags, most, size, now, reserved[4]; } attributes = {0, 10, 1024};
    return reached("a POSIX queue", syscall(SYS_mq_open, "attack", O_RDWR | O_CREAT, 0600, &attributes), NULL);
}

const struct entry counts[] = {
    {"count-forks", c_forks}, {"count-threads", c_threads}, {"count-nested", c_nested}, {"count-names", c_names},
    {"bytes", c_bytes}, {"sparse", c_sparse}, {"count-descriptors", c_descriptors}, {"count-in-flight", c_in_flight},
    {"count-timers", c_timers}, {"count-pending", c_pending}, {"count-instances", c_instances},
    {"count-watched", c_watched}, {"count-terminals", c_terminals}, {"raise-limits", c_raise}, {"oom-score", c_score},
    {"message-queue", c_message_queue}, {NULL, NULL},
};

/* What a payload could have from its caller: descriptors, environment, signals, mask, priorities. */
#include "probe.h"
#include <dirent.h>
#include <sched.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <termios.h>

enum { MOST = 4096 };

/* the first descriptor above 2 with this kind of target; /proc/self/fd is not asked for, it may not be there */
static int find(int (*is)(int fd))
{
    for (int fd = 3; fd < MOST; fd++)
        if (fcntl(fd, F_GETFD) >= 0 && is(fd))
            return fd;
    return -1;
}

static mode_t type_of(int fd)
{
    struct stat found;
    return fstat(fd, &found) ? 0 : found.st_mode & S_IFMT;
}

static int any(int fd) { return 1; }
static int is_directory(int fd) { return type_of(fd) == S_IFDIR; }
static int is_terminal(int fd) { return isatty(fd); }

static int is_writable_file(int fd)
{
    return type_of(fd) == S_IFREG && (fcntl(fd, F_GETFL) & O_ACCMODE) != O_RDONLY;
}

static int is_listener(int fd)
{
    int value = 0;
    socklen_t size = sizeof value;
    return !getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &value, &size) && value;
}

static int is_socket(int fd) { return type_of(fd) == S_IFSOCK; }

static int is_pidfd(int fd)
{
    return syscall(424, fd, 0, NULL, 0) == 0; /* pidfd_send_signal of none */
}

static int c_inherited(int count, char **words)
{
    char data[64] = "";
    int fd;
    const char *kind = words[0];
    if (!strcmp(kind, "any")) {
        fd = find(any);
        return fd < 0 ? contained("none above 2") : escaped("descriptor %d", fd);
    }
    if (!strcmp(kind, "directory")) {
        fd = find(is_directory);
        return fd < 0 ? contained("no directory") : attempt("a file of the caller's directory", openat(fd, words[1], O_RDONLY | O_PATH));
    }
    if (!strcmp(kind, "file")) {
        fd = find(is_writable_file);
        return fd < 0 ? contained("no file") : attempt("a file of the caller is written", pwrite(fd, "payload", 7, 0));
    }
    if (!strcmp(kind, "memory")) {
        fd = find(is_writable_file);
        return fd < 0 ? contained("no memory file") : attempt("memory of the caller", pread(fd, data, sizeof data - 1, 0));
    }
    if (!strcmp(kind, "terminal")) {
        fd = find(is_terminal);
        return fd < 0 ? contained("no terminal") : attempt("a terminal of the caller", write(fd, "payload", 7));
    }
    if (!strcmp(kind, "listener")) {
        fd = find(is_listener);
        return fd < 0 ? contained("no listener") : attempt("a connection to the caller's service", accept(fd, NULL, NULL));
    }
    if (!strcmp(kind, "connection")) {
        fd = find(is_socket);
        return fd < 0 ? contained("no socket") : attempt("words over the caller's connection", write(fd, "payload", 7));
    }
    fd = find(is_pidfd);
    return fd < 0 ? contained("no pidfd") : contained("a pidfd: %s", syscall(424, fd, SIGUSR1, NULL, 0) ? strerror(errno) : "sent");
}

/* NAME of a variable */
static int c_variable(int count, char **words)
{
    const char *value = getenv(words[0]);
    return value ? escaped("%s=%s", words[0], value) : contained("no %s", words[0]);
}

static int c_umask(int count, char **words)
{
    mode_t mask = umask(077);
    return mask & 002 ? contained("umask %03o", mask) : escaped("umask %03o: everybody may write", mask);
}

/* asked of the kernel: the C library keeps 32 and 33 to itself */
static int c_ignored(int count, char **words)
{
    struct { unsigned long handler, flags, restorer, mask; } action;
    for (int number = 1; number <= 64; number++)
        if (!syscall(SYS_rt_sigaction, number, NULL, &action, 8) && action.handler == 1)
            return escaped("signal %d is ignored", number);
    return contained("none is ignored");
}

static int c_blocked(int count, char **words)
{
    sigset_t set;
    sigprocmask(SIG_BLOCK, NULL, &set);
    for (int number = 1; number < 32; number++)
        if (sigismember(&set, number))
            return escaped("signal %d is blocked", number);
    return contained("none is blocked");
}

static int c_advantage(int count, char **words)
{
    int policy = syscall(SYS_sched_getscheduler, 0), io = syscall(SYS_ioprio_get, 1, 0);
    int nice = 20 - (int)syscall(SYS_getpriority, PRIO_PROCESS, 0);
    long execution = syscall(SYS_personality, 0xffffffffUL);
    if (!strcmp(words[0], "class"))
        return policy == 1 || policy == 2 ? escaped("policy %d", policy) : contained("policy %d", policy);
    if (!strcmp(words[0], "nice"))
        return nice < 0 && nice >= -20 ? escaped("nice %d", nice) : contained("nice %d", nice);
    if (!strcmp(words[0], "io"))
        return io > 0 && (io >> 13) < 3 && (io & 7) < 4 ? escaped("I/O priority %#x", io) : contained("I/O priority %#x", io);
    return execution > 0 ? escaped("personality %#lx", execution) : contained("personality %#lx", execution);
}

/* NAME in the working directory, whose path may lead nowhere */
static int c_here(int count, char **words)
{
    return attempt(words[0], open(words[0], O_PATH));
}

/* NUMBER of a limit, and what it may be at most */
static int c_limit(int count, char **words)
{
    struct rlimit found = {0, 0};
    int number = atoi(words[0]);
    if (syscall(SYS_prlimit64, 0, number, NULL, &found))
        return contained("limit %d: %s", number, strerror(errno));
    return found.rlim_max > strtoul(words[1], NULL, 10) ? escaped("limit %d: %lu", number, (unsigned long)found.rlim_max)
                                                         : contained("limit %d: %lu", number, (unsigned long)found.rlim_max);
}

/* a file of the root that all runs of a launcher share */
static int c_leave_file(int count, char **words)
{
    for (int at = 0; at < count; at++) {
        int fd = open(words[at], O_WRONLY | O_CREAT | O_EXCL, 0644);
        if (fd >= 0)
            return escaped("%s is left", words[at]);
    }
    return contained("%s: %s", words[0], strerror(errno));
}

const struct entry inherited[] = {
    {"inherited", c_inherited}, {"variable", c_variable}, {"umask", c_umask},   {"ignored", c_ignored},
    {"blocked", c_blocked},     {"advantage", c_advantage}, {"limit", c_limit}, {"leave-file", c_leave_file},
    {"here", c_here},
    {NULL, NULL},
};

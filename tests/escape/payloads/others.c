/* Other processes: children, which stand for siblings, and init, which has the payload's own ids. */
#include "probe.h"
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/uio.h>

static char secret[16] = "before";

/* a child with something to read, to change and to take; 0 when there can be none */
static pid_t victim(void)
{
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        alarm(8);
        pause();
        _exit(0);
    }
    if (child < 0)
        contained("fork: %s", strerror(errno));
    return child < 0 ? 0 : child;
}

static int finish(pid_t child, const char *what, long result, const int *past)
{
    int error = errno;
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    errno = error;
    return reached(what, result, past);
}

static int c_ptrace(int count, char **words)
{
    pid_t child = victim();
    return child ? finish(child, "ptrace of a sibling", ptrace(PTRACE_SEIZE, child, 0, 0), NULL) : 0;
}

static int c_vm(int count, char **words)
{
    static char mine[16] = "changed";
    struct iovec here = {mine, sizeof mine}, there = {secret, sizeof secret};
    pid_t child = victim();
    if (!child)
        return 0;
    int number = words[0][0] == 'w' ? SYS_process_vm_writev : SYS_process_vm_readv;
    return finish(child, "memory of a sibling", syscall(number, child, &here, 1, &there, 1, 0), NULL);
}

static int c_pidfd_getfd(int count, char **words)
{
    pid_t child = victim();
    if (!child)
        return 0;
    return finish(child, "a descriptor of a sibling", syscall(438, syscall(434, child, 0), 1, 0), NULL);
}

static int c_kcmp(int count, char **words)
{
    pid_t child = victim();
    return child ? finish(child, "kcmp with a sibling", syscall(SYS_kcmp, getpid(), child, 2, 0, 0), NULL) : 0;
}

static int c_madvise(int count, char **words)
{
    struct iovec there = {(void *)((uintptr_t)secret & ~4095UL), 4096};
    pid_t child = victim();
    if (!child)
        return 0;
    return finish(child, "process_madvise of a sibling", syscall(440, syscall(434, child, 0), &there, 1, 20, 0), NULL);
}

static int c_mrelease(int count, char **words)
{
    static const int past[] = {EINVAL, ESRCH, 0}; /* it is not dying */
    pid_t child = victim();
    return child ? finish(child, "process_mrelease", syscall(448, syscall(434, child, 0), 0), past) : 0;
}

/* init becomes its tracer, and is told of a stop as of an end: the scene looks at what the caller is told */
static int c_traceme(int count, char **words)
{
    if (ptrace(PTRACE_TRACEME, 0, 0, 0))
        return contained("PTRACE_TRACEME: %s", strerror(errno));
    contained("init traces it");
    return raise(SIGSTOP);
}

static int c_better(int count, char **words)
{
    return reached("a better nice value", syscall(SYS_setpriority, PRIO_PROCESS, 0, -5), NULL);
}

/* a lease on a file of the host: whoever opens it for writing there waits until it is given back */
static int c_lease(int count, char **words)
{
    int fd = -1;
    for (int at = 0; at < count && fd < 0; at++)
        fd = open(words[at], O_RDONLY);
    if (fd < 0)
        return contained("%s: %s", words[0], strerror(errno));
    return attempt("a lease on the file", fcntl(fd, 1024, F_RDLCK)); /* F_SETLEASE */
}

/* WHAT of init: the kernel allows it to whoever has the same ids */
static int c_init(int count, char **words)
{
    uint64_t limits[2] = {0, 0};
    struct sched_param none = {0};
    struct { uint32_t size, policy; uint64_t flags; int32_t nice; uint32_t priority; uint64_t times[3]; } attributes = {48, 5};
    unsigned long cpus = 1;
    void *head;
    size_t length;
    long result = -1;
    if (!strcmp(words[0], "prlimit"))
        result = syscall(SYS_prlimit64, 1, RLIMIT_CORE, limits, NULL);
    else if (!strcmp(words[0], "affinity"))
        result = syscall(SYS_sched_setaffinity, 1, sizeof cpus, &cpus);
    else if (!strcmp(words[0], "scheduler"))
        result = syscall(SYS_sched_setscheduler, 1, 5, &none); /* SCHED_IDLE */
    else if (!strcmp(words[0], "attributes"))
        result = syscall(SYS_sched_setattr, 1, &attributes, 0);
    else if (!strcmp(words[0], "parameters"))
        result = syscall(SYS_sched_setparam, 1, &none);
    else if (!strcmp(words[0], "nice"))
        result = syscall(SYS_setpriority, PRIO_PROCESS, 1, 19);
    else if (!strcmp(words[0], "nice-user"))
        result = syscall(SYS_setpriority, PRIO_USER, 0, 19);
    else if (!strcmp(words[0], "ioprio"))
        result = syscall(SYS_ioprio_set, 1, 1, 3 << 13); /* IOPRIO_CLASS_IDLE */
    else if (!strcmp(words[0], "robust-list"))
        result = syscall(SYS_get_robust_list, 1, &head, &length);
    return reached(words[0], result, NULL);
}

const struct entry others[] = {
    {"ptrace", c_ptrace},   {"vm", c_vm},           {"pidfd-getfd", c_pidfd_getfd},
    {"kcmp", c_kcmp},       {"madvise", c_madvise}, {"mrelease", c_mrelease},
    {"init", c_init},       {"traceme", c_traceme}, {"better", c_better},
    {"lease", c_lease},     {NULL, NULL},
};

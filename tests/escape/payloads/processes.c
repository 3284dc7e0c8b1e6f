/* Processes that are not the payload's: init, those of the host, those of another run. */
#include "probe.h"
#include <dirent.h>
#include <sched.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/uio.h>
#include <time.h>

enum { F_SETSIG_NUMBER = 10 };

static void wait_ms(long ms)
{
    struct timespec time = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&time, NULL);
}

/* FILE of /proc/1; some of them are empty for a process without environment, so opening it counts */
static int c_init_file(int count, char **words)
{
    char path[64], data[4096];
    snprintf(path, sizeof path, "/proc/1/%s", words[0]);
    int fd = open(path, O_RDONLY | (words[0][0] == 'f' ? O_DIRECTORY : 0));
    if (fd < 0)
        return contained("%s: %s", path, strerror(errno));
    long got = words[0][0] == 'f' ? syscall(SYS_getdents64, fd, data, sizeof data) : read(fd, data, sizeof data);
    return got < 0 && errno != EINVAL ? contained("%s: %s", path, strerror(errno)) : escaped("%s: %ld bytes", path, got);
}

static int c_init_link(int count, char **words)
{
    char path[64], target[256] = "";
    snprintf(path, sizeof path, "/proc/1/%s", words[0]);
    return readlink(path, target, sizeof target - 1) < 0 ? contained("%s: %s", path, strerror(errno)) : escaped("%s -> %s", path, target);
}

/* the stack of init, where nothing changes: the byte is written back */
static int c_init_mem(int count, char **words)
{
    char line[256], byte;
    unsigned long from = 0, start;
    int writes = words[0][0] == 'w';
    FILE *maps = fopen("/proc/1/maps", "r");
    if (!maps)
        return contained("/proc/1/maps: %s", strerror(errno));
    while (fgets(line, sizeof line, maps))
        if (strstr(line, "[stack]") && sscanf(line, "%lx", &start) == 1)
            from = start;
    int fd = open("/proc/1/mem", writes ? O_RDWR : O_RDONLY);
    if (fd < 0)
        return contained("/proc/1/mem: %s", strerror(errno));
    if (pread(fd, &byte, 1, from) != 1 || (writes && pwrite(fd, &byte, 1, from) != 1))
        return contained("memory of init: %s", strerror(errno));
    return escaped("a byte at %#lx of init", from);
}

static int c_init_namespace(int count, char **words)
{
    int fd = open("/proc/1/ns/uts", O_RDONLY);
    return fd < 0 ? contained("/proc/1/ns/uts: %s", strerror(errno)) : reached("setns to init's", syscall(SYS_setns, fd, 0), NULL);
}

/* its own place in the queue of the OOM killer, behind init */
static int c_spare(int count, char **words)
{
    int fd = open("/proc/self/oom_score_adj", O_WRONLY);
    return fd < 0 ? contained("oom_score_adj: %s", strerror(errno)) : attempt("a lower oom_score_adj", write(fd, "999", 3));
}

/* HOW PID: a process by its number */
static int c_process(int count, char **words)
{
    static const int past[] = {EFAULT, 0};
    char name[64], data[256];
    uint64_t limits[2] = {0, 0};
    struct iovec here = {data, sizeof data}, there = {(void *)8, sizeof data};
    pid_t pid = atoi(words[1]);
    const char *how = words[0];
    if (!strcmp(how, "trace"))
        return reached("ptrace", ptrace(PTRACE_SEIZE, pid, 0, 0), NULL);
    if (!strcmp(how, "memory"))
        return reached("process_vm_readv", syscall(SYS_process_vm_readv, pid, &here, 1, &there, 1, 0), past);
    if (!strcmp(how, "limit"))
        return reached("prlimit", syscall(SYS_prlimit64, pid, RLIMIT_CORE, limits, NULL), NULL);
    if (!strcmp(how, "nice"))
        return reached("setpriority", syscall(SYS_setpriority, PRIO_PROCESS, pid, 19), NULL);
    if (!strcmp(how, "open"))
        return reached("pidfd_open", syscall(434, pid, 0), NULL);
    if (!strcmp(how, "take"))
        return reached("pidfd_getfd", syscall(438, syscall(434, pid, 0), 0, 0), NULL);
    if (!strcmp(how, "join"))
        return reached("setns", syscall(SYS_setns, syscall(434, pid, 0), 0x40000000), NULL);
    snprintf(name, sizeof name, "%s/%d/%s", count > 2 ? words[2] : "/proc", pid, how); /* a file of its own */
    int fd = open(name, O_RDONLY);
    long got = fd < 0 ? -1 : read(fd, data, sizeof data);
    return got <= 0 ? contained("%s: %s", name, strerror(errno)) : escaped("%s: %ld bytes", name, got);
}

static long send_by(const char *how, pid_t pid, int number)
{
    siginfo_t info = {.si_signo = number, .si_code = SI_QUEUE};
    int ends[2], one = 1;
    if (!strcmp(how, "kill"))
        return kill(pid, number);
    if (!strcmp(how, "thread"))
        return syscall(SYS_tgkill, pid, pid, number);
    if (!strcmp(how, "pidfd"))
        return syscall(424, syscall(434, pid, 0), number, NULL, 0);
    if (!strcmp(how, "queue")) {
        info.si_pid = 1; /* a sender that it is not */
        return syscall(SYS_rt_sigqueueinfo, pid, number, &info);
    }
    /* "owner": the kernel sends it, when there is something to read */
    if (pipe(ends) || fcntl(ends[0], F_SETOWN, pid) || fcntl(ends[0], F_SETSIG_NUMBER, number) || fcntl(ends[0], F_SETFL, O_ASYNC))
        return -1;
    one = write(ends[1], "x", 1);
    close(ends[0]);
    close(ends[1]);
    return one;
}

/* HOW PID: whoever gets SIGUSR1 there ends, which is seen from outside */
static int c_signal(int count, char **words)
{
    long sent = send_by(words[0], atoi(words[1]), SIGUSR1);
    return contained("%s: %s", words[0], sent < 0 ? strerror(errno) : "sent");
}

/* HOW: every signal to init; the scene sees whether it lives to tell */
static int c_signal_init(int count, char **words)
{
    pid_t parent = getppid();
    for (int number = 1; number <= 64; number++)
        send_by(words[0], parent, number);
    wait_ms(50);
    return contained("its parent is %d, was %d", getppid(), parent);
}

/* the process group: whoever of it is not prepared ends */
static int c_signal_group(int count, char **words)
{
    signal(SIGUSR1, SIG_IGN);
    kill(0, SIGUSR1);
    wait_ms(50);
    return contained("its parent is %d", getppid());
}

/* the other run: who is it? 0 when it cannot be seen */
static pid_t companion(const char *token)
{
    char path[300], line[256];
    for (int turn = 0; turn < 20; turn++, wait_ms(20)) {
        DIR *all = opendir("/proc");
        for (struct dirent *entry; all && (entry = readdir(all));) {
            snprintf(path, sizeof path, "/proc/%s/cmdline", entry->d_name);
            int fd = atoi(entry->d_name) && atoi(entry->d_name) != getpid() ? open(path, O_RDONLY) : -1;
            long got = fd < 0 ? 0 : read(fd, line, sizeof line);
            close(fd);
            if (got > 0 && memmem(line, got, token, strlen(token)) && memmem(line, got, "stand", 5)) {
                closedir(all);
                return atoi(entry->d_name);
            }
        }
        if (all)
            closedir(all);
    }
    return 0;
}

/* WHAT TOKEN: of the other run that has the token on its command line */
static int c_other(int count, char **words)
{
    signal(SIGUSR1, SIG_IGN);
    if (!strcmp(words[0], "everybody")) {
        for (int turn = 0; turn < 20; turn++, wait_ms(20))
            kill(-1, SIGUSR1);
        return contained("signals were sent");
    }
    pid_t pid = companion(words[1]);
    if (!pid)
        return contained("nobody is seen");
    if (!strcmp(words[0], "see"))
        return escaped("process %d of another run", pid);
    wait_ms(50); /* until it stands */
    return contained("kill: %s", kill(pid, SIGUSR1) ? strerror(errno) : "sent");
}

/* the parent of init: may it be signalled? */
static int c_launcher(int count, char **words)
{
    char path[64], line[512] = "";
    int pid = 0;
    snprintf(path, sizeof path, "/proc/%d/stat", getppid());
    int fd = open(path, O_RDONLY);
    if (fd < 0 || read(fd, line, sizeof line - 1) <= 0 || !strrchr(line, ')'))
        return contained("%s: %s", path, strerror(errno));
    if (sscanf(strrchr(line, ')') + 1, " %*c %d", &pid) != 1 || pid <= 0)
        return contained("init has no parent");
    return attempt("a signal to the launcher", kill(pid, 0));
}

static int c_stand(int count, char **words)
{
    wait_ms(9000);
    return 0;
}

/* a session and a group whose leader is outside are 0 here */
static int c_session(int count, char **words)
{
    if (getsid(0) > 0 && getpgid(0) > 0)
        return contained("session %d, group %d", getsid(0), getpgid(0));
    return escaped("session %d, group %d", getsid(0), getpgid(0));
}

const struct entry processes[] = {
    {"init-file", c_init_file},
    {"init-link", c_init_link},
    {"init-mem", c_init_mem},
    {"init-namespace", c_init_namespace},
    {"spare", c_spare},
    {"process", c_process},
    {"signal", c_signal},
    {"signal-init", c_signal_init},
    {"signal-group", c_signal_group},
    {"other", c_other},
    {"launcher", c_launcher},
    {"stand", c_stand},
    {"session", c_session},
    {NULL, NULL},
};

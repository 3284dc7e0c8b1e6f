/* Ways round the filter in time: threads, signals, filters of one's own, and the listener that answers. */
#include "probe.h"
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/time.h>
#include <sys/uio.h>

static long unnamed(void)
{
    unsigned long context = 0;
    return syscall(SYS_io_setup, 1, &context);
}

static long denied(void) { return syscall(SYS_keyctl, 0, -3, 0, 0, 0); } /* which key is the session's? */

static void *in_thread(void *found) { return unnamed() >= 0 ? found : NULL; }

static int in_process(void *unused) { return unnamed() >= 0; }

/* every way to become another task: each must have the filter too */
static int c_tasks(int count, char **words)
{
    pthread_t thread;
    void *found = NULL;
    alarm(8);
    if (pthread_create(&thread, NULL, in_thread, &found) == 0 && pthread_join(thread, &found) == 0 && found)
        return escaped("a thread without the filter");
    int status = child_status(in_process, NULL);
    if (status > 0)
        return escaped("a child without the filter");
    char *const argv[] = {"probe", "unnamed", NULL};
    execv(own_program, argv);
    return contained("exec: %s", strerror(errno));
}

static volatile sig_atomic_t caught;
static void on_signal(int number) { caught = number; }

#if defined(__x86_64__)
static int survive(void *unused)
{
    long result;
    signal(SIGSYS, on_signal);
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(20) : "memory", "rcx", "r8", "r9", "r10", "r11");
    return caught == SIGSYS ? 42 : 0;
}

/* a filter that sends a signal can be outlived */
static int c_handler(int count, char **words)
{
    int status = child_status(survive, NULL);
    if (status < 0)
        status = survive(NULL) << 8;
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV)
        return not_here("this kernel has no such entry");
    if (WIFEXITED(status) && WEXITSTATUS(status) == 42)
        return escaped("SIGSYS was caught, and the program went on");
    return contained(WIFSIGNALED(status) ? "killed" : "no signal");
}
#else
static int c_handler(int count, char **words) { return not_here("an entry of x86"); }
#endif

static struct sock_filter allow[] = {{BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW}};
static struct sock_fprog permissive = {1, allow};

static int c_own_filter(int count, char **words)
{
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &permissive) || syscall(SYS_seccomp, 1, 0, &permissive))
        return contained("no filter of its own: %s", strerror(errno));
    return reached("io_setup below a filter that allows all", unnamed(), NULL);
}

/* N refused calls first: after 64 reports the launcher's listener is gone, and the kernel would take another */
static int c_listener(int count, char **words)
{
    unsigned long flags = strtoul(words[1], NULL, 0);
    for (int left = atoi(words[0]); left > 0; left--)
        denied();
    return reached("a listener in place of the launcher's", syscall(SYS_seccomp, 1, flags, &permissive), NULL);
}

/* what is refused stays refused when nobody listens any more */
static int c_exhaust(int count, char **words)
{
    int number = 0;
    alarm(8);
    for (int round = 0; round < 200; round++)
        if (denied() >= 0 || (errno != EPERM && errno != ENOSYS))
            return escaped("keyctl at try %d: %s", round + 1, strerror(errno));
        else
            number = errno;
    return contained("keyctl 200 times: %s", strerror(number));
}

/* signals while the launcher is asked: the call starts again */
static int c_signals(int count, char **words)
{
    struct sigaction action = {.sa_handler = on_signal};
    struct itimerval timer = {{0, 150}, {0, 150}};
    long got = -1;
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &timer, NULL);
    for (int round = 0; round < 60 && got < 0; round++)
        got = denied();
    memset(&timer, 0, sizeof timer);
    setitimer(ITIMER_REAL, &timer, NULL);
    return reached("keyctl among signals", got, NULL);
}

static char place[16] = "/tmp";
static volatile int done;

static void *flip(void *unused)
{
    while (!done) {
        strcpy(place, "/nowhere");
        strcpy(place, "/tmp");
    }
    return NULL;
}

/* whoever decided by the path would decide by another one than the kernel sees */
static int c_pointers(int count, char **words)
{
    pthread_t thread;
    long result = -1;
    alarm(8);
    pthread_create(&thread, NULL, flip, NULL);
    for (int round = 0; result && (round < 40 || (errno == ENOENT && round < 200000)); round++)
        result = syscall(SYS_mount, "none", place, "tmpfs", 0, NULL);
    int error = errno;
    done = 1;
    errno = error;
    return attempt("mount at a path that changes", result);
}

#if defined(__x86_64__)
#include <sys/user.h>

/* the tracer puts another call in the place of an allowed one, after the filter has seen that (kernels before 4.8) */
static int c_rewrite(int count, char **words)
{
    struct user_regs_struct registers;
    int status;
    alarm(8);
    pid_t child = fork();
    if (child < 0)
        return contained("fork: %s", strerror(errno));
    if (child == 0) {
        if (ptrace(PTRACE_TRACEME, 0, 0, 0) == 0 && kill(getpid(), SIGSTOP) == 0)
            syscall(SYS_getppid);
        _exit(0);
    }
    if (waitpid(child, &status, 0) != child || !WIFSTOPPED(status))
        return contained("the child cannot be traced");
    do { /* until it is about to call getppid */
        if (ptrace(PTRACE_SYSCALL, child, 0, 0) || waitpid(child, &status, 0) != child || !WIFSTOPPED(status))
            return contained("tracing: %s", strerror(errno));
        ptrace(PTRACE_GETREGS, child, 0, &registers);
    } while (registers.orig_rax != SYS_getppid);
    registers.orig_rax = SYS_personality;
    registers.rdi = 0x0040000;
    ptrace(PTRACE_SETREGS, child, 0, &registers);
    ptrace(PTRACE_SYSCALL, child, 0, 0);
    waitpid(child, &status, 0);
    ptrace(PTRACE_GETREGS, child, 0, &registers);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    errno = -(int)registers.rax;
    return attempt("personality in place of getppid", (long)registers.rax < 0 ? -1 : 0);
}
#else
static int c_rewrite(int count, char **words) { return not_here("written for x86"); }
#endif

const struct entry threads[] = {
    {"tasks", c_tasks},       {"handler", c_handler}, {"own-filter", c_own_filter}, {"listener", c_listener},
    {"exhaust", c_exhaust},   {"signals", c_signals}, {"pointers", c_pointers},     {"rewrite", c_rewrite},
    {NULL, NULL},
};

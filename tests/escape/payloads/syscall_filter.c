/* Ways round the list of system calls, and what they open. */
#include "probe.h"
#include <sys/ioctl.h>
#include <sys/socket.h>

#if defined(__x86_64__)
/* the i386 entry: its numbers are other calls */
static long by_int80(long number, long first, long second)
{
    long result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(first), "c"(second), "d"(0) : "memory", "r8", "r9", "r10", "r11");
    return result;
}
#endif

/* the child does it: an entry that kills must not take the probe with it */
static int in_child(long (*call)(void), const char *what)
{
    int status;
    pid_t child = fork();
    if (child < 0)
        return contained("fork: %s", strerror(errno));
    if (child == 0) {
        long result = call();
        _exit(result >= 0 ? 42 : -result < 40 ? (int)-result : 41);
    }
    waitpid(child, &status, 0);
    if (WIFSIGNALED(status))
        return contained("%s: killed by signal %d", what, WTERMSIG(status));
    if (WEXITSTATUS(status) == 42)
        return escaped("%s", what);
    return contained("%s: %s", what, strerror(WEXITSTATUS(status)));
}

#if defined(__x86_64__)
static long int80_unshare(void) { return by_int80(310, 0x10000000, 0); }
static long int80_keyctl(void) { return by_int80(288, 0, -3); }
static long int80_getpid(void) { return by_int80(20, 0, 0); }
static int c_int80_unshare(int count, char **words) { return in_child(int80_unshare, "unshare(NEWUSER) by int 0x80"); }
static int c_int80_keyctl(int count, char **words) { return in_child(int80_keyctl, "keyctl by int 0x80"); }
static int c_int80(int count, char **words) { return in_child(int80_getpid, "getpid by int 0x80"); }
#endif

static int c_clone3(int count, char **words)
{
    struct { uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls; } arguments = {.exit_signal = 17};
    arguments.flags = 0x10000000; /* CLONE_NEWUSER */
    long pid = syscall(435, &arguments, sizeof arguments);
    if (pid == 0)
        _exit(0);
    if (pid > 0)
        waitpid(pid, NULL, 0);
    return attempt("clone3(NEWUSER)", pid);
}

static int c_unshare(int count, char **words) { return attempt("unshare", syscall(SYS_unshare, strtoul(words[0], NULL, 0))); }

const struct entry syscall_filter[] = {
#if defined(__x86_64__)
    {"int80", c_int80},
    {"int80-unshare", c_int80_unshare},
    {"int80-keyctl", c_int80_keyctl},
#endif
    {"clone3", c_clone3},
    {"unshare", c_unshare},
    {NULL, NULL},
};

/* Other entries into the kernel than the one that the filter was made for, odd numbers, and flags of new namespaces. */
#include "probe.h"
#include <signal.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/prctl.h>

#define NETLINK 16

#if defined(__x86_64__)
/* the i386 entry: its numbers are other calls */
static long by_int80(long number, long first, long second)
{
    long result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(first), "c"(second), "d"(0) : "memory", "r8", "r9", "r10", "r11");
    return result;
}

static int as_status(void *call)
{
    long result = ((long (*)(void))call)();
    return result >= 0 ? 42 : -result < 40 ? (int)-result : 41;
}

/* the child does it: an entry that kills must not take the probe with it; where there are no children, we die ourselves */
static int in_child(long (*call)(void), const char *what)
{
    int status = child_status(as_status, (void *)call);
    if (status < 0)
        status = as_status((void *)call) << 8;
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV)
        return not_here("%s: this kernel has no such entry", what);
    if (WIFSIGNALED(status))
        return contained("%s: killed by signal %d", what, WTERMSIG(status));
    if (WEXITSTATUS(status) == 42)
        return escaped("%s", what);
    if (WEXITSTATUS(status) == ENOSYS && !filtered())
        return not_here("%s: this kernel has no such entry", what);
    return contained("%s: %s", what, strerror(WEXITSTATUS(status)));
}

static long int80_unshare(void) { return by_int80(310, 0x10000000, 0); }
static long int80_keyctl(void) { return by_int80(288, 0, -3); }
static long int80_getpid(void) { return by_int80(20, 0, 0); }

/* socketcall(SYS_SOCKET, {family, type, protocol}): what matters lies behind a pointer */
static long int80_socketcall(void)
{
    uint32_t *arguments = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
    if (arguments == MAP_FAILED)
        return -ENOMEM;
    arguments[0] = NETLINK;
    arguments[1] = 3;
    return by_int80(102, 1, (long)arguments);
}

static const int x32_calls[] = {SYS_unshare, SYS_keyctl, SYS_mount, SYS_personality, SYS_socket, SYS_getpid, 514, 516, 520, 521};

static long x32_any(void)
{
    for (size_t at = 0; at < sizeof x32_calls / sizeof *x32_calls; at++)
        if (syscall(x32_calls[at] | 0x40000000, 0, 0, 0, 0, 0) >= 0 || errno != ENOSYS)
            return 0;
    return -ENOSYS;
}

static int c_int80(int count, char **words) { return in_child(int80_getpid, "getpid by int 0x80"); }
static int c_int80_unshare(int count, char **words) { return in_child(int80_unshare, "unshare(NEWUSER) by int 0x80"); }
static int c_int80_keyctl(int count, char **words) { return in_child(int80_keyctl, "keyctl by int 0x80"); }
static int c_int80_socketcall(int count, char **words) { return in_child(int80_socketcall, "socketcall by int 0x80"); }
static int c_x32(int count, char **words) { return in_child(x32_any, "a call by its x32 number"); }

/* write(1, "ESCAPED …"), exit(0), in i386 code */
static const char elf32[] =
    "\x7f"
    "ELF\1\1\1\0\0\0\0\0\0\0\0\0\2\0\3\0\1\0\0\0\x54\x80\x04\x08\x34\0\0\0\0\0\0\0\0\0\0\0\x34\0\x20\0\1\0\0\0\0\0\0\0"
    "\1\0\0\0\0\0\0\0\0\x80\x04\x08\0\x80\x04\x08\0\1\0\0\0\1\0\0\5\0\0\0\0\x10\0\0"
    "\xb8\4\0\0\0\xbb\1\0\0\0\xb9\x76\x80\x04\x08\xba\x26\0\0\0\xcd\x80\xb8\1\0\0\0\x31\xdb\xcd\x80\x90\x90\x90"
    "ESCAPED a 32-bit program made a call!\n";

static int c_elf32(int count, char **words)
{
    char *const argv[] = {"elf32", NULL}, *const environment[] = {NULL};
    int fd = syscall(SYS_memfd_create, "elf32", 0);
    static char image[256];
    memcpy(image, elf32, sizeof elf32);
    if (fd < 0 || write(fd, image, sizeof image) != sizeof image)
        return contained("memfd: %s", strerror(errno));
    syscall(SYS_execveat, fd, "", argv, environment, 0x1000); /* AT_EMPTY_PATH */
    if (errno == ENOEXEC && !filtered())
        return not_here("this kernel executes no 32-bit programs");
    return contained("execveat: %s", strerror(errno));
}
#else
static int not_x86(int count, char **words) { return not_here("an entry of x86"); }
#define c_int80 not_x86
#define c_int80_unshare not_x86
#define c_int80_keyctl not_x86
#define c_int80_socketcall not_x86
#define c_x32 not_x86
#define c_elf32 not_x86
#endif

/* the numbers 512 to 547 are x32's own; kernels before 5.4 took them without the bit too */
static int c_x32_low(int count, char **words)
{
    for (int number = 512; number < 548; number++) {
        if (number == 513 || number == 535) /* rt_sigreturn; recvmmsg would wait */
            continue;
        if (syscall(number, -1, 0, 0, 0, 0, 0) >= 0 || errno != ENOSYS)
            return escaped("call %d: %s", number, strerror(errno));
    }
    return filtered() ? contained("none of them exists") : not_here("this kernel does not mix the two tables");
}

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

static int c_clone(int count, char **words)
{
    long pid = syscall(SYS_clone, strtoul(words[0], NULL, 0) | SIGCHLD, 0, 0, 0, 0);
    if (pid == 0)
        _exit(0);
    if (pid > 0)
        waitpid(pid, NULL, 0);
    return attempt("clone with flags of new namespaces", pid);
}

static int c_unshare(int count, char **words) { return attempt("unshare", syscall(SYS_unshare, strtoul(words[0], NULL, 0))); }

static int c_setns(int count, char **words)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/self/ns/%s", words[0]);
    int fd = open(path, O_RDONLY);
    if (fd < 0)
        return contained("%s: %s", path, strerror(errno));
    return attempt("setns", syscall(SYS_setns, fd, 0));
}

/* a new user namespace is worth something when there is a root in it */
static int c_nested(int count, char **words)
{
    char line[64];
    snprintf(line, sizeof line, "0 %d 1", (int)getuid());
    if (syscall(SYS_unshare, 0x10000000UL))
        return contained("unshare(NEWUSER): %s", strerror(errno));
    int fd = open("/proc/self/uid_map", O_WRONLY);
    if (fd < 0)
        return escaped("a nested user namespace, without a map: %s", strerror(errno));
    return write(fd, line, strlen(line)) > 0 ? escaped("root in a nested user namespace") : escaped("a nested user namespace");
}

/* io_setup: no profile names it, every kernel has it */
static int c_unnamed(int count, char **words)
{
    unsigned long context = 0;
    return reached("io_setup, which no rule names", syscall(SYS_io_setup, 1, &context), NULL);
}

static int c_newer(int count, char **words)
{
    for (int number = 470; number < 1100; number++)
        if ((number < 512 || number > 547) && (syscall(number, -1, 0, 0, 0, 0, 0) >= 0 || errno != ENOSYS))
            return escaped("call %d: %s", number, strerror(errno));
    return filtered() ? contained("none of them exists") : not_here("this kernel has no newer call");
}

static long wide(long value) { return value | 1L << 32 | 1L << 40; }

static int c_wide_number(int count, char **words)
{
    long key = syscall(wide(SYS_keyctl), 0, -3, 0, 0, 0); /* KEYCTL_GET_KEYRING_ID of the session */
    return reached("keyctl by a number with high bits", key, NULL);
}

static int c_wide_personality(int count, char **words)
{
    return reached("personality(ADDR_NO_RANDOMIZE | high bits)", syscall(SYS_personality, wide(0x0040000)), NULL);
}

static int c_wide_socket(int count, char **words)
{
    return reached("socket(AF_NETLINK | high bits)", syscall(SYS_socket, wide(NETLINK), wide(3), wide(0)), NULL);
}

static int c_wide_prctl(int count, char **words)
{
    unsigned size = 0; /* PR_SET_MM, PR_SET_MM_MAP_SIZE */
    long result = syscall(SYS_prctl, wide(35), 15, &size, 0, 0);
    if (result < 0 && errno == EINVAL && !filtered())
        return not_here("this kernel has no PR_SET_MM_MAP");
    return reached("prctl(PR_SET_MM | high bits)", result, NULL);
}

static int c_wide_prlimit(int count, char **words)
{
    uint64_t limit[2] = {1, 1};
    return reached("prlimit of init by a pid with high bits", syscall(SYS_prlimit64, wide(1), 4, limit, NULL), NULL);
}

/* the address space, without the random part; and the memory map that other tools trust */
static int c_personality(int count, char **words)
{
    return reached("personality", syscall(SYS_personality, strtoul(words[0], NULL, 0)), NULL);
}

static int c_memory_map(int count, char **words)
{
    char fake[] = "/sbin/init"; /* the kernel shows anonymous memory only */
    static char stat[2048], seen[16];
    unsigned long at[53] = {0};
    int fd = open("/proc/self/stat", O_RDONLY), field = 3;
    if (fd < 0 || read(fd, stat, sizeof stat - 1) <= 0)
        return contained("/proc/self/stat: %s", strerror(errno));
    char *next = strrchr(stat, ')') + 2;
    for (char *word = strtok(next, " "); word && field < 53; word = strtok(NULL, " "), field++)
        at[field] = strtoul(word, NULL, 10);
    struct prctl_mm_map map = {
        .start_code = at[26], .end_code = at[27], .start_data = at[45], .end_data = at[46],
        .start_brk = at[47], .brk = (uintptr_t)sbrk(0), .start_stack = at[28],
        .arg_start = (uintptr_t)fake, .arg_end = (uintptr_t)fake + sizeof fake,
        .env_start = at[50], .env_end = at[51], .exe_fd = -1,
    };
    long result = syscall(SYS_prctl, 35, 14, &map, sizeof map, 0);
    if (result < 0 && errno == EINVAL && !filtered())
        return not_here("this kernel has no PR_SET_MM_MAP");
    if (result < 0)
        return contained("PR_SET_MM_MAP: %s", strerror(errno));
    fd = open("/proc/self/cmdline", O_RDONLY);
    if (fd < 0 || read(fd, seen, sizeof seen) <= 0 || strcmp(seen, fake))
        return contained("the command line is as it was");
    return escaped("it looks like %s to all tools", seen);
}

static int c_sched_core(int count, char **words)
{
    long result = syscall(SYS_prctl, 62, 1, 0, 0, 0); /* PR_SCHED_CORE_CREATE for itself */
    if (result < 0 && (errno == EINVAL || errno == ENODEV) && !filtered())
        return not_here("this kernel has no core scheduling: %s", strerror(errno));
    return reached("prctl(PR_SCHED_CORE)", result, NULL);
}

const struct entry syscall_filter[] = {
    {"int80", c_int80},
    {"int80-unshare", c_int80_unshare},
    {"int80-keyctl", c_int80_keyctl},
    {"int80-socketcall", c_int80_socketcall},
    {"x32", c_x32},
    {"x32-low", c_x32_low},
    {"elf32", c_elf32},
    {"clone3", c_clone3},
    {"clone", c_clone},
    {"unshare", c_unshare},
    {"setns", c_setns},
    {"nested", c_nested},
    {"unnamed", c_unnamed},
    {"newer", c_newer},
    {"wide-number", c_wide_number},
    {"wide-personality", c_wide_personality},
    {"wide-socket", c_wide_socket},
    {"wide-prctl", c_wide_prctl},
    {"wide-prlimit", c_wide_prlimit},
    {"personality", c_personality},
    {"memory-map", c_memory_map},
    {"sched-core", c_sched_core},
    {NULL, NULL},
};

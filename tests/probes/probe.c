/* The payload of the integration tests: one static program, one command for each way to end or to misbehave.
 *
 *     probe COMMAND [ARGUMENT]...
 *
 * Every process of it ends by itself (an alarm), fills and forks up to a bound that the test gives, and says on stderr
 * what was refused. Exit codes: 0 done, 1 refused by a limit, 2 refused otherwise, 64 wrong usage.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LIFE_SECONDS = 180, BLOCK = 1 << 16, MIB = 1 << 20 };

static char **words;
static int count;

static long number(int index, long otherwise)
{
    return index < count ? strtol(words[index], NULL, 0) : otherwise;
}

static const char *word(int index)
{
    if (index < count)
        return words[index];
    fprintf(stderr, "probe: argument %d is missing\n", index);
    exit(64);
}

static int limit_or_other(const char *what)
{
    int limit = errno == EAGAIN || errno == ENOMEM || errno == ENOSPC || errno == EDQUOT || errno == EFBIG || errno == EMFILE;
    fprintf(stderr, "probe: %s: %s\n", what, strerror(errno));
    return limit ? 1 : 2;
}

static pid_t child(void)
{
    pid_t pid = fork();
    if (pid == 0)
        alarm(LIFE_SECONDS); /* not inherited */
    return pid;
}

/* Waits for all children; 1 when one of them did not end with 0. */
static int reap(void)
{
    int bad = 0, status;
    while (wait(&status) > 0)
        bad |= status != 0;
    return bad;
}

static void *spin(void *unused)
{
    volatile uint64_t x = 0;
    for (;;)
        x++;
    return unused;
}

/* Grows piece by piece, as a program with a leak does. */
static int touch(size_t bytes)
{
    for (size_t done = 0; done < bytes; done += MIB) {
        char *memory = mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED)
            return limit_or_other("mmap");
        for (size_t at = 0; at < MIB; at += 4096)
            memory[at] = 1;
    }
    return 0;
}

static int fill(int fd, size_t bytes, const char *name)
{
    static char block[BLOCK];
    memset(block, 'x', sizeof block);
    for (size_t done = 0; done < bytes;) {
        ssize_t n = write(fd, block, bytes - done < sizeof block ? bytes - done : sizeof block);
        if (n < 0)
            return limit_or_other(name);
        done += (size_t)n;
    }
    return 0;
}

/* --- endings */
static int c_exit(void) { return (int)number(2, 0); }
static int c_segv(void) { *(volatile int *)8 = 1; return 0; }
static int c_abort(void) { abort(); }
static int c_raise(void) { raise((int)number(2, SIGTERM)); return 0; }
static int c_kill(void)
{
    if (kill((pid_t)number(2, 1), (int)number(3, SIGKILL)))
        return limit_or_other("kill");
    return (int)number(4, 0);
}
static int c_sleep(void) { sleep((unsigned)number(2, 60)); return 0; }

/* --- CPU */
static int c_spin(void) { spin(NULL); return 0; }
static int c_spin_threads(void)
{
    pthread_t thread;
    for (long i = 1; i < number(2, 8); i++)
        if ((errno = pthread_create(&thread, NULL, spin, NULL)))
            return limit_or_other("pthread_create");
    spin(NULL);
    return 0;
}
static int c_spin_grandchild(void)
{
    if (child() == 0) {
        if (child() == 0)
            spin(NULL);
        _exit(reap());
    }
    return reap();
}
/* Children that live a few milliseconds each: sampling cannot see them. */
static int c_spin_short(void)
{
    for (;;) {
        pid_t pid = child();
        if (pid < 0)
            return limit_or_other("fork");
        if (pid == 0) {
            for (volatile long x = 0; x < 3000000; x++)
                ;
            _exit(0);
        }
        waitpid(pid, NULL, 0);
    }
}

/* --- memory */
static int c_alloc(void)
{
    long processes = number(3, 1);
    size_t bytes = (size_t)number(2, 16) * MIB;
    if (processes == 1)
        return touch(bytes);
    for (long i = 0; i < processes; i++) {
        pid_t pid = child();
        if (pid < 0)
            return limit_or_other("fork");
        if (pid == 0) {
            int refused = touch(bytes);
            if (!refused)
                pause();
            _exit(refused);
        }
    }
    return reap();
}
static int c_memfd(void)
{
    int fd = (int)syscall(SYS_memfd_create, "probe", 0);
    return fd < 0 ? limit_or_other("memfd_create") : fill(fd, (size_t)number(2, 16) * MIB, "memfd");
}

/* --- disk */
static int c_fill(void)
{
    int fd = open(word(2), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    return fd < 0 ? limit_or_other(word(2)) : fill(fd, (size_t)number(3, 16) * MIB, word(2));
}
static int c_inodes(void)
{
    char name[512];
    for (long i = 0; i < number(3, 100000); i++) {
        snprintf(name, sizeof name, "%s/%ld", word(2), i);
        int fd = open(name, O_WRONLY | O_CREAT | O_EXCL, 0600);
        if (fd < 0)
            return limit_or_other(name);
        close(fd);
    }
    return 0;
}

/* --- processes */
static int c_forks(void)
{
    for (long i = 0; i < number(2, 1000); i++) {
        pid_t pid = child();
        if (pid < 0)
            return limit_or_other("fork");
        if (pid == 0) {
            pause();
            _exit(0);
        }
    }
    return 0;
}
/* Forks until it is refused, then ends its children and copes. */
static int c_forks_cope(void)
{
    static pid_t pids[4096];
    long made = 0, most = number(2, 1000);
    while (made < most && made < 4096) {
        pid_t pid = child();
        if (pid == 0) {
            pause();
            _exit(0);
        }
        if (pid < 0)
            break;
        pids[made++] = pid;
    }
    printf("%ld\n", made);
    for (long i = 0; i < made; i++)
        kill(pids[i], SIGKILL);
    reap();
    return made == most ? 2 : 0;
}
/* Every process forks on until `total` were made altogether; then they stay. */
static int c_forkbomb(void)
{
    long total = number(2, 1000);
    long *made = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int first = getpid(), refused = 0;
    if (made == MAP_FAILED)
        return limit_or_other("mmap");
    while (!refused && __atomic_add_fetch(made, 1, __ATOMIC_SEQ_CST) <= total)
        if (child() < 0)
            refused = limit_or_other("fork");
    if (getpid() != first)
        pause();
    return refused ? refused : 0;
}
static int c_daemon(void)
{
    if (child() == 0) {
        setsid();
        if (child() == 0) {
            sleep((unsigned)number(2, 60));
            dprintf(1, "late\n");
            _exit(0);
        }
        _exit(0);
    }
    int bad = reap();
    dprintf(1, "started\n");
    return bad;
}

/* --- output and input */
static int c_flood(void)
{
    size_t bytes = (size_t)number(2, 1 << 20);
    return fill((int)number(3, 1), bytes, "output");
}
static int c_echo(void)
{
    static char block[BLOCK];
    ssize_t n;
    while ((n = read(0, block, sizeof block)) > 0)
        for (ssize_t at = 0, w; at < n; at += w)
            if ((w = write(1, block + at, (size_t)(n - at))) < 0)
                return limit_or_other("stdout");
    return n < 0 ? limit_or_other("stdin") : 0;
}
static int c_count(void)
{
    static char block[BLOCK];
    ssize_t n;
    long long bytes = 0;
    while ((n = read(0, block, sizeof block)) > 0)
        bytes += n;
    printf("%lld\n", bytes);
    return n < 0 ? limit_or_other("stdin") : 0;
}
static int c_args(void)
{
    for (int i = 2; i < count; i++)
        printf("%s%c", words[i], 0);
    return 0;
}
static int c_env(void)
{
    for (char **e = environ; *e; e++)
        puts(*e);
    return 0;
}

/* --- what is in reach */
static int c_cat(void)
{
    static char block[BLOCK];
    ssize_t n;
    int fd = open(word(2), O_RDONLY);
    if (fd < 0)
        return limit_or_other(word(2));
    while ((n = read(fd, block, sizeof block)) > 0)
        if (write(1, block, (size_t)n) < 0)
            return limit_or_other("stdout");
    return n < 0 ? limit_or_other(word(2)) : 0;
}
static int c_open(void)
{
    int fd = open(word(2), (int)number(3, O_RDONLY) | O_NONBLOCK, 0600);
    return fd < 0 ? limit_or_other(word(2)) : 0;
}
static int c_list(void)
{
    DIR *directory = opendir(word(2));
    if (!directory)
        return limit_or_other(word(2));
    for (struct dirent *e; (e = readdir(directory));)
        if (strcmp(e->d_name, ".") && strcmp(e->d_name, ".."))
            puts(e->d_name);
    return 0;
}
/* Open descriptors: number and what they are. */
static int c_fds(void)
{
    char path[64], to[4096];
    for (int fd = 0; fd < 4096; fd++) {
        if (fcntl(fd, F_GETFD) < 0)
            continue;
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        ssize_t n = readlink(path, to, sizeof to - 1);
        to[n < 0 ? 0 : n] = 0;
        printf("%d %s\n", fd, to);
    }
    return 0;
}
static int c_rlimits(void)
{
    struct rlimit r;
    for (int i = 0; i < 16; i++)
        if (!getrlimit((__rlimit_resource_t)i, &r))
            printf("%d %llu %llu\n", i, (unsigned long long)r.rlim_cur, (unsigned long long)r.rlim_max);
    return 0;
}
static int c_connect(void)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)number(3, 80))};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return limit_or_other("socket");
    inet_pton(AF_INET, word(2), &to.sin_addr);
    return connect(fd, (struct sockaddr *)&to, sizeof to) ? limit_or_other("connect") : 0;
}
static int c_window(void)
{
    struct winsize size;
    if (ioctl(0, TIOCGWINSZ, &size))
        return limit_or_other("TIOCGWINSZ");
    printf("%d %d\n", size.ws_row, size.ws_col);
    return 0;
}

/* --- one system call: "value errno" on stdout, exit 0 when it was not refused */
static int one_syscall(int first)
{
    long result;
    errno = 0;
    result = syscall(number(first, 0), number(first + 1, 0), number(first + 2, 0), number(first + 3, 0), number(first + 4, 0),
                     number(first + 5, 0), number(first + 6, 0));
    dprintf(1, "%ld %d\n", result, result == -1 ? errno : 0);
    return result == -1 ? 2 : 0;
}
static int c_syscall(void) { return one_syscall(2); }
static int c_syscall_grandchild(void)
{
    if (child() == 0) {
        if (child() == 0)
            _exit(one_syscall(2));
        _exit(reap());
    }
    reap();
    return 0; /* the main process itself sees nothing wrong */
}

static const struct {
    const char *name;
    int (*run)(void);
} commands[] = {
    {"exit", c_exit},
    {"segv", c_segv},
    {"abort", c_abort},
    {"raise", c_raise},
    {"kill", c_kill},
    {"sleep", c_sleep},
    {"spin", c_spin},
    {"spin-threads", c_spin_threads},
    {"spin-grandchild", c_spin_grandchild},
    {"spin-short", c_spin_short},
    {"alloc", c_alloc},
    {"memfd", c_memfd},
    {"fill", c_fill},
    {"inodes", c_inodes},
    {"forks", c_forks},
    {"forks-cope", c_forks_cope},
    {"forkbomb", c_forkbomb},
    {"daemon", c_daemon},
    {"flood", c_flood},
    {"echo", c_echo},
    {"count", c_count},
    {"args", c_args},
    {"env", c_env},
    {"cat", c_cat},
    {"open", c_open},
    {"list", c_list},
    {"fds", c_fds},
    {"rlimits", c_rlimits},
    {"connect", c_connect},
    {"window", c_window},
    {"syscall", c_syscall},
    {"syscall-grandchild", c_syscall_grandchild},
};

int main(int argc, char **argv)
{
    words = argv;
    count = argc;
    alarm(LIFE_SECONDS);
    for (size_t i = 0; argc > 1 && i < sizeof commands / sizeof *commands; i++)
        if (!strcmp(argv[1], commands[i].name))
            return fflush(stdout), commands[i].run();
    fprintf(stderr, "probe: no such command: %s\n", argc > 1 ? argv[1] : "");
    return 64;
}

/* Endings that look like others, figures that hide, words that are not ours: scenes look at the result. */
#include "probe.h"
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <time.h>

static void burn(double seconds)
{
    struct timespec now;
    do
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    while (now.tv_sec + now.tv_nsec / 1e9 < seconds);
}

static int c_code(int count, char **words)
{
    return atoi(words[0]);
}

static int c_raise(int count, char **words)
{
    return kill(getpid(), atoi(words[0]));
}

/* MILLISECONDS how: in a process that its parent is not told of, that lives on at the end, or that left */
static int c_hide(int count, char **words)
{
    double time = atof(words[0]) / 1000;
    int over[2];
    char byte;
    if (!strcmp(words[1], "ignored"))
        signal(SIGCHLD, SIG_IGN);
    if (pipe(over))
        return contained("pipe: %s", strerror(errno));
    pid_t child = fork();
    if (child < 0)
        return contained("fork: %s", strerror(errno));
    if (child == 0) {
        if (!strcmp(words[1], "left") && (setsid() < 0 || fork()))
            _exit(0);
        burn(time);
        close(over[0]);
        close(over[1]);
        if (strcmp(words[1], "ignored"))
            sleep(5);
        _exit(0);
    }
    close(over[1]);
    if (read(over[0], &byte, 1) < 0) /* until the end of the child's work */
        return 1;
    if (!strcmp(words[1], "ignored"))
        wait(NULL); /* until it is gone: ECHILD */
    return 0;
}

static int c_overdue(int count, char **words)
{
    burn(atof(words[0]) / 1000);
    return 0;
}

static int c_peak(int count, char **words)
{
    size_t size = (size_t)atol(words[0]) << 20;
    volatile char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (size_t at = 0; at < size; at += 4096)
        memory[at] = 1;
    usleep(60000);
    munmap((void *)memory, size);
    usleep(60000);
    return 0;
}

static int c_refused(int count, char **words)
{
    for (int at = 0; at < atoi(words[0]); at++)
        syscall(SYS_ptrace, PTRACE_SEIZE, getpid(), 0, 0);
    return contained("refused");
}

/* a daemon that goes on when the program has ended */
static int c_linger(int count, char **words)
{
    fflush(NULL);
    if (fork() == 0) {
        setsid();
        usleep(atol(words[0]) * 1000);
        escaped("it is still there");
        _exit(0);
    }
    return contained("it has ended");
}

static int c_flood(int count, char **words)
{
    static char piece[65536];
    int fd = atoi(words[0]);
    memset(piece, 'x', sizeof piece);
    piece[sizeof piece - 1] = '\n';
    for (long left = atol(words[1]); left > 0; left -= 64)
        if (write(fd, piece, sizeof piece) < 0)
            return contained("%s", strerror(errno));
    return count > 2 ? 0 : escaped("%s KiB of output", words[1]); /* a third word: nothing is said */
}

/* a fork bomb whose main program says that all is well */
static int c_bomb(int count, char **words)
{
    for (int at = 0; at < atoi(words[0]); at++)
        if (fork() == 0) {
            sleep(5);
            _exit(0);
        }
    return 0;
}

static int hungry(void *size)
{
    size_t bytes = (size_t)size << 20;
    volatile char *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (size_t at = 0; memory != MAP_FAILED && at < bytes; at += 4096)
        memory[at] = 1;
    return 3;
}

static int c_sacrifice(int count, char **words)
{
    int status = child_status(hungry, (void *)atol(words[0]));
    if (status < 0)
        return contained("fork: %s", strerror(errno));
    usleep(300000);
    return WIFSIGNALED(status) ? escaped("a child died for it: signal %d", WTERMSIG(status)) : contained("status %d", status);
}

static char *number(char *at, char tag, int64_t value)
{
    *at++ = tag;
    memcpy(at, &value, sizeof value);
    return at + sizeof value;
}

/* a record of init's (ENDED: the program returned 0; FAILED: it could not be started), to every descriptor there may be */
static int c_forge(int count, char **words)
{
    char record[128] = {0}, *end = record + 1;
    int taken = 0, failed = !strcmp(words[0], "failed"), fields = failed ? 4 : 7;
    end = number(end, 'L', failed ? fields : 11);
    end = number(end, 'I', failed ? 32 : 31);
    for (int at = 1; at < fields; at++)
        end = number(end, 'I', 0);
    if (!failed) {
        *end++ = 'F';
        for (int at = 0; at < 3; at++)
            end = number(end, 'I', 0);
    }
    for (int fd = 0; fd < 256; fd++) {
        struct pollfd there = {fd, POLLOUT, 0};
        if (fd != 1 && poll(&there, 1, 0) > 0 && there.revents & POLLOUT)
            taken += write(fd, record, end - record) > 0;
    }
    if (!strcmp(words[0], "ended"))
        sleep(5);
    return contained("%d descriptors took it", taken);
}

/* the same for the record of a child that could not be executed */
static int c_forge_exec(int count, char **words)
{
    int32_t record[3] = {1, 0, EIO};
    int taken = 0;
    for (int fd = 3; fd < 256; fd++)
        taken += write(fd, record, sizeof record) > 0;
    return contained("%d descriptors took it", taken);
}

static int c_name(int count, char **words)
{
    close(open("bad-\xff\xfe\n\xed\xa0\x80", O_WRONLY | O_CREAT, 0600));
    return contained("a name that is no text");
}

/* text that ends within a character, then what looks like a result */
static int c_half(int count, char **words)
{
    static const char said[] = "{\"outcome\": \"exited\", \"exit\": {\"code\": 0}}\n\xf0\x9f\x98";
    return write(1, said, sizeof said - 1) < 0;
}

static int c_runs(int count, char **words)
{
    return escaped("it runs");
}

const struct entry results[] = {
    {"code", c_code}, {"raise-signal", c_raise}, {"hide", c_hide}, {"overdue", c_overdue}, {"peak", c_peak},
    {"refused-calls", c_refused}, {"linger", c_linger}, {"flood", c_flood}, {"bomb", c_bomb}, {"sacrifice", c_sacrifice},
    {"forge", c_forge}, {"forge-exec", c_forge_exec}, {"bad-name", c_name}, {"half", c_half}, {"runs", c_runs},
    {NULL, NULL},
};

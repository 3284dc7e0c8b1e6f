/* Processes that want to outlive their run; the scene looks for them on the host. All end by themselves after some seconds. */
#include "probe.h"
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <time.h>

enum { SECONDS = 12 };

static void wait_ms(long ms)
{
    struct timespec time = {ms / 1000, ms % 1000 * 1000000};
    while (nanosleep(&time, &time) && errno == EINTR)
        continue;
}

static void ignore_all(void)
{
    for (int number = 1; number <= 64; number++)
        signal(number, SIG_IGN);
}

/* says so and ends, when what it leaves behind has said that it is there */
static int leave(void (*left)(int ready))
{
    int ends[2];
    char byte;
    fflush(NULL);
    if (pipe(ends))
        return contained("pipe: %s", strerror(errno));
    pid_t child = fork();
    if (child == 0) {
        close(ends[0]);
        left(ends[1]);
        _exit(0);
    }
    if (child < 0)
        return contained("fork: %s", strerror(errno));
    close(ends[1]);
    contained("it left something: %ld", (long)read(ends[0], &byte, 1));
    return 0;
}

static void say_ready(int fd)
{
    if (write(fd, "!", 1) == 1)
        close(fd);
}

static void as_daemon(int ready)
{
    setsid();
    if (fork())
        _exit(0);
    ignore_all();
    say_ready(ready);
    wait_ms(SECONDS * 1000);
}

static void as_hopper(int ready)
{
    say_ready(ready);
    for (int turn = 0; turn < SECONDS * 30; turn++) {
        wait_ms(2);
        if (fork() > 0)
            _exit(0);
        wait_ms(30);
    }
}

static void as_stopped(int ready)
{
    say_ready(ready);
    raise(SIGSTOP);
}

static void as_vfork(int ready)
{
    if (vfork() == 0) { /* its parent waits where no other signal wakes it */
        say_ready(ready);
        wait_ms(SECONDS * 1000);
        _exit(0);
    }
}

static void as_subreaper(int ready)
{
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    if (fork() == 0 && fork() == 0) {
        say_ready(ready);
        wait_ms(SECONDS * 1000);
    } else {
        wait_ms(SECONDS * 1000);
    }
}

static int c_leave(int count, char **words)
{
    static const struct { const char *name; void (*run)(int); } kinds[] = {
        {"daemon", as_daemon}, {"hopper", as_hopper}, {"stopped", as_stopped}, {"vfork", as_vfork}, {"subreaper", as_subreaper},
    };
    for (size_t at = 0; at < sizeof kinds / sizeof *kinds; at++)
        if (!strcmp(words[0], kinds[at].name))
            return leave(kinds[at].run);
    return 2;
}

/* it does not end at all: whoever ends it is the clock, or the end of its caller */
static int c_outlive(int count, char **words)
{
    if (!strcmp(words[0], "hopping"))
        for (int turn = 0; turn < 2; turn++)
            leave(as_hopper);
    ignore_all();
    contained("it is here");
    wait_ms(SECONDS * 1000);
    return 0;
}

static void *wait_long(void *nothing)
{
    wait_ms(SECONDS * 1000);
    return nothing;
}

/* the same, but its first thread has ended */
static int c_headless(int count, char **words)
{
    pthread_t thread;
    fflush(NULL);
    if (pthread_create(&thread, NULL, wait_long, NULL))
        return contained("no thread");
    syscall(SYS_exit, 0);
    return 0;
}

static int c_nap(int count, char **words)
{
    wait_ms(700);
    return 0;
}

/* an orphan ends with 42 while the main process goes on, to end with 7 */
static int c_orphan(int count, char **words)
{
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        if (fork() == 0)
            wait_ms(100);
        _exit(42);
    }
    if (child < 0)
        return contained("fork: %s", strerror(errno));
    waitpid(child, NULL, 0);
    wait_ms(400);
    contained("still here");
    return 7;
}

/* a process whose name looks like fields of /proc/PID/stat: read from its first parenthesis, page faults stand for CPU time */
static int burn(void *_)
{
    prctl(PR_SET_NAME, "a) Z 0 (\n9");
    while (clock() < 2 * CLOCKS_PER_SEC)
        continue;
    return 0;
}

static int c_disguised(int count, char **words)
{
    int status = child_status(burn, NULL);
    return status ? contained("the child: %d", status) : escaped("2 seconds of CPU time were used");
}

const struct entry lifetime[] = {
    {"leave", c_leave},       {"outlive", c_outlive}, {"headless", c_headless},   {"nap", c_nap},
    {"orphan", c_orphan},     {"disguised", c_disguised}, {NULL, NULL},
};

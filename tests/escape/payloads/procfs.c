/* What the kernel shows and takes through /proc, and through the file systems of the host. */
#include "probe.h"
#include <ftw.h>

#define PAGE_PRESENT (1ULL << 63)
#define SWEEP 20000
#define FRAME ((1ULL << 55) - 1)

static int looked;

/* a file of /proc that is not there, where more than processes is shown */
static int lacking(const char *path) { return !strncmp(path, "/proc/", 6) && !access("/proc/version", F_OK); }

/* proc-read PATH...: a covered file is there, and empty */
static int c_read(int count, char **words)
{
    char text[4096];
    int error = ENOENT, there = 0;
    for (int at = 0; at < count; at++) {
        int fd = open(words[at], O_RDONLY | O_NONBLOCK);
        if (fd < 0) {
            error = errno == ENOENT ? error : errno;
            continue;
        }
        there = 1;
        if (read(fd, text, sizeof text) > 0)
            return escaped("%s can be read", words[at]);
        close(fd);
    }
    if (!there && error == ENOENT && lacking(words[0]))
        return not_here("%s: this kernel has none", words[0]);
    return contained("%s: %s", words[0], there ? "it is empty" : strerror(error));
}

/* proc-write PATH [TEXT]: without TEXT it is only opened */
static int c_write(int count, char **words)
{
    int fd = open(words[0], O_WRONLY);
    if (fd < 0 && errno == ENOENT && lacking(words[0]))
        return not_here("%s: this kernel has none", words[0]);
    if (fd < 0 || count < 2)
        return reached(words[0], fd, NULL);
    return reached(words[0], write(fd, words[1], strlen(words[1])), NULL);
}

/* proc-same PATH: what is there already is written back, so that a sandbox that fails changes nothing */
static int c_same(int count, char **words)
{
    char text[256] = "";
    int fd = open(words[0], O_RDONLY);
    ssize_t size = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (size < 0)
        return contained("%s: %s", words[0], strerror(errno));
    char *both[] = {words[0], text};
    return c_write(2, both);
}

/* its own page is sought in physical memory: the first step of attacks on memory cells */
static int c_pagemap(int count, char **words)
{
    static char page[8192] = "x";
    uint64_t entry = 0;
    int fd = open("/proc/self/pagemap", O_RDONLY);
    if (fd < 0 || pread(fd, &entry, sizeof entry, (uintptr_t)page / 4096 * sizeof entry) != sizeof entry)
        return contained("pagemap: %s", strerror(errno));
    if (entry & PAGE_PRESENT && entry & FRAME)
        return escaped("the frame of a page: %llx", (unsigned long long)(entry & FRAME));
    return contained("no frame");
}

/* proc-addresses PATH: an address of the kernel in the third word or before */
static int c_addresses(int count, char **words)
{
    char line[512];
    FILE *file = fopen(words[0], "re");
    for (int at = 0; file && at < 1000 && fgets(line, sizeof line, file); at++) {
        char *end;
        if (strtoull(line, &end, 16) >> 40 && *end == ' ')
            return escaped("%s tells %.60s", words[0], line);
    }
    return contained("%s: no address", words[0]);
}

static int c_stack(int count, char **words)
{
    char text[256] = "";
    int fd = open("/proc/self/stack", O_RDONLY);
    if (fd < 0 && errno == ENOENT)
        return not_here("this kernel has no such file");
    if (fd < 0 || read(fd, text, sizeof text - 1) <= 0)
        return contained("stack: %s", strerror(errno));
    return escaped("functions of the kernel: %.80s", text);
}

/* where it stands among the host's control groups */
static int c_cgroup(int count, char **words)
{
    char line[1024];
    FILE *file = fopen("/proc/self/cgroup", "re");
    while (file && fgets(line, sizeof line, file)) {
        char *path = strrchr(line, ':');
        if (path && strcmp(path, ":/\n"))
            return escaped("its control group is %s", strtok(path + 1, "\n"));
    }
    return contained("every path is /");
}

/* proc-pressure: the kernel works for whoever waits for pressure on memory of the whole host */
static int c_pressure(int count, char **words)
{
    static const char trigger[] = "some 150000 2000000";
    int fd = open("/proc/pressure/memory", O_RDWR | O_NONBLOCK);
    if (fd < 0 && errno == ENOENT && lacking("/proc/pressure"))
        return not_here("this kernel tells no pressure");
    return reached("a trigger", fd < 0 ? fd : write(fd, trigger, sizeof trigger), NULL);
}

/* proc-mask PATH: the cover is taken away, and what is below it read */
static int c_mask(int count, char **words)
{
    if (syscall(SYS_umount2, words[0], 2))
        return reached("umount of a mask", -1, NULL);
    return c_read(1, words);
}

/* proc-memory: its own read-only memory through /proc/self/mem, which obeys no protection */
static int c_memory(int count, char **words)
{
    static const char constant[] = "before";
    int fd = open("/proc/self/mem", O_RDWR);
    if (fd < 0 || pwrite(fd, "after!", 6, (uintptr_t)constant) != 6)
        return reached("/proc/self/mem", -1, NULL);
    return escaped("read-only memory was written to");
}

/* proc-line PATH WORD: a line of a table that has the word */
static int c_line(int count, char **words)
{
    char line[1024];
    FILE *file = fopen(words[0], "re");
    while (file && fgets(line, sizeof line, file))
        if (strstr(line, words[1]))
            return escaped("%s tells of it", words[0]);
    return contained("%s does not tell of it", words[0]);
}

/* whatever below it opens for writing; nothing is written */
static int opens(const char *path, const struct stat *seen, int kind, struct FTW *where)
{
    int fd = kind == FTW_F && ++looked < SWEEP ? open(path, O_WRONLY | O_NONBLOCK) : -1;
    if (fd < 0)
        return looked >= SWEEP;
    close(fd);
    return escaped("%s opens for writing", path) + 1;
}

/* proc-sweep DIRECTORY: every file below it */
static int c_sweep(int count, char **words)
{
    char *path = realpath(words[0], NULL); /* /proc/self is a link */
    int ended = path ? nftw(path, opens, 8, FTW_PHYS) : -1;
    if (ended == 0)
        contained("none of %d files below %s opens for writing", looked, words[0]);
    return ended < 0 ? contained("%s: %s", words[0], strerror(errno)) : 0;
}

const struct entry procfs[] = {
    {"proc-read", c_read},         {"proc-write", c_write}, {"proc-same", c_same},         {"proc-pagemap", c_pagemap},
    {"proc-addresses", c_addresses}, {"proc-stack", c_stack}, {"proc-cgroup", c_cgroup},     {"proc-pressure", c_pressure},
    {"proc-mask", c_mask},         {"proc-memory", c_memory}, {"proc-sweep", c_sweep}, {"proc-line", c_line},       {NULL, NULL},
};

/* What is left in the work directory for whoever collects it. */
#include "probe.h"
#include <sys/stat.h>

#define MANY 50
#define STEPS 70

static int written(const char *path, mode_t mode)
{
    int fd = open(path, O_CREAT | O_WRONLY | O_TRUNC, 0600);
    if (fd < 0 || write(fd, "of-the-payload", 14) != 14)
        return -1;
    return fchmod(fd, mode);
}

static int many(void)
{
    char path[64];
    for (int at = 0; at < MANY; at++) {
        snprintf(path, sizeof path, "/work/many/%02d", at);
        if (written(path, 0600))
            return -1;
    }
    return 0;
}

static int deep(void)
{
    for (int at = 0; at < STEPS; at++)
        if (mkdir("d", 0700) || chdir("d"))
            return -1;
    return written("file", 0600);
}

/* as much in names as fits: their paths are told of, whether they are collected or not */
static int long_names(void)
{
    char name[256];
    memset(name, 'n', sizeof name);
    name[250] = 0;
    for (int at = 0; at < 14; at++)
        if (mkdir(at ? name : "long", 0700) || chdir(at ? name : "long"))
            return -1;
    for (int at = 0; at < 2500; at++) {
        snprintf(name + 200, 16, "%d", at);
        if (mknod(name, S_IFREG | 0600, 0))
            return -1;
    }
    return 0;
}

static int sparse(void) { return ftruncate(open("/work/sparse", O_CREAT | O_WRONLY, 0600), 64L << 20); }

/* left WHAT [TARGET]: the scene looks at what is collected */
static int c_left(int count, char **words)
{
    const char *what = words[0], *target = count > 1 ? words[1] : "";
    int failed = -1;
    if (chdir("/work"))
        return contained("/work: %s", strerror(errno));
    mkdir("directory", 0700);
    if (!strcmp(what, "link"))
        failed = symlink(target, "file");
    else if (!strcmp(what, "directory"))
        failed = rmdir("directory") || symlink(target, "directory");
    else if (!strcmp(what, "names"))
        failed = written("first", 0600) || link("first", "second");
    else if (!strcmp(what, "fifo"))
        failed = mkfifo("fifo", 0600);
    else if (!strcmp(what, "set-id"))
        failed = written("file", 06755);
    else if (!strcmp(what, "many"))
        failed = mkdir("many", 0700) || many();
    else if (!strcmp(what, "long"))
        failed = long_names();
    else if (!strcmp(what, "deep"))
        failed = deep();
    else if (!strcmp(what, "sparse"))
        failed = sparse();
    else if (!strcmp(what, "files"))
        failed = written("file", 0600) || written("directory/file", 0600);
    else if (!strcmp(what, "nothing"))
        failed = 0;
    return failed ? contained("%s: %s", what, strerror(errno)) : contained("it is left to whoever collects");
}

/* input: the mode of an input file */
static int c_input(int count, char **words)
{
    struct stat seen;
    if (stat("/work/input", &seen))
        return contained("the input file: %s", strerror(errno));
    return seen.st_mode & 06000 ? escaped("mode %o", seen.st_mode) : contained("mode %o", seen.st_mode);
}

const struct entry left_files[] = {
    {"input", c_input},
    {"left", c_left},
    {NULL, NULL},
};

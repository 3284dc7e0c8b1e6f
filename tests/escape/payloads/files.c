/* Files of the host: reading them, changing them where they are mounted read-only, devices, ways out of the root. */
#include "probe.h"
#include <dirent.h>
#include <ftw.h>
#include <linux/fs.h>
#include <linux/mount.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/xattr.h>

#define DEEP 64
#define SWEEP 200000

static int looked;

static const char *writable_place(void) { return access("/work", W_OK) ? "/tmp" : "/work"; }

/* the first of the words that is there: a place inside, or the host's own path under other sandboxes */
static const char *present(int count, char **words)
{
    struct stat seen;
    for (int at = 0; at < count; at++)
        if (!stat(words[at], &seen))
            return words[at];
    return words[0];
}

static int says(const char *what, int fd)
{
    char text[64] = "";
    if (fd < 0)
        return contained("%s: %s", what, strerror(errno));
    ssize_t size = read(fd, text, sizeof text - 1);
    return size > 0 ? escaped("%s: %s", what, text) : contained("%s: nothing to read", what);
}

static int walked(const char *path)
{
    int at = open(".", O_PATH | O_DIRECTORY);
    for (int step = 0; step < DEEP && at >= 0; step++)
        at = openat(at, "..", O_PATH | O_DIRECTORY);
    return at < 0 ? at : openat(at, path + strspn(path, "/"), O_RDONLY);
}

static int linked(const char *path)
{
    char link[64];
    snprintf(link, sizeof link, "%s/link-%zu", writable_place(), strlen(path));
    return symlink(path, link) ? -1 : open(link, O_RDONLY);
}

/* file-read WAY PATH...: the first that can be read */
static int c_read(int count, char **words)
{
    char path[4096];
    int fd = -1;
    for (int at = 1; at < count && fd < 0; at++) {
        snprintf(path, sizeof path, "/proc/%s/root%s", words[0], words[at]);
        if (!strcmp(words[0], "plain"))
            fd = open(words[at], O_RDONLY);
        else if (!strcmp(words[0], "walk"))
            fd = walked(words[at]);
        else if (!strcmp(words[0], "link"))
            fd = linked(words[at]);
        else
            fd = open(path, O_RDONLY);
    }
    return says(words[0], fd);
}

/* names are known already when a directory of the host can be opened */
static int c_list(int count, char **words)
{
    for (int at = 0; at < count; at++) {
        DIR *directory = opendir(words[at]);
        struct dirent *entry;
        while (directory && (entry = readdir(directory)))
            if (!strcmp(entry->d_name, "token"))
                return escaped("the names in %s", words[at]);
    }
    return contained("%s: %s", words[0], strerror(errno));
}

static int c_execute(int count, char **words)
{
    char *command[] = {"probe", "file-ran", NULL};
    for (int at = 0; at < count; at++)
        execv(words[at], command);
    return contained("exec: %s", strerror(errno));
}

static int c_ran(int count, char **words) { return escaped("a program of the host runs"); }

/* a fifo of the host, whose reader the scene is: a read-only mount does not keep anybody from writing into it */
static int c_fifo(int count, char **words)
{
    for (int at = 0; at < count; at++) {
        int fd = open(words[at], O_WRONLY | O_NONBLOCK);
        if (fd >= 0 && write(fd, "x", 1) == 1)
            return escaped("a fifo of the host takes a byte");
    }
    return contained("fifo: %s", strerror(errno));
}

/* open, reopened with more rights than it had */
static long reopened(const char *path)
{
    char link[64];
    int fd = open(path, O_RDONLY);
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    return fd < 0 ? fd : open(link, O_RDWR);
}

static long in_memory_of(const char *directory, const char *to)
{
    char link[64];
    int fd = open(directory, O_TMPFILE | O_WRONLY, 0644);
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    return fd < 0 ? fd : linkat(AT_FDCWD, link, AT_FDCWD, to, AT_SYMLINK_FOLLOW);
}

static long bound(const char *path)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    snprintf(name.sun_path, sizeof name.sun_path, "%s", path);
    return bind(socket(AF_UNIX, SOCK_STREAM, 0), (void *)&name, sizeof name);
}

static long flagged(const char *path)
{
    int flags = 0, fd = open(path, O_RDONLY);
    if (fd < 0 || ioctl(fd, FS_IOC_GETFLAGS, &flags))
        return -1;
    flags |= FS_NODUMP_FL;
    return ioctl(fd, FS_IOC_SETFLAGS, &flags);
}

/* file-change WAY DIRECTORY...: of a directory with "file", "other" and an empty "directory" in it */
static int c_change(int count, char **words)
{
    const char *way = words[0], *place = present(count - 1, words + 1);
    char file[256], other[256], below[256], made[256];
    long result = -1;
    snprintf(file, sizeof file, "%s/file", place);
    snprintf(other, sizeof other, "%s/other", place);
    snprintf(below, sizeof below, "%s/directory", place);
    snprintf(made, sizeof made, "%s/made", place);
    if (!strcmp(way, "append"))
        result = open(file, O_WRONLY | O_APPEND);
    else if (!strcmp(way, "truncate"))
        result = truncate(file, 0);
    else if (!strcmp(way, "reopen"))
        result = reopened(file);
    else if (!strcmp(way, "create"))
        result = open(made, O_CREAT | O_EXCL | O_WRONLY, 0644);
    else if (!strcmp(way, "tmpfile"))
        result = in_memory_of(place, made);
    else if (!strcmp(way, "mkdir"))
        result = mkdir(made, 0755);
    else if (!strcmp(way, "symlink"))
        result = symlink("/etc/shadow", made);
    else if (!strcmp(way, "socket"))
        result = bound(made);
    else if (!strcmp(way, "mkfifo"))
        result = mkfifo(made, 0666);
    else if (!strcmp(way, "link"))
        result = link(file, made);
    else if (!strcmp(way, "unlink"))
        result = unlink(file);
    else if (!strcmp(way, "rmdir"))
        result = rmdir(below);
    else if (!strcmp(way, "rename"))
        result = rename(file, made);
    else if (!strcmp(way, "exchange"))
        result = syscall(SYS_renameat2, AT_FDCWD, file, AT_FDCWD, other, RENAME_EXCHANGE);
    else if (!strcmp(way, "chmod"))
        result = chmod(file, 0777);
    else if (!strcmp(way, "chown"))
        result = chown(file, -1, getgid());
    else if (!strcmp(way, "times"))
        result = utimensat(AT_FDCWD, file, NULL, 0);
    else if (!strcmp(way, "xattr"))
        result = setxattr(file, "user.attack", "x", 1, 0);
    else if (!strcmp(way, "remove-xattr"))
        result = removexattr(file, "user.before");
    else if (!strcmp(way, "flags"))
        result = flagged(file);
    return reached(way, result, NULL);
}

/* file-stdin: its standard input, opened again for writing; the scene looks whether the caller's file has changed */
static int c_stdin(int count, char **words)
{
    int fd = open("/proc/self/fd/0", O_WRONLY | O_APPEND);
    if (fd < 0 || write(fd, "changed", 7) < 0)
        return contained("stdin: %s", strerror(errno));
    return contained("it is no file");
}

/* file-self PROGRAM...: a program that all may change keeps a descriptor of itself, becomes another and opens that again
   for writing, when nothing runs it any more (CVE-2019-5736) */
static int c_self(int count, char **words)
{
    char path[4096] = "", *next[] = {"probe", "file-self", "keep", path, NULL}, number[16];
    if (!strcmp(words[0], "open")) {
        snprintf(path, sizeof path, "/proc/self/fd/%s", words[1]);
        return reached("its own program", open(path, O_WRONLY), NULL);
    }
    if (!strcmp(words[0], "keep")) {
        snprintf(number, sizeof number, "%d", open("/proc/self/exe", O_RDONLY));
        next[2] = "open";
        next[3] = number;
        execv(words[1], next);
        return contained("exec: %s", strerror(errno));
    }
    if (readlink(own_program, path, sizeof path - 1) < 0) {
        if (errno != EINVAL)
            return contained("%s: %s", own_program, strerror(errno));
        strncpy(path, own_program, sizeof path - 1); /* it is no link */
    }
    for (int at = 0; at < count; at++)
        execv(words[at], next);
    return contained("exec: %s", strerror(errno));
}

/* every mount that is here must have been planned: their first directories are known */
static int c_mountinfo(int count, char **words)
{
    static const char *planned[] = {"proc", "dev", "work", "tmp", "usr", "bin", "sbin", "lib", "etc", "opt"};
    char line[4096], point[1024], root[1024];
    FILE *table = fopen("/proc/self/mountinfo", "re");
    while (table && fgets(line, sizeof line, table)) {
        int known = sscanf(line, "%*d %*d %*s %1023s %1023s", root, point) != 2 || !strcmp(point, "/");
        for (size_t at = 0; at < sizeof planned / sizeof *planned; at++)
            known |= !strncmp(point + 1, planned[at], strlen(planned[at]));
        if (!known)
            return escaped("%s of %s is mounted", point, root);
    }
    return table ? contained("only what was planned") : contained("mountinfo: %s", strerror(errno));
}

static int into(const char *place)
{
    char path[256];
    snprintf(path, sizeof path, "%s/file", place);
    int fd = open(path, O_WRONLY | O_TRUNC);
    return fd < 0 ? contained("still read-only: %s", strerror(errno)) : escaped("%s was made writable", place);
}

/* file-remount PLACE: what was mounted read-only is mounted writable in place */
static int c_remount(int count, char **words)
{
    if (mount(NULL, words[0], NULL, MS_REMOUNT | MS_BIND, NULL))
        return reached("remount", -1, NULL);
    return into(words[0]);
}

/* file-over PLACE: a mount on a directory of the host, which the scene looks for */
static int c_over(int count, char **words)
{
    char path[256];
    snprintf(path, sizeof path, "%s/point", words[0]);
    if (mount("none", path, "tmpfs", MS_NOSUID | MS_NODEV, "size=4k,nr_inodes=4"))
        return contained("mount: %s", strerror(errno));
    return contained("a mount of its own");
}

/* file-node KIND MAJOR MINOR */
static int c_node(int count, char **words)
{
    char path[64];
    mode_t kind = words[0][0] == 'b' ? S_IFBLK : S_IFCHR;
    snprintf(path, sizeof path, "%s/node", writable_place());
    return reached("a node", mknod(path, kind | 0600, makedev(atoi(words[1]), atoi(words[2]))), NULL);
}

static int c_block(int count, char **words)
{
    return reached("a block device", open(present(count, words), O_RDONLY), NULL);
}

/* file-device WHAT: of a device that all sandboxes and the host share */
static int c_device(int count, char **words)
{
    int none = 0;
    if (!strcmp(words[0], "times"))
        return reached("times of /dev/null", utimensat(AT_FDCWD, "/dev/null", NULL, 0), NULL);
    if (!strcmp(words[0], "mode"))
        return reached("the mode of /dev/null", chmod("/dev/null", 0666), NULL);
    return reached("RNDADDTOENTCNT", ioctl(open("/dev/random", O_RDWR), 0x40045201UL, &none), NULL);
}

/* the kernel's own answer, for files and directories outside of its private places */
static int may_change(const char *path, const struct stat *seen, int kind, struct FTW *where)
{
    static const char *own[] = {"/proc", "/work", "/tmp", "/dev"};
    for (size_t at = 0; at < sizeof own / sizeof *own; at++)
        if (!strcmp(path, own[at]))
            return FTW_SKIP_SUBTREE;
    if (++looked > SWEEP)
        return FTW_STOP;
    if ((kind == FTW_F || kind == FTW_D) && !S_ISCHR(seen->st_mode) && !access(path, W_OK)) {
        escaped("%s can be changed", path);
        return FTW_STOP;
    }
    return FTW_CONTINUE;
}

static int c_sweep(int count, char **words)
{
    if (nftw("/", may_change, 16, FTW_PHYS | FTW_ACTIONRETVAL) == 0 || looked > SWEEP)
        return contained("none of %d names can be changed", looked);
    return 0;
}

const struct entry files[] = {
    {"file-read", c_read},           {"file-list", c_list},       {"file-execute", c_execute}, {"file-ran", c_ran},
    {"file-fifo", c_fifo},           {"file-change", c_change},   {"file-self", c_self},       {"file-mountinfo", c_mountinfo},
    {"file-remount", c_remount},     {"file-over", c_over},       {"file-node", c_node},       {"file-block", c_block},
    {"file-device", c_device},     {"file-stdin", c_stdin},     {"file-sweep", c_sweep},       {NULL, NULL},
};

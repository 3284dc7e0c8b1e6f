/* Files with set-user-id or set-group-id bits, made in every way that there is. */
#include "probe.h"

#define WIDE (1L << 32 | 1L << 40)
#define PLAIN 0644
#define MODE(bits) ((bits) | 0755)

/* set-id WAY BITS [DIRECTORY]: in the work directory, or in a writable mount */
static int c_set_id(int count, char **words)
{
    static char path[256], other[256];
    const char *way = words[0], *directory = count > 2 ? words[2] : access("/work", W_OK) ? "/tmp" : "/work";
    long mode = MODE(strtol(words[1], NULL, 8)), result = -1;
    struct { uint64_t flags, mode, resolve; } how = {O_CREAT | O_WRONLY, mode & 07777, 0};
    struct stat seen;
    int fd = -1;
    for (int at = 3; at < count && access(directory, W_OK); at++)
        directory = words[at];
    umask(0);
    snprintf(path, sizeof path, "%s/set-id", directory);
    snprintf(other, sizeof other, "%s/set-id-link", directory);
    if (strstr(way, "chmod")) /* these need a file */
        fd = syscall(SYS_openat, AT_FDCWD, path, O_CREAT | O_RDWR, PLAIN);
    if (!strcmp(way, "fchmod"))
        result = syscall(SYS_fchmod, fd, mode);
    else if (!strcmp(way, "fchmod-wide"))
        result = syscall(SYS_fchmod, fd, mode | WIDE | 1 << 16);
    else if (!strcmp(way, "fchmodat"))
        result = syscall(SYS_fchmodat, AT_FDCWD, path, mode);
    else if (!strcmp(way, "fchmodat2"))
        result = syscall(452, AT_FDCWD, path, mode, 0);
    else if (!strcmp(way, "openat"))
        result = syscall(SYS_openat, AT_FDCWD, path, O_CREAT | O_WRONLY, mode);
    else if (!strcmp(way, "openat-wide"))
        result = syscall(SYS_openat, AT_FDCWD, path, (O_CREAT | O_WRONLY) | WIDE, mode | WIDE | 1 << 16);
    else if (!strcmp(way, "memfd")) {
        result = fd = syscall(SYS_memfd_create, "set-id", 0);
        if (fd >= 0)
            result = syscall(SYS_fchmod, fd, mode);
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    } else if (!strcmp(way, "openat2"))
        result = syscall(437, AT_FDCWD, path, &how, sizeof how);
    else if (!strcmp(way, "mknodat"))
        result = syscall(SYS_mknodat, AT_FDCWD, path, S_IFREG | mode, 0);
    else if (!strcmp(way, "mknodat-fifo"))
        result = syscall(SYS_mknodat, AT_FDCWD, path, S_IFIFO | mode | WIDE, 0);
    else if (!strcmp(way, "tmpfile")) {
        result = fd = syscall(SYS_openat, AT_FDCWD, directory, O_TMPFILE | O_WRONLY, mode);
        snprintf(other, sizeof other, "/proc/self/fd/%d", fd);
        if (fd >= 0)
            result = linkat(AT_FDCWD, other, AT_FDCWD, path, AT_SYMLINK_FOLLOW);
#if defined(__x86_64__)
    } else if (!strcmp(way, "chmod")) {
        result = syscall(SYS_chmod, path, mode);
    } else if (!strcmp(way, "chmod-wide")) {
        result = syscall(SYS_chmod, path, mode | WIDE | 1 << 16);
    } else if (!strcmp(way, "open")) {
        result = syscall(SYS_open, path, O_CREAT | O_WRONLY, mode);
    } else if (!strcmp(way, "open-tmpfile")) {
        result = fd = syscall(SYS_open, directory, O_TMPFILE | O_WRONLY, mode);
        snprintf(other, sizeof other, "/proc/self/fd/%d", fd);
        if (fd >= 0)
            result = linkat(AT_FDCWD, other, AT_FDCWD, path, AT_SYMLINK_FOLLOW);
    } else if (!strcmp(way, "creat")) {
        result = syscall(SYS_creat, path, mode);
    } else if (!strcmp(way, "mknod")) {
        result = syscall(SYS_mknod, path, S_IFREG | mode, 0);
#endif
    } else {
        return not_here("%s: not on this architecture", way);
    }
    int error = errno;
    if (stat(path, &seen) == 0 && seen.st_mode & 06000)
        return escaped("%s made a file of mode %o", way, seen.st_mode & 07777);
    if (result >= 0)
        return contained("%s: the file has no such bits", way);
    errno = error;
    return reached(way, -1, NULL);
}

const struct entry set_id[] = {
    {"set-id", c_set_id},
    {NULL, NULL},
};

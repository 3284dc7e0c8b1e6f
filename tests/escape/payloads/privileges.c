/* Capabilities, ids, and programs that would give some. */
#include "probe.h"
#include <grp.h>
#include <linux/securebits.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/xattr.h>

/* the value of a line of /proc/self/status, "" without one */
static const char *status_of(const char *name)
{
    static char text[4096];
    static char value[128];
    int fd = open("/proc/self/status", O_RDONLY);
    ssize_t size = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
    close(fd);
    text[size > 0 ? size : 0] = 0;
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"))
        if (!strncmp(line, name, strlen(name)) && line[strlen(name)] == ':')
            return strncpy(value, line + strlen(name) + 2, sizeof value - 1);
    return "";
}

static unsigned long long set_of(const char *name) { return strtoull(status_of(name), NULL, 16); }

static int c_capabilities(int count, char **words)
{
    for (int at = 0; at < count; at++)
        if (set_of(words[at]))
            return escaped("%s is %llx", words[at], set_of(words[at]));
    return contained("no capability in any of %d sets", count);
}

static int c_ids_inside(int count, char **words)
{
    static const char *const lines[] = {"Uid", "Gid", "Groups"};
    for (int line = 0; line < 3; line++) {
        static char ids[128];
        strcpy(ids, status_of(lines[line]));
        for (char *id = strtok(ids, "\t "); id; id = strtok(NULL, "\t "))
            if (atol(id) == 0)
                return escaped("%s has 0", lines[line]);
    }
    return contained("no id is 0");
}

/* every call that changes a user id, then those of groups; ID is what is wanted */
static int c_become(int count, char **words)
{
    uid_t wanted = strtoul(words[0], NULL, 10), real, effective, saved;
    gid_t group = wanted;
    if (syscall(SYS_setgroups, 1, &group) == 0)
        return escaped("setgroups({%u})", group);
    syscall(SYS_setgid, wanted);
    syscall(SYS_setregid, wanted, wanted);
    syscall(SYS_setresgid, wanted, wanted, wanted);
    syscall(SYS_setfsgid, wanted);
    if (getgid() == wanted || getegid() == wanted || (gid_t)syscall(SYS_setfsgid, -1) == wanted)
        return escaped("group %u", wanted);
    syscall(SYS_setuid, wanted);
    syscall(SYS_setreuid, -1, wanted);
    syscall(SYS_setresuid, -1, -1, wanted);
    syscall(SYS_setresuid, wanted, wanted, wanted);
    syscall(SYS_setfsuid, wanted);
    getresuid(&real, &effective, &saved);
    if (real == wanted || effective == wanted || saved == wanted || (uid_t)syscall(SYS_setfsuid, -1) == wanted)
        return escaped("user %u", wanted);
    return contained("neither user nor group %u: %s", wanted, strerror(errno));
}

static int c_drop_groups(int count, char **words)
{
    return attempt("setgroups({})", syscall(SYS_setgroups, 0, NULL));
}

/* what host root may write by its id alone; opened, never written */
static int c_host_root(int count, char **words)
{
    for (int at = 0; at < count; at++)
        if (open(words[at], O_WRONLY) >= 0)
            return escaped("%s is open for writing", words[at]);
    return contained("%s: %s", words[0], strerror(errno));
}

/* user namespaces again: the limit of its own user namespace */
static int c_more_namespaces(int count, char **words)
{
    int fd = open("/proc/sys/user/max_user_namespaces", O_WRONLY);
    if (fd < 0 || write(fd, "10", 2) != 2)
        return contained("max_user_namespaces: %s", strerror(errno));
    return escaped("user namespaces may be made again");
}

static int c_new_privileges(int count, char **words)
{
    prctl(PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0);
    return prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 ? contained("no_new_privs is 1") : escaped("no_new_privs is 0");
}

static int c_securebits(int count, char **words)
{
    if (prctl(PR_SET_SECUREBITS, 0, 0, 0, 0) == 0)
        return escaped("root would have capabilities again");
    return contained("PR_SET_SECUREBITS: %s", strerror(errno));
}

static int c_raise(int count, char **words)
{
    struct { uint32_t version; int pid; } header = {0x20080522, 0};
    uint32_t all[6] = {~0U, ~0U, ~0U, 0x1ff, 0x1ff, 0x1ff};
    syscall(SYS_capset, &header, all);
    for (int number = 0; number < 41; number++)
        if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, number, 0, 0) == 0)
            return escaped("capability %d is ambient", number);
    return contained("no capability can be raised: %s", strerror(errno));
}

/* after an exec of a file that should give something: UID GID are what we were before */
static int c_who(int count, char **words)
{
    if (geteuid() != (uid_t)atol(words[0]) || getegid() != (gid_t)atol(words[1]))
        return escaped("exec gave user %u and group %u", geteuid(), getegid());
    if (set_of("CapEff"))
        return escaped("exec gave the capabilities %llx", set_of("CapEff"));
    return contained("the same user, group and capabilities as before");
}

static int c_exec(int count, char **words)
{
    char user[16], group[16], *const environment[] = {NULL};
    snprintf(user, sizeof user, "%u", geteuid());
    snprintf(group, sizeof group, "%u", getegid());
    for (int at = 0; at < count; at++) {
        char *const argv[] = {"probe", "who", user, group, NULL};
        execve(words[at], argv, environment);
    }
    return contained("exec: %s", strerror(errno));
}

/* a file that would give capabilities to whoever executes it */
static int c_file_capability(int count, char **words)
{
    static const uint32_t version2[5] = {0x02000001, 1 << 13, 0, 0, 0}, version3[6] = {0x03000001, 1 << 13, 0, 0, 0, 0};
    const char *directory = access("/work", W_OK) ? "/tmp" : "/work";
    char path[256];
    for (int at = 0; at < count; at++)
        if (access(words[at], W_OK) == 0)
            directory = words[at];
    snprintf(path, sizeof path, "%s/capable", directory);
    int fd = open(path, O_CREAT | O_RDWR, 0755);
    if (fsetxattr(fd, "security.capability", version3, sizeof version3, 0) == 0)
        return escaped("a file with capabilities (version 3)");
    if (fsetxattr(fd, "security.capability", version2, sizeof version2, 0) == 0)
        return escaped("a file with capabilities (version 2)");
    return contained("security.capability: %s", strerror(errno));
}

/* give a file away, which only root may */
static int c_chown(int count, char **words)
{
    int fd = open(access("/work", W_OK) ? "/tmp/given" : "/work/given", O_CREAT | O_RDWR, 0755);
    return attempt("a file is given to user 0", fchown(fd, 0, 0));
}

static int c_read(int count, char **words)
{
    char token[64] = "";
    for (int at = 0; at < count; at++) {
        int fd = open(words[at], O_RDONLY);
        if (fd >= 0 && read(fd, token, sizeof token - 1) > 0)
            return escaped("read %s", token);
    }
    return contained("%s: %s", words[0], strerror(errno));
}

/* a file whose owner on the host is seen by the scene */
static int c_create(int count, char **words)
{
    for (int at = 0; at < count; at++) {
        int fd = open(words[at], O_CREAT | O_EXCL | O_WRONLY, 0600);
        if (fd >= 0)
            return contained("made %s", words[at]);
    }
    return contained("%s: %s", words[0], strerror(errno));
}

const struct entry privileges[] = {
    {"capabilities", c_capabilities},
    {"ids-inside", c_ids_inside},
    {"become", c_become},
    {"drop-groups", c_drop_groups},
    {"host-root", c_host_root},
    {"more-namespaces", c_more_namespaces},
    {"new-privileges", c_new_privileges},
    {"securebits", c_securebits},
    {"raise", c_raise},
    {"who", c_who},
    {"exec", c_exec},
    {"file-capability", c_file_capability},
    {"chown", c_chown},
    {"read-private", c_read},
    {"create", c_create},
    {NULL, NULL},
};

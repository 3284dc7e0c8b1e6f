/* Changing the tree of file systems, the old way and the new one. */
#include "probe.h"
#include <linux/mount.h>

static int c_mount(int count, char **words)
{
    return reached("a tmpfs over /tmp", syscall(SYS_mount, "none", "/tmp", "tmpfs", 0, NULL), NULL);
}

/* a mount that the sandbox was given read-only, without anything new */
static int c_remount(int count, char **words)
{
    return reached("/proc again writable", syscall(SYS_mount, NULL, "/proc", NULL, MS_REMOUNT | MS_BIND, NULL), NULL);
}

/* MNT_DETACH */
static int c_umount(int count, char **words)
{
    return reached("/tmp is unmounted", syscall(SYS_umount2, "/tmp", 2), NULL);
}

static int c_pivot_root(int count, char **words)
{
    if (chdir("/tmp"))
        return contained("/tmp: %s", strerror(errno));
    return reached("pivot_root", syscall(SYS_pivot_root, ".", "."), NULL);
}

static int c_chroot(int count, char **words) { return reached("chroot", syscall(SYS_chroot, "/tmp"), NULL); }

static int c_open_tree(int count, char **words)
{
    return reached("a copy of a mount", syscall(SYS_open_tree, AT_FDCWD, "/tmp", OPEN_TREE_CLONE), NULL);
}

static int c_open_tree_attr(int count, char **words)
{
    struct mount_attr attributes = {.attr_clr = MOUNT_ATTR_NOEXEC};
    long fd = syscall(467, AT_FDCWD, "/tmp", OPEN_TREE_CLONE, &attributes, sizeof attributes);
    return reached("a copy of a mount with other attributes", fd, NULL);
}

static int c_move_mount(int count, char **words)
{
    int fd = syscall(SYS_open_tree, AT_FDCWD, "/dev/shm", OPEN_TREE_CLONE);
    if (fd < 0)
        fd = syscall(SYS_open_tree, AT_FDCWD, "/tmp", OPEN_TREE_CLONE);
    if (fd < 0)
        return reached("open_tree", fd, NULL);
    return reached("a mount over /tmp", syscall(SYS_move_mount, fd, "", AT_FDCWD, "/tmp", MOVE_MOUNT_F_EMPTY_PATH), NULL);
}

static int c_fspick(int count, char **words) { return reached("fspick", syscall(SYS_fspick, AT_FDCWD, "/tmp", 0), NULL); }

static int c_mount_setattr(int count, char **words)
{
    struct mount_attr attributes = {.attr_clr = MOUNT_ATTR_RDONLY};
    if (syscall(SYS_mount_setattr, AT_FDCWD, "/proc", 0, &attributes, sizeof attributes))
        return reached("mount_setattr", -1, NULL);
    if (open("/proc/self/timerslack_ns", O_WRONLY) < 0)
        return contained("/proc is still read-only: %s", strerror(errno));
    return escaped("/proc is writable again");
}

/* fsopen, fsconfig, fsmount: a file system of its own, such as a procfs without masks */
static int c_fsmount(int count, char **words)
{
    int context = syscall(SYS_fsopen, words[0], 0);
    if (context < 0)
        return reached("fsopen", context, NULL);
    if (syscall(SYS_fsconfig, context, FSCONFIG_CMD_CREATE, NULL, NULL, 0))
        return contained("fsconfig: %s", strerror(errno));
    return reached("a detached file system", syscall(SYS_fsmount, context, 0, 0), NULL);
}

const struct entry mounts[] = {
    {"mount", c_mount},
    {"remount", c_remount},
    {"umount", c_umount},
    {"pivot_root", c_pivot_root},
    {"chroot", c_chroot},
    {"open_tree", c_open_tree},
    {"open_tree_attr", c_open_tree_attr},
    {"move_mount", c_move_mount},
    {"fspick", c_fspick},
    {"mount_setattr", c_mount_setattr},
    {"fsmount", c_fsmount},
    {NULL, NULL},
};

/* Calls that profiles refuse by name, each with arguments for which the kernel itself would do what it is asked. */
#include "probe.h"
#include <linux/io_uring.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/timex.h>

/* NAME:NUMBER…: with senseless arguments, so that nothing happens; a refused call does not get as far as looking at them */
static int c_refused(int count, char **words)
{
    static char found[512];
    for (int at = 0; at < count; at++) {
        char *number = strchr(words[at], ':');
        *number++ = 0;
        if (syscall(atol(number), -1L, -1L, -1L, -1L, -1L, -1L) < 0 && (errno == EPERM || errno == ENOSYS))
            continue;
        strncat(found, words[at], sizeof found - strlen(found) - 2);
        strcat(found, " ");
    }
    return *found ? escaped("the kernel looked at %s", found) : contained("%d calls are refused", count);
}

/* a call, its arguments, and the errors that come after every check of rights */
struct call { const char *name; long number; long arguments[6]; int past[3]; };
#define AT(text) ((long)(text))

static struct call simple[] = {
    {"userfaultfd", SYS_userfaultfd, {1}}, /* UFFD_USER_MODE_ONLY */
    {"add_key", SYS_add_key, {AT("user"), AT("attack"), AT("x"), 1, -2}},
    {"request_key", SYS_request_key, {AT("user"), AT("attack"), 0, 0}, {ENOKEY}},
    {"keyctl-join", SYS_keyctl, {1, 0}},
    {"swapon", SYS_swapon, {AT("/nowhere"), 0}, {ENOENT}},
    {"swapoff", SYS_swapoff, {AT("/nowhere"), 0}, {ENOENT}},
    {"acct", SYS_acct, {0}},
    {"fanotify_init", SYS_fanotify_init, {0x200, 0}}, /* FAN_REPORT_FID */
    {"syslog", SYS_syslog, {9, 0, 0}},                /* SYSLOG_ACTION_SIZE_UNREAD */
    {"vhangup", SYS_vhangup, {0}},
    {"sethostname", SYS_sethostname, {AT("attack"), 6}},
    {"setdomainname", SYS_setdomainname, {AT("attack"), 6}},
    {"reboot", SYS_reboot, {0, 0, 0}, {EINVAL}},
    {"quotactl", SYS_quotactl, {0x800001 << 8, 0, 0, 0}}, /* Q_SYNC of every file system */
    {"delete_module", SYS_delete_module, {AT("no-such-module"), 0}, {ENOENT}},
    {"set_mempolicy", SYS_set_mempolicy, {0, 0, 0}},
    {"move_pages", SYS_move_pages, {0, 0, 0, 0, 0, 0}},
    {"sync", SYS_sync, {0}},
    {"memfd_secret", 447, {0}},
#if defined(__x86_64__)
    {"iopl", SYS_iopl, {3}},
    {"sysfs", SYS_sysfs, {3}},
#endif
};

static int c_call(int count, char **words)
{
    alarm(8);
    for (size_t at = 0; at < sizeof simple / sizeof *simple; at++) {
        long *given = simple[at].arguments;
        if (strcmp(simple[at].name, words[0]))
            continue;
        long result = syscall(simple[at].number, given[0], given[1], given[2], given[3], given[4], given[5]);
        return reached(words[0], result, simple[at].past);
    }
    return not_here("%s: not on this architecture", words[0]);
}

static int c_bpf(int count, char **words)
{
    uint32_t attributes[32] = {2, 4, 4, 1}; /* BPF_MAP_CREATE: an array of one integer */
    return reached("bpf(BPF_MAP_CREATE)", syscall(SYS_bpf, 0, attributes, sizeof attributes), NULL);
}

static int c_perf(int count, char **words)
{
    uint32_t attributes[32] = {1, sizeof attributes, 1};    /* PERF_TYPE_SOFTWARE, PERF_COUNT_SW_TASK_CLOCK */
    attributes[10] = 1 << 0 | 1 << 5 | 1 << 6;              /* disabled, exclude_kernel, exclude_hv */
    long fd = syscall(SYS_perf_event_open, attributes, 0, -1, -1, 0);
    if (fd < 0 && switched_off("kernel/perf_event_paranoid", 3))
        return not_here("this host has no counters for users");
    return reached("perf_event_open", fd, NULL);
}

struct handle { unsigned bytes; int type; unsigned char data[128]; };

static int c_handle(int count, char **words)
{
    struct handle handle = {.bytes = sizeof handle.data};
    int mount;
    return reached("name_to_handle_at", syscall(SYS_name_to_handle_at, AT_FDCWD, "/tmp", &handle, &mount, 0), NULL);
}

/* TYPE HEX: the handle of a file of the host that is not mounted here (the Shocker attack) */
static int c_shocker(int count, char **words)
{
    struct handle handle = {.bytes = strlen(words[1]) / 2, .type = atoi(words[0])};
    char token[64] = "";
    for (unsigned at = 0; at < handle.bytes && at < sizeof handle.data; at++)
        sscanf(words[1] + 2 * at, "%2hhx", &handle.data[at]);
    int beside = open("/opt/attack", O_RDONLY | O_DIRECTORY);
    if (beside < 0)
        beside = open("/", O_RDONLY | O_DIRECTORY);
    long fd = syscall(SYS_open_by_handle_at, beside, &handle, O_RDONLY);
    if (fd < 0)
        return reached("open_by_handle_at", fd, NULL);
    if (read(fd, token, sizeof token - 1) <= 0)
        return contained("the file cannot be read: %s", strerror(errno));
    return escaped("read %s", token);
}

/* the kernel's time zone, set to what it is */
static int c_settimeofday(int count, char **words)
{
    struct timezone zone = {0, 0};
    struct timeval now;
    gettimeofday(&now, &zone);
    return reached("settimeofday", syscall(SYS_settimeofday, NULL, &zone), NULL);
}

/* the length of a tick, set to what it is */
static int c_adjtimex(int count, char **words)
{
    struct timex now = {.modes = 0};
    syscall(SYS_adjtimex, &now);
    now.modes = ADJ_TICK;
    return reached("adjtimex", syscall(words[0][0] == 'c' ? SYS_clock_adjtime : SYS_adjtimex,
                                       words[0][0] == 'c' ? 0 : (long)&now, &now), NULL);
}

static int c_modify_ldt(int count, char **words)
{
#if defined(__x86_64__)
    uint32_t entry[4] = {0, 0, 0, 0x3a}; /* an absent segment */
    return reached("modify_ldt", syscall(SYS_modify_ldt, 1, entry, sizeof entry), NULL);
#else
    return not_here("a call of x86");
#endif
}

static int c_syncfs(int count, char **words)
{
    return reached("syncfs of the host's file system", syscall(SYS_syncfs, open("/usr", O_RDONLY)), NULL);
}

static int c_remap(int count, char **words)
{
    int fd = syscall(SYS_memfd_create, "pages", 0);
    if (fd < 0 || ftruncate(fd, 8192))
        return contained("memfd: %s", strerror(errno));
    void *pages = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    return reached("remap_file_pages", syscall(SYS_remap_file_pages, pages, 4096, 0, 1, 0), NULL);
}

static int c_listmount(int count, char **words)
{
    uint64_t request[3] = {24, -1, 0}, ids[64]; /* LSMT_ROOT */
    return reached("listmount", syscall(458, request, ids, 64, 0), NULL);
}

static int c_lsm(int count, char **words)
{
    uint64_t ids[64];
    uint32_t size = sizeof ids;
    return reached("lsm_list_modules", syscall(461, ids, &size, 0), NULL);
}

static int no_rings(void) { return switched_off("kernel/io_uring_disabled", 1); }

/* one request through a ring; the result of the operation, or -1 where there is no ring */
static long by_ring(struct io_uring_sqe request)
{
    struct io_uring_params about = {0};
    int ring = syscall(SYS_io_uring_setup, 4, &about);
    if (ring < 0)
        return -1;
    size_t size = about.sq_off.array + about.sq_entries * 4, more = about.cq_off.cqes + about.cq_entries * sizeof(struct io_uring_cqe);
    char *queue = mmap(NULL, size > more ? size : more, PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQ_RING);
    struct io_uring_sqe *requests = mmap(NULL, about.sq_entries * sizeof *requests, PROT_READ | PROT_WRITE, MAP_SHARED, ring,
                                         IORING_OFF_SQES);
    if (queue == MAP_FAILED || requests == MAP_FAILED || !(about.features & IORING_FEAT_SINGLE_MMAP))
        return -1;
    requests[0] = request;
    *(uint32_t *)(queue + about.sq_off.array) = 0;
    __atomic_store_n((uint32_t *)(queue + about.sq_off.tail), 1, __ATOMIC_RELEASE);
    if (syscall(SYS_io_uring_enter, ring, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) != 1)
        return -1;
    long result = ((struct io_uring_cqe *)(queue + about.cq_off.cqes))->res;
    if (result < 0)
        errno = -result;
    return result < 0 ? -1 : result;
}

static int c_ring(int count, char **words)
{
    struct io_uring_params about = {0};
    long ring = syscall(SYS_io_uring_setup, 4, &about);
    return ring < 0 && no_rings() ? not_here("this host has io_uring switched off") : reached("io_uring_setup", ring, NULL);
}

static int c_ring_socket(int count, char **words)
{
    struct io_uring_sqe request = {.opcode = 45, .fd = AF_NETLINK, .off = SOCK_RAW}; /* IORING_OP_SOCKET */
    long fd = by_ring(request);
    return fd < 0 && no_rings() ? not_here("this host has io_uring switched off") : reached("a netlink socket through io_uring", fd, NULL);
}

static int c_ring_set_id(int count, char **words)
{
    struct stat seen;
    const char *path = access("/work", W_OK) ? "/tmp/set-id" : "/work/set-id";
    struct io_uring_sqe request = {.opcode = IORING_OP_OPENAT, .fd = AT_FDCWD, .addr = (uintptr_t)path, .len = 06755};
    request.open_flags = O_CREAT | O_WRONLY;
    long fd = by_ring(request);
    if (fd < 0 && no_rings())
        return not_here("this host has io_uring switched off");
    if (fd < 0 || fstat(fd, &seen))
        return reached("openat through io_uring", -1, NULL);
    return seen.st_mode & 06000 ? escaped("a file of mode %o through io_uring", seen.st_mode & 07777) : contained("without the bits");
}

const struct entry calls[] = {
    {"refused", c_refused},
    {"call", c_call},
    {"bpf", c_bpf},
    {"perf", c_perf},
    {"handle", c_handle},
    {"shocker", c_shocker},
    {"settimeofday", c_settimeofday},
    {"adjtimex", c_adjtimex},
    {"modify_ldt", c_modify_ldt},
    {"syncfs", c_syncfs},
    {"remap", c_remap},
    {"listmount", c_listmount},
    {"lsm", c_lsm},
    {"ring", c_ring},
    {"ring-socket", c_ring_socket},
    {"ring-set-id", c_ring_set_id},
    {NULL, NULL},
};

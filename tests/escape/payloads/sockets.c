/* Kinds of sockets that are a kernel surface of their own, and netlink. */
#include "probe.h"
#include <arpa/inet.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <sys/socket.h>

/* whether the kernel itself looked for what was asked: the filter's answers are others */
static int looked(void) { return filtered() && errno != ENOSYS && errno != EPERM && errno != EAFNOSUPPORT; }

/* whether the kernel has no such thing, or the filter says so */
static int verdict(const char *what, int fd)
{
    if (fd < 0 && looked())
        return escaped("%s: the kernel looked for it: %s", what, strerror(errno));
    if (fd < 0 && (errno == EAFNOSUPPORT || errno == EPROTONOSUPPORT || errno == ESOCKTNOSUPPORT) && !filtered())
        return not_here("%s: this kernel has none", what);
    return reached(what, fd, NULL);
}

/* socket FAMILY TYPE PROTOCOL */
static int c_socket(int count, char **words)
{
    return verdict("socket", socket(atoi(words[0]), atoi(words[1]), atoi(words[2])));
}

static int c_families(int count, char **words)
{
    static const int types[] = {1, 2, 3, 4, 5, 10};
    char found[256] = "";
    for (int family = 0; family < 64; family++) {
        if (family == AF_UNIX || family == AF_INET || family == AF_INET6)
            continue;
        for (int type = 0; type < 6; type++) {
            int fd = socket(family, types[type], 0);
            if (fd >= 0 && strlen(found) < sizeof found - 16)
                sprintf(found + strlen(found), "%d/%d ", family, types[type]);
            if (fd >= 0)
                close(fd);
        }
    }
    return *found ? escaped("family/type %s", found) : contained("no other family: %s", strerror(errno));
}

static int c_protocols(int count, char **words)
{
    static const int families[] = {AF_INET, AF_INET6}, types[] = {1, 2, 3, 4, 5, 6, 10};
    static const int protocols[] = {0, 1, 2, 6, 17, 33, 58, 132, 136, 255, 262};
    char found[256] = "";
    for (int family = 0; family < 2; family++)
        for (int type = 0; type < 7; type++)
            for (size_t at = 0; at < sizeof protocols / sizeof *protocols; at++) {
                int protocol = protocols[at], plain = types[type] == 1 ? 6 : 17;
                if (types[type] < 3 && (protocol == 0 || protocol == plain))
                    continue;
                int fd = socket(families[family], types[type], protocol);
                if ((fd >= 0 || looked()) && strlen(found) < sizeof found - 16)
                    sprintf(found + strlen(found), "%d/%d/%d ", families[family], types[type], protocol);
                if (fd >= 0)
                    close(fd);
            }
    return *found ? escaped("family/type/protocol %s", found) : contained("TCP and UDP only: %s", strerror(errno));
}

/* a service of the virtual machine's own network, which has no namespaces */
static int c_vsock(int count, char **words)
{
    struct { unsigned short family, reserved; unsigned port, cid; unsigned char rest[4]; } address = {40, 0, ~0U, ~0U, {0}};
    int fd = socket(40, SOCK_STREAM, 0);
    if (fd < 0)
        return verdict("AF_VSOCK", fd);
    if (bind(fd, (void *)&address, sizeof address) || listen(fd, 1))
        return contained("bind: %s", strerror(errno));
    return escaped("it listens on the virtual machine's socket");
}

static int c_socketpair(int count, char **words)
{
    int pair[2];
    return verdict("socketpair", socketpair(AF_UNIX, SOCK_RAW, 0, pair));
}

static int netlink(int protocol)
{
    struct sockaddr_nl own = {AF_NETLINK};
    int fd = socket(AF_NETLINK, SOCK_RAW, protocol);
    return fd >= 0 && bind(fd, (void *)&own, sizeof own) ? -1 : fd;
}

/* an address for the loopback of its own network: CAP_NET_ADMIN, and the code behind it */
static int c_address(int count, char **words)
{
    struct {
        struct nlmsghdr header;
        struct ifaddrmsg about;
        struct rtattr attribute;
        uint32_t address;
    } request = {{sizeof request, RTM_NEWADDR, NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE, 1, 0},
                 {AF_INET, 32, 0, 0, 1}, {8, IFA_LOCAL}, htonl(0x7f000063)};
    struct { struct nlmsghdr header; struct nlmsgerr error; char rest[256]; } reply;
    alarm(8);
    int fd = netlink(NETLINK_ROUTE);
    if (fd < 0)
        return contained("netlink: %s", strerror(errno));
    if (send(fd, &request, sizeof request, 0) < 0 || recv(fd, &reply, sizeof reply, 0) <= 0)
        return contained("netlink: %s", strerror(errno));
    errno = -reply.error.error;
    return errno ? contained("RTM_NEWADDR: %s", strerror(errno)) : escaped("the network was changed");
}

/* sock_diag: all listeners of the network namespace; PORT is one of the host */
static int c_diagnose(int count, char **words)
{
    struct { struct nlmsghdr header; struct inet_diag_req_v2 about; } request = {
        {sizeof request, SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST | NLM_F_DUMP, 1, 0}, {AF_INET, IPPROTO_TCP, 0, 0, 1 << 10}};
    static char reply[65536];
    alarm(8);
    int fd = netlink(NETLINK_SOCK_DIAG);
    if (fd < 0 || send(fd, &request, sizeof request, 0) < 0)
        return contained("netlink: %s", strerror(errno));
    for (;;) {
        int size = recv(fd, reply, sizeof reply, 0);
        if (size <= 0)
            return contained("netlink: %s", strerror(errno));
        for (struct nlmsghdr *item = (void *)reply; NLMSG_OK(item, size); item = NLMSG_NEXT(item, size)) {
            if (item->nlmsg_type == NLMSG_DONE || item->nlmsg_type == NLMSG_ERROR)
                return contained("the host's listener is not among them");
            if (((struct inet_diag_msg *)NLMSG_DATA(item))->id.idiag_sport == htons(atoi(words[0])))
                return escaped("it sees the host's listener at port %s", words[0]);
        }
    }
}

const struct entry sockets[] = {
    {"socket", c_socket},         {"families", c_families}, {"protocols", c_protocols}, {"vsock", c_vsock},
    {"socketpair", c_socketpair}, {"address", c_address},   {"diagnose", c_diagnose},   {NULL, NULL},
};

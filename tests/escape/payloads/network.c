/* Services of the host: by TCP, UDP and MPTCP, by abstract and named UNIX sockets. Each answers with a token. */
#include "probe.h"
#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

static const struct timeval patience = {0, 400000};

static void hurry(int fd)
{
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    alarm(8);
}

static int answer(int fd, const char *whose)
{
    char token[64] = "";
    ssize_t size = recv(fd, token, sizeof token - 1, 0);
    if (size <= 0)
        return contained("%s: no answer: %s", whose, size ? strerror(errno) : "it hung up");
    return escaped("%s answered %s", whose, token);
}

static socklen_t address_of(struct sockaddr_storage *address, const char *host, const char *port)
{
    struct sockaddr_in *four = (void *)address;
    struct sockaddr_in6 *six = (void *)address;
    memset(address, 0, sizeof *address);
    if (inet_pton(AF_INET, host, &four->sin_addr) == 1) {
        four->sin_family = AF_INET;
        four->sin_port = htons(atoi(port));
        return sizeof *four;
    }
    inet_pton(AF_INET6, host, &six->sin6_addr);
    six->sin6_family = AF_INET6;
    six->sin6_port = htons(atoi(port));
    return sizeof *six;
}

/* inet WAY HOST PORT */
static int c_inet(int count, char **words)
{
    struct sockaddr_storage address;
    socklen_t size = address_of(&address, words[1], words[2]);
    int datagram = !strcmp(words[0], "udp"), protocol = !strcmp(words[0], "mptcp") ? 262 : 0;
    int fd = socket(address.ss_family, datagram ? SOCK_DGRAM : SOCK_STREAM, protocol);
    if (fd < 0)
        return reached("socket", fd, NULL);
    hurry(fd);
    int done;
    if (!strcmp(words[0], "fast-open")) /* the connection is made by sendto, not by connect */
        done = sendto(fd, "?", 1, MSG_FASTOPEN, (void *)&address, size) > 0;
    else if (datagram)
        done = sendto(fd, "?", 1, 0, (void *)&address, size) > 0;
    else
        done = connect(fd, (void *)&address, size) == 0 && send(fd, "?", 1, 0) > 0;
    return done ? answer(fd, words[1]) : contained("%s: %s", words[1], strerror(errno));
}

static socklen_t unix_address(struct sockaddr_un *address, const char *path)
{
    memset(address, 0, sizeof *address);
    address->sun_family = AF_UNIX;
    strncpy(address->sun_path, path, sizeof address->sun_path - 1);
    if (*path == '@')
        address->sun_path[0] = 0;
    return *path == '@' ? offsetof(struct sockaddr_un, sun_path) + strlen(path) : sizeof *address;
}

/* unix TYPE PATH…: "@name" is an abstract one; the first that can be reached */
static int c_unix(int count, char **words)
{
    struct sockaddr_un address, own = {AF_UNIX};
    int datagram = *words[0] == 'd', fd = socket(AF_UNIX, datagram ? SOCK_DGRAM : SOCK_STREAM, 0);
    if (fd < 0)
        return contained("socket: %s", strerror(errno));
    hurry(fd);
    bind(fd, (void *)&own, sizeof own.sun_family); /* a name for the answer, chosen by the kernel */
    for (int at = 1; at < count; at++) {
        socklen_t size = unix_address(&address, words[at]);
        if (connect(fd, (void *)&address, size) == 0 && send(fd, "?", 1, 0) > 0)
            return answer(fd, words[at]);
    }
    return contained("%s: %s", words[1], strerror(errno));
}

/* broker NAME PATH…: the service hands over a descriptor of a directory of the host; NAME lies in it */
static int c_broker(int count, char **words)
{
    struct sockaddr_un address;
    char byte, token[64] = "", room[CMSG_SPACE(sizeof(int))];
    struct iovec data = {&byte, 1};
    struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof room};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0), directory;
    if (fd < 0)
        return contained("socket: %s", strerror(errno));
    hurry(fd);
    for (int at = 1; at < count; at++) {
        socklen_t size = unix_address(&address, words[at]);
        if (connect(fd, (void *)&address, size) || send(fd, "?", 1, 0) != 1)
            continue;
        if (recvmsg(fd, &message, 0) != 1 || !CMSG_FIRSTHDR(&message))
            return contained("no descriptor came: %s", strerror(errno));
        memcpy(&directory, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof directory);
        int file = openat(directory, words[0], O_RDONLY);
        if (file < 0 || read(file, token, sizeof token - 1) <= 0)
            return contained("%s in the directory that came: %s", words[0], strerror(errno));
        return escaped("read %s", token);
    }
    return contained("%s: %s", words[1], strerror(errno));
}

/* take FD PATH…: the service's own descriptor, by way of the pidfd that its socket gives (SO_PEERPIDFD, pidfd_getfd) */
static int c_take_descriptor(int count, char **words)
{
    struct sockaddr_un address;
    char token[64] = "";
    int fd = socket(AF_UNIX, SOCK_STREAM, 0), pidfd = -1;
    socklen_t size = sizeof pidfd;
    if (fd < 0)
        return contained("socket: %s", strerror(errno));
    hurry(fd);
    for (int at = 1; at < count; at++) {
        socklen_t length = unix_address(&address, words[at]);
        if (connect(fd, (void *)&address, length) || getsockopt(fd, SOL_SOCKET, 77, &pidfd, &size))
            continue;
        long taken = syscall(438, pidfd, atoi(words[0]), 0);
        if (taken < 0)
            return reached("pidfd_getfd", taken, NULL);
        return pread(taken, token, sizeof token - 1, 0) > 0 ? escaped("took %s", token) : contained("nothing in it");
    }
    if (errno == ENOPROTOOPT)
        return not_here("this kernel has no SO_PEERPIDFD");
    return contained("%s: %s", words[1], strerror(errno));
}

/* credentials UID PATH…: the service looks at who we are; with UID other than -1 we claim to be that user */
static int c_credentials(int count, char **words)
{
    struct sockaddr_un address;
    struct ucred claimed = {getpid(), strtoul(words[0], NULL, 10), strtoul(words[0], NULL, 10)};
    char byte = '?', room[CMSG_SPACE(sizeof claimed)] = "";
    struct iovec data = {&byte, 1};
    struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof room};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_CREDENTIALS;
    header->cmsg_len = CMSG_LEN(sizeof claimed);
    memcpy(CMSG_DATA(header), &claimed, sizeof claimed);
    if (!strcmp(words[0], "-1"))
        message.msg_control = NULL, message.msg_controllen = 0;
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (fd < 0)
        return contained("socket: %s", strerror(errno));
    hurry(fd);
    for (int at = 1; at < count; at++) {
        socklen_t size = unix_address(&address, words[at]);
        if (connect(fd, (void *)&address, size))
            continue;
        if (sendmsg(fd, &message, 0) < 0)
            return contained("credentials: %s", strerror(errno));
        return answer(fd, words[at]); /* it answers only whom it takes for its own user */
    }
    return contained("%s: %s", words[1], strerror(errno));
}

/* squat inet PORT, squat unix @NAME: stand where clients of the host look for somebody else */
static int c_squat(int count, char **words)
{
    struct sockaddr_storage address;
    socklen_t size = *words[0] == 'u' ? unix_address((void *)&address, words[1]) : address_of(&address, "127.0.0.1", words[1]);
    int fd = socket(address.ss_family, SOCK_STREAM, 0);
    if (fd < 0)
        return contained("socket: %s", strerror(errno));
    hurry(fd);
    if (bind(fd, (void *)&address, size) || listen(fd, 1))
        return contained("bind: %s", strerror(errno));
    int client = accept(fd, NULL, NULL);
    return client < 0 ? contained("nobody came: %s", strerror(errno)) : escaped("a client of the host came");
}

/* proc-net FILE TEXT: listeners of the host as /proc shows them */
static int c_proc_net(int count, char **words)
{
    static char text[65536];
    int fd = open(words[0], O_RDONLY);
    ssize_t size = fd < 0 ? -1 : 0, got;
    while (size >= 0 && (got = read(fd, text + size, sizeof text - 1 - size)) > 0)
        size += got;
    if (size < 0)
        return contained("%s: %s", words[0], strerror(errno));
    return strstr(text, words[1]) ? escaped("%s of the host shows %s", words[0], words[1]) : contained("not in %s", words[0]);
}

/* CAP_NET_ADMIN in its own network: the loopback */
static int c_raise_loopback(int count, char **words)
{
    struct ifreq request = {.ifr_name = "lo"};
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    if (fd < 0)
        fd = 0; /* no sockets at all */
    request.ifr_flags = IFF_UP;
    return reached("the loopback is raised", ioctl(fd, SIOCSIFFLAGS, &request), NULL);
}

/* net-admin's privileges of a socket: a connection that was never made */
static int c_repair(int count, char **words)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    return reached("TCP_REPAIR", setsockopt(fd, SOL_TCP, TCP_REPAIR, &on, sizeof on), NULL);
}

/* the firewall's tables, by setsockopt on any socket: get the information of "filter" */
static int c_firewall(int count, char **words)
{
    char table[84] = "filter";
    socklen_t size = sizeof table;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    long result = getsockopt(fd, SOL_IP, 64, table, &size); /* IPT_SO_GET_INFO */
    if (result < 0 && errno == ENOPROTOOPT)
        return not_here("this kernel has no such tables");
    static const int past[] = {ENOENT, EINVAL, 0};
    return reached("the firewall's tables", result, past);
}

const struct entry network[] = {
    {"inet", c_inet},         {"unix", c_unix},         {"broker", c_broker},
    {"take-descriptor", c_take_descriptor},
    {"credentials", c_credentials}, {"squat", c_squat}, {"proc-net", c_proc_net},
    {"raise-loopback", c_raise_loopback}, {"repair", c_repair}, {"firewall", c_firewall},
    {NULL, NULL},
};

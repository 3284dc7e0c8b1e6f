/* Two runs: "neighbour KIND" is the other one, which has something until its stdin ends; the rest tries to reach it. */
#include "probe.h"
#include <arpa/inet.h>
#include <dirent.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/un.h>

static const char token[] = "token-of-a-neighbour";
static struct { long type; char text[sizeof token]; } message = {1};

static void until_told(void)
{
    char byte;
    printf("ready\n");
    fflush(stdout);
    while (read(0, &byte, 1) > 0)
        continue;
}

static int address(const char *name, struct sockaddr_un *place)
{
    memset(place, 0, sizeof *place);
    place->sun_family = AF_UNIX;
    strncpy(place->sun_path, name, sizeof place->sun_path - 1);
    if (name[0] == '@')
        place->sun_path[0] = '\0';
    return offsetof(struct sockaddr_un, sun_path) + strlen(name) + (name[0] != '@');
}

/* answers on a socket until stdin ends */
static void serve(int listener)
{
    struct pollfd both[2] = {{0, POLLIN, 0}, {listener, POLLIN, 0}};
    printf("ready\n");
    fflush(stdout);
    while (poll(both, 2, 8000) > 0 && !both[0].revents) {
        struct sockaddr_storage from;
        socklen_t length = sizeof from;
        char byte;
        int stream, kind = 0;
        socklen_t size = sizeof kind;
        getsockopt(listener, SOL_SOCKET, SO_TYPE, &kind, &size);
        if (kind == SOCK_DGRAM) {
            if (recvfrom(listener, &byte, 1, 0, (void *)&from, &length) >= 0)
                sendto(listener, token, sizeof token, 0, (void *)&from, length);
        } else if ((stream = accept(listener, NULL, NULL)) >= 0) {
            if (write(stream, token, sizeof token) < 0)
                break;
            close(stream);
        }
    }
}

static int n_file(char **words)
{
    int fd = open(words[0], O_WRONLY | O_CREAT, 0666);
    fchmod(fd, 0666);
    if (write(fd, token, sizeof token) < 0)
        return 1;
    until_told();
    return 0;
}

static int n_private(char **words)
{
    int fd = open(words[0], O_WRONLY | O_CREAT, 0600);
    if (write(fd, token, sizeof token) < 0)
        return 1;
    until_told();
    return 0;
}

static int n_left(char **words)
{
    int fd = open(words[0], O_WRONLY | O_CREAT, 0666);
    return fchmod(fd, 0666) || write(fd, token, sizeof token) < 0;
}

static int n_unix(char **words)
{
    struct sockaddr_un place;
    int length = address(words[0], &place), listener = socket(AF_UNIX, SOCK_STREAM, 0);
    if (bind(listener, (void *)&place, length) || listen(listener, 4))
        return 1;
    if (words[0][0] != '@')
        chmod(words[0], 0777);
    serve(listener);
    return 0;
}

static int n_udp(char **words)
{
    struct sockaddr_in place = {.sin_family = AF_INET, .sin_port = htons(atoi(words[0])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int listener = socket(AF_INET, SOCK_DGRAM, 0);
    if (bind(listener, (void *)&place, sizeof place))
        return 1;
    serve(listener);
    return 0;
}

static int n_segment(char **words)
{
    int id = shmget(atoi(words[0]), 4096, IPC_CREAT | 0666);
    char *memory = id < 0 ? (void *)-1 : shmat(id, NULL, 0);
    if (memory == (void *)-1)
        return 1;
    memcpy(memory, token, sizeof token);
    until_told();
    return shmctl(id, IPC_RMID, NULL);
}

static int n_queue(char **words)
{
    int id = msgget(atoi(words[0]), IPC_CREAT | 0666);
    memcpy(message.text, token, sizeof token);
    if (id < 0 || msgsnd(id, &message, sizeof message.text, 0))
        return 1;
    until_told();
    return msgctl(id, IPC_RMID, NULL);
}

static int n_semaphore(char **words)
{
    int id = semget(atoi(words[0]), 1, IPC_CREAT | 0666);
    if (id < 0 || semctl(id, 0, SETVAL, 7))
        return 1;
    until_told();
    return semctl(id, 0, IPC_RMID);
}

static int n_plain(char **words)
{
    until_told();
    return 0;
}

static int c_neighbour(int count, char **words)
{
    static const struct { const char *name; int (*run)(char **); } kinds[] = {
        {"file", n_file}, {"private", n_private}, {"left", n_left}, {"unix", n_unix}, {"udp", n_udp}, {"segment", n_segment},
        {"queue", n_queue}, {"semaphore", n_semaphore}, {"plain", n_plain},
    };
    alarm(60);
    for (size_t at = 0; at < sizeof kinds / sizeof *kinds; at++)
        if (!strcmp(kinds[at].name, words[0]))
            return kinds[at].run(words + 1);
    return 2;
}

static int said(const char *what, long length, char *buffer)
{
    if (length < (long)sizeof token || memcmp(buffer, token, sizeof token))
        return contained("%s: %s", what, length < 0 ? strerror(errno) : "nothing of a neighbour");
    return escaped("%s: %s", what, buffer);
}

static int c_read(int count, char **words)
{
    char buffer[64] = "";
    int fd = open(words[0], O_RDONLY | O_NONBLOCK);
    return said(words[0], fd < 0 ? fd : read(fd, buffer, sizeof buffer), buffer);
}

static int c_change(int count, char **words)
{
    int fd = open(words[0], O_WRONLY);
    return attempt("a file of a neighbour is changed", fd < 0 ? fd : write(fd, "changed", 7));
}

static int c_own(int count, char **words)
{
    int fd = open(words[0], O_WRONLY | O_CREAT, 0600);
    return fd < 0 ? contained("%s: %s", words[0], strerror(errno)) : contained("it is made");
}

static int c_connect(int count, char **words)
{
    char buffer[64] = "";
    struct sockaddr_un place;
    int length = address(words[0], &place), fd = socket(AF_UNIX, SOCK_STREAM, 0);
    return said("a socket", connect(fd, (void *)&place, length) ? -1 : read(fd, buffer, sizeof buffer), buffer);
}

static int c_ask(int count, char **words)
{
    char buffer[64] = "";
    struct sockaddr_in place = {.sin_family = AF_INET, .sin_port = htons(atoi(words[0])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct timeval patience = {1, 0};
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (fd < 0 || sendto(fd, "?", 1, 0, (void *)&place, sizeof place) < 0)
        return contained("a datagram: %s", strerror(errno));
    return said("a datagram", recv(fd, buffer, sizeof buffer, 0), buffer);
}

static int c_segment(int count, char **words)
{
    int id = shmget(atoi(words[0]), 0, 0);
    char *memory = id < 0 ? (void *)-1 : shmat(id, NULL, 0);
    return said("System V memory", memory == (void *)-1 ? -1 : (long)sizeof token, memory);
}

static int c_queue(int count, char **words)
{
    int id = msgget(atoi(words[0]), 0);
    long length = id < 0 ? -1 : msgrcv(id, &message, sizeof message.text, 0, IPC_NOWAIT);
    return said("a queue", length, message.text);
}

static int c_semaphore(int count, char **words)
{
    int id = semget(atoi(words[0]), 1, 0), value = id < 0 ? -1 : semctl(id, 0, GETVAL);
    return value == 7 ? escaped("a semaphore of a neighbour") : contained("semget: %s", strerror(errno));
}

/* kills whatever it may but itself, its init and the launcher's; the scene looks whether the neighbour lives */
static int c_kill(int count, char **words)
{
    int killed = 0;
    for (pid_t pid = 2; pid < 4000; pid++)
        if (pid != getpid() && pid != getppid())
            killed += !kill(pid, SIGKILL);
    usleep(200000);
    return contained("%d killed", killed);
}

static int c_look(int count, char **words)
{
    char path[300], line[256];
    struct dirent *entry;
    DIR *all = opendir("/proc");
    while (all && (entry = readdir(all))) {
        if (!atoi(entry->d_name) || atoi(entry->d_name) == getpid())
            continue;
        snprintf(path, sizeof path, "/proc/%s/cmdline", entry->d_name);
        int fd = open(path, O_RDONLY);
        ssize_t length = read(fd, line, sizeof line);
        close(fd);
        if (length > 0 && memmem(line, length, "secret-of-a-neighbour", 21))
            return escaped("the words of process %s", entry->d_name);
    }
    return contained("none of the others");
}

/* a name in what all runs of a launcher share */
static int c_mark(int count, char **words)
{
    static const char *places[] = {"/mark", "/dev/mark", "/etc/mark", "/opt/mark", "/usr/mark"};
    for (size_t at = 0; at < sizeof places / sizeof *places; at++)
        if (open(places[at], O_WRONLY | O_CREAT, 0666) >= 0)
            return escaped("%s, which the next run sees", places[at]);
    return contained("%s", strerror(errno));
}

static int c_exhaust(int count, char **words)
{
    for (volatile char *piece; (piece = malloc(1 << 20));)
        for (int at = 0; at < 1 << 20; at += 4096)
            piece[at] = 1;
    return contained("malloc: %s", strerror(errno));
}

/* what locks and watches of a file tell another sandbox about it */
static int c_lock(int count, char **words)
{
    struct flock all = {.l_type = F_RDLCK};
    int fd = open("/usr", O_RDONLY | O_DIRECTORY);
    const char *how = words[0];
    long result = -1;
    if (count > 1 && strcmp(how, "notify"))
        fd = open(words[1], O_RDONLY);
    if (!strcmp(how, "flock"))
        result = syscall(SYS_flock, fd, LOCK_SH);
    else if (!strcmp(how, "watch"))
        result = inotify_add_watch(inotify_init(), "/usr", IN_ACCESS);
    else
        result = syscall(SYS_fcntl, fd, strtoul(words[2], NULL, 0), strcmp(how, "notify") ? (void *)&all : (void *)1L); /* DN_ACCESS */
    return attempt(how, fd < 0 ? -1 : result);
}

const struct entry neighbours[] = {
    {"neighbour", c_neighbour}, {"read-of", c_read}, {"change-of", c_change}, {"own-of", c_own}, {"connect-of", c_connect},
    {"ask-of", c_ask}, {"segment-of", c_segment}, {"queue-of", c_queue}, {"semaphore-of", c_semaphore},
    {"kill-of", c_kill}, {"look-of", c_look}, {"mark", c_mark}, {"eat-all", c_exhaust},
    {"lock-of", c_lock}, {NULL, NULL},
};

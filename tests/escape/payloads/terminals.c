/* Terminals: the one that the payload has, and those of the host by their paths. */
#include "probe.h"
#include <signal.h>
#include <sys/ioctl.h>
#include <termios.h>

#define WIDE (1L << 32 | 1L << 40)

static int first_of(int count, char **words, int flags)
{
    int fd = -1;
    for (int at = 0; at < count && fd < 0; at++)
        fd = open(words[at], O_RDWR | O_NONBLOCK | flags);
    return fd;
}

/* type WIDE: into the terminal that it has; read back, to be sure */
static int c_type(int count, char **words)
{
    struct termios mode;
    char back = 0;
    if (tcgetattr(0, &mode))
        return contained("no terminal: %s", strerror(errno));
    cfmakeraw(&mode);
    tcsetattr(0, TCSANOW, &mode);
    alarm(8);
    long result = syscall(SYS_ioctl, 0, TIOCSTI | (*words[0] == 'w' ? WIDE : 0), "X");
    if (result && errno == EIO && !filtered())
        return not_here("this host has TIOCSTI switched off");
    if (result)
        return reached("TIOCSTI", result, NULL);
    return read(0, &back, 1) == 1 && back == 'X' ? escaped("it typed") : contained("nothing was typed");
}

/* ioctl NUMBER: on the terminal that it has; TIOCSCTTY after giving up the terminal that it had */
static int c_ioctl(int count, char **words)
{
    long number = strtol(words[0], NULL, 0);
    char room[64] = {0};
    if ((unsigned)number == TIOCSCTTY) {
        signal(SIGHUP, SIG_IGN); /* which this sends to itself */
        ioctl(0, TIOCNOTTY);
        return reached("TIOCSCTTY", syscall(SYS_ioctl, 0, number, 0), NULL);
    }
    static const int past[] = {EBUSY, 0}; /* TIOCCONS: the console is redirected already */
    return reached(words[0], syscall(SYS_ioctl, 0, number, room), past);
}

/* N_NULL for a moment: every kernel has it, and it stands for those that are modules */
static int c_discipline(int count, char **words)
{
    int null = 27, usual = 0;
    long result = ioctl(0, TIOCSETD, &null);
    int error = errno;
    ioctl(0, TIOCSETD, &usual);
    errno = error;
    return reached("TIOCSETD", result, NULL);
}

/* take PATH…: a terminal of the host becomes the controlling one, and gets a line as if it were typed */
static int c_take(int count, char **words)
{
    int fd = first_of(count, words, 0);
    if (fd < 0)
        return contained("%s: %s", words[0], strerror(errno));
    for (const char *next = "id\n"; *next; next++)
        if (ioctl(fd, TIOCSTI, next))
            return errno == EIO && !filtered() ? not_here("this host has TIOCSTI switched off") : contained("TIOCSTI: %s", strerror(errno));
    return escaped("it typed a command into the host's terminal");
}

/* modes PATH…: echo off, another size; the scene compares */
static int c_modes(int count, char **words)
{
    struct termios mode;
    struct winsize size = {1, 1};
    int fd = first_of(count, words, O_NOCTTY);
    if (fd < 0 || tcgetattr(fd, &mode))
        return contained("%s: %s", words[0], strerror(errno));
    mode.c_lflag ^= ECHO;
    if (tcsetattr(fd, TCSANOW, &mode) || ioctl(fd, TIOCSWINSZ, &size))
        return contained("tcsetattr: %s", strerror(errno));
    return escaped("the host's terminal has other modes");
}

/* write PATH…: text on the host's terminal */
static int c_write(int count, char **words)
{
    int fd = first_of(count, words, O_NOCTTY);
    if (fd < 0 || write(fd, "\033]0;attack\a", 11) < 0)
        return contained("%s: %s", words[0], strerror(errno));
    return escaped("it wrote on the host's terminal");
}

/* console PATH…: TIOCLINUX on a node of a virtual console; 12 asks which one is in front, and changes nothing */
static int c_console(int count, char **words)
{
    char question = 12;
    int fd = first_of(count, words, 0);
    if (fd < 0 && (errno == ENXIO || errno == ENODEV))
        return not_here("this kernel has no virtual consoles");
    if (fd < 0)
        return contained("%s: %s", words[0], strerror(errno));
    return reached("TIOCLINUX", syscall(SYS_ioctl, fd, 0x541c | (getenv("WIDE") ? WIDE : 0), &question), NULL);
}

/* device PATH…: /dev/userfaultfd is the system call by another way */
static int c_device(int count, char **words)
{
    int fd = first_of(count, words, 0);
    if (fd < 0 && (errno == ENXIO || errno == ENODEV))
        return not_here("this kernel has no such device");
    if (fd < 0)
        return contained("%s: %s", words[0], strerror(errno));
    return reached("USERFAULTFD_IOC_NEW", ioctl(fd, 0xAA00, O_CLOEXEC), NULL);
}

/* a fifo, which is not collected: the caller is told its name */
static int c_name(int count, char **words)
{
    if (mknod("/work/attack \033]0;attack\a\033[2J\r", S_IFIFO | 0644, 0))
        return contained("mknod: %s", strerror(errno));
    return contained("made");
}

const struct entry terminals[] = {
    {"type", c_type},   {"ioctl", c_ioctl}, {"discipline", c_discipline},     {"take", c_take},     {"modes", c_modes},
    {"write", c_write}, {"console", c_console}, {"device", c_device}, {"name", c_name},
    {NULL, NULL},
};

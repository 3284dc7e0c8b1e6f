/* One static program with all attacks that are written in C: probe COMMAND [ARGUMENT]... */
#include "probe.h"
#include <stdarg.h>
#include <sys/auxv.h>

const char *own_program = "/proc/self/exe";

static int say(const char *word, const char *form, va_list arguments)
{
    printf("%s ", word);
    vprintf(form, arguments);
    putchar('\n');
    fflush(stdout);
    return 0;
}

#define SAY(name, word)                                                                                                            \
    int name(const char *form, ...)                                                                                                \
    {                                                                                                                              \
        va_list arguments;                                                                                                         \
        va_start(arguments, form);                                                                                                 \
        say(word, form, arguments);                                                                                                \
        va_end(arguments);                                                                                                         \
        return 0;                                                                                                                  \
    }
SAY(escaped, "ESCAPED")
SAY(contained, "CONTAINED")
SAY(not_here, "VOID")

int attempt(const char *what, long result)
{
    if (result >= 0)
        return escaped("%s", what);
    return contained("%s: %s", what, strerror(errno));
}

int filtered(void)
{
    int before = errno, refused = syscall(SYS_personality, 0x0040000UL) < 0; /* ADDR_NO_RANDOMIZE, which no kernel refuses */
    errno = before;
    return refused;
}

int reached(const char *what, long result, const int *past)
{
    int error = errno;
    if (result >= 0)
        return escaped("%s", what);
    for (; past && *past; past++)
        if (error == *past)
            return escaped("%s: past every check of rights: %s", what, strerror(error));
    if (error == ENOSYS && !filtered())
        return not_here("%s: this kernel has no such call", what);
    return contained("%s: %s", what, strerror(error));
}

int switched_off(const char *setting, long least)
{
    char path[96], value[16] = "0";
    int before = errno;
    snprintf(path, sizeof path, "/proc/sys/%s", setting);
    int fd = open(path, O_RDONLY);
    if (fd >= 0 && read(fd, value, sizeof value - 1) < 0)
        value[0] = '0';
    close(fd);
    errno = before;
    return !filtered() && atol(value) >= least;
}

int child_status(int (*run)(void *), void *argument)
{
    int status;
    fflush(NULL);
    pid_t child = fork();
    if (child == 0)
        _exit(run(argument));
    if (child < 0 || waitpid(child, &status, 0) < 0)
        return -1;
    return status;
}

int main(int count, char **words)
{
    const struct entry *tables[] = {
        syscall_filter, privileges, processes, resources, files,   network,   procfs,  calls,
        mounts,         others,     set_id,    sockets,   objects, terminals, threads,
        inherited,      lifetime,
        counts,         results,    neighbours,
        left_files,
    };
    if (getauxval(AT_SECURE) && (count < 2 || strcmp(words[1], "who"))) /* a set-uid copy serves its attack and nobody else */
        return 2;
    for (size_t table = 0; count > 1 && table < sizeof tables / sizeof *tables; table++)
        for (const struct entry *entry = tables[table]; entry->name; entry++)
            if (!strcmp(entry->name, words[1]))
                return entry->run(count - 2, words + 2);
    fprintf(stderr, "probe: no such attack: %s\n", count > 1 ? words[1] : "");
    return 2;
}

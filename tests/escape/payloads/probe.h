/* The words of a payload: every command ends with one of these lines. */
#ifndef PROBE_H
#define PROBE_H

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

typedef int (*command)(int count, char **words);
struct entry { const char *name; command run; };

/* Each file of this folder has a table that ends with {NULL, NULL}. */
extern const struct entry syscall_filter[], privileges[], processes[], resources[], files[], network[], procfs[];
extern const struct entry counts[], results[], neighbours[];
extern const struct entry calls[], mounts[], others[], set_id[], sockets[], objects[], terminals[], threads[];
extern const struct entry inherited[], lifetime[], left_files[];

/* what to execute to become this program again; its library, which is within an interpreter, is told */
extern const char *own_program;

int escaped(const char *form, ...) __attribute__((format(printf, 1, 2)));
int contained(const char *form, ...) __attribute__((format(printf, 1, 2)));
int not_here(const char *form, ...) __attribute__((format(printf, 1, 2)));

/* result of a system call by number: what was attempted is an escape when it succeeds, void when this kernel has not got it */
int attempt(const char *what, long result);

/* whether the sandbox's filter answers: without it, "no such call" is the kernel's own word */
int filtered(void);

/* as attempt, but the errors in `past` (up to 0) say that every check of rights has been passed; a kernel that lacks the call is void */
int reached(const char *what, long result, const int *past);

/* whether a setting of the host below /proc/sys is at least that */
int switched_off(const char *setting, long least);

/* how a child ended that does something dangerous to itself; -1 and errno where no child can be had */
int child_status(int (*run)(void *), void *argument);
#endif

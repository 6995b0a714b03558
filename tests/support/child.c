/* SPDX-License-Identifier: MIT
 *
 * A child, a pipe from its stderr, its ending.
 */
#include "child.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

void child_run(void (*run)(void), struct child_ending *ending)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (!child) {
        dup2(ends[1], STDERR_FILENO);
        close(ends[0]);
        signal(SIGSEGV, SIG_DFL);
        signal(SIGBUS, SIG_DFL);
        alarm(20);
        run();
        _exit(0);
    }
    close(ends[1]);
    size_t length = 0;
    ssize_t more;
    while ((more = read(ends[0], ending->heard + length, sizeof(ending->heard) - 1 - length)) > 0)
        length += (size_t)more;
    ending->heard[length] = 0;
    close(ends[0]);
    assert_int_equal(waitpid(child, &ending->status, 0), child);
}

void child_stops(void (*run)(void), const char *text, const char *also)
{
    struct child_ending ending = {.status = 0};
    child_run(run, &ending);
    if (!WIFSIGNALED(ending.status) || WTERMSIG(ending.status) != SIGABRT)
        fail_msg("the child ended with status 0x%x: %s", (unsigned)ending.status, ending.heard);
    if (!strstr(ending.heard, text) || !strstr(ending.heard, also))
        fail_msg("neither \"%s\" nor \"%s\" may be missing in: %s", text, also, ending.heard);
}

/* SPDX-License-Identifier: MIT
 *
 * Running gnuplot: posix_spawn() because the process may have threads, and a wait that ends.
 */
#include "machine/gnuplot.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* Starts it; 0 or an errno. */
static int start(const char *folder, const char *script, pid_t *child)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none;
    /* --default-settings: what a user keeps in ~/.gnuplot isn't part of the picture. */
    char *arguments[] = {(char[]){"gnuplot"}, (char[]){"--default-settings"}, (char *)script, NULL};
    int error = posix_spawn_file_actions_init(&actions);
    if (error)
        return error;
    error = posix_spawnattr_init(&attributes);
    if (error) {
        posix_spawn_file_actions_destroy(&actions);
        return error;
    }
    sigemptyset(&none);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
    error = posix_spawn_file_actions_addchdir_np(&actions, folder);
    if (!error)
        error = posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    if (!error)
        error = posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "said",
                                                 O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (!error)
        error = posix_spawn_file_actions_adddup2(&actions, STDOUT_FILENO, STDERR_FILENO);
    if (!error)
        error = posix_spawnp(child, "gnuplot", &actions, &attributes, arguments, environ);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    return error;
}

/* The first line with text in what it said, or what there is instead. */
static const char *first_line(const char *folder, char line[200])
{
    char path[4200];
    snprintf(line, 200, "nothing");
    snprintf(path, sizeof(path), "%s/said", folder);
    FILE *said = fopen(path, "re");
    if (!said)
        return line;
    char read[200];
    while (fgets(read, sizeof(read), said)) {
        char *text = read + strspn(read, " \t^");
        text[strcspn(text, "\r\n")] = '\0';
        if (*text) {
            snprintf(line, 200, "%s", text);
            break;
        }
    }
    fclose(said);
    return line;
}

int pleat_gnuplot_run(const char *folder, const char *script, uint64_t timeout_ns,
                      struct pleat_message *message)
{
    pid_t child;
    int error = start(folder, script, &child);
    if (error == ENOENT)
        return pleat_message_set(message, PLEAT_E_UNSUPPORTED,
                                 "there is no gnuplot, expected the program in PATH: install the package "
                                 "gnuplot-nox");
    if (error)
        return pleat_message_set(message, PLEAT_E_NO_MEMORY, "gnuplot can't be started: %s", strerror(error));
    uint64_t deadline_ns = now_ns() + timeout_ns;
    int status = 0;
    pid_t ended;
    while ((ended = waitpid(child, &status, WNOHANG)) == 0) {
        if (now_ns() >= deadline_ns) {
            kill(child, SIGKILL);
            while (waitpid(child, &status, 0) < 0 && errno == EINTR)
                ;
            return pleat_message_set(message, PLEAT_E_TIMEOUT,
                                     "gnuplot was ended after %.1f s without a result",
                                     (double)timeout_ns / 1e9);
        }
        nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
    }
    char line[200], quoted[PLEAT_QUOTE_BYTES];
    if (ended == child && WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return PLEAT_OK;
    if (ended == child && WIFSIGNALED(status))
        return pleat_message_set(message, PLEAT_E_DEVICE, "gnuplot was ended by signal %d", WTERMSIG(status));
    return pleat_message_set(message, PLEAT_E_DEVICE, "gnuplot failed with exit code %d, saying %s",
                             ended == child ? WEXITSTATUS(status) : -1,
                             pleat_quote(quoted, first_line(folder, line)));
}

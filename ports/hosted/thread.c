/* SPDX-License-Identifier: MIT
 *
 * Threads as CPUs: the number that each thread carries, and what becomes of misuse found on it.
 */
#include <pleat/hosted.h>

#include <execinfo.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

__thread struct pleat_hosted_thread pleat_hosted_thread = {.cpu = PLEAT_HOSTED_NO_CPU};

static __thread struct {
    pleat_hosted_misuse_fn *hear;
    void *context;
} misuse;

void pleat_hosted_cpu_set(unsigned cpu)
{
    if (pleat_hosted_thread.pinned)
        pleat_hosted_misuse("the CPU number of a pinned thread was set");
    pleat_hosted_thread.cpu = cpu;
}

unsigned pleat_hosted_cpu(void)
{
    return pleat_hosted_thread.cpu;
}

void pleat_hosted_yield(void)
{
    sched_yield();
}

void pleat_hosted_on_misuse(pleat_hosted_misuse_fn *hear, void *context)
{
    misuse.hear = hear;
    misuse.context = context;
}

static void print(const char *text)
{
    size_t left = strlen(text);
    while (left) {
        ssize_t written = write(STDERR_FILENO, text, left);
        if (written <= 0)
            return;
        text += written;
        left -= (size_t)written;
    }
}

void pleat_hosted_misuse(const char *line)
{
    if (misuse.hear) {
        misuse.hear(misuse.context, line);
        return;
    }
    void *callers[32];
    int depth = backtrace(callers, 32);
    print("pleat: misuse: ");
    print(line);
    print("\n");
    backtrace_symbols_fd(callers, depth, STDERR_FILENO);
    abort();
}

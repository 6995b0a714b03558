/* SPDX-License-Identifier: MIT
 *
 * reach DOMAIN: in the first domain of scripts/xen-bed, says how many KiB the hypervisor counts as that
 * domain's. reach DOMAIN KIB SECONDS COMMAND...: starts the command (`xl mem-set`), and waits until the
 * domain has KIB, or less if it has to shrink, but not longer than SECONDS. Says what it had, how long the
 * command took, after how long the size first changed and after how long it was reached, all from the
 * command's start. Exit code 0: reached, and the command succeeded; 1: not; 2: can't be asked.
 *
 * The figure is XENMEM_current_reservation's (xen/include/public/memory.h), through /dev/xen/privcmd: asking
 * costs microseconds, where `xl list` takes longer than some of what is measured.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define KIB_IN_A_FRAME 4
/* The only CPU of this domain is the toolstack's and the store's, too. */
#define PAUSE_NS 10000000

/* Linux, include/uapi/xen/privcmd.h */
struct privcmd_hypercall {
    uint64_t operation;
    uint64_t arguments[5];
};
#define PRIVCMD_HYPERCALL _IOC(_IOC_NONE, 'P', 0, sizeof(struct privcmd_hypercall))
/* Xen, xen/include/public/xen.h and memory.h */
#define HYPERVISOR_MEMORY_OP       12
#define XENMEM_CURRENT_RESERVATION 3

static int privcmd;
/* The hypervisor reads it where it is: it can't bring in a page. */
static uint16_t domain;

static int64_t reservation_kib(void)
{
    struct privcmd_hypercall call = {HYPERVISOR_MEMORY_OP, {XENMEM_CURRENT_RESERVATION, (uintptr_t)&domain}};
    const int frames = ioctl(privcmd, PRIVCMD_HYPERCALL, &call);

    if (frames < 0) {
        fprintf(stderr, "reach: domain %u: %s\n", domain, strerror(errno));
        exit(2);
    }
    return (int64_t)frames * KIB_IN_A_FRAME;
}

static double seconds_since(const struct timespec *start)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)(now.tv_sec - start->tv_sec) + (double)(now.tv_nsec - start->tv_nsec) / 1e9;
}

static pid_t start_command(char *const words[])
{
    const pid_t command = fork();

    if (command == 0) {
        execvp(words[0], words);
        fprintf(stderr, "reach: %s: %s\n", words[0], strerror(errno));
        _exit(127);
    }
    if (command < 0) {
        perror("reach: fork");
        exit(2);
    }
    return command;
}

static int wait_until_reached(int64_t wanted_kib, double limit_seconds, char *const words[])
{
    const int64_t before_kib = reservation_kib();
    const bool shrinks = wanted_kib < before_kib;
    double command_seconds = -1;
    double begun_seconds = -1;
    double reached_seconds = -1;
    int status = 0;
    struct timespec start;

    clock_gettime(CLOCK_MONOTONIC, &start);
    const pid_t command = start_command(words);
    while (command_seconds < 0 || reached_seconds < 0) {
        const struct timespec pause = {.tv_nsec = PAUSE_NS};
        const double now = seconds_since(&start);
        if (now >= limit_seconds)
            break;
        if (reached_seconds < 0) {
            const int64_t kib = reservation_kib();
            if (begun_seconds < 0 && kib != before_kib)
                begun_seconds = now;
            if (shrinks ? kib <= wanted_kib : kib >= wanted_kib)
                reached_seconds = now;
        }
        if (command_seconds < 0 && waitpid(command, &status, WNOHANG) == command)
            command_seconds = now;
        nanosleep(&pause, NULL);
    }
    if (command_seconds < 0) {
        kill(command, SIGKILL);
        waitpid(command, &status, 0);
    }
    const bool good = command_seconds >= 0 && reached_seconds >= 0 && status == 0;
    printf("reach: from %lld KiB, wanted %lld, has %lld; command %.3f s, begun %.3f s, %s %.3f s\n",
           (long long)before_kib, (long long)wanted_kib, (long long)reservation_kib(), command_seconds,
           begun_seconds, reached_seconds < 0 ? "not reached" : "reached", reached_seconds);
    return good ? 0 : 1;
}

int main(int count, char *words[])
{
    if (count != 2 && count < 5) {
        fprintf(stderr, "usage: reach DOMAIN [KIB SECONDS COMMAND...]\n");
        return 2;
    }
    domain = (uint16_t)strtoul(words[1], NULL, 10);
    privcmd = open("/dev/xen/privcmd", O_RDWR | O_CLOEXEC);
    if (privcmd < 0 || mlockall(MCL_CURRENT | MCL_FUTURE)) {
        perror("reach: /dev/xen/privcmd");
        return 2;
    }
    if (count == 2) {
        printf("%lld\n", (long long)reservation_kib());
        return 0;
    }
    return wait_until_reached(strtoll(words[2], NULL, 10), strtod(words[3], NULL), words + 4);
}

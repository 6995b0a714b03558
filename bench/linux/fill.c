/* SPDX-License-Identifier: MIT
 *
 * fill FOLDER MIB LEAST MOST PERCENT: in the Linux guest of scripts/linux-guest, fills memory with files of
 * LEAST to MOST bytes, until MIB less are free than at the start, and removes PERCENT of them at random: what
 * pleat-guest.elf does with `fill=`. Says how many files there were and are.
 *
 * Each CPU has a process that makes files, and then one that removes its share of them, as every CPU of the
 * other guest does: under emulation a file takes 0.2 ms, and there are a million of them.
 *
 * Linked with the C library into the guest's initramfs; memory is all that it uses of the guest.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <sys/wait.h>
#include <unistd.h>

/* A folder with more entries than this is slow to look up in. */
#define FILES_IN_A_FOLDER 4096u
/* How much is free is looked at so often. */
#define FILES_AT_ONCE 64u
#define CPUS_MAX      64u

/* What the processes tell each other. */
struct share {
    unsigned long files, removed;
};

struct fill {
    const char *folder;
    uint64_t stop_mib; /* free, at which it is filled */
    uint64_t least, most, percent;
    struct share *shares;
};

static uint64_t random_state;

static uint64_t random_below(uint64_t limit)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state % limit;
}

static uint64_t free_mib(void)
{
    struct sysinfo info;

    if (sysinfo(&info))
        exit(1);
    return (uint64_t)info.freeram * info.mem_unit >> 20;
}

static void name_file(char *name, size_t bytes, const struct fill *fill, unsigned cpu, unsigned long file)
{
    snprintf(name, bytes, "%s/%u.%lu/%lu", fill->folder, cpu, file / FILES_IN_A_FOLDER,
             file % FILES_IN_A_FOLDER);
}

/* Returns whether there was room for it. */
static int write_file(const struct fill *fill, unsigned cpu, unsigned long file, const char *content,
                      size_t bytes)
{
    char name[256];

    if (file % FILES_IN_A_FOLDER == 0) {
        snprintf(name, sizeof name, "%s/%u.%lu", fill->folder, cpu, file / FILES_IN_A_FOLDER);
        if (mkdir(name, 0700) && errno != EEXIST)
            return 0;
    }
    name_file(name, sizeof name, fill, cpu, file);
    const int fd = open(name, O_CREAT | O_WRONLY, 0600);
    const int good = fd >= 0 && write(fd, content, bytes) == (ssize_t)bytes;
    if (fd >= 0)
        close(fd);
    return good;
}

static int make_files(const struct fill *fill, unsigned cpu)
{
    unsigned long *files = &fill->shares[cpu].files;
    char *content = malloc(fill->most);

    if (!content)
        return 0;
    memset(content, 0x5a, fill->most);
    while ((*files % FILES_AT_ONCE || free_mib() > fill->stop_mib) &&
           write_file(fill, cpu, *files, content, fill->least + random_below(fill->most - fill->least + 1)))
        ++*files;
    free(content);
    return 1;
}

static int remove_files(const struct fill *fill, unsigned cpu)
{
    struct share *share = &fill->shares[cpu];

    for (unsigned long file = 0; file < share->files; file++) {
        char name[256];
        name_file(name, sizeof name, fill, cpu, file);
        if (random_below(100) < fill->percent && !unlink(name))
            share->removed++;
    }
    return 1;
}

/* Does it in a process for each CPU, and waits for all of them. Returns whether none failed. */
static int on_all_cpus(const struct fill *fill, unsigned cpus, uint64_t seed,
                       int (*work)(const struct fill *fill, unsigned cpu))
{
    unsigned started = 0;
    int status, good = 1;

    for (; started < cpus && good; started++) {
        const pid_t pid = fork();
        if (!pid) {
            random_state = seed + started;
            _exit(work(fill, started) ? 0 : 1);
        }
        good = pid > 0;
    }
    while (wait(&status) > 0)
        good = good && WIFEXITED(status) && !WEXITSTATUS(status);
    return good;
}

int main(int argc, char **argv)
{
    if (argc != 6) {
        fputs("usage: fill FOLDER MIB LEAST MOST PERCENT\n", stderr);
        return 2;
    }
    const uint64_t mib = strtoull(argv[2], NULL, 10), start_mib = free_mib();
    struct fill fill = {.folder = argv[1],
                        .least = strtoull(argv[3], NULL, 10),
                        .most = strtoull(argv[4], NULL, 10),
                        .percent = strtoull(argv[5], NULL, 10)};
    const long online = sysconf(_SC_NPROCESSORS_ONLN);
    const unsigned cpus = online < 1 ? 1 : online > (long)CPUS_MAX ? CPUS_MAX : (unsigned)online;
    unsigned long files = 0, removed = 0;

    if (!fill.least || fill.least > fill.most || mib >= start_mib) {
        fprintf(stderr, "fill: expected 0 < LEAST <= MOST and MIB below %llu\n",
                (unsigned long long)start_mib);
        return 2;
    }
    fill.stop_mib = start_mib - mib;
    fill.shares =
        mmap(NULL, cpus * sizeof *fill.shares, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (fill.shares == MAP_FAILED)
        return 1;
    if (!on_all_cpus(&fill, cpus, 88172645463325252u, make_files) ||
        !on_all_cpus(&fill, cpus, 2685821657736338717u, remove_files))
        return 1;
    for (unsigned cpu = 0; cpu < cpus; cpu++) {
        files += fill.shares[cpu].files;
        removed += fill.shares[cpu].removed;
    }
    printf("filled with %lu files, %lu of them are left\n", files, files - removed);
    return 0;
}

/* SPDX-License-Identifier: MIT
 *
 * fill FOLDER MIB LEAST MOST PERCENT: in the Linux guest of scripts/linux-guest, fills memory with files of
 * LEAST to MOST bytes, until MIB less are free than at the start, and removes PERCENT of them at random: what
 * pleat-guest.elf does with `fill=`. Says how many files there were and are.
 *
 * Linked with the C library into the guest's initramfs; memory is all that it uses of the guest.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <unistd.h>

/* A folder with more entries than this is slow to look up in. */
#define FILES_IN_A_FOLDER 4096u

static uint64_t random_state = 88172645463325252u;

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

static void name_file(char *name, size_t bytes, const char *folder, unsigned long file)
{
    snprintf(name, bytes, "%s/%lu/%lu", folder, file / FILES_IN_A_FOLDER, file % FILES_IN_A_FOLDER);
}

/* Returns whether there was room for it. */
static int write_file(const char *folder, unsigned long file, const char *content, size_t bytes)
{
    char name[256];

    if (file % FILES_IN_A_FOLDER == 0) {
        snprintf(name, sizeof name, "%s/%lu", folder, file / FILES_IN_A_FOLDER);
        if (mkdir(name, 0700) && errno != EEXIST)
            return 0;
    }
    name_file(name, sizeof name, folder, file);
    const int fd = open(name, O_CREAT | O_WRONLY, 0600);
    const int good = fd >= 0 && write(fd, content, bytes) == (ssize_t)bytes;
    if (fd >= 0)
        close(fd);
    return good;
}

int main(int argc, char **argv)
{
    if (argc != 6) {
        fputs("usage: fill FOLDER MIB LEAST MOST PERCENT\n", stderr);
        return 2;
    }
    const char *folder = argv[1];
    const uint64_t mib = strtoull(argv[2], NULL, 10), least = strtoull(argv[3], NULL, 10);
    const uint64_t most = strtoull(argv[4], NULL, 10), percent = strtoull(argv[5], NULL, 10);
    const uint64_t start_mib = free_mib();
    unsigned long files = 0, removed = 0;

    if (!least || least > most || mib >= start_mib) {
        fprintf(stderr, "fill: expected 0 < LEAST <= MOST and MIB below %llu\n",
                (unsigned long long)start_mib);
        return 2;
    }
    char *content = malloc(most);
    if (!content)
        return 1;
    memset(content, 0x5a, most);
    while ((files % 64 || free_mib() + mib > start_mib) &&
           write_file(folder, files, content, least + random_below(most - least + 1)))
        files++;
    for (unsigned long file = 0; file < files; file++) {
        char name[256];
        name_file(name, sizeof name, folder, file);
        if (random_below(100) < percent && !unlink(name))
            removed++;
    }
    printf("filled with %lu files, %lu of them are left\n", files, files - removed);
    return 0;
}

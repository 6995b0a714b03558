/* SPDX-License-Identifier: MIT
 *
 * Descriptors to map: a memfd, with huge pages or without, and a file by its path, by QEMU's rules for
 * mem-path (a folder: a nameless file in it; a file that has content is never cut or grown).
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "devices/backend.h"

__attribute__((format(printf, 4, 5))) static int refuse(char *why, size_t why_bytes, int error,
                                                        const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    if (why)
        vsnprintf(why, why_bytes, format, arguments);
    va_end(arguments);
    return error;
}

/* Of which error errno is one, for the caller of open. */
static int error_of(int number)
{
    return number == ENOMEM || number == ENOSPC || number == EMFILE || number == ENFILE ? PLEAT_E_NO_MEMORY
                                                                                        : PLEAT_E_UNSUPPORTED;
}

/* Sets huge and page_bytes from where the descriptor lives. */
static int find_page_size(struct pleat_backend_memory *memory, char *why, size_t why_bytes)
{
    struct statfs system;
    if (fstatfs(memory->fd, &system))
        return refuse(why, why_bytes, PLEAT_E_UNSUPPORTED, "the file system can't be asked: %s",
                      strerror(errno));
    if ((uint64_t)system.f_type == HUGETLBFS_MAGIC) {
        memory->huge = true;
        memory->page_bytes = (uint64_t)system.f_bsize;
    }
    return PLEAT_OK;
}

int pleat_backend_memfd_open(const struct pleat_memory_backend_config *config,
                             struct pleat_backend_memory *memory, char *why, size_t why_bytes)
{
    unsigned flags = MFD_CLOEXEC;
    if (config->huge) {
        flags |= MFD_HUGETLB;
        if (config->huge_bytes) {
            if (config->huge_bytes & (config->huge_bytes - 1))
                return refuse(why, why_bytes, PLEAT_E_INVALID, "hugetlbsize is no power of two");
            /* The same place for the size as in mmap()'s flags. */
            flags |= (unsigned)__builtin_ctzll(config->huge_bytes) << MAP_HUGE_SHIFT;
        }
    }
    memory->fd = memfd_create(config->name ? config->name : "pleat", flags);
    if (memory->fd < 0)
        return config->huge
                   ? refuse(why, why_bytes, PLEAT_E_UNSUPPORTED,
                            "this host has no huge pages of %llu KiB (0: of its default size): %s",
                            (unsigned long long)config->huge_bytes >> 10, strerror(errno))
                   : refuse(why, why_bytes, error_of(errno), "no memfd can be made: %s", strerror(errno));
    const int error = find_page_size(memory, why, why_bytes);
    if (error)
        return error;
    if (ftruncate(memory->fd, (off_t)memory->bytes)) {
        if (memory->huge && memory->bytes & (memory->page_bytes - 1))
            return refuse(why, why_bytes, PLEAT_E_INVALID, "the size is no multiple of the page size");
        return refuse(why, why_bytes, error_of(errno), "the memfd can't be made that large: %s",
                      strerror(errno));
    }
    return PLEAT_OK;
}

/* A file in a folder that goes away with its descriptor; by O_TMPFILE not every file system makes one. */
static int open_nameless(const char *folder)
{
    char path[4096];
    if ((size_t)snprintf(path, sizeof(path), "%s/pleat.XXXXXX", folder) >= sizeof(path)) {
        errno = ENAMETOOLONG;
        return -1;
    }
    const int fd = mkostemp(path, O_CLOEXEC);
    if (fd >= 0)
        unlink(path);
    return fd;
}

int pleat_backend_file_open(const struct pleat_memory_backend_config *config,
                            struct pleat_backend_memory *memory, char *why, size_t why_bytes)
{
    const bool shared = config->share == PLEAT_MEMORY_BACKEND_SHARE_ON;
    struct stat status;

    if (!stat(config->path, &status) && S_ISDIR(status.st_mode))
        memory->fd = open_nameless(config->path);
    else
        memory->fd = open(config->path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (memory->fd < 0)
        return refuse(why, why_bytes, PLEAT_E_NOT_FOUND, "%s can't be opened: %s", config->path,
                      strerror(errno));
    if (fstat(memory->fd, &status) || !S_ISREG(status.st_mode))
        return refuse(why, why_bytes, PLEAT_E_UNSUPPORTED, "%s is no file", config->path);
    if (status.st_size && (uint64_t)status.st_size < memory->bytes)
        return refuse(why, why_bytes, PLEAT_E_INVALID, "%s has %llu bytes, fewer than the %llu of the memory",
                      config->path, (unsigned long long)status.st_size, (unsigned long long)memory->bytes);
    const int error = find_page_size(memory, why, why_bytes);
    if (error)
        return error;
    if (memory->bytes & (memory->page_bytes - 1))
        return refuse(why, why_bytes, PLEAT_E_INVALID, "the size is no multiple of the page size");
    if (!status.st_size && ftruncate(memory->fd, (off_t)memory->bytes))
        return refuse(why, why_bytes, error_of(errno), "%s can't be made that large: %s", config->path,
                      strerror(errno));
    /* Beyond the end there is nothing to lose: can this file system punch holes? */
    const uint64_t size = status.st_size ? (uint64_t)status.st_size : memory->bytes;
    const uint64_t end = (size + memory->page_bytes - 1) & ~(memory->page_bytes - 1);
    if (shared && fallocate(memory->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)end,
                            (off_t)memory->page_bytes))
        return refuse(why, why_bytes, PLEAT_E_UNSUPPORTED, "the file system of %s can't give memory back: %s",
                      config->path, strerror(errno));
    return PLEAT_OK;
}

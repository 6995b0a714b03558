/* SPDX-License-Identifier: MIT
 *
 * Guest-physical memory as a range of addresses of this process, and the cold half of the port over it.
 */
#include "hosted.h"

#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* --- The table of functions ----------------------------------------------------------------------------- */

static void fatal(void *context, const char *line);

/** Whether the frames lie in this guest's memory, and there is at least one. */
static bool holds(const struct pleat_hosted *hosted, uint64_t pfn, uint64_t frames)
{
    return frames && pfn >= hosted->config.first_pfn &&
           pfn - hosted->config.first_pfn < hosted->config.frames &&
           frames <= hosted->config.frames - (pfn - hosted->config.first_pfn);
}

static unsigned char *pointer(const struct pleat_hosted *hosted, uint64_t pfn)
{
    return hosted->memory + ((pfn - hosted->config.first_pfn) << hosted->config.frame_shift);
}

static void set_bits(struct pleat_hosted *hosted, uint64_t pfn, uint64_t frames, bool mapped)
{
    uint64_t index = pfn - hosted->config.first_pfn;
    while (frames) {
        uint64_t first = index % 64;
        uint64_t count = frames < 64 - first ? frames : 64 - first;
        uint64_t bits = (count == 64 ? UINT64_MAX : (UINT64_C(1) << count) - 1) << first;
        if (mapped)
            atomic_fetch_or_explicit(&hosted->mapped[index / 64], bits, memory_order_relaxed);
        else
            atomic_fetch_and_explicit(&hosted->mapped[index / 64], ~bits, memory_order_relaxed);
        index += count;
        frames -= count;
    }
}

static void *frame_pointer(void *context, uint64_t pfn)
{
    struct pleat_hosted *hosted = context;
    char line[128];
    if (!holds(hosted, pfn, 1)) {
        snprintf(line, sizeof(line), "frame_pointer: PFN 0x%llx isn't in the guest's memory",
                 (unsigned long long)pfn);
        fatal(hosted, line);
        return NULL;
    }
    if (!pleat_hosted_is_mapped(hosted, pfn)) {
        snprintf(line, sizeof(line), "frame_pointer: PFN 0x%llx isn't mapped", (unsigned long long)pfn);
        fatal(hosted, line);
    }
    return pointer(hosted, pfn);
}

static int map(void *context, uint64_t pfn, uint64_t frames)
{
    struct pleat_hosted *hosted = context;
    if (!holds(hosted, pfn, frames))
        return PLEAT_E_INVALID;
    if (hosted->config.map) {
        int error = hosted->config.map(hosted->config.context, pfn, frames);
        if (error)
            return error;
    } else if (mprotect(pointer(hosted, pfn), frames << hosted->config.frame_shift, PROT_READ | PROT_WRITE)) {
        return PLEAT_E_NO_MEMORY;
    }
    set_bits(hosted, pfn, frames, true);
    return PLEAT_OK;
}

static void unmap(void *context, uint64_t pfn, uint64_t frames)
{
    struct pleat_hosted *hosted = context;
    char line[128];
    if (!holds(hosted, pfn, frames)) {
        snprintf(line, sizeof(line), "unmap: %llu frames from PFN 0x%llx aren't in the guest's memory",
                 (unsigned long long)frames, (unsigned long long)pfn);
        fatal(hosted, line);
        return;
    }
    set_bits(hosted, pfn, frames, false);
    if (hosted->config.unmap) {
        hosted->config.unmap(hosted->config.context, pfn, frames);
    } else if (mprotect(pointer(hosted, pfn), frames << hosted->config.frame_shift, PROT_NONE)) {
        /* The host can't split one more mapping; a fresh one in its place can't be had either then. */
        snprintf(line, sizeof(line), "the host refused for %llu frames from PFN 0x%llx: %s",
                 (unsigned long long)frames, (unsigned long long)pfn, strerror(errno));
        hosted_stop("unmap", line);
    }
}

static uint64_t clock_ns(void *context)
{
    struct pleat_hosted *hosted = context;
    return hosted->config.clock_ns ? hosted->config.clock_ns(hosted->config.context) : hosted_now_ns();
}

static void log_line(void *context, enum pleat_log_level level, const char *line)
{
    static const char *const names[] = {"error", "warning", "info", "debug"};
    struct pleat_hosted *hosted = context;
    if ((unsigned)level >= hosted->config.log_levels)
        return;
    if (hosted->config.log)
        hosted->config.log(hosted->config.context, level, line);
    else
        fprintf(stderr, "pleat: %s: %s\n", (unsigned)level < 4 ? names[level] : "?", line);
}

static void fatal(void *context, const char *line)
{
    struct pleat_hosted *hosted = context;
    if (hosted->config.fatal == PLEAT_HOSTED_FATAL_STOPS) {
        pleat_hosted_misuse(line);
        return;
    }
    pthread_mutex_lock(&hosted->lock);
    hosted->fatals++;
    snprintf(hosted->last_fatal, sizeof(hosted->last_fatal), "%s", line);
    pthread_mutex_unlock(&hosted->lock);
}

/* --- Making and ending it ------------------------------------------------------------------------------- */

/** Fills in the defaults and says whether the rest can be. */
static bool complete(struct pleat_hosted_config *config)
{
    if (!config->frame_shift)
        config->frame_shift = 12;
    if (!config->log_levels)
        config->log_levels = 2;
    if (config->frame_shift > 30 || UINT64_C(1) << config->frame_shift < (uint64_t)sysconf(_SC_PAGESIZE))
        return false;
    if (!config->frames || config->frames > (UINT64_MAX >> 1) >> config->frame_shift ||
        config->first_pfn > UINT64_MAX - config->frames)
        return false;
    if (config->memory && (uintptr_t)config->memory % (1u << config->frame_shift))
        return false;
    if (config->accessible && config->map)
        return false;
    return !config->map == !config->unmap;
}

/** Reserves addresses aligned to a frame over a memfd of that size. */
static int bring_memory(struct pleat_hosted *hosted)
{
    uint64_t slack = (UINT64_C(1) << hosted->config.frame_shift) - (uint64_t)sysconf(_SC_PAGESIZE);
    int protection = hosted->config.accessible ? PROT_READ | PROT_WRITE : PROT_NONE;

    hosted->memfd = memfd_create("pleat", MFD_CLOEXEC);
    if (hosted->memfd < 0)
        return PLEAT_E_NO_MEMORY;
    if (ftruncate(hosted->memfd, (off_t)hosted->bytes))
        return PLEAT_E_NO_MEMORY;
    unsigned char *room =
        mmap(NULL, hosted->bytes + slack, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (room == MAP_FAILED)
        return PLEAT_E_NO_MEMORY;
    uintptr_t aligned = ((uintptr_t)room + slack) >> hosted->config.frame_shift << hosted->config.frame_shift;
    uint64_t before = aligned - (uintptr_t)room;
    if (before)
        munmap(room, before);
    if (slack - before)
        munmap(room + before + hosted->bytes, slack - before);
    room += before;
    if (mmap(room, hosted->bytes, protection, MAP_SHARED | MAP_FIXED | MAP_NORESERVE, hosted->memfd, 0) ==
        MAP_FAILED) {
        munmap(room, hosted->bytes);
        return PLEAT_E_NO_MEMORY;
    }
    hosted->memory = room;
    return PLEAT_OK;
}

static int make(struct pleat_hosted *hosted)
{
    struct pleat_hosted_config *config = &hosted->config;

    hosted->bytes = config->frames << config->frame_shift;
    if (config->memory) {
        hosted->memory = config->memory;
        if (!config->map && !config->accessible && mprotect(hosted->memory, hosted->bytes, PROT_NONE))
            return PLEAT_E_INVALID;
    } else {
        int error = bring_memory(hosted);
        if (error)
            return error;
    }

    hosted->mapped_bytes = (config->frames + 63) / 64 * 8;
    void *bits = mmap(NULL, hosted->mapped_bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (bits == MAP_FAILED)
        return PLEAT_E_NO_MEMORY;
    hosted->mapped = bits;

    hosted->port = (struct pleat_port){
        .context = hosted,
        .frame_pointer = frame_pointer,
        .map = config->accessible ? NULL : map,
        .unmap = config->accessible ? NULL : unmap,
        .clock_ns = clock_ns,
        .log = log_line,
        .fatal = fatal,
        .fence_cpus = pleat_hosted_fence(),
    };
    return hosted_guard_add(hosted);
}

int pleat_hosted_create(struct pleat_hosted **result, const struct pleat_hosted_config *config)
{
    *result = NULL;
    struct pleat_hosted_config completed = *config;
    if (!complete(&completed))
        return PLEAT_E_INVALID;
    struct pleat_hosted *hosted = calloc(1, sizeof(*hosted));
    if (!hosted)
        return PLEAT_E_NO_MEMORY;
    hosted->config = completed;
    hosted->memfd = -1;
    pthread_mutex_init(&hosted->lock, NULL);

    /* The first backtrace() loads a library, which mustn't happen in a signal handler. */
    void *caller;
    (void)backtrace(&caller, 1);

    int error = make(hosted);
    if (error) {
        pleat_hosted_destroy(hosted);
        return error;
    }
    *result = hosted;
    return PLEAT_OK;
}

void pleat_hosted_destroy(struct pleat_hosted *hosted)
{
    if (!hosted)
        return;
    hosted_guard_remove(hosted);
    if (hosted->mapped)
        munmap((void *)hosted->mapped, hosted->mapped_bytes);
    if (hosted->memory && !hosted->config.memory)
        munmap(hosted->memory, hosted->bytes);
    if (hosted->memfd >= 0)
        close(hosted->memfd);
    pthread_mutex_destroy(&hosted->lock);
    free(hosted);
}

/* --- What there is -------------------------------------------------------------------------------------- */

const struct pleat_port *pleat_hosted_port(struct pleat_hosted *hosted)
{
    return &hosted->port;
}

void *pleat_hosted_pointer(struct pleat_hosted *hosted, uint64_t pfn)
{
    return holds(hosted, pfn, 1) ? pointer(hosted, pfn) : NULL;
}

bool pleat_hosted_is_mapped(struct pleat_hosted *hosted, uint64_t pfn)
{
    return holds(hosted, pfn, 1) &&
           (hosted->config.accessible || hosted_bit(hosted, pfn - hosted->config.first_pfn));
}

int pleat_hosted_discard(struct pleat_hosted *hosted, uint64_t pfn, uint64_t frames)
{
    if (!holds(hosted, pfn, frames))
        return PLEAT_E_INVALID;
    unsigned shift = hosted->config.frame_shift;
    if (hosted->memfd < 0 ||
        fallocate(hosted->memfd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                  (off_t)((pfn - hosted->config.first_pfn) << shift), (off_t)(frames << shift)))
        return PLEAT_E_UNSUPPORTED;
    return PLEAT_OK;
}

unsigned pleat_hosted_fatals(struct pleat_hosted *hosted)
{
    pthread_mutex_lock(&hosted->lock);
    unsigned fatals = hosted->fatals;
    pthread_mutex_unlock(&hosted->lock);
    return fatals;
}

const char *pleat_hosted_last_fatal(struct pleat_hosted *hosted)
{
    return hosted->last_fatal;
}

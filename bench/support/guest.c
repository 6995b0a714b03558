/* SPDX-License-Identifier: MIT
 *
 * A guest for benchmarks. See guest.h.
 */
#include "guest.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <pleat/hosted.h>

static void *frame_pointer(void *context, uint64_t pfn)
{
    struct guest *guest = context;

    return guest->memory + pfn * 4096;
}

static int isolate(void *context, uint64_t pfn, unsigned order, uint64_t cookie)
{
    (void)context;
    (void)pfn;
    (void)order;
    (void)cookie;
    return PLEAT_OK;
}

static int migrate(void *context, uint64_t from, uint64_t to, unsigned order, uint64_t cookie)
{
    struct guest *guest = context;

    if (!guest->no_content)
        memcpy(frame_pointer(guest, to), frame_pointer(guest, from), (size_t)4096 << order);
    guest->where[cookie] = to;
    return PLEAT_OK;
}

static void putback(void *context, uint64_t pfn, unsigned order, uint64_t cookie)
{
    (void)context;
    (void)pfn;
    (void)order;
    (void)cookie;
}

static const struct pleat_owner_ops mover = {.isolate = isolate, .migrate = migrate, .putback = putback};

_Noreturn void guest_failed(const char *what, int error)
{
    fprintf(stderr, "%s: %s\n", what, pleat_error_text(error));
    exit(1);
}

void guest_init(struct guest *guest, uint64_t boot_frames, uint64_t frames)
{
    struct pleat_boot_span span = {.start_pfn = 0, .frames = boot_frames};
    struct pleat_config config = {
        .cpus = 2, .highest_pfn = frames, .watermark_frames = 1, .port = &guest->port};
    int error;

    *guest = (struct guest){.frames = frames,
                            .port = {.frame_pointer = frame_pointer, .fence_cpus = pleat_hosted_fence()}};
    guest->port.context = guest;
    guest->memory = mmap(NULL, frames * 4096 + (128 << 20), PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (guest->memory == MAP_FAILED)
        guest_failed("no address space for the guest's memory", PLEAT_E_NO_MEMORY);
    madvise(guest->memory, frames * 4096, MADV_NOHUGEPAGE);
    error = pleat_init(&guest->pleat, &config, &span, 1);
    if (error)
        guest_failed("init", error);
    error = pleat_owner_register(&guest->pleat, "bench", &mover, guest);
    if (error < 0)
        guest_failed("owner", error);
    guest->owner = (unsigned)error;
}

void guest_end(struct guest *guest)
{
    munmap(guest->memory, guest->frames * 4096 + (128 << 20));
}

struct pleat_range_config guest_range(struct guest *guest, uint64_t start_pfn, uint64_t frames)
{
    return (struct pleat_range_config){.name = "bench",
                                       .owner = guest,
                                       .start_pfn = start_pfn,
                                       .frames = frames,
                                       .flags = PLEAT_ADD_FORCE_ONLINE,
                                       .force_zone = PLEAT_ZONE_MOVABLE};
}

int guest_take(struct guest *guest, uint64_t start_pfn, uint64_t frames)
{
    struct pleat_take_config config = {
        .start_pfn = start_pfn, .frames = frames, .goal = PLEAT_TAKE_TO_OFFLINE};
    struct pleat_take take;
    int result = pleat_take_begin(&guest->pleat, &take, &config);

    if (!result) {
        do
            result = pleat_take_step(&guest->pleat, &take, 1 << 20);
        while (result == PLEAT_MORE);
    }
    if (!result)
        result = pleat_remove(&guest->pleat, guest, start_pfn, frames);
    return result;
}

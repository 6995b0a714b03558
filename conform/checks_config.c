/* SPDX-License-Identifier: MIT
 *
 * The config space: what is in it, what may change in it and when, and when the device interrupts for it.
 * What holds all the time is watched from the first look to the last; its checks come at the end of the run.
 */
#include "session.h"

#define MS UINT64_C(1000000)

static bool can_ask(struct conform *conform)
{
    if (!conform->environment->ask_requested) {
        conform_skip(conform, "there is no host to ask for another requested_size");
        return false;
    }
    return true;
}

/* Asks and fails the check if the size doesn't come. */
static bool ask(struct conform *conform, uint64_t bytes)
{
    if (!conform_request_bytes(conform, bytes)) {
        conform_fail(conform, "the host was asked for a requested_size of 0x%lx; it is 0x%lx still", bytes,
                     conform->config.requested_bytes);
        return false;
    }
    return true;
}

static void requested_follows_the_host(struct conform *conform)
{
    const uint64_t block = conform->first.block_bytes;
    if (!can_ask(conform) || !conform_begin(conform)) {
        return;
    }
    const uint64_t sizes[] = {block, 3 * block, 0, 8 * block};
    for (unsigned i = 0; i < 4; i++) {
        if (!ask(conform, sizes[i])) {
            return;
        }
    }
}

static void usable_covers_what_is_requested(struct conform *conform)
{
    const uint64_t block = conform->first.block_bytes;
    const uint64_t region = conform->first.region_bytes;
    if (!can_ask(conform) || !conform_begin(conform)) {
        return;
    }
    const uint64_t sizes[] = {0, block, region / 2 / block * block, region - block, region, 0, 8 * block};
    for (unsigned i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
        if (!ask(conform, sizes[i])) {
            return;
        }
        if (conform->config.usable_bytes < conform->config.requested_bytes) {
            conform_fail(conform, "with requested_size 0x%lx, usable_region_size is 0x%lx",
                         conform->config.requested_bytes, conform->config.usable_bytes);
        }
        if (conform->config.usable_bytes > region) {
            conform_fail(conform, "usable_region_size is 0x%lx, region_size 0x%lx",
                         conform->config.usable_bytes, region);
        }
    }
}

static void block_size_is_a_power_of_two(struct conform *conform)
{
    const uint64_t block = conform->first.block_bytes;
    if (block == 0 || (block & (block - 1))) {
        conform_fail(conform, "block_size is 0x%lx, expected a power of two", block);
    } else {
        conform_note(conform, "block_size is 0x%lx", block);
    }
}

static void region_is_not_negative(struct conform *conform)
{
    const uint64_t end = conform->first.address + conform->first.region_bytes;
    if (conform->first.region_bytes >> 63) {
        conform_fail(conform, "region_size is 0x%lx, negative as a signed number",
                     conform->first.region_bytes);
    }
    if (end < conform->first.address && end != 0) {
        conform_fail(conform, "addr 0x%lx and region_size 0x%lx go round the end of the address space",
                     conform->first.address, conform->first.region_bytes);
    }
    conform_note(conform, "addr 0x%lx, region_size 0x%lx", conform->first.address,
                 conform->first.region_bytes);
}

static void usable_stays_when_less_is_requested(struct conform *conform)
{
    const uint64_t block = conform->first.block_bytes;
    if (!can_ask(conform) || !conform_begin(conform) || !ask(conform, conform->first.region_bytes) ||
        !conform_expect_block(conform, PLEAT_VIRTIO_MEM_REQ_PLUG, 0, 2, PLEAT_VIRTIO_MEM_RESP_ACK,
                              "two blocks")) {
        return;
    }
    const uint64_t usable = conform->config.usable_bytes;
    static const char *const when[] = {"requested_size became one block", "requested_size became 0",
                                       "an UNPLUG", "a device reset"};
    for (unsigned i = 0; i < 4; i++) {
        if (i < 2 && !ask(conform, i == 0 ? block : 0)) {
            return;
        }
        if (i == 2 && !conform_expect_block(conform, PLEAT_VIRTIO_MEM_REQ_UNPLUG, 0, 1,
                                            PLEAT_VIRTIO_MEM_RESP_ACK, "one of two blocks")) {
            return;
        }
        if (i == 3 && conform_bring_up_again(conform)) {
            conform_fail(conform, "the device doesn't come up after a device reset");
            return;
        }
        conform_look(conform);
        if (conform->config.usable_bytes < usable) {
            conform_fail(conform, "after %s, usable_region_size went from 0x%lx to 0x%lx", when[i], usable,
                         conform->config.usable_bytes);
            return;
        }
    }
}

/* Waits for a config interrupt. */
static bool config_interrupt(struct conform *conform, uint64_t ns)
{
    const struct conform_environment *environment = conform->environment;
    const uint64_t end_ns = conform_now_ns(conform) + ns;
    do {
        if (environment->interrupts(environment->context) & PLEAT_VIRTIO_INTERRUPT_CONFIG) {
            return true;
        }
        conform_pause_ns(conform, MS);
    } while (conform_now_ns(conform) < end_ns);
    return false;
}

static bool sees_interrupts(struct conform *conform)
{
    if (!conform->environment->interrupts) {
        conform_skip(conform, "interrupts can't be seen here");
        return false;
    }
    return true;
}

static void changes_interrupt(struct conform *conform)
{
    const uint64_t block = conform->first.block_bytes;
    if (!sees_interrupts(conform) || !can_ask(conform) || !conform_begin(conform)) {
        return;
    }
    const uint64_t sizes[] = {4 * block, conform->first.region_bytes, 0, 8 * block};
    for (unsigned i = 0; i < 4; i++) {
        const struct conform_config before = conform->config;
        conform_pause_ns(conform, 20 * MS);
        (void)conform->environment->interrupts(conform->environment->context);
        if (!ask(conform, sizes[i])) {
            return;
        }
        if (!config_interrupt(conform, 1000 * MS)) {
            conform_fail(
                conform,
                "requested_size went from 0x%lx to 0x%lx, usable_region_size from 0x%lx to 0x%lx; no "
                "configuration change interrupt came in 1 s",
                before.requested_bytes, conform->config.requested_bytes, before.usable_bytes,
                conform->config.usable_bytes);
        }
    }
}

static void plugging_does_not_interrupt(struct conform *conform)
{
    if (!sees_interrupts(conform) || !conform_begin(conform)) {
        return;
    }
    static const unsigned types[] = {PLEAT_VIRTIO_MEM_REQ_PLUG, PLEAT_VIRTIO_MEM_REQ_UNPLUG,
                                     PLEAT_VIRTIO_MEM_REQ_PLUG};
    /* The interrupt for a size that was requested before may be on its way still. */
    conform_pause_ns(conform, 200 * MS);
    for (unsigned i = 0; i < (conform->refuses_unrequested ? 1 : 3); i++) {
        conform_pause_ns(conform, 20 * MS);
        (void)conform->environment->interrupts(conform->environment->context);
        if (!conform_expect_block(conform, types[i], 0, 2, PLEAT_VIRTIO_MEM_RESP_ACK, "two blocks")) {
            return;
        }
        if (config_interrupt(conform, 50 * MS)) {
            conform_fail(conform,
                         "a configuration change interrupt came after a %s that changed plugged_size "
                         "and nothing else",
                         conform_request_name(types[i]));
        }
    }
}

static void watched(struct conform *conform, enum conform_watch watch)
{
    if (conform->watched[watch][0]) {
        conform_fail(conform, "%s", conform->watched[watch]);
    } else {
        conform_note(conform, "in %lu looks", conform->looks);
    }
}

static void watched_fixed(struct conform *conform)
{
    watched(conform, CONFORM_WATCH_FIXED);
}

static void watched_sum(struct conform *conform)
{
    if (!conform->ever_plugged) {
        conform_skip(conform, "nothing could be plugged in this run");
        return;
    }
    watched(conform, CONFORM_WATCH_SUM);
}

static void watched_usable(struct conform *conform)
{
    watched(conform, CONFORM_WATCH_USABLE);
}

static void watched_multiples(struct conform *conform)
{
    watched(conform, CONFORM_WATCH_MULTIPLES);
}

static void watched_shrink(struct conform *conform)
{
    watched(conform, CONFORM_WATCH_SHRINK);
}

static void usable_after_unplug_all(struct conform *conform)
{
    const uint64_t block = conform->first.block_bytes;
    if (!conform_begin_empty(conform)) {
        return;
    }
    /* With what is requested now; then, where there is a host, with more, with all, with little. */
    const uint64_t sizes[] = {conform->config.requested_bytes, 100 * block, conform->first.region_bytes,
                              block};
    for (unsigned i = 0; i < (conform->environment->ask_requested ? 4 : 1); i++) {
        if (sizes[i] > conform->first.region_bytes) {
            continue;
        }
        if (!ask(conform, sizes[i])) {
            return;
        }
        /* With something to unplug, as long as it can be plugged. */
        if (conform->config.requested_bytes && conform->config.usable_bytes &&
            !conform_expect_block(conform, PLEAT_VIRTIO_MEM_REQ_PLUG, 0, 1, PLEAT_VIRTIO_MEM_RESP_ACK,
                                  "a block")) {
            return;
        }
        if (!conform_expect(conform, PLEAT_VIRTIO_MEM_REQ_UNPLUG_ALL, 0, 0, PLEAT_VIRTIO_MEM_RESP_ACK,
                            "all blocks")) {
            return;
        }
        if (conform->config.usable_bytes < conform->config.requested_bytes) {
            conform_fail(conform, "after UNPLUG_ALL, usable_region_size is 0x%lx, requested_size 0x%lx",
                         conform->config.usable_bytes, conform->config.requested_bytes);
        }
    }
}

#define SECTION "5.15.4, device requirements"

const struct conform_check conform_checks_of_config[] = {
    {"D-CFG5", "block_size is a power of two", SECTION, false, block_size_is_a_power_of_two},
    {"D-CFG7", "region_size isn't negative", SECTION, false, region_is_not_negative},
    {"D-CFG1", "requested_size follows the host", SECTION, false, requested_follows_the_host},
    {"D-CFG4", "usable_region_size covers whatever the host requests", SECTION, false,
     usable_covers_what_is_requested},
    {"D-CFG8", "usable_region_size doesn't shrink when less is requested, at an UNPLUG, at a device reset",
     SECTION, false, usable_stays_when_less_is_requested},
    {"D-CFG9", "a changed requested_size or usable_region_size interrupts", SECTION, false,
     changes_interrupt},
    {"D-CFG10", "a changed plugged_size doesn't interrupt", SECTION, true, plugging_does_not_interrupt},
    {"X11", "usable_region_size covers requested_size after UNPLUG_ALL too", SECTION, false,
     usable_after_unplug_all},
    {NULL, NULL, NULL, false, NULL}};

/* After everything else. */
const struct conform_check conform_checks_watched[] = {
    {"D-CFG2", "block_size, node_id, addr and region_size never changed", SECTION, false, watched_fixed},
    {"D-CFG3", "plugged_size was always the sum of the plugged blocks", SECTION, false, watched_sum},
    {"D-CFG4", "usable_region_size was never less than requested_size", SECTION, false, watched_usable},
    {"D-CFG6", "all sizes and addr were always multiples of block_size", SECTION, false, watched_multiples},
    {"D-CFG8", "usable_region_size never shrank but for an UNPLUG_ALL", SECTION, false, watched_shrink},
    {NULL, NULL, NULL, false, NULL}};

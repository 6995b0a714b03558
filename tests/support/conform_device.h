/* SPDX-License-Identifier: MIT
 *
 * Pleat's own device with real memory behind it, as the environment of the conformance checks; and the same
 * device with one fault built in round it, of those that devices have. The clock is virtual: waiting costs
 * nothing.
 *
 *     SHARED_ADDRESS   memory that the device reads and writes
 *     REGION_ADDRESS   the device's region, 512 blocks of 2 MiB; inaccessible to the guest where unplugged
 */
#ifndef PLEAT_TESTS_CONFORM_DEVICE_H
#define PLEAT_TESTS_CONFORM_DEVICE_H

#include <pleat/backend.h>
#include <pleat/virtio_mem_device.h>
#include <pleat/virtio_mem_feeder.h>

#include "conform/conform.h"

enum conform_fault {
    FAULT_NONE = 0,
    /* Of the config space, as the driver reads it. */
    FAULT_BLOCK_SIZE_IS_ODD,
    FAULT_REGION_IS_NEGATIVE,
    FAULT_REQUESTED_STAYS,
    FAULT_USABLE_IS_SMALL,
    FAULT_USABLE_IS_NO_MULTIPLE,
    FAULT_USABLE_FOLLOWS_DOWN,
    FAULT_USABLE_IS_NONE_AFTER_UNPLUG_ALL,
    FAULT_NODE_CHANGES,
    FAULT_PLUGGED_IS_LATE,
    FAULT_NO_CONFIG_INTERRUPT,
    FAULT_PLUG_INTERRUPTS,
    /* Of the start. */
    FAULT_REFUSES_AFTER_READER,
    FAULT_RESET_UNPLUGS,
    FAULT_RESET_CLEARS,
    /* Of requests. */
    FAULT_LOOKS_AT_PADDING,
    FAULT_WANTS_ONE_BUFFER,
    FAULT_RANGE_IS_NACK,
    FAULT_RANGE_WRAPS,
    FAULT_PLUGS_PLUGGED,
    FAULT_UNPLUGS_UNPLUGGED,
    FAULT_STATE_OF_ANYTHING,
    FAULT_PLUGS_THE_FIRST,
    FAULT_UNPLUGS_NOTHING,
    FAULT_UNPLUG_ALL_LEAVES_ONE,
    FAULT_UNPLUG_ALL_KEEPS_SIZE,
    FAULT_STATE_OF_THE_FIRST,
    FAULT_OVER_QUOTA_IS_ERROR,
    FAULT_NO_QUOTA,
    FAULT_QUOTA_BEFORE_STATE, /* QEMU's order */
    FAULT_UNPLUG_BELOW_IS_ERROR,
    FAULT_UNPLUG_ALL_BELOW_IS_NACK,
    /* Of memory. */
    FAULT_NO_DMA_TO_PLUGGED,
    FAULT_PLUG_CLEARS_A_NEIGHBOUR,
    FAULT_PLUGS_ONCE,
    FAULT_UNPLUGGED_FAULTS,
    FAULT_SYSTEM_RESET_KEEPS,
    /* Of the queue. */
    FAULT_UNKNOWN_TYPE_BREAKS, /* QEMU's way */
    FAULT_SHORT_REQUEST_IS_KEPT,
    FAULT_SHORT_RESPONSE_BREAKS,
    FAULT_USED_IS_ALL,
    FAULT_WRITES_MORE,
    FAULT_NACK_HAS_NO_LENGTH,
    FAULTS
};

/* What a test wants of the device and of the environment. */
struct conform_shape {
    enum conform_fault fault;
    uint64_t ring;      /* ring features that the checks accept */
    uint32_t flags;     /* of the device */
    bool no_host;       /* nobody changes the requested size, which is `requested_blocks`, or resets */
    bool no_touch;      /* memory can't be touched */
    bool no_interrupts; /* interrupts can't be seen */
    uint64_t requested_blocks;
};

/* Takes each result; the texts are good during the call. */
typedef void conform_device_result_fn(void *context, const struct conform_result *result);

/* Makes the device, runs all checks, ends it. The value is that of conform_run(). After a run without fault
 * it asserts that the device was left as it was found. */
int conform_device_run(const struct conform_shape *shape, conform_device_result_fn *result, void *context,
                       struct conform_counts *counts);

#endif

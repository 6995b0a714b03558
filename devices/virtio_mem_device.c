/* SPDX-License-Identifier: MIT
 *
 * The virtio-mem device: books, requests and resets.
 *
 * The books are a bit for each block and three sums. Whatever changes them first gets the host's memory to
 * where the books will say that it is, and only then writes. Plugging is one call of map(), which is all or
 * nothing. Unplugging has two phases, because only the first can be undone:
 *
 *   conceal  unmap() each run of blocks; their content stays. When one fails, those that were concealed are
 *            mapped again and nothing has changed.
 *   discard  give each run's memory to the host. As long as none has been given, a failure is undone in the
 *            same way. After the first there is no way back, and a failure costs host memory, no more: the
 *            run is unplugged and its bytes are counted as undiscarded.
 *
 * Sums of what the guest says are never formed before they are known to fit: sizes are compared as blocks
 * that remain, by subtraction and division.
 */
#include <stdalign.h>
#include <string.h>

#include "devices/block_bits.h"
#include "devices/virtio_mem_device.h"

/* The feature bits that are the device's own, not the transport's (VIRTIO 2.2). */
#define DEVICE_FEATURE_MASK ((UINT64_C(1) << 24) - 1)

#define FEATURE(name) (UINT64_C(1) << PLEAT_VIRTIO_MEM_F_##name)

enum {
    ALL_FLAGS = PLEAT_VIRTIO_MEM_DEVICE_NODE | PLEAT_VIRTIO_MEM_DEVICE_PERSISTENT_SUSPEND |
                PLEAT_VIRTIO_MEM_DEVICE_SERVE_READERS | PLEAT_VIRTIO_MEM_DEVICE_HIDE_INACCESSIBLE |
                PLEAT_VIRTIO_MEM_DEVICE_REFUSE_UNREQUESTED | PLEAT_VIRTIO_MEM_DEVICE_USABLE_EXACT
};

/* ---- Create ------------------------------------------------------------------------------------- */

/* Copies the config with its defaults filled in; INVALID if it can't be served. */
static int complete_config(const struct pleat_virtio_mem_device_config *from,
                           struct pleat_virtio_mem_device_config *config)
{
    *config = *from;
    if (!config->block_bytes)
        config->block_bytes = PLEAT_VIRTIO_MEM_DEVICE_DEFAULT_BLOCK_BYTES;
    if (!config->usable_extra_bytes)
        config->usable_extra_bytes = PLEAT_VIRTIO_MEM_DEVICE_DEFAULT_USABLE_EXTRA_BYTES;
    if (config->flags & PLEAT_VIRTIO_MEM_DEVICE_USABLE_EXACT)
        config->usable_extra_bytes = 0;

    const uint64_t block = config->block_bytes;
    if (block < PLEAT_VIRTIO_MEM_DEVICE_MIN_BLOCK_BYTES || (block & (block - 1)))
        return PLEAT_E_INVALID;
    if ((config->address | config->region_bytes | config->requested_bytes) & (block - 1))
        return PLEAT_E_INVALID;
    if (!config->region_bytes || config->region_bytes > UINT64_MAX - config->address)
        return PLEAT_E_INVALID;
    if (config->requested_bytes > config->region_bytes)
        return PLEAT_E_INVALID;
    if (config->flags & ~(uint32_t)ALL_FLAGS)
        return PLEAT_E_INVALID;
    if ((config->flags & PLEAT_VIRTIO_MEM_DEVICE_HIDE_INACCESSIBLE) &&
        !(config->flags & PLEAT_VIRTIO_MEM_DEVICE_SERVE_READERS))
        return PLEAT_E_INVALID;
    return PLEAT_OK;
}

static size_t storage_bytes(const struct pleat_virtio_mem_device_config *config)
{
    const uint64_t words = pleat_block_bits_words(config->region_bytes / config->block_bytes);
    if (words > (SIZE_MAX - sizeof(struct pleat_virtio_mem_device)) / sizeof(uint64_t))
        return 0;
    return sizeof(struct pleat_virtio_mem_device) + (size_t)words * sizeof(uint64_t);
}

size_t pleat_virtio_mem_device_storage_bytes(const struct pleat_virtio_mem_device_config *config)
{
    struct pleat_virtio_mem_device_config complete;
    return complete_config(config, &complete) ? 0 : storage_bytes(&complete);
}

uint64_t pleat_virtio_mem_device_usable_rule(const struct pleat_virtio_mem_device_config *config,
                                             uint64_t requested_bytes)
{
    if (config->usable_extra_bytes >= config->region_bytes - requested_bytes)
        return config->region_bytes;
    const uint64_t block = config->block_bytes;
    return (requested_bytes + config->usable_extra_bytes + (block - 1)) & ~(block - 1);
}

int pleat_virtio_mem_device_create(const struct pleat_virtio_mem_device_config *config,
                                   const struct pleat_virtio_mem_device_ops *ops, void *context,
                                   void *storage, size_t bytes, struct pleat_virtio_mem_device **device)
{
    struct pleat_virtio_mem_device_config complete;
    const int error = complete_config(config, &complete);
    if (error)
        return error;
    const size_t needed = storage_bytes(&complete);
    if (!needed || !storage || (uintptr_t)storage % alignof(struct pleat_virtio_mem_device))
        return PLEAT_E_INVALID;
    /* What takes memory away needs what brings it back. */
    if ((ops->unmap || ops->map_zeroes) && !ops->map)
        return PLEAT_E_INVALID;
    if (bytes < needed)
        return PLEAT_E_NO_MEMORY;

    struct pleat_virtio_mem_device *created = storage;
    memset(created, 0, needed);
    created->config = complete;
    created->ops = ops;
    created->context = context;
    created->block_count = complete.region_bytes / complete.block_bytes;
    created->requested_bytes = complete.requested_bytes;
    created->usable_bytes = pleat_virtio_mem_device_usable_rule(&complete, complete.requested_bytes);
    PLEAT_VIRTIO_MEM_DEVICE_CHECK(created);
    *device = created;
    return PLEAT_OK;
}

void pleat_virtio_mem_device_destroy(struct pleat_virtio_mem_device *device)
{
    /* So that a use after the end meets NULL functions, not memory that is somebody else's by now. */
    if (device)
        memset(device, 0, sizeof(*device));
}

/* ---- The host's memory, counted --------------------------------------------------------------------- */

typedef int memory_fn(void *context, uint64_t offset, uint64_t bytes);

static int call(struct pleat_virtio_mem_device *device, memory_fn *function, uint64_t first, uint64_t end,
                uint64_t *failures)
{
    if (!function)
        return PLEAT_OK;
    const uint64_t block = device->config.block_bytes;
    const int error = function(device->context, first * block, (end - first) * block);
    if (error)
        ++*failures;
    return error;
}

int pleat_virtio_mem_device_map(struct pleat_virtio_mem_device *device, uint64_t first, uint64_t end)
{
    return call(device, device->ops->map, first, end, &device->statistics.map_failures);
}

/* Takes blocks from the guest, in the way that suits its driver. */
static int conceal(struct pleat_virtio_mem_device *device, uint64_t first, uint64_t end)
{
    return call(device, device->serves_reader ? device->ops->map_zeroes : device->ops->unmap, first, end,
                &device->statistics.unmap_failures);
}

static int discard(struct pleat_virtio_mem_device *device, uint64_t first, uint64_t end)
{
    return call(device, device->ops->discard, first, end, &device->statistics.discard_failures);
}

void pleat_virtio_mem_device_undo_map(struct pleat_virtio_mem_device *device, uint64_t first, uint64_t end)
{
    if (!call(device, device->ops->unmap, first, end, &device->statistics.unmap_failures))
        discard(device, first, end);
}

int pleat_virtio_mem_device_add_zeroes(struct pleat_virtio_mem_device *device, uint64_t from_bytes,
                                       uint64_t to_bytes)
{
    const uint64_t begin = pleat_virtio_mem_device_blocks(device, from_bytes);
    const uint64_t end = pleat_virtio_mem_device_blocks(device, to_bytes);
    uint64_t run_end;

    for (uint64_t run = begin; pleat_block_bits_run(device->plugged, &run, end, false, &run_end);
         run = run_end) {
        const int error =
            call(device, device->ops->map_zeroes, run, run_end, &device->statistics.map_failures);
        if (error) {
            const uint64_t failed = run;
            for (run = begin; pleat_block_bits_run(device->plugged, &run, failed, false, &run_end);
                 run = run_end) {
                /* Zeroes that stay give the guest nothing; zeroes_bytes remembers to try again. */
                if (call(device, device->ops->unmap, run, run_end, &device->statistics.unmap_failures) &&
                    device->zeroes_bytes < run_end * device->config.block_bytes)
                    device->zeroes_bytes = run_end * device->config.block_bytes;
            }
            return error;
        }
    }
    if (device->zeroes_bytes < to_bytes)
        device->zeroes_bytes = to_bytes;
    return PLEAT_OK;
}

int pleat_virtio_mem_device_end_zeroes(struct pleat_virtio_mem_device *device, uint64_t from_bytes)
{
    const uint64_t end = pleat_virtio_mem_device_blocks(device, device->zeroes_bytes);
    uint64_t run_end;

    for (uint64_t run = pleat_virtio_mem_device_blocks(device, from_bytes);
         pleat_block_bits_run(device->plugged, &run, end, false, &run_end); run = run_end) {
        const int error = call(device, device->ops->unmap, run, run_end, &device->statistics.unmap_failures);
        if (error)
            return error;
    }
    if (device->zeroes_bytes > from_bytes)
        device->zeroes_bytes = from_bytes;
    return PLEAT_OK;
}

void pleat_virtio_mem_device_tell(struct pleat_virtio_mem_device *device, uint64_t before)
{
    if (device->plugged_bytes != before && device->ops->plugged_changed)
        device->ops->plugged_changed(device->context, device->plugged_bytes);
}

/* ---- Plug and unplug -------------------------------------------------------------------------------- */

static void commit(struct pleat_virtio_mem_device *device, uint64_t first, uint64_t end, bool plugged)
{
    const uint64_t bytes = (end - first) * device->config.block_bytes;
    pleat_block_bits_fill(device->plugged, first, end, plugged);
    device->plugged_bytes = plugged ? device->plugged_bytes + bytes : device->plugged_bytes - bytes;
}

/*
 * Maps the runs of plugged blocks in [begin, end) again after conceal(). What can't be mapped is
 * inaccessible, so it is unplugged: the books say what is. BUSY if any block is plugged still.
 */
static int reveal(struct pleat_virtio_mem_device *device, uint64_t begin, uint64_t end)
{
    const bool concealed = device->serves_reader ? device->ops->map_zeroes : device->ops->unmap;
    int result = PLEAT_OK;
    uint64_t run_end;

    for (uint64_t run = begin; pleat_block_bits_run(device->plugged, &run, end, true, &run_end);
         run = run_end) {
        if (!concealed || !pleat_virtio_mem_device_map(device, run, run_end)) {
            result = PLEAT_E_BUSY;
            continue;
        }
        commit(device, run, run_end, false);
        if (discard(device, run, run_end))
            device->statistics.undiscarded_bytes += (run_end - run) * device->config.block_bytes;
    }
    return result;
}

/* Unplugs all plugged blocks of [begin, end), or none; see the head of this file. 0 or BUSY. */
static int unplug(struct pleat_virtio_mem_device *device, uint64_t begin, uint64_t end)
{
    bool given = false;
    uint64_t run_end;

    for (uint64_t run = begin; pleat_block_bits_run(device->plugged, &run, end, true, &run_end);
         run = run_end)
        if (conceal(device, run, run_end)) {
            reveal(device, begin, run);
            return PLEAT_E_BUSY;
        }

    for (uint64_t run = begin; pleat_block_bits_run(device->plugged, &run, end, true, &run_end);
         run = run_end) {
        if (!discard(device, run, run_end))
            given = true;
        else if (!given)
            return reveal(device, begin, end);
        else
            device->statistics.undiscarded_bytes += (run_end - run) * device->config.block_bytes;
        commit(device, run, run_end, false);
    }
    return PLEAT_OK;
}

/* ---- Requests ----------------------------------------------------------------------------------------- */

/* What a request says, once its range is known to be good. */
struct range {
    uint64_t first;
    uint64_t end;
    uint64_t bytes;
};

/* D-PLUG3, D-UNPLUG3, D-STATE3: aligned, at least one block, all in the usable region. */
static bool range_of(const struct pleat_virtio_mem_device *device,
                     const struct pleat_virtio_mem_request *request, struct range *range)
{
    const uint64_t block = device->config.block_bytes;
    const uint64_t address = pleat_le64_get(request->address);
    const uint64_t count = pleat_le16_get(request->block_count);

    if (address & (block - 1) || !count || address < device->config.address)
        return false;
    const uint64_t offset = address - device->config.address;
    if (offset >= device->usable_bytes || count > (device->usable_bytes - offset) / block)
        return false;
    range->first = offset / block;
    range->end = range->first + count;
    range->bytes = count * block;
    return true;
}

static bool all_are(const struct pleat_virtio_mem_device *device, const struct range *range, bool plugged)
{
    return pleat_block_bits_find(device->plugged, range->first, range->end, !plugged) == range->end;
}

static int plug_request(struct pleat_virtio_mem_device *device,
                        const struct pleat_virtio_mem_request *request, uint64_t *blocks)
{
    struct range range;
    if (!range_of(device, request, &range) || !all_are(device, &range, false))
        return PLEAT_VIRTIO_MEM_RESP_ERROR;
    if (device->plugged_bytes > device->requested_bytes ||
        range.bytes > device->requested_bytes - device->plugged_bytes)
        return PLEAT_VIRTIO_MEM_RESP_NACK;
    if (pleat_virtio_mem_device_map(device, range.first, range.end))
        return PLEAT_VIRTIO_MEM_RESP_BUSY;
    commit(device, range.first, range.end, true);
    *blocks = range.end - range.first;
    return PLEAT_VIRTIO_MEM_RESP_ACK;
}

static int unplug_request(struct pleat_virtio_mem_device *device,
                          const struct pleat_virtio_mem_request *request, uint64_t *blocks)
{
    struct range range;
    if (!range_of(device, request, &range) || !all_are(device, &range, true))
        return PLEAT_VIRTIO_MEM_RESP_ERROR;
    if ((device->config.flags & PLEAT_VIRTIO_MEM_DEVICE_REFUSE_UNREQUESTED) &&
        device->plugged_bytes - range.bytes < device->requested_bytes)
        return PLEAT_VIRTIO_MEM_RESP_NACK;
    if (unplug(device, range.first, range.end))
        return PLEAT_VIRTIO_MEM_RESP_BUSY;
    *blocks = range.end - range.first;
    return PLEAT_VIRTIO_MEM_RESP_ACK;
}

static int unplug_all_request(struct pleat_virtio_mem_device *device, uint64_t *blocks)
{
    const uint64_t before = pleat_virtio_mem_device_blocks(device, device->plugged_bytes);
    if (unplug(device, 0, device->block_count))
        return PLEAT_VIRTIO_MEM_RESP_BUSY;
    device->usable_bytes = pleat_virtio_mem_device_usable_rule(&device->config, device->requested_bytes);
    /* Zeroes beyond the usable region are owed to nobody; when they can't be unmapped now, they stay. */
    if (device->zeroes_bytes > device->usable_bytes)
        (void)pleat_virtio_mem_device_end_zeroes(device, device->usable_bytes);
    *blocks = before;
    return PLEAT_VIRTIO_MEM_RESP_ACK;
}

static int state_request(const struct pleat_virtio_mem_device *device,
                         const struct pleat_virtio_mem_request *request, uint64_t *blocks, uint16_t *state)
{
    struct range range;
    if (!range_of(device, request, &range))
        return PLEAT_VIRTIO_MEM_RESP_ERROR;
    *state = all_are(device, &range, true)    ? PLEAT_VIRTIO_MEM_STATE_PLUGGED
             : all_are(device, &range, false) ? PLEAT_VIRTIO_MEM_STATE_UNPLUGGED
                                              : PLEAT_VIRTIO_MEM_STATE_MIXED;
    *blocks = range.end - range.first;
    return PLEAT_VIRTIO_MEM_RESP_ACK;
}

static uint64_t now_ns(const struct pleat_virtio_mem_device *device)
{
    return device->ops->clock_ns ? device->ops->clock_ns(device->context) : 0;
}

static void count(struct pleat_virtio_mem_device_counter *counter, int answer, uint64_t blocks, uint64_t ns)
{
    const bool first =
        !(counter->answers[0] | counter->answers[1] | counter->answers[2] | counter->answers[3]);
    counter->answers[answer]++;
    counter->blocks += blocks;
    counter->ns_total += ns;
    if (first || ns < counter->ns_min)
        counter->ns_min = ns;
    if (ns > counter->ns_max)
        counter->ns_max = ns;
}

int pleat_virtio_mem_device_handle(struct pleat_virtio_mem_device *device, const void *bytes,
                                   size_t request_bytes, uint8_t to[PLEAT_VIRTIO_MEM_RESPONSE_BYTES])
{
    const uint64_t begin_ns = now_ns(device);
    const uint64_t plugged_before = device->plugged_bytes;
    enum pleat_virtio_mem_device_operation operation = PLEAT_VIRTIO_MEM_DEVICE_UNKNOWN;
    int answer = PLEAT_VIRTIO_MEM_RESP_ERROR;
    uint64_t blocks = 0;
    uint16_t state = 0;

    if (device->accepted && request_bytes >= sizeof(struct pleat_virtio_mem_request)) {
        struct pleat_virtio_mem_request request;
        memcpy(&request, bytes, sizeof(request));
        switch (pleat_le16_get(request.type)) {
        case PLEAT_VIRTIO_MEM_REQ_PLUG:
            operation = PLEAT_VIRTIO_MEM_DEVICE_PLUG;
            answer = plug_request(device, &request, &blocks);
            break;
        case PLEAT_VIRTIO_MEM_REQ_UNPLUG:
            operation = PLEAT_VIRTIO_MEM_DEVICE_UNPLUG;
            answer = unplug_request(device, &request, &blocks);
            break;
        case PLEAT_VIRTIO_MEM_REQ_UNPLUG_ALL:
            operation = PLEAT_VIRTIO_MEM_DEVICE_UNPLUG_ALL;
            answer = unplug_all_request(device, &blocks);
            break;
        case PLEAT_VIRTIO_MEM_REQ_STATE:
            operation = PLEAT_VIRTIO_MEM_DEVICE_STATE;
            answer = state_request(device, &request, &blocks, &state);
            break;
        default:
            break;
        }
    }

    struct pleat_virtio_mem_response response;
    memset(&response, 0, sizeof(response));
    response.type = pleat_le16((uint16_t)answer);
    response.state = pleat_le16(state);
    memcpy(to, &response, sizeof(response));

    PLEAT_VIRTIO_MEM_DEVICE_CHECK(device);
    pleat_virtio_mem_device_tell(device, plugged_before);
    count(&device->statistics.operations[operation], answer, blocks, now_ns(device) - begin_ns);
    return answer;
}

/* ---- The host's side -------------------------------------------------------------------------------- */

uint64_t pleat_virtio_mem_device_features(const struct pleat_virtio_mem_device *device)
{
    uint64_t features = 0;
    if (device->config.flags & PLEAT_VIRTIO_MEM_DEVICE_NODE)
        features |= FEATURE(ACPI_PXM);
    if (!(device->config.flags & PLEAT_VIRTIO_MEM_DEVICE_HIDE_INACCESSIBLE))
        features |= FEATURE(UNPLUGGED_INACCESSIBLE);
    if (device->config.flags & PLEAT_VIRTIO_MEM_DEVICE_PERSISTENT_SUSPEND)
        features |= FEATURE(PERSISTENT_SUSPEND);
    return features;
}

int pleat_virtio_mem_device_check_features(const struct pleat_virtio_mem_device *device,
                                           uint64_t driver_features)
{
    if (driver_features & DEVICE_FEATURE_MASK & ~pleat_virtio_mem_device_features(device))
        return PLEAT_E_PROTOCOL;
    if (driver_features & FEATURE(UNPLUGGED_INACCESSIBLE))
        return PLEAT_OK;
    if (!(device->config.flags & PLEAT_VIRTIO_MEM_DEVICE_SERVE_READERS) || !device->ops->map_zeroes)
        return PLEAT_E_REFUSED;
    return PLEAT_OK;
}

int pleat_virtio_mem_device_accept(struct pleat_virtio_mem_device *device, uint64_t driver_features)
{
    if (device->accepted)
        return PLEAT_E_STATE;
    int error = pleat_virtio_mem_device_check_features(device, driver_features);
    if (error) {
        device->statistics.refused_drivers++;
        return error;
    }
    const bool reader = !(driver_features & FEATURE(UNPLUGGED_INACCESSIBLE));
    error = reader ? pleat_virtio_mem_device_add_zeroes(device, 0, device->usable_bytes)
                   : pleat_virtio_mem_device_end_zeroes(device, 0);
    if (error)
        return error;
    device->accepted = true;
    device->driver_features = driver_features & DEVICE_FEATURE_MASK;
    device->serves_reader = reader;
    PLEAT_VIRTIO_MEM_DEVICE_CHECK(device);
    return PLEAT_OK;
}

int pleat_virtio_mem_device_set_requested(struct pleat_virtio_mem_device *device, uint64_t bytes)
{
    if (bytes & (device->config.block_bytes - 1) || bytes > device->config.region_bytes)
        return PLEAT_E_INVALID;

    uint64_t usable = pleat_virtio_mem_device_usable_rule(&device->config, bytes);
    if (usable < device->usable_bytes)
        usable = device->usable_bytes;
    if (usable == device->usable_bytes && bytes == device->requested_bytes)
        return PLEAT_OK;
    if (device->serves_reader && usable > device->usable_bytes) {
        const int error = pleat_virtio_mem_device_add_zeroes(device, device->usable_bytes, usable);
        if (error)
            return error;
    }
    device->requested_bytes = bytes;
    device->usable_bytes = usable;
    PLEAT_VIRTIO_MEM_DEVICE_CHECK(device);
    if (device->ops->config_interrupt) {
        device->statistics.config_interrupts++;
        device->ops->config_interrupt(device->context);
    }
    return PLEAT_OK;
}

int pleat_virtio_mem_device_reset(struct pleat_virtio_mem_device *device)
{
    device->accepted = false;
    device->driver_features = 0;
    device->serves_reader = false;
    const int error = pleat_virtio_mem_device_end_zeroes(device, 0);
    PLEAT_VIRTIO_MEM_DEVICE_CHECK(device);
    return error;
}

int pleat_virtio_mem_device_system_reset(struct pleat_virtio_mem_device *device)
{
    const uint64_t plugged_before = device->plugged_bytes;
    /* Zeroes that stay are no reason to stop: they are tried again when the next driver comes. */
    (void)pleat_virtio_mem_device_reset(device);
    const int error = unplug(device, 0, device->block_count);
    if (!error)
        device->usable_bytes = pleat_virtio_mem_device_usable_rule(&device->config, device->requested_bytes);
    PLEAT_VIRTIO_MEM_DEVICE_CHECK(device);
    pleat_virtio_mem_device_tell(device, plugged_before);
    return error;
}

/* ---- What it knows ---------------------------------------------------------------------------------- */

void pleat_virtio_mem_device_config_space(const struct pleat_virtio_mem_device *device,
                                          struct pleat_virtio_mem_config *space)
{
    memset(space, 0, sizeof(*space));
    space->block_size = pleat_le64(device->config.block_bytes);
    if (device->config.flags & PLEAT_VIRTIO_MEM_DEVICE_NODE)
        space->node_id = pleat_le16(device->config.node_id);
    space->address = pleat_le64(device->config.address);
    space->region_size = pleat_le64(device->config.region_bytes);
    space->usable_region_size = pleat_le64(device->usable_bytes);
    space->plugged_size = pleat_le64(device->plugged_bytes);
    space->requested_size = pleat_le64(device->requested_bytes);
}

int pleat_virtio_mem_device_read_config(const struct pleat_virtio_mem_device *device, uint64_t offset,
                                        void *to, size_t bytes)
{
    struct pleat_virtio_mem_config space;
    if (offset > sizeof(space) || bytes > sizeof(space) - (size_t)offset)
        return PLEAT_E_INVALID;
    pleat_virtio_mem_device_config_space(device, &space);
    if (bytes)
        memcpy(to, (const uint8_t *)&space + offset, bytes);
    return PLEAT_OK;
}

const struct pleat_virtio_mem_device_config *
pleat_virtio_mem_device_config(const struct pleat_virtio_mem_device *device)
{
    return &device->config;
}

uint64_t pleat_virtio_mem_device_plugged_bytes(const struct pleat_virtio_mem_device *device)
{
    return device->plugged_bytes;
}

uint64_t pleat_virtio_mem_device_requested_bytes(const struct pleat_virtio_mem_device *device)
{
    return device->requested_bytes;
}

uint64_t pleat_virtio_mem_device_usable_bytes(const struct pleat_virtio_mem_device *device)
{
    return device->usable_bytes;
}

bool pleat_virtio_mem_device_accepted(const struct pleat_virtio_mem_device *device)
{
    return device->accepted;
}

bool pleat_virtio_mem_device_is_plugged(const struct pleat_virtio_mem_device *device, uint64_t offset,
                                        uint64_t bytes)
{
    if (offset > device->config.region_bytes || bytes > device->config.region_bytes - offset)
        return false;
    if (!bytes)
        return true;
    const struct range range = {.first = offset / device->config.block_bytes,
                                .end = (offset + bytes - 1) / device->config.block_bytes + 1};
    return all_are(device, &range, true);
}

bool pleat_virtio_mem_device_next_plugged(const struct pleat_virtio_mem_device *device, uint64_t offset,
                                          uint64_t *run_offset, uint64_t *run_bytes)
{
    const uint64_t block = device->config.block_bytes;
    if (offset >= device->config.region_bytes)
        return false;
    uint64_t run = offset / block, run_end;
    if (!pleat_block_bits_run(device->plugged, &run, device->block_count, true, &run_end))
        return false;
    *run_offset = run * block > offset ? run * block : offset;
    *run_bytes = run_end * block - *run_offset;
    return true;
}

void pleat_virtio_mem_device_statistics(const struct pleat_virtio_mem_device *device,
                                        struct pleat_virtio_mem_device_statistics *statistics)
{
    *statistics = device->statistics;
}

bool pleat_virtio_mem_device_is_valid(const struct pleat_virtio_mem_device *device)
{
    const uint64_t block = device->config.block_bytes;
    const uint64_t usable_blocks = pleat_virtio_mem_device_blocks(device, device->usable_bytes);
    const uint64_t all_bits = pleat_block_bits_words(device->block_count) * 64;

    return device->plugged_bytes == pleat_block_bits_count(device->plugged, 0, device->block_count) * block &&
           pleat_block_bits_find(device->plugged, usable_blocks, all_bits, true) == all_bits &&
           device->requested_bytes <= device->usable_bytes &&
           device->usable_bytes <= device->config.region_bytes &&
           !((device->requested_bytes | device->usable_bytes | device->zeroes_bytes) & (block - 1)) &&
           device->zeroes_bytes <= device->config.region_bytes &&
           (device->accepted || (!device->serves_reader && !device->driver_features)) &&
           (!device->serves_reader || device->zeroes_bytes >= device->usable_bytes);
}

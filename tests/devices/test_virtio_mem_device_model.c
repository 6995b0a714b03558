/* SPDX-License-Identifier: MIT
 *
 * A random run of the virtio-mem device against a model that is too plain to be wrong: an array of booleans
 * and three numbers, with each answer worked out block by block from the specification's sentences. The
 * host fails at random; the model sees only that it did. Each seed is printed when it fails, and
 * PLEAT_SEED=N runs that one alone.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <pleat/virtio_mem_device.h>

#include "tests/support/fake_host.h"
#include "tests/support/random.h"

enum {
    ACK = PLEAT_VIRTIO_MEM_RESP_ACK,
    NACK = PLEAT_VIRTIO_MEM_RESP_NACK,
    BUSY = PLEAT_VIRTIO_MEM_RESP_BUSY,
    ERROR = PLEAT_VIRTIO_MEM_RESP_ERROR,
    SEEDS = 1500,
    STEPS = 400
};

#define BLOCK   UINT64_C(0x10000)
#define ADDRESS UINT64_C(0x7fff0000)
#define INACC   (UINT64_C(1) << PLEAT_VIRTIO_MEM_F_UNPLUGGED_INACCESSIBLE)

/* All in blocks. */
struct model {
    unsigned blocks, extra;
    bool plugged[FAKE_HOST_BLOCKS];
    unsigned requested, usable;
    bool accepted, reader, refuse_unrequested;
};

static unsigned model_plugged(const struct model *model)
{
    unsigned sum = 0;
    for (unsigned b = 0; b < model->blocks; b++)
        sum += model->plugged[b];
    return sum;
}

static unsigned model_rule(const struct model *model, unsigned requested)
{
    return requested + model->extra < model->blocks ? requested + model->extra : model->blocks;
}

/* What the answer has to be if the host does its part. */
static int model_answer(const struct model *model, unsigned type, uint64_t address, unsigned count,
                        unsigned *state)
{
    unsigned in_use = 0;

    *state = 0;
    if (!model->accepted || type > 3)
        return ERROR;
    if (type == PLEAT_VIRTIO_MEM_REQ_UNPLUG_ALL)
        return ACK;
    if (address % BLOCK || !count)
        return ERROR;
    for (unsigned i = 0; i < count; i++) {
        const uint64_t at = address + i * BLOCK;
        if (at < ADDRESS || at - ADDRESS >= model->usable * BLOCK)
            return ERROR;
        in_use += model->plugged[(at - ADDRESS) / BLOCK];
    }
    switch (type) {
    case PLEAT_VIRTIO_MEM_REQ_PLUG:
        return in_use ? ERROR : model_plugged(model) + count > model->requested ? NACK : ACK;
    case PLEAT_VIRTIO_MEM_REQ_UNPLUG:
        if (in_use != count)
            return ERROR;
        return model->refuse_unrequested && model_plugged(model) - count < model->requested ? NACK : ACK;
    default:
        *state = in_use == count ? PLEAT_VIRTIO_MEM_STATE_PLUGGED
                 : in_use        ? PLEAT_VIRTIO_MEM_STATE_MIXED
                                 : PLEAT_VIRTIO_MEM_STATE_UNPLUGGED;
        return ACK;
    }
}

static void model_apply(struct model *model, unsigned type, uint64_t address, unsigned count)
{
    if (type == PLEAT_VIRTIO_MEM_REQ_UNPLUG_ALL) {
        memset(model->plugged, 0, sizeof(model->plugged));
        model->usable = model_rule(model, model->requested);
    }
    if (type <= PLEAT_VIRTIO_MEM_REQ_UNPLUG)
        for (unsigned i = 0; i < count; i++)
            model->plugged[(address - ADDRESS) / BLOCK + i] = type == PLEAT_VIRTIO_MEM_REQ_PLUG;
}

struct run {
    uint64_t seed;
    unsigned step;
    struct test_random random;
    struct model model;
    struct fake_host host;
    struct pleat_virtio_mem_device_config config;
    struct pleat_virtio_mem_device *device;
    uint64_t storage[256];
    uint64_t acks[4], busies; /* so that the run is known to have got somewhere */
};

#define REQUIRE(run, condition)                                                                              \
    do {                                                                                                     \
        if (!(condition))                                                                                    \
            fail_msg("PLEAT_SEED=%" PRIu64 " step %u: %s", (run)->seed, (run)->step, #condition);            \
    } while (0)

static uint64_t below(struct run *run, uint64_t limit)
{
    return test_random_below(&run->random, limit);
}

static void check(struct run *run)
{
    const struct model *model = &run->model;
    const char *wrong =
        fake_host_compare(&run->host, run->device, model->reader ? FAKE_ZEROES : FAKE_INACCESSIBLE);
    if (wrong)
        fail_msg("PLEAT_SEED=%" PRIu64 " step %u: %s", run->seed, run->step, wrong);
    for (unsigned b = 0; b < model->blocks; b++) {
        REQUIRE(run, pleat_virtio_mem_device_is_plugged(run->device, b * BLOCK, BLOCK) == model->plugged[b]);
        REQUIRE(run, !model->plugged[b] || run->host.content[b] == b + 1);
    }
    REQUIRE(run, pleat_virtio_mem_device_usable_bytes(run->device) == model->usable * BLOCK);
    REQUIRE(run, pleat_virtio_mem_device_requested_bytes(run->device) == model->requested * BLOCK);
    REQUIRE(run, pleat_virtio_mem_device_accepted(run->device) == model->accepted);
}

/* A fault for one of the callbacks, once; undoing never fails here, so that "nothing changed" is exact. */
static bool arm(struct run *run)
{
    fake_host_heal(&run->host);
    if (below(run, 5))
        return false;
    switch (below(run, 4)) {
    case 0:
        run->host.map.at = 1;
        break;
    case 1:
        run->host.unmap.at = 1 + below(run, 4);
        break;
    case 2:
        run->host.discard.at = 1;
        break;
    default:
        run->host.zeroes.at = 1 + below(run, 3);
    }
    return true;
}

static bool a_fault_was_met(const struct fake_host *host)
{
    return (host->map.at && host->map.calls >= host->map.at) ||
           (host->unmap.at && host->unmap.calls >= host->unmap.at) ||
           (host->discard.at && host->discard.calls >= host->discard.at) ||
           (host->zeroes.at && host->zeroes.calls >= host->zeroes.at);
}

static void request(struct run *run)
{
    struct model *model = &run->model;
    struct pleat_virtio_mem_request bytes;
    uint8_t response[10];
    unsigned state;
    unsigned type = (unsigned)(below(run, 40) == 0 ? below(run, 0x10000) : below(run, 4));
    if (type == PLEAT_VIRTIO_MEM_REQ_UNPLUG_ALL && below(run, 10))
        type = PLEAT_VIRTIO_MEM_REQ_PLUG;
    unsigned first = (unsigned)below(run, model->blocks + 2);
    unsigned count = 1 + (unsigned)below(run, below(run, 3) ? 4 : 40);
    if (type <= PLEAT_VIRTIO_MEM_REQ_UNPLUG && below(run, 4)) {
        /* Most of the time something that can be done. */
        const bool wanted = type == PLEAT_VIRTIO_MEM_REQ_UNPLUG;
        unsigned run_blocks = 0;
        while (first < model->blocks && model->plugged[first] != wanted)
            first++;
        while (first + run_blocks < model->blocks && model->plugged[first + run_blocks] == wanted)
            run_blocks++;
        if (run_blocks)
            count = 1 + (unsigned)below(run, run_blocks);
    }
    uint64_t address = ADDRESS + first * BLOCK;
    switch (below(run, 40)) {
    case 0:
        address = test_random_next(&run->random);
        break;
    case 1:
        address += below(run, BLOCK);
        break;
    case 2:
        count = (unsigned)below(run, 0x10000);
        break;
    default:
        break;
    }

    memset(&bytes, (int)below(run, 256), sizeof(bytes)); /* the padding too */
    bytes.type = pleat_le16((uint16_t)type);
    bytes.address = pleat_le64(address);
    bytes.block_count = pleat_le16((uint16_t)count);

    const int expected = model_answer(model, type, address, count, &state);
    const bool armed = arm(run);
    const int answer = pleat_virtio_mem_device_handle(run->device, &bytes, sizeof(bytes), response);
    REQUIRE(run, pleat_read_le16(response) == answer);
    if (expected == ACK && armed && a_fault_was_met(&run->host) && answer == BUSY) {
        run->busies++;
        return;
    }
    REQUIRE(run, answer == expected);
    REQUIRE(run, pleat_read_le16(response + 8) == state);
    if (answer != ACK)
        return;
    run->acks[type]++;
    model_apply(model, type, address, count);
    if (type == PLEAT_VIRTIO_MEM_REQ_PLUG)
        for (unsigned i = 0; i < count; i++)
            run->host.content[(address - ADDRESS) / BLOCK + i] = (address - ADDRESS) / BLOCK + i + 1;
}

static void set_requested(struct run *run)
{
    struct model *model = &run->model;
    const unsigned requested = (unsigned)below(run, model->blocks + 3);
    const uint64_t odd = below(run, 10) ? 0 : 1 + below(run, BLOCK - 1);
    const uint64_t interrupts = run->host.interrupts;
    const bool armed = arm(run);
    const int result = pleat_virtio_mem_device_set_requested(run->device, requested * BLOCK + odd);

    if (odd || requested > model->blocks) {
        REQUIRE(run, result == PLEAT_E_INVALID);
    } else if (result) {
        REQUIRE(run, armed && model->reader && a_fault_was_met(&run->host));
    } else {
        const unsigned rule = model_rule(model, requested);
        const unsigned usable = rule > model->usable ? rule : model->usable;
        const bool changed = usable != model->usable || requested != model->requested;
        REQUIRE(run, run->host.interrupts == interrupts + changed);
        model->usable = usable;
        model->requested = requested;
        return;
    }
    REQUIRE(run, run->host.interrupts == interrupts);
}

static void accept(struct run *run)
{
    struct model *model = &run->model;
    const bool reader = below(run, 3) == 0;
    const bool armed = arm(run);
    const int result = pleat_virtio_mem_device_accept(run->device, reader ? 0 : INACC);

    if (model->accepted) {
        REQUIRE(run, result == PLEAT_E_STATE);
    } else if (result) {
        REQUIRE(run, armed && a_fault_was_met(&run->host));
    } else {
        model->accepted = true;
        model->reader = reader;
    }
}

static void reset(struct run *run)
{
    fake_host_heal(&run->host);
    REQUIRE(run, pleat_virtio_mem_device_reset(run->device) == 0);
    run->model.accepted = run->model.reader = false;
}

static void system_reset(struct run *run)
{
    const bool armed = arm(run);
    run->host.zeroes.at = 0;
    if (run->model.reader) /* zeroes that stay are another test's */
        fake_host_heal(&run->host);
    const int result = pleat_virtio_mem_device_system_reset(run->device);
    run->model.accepted = run->model.reader = false;
    if (result) {
        REQUIRE(run, result == PLEAT_E_BUSY && armed && a_fault_was_met(&run->host));
        return;
    }
    model_apply(&run->model, PLEAT_VIRTIO_MEM_REQ_UNPLUG_ALL, 0, 0);
}

/* Saves, and goes on with another device in another host that has loaded what was saved. */
static void move_to_another_host(struct run *run)
{
    uint8_t saved[256];
    uint64_t content[FAKE_HOST_BLOCKS];
    const size_t bytes = pleat_virtio_mem_device_save_bytes(run->device);

    REQUIRE(run, bytes <= sizeof(saved));
    REQUIRE(run, pleat_virtio_mem_device_save(run->device, saved, sizeof(saved)) == 0);
    memcpy(content, run->host.content, sizeof(content));
    pleat_virtio_mem_device_destroy(run->device);
    fake_host_init(&run->host, BLOCK, run->model.blocks);
    REQUIRE(run, pleat_virtio_mem_device_create(&run->config, &fake_host_ops, &run->host, run->storage,
                                                sizeof(run->storage), &run->device) == 0);
    while (arm(run)) {
        if (pleat_virtio_mem_device_load(run->device, saved, bytes) == 0) {
            memcpy(run->host.content, content, sizeof(content));
            return;
        }
        /* As it was created: nothing plugged, mapped or held. */
        REQUIRE(run, a_fault_was_met(&run->host));
        REQUIRE(run, pleat_virtio_mem_device_plugged_bytes(run->device) == 0);
        const char *wrong = fake_host_compare(&run->host, run->device, FAKE_INACCESSIBLE);
        if (wrong)
            fail_msg("PLEAT_SEED=%" PRIu64 " step %u: %s", run->seed, run->step, wrong);
    }
    REQUIRE(run, pleat_virtio_mem_device_load(run->device, saved, bytes) == 0);
    memcpy(run->host.content, content, sizeof(content));
}

static void run_seed(struct run *run, uint64_t seed)
{
    memset(run, 0, sizeof(*run));
    run->seed = seed;
    test_random_seed(&run->random, seed);
    struct model *model = &run->model;
    model->blocks = 1 + (unsigned)below(run, below(run, 2) ? 20 : 200);
    model->extra = 1 + (unsigned)below(run, model->blocks);
    model->requested = (unsigned)below(run, model->blocks + 1);
    model->usable = model_rule(model, model->requested);
    model->refuse_unrequested = below(run, 3) == 0;
    run->config = (struct pleat_virtio_mem_device_config){
        .address = ADDRESS,
        .region_bytes = model->blocks * BLOCK,
        .block_bytes = BLOCK,
        .requested_bytes = model->requested * BLOCK,
        .usable_extra_bytes = model->extra * BLOCK - below(run, BLOCK),
        .flags = PLEAT_VIRTIO_MEM_DEVICE_SERVE_READERS |
                 (model->refuse_unrequested ? PLEAT_VIRTIO_MEM_DEVICE_REFUSE_UNREQUESTED : 0u),
    };
    fake_host_init(&run->host, BLOCK, model->blocks);
    REQUIRE(run, pleat_virtio_mem_device_storage_bytes(&run->config) <= sizeof(run->storage));
    REQUIRE(run, pleat_virtio_mem_device_create(&run->config, &fake_host_ops, &run->host, run->storage,
                                                sizeof(run->storage), &run->device) == 0);
    for (run->step = 0; run->step < STEPS; run->step++) {
        const uint64_t what = below(run, 100);
        if (what < 80)
            request(run);
        else if (what < 90)
            set_requested(run);
        else if (what < 96)
            accept(run);
        else if (what < 98)
            reset(run);
        else if (what < 99)
            system_reset(run);
        else
            move_to_another_host(run);
        check(run);
    }
    pleat_virtio_mem_device_destroy(run->device);
}

static void X2_the_device_and_a_plain_model_agree_at_every_step(void **state)
{
    (void)state;
    static struct run run;
    uint64_t acks[4] = {0}, busies = 0, seed;
    for (unsigned number = 0; test_random_seed_number(number, 1, SEEDS, &seed); number++) {
        run_seed(&run, seed);
        for (unsigned type = 0; type < 4; type++)
            acks[type] += run.acks[type];
        busies += run.busies;
    }
    print_message("# seeds %u: %" PRIu64 " plugs, %" PRIu64 " unplugs, %" PRIu64 " unplugs of all, %" PRIu64
                  " questions, %" PRIu64 " busy\n",
                  SEEDS, acks[0], acks[1], acks[2], acks[3], busies);
    if (!getenv("PLEAT_SEED"))
        assert_true(acks[0] && acks[1] && acks[2] && acks[3] && busies);
}

/*
 * One long request sequence, with the host failing at its 1st call, its 2nd, ... until the whole sequence
 * goes through; once and from there on for good. After each failure the books and the host agree.
 */
static const struct {
    unsigned type, first, blocks;
} sequence[] = {
    {PLEAT_VIRTIO_MEM_REQ_PLUG, 0, 8},    {PLEAT_VIRTIO_MEM_REQ_UNPLUG, 2, 2},
    {PLEAT_VIRTIO_MEM_REQ_PLUG, 10, 4},   {PLEAT_VIRTIO_MEM_REQ_PLUG, 2, 1},
    {PLEAT_VIRTIO_MEM_REQ_UNPLUG, 11, 1}, {PLEAT_VIRTIO_MEM_REQ_UNPLUG_ALL, 0, 0},
    {PLEAT_VIRTIO_MEM_REQ_PLUG, 0, 16},   {PLEAT_VIRTIO_MEM_REQ_UNPLUG_ALL, 0, 0},
};

static unsigned run_sequence(struct run *run, size_t fault_offset, uint64_t at, bool for_good)
{
    unsigned not_acked = 0;
    memset(run, 0, sizeof(*run));
    fake_host_init(&run->host, BLOCK, 16);
    run->config = (struct pleat_virtio_mem_device_config){
        .address = ADDRESS, .block_bytes = BLOCK, .region_bytes = 16 * BLOCK, .requested_bytes = 16 * BLOCK};
    assert_int_equal(pleat_virtio_mem_device_create(&run->config, &fake_host_ops, &run->host, run->storage,
                                                    sizeof(run->storage), &run->device),
                     0);
    assert_int_equal(pleat_virtio_mem_device_accept(run->device, INACC), 0);
    struct fake_fault *fault = (struct fake_fault *)((char *)&run->host + fault_offset);
    fault->at = at;
    fault->for_good = for_good;
    for (size_t i = 0; i < sizeof(sequence) / sizeof(*sequence); i++) {
        struct pleat_virtio_mem_request bytes;
        uint8_t response[10];
        memset(&bytes, 0, sizeof(bytes));
        bytes.type = pleat_le16((uint16_t)sequence[i].type);
        bytes.address = pleat_le64(ADDRESS + sequence[i].first * BLOCK);
        bytes.block_count = pleat_le16((uint16_t)sequence[i].blocks);
        const int answer = pleat_virtio_mem_device_handle(run->device, &bytes, sizeof(bytes), response);
        /* After a failure the later requests may not fit any more; none may be anything but answered. */
        not_acked += answer != ACK;
        assert_null(fake_host_compare(&run->host, run->device, FAKE_INACCESSIBLE));
    }
    return not_acked;
}

static void X2_a_host_that_fails_at_its_nth_call_leaves_books_and_memory_in_step(void **state)
{
    (void)state;
    static struct run run;
    static const size_t faults[] = {offsetof(struct fake_host, map), offsetof(struct fake_host, unmap),
                                    offsetof(struct fake_host, discard)};
    for (size_t which = 0; which < sizeof(faults) / sizeof(*faults); which++)
        for (int for_good = 0; for_good < 2; for_good++) {
            uint64_t at = 0;
            unsigned failed_runs = 0;
            bool met;
            do {
                const unsigned not_acked = run_sequence(&run, faults[which], ++at, for_good);
                const struct fake_fault *fault =
                    (const struct fake_fault *)((const char *)&run.host + faults[which]);
                met = fault->calls >= at;
                failed_runs += not_acked != 0;
                if (!met)
                    assert_int_equal(not_acked, 0);
                assert_true(at < 100);
            } while (met);
            assert_true(failed_runs > 0);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(X2_the_device_and_a_plain_model_agree_at_every_step),
        cmocka_unit_test(X2_a_host_that_fails_at_its_nth_call_leaves_books_and_memory_in_step),
    };
    return cmocka_run_group_tests_name("virtio-mem device against a model", tests, NULL, NULL);
}

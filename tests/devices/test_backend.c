/* SPDX-License-Identifier: MIT
 *
 * Backends with real memory: what is mapped can be touched, what isn't faults, what is given back is gone
 * from the host, and neighbours share a mapping. Each kind of backend goes through the same tests. What a
 * host hasn't (huge pages, a tmpfs to fill) is left out, with a line that says so.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <numa.h>
#include <numaif.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <pleat/backend.h>
#include <pleat/virtio_mem_device.h>

#include "tests/support/random.h"

#define KiB (UINT64_C(1) << 10)
#define MiB (UINT64_C(1) << 20)

enum { PAGES = 16 };

/* A kind of backend, and the reservation that it is opened in. */
struct kind {
    const char *name;
    struct pleat_memory_backend_config config;
    bool file; /* config.path is a file's, made and removed by the test */
    bool huge;
    uint64_t page, bytes;
    uint8_t *at;
    struct pleat_memory_backend backend;
    char path[64];
};

static void write_file(const char *path, uint64_t bytes, int content)
{
    uint8_t block[4096];
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    memset(block, content, sizeof(block));
    for (uint64_t done = 0; done < bytes; done += sizeof(block))
        assert_int_equal(fwrite(block, sizeof(block), 1, file), 1);
    assert_int_equal(fclose(file), 0);
}

/* Huge pages that nobody has, of the default size; 0 where there are too few for the tests. */
static uint64_t free_huge_page_bytes(void)
{
    char line[256];
    unsigned long long available = 0, kibibytes = 0;
    FILE *file = fopen("/proc/meminfo", "r");
    if (!file)
        return 0;
    while (fgets(line, sizeof(line), file)) {
        sscanf(line, "HugePages_Free: %llu", &available);
        sscanf(line, "Hugepagesize: %llu kB", &kibibytes);
    }
    fclose(file);
    return available >= PAGES ? kibibytes * KiB : 0;
}

static int setup(void **state)
{
    struct kind *kind = *state;
    char why[256];

    kind->page = (uint64_t)sysconf(_SC_PAGESIZE);
    if (kind->huge)
        kind->page = free_huge_page_bytes();
    kind->bytes = PAGES * kind->page;
    kind->config.bytes = kind->bytes;
    if (kind->file) {
        snprintf(kind->path, sizeof(kind->path), "/tmp/pleat-test-%d", (int)getpid());
        write_file(kind->path, kind->bytes, 0x5a);
        kind->config.path = kind->path;
    }
    kind->at = pleat_memory_backend_reserve(kind->bytes, kind->page);
    assert_non_null(kind->at);
    const int error = pleat_memory_backend_open(&kind->config, kind->at, &kind->backend, why, sizeof(why));
    if (error)
        print_error("%s: %s\n", kind->name, why);
    assert_int_equal(error, 0);
    assert_string_equal(why, "");
    assert_int_equal(kind->backend.page_bytes, kind->page);
    assert_int_equal(kind->backend.bytes, kind->bytes);
    return 0;
}

static int teardown(void **state)
{
    struct kind *kind = *state;
    pleat_memory_backend_close(&kind->backend);
    pleat_memory_backend_release(kind->at, kind->bytes);
    if (kind->file)
        unlink(kind->path);
    return 0;
}

/* ---- Looks from outside --------------------------------------------------------------------------- */

enum touch { READ, WRITE };

/* Does a touch of this byte end in SIGSEGV? Tried in a child. */
static bool faults(volatile uint8_t *byte, enum touch touch)
{
    int status;
    fflush(NULL);
    const pid_t child = fork();
    assert_true(child >= 0);
    if (!child) {
        const struct rlimit no_core = {0, 0};
        setrlimit(RLIMIT_CORE, &no_core);
        signal(SIGSEGV, SIG_DFL);
        signal(SIGBUS, SIG_DFL);
        if (touch == WRITE)
            *byte = 1;
        else
            (void)*byte;
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    if (WIFSIGNALED(status))
        assert_int_equal(WTERMSIG(status), SIGSEGV);
    return WIFSIGNALED(status);
}

static bool touch_faults(const struct kind *kind, unsigned page, enum touch touch)
{
    /* The last byte as well as the first. */
    const bool first = faults(kind->at + page * kind->page, touch);
    const bool last = faults(kind->at + (page + 1) * kind->page - 1, touch);
    assert_int_equal(first, last);
    return first;
}

/* Lines of /proc/self/maps that lie in the range; all of it must be covered. */
static unsigned mappings_of(const uint8_t *at, uint64_t bytes)
{
    char line[512];
    unsigned count = 0;
    uint64_t covered = 0;
    FILE *file = fopen("/proc/self/maps", "r");
    assert_non_null(file);
    while (fgets(line, sizeof(line), file)) {
        uint64_t begin, end;
        if (sscanf(line, "%" SCNx64 "-%" SCNx64, &begin, &end) != 2)
            continue;
        if (begin < (uintptr_t)at)
            begin = (uintptr_t)at;
        if (end > (uintptr_t)at + bytes)
            end = (uintptr_t)at + bytes;
        if (begin < end) {
            count++;
            covered += end - begin;
        }
    }
    fclose(file);
    assert_int_equal(covered, bytes);
    return count;
}

static unsigned mappings(const struct kind *kind)
{
    return mappings_of(kind->at, kind->bytes);
}

static int map(const struct kind *kind, unsigned first, unsigned pages)
{
    return pleat_memory_backend_map(&kind->backend, first * kind->page, pages * kind->page);
}

static int unmap(const struct kind *kind, unsigned first, unsigned pages)
{
    return pleat_memory_backend_unmap(&kind->backend, first * kind->page, pages * kind->page);
}

static int discard(const struct kind *kind, unsigned first, unsigned pages)
{
    return pleat_memory_backend_discard(&kind->backend, first * kind->page, pages * kind->page);
}

static void fill(const struct kind *kind, unsigned first, unsigned pages, int value)
{
    memset(kind->at + first * kind->page, value, pages * kind->page);
}

static bool holds(const struct kind *kind, unsigned first, unsigned pages, uint8_t value)
{
    for (uint64_t i = first * kind->page; i < (first + pages) * kind->page; i++)
        if (kind->at[i] != value)
            return false;
    return true;
}

/* What memory reads as that was never written. */
static uint8_t fresh(const struct kind *kind)
{
    return kind->file ? 0x5a : 0;
}

/* ---- Each kind ------------------------------------------------------------------------------------ */

static void nothing_is_accessible_at_first(void **state)
{
    struct kind *kind = *state;
    assert_true(touch_faults(kind, 0, READ));
    assert_true(touch_faults(kind, PAGES / 2, WRITE));
    assert_true(touch_faults(kind, PAGES - 1, READ));
    assert_int_equal(mappings(kind), 1);
}

static void D_OP1_D_OP4_mapped_memory_can_be_read_and_written_and_its_neighbours_cannot(void **state)
{
    struct kind *kind = *state;
    /*   . . M M M . . . .   */
    assert_int_equal(map(kind, 2, 3), 0);
    assert_true(holds(kind, 2, 3, fresh(kind)));
    fill(kind, 2, 3, 0x77);
    assert_true(holds(kind, 2, 3, 0x77));
    assert_true(touch_faults(kind, 1, READ));
    assert_false(touch_faults(kind, 2, WRITE));
    assert_false(touch_faults(kind, 4, READ));
    assert_true(touch_faults(kind, 5, WRITE));
}

static void unmapped_memory_faults_and_keeps_what_it_holds_until_it_is_discarded(void **state)
{
    struct kind *kind = *state;
    assert_int_equal(map(kind, 0, 6), 0);
    fill(kind, 0, 6, 0x11);
    assert_int_equal(unmap(kind, 2, 2), 0);
    assert_true(touch_faults(kind, 2, READ));
    assert_true(touch_faults(kind, 3, WRITE));
    assert_int_equal(unmap(kind, 2, 2), 0); /* once more is no harm */
    assert_int_equal(map(kind, 2, 2), 0);
    assert_true(holds(kind, 0, 6, 0x11));
    assert_int_equal(unmap(kind, 2, 2), 0);
    assert_int_equal(discard(kind, 2, 2), 0);
    assert_true(touch_faults(kind, 2, READ));
    assert_int_equal(map(kind, 2, 2), 0);
    /* A private file is as it was on the disk; all else is empty. */
    const bool private_file = kind->file && kind->backend.fd < 0;
    assert_true(holds(kind, 2, 2, private_file ? 0x5a : 0));
    assert_true(holds(kind, 0, 2, 0x11));
    assert_true(holds(kind, 4, 2, 0x11));
}

static void D_OP2_discarded_memory_is_gone_from_the_host(void **state)
{
    struct kind *kind = *state;
    if (kind->file) {
        assert_int_equal(map(kind, 0, PAGES), 0);
        fill(kind, 0, PAGES, 0x22);
        if (kind->backend.fd >= 0)
            assert_true(pleat_memory_backend_held_bytes(&kind->backend) >= PAGES * kind->page);
        assert_int_equal(unmap(kind, 0, PAGES), 0);
        assert_int_equal(discard(kind, 0, PAGES), 0);
        if (kind->backend.fd >= 0)
            assert_int_equal(pleat_memory_backend_held_bytes(&kind->backend), 0);
        return;
    }
    assert_int_equal(pleat_memory_backend_held_bytes(&kind->backend), 0);
    assert_int_equal(map(kind, 3, 8), 0);
    fill(kind, 3, 8, 0x22);
    assert_int_equal(pleat_memory_backend_held_bytes(&kind->backend), 8 * kind->page);
    assert_int_equal(unmap(kind, 4, 2), 0);
    assert_int_equal(pleat_memory_backend_held_bytes(&kind->backend), 8 * kind->page);
    assert_int_equal(discard(kind, 4, 2), 0);
    assert_int_equal(pleat_memory_backend_held_bytes(&kind->backend), 6 * kind->page);
    assert_int_equal(unmap(kind, 3, 8), 0);
    assert_int_equal(discard(kind, 3, 8), 0);
    assert_int_equal(pleat_memory_backend_held_bytes(&kind->backend), 0);
}

static void neighbouring_pieces_share_a_mapping(void **state)
{
    struct kind *kind = *state;
    if (kind->huge) {
        print_message("# skipped: the kernel doesn't join mappings of hugetlb\n");
        return;
    }
    /* Every second page, then those between, each touched; then the same to take them away. */
    for (unsigned page = 0; page < PAGES; page += 2) {
        assert_int_equal(map(kind, page, 1), 0);
        fill(kind, page, 1, 1);
    }
    assert_int_equal(mappings(kind), PAGES);
    for (unsigned page = 1; page < PAGES; page += 2) {
        assert_int_equal(map(kind, page, 1), 0);
        fill(kind, page, 1, 1);
    }
    assert_int_equal(mappings(kind), 1);
    for (unsigned page = 0; page < PAGES; page += 2) {
        assert_int_equal(unmap(kind, page, 1), 0);
        assert_int_equal(discard(kind, page, 1), 0);
    }
    for (unsigned page = 1; page < PAGES; page += 2) {
        assert_int_equal(unmap(kind, page, 1), 0);
        assert_int_equal(discard(kind, page, 1), 0);
    }
    assert_int_equal(mappings(kind), 1);
}

static void the_count_of_mappings_stays_low_in_a_random_run(void **state)
{
    struct kind *kind = *state;
    struct test_random random;
    uint64_t seed;
    for (unsigned number = 0; test_random_seed_number(number, 1, 20, &seed); number++) {
        bool mapped[PAGES] = {false};
        test_random_seed(&random, seed);
        for (unsigned step = 0; step < 100; step++) {
            const unsigned page = (unsigned)test_random_below(&random, PAGES);
            if (mapped[page]) {
                assert_int_equal(unmap(kind, page, 1), 0);
                assert_int_equal(discard(kind, page, 1), 0);
            } else {
                assert_int_equal(map(kind, page, 1), 0);
                fill(kind, page, 1, 1);
            }
            mapped[page] = !mapped[page];
            unsigned runs = 1;
            for (unsigned i = 1; i < PAGES; i++)
                runs += mapped[i] != mapped[i - 1] || (kind->huge && mapped[i]);
            if (mappings(kind) > runs)
                fail_msg("PLEAT_SEED=%" PRIu64 " step %u: %u mappings for %u runs", seed, step,
                         mappings(kind), runs);
        }
        assert_int_equal(unmap(kind, 0, PAGES), 0);
        assert_int_equal(discard(kind, 0, PAGES), 0);
        assert_int_equal(mappings(kind), 1);
    }
}

static void D_OP5_zeroes_can_be_read_and_not_written_and_take_no_memory(void **state)
{
    struct kind *kind = *state;
    assert_int_equal(map(kind, 0, 4), 0);
    fill(kind, 0, 4, 0x33);
    assert_int_equal(unmap(kind, 0, 4), 0);
    assert_int_equal(discard(kind, 0, 4), 0);
    const bool private_file = kind->file && kind->backend.fd < 0;
    assert_int_equal(pleat_memory_backend_map_zeroes(&kind->backend, 0, 6 * kind->page), 0);
    assert_true(holds(kind, 0, 6, private_file ? 0x5a : 0));
    assert_true(touch_faults(kind, 0, WRITE));
    assert_true(touch_faults(kind, 5, WRITE));
    if (kind->backend.fd >= 0)
        assert_int_equal(pleat_memory_backend_held_bytes(&kind->backend),
                         kind->file ? (PAGES - 4) * kind->page : 0);
    /* A plug, and an unplug that leaves zeroes, undone before it was discarded. */
    assert_int_equal(map(kind, 2, 2), 0);
    fill(kind, 2, 2, 0x44);
    assert_int_equal(pleat_memory_backend_map_zeroes(&kind->backend, 2 * kind->page, 2 * kind->page), 0);
    assert_true(touch_faults(kind, 2, WRITE));
    assert_int_equal(map(kind, 2, 2), 0);
    assert_true(holds(kind, 2, 2, 0x44));
    assert_int_equal(pleat_memory_backend_map_zeroes(&kind->backend, 2 * kind->page, 2 * kind->page), 0);
    assert_int_equal(discard(kind, 2, 2), 0);
    assert_true(holds(kind, 2, 2, private_file ? 0x5a : 0));
    assert_int_equal(unmap(kind, 0, 6), 0);
    assert_true(touch_faults(kind, 2, READ));
    assert_int_equal(mappings(kind), 1);
}

static void ranges_outside_or_misaligned_are_refused(void **state)
{
    struct kind *kind = *state;
    const struct {
        uint64_t offset, bytes;
    } bad[] = {{0, 0},
               {0, kind->page - 1},
               {1, kind->page},
               {0, kind->bytes + kind->page},
               {kind->bytes, kind->page},
               {UINT64_MAX - kind->page + 1, 2 * kind->page},
               {kind->page, UINT64_MAX - kind->page + 1}};
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        const struct pleat_memory_backend *backend = &kind->backend;
        assert_int_equal(pleat_memory_backend_map(backend, bad[i].offset, bad[i].bytes), PLEAT_E_INVALID);
        assert_int_equal(pleat_memory_backend_unmap(backend, bad[i].offset, bad[i].bytes), PLEAT_E_INVALID);
        assert_int_equal(pleat_memory_backend_map_zeroes(backend, bad[i].offset, bad[i].bytes),
                         PLEAT_E_INVALID);
        assert_int_equal(pleat_memory_backend_discard(backend, bad[i].offset, bad[i].bytes), PLEAT_E_INVALID);
    }
}

static void a_closed_backend_leaves_the_reservation_inaccessible(void **state)
{
    struct kind *kind = *state;
    assert_int_equal(map(kind, 0, PAGES), 0);
    fill(kind, 0, PAGES, 1);
    pleat_memory_backend_close(&kind->backend);
    assert_true(touch_faults(kind, 0, READ));
    assert_int_equal(mappings(kind), 1);
    assert_int_equal(pleat_memory_backend_open(&kind->config, kind->at, &kind->backend, NULL, 0), 0);
    assert_int_equal(map(kind, 0, 1), 0);
}

static void prealloc_takes_all_memory_at_map(void **state)
{
    struct kind *kind = *state;
    pleat_memory_backend_close(&kind->backend);
    struct pleat_memory_backend_config config = kind->config;
    config.prealloc = true;
    assert_int_equal(pleat_memory_backend_open(&config, kind->at, &kind->backend, NULL, 0), 0);
    const uint64_t before = pleat_memory_backend_held_bytes(&kind->backend);
    assert_int_equal(map(kind, 4, 4), 0);
    unsigned char resident[PAGES * 512];
    const uint64_t host_page = (uint64_t)sysconf(_SC_PAGESIZE);
    assert_true(4 * kind->page / host_page <= sizeof(resident));
    assert_int_equal(mincore(kind->at + 4 * kind->page, 4 * kind->page, resident), 0);
    for (uint64_t i = 0; i < 4 * kind->page / host_page; i++)
        assert_int_equal(resident[i] & 1, 1);
    if (!kind->file)
        assert_int_equal(pleat_memory_backend_held_bytes(&kind->backend), before + 4 * kind->page);
}

/* ---- Limits of the host --------------------------------------------------------------------------- */

static int device_map(void *context, uint64_t offset, uint64_t bytes)
{
    return pleat_memory_backend_map(context, offset, bytes);
}

static int device_unmap(void *context, uint64_t offset, uint64_t bytes)
{
    return pleat_memory_backend_unmap(context, offset, bytes);
}

static int device_discard(void *context, uint64_t offset, uint64_t bytes)
{
    return pleat_memory_backend_discard(context, offset, bytes);
}

static int ask(struct pleat_virtio_mem_device *device, unsigned type, uint64_t address, unsigned blocks)
{
    struct pleat_virtio_mem_request request;
    uint8_t response[10];
    memset(&request, 0, sizeof(request));
    request.type = pleat_le16((uint16_t)type);
    request.address = pleat_le64(address);
    request.block_count = pleat_le16((uint16_t)blocks);
    return pleat_virtio_mem_device_handle(device, &request, sizeof(request), response);
}

/*   |........|r...|....|   page 4 is a mapping that can't be made writable: those before it have been by then
 */
static void X2_a_map_that_fails_half_way_leaves_nothing_accessible(void **state)
{
    struct kind *kind = *state;
    const int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    assert_true(file >= 0);
    uint8_t *odd = kind->at + 4 * kind->page;
    assert_ptr_equal(mmap(odd, kind->page, PROT_NONE, MAP_SHARED | MAP_FIXED, file, 0), odd);
    close(file);
    assert_int_equal(map(kind, 0, 8), PLEAT_E_NO_MEMORY);
    for (unsigned page = 0; page < PAGES; page++)
        assert_true(touch_faults(kind, page, READ));
}

static void X2_the_limit_on_mappings_is_busy_and_changes_nothing(void **state)
{
    const struct kind *kind = *state;
    unsigned long limit = 65530;
    FILE *file = fopen("/proc/sys/vm/max_map_count", "r");
    if (file) {
        assert_int_equal(fscanf(file, "%lu", &limit), 1);
        fclose(file);
    }
    if (limit > 300000) {
        print_message("# skipped: vm.max_map_count is %lu\n", limit);
        return;
    }
    /* Every second block of 4 KiB, so that each plug needs two mappings more. */
    const uint64_t block = (uint64_t)sysconf(_SC_PAGESIZE);
    struct pleat_memory_backend_config config = kind->config;
    config.bytes = (limit + 1000) * block;
    uint8_t *at = pleat_memory_backend_reserve(config.bytes, 0);
    struct pleat_memory_backend backend;
    assert_int_equal(pleat_memory_backend_open(&config, at, &backend, NULL, 0), 0);

    const uint64_t address = 64 * MiB;
    const struct pleat_virtio_mem_device_config device_config = {.address = address,
                                                                 .region_bytes = config.bytes,
                                                                 .block_bytes = block,
                                                                 .requested_bytes = config.bytes};
    const struct pleat_virtio_mem_device_ops ops = {
        .map = device_map, .unmap = device_unmap, .discard = device_discard};
    const size_t storage_bytes = pleat_virtio_mem_device_storage_bytes(&device_config);
    void *storage = malloc(storage_bytes);
    struct pleat_virtio_mem_device *device;
    assert_int_equal(
        pleat_virtio_mem_device_create(&device_config, &ops, &backend, storage, storage_bytes, &device), 0);
    assert_int_equal(
        pleat_virtio_mem_device_accept(device, UINT64_C(1) << PLEAT_VIRTIO_MEM_F_UNPLUGGED_INACCESSIBLE), 0);

    uint64_t plugged = 0;
    int answer;
    while (!(answer = ask(device, PLEAT_VIRTIO_MEM_REQ_PLUG, address + 2 * plugged * block, 1))) {
        at[2 * plugged * block] = 1;
        plugged++;
    }
    /* From here on nothing may need a mapping (cmocka's messages, malloc) before some are back. */
    const uint64_t plugged_bytes = pleat_virtio_mem_device_plugged_bytes(device);
    const int again = ask(device, PLEAT_VIRTIO_MEM_REQ_PLUG, address + 2 * plugged * block, 1);
    /* A plug that joins two pieces needs none, and makes room for another. */
    const int joining = ask(device, PLEAT_VIRTIO_MEM_REQ_PLUG, address + block, 1);
    const int after = ask(device, PLEAT_VIRTIO_MEM_REQ_PLUG, address + 2 * plugged * block, 1);
    /* An unplug in the middle of three can't split them now, or it can; then it is answered in full. */
    const int all = ask(device, PLEAT_VIRTIO_MEM_REQ_UNPLUG_ALL, 0, 0);

    assert_int_equal(answer, PLEAT_VIRTIO_MEM_RESP_BUSY);
    assert_true(plugged > limit / 2 - 1000);
    assert_int_equal(plugged_bytes, plugged * block);
    assert_int_equal(again, PLEAT_VIRTIO_MEM_RESP_BUSY);
    assert_int_equal(joining, PLEAT_VIRTIO_MEM_RESP_ACK);
    assert_int_equal(after, PLEAT_VIRTIO_MEM_RESP_ACK);
    assert_int_equal(all, PLEAT_VIRTIO_MEM_RESP_ACK);
    assert_int_equal(pleat_virtio_mem_device_plugged_bytes(device), 0);
    assert_int_equal(pleat_memory_backend_held_bytes(&backend), 0);
    assert_int_equal(mappings_of(at, config.bytes), 1);
    pleat_virtio_mem_device_destroy(device);
    free(storage);
    pleat_memory_backend_close(&backend);
    pleat_memory_backend_release(at, config.bytes);
}

static void huge_pages_that_are_not_there_are_no_memory_and_not_a_dead_process(void **state)
{
    (void)state;
    struct pleat_memory_backend_config config = {
        .kind = PLEAT_MEMORY_BACKEND_MEMFD, .bytes = UINT64_C(1) << 50, .huge = true};
    struct pleat_memory_backend backend;
    char why[256];
    /* More than any host has, so that this holds also where huge pages are free. */
    config.bytes = UINT64_C(1) << 45;
    uint8_t *at = pleat_memory_backend_reserve(config.bytes, UINT64_C(1) << 30);
    if (!at) {
        print_message("# skipped: no address space\n");
        return;
    }
    const int error = pleat_memory_backend_open(&config, at, &backend, why, sizeof(why));
    if (error == PLEAT_E_UNSUPPORTED) {
        print_message("# skipped: %s\n", why);
        pleat_memory_backend_release(at, config.bytes);
        return;
    }
    assert_int_equal(error, 0);
    assert_int_equal(pleat_memory_backend_map(&backend, 0, config.bytes), PLEAT_E_NO_MEMORY);
    assert_true(faults(at, READ));
    assert_int_equal(mappings_of(at, config.bytes), 1);
    assert_int_equal(pleat_memory_backend_held_bytes(&backend), 0);
    pleat_memory_backend_close(&backend);
    pleat_memory_backend_release(at, config.bytes);

    config.bytes = (uint64_t)sysconf(_SC_PAGESIZE);
    at = pleat_memory_backend_reserve(config.bytes, 0);
    assert_int_equal(pleat_memory_backend_open(&config, at, &backend, why, sizeof(why)), PLEAT_E_INVALID);
    assert_non_null(strstr(why, "multiple"));
    pleat_memory_backend_release(at, config.bytes);
}

/* Gives the calling process, a child, a file system of its own at /tmp. */
static bool mount_on_tmp(const char *type, const char *options)
{
    return !unshare(CLONE_NEWNS) && !mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) &&
           !mount(type, "/tmp", type, 0, options);
}

/* In a child with a tmpfs of 1 MiB of its own: populate more than it holds. Returns an exit code. */
static int fill_a_small_tmpfs(void)
{
    struct pleat_memory_backend_config config = {.kind = PLEAT_MEMORY_BACKEND_FILE,
                                                 .share = PLEAT_MEMORY_BACKEND_SHARE_ON,
                                                 .path = "/tmp",
                                                 .bytes = 4 * MiB,
                                                 .prealloc = true};
    struct pleat_memory_backend backend;
    if (!mount_on_tmp("tmpfs", "size=1m"))
        return 77;
    uint8_t *at = pleat_memory_backend_reserve(config.bytes, 0);
    if (pleat_memory_backend_open(&config, at, &backend, NULL, 0))
        return 1;
    if (pleat_memory_backend_map(&backend, 0, 512 * KiB))
        return 2;
    memset(at, 0x66, 512 * KiB);
    if (pleat_memory_backend_map(&backend, 512 * KiB, 2 * MiB) != PLEAT_E_NO_MEMORY)
        return 3;
    if (mappings_of(at, config.bytes) != 2 || !faults(at + 512 * KiB, READ) || at[512 * KiB - 1] != 0x66)
        return 4;
    /* What had been populated when it failed was given back, so that less can still be had. */
    if (pleat_memory_backend_held_bytes(&backend) != 512 * KiB ||
        pleat_memory_backend_map(&backend, 512 * KiB, 256 * KiB))
        return 5;
    pleat_memory_backend_close(&backend);
    return 0;
}

/* In a child with a ramfs, whose files have no holes. */
static int open_on_a_ramfs(void)
{
    struct pleat_memory_backend_config config = {
        .kind = PLEAT_MEMORY_BACKEND_FILE, .path = "/tmp", .bytes = 64 * KiB};
    struct pleat_memory_backend backend;
    char why[256];
    if (!mount_on_tmp("ramfs", NULL))
        return 77;
    uint8_t *at = pleat_memory_backend_reserve(config.bytes, 0);
    config.share = PLEAT_MEMORY_BACKEND_SHARE_ON;
    if (pleat_memory_backend_open(&config, at, &backend, why, sizeof(why)) != PLEAT_E_UNSUPPORTED ||
        !strstr(why, "give memory back"))
        return 1;
    /* A private file keeps its blocks anyway. */
    config.share = PLEAT_MEMORY_BACKEND_SHARE_OFF;
    if (pleat_memory_backend_open(&config, at, &backend, why, sizeof(why)))
        return 2;
    pleat_memory_backend_close(&backend);
    return 0;
}

static void run_in_child(int (*body)(void))
{
    int status;
    fflush(NULL);
    const pid_t child = fork();
    assert_true(child >= 0);
    if (!child)
        exit(body());
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77)
        print_message("# skipped: a file system of its own can't be had\n");
    else
        assert_int_equal(WEXITSTATUS(status), 0);
}

static void X2_memory_that_cannot_be_populated_is_no_memory_and_what_was_is_given_back(void **state)
{
    (void)state;
    run_in_child(fill_a_small_tmpfs);
}

static void a_file_system_that_cannot_give_memory_back_is_refused(void **state)
{
    (void)state;
    run_in_child(open_on_a_ramfs);
}

static void X2_a_file_that_was_cut_meanwhile_is_no_memory_and_not_a_dead_process(void **state)
{
    (void)state;
    char path[64];
    snprintf(path, sizeof(path), "/tmp/pleat-test-%d", (int)getpid());
    for (int shared = 0; shared < 2; shared++) {
        const struct pleat_memory_backend_config config = {.kind = PLEAT_MEMORY_BACKEND_FILE,
                                                           .share = shared ? PLEAT_MEMORY_BACKEND_SHARE_ON
                                                                           : PLEAT_MEMORY_BACKEND_SHARE_OFF,
                                                           .bytes = 64 * KiB,
                                                           .path = path,
                                                           .prealloc = true};
        struct pleat_memory_backend backend;
        uint8_t *at = pleat_memory_backend_reserve(64 * KiB, 0);
        write_file(path, 64 * KiB, 0x12);
        assert_int_equal(pleat_memory_backend_open(&config, at, &backend, NULL, 0), 0);
        assert_int_equal(truncate(path, 16 * KiB), 0);
        assert_int_equal(pleat_memory_backend_map(&backend, 0, 32 * KiB), PLEAT_E_NO_MEMORY);
        assert_true(faults(at, READ));
        assert_int_equal(mappings_of(at, 64 * KiB), 1);
        pleat_memory_backend_close(&backend);
        pleat_memory_backend_release(at, 64 * KiB);
        unlink(path);
    }
}

/* ---- Opening -------------------------------------------------------------------------------------- */

static void what_contradicts_itself_is_refused_with_a_sentence(void **state)
{
    (void)state;
    const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    const struct {
        struct pleat_memory_backend_config config;
        int error;
        const char *about;
    } cases[] = {
        {{.bytes = 0}, PLEAT_E_INVALID, "size"},
        {{.bytes = page + 1}, PLEAT_E_INVALID, "multiple"},
        {{.kind = PLEAT_MEMORY_BACKEND_MEMFD, .bytes = page + 1}, PLEAT_E_INVALID, "multiple"},
        {{.kind = PLEAT_MEMORY_BACKEND_FILE, .bytes = page}, PLEAT_E_INVALID, "path"},
        {{.kind = PLEAT_MEMORY_BACKEND_FILE, .bytes = page, .path = ""}, PLEAT_E_INVALID, "path"},
        {{.kind = PLEAT_MEMORY_BACKEND_FILE, .bytes = page, .path = "/no/such/file"},
         PLEAT_E_NOT_FOUND,
         "/no/such/file"},
        {{.kind = PLEAT_MEMORY_BACKEND_FILE, .bytes = page, .path = "/dev/null"},
         PLEAT_E_UNSUPPORTED,
         "/dev/null"},
        {{.kind = PLEAT_MEMORY_BACKEND_FILE, .bytes = page + 1, .path = "/tmp"}, PLEAT_E_INVALID, "multiple"},
        {{.kind = PLEAT_MEMORY_BACKEND_FILE, .bytes = UINT64_C(1) << 63, .path = "/tmp"},
         PLEAT_E_UNSUPPORTED,
         "that large"},
        {{.kind = PLEAT_MEMORY_BACKEND_MEMFD, .bytes = UINT64_C(1) << 63}, PLEAT_E_UNSUPPORTED, "that large"},
        {{.bytes = page, .huge = true}, PLEAT_E_INVALID, "memfd"},
        {{.bytes = page, .huge_bytes = 2 * MiB}, PLEAT_E_INVALID, "hugetlb"},
        {{.kind = PLEAT_MEMORY_BACKEND_MEMFD, .bytes = 2 * MiB, .huge = true, .huge_bytes = 3 * MiB},
         PLEAT_E_INVALID,
         "power of two"},
        {{.kind = PLEAT_MEMORY_BACKEND_MEMFD, .bytes = 8 * KiB, .huge = true, .huge_bytes = 8 * KiB},
         PLEAT_E_UNSUPPORTED,
         "huge pages"},
        {{.kind = PLEAT_MEMORY_BACKEND_MEMFD,
          .share = PLEAT_MEMORY_BACKEND_SHARE_OFF,
          .bytes = 2 * MiB,
          .huge = true},
         PLEAT_E_INVALID,
         "share=on"},
        {{.bytes = page, .host_nodes = 1}, PLEAT_E_INVALID, "policy"},
        {{.bytes = page, .policy = PLEAT_MEMORY_BACKEND_POLICY_BIND}, PLEAT_E_INVALID, "host-nodes"},
        {{.bytes = page, .policy = (enum pleat_memory_backend_policy)9, .host_nodes = 1},
         PLEAT_E_INVALID,
         "policy"},
    };
    uint8_t *at = pleat_memory_backend_reserve(16 * MiB, 2 * MiB);
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct pleat_memory_backend backend = {.fd = 12345};
        char why[256] = "";
        const int error = pleat_memory_backend_open(&cases[i].config, at, &backend, why, sizeof(why));
        if (error != cases[i].error || !strstr(why, cases[i].about))
            fail_msg("case %zu: %d, \"%s\"", i, error, why);
        assert_int_equal(backend.fd, 12345);
        assert_int_equal(pleat_memory_backend_open(&cases[i].config, at, &backend, NULL, 0), cases[i].error);
    }
    const struct pleat_memory_backend_config good = {.bytes = page};
    struct pleat_memory_backend backend;
    assert_int_equal(pleat_memory_backend_open(&good, at + 1, &backend, NULL, 0), PLEAT_E_INVALID);
    assert_int_equal(pleat_memory_backend_open(&good, NULL, &backend, NULL, 0), PLEAT_E_INVALID);
    assert_true(faults(at, READ));
    assert_int_equal(mappings_of(at, 16 * MiB), 1);
    pleat_memory_backend_release(at, 16 * MiB);
}

static void a_file_is_made_enlarged_or_refused_and_never_cut(void **state)
{
    (void)state;
    char path[64];
    struct stat status;
    struct pleat_memory_backend backend;
    char why[256];
    snprintf(path, sizeof(path), "/tmp/pleat-test-%d", (int)getpid());
    const struct pleat_memory_backend_config config = {.kind = PLEAT_MEMORY_BACKEND_FILE,
                                                       .share = PLEAT_MEMORY_BACKEND_SHARE_ON,
                                                       .bytes = 64 * KiB,
                                                       .path = path};
    uint8_t *at = pleat_memory_backend_reserve(64 * KiB, 0);

    unlink(path);
    assert_int_equal(pleat_memory_backend_open(&config, at, &backend, NULL, 0), 0);
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_size, 64 * KiB);
    assert_int_equal(pleat_memory_backend_map(&backend, 0, 64 * KiB), 0);
    memset(at, 0x6b, 64 * KiB);
    pleat_memory_backend_close(&backend);

    /* Opened again it is as it was. */
    assert_int_equal(pleat_memory_backend_open(&config, at, &backend, NULL, 0), 0);
    assert_int_equal(pleat_memory_backend_map(&backend, 0, 64 * KiB), 0);
    for (uint64_t i = 0; i < 64 * KiB; i++)
        assert_int_equal(at[i], 0x6b);
    pleat_memory_backend_close(&backend);

    write_file(path, 128 * KiB, 0x12);
    assert_int_equal(pleat_memory_backend_open(&config, at, &backend, NULL, 0), 0);
    pleat_memory_backend_close(&backend);
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_size, 128 * KiB);

    write_file(path, 4 * KiB, 0x12);
    assert_int_equal(pleat_memory_backend_open(&config, at, &backend, why, sizeof(why)), PLEAT_E_INVALID);
    assert_non_null(strstr(why, "4096"));
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_size, 4 * KiB);
    unlink(path);
    pleat_memory_backend_release(at, 64 * KiB);
}

static void a_private_file_is_never_written(void **state)
{
    (void)state;
    char path[64], content[4096];
    struct pleat_memory_backend backend;
    snprintf(path, sizeof(path), "/tmp/pleat-test-%d", (int)getpid());
    write_file(path, 64 * KiB, 0x12);
    const struct pleat_memory_backend_config config = {
        .kind = PLEAT_MEMORY_BACKEND_FILE, .bytes = 64 * KiB, .path = path};
    uint8_t *at = pleat_memory_backend_reserve(64 * KiB, 0);
    assert_int_equal(pleat_memory_backend_open(&config, at, &backend, NULL, 0), 0);
    assert_int_equal(backend.fd, -1);
    assert_int_equal(pleat_memory_backend_map(&backend, 0, 64 * KiB), 0);
    memset(at, 0x34, 64 * KiB);
    assert_int_equal(pleat_memory_backend_unmap(&backend, 0, 64 * KiB), 0);
    assert_int_equal(pleat_memory_backend_discard(&backend, 0, 64 * KiB), 0);
    pleat_memory_backend_close(&backend);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    assert_int_equal(fread(content, sizeof(content), 1, file), 1);
    fclose(file);
    for (size_t i = 0; i < sizeof(content); i++)
        assert_int_equal(content[i], 0x12);
    unlink(path);
    pleat_memory_backend_release(at, 64 * KiB);
}

static void memory_is_bound_to_host_nodes_where_there_are_any(void **state)
{
    (void)state;
    const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    struct pleat_memory_backend backend;
    char why[256];
    uint8_t *at = pleat_memory_backend_reserve(16 * page, 0);
    struct pleat_memory_backend_config config = {
        .bytes = 16 * page, .policy = PLEAT_MEMORY_BACKEND_POLICY_BIND, .host_nodes = UINT64_C(1) << 63};
    assert_int_equal(pleat_memory_backend_open(&config, at, &backend, why, sizeof(why)), PLEAT_E_UNSUPPORTED);
    if (numa_available() < 0) {
        assert_non_null(strstr(why, "NUMA"));
        pleat_memory_backend_release(at, 16 * page);
        return;
    }
    assert_non_null(strstr(why, "node 63"));

    static const int modes[] = {MPOL_PREFERRED, MPOL_BIND, MPOL_INTERLEAVE};
    for (int shared = 0; shared < 2; shared++)
        for (unsigned policy = 1; policy <= 3; policy++) {
            unsigned long nodes[16] = {0};
            int mode = -1;
            config.share = shared ? PLEAT_MEMORY_BACKEND_SHARE_ON : PLEAT_MEMORY_BACKEND_SHARE_OFF;
            config.policy = (enum pleat_memory_backend_policy)policy;
            config.host_nodes = 1;
            config.prealloc = true;
            assert_int_equal(pleat_memory_backend_open(&config, at, &backend, why, sizeof(why)), 0);
            assert_int_equal(pleat_memory_backend_map(&backend, 0, 4 * page), 0);
            assert_int_equal(pleat_memory_backend_map(&backend, 8 * page, 4 * page), 0);
            assert_int_equal(pleat_memory_backend_map(&backend, 4 * page, 4 * page), 0);
            assert_int_equal(get_mempolicy(&mode, nodes, 1024, at + 5 * page, MPOL_F_ADDR), 0);
            assert_int_equal(mode, modes[policy - 1]);
            assert_int_equal(nodes[0], 1);
            assert_int_equal(mappings_of(at, 12 * page), 1);
            pleat_memory_backend_close(&backend);
        }
    pleat_memory_backend_release(at, 16 * page);
}

static void reservations_are_aligned_and_inaccessible(void **state)
{
    (void)state;
    for (uint64_t alignment = 1; alignment <= UINT64_C(1) << 30; alignment *= 2) {
        uint8_t *at = pleat_memory_backend_reserve(3 * MiB, alignment);
        assert_non_null(at);
        assert_int_equal((uintptr_t)at % alignment, 0);
        assert_int_equal(mappings_of(at, 3 * MiB), 1);
        pleat_memory_backend_release(at, 3 * MiB);
    }
    uint8_t *at = pleat_memory_backend_reserve(MiB, 0);
    assert_true(faults(at, READ));
    pleat_memory_backend_release(at, MiB);
    assert_null(pleat_memory_backend_reserve(0, 0));
    assert_null(pleat_memory_backend_reserve(MiB + 1, 0));
    assert_null(pleat_memory_backend_reserve(MiB, 3 * MiB));
    assert_null(pleat_memory_backend_reserve(UINT64_C(1) << 62, 0));
    assert_null(pleat_memory_backend_reserve(UINT64_MAX & ~(MiB - 1), MiB));
    pleat_memory_backend_release(NULL, MiB);
}

/* One program runs all kinds; a test's name is followed by the kind's. */
static struct kind kinds[] = {
    {.name = "anonymous", .config = {.kind = PLEAT_MEMORY_BACKEND_ANONYMOUS}},
    {.name = "anonymous, shared",
     .config = {.kind = PLEAT_MEMORY_BACKEND_ANONYMOUS, .share = PLEAT_MEMORY_BACKEND_SHARE_ON}},
    {.name = "memfd", .config = {.kind = PLEAT_MEMORY_BACKEND_MEMFD}},
    {.name = "memfd, private",
     .config = {.kind = PLEAT_MEMORY_BACKEND_MEMFD, .share = PLEAT_MEMORY_BACKEND_SHARE_OFF}},
    {.name = "folder",
     .config = {.kind = PLEAT_MEMORY_BACKEND_FILE,
                .share = PLEAT_MEMORY_BACKEND_SHARE_ON,
                .path = "/dev/shm"}},
    {.name = "file, private", .config = {.kind = PLEAT_MEMORY_BACKEND_FILE}, .file = true},
    {.name = "file, shared",
     .config = {.kind = PLEAT_MEMORY_BACKEND_FILE, .share = PLEAT_MEMORY_BACKEND_SHARE_ON},
     .file = true},
    {.name = "memfd, huge", .config = {.kind = PLEAT_MEMORY_BACKEND_MEMFD, .huge = true}, .huge = true},
};

enum { KINDS = sizeof(kinds) / sizeof(*kinds) };

static const struct {
    const char *name;
    CMUnitTestFunction function;
} for_each_kind[] = {
#define EACH(test)                                                                                           \
    {                                                                                                        \
#test, test                                                                                          \
    }
    EACH(nothing_is_accessible_at_first),
    EACH(D_OP1_D_OP4_mapped_memory_can_be_read_and_written_and_its_neighbours_cannot),
    EACH(unmapped_memory_faults_and_keeps_what_it_holds_until_it_is_discarded),
    EACH(D_OP2_discarded_memory_is_gone_from_the_host),
    EACH(neighbouring_pieces_share_a_mapping),
    EACH(the_count_of_mappings_stays_low_in_a_random_run),
    EACH(D_OP5_zeroes_can_be_read_and_not_written_and_take_no_memory),
    EACH(ranges_outside_or_misaligned_are_refused),
    EACH(a_closed_backend_leaves_the_reservation_inaccessible),
    EACH(prealloc_takes_all_memory_at_map),
};

enum { EACH_COUNT = sizeof(for_each_kind) / sizeof(*for_each_kind) };

int main(void)
{
    static const struct CMUnitTest alone[] = {
        {"X2_a_map_that_fails_half_way_leaves_nothing_accessible (anonymous)",
         X2_a_map_that_fails_half_way_leaves_nothing_accessible, setup, teardown, &kinds[0]},
        {"X2_a_map_that_fails_half_way_leaves_nothing_accessible (file, private)",
         X2_a_map_that_fails_half_way_leaves_nothing_accessible, setup, teardown, &kinds[5]},
        cmocka_unit_test_prestate(X2_the_limit_on_mappings_is_busy_and_changes_nothing, &kinds[0]),
        cmocka_unit_test_prestate(X2_the_limit_on_mappings_is_busy_and_changes_nothing, &kinds[2]),
        cmocka_unit_test(huge_pages_that_are_not_there_are_no_memory_and_not_a_dead_process),
        cmocka_unit_test(X2_memory_that_cannot_be_populated_is_no_memory_and_what_was_is_given_back),
        cmocka_unit_test(a_file_system_that_cannot_give_memory_back_is_refused),
        cmocka_unit_test(X2_a_file_that_was_cut_meanwhile_is_no_memory_and_not_a_dead_process),
        cmocka_unit_test(what_contradicts_itself_is_refused_with_a_sentence),
        cmocka_unit_test(a_file_is_made_enlarged_or_refused_and_never_cut),
        cmocka_unit_test(a_private_file_is_never_written),
        cmocka_unit_test(memory_is_bound_to_host_nodes_where_there_are_any),
        cmocka_unit_test(reservations_are_aligned_and_inaccessible),
    };
    enum { ALONE_COUNT = sizeof(alone) / sizeof(*alone) };
    static struct CMUnitTest tests[KINDS * EACH_COUNT + ALONE_COUNT];
    static char names[KINDS * EACH_COUNT][160];
    size_t count = 0;

    for (size_t kind = 0; kind < KINDS; kind++) {
        if (kinds[kind].huge && !free_huge_page_bytes()) {
            printf("# %s isn't tested: the host has too few free huge pages\n", kinds[kind].name);
            continue;
        }
        for (size_t test = 0; test < EACH_COUNT; test++) {
            snprintf(names[count], sizeof(names[count]), "%s (%s)", for_each_kind[test].name,
                     kinds[kind].name);
            tests[count] = (struct CMUnitTest){.name = names[count],
                                               .test_func = for_each_kind[test].function,
                                               .setup_func = setup,
                                               .teardown_func = teardown,
                                               .initial_state = &kinds[kind]};
            count++;
        }
    }
    memcpy(tests + count, alone, sizeof(alone));
    return _cmocka_run_group_tests("backends", tests, count + ALONE_COUNT, NULL, NULL);
}

/* SPDX-License-Identifier: MIT
 *
 * What metadata costs: bytes of memmap for each memory block, by the size of a frame and of an owner's word,
 * and bytes of the core's own tables, by CPUs, nodes and the highest address. Asked of real instances, whose
 * memory is address space that is hardly touched. With --stack: how deep the stack gets in the functions of
 * the core, which depends on the compiler, measured on a thread whose stack was painted beforehand.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <pleat/hosted.h>
#include <pleat/pleat.h>

#define SPACE_BYTES ((size_t)8 << 30)

static unsigned frame_shift;

static void *frame_pointer(void *context, uint64_t pfn)
{
    return (unsigned char *)context + (pfn << frame_shift);
}

/* Makes an instance over the first two memory blocks; ends the program if it can't be. */
static void init(struct pleat *pleat, unsigned char *memory, struct pleat_config config)
{
    static struct pleat_port port = {.frame_pointer = frame_pointer};
    const struct pleat_boot_span boot = {.frames = (uint64_t)2 * 64 * PLEAT_PAGEBLOCK_FRAMES};

    *pleat = (struct pleat){{0}};
    frame_shift = config.frame_shift;
    port.context = memory;
    config.port = &port;
    if (pleat_init(pleat, &config, &boot, 1)) {
        fprintf(stderr, "footprint: no instance\n");
        _Exit(1);
    }
}

/* --- stack --- */

enum { STACK_BYTES = 256 << 10, PAINT = 0xa5, BLOCK = 64 * PLEAT_PAGEBLOCK_FRAMES };

static struct pleat machine;
static unsigned owner;
static int64_t held[2000];

static int isolate(void *context, uint64_t pfn, unsigned order, uint64_t cookie)
{
    (void)context;
    (void)pfn;
    (void)order;
    (void)cookie;
    return PLEAT_OK;
}

static int migrate(void *context, uint64_t from_pfn, uint64_t to_pfn, unsigned order, uint64_t cookie)
{
    (void)context;
    (void)from_pfn;
    (void)order;
    held[cookie] = (int64_t)to_pfn;
    return PLEAT_OK;
}

static void putback(void *context, uint64_t pfn, unsigned order, uint64_t cookie)
{
    (void)isolate(context, pfn, order, cookie);
}

static const struct pleat_owner_ops mover = {.isolate = isolate, .migrate = migrate, .putback = putback};

static void allocate(void)
{
    for (unsigned i = 0; i < 2000; i++)
        held[i] = pleat_alloc(&machine, i % 3, PLEAT_MOVABLE, pleat_tag_make(owner, i));
}

static void free_half(void)
{
    for (unsigned i = 0; i < 2000; i += 2) {
        if (held[i] >= 0 && pleat_free(&machine, (uint64_t)held[i], i % 3))
            _Exit(1);
    }
}

static void add_and_online(void)
{
    const struct pleat_range_config range = {.name = "more",
                                             .owner = held,
                                             .start_pfn = 2 * BLOCK,
                                             .frames = BLOCK,
                                             .flags = PLEAT_ADD_FORCE_ONLINE,
                                             .force_zone = PLEAT_ZONE_MOVABLE};

    if (pleat_add(&machine, &range))
        _Exit(1);
}

static int each(void *context, uint64_t pfn, unsigned order, unsigned who)
{
    return isolate(context, pfn, order, who);
}

static void look(void)
{
    struct pleat_look look;

    if (pleat_look(&machine, 0, 2 * BLOCK, &look) || pleat_obstacles(&machine, 0, 2 * BLOCK, each, NULL))
        _Exit(1);
}

static void take_and_remove(void)
{
    const struct pleat_take_config config = {
        .start_pfn = 2 * BLOCK, .frames = BLOCK, .goal = PLEAT_TAKE_TO_OFFLINE, .owner = held};
    struct pleat_take take;
    int result = pleat_take_begin(&machine, &take, &config);

    if (!result) {
        do
            result = pleat_take_step(&machine, &take, 512);
        while (result == PLEAT_MORE);
    }
    if (result || pleat_remove(&machine, held, 2 * BLOCK, BLOCK))
        _Exit(1);
}

/* Paints what lies below the frame of this function, calls, and looks how far down the paint is gone. */
struct call {
    void (*function)(void);
    size_t bytes;
};
static _Alignas(4096) unsigned char stack[STACK_BYTES];

__attribute__((noinline)) static void *call(void *context)
{
    struct call *call = context;
    const unsigned char *here = __builtin_frame_address(0);
    size_t clean = 0;

    pleat_hosted_cpu_set(0);
    memset(stack, PAINT, (size_t)(here - stack) - 256);
    call->function();
    while (stack[clean] == PAINT)
        clean++;
    call->bytes = (size_t)(here - stack) - clean;
    return NULL;
}

static size_t depth(void (*function)(void))
{
    struct call run = {.function = function};
    pthread_attr_t attributes;
    pthread_t thread;

    pthread_attr_init(&attributes);
    pthread_attr_setstack(&attributes, stack, sizeof(stack));
    if (pthread_create(&thread, &attributes, call, &run))
        _Exit(1);
    pthread_join(thread, NULL);
    pthread_attr_destroy(&attributes);
    return run.bytes;
}

static int show_stack(unsigned char *memory)
{
    static const struct {
        const char *what;
        void (*function)(void);
    } rows[] = {{"add and online", add_and_online},
                {"allocate", allocate},
                {"look, obstacles", look},
                {"free", free_half},
                {"take and remove", take_and_remove}};

    init(&machine, memory, (struct pleat_config){.cpus = 1, .highest_pfn = 3 * BLOCK, .frame_shift = 12});
    owner = (unsigned)pleat_owner_register(&machine, "mover", &mover, NULL);
    puts("bytes of stack in all, the embedder's callbacks included");
    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        printf("%8zu  %s\n", depth(rows[i].function), rows[i].what);
    return 0;
}

int main(int argc, char **argv)
{
    static const unsigned shifts[] = {12, 14, 16};
    static const unsigned words[] = {PLEAT_NO_OWNER_WORD, 8, 16};
    static const struct {
        unsigned cpus, nodes, gib;
    } machines[] = {{1, 1, 4}, {4, 2, 20}, {64, 2, 1024}, {256, 8, 16384}};
    unsigned char *memory =
        mmap(NULL, SPACE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    struct pleat pleat;

    if (memory == MAP_FAILED)
        return 1;
    pleat_hosted_cpu_set(0);
    if (argc > 1 && !strcmp(argv[1], "--stack"))
        return show_stack(memory);
    puts("frame   owner's word  memory block  its memmap  in frames  bytes a frame  of the memory");
    for (unsigned i = 0; i < 3; i++) {
        for (unsigned k = 0; k < 3; k++) {
            init(&pleat, memory,
                 (struct pleat_config){
                     .cpus = 1, .highest_pfn = 131072, .frame_shift = shifts[i], .owner_bytes = words[k]});
            const unsigned bytes = (unsigned)pleat_memmap_bytes(&pleat);
            const unsigned frames = (unsigned)pleat_block_frames(&pleat);
            printf("%2u KiB  %8u B  %8u MiB  %8u B  %9u  %13.2f  %11.4f %%\n", 1u << (shifts[i] - 10),
                   words[k] == PLEAT_NO_OWNER_WORD ? 0 : words[k], frames >> (20 - shifts[i]), bytes,
                   (unsigned)pleat_memmap_frames(&pleat), (double)bytes / frames,
                   100.0 * (double)(pleat_memmap_frames(&pleat)) / frames);
        }
    }
    puts("\nCPUs  nodes  highest address  tables in boot memory");
    for (unsigned i = 0; i < sizeof(machines) / sizeof(machines[0]); i++) {
        init(&pleat, memory,
             (struct pleat_config){.cpus = machines[i].cpus,
                                   .nodes = machines[i].nodes,
                                   .frame_shift = 12,
                                   .highest_pfn = (uint64_t)machines[i].gib << 18});
        printf("%4u  %5u  %11u GiB  %19u B\n", machines[i].cpus, machines[i].nodes, machines[i].gib,
               (unsigned)pleat_table_bytes(&pleat));
    }
    printf("\nstruct pleat %zu B, struct pleat_take %zu B, struct pleat_memory_job %zu B\n",
           sizeof(struct pleat), sizeof(struct pleat_take), sizeof(struct pleat_memory_job));
    return 0;
}

/* SPDX-License-Identifier: MIT
 *
 * The range tree: by examples, and by random changes held against an array of intervals. PLEAT_SEED reruns
 * one random run alone, PLEAT_STEPS sets its length.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <pleat/resource.h>

#include "tests/support/random.h"

static struct pleat_resource make(const char *name, uint64_t start, uint64_t last)
{
    return (struct pleat_resource){.name = name, .start = start, .last = last};
}

static void is_line(const struct pleat_resource *root, const struct pleat_resource *node, const char *wanted)
{
    char line[128];
    assert_int_equal(pleat_resource_format(root, node, line, sizeof(line)), strlen(wanted));
    assert_string_equal(line, wanted);
}

static void tree_prints_like_proc_iomem(void **state)
{
    (void)state;
    struct pleat_resource root = make("PCI mem", 0, UINT64_MAX);
    struct pleat_resource low = make("System RAM", 0x1000, 0x9fbff);
    struct pleat_resource ram = make("System RAM", 0x100000, 0x7fffffff);
    struct pleat_resource kernel = make("Kernel code", 0x1000000, 0x1ffffff);
    struct pleat_resource tables = make("tables", 0x1000000, 0x1000fff);
    struct pleat_resource device = make(NULL, UINT64_C(0x140000000), UINT64_C(0x33fffffff));
    struct pleat_resource range = make("virtio-mem vm0", UINT64_C(0x140000000), UINT64_C(0x1bfffffff));
    struct pleat_resource end = make("end", UINT64_MAX - 0xfff, UINT64_MAX);
    assert_int_equal(pleat_resource_insert(&root, &ram, NULL), 0);
    assert_int_equal(pleat_resource_insert(&root, &end, NULL), 0);
    assert_int_equal(pleat_resource_insert(&root, &low, NULL), 0);
    assert_int_equal(pleat_resource_insert(&ram, &kernel, NULL), 0);
    assert_int_equal(pleat_resource_insert(&kernel, &tables, NULL), 0);
    assert_int_equal(pleat_resource_insert(&root, &device, NULL), 0);
    assert_int_equal(pleat_resource_insert(&device, &range, NULL), 0);
    assert_true(pleat_resource_is_valid(&root));

    static const char *const wanted[] = {
        "00001000-0009fbff : System RAM",
        "00100000-7fffffff : System RAM",
        "  01000000-01ffffff : Kernel code",
        "    01000000-01000fff : tables",
        "140000000-33fffffff : ?",
        "  140000000-1bfffffff : virtio-mem vm0",
        "fffffffffffff000-ffffffffffffffff : end",
    };
    const struct pleat_resource *node = &root;
    for (unsigned i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
        node = pleat_resource_next(&root, node);
        assert_non_null(node);
        is_line(&root, node, wanted[i]);
    }
    assert_null(pleat_resource_next(&root, node));

    /* A part of the tree prints by itself. */
    assert_ptr_equal(pleat_resource_next(&ram, &ram), &kernel);
    is_line(&ram, &kernel, "01000000-01ffffff : Kernel code");
    assert_null(pleat_resource_next(&ram, &tables));
    assert_null(pleat_resource_next(&end, &end));
}

static void line_is_cut_to_the_buffer(void **state)
{
    (void)state;
    struct pleat_resource root = make("root", 0, UINT64_MAX);
    struct pleat_resource node = make("ab", 0, 1);
    const char *whole = "00000000-00000001 : ab";
    assert_int_equal(pleat_resource_insert(&root, &node, NULL), 0);
    for (size_t bytes = 0; bytes < 30; bytes++) {
        char line[32];
        memset(line, '#', sizeof(line));
        assert_int_equal(pleat_resource_format(&root, &node, line, bytes), strlen(whole));
        size_t kept = bytes < strlen(whole) + 1 ? (bytes ? bytes - 1 : 0) : strlen(whole);
        assert_memory_equal(line, whole, kept);
        if (bytes)
            assert_int_equal(line[kept], 0);
        assert_int_equal(line[bytes ? kept + 1 : 0], '#');
    }
}

static void describe_refuses_what_wraps(void **state)
{
    (void)state;
    struct pleat_resource node = make("old", 1, 2);
    assert_int_equal(pleat_resource_describe(&node, "new", 5, 0), PLEAT_E_INVALID);
    assert_int_equal(pleat_resource_describe(&node, "new", UINT64_MAX, 2), PLEAT_E_INVALID);
    assert_int_equal(pleat_resource_describe(&node, "new", 2, UINT64_MAX), PLEAT_E_INVALID);
    assert_string_equal(node.name, "old");
    assert_int_equal(node.start, 1);
    assert_int_equal(node.last, 2);
    assert_int_equal(pleat_resource_describe(&node, "new", UINT64_MAX, 1), 0);
    assert_true(node.start == UINT64_MAX && node.last == UINT64_MAX);
    assert_int_equal(pleat_resource_describe(&node, "new", 1, UINT64_MAX), 0);
    assert_true(node.start == 1 && node.last == UINT64_MAX);
    assert_string_equal(node.name, "new");
}

/*
 *   parent   100 ......................................... 199
 *   a            110..119
 *   b                          140..149
 */
static void insert_names_the_conflict(void **state)
{
    (void)state;
    struct pleat_resource parent = make("parent", 100, 199);
    struct pleat_resource a = make("a", 110, 119);
    struct pleat_resource b = make("b", 140, 149);
    struct pleat_resource *conflict = &b;
    assert_int_equal(pleat_resource_insert(&parent, &b, &conflict), 0);
    assert_null(conflict);
    assert_int_equal(pleat_resource_insert(&parent, &a, &conflict), 0);

    static const struct {
        uint64_t start, last;
        int error;
        int who; /* 0: parent, 1: a, 2: b, 3: the new one */
    } cases[] = {
        {119, 120, PLEAT_E_EXISTS, 1},  {105, 110, PLEAT_E_EXISTS, 1},  {112, 113, PLEAT_E_EXISTS, 1},
        {100, 199, PLEAT_E_EXISTS, 1},  {120, 199, PLEAT_E_EXISTS, 2},  {149, 149, PLEAT_E_EXISTS, 2},
        {99, 105, PLEAT_E_INVALID, 0},  {190, 200, PLEAT_E_INVALID, 0}, {0, 50, PLEAT_E_INVALID, 0},
        {130, 129, PLEAT_E_INVALID, 3}, {99, 200, PLEAT_E_INVALID, 0},
    };
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct pleat_resource node = make("new", cases[i].start, cases[i].last);
        struct pleat_resource *who[] = {&parent, &a, &b, &node};
        assert_int_equal(pleat_resource_insert(&parent, &node, &conflict), cases[i].error);
        assert_ptr_equal(conflict, who[cases[i].who]);
        assert_null(node.parent);
        assert_int_equal(pleat_resource_insert(&parent, &node, NULL), cases[i].error);
    }
    assert_ptr_equal(parent.child, &a);
    assert_ptr_equal(a.next, &b);
    assert_null(b.next);

    /* Neighbours touch, but don't overlap. */
    struct pleat_resource between = make("between", 120, 139);
    assert_int_equal(pleat_resource_insert(&parent, &between, NULL), 0);
    assert_ptr_equal(a.next, &between);
    assert_ptr_equal(between.next, &b);
}

static void a_node_is_in_one_tree_once(void **state)
{
    (void)state;
    struct pleat_resource root = make("root", 0, 99);
    struct pleat_resource other = make("other", 0, 99);
    struct pleat_resource node = make("node", 10, 19);
    struct pleat_resource *conflict;
    assert_int_equal(pleat_resource_insert(&root, &node, NULL), 0);
    assert_int_equal(pleat_resource_insert(&root, &node, &conflict), PLEAT_E_STATE);
    assert_ptr_equal(conflict, &node);
    assert_int_equal(pleat_resource_insert(&other, &node, NULL), PLEAT_E_STATE);
    assert_int_equal(pleat_resource_insert_over(&other, &node, NULL), PLEAT_E_STATE);
    /* No circles. */
    assert_int_equal(pleat_resource_insert(&node, &root, NULL), PLEAT_E_STATE);
    assert_int_equal(pleat_resource_insert(&root, &root, NULL), PLEAT_E_STATE);
    assert_int_equal(pleat_resource_remove(&node), 0);
    assert_int_equal(pleat_resource_remove(&node), PLEAT_E_NOT_FOUND);
    assert_int_equal(pleat_resource_remove_lift(&root), PLEAT_E_NOT_FOUND);
    assert_int_equal(pleat_resource_insert(&other, &node, NULL), 0);
}

/*
 *   a    10..19
 *   b          20..29
 *   c                     40..49
 *   window 10............39
 */
static void a_window_adopts_what_it_covers_and_lifts_it_again(void **state)
{
    (void)state;
    struct pleat_resource root = make("root", 0, 99);
    struct pleat_resource a = make("a", 10, 19), b = make("b", 20, 29), c = make("c", 40, 49);
    struct pleat_resource window = make("window", 10, 39);
    struct pleat_resource in_part = make("in part", 15, 39), within = make("within", 42, 45);
    struct pleat_resource *conflict;
    assert_int_equal(pleat_resource_insert(&root, &a, NULL), 0);
    assert_int_equal(pleat_resource_insert(&root, &b, NULL), 0);
    assert_int_equal(pleat_resource_insert(&root, &c, NULL), 0);

    assert_int_equal(pleat_resource_insert_over(&root, &in_part, &conflict), PLEAT_E_EXISTS);
    assert_ptr_equal(conflict, &a);
    assert_int_equal(pleat_resource_insert_over(&root, &within, &conflict), PLEAT_E_EXISTS);
    assert_ptr_equal(conflict, &c);

    assert_int_equal(pleat_resource_insert_over(&root, &window, &conflict), 0);
    assert_null(conflict);
    assert_true(pleat_resource_is_valid(&root));
    assert_ptr_equal(root.child, &window);
    assert_ptr_equal(window.child, &a);
    assert_ptr_equal(a.parent, &window);
    assert_ptr_equal(b.parent, &window);
    assert_null(b.next);
    assert_ptr_equal(window.next, &c);
    assert_ptr_equal(c.parent, &root);

    assert_int_equal(pleat_resource_remove(&window), PLEAT_E_STATE);
    assert_ptr_equal(window.parent, &root);
    assert_int_equal(pleat_resource_remove_lift(&window), 0);
    assert_true(pleat_resource_is_valid(&root));
    assert_ptr_equal(root.child, &a);
    assert_ptr_equal(a.parent, &root);
    assert_ptr_equal(b.next, &c);
    assert_null(window.child);
    assert_null(window.parent);

    /* One of the same size becomes the outer one. */
    struct pleat_resource same = make("same", 40, 49);
    assert_int_equal(pleat_resource_insert_over(&root, &same, NULL), 0);
    assert_ptr_equal(c.parent, &same);
}

static void adjust_moves_a_node_within_its_bounds(void **state)
{
    (void)state;
    struct pleat_resource root = make("root", 10, 99);
    struct pleat_resource a = make("a", 20, 29), b = make("b", 40, 59), child = make("child", 50, 51);
    struct pleat_resource *conflict;
    assert_int_equal(pleat_resource_insert(&root, &a, NULL), 0);
    assert_int_equal(pleat_resource_insert(&root, &b, NULL), 0);
    assert_int_equal(pleat_resource_insert(&b, &child, NULL), 0);

    assert_int_equal(pleat_resource_adjust(&b, 29, 30, &conflict), PLEAT_E_EXISTS);
    assert_ptr_equal(conflict, &a);
    assert_int_equal(pleat_resource_adjust(&b, 40, 11, &conflict), PLEAT_E_EXISTS);
    assert_ptr_equal(conflict, &child);
    assert_int_equal(pleat_resource_adjust(&b, 50, 51, &conflict), PLEAT_E_INVALID);
    assert_ptr_equal(conflict, &root);
    assert_int_equal(pleat_resource_adjust(&b, 9, 2, &conflict), PLEAT_E_INVALID);
    assert_int_equal(pleat_resource_adjust(&b, 50, 0, &conflict), PLEAT_E_INVALID);
    assert_ptr_equal(conflict, &b);
    assert_int_equal(pleat_resource_adjust(&b, 50, UINT64_MAX, NULL), PLEAT_E_INVALID);
    assert_int_equal(pleat_resource_adjust(&root, 10, 1, &conflict), PLEAT_E_STATE);
    assert_ptr_equal(conflict, &root);
    assert_true(b.start == 40 && b.last == 59);

    assert_int_equal(pleat_resource_adjust(&b, 30, 22, &conflict), 0);
    assert_null(conflict);
    assert_true(b.start == 30 && b.last == 51);
    assert_int_equal(pleat_resource_adjust(&a, 60, 40, NULL), 0);
    assert_ptr_equal(root.child, &b);
    assert_ptr_equal(b.next, &a);
    assert_null(a.next);
    assert_true(pleat_resource_is_valid(&root));
}

/*
 *   root  1000 .................................................... 1fff
 *   a        1080..10ff        b  1400..17ff      c              1ff0..1fff
 */
static void gap_is_the_lowest_that_fits(void **state)
{
    (void)state;
    struct pleat_resource root = make("root", 0x1000, 0x1fff);
    struct pleat_resource a = make("a", 0x1080, 0x10ff), b = make("b", 0x1400, 0x17ff),
                          c = make("c", 0x1ff0, 0x1fff);
    assert_int_equal(pleat_resource_insert(&root, &a, NULL), 0);
    assert_int_equal(pleat_resource_insert(&root, &b, NULL), 0);
    assert_int_equal(pleat_resource_insert(&root, &c, NULL), 0);

    static const struct {
        uint64_t bytes, alignment, lowest, highest_last;
        uint64_t start; /* 0: no gap */
    } cases[] = {
        {0x80, 1, 0, UINT64_MAX, 0x1000},
        {0x81, 1, 0, UINT64_MAX, 0x1100},
        {0x80, 0x100, 0x1001, UINT64_MAX, 0x1100},
        {0x300, 0x100, 0, UINT64_MAX, 0x1100},
        {0x301, 1, 0, UINT64_MAX, 0x1800},
        {0x10, 0x1000, 0, UINT64_MAX, 0x1000},
        {0x10, 0x1000, 0x1001, UINT64_MAX, 0},
        {0x7f0, 0x800, 0, UINT64_MAX, 0x1800},
        {0x7f1, 1, 0, UINT64_MAX, 0},
        {0x200, 1, 0, 0x13fe, 0x1100},
        {0x300, 1, 0, 0x13fe, 0},
        {1, 1, 0x1ff0, UINT64_MAX, 0},
        {1, 1, 0x1fef, UINT64_MAX, 0x1fef},
        {1, UINT64_C(1) << 63, 0, UINT64_MAX, 0},
        {UINT64_MAX, 1, 0, UINT64_MAX, 0},
        {1, 1, 0x2000, UINT64_MAX, 0},
        {1, 1, 0, 0xfff, 0},
        {1, 1, 0x1700, 0x1600, 0},
    };
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint64_t start = 0;
        int error = pleat_resource_gap(&root, cases[i].bytes, cases[i].alignment, cases[i].lowest,
                                       cases[i].highest_last, &start);
        assert_int_equal(error, cases[i].start ? 0 : PLEAT_E_NO_MEMORY);
        assert_int_equal(start, cases[i].start);
    }
    uint64_t start;
    assert_int_equal(pleat_resource_gap(&root, 0, 1, 0, UINT64_MAX, &start), PLEAT_E_INVALID);
    assert_int_equal(pleat_resource_gap(&root, 1, 0, 0, UINT64_MAX, &start), PLEAT_E_INVALID);
    assert_int_equal(pleat_resource_gap(&root, 1, 3, 0, UINT64_MAX, &start), PLEAT_E_INVALID);
}

static void is_valid_sees_each_damage(void **state)
{
    (void)state;
    struct pleat_resource root = make("root", 10, 99);
    struct pleat_resource a = make("a", 20, 29), b = make("b", 40, 59);
    assert_int_equal(pleat_resource_insert(&root, &a, NULL), 0);
    assert_int_equal(pleat_resource_insert(&root, &b, NULL), 0);
    assert_true(pleat_resource_is_valid(&root));
    a.last = 40;
    assert_false(pleat_resource_is_valid(&root));
    a.last = 29;
    b.last = 100;
    assert_false(pleat_resource_is_valid(&root));
    b.last = 39;
    assert_false(pleat_resource_is_valid(&root));
    b.last = 59;
    b.parent = &a;
    assert_false(pleat_resource_is_valid(&root));
    b.parent = &root;
    root.child = &b;
    b.next = &a;
    a.next = NULL;
    assert_false(pleat_resource_is_valid(&root));
}

/* --- Random changes against an array -------------------------------------------------------------------- */

#define NODES    24
#define UNIVERSE 64

/** The plain model: node 0 is the root; the others are in the tree when `parent` isn't negative. */
struct model {
    uint64_t base; /**< of the universe of addresses; its last one may be UINT64_MAX */
    struct pleat_resource nodes[NODES];
    int parent[NODES];
    uint64_t start[NODES], last[NODES];
    uint64_t random;
};

static uint64_t seed_of_run;

static unsigned draw(struct model *model, unsigned limit)
{
    model->random ^= model->random << 13;
    model->random ^= model->random >> 7;
    model->random ^= model->random << 17;
    return (unsigned)((model->random >> 20) % limit);
}

static void must(bool holds, const char *what)
{
    if (!holds)
        fail_msg("PLEAT_SEED=%llu: %s", (unsigned long long)seed_of_run, what);
}

static unsigned depth(const struct model *model, int node)
{
    unsigned result = 0;
    for (; node > 0; node = model->parent[node])
        result++;
    return result;
}

static bool meet(const struct model *model, int node, uint64_t start, uint64_t last)
{
    return model->start[node] <= last && start <= model->last[node];
}

/** The lowest child of `parent` that meets start..last (and, with `uncovered`, reaches out of it), or -1. */
static int lowest_in_the_way(const struct model *model, int parent, uint64_t start, uint64_t last,
                             bool uncovered)
{
    int found = -1;
    for (int node = 1; node < NODES; node++) {
        if (model->parent[node] != parent || !meet(model, node, start, last))
            continue;
        if (uncovered && model->start[node] >= start && model->last[node] <= last)
            continue;
        if (found < 0 || model->start[node] < model->start[found])
            found = node;
    }
    return found;
}

static void random_insert(struct model *model, bool over)
{
    int node = 1 + (int)draw(model, NODES - 1), parent = (int)draw(model, NODES);
    if (parent && model->parent[parent] < 0)
        parent = 0;
    uint64_t start = model->base + draw(model, UNIVERSE), length = draw(model, draw(model, 4) ? 8 : UNIVERSE);
    uint64_t last = UINT64_MAX - start < length ? UINT64_MAX : start + length;
    bool new_node = model->parent[node] < 0;
    if (new_node) {
        memset(&model->nodes[node], 0, sizeof(model->nodes[node]));
        must(!pleat_resource_describe(&model->nodes[node], "node", start, last - start + 1), "describe");
    }

    struct pleat_resource *conflict = NULL, *wanted_conflict = NULL;
    int wanted = 0;
    int in_the_way = lowest_in_the_way(model, parent, start, last, over);
    if (!new_node || node == parent) {
        wanted = PLEAT_E_STATE;
        wanted_conflict = &model->nodes[node];
    } else if (start < model->start[parent] || last > model->last[parent]) {
        wanted = PLEAT_E_INVALID;
        wanted_conflict = &model->nodes[parent];
    } else if (in_the_way >= 0) {
        wanted = PLEAT_E_EXISTS;
        wanted_conflict = &model->nodes[in_the_way];
    }
    int error = (over ? pleat_resource_insert_over : pleat_resource_insert)(&model->nodes[parent],
                                                                            &model->nodes[node], &conflict);
    must(error == wanted, "insert has another answer than the model");
    must(conflict == wanted_conflict, "insert names another conflict than the model");
    if (error)
        return;
    for (int child = 1; child < NODES; child++) {
        if (model->parent[child] == parent && meet(model, child, start, last))
            model->parent[child] = node;
    }
    model->parent[node] = parent;
    model->start[node] = start;
    model->last[node] = last;
}

static void random_remove(struct model *model, bool lift)
{
    int node = 1 + (int)draw(model, NODES - 1);
    bool children = false;
    for (int child = 1; child < NODES; child++)
        children |= model->parent[child] == node;
    int wanted = model->parent[node] < 0 ? PLEAT_E_NOT_FOUND : children && !lift ? PLEAT_E_STATE : 0;
    int error = (lift ? pleat_resource_remove_lift : pleat_resource_remove)(&model->nodes[node]);
    must(error == wanted, "remove has another answer than the model");
    if (error)
        return;
    for (int child = 1; child < NODES; child++) {
        if (model->parent[child] == node)
            model->parent[child] = model->parent[node];
    }
    model->parent[node] = -1;
}

static void random_adjust(struct model *model)
{
    int node = 1 + (int)draw(model, NODES - 1);
    uint64_t start = model->base + draw(model, UNIVERSE), bytes = 1 + draw(model, 16);
    int parent = model->parent[node], wanted = 0;
    if (parent < 0) {
        wanted = PLEAT_E_STATE;
    } else if (bytes - 1 > UINT64_MAX - start || start < model->start[parent] ||
               start + (bytes - 1) > model->last[parent]) {
        wanted = PLEAT_E_INVALID;
    } else {
        for (int other = 1; other < NODES; other++) {
            if (other != node && model->parent[other] == parent &&
                meet(model, other, start, start + bytes - 1))
                wanted = PLEAT_E_EXISTS;
            if (model->parent[other] == node &&
                (model->start[other] < start || model->last[other] > start + bytes - 1))
                wanted = PLEAT_E_EXISTS;
        }
    }
    struct pleat_resource *conflict;
    int error = pleat_resource_adjust(&model->nodes[node], start, bytes, &conflict);
    must(error == wanted, "adjust has another answer than the model");
    must(!error == !conflict, "adjust names a conflict just when there is one");
    if (error)
        return;
    model->start[node] = start;
    model->last[node] = start + (bytes - 1);
}

static void random_gap(struct model *model)
{
    int parent = (int)draw(model, NODES);
    if (parent && model->parent[parent] < 0)
        parent = 0;
    uint64_t bytes = 1 + draw(model, 12), alignment = UINT64_C(1) << draw(model, 5);
    uint64_t lowest = model->base + draw(model, UNIVERSE), highest = model->base + draw(model, UNIVERSE);
    uint64_t wanted = 0, found = 0;
    bool any = false;
    for (uint64_t offset = 0; offset < UNIVERSE && !any; offset++) {
        uint64_t start = model->base + offset;
        if (start % alignment || start < lowest || start < model->start[parent] ||
            bytes - 1 > UINT64_MAX - start)
            continue;
        uint64_t last = start + (bytes - 1);
        if (last > highest || last > model->last[parent])
            continue;
        any = lowest_in_the_way(model, parent, start, last, false) < 0;
        wanted = start;
    }
    int error = pleat_resource_gap(&model->nodes[parent], bytes, alignment, lowest, highest, &found);
    must(error == (any ? 0 : PLEAT_E_NO_MEMORY), "gap has another answer than the model");
    must(!any || found == wanted, "gap is at another place than in the model");
}

static void compare(struct model *model)
{
    must(pleat_resource_is_valid(&model->nodes[0]), "the tree isn't valid");

    /* By address: the innermost node. */
    for (uint64_t offset = 0; offset < UNIVERSE; offset++) {
        uint64_t address = model->base + offset;
        int inner = 0;
        for (int node = 1; node < NODES; node++) {
            if (model->parent[node] >= 0 && meet(model, node, address, address) &&
                depth(model, node) > depth(model, inner))
                inner = node;
        }
        must(pleat_resource_find(&model->nodes[0], address) == &model->nodes[inner], "find");
        int child = lowest_in_the_way(model, 0, address, address, false);
        must(pleat_resource_overlap(&model->nodes[0], address, address) ==
                 (child < 0 ? NULL : &model->nodes[child]),
             "overlap");
    }

    /* All of them, by address, parents first. */
    unsigned in_tree = 0, walked = 0;
    for (int node = 1; node < NODES; node++)
        in_tree += model->parent[node] >= 0;
    const struct pleat_resource *before = &model->nodes[0];
    for (const struct pleat_resource *node = pleat_resource_next(before, before); node;
         node = pleat_resource_next(&model->nodes[0], node)) {
        int index = (int)(node - model->nodes);
        must(model->parent[index] >= 0, "the walk came to a node that isn't in the tree");
        must(node->parent == &model->nodes[model->parent[index]], "a parent differs");
        must(node->start == model->start[index] && node->last == model->last[index], "a range differs");
        must(before->start < node->start || before == &model->nodes[0] ||
                 depth(model, (int)(before - model->nodes)) < depth(model, index),
             "the walk is out of order");
        char line[96];
        pleat_resource_format(&model->nodes[0], node, line, sizeof(line));
        must(strspn(line, " ") == 2 * (depth(model, index) - 1), "a line is moved in by another depth");
        before = node;
        walked++;
    }
    must(walked == in_tree, "the walk has missed a node");
}

static void random_run(uint64_t seed, unsigned long steps)
{
    struct model model = {.random = seed * UINT64_C(0x9e3779b97f4a7c15) | 1};
    seed_of_run = seed;
    test_random_seed_runs(seed);
    model.base = draw(&model, 2) ? UINT64_MAX - (UNIVERSE - 1) : draw(&model, 1000);
    for (int node = 0; node < NODES; node++)
        model.parent[node] = -1;
    model.nodes[0] = make("root", model.base, model.base + (UNIVERSE - 1));
    model.start[0] = model.nodes[0].start;
    model.last[0] = model.nodes[0].last;

    for (unsigned long step = 0; step < steps; step++) {
        switch (draw(&model, 8)) {
        case 0:
        case 1:
            random_insert(&model, false);
            break;
        case 2:
        case 3:
            random_insert(&model, true);
            break;
        case 4:
            random_remove(&model, false);
            break;
        case 5:
            random_remove(&model, true);
            break;
        case 6:
            random_adjust(&model);
            break;
        default:
            random_gap(&model);
        }
        compare(&model);
    }
    test_random_seed_done();
}

static void random_changes_agree_with_an_array_of_intervals(void **state)
{
    (void)state;
    const char *seed = getenv("PLEAT_SEED"), *steps = getenv("PLEAT_STEPS");
    unsigned long length = steps ? strtoul(steps, NULL, 0) : 2000;
    if (seed) {
        random_run(strtoull(seed, NULL, 0), length);
        return;
    }
    uint64_t first = (uint64_t)time(NULL);
    print_message("# seeds %llu to %llu\n", (unsigned long long)first, (unsigned long long)first + 9);
    for (uint64_t i = 0; i < 10; i++)
        random_run(first + i, length);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tree_prints_like_proc_iomem),
        cmocka_unit_test(line_is_cut_to_the_buffer),
        cmocka_unit_test(describe_refuses_what_wraps),
        cmocka_unit_test(insert_names_the_conflict),
        cmocka_unit_test(a_node_is_in_one_tree_once),
        cmocka_unit_test(a_window_adopts_what_it_covers_and_lifts_it_again),
        cmocka_unit_test(adjust_moves_a_node_within_its_bounds),
        cmocka_unit_test(gap_is_the_lowest_that_fits),
        cmocka_unit_test(is_valid_sees_each_damage),
        cmocka_unit_test(random_changes_agree_with_an_array_of_intervals),
    };
    return cmocka_run_group_tests_name("range tree", tests, NULL, NULL);
}

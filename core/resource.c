/* SPDX-License-Identifier: MIT
 *
 * The range tree. Children are a list sorted by address: trees are small (tens of ranges) and walked more
 * often than changed. No function calls itself: a tree may be as deep as its makers like.
 */
#include <pleat/resource.h>

#include "check.h"

/** Sets `*conflict` where the caller wants to know, and returns `error`. */
static int refuse(int error, struct pleat_resource *who, struct pleat_resource **conflict)
{
    if (conflict)
        *conflict = who;
    return error;
}

static bool overlaps(const struct pleat_resource *node, uint64_t start, uint64_t last)
{
    return node->start <= last && start <= node->last;
}

static bool covers(uint64_t start, uint64_t last, const struct pleat_resource *node)
{
    return start <= node->start && node->last <= last;
}

/** The link that the first child that ends at or above `address` hangs on. */
static struct pleat_resource **link_at(struct pleat_resource *parent, uint64_t address)
{
    struct pleat_resource **link = &parent->child;
    while (*link && (*link)->last < address)
        link = &(*link)->next;
    return link;
}

int pleat_resource_describe(struct pleat_resource *node, const char *name, uint64_t start, uint64_t bytes)
{
    if (!bytes || bytes - 1 > UINT64_MAX - start)
        return PLEAT_E_INVALID;
    node->name = name;
    node->start = start;
    node->last = start + (bytes - 1);
    return PLEAT_OK;
}

/** What both ways to insert ask first. */
static int check_new(struct pleat_resource *parent, struct pleat_resource *node,
                     struct pleat_resource **conflict)
{
    refuse(0, NULL, conflict);
    if (node == parent || node->parent || node->child || node->next)
        return refuse(PLEAT_E_STATE, node, conflict);
    if (node->start > node->last)
        return refuse(PLEAT_E_INVALID, node, conflict);
    if (!covers(parent->start, parent->last, node))
        return refuse(PLEAT_E_INVALID, parent, conflict);
    return PLEAT_OK;
}

int pleat_resource_insert(struct pleat_resource *parent, struct pleat_resource *node,
                          struct pleat_resource **conflict)
{
    int error = check_new(parent, node, conflict);
    if (error)
        return error;
    struct pleat_resource **link = link_at(parent, node->start);
    if (*link && overlaps(*link, node->start, node->last))
        return refuse(PLEAT_E_EXISTS, *link, conflict);
    node->parent = parent;
    node->next = *link;
    *link = node;
    CHECK(pleat_resource_is_valid(parent));
    return PLEAT_OK;
}

int pleat_resource_insert_over(struct pleat_resource *parent, struct pleat_resource *node,
                               struct pleat_resource **conflict)
{
    int error = check_new(parent, node, conflict);
    if (error)
        return error;
    /* All in the way are either covered whole, or the first that isn't is the conflict. */
    struct pleat_resource **link = link_at(parent, node->start);
    struct pleat_resource *covered_last = NULL;
    for (struct pleat_resource *child = *link; child && overlaps(child, node->start, node->last);
         child = child->next) {
        if (!covers(node->start, node->last, child))
            return refuse(PLEAT_E_EXISTS, child, conflict);
        covered_last = child;
    }
    node->parent = parent;
    node->next = *link;
    if (covered_last) {
        node->child = *link;
        node->next = covered_last->next;
        covered_last->next = NULL;
        for (struct pleat_resource *child = node->child; child; child = child->next)
            child->parent = node;
    }
    *link = node;
    CHECK(pleat_resource_is_valid(parent));
    return PLEAT_OK;
}

int pleat_resource_adjust(struct pleat_resource *node, uint64_t start, uint64_t bytes,
                          struct pleat_resource **conflict)
{
    refuse(0, NULL, conflict);
    struct pleat_resource *parent = node->parent;
    if (!parent)
        return refuse(PLEAT_E_STATE, node, conflict);
    if (!bytes || bytes - 1 > UINT64_MAX - start)
        return refuse(PLEAT_E_INVALID, node, conflict);
    uint64_t last = start + (bytes - 1);
    if (start < parent->start || last > parent->last)
        return refuse(PLEAT_E_INVALID, parent, conflict);
    for (struct pleat_resource *child = parent->child; child; child = child->next) {
        if (child != node && overlaps(child, start, last))
            return refuse(PLEAT_E_EXISTS, child, conflict);
    }
    for (struct pleat_resource *child = node->child; child; child = child->next) {
        if (!covers(start, last, child))
            return refuse(PLEAT_E_EXISTS, child, conflict);
    }
    /* It may have moved past its neighbours. */
    *link_at(parent, node->start) = node->next;
    node->start = start;
    node->last = last;
    struct pleat_resource **link = link_at(parent, start);
    node->next = *link;
    *link = node;
    CHECK(pleat_resource_is_valid(parent));
    return PLEAT_OK;
}

int pleat_resource_remove(struct pleat_resource *node)
{
    if (node->parent && node->child)
        return PLEAT_E_STATE;
    return pleat_resource_remove_lift(node);
}

int pleat_resource_remove_lift(struct pleat_resource *node)
{
    struct pleat_resource *parent = node->parent;
    if (!parent)
        return PLEAT_E_NOT_FOUND;
    struct pleat_resource **link = link_at(parent, node->start);
    for (*link = node->child; *link; link = &(*link)->next)
        (*link)->parent = parent;
    *link = node->next;
    node->parent = NULL;
    node->child = NULL;
    node->next = NULL;
    CHECK(pleat_resource_is_valid(parent));
    return PLEAT_OK;
}

struct pleat_resource *pleat_resource_find(struct pleat_resource *root, uint64_t address)
{
    struct pleat_resource *found = NULL;
    struct pleat_resource *at = root;
    while (at && overlaps(at, address, address)) {
        found = at;
        at = *link_at(found, address);
    }
    return found;
}

struct pleat_resource *pleat_resource_overlap(struct pleat_resource *parent, uint64_t start, uint64_t last)
{
    struct pleat_resource *child = *link_at(parent, start);
    return child && overlaps(child, start, last) ? child : NULL;
}

int pleat_resource_gap(const struct pleat_resource *parent, uint64_t bytes, uint64_t alignment,
                       uint64_t lowest, uint64_t highest_last, uint64_t *start)
{
    if (!bytes || !alignment || alignment & (alignment - 1))
        return PLEAT_E_INVALID;
    uint64_t from = lowest > parent->start ? lowest : parent->start;
    uint64_t end = highest_last < parent->last ? highest_last : parent->last;
    const struct pleat_resource *child = parent->child;

    /* Each turn tries the place before `child`, or before the end. */
    while (from <= end) {
        uint64_t up = -from & (alignment - 1);
        if (up > end - from)
            break;
        uint64_t at = from + up;
        while (child && child->last < at)
            child = child->next;
        if (bytes - 1 > end - at)
            break;
        if (!child || child->start > at + (bytes - 1)) {
            *start = at;
            return PLEAT_OK;
        }
        if (child->last == UINT64_MAX)
            break;
        from = child->last + 1;
    }
    return PLEAT_E_NO_MEMORY;
}

struct pleat_resource *pleat_resource_next(const struct pleat_resource *root,
                                           const struct pleat_resource *node)
{
    if (node->child)
        return node->child;
    while (node != root) {
        if (node->next)
            return node->next;
        node = node->parent;
    }
    return NULL;
}

/* --- Printing ------------------------------------------------------------------------------------------ */

struct text {
    char *line;
    size_t bytes;  /**< room, with the NUL */
    size_t length; /**< of all that was added, whether it fitted or not */
};

static void add(struct text *text, char character)
{
    if (text->length + 1 < text->bytes)
        text->line[text->length] = character;
    text->length++;
}

static void add_text(struct text *text, const char *more)
{
    while (*more)
        add(text, *more++);
}

/** At least eight digits, as /proc/iomem. */
static void add_address(struct text *text, uint64_t address)
{
    unsigned digits = 8;
    while (digits < 16 && address >> 4 * digits)
        digits++;
    while (digits--)
        add(text, "0123456789abcdef"[address >> 4 * digits & 15]);
}

size_t pleat_resource_format(const struct pleat_resource *root, const struct pleat_resource *node, char *line,
                             size_t bytes)
{
    struct text text = {line, bytes, 0};
    for (const struct pleat_resource *at = node; at != root && at->parent && at->parent != root;
         at = at->parent)
        add_text(&text, "  ");
    add_address(&text, node->start);
    add(&text, '-');
    add_address(&text, node->last);
    add_text(&text, " : ");
    add_text(&text, node->name ? node->name : "?");
    if (bytes)
        line[text.length < bytes ? text.length : bytes - 1] = 0;
    return text.length;
}

bool pleat_resource_is_valid(const struct pleat_resource *root)
{
    for (const struct pleat_resource *node = root; node; node = pleat_resource_next(root, node)) {
        if (node->start > node->last)
            return false;
        for (const struct pleat_resource *child = node->child; child; child = child->next) {
            if (child->parent != node || !covers(node->start, node->last, child))
                return false;
            if (child->next && child->next->start <= child->last)
                return false;
        }
    }
    return true;
}

/* SPDX-License-Identifier: MIT
 *
 * Nodes in a list: the trees of a test have some dozens.
 */
#include "machine/xen_store_tree.h"

#include <stdlib.h>
#include <string.h>

#include <pleat/wire/xen_store.h>

bool xen_store_path_is_valid(const char *path)
{
    static const char characters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-/_@";
    const size_t length = strlen(path);

    if (path[0] != '/' || length > PLEAT_XEN_STORE_ABSOLUTE_PATH_MAX || strspn(path, characters) != length)
        return false;
    return length == 1 || (path[length - 1] != '/' && !strstr(path, "//"));
}

bool xen_store_is_below(const char *path, const char *above)
{
    const size_t length = strlen(above);

    if (!strcmp(above, "/"))
        return true;
    return !strncmp(path, above, length) && (path[length] == '/' || !path[length]);
}

struct xen_store_node *xen_store_find(const struct xen_store_tree *tree, const char *path)
{
    for (struct xen_store_node *node = tree->first; node; node = node->next)
        if (!strcmp(node->path, path))
            return node;
    return NULL;
}

bool xen_store_may(const struct xen_store_node *node, uint16_t domain, uint8_t may)
{
    uint8_t has = node->permissions[0].may;

    if (!domain || domain == node->permissions[0].domain)
        return true;
    for (unsigned i = 1; i < node->permission_count; i++)
        if (node->permissions[i].domain == domain)
            has = node->permissions[i].may;
    return (has & may) == may;
}

/* Cuts the last part off; "/" stays. */
static void go_up(char *path)
{
    char *last = strrchr(path, '/');

    last[last == path] = '\0';
}

struct xen_store_node *xen_store_nearest(const struct xen_store_tree *tree, const char *path)
{
    char *above = strdup(path);
    struct xen_store_node *node = NULL;

    while (above && !node) {
        node = xen_store_find(tree, above);
        if (!strcmp(above, "/"))
            break;
        go_up(above);
    }
    free(above);
    return node;
}

static struct xen_store_node *add(struct xen_store_tree *tree, const char *path,
                                  const struct xen_store_node *parent, uint16_t maker)
{
    struct xen_store_node *node = calloc(1, sizeof *node);
    struct xen_store_node **place = &tree->first;

    if (!node)
        return NULL;
    node->path = strdup(path);
    if (!node->path) {
        free(node);
        return NULL;
    }
    node->permission_count = 1;
    if (parent) {
        node->permission_count = parent->permission_count;
        memcpy(node->permissions, parent->permissions, sizeof node->permissions);
    }
    if (maker || !parent)
        node->permissions[0].domain = maker;
    while (*place && strcmp((*place)->path, path) < 0)
        place = &(*place)->next;
    node->next = *place;
    *place = node;
    return node;
}

struct xen_store_node *xen_store_make(struct xen_store_tree *tree, const char *path, uint16_t maker)
{
    char *part = strdup(path);
    struct xen_store_node *node = xen_store_find(tree, "/");

    if (!node)
        node = add(tree, "/", NULL, 0);
    for (char *end = part; part && node && end && strcmp(path, "/");) {
        /* The next part of the path, cut there for as long as we look at it. */
        end = strchr(end + 1, '/');
        if (end)
            *end = '\0';
        struct xen_store_node *there = xen_store_find(tree, part);
        node = there ? there : add(tree, part, node, maker);
        if (end)
            *end = '/';
    }
    free(part);
    return part ? node : NULL;
}

bool xen_store_set_value(struct xen_store_node *node, const char *value, size_t bytes)
{
    char *copy = malloc(bytes + 1);

    if (!copy)
        return false;
    memcpy(copy, value, bytes);
    copy[bytes] = '\0';
    free(node->value);
    node->value = copy;
    node->bytes = bytes;
    return true;
}

void xen_store_remove(struct xen_store_tree *tree, const char *path)
{
    for (struct xen_store_node **place = &tree->first; *place;) {
        struct xen_store_node *node = *place;
        if (!xen_store_is_below(node->path, path)) {
            place = &node->next;
            continue;
        }
        *place = node->next;
        free(node->path);
        free(node->value);
        free(node);
    }
}

/* SPDX-License-Identifier: MIT
 *
 * pleat-contract.elf: what a port promises, checked on the machine that it is for.
 *
 *     show=machine    prints what the port has found, instead
 *     code=N          exits with this code if nothing has failed
 */
#include "ports/bare/platform.h"
#include "ports/bare/print.h"

/* The value of NAME= on the command line, or NULL. It ends at a blank or at the end of the line. */
static const char *argument(const char *name)
{
    for (const char *at = platform.command_line; *at;) {
        unsigned i = 0;
        while (name[i] && at[i] == name[i])
            i++;
        if (!name[i] && at[i] == '=')
            return at + i + 1;
        while (*at && *at != ' ')
            at++;
        while (*at == ' ')
            at++;
    }
    return NULL;
}

static bool is(const char *value, const char *word)
{
    if (!value)
        return false;
    for (; *word; word++, value++) {
        if (*value != *word)
            return false;
    }
    return !*value || *value == ' ';
}

static unsigned number(const char *value)
{
    unsigned is = 0;
    for (; value && *value >= '0' && *value <= '9'; value++)
        is = is * 10 + (unsigned)(*value - '0');
    return is;
}

static void show_machine(void)
{
    static const char *const uses[] = {
        [PLEAT_BOOT_FREE] = "free", [PLEAT_BOOT_RESERVED] = "reserved", [PLEAT_BOOT_IN_USE] = "in use"};

    print("# architecture: %s\n", platform.architecture);
    print("# command line: %s\n", platform.command_line);
    for (unsigned i = 0; i < platform.nodes; i++)
        print("# node %u: proximity domain %u\n", i, platform.proximity[i]);
    for (unsigned i = 0; i < platform.cpus; i++)
        print("# CPU %u: node %u\n", i, platform.cpu_node[i]);
    for (unsigned i = 0; i < platform.span_count; i++) {
        const struct pleat_boot_span *span = &platform.spans[i];
        print("# span 0x%llx to 0x%llx, node %u, %s\n", (unsigned long long)span->start_pfn,
              (unsigned long long)(span->start_pfn + span->frames), span->node, uses[span->use]);
    }
    for (unsigned i = 0; i < platform.area_count; i++) {
        const struct platform_area *area = &platform.areas[i];
        print("# area at 0x%llx, 0x%llx bytes, node %u\n", (unsigned long long)area->start,
              (unsigned long long)area->bytes, area->node);
    }
}

int image_main(void)
{
    if (is(argument("show"), "machine"))
        show_machine();
    return (int)number(argument("code"));
}

/* SPDX-License-Identifier: MIT
 *
 * pleat-minimal-ARCH.elf: the core and the virtio-mem driver on another architecture, as TAP on the console.
 *
 *     fault=read      reads an address where nothing is, instead
 *     devices=N       so many virtio-mem devices have to be found
 *     shrink=yes      after growing, waits for a smaller request before it gives all back
 *
 * The code is 0 if all is as it should be, else 1.
 */
#include "ports/bare/platform.h"
#include "ports/bare/print.h"

#include "minimal.h"

static unsigned done, failed;

bool check(bool ok, const char *name)
{
    done++;
    failed += !ok;
    print("%sok %u - %s\n", ok ? "" : "not ", done, name);
    return ok;
}

/* The value of NAME= on the command line, or NULL; it ends at a blank or at the end of the line. */
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

int image_main(void)
{
    static struct pleat pleat;
    const struct pleat_config config = {
        .port = &platform.port,
        .cpus = platform.cpus,
        .nodes = platform.nodes,
        .cpu_node = platform.cpu_node,
        .highest_pfn = platform.highest_pfn,
    };
    print("# %s, %u CPUs, %u nodes, command line: %s\n", platform.architecture, platform.cpus, platform.nodes,
          platform.command_line);
    if (argument("fault")) {
        volatile const unsigned char *nothing = (volatile const unsigned char *)UINT64_C(0x7f00123000);
        print("# read %u\n", *nothing);
        return 1;
    }
    for (unsigned i = 0; i < platform.span_count; i++)
        print("# span 0x%llx to 0x%llx, node %u, %s\n", (unsigned long long)platform.spans[i].start_pfn,
              (unsigned long long)(platform.spans[i].start_pfn + platform.spans[i].frames),
              platform.spans[i].node, platform.spans[i].use == PLEAT_BOOT_FREE ? "free" : "reserved");
    test_core();
    const char *devices = argument("devices"), *shrink = argument("shrink");
    if (check(pleat_init(&pleat, &config, platform.spans, platform.span_count) == PLEAT_OK,
              "the core takes the boot map"))
        test_devices(&pleat, devices ? (unsigned)(*devices - '0') : 0, shrink && *shrink == 'y');
    print("1..%u\n", done);
    return failed > 0;
}

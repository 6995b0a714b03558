/* SPDX-License-Identifier: MIT
 *
 * Proves that a machine's command line means what QEMU's does, and that each wrong value is refused by the
 * name of its option.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "machine/config.h"
#include "machine/layout.h"
#include "tests/support/whole_machine.h"

static struct pleat_machine_config *good(const char *line)
{
    struct pleat_machine_config *config = malloc(sizeof *config);
    struct pleat_message message;

    assert_non_null(config);
    if (whole_machine_parse(line, config, &message))
        fail_msg("%s: %s", line, message.text);
    return config;
}

static const char golden[] =
    "-m 4G,maxmem=20G -smp sockets=2,cores=2 -numa node,nodeid=0,cpus=0-1 -numa node,nodeid=1,cpus=2-3 "
    "-object memory-backend-ram,id=mem0,size=8G "
    "-device virtio-mem-pci,id=vm0,memdev=mem0,node=0,requested-size=128M "
    "-object memory-backend-ram,id=mem1,size=8G "
    "-device virtio-mem-pci,id=vm1,memdev=mem1,node=1,requested-size=80M";

static void the_golden_command_line_is_understood(void **state)
{
    (void)state;
    struct pleat_machine_config *config = good(golden);

    assert_int_equal(config->ram_bytes, 4 * PLEAT_GIB);
    assert_int_equal(config->maximum_bytes, 20 * PLEAT_GIB);
    assert_int_equal(config->cpus, 4);
    assert_int_equal(config->sockets, 2);
    assert_int_equal(config->cores, 2);
    assert_int_equal(config->threads, 1);
    assert_int_equal(config->nodes, 2);
    assert_true(config->numa_given);
    assert_int_equal(config->node[0].memory_bytes, 2 * PLEAT_GIB);
    assert_int_equal(config->node[1].memory_bytes, 2 * PLEAT_GIB);
    const uint8_t cpu_node[] = {0, 0, 1, 1}, distance[] = {10, 20, 20, 10};
    assert_memory_equal(config->cpu_node, cpu_node, sizeof cpu_node);
    assert_memory_equal(config->distance, distance, sizeof distance);
    assert_int_equal(config->backend_count, 2);
    assert_string_equal(config->backend[1].id, "mem1");
    assert_int_equal(config->backend[1].size_bytes, 8 * PLEAT_GIB);
    assert_int_equal(config->device_count, 2);
    assert_string_equal(config->device[1].id, "vm1");
    assert_string_equal(config->device[1].memdev, "mem1");
    assert_int_equal(config->device[1].node, 1);
    assert_int_equal(config->device[1].requested_bytes, 80 * PLEAT_MIB);
    assert_int_equal(config->device[1].block_bytes, 2 * PLEAT_MIB);
    assert_false(config->deterministic);
    assert_true(config->monitor.stdio);
    free(config);
}

static void without_options_a_machine_is_as_small_as_that_of_QEMU(void **state)
{
    (void)state;
    struct pleat_machine_config *config = good("");

    assert_int_equal(config->ram_bytes, 128 * PLEAT_MIB);
    assert_int_equal(config->maximum_bytes, 128 * PLEAT_MIB);
    assert_int_equal(config->cpus, 1);
    assert_int_equal(config->nodes, 1);
    assert_false(config->numa_given);
    assert_int_equal(config->node[0].memory_bytes, 128 * PLEAT_MIB);
    assert_int_equal(config->type, PLEAT_MACHINE_PC);
    assert_int_equal(config->policy, PLEAT_POLICY_ONLINE);
    assert_int_equal(config->workload.kind, PLEAT_WORKLOAD_NONE);
    free(config);
}

static void options_that_say_nothing_here_are_accepted(void **state)
{
    (void)state;
    struct pleat_machine_config *config =
        good("-M pc-q35-8.2,accel=kvm:tcg,usb=off -accel tcg,thread=multi -nodefaults -nographic -display "
             "none -no-reboot -name "
             "guest=x,debug-threads=on -cpu host,-avx -S -enable-kvm --vga none -serial none -uuid 1-2 -rtc "
             "base=utc");

    assert_int_equal(config->type, PLEAT_MACHINE_Q35);
    assert_true(config->no_reboot);
    assert_true(config->stopped);
    assert_string_equal(config->name, "x");
    free(config);
}

static void the_command_line_that_boots_an_image_in_QEMU_is_accepted(void **state)
{
    (void)state;
    static const char line[] =
        "-accel tcg,thread=multi -nodefaults -nographic -display none -no-reboot -M q35 -cpu max -smp 2 "
        "-m 1G,maxmem=8G -object memory-backend-memfd,id=vmem0,size=4G,reserve=off "
        "-device virtio-mem-pci,id=vm0,memdev=vmem0,requested-size=0 -qmp unix:S.qmp,server=on,wait=off "
        "-device isa-debug-exit,iobase=0xf4,iosize=4 -kernel build/pleat-guest.elf -append run -initrd none";
    static const struct {
        const char *serial;
        bool prompt;
    } cases[] = {
        {"", true},
        {" -serial none", true},
        {" -serial file:serial.log", true},
        {" -serial mon:stdio", true},
        {" -serial stdio -monitor none", false},
        /* QEMU gives stdin to the guest's serial line then. */
        {" -serial stdio", false},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char whole[sizeof line + 64];
        snprintf(whole, sizeof whole, "%s%s", line, cases[i].serial);
        struct pleat_machine_config *config = good(whole);
        assert_int_equal(config->device_count, 1);
        assert_string_equal(config->device[0].id, "vm0");
        assert_false(config->backend[0].reserve);
        assert_int_equal(config->monitor.stdio, cases[i].prompt);
        free(config);
    }
}

static void memory_sizes_have_the_units_of_QEMU(void **state)
{
    (void)state;
    struct pleat_machine_config *config = good("-m 512,slots=2,maxmem=1073741824");

    assert_int_equal(config->ram_bytes, 512 * PLEAT_MIB);
    assert_int_equal(config->maximum_bytes, PLEAT_GIB);
    assert_int_equal(config->slots, 2);
    free(config);
    config = good("-m size=1G,maxmem=2G");
    assert_int_equal(config->ram_bytes, PLEAT_GIB);
    free(config);
}

static void a_CPU_topology_is_completed_as_in_QEMU(void **state)
{
    (void)state;
    static const struct {
        const char *line;
        unsigned cpus, maximum, sockets, cores, threads;
    } cases[] = {
        {"-smp 8", 8, 8, 1, 8, 1},
        {"-smp 8,sockets=2", 8, 8, 2, 4, 1},
        {"-smp 8,cores=2", 8, 8, 4, 2, 1},
        {"-smp 8,sockets=2,cores=2", 8, 8, 2, 2, 2},
        {"-smp sockets=2,cores=4,threads=2", 16, 16, 2, 4, 2},
        {"-smp 4,maxcpus=8,sockets=2", 4, 8, 2, 4, 1},
        {"-smp cpus=2,dies=1", 2, 2, 1, 2, 1},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct pleat_machine_config *config = good(cases[i].line);
        assert_int_equal(config->cpus, cases[i].cpus);
        assert_int_equal(config->cpus_maximum, cases[i].maximum);
        assert_int_equal(config->sockets, cases[i].sockets);
        assert_int_equal(config->cores, cases[i].cores);
        assert_int_equal(config->threads, cases[i].threads);
        free(config);
    }
}

static void CPUs_that_no_node_claims_follow_their_sockets(void **state)
{
    (void)state;
    struct pleat_machine_config *config = good("-m 1G -smp 4,sockets=2 -numa node -numa node");
    const uint8_t by_socket[] = {0, 0, 1, 1}, by_claim[] = {0, 1, 0, 0};

    assert_memory_equal(config->cpu_node, by_socket, sizeof by_socket);
    free(config);
    config = good("-m 1G -smp 4,sockets=2 -numa node -numa node,cpus=1");
    assert_memory_equal(config->cpu_node, by_claim, sizeof by_claim);
    free(config);
    config = good("-m 1G -smp 4,sockets=2 -numa node -numa node -numa cpu,node-id=1,socket-id=0 "
                  "-numa cpu,node-id=0,socket-id=1,core-id=0 -numa cpu,node-id=1,socket-id=1,core-id=1");
    const uint8_t by_property[] = {1, 1, 0, 1};
    assert_memory_equal(config->cpu_node, by_property, sizeof by_property);
    free(config);
    config = good("-m 1G -smp 6 -numa node,cpus=0-1,cpus=4-5 -numa node,cpus=2,cpus=3");
    const uint8_t by_ranges[] = {0, 0, 1, 1, 0, 0};
    assert_memory_equal(config->cpu_node, by_ranges, sizeof by_ranges);
    free(config);
}

static void memory_of_nodes_comes_by_size_or_by_backend(void **state)
{
    (void)state;
    struct pleat_machine_config *config =
        good("-m 1G -numa node,mem=256 -numa node,mem=768M -numa node,mem=0 -numa dist,src=0,dst=1,val=15 "
             "-numa dist,src=0,dst=2,val=30 -numa dist,src=2,dst=1,val=40 -numa dist,src=1,dst=2,val=41");

    assert_int_equal(config->node[0].memory_bytes, 256 * PLEAT_MIB);
    assert_int_equal(config->node[1].memory_bytes, 768 * PLEAT_MIB);
    assert_int_equal(config->node[2].memory_bytes, 0);
    const uint8_t distance[] = {10, 15, 30, 15, 10, 41, 30, 40, 10};
    assert_memory_equal(config->distance, distance, sizeof distance);
    free(config);

    config =
        good("-m 1G -object memory-backend-memfd,id=a,size=512M -object memory-backend-ram,id=b,size=512M,"
             "share=on -numa node,memdev=a -numa node,memdev=b");
    assert_int_equal(config->backend[0].kind, PLEAT_BACKEND_MEMFD);
    assert_true(config->backend[0].share);
    assert_true(config->backend[1].share);
    assert_string_equal(config->node[1].memdev, "b");
    free(config);

    config = good("-m 1G -M q35,memory-backend=ram -object memory-backend-ram,id=ram,size=1G");
    assert_string_equal(config->ram_memdev, "ram");
    assert_false(config->backend[0].share);
    free(config);
}

static void backends_have_the_properties_of_QEMU(void **state)
{
    (void)state;
    struct pleat_machine_config *config = good(
        "-m 1G,maxmem=8G -object memory-backend-memfd,id=huge,size=2G,hugetlb=on,hugetlbsize=1G,reserve=off "
        "-object "
        "memory-backend-file,id=file,size=1G,mem-path=/dev/shm/x,share=on,discard-data=on,host-nodes=0-1,"
        "host-nodes=3,policy=bind -device virtio-mem-pci,memdev=huge,id=big,prealloc=on,dynamic-memslots=off "
        "-device virtio-mem-pci,memdev=file,id=small,block-size=1M,memaddr=0x180000000,"
        "unplugged-inaccessible=off,bus=pcie.0");

    assert_true(config->backend[0].hugetlb);
    assert_false(config->backend[0].reserve);
    assert_string_equal(config->backend[1].mem_path, "/dev/shm/x");
    assert_int_equal(config->backend[1].host_nodes, 0xb);
    assert_int_equal(config->backend[1].policy, PLEAT_HOST_POLICY_BIND);
    assert_true(config->backend[1].discard_data);
    assert_int_equal(config->device[0].block_bytes, PLEAT_GIB);
    assert_true(config->device[0].prealloc);
    assert_int_equal(config->device[1].block_bytes, PLEAT_MIB);
    assert_int_equal(config->device[1].memaddr, 0x180000000);
    assert_int_equal(config->device[1].unplugged_inaccessible, PLEAT_OFF);
    free(config);
}

static void the_options_of_Pleat_are_read(void **state)
{
    (void)state;
    struct pleat_machine_config *config = good(
        "-smp 4 -seed 0x2a -workload trace=a.ptr.xz,speed=2.5,repeat=off,cpus=2,remote-free=0 -fault "
        "device-busy:after=3 -fault migrate-fails -policy prefer_movable,ratio=3 -floor 16M -duration 10s "
        "-log run.log -scenario s.scenario -picture out -qmp unix:/tmp/q,server=on,wait=off -monitor none");

    assert_true(config->deterministic);
    assert_int_equal(config->seed, 42);
    assert_int_equal(config->workload.kind, PLEAT_WORKLOAD_TRACE);
    assert_string_equal(config->workload.trace_path, "a.ptr.xz");
    assert_int_equal(config->workload.speed_ppm, 2500000);
    assert_false(config->workload.repeat);
    assert_int_equal(config->workload.cpus, 2);
    assert_int_equal(config->workload.remote_free, 0);
    assert_int_equal(config->fault_count, 2);
    assert_int_equal(config->policy, PLEAT_POLICY_PREFER_MOVABLE);
    assert_int_equal(config->policy_ratio, 3);
    assert_int_equal(config->floor_bytes, 16 * PLEAT_MIB);
    assert_int_equal(config->duration_ns, 10000000000);
    assert_string_equal(config->log_path, "run.log");
    assert_string_equal(config->scenario_path, "s.scenario");
    assert_string_equal(config->picture_path, "out");
    assert_string_equal(config->monitor.qmp_path, "/tmp/q");
    assert_true(config->monitor.qmp_server);
    assert_false(config->monitor.qmp_wait);
    assert_false(config->monitor.stdio);
    free(config);

    config = good("-workload synthetic,preset=20,speed=max -floor off -policy offline");
    assert_int_equal(config->workload.kind, PLEAT_WORKLOAD_SYNTHETIC);
    assert_string_equal(config->workload.synthetic, "preset=20");
    assert_int_equal(config->workload.speed_ppm, 0);
    assert_int_equal(config->workload.remote_free, 8);
    assert_true(config->floor_bytes == UINT64_MAX);
    assert_int_equal(config->policy, PLEAT_POLICY_OFFLINE);
    free(config);
}

static void every_wrong_value_is_refused_with_what_was_expected(void **state)
{
    (void)state;
    static const struct {
        const char *line, *because;
    } cases[] = {
        {"-hda disk", "'-hda': Pleat has no such option"},
        {"-drive file=x", "'-drive'"},
        {"guest.img", "expected an option, found 'guest.img'"},
        {"-", "expected an option"},
        {"-m", "-m: requires an argument"},
        {"-m 4Q", "-m: Parameter 'size'"},
        {"-m 4G,slots=2", "missing 'maxmem'"},
        {"-m 4G,maxmem=2G", "maxmem"},
        {"-m 4G,minmem=2G", "'minmem'"},
        {"-m 4G -m 2G", "-m: is there twice"},
        {"-m 1M", "from 16 MiB"},
        {"-m 1073741825B", "multiple of 4K"},
        {"-M virt", "-machine: unsupported machine type 'virt'"},
        {"-M pc,nvdimm=on", "'nvdimm'"},
        {"-M pc,accel=kvm:nosuch", "-machine: invalid accelerator 'nosuch'"},
        {"-accel nosuch", "-accel: invalid accelerator 'nosuch', expected tcg, kvm"},
        {"-accel tcg:kvm", "-accel: invalid accelerator 'tcg:kvm'"},
        {"-accel kvm,nosuch=1", "-accel: Invalid parameter 'nosuch'"},
        {"-M pc,memory-backend=none", "Memory backend 'none' not found"},
        {"-m 1G -M pc,memory-backend=r -object memory-backend-ram,id=r,size=2G", "does not match the size"},
        {"-display gtk", "-display: expects none, found 'gtk'"},
        {"-smp 0", "'cpus'"},
        {"-smp 3,sockets=2", "sockets (2) * cores (1) * threads (1) != maxcpus (3)"},
        {"-smp 18,sockets=2,cores=4,threads=2,maxcpus=16", "== maxcpus (16) < smp_cpus (18)"},
        {"-smp 4,dies=2", "'dies'"},
        {"-smp sockets=200,cores=200", "at most 255 CPUs"},
        {"-numa hmat-lb,initiator=0", "expected one of node, dist, cpu, found 'hmat-lb'"},
        {"-numa node,cpus=0-3", "CPU index (3) should be smaller than maxcpus (1)"},
        {"-smp 2 -numa node,cpus=1-0", "'cpus'"},
        {"-smp 2 -numa node,cpus=0-1 -numa node,cpus=1", "CPU 1 is already assigned to node-id: 0"},
        {"-numa node,nodeid=0 -numa node,nodeid=0", "Duplicate NUMA nodeid: 0"},
        {"-numa node,nodeid=1", "Node ID missing: 0"},
        {"-numa node,nodeid=99", "'nodeid'"},
        {"-m 1G -numa node,mem=512M -numa node,mem=256M",
         "total memory for NUMA nodes (0x30000000) should equal"},
        {"-m 1G -numa node,memdev=x", "expected the id of an -object, found 'x'"},
        {"-m 1G -object memory-backend-ram,id=a,size=1G -numa node,mem=1G,memdev=a", "both mem= and memdev="},
        {"-m 1G -object memory-backend-ram,id=a,size=512M -numa node,mem=512M -numa node,memdev=a",
         "mixing both"},
        {"-m 1G -object memory-backend-ram,id=a,size=512M -numa node,memdev=a -numa node,memdev=a",
         "used multiple times"},
        {"-numa dist,src=0,dst=1,val=20", "src: expected a node"},
        {"-numa node -numa node -numa dist,src=0,dst=1,val=5", "'val'"},
        {"-numa node -numa node -numa dist,src=0,dst=0,val=20", "Local distance of node 0 should be 10."},
        {"-numa node -numa node -numa node -numa dist,src=0,dst=1,val=20",
         "distance between node 0 and 2 is missing"},
        {"-numa node -numa cpu,node-id=0,socket-id=7", "no match found"},
        {"-object rng-random,id=r", "Parameter 'qom-type' does not accept value 'rng-random'"},
        {"-object memory-backend-ram,size=1G", "'id' is missing"},
        {"-object memory-backend-ram,id=m", "'size' is missing"},
        {"-object memory-backend-ram,id=0m,size=1G", "'id' expects an identifier"},
        {"-object memory-backend-ram,id=m,size=0", "'size'"},
        {"-object memory-backend-ram,id=m,size=4097B", "'size'"},
        {"-object memory-backend-ram,id=m,size=1G,mem-path=/x", "'mem-path'"},
        {"-object memory-backend-file,id=m,size=1G", "'mem-path' is missing"},
        {"-object memory-backend-ram,id=m,size=1G -object memory-backend-ram,id=m,size=1G",
         "attempt to add duplicate property 'm'"},
        {"-object memory-backend-memfd,id=m,size=1G,hugetlbsize=2M", "expected hugetlb=on"},
        {"-object memory-backend-memfd,id=m,size=1G,hugetlb=on,hugetlbsize=3M", "expected a power of two"},
        {"-object memory-backend-memfd,id=m,size=3M,hugetlb=on", "multiple of the page size 0x200000"},
        {"-object memory-backend-ram,id=m,size=1G,policy=bind", "host-nodes must be set"},
        {"-object memory-backend-ram,id=m,size=1G,host-nodes=0",
         "host-nodes must be empty for policy default"},
        {"-object memory-backend-ram,id=m,size=1G,policy=best", "'policy'"},
        {"-device pc-dimm,id=d", "'pc-dimm' is not a valid device model name"},
        {"-device virtio-mem-pci,id=v", "'memdev' property must be set"},
        {"-device virtio-mem-pci,id=v,memdev=m", "Device 'm' not found"},
        {"-device virtio-mem-pci,id=v,memdev=m,dynamic-memslots=on", "'dynamic-memslots'"},
        {"-device virtio-mem-pci,id=v,memdev=m,color=red", "'color'"},
        {"-device isa-debug-exit,iobase=0xf4,color=red", "'color'"},
        {"-device isa-debug-exit,iobase=0x10000", "'iobase'"},
        {"-device isa-debug-exits", "'isa-debug-exits' is not a valid device model name"},
        {"-serial stdio -monitor stdio", "cannot use stdio by multiple character devices"},
        {"-serial paper", "-serial: expects none, null, vc, pty, stdio, mon:stdio"},
        {"-serial file:", "found 'file:'"},
        {"-kernel", "-kernel: requires an argument"},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct pleat_machine_config *config = malloc(sizeof *config);
        struct pleat_message message;
        assert_non_null(config);
        if (whole_machine_parse(cases[i].line, config, &message) != PLEAT_E_INVALID)
            fail_msg("%s: accepted", cases[i].line);
        if (!strstr(message.text, cases[i].because))
            fail_msg("%s: found '%s', expected '%s'", cases[i].line, message.text, cases[i].because);
        free(config);
    }
}

static void every_wrong_device_is_refused_in_the_words_of_QEMU(void **state)
{
    (void)state;
    static const struct {
        const char *device, *because;
    } cases[] = {
        {"id=v,memdev=m,requested-size=1M",
         "'requested-size' property has to be multiples of 'block-size' (0x200000)"},
        {"id=v,memdev=m,requested-size=2G",
         "'requested-size' cannot exceed the memory backend size(0x40000000)"},
        {"id=v,memdev=m,block-size=512K", "'block-size' property has to be at least 0x100000"},
        {"id=v,memdev=m,block-size=3M", "'block-size' property has to be a power of two"},
        {"id=v,memdev=m,block-size=2G", "memdev size has to be multiples of 'block-size' (0x80000000)"},
        {"id=v,memdev=m,memaddr=0x140100000", "'memaddr' property has to be multiples of"},
        {"id=v,memdev=m,node=1", "'node' property has value '1', which exceeds the number of numa nodes: 1"},
        {"id=v,memdev=h,block-size=2M", "has to be at least the page size (0x40000000)"},
        {"id=v,memdev=p", "memdev with preallocation enabled: p."},
        {"id=v,memdev=m,fault=made-up", "no such fault: 'made-up'"},
        {"id=v,memdev=m,fault=migrate-fails", "expected a fault of a device, found 'migrate-fails'"},
        {"id=w,memdev=m", "Duplicate device ID 'w'"},
        {"id=v,memdev=w", "'memdev' property specifies a busy memdev: w"},
        {"id=v!,memdev=m", "'id' expects an identifier"},
        {"id=v,memdev=m,unplugged-inaccessible=perhaps", "'unplugged-inaccessible'"},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char line[512];
        struct pleat_machine_config *config = malloc(sizeof *config);
        struct pleat_message message;
        assert_non_null(config);
        snprintf(
            line, sizeof line,
            "-m 1G,maxmem=8G -object memory-backend-ram,id=m,size=1G -object memory-backend-ram,id=w,size=1G "
            "-object memory-backend-memfd,id=h,size=2G,hugetlb=on,hugetlbsize=1G "
            "-object memory-backend-ram,id=p,size=1G,prealloc=on -device virtio-mem-pci,id=w,memdev=w "
            "-device virtio-mem-pci,%s",
            cases[i].device);
        if (whole_machine_parse(line, config, &message) != PLEAT_E_INVALID)
            fail_msg("%s: accepted", cases[i].device);
        if (!strstr(message.text, cases[i].because))
            fail_msg("%s: found '%s', expected '%s'", cases[i].device, message.text, cases[i].because);
        free(config);
    }
}

static void every_wrong_option_of_Pleat_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *line, *because;
    } cases[] = {
        {"-seed x", "-seed: expects a number"},
        {"-duration 10", "-duration: expects a time"},
        {"-floor lots", "-floor: expects a size"},
        {"-policy maybe", "'policy'"},
        {"-policy online,ratio=3", "ratio: expected auto_movable or prefer_movable"},
        {"-fault device-lazy", "no such fault: 'device-lazy'"},
        {"-workload fast", "expected none, synthetic or trace=FILE first, found 'fast'"},
        {"-workload speed=1", "expected none, synthetic or trace=FILE first"},
        {"-workload trace=x,speed=0", "'speed' expects a factor"},
        {"-workload trace=x,speed=fast", "'speed' expects a factor"},
        {"-workload trace=x,cpus=2", "'cpus' expects at most the machine's 1 CPUs, found 2"},
        {"-workload trace=x,colour=red", "'colour'"},
        {"-workload none,trace=x", "trace: expected no 'none' beside it"},
        {"-workload synthetic,fill=200%", "fill"},
        {"-workload none -workload none", "-workload: is there twice"},
        {"-qmp tcp:localhost:4444,server=on", "expected unix:PATH"},
        {"-qmp unix:/tmp/x", "expected server=on"},
        {"-qmp unix:/tmp/x,server=on,pretty=on", "Invalid parameter 'pretty'"},
        {"-qmp unix:/tmp/x,server=on -qmp unix:/tmp/y,server=on", "-qmp: is there twice, expected once"},
        {"-scenario x -scenario y", "-scenario: is there twice, expected once"},
        {"-qmp unix:,server=on", "expected unix:PATH"},
        {"-monitor tcp:1", "-monitor: expected stdio or none"},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct pleat_machine_config *config = malloc(sizeof *config);
        struct pleat_message message;
        assert_non_null(config);
        if (whole_machine_parse(cases[i].line, config, &message) != PLEAT_E_INVALID)
            fail_msg("%s: accepted", cases[i].line);
        if (!strstr(message.text, cases[i].because))
            fail_msg("%s: found '%s', expected '%s'", cases[i].line, message.text, cases[i].because);
        free(config);
    }
}

static void the_help_names_every_option_of_Pleat(void **state)
{
    (void)state;
    char text[16384];
    FILE *out = fmemopen(text, sizeof text, "w");

    assert_non_null(out);
    pleat_machine_config_help(out);
    fclose(out);
    static const char *const expected[] = {"-seed N", "-workload", "-fault", "device-busy",
                                           "-policy", "-scenario", "maxmem", "-accel"};
    for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++)
        if (!strstr(text, expected[i]))
            fail_msg("no %s", expected[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_golden_command_line_is_understood),
        cmocka_unit_test(without_options_a_machine_is_as_small_as_that_of_QEMU),
        cmocka_unit_test(options_that_say_nothing_here_are_accepted),
        cmocka_unit_test(the_command_line_that_boots_an_image_in_QEMU_is_accepted),
        cmocka_unit_test(memory_sizes_have_the_units_of_QEMU),
        cmocka_unit_test(a_CPU_topology_is_completed_as_in_QEMU),
        cmocka_unit_test(CPUs_that_no_node_claims_follow_their_sockets),
        cmocka_unit_test(memory_of_nodes_comes_by_size_or_by_backend),
        cmocka_unit_test(backends_have_the_properties_of_QEMU),
        cmocka_unit_test(the_options_of_Pleat_are_read),
        cmocka_unit_test(every_wrong_value_is_refused_with_what_was_expected),
        cmocka_unit_test(every_wrong_device_is_refused_in_the_words_of_QEMU),
        cmocka_unit_test(every_wrong_option_of_Pleat_is_refused),
        cmocka_unit_test(the_help_names_every_option_of_Pleat),
    };
    return cmocka_run_group_tests_name("machine config", tests, NULL, NULL);
}

/* SPDX-License-Identifier: MIT
 *
 * -smp and -numa by QEMU's rules (hw/core/machine-smp.c, hw/core/numa.c): what is left out of a topology is
 * worked out from the rest, CPUs that no node claims go to the node of their socket, or to node 0 where
 * others were claimed.
 */
#include "machine/config_topology.h"

#include <inttypes.h>
#include <string.h>

#include "machine/layout.h"
#include "machine/options.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const struct pleat_option_key smp_keys[] = {
    {.name = "cpus", .type = PLEAT_OPTION_NUMBER, .minimum = 1, .maximum = PLEAT_MACHINE_CPUS_MAX},
    {.name = "sockets", .type = PLEAT_OPTION_NUMBER, .minimum = 1, .maximum = PLEAT_MACHINE_CPUS_MAX},
    {.name = "dies", .type = PLEAT_OPTION_NUMBER, .minimum = 1, .maximum = 1},
    {.name = "clusters", .type = PLEAT_OPTION_NUMBER, .minimum = 1, .maximum = 1},
    {.name = "cores", .type = PLEAT_OPTION_NUMBER, .minimum = 1, .maximum = PLEAT_MACHINE_CPUS_MAX},
    {.name = "threads", .type = PLEAT_OPTION_NUMBER, .minimum = 1, .maximum = PLEAT_MACHINE_CPUS_MAX},
    {.name = "maxcpus", .type = PLEAT_OPTION_NUMBER, .minimum = 1, .maximum = PLEAT_MACHINE_CPUS_MAX},
};

static int check_topology(const struct pleat_machine_config *config, struct pleat_message *message)
{
    if ((uint64_t)config->sockets * config->cores * config->threads != config->cpus_maximum)
        return pleat_message_set(message, PLEAT_E_INVALID,
                                 "-smp: Invalid CPU topology: product of the hierarchy must match maxcpus: "
                                 "sockets (%u) * cores (%u) * threads (%u) != maxcpus (%u)",
                                 config->sockets, config->cores, config->threads, config->cpus_maximum);
    if (config->cpus_maximum < config->cpus)
        return pleat_message_set(message, PLEAT_E_INVALID,
                                 "-smp: Invalid CPU topology: maxcpus must be equal to or greater than smp: "
                                 "sockets (%u) * cores (%u) * threads (%u) == maxcpus (%u) < smp_cpus (%u)",
                                 config->sockets, config->cores, config->threads, config->cpus_maximum,
                                 config->cpus);
    if (config->cpus > PLEAT_MACHINE_CPUS_MAX)
        return pleat_message_set(message, PLEAT_E_INVALID, "-smp: expected at most %d CPUs, found %u",
                                 PLEAT_MACHINE_CPUS_MAX, config->cpus);
    return PLEAT_OK;
}

int pleat_config_read_smp(struct pleat_machine_config *config, const char *text,
                          struct pleat_message *message)
{
    struct pleat_options options;
    int error = pleat_options_parse(&options, "-smp", text, "cpus", message);

    if (!error)
        error = pleat_options_check(&options, smp_keys, COUNT(smp_keys), message);
    if (!error) {
        unsigned cpus = (unsigned)pleat_options_number(&options, "cpus", 0);
        unsigned maximum = (unsigned)pleat_options_number(&options, "maxcpus", 0);
        unsigned sockets = (unsigned)pleat_options_number(&options, "sockets", 0);
        unsigned cores = (unsigned)pleat_options_number(&options, "cores", 0);
        unsigned threads = (unsigned)pleat_options_number(&options, "threads", 0);

        const unsigned all = maximum ? maximum : cpus;
        if (!all) {
            sockets = sockets ? sockets : 1;
            cores = cores ? cores : 1;
            threads = threads ? threads : 1;
        } else if (!cores) {
            sockets = sockets ? sockets : 1;
            threads = threads ? threads : 1;
            cores = all / (sockets * threads);
        } else if (!sockets) {
            threads = threads ? threads : 1;
            sockets = all / (cores * threads);
        }
        if (!threads)
            threads = all / (sockets * cores);
        config->cpus_maximum = all ? all : sockets * cores * threads;
        config->cpus = cpus ? cpus : config->cpus_maximum;
        config->sockets = sockets;
        config->cores = cores;
        config->threads = threads;
        error = check_topology(config, message);
    }
    pleat_options_free(&options);
    return error;
}

/* ---- -numa ---- */

static const struct pleat_option_key node_keys[] = {
    {.name = "type", .type = PLEAT_OPTION_STRING},
    {.name = "nodeid", .type = PLEAT_OPTION_NUMBER, .maximum = PLEAT_MACHINE_NODES_MAX - 1},
    {.name = "cpus", .type = PLEAT_OPTION_RANGE, .flags = PLEAT_OPTION_REPEATS},
    {.name = "mem", .type = PLEAT_OPTION_SIZE, .multiple_of = 4096, .default_unit_bytes = 1 << 20},
    {.name = "memdev", .type = PLEAT_OPTION_STRING},
};
static const struct pleat_option_key dist_keys[] = {
    {.name = "type", .type = PLEAT_OPTION_STRING},
    {.name = "src", .type = PLEAT_OPTION_NUMBER, .flags = PLEAT_OPTION_REQUIRED},
    {.name = "dst", .type = PLEAT_OPTION_NUMBER, .flags = PLEAT_OPTION_REQUIRED},
    {.name = "val",
     .type = PLEAT_OPTION_NUMBER,
     .flags = PLEAT_OPTION_REQUIRED,
     .minimum = 10,
     .maximum = 255},
};
static const struct pleat_option_key cpu_keys[] = {
    {.name = "type", .type = PLEAT_OPTION_STRING},
    {.name = "node-id", .type = PLEAT_OPTION_NUMBER, .flags = PLEAT_OPTION_REQUIRED},
    {.name = "socket-id", .type = PLEAT_OPTION_NUMBER},
    {.name = "core-id", .type = PLEAT_OPTION_NUMBER},
    {.name = "thread-id", .type = PLEAT_OPTION_NUMBER},
};

#define NO_NODE UINT8_MAX

struct numa {
    struct pleat_machine_config *config;
    uint8_t cpu_node[PLEAT_MACHINE_CPUS_MAX]; /* of all CPUs up to maxcpus */
    bool any_cpu, any_mem, any_memdev, any_distance;
    bool distance_given[PLEAT_MACHINE_NODES_MAX][PLEAT_MACHINE_NODES_MAX];
    uint8_t distance[PLEAT_MACHINE_NODES_MAX][PLEAT_MACHINE_NODES_MAX];
};

static int claim_cpu(struct numa *numa, uint64_t cpu, unsigned node, struct pleat_message *message)
{
    if (cpu >= numa->config->cpus_maximum)
        return pleat_message_set(message, PLEAT_E_INVALID,
                                 "-numa: CPU index (%" PRIu64 ") should be smaller than maxcpus (%u)", cpu,
                                 numa->config->cpus_maximum);
    if (numa->cpu_node[cpu] != NO_NODE)
        return pleat_message_set(message, PLEAT_E_INVALID,
                                 "-numa: CPU %" PRIu64 " is already assigned to node-id: %u", cpu,
                                 numa->cpu_node[cpu]);
    numa->cpu_node[cpu] = (uint8_t)node;
    numa->any_cpu = true;
    return PLEAT_OK;
}

static int read_node(struct numa *numa, const struct pleat_options *options, struct pleat_message *message)
{
    struct pleat_machine_config *config = numa->config;
    unsigned next = 0;

    while (next < PLEAT_MACHINE_NODES_MAX && config->node[next].given)
        next++;
    const unsigned id = (unsigned)pleat_options_number(options, "nodeid", next);
    if (id >= PLEAT_MACHINE_NODES_MAX)
        return pleat_message_set(message, PLEAT_E_INVALID, "-numa: expected at most %d nodes",
                                 PLEAT_MACHINE_NODES_MAX);
    struct pleat_node_config *node = &config->node[id];
    if (node->given)
        return pleat_message_set(message, PLEAT_E_INVALID, "-numa: Duplicate NUMA nodeid: %u", id);
    node->given = true;
    if (id >= config->nodes)
        config->nodes = id + 1;

    int error = PLEAT_OK;
    for (const struct pleat_option *cpus = pleat_options_find(options, "cpus"); cpus && !error;
         cpus = pleat_options_next(options, "cpus", cpus)) {
        if (cpus->last >= config->cpus_maximum)
            error = claim_cpu(numa, cpus->last, id, message);
        for (uint64_t cpu = cpus->number; cpu <= cpus->last && !error; cpu++)
            error = claim_cpu(numa, cpu, id, message);
    }
    if (error)
        return error;

    const char *memdev = pleat_options_text(options, "memdev", "");
    if (pleat_options_find(options, "mem") && *memdev)
        return pleat_message_set(message, PLEAT_E_INVALID, "-numa: cannot specify both mem= and memdev=");
    if (pleat_options_find(options, "mem")) {
        node->memory_bytes = pleat_options_number(options, "mem", 0);
        numa->any_mem = true;
    }
    if (*memdev) {
        const struct pleat_backend_config *backend = pleat_machine_config_backend(config, memdev);
        if (!backend)
            return pleat_message_set(message, PLEAT_E_NOT_FOUND,
                                     "-numa: memdev: expected the id of an -object, found '%.60s'", memdev);
        memcpy(node->memdev, backend->id, sizeof node->memdev);
        node->memory_bytes = backend->size_bytes;
        numa->any_memdev = true;
    }
    if (numa->any_mem && numa->any_memdev)
        return pleat_message_set(
            message, PLEAT_E_INVALID,
            "-numa: numa configuration should use either mem= or memdev=, mixing both is "
            "not allowed");
    return PLEAT_OK;
}

static int check_node_id(const struct numa *numa, const char *key, uint64_t node,
                         struct pleat_message *message)
{
    if (node < PLEAT_MACHINE_NODES_MAX && numa->config->node[node].given)
        return PLEAT_OK;
    return pleat_message_set(message, PLEAT_E_INVALID,
                             "-numa: %s: expected a node that an earlier -numa node has made, found %" PRIu64,
                             key, node);
}

static int read_distance(struct numa *numa, const struct pleat_options *options,
                         struct pleat_message *message)
{
    const uint64_t from = pleat_options_number(options, "src", 0),
                   to = pleat_options_number(options, "dst", 0);
    const uint64_t value = pleat_options_number(options, "val", 0);
    int error = check_node_id(numa, "src", from, message);

    if (!error)
        error = check_node_id(numa, "dst", to, message);
    if (error)
        return error;
    if (from == to && value != 10)
        return pleat_message_set(message, PLEAT_E_INVALID,
                                 "-numa: Local distance of node %" PRIu64 " should be 10.", from);
    numa->distance[from][to] = (uint8_t)value;
    numa->distance_given[from][to] = true;
    numa->any_distance = true;
    return PLEAT_OK;
}

static int read_cpu(struct numa *numa, const struct pleat_options *options, struct pleat_message *message)
{
    const struct pleat_machine_config *config = numa->config;
    const uint64_t node = pleat_options_number(options, "node-id", 0);
    const uint64_t any = UINT64_MAX;
    const uint64_t socket = pleat_options_number(options, "socket-id", any);
    const uint64_t core = pleat_options_number(options, "core-id", any);
    const uint64_t thread = pleat_options_number(options, "thread-id", any);
    int error = check_node_id(numa, "node-id", node, message);
    bool matched = false;

    for (unsigned cpu = 0; cpu < config->cpus_maximum && !error; cpu++) {
        if ((socket != any && cpu / (config->cores * config->threads) != socket) ||
            (core != any && cpu / config->threads % config->cores != core) ||
            (thread != any && cpu % config->threads != thread))
            continue;
        error = claim_cpu(numa, cpu, (unsigned)node, message);
        matched = true;
    }
    if (!error && !matched)
        return pleat_message_set(message, PLEAT_E_INVALID, "-numa: no match found for these CPU properties");
    return error;
}

static int read_numa(struct numa *numa, const char *text, struct pleat_message *message)
{
    static const struct {
        const char *name;
        const struct pleat_option_key *keys;
        size_t count;
        int (*read)(struct numa *numa, const struct pleat_options *options, struct pleat_message *message);
    } types[] = {
        {"node", node_keys, COUNT(node_keys), read_node},
        {"dist", dist_keys, COUNT(dist_keys), read_distance},
        {"cpu", cpu_keys, COUNT(cpu_keys), read_cpu},
    };
    struct pleat_options options;
    int error = pleat_options_parse(&options, "-numa", text, "type", message);

    if (error)
        return error;
    const char *type = pleat_options_text(&options, "type", "");
    size_t i = 0;
    while (i < COUNT(types) && strcmp(type, types[i].name))
        i++;
    if (i == COUNT(types)) {
        char quoted[PLEAT_QUOTE_BYTES];
        error =
            pleat_message_set(message, PLEAT_E_INVALID, "-numa: expected one of node, dist, cpu, found %s",
                              pleat_quote(quoted, type));
    } else {
        error = pleat_options_check(&options, types[i].keys, types[i].count, message);
        if (!error)
            error = types[i].read(numa, &options, message);
    }
    pleat_options_free(&options);
    return error;
}

/* Memory of the nodes: what was said comes to all of it, or it is split. */
static int share_memory(struct numa *numa, struct pleat_message *message)
{
    struct pleat_machine_config *config = numa->config;
    uint64_t sum = 0;

    if (!numa->any_mem && !numa->any_memdev) {
        uint64_t bytes[PLEAT_MACHINE_NODES_MAX];
        pleat_layout_split_nodes(config->ram_bytes, config->nodes, bytes);
        for (unsigned node = 0; node < config->nodes; node++)
            config->node[node].memory_bytes = bytes[node];
        return PLEAT_OK;
    }
    for (unsigned node = 0; node < config->nodes; node++) {
        for (unsigned other = 0; other < node; other++)
            if (config->node[node].memdev[0] &&
                !strcmp(config->node[node].memdev, config->node[other].memdev))
                return pleat_message_set(
                    message, PLEAT_E_INVALID,
                    "-numa: memory backend %s is used multiple times. Each -numa option must "
                    "use a different memdev value.",
                    config->node[node].memdev);
        sum += config->node[node].memory_bytes;
        if (sum > PLEAT_MACHINE_MEMORY_BYTES_MAX)
            break;
    }
    if (sum != config->ram_bytes)
        return pleat_message_set(message, PLEAT_E_INVALID,
                                 "-numa: total memory for NUMA nodes (0x%" PRIx64
                                 ") should equal RAM size (0x%" PRIx64 ")",
                                 sum, config->ram_bytes);
    return PLEAT_OK;
}

static void share_cpus(struct numa *numa)
{
    struct pleat_machine_config *config = numa->config;

    for (unsigned cpu = 0; cpu < config->cpus; cpu++) {
        if (numa->cpu_node[cpu] != NO_NODE)
            config->cpu_node[cpu] = numa->cpu_node[cpu];
        else if (numa->any_cpu)
            config->cpu_node[cpu] = 0;
        else
            config->cpu_node[cpu] = (uint8_t)(cpu / (config->cores * config->threads) % config->nodes);
    }
}

/* A distance that was said in one direction only holds in both; then all have to be there. */
static int fill_distances(struct numa *numa, struct pleat_message *message)
{
    struct pleat_machine_config *config = numa->config;

    for (unsigned from = 0; from < config->nodes; from++) {
        for (unsigned to = 0; to < config->nodes; to++) {
            uint8_t *at = &config->distance[from * config->nodes + to];
            if (from == to)
                *at = 10;
            else if (!numa->any_distance)
                *at = 20;
            else if (numa->distance_given[from][to])
                *at = numa->distance[from][to];
            else if (numa->distance_given[to][from])
                *at = numa->distance[to][from];
            else
                return pleat_message_set(
                    message, PLEAT_E_INVALID,
                    "-numa: The distance between node %u and %u is missing, at least one "
                    "distance value between each nodes should be provided.",
                    from, to);
        }
    }
    return PLEAT_OK;
}

int pleat_config_read_numa(struct pleat_machine_config *config, const char *const *texts, unsigned count,
                           struct pleat_message *message)
{
    struct numa numa = {.config = config};

    memset(numa.cpu_node, NO_NODE, sizeof numa.cpu_node);
    config->numa_given = count > 0;
    config->nodes = 0;
    for (unsigned i = 0; i < count; i++) {
        int error = read_numa(&numa, texts[i], message);
        if (error)
            return error;
    }
    for (unsigned node = 0; node < config->nodes; node++)
        if (!config->node[node].given)
            return pleat_message_set(message, PLEAT_E_INVALID, "-numa: numa: Node ID missing: %u", node);
    if (!config->nodes) {
        if (count)
            return pleat_message_set(message, PLEAT_E_INVALID, "-numa: expected at least one node");
        config->nodes = 1;
    }
    int error = share_memory(&numa, message);
    share_cpus(&numa);
    return error ? error : fill_distances(&numa, message);
}

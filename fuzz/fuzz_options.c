/* SPDX-License-Identifier: MIT
 *
 * Option texts: whatever comes in is either taken apart or refused with one printable line.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz/input.h"
#include "machine/options.h"
#include "machine/synthetic.h"

static const struct pleat_option_key keys[] = {
    {.name = "driver"},
    {.name = "size", .type = PLEAT_OPTION_SIZE, .multiple_of = 4096, .maximum = (uint64_t)1 << 40},
    {.name = "node", .type = PLEAT_OPTION_NUMBER, .maximum = 15},
    {.name = "cpus", .type = PLEAT_OPTION_RANGE, .flags = PLEAT_OPTION_REPEATS, .maximum = 255},
    {.name = "prealloc", .type = PLEAT_OPTION_ON_OFF},
    {.name = "fill", .type = PLEAT_OPTION_PERCENT},
    {.name = "time", .type = PLEAT_OPTION_DURATION, .minimum = 10},
    {.name = "policy", .type = PLEAT_OPTION_CHOICE, .choices = "offline|online|online_movable"},
};

static void demand_message(const struct pleat_message *message)
{
    demand(message->text[0] != 0);
    for (const char *c = message->text; *c; c++)
        demand(*c >= 0x20 && *c < 0x7f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);
    memcpy(text, data, size);
    text[size] = '\0';
    struct pleat_message message = {""};
    struct pleat_options options;
    if (pleat_options_parse(&options, "-fuzz", text, size % 2 ? "driver" : NULL, &message)) {
        demand_message(&message);
    } else if (pleat_options_check(&options, keys, sizeof(keys) / sizeof(keys[0]), &message)) {
        demand_message(&message);
    } else {
        demand(pleat_options_number(&options, "size", 0) % 4096 == 0);
        demand(pleat_options_number(&options, "node", 0) <= 15);
        demand(pleat_options_number(&options, "fill", 0) <= PLEAT_PPM);
        demand(pleat_options_number(&options, "policy", 0) <= 2);
        const struct pleat_option *cpus = NULL;
        while ((cpus = pleat_options_next(&options, "cpus", cpus)))
            demand(cpus->number <= cpus->last && cpus->last <= 255);
    }
    pleat_options_free(&options);
    struct pleat_synthetic_config config;
    if (pleat_synthetic_parse(text, &config, &message)) {
        demand_message(&message);
    } else {
        demand(config.unmovable_ppm + config.reclaimable_ppm <= PLEAT_PPM);
        demand(config.mean_operations <= PLEAT_SYNTHETIC_MEAN_MAX && config.cpus >= 1 && config.cpus <= 256);
        struct pleat_operations operations;
        demand(!pleat_synthetic_prepare(&config, 3000, 100, &operations, &message) || message.text[0]);
        pleat_operations_free(&operations);
    }
    uint64_t number, last;
    bool on;
    char buffer[32];
    if (!pleat_parse_size(text, 1, &number, &message)) {
        /* What is printed is read as the same number. */
        demand(!pleat_parse_size(pleat_format_size(buffer, number), 1, &last, NULL) && last == number);
    }
    pleat_parse_number(text, &number, &message);
    pleat_parse_on_off(text, &on, &message);
    pleat_parse_percent(text, &number, &message);
    pleat_parse_duration(text, &number, &message);
    pleat_parse_range(text, &number, &last, &message);
    free(text);
    return 0;
}

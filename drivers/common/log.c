/* SPDX-License-Identifier: MIT
 *
 * The log of a driver.
 */
#include "log.h"

#include "text.h"

void pleat_log_line(const struct pleat_memory *memory, enum pleat_log_level level, const char *name,
                    const char *line)
{
    char named[320];
    if (memory == NULL || memory->ops->log == NULL) {
        return;
    }
    struct pleat_fixed_text text = pleat_fixed_text_begin(named, sizeof(named));
    pleat_put(&text, name);
    pleat_put(&text, ": ");
    pleat_put(&text, line);
    memory->ops->log(memory->context, level, named);
}

/* SPDX-License-Identifier: MIT
 *
 * What a model or a fake demands of the driver under test. A breach ends the program at once, with a line on
 * standard error: nothing that comes later is worth looking at, and fuzzers see it too.
 */
#ifndef PLEAT_TESTS_MUST_H
#define PLEAT_TESTS_MUST_H

/* `file` and `line` are where the demand stands. */
void must_breach(const char *file, int line, const char *format, ...)
    __attribute__((format(printf, 3, 4), noreturn));

/* What is wrong, as for printf(). */
#define BREACH(...) must_breach(__FILE__, __LINE__, __VA_ARGS__)

#define MUST(condition, ...)                                                                                 \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            BREACH(__VA_ARGS__);                                                                             \
        }                                                                                                    \
    } while (0)

#endif

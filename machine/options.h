/* SPDX-License-Identifier: MIT
 *
 * Options in QEMU's key=value form, and the one checked parser of each kind of value.
 *
 * A text such as `virtio-mem-pci,id=vm0,memdev=mem0,requested-size=128M` is taken apart in two steps.
 * pleat_options_parse() knows only the form: pieces separated by commas, `,,` for a comma inside of a
 * value, and a first piece without `=` which is the value of an implied key. pleat_options_check()
 * knows the meaning: a table of keys says what each value must look like, and what isn't in the table
 * is refused by name. Between the two a caller can look at the implied key to choose the table, as
 * -device and -object need it.
 *
 * Messages follow QEMU's wording ("Parameter 'size' expects ...", "Invalid parameter 'x'"), open with
 * the option's name, and close with what was expected or found.
 */
#ifndef PLEAT_MACHINE_OPTIONS_H
#define PLEAT_MACHINE_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "machine/message.h"

/** A longer text is refused: nobody types it. */
#define PLEAT_OPTIONS_TEXT_BYTES_MAX 65536

/** 100 % in parts per million, the unit of percent values. */
#define PLEAT_PPM 1000000u

/** What the value of a key must look like, and in which unit its number is. */
enum pleat_option_type {
    PLEAT_OPTION_STRING = 0, /**< any text that isn't empty */
    PLEAT_OPTION_NUMBER,     /**< 0 to 2^64 - 1, decimal or 0x hexadecimal */
    PLEAT_OPTION_SIZE,       /**< bytes: 4096, 4K, 1.5G, 0x1000 */
    PLEAT_OPTION_ON_OFF,     /**< on or off (yes, no, true, false); the key alone means on */
    PLEAT_OPTION_PERCENT,    /**< parts per million: 60%, 12.5% or 60 */
    PLEAT_OPTION_DURATION,   /**< nanoseconds: 250ns, 10us, 1.5ms, 2s */
    PLEAT_OPTION_RANGE,      /**< first-last, or one number, as in cpus=0-1 */
    PLEAT_OPTION_CHOICE      /**< one of the words of `choices`; the number is its place there, from 0 */
};

enum {
    /** The key must be there. */
    PLEAT_OPTION_REQUIRED = 1,
    /** The key may be there more than once; without this a second one is an error. */
    PLEAT_OPTION_REPEATS = 2
};

/** A key that an option knows: one row of a table. What is left zero means: no such demand. */
struct pleat_option_key {
    const char *name;
    enum pleat_option_type type;
    unsigned flags;
    /** Least and greatest number, in the type's unit; a maximum of 0 means no limit. For ranges, of both. */
    uint64_t minimum, maximum;
    /** The number must be a multiple of it. */
    uint64_t multiple_of;
    /** For PLEAT_OPTION_SIZE: bytes that a number without suffix counts (QEMU's -m: MiB); 0 means 1. */
    uint64_t default_unit_bytes;
    /** For PLEAT_OPTION_CHOICE: words separated by `|`. */
    const char *choices;
    /** One line for the help page. */
    const char *help;
};

/** One key=value of the text. */
struct pleat_option {
    const char *key;
    /** NULL when the key stood alone, without `=`. */
    const char *value;
    /** After pleat_options_check(): the value as a number; for ranges the first. */
    uint64_t number;
    /** After pleat_options_check(): for ranges the last, otherwise the same as number. */
    uint64_t last;
};

/** A text taken apart. All strings live until pleat_options_free(). */
struct pleat_options {
    /** What messages call it, such as "-device": the caller's string, which must outlive this. */
    const char *name;
    struct pleat_option *items;
    size_t count;
    char *storage;
};

/**
 * Takes TEXT apart into OPTIONS, to be given to pleat_options_free() later. NAME is what messages call
 * the option. IMPLIED_KEY, if not NULL, is the key of a first piece that has no `=`. An empty TEXT gives
 * no items.
 *
 * Errors, with OPTIONS empty (and free to be freed): PLEAT_E_INVALID (no key before `=`, an empty piece,
 * a text that is too long), PLEAT_E_NO_MEMORY.
 */
int pleat_options_parse(struct pleat_options *options, const char *name, const char *text,
                        const char *implied_key, struct pleat_message *message);

/** Gives back what pleat_options_parse() took; an emptied or zeroed OPTIONS is fine. */
void pleat_options_free(struct pleat_options *options);

/**
 * Checks every item against the COUNT rows of KEYS and fills in the numbers.
 *
 * Errors: PLEAT_E_INVALID, with the message naming the first key that is unknown, missing, there twice,
 * or whose value isn't what its row expects. Numbers of earlier items may have been filled in then.
 */
int pleat_options_check(struct pleat_options *options, const struct pleat_option_key *keys, size_t count,
                        struct pleat_message *message);

/** The first item with KEY, or NULL. */
const struct pleat_option *pleat_options_find(const struct pleat_options *options, const char *key);

/** The item with KEY after AFTER (NULL: the first), or NULL: for keys that repeat. */
const struct pleat_option *pleat_options_next(const struct pleat_options *options, const char *key,
                                              const struct pleat_option *after);

/** The value of KEY, or FALLBACK if it isn't there. */
const char *pleat_options_text(const struct pleat_options *options, const char *key, const char *fallback);

/** The checked number of KEY in its type's unit, or FALLBACK if it isn't there. */
uint64_t pleat_options_number(const struct pleat_options *options, const char *key, uint64_t fallback);

/** The checked on/off of KEY, or FALLBACK if it isn't there. */
bool pleat_options_on(const struct pleat_options *options, const char *key, bool fallback);

/** Prints a line for each row of KEYS: name, what it expects, help. */
void pleat_options_print_help(FILE *out, const struct pleat_option_key *keys, size_t count);

/*
 * The parsers of single values. All of them take the whole of TEXT (no blanks, no sign, nothing after
 * it), change *RESULT on success only and return PLEAT_E_INVALID otherwise, with a message such as
 * "expects a size such as 512M, found '12Q'": the caller puts the name of the option in front with
 * pleat_message_prefix().
 */

/** A number from 0 to 2^64 - 1, decimal or with 0x hexadecimal. */
int pleat_parse_number(const char *text, uint64_t *result, struct pleat_message *message);

/**
 * Bytes: a number with B, K, M, G, T, P or E (powers of 1024, either case) or without, when it counts
 * DEFAULT_UNIT_BYTES. A decimal fraction (1.5G) must come to whole bytes. Hexadecimal takes no suffix.
 */
int pleat_parse_size(const char *text, uint64_t default_unit_bytes, uint64_t *result_bytes,
                     struct pleat_message *message);

/** on, yes, true, or off, no, false. */
int pleat_parse_on_off(const char *text, bool *result, struct pleat_message *message);

/** 0 to 100, with or without %, with up to four decimals: in parts per million. */
int pleat_parse_percent(const char *text, uint64_t *result_ppm, struct pleat_message *message);

/** Nanoseconds: a number with ns, us, ms or s; a bare 0 needs no unit. Fractions must come to whole ns. */
int pleat_parse_duration(const char *text, uint64_t *result_ns, struct pleat_message *message);

/** Two numbers with a dash, the first not greater than the last, or one number. */
int pleat_parse_range(const char *text, uint64_t *first, uint64_t *last, struct pleat_message *message);

/** A size in words for people: whole units where it is a whole number of them ("128M", "4097"). */
const char *pleat_format_size(char buffer[32], uint64_t bytes);

#endif

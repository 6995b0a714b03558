/* SPDX-License-Identifier: MIT
 *
 * A guest's console, cut into lines, and what ours tell.
 */
#include "machine/guest_console.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "machine/options.h"

#define PIECE_BYTES   65536u
#define PIECES_A_READ 16u
#define LINE_BYTES    256u
#define WORDS_MAX     4u
#define BLOCK_LEAST   (UINT64_C(1) << 21)
#define BLOCK_MOST    (UINT64_C(1) << 40)
#define ADDRESSES_END (UINT64_C(1) << 56)

static const char prefix[] = "pleat-blocks: ";
#define PREFIX_BYTES (sizeof prefix - 1)

struct pleat_guest_console {
    int fd;
    char *path;
    const struct pleat_guest_console_ops *ops;
    void *context;
    uint64_t offset;                   /* bytes read */
    uint64_t number;                   /* of the line that comes next, from 1 */
    char line[LINE_BYTES + 1];         /* what there is of it; zero-terminated when it is complete */
    size_t length;                     /* <= LINE_BYTES */
    bool skips;                        /* it is too long, and nobody's: its rest isn't kept */
    uint64_t block_bytes, boot_blocks; /* block_bytes 0: nothing has been told yet */
};

/* ---- one line ---- */

static int complain(const struct pleat_guest_console *console, const char *expected, const char *found,
                    struct pleat_message *message)
{
    char quoted[PLEAT_QUOTE_BYTES];

    return pleat_message_set(message, PLEAT_E_PROTOCOL, "%s:%" PRIu64 ": %s%s, found %s", console->path,
                             console->number, prefix, expected, pleat_quote(quoted, found));
}

static bool is_power_of_two(uint64_t number)
{
    return number && !(number & (number - 1));
}

/* `size BYTES boot BLOCKS` */
static int take_size(struct pleat_guest_console *console, char *const words[], unsigned count,
                     struct pleat_message *message)
{
    uint64_t block_bytes, boot_blocks;

    if (count != 4 || strcmp(words[2], "boot") != 0)
        return complain(console, "expected size BYTES boot BLOCKS", words[count - 1], message);
    if (pleat_parse_number(words[1], &block_bytes, NULL) || !is_power_of_two(block_bytes) ||
        block_bytes < BLOCK_LEAST || block_bytes > BLOCK_MOST)
        return complain(console, "expected a block size that is a power of two from 2 MiB to 1 TiB", words[1],
                        message);
    if (pleat_parse_number(words[3], &boot_blocks, NULL) || boot_blocks < 1 ||
        boot_blocks > PLEAT_GUEST_CONSOLE_BOOT_BLOCKS_MAX)
        return complain(console, "expected 1 to 16384 blocks of boot memory", words[3], message);
    if (console->block_bytes && (console->block_bytes != block_bytes || console->boot_blocks != boot_blocks))
        return complain(console, "expected the size and the boot blocks that were told before", words[1],
                        message);
    const int error = console->ops->begin(console->context, block_bytes, boot_blocks, message);
    console->block_bytes = block_bytes;
    console->boot_blocks = boot_blocks;
    return error;
}

/* `free BYTES` */
static int take_free(const struct pleat_guest_console *console, char *const words[], unsigned count,
                     struct pleat_message *message)
{
    uint64_t bytes;

    if (count != 2 || pleat_parse_number(words[1], &bytes, NULL) || bytes >= ADDRESSES_END)
        return complain(console, "expected free BYTES", words[count - 1], message);
    console->ops->free(console->context, bytes);
    return PLEAT_OK;
}

/* Reads one block at *AT and moves on; false: it can't be. */
static bool read_cell(const char **at, struct pleat_picture_cell *cell)
{
    static const char zones[] = "DTNPM", small_zones[] = "dtnpm";
    const char letter = *(*at)++;
    const char *zone;

    *cell = (struct pleat_picture_cell){.state = PLEAT_BLOCK_NONE};
    switch (letter) {
    case '.':
        return true;
    case 'o':
        cell->state = PLEAT_BLOCK_OFFLINE;
        return true;
    case '+':
        cell->state = PLEAT_BLOCK_GOING_ONLINE;
        return true;
    case '-':
        cell->state = PLEAT_BLOCK_GOING_OFFLINE;
        return true;
    default:
        break;
    }
    cell->state = PLEAT_BLOCK_ONLINE;
    if ((zone = strchr(zones, letter)) != NULL) {
        cell->zone = (uint8_t)(zone - zones);
    } else if ((zone = strchr(small_zones, letter)) != NULL) {
        cell->zone = (uint8_t)(zone - small_zones);
        cell->partly_plugged = 1;
    } else {
        return false;
    }
    cell->holds_unmovable = **at == '*';
    *at += cell->holds_unmovable;
    return true;
}

/* `0xADDRESS CELLS`: all of it is checked before any of it is handed out. */
static int take_blocks(const struct pleat_guest_console *console, char *const words[], unsigned count,
                       struct pleat_message *message)
{
    struct pleat_picture_cell cells[PLEAT_GUEST_CONSOLE_BLOCKS_MAX];
    const char *at = words[count - 1];
    uint64_t address;
    size_t blocks = 0;

    if (count != 2)
        return complain(console, "expected 0xADDRESS CELLS", at, message);
    if (pleat_parse_number(words[0], &address, NULL) || address % console->block_bytes)
        return complain(console, "expected size, free, or the address of a block", words[0], message);
    while (*at && blocks < PLEAT_GUEST_CONSOLE_BLOCKS_MAX)
        if (!read_cell(&at, &cells[blocks++]))
            return complain(console, "expected the letters of 1 to 64 blocks", at - 1, message);
    if (*at)
        return complain(console, "expected the letters of 1 to 64 blocks", at, message);
    if (address >= ADDRESSES_END || blocks > (ADDRESSES_END - address) / console->block_bytes)
        return complain(console, "expected addresses below 2^56", words[0], message);
    for (size_t i = 0; i < blocks; i++)
        console->ops->block(console->context, address + i * console->block_bytes, &cells[i]);
    return PLEAT_OK;
}

/* Cuts the text at single blanks into at most WORDS_MAX words, none of them empty; 0: it isn't so. */
static unsigned cut_into_words(char *text, char *words[WORDS_MAX])
{
    unsigned count = 0;

    for (char *at = text; count < WORDS_MAX; count++) {
        const size_t length = strcspn(at, " ");
        const bool last = !at[length];
        if (!length)
            return 0;
        words[count] = at;
        if (last)
            return count + 1;
        at[length] = '\0';
        at += length + 1;
    }
    return 0;
}

static int take_line(struct pleat_guest_console *console, struct pleat_message *message)
{
    char text[LINE_BYTES + 1], *words[WORDS_MAX];

    if (console->length && console->line[console->length - 1] == '\r')
        console->length--;
    console->line[console->length] = '\0';
    if (console->skips || strncmp(console->line, prefix, PREFIX_BYTES) != 0)
        return PLEAT_OK;
    if (strlen(console->line) != console->length)
        return complain(console, "expected text", "a zero byte", message);
    memcpy(text, console->line + PREFIX_BYTES, console->length - PREFIX_BYTES + 1);
    const unsigned count = cut_into_words(text, words);
    if (!count)
        return complain(console, "expected 2 or 4 words", console->line + PREFIX_BYTES, message);
    if (!strcmp(words[0], "size"))
        return take_size(console, words, count, message);
    if (!console->block_bytes)
        return complain(console, "expected the size first", words[0], message);
    if (!strcmp(words[0], "free"))
        return take_free(console, words, count, message);
    return take_blocks(console, words, count, message);
}

/* ---- lines ---- */

/* What comes of a line, without its end. */
static int add_to_line(struct pleat_guest_console *console, const char *bytes, size_t length,
                       struct pleat_message *message)
{
    const size_t room = LINE_BYTES - console->length;

    if (console->skips)
        return PLEAT_OK;
    memcpy(console->line + console->length, bytes, length < room ? length : room);
    console->length += length < room ? length : room;
    if (length <= room)
        return PLEAT_OK;
    console->skips = true;
    if (memcmp(console->line, prefix, PREFIX_BYTES) != 0)
        return PLEAT_OK;
    return pleat_message_set(message, PLEAT_E_PROTOCOL, "%s:%" PRIu64 ": %sexpected at most %u bytes",
                             console->path, console->number, prefix, LINE_BYTES);
}

static int take_bytes(struct pleat_guest_console *console, const char *bytes, size_t length,
                      struct pleat_message *message)
{
    while (length) {
        const char *newline = memchr(bytes, '\n', length);
        const size_t part = newline ? (size_t)(newline - bytes) : length;
        int error = add_to_line(console, bytes, part, message);
        if (!error && newline)
            error = take_line(console, message);
        if (error)
            return error;
        if (!newline)
            break;
        console->number++;
        console->length = 0;
        console->skips = false;
        bytes += part + 1;
        length -= part + 1;
    }
    return PLEAT_OK;
}

/* ---- the file ---- */

static int cannot(const char *path, const char *what, struct pleat_message *message, int error)
{
    return pleat_message_set(message, error, "%s: %s: %s", path, what, strerror(errno));
}

int pleat_guest_console_read(struct pleat_guest_console *console, struct pleat_message *message)
{
    static const char unreadable[] = "the guest's console can't be read";
    char bytes[PIECE_BYTES];
    struct stat status;

    if (fstat(console->fd, &status))
        return cannot(console->path, unreadable, message, PLEAT_E_DEVICE);
    if (S_ISREG(status.st_mode) && (uint64_t)status.st_size < console->offset)
        return pleat_message_set(message, PLEAT_E_STATE, "%s: the guest's console was cut short",
                                 console->path);
    for (unsigned piece = 0; piece < PIECES_A_READ; piece++) {
        const ssize_t length = read(console->fd, bytes, sizeof bytes);
        /* Nobody writes into the pipe (yet), or the terminal's other end is closed: that isn't an end for us.
         */
        if (length == 0 || (length < 0 && (errno == EAGAIN || errno == EINTR || errno == EIO)))
            return PLEAT_OK;
        if (length < 0)
            return cannot(console->path, unreadable, message, PLEAT_E_DEVICE);
        console->offset += (uint64_t)length;
        const int error = take_bytes(console, bytes, (size_t)length, message);
        if (error)
            return error;
    }
    return PLEAT_OK;
}

int pleat_guest_console_open(struct pleat_guest_console **result, const char *path,
                             const struct pleat_guest_console_ops *ops, void *context,
                             struct pleat_message *message)
{
    struct pleat_guest_console *console = calloc(1, sizeof *console);
    struct stat status;

    *result = NULL;
    if (!console || !(console->path = strdup(path))) {
        free(console);
        return pleat_message_set(message, PLEAT_E_NO_MEMORY, "%s", pleat_error_text(PLEAT_E_NO_MEMORY));
    }
    console->ops = ops;
    console->context = context;
    console->number = 1;
    /* A pipe that nobody writes into yet mustn't be waited for. */
    console->fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    int error = PLEAT_OK;
    if (console->fd < 0 || fstat(console->fd, &status))
        error = cannot(path, "the guest's console can't be opened", message, PLEAT_E_NOT_FOUND);
    else if (!S_ISREG(status.st_mode) && !S_ISFIFO(status.st_mode) && !S_ISCHR(status.st_mode))
        error = pleat_message_set(message, PLEAT_E_INVALID,
                                  "%s: expected a file, a pipe or a terminal for the guest's console", path);
    if (error)
        pleat_guest_console_close(console);
    else
        *result = console;
    return error;
}

void pleat_guest_console_close(struct pleat_guest_console *console)
{
    if (!console)
        return;
    if (console->fd >= 0)
        close(console->fd);
    free(console->path);
    free(console);
}

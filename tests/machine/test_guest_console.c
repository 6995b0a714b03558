/* SPDX-License-Identifier: MIT
 *
 * What a guest tells on its console: whole lines of ours are handed out, in pieces of any length and between
 * whatever else is said there; a line that can't be ends it, named, with nothing of it handed out.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "machine/guest_console.h"
#include "machine/text.h"

#define SIZE  "pleat-blocks: size 134217728 boot 8\n"
#define CELLS "pleat-blocks: 0x8000000 "

static char path[] = "/tmp/pleat-console-XXXXXX";
static int out;
static struct pleat_text heard;
static int refusal;

static int hear_begin(void *context, uint64_t block_bytes, uint64_t boot_blocks,
                      struct pleat_message *message)
{
    assert_ptr_equal(context, &heard);
    pleat_text_print(&heard, "begin %" PRIu64 " %" PRIu64 ";", block_bytes, boot_blocks);
    return refusal ? pleat_message_set(message, refusal, "not now") : PLEAT_OK;
}

static void hear_block(void *context, uint64_t address, const struct pleat_picture_cell *cell)
{
    (void)context;
    pleat_text_print(&heard, "%" PRIx64 "=%u%u%u%u;", address, cell->state, cell->zone, cell->partly_plugged,
                     cell->holds_unmovable);
}

static void hear_free(void *context, uint64_t bytes)
{
    (void)context;
    pleat_text_print(&heard, "free %" PRIu64 ";", bytes);
}

static const struct pleat_guest_console_ops ops = {hear_begin, hear_block, hear_free};

static struct pleat_guest_console *opened(void)
{
    struct pleat_guest_console *console;
    struct pleat_message message = {""};

    assert_int_equal(ftruncate(out, 0), 0);
    assert_int_equal(lseek(out, 0, SEEK_SET), 0);
    pleat_text_clear(&heard);
    assert_int_equal(pleat_guest_console_open(&console, path, &ops, &heard, &message), PLEAT_OK);
    return console;
}

static void say_bytes(const char *bytes, size_t length)
{
    assert_int_equal(write(out, bytes, length), (ssize_t)length);
}

static void say(const char *text)
{
    say_bytes(text, strlen(text));
}

/* What was handed out of this; it has to be good. */
static const char *told(const char *text)
{
    struct pleat_guest_console *console = opened();
    struct pleat_message message = {""};

    say(text);
    if (pleat_guest_console_read(console, &message))
        fail_msg("%s", message.text);
    pleat_guest_console_close(console);
    return pleat_text_string(&heard);
}

static void assert_refused(const char *bytes, size_t length, const char *line, const char *why)
{
    struct pleat_guest_console *console = opened();
    struct pleat_message message = {""};
    char place[64];

    say_bytes(bytes, length);
    assert_int_equal(pleat_guest_console_read(console, &message), PLEAT_E_PROTOCOL);
    snprintf(place, sizeof place, "%s:%s: ", path, line);
    if (strncmp(message.text, place, strlen(place)) != 0 || !strstr(message.text, why))
        fail_msg("expected \"%s...%s\", found \"%s\"", place, why, message.text);
    if (strchr(pleat_text_string(&heard), '='))
        fail_msg("%s: \"%s\" was handed out", message.text, pleat_text_string(&heard));
    pleat_guest_console_close(console);
}

static void each_letter_is_a_state(void **state)
{
    (void)state;
    assert_string_equal(told(SIZE CELLS ".o+-\n"), "begin 134217728 8;8000000=4000;10000000=0000;"
                                                   "18000000=1000;20000000=3000;");
    assert_string_equal(told(SIZE CELLS "DTNPM\n"), "begin 134217728 8;8000000=2000;10000000=2100;"
                                                    "18000000=2200;20000000=2300;28000000=2400;");
    assert_string_equal(told(SIZE CELLS "dt*n*pm\n"), "begin 134217728 8;8000000=2010;10000000=2111;"
                                                      "18000000=2211;20000000=2310;28000000=2410;");
    assert_string_equal(told(SIZE "pleat-blocks: free 4096\n"), "begin 134217728 8;free 4096;");
    assert_string_equal(told(SIZE SIZE), "begin 134217728 8;begin 134217728 8;");
}

static void other_lines_are_somebody_elses(void **state)
{
    char line[5001];

    (void)state;
    assert_string_equal(told(""), "");
    assert_string_equal(
        told("\n\n\r\n[    0.000000] Linux version 6.1\nblocks: 3\npleat-blocks\npleat-blocks:\n"
             " pleat-blocks: x\n"),
        "");
    assert_string_equal(told("guest: runs\r\npleat-blocks: size 2097152 boot 1\r\n"), "begin 2097152 1;");
    memset(line, 'x', sizeof line - 1);
    line[sizeof line - 1] = '\0';
    struct pleat_guest_console *console = opened();
    say(line);
    say(line);
    say("\n" SIZE "\377\376\033[2J");
    say_bytes("\0\0\n", 3);
    say(CELLS "N\n");
    assert_int_equal(pleat_guest_console_read(console, NULL), PLEAT_OK);
    assert_string_equal(pleat_text_string(&heard), "begin 134217728 8;8000000=2200;");
    pleat_guest_console_close(console);
}

static void a_line_may_come_in_pieces(void **state)
{
    static const char text[] = "x\n" SIZE CELLS "Nn*\npleat-blocks: free 7\n";

    (void)state;
    struct pleat_guest_console *console = opened();
    for (size_t i = 0; i < sizeof text - 1; i++) {
        say_bytes(text + i, 1);
        assert_int_equal(pleat_guest_console_read(console, NULL), PLEAT_OK);
    }
    assert_string_equal(pleat_text_string(&heard), "begin 134217728 8;8000000=2200;10000000=2211;free 7;");
    pleat_guest_console_close(console);
}

static void a_line_that_can_not_be_is_named(void **state)
{
    static const struct {
        const char *text, *line, *why;
    } cases[] = {
        {"\n" CELLS "N\n", "2", "expected the size first, found '0x8000000'"},
        {"pleat-blocks: free 1\n", "1", "expected the size first"},
        {SIZE "pleat-blocks: \n", "2", "expected 2 or 4 words"},
        {SIZE "pleat-blocks:  free 1\n", "2", "expected 2 or 4 words"},
        {SIZE "pleat-blocks: free 1 \n", "2", "expected 2 or 4 words"},
        {SIZE "pleat-blocks: a b c d e\n", "2", "expected 2 or 4 words"},
        {SIZE "pleat-blocks: free\n", "2", "expected free BYTES"},
        {SIZE "pleat-blocks: free -1\n", "2", "expected free BYTES, found '-1'"},
        {SIZE "pleat-blocks: free 1 2\n", "2", "expected free BYTES"},
        {SIZE "pleat-blocks: free 72057594037927936\n", "2", "expected free BYTES"},
        {"pleat-blocks: size\n", "1", "expected size BYTES boot BLOCKS"},
        {"pleat-blocks: size 134217728\n", "1", "expected size BYTES boot BLOCKS"},
        {"pleat-blocks: size 134217728 root 8\n", "1", "expected size BYTES boot BLOCKS"},
        {"pleat-blocks: size 134217727 boot 8\n", "1",
         "a power of two from 2 MiB to 1 TiB, found '134217727'"},
        {"pleat-blocks: size 0 boot 8\n", "1", "a power of two from 2 MiB to 1 TiB"},
        {"pleat-blocks: size 1048576 boot 8\n", "1", "a power of two from 2 MiB to 1 TiB"},
        {"pleat-blocks: size 2199023255552 boot 8\n", "1", "a power of two from 2 MiB to 1 TiB"},
        {"pleat-blocks: size 99999999999999999999 boot 8\n", "1", "a power of two from 2 MiB to 1 TiB"},
        {"pleat-blocks: size 134217728 boot 0\n", "1", "expected 1 to 16384 blocks"},
        {"pleat-blocks: size 134217728 boot 16385\n", "1", "expected 1 to 16384 blocks"},
        {SIZE "pleat-blocks: size 268435456 boot 8\n", "2", "that were told before, found '268435456'"},
        {SIZE "pleat-blocks: size 134217728 boot 9\n", "2", "that were told before"},
        {SIZE "pleat-blocks: 0x8000000\n", "2", "expected 0xADDRESS CELLS"},
        {SIZE CELLS "N 1\n", "2", "expected 0xADDRESS CELLS"},
        {SIZE CELLS "N *\n", "2", "expected 0xADDRESS CELLS"},
        {SIZE CELLS "NNx\n", "2", "expected the letters of 1 to 64 blocks, found 'x'"},
        {SIZE CELLS "*\n", "2", "expected the letters"},
        {SIZE CELLS "N**\n", "2", "expected the letters"},
        {SIZE CELLS ".*\n", "2", "expected the letters"},
        {SIZE CELLS "NN\033[2J\n", "2", "found '\\x1b[2J'"},
        {SIZE CELLS "NNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNN\n", "2",
         "expected the letters of 1 to 64 blocks, found 'N'"},
        {SIZE "pleat-blocks: 0x8000001 N\n", "2", "the address of a block, found '0x8000001'"},
        {SIZE "pleat-blocks: fold N\n", "2", "the address of a block, found 'fold'"},
        {SIZE "pleat-blocks: 0x100000000000000 N\n", "2", "expected addresses below 2^56"},
        {SIZE "pleat-blocks: 0xfffffff8000000 NN\n", "2", "expected addresses below 2^56"},
        {SIZE "pleat-blocks: 0xfffffffff8000000 NN\n", "2", "expected addresses below 2^56"},
    };
    char longer[400];

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_refused(cases[i].text, strlen(cases[i].text), cases[i].line, cases[i].why);
    assert_refused(SIZE CELLS "N\0N\n", sizeof(SIZE CELLS "N\0N\n") - 1, "2", "expected text");
    memset(longer, 'N', sizeof longer);
    memcpy(longer, CELLS, sizeof CELLS - 1);
    /* Its end needn't come for that. */
    assert_refused(longer, sizeof longer, "1", "expected at most 256 bytes");
}

static void who_hears_may_refuse(void **state)
{
    struct pleat_message message = {""};

    (void)state;
    struct pleat_guest_console *console = opened();
    say(SIZE CELLS "N\n");
    refusal = PLEAT_E_UNSUPPORTED;
    assert_int_equal(pleat_guest_console_read(console, &message), PLEAT_E_UNSUPPORTED);
    refusal = PLEAT_OK;
    assert_string_equal(message.text, "not now");
    assert_string_equal(pleat_text_string(&heard), "begin 134217728 8;");
    pleat_guest_console_close(console);
}

static void a_flood_is_read_bit_by_bit(void **state)
{
    static char flood[3 << 20];

    (void)state;
    struct pleat_guest_console *console = opened();
    memset(flood, '\n', sizeof flood);
    say_bytes(flood, sizeof flood);
    say(SIZE);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(pleat_guest_console_read(console, NULL), PLEAT_OK);
        assert_string_equal(pleat_text_string(&heard), "");
    }
    assert_int_equal(pleat_guest_console_read(console, NULL), PLEAT_OK);
    assert_string_equal(pleat_text_string(&heard), "begin 134217728 8;");
    pleat_guest_console_close(console);
}

static void a_file_that_is_cut_is_no_console(void **state)
{
    struct pleat_message message = {""};

    (void)state;
    struct pleat_guest_console *console = opened();
    say(SIZE);
    assert_int_equal(pleat_guest_console_read(console, &message), PLEAT_OK);
    assert_int_equal(ftruncate(out, 3), 0);
    assert_int_equal(pleat_guest_console_read(console, &message), PLEAT_E_STATE);
    assert_non_null(strstr(message.text, "was cut short"));
    pleat_guest_console_close(console);
}

static void a_pipe_is_not_waited_for(void **state)
{
    struct pleat_guest_console *console;
    struct pleat_message message = {""};
    char fifo[sizeof path + 8];

    (void)state;
    snprintf(fifo, sizeof fifo, "%s.fifo", path);
    assert_int_equal(mkfifo(fifo, 0600), 0);
    pleat_text_clear(&heard);
    assert_int_equal(pleat_guest_console_open(&console, fifo, &ops, &heard, &message), PLEAT_OK);
    assert_int_equal(pleat_guest_console_read(console, &message), PLEAT_OK);
    const int writer = open(fifo, O_WRONLY);
    assert_true(writer >= 0);
    assert_int_equal(pleat_guest_console_read(console, &message), PLEAT_OK);
    assert_int_equal(write(writer, SIZE, sizeof SIZE - 1), (ssize_t)(sizeof SIZE - 1));
    assert_int_equal(pleat_guest_console_read(console, &message), PLEAT_OK);
    close(writer);
    assert_int_equal(pleat_guest_console_read(console, &message), PLEAT_OK);
    assert_string_equal(pleat_text_string(&heard), "begin 134217728 8;");
    pleat_guest_console_close(console);
    unlink(fifo);
}

static void what_is_no_console_is_refused(void **state)
{
    struct pleat_guest_console *console;
    struct pleat_message message = {""};

    (void)state;
    assert_int_equal(pleat_guest_console_open(&console, "/nonexistent/console", &ops, NULL, &message),
                     PLEAT_E_NOT_FOUND);
    assert_string_equal(
        message.text, "/nonexistent/console: the guest's console can't be opened: No such file or directory");
    assert_null(console);
    assert_int_equal(pleat_guest_console_open(&console, "/tmp", &ops, NULL, &message), PLEAT_E_INVALID);
    assert_string_equal(message.text, "/tmp: expected a file, a pipe or a terminal for the guest's console");
    assert_null(console);
    pleat_guest_console_close(NULL);
}

static int set_up(void **state)
{
    (void)state;
    out = mkstemp(path);
    return out < 0;
}

static int tear_down(void **state)
{
    (void)state;
    close(out);
    pleat_text_free(&heard);
    return unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_letter_is_a_state),
        cmocka_unit_test(other_lines_are_somebody_elses),
        cmocka_unit_test(a_line_may_come_in_pieces),
        cmocka_unit_test(a_line_that_can_not_be_is_named),
        cmocka_unit_test(who_hears_may_refuse),
        cmocka_unit_test(a_flood_is_read_bit_by_bit),
        cmocka_unit_test(a_file_that_is_cut_is_no_console),
        cmocka_unit_test(a_pipe_is_not_waited_for),
        cmocka_unit_test(what_is_no_console_is_refused),
    };
    return cmocka_run_group_tests_name("guest console", tests, set_up, tear_down);
}

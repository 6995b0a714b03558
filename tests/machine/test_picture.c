/* SPDX-License-Identifier: MIT
 *
 * Pictures: what is recorded is what is drawn, names from outside stay names, and a gnuplot that is missing,
 * fails or hangs is an error with a reason that leaves nothing behind.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "machine/picture.h"

static char folder[] = "/tmp/pleat-picture-XXXXXX";
static char saved_path[4096];

static void assert_contains(const char *text, const char *part)
{
    if (!strstr(text, part))
        fail_msg("expected \"%s\" in \"%.3000s\"", part, text);
}

static const char *in_folder(const char *name)
{
    static char path[512];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    return path;
}

/* The whole file, zero-terminated; the caller frees it. */
static char *read_file(const char *name, size_t *size)
{
    FILE *file = fopen(in_folder(name), "rb");
    if (!file)
        fail_msg("%s isn't there", in_folder(name));
    char *bytes = calloc(1, 1 << 20);
    *size = fread(bytes, 1, (1 << 20) - 1, file);
    fclose(file);
    return bytes;
}

static unsigned count_files(void)
{
    unsigned count = 0;
    DIR *open_folder = opendir(folder);
    for (struct dirent *entry; (entry = readdir(open_folder));)
        count += entry->d_name[0] != '.';
    closedir(open_folder);
    return count;
}

static void remove_files(void)
{
    DIR *open_folder = opendir(folder);
    for (struct dirent *entry; (entry = readdir(open_folder));) {
        if (entry->d_name[0] != '.')
            unlink(in_folder(entry->d_name));
    }
    closedir(open_folder);
}

static int set_up(void **state)
{
    (void)state;
    snprintf(saved_path, sizeof(saved_path), "%s", getenv("PATH"));
    return mkdtemp(folder) ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    remove_files();
    return rmdir(folder);
}

static int restore(void **state)
{
    (void)state;
    setenv("PATH", saved_path, 1);
    remove_files();
    return 0;
}

/* Puts a program called gnuplot with this text in the place of the real one. */
static void replace_gnuplot(const char *script)
{
    const char *path = in_folder("gnuplot");
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fprintf(file, "#!/bin/sh\n%s\n", script);
    fclose(file);
    chmod(path, 0700);
    char search[4200];
    snprintf(search, sizeof(search), "%s:%s", folder, saved_path);
    setenv("PATH", search, 1);
}

/* Two curves, a mark, and a map of 2 + 4 blocks in three snapshots. */
static struct pleat_picture *sample(const char *name)
{
    struct pleat_picture *picture = pleat_picture_create(name, "below the title");
    assert_non_null(picture);
    int plugged = pleat_picture_curve(picture, name, 0, false);
    int requested = pleat_picture_curve(picture, "requested", 0, true);
    assert_int_equal(plugged, 0);
    assert_int_equal(requested, 1);
    for (uint64_t i = 0; i < 10; i++) {
        assert_int_equal(pleat_picture_point(picture, plugged, i * 100000000, i << 27), 0);
        assert_int_equal(pleat_picture_point(picture, requested, i * 100000000, (uint64_t)1 << 30), 0);
    }
    assert_int_equal(pleat_picture_mark(picture, 300000000, name), 0);
    assert_int_equal(pleat_picture_region(picture, name, 2), 0);
    assert_int_equal(pleat_picture_region(picture, "vm0", 4), 0);
    struct pleat_picture_cell cells[6] = {{PLEAT_BLOCK_ONLINE, PLEAT_ZONE_NORMAL, 0, 1},
                                          {PLEAT_BLOCK_ONLINE, PLEAT_ZONE_DMA32, 0, 0},
                                          {PLEAT_BLOCK_NONE, 0, 0, 0},
                                          {PLEAT_BLOCK_NONE, 0, 0, 0},
                                          {PLEAT_BLOCK_NONE, 0, 0, 0},
                                          {PLEAT_BLOCK_NONE, 0, 0, 0}};
    assert_int_equal(pleat_picture_snapshot(picture, 0, cells, 6), 0);
    cells[2] = (struct pleat_picture_cell){PLEAT_BLOCK_ONLINE, PLEAT_ZONE_MOVABLE, 1, 0};
    assert_int_equal(pleat_picture_snapshot(picture, 500000000, cells, 6), 0);
    cells[2].partly_plugged = 0;
    cells[3].state = PLEAT_BLOCK_GOING_OFFLINE;
    assert_int_equal(pleat_picture_snapshot(picture, 700000000, cells, 6), 0);
    return picture;
}

static char *script_of(const struct pleat_picture *picture)
{
    char *text = NULL;
    size_t length = 0;
    FILE *out = open_memstream(&text, &length);
    assert_int_equal(pleat_picture_script(picture, out, "svg", "x.svg"), 0);
    fclose(out);
    return text;
}

/* ---- recording ---- */

static void wrong_records_are_refused(void **state)
{
    (void)state;
    struct pleat_picture *picture = pleat_picture_create("title", "");
    struct pleat_picture_cell cells[3] = {{PLEAT_BLOCK_NONE, 0, 0, 0}};
    assert_int_equal(pleat_picture_point(picture, 0, 0, 0), PLEAT_E_INVALID);
    assert_int_equal(pleat_picture_curve(picture, "a", 99, false), 0);
    assert_int_equal(pleat_picture_point(picture, -1, 0, 0), PLEAT_E_INVALID);
    assert_int_equal(pleat_picture_point(picture, 1, 0, 0), PLEAT_E_INVALID);
    assert_int_equal(pleat_picture_point(picture, 0, 100, 0), 0);
    assert_int_equal(pleat_picture_point(picture, 0, 99, 0), PLEAT_E_INVALID);
    assert_int_equal(pleat_picture_point(picture, 0, 100, 1), 0);
    assert_int_equal(pleat_picture_snapshot(picture, 0, cells, 0), PLEAT_E_INVALID);
    assert_int_equal(pleat_picture_region(picture, "none", 0), PLEAT_E_INVALID);
    assert_int_equal(pleat_picture_region(picture, "all", SIZE_MAX), PLEAT_E_INVALID);
    assert_int_equal(pleat_picture_region(picture, "two", 2), 0);
    assert_int_equal(pleat_picture_snapshot(picture, 0, cells, 3), PLEAT_E_INVALID);
    cells[1].state = PLEAT_BLOCK_NONE + 1;
    assert_int_equal(pleat_picture_snapshot(picture, 0, cells, 2), PLEAT_E_INVALID);
    cells[1].state = PLEAT_BLOCK_ONLINE;
    cells[1].zone = PLEAT_ZONE_KINDS;
    assert_int_equal(pleat_picture_snapshot(picture, 0, cells, 2), PLEAT_E_INVALID);
    cells[1].zone = 0;
    assert_int_equal(pleat_picture_snapshot(picture, 10, cells, 2), 0);
    assert_int_equal(pleat_picture_snapshot(picture, 9, cells, 2), PLEAT_E_INVALID);
    assert_int_equal(pleat_picture_region(picture, "late", 1), PLEAT_E_STATE);
    pleat_picture_destroy(picture);
    pleat_picture_destroy(NULL);
}

static void the_script_has_what_was_recorded(void **state)
{
    (void)state;
    struct pleat_picture *picture = sample("vm0");
    char *script = script_of(picture);
    assert_contains(script, "set label 1 'vm0'");
    assert_contains(script, "'below the title'");
    assert_contains(script, "set ylabel 'MiB'");
    assert_contains(script, "set xlabel 'time (s)'");
    /* A curve's last value holds to the end; equal ones in a row are left out. */
    assert_contains(script, "$curve0 << END\n0 0\n0.1 128\n");
    assert_contains(script, "$curve1 << END\n0 1024\n0.9 1024\n0.909 1024\nEND\n");
    /* Block 2 is absent, then partly plugged, then plugged: Movable's colour in its tint and in full. */
    assert_contains(script, "0.5 0.7 4.04 4.96 12115924\n");
    assert_contains(script, "0.7 0.909 4.04 4.96 40563\n");
    /* The bar of block 0, which holds unmovable frames all the time. */
    assert_contains(script, "$bars << END\n0 0.909 0.36 0.64 1118481\nEND\n");
    /* Two blocks of vm0 were never added, so they aren't shown; the legend has what occurs. */
    assert_contains(script, "'2 of 4 blocks'");
    assert_contains(script, "title 'Movable, partly plugged'");
    assert_contains(script, "title 'going offline'");
    assert_null(strstr(script, "PreferMovable"));
    assert_null(strstr(script, "title 'offline'"));
    free(script);
    pleat_picture_destroy(picture);
}

static void a_map_may_end_before_the_curves(void **state)
{
    (void)state;
    struct pleat_picture *picture = sample("vm0");
    struct pleat_picture_cell cells[6] = {{0}};
    pleat_picture_end_map(picture, 800000000);
    assert_int_equal(pleat_picture_snapshot(picture, 900000000, cells, 6), PLEAT_E_STATE);
    assert_int_equal(pleat_picture_set_subtitle(picture, "ends early"), 0);
    char *script = script_of(picture);
    assert_contains(script, "0.7 0.8 4.04 4.96 40563\n");
    assert_contains(script, "$bars << END\n0 0.8 0.36 0.64 1118481\nEND\n");
    assert_contains(script, "0.909 1024\nEND\n");
    assert_contains(script, "'ends early'");
    assert_null(strstr(script, "below the title"));
    free(script);
    pleat_picture_destroy(picture);
}

static void many_blocks_share_rows(void **state)
{
    (void)state;
    struct pleat_picture *picture = pleat_picture_create("many", "");
    const size_t count = 8192;
    struct pleat_picture_cell *cells = calloc(count, sizeof(*cells));
    for (size_t i = 0; i < count; i++)
        cells[i] = (struct pleat_picture_cell){PLEAT_BLOCK_ONLINE, PLEAT_ZONE_NORMAL, 0, i < 4000};
    assert_int_equal(pleat_picture_region(picture, "RAM", count), 0);
    assert_int_equal(pleat_picture_snapshot(picture, 0, cells, count), 0);
    char *script = script_of(picture);
    assert_contains(script, "memory blocks, 33 to a row");
    assert_contains(script, "set yrange [0:249]");
    free(script);
    free(cells);
    pleat_picture_destroy(picture);
}

static void a_size_is_shown_in_a_unit_that_fits(void **state)
{
    (void)state;
    static const struct {
        uint64_t bytes;
        const char *expected;
    } cases[] = {{0, "set ytics 0.25\nset format y '%g'\nset ylabel 'KiB'"},
                 {UINT64_C(5) << 30, "set ytics 1\nset format y '%g'\nset ylabel 'GiB'"},
                 {UINT64_C(1) << 30, "set ytics 128\nset format y '%g'\nset ylabel 'MiB'"},
                 {UINT64_C(9) << 40, "set ytics 2\nset format y '%g'\nset ylabel 'TiB'"}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct pleat_picture *picture = pleat_picture_create("size", "");
        int curve = pleat_picture_curve(picture, "size", 0, false);
        assert_int_equal(pleat_picture_point(picture, curve, 0, cases[i].bytes), 0);
        char *script = script_of(picture);
        assert_contains(script, cases[i].expected);
        free(script);
        pleat_picture_destroy(picture);
    }
}

/* ---- drawing ---- */

static void draws_an_svg_and_a_png_of_readable_size(void **state)
{
    (void)state;
    struct pleat_picture *picture = sample("vm0");
    struct pleat_message message = {""};
    if (pleat_picture_draw(picture, in_folder("run"), 0, &message))
        fail_msg("%s", message.text);
    size_t size;
    char *svg = read_file("run.svg", &size);
    assert_contains(svg, "<svg");
    assert_contains(svg, "going offline");
    assert_contains(svg, "</svg>");
    free(svg);
    char *png = read_file("run.png", &size);
    assert_true(size > 5000);
    assert_memory_equal(png, "\x89PNG\r\n\x1a\n", 8);
    unsigned width = (unsigned char)png[18] * 256u + (unsigned char)png[19];
    assert_in_range(width, 800, 1200);
    free(png);
    assert_int_equal(count_files(), 2);
    pleat_picture_destroy(picture);
}

static void curves_alone_and_a_map_alone_are_pictures_too(void **state)
{
    (void)state;
    struct pleat_message message = {""};
    struct pleat_picture *picture = pleat_picture_create("curves", "");
    int curve = pleat_picture_curve(picture, "empty", 0, false);
    assert_int_equal(curve, 0);
    if (pleat_picture_draw(picture, in_folder("curves"), 0, &message))
        fail_msg("%s", message.text);
    pleat_picture_destroy(picture);
    picture = pleat_picture_create("map", "");
    struct pleat_picture_cell cell = {PLEAT_BLOCK_OFFLINE, 0, 0, 0};
    assert_int_equal(pleat_picture_region(picture, "one", 1), 0);
    assert_int_equal(pleat_picture_snapshot(picture, 0, &cell, 1), 0);
    if (pleat_picture_draw(picture, in_folder("map"), 0, &message))
        fail_msg("%s", message.text);
    pleat_picture_destroy(picture);
    assert_int_equal(count_files(), 4);
}

static void names_from_outside_stay_names(void **state)
{
    (void)state;
    char name[300];
    snprintf(name, sizeof(name), "'.`touch %s/hacked`.' \n\"@x{/Bold %%d", folder);
    struct pleat_picture *picture = sample(name);
    struct pleat_message message = {""};
    if (pleat_picture_draw(picture, in_folder("run"), 0, &message))
        fail_msg("%s", message.text);
    assert_int_equal(count_files(), 2);
    size_t size;
    char *svg = read_file("run.svg", &size);
    assert_contains(svg, "`touch ");
    free(svg);
    pleat_picture_destroy(picture);
}

static void nothing_recorded_is_refused(void **state)
{
    (void)state;
    struct pleat_picture *picture = pleat_picture_create("empty", "");
    struct pleat_message message = {""};
    assert_int_equal(pleat_picture_draw(picture, in_folder("run"), 0, &message), PLEAT_E_STATE);
    assert_contains(message.text, "nothing to draw");
    assert_int_equal(count_files(), 0);
    pleat_picture_destroy(picture);
}

static void a_missing_gnuplot_is_named_with_its_package(void **state)
{
    (void)state;
    struct pleat_picture *picture = sample("vm0");
    struct pleat_message message = {""};
    setenv("PATH", "/nonexistent", 1);
    assert_int_equal(pleat_picture_draw(picture, in_folder("run"), 0, &message), PLEAT_E_UNSUPPORTED);
    assert_contains(message.text, "install the package gnuplot-nox");
    assert_int_equal(count_files(), 0);
    pleat_picture_destroy(picture);
}

static void what_a_failing_gnuplot_says_is_passed_on(void **state)
{
    (void)state;
    struct pleat_picture *picture = sample("vm0");
    struct pleat_message message = {""};
    replace_gnuplot("echo; echo '   ^'; echo '  line 7: no such terminal' >&2; exit 3");
    assert_int_equal(pleat_picture_draw(picture, in_folder("run"), 0, &message), PLEAT_E_DEVICE);
    assert_string_equal(message.text, "gnuplot failed with exit code 3, saying 'line 7: no such terminal'");
    replace_gnuplot("kill -9 $$");
    assert_int_equal(pleat_picture_draw(picture, in_folder("run"), 0, &message), PLEAT_E_DEVICE);
    assert_string_equal(message.text, "gnuplot was ended by signal 9");
    replace_gnuplot("exit 0");
    assert_int_equal(pleat_picture_draw(picture, in_folder("run"), 0, &message), PLEAT_E_DEVICE);
    assert_string_equal(message.text, "gnuplot ended well but drew no svg");
    assert_int_equal(count_files(), 1);
    pleat_picture_destroy(picture);
}

static void a_hanging_gnuplot_is_ended(void **state)
{
    (void)state;
    struct pleat_picture *picture = sample("vm0");
    struct pleat_message message = {""};
    replace_gnuplot("exec sleep 60");
    struct timespec before, after;
    clock_gettime(CLOCK_MONOTONIC, &before);
    assert_int_equal(pleat_picture_draw(picture, in_folder("run"), 200000000, &message), PLEAT_E_TIMEOUT);
    clock_gettime(CLOCK_MONOTONIC, &after);
    assert_string_equal(message.text, "gnuplot was ended after 0.2 s without a result");
    assert_true(after.tv_sec - before.tv_sec < 10);
    assert_int_equal(count_files(), 1);
    pleat_picture_destroy(picture);
}

static void a_place_that_can_not_be_written_is_named(void **state)
{
    (void)state;
    struct pleat_picture *picture = sample("vm0");
    struct pleat_message message = {""};
    assert_int_equal(pleat_picture_draw(picture, "/nonexistent/run", 0, &message), PLEAT_E_NOT_FOUND);
    assert_contains(message.text, "/nonexistent/run: can't be written: No such file or directory");
    char *longer = calloc(1, 5001);
    memset(longer, 'a', 5000);
    assert_int_equal(pleat_picture_draw(picture, longer, 0, &message), PLEAT_E_NOT_FOUND);
    free(longer);
    pleat_picture_destroy(picture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wrong_records_are_refused),
        cmocka_unit_test(the_script_has_what_was_recorded),
        cmocka_unit_test(a_map_may_end_before_the_curves),
        cmocka_unit_test(many_blocks_share_rows),
        cmocka_unit_test(a_size_is_shown_in_a_unit_that_fits),
        cmocka_unit_test_teardown(draws_an_svg_and_a_png_of_readable_size, restore),
        cmocka_unit_test_teardown(curves_alone_and_a_map_alone_are_pictures_too, restore),
        cmocka_unit_test_teardown(names_from_outside_stay_names, restore),
        cmocka_unit_test_teardown(nothing_recorded_is_refused, restore),
        cmocka_unit_test_teardown(a_missing_gnuplot_is_named_with_its_package, restore),
        cmocka_unit_test_teardown(what_a_failing_gnuplot_says_is_passed_on, restore),
        cmocka_unit_test_teardown(a_hanging_gnuplot_is_ended, restore),
        cmocka_unit_test_teardown(a_place_that_can_not_be_written_is_named, restore),
    };
    return cmocka_run_group_tests_name("picture", tests, set_up, tear_down);
}

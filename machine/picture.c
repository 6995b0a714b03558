/* SPDX-License-Identifier: MIT
 *
 * Pictures: what was recorded, and the gnuplot script that draws it.
 *
 * The map is drawn as rectangles. Cells that stay the same from one snapshot to the next make one rectangle,
 * so that a long quiet run is a small file. Texts come from outside (names of devices, paths); in the script
 * they stand in single quotes, where gnuplot substitutes nothing, with unprintable bytes replaced.
 */
#include "machine/picture.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "machine/gnuplot.h"

struct point {
    uint64_t time_ns, bytes;
};

struct curve {
    char *name;
    unsigned colour;
    bool dashed;
    struct point *points;
    size_t count, capacity;
};

struct mark {
    uint64_t time_ns;
    char *text;
};

struct region {
    char *name;
    size_t blocks;
};

struct snapshot {
    uint64_t time_ns;
    struct pleat_picture_cell *cells;
};

struct pleat_picture {
    char *title, *subtitle;
    struct curve *curves;
    size_t curve_count, curve_capacity;
    struct mark *marks;
    size_t mark_count, mark_capacity;
    struct region *regions;
    size_t region_count, region_capacity;
    size_t block_count;
    struct snapshot *snapshots;
    size_t snapshot_count, snapshot_capacity;
    uint64_t end_ns;
    bool map_has_ended;
    uint64_t map_end_ns;
};

/* ---- recording ---- */

/* Makes room for one more item; the new pointer, or NULL and nothing has changed. */
static void *make_room(void *items, size_t count, size_t *capacity, size_t item_bytes)
{
    if (count < *capacity)
        return items;
    size_t wanted = *capacity ? *capacity * 2 : 16;
    void *more = realloc(items, wanted * item_bytes);
    if (more)
        *capacity = wanted;
    return more;
}

struct pleat_picture *pleat_picture_create(const char *title, const char *subtitle)
{
    struct pleat_picture *picture = calloc(1, sizeof(*picture));
    if (!picture)
        return NULL;
    picture->title = strdup(title);
    picture->subtitle = strdup(subtitle);
    if (picture->title && picture->subtitle)
        return picture;
    pleat_picture_destroy(picture);
    return NULL;
}

void pleat_picture_destroy(struct pleat_picture *picture)
{
    if (!picture)
        return;
    for (size_t i = 0; i < picture->curve_count; i++) {
        free(picture->curves[i].name);
        free(picture->curves[i].points);
    }
    for (size_t i = 0; i < picture->mark_count; i++)
        free(picture->marks[i].text);
    for (size_t i = 0; i < picture->region_count; i++)
        free(picture->regions[i].name);
    for (size_t i = 0; i < picture->snapshot_count; i++)
        free(picture->snapshots[i].cells);
    free(picture->curves);
    free(picture->marks);
    free(picture->regions);
    free(picture->snapshots);
    free(picture->title);
    free(picture->subtitle);
    free(picture);
}

static void extend_to(struct pleat_picture *picture, uint64_t time_ns)
{
    if (picture->end_ns < time_ns)
        picture->end_ns = time_ns;
}

int pleat_picture_curve(struct pleat_picture *picture, const char *name, unsigned colour, bool dashed)
{
    struct curve *curves =
        make_room(picture->curves, picture->curve_count, &picture->curve_capacity, sizeof(*curves));
    if (!curves)
        return PLEAT_E_NO_MEMORY;
    picture->curves = curves;
    struct curve *curve = &curves[picture->curve_count];
    *curve = (struct curve){.name = strdup(name), .colour = colour % PLEAT_PICTURE_COLOURS, .dashed = dashed};
    if (!curve->name)
        return PLEAT_E_NO_MEMORY;
    return (int)picture->curve_count++;
}

int pleat_picture_point(struct pleat_picture *picture, int curve, uint64_t time_ns, uint64_t bytes)
{
    if (curve < 0 || (size_t)curve >= picture->curve_count)
        return PLEAT_E_INVALID;
    struct curve *to = &picture->curves[curve];
    if (to->count && to->points[to->count - 1].time_ns > time_ns)
        return PLEAT_E_INVALID;
    extend_to(picture, time_ns);
    /* Of three equal values in a row the middle one says nothing. */
    if (to->count > 1 && to->points[to->count - 1].bytes == bytes &&
        to->points[to->count - 2].bytes == bytes) {
        to->points[to->count - 1].time_ns = time_ns;
        return PLEAT_OK;
    }
    struct point *points = make_room(to->points, to->count, &to->capacity, sizeof(*points));
    if (!points)
        return PLEAT_E_NO_MEMORY;
    to->points = points;
    points[to->count++] = (struct point){time_ns, bytes};
    return PLEAT_OK;
}

int pleat_picture_mark(struct pleat_picture *picture, uint64_t time_ns, const char *text)
{
    struct mark *marks =
        make_room(picture->marks, picture->mark_count, &picture->mark_capacity, sizeof(*marks));
    if (!marks)
        return PLEAT_E_NO_MEMORY;
    picture->marks = marks;
    marks[picture->mark_count] = (struct mark){time_ns, strdup(text)};
    if (!marks[picture->mark_count].text)
        return PLEAT_E_NO_MEMORY;
    picture->mark_count++;
    extend_to(picture, time_ns);
    return PLEAT_OK;
}

int pleat_picture_region(struct pleat_picture *picture, const char *name, size_t blocks)
{
    if (picture->snapshot_count)
        return PLEAT_E_STATE;
    if (blocks == 0 || blocks > SIZE_MAX / sizeof(struct pleat_picture_cell) - picture->block_count)
        return PLEAT_E_INVALID;
    struct region *regions =
        make_room(picture->regions, picture->region_count, &picture->region_capacity, sizeof(*regions));
    if (!regions)
        return PLEAT_E_NO_MEMORY;
    picture->regions = regions;
    regions[picture->region_count] = (struct region){strdup(name), blocks};
    if (!regions[picture->region_count].name)
        return PLEAT_E_NO_MEMORY;
    picture->region_count++;
    picture->block_count += blocks;
    return PLEAT_OK;
}

int pleat_picture_snapshot(struct pleat_picture *picture, uint64_t time_ns,
                           const struct pleat_picture_cell *cells, size_t count)
{
    const struct snapshot *last =
        picture->snapshot_count ? &picture->snapshots[picture->snapshot_count - 1] : NULL;
    if (picture->map_has_ended)
        return PLEAT_E_STATE;
    if (count == 0 || count != picture->block_count || (last && last->time_ns > time_ns))
        return PLEAT_E_INVALID;
    for (size_t i = 0; i < count; i++) {
        if (cells[i].state > PLEAT_BLOCK_NONE || cells[i].zone >= PLEAT_ZONE_KINDS ||
            cells[i].partly_plugged > 1 || cells[i].holds_unmovable > 1)
            return PLEAT_E_INVALID;
    }
    if (!last || memcmp(last->cells, cells, count * sizeof(*cells)) != 0) {
        struct snapshot *snapshots = make_room(picture->snapshots, picture->snapshot_count,
                                               &picture->snapshot_capacity, sizeof(*snapshots));
        if (!snapshots)
            return PLEAT_E_NO_MEMORY;
        picture->snapshots = snapshots;
        struct pleat_picture_cell *copy = malloc(count * sizeof(*cells));
        if (!copy)
            return PLEAT_E_NO_MEMORY;
        memcpy(copy, cells, count * sizeof(*cells));
        snapshots[picture->snapshot_count++] = (struct snapshot){time_ns, copy};
    }
    extend_to(picture, time_ns);
    return PLEAT_OK;
}

void pleat_picture_end_map(struct pleat_picture *picture, uint64_t time_ns)
{
    picture->map_has_ended = true;
    picture->map_end_ns = time_ns;
    extend_to(picture, time_ns);
}

int pleat_picture_set_subtitle(struct pleat_picture *picture, const char *subtitle)
{
    char *copy = strdup(subtitle);

    if (!copy)
        return PLEAT_E_NO_MEMORY;
    free(picture->subtitle);
    picture->subtitle = copy;
    return PLEAT_OK;
}

/* ---- what a cell looks like ---- */

/* Okabe and Ito's colours but yellow, which is too pale for a line. */
static const unsigned curve_colours[PLEAT_PICTURE_COLOURS] = {0x0072b2, 0xd55e00, 0x009e73, 0xcc79a7,
                                                              0x56b4e9, 0xe69f00, 0x000000};

static const unsigned zone_colours[PLEAT_ZONE_KINDS] = {0x882255, 0x56b4e9, 0x0072b2, 0xcc79a7, 0x009e73};
static const char *const zone_names[PLEAT_ZONE_KINDS] = {"DMA", "DMA32", "Normal", "PreferMovable",
                                                         "Movable"};

enum { UNMOVABLE_COLOUR = 0x111111 };

/* All that a cell can look like; the number of a look is its place in the legend. */
enum {
    LOOK_ONLINE = 0,
    LOOK_PARTLY = PLEAT_ZONE_KINDS,
    LOOK_GOING_ONLINE = 2 * PLEAT_ZONE_KINDS,
    LOOK_GOING_OFFLINE,
    LOOK_OFFLINE,
    LOOK_ABSENT,
    LOOKS
};

static unsigned look_of(const struct pleat_picture_cell *cell)
{
    switch (cell->state) {
    case PLEAT_BLOCK_ONLINE:
        return (cell->partly_plugged ? LOOK_PARTLY : LOOK_ONLINE) + cell->zone;
    case PLEAT_BLOCK_GOING_ONLINE:
        return LOOK_GOING_ONLINE;
    case PLEAT_BLOCK_GOING_OFFLINE:
        return LOOK_GOING_OFFLINE;
    case PLEAT_BLOCK_OFFLINE:
        return LOOK_OFFLINE;
    default:
        return LOOK_ABSENT;
    }
}

static unsigned look_colour(unsigned look)
{
    if (look < LOOK_PARTLY)
        return zone_colours[look];
    if (look < LOOK_GOING_ONLINE) {
        /* Three quarters of the way to white, so that no tint is taken for the colour of another zone. */
        unsigned full = zone_colours[look - LOOK_PARTLY];
        return (full >> 2 & 0x3f3f3f) + 0xc0c0c0 - 0x080808;
    }
    static const unsigned others[] = {0xf0e442, 0xe69f00, 0x9a9a9a, 0xf2f2f2};
    return others[look - LOOK_GOING_ONLINE];
}

static void look_name(unsigned look, char name[48])
{
    static const char *const others[] = {"going online", "going offline", "offline", "not added"};
    if (look >= LOOK_GOING_ONLINE)
        snprintf(name, 48, "%s", others[look - LOOK_GOING_ONLINE]);
    else
        snprintf(name, 48, "%s%s", zone_names[look % PLEAT_ZONE_KINDS],
                 look >= LOOK_PARTLY ? ", partly plugged" : "");
}

/* ---- layout of the map ---- */

/* A region as it is drawn: without the blocks at its end that were never added. */
struct shown_region {
    size_t first_block, blocks, first_row, rows;
};

/* Where everything is, in pixels from the top and left of a picture. */
struct layout {
    const struct pleat_picture *picture;
    struct shown_region *regions;
    size_t rows, blocks_a_row;
    double end_s;
    unsigned height;
    unsigned curves_top, curves_bottom, map_top, map_bottom;
};

enum { WIDTH = 1130, LEFT = 140, RIGHT = 876, ROW_GAP = 2 };

/* Characters that there is room for; longer texts are cut. */
enum { TITLE_ROOM = 90, SUBTITLE_ROOM = 130, MARK_ROOM = 32, CURVE_ROOM = 28, REGION_ROOM = 16 };

/* How many blocks of a region are shown: to the last that was ever added, and at least one. */
static size_t shown_blocks(const struct pleat_picture *picture, size_t first, size_t blocks)
{
    size_t shown = 1;
    for (size_t s = 0; s < picture->snapshot_count; s++) {
        for (size_t i = blocks; i > shown; i--) {
            if (picture->snapshots[s].cells[first + i - 1].state != PLEAT_BLOCK_NONE)
                shown = i;
        }
    }
    return shown;
}

static int lay_out(const struct pleat_picture *picture, struct layout *layout)
{
    *layout = (struct layout){.picture = picture, .blocks_a_row = 1};
    bool map = picture->snapshot_count != 0;
    if (!map && !picture->curve_count)
        return PLEAT_E_STATE;
    layout->regions = calloc(picture->region_count + 1, sizeof(*layout->regions));
    if (!layout->regions)
        return PLEAT_E_NO_MEMORY;
    size_t first = 0, blocks = 0;
    for (size_t r = 0; map && r < picture->region_count; r++) {
        layout->regions[r].first_block = first;
        layout->regions[r].blocks = shown_blocks(picture, first, picture->regions[r].blocks);
        first += picture->regions[r].blocks;
        blocks += layout->regions[r].blocks;
    }
    layout->blocks_a_row = 1 + blocks / PLEAT_PICTURE_ROWS_MAX;
    for (size_t r = 0; map && r < picture->region_count; r++) {
        struct shown_region *region = &layout->regions[r];
        layout->rows += layout->rows ? ROW_GAP : 0;
        region->first_row = layout->rows;
        region->rows = (region->blocks + layout->blocks_a_row - 1) / layout->blocks_a_row;
        layout->rows += region->rows;
    }
    size_t map_height = layout->rows * 6;
    map_height = map_height < 200 ? 200 : map_height > 420 ? 420 : map_height;
    layout->curves_top = *picture->subtitle ? 84 : 62;
    layout->curves_top += picture->mark_count ? 22 : 0;
    layout->curves_bottom = layout->curves_top + (picture->curve_count ? 300 : 0);
    layout->map_top = layout->curves_bottom + (picture->curve_count ? 44 : 0);
    layout->map_bottom = map ? layout->map_top + (unsigned)map_height : layout->curves_bottom;
    layout->height = layout->map_bottom + 62;
    /* The last values hold a little longer, to be seen. */
    layout->end_s = (double)picture->end_ns / 1e9 * 1.01;
    if (layout->end_s <= 0)
        layout->end_s = 1;
    return PLEAT_OK;
}

/* ---- the script ---- */

static void put_text(FILE *out, const char *text, size_t room)
{
    size_t length = strlen(text), shown = length > room ? room - 2 : length;
    putc('\'', out);
    for (const char *c = text; c < text + shown; c++) {
        /* gnuplot doesn't take every '' for a quote inside of a string, so it gets the typographer's. */
        if (*c == '\'')
            fputs("\xe2\x80\x99", out);
        else
            putc(*c >= 0x20 && *c < 0x7f ? *c : '?', out);
    }
    fputs(shown < length ? "..'" : "'", out);
}

static double from_left(unsigned x)
{
    return (double)x / WIDTH;
}

static double from_bottom(const struct layout *layout, unsigned y)
{
    return 1 - (double)y / layout->height;
}

static void put_margins(FILE *out, const struct layout *layout, unsigned top, unsigned bottom)
{
    fprintf(out, "set lmargin at screen %.5f\nset rmargin at screen %.5f\n", from_left(LEFT),
            from_left(RIGHT));
    fprintf(out, "set tmargin at screen %.5f\nset bmargin at screen %.5f\n", from_bottom(layout, top),
            from_bottom(layout, bottom));
    fprintf(
        out,
        "set key at screen %.5f, screen %.5f left top Left reverse noenhanced samplen 2 spacing 1.15 %s\n",
        from_left(RIGHT + 14), from_bottom(layout, top > 4 ? top - 4 : 0), "width -2 font ',10'");
    fprintf(out, "set xrange [0:%.9g]\n", layout->end_s);
}

static void put_head(FILE *out, const struct layout *layout, const char *terminal, const char *file)
{
    fprintf(out, "set encoding utf8\n");
    if (!strcmp(terminal, "svg"))
        fprintf(out, "set terminal svg size %d,%u dynamic font 'DejaVu Sans,13' background '#ffffff'\n",
                WIDTH, layout->height);
    else
        fprintf(out, "set terminal pngcairo size %d,%u font 'DejaVu Sans,10' background '#ffffff'\n", WIDTH,
                layout->height);
    fprintf(out, "set output ");
    put_text(out, file, FILENAME_MAX);
    fprintf(out, "\nset multiplot\nset label 1 ");
    put_text(out, layout->picture->title, TITLE_ROOM);
    fprintf(out, " at screen %.5f, screen %.5f left noenhanced font ',15'\n", from_left(LEFT),
            from_bottom(layout, 28));
    if (*layout->picture->subtitle) {
        fprintf(out, "set label 2 ");
        put_text(out, layout->picture->subtitle, SUBTITLE_ROOM);
        fprintf(out, " at screen %.5f, screen %.5f left noenhanced font ',11' textcolor rgb '#555555'\n",
                from_left(LEFT), from_bottom(layout, 54));
    }
    fprintf(out, "set border 3 lc rgb '#555555'\nset tics nomirror out textcolor rgb '#333333'\n"
                 "set xtics autofreq\n");
}

/* ---- the curves ---- */

/* The unit in which the greatest value is readable, and a step of its axis that is round in it. */
static double choose_unit(uint64_t most, const char **name, double *step)
{
    static const struct {
        uint64_t bytes;
        const char *name;
    } units[] = {{UINT64_C(1) << 40, "TiB"},
                 {UINT64_C(1) << 30, "GiB"},
                 {UINT64_C(1) << 20, "MiB"},
                 {UINT64_C(1) << 10, "KiB"}};
    size_t unit = 0;
    while (unit < 3 && most < 2 * units[unit].bytes)
        unit++;
    *name = units[unit].name;
    double value = (double)most / (double)units[unit].bytes;
    *step = 0.25;
    while (value / *step > 8)
        *step *= 2;
    return (double)units[unit].bytes;
}

static uint64_t greatest_value(const struct pleat_picture *picture)
{
    uint64_t most = 1;
    for (size_t c = 0; c < picture->curve_count; c++) {
        for (size_t i = 0; i < picture->curves[c].count; i++)
            most = picture->curves[c].points[i].bytes > most ? picture->curves[c].points[i].bytes : most;
    }
    return most;
}

/* Lines through both panels, their words above the upper one. */
static void put_marks(FILE *out, const struct layout *layout)
{
    const struct pleat_picture *picture = layout->picture;
    double last_end = -1;
    unsigned level = 0;
    for (size_t i = 0; i < picture->mark_count; i++) {
        double time_s = (double)picture->marks[i].time_ns / 1e9;
        double x = LEFT + (RIGHT - LEFT) * time_s / layout->end_s;
        fprintf(out,
                "set arrow from first %.9g, screen %.5f to first %.9g, screen %.5f nohead back dt 3 lw 1 "
                "lc rgb '#888888'\n",
                time_s, from_bottom(layout, layout->curves_top - 4), time_s,
                from_bottom(layout, layout->map_bottom));
        /* Words that would run into those before them go a line higher. */
        level = x < last_end ? (level + 1) % 2 : 0;
        fprintf(out, "set label ");
        put_text(out, picture->marks[i].text, MARK_ROOM);
        fprintf(out,
                " at first %.9g, screen %.5f left offset character 0.2,0 noenhanced font ',9' textcolor rgb "
                "'#555555'\n",
                time_s, from_bottom(layout, layout->curves_top - 9 - 14 * level));
        last_end = x + 6.5 * (double)strlen(picture->marks[i].text) + 8;
    }
}

static void put_curve_data(FILE *out, const struct layout *layout, double unit)
{
    const struct pleat_picture *picture = layout->picture;
    for (size_t c = 0; c < picture->curve_count; c++) {
        const struct curve *curve = &picture->curves[c];
        fprintf(out, "$curve%zu << END\n", c);
        for (size_t i = 0; i < curve->count; i++)
            fprintf(out, "%.9g %.9g\n", (double)curve->points[i].time_ns / 1e9,
                    (double)curve->points[i].bytes / unit);
        if (curve->count)
            fprintf(out, "%.9g %.9g\n", layout->end_s, (double)curve->points[curve->count - 1].bytes / unit);
        else
            fprintf(out, "NaN NaN\n");
        fprintf(out, "END\n");
    }
}

static void put_curves(FILE *out, const struct layout *layout)
{
    const struct pleat_picture *picture = layout->picture;
    const char *unit_name;
    double step, unit = choose_unit(greatest_value(picture), &unit_name, &step);
    put_curve_data(out, layout, unit);
    put_margins(out, layout, layout->curves_top, layout->curves_bottom);
    fprintf(out, "set yrange [0:%.9g]\nset ytics %.9g\nset format y '%%g'\nset ylabel '%s' offset 1,0\n",
            (double)greatest_value(picture) / unit * 1.06, step, unit_name);
    fprintf(out, "set grid ytics lc rgb '#dddddd' lw 1 lt 1\n");
    fprintf(out, "%s\n", picture->snapshot_count ? "set format x ''" : "set xlabel 'time (s)'");
    put_marks(out, layout);
    fprintf(out, "plot ");
    for (size_t c = 0; c < picture->curve_count; c++) {
        const struct curve *curve = &picture->curves[c];
        fprintf(out, "%s$curve%zu using 1:2 with steps lw %s lc rgb '#%06x' dt %s title ", c ? ", " : "", c,
                curve->dashed ? "1.6" : "2.4", curve_colours[curve->colour], curve->dashed ? "(10,5)" : "1");
        put_text(out, curve->name, CURVE_ROOM);
    }
    fprintf(out, "\n");
    fprintf(out, "unset label\nunset arrow\nunset grid\nset format x '%%g'\n");
}

/* ---- the map ---- */

/* What a row shows in a snapshot: the look that most of its blocks have, and whether half of them or more
 * hold unmovable frames. */
static unsigned row_look(const struct layout *layout, const struct shown_region *region, size_t row,
                         const struct snapshot *snapshot, bool *unmovable)
{
    size_t counts[LOOKS] = {0};
    size_t first = row * layout->blocks_a_row, end = first + layout->blocks_a_row;
    size_t holding = 0;
    end = end < region->blocks ? end : region->blocks;
    for (size_t i = first; i < end; i++) {
        const struct pleat_picture_cell *cell = &snapshot->cells[region->first_block + i];
        counts[look_of(cell)]++;
        holding += cell->state == PLEAT_BLOCK_ONLINE && cell->holds_unmovable;
    }
    *unmovable = holding && 2 * holding >= end - first;
    unsigned most = 0;
    for (unsigned look = 1; look < LOOKS; look++)
        most = counts[look] > counts[most] ? look : most;
    return most;
}

static double snapshot_end_s(const struct layout *layout, size_t s)
{
    const struct pleat_picture *picture = layout->picture;

    if (s < picture->snapshot_count)
        return (double)picture->snapshots[s].time_ns / 1e9;
    return picture->map_has_ended ? (double)picture->map_end_ns / 1e9 : layout->end_s;
}

/* Writes a row's rectangles: those of its looks, or those of its bars. What occurs is set in SEEN. */
static void put_row(FILE *out, const struct layout *layout, const struct shown_region *region, size_t row,
                    bool bars, bool seen[LOOKS + 1])
{
    const struct pleat_picture *picture = layout->picture;
    double y = (double)(region->first_row + row);
    /* A hair of white between rows, where they are high enough to have it. */
    double gap = layout->blocks_a_row > 1 || layout->rows > 100 ? 0 : 0.04;
    double low = y + (bars ? 0.36 : gap), high = y + (bars ? 0.64 : 1 - gap);
    size_t start = 0;
    bool unmovable, start_unmovable;
    unsigned start_look = row_look(layout, region, row, &picture->snapshots[0], &start_unmovable);
    for (size_t s = 1; s <= picture->snapshot_count; s++) {
        unsigned look = LOOKS;
        unmovable = false;
        if (s < picture->snapshot_count)
            look = row_look(layout, region, row, &picture->snapshots[s], &unmovable);
        if (s < picture->snapshot_count && (bars ? unmovable == start_unmovable : look == start_look))
            continue;
        if (!bars || start_unmovable) {
            fprintf(out, "%.9g %.9g %.9g %.9g %u\n", snapshot_end_s(layout, start), snapshot_end_s(layout, s),
                    low, high, bars ? (unsigned)UNMOVABLE_COLOUR : look_colour(start_look));
            seen[bars ? LOOKS : start_look] = true;
        }
        start = s;
        start_look = look;
        start_unmovable = unmovable;
    }
}

static void put_region_names(FILE *out, const struct layout *layout)
{
    const struct pleat_picture *picture = layout->picture;
    double row_height = (double)(layout->map_bottom - layout->map_top) / (double)layout->rows;
    for (size_t r = 0; r < picture->region_count; r++) {
        const struct shown_region *region = &layout->regions[r];
        double middle = (double)region->first_row + (double)region->rows / 2;
        bool two_lines = (double)region->rows * row_height > 26;
        fprintf(out, "set label ");
        put_text(out, picture->regions[r].name, REGION_ROOM);
        fprintf(out, " at screen %.5f, first %.9g right offset 0,%s noenhanced font ',10'\n",
                from_left(LEFT - 10), middle, two_lines ? "0.45" : "0");
        if (!two_lines)
            continue;
        char text[64];
        if (region->blocks < picture->regions[r].blocks)
            snprintf(text, sizeof(text), "%zu of %zu blocks", region->blocks, picture->regions[r].blocks);
        else
            snprintf(text, sizeof(text), "%zu block%s", region->blocks, region->blocks == 1 ? "" : "s");
        fprintf(out,
                "set label '%s' at screen %.5f, first %.9g right offset 0,-0.55 font ',8' textcolor rgb "
                "'#666666'\n",
                text, from_left(LEFT - 10), middle);
    }
}

static void put_legend(FILE *out, const bool seen[LOOKS + 1])
{
    for (unsigned look = 0; look < LOOKS; look++) {
        char name[48];
        look_name(look, name);
        if (seen[look])
            fprintf(out, ", keyentry with boxes fill solid noborder fc rgb '#%06x' title '%s'",
                    look_colour(look), name);
    }
    if (seen[LOOKS])
        fprintf(out, ", keyentry with lines lw 4 lc rgb '#%06x' title 'bar: holds unmovable'",
                (unsigned)UNMOVABLE_COLOUR);
}

static void put_map(FILE *out, const struct layout *layout)
{
    const struct pleat_picture *picture = layout->picture;
    bool seen[LOOKS + 1] = {false};
    for (int bars = 0; bars < 2; bars++) {
        fprintf(out, "$%s << END\n", bars ? "bars" : "map");
        for (size_t r = 0; r < picture->region_count; r++) {
            for (size_t row = 0; row < layout->regions[r].rows; row++)
                put_row(out, layout, &layout->regions[r], row, bars, seen);
        }
        fprintf(out, "END\n");
    }
    put_margins(out, layout, layout->map_top, layout->map_bottom);
    fprintf(out, "set yrange [0:%zu]\nunset ytics\nunset ylabel\nset xlabel 'time (s)'\nset border 1\n",
            layout->rows);
    put_region_names(out, layout);
    if (layout->blocks_a_row > 1)
        fprintf(out, "set key title 'memory blocks, %zu to a row' left font ',10'\n", layout->blocks_a_row);
    else
        fprintf(out, "set key title 'memory blocks, a row each' left font ',10'\n");
    fprintf(out, "rectangle = 'using (($1+$2)/2):(($3+$4)/2):1:2:3:4:5 with boxxyerror fill solid noborder "
                 "lc rgb variable notitle'\n");
    fprintf(out, "plot $map @rectangle%s", seen[LOOKS] ? ", $bars @rectangle" : "");
    put_legend(out, seen);
    fprintf(out, "\n");
}

int pleat_picture_script(const struct pleat_picture *picture, FILE *out, const char *terminal,
                         const char *file)
{
    struct layout layout;
    int error = lay_out(picture, &layout);
    if (error)
        return error;
    put_head(out, &layout, terminal, file);
    if (picture->curve_count)
        put_curves(out, &layout);
    if (picture->snapshot_count)
        put_map(out, &layout);
    fprintf(out, "unset multiplot\nset output\n");
    free(layout.regions);
    return PLEAT_OK;
}

/* ---- drawing ---- */

/* Paths beside STEM: the folder to work in, and the picture there and where it belongs. */
struct place {
    char folder[4096];
    char from[4200], to[4200];
};

static int cannot_write(const char *path, struct pleat_message *message)
{
    return pleat_message_set(message, PLEAT_E_NOT_FOUND, "%s: can't be written: %s", path, strerror(errno));
}

static int write_script(const struct pleat_picture *picture, const struct place *place, const char *kind,
                        struct pleat_message *message)
{
    char path[4200], file[16];
    snprintf(path, sizeof(path), "%s/script", place->folder);
    snprintf(file, sizeof(file), "picture.%s", kind);
    FILE *out = fopen(path, "we");
    if (!out)
        return cannot_write(path, message);
    int error = pleat_picture_script(picture, out, kind, file);
    bool failed = ferror(out) != 0;
    if (fclose(out) || failed)
        return cannot_write(path, message);
    if (error)
        return pleat_message_set(message, error, "%s", pleat_error_text(error));
    return PLEAT_OK;
}

static int draw_kind(const struct pleat_picture *picture, const char *stem, struct place *place,
                     const char *kind, uint64_t timeout_ns, struct pleat_message *message)
{
    int error = write_script(picture, place, kind, message);
    if (!error)
        error = pleat_gnuplot_run(place->folder, "script", timeout_ns, message);
    if (error)
        return error;
    snprintf(place->from, sizeof(place->from), "%s/picture.%s", place->folder, kind);
    snprintf(place->to, sizeof(place->to), "%s.%s", stem, kind);
    if (access(place->from, R_OK))
        return pleat_message_set(message, PLEAT_E_DEVICE, "gnuplot ended well but drew no %s", kind);
    return rename(place->from, place->to) ? cannot_write(place->to, message) : PLEAT_OK;
}

static void clean_up(struct place *place)
{
    static const char *const files[] = {"script", "said", "picture.svg", "picture.png"};
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        snprintf(place->from, sizeof(place->from), "%s/%s", place->folder, files[i]);
        unlink(place->from);
    }
    rmdir(place->folder);
}

int pleat_picture_draw(const struct pleat_picture *picture, const char *stem, uint64_t timeout_ns,
                       struct pleat_message *message)
{
    if (!picture->curve_count && !picture->snapshot_count)
        return pleat_message_set(message, PLEAT_E_STATE,
                                 "there is nothing to draw, expected a curve or a map");
    struct place place;
    /* Beside the result, so that it can be renamed into its place. */
    if (snprintf(place.folder, sizeof(place.folder), "%s.XXXXXX", stem) >= (int)sizeof(place.folder)) {
        errno = ENAMETOOLONG;
        return cannot_write(stem, message);
    }
    if (!mkdtemp(place.folder))
        return cannot_write(stem, message);
    if (!timeout_ns)
        timeout_ns = UINT64_C(20000000000);
    int error = draw_kind(picture, stem, &place, "svg", timeout_ns, message);
    if (!error)
        error = draw_kind(picture, stem, &place, "png", timeout_ns, message);
    clean_up(&place);
    return error;
}

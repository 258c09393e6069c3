/* Layers, statistics and updates of binary units by table look-up: included once
 * for AVX-512 and once for AVX2, with
 *
 *     TABLES(name)    the name of a function of this instruction set
 *     TABLES_TARGET   the attribute of its functions
 *
 * What is looked up, and how, is in _packed_tables.h, _packed_lists.h and _packed_bytes.h.
 */

/* Units [begin, end) of a layer, whole panels, for one set of rows or for two that share its tables. Of words in
 * which others have units too no more than the own bytes are written. */
TABLES_TARGET FB_UNUSED static void TABLES(packed_layer)(const packed_rows *sets, int n_sets,
                                                         const packed_weights *w, ptrdiff_t begin,
                                                         ptrdiff_t end, int32_t *scratch)
{
    int32_t *values = scratch, *tables = values + packed_values_size(w->n_in);
    ptrdiff_t done[2] = {0, 0};
    packed_outputs own[2];
    end = end < w->n_out ? end : w->n_out;
    for (int i = 0; i < n_sets; i++) {
        own[i] = *sets[i].o;
        own[i].shared[0] = begin % 32 != 0 ? begin / 32 + 1 : 0;
        own[i].shared[1] = end % 32 != 0 && end < w->n_out ? end / 32 + 1 : 0;
    }
    for (;;) {
        /* as many blocks of rows as are worked on together */
        packed_part parts[2];
        int set[2];
        int n_parts = 0;
        ptrdiff_t room = PACKED_BLOCKS;
        int32_t *free = tables + PACKED_TABLES_ROOM;
        for (int i = 0; i < n_sets && room > 0; i++) {
            const ptrdiff_t left = sets[i].n_rows - 16 * done[i], most = 16 * PACKED_BLOCK * room;
            if (left <= 0)
                continue;
            free = packed_part_place(parts + n_parts, done[i], left < most ? left : most, w->n_in,
                                     free);
            const ptrdiff_t groups = parts[n_parts].n_groups;
            TABLES(packed_part_fill)(parts + n_parts, sets[i].x, w->n_in, w->low);
            set[n_parts++] = i;
            done[i] += groups;
            room -= packed_blocks(groups);
        }
        if (n_parts == 0)
            return;
        for (ptrdiff_t first = begin; first < end; first += PACKED_PANEL) {
            const ptrdiff_t columns =
                w->n_out - first < PACKED_PANEL ? w->n_out - first : PACKED_PANEL;
            int32_t all[PACKED_PANEL];
            ptrdiff_t k_step, c_step;
            const int32_t largest =
                TABLES(packed_panel_values)(w, first, values, &k_step, &c_step, all);
            if (first + PACKED_PANEL < end)
                packed_fetch(w->w + (first + PACKED_PANEL) * w->c_step, w->k_step, w->c_step,
                             w->n_in, w->n_out - first - PACKED_PANEL);
            TABLES(packed_panel_sums)(parts, n_parts, w->n_in, values, k_step, c_step, columns,
                                      largest, PACKED_SHIFT - packed_shift_of(w), tables);
            for (int i = 0; i < n_parts; i++)
                for (ptrdiff_t g = 0; g < parts[i].n_groups; g += 2)
                    TABLES(packed_epilogue)(parts[i].sums + g * PACKED_PANEL * 16, all,
                                            own + set[i], first, w->n_out,
                                            16 * (parts[i].first_group + g),
                                            sets[set[i]].n_rows,
                                            packed_groups(sets[set[i]].n_rows));
        }
    }
}

/* Statistics, with units in the lanes; `scratch` is of packed_product_scratch integers. */
TABLES_TARGET FB_UNUSED static void TABLES(packed_product_tables)(const packed_product *p,
                                                                  ptrdiff_t begin, ptrdiff_t end,
                                                                  int32_t *scratch)
{
    int32_t *panel = scratch, *tables = panel + packed_values_size(p->n_rows);
    const ptrdiff_t at_once = 16 * PACKED_BLOCK * PACKED_BLOCKS;
    for (ptrdiff_t from = 0; from < p->n_units; from += at_once) {
        const ptrdiff_t to = from + at_once < p->n_units ? from + at_once : p->n_units;
        packed_part part;
        packed_part_place(&part, from / 16, to - from, p->n_rows,
                          tables + PACKED_TABLES_ROOM);
        TABLES(packed_part_fill)(&part, p->turned, p->n_rows, 0);
        PACKED_PRODUCT(TABLES(packed_panel_sums)(&part, 1, p->n_rows, panel, PACKED_PANEL, 1, columns,
                                                 largest, 0, tables),
                       d = (int32_t(*)[PACKED_PANEL][16])part.sums + (i - from) / 16)
    }
}

/* Update of weights: 16 visible units stand in the lanes, and rows of the hidden means make tables. */
TABLES_TARGET FB_UNUSED static void TABLES(packed_update_some)(
    packed_pair *q, const packed_step *step, ptrdiff_t n0, ptrdiff_t n1, ptrdiff_t from,
    ptrdiff_t to, int t, int T)
{
    packed_part parts[2];
    float *room = packed_dense_room(q, n0, t, T);
    int32_t *tables = q->scratch[t], *free = tables + PACKED_TABLES_ROOM;
    const ptrdiff_t group = from / 16, units = to - from;
    const ptrdiff_t rows0 = 16 * packed_groups(n0), rows1 = 16 * packed_groups(n1);
    const int32_t bound = (int32_t)1 << step->mean_shift; /* means are no larger than 1 */
    free = packed_part_place(parts, group, units, q->real ? 0 : n0, free);
    packed_part_place(parts + 1, group, units, n1, free);
    if (!q->real)
        TABLES(packed_part_fill)(parts, q->v0_turned, n0, step->low);
    TABLES(packed_part_fill)(parts + 1, q->v1_turned, n1, step->low);
    PACKED_UPDATE_BODY(
        {
            for (ptrdiff_t c = 0; c < columns; c++)
                for (ptrdiff_t k = from; k < to; k += 16)
                    fb_fetch_to_write(q->w + (first + c) * V + k);
            if (room != NULL)
                TABLES(packed_dense_panel)(q, n0, first, from, to, room);
            if (!q->real)
                TABLES(packed_mean_sums)(parts, n0, q->p0 + first * rows0, rows0, columns, step->low,
                                         q->spin_hidden, bound, tables);
            TABLES(packed_mean_sums)(parts + 1, n1, q->p1 + first * rows1, rows1, columns, step->low,
                                     q->spin_hidden, bound, tables);
        },
        {
            if (!q->real)
                d0 = (int32_t(*)[PACKED_PANEL][16])parts[0].sums + (i - from) / 16;
            d1 = (int32_t(*)[PACKED_PANEL][16])parts[1].sums + (i - from) / 16;
        })
}

FB_UNUSED static void TABLES(packed_update_tables)(packed_pair *q, const packed_step *step,
                                                   ptrdiff_t n0, ptrdiff_t n1, int t, int T)
{
    const ptrdiff_t at_once = packed_update_blocks(q) * PACKED_BLOCK * 16, V = q->n_visible;
    for (ptrdiff_t i = 0; i < V; i += at_once)
        TABLES(packed_update_some)(q, step, n0, n1, i, i + at_once < V ? i + at_once : V, t, T);
}

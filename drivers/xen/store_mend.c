/* SPDX-License-Identifier: MIT
 *
 * When a store that broke the protocol is asked for new rings: not at once, because what broke it may still
 * be at work, and less and less often while it breaks again and again.
 */
#include <pleat/xen_store.h>

#define PAUSE_FIRST_NS   UINT64_C(100000000)
#define PAUSE_LONGEST_NS UINT64_C(30000000000)

static uint64_t next_pause_ns(const struct pleat_xen_store_mending *mending, uint64_t now_ns)
{
    const bool is_soon = mending->pause_ns != 0 && now_ns - mending->asked_ns <= PAUSE_LONGEST_NS;
    const uint64_t twice = 2 * mending->pause_ns;
    if (!is_soon) {
        return PAUSE_FIRST_NS;
    }
    return twice < PAUSE_LONGEST_NS ? twice : PAUSE_LONGEST_NS;
}

enum pleat_xen_store_mended pleat_xen_store_mend(struct pleat_xen_store *store,
                                                 struct pleat_xen_store_mending *mending, uint64_t now_ns)
{
    if (mending->is_lost || pleat_xen_store_phase(store, NULL, 0) != PLEAT_XEN_STORE_PHASE_BROKEN) {
        return PLEAT_XEN_STORE_MEND_NOTHING;
    }
    if (mending->at_ns == 0) {
        mending->pause_ns = next_pause_ns(mending, now_ns);
        mending->at_ns = now_ns + mending->pause_ns;
    }
    if (now_ns < mending->at_ns) {
        return PLEAT_XEN_STORE_MEND_NOTHING;
    }
    mending->at_ns = 0;
    mending->asked_ns = now_ns;
    mending->is_lost = pleat_xen_store_reconnect(store) != PLEAT_OK;
    return mending->is_lost ? PLEAT_XEN_STORE_MEND_LOST : PLEAT_XEN_STORE_MEND_ASKED;
}

/* SPDX-License-Identifier: MIT
 *
 * The text of each error.
 */
#include <pleat/error.h>

const char *pleat_error_text(int error)
{
    switch (error) {
    case PLEAT_OK:
        return "success";
    case PLEAT_MORE:
        return "more to do";
    case PLEAT_E_INVALID:
        return "an argument is out of range";
    case PLEAT_E_NO_MEMORY:
        return "no memory is left";
    case PLEAT_E_BUSY:
        return "busy, try again later";
    case PLEAT_E_EXISTS:
        return "it overlaps something that is there already";
    case PLEAT_E_NOT_FOUND:
        return "there is no such thing";
    case PLEAT_E_NOT_OWNER:
        return "only the owner may do this, in the granularity that it was added for";
    case PLEAT_E_STATE:
        return "the state doesn't allow it";
    case PLEAT_E_UNMOVABLE:
        return "a frame can't be moved";
    case PLEAT_E_REFUSED:
        return "refused";
    case PLEAT_E_TIMEOUT:
        return "the deadline has passed";
    case PLEAT_E_CANCELLED:
        return "cancelled";
    case PLEAT_E_UNSUPPORTED:
        return "not supported here";
    case PLEAT_E_MISUSE:
        return "a frame isn't allocated that way";
    case PLEAT_E_PROTOCOL:
        return "the peer broke the protocol";
    case PLEAT_E_DEVICE:
        return "the device failed";
    default:
        return "unknown error";
    }
}

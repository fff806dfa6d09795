/* SPDX-License-Identifier: MIT */
#ifndef WIRE_POSITION_H
#define WIRE_POSITION_H
/*
 * A client's position in the event log, as "epoch:serial" (docs/replay.md).  No state; any thread.
 */
#include <stdbool.h>
#include <stdint.h>
#include "base/str.h"

#define POSITION_EPOCH_MAX 64
#define POSITION_SIZE	   (POSITION_EPOCH_MAX + 1 + 20 + 1)

struct position {
	char epoch[POSITION_EPOCH_MAX + 1]; /* letters, digits, '-' and '_'; "": not known */
	uint64_t serial;		    /* below 2^63 */
};

/* False when text is none; *out is untouched then. */
bool position_parse(struct str_view text, struct position *out) MUSTCHECK;
/* "" for one without an epoch; returns out. */
char *position_format(const struct position *p, char out[POSITION_SIZE]);

#define POSITION_WAS_MAX 8
/* Socket ids between commas, at most POSITION_WAS_MAX; none is fine. */
bool position_was_is_valid(struct str_view was);
#endif

/* SPDX-License-Identifier: MIT */
#ifndef WEBHOOK_REPORTED_H
#define WEBHOOK_REPORTED_H
/*
 * Which channels and members were reported as present, and which are.
 *
 * Presence is reported at once.  Absence is reported when it has lasted: a channel or member that
 * is back before that was never away.  For one thread; changes are O(1), a tick is O(those that
 * are due).
 */
#include "base/clock.h"
#include "base/map.h"

struct reported_subject {
	struct str_view app, channel, user_id; /* user_id is empty for the channel itself */
};

struct reported {
	struct map entries;
	/* absent, reported as present; in the order of due */
	struct reported_entry *leaving, *leaving_last;
	void (*report)(void *ctx, const struct reported_subject *s, bool is_here);
	void *ctx;
	bool is_held; /* nothing is reported yet: see reported_release_hold() */
	unsigned round;
};

/* report is called for each change that is reported. */
void reported_init(struct reported *r,
		   void (*report)(void *ctx, const struct reported_subject *s, bool is_here),
		   void *ctx);
void reported_free_all(struct reported *r);
/* It is present. */
void reported_add(struct reported *r, const struct reported_subject *s);
/* It is absent; that is reported at due (mono) unless it is present again before. */
void reported_remove(struct reported *r, const struct reported_subject *s, usec_t due);
/* An earlier process reported it as present; it has until due to be so. */
void reported_load(struct reported *r, const struct reported_subject *s, usec_t due);
/* What is present is reported from now on. */
void reported_release_hold(struct reported *r);
/* Reports the absences that are due.  Returns when the next one is (mono), 0: there is none. */
usec_t reported_tick(struct reported *r, usec_t now);

/*
 * A comparison with what is true: reported_see() for all that is present, then
 * reported_compare_end(), which takes the others as absent.
 */
void reported_compare_begin(struct reported *r);
void reported_see(struct reported *r, const struct reported_subject *s);
/* Returns the number of differences. */
size_t reported_compare_end(struct reported *r, usec_t due);
#endif

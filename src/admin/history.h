/* SPDX-License-Identifier: MIT */
#ifndef ADMIN_HISTORY_H
#define ADMIN_HISTORY_H
/*
 * The last hour of a few metrics, in memory, for the plots of the web pages: a sample every
 * HISTORY_MS.  What is kept for longer is for Prometheus.
 */
#include "base/annotate.h"
#include "base/clock.h"
#include "base/str.h"

#define HISTORY_MS	5000
#define HISTORY_SAMPLES 720

struct history;

struct history *history_new(void) MUSTCHECK;
void history_free(struct history *h); /* NULL is fine */
/*
 * Adds a sample of sums, which are metrics_collect()'s, at the time now.  The first call only
 * remembers what was counted before.  When all samples are in use, the oldest is replaced.
 */
void history_add(struct history *h, usec_t now, const int64_t *sums);
/*
 * Writes the samples after the time (microseconds since 1970) as a JSON object: "columns" names
 * what each row of "samples" has.  Any thread.
 */
void history_write(struct history *h, usec_t after, struct strbuf *out);
#endif

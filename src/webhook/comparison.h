/* SPDX-License-Identifier: MIT */
#ifndef WEBHOOK_COMPARISON_H
#define WEBHOOK_COMPARISON_H
/*
 * Compares what was reported with the channels and members of the directory.  It repairs what a
 * full mailbox, or an earlier process that crashed, has lost.
 */
#include "base/thread.h"
#include "core/channels/directory.h"
#include "webhook/reported.h"

/* Reports what is present and was not reported; what is absent is reported at due (mono). */
void comparison_run(struct reported *r, struct directory *d, usec_t due) RUNS_ON(on_webhook);
#endif

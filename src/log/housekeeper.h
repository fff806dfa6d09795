/* SPDX-License-Identifier: MIT */
#ifndef LOG_HOUSEKEEPER_H
#define LOG_HOUSEKEEPER_H
/*
 * Keeps the apps as the database has them, on a thread and connection of its own: listens for
 * changes of the table apps and installs the set anew (the file's apps, overlaid by the table's).
 * Makes the log's partitions ahead each minute, so that the writer hardly ever has to, and lets
 * those go that are too old or too many (store/retention.h); forgets idempotency keys that
 * are over.
 * Reconnects with backoff; meanwhile the apps stay as they are.
 */
#include "base/annotate.h"
#include "conf/conf.h"

struct keeper;

/* on_change is called on the keeper's thread after apps_install().  0 or -errno. */
int keeper_start(const struct conf *conf, const char *conninfo, void (*on_change)(void *ctx),
		 void *ctx, struct keeper **out) MUSTCHECK;
/* The file was read again: these are its apps now (takes a reference of its own); installs the
 * overlaid set, with the table's apps as last seen, and calls on_change.  Any thread. */
void keeper_set_file_apps(struct keeper *k, struct app_set *apps);
void keeper_stop(struct keeper *k);
#endif

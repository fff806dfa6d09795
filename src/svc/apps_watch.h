/* SPDX-License-Identifier: MIT */
#ifndef SVC_APPS_WATCH_H
#define SVC_APPS_WATCH_H
/*
 * Follows the table apps, on a thread and connection of its own: the applications in force are
 * those of the configuration, overlaid by the table's rows.  Also stores their limits in log_apps,
 * so that the same limits hold for what SQL publishes.
 *
 * While the database cannot be reached the applications stay as they are.  Until the table was read
 * for the first time they are marked as partial (app_set_is_partial()).
 */
#include "base/annotate.h"
#include "conf/conf.h"

struct apps_watch;

/*
 * conf and conninfo outlive it.  on_change is called after apps_install(), on the watch's thread or
 * in apps_watch_set_file(); it must not call back.  0 or -errno.
 */
int apps_watch_start(const struct conf *conf, const char *conninfo, void (*on_change)(void *ctx),
		     void *ctx, struct apps_watch **out) MUSTCHECK;
/*
 * The table was read and the limits are stored, or the database was not reachable at the first
 * attempt: there is nothing to wait for any more.  Any thread.
 */
bool apps_watch_is_settled(const struct apps_watch *w);
/*
 * The configuration was read again and has these applications (referenced): they are in force, with
 * the table's as last read, when this returns.  Any thread.
 */
void apps_watch_set_file(struct apps_watch *w, struct app_set *apps);
void apps_watch_stop(struct apps_watch *w); /* NULL is fine */
#endif

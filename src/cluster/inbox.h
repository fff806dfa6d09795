/* SPDX-License-Identifier: MIT */
#ifndef CLUSTER_INBOX_H
#define CLUSTER_INBOX_H
/*
 * What reaches the cluster's thread from other threads: what this node's directory reports, and
 * changes that other nodes sent.  Everything is copied.  Reports are owed and never dropped;
 * changes that wait have a bound, because they are read from the database as well.
 */
#include <stdatomic.h>
#include "base/mailbox.h"
#include "core/channels/members.h"

#define INBOX_CHANGES_MAX 8192
#define INBOX_BYTES_MAX	  ((size_t)4 << 20) /* of changes */
#define INBOX_CHANGE_MAX  ((size_t)64 * 1024)

struct inbox {
	struct mailbox box;
	atomic_size_t bytes; /* of the changes in it */
};

enum inbox_kind {
	INBOX_REPORT, /* of this node's directory */
	INBOX_CHANGE, /* of another node */
};

struct inbox_item {
	struct mailbox_entry entry;
	struct inbox_item *next; /* cluster/cache_store.h */
	enum inbox_kind kind;
	enum member_report_kind report;
	struct str_view app, channel; /* app: its id */
	struct str_view user_id, info;
	struct str_view data; /* of a change: see cluster/change.h */
	unsigned max;	      /* members of the channel; 0: no limit */
	usec_t waited;	      /* of a report */
	unsigned worker;      /* the same */
	uint64_t token;	      /* the same; 0: none */
	char text[];	      /* what the views show; of a report: app, NUL, channel, ... */
};

void inbox_init(struct inbox *in);
/* Frees what is in it. */
void inbox_release(struct inbox *in);
/* Any thread.  True: the thread has to be woken. */
bool inbox_put_report(struct inbox *in, const struct member_report *r) MUSTCHECK;
/* Any thread.  1: the thread has to be woken; 0; -EAGAIN: the change is too large, or too many
 * wait, and nothing was put. */
int inbox_put_change(struct inbox *in, struct str_view app, struct str_view channel,
		     struct str_view data) MUSTCHECK;
/* All that wait, in their order; NULL: none.  The caller passes each to inbox_item_free(). */
struct mailbox_entry *inbox_take(struct inbox *in) MUSTCHECK;
void inbox_item_free(struct inbox *in, struct inbox_item *item);
#endif

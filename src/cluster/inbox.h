/* SPDX-License-Identifier: MIT */
#ifndef CLUSTER_INBOX_H
#define CLUSTER_INBOX_H
/*
 * What reaches the cluster's thread from other threads: what this node's directory reports, and
 * changes that other nodes sent.  Everything is copied.
 */
#include "base/mailbox.h"
#include "core/channels/members.h"

enum inbox_kind {
	INBOX_REPORT, /* of this node's directory */
	INBOX_CHANGE, /* of another node */
};

struct inbox_item {
	struct mailbox_entry entry;
	enum inbox_kind kind;
	enum member_report_kind report;
	struct str_view app, channel; /* app: its id */
	struct str_view user_id, info;
	struct str_view data; /* of a change: see cluster/change.h */
	unsigned max;	      /* members of the channel; 0: no limit */
	usec_t waited;	      /* of a report */
	unsigned worker;      /* the same */
	uint64_t token;	      /* the same; 0: none */
	char text[];	      /* what the views show */
};

/* Any thread.  True: the thread has to be woken. */
bool inbox_put_report(struct mailbox *box, const struct member_report *r) MUSTCHECK;
/* As mailbox_put(); on error nothing was put. */
int inbox_put_change(struct mailbox *box, struct str_view app, struct str_view channel,
		     struct str_view data) MUSTCHECK;
#endif

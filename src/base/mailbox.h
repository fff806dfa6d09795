/* SPDX-License-Identifier: MIT */
#ifndef BASE_MAILBOX_H
#define BASE_MAILBOX_H
/*
 * Messages from any thread to one.  A mutex-guarded list: mailbox_put() returns whether
 * the box was empty, and the sender wakes the receiver only then; the receiver takes all at once.
 * A message embeds a struct mailbox_entry.  Order is kept.
 */
#include <pthread.h>
#include <stdbool.h>
#include "base/annotate.h"

struct mailbox_entry {
	struct mailbox_entry *next;
};

struct mailbox {
	pthread_mutex_t lock;
	struct mailbox_entry *head, *tail;
	unsigned count; /* messages waiting */
	unsigned max;	/* refuse beyond; 0: no bound */
	bool is_closed;
};

void mailbox_init(struct mailbox *m, unsigned max);
void mailbox_release(struct mailbox *m); /* must be empty */
/*
 * 1: put, and the box was empty (wake the receiver); 0: put; -EAGAIN: full;
 * -EPIPE: closed.  On error the message stays the caller's.
 */
int mailbox_put(struct mailbox *m, struct mailbox_entry *e) MUSTCHECK;
/* As mailbox_put(), but never full: for messages that must not be lost (an answer, a close). */
int mailbox_put_owed(struct mailbox *m, struct mailbox_entry *e) MUSTCHECK;
/* All messages in order, linked by next; NULL when empty. */
struct mailbox_entry *mailbox_take(struct mailbox *m);
/* From now on mailbox_put() returns -EPIPE. */
void mailbox_close(struct mailbox *m);
#endif

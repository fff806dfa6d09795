/* SPDX-License-Identifier: MIT */
#ifndef BASE_MAILBOX_H
#define BASE_MAILBOX_H
/*
 * Letters from any thread to one.  A mutex-guarded list: the sender learns whether
 * the box was empty and wakes the receiver only then; the receiver takes all at once.
 * Letters are intrusive: embed struct letter.  Order is kept.
 */
#include <pthread.h>
#include <stdbool.h>
#include "base/annotate.h"

struct letter {
	struct letter *next;
};

struct mailbox {
	pthread_mutex_t lock;
	struct letter *head, *tail;
	unsigned count; /* letters waiting */
	unsigned max;	/* refuse beyond; 0: no bound */
	bool closed;
};

void mailbox_init(struct mailbox *m, unsigned max);
void mailbox_release(struct mailbox *m); /* must be empty */
/*
 * 1: put, and the box was empty (wake the receiver); 0: put; -EAGAIN: full;
 * -EPIPE: closed.  On error the letter stays the caller's.
 */
int mailbox_put(struct mailbox *m, struct letter *l) MUSTCHECK;
/* As mailbox_put, but never full: for letters that are owed (an answer, a close). */
int mailbox_put_owed(struct mailbox *m, struct letter *l) MUSTCHECK;
/* All letters in order, linked by next; NULL when empty. */
struct letter *mailbox_take(struct mailbox *m);
/* From now on mailbox_put says -EPIPE. */
void mailbox_close(struct mailbox *m);
#endif

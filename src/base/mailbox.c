/* SPDX-License-Identifier: MIT */
/*
 * The mutex guards the list and the count, and is held for a few instructions; it is a leaf.  Any
 * thread puts, the receiver takes.
 */
#include <errno.h>
#include "base/mailbox.h"

void mailbox_init(struct mailbox *m, unsigned max)
{
	pthread_mutex_init(&m->lock, NULL);
	m->head = m->tail = NULL;
	m->count = 0;
	m->max = max;
	m->is_closed = false;
}

void mailbox_release(struct mailbox *m)
{
	pthread_mutex_destroy(&m->lock);
}

static int mailbox_add(struct mailbox *m, struct mailbox_entry *e, bool owed)
{
	int rc;

	e->next = NULL;
	pthread_mutex_lock(&m->lock);
	if (m->is_closed) {
		rc = -EPIPE;
	} else if (!owed && m->max && m->count >= m->max) {
		rc = -EAGAIN;
	} else {
		rc = m->head == NULL;
		if (m->tail)
			m->tail->next = e;
		else
			m->head = e;
		m->tail = e;
		m->count++;
	}
	pthread_mutex_unlock(&m->lock);
	return rc;
}

int mailbox_put(struct mailbox *m, struct mailbox_entry *e)
{
	return mailbox_add(m, e, false);
}

int mailbox_put_owed(struct mailbox *m, struct mailbox_entry *e)
{
	return mailbox_add(m, e, true);
}

struct mailbox_entry *mailbox_take(struct mailbox *m)
{
	struct mailbox_entry *e;

	pthread_mutex_lock(&m->lock);
	e = m->head;
	m->head = m->tail = NULL;
	m->count = 0;
	pthread_mutex_unlock(&m->lock);
	return e;
}

void mailbox_close(struct mailbox *m)
{
	pthread_mutex_lock(&m->lock);
	m->is_closed = true;
	pthread_mutex_unlock(&m->lock);
}

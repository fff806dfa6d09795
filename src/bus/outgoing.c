/* SPDX-License-Identifier: MIT */
/* The mailbox has its own lock; bytes is atomic. */
#include <errno.h>
#include "base/macros.h"
#include "base/mem.h"
#include "base/metric.h"
#include "bus/outgoing.h"

void bus_outgoing_init(struct bus_outgoing *o)
{
	mailbox_init(&o->box, 0);
	atomic_init(&o->bytes, 0);
}

void bus_outgoing_release(struct bus_outgoing *o)
{
	bus_outgoing_drop(o);
	mailbox_release(&o->box);
}

void bus_outgoing_entry_free(struct bus_outgoing *o, struct bus_outgoing_entry *e)
{
	atomic_fetch_sub(&o->bytes, sizeof(*e) + e->text.len);
	strbuf_release(&e->text);
	free(e);
}

/* A slice that is dropped is read from the log, so it leaves room for what would be lost. */
static int outgoing_refuse(const struct bus_message *m)
{
	if (m->kind != BUS_SLICE)
		metric_add(METRIC_BUS_DROPPED, 1);
	return -ENOBUFS;
}

int bus_outgoing_add(struct bus_outgoing *o, const struct bus_message *m)
{
	size_t max = m->kind == BUS_SLICE ? BUS_OUTGOING_MAX_BYTES / 2 : BUS_OUTGOING_MAX_BYTES;
	struct bus_outgoing_entry *e;

	if (atomic_load(&o->bytes) > max)
		return outgoing_refuse(m);
	e = xcalloc(1, sizeof(*e));
	strbuf_init(&e->text, m->channel.len + m->data.len + 128);
	if (!bus_message_add(&e->text, m)) {
		strbuf_release(&e->text);
		free(e);
		return outgoing_refuse(m);
	}
	atomic_fetch_add(&o->bytes, sizeof(*e) + e->text.len);
	return mailbox_put_owed(&o->box, &e->entry);
}

struct mailbox_entry *bus_outgoing_take(struct bus_outgoing *o)
{
	return mailbox_take(&o->box);
}

void bus_outgoing_drop(struct bus_outgoing *o)
{
	struct mailbox_entry *e = mailbox_take(&o->box), *next;

	for (; e; e = next) {
		next = e->next;
		metric_add(METRIC_BUS_DROPPED, 1);
		bus_outgoing_entry_free(o, CONTAINER_OF(e, struct bus_outgoing_entry, entry));
	}
}

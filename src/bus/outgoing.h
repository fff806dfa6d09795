/* SPDX-License-Identifier: MIT */
#ifndef BUS_OUTGOING_H
#define BUS_OUTGOING_H
/*
 * Messages that wait to be sent, in their form as text.  Any thread adds; the driver's thread
 * takes. Bounded: what does not fit is dropped and counted.
 */
#include <stdatomic.h>
#include "base/mailbox.h"
#include "bus/message.h"

#define BUS_OUTGOING_MAX_BYTES ((size_t)4 << 20)

struct bus_outgoing {
	struct mailbox box;
	atomic_size_t bytes;
};

struct bus_outgoing_entry {
	struct mailbox_entry entry;
	struct strbuf text;
};

void bus_outgoing_init(struct bus_outgoing *o);
void bus_outgoing_release(struct bus_outgoing *o);
/* 1: the driver's thread has to be woken; 0: it was added; -ENOBUFS: it does not fit, and was
 * dropped. */
int bus_outgoing_add(struct bus_outgoing *o, const struct bus_message *m) MUSTCHECK;
/* All that wait, in their order, linked by entry.next; NULL: none.  The caller frees each. */
struct mailbox_entry *bus_outgoing_take(struct bus_outgoing *o) MUSTCHECK;
void bus_outgoing_entry_free(struct bus_outgoing *o, struct bus_outgoing_entry *e);
/* Drops all that wait, and counts them: they cannot be sent. */
void bus_outgoing_drop(struct bus_outgoing *o);
#endif

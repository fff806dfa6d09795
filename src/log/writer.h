/* SPDX-License-Identifier: MIT */
#ifndef LOG_WRITER_H
#define LOG_WRITER_H
/*
 * The log writer: one thread and connection that commits queued batches in groups and writes the
 * delivery records.  A group is sent as soon as the commit before it has returned.  Committed
 * batches are offered to the tail, which delivers them, and then answered.
 *
 * A batch whose outcome is unknown is looked up by event_id before it is written again.
 */
#include "bus/bus.h"
#include "core/channels/directory.h"
#include "log/queue.h"
#include "log/tail.h"

struct log_writer;

struct log_writer_stats {
	uint64_t events, commits, failed_batches, reconnects, deliveries;
	unsigned queued_events;
	bool is_connected;
};

/*
 * Starts the thread, which connects and keeps trying.  Other nodes are notified of commits by bus
 * (NULL: there are none).  conf, conninfo, d and bus outlive the writer.  0 or -errno.
 */
int log_writer_start(const struct conf *conf, const char *conninfo, struct directory *d,
		     struct bus *bus, struct log_writer **out) MUSTCHECK;
/*
 * The first half of the stop: closes the queue, writes what it holds (for at most grace_ms) and
 * answers the rest -EHOSTDOWN, or -ETIMEDOUT where the outcome is unknown.  After its return no
 * batch is delivered or answered any more.  Delivery records are still taken.  NULL is fine.
 */
void log_writer_close(struct log_writer *w, unsigned grace_ms);
/*
 * The second half, when no event exists any more: writes the delivery records that wait (for at
 * most grace_ms), ends the thread and frees.  NULL is fine.
 */
void log_writer_stop(struct log_writer *w, unsigned grace_ms);

/* As long as the writer. */
struct log_queue *log_writer_queue(struct log_writer *w);
struct log_tail *log_writer_tail(struct log_writer *w);
/* Any thread. */
void log_writer_stats(struct log_writer *w, struct log_writer_stats *out);
#endif

/* SPDX-License-Identifier: MIT */
/*
 * Messages: events and other frames to the subscribers of a channel, and what workers have to do.
 */
#include "base/mem.h"
#include "core/channels/directory-private.h"
#include "trace/live_tail.h"

/* ---- to channels ---- */

/* reached: subscriptions. */
static void directory_show_event(struct directory *d, const struct event *e, unsigned reached)
{
	const struct tail_message m = { .kind = TAIL_EVENT,
					.app = sv(e->app->id),
					.channel = e->channel,
					.event = e->name,
					.data = msgbuf_view(e->data),
					.serial = e->serial,
					.socket_id = e->exclude_socket,
					.reached = (int)reached };

	live_tail_add(d->live_tail, &m);
}

void directory_fan_out(struct directory *d, struct event *e)
{
	struct channel_lock lock;
	struct worker_message message = { .kind = MESSAGE_FRAME,
					  .event = e,
					  .exclude = e->exclude_socket };
	struct channel_traits traits;
	uint64_t serial = e->serial, wake = 0;
	unsigned reached = 0;
	struct dchannel *c;

	e->delivered_at = clock_wall();
	if (channel_name_parse(e->channel, e->channel.len, &traits))
		traits = (struct channel_traits){ 0 };
	c = dchannel_lock(d, e->app, e->channel, &lock);
	if (c && c->n_subscriptions) {
		/* The frame is built only if there are subscribers, and not under the lock. */
		shard_unlock(lock.shard);
		message.frame = event_frame(e, UINT64_MAX);
		shard_lock(lock.shard);
		c = dchannel_find_locked(&lock);
	}
	if (c && message.frame) {
		reached = c->n_subscriptions;
		wake = dchannel_post_locked(d, lock.shard, c, &message);
	}
	if (traits.is_cache) {
		if (!c)
			c = dchannel_new_locked(d, &lock, e->app, traits);
		dchannel_cache_locked(lock.shard, c, e,
				      clock_mono() + e->app->cache_ttl_s * USEC_PER_SEC);
		dchannel_report_cached_locked(d, c, e);
	}
	if (serial)
		log_position_advance(&d->position, serial);
	else if (e->durability == DURABILITY_ASYNC)
		unlogged_add(&lock.shard->unlogged, e, log_position_serial(&d->position));
	dchannel_unlock(d, &lock, wake);
	if (live_tail_wants(d->live_tail, TAIL_EVENT))
		directory_show_event(d, e, reached);
	msgbuf_unref(message.frame);
}

uint64_t directory_send(struct directory *d, const struct app *app, struct str_view channel,
			struct msgbuf *frame, uint64_t exclude)
{
	struct worker_message message = { .kind = MESSAGE_FRAME,
					  .frame = frame,
					  .exclude = exclude };
	struct channel_lock lock;
	struct dchannel *c;
	uint64_t wake = 0, workers = 0;

	c = dchannel_lock(d, app, channel, &lock);
	if (c && c->n_subscriptions) {
		workers = c->worker_mask;
		wake = dchannel_post_locked(d, lock.shard, c, &message);
	}
	dchannel_unlock(d, &lock, wake);
	return workers;
}

/* ---- to workers ---- */

void directory_close_user(struct directory *d, const struct app *app, struct str_view user_id)
{
	for (unsigned worker = 0; worker < d->n_workers; worker++) {
		struct worker_message *m = xcalloc(1, sizeof(*m));

		m->kind = MESSAGE_CLOSE_USER;
		m->key = channel_key_new(app, user_id);
		worker_messages_send(&d->messages, worker, m);
	}
}

void directory_close_socket(struct directory *d, uint64_t socket_id)
{
	for (unsigned worker = 0; worker < d->n_workers; worker++) {
		struct worker_message *m = xcalloc(1, sizeof(*m));

		m->kind = MESSAGE_CLOSE_SOCKET;
		m->seq = socket_id;
		worker_messages_send(&d->messages, worker, m);
	}
}

void directory_revoke(struct directory *d, const struct app *app, struct str_view user_id,
		      struct str_view patterns)
{
	struct msgbuf *shared = msgbuf_from(patterns);

	for (unsigned worker = 0; worker < d->n_workers; worker++) {
		struct worker_message *m = xcalloc(1, sizeof(*m));

		m->kind = MESSAGE_REVOKE;
		m->key = channel_key_new(app, user_id);
		m->patterns = msgbuf_ref(shared);
		worker_messages_send(&d->messages, worker, m);
	}
	msgbuf_unref(shared);
}

void directory_end_grant(struct directory *d, uint64_t grant)
{
	for (unsigned worker = 0; worker < d->n_workers; worker++) {
		struct worker_message *m = xcalloc(1, sizeof(*m));

		m->kind = MESSAGE_END_GRANT;
		m->seq = grant;
		worker_messages_send(&d->messages, worker, m);
	}
}

void directory_post_page(struct directory *d, unsigned worker, uint64_t token,
			 struct log_page *page)
{
	struct worker_message *m = xcalloc(1, sizeof(*m));

	m->kind = MESSAGE_LOG_PAGE;
	m->seq = token;
	m->page = page;
	worker_messages_send(&d->messages, worker, m);
}

bool directory_is_behind(struct directory *d)
{
	return atomic_load_explicit(&d->messages.bytes, memory_order_relaxed) >
	       DIRECTORY_MESSAGES_MAX_BYTES;
}

/* ---- load ---- */

void directory_add_share(struct directory *d, const struct app *app, struct str_view channel,
			 struct load_share *share)
{
	struct channel_lock lock;
	struct dchannel *c;

	c = dchannel_lock(d, app, channel, &lock);
	if (c) {
		share->workers |= c->worker_mask;
		share->messages += c->n_subscriptions > 0;
		share->frames += c->n_subscriptions;
	}
	dchannel_unlock(d, &lock, 0);
}

struct worker_loads *directory_loads(struct directory *d)
{
	return &d->messages.loads;
}

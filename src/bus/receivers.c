/* SPDX-License-Identifier: MIT */
/*
 * One lock, held while a receiver is in use, so that one that was unset is not called any more.
 * The receivers only wake threads and fill mailboxes.
 *
 * While the workers do not keep up, messages are dropped, because no sender could wait.
 */
#include "base/log_gate.h"
#include "base/metric.h"
#include "base/str.h"
#include "bus/receivers.h"
#include "core/channels/members.h"
#include "wire/pusher.h"

struct bus_receivers_held bus_receivers_held;

static struct log_gate refused_gate = LOG_GATE("messages that no node may send");

static void receivers_lock(struct bus_receivers *r)
	TSA(acquire_capability(bus_receivers_held)) NO_TSA
{
	pthread_mutex_lock(&r->lock);
}

static void receivers_unlock(struct bus_receivers *r)
	TSA(release_capability(bus_receivers_held)) NO_TSA
{
	pthread_mutex_unlock(&r->lock);
}

void bus_receivers_init(struct bus_receivers *r) NO_TSA /* before other threads have it */
{
	*r = (struct bus_receivers){ .on_log = NULL };
	pthread_mutex_init(&r->lock, NULL);
}

void bus_receivers_release(struct bus_receivers *r)
{
	pthread_mutex_destroy(&r->lock);
}

void bus_receivers_set_log(struct bus_receivers *r, void (*fn)(void *ctx, struct str_view slice),
			   void *ctx)
{
	receivers_lock(r);
	r->on_log = fn;
	r->log_ctx = ctx;
	receivers_unlock(r);
}

void bus_receivers_set_members(struct bus_receivers *r,
			       void (*fn)(void *ctx, const struct bus_message *m), void *ctx)
{
	receivers_lock(r);
	r->on_member = fn;
	r->member_ctx = ctx;
	receivers_unlock(r);
}

void bus_receivers_set_directory(struct bus_receivers *r, struct directory *d)
{
	receivers_lock(r);
	r->directory = d;
	receivers_unlock(r);
}

static void receivers_client_event(struct directory *d, const struct app *app,
				   const struct bus_message *m)
{
	struct msgbuf *frame = ws_text_frame(m->data);

	directory_send(d, app, m->channel, frame, 0);
	msgbuf_unref(frame);
}

static void receivers_event(struct directory *d, struct app *app, const struct bus_message *m)
{
	struct msgbuf *data = msgbuf_from(m->data);
	struct event *e = event_new(app, m->channel, m->name, data);

	msgbuf_unref(data);
	str_copy(e->id, sizeof(e->id), m->id);
	e->exclude_socket = m->exclude;
	e->durability = DURABILITY_NONE;
	e->is_received = true;
	e->published_at = m->published_at;
	directory_fan_out(d, e);
	event_unref(e);
}

void bus_receivers_message(struct bus_receivers *r, const struct bus_message *m)
{
	struct app_set *apps;
	struct app *app;

	if (!bus_message_is_allowed(m)) {
		metric_add(METRIC_BUS_REFUSED, 1);
		log_gated(&refused_gate,
			  "bus: a message was refused: no node may send such an event on the "
			  "channel %.*s",
			  SV_ARG(m->channel));
		return;
	}
	apps = apps_current();
	app = app_set_by_id(apps, m->app);
	metric_add(METRIC_BUS_RECEIVED, 1);
	receivers_lock(r);
	if (m->kind == BUS_MEMBER) {
		if (r->on_member)
			r->on_member(r->member_ctx, m);
	} else if (r->directory && directory_is_behind(r->directory)) {
		metric_add(METRIC_BUS_DROPPED, 1);
		directory_missed_events(r->directory);
	} else if (r->directory && app && app->enabled && m->kind == BUS_CLIENT_EVENT)
		receivers_client_event(r->directory, app, m);
	else if (r->directory && app && app->enabled)
		receivers_event(r->directory, app, m);
	receivers_unlock(r);
	app_set_unref(apps);
}

void bus_receivers_log(struct bus_receivers *r, struct str_view slice)
{
	receivers_lock(r);
	if (r->on_log)
		r->on_log(r->log_ctx, slice);
	receivers_unlock(r);
}

void bus_receivers_begin(struct bus_receivers *r)
{
	bus_receivers_log(r, SV(""));
	receivers_lock(r);
	if (r->on_member)
		r->on_member(r->member_ctx, NULL);
	if (r->directory)
		directory_missed_events(r->directory);
	receivers_unlock(r);
}

/* SPDX-License-Identifier: MIT */
/*
 * Messages of clients to the other subscribers of a channel, and heartbeats for the daemon itself.
 */
#include "base/metric.h"
#include "core/limit.h"
#include "core/sessions/client_event.h"
#include "core/sessions/session_out.h"

/* NULL when the event may be forwarded, else the error message. */
static const char *client_event_fault(struct session *s, const struct client_frame *f,
				      const struct subscription *sub)
{
	const struct app_limits *max = &s->app->limits;
	struct channel_traits t;

	if (s->app->client_events == CLIENT_EVENTS_NONE)
		return "Client event rejected - client events are not enabled for this app (option "
		       "client_events)";
	if (max->max_event_name_bytes && f->event.len > max->max_event_name_bytes)
		return "Client event rejected - the event name is too long (option "
		       "max_event_name_bytes)";
	if (channel_name_parse(f->channel, max->max_channel_name_bytes, &t) || !t.is_guarded)
		return "Client event rejected - only supported on private and presence channels";
	if (t.is_encrypted)
		return "Client event rejected - not supported on encrypted channels";
	if (!sub && s->app->client_events != CLIENT_EVENTS_ALL)
		return ""; /* see session_on_client_event() */
	return NULL;
}

/* user_id is empty unless the channel is a presence channel. */
static void client_event_report(const struct session *s, const struct frame_event *e)
	RUNS_ON(on_worker)
{
	const struct transition t = { .event = WEBHOOK_CLIENT_EVENT,
				      .app = s->app,
				      .channel = e->channel,
				      .user_id = e->user_id,
				      .name = e->event,
				      .data = e->data,
				      .socket_id = s->id };

	directory_report(s->hub->conf.directory, &t);
}

/* To operators who watch. */
static void client_event_show(const struct session *s, const struct frame_event *e)
	RUNS_ON(on_worker)
{
	const struct tail_message m = { .kind = TAIL_EVENT,
					.app = sv(s->app->id),
					.channel = e->channel,
					.event = e->event,
					.data = e->data,
					.user_id = e->user_id.len ? e->user_id : sv(s->user_id),
					.socket_id = s->id,
					.reached = -1 };

	live_tail_add(s->hub->conf.live_tail, &m);
}

static void client_event_forward(struct session *s, const struct client_frame *f,
				 const struct subscription *sub) RUNS_ON(on_worker)
{
	unsigned max = s->app->limits.max_event_payload_bytes;
	struct frame_event e = { .event = f->event,
				 .channel = f->channel,
				 .data = f->data,
				 .has_json_data = true,
				 .user_id = sub ? sv(sub->user_id) : SV("") };
	struct directory *d = s->hub->conf.directory;
	struct msgbuf *frame;
	uint64_t workers;

	if (max && e.data.len > max) {
		session_error(s, PUSHER_CODE_NULL,
			      SV("Client event rejected - the data is too large (option "
				 "max_event_payload_bytes)"));
	} else {
		strbuf_reset(&s->hub->text);
		frame_event(&s->hub->text, &e);
		frame = ws_text_frame(strbuf_view(&s->hub->text));
		session_note(s, STEP_CLIENT_EVENT, f->channel, 0, NULL);
		metric_add_at(METRIC_EVENTS_IN, VIA_CLIENT, 1);
		metric_observe(METRIC_PAYLOAD_BYTES, (usec_t)f->data.len, 1);
		workers = directory_send(d, s->app, f->channel, frame, s->id);
		if (s->hub->conf.on_client_event)
			s->hub->conf.on_client_event(s->hub->conf.socket_ctx, s->app, f->channel,
						     strbuf_view(&s->hub->text));
		client_event_show(s, &e);
		client_event_report(s, &e);
		msgbuf_unref(frame);
		if (worker_loads_are_behind(directory_loads(d), workers, LOAD_WAITER_CLIENTS))
			session_pause(s);
	}
}

/* Whether the connection may send one more in this second; if not, it has received the error. */
static bool client_event_take(struct session *s) RUNS_ON(on_worker)
{
	if (limit_take(&s->client_event_bucket, s->app->limits.max_client_events_per_second,
		       USEC_PER_SEC, 1, clock_mono()))
		return true;
	metric_add_at(METRIC_RATE_LIMITED, RATED_CLIENT_EVENTS, 1);
	session_error(s, PUSHER_RATE_LIMIT,
		      SV("Client event rejected - too many in a second on this connection (option "
			 "max_client_events_per_second)"));
	return false;
}

void session_on_client_event(struct session *s, const struct client_frame *f)
{
	const struct subscription *found = map_get(&s->subscriptions, f->channel);
	const struct subscription *sub = found && !found->waiting ? found : NULL;
	const char *fault = client_event_fault(s, f, sub);

	if (fault && !*fault) {
		struct strbuf b;

		strbuf_init(&b, 128);
		strbuf_add_str(&b, "No current subscription to channel ");
		strbuf_add_sv(&b, f->channel);
		strbuf_add_str(&b, ", or subscription in progress");
		session_error(s, PUSHER_CODE_NULL, strbuf_view(&b));
		strbuf_release(&b);
		return;
	}
	if (fault)
		session_error(s, PUSHER_CODE_NULL, sv(fault));
	else if (client_event_take(s))
		client_event_forward(s, f, sub);
}

void session_on_heartbeat(struct session *s, const struct client_frame *f)
{
	const struct hub_conf *conf = &s->hub->conf;
	const char *fault;

	if (!client_event_take(s))
		return;
	fault = conf->on_heartbeat ? conf->on_heartbeat(conf->socket_ctx, s->app, s->id, f->data)
				   : "Heartbeat rejected - presence is not available";
	if (fault)
		session_error(s, PUSHER_CODE_NULL, sv(fault));
}

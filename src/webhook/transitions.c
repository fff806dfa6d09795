/* SPDX-License-Identifier: MIT */
/*
 * A transition is copied into the mailbox.  The thread of webhooks takes it: a change of a channel
 * or member goes through struct reported, all others become webhooks at once.
 */
#include <errno.h>
#include "base/log_gate.h"
#include "base/mem.h"
#include "wire/socket_id.h"
#include "webhook/transitions.h"

#define TRANSITIONS_MAX 100000

static struct log_gate dropped_gate = LOG_GATE("transitions dropped");

struct transition_message {
	struct mailbox_entry entry;
	struct transition transition; /* its text is inside text; the app is counted */
	char text[];
};

static void transition_message_free(struct transition_message *m)
{
	app_unref(m->transition.app);
	free(m);
}

bool transitions_put(struct transitions *s, const struct transition *t)
{
	struct transition_message *m = xcalloc(1, sizeof(*m) + t->channel.len + t->user_id.len +
							  t->name.len + t->data.len);
	char *at = m->text;
	int rc;

	m->transition = *t;
	m->transition.app = app_ref(t->app);
	m->transition.channel = sv_copy_to(&at, t->channel);
	m->transition.user_id = sv_copy_to(&at, t->user_id);
	m->transition.name = sv_copy_to(&at, t->name);
	m->transition.data = sv_copy_to(&at, t->data);
	rc = mailbox_put(&s->mailbox, &m->entry);
	if (rc >= 0)
		return rc == 1;
	if (rc == -EAGAIN)
		log_gated(&dropped_gate, "webhooks: %u transitions wait, one more is dropped",
			  TRANSITIONS_MAX);
	transition_message_free(m);
	return false;
}

static void transitions_event_json(struct strbuf *b, const struct transition *t)
{
	char id[SOCKET_ID_SIZE];

	strbuf_addf(b, "{\"name\":\"%s\",\"channel\":", webhook_event_name(t->event));
	strbuf_add_json(b, t->channel);
	if (t->event == WEBHOOK_CLIENT_EVENT) {
		strbuf_add_str(b, ",\"event\":");
		strbuf_add_json(b, t->name);
		strbuf_add_str(b, ",\"data\":");
		strbuf_add_json(b, t->data);
		strbuf_addf(b, ",\"socket_id\":\"%s\"", socket_id_format(t->socket_id, id));
	}
	if (t->user_id.len) {
		strbuf_add_str(b, ",\"user_id\":");
		strbuf_add_json(b, t->user_id);
	}
	if (t->event == WEBHOOK_SUBSCRIPTION_COUNT)
		strbuf_addf(b, ",\"subscription_count\":%u", t->count);
	strbuf_add_c(b, '}');
}

/* A webhook for each endpoint that wants the event. */
RUNS_ON(on_webhook) static void transitions_emit(struct transitions *s, const struct transition *t)
{
	const struct webhook_list *l = &t->app->webhooks;
	struct strbuf b;

	strbuf_init(&b, 256);
	for (size_t i = 0; i < l->n; i++) {
		struct hook *h;

		if (!webhook_endpoint_wants(&l->endpoints[i], t->event, t->channel))
			continue;
		if (!b.len)
			transitions_event_json(&b, t);
		h = hook_new(t->app->id, l->endpoints[i].name, t->channel, strbuf_view(&b));
		if (t->event == WEBHOOK_CLIENT_EVENT && t->user_id.len &&
		    webhook_endpoint_wants(&l->endpoints[i], WEBHOOK_MEMBER_ADDED, t->channel))
			h->member = sv_dup(t->user_id);
		backlog_add(s->backlog, h);
	}
	strbuf_release(&b);
}

/* For reported_init(). */
static void on_reported(void *ctx, const struct reported_subject *of, bool is_here)
{
	struct transitions *s = ctx;
	bool is_member = of->user_id.len > 0;
	struct app_set *apps = apps_current();
	struct transition t = { .channel = of->channel, .user_id = of->user_id };

	ASSERT_ON(on_webhook);
	t.app = app_set_by_id(apps, of->app);
	if (is_member)
		t.event = is_here ? WEBHOOK_MEMBER_ADDED : WEBHOOK_MEMBER_REMOVED;
	else
		t.event = is_here ? WEBHOOK_CHANNEL_OCCUPIED : WEBHOOK_CHANNEL_VACATED;
	if (t.app)
		transitions_emit(s, &t);
	backlog_add(s->backlog, hook_note(of->app, of->channel, of->user_id, is_here));
	app_set_unref(apps);
}

RUNS_ON(on_webhook)
static void transitions_take_one(struct transitions *s, const struct transition *t)
{
	const struct reported_subject of = { sv(t->app->id), t->channel, t->user_id };
	usec_t smoothing = s->conf->smoothing_ms * USEC_PER_MSEC;
	bool is_member = WEBHOOKS_OF_MEMBERS & 1U << t->event;

	if (!((WEBHOOKS_OF_CHANNELS | WEBHOOKS_OF_MEMBERS) & 1U << t->event)) {
		transitions_emit(s, t);
		return;
	}
	if (!webhook_list_wants(&t->app->webhooks,
				is_member ? WEBHOOKS_OF_MEMBERS : WEBHOOKS_OF_CHANNELS, t->channel))
		return;
	if (t->event == WEBHOOK_CHANNEL_OCCUPIED || t->event == WEBHOOK_MEMBER_ADDED)
		reported_add(&s->reported, &of);
	else
		reported_remove(&s->reported, &of,
				clock_mono() + (smoothing > t->waited ? smoothing - t->waited : 0));
}

void transitions_take(struct transitions *s)
{
	struct mailbox_entry *e, *next;

	if (s->reported.is_held)
		return;
	for (e = mailbox_take(&s->mailbox); e; e = next) {
		struct transition_message *m = CONTAINER_OF(e, struct transition_message, entry);

		next = e->next;
		transitions_take_one(s, &m->transition);
		transition_message_free(m);
	}
}

void transitions_init(struct transitions *s, const struct conf_webhooks *conf,
		      struct backlog *backlog)
{
	s->conf = conf;
	s->backlog = backlog;
	mailbox_init(&s->mailbox, TRANSITIONS_MAX);
	reported_init(&s->reported, on_reported, s);
}

void transitions_release(struct transitions *s)
{
	struct mailbox_entry *e, *next;

	for (e = mailbox_take(&s->mailbox); e; e = next) {
		next = e->next;
		transition_message_free(CONTAINER_OF(e, struct transition_message, entry));
	}
	mailbox_release(&s->mailbox);
	reported_free_all(&s->reported);
}

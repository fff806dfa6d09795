/* SPDX-License-Identifier: MIT */
/*
 * One handler for each kind of client message; this file has those of subscriptions.  A handler
 * that refuses sends the error itself.  proto_check_name(), proto_check_right() and
 * proto_read_member() have sent it if they return false.
 */
#include <errno.h>
#include "base/mem.h"
#include "base/metric.h"
#include "core/channels/users.h"
#include "core/sessions/client_event.h"
#include "core/sessions/session_out.h"
#include "core/sessions/session_proto.h"
#include "core/sessions/signin.h"
#include "wire/socket_id.h"

#define STATUS_UNAUTHORIZED 401
#define STATUS_FORBIDDEN    403

/* Longest age of an authorization of the daemon when a subscription begins.  Clients subscribe at
 * once; an older one could give access that has ended since. */
#define AUTHORIZATION_USE_US (60 * USEC_PER_SEC)

#define ENDED_MAX_BYTES 65536 /* of access that ended, that a connection remembers */

/* How long a subscription to a presence channel waits until the other nodes know of it. */
#define JOIN_WAIT_US USEC_PER_SEC

#define EXPIRY_NOTICE_S 60    /* before a token expires */
#define EXPIRIES_MAX	1000  /* in one tick */
#define EXPIRY_CHECK_S	86400 /* the expiry is checked again by then: the clock may be changed */

static struct log_gate subscriptions_refused = LOG_GATE("subscriptions refused"),
		       subscriptions_ended = LOG_GATE("subscriptions ended");

static void proto_log_refusal(struct session *s, struct str_view channel, const char *why,
			      unsigned status) RUNS_ON(on_worker)
{
	char what[128];

	snprintf(what, sizeof(what), "subscription to %.*s refused",
		 channel.len < 90 ? (int)channel.len : 90, channel.ptr);
	session_log_refusal(s, &subscriptions_refused, what, why);
	session_note(s, STEP_SUBSCRIBE_REFUSED, channel, status, why);
}

/*
 * Sends both forms of the error: pusher-js passes the first to the channel (error() in Laravel
 * Echo), the second is what the hosted Pusher service sends.  Writes nothing to the log.
 */
static void proto_send_subscription_error(struct session *s, struct str_view channel,
					  const char *type, const char *text, unsigned status)
	RUNS_ON(on_worker)
{
	if (session_sends_plain(s, channel)) {
		strbuf_reset(&s->hub->text);
		frame_subscription_error(&s->hub->text, channel, type, sv(text), status);
		session_send_text(s);
	}
	session_send_error(s, PUSHER_CODE_NULL, sv(text));
}

static void proto_subscription_error(struct session *s, struct str_view channel, const char *type,
				     const char *text, unsigned status) RUNS_ON(on_worker)
{
	proto_log_refusal(s, channel, text, status);
	proto_send_subscription_error(s, channel, type, text, status);
}

static void proto_auth_error(struct session *s, struct str_view channel, const char *text)
	RUNS_ON(on_worker)
{
	proto_subscription_error(s, channel, "AuthError", text, STATUS_UNAUTHORIZED);
}

/* The option that the error names is the one that an administrator can raise. */
static void proto_limit_reached(struct session *s, struct str_view channel, const char *text,
				unsigned status) RUNS_ON(on_worker)
{
	proto_subscription_error(s, channel, "LimitReached", text, status);
}

static void proto_on_ping(struct session *s, const struct client_frame *f) RUNS_ON(on_worker)
{
	(void)f;
	strbuf_reset(&s->hub->text);
	frame_pong(&s->hub->text);
	session_send_text(s);
}

/* session_receive() has noted the sign of life already. */
static void proto_on_pong(struct session *s, const struct client_frame *f)
{
	(void)s;
	(void)f;
}

static void proto_on_unknown(struct session *s, const struct client_frame *f) RUNS_ON(on_worker)
{
	struct strbuf b;

	strbuf_init(&b, 128);
	strbuf_add_str(&b, "Unknown event: ");
	strbuf_add(&b, f->event.ptr, f->event.len < 200 ? f->event.len : 0);
	session_error(s, PUSHER_CODE_NULL, strbuf_view(&b));
	strbuf_release(&b);
}

/* ---- subscribe ---- */

struct member_data {
	struct str_view user_id, user_info;
	struct presence_member parsed; /* released by the caller */
};

static void proto_too_many_members(struct session *s, struct str_view channel) RUNS_ON(on_worker)
{
	proto_limit_reached(
		s, channel,
		"The presence channel has too many members (option max_presence_members)",
		PUSHER_OVER_CAPACITY);
}

static bool proto_check_name(struct session *s, const struct client_frame *f,
			     struct channel_traits *t) RUNS_ON(on_worker)
{
	const struct app_limits *max = &s->app->limits;
	int rc = channel_name_parse(f->channel, max->max_channel_name_bytes, t);

	if (rc == -ENAMETOOLONG)
		proto_limit_reached(s, f->channel,
				    "The channel name is too long (option max_channel_name_bytes)",
				    PUSHER_UNAUTHORIZED);
	else if (rc)
		proto_subscription_error(
			s, f->channel, "InvalidChannel",
			"The channel name may hold only letters, digits and _-=@,.;",
			PUSHER_UNAUTHORIZED);
	else if (max->max_channels_per_connection &&
		 s->subscriptions.used >= max->max_channels_per_connection)
		proto_limit_reached(s, f->channel,
				    "This connection has too many subscriptions (option "
				    "max_channels_per_connection)",
				    PUSHER_OVER_CAPACITY);
	else
		return true;
	return false;
}

static bool proto_is_signed(const struct session *s, const struct client_frame *f)
{
	char id[SOCKET_ID_SIZE];

	return auth_check_channel(
		sv(s->app->key), s->app->secret,
		&(struct auth_subscription){ f->auth, sv(socket_id_format(s->id, id)), f->channel,
					     f->has_channel_data, f->channel_data });
}

static void proto_bad_signature(struct session *s, const struct client_frame *f) RUNS_ON(on_worker)
{
	char id[SOCKET_ID_SIZE];
	struct strbuf b;

	strbuf_init(&b, 256);
	strbuf_addf(&b, "Invalid signature: Expected HMAC SHA256 hex digest of %s:",
		    socket_id_format(s->id, id));
	strbuf_add_sv(&b, f->channel);
	if (f->has_channel_data && f->channel_data.len <= 512) {
		strbuf_add_c(&b, ':');
		strbuf_add_sv(&b, f->channel_data);
	}
	if (f->auth.len <= 512) {
		strbuf_add_str(&b, ", but got ");
		strbuf_add_sv(&b, f->auth);
	}
	proto_log_refusal(s, f->channel, "the signature is not valid", STATUS_UNAUTHORIZED);
	proto_send_subscription_error(s, f->channel, "AuthError", b.ptr, STATUS_UNAUTHORIZED);
	strbuf_release(&b);
}

static uint64_t proto_wall_s(void)
{
	return (uint64_t)(clock_wall() / USEC_PER_SEC);
}

static bool proto_has_expired(const struct session *s, uint64_t exp)
{
	return proto_wall_s() >= exp + s->app->token_grace_s;
}

/* Whether the daemon itself gave the authorization of f. */
static bool proto_read_mark(const struct client_frame *f, struct grant_mark *mark)
{
	return f->has_channel_data && grant_mark_parse(f->channel_data, mark);
}

/* ---- access that ended ---- */

static void proto_free_ended(struct ended_access **list)
{
	struct ended_access *e;

	while ((e = *list)) {
		*list = e->next;
		free(e->patterns);
		free(e);
	}
}

/*
 * Frees entries older than AUTHORIZATION_USE_US: authorizations made before them are refused for
 * their age.  When there are too many, one of all channels stands for them: what it refuses can be
 * authorized again.
 */
static void proto_note_end(struct session *s, struct str_view patterns) RUNS_ON(on_worker)
{
	struct ended_access *e = xcalloc(1, sizeof(*e)), **slot = &s->ended;
	size_t bytes = sizeof(*e) + patterns.len;

	e->at = (uint64_t)clock_wall();
	for (; *slot && (*slot)->at + AUTHORIZATION_USE_US >= e->at; slot = &(*slot)->next)
		bytes += sizeof(*e) + strlen((*slot)->patterns);
	proto_free_ended(bytes > ENDED_MAX_BYTES ? &s->ended : slot);
	e->patterns = sv_dup(bytes > ENDED_MAX_BYTES ? SV("*") : patterns);
	e->next = s->ended;
	s->ended = e;
}

static bool proto_patterns_match(struct str_view patterns, struct str_view channel)
{
	struct str_view one;

	while (sv_split(&patterns, ' ', &one))
		if (channel_pattern_match(one, channel))
			return true;
	return false;
}

/* Why an authorization of the daemon is not accepted; NULL: it is. */
static const char *proto_mark_fault(const struct session *s, struct str_view channel,
				    const struct grant_mark *mark) RUNS_ON(on_worker)
{
	if (proto_has_expired(s, mark->exp))
		return "The token of this authorization has expired";
	if (mark->at + AUTHORIZATION_USE_US < (uint64_t)clock_wall())
		return "This authorization is older than a minute: authorize the subscription "
		       "again";
	for (const struct ended_access *e = s->ended; e; e = e->next)
		if (mark->at <= e->at && proto_patterns_match(sv(e->patterns), channel))
			return "The access to this channel has ended since this authorization: "
			       "authorize the subscription again";
	return NULL;
}

/* Whether the client may be on the channel. */
static bool proto_check_right(struct session *s, const struct client_frame *f,
			      const struct channel_traits *t) RUNS_ON(on_worker)
{
	struct grant_mark mark;
	const char *fault;

	if (t->is_user) {
		if (s->user_id && sv_eq_c(t->user_id, s->user_id))
			return true;
		proto_auth_error(s, f->channel,
				 "Only the signed-in user may subscribe to their own channel");
		return false;
	}
	if (!t->is_guarded)
		return true;
	if (!proto_is_signed(s, f)) {
		proto_bad_signature(s, f);
		return false;
	}
	fault = proto_read_mark(f, &mark) ? proto_mark_fault(s, f->channel, &mark) : NULL;
	if (fault)
		proto_auth_error(s, f->channel, fault);
	return !fault;
}

/* The member that joins a presence channel. */
static bool proto_read_member(struct session *s, const struct client_frame *f,
			      struct member_data *m) RUNS_ON(on_worker)
{
	const struct app_limits *max = &s->app->limits;
	const char *why;
	int rc;

	if (!f->has_channel_data && s->user_id) {
		m->user_id = sv(s->user_id);
		m->user_info = sv(s->user_info);
		return true;
	}
	if (!f->has_channel_data) {
		proto_auth_error(
			s, f->channel,
			"A presence channel needs channel_data with a user_id, or a signed-in "
			"user");
		return false;
	}
	rc = presence_member_parse(f->channel_data, max->max_user_id_bytes,
				   max->max_presence_member_bytes, &m->parsed, &why);
	if (rc == -E2BIG)
		proto_limit_reached(s, f->channel, why, PUSHER_RATE_LIMIT);
	else if (rc)
		proto_subscription_error(s, f->channel, "InvalidChannelData", why,
					 STATUS_UNAUTHORIZED);
	if (rc)
		return false;
	m->user_id = sv(m->parsed.user_id);
	m->user_info = sv(m->parsed.user_info);
	return true;
}

/* For the second in which the client has to be notified, or the subscription has to end. */
static void proto_schedule_expiry(struct hub *h, struct granted *g) RUNS_ON(on_worker)
{
	const struct app *app = g->subscription->session->app;
	uint64_t at = g->notify_at ? g->notify_at : g->exp + app->token_grace_s;
	uint64_t now = proto_wall_s(), left = at > now ? at - now : 1;

	if (left > EXPIRY_CHECK_S)
		left = EXPIRY_CHECK_S;
	registry_schedule(&h->registry, g, h->now_s + (uint32_t)left);
}

/* When to notify the client that its token expires: EXPIRY_NOTICE_S before, or at half of the
 * remaining time if that is at most twice EXPIRY_NOTICE_S. */
static uint64_t proto_notify_at(uint64_t exp)
{
	uint64_t now = proto_wall_s(), left = exp > now ? exp - now : 0;

	return now + (left > 2 * EXPIRY_NOTICE_S ? left - EXPIRY_NOTICE_S : left / 2);
}

/* Notes a subscription that the daemon authorized itself; it may have an earlier grant. */
static void proto_set_grant(struct session *s, struct subscription *sub,
			    const struct grant_mark *mark) RUNS_ON(on_worker)
{
	const struct hub_conf *conf = &s->hub->conf;
	struct granted *g;
	uint64_t old, id;

	id = mark->is_of_app
		     ? 0
		     : conf->on_granted(conf->socket_ctx, s->app, subscription_channel(sub), mark);
	old = registry_ungrant(&s->hub->registry, sub);
	if (old)
		conf->on_grant_left(conf->socket_ctx, old);
	g = registry_grant(&s->hub->registry, sub, id);
	g->user = user_key_of(mark->user_id);
	g->exp = mark->exp;
	g->notify_at = proto_notify_at(mark->exp);
	proto_schedule_expiry(s->hub, g);
}

/* The subscription that exists is extended by an authorization that the daemon gave the same user
 * for a token that expires no earlier. */
static bool proto_extend(struct session *s, const struct client_frame *f, struct subscription *sub)
	RUNS_ON(on_worker)
{
	struct grant_mark mark;

	if (!sub->granted || !proto_read_mark(f, &mark) || mark.exp < sub->granted->exp ||
	    !user_key_eq(user_key_of(mark.user_id), sub->granted->user) ||
	    proto_mark_fault(s, f->channel, &mark) || !proto_is_signed(s, f))
		return false;
	proto_set_grant(s, sub, &mark);
	strbuf_reset(&s->hub->text);
	frame_token_extended(&s->hub->text, f->channel, mark.exp);
	session_send_text(s);
	session_note(s, STEP_TOKEN_EXTENDED, f->channel, 0, NULL);
	return true;
}

static struct str_view proto_wait_key(const struct join_wait *w)
{
	return sv_n((const char *)&w->token, sizeof(w->token));
}

/* The subscription waits for the cluster (session_joined(), sessions_admit()).  No message goes to
 * it before that. */
static struct join_wait *proto_wait(struct subscription *sub, uint64_t token) RUNS_ON(on_worker)
{
	struct hub *h = sub->session->hub;
	struct join_wait *w = xcalloc(1, sizeof(*w));

	w->token = token;
	w->until = clock_mono() + JOIN_WAIT_US;
	w->subscription = sub;
	w->prev = h->last_join;
	if (h->last_join)
		h->last_join->next = w;
	else
		h->first_join = w;
	h->last_join = w;
	map_put(&h->joins, proto_wait_key(w), w);
	sub->waiting = w;
	sub->seq = UINT64_MAX;
	sub->channel->n_held++;
	return w;
}

/* Keeps what the subscription needs when it succeeds. */
static void proto_begin_wait(struct subscription *sub, const struct directory_join *j,
			     const struct catch_up_request *req) RUNS_ON(on_worker)
{
	struct join_wait *w = proto_wait(sub, j->token);

	w->request = *req;
	w->was = req->was.len ? sv_dup(req->was) : NULL;
	w->request.was = sv(w->was);
	w->info = j->user_info.len ? sv_dup(j->user_info) : NULL;
}

/* Takes the wait from the subscription; the caller frees it. */
static struct join_wait *proto_take_wait(struct subscription *sub) RUNS_ON(on_worker)
{
	struct hub *h = sub->session->hub;
	struct join_wait *w = sub->waiting;

	map_del(&h->joins, proto_wait_key(w));
	if (w->prev)
		w->prev->next = w->next;
	else
		h->first_join = w->next;
	if (w->next)
		w->next->prev = w->prev;
	else
		h->last_join = w->prev;
	sub->waiting = NULL;
	sub->channel->n_held--;
	return w;
}

static void proto_free_wait(struct join_wait *w)
{
	free(w->was);
	free(w->info);
	if (w->signing_in)
		signing_in_free(w->signing_in);
	free(w);
}

/* Takes over what the join returned. */
static void proto_succeed(struct session *s, struct subscription *sub, struct directory_join *j,
			  const struct catch_up_request *req) RUNS_ON(on_worker)
{
	struct position now;

	directory_position(s->hub->conf.directory, &now);
	now.serial = j->position;
	catch_up_begin(s, sub, req, j, &now);
	msgbuf_unref(j->roster);
}

static void proto_join(struct session *s, const struct client_frame *f, struct channel_traits t,
		       const struct member_data *m, const struct catch_up_request *req)
	RUNS_ON(on_worker)
{
	struct directory_join j = { .app = s->app,
				    .channel = f->channel,
				    .traits = t,
				    .worker = s->hub->conf.worker,
				    .socket_id = s->id,
				    .user_id = m->user_id,
				    .user_info = m->user_info,
				    .wants_unlogged = req->is_given,
				    .token = t.is_presence ? ++s->hub->last_token : 0 };
	struct subscription *sub;
	struct grant_mark mark;

	if (directory_join(s->hub->conf.directory, &j)) {
		proto_too_many_members(s, f->channel);
		return;
	}
	sub = registry_add(&s->hub->registry, s, j.key, j.is_waiting ? 0 : j.seq);
	metric_add(METRIC_SUBSCRIPTIONS, 1);
	recorder_join(s->hub->conf.recorder, s->id, j.key);
	session_note(s, STEP_SUBSCRIBED, f->channel, 0, req->is_given ? "with since" : NULL);
	sub->traits = t;
	sub->user_id = t.is_presence ? sv_dup(m->user_id) : NULL;
	if (t.is_presence)
		session_identify(s, m->user_id, false);
	if (t.is_guarded && s->hub->conf.on_granted && proto_read_mark(f, &mark))
		proto_set_grant(s, sub, &mark);
	map_put(&s->subscriptions, subscription_channel(sub), sub);
	if (j.is_waiting)
		proto_begin_wait(sub, &j, req);
	else
		proto_succeed(s, sub, &j, req);
	msgbuf_unref(j.key);
}

/* The subscription that was waiting succeeds. */
static void proto_admit(struct subscription *sub) RUNS_ON(on_worker)
{
	struct session *s = sub->session;
	struct join_wait *w = proto_take_wait(sub);
	struct directory_join j = { .app = s->app,
				    .channel = subscription_channel(sub),
				    .traits = sub->traits,
				    .worker = s->hub->conf.worker,
				    .socket_id = s->id,
				    .user_id = sv(sub->user_id),
				    .user_info = sv(w->info),
				    .wants_unlogged = w->request.is_given,
				    .key = sub->channel->key };

	if (w->signing_in) {
		session_signed_in(s, w->signing_in);
		proto_free_wait(w);
		return;
	}
	directory_admit(s->hub->conf.directory, &j);
	sub->seq = j.seq;
	if (j.seq > sub->channel->newest_seq)
		sub->channel->newest_seq = j.seq;
	proto_succeed(s, sub, &j, &w->request);
	proto_free_wait(w);
}

/* An invalid "since" or "was" is reported; the subscription is made nevertheless. */
static struct catch_up_request proto_read_since(struct session *s, const struct client_frame *f)
	RUNS_ON(on_worker)
{
	struct catch_up_request req = { .is_given = f->since.ptr != NULL, .was = f->was };

	if (!req.is_given)
		return req;
	if (!position_parse(f->since, &req.since))
		session_error(s, PUSHER_CODE_NULL,
			      SV("since is not a position: send back the one that a "
				 "subscription or an event had, as epoch:serial"));
	else if (!position_was_is_valid(f->was))
		session_error(s, PUSHER_CODE_NULL,
			      SV("was must be socket ids between commas, at most 8"));
	else
		req.is_valid = true;
	return req;
}

static void proto_count_subscribe(struct channel_traits t, bool is_subscribed)
{
	metric_add_pair(METRIC_SUBSCRIBE, channel_metric_type(t),
			is_subscribed ? VERDICT_OK : VERDICT_REFUSED, 1);
}

static void proto_on_subscribe(struct session *s, const struct client_frame *f) RUNS_ON(on_worker)
{
	struct member_data m = { .user_id = SV("") };
	struct catch_up_request req;
	struct channel_traits t = { 0 };
	struct subscription *sub = map_get(&s->subscriptions, f->channel);

	if (sub) {
		struct strbuf b;

		if (proto_extend(s, f, sub))
			return;
		strbuf_init(&b, 128);
		strbuf_add_str(&b, "Existing subscription to channel ");
		strbuf_add_sv(&b, f->channel);
		session_error(s, PUSHER_CODE_NULL, strbuf_view(&b));
		strbuf_release(&b);
		return;
	}
	if (!proto_check_name(s, f, &t) || !proto_check_right(s, f, &t)) {
		proto_count_subscribe(t, false);
		return;
	}
	if (!t.is_presence || proto_read_member(s, f, &m)) {
		req = proto_read_since(s, f);
		proto_join(s, f, t, &m, &req);
	}
	proto_count_subscribe(t, map_get(&s->subscriptions, f->channel) != NULL);
	presence_member_release(&m.parsed);
}

static void proto_on_signin(struct session *s, const struct client_frame *f) RUNS_ON(on_worker)
{
	struct signing_in *in = session_sign_in(s, f);

	if (in)
		proto_wait(s->user_channel, in->token)->signing_in = in;
}

/* ---- leave ---- */

/* Removes sub from the directory and the registry, and frees it. */
static void proto_drop_subscription(struct session *s, struct subscription *sub, bool is_internal,
				    bool is_lost) RUNS_ON(on_worker)
{
	const struct hub_conf *conf = &s->hub->conf;
	uint64_t grant = registry_ungrant(&s->hub->registry, sub);
	struct directory_leave l = { .app = s->app,
				     .channel = subscription_channel(sub),
				     .traits = sub->traits,
				     .worker = s->hub->conf.worker,
				     .user_id = sv(sub->user_id),
				     .is_lost = is_lost };

	if (grant)
		conf->on_grant_left(conf->socket_ctx, grant);
	if (sub->catch_up)
		catch_up_drop(sub->catch_up);
	if (sub->waiting)
		proto_free_wait(proto_take_wait(sub));
	if (is_internal) {
		users_leave(s->hub->conf.directory, &l);
	} else {
		directory_leave(s->hub->conf.directory, &l);
		recorder_leave(conf->recorder, s->id, msgbuf_view(sub->channel->key));
		metric_add(METRIC_SUBSCRIPTIONS, -1);
	}
	registry_remove(&s->hub->registry, sub);
}

void session_joined(struct hub *h, uint64_t token, bool is_refused)
{
	struct join_wait *w = map_get(&h->joins, sv_n((const char *)&token, sizeof(token)));
	struct subscription *sub = w ? w->subscription : NULL;
	struct session *s = sub ? sub->session : NULL;

	if (!w || s->is_closing)
		return;
	if (is_refused) {
		struct str_view channel = subscription_channel(sub);
		char *name = sv_dup(channel);

		map_del(&s->subscriptions, channel);
		proto_drop_subscription(s, sub, false, false);
		proto_too_many_members(s, sv(name));
		free(name);
		return;
	}
	proto_admit(sub);
}

void sessions_admit(struct hub *h)
{
	struct join_wait *w, *next;

	for (w = h->first_join; w && w->until <= h->now; w = next) {
		next = w->next;
		if (!w->subscription->session->is_closing)
			proto_admit(w->subscription);
	}
}

void session_leave_all(struct session *s)
{
	struct subscription *sub;
	size_t at = 0;

	while ((sub = map_next(&s->subscriptions, &at)))
		proto_drop_subscription(s, sub, false, true);
	for (at = 0; (sub = map_next(&s->watches, &at));)
		proto_drop_subscription(s, sub, true, true);
	if (s->user_channel)
		proto_drop_subscription(s, s->user_channel, true, true);
	map_release(&s->subscriptions);
	map_release(&s->watches);
	proto_free_ended(&s->ended);
	s->user_channel = NULL;
}

static void proto_on_unsubscribe(struct session *s, const struct client_frame *f) RUNS_ON(on_worker)
{
	struct subscription *sub = map_get(&s->subscriptions, f->channel);

	if (!sub)
		return;
	session_note(s, STEP_UNSUBSCRIBED, f->channel, 0, NULL);
	map_del(&s->subscriptions, subscription_channel(sub));
	proto_drop_subscription(s, sub, false, false);
}

/* A presence member of another name on the user's connection is not the user. */
static bool proto_is_revoked(const struct subscription *sub, struct str_view user_id,
			     struct str_view patterns)
{
	if (!sub->traits.is_guarded && !sub->traits.is_user)
		return false;
	if (sub->user_id && !sv_eq_c(user_id, sub->user_id))
		return false;
	return proto_patterns_match(patterns, subscription_channel(sub));
}

/* why is for the log, text for the client. */
static void proto_end(struct session *s, struct subscription *sub, const char *why,
		      const char *text) RUNS_ON(on_worker)
{
	char *channel = sv_dup(subscription_channel(sub));
	char what[128];

	map_del(&s->subscriptions, subscription_channel(sub));
	proto_drop_subscription(s, sub, false, false);
	snprintf(what, sizeof(what), "subscription to %.90s ended", channel);
	session_log_refusal(s, &subscriptions_ended, what, why);
	session_note(s, STEP_SUBSCRIPTION_ENDED, sv(channel), STATUS_FORBIDDEN, why);
	proto_send_subscription_error(s, sv(channel), "AuthError", text, STATUS_FORBIDDEN);
	free(channel);
}

void session_revoke(struct session *s, struct str_view user_id, struct str_view patterns)
{
	struct subscription *sub, **ended = xreallocarray(NULL, s->subscriptions.used + 1,
							  sizeof(struct subscription *));
	size_t at = 0, n = 0;

	while ((sub = map_next(&s->subscriptions, &at)))
		if (proto_is_revoked(sub, user_id, patterns))
			ended[n++] = sub;
	for (size_t i = 0; i < n; i++)
		proto_end(s, ended[i], "the application revoked the access",
			  "The application revoked the access to this channel");
	free(ended);
	proto_note_end(s, patterns);
}

/* What a token's end requires now. */
static void proto_expire(struct granted *g) RUNS_ON(on_worker)
{
	struct session *s = g->subscription->session;

	if (s->is_closing)
		return;
	if (proto_has_expired(s, g->exp)) {
		proto_end(s, g->subscription, "its token has expired",
			  "The token by which this subscription was authorized has expired");
		return;
	}
	if (g->notify_at && proto_wall_s() >= g->notify_at) {
		g->notify_at = 0;
		if (g->exp > s->notified_exp) {
			s->notified_exp = g->exp;
			strbuf_reset(&s->hub->text);
			frame_token_expiring(&s->hub->text, g->exp);
			session_send_text(s);
		}
	}
	proto_schedule_expiry(s->hub, g);
}

void sessions_expire(struct hub *h)
{
	registry_each_due(&h->registry, h->now_s, EXPIRIES_MAX, proto_expire);
}

void session_end_granted(struct subscription *sub)
{
	proto_note_end(sub->session, subscription_channel(sub));
	proto_end(sub->session, sub, "no channel rule allows the user any more",
		  "No channel rule allows this user to be on this channel any more");
}

static void (*const proto_handlers[])(struct session *, const struct client_frame *) = {
	[FRAME_PING] = proto_on_ping,
	[FRAME_PONG] = proto_on_pong,
	[FRAME_SUBSCRIBE] = proto_on_subscribe,
	[FRAME_UNSUBSCRIBE] = proto_on_unsubscribe,
	[FRAME_SIGNIN] = proto_on_signin,
	[FRAME_CLIENT_EVENT] = session_on_client_event,
	[FRAME_HEARTBEAT] = session_on_heartbeat,
	[FRAME_UNKNOWN] = proto_on_unknown,
};

void session_handle(struct session *s, struct str_view message)
{
	struct client_frame f;
	const char *why;

	if (client_frame_parse(message, &f, &why)) {
		session_error(s, PUSHER_CODE_NULL, sv(why));
		return;
	}
	proto_handlers[f.kind](s, &f);
	client_frame_release(&f);
}

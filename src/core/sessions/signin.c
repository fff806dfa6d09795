/* SPDX-License-Identifier: MIT */
/*
 * Sign-in of a user, and the watchlist that comes with it.
 */
#include "base/mem.h"
#include "core/channels/users.h"
#include "core/sessions/session_out.h"
#include "core/sessions/signin.h"
#include "wire/socket_id.h"

static struct log_gate signins_refused = LOG_GATE("sign-ins refused");

void session_identify(const struct session *s, struct str_view user_id, bool is_signin)
{
	const struct hub_conf *conf = &s->hub->conf;

	recorder_set_user(conf->recorder, s->id, user_id,
			  is_signin ? PROOF_SIGNED_IN : PROOF_MEMBER);
	if (conf->on_socket_user)
		conf->on_socket_user(conf->socket_ctx, s->id, user_id, is_signin);
}

/* Subscribes to a channel of core/channels/users.h; join: users_sign_in() or users_watch(). */
static struct subscription *signin_join(struct session *s, struct directory_join *j,
					void (*join)(struct directory *d, struct directory_join *j))
	RUNS_ON(on_worker)
{
	struct subscription *sub;

	j->app = s->app;
	j->worker = s->hub->conf.worker;
	j->socket_id = s->id;
	join(s->hub->conf.directory, j);
	sub = registry_add(&s->hub->registry, s, j->key, j->is_waiting ? 0 : j->seq);
	sub->traits = j->traits;
	sub->user_id = sv_dup(j->user_id);
	msgbuf_unref(j->key);
	return sub;
}

static void signin_send_watchlist(struct session *s, const char *what, const struct str_view *ids,
				  size_t n) RUNS_ON(on_worker)
{
	if (!n)
		return;
	strbuf_reset(&s->hub->text);
	frame_watchlist(&s->hub->text, what, ids, n);
	session_send_text(s);
}

/* Watches the users of the list, and sends which of them are online; for those of whom that is not
 * known, it follows. */
static void signin_watch(struct session *s, const struct presence_member *who) RUNS_ON(on_worker)
{
	unsigned max = s->app->limits.max_watchlist;
	size_t n = who->n_watchlist, n_on = 0, n_off = 0;
	struct str_view *on, *off;

	if (max && n > max) {
		session_error(
			s, PUSHER_WATCHLIST,
			SV("Watchlist limit exceeded: only the first users are watched (option "
			   "max_watchlist)"));
		n = max;
	}
	on = xcalloc(n, sizeof(*on));
	off = xcalloc(n, sizeof(*off));
	for (size_t i = 0; i < n; i++) {
		struct str_view id = sv(who->watchlist[i]);
		struct directory_join j = { .user_id = id };
		struct subscription *sub;

		if (map_get(&s->watches, id))
			continue;
		sub = signin_join(s, &j, users_watch);
		map_put(&s->watches, sv(sub->user_id), sub);
		if (j.is_unknown)
			continue;
		if (j.is_online)
			on[n_on++] = id;
		else
			off[n_off++] = id;
	}
	signin_send_watchlist(s, "online", on, n_on);
	signin_send_watchlist(s, "offline", off, n_off);
	free(on);
	free(off);
}

/* NULL when the user may be signed in, else the error message. */
static const char *signin_fault(struct session *s, const struct client_frame *f,
				struct presence_member *who)
{
	char id[SOCKET_ID_SIZE];
	const char *why;

	if (!auth_check_user(sv(s->app->key), s->app->secret, f->auth,
			     sv(socket_id_format(s->id, id)), f->user_data))
		return "Connection not authorized: the signature of user_data is invalid";
	if (user_data_parse(f->user_data, s->app->limits.max_user_id_bytes, who, &why))
		return why;
	return NULL;
}

static void signin_send_success(struct session *s, struct str_view user_data) RUNS_ON(on_worker)
{
	strbuf_reset(&s->hub->text);
	frame_signin_success(&s->hub->text, user_data);
	session_send_text(s);
}

void signing_in_free(struct signing_in *in)
{
	presence_member_release(&in->who);
	free(in->user_data);
	free(in);
}

void session_signed_in(struct session *s, const struct signing_in *in)
{
	signin_send_success(s, sv(in->user_data));
	if (in->who.watchlist)
		signin_watch(s, &in->who);
}

/* Takes what is in who.  Returns as session_sign_in(). */
static struct signing_in *signin_begin(struct session *s, struct str_view user_data,
				       struct presence_member *who) RUNS_ON(on_worker)
{
	struct signing_in *in = xmalloc(sizeof(*in));
	struct directory_join j = { .user_id = sv(who->user_id), .token = ++s->hub->last_token };

	*in = (struct signing_in){ sv_dup(user_data), *who, j.token };
	*who = (struct presence_member){ NULL, NULL, NULL, 0 };
	s->user_id = xstrdup(in->who.user_id);
	s->user_info = in->who.user_info ? xstrdup(in->who.user_info) : NULL;
	s->user_channel = signin_join(s, &j, users_sign_in);
	if (j.is_waiting)
		return in;
	session_signed_in(s, in);
	signing_in_free(in);
	return NULL;
}

struct signing_in *session_sign_in(struct session *s, const struct client_frame *f)
{
	struct presence_member who = { 0 };
	struct signing_in *waiting = NULL;
	const char *fault;

	if (!s->app->user_authentication) {
		session_error(s, PUSHER_CODE_NULL,
			      SV("User authentication is not enabled for this app (option "
				 "user_authentication)"));
		return NULL;
	}
	fault = signin_fault(s, f, &who);
	if (fault) {
		session_log_refusal(s, &signins_refused, "sign-in refused", fault);
		session_note(s, STEP_SIGNIN_REFUSED, SV(""), 0, fault);
		session_refuse(s, PUSHER_UNAUTHORIZED, fault);
	} else if (s->user_id && strcmp(s->user_id, who.user_id) != 0) {
		session_error(s, PUSHER_CODE_NULL,
			      SV("This connection is signed in as another user already"));
	} else {
		session_identify(s, sv(who.user_id), true);
		session_note(s, STEP_SIGNED_IN, SV(""), 0, NULL);
		if (s->user_id)
			signin_send_success(s, f->user_data);
		else
			waiting = signin_begin(s, f->user_data, &who);
	}
	presence_member_release(&who);
	return waiting;
}

/* SPDX-License-Identifier: MIT */
/* Commands: what happens besides the clients. */
#include "core/channels/users.h"
#include "wire/pusher.h"
#include "play.h"

#define TICK (100 * USEC_PER_MSEC)

/* app ID OPTION=VALUE...: replaces that app; sessions are notified by "reload" */
static void cmd_app(struct str_view rest) RUNS_ON(on_worker)
{
	struct app_option list[16] = { { "key", "key" }, { "secret", "secret" } };
	char *id = sv_dup(words_next(&rest)), *words[16] = { NULL }, *why = NULL;
	struct str_view name, value;
	struct app *app, *copies[APPS_MAX];
	struct app_set *set;
	size_t n = 2, at = 0, i;

	for (i = 0; rest.len && i < ARRAY_SIZE(words) / 2 - 1; i++) {
		if (!words_option(words_next(&rest), &name, &value))
			play_fail("an app's options are NAME=VALUE");
		words[2 * i] = sv_dup(name);
		words[2 * i + 1] = sv_dup(value);
		list[n++] = (struct app_option){ words[2 * i], words[2 * i + 1] };
	}
	if (app_build(id, list, n, &app, &why)) {
		play_fail("%s", why);
		goto out;
	}
	while (at < play.n_apps && strcmp(play.apps[at]->id, id) != 0)
		at++;
	if (at == play.n_apps)
		play.n_apps++;
	else
		app_unref(play.apps[at]);
	play.apps[at] = app;
	for (i = 0; i < play.n_apps; i++)
		copies[i] = app_ref(play.apps[i]);
	if (app_set_build(copies, play.n_apps, &set, &why))
		play_fail("%s", why);
	else
		apps_install(set);
out:
	for (i = 0; i < ARRAY_SIZE(words); i++)
		free(words[i]);
	free(why);
	free(id);
}

/* no-app ID: removes it */
static void cmd_no_app(struct str_view rest) RUNS_ON(on_worker)
{
	struct app_set *set;
	struct app *copies[APPS_MAX];
	char *why = NULL;
	size_t n = 0;

	for (size_t i = 0; i < play.n_apps; i++) {
		if (sv_eq_c(rest, play.apps[i]->id))
			app_unref(play.apps[i]);
		else
			play.apps[n++] = play.apps[i];
	}
	play.n_apps = n;
	for (size_t i = 0; i < n; i++)
		copies[i] = app_ref(play.apps[i]);
	if (app_set_build(copies, n, &set, &why) == 0)
		apps_install(set);
}

/* node path=/ws max_connections=N */
static void cmd_node(struct str_view rest) RUNS_ON(on_worker)
{
	struct str_view name, value;

	while (words_option(words_next(&rest), &name, &value)) {
		if (sv_eq_c(name, "path"))
			play.path = sv_dup(value);
		else
			play.max_connections = words_number(value);
	}
}

struct opening {
	unsigned worker, times;
	struct session_request request;
};

/* Reads the client's socket id from the greeting; a refused connection has none. */
static void read_socket_id(struct peer *p)
{
	static const char before[] = "\\\"socket_id\\\":\\\"";
	struct str_view got = strbuf_view(&p->received);
	const char *at = memmem(got.ptr, got.len, before, sizeof(before) - 1);
	ptrdiff_t end;

	if (!at)
		return;
	got = sv_skip(got, (size_t)(at - got.ptr) + sizeof(before) - 1);
	end = sv_find(got, '\\');
	if (end > 0)
		str_copy(p->id, sizeof(p->id), sv_n(got.ptr, (size_t)end));
}

static void open_one(char *name, const struct opening *o) RUNS_ON(on_worker)
{
	struct peer *p = &play.peers[play.n_peers++];

	*p = (struct peer){ .name = name, .worker = o->worker };
	strbuf_init(&p->received, 256);
	p->session = session_open(play.hubs[o->worker], p, &o->request);
	read_socket_id(p);
}

/* open NAME [worker=N] [path=P] [protocol=N] [client=NAME] [origin=O] [tls=yes] [times=N] */
static void cmd_open(struct str_view rest) RUNS_ON(on_worker)
{
	struct str_view name = words_next(&rest), key, value;
	struct opening o = { .times = 1,
			     .request = { .path = SV("/app/key"), .client = SV("js") } };

	if (!play.directory)
		play_begin();
	while (words_option(words_next(&rest), &key, &value)) {
		if (sv_eq_c(key, "worker")) {
			o.worker = words_number(value);
		} else if (sv_eq_c(key, "path")) {
			o.request.path = value;
		} else if (sv_eq_c(key, "origin")) {
			o.request.origin = value;
		} else if (sv_eq_c(key, "client")) {
			o.request.client = value;
		} else if (sv_eq_c(key, "tls")) {
			o.request.from.is_secure = true;
		} else if (sv_eq_c(key, "times")) {
			o.times = words_number(value);
		} else if (sv_eq_c(key, "protocol")) {
			o.request.protocol = value;
			o.request.has_protocol = true;
		} else {
			play_fail("\"%.*s\" is no option of open", SV_ARG(key));
		}
	}
	for (unsigned i = 0; i < o.times && play.n_peers < PEERS_MAX; i++) {
		char *full = NULL;

		if (asprintf(&full, o.times > 1 ? "%.*s%u" : "%.*s", SV_ARG(name), i) < 0)
			abort();
		open_one(full, &o);
	}
}

/* connect NAME...: open, and checks the greeting */
static void cmd_connect(struct str_view rest) RUNS_ON(on_worker)
{
	static const char greeting[] = "{\"event\":\"pusher:connection_established\","
				       "\"data\":'{\"socket_id\":\"${%s}\","
				       "\"activity_timeout\":%u%s%s%s}'}";
	unsigned before = play.n_peers;

	cmd_open(rest);
	for (unsigned i = before; i < play.n_peers; i++) {
		struct peer *p = &play.peers[i];
		char *want = NULL;

		if (asprintf(&want, greeting, p->name, play.apps[0]->activity_timeout_s,
			     play.epoch[0] ? ",\"epoch\":\"" : "", play.epoch,
			     play.epoch[0] ? "\"" : "") < 0)
			abort();
		frames_expect(p, sv(want));
		p->writes = 0;
		free(want);
	}
}

/* What the daemon's main thread does; here one thread is all threads. */
static void tick_users(void) NO_TSA
{
	users_tick(play.directory, play.now);
}

/* + N s|ms */
static void cmd_pass(struct str_view rest) RUNS_ON(on_worker)
{
	usec_t us = words_number(words_next(&rest));
	usec_t until = play.now + us * (sv_eq_c(rest, "ms") ? USEC_PER_MSEC : USEC_PER_SEC);

	while (play.now < until) {
		play.now += until - play.now < TICK ? until - play.now : TICK;
		tick_users();
		for (unsigned i = 0; i < WORKERS; i++)
			hub_tick(play.hubs[i], play.now);
		play_settle();
	}
}

/* How an event reaches the sockets, and the log. */
struct publishing {
	uint64_t exclude, serial; /* serial: of the first; 0: never logged */
	unsigned times, bytes;
	bool is_async;	/* logged later, by "logged" */
	bool is_missed; /* only in the log: it was delivered before */
};

static void publish_one(struct str_view channel, struct str_view event, struct str_view data,
			const struct publishing *how, unsigned i)
{
	struct msgbuf *m = msgbuf_from(data);
	struct event *e = event_new(play.apps[0], channel, event, m);

	e->exclude_socket = how->exclude;
	e->durability = how->is_async ? DURABILITY_ASYNC
			: how->serial ? DURABILITY_COMMIT
				      : DURABILITY_NONE;
	if (how->serial)
		play_add_row(e, how->serial + i);
	if (!how->is_missed)
		directory_fan_out(play.directory, e);
	if (how->is_async && play.n_async < ROWS_MAX)
		play.async[play.n_async++] = event_ref(e);
	event_unref(e);
	msgbuf_unref(m);
}

static void read_publishing(struct publishing *how, struct str_view name, struct str_view value)
{
	struct peer *p = words_peer(value);

	if (sv_eq_c(name, "except") && p)
		(void)socket_id_parse(sv(p->id), &how->exclude);
	else if (sv_eq_c(name, "times"))
		how->times = words_number(value);
	else if (sv_eq_c(name, "bytes"))
		how->bytes = words_number(value);
	else if (sv_eq_c(name, "serial"))
		how->serial = words_number(value);
	else if (sv_eq_c(name, "async"))
		how->is_async = true;
	else if (sv_eq_c(name, "missed"))
		how->is_missed = true;
	else
		play_fail("\"%.*s\" is no option of publish", SV_ARG(name));
}

/* publish [OPTION=VALUE...] CHANNEL EVENT DATA */
static void cmd_publish(struct str_view rest) RUNS_ON(on_worker)
{
	struct str_view channel = words_next(&rest), name, value, event;
	struct publishing how = { .times = 1 };
	struct strbuf data;

	while (words_option(channel, &name, &value)) {
		read_publishing(&how, name, value);
		channel = words_next(&rest);
	}
	event = words_next(&rest);
	strbuf_init(&data, rest.len + how.bytes);
	strbuf_add_sv(&data, rest);
	while (data.len < how.bytes)
		strbuf_add_c(&data, 'x');
	for (unsigned i = 0; i < how.times; i++)
		publish_one(channel, event, strbuf_view(&data), &how, i);
	strbuf_release(&data);
}

/* log EPOCH SERIAL: its epoch, and the serial up to which it was delivered */
static void cmd_log(struct str_view rest) RUNS_ON(on_worker)
{
	struct str_view epoch = words_next(&rest);
	struct position p = { .serial = words_number(rest) };

	if (!play.directory)
		play_begin();
	snprintf(p.epoch, sizeof(p.epoch), "%.*s", SV_ARG(epoch));
	memcpy(play.epoch, p.epoch, sizeof(p.epoch));
	directory_log_reached(play.directory, &p);
}

/* log-end SERIAL: the last serial that the log has given */
static void cmd_log_end(struct str_view rest) RUNS_ON(on_worker)
{
	play.log_end = words_number(rest);
}

/* horizon SERIAL: retention has removed the events up to it */
static void cmd_horizon(struct str_view rest) RUNS_ON(on_worker)
{
	play.horizon = words_number(rest);
}

/* logged SERIAL: the oldest async event is in the log now */
static void cmd_logged(struct str_view rest) RUNS_ON(on_worker)
{
	struct event *e = play.async[0];

	if (!play.n_async) {
		play_fail("no async event waits");
		return;
	}
	memmove(play.async, play.async + 1, --play.n_async * sizeof(e));
	play_add_row(e, words_number(rest));
	event_unref(e);
}

static void cmd_log_slow(struct str_view rest) RUNS_ON(on_worker)
{
	(void)rest;
	play.is_log_slow = true;
}

/* answers [N|away]: the log received N requests (1), and answers them now; or is unavailable */
static void cmd_answers(struct str_view rest) RUNS_ON(on_worker)
{
	bool is_away = sv_eq_c(rest, "away");
	unsigned n = play.n_asked, want = is_away || !rest.len ? 1 : words_number(rest);

	if (n != want)
		play_fail("the log received %u requests, want %u", n, want);
	play.n_asked = 0;
	for (unsigned i = 0; i < n; i++) {
		struct asked q = play.asked[i];

		play_answer(&q, is_away ? log_page_new(LOG_UNAVAILABLE) : NULL);
	}
}

/* channel NAME occupied=yes|no subscriptions=N users=N cache=yes|no */
static void cmd_channel(struct str_view rest) RUNS_ON(on_worker)
{
	struct str_view channel = words_next(&rest), name, value;
	struct channel_info i;

	directory_channel_info(play.directory, play.apps[0], channel, &i);
	while (words_option(words_next(&rest), &name, &value)) {
		unsigned got = sv_eq_c(name, "occupied")	? i.is_occupied
			       : sv_eq_c(name, "subscriptions") ? i.subscription_count
			       : sv_eq_c(name, "users")		? i.user_count
								: i.has_cache;
		unsigned want = sv_eq_c(value, "yes")  ? 1
				: sv_eq_c(value, "no") ? 0
						       : words_number(value);

		if (got != want)
			play_fail("%.*s is %u, want %u", SV_ARG(name), got, want);
	}
	channel_info_release(&i);
}

static void cmd_hold(struct str_view rest) RUNS_ON(on_worker)
{
	(void)rest;
	play.is_held = true;
}

static void cmd_release(struct str_view rest) RUNS_ON(on_worker)
{
	(void)rest;
	play.is_held = false;
}

/* USER PATTERN... */
static void cmd_revoke(struct str_view rest) RUNS_ON(on_worker)
{
	struct str_view user;

	if (sv_split(&rest, ' ', &user))
		users_revoke(play.directory, play.apps[0], user, rest);
}

static void cmd_terminate(struct str_view rest) RUNS_ON(on_worker)
{
	users_terminate(play.directory, play.apps[0], rest);
}

static void cmd_reload(struct str_view rest) RUNS_ON(on_worker)
{
	(void)rest;
	for (unsigned i = 0; i < WORKERS; i++)
		hub_reload(play.hubs[i]);
}

/* drain PERMILLE */
static void cmd_drain(struct str_view rest) RUNS_ON(on_worker)
{
	unsigned share = words_number(words_next(&rest));

	for (unsigned i = 0; i < WORKERS; i++)
		hub_drain(play.hubs[i], share, 0);
}

/* sessions N: the number of open sessions */
static void cmd_sessions(struct str_view rest) RUNS_ON(on_worker)
{
	unsigned want = words_number(words_next(&rest)), got = 0;

	for (unsigned i = 0; i < WORKERS; i++)
		got += hub_sessions(play.hubs[i]);
	if (got != want)
		play_fail("%u sessions, want %u", got, want);
}

static void cmd_scenario(struct str_view rest) RUNS_ON(on_worker)
{
	play_end_scenario();
	snprintf(play.scenario, sizeof(play.scenario), "%.*s", SV_ARG(rest));
	play.n_scenarios++;
}

struct command {
	const char *name;
	void (*run)(struct str_view rest); /* on_worker */
};

static const struct command commands[] = {
	{ "scenario", cmd_scenario },
	{ "app", cmd_app },
	{ "no-app", cmd_no_app },
	{ "node", cmd_node },
	{ "open", cmd_open },
	{ "connect", cmd_connect },
	{ "+", cmd_pass },
	{ "publish", cmd_publish },
	{ "log", cmd_log },
	{ "horizon", cmd_horizon },
	{ "log-end", cmd_log_end },
	{ "logged", cmd_logged },
	{ "log-slow", cmd_log_slow },
	{ "answers", cmd_answers },
	{ "channel", cmd_channel },
	{ "hold", cmd_hold },
	{ "release", cmd_release },
	{ "terminate", cmd_terminate },
	{ "revoke", cmd_revoke },
	{ "reload", cmd_reload },
	{ "drain", cmd_drain },
	{ "sessions", cmd_sessions },
};

bool command_run(struct str_view name, struct str_view rest)
{
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		if (sv_eq_c(name, commands[i].name)) {
			commands[i].run(rest);
			return true;
		}
	return false;
}

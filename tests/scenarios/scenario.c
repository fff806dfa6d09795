/* SPDX-License-Identifier: MIT */
/*
 * Plays scenarios (see README.md beside this file) against the real hub, sessions and directory,
 * on a clock that only the scenario moves and on sockets that are arrays.
 *
 * usage: scenario FILE
 */
#include <errno.h>
#include <jansson.h>
#include <stdarg.h>
#include "base/mem.h"
#include "conf/conf.h"
#include "core/hub.h"
#include "core/users.h"
#include "wire/auth.h"
#include "wire/pusher.h"
#include "wire/socket_id.h"

#define WORKERS	  2
#define PEERS_MAX 400
#define APPS_MAX  4
#define TICK	  (100 * USEC_PER_MSEC)
#define CHUNK	  256 /* bytes that the socket layer passes at once */
#define ROWS_MAX  8000
#define ASKS_MAX  64

/* One client: what it received, and the state of its connection. */
struct peer {
	char *name;
	struct session *session; /* NULL after its end */
	unsigned worker;
	char id[SOCKET_ID_SIZE];
	struct strbuf received; /* raw frames; those from at on were not checked yet */
	size_t at;
	unsigned close_code;
	unsigned writes;
	unsigned pings; /* PING frames among received */
	usec_t heard_at;
	bool is_blocked, wants_writable, is_closing, is_killed, is_broken;
};

/* A request to the log that the scenario has not answered yet. */
struct asked {
	struct log_ask a;
	char *channel, *epoch, *was;
};

static struct {
	const char *file;
	unsigned line;
	char scenario[128];
	usec_t now;
	struct directory *directory;
	struct hub *hubs[WORKERS];
	struct mailbox boxes[WORKERS];
	atomic_uint connections;
	char *path;
	unsigned max_connections;
	bool is_held; /* messages to workers wait */
	struct app *apps[APPS_MAX];
	size_t n_apps;
	struct event *rows[ROWS_MAX]; /* the log: counted, ascending serials */
	unsigned n_rows;
	uint64_t horizon;
	uint64_t log_end; /* 0: later than every position */
	char epoch[POSITION_EPOCH_MAX + 1];
	bool is_log_slow; /* answers only at the command "answers" */
	struct asked asked[ASKS_MAX];
	unsigned n_asked;
	struct event *async[ROWS_MAX]; /* counted: not in the log yet */
	unsigned n_async;
	struct peer peers[PEERS_MAX];
	unsigned n_peers;
	bool is_failed; /* this scenario; the rest of it is skipped */
	unsigned n_scenarios, n_failed;
} play;

static void fail(const char *fmt, ...) PRINTF_LIKE(1, 2);

static void fail(const char *fmt, ...)
{
	va_list ap;

	if (play.is_failed)
		return;
	play.is_failed = true;
	printf("%s:%u: scenario \"%s\": ", play.file, play.line, play.scenario);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf("\n");
}

static usec_t fake_clock(void)
{
	return play.now;
}

/* ---- sockets ---- */

static bool io_write(void *conn, unsigned char *p, size_t n)
{
	struct peer *peer = conn;

	if (peer->is_closing || peer->is_killed)
		fail("%s: written to after its close", peer->name);
	if (peer->is_blocked)
		fail("%s: written to while it is blocked", peer->name);
	if (peer->is_broken)
		return false;
	peer->writes++;
	strbuf_add(&peer->received, p, n);
	return true;
}

static bool io_is_blocked(void *conn)
{
	return ((struct peer *)conn)->is_blocked;
}

static void io_want_writable(void *conn)
{
	((struct peer *)conn)->wants_writable = true;
}

static void io_close(void *conn, unsigned code, const char *reason)
{
	struct peer *peer = conn;

	if (peer->is_closing || peer->is_killed)
		fail("%s: closed twice", peer->name);
	if (strlen(reason) > 123)
		fail("%s: no close frame holds \"%s\"", peer->name, reason);
	peer->is_closing = true;
	peer->close_code = code;
}

static void io_kill(void *conn)
{
	((struct peer *)conn)->is_killed = true;
}

static void io_set_reading(void *conn, bool is_on)
{
	(void)conn;
	(void)is_on;
}

static usec_t io_heard_at(void *conn)
{
	return ((struct peer *)conn)->heard_at;
}

static const struct session_io fake_io = {
	.write = io_write,
	.is_blocked = io_is_blocked,
	.want_writable = io_want_writable,
	.close = io_close,
	.kill = io_kill,
	.set_reading = io_set_reading,
	.heard_at = io_heard_at,
};

/* ---- the log ---- */

static bool is_for(const struct event *e, const struct asked *q)
{
	char id[SOCKET_ID_SIZE];

	return sv_eq_c(e->channel, q->channel) && e->serial > q->a.from && e->serial <= q->a.to &&
	       !(e->exclude_socket && strstr(q->was, socket_id_format(e->exclude_socket, id)));
}

static struct log_page *page_of_events(const struct asked *q)
{
	struct log_page *page = log_page_new(LOG_SERVED);
	bool is_cut = false;
	uint64_t last = 0;
	unsigned n = 0;

	for (unsigned i = 0; i < play.n_rows; i++) {
		const struct event *e = play.rows[i];

		if (!is_for(e, q))
			continue;
		is_cut = is_cut || n == q->a.max ||
			 (n && page->bytes + e->data->len > q->a.max_bytes);
		n++;
		if (is_cut)
			continue;
		log_page_add(page, event_frame(e), 1);
		last = e->serial;
	}
	page->to = is_cut ? last : q->a.to;
	if (strcmp(q->epoch, play.epoch) != 0)
		page->outcome = LOG_OTHER_EPOCH;
	else if (play.log_end && q->a.from > q->a.to && q->a.from > play.log_end)
		page->outcome = LOG_OTHER_EPOCH;
	else if (q->a.from < play.horizon)
		page->outcome = LOG_EXPIRED;
	else if (q->a.cap && n > q->a.cap)
		page->outcome = LOG_TOO_MANY;
	return page;
}

static struct log_page *page_of_cached(const struct asked *q)
{
	struct log_page *page = log_page_new(LOG_SERVED);

	for (unsigned i = play.n_rows; i-- > 0 && !page->cached;)
		if (sv_eq_c(play.rows[i]->channel, q->channel))
			page->cached = event_ref(play.rows[i]);
	return page;
}

static void answer(struct asked *q, struct log_page *page)
{
	if (!page)
		page = q->a.kind == LOG_ASK_CACHED ? page_of_cached(q) : page_of_events(q);
	if (q->a.kind == LOG_ASK_CACHED)
		directory_cache_put(play.directory, play.apps[0], sv(q->channel), page->cached,
				    10 * USEC_PER_SEC);
	directory_post_page(play.directory, q->a.worker, q->a.token, page);
	free(q->channel);
	free(q->epoch);
	free(q->was);
}

static void log_ask(void *ctx, const struct log_ask *a)
{
	struct asked q = { *a, sv_dup(a->channel), xstrdup(a->epoch), sv_dup(a->was) };

	(void)ctx;
	if (!play.is_log_slow)
		answer(&q, NULL);
	else if (play.n_asked < ASKS_MAX)
		play.asked[play.n_asked++] = q;
}

static const struct log_reader log_reader = { .ask = log_ask };

static void add_row(struct event *e, uint64_t serial)
{
	e->serial = serial;
	if (play.n_rows < ROWS_MAX)
		play.rows[play.n_rows++] = event_ref(e);
}

/* ---- workers ---- */

static bool post_put(void *ctx, unsigned worker, struct mailbox_entry *e)
{
	(void)ctx;
	return mailbox_put_owed(&play.boxes[worker], e) > 0;
}

static void post_wake(void *ctx, unsigned worker)
{
	(void)ctx;
	(void)worker;
}

static void read_mail(unsigned worker) RUNS_ON(on_worker)
{
	struct mailbox_entry *e = mailbox_take(&play.boxes[worker]), *next;

	if (e && e->next)
		hub_begin(play.hubs[worker]);
	for (; e; e = next) {
		next = e->next;
		hub_deliver(play.hubs[worker], CONTAINER_OF(e, struct worker_message, entry));
	}
	hub_flush(play.hubs[worker]);
}

/* What an iteration of a worker's loop does: delivers messages, frees ended connections. */
static void settle(void) RUNS_ON(on_worker)
{
	for (unsigned i = 0; i < play.n_peers; i++) {
		struct peer *p = &play.peers[i];

		if (p->session && (p->is_killed || (p->is_closing && !p->is_blocked))) {
			session_closed(p->session);
			p->session = NULL;
		}
	}
	for (unsigned round = 0; round < 256 && !play.is_held; round++)
		for (unsigned i = 0; i < WORKERS; i++)
			read_mail(i);
}

static void make_world(void)
{
	struct directory_post post = { .put = post_put, .wake = post_wake };

	play.directory = directory_new(WORKERS, &post);
	for (unsigned i = 0; i < WORKERS; i++) {
		struct hub_conf conf = { .worker = i,
					 .directory = play.directory,
					 .io = &fake_io,
					 .max_connections = play.max_connections,
					 .connections = &play.connections,
					 .path = sv(play.path),
					 .log = &log_reader,
					 .ahead_max = 5 * USEC_PER_SEC };

		mailbox_init(&play.boxes[i], 0);
		play.hubs[i] = hub_new(&conf);
	}
}

static void check_clean(void)
{
	if (atomic_load(&play.connections))
		fail("the node's count of connections is %u", atomic_load(&play.connections));
	for (size_t i = 0; i < play.n_apps; i++)
		if (atomic_load(&play.apps[i]->runtime->connections))
			fail("an app's count of connections is %u",
			     atomic_load(&play.apps[i]->runtime->connections));
}

static void end_world(void) RUNS_ON(on_worker)
{
	if (!play.directory)
		return;
	for (unsigned i = 0; i < WORKERS; i++)
		hub_free(play.hubs[i]);
	check_clean();
	for (unsigned i = 0; i < play.n_asked; i++)
		answer(&play.asked[i], NULL);
	for (unsigned i = 0; i < play.n_rows; i++)
		event_unref(play.rows[i]);
	for (unsigned i = 0; i < play.n_async; i++)
		event_unref(play.async[i]);
	play.n_asked = play.n_rows = play.n_async = 0;
	for (unsigned i = 0; i < WORKERS; i++) {
		struct mailbox_entry *e = mailbox_take(&play.boxes[i]), *next;

		for (; e; e = next) {
			next = e->next;
			worker_message_free(CONTAINER_OF(e, struct worker_message, entry));
		}
		mailbox_release(&play.boxes[i]);
	}
	directory_free(play.directory);
	play.directory = NULL;
}

static void end_scenario(void) RUNS_ON(on_worker)
{
	end_world();
	for (unsigned i = 0; i < play.n_peers; i++) {
		free(play.peers[i].name);
		strbuf_release(&play.peers[i].received);
		play.peers[i] = (struct peer){ 0 };
	}
	apps_install(NULL);
	for (size_t i = 0; i < play.n_apps; i++)
		app_unref(play.apps[i]);
	free(play.path);
	play.path = NULL;
	play.max_connections = 0;
	play.n_peers = 0;
	play.n_apps = 0;
	play.is_held = false;
	play.is_log_slow = false;
	play.horizon = 0;
	play.log_end = 0;
	play.epoch[0] = '\0';
	play.n_failed += play.is_failed;
	play.is_failed = false;
}

/* ---- words of a line ---- */

/* Takes the next word off *rest; empty at the end. */
static struct str_view word(struct str_view *rest)
{
	struct str_view w;
	ptrdiff_t space;

	while (rest->len && *rest->ptr == ' ')
		*rest = sv_skip(*rest, 1);
	space = sv_find(*rest, ' ');
	w = sv_n(rest->ptr, space < 0 ? rest->len : (size_t)space);
	*rest = sv_skip(*rest, w.len);
	while (rest->len && *rest->ptr == ' ')
		*rest = sv_skip(*rest, 1);
	return w;
}

/* Splits NAME=VALUE; false when w is no such word. */
static bool option(struct str_view w, struct str_view *name, struct str_view *value)
{
	ptrdiff_t at = sv_find(w, '=');

	if (at <= 0)
		return false;
	*name = sv_n(w.ptr, (size_t)at);
	*value = sv_skip(w, (size_t)at + 1);
	return true;
}

static unsigned number(struct str_view w)
{
	uint64_t n = 0;

	if (!sv_to_u64(w, 1000000000, &n))
		fail("\"%.*s\" is no number", SV_ARG(w));
	return (unsigned)n;
}

static struct peer *peer_of(struct str_view name)
{
	for (unsigned i = 0; i < play.n_peers; i++)
		if (sv_eq_c(name, play.peers[i].name))
			return &play.peers[i];
	return NULL;
}

/* Puts clients' socket ids in the place of ${name}. */
static void add_ids(struct strbuf *out, struct str_view in)
{
	strbuf_init(out, in.len + 64);
	for (size_t i = 0; i < in.len; i++) {
		struct str_view rest = sv_skip(in, i);
		ptrdiff_t end = sv_starts_with(rest, SV("${")) ? sv_find(rest, '}') : -1;
		struct peer *p = end > 0 ? peer_of(sv_n(rest.ptr + 2, (size_t)end - 2)) : NULL;

		if (p) {
			strbuf_add_str(out, p->id);
			i += (size_t)end;
		} else {
			strbuf_add_c(out, in.ptr[i]);
		}
	}
}

/* JSON as scenarios write it: 'text' is the string that holds text, ${name} a socket id. */
static void expand(struct strbuf *out, struct str_view text)
{
	struct strbuf with_ids;
	struct str_view in;
	bool in_string = false;

	add_ids(&with_ids, text);
	in = strbuf_view(&with_ids);
	strbuf_init(out, in.len + 64);
	for (size_t i = 0; i < in.len; i++) {
		struct str_view rest = sv_skip(in, i + 1);
		ptrdiff_t end = sv_find(rest, '\'');

		if (!in_string && in.ptr[i] == '\'' && end >= 0) {
			strbuf_add_json(out, sv_n(rest.ptr, (size_t)end));
			i += (size_t)end + 1;
			continue;
		}
		if (in.ptr[i] == '"' && (!i || in.ptr[i - 1] != '\\'))
			in_string = !in_string;
		strbuf_add_c(out, in.ptr[i]);
	}
	strbuf_release(&with_ids);
}

/* ---- what a client received ---- */

/* Counts the empty PING frames that come next. */
static void count_pings(struct peer *p)
{
	while (sv_starts_with(sv_skip(strbuf_view(&p->received), p->at), SV("\x89\x00"))) {
		p->at += 2;
		p->pings++;
	}
}

/* The next text frame's text; false when there is none. */
static bool next_frame(struct peer *p, struct str_view *text)
{
	struct str_view b;
	const unsigned char *h;
	size_t n, head = 2;

	count_pings(p);
	b = sv_skip(strbuf_view(&p->received), p->at);
	h = (const unsigned char *)b.ptr;

	if (b.len < 2)
		return false;
	if (h[0] != 0x81 || h[1] & 0x80) {
		fail("%s: bytes %02x %02x begin no whole text frame", p->name, h[0], h[1]);
		return false;
	}
	n = h[1];
	if (n >= 126) {
		head = n == 126 ? 4 : 10;
		n = 0;
		for (size_t i = 2; i < head; i++)
			n = n << 8 | h[i];
	}
	if (n > b.len - head) {
		fail("%s: half a frame", p->name);
		return false;
	}
	*text = sv_n(b.ptr + head, n);
	p->at += head + n;
	return true;
}

static bool is_same(const json_t *got, const json_t *want);

/* Texts are the same, or both are JSON objects that are. */
static bool is_same_text(const json_t *got, const json_t *want)
{
	json_t *g, *w;
	bool same;

	if (json_equal(got, want))
		return true;
	g = json_loads(json_string_value(got), 0, NULL);
	w = json_loads(json_string_value(want), 0, NULL);
	same = json_is_object(g) && json_is_object(w) && is_same(g, w);
	json_decref(g);
	json_decref(w);
	return same;
}

/* In any order: what the server lists comes out of a hash map. */
static bool is_same_list(const json_t *got, const json_t *want)
{
	json_t *left = json_copy((json_t *)(uintptr_t)want), *g, *w;
	size_t i, j;

	json_array_foreach((json_t *)(uintptr_t)got, i, g) json_array_foreach(left, j, w)
	{
		if (is_same(g, w)) {
			json_array_remove(left, j);
			break;
		}
	}
	i = json_array_size(left);
	json_decref(left);
	return i == 0 && json_array_size(got) == json_array_size(want);
}

static bool is_same_object(const json_t *got, const json_t *want)
{
	const char *key;
	json_t *value;

	if (json_object_size(got) != json_object_size(want))
		return false;
	json_object_foreach((json_t *)(uintptr_t)want, key,
			    value) if (!is_same(json_object_get(got, key), value)) return false;
	return true;
}

/* "*" stands for anything that is there. */
static bool is_same(const json_t *got, const json_t *want)
{
	if (json_is_string(want) && strcmp(json_string_value(want), "*") == 0)
		return got != NULL;
	if (!got || json_typeof(got) != json_typeof(want))
		return false;
	if (json_is_string(want))
		return is_same_text(got, want);
	if (json_is_array(want))
		return is_same_list(got, want);
	if (json_is_object(want))
		return is_same_object(got, want);
	return json_equal(got, want);
}

static void expect_frame(struct peer *p, struct str_view want_text)
{
	struct strbuf text;
	struct str_view got_text;
	json_t *got, *want;

	expand(&text, want_text);
	want = json_loadb(text.ptr, text.len, JSON_DECODE_ANY, NULL);
	if (!want) {
		fail("what is expected is no JSON: %s", text.ptr);
	} else if (!next_frame(p, &got_text)) {
		fail("%s: got nothing, want %s", p->name, text.ptr);
	} else {
		got = json_loadb(got_text.ptr, got_text.len, JSON_ALLOW_NUL, NULL);
		if (!is_same(got, want))
			fail("%s: got %.*s\n  want %s", p->name, SV_ARG(got_text), text.ptr);
		json_decref(got);
	}
	json_decref(want);
	strbuf_release(&text);
}

/* ---- steps ---- */

struct step {
	const char *name;
	void (*run)(struct peer *p, struct str_view rest); /* on_worker */
	bool needs_open;				   /* needs an open connection */
};

/* As the socket layer passes a message: in pieces, each of which may be the last. */
static void receive(struct peer *p, struct str_view text, bool first, bool last, bool binary)
	RUNS_ON(on_worker)
{
	do {
		struct str_view piece = sv_n(text.ptr, text.len < CHUNK ? text.len : CHUNK);
		char *copy = xmalloc(piece.len + 1); /* exact but for one: ends are seen */

		memcpy(copy, piece.ptr, piece.len);
		text = sv_skip(text, piece.len);
		session_receive(p->session, sv_n(copy, piece.len), first, last && !text.len,
				binary);
		first = false;
		free(copy);
	} while (text.len);
}

static void step_send(struct peer *p, struct str_view rest) RUNS_ON(on_worker)
{
	struct strbuf text;

	expand(&text, rest);
	receive(p, strbuf_view(&text), true, true, false);
	strbuf_release(&text);
}

static void step_binary(struct peer *p, struct str_view rest) RUNS_ON(on_worker)
{
	receive(p, rest, true, true, true);
}

/* fragment first|middle|last TEXT */
static void step_fragment(struct peer *p, struct str_view rest) RUNS_ON(on_worker)
{
	struct str_view which = word(&rest);

	receive(p, rest, sv_eq_c(which, "first"), sv_eq_c(which, "last"), false);
}

/* large BYTES: a ping that is padded to that size. */
static void step_large(struct peer *p, struct str_view rest) RUNS_ON(on_worker)
{
	static const char ping[] = "{\"event\":\"pusher:ping\"}";
	size_t n = number(word(&rest));
	char *text;

	if (n < sizeof(ping) - 1) {
		fail("a message of %zu bytes is no ping", n);
		return;
	}
	text = xmalloc(n);
	memset(text, ' ', n);
	memcpy(text, ping, sizeof(ping) - 1);
	receive(p, sv_n(text, n), true, true, false);
	free(text);
}

static void step_expect(struct peer *p, struct str_view rest) RUNS_ON(on_worker)
{
	expect_frame(p, rest);
}

/* frames N: that many, whatever they are */
static void step_frames(struct peer *p, struct str_view rest) RUNS_ON(on_worker)
{
	unsigned want = number(word(&rest)), got = 0;
	struct str_view text;

	while (next_frame(p, &text))
		got++;
	if (got != want)
		fail("%s: got %u frames, want %u", p->name, got, want);
}

/* skip N: the next so many, whatever they are */
static void step_skip(struct peer *p, struct str_view rest) RUNS_ON(on_worker)
{
	unsigned want = number(word(&rest)), got = 0;
	struct str_view text;

	while (got < want && next_frame(p, &text))
		got++;
	if (got != want)
		fail("%s: got %u frames, want %u", p->name, got, want);
}

static void step_nothing(struct peer *p, struct str_view rest) RUNS_ON(on_worker)
{
	struct str_view text;

	(void)rest;
	if (next_frame(p, &text))
		fail("%s: got %.*s, want nothing", p->name, SV_ARG(text));
	if (p->is_closing || p->is_killed)
		fail("%s: closed with %u", p->name, p->close_code);
}

/* closed CODE: by the server, after everything it sent was expected */
static void step_closed(struct peer *p, struct str_view rest) RUNS_ON(on_worker)
{
	unsigned want = number(word(&rest));
	struct str_view text;

	if (next_frame(p, &text))
		fail("%s: got %.*s before its close", p->name, SV_ARG(text));
	if (!p->is_closing || p->close_code != want)
		fail("%s: closed with %u, want %u", p->name, p->close_code, want);
}

static void step_killed(struct peer *p, struct str_view rest) RUNS_ON(on_worker)
{
	(void)rest;
	if (!p->is_killed)
		fail("%s: was not dropped", p->name);
}

/* pings N: PING frames since the last check, before the next text frame */
static void step_pings(struct peer *p, struct str_view rest) RUNS_ON(on_worker)
{
	unsigned want = number(word(&rest));

	count_pings(p);
	if (p->pings != want)
		fail("%s: %u PING frames, want %u", p->name, p->pings, want);
	p->pings = 0;
}

/* writes N: calls of write since the last check */
static void step_writes(struct peer *p, struct str_view rest) RUNS_ON(on_worker)
{
	unsigned want = number(word(&rest));

	if (p->writes != want)
		fail("%s: %u writes, want %u", p->name, p->writes, want);
	p->writes = 0;
}

static void step_block(struct peer *p, struct str_view rest) RUNS_ON(on_worker)
{
	(void)rest;
	p->is_blocked = true;
}

static void step_unblock(struct peer *p, struct str_view rest) RUNS_ON(on_worker)
{
	(void)rest;
	p->is_blocked = false;
	if (!p->wants_writable)
		fail("%s: the session did not request session_writable()", p->name);
	p->wants_writable = false;
	if (p->session && !p->is_closing)
		session_writable(p->session);
}

static void step_break(struct peer *p, struct str_view rest) RUNS_ON(on_worker)
{
	(void)rest;
	p->is_broken = true;
}

static void step_pong(struct peer *p, struct str_view rest) RUNS_ON(on_worker)
{
	(void)rest;
	session_alive(p->session);
}

/* Bytes of a frame that only the socket layer sees. */
static void step_bytes(struct peer *p, struct str_view rest) RUNS_ON(on_worker)
{
	(void)rest;
	p->heard_at = play.now;
}

static void step_closing(struct peer *p, struct str_view rest) RUNS_ON(on_worker)
{
	(void)rest;
	session_peer_closing(p->session, 1000);
}

static void step_gone(struct peer *p, struct str_view rest) RUNS_ON(on_worker)
{
	(void)rest;
	session_closed(p->session);
	p->session = NULL;
}

static const char *secret_of(void)
{
	return play.apps[0]->secret_text;
}

/* auth of text for the first app, as its server would answer. */
static void sign(struct strbuf *out, const struct strbuf *text)
{
	struct auth_secret *secret = auth_secret_new(sv(secret_of()));
	struct str_view part = strbuf_view(text);
	char hex[AUTH_HEX_BYTES + 1];

	auth_sign(secret, &part, 1, hex);
	auth_secret_free(secret);
	strbuf_addf(out, "%s:%s", play.apps[0]->key, hex);
}

struct signed_frame {
	const char *event;
	const struct strbuf *signed_text; /* NULL: without a signature */
	const char *field;		  /* of value */
	struct str_view value, channel, since;
};

static void send_signed(struct peer *p, const struct signed_frame *f) RUNS_ON(on_worker)
{
	struct strbuf b;

	strbuf_init(&b, 256);
	strbuf_addf(&b, "{\"event\":\"%s\",\"data\":{\"auth\":\"", f->event);
	if (f->signed_text)
		sign(&b, f->signed_text);
	strbuf_add_c(&b, '"');
	if (f->channel.ptr) {
		strbuf_add_str(&b, ",\"channel\":");
		strbuf_add_json(&b, f->channel);
	}
	if (f->since.len) {
		strbuf_add_str(&b, ",\"since\":");
		strbuf_add_json(&b, f->since);
	}
	if (f->value.len) {
		strbuf_addf(&b, ",\"%s\":", f->field);
		strbuf_add_json(&b, f->value);
	}
	strbuf_add_str(&b, "}}");
	receive(p, strbuf_view(&b), true, true, false);
	strbuf_release(&b);
}

/* subscribe [since=POSITION] CHANNEL [CHANNEL_DATA]: with a signature if the channel needs one */
static void step_subscribe(struct peer *p, struct str_view rest) RUNS_ON(on_worker)
{
	struct str_view channel = word(&rest), since = SV("");
	struct strbuf text;

	if (sv_starts_with(channel, SV("since="))) {
		since = sv_skip(channel, sizeof("since=") - 1);
		channel = word(&rest);
	}
	strbuf_init(&text, 256);
	strbuf_addf(&text, "%s:", p->id);
	strbuf_add_sv(&text, channel);
	if (rest.len)
		strbuf_add_c(&text, ':');
	strbuf_add_sv(&text, rest);
	send_signed(p, &(struct signed_frame){
			       .event = "pusher:subscribe",
			       .signed_text = sv_starts_with(channel, SV("pr")) ? &text : NULL,
			       .field = "channel_data",
			       .value = rest,
			       .channel = channel,
			       .since = since });
	strbuf_release(&text);
}

/* signin USER_DATA */
static void step_signin(struct peer *p, struct str_view rest) RUNS_ON(on_worker)
{
	struct strbuf text;

	strbuf_init(&text, 256);
	strbuf_addf(&text, "%s::user::", p->id);
	strbuf_add_sv(&text, rest);
	send_signed(p, &(struct signed_frame){ .event = "pusher:signin",
					       .signed_text = &text,
					       .field = "user_data",
					       .value = rest });
	strbuf_release(&text);
}

static const struct step peer_steps[] = {
	{ ">", step_send, true },
	{ "<", step_expect, false },
	{ "-", step_nothing, false },
	{ "frames", step_frames, false },
	{ "skip", step_skip, false },
	{ "closed", step_closed, false },
	{ "killed", step_killed, false },
	{ "writes", step_writes, false },
	{ "pings", step_pings, false },
	{ "binary", step_binary, true },
	{ "fragment", step_fragment, true },
	{ "large", step_large, true },
	{ "block", step_block, true },
	{ "unblock", step_unblock, false },
	{ "break", step_break, true },
	{ "pong", step_pong, true },
	{ "bytes", step_bytes, true },
	{ "closing", step_closing, true },
	{ "gone", step_gone, true },
	{ "subscribe", step_subscribe, true },
	{ "signin", step_signin, true },
};

static void run_step(struct peer *p, struct str_view rest) RUNS_ON(on_worker)
{
	struct str_view name = word(&rest);

	for (size_t i = 0; i < ARRAY_SIZE(peer_steps); i++) {
		const struct step *s = &peer_steps[i];

		if (!sv_eq_c(name, s->name))
			continue;
		if (s->needs_open && !p->session)
			fail("%s: is closed (%u)", p->name, p->close_code);
		else
			s->run(p, rest);
		return;
	}
	fail("\"%.*s\" is no step", SV_ARG(name));
}

/* ---- commands ---- */

/* app ID OPTION=VALUE...: replaces that app; sessions are notified by "reload" */
static void cmd_app(struct str_view rest) RUNS_ON(on_worker)
{
	struct app_option list[16] = { { "key", "key" }, { "secret", "secret" } };
	char *id = sv_dup(word(&rest)), *words[16] = { NULL }, *why = NULL;
	struct str_view name, value;
	struct app *app, *copies[APPS_MAX];
	struct app_set *set;
	size_t n = 2, at = 0, i;

	for (i = 0; rest.len && i < ARRAY_SIZE(words) / 2 - 1; i++) {
		if (!option(word(&rest), &name, &value))
			fail("an app's options are NAME=VALUE");
		words[2 * i] = sv_dup(name);
		words[2 * i + 1] = sv_dup(value);
		list[n++] = (struct app_option){ words[2 * i], words[2 * i + 1] };
	}
	if (app_build(id, list, n, &app, &why)) {
		fail("%s", why);
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
		fail("%s", why);
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

	while (option(word(&rest), &name, &value)) {
		if (sv_eq_c(name, "path"))
			play.path = sv_dup(value);
		else
			play.max_connections = number(value);
	}
}

struct opening {
	unsigned worker, times;
	struct session_request request;
};

static void open_one(char *name, const struct opening *o) RUNS_ON(on_worker)
{
	struct peer *p = &play.peers[play.n_peers++];

	*p = (struct peer){ .name = name, .worker = o->worker };
	strbuf_init(&p->received, 256);
	p->session = session_open(play.hubs[o->worker], p, &o->request);
	socket_id_format(session_id(p->session), p->id);
}

/* open NAME [worker=N] [path=P] [protocol=N] [client=NAME] [origin=O] [tls=yes] [times=N] */
static void cmd_open(struct str_view rest) RUNS_ON(on_worker)
{
	struct str_view name = word(&rest), key, value;
	struct opening o = { .times = 1,
			     .request = { .path = SV("/app/key"), .client = SV("js") } };

	if (!play.directory)
		make_world();
	while (option(word(&rest), &key, &value)) {
		if (sv_eq_c(key, "worker")) {
			o.worker = number(value);
		} else if (sv_eq_c(key, "path")) {
			o.request.path = value;
		} else if (sv_eq_c(key, "origin")) {
			o.request.origin = value;
		} else if (sv_eq_c(key, "client")) {
			o.request.client = value;
		} else if (sv_eq_c(key, "tls")) {
			o.request.from.is_secure = true;
		} else if (sv_eq_c(key, "times")) {
			o.times = number(value);
		} else if (sv_eq_c(key, "protocol")) {
			o.request.protocol = value;
			o.request.has_protocol = true;
		} else {
			fail("\"%.*s\" is no option of open", SV_ARG(key));
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
		expect_frame(p, sv(want));
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
	usec_t us = number(word(&rest));
	usec_t until = play.now + us * (sv_eq_c(rest, "ms") ? USEC_PER_MSEC : USEC_PER_SEC);

	while (play.now < until) {
		play.now += until - play.now < TICK ? until - play.now : TICK;
		tick_users();
		for (unsigned i = 0; i < WORKERS; i++)
			hub_tick(play.hubs[i], play.now);
		settle();
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
		add_row(e, how->serial + i);
	if (!how->is_missed)
		directory_fan_out(play.directory, e);
	if (how->is_async && play.n_async < ROWS_MAX)
		play.async[play.n_async++] = event_ref(e);
	event_unref(e);
	msgbuf_unref(m);
}

static void read_publishing(struct publishing *how, struct str_view name, struct str_view value)
{
	struct peer *p = peer_of(value);

	if (sv_eq_c(name, "except") && p)
		(void)socket_id_parse(sv(p->id), &how->exclude);
	else if (sv_eq_c(name, "times"))
		how->times = number(value);
	else if (sv_eq_c(name, "bytes"))
		how->bytes = number(value);
	else if (sv_eq_c(name, "serial"))
		how->serial = number(value);
	else if (sv_eq_c(name, "async"))
		how->is_async = true;
	else if (sv_eq_c(name, "missed"))
		how->is_missed = true;
	else
		fail("\"%.*s\" is no option of publish", SV_ARG(name));
}

/* publish [OPTION=VALUE...] CHANNEL EVENT DATA */
static void cmd_publish(struct str_view rest) RUNS_ON(on_worker)
{
	struct str_view channel = word(&rest), name, value, event;
	struct publishing how = { .times = 1 };
	struct strbuf data;

	while (option(channel, &name, &value)) {
		read_publishing(&how, name, value);
		channel = word(&rest);
	}
	event = word(&rest);
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
	struct str_view epoch = word(&rest);
	struct position p = { .serial = number(rest) };

	if (!play.directory)
		make_world();
	snprintf(p.epoch, sizeof(p.epoch), "%.*s", SV_ARG(epoch));
	memcpy(play.epoch, p.epoch, sizeof(p.epoch));
	directory_log_reached(play.directory, &p);
}

/* log-end SERIAL: the last serial that the log has given */
static void cmd_log_end(struct str_view rest) RUNS_ON(on_worker)
{
	play.log_end = number(rest);
}

/* horizon SERIAL: retention has removed the events up to it */
static void cmd_horizon(struct str_view rest) RUNS_ON(on_worker)
{
	play.horizon = number(rest);
}

/* logged SERIAL: the oldest async event is in the log now */
static void cmd_logged(struct str_view rest) RUNS_ON(on_worker)
{
	struct event *e = play.async[0];

	if (!play.n_async) {
		fail("no async event waits");
		return;
	}
	memmove(play.async, play.async + 1, --play.n_async * sizeof(e));
	add_row(e, number(rest));
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
	unsigned n = play.n_asked, want = is_away || !rest.len ? 1 : number(rest);

	if (n != want)
		fail("the log received %u requests, want %u", n, want);
	play.n_asked = 0;
	for (unsigned i = 0; i < n; i++) {
		struct asked q = play.asked[i];

		answer(&q, is_away ? log_page_new(LOG_UNAVAILABLE) : NULL);
	}
}

/* channel NAME occupied=yes|no subscriptions=N users=N cache=yes|no */
static void cmd_channel(struct str_view rest) RUNS_ON(on_worker)
{
	struct str_view channel = word(&rest), name, value;
	struct channel_info i;

	directory_channel_info(play.directory, play.apps[0], channel, &i);
	while (option(word(&rest), &name, &value)) {
		unsigned got = sv_eq_c(name, "occupied")	? i.occupied
			       : sv_eq_c(name, "subscriptions") ? i.subscription_count
			       : sv_eq_c(name, "users")		? i.user_count
								: i.has_cache;
		unsigned want = sv_eq_c(value, "yes")  ? 1
				: sv_eq_c(value, "no") ? 0
						       : number(value);

		if (got != want)
			fail("%.*s is %u, want %u", SV_ARG(name), got, want);
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
	unsigned share = number(word(&rest));

	for (unsigned i = 0; i < WORKERS; i++)
		hub_drain(play.hubs[i], share);
}

/* sessions N: the number of open sessions */
static void cmd_sessions(struct str_view rest) RUNS_ON(on_worker)
{
	unsigned want = number(word(&rest)), got = 0;

	for (unsigned i = 0; i < WORKERS; i++)
		got += hub_sessions(play.hubs[i]);
	if (got != want)
		fail("%u sessions, want %u", got, want);
}

static void cmd_scenario(struct str_view rest) RUNS_ON(on_worker)
{
	end_scenario();
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

/* NAME* STEP */
static void run_group(struct str_view prefix, struct str_view step) RUNS_ON(on_worker)
{
	unsigned n = 0;

	for (unsigned i = 0; i < play.n_peers && !play.is_failed; i++) {
		if (!sv_starts_with(sv(play.peers[i].name), prefix))
			continue;
		run_step(&play.peers[i], step);
		settle();
		n++;
	}
	if (!n)
		fail("no client's name begins with \"%.*s\"", SV_ARG(prefix));
}

static void run_line(struct str_view line) RUNS_ON(on_worker)
{
	struct str_view rest = line, name = word(&rest);
	struct peer *p = peer_of(name);

	if (play.is_failed && !sv_eq_c(name, "scenario"))
		return;
	if (name.len > 1 && sv_ends_with(name, SV("*"))) {
		run_group(sv_n(name.ptr, name.len - 1), rest);
		return;
	}
	if (p) {
		run_step(p, rest);
		settle();
		return;
	}
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		if (sv_eq_c(name, commands[i].name)) {
			commands[i].run(rest);
			if (play.directory)
				settle();
			return;
		}
	}
	fail("\"%.*s\" is no command and no client", SV_ARG(name));
}

static void run_file(FILE *f) RUNS_ON(on_worker)
{
	char *line = NULL;
	size_t room = 0;
	ssize_t n;

	while ((n = getline(&line, &room, f)) >= 0) {
		play.line++;
		while (n > 0 && (line[n - 1] == '\n' || line[n - 1] == ' '))
			n--;
		if (n > 0 && line[0] != '#')
			run_line(sv_n(line, (size_t)n));
	}
	free(line);
	end_scenario();
}

int main(int argc, char **argv)
{
	FILE *f = argc == 2 ? fopen(argv[1], "r") : NULL;

	if (!f) {
		fprintf(stderr, "usage: scenario FILE\n");
		return 64;
	}
	thread_take_role(&on_worker);
	ASSERT_ON(on_worker);
	play.file = argv[1];
	play.now = 1000 * USEC_PER_SEC;
	clock_set_source(fake_clock);
	run_file(f);
	fclose(f);
	/* The line by which test runs count, as Check writes it. */
	printf("%u%%: Checks: %u, Failures: %u, Errors: 0\n",
	       play.n_scenarios ? (play.n_scenarios - play.n_failed) * 100 / play.n_scenarios : 0,
	       play.n_scenarios, play.n_failed);
	return play.n_failed || !play.n_scenarios ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* SPDX-License-Identifier: MIT */
/* The clock, sockets, the log and the workers of a scenario, and their beginning and end. */
#include <errno.h>
#include <stdarg.h>
#include "play.h"

struct play play;

void play_fail(const char *fmt, ...)
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

usec_t play_clock(void)
{
	return play.now;
}

/* ---- sockets ---- */

static bool io_write(void *conn, unsigned char *p, size_t n)
{
	struct peer *peer = conn;

	if (peer->is_closing || peer->is_killed)
		play_fail("%s: written to after its close", peer->name);
	if (peer->is_blocked)
		play_fail("%s: written to while it is blocked", peer->name);
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
		play_fail("%s: closed twice", peer->name);
	if (strlen(reason) > 123)
		play_fail("%s: no close frame holds \"%s\"", peer->name, reason);
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

#define CHUNK_EVENTS 2

static void end_chunk(struct log_page *page, struct strbuf *chunk, unsigned *n)
{
	if (*n)
		log_page_add(page, msgbuf_from(strbuf_view(chunk)), *n);
	strbuf_reset(chunk);
	*n = 0;
}

/* Frames as log/reader.c makes them: several in a chunk. */
static void add_frame(struct log_page *page, const struct event *e, struct strbuf *chunk,
		      unsigned *n)
{
	struct msgbuf *frame = event_frame(e, UINT64_MAX);

	if (e->exclude_socket)
		log_page_exclude(page, (unsigned)chunk->len, frame->len, e->exclude_socket);
	strbuf_add_sv(chunk, msgbuf_view(frame));
	msgbuf_unref(frame);
	if (++*n == CHUNK_EVENTS)
		end_chunk(page, chunk, n);
}

static struct log_page *page_of_events(const struct asked *q)
{
	struct log_page *page = log_page_new(LOG_SERVED);
	bool is_cut = false;
	uint64_t last = 0;
	unsigned n = 0, n_chunk = 0;
	struct strbuf chunk;

	strbuf_init(&chunk, 1024);
	for (unsigned i = 0; i < play.n_rows; i++) {
		const struct event *e = play.rows[i];

		if (!is_for(e, q))
			continue;
		is_cut = is_cut || n == q->a.max ||
			 (n && page->bytes + chunk.len + e->data->len > q->a.max_bytes);
		n++;
		if (is_cut)
			continue;
		add_frame(page, e, &chunk, &n_chunk);
		last = e->serial;
	}
	end_chunk(page, &chunk, &n_chunk);
	strbuf_release(&chunk);
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

void play_answer(struct asked *q, struct log_page *page)
{
	if (!page)
		page = q->a.kind == LOG_REQUEST_CACHED ? page_of_cached(q) : page_of_events(q);
	if (q->a.kind == LOG_REQUEST_CACHED) {
		struct cache_reading r = { .event = page->cached, .left = 10 * USEC_PER_SEC };

		page->cached =
			directory_cache_put(play.directory, play.apps[0], sv(q->channel), &r);
		event_unref(r.event);
	}
	directory_post_page(play.directory, q->a.worker, q->a.token, page);
	free(q->channel);
	free(q->epoch);
	free(q->was);
}

static void log_request(void *ctx, const struct log_request *a)
{
	struct asked q = { *a, sv_dup(a->channel), xstrdup(a->epoch), sv_dup(a->was) };

	(void)ctx;
	if (!play.is_log_slow)
		play_answer(&q, NULL);
	else if (play.n_asked < ASKS_MAX)
		play.asked[play.n_asked++] = q;
}

static const struct log_reader log_reader = { .request = log_request };

void play_add_row(struct event *e, uint64_t serial)
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

void play_settle(void) RUNS_ON(on_worker)
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

void play_begin(void)
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
		play_fail("the node's count of connections is %u", atomic_load(&play.connections));
	for (size_t i = 0; i < play.n_apps; i++)
		if (atomic_load(&play.apps[i]->runtime->connections))
			play_fail("an app's count of connections is %u",
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
		play_answer(&play.asked[i], NULL);
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

void play_end_scenario(void) RUNS_ON(on_worker)
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

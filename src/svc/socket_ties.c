/* SPDX-License-Identifier: MIT */
/*
 * Calls the SQL function sockets_sweep() with the sockets that were closed and whose grace has
 * passed.
 *
 * One mutex guards the set of sockets.  Other threads hold it for a map operation, the pool's
 * thread for a walk four times a second.  An entry stays while its socket is open: a lock lives
 * longer than the TTL of one of its sockets when another one extends it.  After the first sweep it
 * stays as long as a call that named the socket may still be committed.  So the set is bounded by
 * the open connections, and by the calls of that time: of another node, a call can name any socket.
 *
 * When the daemon starts, the database names all sockets to which something is tied.  Those that
 * are not open were of an earlier process: they are put into the set as closed at that moment.  In
 * a cluster it names those of no running node, and is queried again when a node has ended.
 *
 * A socket of another node, to which a call here has tied something, is sent to that node by the
 * table node_sockets, which each node reads with every tick.  There it is as one to which a call of
 * that node has tied something: if it is not open any more, the tie ends.
 */
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/thread.h"
#include "svc/sockets.h"
#include "svc/socket_ties.h"
#include "wire/pusher.h"
#include "wire/socket_id.h"

#define TICK_MS	    250
#define SWEEP_EVERY (2 * USEC_PER_SEC)
/* A browser requests its next page before it closes the connections of the last one. */
#define NAVIGATION  (2 * USEC_PER_SEC)
#define AT_ONCE	    500	   /* that many of a kind sockets_sweep() ends; then it is called again */
#define SOCKETS_MAX 1000   /* newly closed sockets in one call */
#define AGAIN_MAX   500	   /* sockets in one call that an earlier one had */
#define LIST_MAX    "5000" /* sockets of one answer of sockets_tied() */
#define LIST_AGAIN  (2 * USEC_PER_SEC)
#define LATE_FACTOR 10	       /* times the timeout of statements: a call is committed by then */
#define AWAY_MAX    (4U << 20) /* bytes; what is tied to the others ends with its TTL */

struct watched {
	uint64_t id;
	usec_t until;	  /* mono: a call that names it has been committed by then */
	usec_t closed_at; /* mono; 0: open */
	bool is_swept;	  /* the database knows that it is closed */
	bool is_sent;	  /* is in the sweep that is under way */
};

/* For clang: this thread holds the lock. */
static struct TSA(capability("mutex")) socket_ties_held {
	char unused;
} socket_ties_held UNUSED;

struct socket_ties {
	struct pg_pool *pool;
	struct sockets *open; /* borrowed */
	const char *channels; /* borrowed */
	char ttl[12];	      /* sync.presence_ttl_s */
	usec_t grace;
	usec_t late;		 /* within this time a call that has begun is committed */
	const atomic_uint *node; /* borrowed: this node's number; 0: the daemon is alone */
	atomic_size_t n_watched; /* 0: on_closed needs no lock */

	pthread_mutex_t lock;
	struct map sockets OWNED_BY(socket_ties_held); /* id -> struct watched */
	struct strbuf away OWNED_BY(socket_ties_held); /* sockets of other nodes, as JSON objects */

	/* the pool's thread only */
	bool is_sweeping OWNED_BY(on_pool);
	struct pg_delay sweep_delay OWNED_BY(on_pool), list_delay OWNED_BY(on_pool);
	struct pg_delay exchange_delay OWNED_BY(on_pool);
	char left_ms[12] OWNED_BY(on_pool); /* since the sweep's first page was left */
	usec_t sweep_at OWNED_BY(on_pool);
	bool is_listing OWNED_BY(on_pool);
	bool is_listed OWNED_BY(on_pool); /* the sockets of earlier processes are in the set */
	usec_t list_at OWNED_BY(on_pool);
	char list_after[SOCKET_ID_SIZE] OWNED_BY(on_pool);
	bool is_exchanging OWNED_BY(on_pool);
	char *sent OWNED_BY(on_pool); /* of away, in the call under way; NULL: none */
	uint64_t nodes[SOCKETS_NODE_WORDS] OWNED_BY(on_pool); /* that ran at the last answer */
};

static void socket_ties_lock(struct socket_ties *t) TSA(acquire_capability(socket_ties_held)) NO_TSA
{
	pthread_mutex_lock(&t->lock);
}

static void socket_ties_unlock(struct socket_ties *t)
	TSA(release_capability(socket_ties_held)) NO_TSA
{
	pthread_mutex_unlock(&t->lock);
}

static const struct pg_statement sweep_statement = {
	.sql = "SELECT sockets_sweep($1::text[], $2::text[], $3::integer, $4::integer)",
	.is_repeatable = true,
	.takes_locks = true,
};

static const struct pg_statement list_statement = {
	.sql = "SELECT sockets_tied($1, " LIST_MAX ")",
	.is_repeatable = true,
};

static const struct pg_statement exchange_statement = {
	.sql = "SELECT is_known, array_to_string(live, ','), app, socket_id, user_id, seconds "
	       "FROM node_sockets_exchange($1::integer, $2::json)",
	.takes_locks = true,
};

static const struct pg_statement forget_statement = {
	.sql = "SELECT presence_forget_sockets($1::integer)",
	.is_repeatable = true,
	.takes_locks = true,
};

static struct str_view socket_id_view(const uint64_t *id)
{
	return sv_n((const char *)id, sizeof(*id));
}

void socket_ties_on_closed(struct socket_ties *t, uint64_t socket_id)
{
	struct watched *w;

	if (!atomic_load(&t->n_watched))
		return;
	socket_ties_lock(t);
	w = map_get(&t->sockets, socket_id_view(&socket_id));
	if (w && !w->closed_at)
		w->closed_at = clock_mono();
	socket_ties_unlock(t);
}

/* app NULL: one that this node does not serve. */
static void socket_ties_watch_here(struct socket_ties *t, const struct app *app, uint64_t socket_id,
				   unsigned ttl_s)
{
	usec_t until = clock_mono() + ttl_s * USEC_PER_SEC + t->grace;
	struct watched *w;

	socket_ties_lock(t);
	w = map_get(&t->sockets, socket_id_view(&socket_id));
	if (!w) {
		w = xcalloc(1, sizeof(*w));
		w->id = socket_id;
		map_put(&t->sockets, socket_id_view(&w->id), w);
		atomic_fetch_add(&t->n_watched, 1);
	}
	if (w->until < until)
		w->until = until;
	w->is_swept = w->is_sent = false;
	socket_ties_unlock(t);
	/* After it is in the map: a socket that closes from here on is found there. */
	if (!app || !sockets_has(t->open, socket_id, app->runtime->number))
		socket_ties_on_closed(t, socket_id);
}

/* For the node that has the socket: something is tied to it (user_id NULL), or it is the user's. */
static void socket_ties_send_away(struct socket_ties *t, const struct app *app, uint64_t socket_id,
				  const char *user_id, unsigned ttl_s)
{
	char text[SOCKET_ID_SIZE];

	socket_ties_lock(t);
	if (t->away.len < AWAY_MAX) {
		strbuf_add_str(&t->away, t->away.len ? ",{\"app\":" : "{\"app\":");
		strbuf_add_json(&t->away, sv(app->id));
		strbuf_addf(&t->away, ",\"socket\":\"%s\"", socket_id_format(socket_id, text));
		if (user_id) {
			strbuf_add_str(&t->away, ",\"claimant\":");
			strbuf_add_json(&t->away, sv(user_id));
		} else {
			strbuf_addf(&t->away, ",\"ttl\":%u", ttl_s);
		}
		strbuf_add_c(&t->away, '}');
	}
	socket_ties_unlock(t);
}

void socket_ties_watch(struct socket_ties *t, const struct app *app, uint64_t socket_id,
		       unsigned ttl_s)
{
	if (sockets_is_elsewhere(t->open, socket_id))
		socket_ties_send_away(t, app, socket_id, NULL, ttl_s);
	else
		socket_ties_watch_here(t, app, socket_id, ttl_s);
}

void socket_ties_claim(struct socket_ties *t, const struct app *app, uint64_t socket_id,
		       const char *user_id)
{
	if (sockets_is_elsewhere(t->open, socket_id))
		socket_ties_send_away(t, app, socket_id, user_id, 0);
	else
		sockets_claim(t->open, socket_id, app->runtime->number, user_id);
}

/* Closed, and its grace has expired. */
static bool watched_has_expired(const struct socket_ties *t, const struct watched *w, usec_t now)
{
	return w->closed_at && now - w->closed_at >= t->grace;
}

static void sweep_add_socket(struct strbuf *b, uint64_t id)
{
	char text[SOCKET_ID_SIZE];

	strbuf_addf(b, "%s%s", b->len > 1 ? "," : "", socket_id_format(id, text));
}

/*
 * Lists the closed sockets as members of a text[]; the number of those that the database does not
 * know of.  The others are listed again: a call that began before its socket was closed may have
 * been committed after the sweep.  Removes expired entries.
 */
RUNS_ON(on_pool)
static unsigned socket_ties_list_closed(struct socket_ties *t, usec_t now, struct strbuf *b)
{
	struct watched *w, **over = NULL;
	size_t n_over = 0, at = 0;
	unsigned n = 0, n_again = 0;
	usec_t oldest = now;

	socket_ties_lock(t);
	while ((w = map_next(&t->sockets, &at))) {
		bool is_new = watched_has_expired(t, w, now) && !w->is_swept && n < SOCKETS_MAX;

		if (is_new ||
		    (watched_has_expired(t, w, now) && now <= w->until && n_again < AGAIN_MAX)) {
			w->is_sent = true;
			sweep_add_socket(b, w->id);
			n += is_new;
			n_again += !is_new;
			if (is_new && w->closed_at < oldest)
				oldest = w->closed_at;
		} else if (w->closed_at && w->is_swept && now > w->until) {
			over = xreallocarray(over, n_over + 1, sizeof(struct watched *));
			over[n_over++] = w;
		}
	}
	for (size_t i = 0; i < n_over; i++) {
		map_del(&t->sockets, socket_id_view(&over[i]->id));
		atomic_fetch_sub(&t->n_watched, 1);
		free(over[i]);
	}
	socket_ties_unlock(t);
	free(over);
	oldest = (now - oldest + NAVIGATION) / USEC_PER_MSEC;
	snprintf(t->left_ms, sizeof(t->left_ms), "%u",
		 (unsigned)(oldest < INT_MAX ? oldest : INT_MAX));
	return n;
}

RUNS_ON(on_pool) static void socket_ties_note_swept(struct socket_ties *t, bool is_swept)
{
	usec_t until = clock_mono() + t->late;
	struct watched *w;
	size_t at = 0;

	socket_ties_lock(t);
	while ((w = map_next(&t->sockets, &at))) {
		if (w->is_sent && is_swept && !w->is_swept) {
			w->is_swept = true;
			if (w->until > until)
				w->until = until;
		}
		w->is_sent = false;
	}
	socket_ties_unlock(t);
}

static void on_socket_ties_swept(void *ctx, const struct pg_answer *a)
{
	struct socket_ties *t = ctx;
	bool is_all = a->rc == 0 && strtoul(pg_answer_text(a, 0, 0), NULL, 10) < AT_ONCE;

	ASSERT_ON(on_pool);
	if (a->rc == -EINVAL)
		log_error("viewers and locks of closed sockets: the database refused: %s",
			  pg_answer_message(a));
	pg_delay_note(&t->sweep_delay, "viewers and locks of closed sockets", a);
	t->is_sweeping = false;
	if (a->rc == 0 && !is_all)
		t->sweep_at = 0;
	socket_ties_note_swept(t, is_all);
}

/* A socket that is not open, and of which no call of this process has tied something. */
static void socket_ties_inherit(struct socket_ties *t, uint64_t id, usec_t now)
{
	struct watched *w;

	if (sockets_is_open(t->open, id))
		return;
	socket_ties_lock(t);
	if (!map_get(&t->sockets, socket_id_view(&id))) {
		w = xcalloc(1, sizeof(*w));
		w->id = id;
		w->until = w->closed_at = now;
		map_put(&t->sockets, socket_id_view(&w->id), w);
		atomic_fetch_add(&t->n_watched, 1);
	}
	socket_ties_unlock(t);
}

static void on_socket_ties_listed(void *ctx, const struct pg_answer *a)
{
	struct socket_ties *t = ctx;
	usec_t now = clock_mono();
	int n = a->rc == 0 ? pg_answer_rows(a) : 0;
	uint64_t id;

	ASSERT_ON(on_pool);
	t->is_listing = false;
	pg_delay_note(&t->list_delay, "viewers and locks of closed sockets", a);
	if (a->rc != 0) {
		if (a->rc == -EINVAL)
			log_error("viewers and locks of closed sockets: the database refused: %s",
				  pg_answer_message(a));
		t->list_at = now + LIST_AGAIN;
		return;
	}
	if (n == 1 && pg_answer_is_null(a, 0, 0)) {
		t->list_at = now + LIST_AGAIN;
		return;
	}
	for (int row = 0; row < n; row++)
		if (socket_id_parse(pg_answer_view(a, row, 0), &id))
			socket_ties_inherit(t, id, now);
	if (n > 0)
		snprintf(t->list_after, sizeof(t->list_after), "%s", pg_answer_text(a, n - 1, 0));
	t->is_listed = n < atoi(LIST_MAX);
}

RUNS_ON(on_pool) static void socket_ties_list(struct socket_ties *t, usec_t now)
{
	const char *value = t->list_after;
	struct pg_call call = { .statement = &list_statement, .n = 1, .values = &value };

	if (t->is_listing || t->is_listed || now < t->list_at)
		return;
	t->is_listing = true;
	pg_pool_call(t->pool, &call, on_socket_ties_listed, t);
}

/* ---- other nodes ------------------------------------------------------------------ */

/* Numbers with commas between them, without this node's own. */
static void socket_ties_read_nodes(struct str_view list, unsigned own,
				   uint64_t bits[SOCKETS_NODE_WORDS])
{
	struct str_view number;
	uint64_t n;

	while (sv_split(&list, ',', &number))
		if (sv_to_u64(number, SOCKET_ID_NODE_MAX, &n) && n != own)
			bits[n / 64] |= UINT64_C(1) << n % 64;
}

static void on_presence_forgotten(void *ctx UNUSED, const struct pg_answer *a)
{
	if (a->rc == -EINVAL)
		log_error("presence of an ended node: the database refused: %s",
			  pg_answer_message(a));
}

/* What was tied to the sockets of the ended node is listed, and its users expire soon. */
RUNS_ON(on_pool) static void socket_ties_on_ended(struct socket_ties *t)
{
	const char *value = t->ttl;
	struct pg_call call = { .statement = &forget_statement, .n = 1, .values = &value };

	t->is_listed = false;
	t->list_after[0] = '\0';
	pg_pool_call(t->pool, &call, on_presence_forgotten, NULL);
}

/* Until it is known which nodes have ended, those that ran count as running. */
RUNS_ON(on_pool)
static void socket_ties_take_nodes(struct socket_ties *t, const struct pg_answer *a)
{
	uint64_t bits[SOCKETS_NODE_WORDS] = { 0 };

	if (!pg_answer_bool(a, 0, 0))
		memcpy(bits, t->nodes, sizeof(bits));
	socket_ties_read_nodes(pg_answer_view(a, 0, 1), atomic_load(t->node), bits);
	memcpy(t->nodes, bits, sizeof(bits));
	if (sockets_set_nodes(t->open, bits))
		socket_ties_on_ended(t);
}

/* They are in front of those that were added meanwhile. */
RUNS_ON(on_pool) static void socket_ties_put_back(struct socket_ties *t)
{
	struct strbuf all;

	if (!t->sent)
		return;
	strbuf_init(&all, 64);
	strbuf_add_str(&all, t->sent);
	socket_ties_lock(t);
	if (t->away.len)
		strbuf_addf(&all, ",%s", t->away.ptr);
	strbuf_release(&t->away);
	strbuf_move(&t->away, &all);
	socket_ties_unlock(t);
}

/* One row of another node; app NULL: this node does not serve it. */
RUNS_ON(on_pool)
static void socket_ties_take(struct socket_ties *t, const struct pg_answer *a, int row,
			     const struct app *app)
{
	char user_id[USER_ID_SIZE];
	uint64_t id;

	if (!socket_id_parse(pg_answer_view(a, row, 3), &id))
		return;
	if (pg_answer_is_null(a, row, 4))
		socket_ties_watch_here(t, app, id, (unsigned)pg_answer_int(a, row, 5));
	else if (app && user_id_read(pg_answer_view(a, row, 4), user_id))
		sockets_claim(t->open, id, app->runtime->number, user_id);
}

static void on_sockets_exchanged(void *ctx, const struct pg_answer *a)
{
	struct socket_ties *t = ctx;
	struct app_set *apps = apps_current();
	int n = a->rc == 0 ? pg_answer_rows(a) : 0;

	ASSERT_ON(on_pool);
	t->is_exchanging = false;
	pg_delay_note(&t->exchange_delay, "viewers and locks of sockets of other nodes", a);
	if (n)
		socket_ties_take_nodes(t, a);
	else if (a->rc != -EINVAL)
		socket_ties_put_back(t);
	else
		log_error("viewers and locks of sockets of other nodes: the database refused: %s",
			  pg_answer_message(a));
	free(t->sent);
	t->sent = NULL;
	for (int row = 1; row < n; row++)
		socket_ties_take(t, a, row, app_set_by_id(apps, pg_answer_view(a, row, 2)));
	app_set_unref(apps);
}

RUNS_ON(on_pool) static void socket_ties_exchange(struct socket_ties *t)
{
	char number[12], *list = NULL;
	const char *values[2] = { number };
	struct pg_call call = { .statement = &exchange_statement, .n = 2, .values = values };

	if (t->is_exchanging || !atomic_load(t->node))
		return;
	snprintf(number, sizeof(number), "%u", atomic_load(t->node));
	socket_ties_lock(t);
	if (t->away.len)
		t->sent = strbuf_detach(&t->away);
	socket_ties_unlock(t);
	if (t->sent)
		list = textf("[%s]", t->sent);
	values[1] = list;
	t->is_exchanging = true;
	pg_pool_call(t->pool, &call, on_sockets_exchanged, t);
	free(list);
}

RUNS_ON(on_pool) static void socket_ties_sweep(void *ctx)
{
	struct socket_ties *t = ctx;
	usec_t now = clock_mono();
	struct strbuf sockets;
	const char *values[4];
	struct pg_call call = { .statement = &sweep_statement, .n = 4, .values = values };

	socket_ties_exchange(t);
	socket_ties_list(t, now);
	if (t->is_sweeping)
		return;
	strbuf_init(&sockets, 32);
	strbuf_add_c(&sockets, '{');
	if (socket_ties_list_closed(t, now, &sockets) || now >= t->sweep_at) {
		strbuf_add_c(&sockets, '}');
		t->sweep_at = now + SWEEP_EVERY;
		t->is_sweeping = true;
		values[0] = sockets.ptr;
		values[1] = t->channels;
		values[2] = t->ttl;
		values[3] = t->left_ms;
		pg_pool_call(t->pool, &call, on_socket_ties_swept, t);
	}
	strbuf_release(&sockets);
}

struct socket_ties *socket_ties_new(struct pg_pool *pool, struct sockets *sockets,
				    const struct conf_sync *conf, const char *channels,
				    const atomic_uint *node)
{
	struct socket_ties *t = xcalloc(1, sizeof(*t));

	t->pool = pool;
	t->open = sockets;
	t->channels = channels;
	t->node = node;
	snprintf(t->ttl, sizeof(t->ttl), "%u", conf->presence_ttl_s);
	t->grace = conf->viewing_grace_ms * USEC_PER_MSEC;
	t->late = conf->statement_timeout_ms * LATE_FACTOR * USEC_PER_MSEC;
	atomic_init(&t->n_watched, 0);
	pthread_mutex_init(&t->lock, NULL);
	map_init(&t->sockets);
	strbuf_init(&t->away, 0);
	pg_pool_every(pool, TICK_MS, socket_ties_sweep, t);
	return t;
}

void socket_ties_free(struct socket_ties *t) NO_TSA /* no other thread has it any more */
{
	struct watched *w;
	size_t at = 0;

	if (!t)
		return;
	while ((w = map_next(&t->sockets, &at)))
		free(w);
	map_release(&t->sockets);
	strbuf_release(&t->away);
	free(t->sent);
	pthread_mutex_destroy(&t->lock);
	free(t);
}

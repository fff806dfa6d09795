/* SPDX-License-Identifier: MIT */
/*
 * One mutex guards the state that the pool's thread, the API's threads and the directory share.  It
 * is a leaf, held for a few map operations, and never while a statement is sent or a caller is
 * answered.
 *
 * A batch that the database refuses is retried one entry at a time, so that one user's content
 * fails that user's heartbeat only.
 */
#include <errno.h>
#include <jansson.h>
#include <pthread.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/thread.h"
#include "pg/chore.h"
#include "svc/presence_db.h"
#include "wire/channel_name.h"

#define BATCH_MAX	  2000
#define CHANNEL_MAX_BYTES 200
#define EXPIRE_MIN_MS	  250
#define EXPIRE_MAX_MS	  5000
#define RETRY_US	  USEC_PER_SEC
#define SOCKETS_MAX	  20 /* of a user; presence_sockets() of SQL keeps as many */

struct presence_key {
	struct user_key id;
	uint64_t app; /* its runtime's number */
};

/* A user with at least one socket: how many memberships the directory has of it. */
struct user {
	struct presence_key key;
	char *id; /* heap */
	struct app *app;
	unsigned count;
};

struct entry_waiter {
	struct entry_waiter *next;
	presence_db_done *done;
	void *ctx;
};

/* What a batch writes about a user. */
struct entry {
	struct entry *next;
	struct presence_key key;
	char *id;
	struct app *app;
	char *status; /* of a heartbeat; NULL: there was none, the user has a connection */
	char *location, *info, *name, *avatar;
	char *sockets; /* that heartbeats named: a JSON array without its brackets */
	unsigned n_sockets;
	bool is_tied;		 /* the last heartbeat named one */
	bool is_kept;		 /* the last heartbeat leaves them as they are */
	bool has_come, has_gone; /* its first connection opened, its last one closed */
	bool is_alone;		 /* was in a batch that was refused: no longer in the map */
	struct entry_waiter *waiters;
};

struct batch {
	struct presence_db *of;
	struct entry *entries;
	unsigned n;
};

/* For clang: this thread holds the lock. */
static struct TSA(capability("mutex")) presence_held {
	char unused;
} presence_held UNUSED;

struct presence_db {
	struct pg_pool *pool;
	const struct conf_sync *conf;
	const atomic_uint *node; /* borrowed: this node's number; 0: the daemon is alone */
	char ttl[12], *channels;
	usec_t feed_every;

	pthread_mutex_t lock;
	struct map users OWNED_BY(presence_held);   /* key -> struct user */
	struct map waiting OWNED_BY(presence_held); /* key -> struct entry */
	struct entry *head OWNED_BY(presence_held),
		*tail
		OWNED_BY(presence_held); /* the same entries, and those that are alone, in order */
	unsigned n_waiters OWNED_BY(presence_held); /* including those of the batch under way */
	bool is_stopped OWNED_BY(presence_held);
	bool is_under_way OWNED_BY(presence_held); /* a batch */
	bool is_behind OWNED_BY(
		presence_held); /* a batch failed, and not all users have been written since */
	bool is_fed OWNED_BY(presence_held); /* all users have been queued since */
	usec_t feed_at OWNED_BY(presence_held);

	struct pg_pool_chore expire;
	struct pg_delay delay OWNED_BY(on_pool); /* of batches */
};

static void presence_lock(struct presence_db *p) TSA(acquire_capability(presence_held)) NO_TSA
{
	pthread_mutex_lock(&p->lock);
}

static void presence_unlock(struct presence_db *p) TSA(release_capability(presence_held)) NO_TSA
{
	pthread_mutex_unlock(&p->lock);
}

static const struct pg_statement beat_statement = {
	.sql = "SELECT seen_at, unread FROM presence_beat($1::json, $2::json, "
	       "$3::json, $4::integer, $5::text[], $6::integer)",
	.is_repeatable = true,
	.takes_locks = true,
};

static const struct pg_statement expire_statement = {
	.sql = "SELECT presence_expire($1::integer, $2::text[]) = 1000",
	.is_repeatable = true,
	.takes_locks = true,
};

static struct str_view presence_key_view(const struct presence_key *k)
{
	return sv_n((const char *)k, sizeof(*k));
}

static struct presence_key presence_key_of(const struct app *app, const char *id)
{
	return (struct presence_key){ user_key_of(id), app->runtime->number };
}

/* ---- entries --------------------------------------------------------------- */

static struct entry *presence_entry_of_locked(struct presence_db *p, struct app *app,
					      const char *id) NEEDS_LOCK(presence_held)
{
	struct presence_key key = presence_key_of(app, id);
	struct entry *e = map_get(&p->waiting, presence_key_view(&key));

	if (e)
		return e;
	e = xcalloc(1, sizeof(*e));
	e->key = key;
	e->id = xstrdup(id);
	e->app = app_ref(app);
	map_put(&p->waiting, presence_key_view(&e->key), e);
	if (p->tail)
		p->tail->next = e;
	else
		p->head = e;
	p->tail = e;
	return e;
}

/* Answers the callers that wait for the entry, and frees it. */
static void presence_entry_end(struct entry *e, const struct pg_answer *a,
			       const struct presence_db_reply *said)
{
	struct entry_waiter *w, *next;

	for (w = e->waiters; w; w = next) {
		next = w->next;
		w->done(w->ctx, a, said);
		free(w);
	}
	app_unref(e->app);
	free(e->id);
	free(e->status);
	free(e->location);
	free(e->info);
	free(e->name);
	free(e->avatar);
	free(e->sockets);
	free(e);
}

static unsigned entry_count_waiters(const struct entry *e)
{
	unsigned n = 0;

	for (const struct entry_waiter *w = e->waiters; w; w = w->next)
		n++;
	return n;
}

static void entry_replace_text(char **at, const char *text)
{
	if (!text)
		return;
	free(*at);
	*at = xstrdup(text);
}

static bool entry_names(const struct entry *e, const char *socket_id)
{
	const char *at = e->sockets ? strstr(e->sockets, socket_id) : NULL;

	return at && at[-1] == '"' && at[strlen(socket_id)] == '"';
}

static void entry_tie(struct entry *e, const char *socket_id)
{
	struct strbuf list;

	e->is_tied = socket_id != NULL;
	e->is_kept = false;
	if (!socket_id || e->n_sockets == SOCKETS_MAX || entry_names(e, socket_id))
		return;
	strbuf_init(&list, 32);
	if (e->sockets)
		strbuf_addf(&list, "%s,", e->sockets);
	strbuf_addf(&list, "\"%s\"", socket_id);
	free(e->sockets);
	e->sockets = list.ptr;
	e->n_sockets++;
}

static struct entry *presence_take_heartbeat_locked(struct presence_db *p,
						    const struct presence_db_heartbeat *beat)
	NEEDS_LOCK(presence_held)
{
	struct entry *e = presence_entry_of_locked(p, beat->app, beat->user_id);
	/* The heartbeats of this batch before it name no socket, and do not leave them. */
	bool is_untied = e->status && !e->is_tied && !e->is_kept;

	entry_replace_text(&e->status, beat->status);
	entry_replace_text(&e->location, beat->location);
	entry_replace_text(&e->info, beat->info);
	entry_replace_text(&e->name, beat->name);
	entry_replace_text(&e->avatar, beat->avatar);
	if (beat->socket_id || !beat->keeps_sockets)
		entry_tie(e, beat->socket_id);
	else if (!is_untied)
		e->is_kept = true;
	return e;
}

static void presence_add_waiter_locked(struct presence_db *p, struct entry *e,
				       presence_db_done *done, void *ctx) NEEDS_LOCK(presence_held)
{
	struct entry_waiter *w = xmalloc(sizeof(*w));

	*w = (struct entry_waiter){ e->waiters, done, ctx };
	e->waiters = w;
	p->n_waiters++;
}

void presence_db_heartbeat(struct presence_db *p, const struct presence_db_heartbeat *beat,
			   presence_db_done *done, void *ctx)
{
	struct pg_answer refused = { .sqlstate = "" };

	presence_lock(p);
	if (p->is_stopped)
		refused.rc = -ECANCELED;
	else if (p->n_waiters >= p->conf->max_waiting)
		refused.rc = -EAGAIN;
	else
		presence_add_waiter_locked(p, presence_take_heartbeat_locked(p, beat), done, ctx);
	presence_unlock(p);
	if (refused.rc)
		done(ctx, &refused, NULL);
}

int presence_db_post(struct presence_db *p, const struct presence_db_heartbeat *beat)
{
	struct presence_key key = presence_key_of(beat->app, beat->user_id);
	int rc = 0;

	presence_lock(p);
	if (p->is_stopped)
		rc = -ECANCELED;
	else if (p->waiting.used >= p->conf->max_waiting &&
		 !map_get(&p->waiting, presence_key_view(&key)))
		rc = -EAGAIN;
	else
		presence_take_heartbeat_locked(p, beat);
	presence_unlock(p);
	return rc;
}

/* ---- sockets ---------------------------------------------------------------- */

static void presence_user_came_locked(struct presence_db *p, struct app *app, const char *id)
	NEEDS_LOCK(presence_held)
{
	struct presence_key key = presence_key_of(app, id);
	struct user *u = map_get(&p->users, presence_key_view(&key));
	struct entry *e;

	if (u) {
		u->count++;
		return;
	}
	u = xmalloc(sizeof(*u));
	*u = (struct user){ key, xstrdup(id), app_ref(app), 1 };
	map_put(&p->users, presence_key_view(&u->key), u);
	e = presence_entry_of_locked(p, app, id);
	e->has_come = true;
	e->has_gone = false;
}

static void presence_db_user_free(struct user *u)
{
	app_unref(u->app);
	free(u->id);
	free(u);
}

static void presence_user_left_locked(struct presence_db *p, const struct app *app, const char *id)
	NEEDS_LOCK(presence_held)
{
	struct presence_key key = presence_key_of(app, id);
	struct user *u = map_get(&p->users, presence_key_view(&key));
	struct entry *e;

	if (!u || --u->count)
		return;
	map_del(&p->users, presence_key_view(&key));
	e = presence_entry_of_locked(p, u->app, id);
	e->has_gone = true;
	e->has_come = false;
	presence_db_user_free(u);
}

void presence_db_on_user(void *ctx, struct app *app, struct str_view user_id, bool is_here)
{
	struct presence_db *p = ctx;
	char id[USER_ID_SIZE];

	/* Other ids are none of the users that the tables know. */
	if (!user_id_read(user_id, id))
		return;
	presence_lock(p);
	if (is_here)
		presence_user_came_locked(p, app, id);
	else
		presence_user_left_locked(p, app, id);
	presence_unlock(p);
}

/* At an interval all users with connections are queued, as if each had sent a heartbeat. */
static void presence_feed_locked(struct presence_db *p) NEEDS_LOCK(presence_held)
{
	usec_t now = clock_mono();
	struct user *u;
	size_t at = 0;

	if (now < p->feed_at)
		return;
	p->feed_at = now + p->feed_every;
	p->is_fed = true;
	while ((u = map_next(&p->users, &at)))
		presence_entry_of_locked(p, u->app, u->id);
}

/* ---- batches ------------------------------------------------------------------ */

/* The next batch; NULL: nothing waits, or a batch is under way. */
static struct batch *presence_take_batch_locked(struct presence_db *p) NEEDS_LOCK(presence_held)
{
	struct batch *b;
	struct entry **last;

	if (p->is_under_way || !p->head)
		return NULL;
	b = xcalloc(1, sizeof(*b));
	b->of = p;
	last = &b->entries;
	do {
		struct entry *e = p->head;

		p->head = e->next;
		e->next = NULL;
		if (!e->is_alone)
			map_del(&p->waiting, presence_key_view(&e->key));
		*last = e;
		last = &e->next;
		b->n++;
	} while (p->head && b->n < BATCH_MAX && !b->entries->is_alone);
	if (!p->head)
		p->tail = NULL;
	p->is_under_way = true;
	return b;
}

static void batch_add_text(struct strbuf *b, const char *name, const char *text)
{
	if (!text)
		return;
	strbuf_addf(b, ",\"%s\":", name);
	strbuf_add_json(b, sv(text));
}

static void batch_add_user(struct strbuf *b, const struct entry *e)
{
	strbuf_add_str(b, b->len ? ",{\"app\":" : "[{\"app\":");
	strbuf_add_json(b, sv(e->app->id));
	strbuf_add_str(b, ",\"id\":");
	user_id_add_json(b, e->id);
}

/* Whether the batch writes the user as present, or with its heartbeat's status. */
static bool entry_is_heartbeat(const struct entry *e)
{
	return e->status || !e->has_gone;
}

static void batch_add_heartbeat(struct strbuf *b, const struct entry *e)
{
	batch_add_user(b, e);
	batch_add_text(b, "status", e->status);
	batch_add_text(b, "location", e->location);
	batch_add_text(b, "name", e->name);
	batch_add_text(b, "avatar", e->avatar);
	if (e->info) {
		strbuf_add_str(b, ",\"info\":");
		strbuf_add_str(b, e->info);
	}
	if (e->sockets)
		strbuf_addf(b, ",\"sockets\":[%s]", e->sockets);
	if (e->is_tied)
		strbuf_add_str(b, ",\"tied\":true");
	if (e->is_kept)
		strbuf_add_str(b, ",\"kept\":true");
	if (e->has_come)
		strbuf_add_str(b, ",\"here\":true");
	strbuf_add_c(b, '}');
}

/* The list as text; NULL when it is empty. */
static const char *batch_finish_list(struct strbuf *b)
{
	if (!b->len)
		return NULL;
	strbuf_add_c(b, ']');
	return b->ptr;
}

static void on_presence_batch(void *ctx, const struct pg_answer *a);

RUNS_ON(on_pool) static void presence_send_batch(struct batch *b)
{
	struct presence_db *p = b->of;
	struct strbuf beats, came, gone;
	const char *values[6];
	struct pg_call call = { .statement = &beat_statement, .n = 6, .values = values };
	char node[12];

	strbuf_init(&beats, 128 * (size_t)b->n);
	strbuf_init(&came, 0);
	strbuf_init(&gone, 0);
	for (const struct entry *e = b->entries; e; e = e->next) {
		if (entry_is_heartbeat(e))
			batch_add_heartbeat(&beats, e);
		if (e->has_gone) {
			batch_add_user(&gone, e);
			strbuf_add_str(&gone, e->status ? ",\"beats\":true}" : "}");
		}
		if (e->has_come) {
			batch_add_user(&came, e);
			strbuf_add_c(&came, '}');
		}
	}
	values[0] = batch_finish_list(&beats);
	values[0] = values[0] ? values[0] : "[]";
	values[1] = batch_finish_list(&came);
	values[2] = batch_finish_list(&gone);
	values[3] = p->ttl;
	values[4] = p->channels;
	snprintf(node, sizeof(node), "%u", atomic_load(p->node));
	values[5] = node;
	pg_pool_call(p->pool, &call, on_presence_batch, b);
	strbuf_release(&beats);
	strbuf_release(&came);
	strbuf_release(&gone);
}

/* A timer of the pool; on_presence_batch() calls it too when more waits than one batch takes. */
RUNS_ON(on_pool) static void presence_begin_batch(void *ctx)
{
	struct presence_db *p = ctx;
	struct batch *b;

	presence_lock(p);
	presence_feed_locked(p);
	b = presence_take_batch_locked(p);
	presence_unlock(p);
	if (b)
		presence_send_batch(b);
}

/* Before all other entries. */
static void presence_put_back_locked(struct presence_db *p, struct entry *entries)
	NEEDS_LOCK(presence_held)
{
	struct entry *e = entries;

	for (;; e = e->next) {
		e->is_alone = true;
		if (!e->next)
			break;
	}
	e->next = p->head;
	p->head = entries;
	if (!p->tail)
		p->tail = e;
}

/* Records how the batch ended; true: there is more to presence_send_batch at once. */
static bool presence_note_end(struct presence_db *p, const struct batch *b, bool again, int rc)
{
	bool more;

	presence_lock(p);
	p->is_under_way = false;
	if (again)
		presence_put_back_locked(p, b->entries);
	else
		for (const struct entry *e = b->entries; e; e = e->next)
			p->n_waiters -= entry_count_waiters(e);
	if (rc && rc != -EINVAL) {
		p->is_behind = true;
		p->is_fed = false;
		p->feed_at = clock_mono() + RETRY_US;
	} else if (p->is_fed && !p->head) {
		p->is_behind = false;
	}
	more = again || (p->head && (b->n == BATCH_MAX || p->head->is_alone));
	presence_unlock(p);
	return more;
}

/* Unread notifications of the user at that index of the batch; unread: {"index": count} or NULL. */
static int64_t batch_unread_at(const json_t *unread, unsigned place)
{
	char text[12];

	snprintf(text, sizeof(text), "%u", place);
	return json_integer_value(json_object_get(unread, text));
}

static void batch_end_entries(struct batch *b, const struct pg_answer *a)
{
	struct presence_db_reply said = { .seen_at = pg_answer_text(a, 0, 0),
					  .ttl_s = b->of->conf->presence_ttl_s };
	json_t *unread = a->rc ? NULL : json_loads(pg_answer_text(a, 0, 1), 0, NULL);
	struct entry *e, *next;
	unsigned place = 0;

	for (e = b->entries; e; e = next) {
		next = e->next;
		place += entry_is_heartbeat(e);
		said.status = e->status;
		said.unread = batch_unread_at(unread, place);
		if (a->rc == -EINVAL && !e->waiters)
			log_error("presence: the database refused user %s of app %s: %s", e->id,
				  e->app->id, pg_answer_message(a));
		presence_entry_end(e, a, a->rc ? NULL : &said);
	}
	json_decref(unread);
}

static void on_presence_batch(void *ctx, const struct pg_answer *a)
{
	struct batch *b = ctx;
	struct presence_db *p = b->of;
	bool again = a->rc == -EINVAL && b->n > 1;
	bool more = presence_note_end(p, b, again, a->rc);

	ASSERT_ON(on_pool);
	pg_delay_note(&p->delay, "presence", a);
	if (!again)
		batch_end_entries(b, a);
	free(b);
	if (more)
		presence_begin_batch(p);
}

/* ---- expiry ----------------------------------------------------------------------- */

/* After the database was away, the users who are here are written before others expire. */
RUNS_ON(on_pool) static bool presence_may_expire(void *ctx)
{
	struct presence_db *p = ctx;
	bool may;

	presence_lock(p);
	may = !p->is_behind || !p->users.used;
	presence_unlock(p);
	return may;
}

/* ---- its life ----------------------------------------------------------------------- */

/* Names within the grammar need no escape in quotes. */
static char *presence_channels_array(char *const *names)
{
	struct channel_traits t;
	struct strbuf b;

	strbuf_init(&b, 64);
	strbuf_add_c(&b, '{');
	for (; names && *names; names++) {
		if (channel_name_parse(sv(*names), CHANNEL_MAX_BYTES, &t) || t.is_user) {
			log_warn("sync.presence_channels: \"%s\" is not a channel's name", *names);
			continue;
		}
		strbuf_addf(&b, "%s\"%s\"", b.len > 1 ? "," : "", *names);
	}
	strbuf_add_c(&b, '}');
	return b.ptr;
}

static unsigned presence_expire_ms(const struct conf_sync *conf)
{
	unsigned ms = conf->presence_ttl_s * 100;

	return ms < EXPIRE_MIN_MS ? EXPIRE_MIN_MS : ms > EXPIRE_MAX_MS ? EXPIRE_MAX_MS : ms;
}

struct presence_db *presence_db_new(struct pg_pool *pool, const struct conf_sync *conf,
				    const atomic_uint *node)
{
	struct presence_db *p = xcalloc(1, sizeof(*p));

	p->node = node;
	p->pool = pool;
	p->conf = conf;
	snprintf(p->ttl, sizeof(p->ttl), "%u", conf->presence_ttl_s);
	p->channels = presence_channels_array(conf->presence_channels);
	p->feed_every = conf->presence_ttl_s * USEC_PER_SEC / 3;
	pthread_mutex_init(&p->lock, NULL);
	map_init(&p->users);
	map_init(&p->waiting);
	pg_pool_every(pool, conf->presence_batch_ms, presence_begin_batch, p);
	p->expire = (struct pg_pool_chore){ .name = "presence expiry",
					    .statement = &expire_statement,
					    .every_ms = presence_expire_ms(conf),
					    .n = 2,
					    .values = { p->ttl, p->channels },
					    .is_due = presence_may_expire,
					    .ctx = p };
	pg_pool_chore_add(pool, &p->expire);
	return p;
}

void presence_db_stop(struct presence_db *p)
{
	struct pg_answer stopped = { .rc = -ECANCELED, .sqlstate = "" };
	struct entry *e, *next;

	presence_lock(p);
	p->is_stopped = true;
	e = p->head;
	p->head = p->tail = NULL;
	map_release(&p->waiting);
	presence_unlock(p);
	for (; e; e = next) {
		next = e->next;
		presence_entry_end(e, &stopped, NULL);
	}
}

void presence_db_free(struct presence_db *p)
{
	struct user *u;
	size_t at = 0;

	if (!p)
		return;
	presence_db_stop(p); /* entries of the last connections */
	while ((u = map_next(&p->users, &at)))
		presence_db_user_free(u);
	map_release(&p->users);
	pthread_mutex_destroy(&p->lock);
	free(p->channels);
	free(p);
}

const char *presence_db_channels(const struct presence_db *p)
{
	return p->channels;
}

const char *presence_db_ttl(const struct presence_db *p)
{
	return p->ttl;
}

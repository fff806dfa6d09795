/* SPDX-License-Identifier: MIT */
/*
 * One thread (pg/runner.h) reads the table.  The applications of the file change on the caller's
 * thread; a change of either installs both, under the lock.
 */
#include <pthread.h>
#include <stdatomic.h>
#include "base/log.h"
#include "base/mem.h"
#include "conf/conninfo.h"
#include "pg/listener.h"
#include "pg/runner.h"
#include "svc/apps_watch.h"

#define QUERY_US       (10 * USEC_PER_SEC)
#define IDLE_US	       (60 * USEC_PER_SEC)
#define RELOAD_US      (1 * USEC_PER_SEC)
#define AGAIN_US       (5 * USEC_PER_SEC)  /* until the limits are stored */
#define LOG_US	       (60 * USEC_PER_SEC) /* between two lines about that */
#define LOCK_MS	       2000
#define BACKOFF_MIN_MS 100
#define BACKOFF_MAX_MS 5000
#define OPTIONS_MAX    128 /* of one application */

/* For clang: this thread holds the lock. */
static struct TSA(capability("mutex")) watch_held {
	char unused;
} watch_held UNUSED;

struct apps_watch {
	struct pg_runner *runner;
	char *node;	     /* NULL: the daemon is alone */
	bool has_deliveries; /* there are delivery records */
	void (*on_change)(void *ctx);
	void *ctx;
	pthread_mutex_t lock;
	struct app_set *file_apps OWNED_BY(watch_held);
	struct app_set *table_apps OWNED_BY(watch_held); /* as last read, NULL before */
	bool is_read OWNED_BY(watch_held);		 /* the table, whether its rows are used */
	bool is_unstored;	/* the limits could not be stored; the watch's thread only */
	usec_t logged_at;	/* mono; when that was logged last; 0: they are; the same */
	bool was_connected;	/* the watch's thread only */
	atomic_bool is_settled; /* see apps_watch_is_settled() */
};

static void apps_watch_lock(struct apps_watch *w) TSA(acquire_capability(watch_held)) NO_TSA
{
	pthread_mutex_lock(&w->lock);
}

static void apps_watch_unlock(struct apps_watch *w) TSA(release_capability(watch_held)) NO_TSA
{
	pthread_mutex_unlock(&w->lock);
}

/* -- the table -- */

/* One row an option, all options of an app together; NULL columns keep their defaults. */
static const char table_sql[] =
	"SELECT a.id, o.name, o.value"
	" FROM apps a, LATERAL ("
	"  SELECT e.key, e.value FROM json_each_text(row_to_json(a)) e"
	"   WHERE e.key NOT IN ('id', 'options')"
	"     AND NOT (e.key = 'webhooks' AND btrim(e.value) IN ('', '[]', '{}', 'null'))"
	"  UNION ALL"
	"  SELECT e.key, e.value FROM json_each_text(a.options) e) o(name, value)"
	" WHERE o.value IS NOT NULL ORDER BY a.id";

struct app_list {
	struct app **apps;
	size_t n;
	bool has_deliveries;
};

/* The application of the rows from first to before end; a bad one is left out and logged. */
static void table_add_app(struct app_list *list, const struct pg_answer *a, int first, int end)
{
	struct app_option options[OPTIONS_MAX];
	const char *id = pg_answer_text(a, first, 0);
	char *why = NULL;
	size_t n = 0;

	for (int i = first; i < end && n < OPTIONS_MAX; i++) {
		options[n++] =
			(struct app_option){ pg_answer_text(a, i, 1), pg_answer_text(a, i, 2) };
	}
	if (app_build(id, options, n, &list->apps[list->n], &why) == 0) {
		const struct webhook_list *hooks = &list->apps[list->n++]->webhooks;
		const char *warning = webhook_list_warning(hooks, list->has_deliveries);

		if (hooks->ignored)
			log_warn("table apps: the app %s: these members of webhooks have no "
				 "effect: %s",
				 id, hooks->ignored);
		if (warning)
			log_warn("table apps: the app %s: webhooks: %s", id, warning);
	} else {
		log_error("table apps: the app %s is left out: %s", id, why ? why : "");
	}
	free(why);
}

/* Takes the list's references.  0 or -EEXIST, logged: two applications have the same key. */
static int apps_build_set(struct app_list *list, struct app_set **out)
{
	char *why = NULL;
	int rc = app_set_build(list->apps, list->n, out, &why);

	if (rc)
		log_error("table apps: its rows were not applied: %s", why ? why : "");
	free(why);
	return rc;
}

/* PG_REFUSED: the rows are not consistent; that is logged. */
static enum pg_fault apps_read_table(const struct apps_watch *w, struct pg_connection *c,
				     struct app_set **out)
{
	const struct pg_query q = { .sql = table_sql };
	struct pg_answer a = { 0 };
	struct app_list list = { .has_deliveries = w->has_deliveries };
	enum pg_fault fault = pg_conn_run(c, clock_mono() + QUERY_US, &q, &a);
	int rows, end;

	if (fault != PG_FINE)
		return fault;
	rows = pg_answer_rows(&a);
	list.apps = xreallocarray(NULL, (size_t)rows, sizeof(struct app *));
	for (int i = 0; i < rows; i = end) {
		const char *id = pg_answer_text(&a, i, 0);

		for (end = i + 1; end < rows && strcmp(id, pg_answer_text(&a, end, 0)) == 0;)
			end++;
		table_add_app(&list, &a, i, end);
	}
	pg_answer_release(&a);
	fault = apps_build_set(&list, out) ? PG_REFUSED : PG_FINE;
	free(list.apps);
	return fault;
}

/* Sessions that hold log_apps, or rows of it, in a mode in which it cannot be written. */
static void apps_add_holders(struct strbuf *text, struct pg_connection *c)
{
	static const char sql[] =
		"SELECT string_agg(DISTINCT format('process %s of the role %s (%s)', l.pid, "
		"coalesce(a.usename, '?'), coalesce(nullif(a.application_name, ''), 'no name')), "
		"', ') FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid "
		"WHERE l.relation = 'log_apps'::regclass AND l.granted AND l.database = "
		"(SELECT d.oid FROM pg_database d WHERE d.datname = current_database()) "
		"AND l.mode <> 'AccessShareLock' AND l.pid <> pg_backend_pid()";
	const struct pg_query q = { .sql = sql };
	struct pg_answer a = { 0 };

	if (pg_conn_run(c, clock_mono() + QUERY_US, &q, &a) == PG_FINE &&
	    !pg_answer_is_null(&a, 0, 0))
		strbuf_addf(text,
			    ": the table log_apps is locked by %s; if it does not end, use "
			    "pg_terminate_backend()",
			    pg_answer_text(&a, 0, 0));
	pg_answer_release(&a);
}

static void apps_log_unstored(struct apps_watch *w, struct pg_connection *c, enum pg_fault fault)
{
	struct strbuf why;

	strbuf_init(&why, 256);
	strbuf_add_str(&why, pg_conn_error(c));
	if (fault == PG_BUSY)
		apps_add_holders(&why, c);
	log_warn("apps: the limits for SQL publishers are not stored: %s; trying again every %u s",
		 why.ptr, (unsigned)(AGAIN_US / USEC_PER_SEC));
	strbuf_release(&why);
	w->logged_at = clock_mono();
}

/* Stores the limits of the applications in force for SQL publishers.  PG_FINE or PG_LOST. */
static enum pg_fault apps_write_limits(struct apps_watch *w, struct pg_connection *c)
{
	struct app_set *apps = apps_current();
	const char *values[2] = { w->node, NULL };
	const struct pg_query q = { .sql = "SELECT log_apps_put($1::text, $2::json)",
				    .n = 2,
				    .values = values };
	struct strbuf b;
	enum pg_fault fault;

	strbuf_init(&b, 256);
	strbuf_add_c(&b, '[');
	for (size_t i = 0; i < app_set_count(apps); i++) {
		const struct app *a = app_set_at(apps, i);

		if (!a->enabled)
			continue;
		strbuf_add_c(&b, b.len > 1 ? ',' : ' ');
		strbuf_add_str(&b, "{\"app\":");
		strbuf_add_json(&b, sv(a->id));
		strbuf_addf(&b, ",\"c\":%u,\"e\":%u,\"p\":%u}", a->limits.max_channel_name_bytes,
			    a->limits.max_event_name_bytes, a->limits.max_event_payload_bytes);
	}
	strbuf_add_c(&b, ']');
	values[1] = b.ptr;
	fault = pg_conn_run(c, clock_mono() + QUERY_US, &q, NULL);
	strbuf_release(&b);
	app_set_unref(apps);
	if (fault == PG_LOST)
		return fault;
	if (fault == PG_FINE)
		w->logged_at = 0;
	else if (!w->logged_at || clock_mono() - w->logged_at >= LOG_US)
		apps_log_unstored(w, c, fault);
	w->is_unstored = fault != PG_FINE;
	return PG_FINE;
}

/* -- the applications in force -- */

/* The file's, with the table's (NULL: none) in place of those with the same id.  Returns as
 * apps_build_set(). */
static int apps_watch_build_locked(const struct apps_watch *w, const struct app_set *table,
				   struct app_set **out) NEEDS_LOCK(watch_held)
{
	struct app_list list = { 0 };
	size_t n_file = app_set_count(w->file_apps), n_table = table ? app_set_count(table) : 0;
	int rc;

	list.apps = xreallocarray(NULL, n_file + n_table, sizeof(struct app *));
	for (size_t i = 0; i < n_file; i++)
		list.apps[list.n++] = app_ref(app_set_at(w->file_apps, i));
	for (size_t i = 0; i < n_table; i++)
		list.apps[list.n++] = app_ref(app_set_at(table, i));
	rc = apps_build_set(&list, out);
	free(list.apps);
	return rc;
}

static bool apps_are_partial(void)
{
	struct app_set *apps = apps_current();
	bool is_partial = app_set_is_partial(apps);

	app_set_unref(apps);
	return is_partial;
}

/* Rows that do not fit the file change nothing, but that they were read. */
static void apps_watch_install_locked(struct apps_watch *w) NEEDS_LOCK(watch_held)
{
	struct app_set *all = NULL;
	int rc = apps_watch_build_locked(w, w->table_apps, &all);

	if (rc && w->is_read && apps_are_partial())
		rc = apps_watch_build_locked(w, NULL, &all);
	if (rc)
		return;
	if (!w->is_read)
		app_set_mark_partial(all);
	apps_install(all);
	w->on_change(w->ctx);
}

static enum pg_fault apps_watch_reload(struct apps_watch *w, struct pg_connection *c)
{
	struct app_set *table = NULL, *old = NULL;
	enum pg_fault fault = apps_read_table(w, c, &table);

	if (fault != PG_FINE && fault != PG_REFUSED)
		return fault;
	apps_watch_lock(w);
	if (fault == PG_FINE) {
		old = w->table_apps;
		w->table_apps = table;
	}
	if (fault == PG_FINE || !w->is_read) {
		w->is_read = true;
		apps_watch_install_locked(w);
	}
	apps_watch_unlock(w);
	app_set_unref(old);
	return apps_write_limits(w, c);
}

/* -- the thread -- */

/*
 * Every role of the database can notify.  The first notification counts at once; those that follow
 * count together, RELOAD_US after it.
 */
RUNS_ON(on_db) static enum pg_fault apps_watch_serve(void *ctx, struct pg_connection *c)
{
	struct apps_watch *w = ctx;
	struct pg_news news = { .is_woken = true };
	bool must_read = true;
	usec_t next = 0;
	enum pg_fault fault = pg_listener_begin(c, clock_mono() + QUERY_US, "scopewire_apps");

	w->was_connected = true;
	while (fault == PG_FINE && !pg_runner_is_stopping(w->runner)) {
		if ((must_read || w->is_unstored) && (news.is_woken || clock_mono() >= next)) {
			fault = must_read ? apps_watch_reload(w, c) : apps_write_limits(w, c);
			must_read = false;
			next = clock_mono() + (w->is_unstored ? AGAIN_US : RELOAD_US);
			if (fault == PG_FINE && !w->is_unstored)
				atomic_store(&w->is_settled, true);
		}
		if (fault == PG_FINE)
			fault = pg_runner_wait(
				w->runner, c,
				must_read || w->is_unstored ? next : clock_mono() + IDLE_US, &news);
		must_read = must_read || news.notifications || news.is_woken;
	}
	return fault;
}

static void apps_watch_on_away(void *ctx)
{
	struct apps_watch *w = ctx;

	if (!w->was_connected)
		atomic_store(&w->is_settled, true);
}

static void apps_watch_free(struct apps_watch *w) NO_TSA /* no other thread has it any more */
{
	pthread_mutex_destroy(&w->lock);
	app_set_unref(w->file_apps);
	app_set_unref(w->table_apps);
	free(w->node);
	free(w);
}

int apps_watch_start(const struct conf *conf, const char *conninfo, void (*on_change)(void *ctx),
		     void *ctx, struct apps_watch **out)
{
	struct apps_watch *w = xcalloc(1, sizeof(*w));
	struct pg_runner_conf rc = {
		.name = "apps watch",
		.options = conf_pg_options(&conf->database, conninfo),
		.backoff_min_ms = BACKOFF_MIN_MS,
		.backoff_max_ms = BACKOFF_MAX_MS,
		.serve = apps_watch_serve,
		.on_away = apps_watch_on_away,
		.ctx = w,
	};
	int err;

	if (conf->cluster.driver != CLUSTER_LOCAL)
		w->node = conf_node(&conf->server);
	w->has_deliveries = conf->database.deliveries;
	w->on_change = on_change;
	w->ctx = ctx;
	pthread_mutex_init(&w->lock, NULL);
	apps_watch_lock(w);
	w->file_apps = app_set_ref(conf->apps);
	apps_watch_unlock(w);
	rc.options.statement_timeout_ms = QUERY_US / USEC_PER_MSEC;
	rc.options.lock_timeout_ms = LOCK_MS;
	err = pg_runner_start(&rc, &w->runner);
	if (err)
		apps_watch_free(w);
	else
		*out = w;
	return err;
}

bool apps_watch_is_settled(const struct apps_watch *w)
{
	return atomic_load(&w->is_settled);
}

void apps_watch_set_file(struct apps_watch *w, struct app_set *apps)
{
	struct app_set *old;

	apps_watch_lock(w);
	old = w->file_apps;
	w->file_apps = app_set_ref(apps);
	apps_watch_install_locked(w);
	apps_watch_unlock(w);
	app_set_unref(old);
	pg_runner_wake(w->runner);
}

void apps_watch_stop(struct apps_watch *w)
{
	if (!w)
		return;
	pg_runner_stop(w->runner);
	apps_watch_free(w);
}

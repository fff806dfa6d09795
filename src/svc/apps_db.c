/* SPDX-License-Identifier: MIT */
/*
 * On the thread that owns the connection.  app_build() keeps copies, so nothing here outlives the
 * answer.
 */
#include "base/log.h"
#include "base/mem.h"
#include "svc/apps_db.h"

#define OPTIONS_MAX 128 /* of one app */

/* One row an option, all options of an app together; NULL columns keep their defaults. */
static const char query[] =
	"SELECT a.id, o.name, o.value"
	" FROM apps a, LATERAL ("
	"  SELECT e.key, e.value FROM json_each_text(row_to_json(a)) e"
	"   WHERE e.key NOT IN ('id', 'options', 'webhooks')"
	"  UNION ALL"
	"  SELECT e.key, e.value FROM json_each_text(a.options) e) o(name, value)"
	" WHERE o.value IS NOT NULL ORDER BY a.id";

struct overlay {
	struct app **apps;
	size_t n;
};

static int apps_build_set(struct overlay *o, struct app_set **out)
{
	char *why = NULL;
	int rc = app_set_build(o->apps, o->n, out, &why);

	if (rc)
		log_error("table apps: the applications stay as they are: %s", why ? why : "");
	free(why);
	return rc;
}

enum pg_fault apps_db_read(struct pg_conn *c, usec_t deadline, struct app_set **out)
{
	struct pg_query q = { .sql = query };
	struct overlay o = { 0 };
	struct pg_answer a = { 0 };
	enum pg_fault fault = pg_conn_run(c, deadline, &q, &a);
	int rows, row = 0;

	if (fault != PG_FINE)
		return fault;
	rows = pg_answer_rows(&a);
	o.apps = xreallocarray(NULL, (size_t)rows, sizeof(struct app *));
	while (row < rows) {
		const char *id = pg_answer_text(&a, row, 0);
		struct app_option options[OPTIONS_MAX];
		char *why = NULL;
		size_t n = 0;

		for (; row < rows && strcmp(pg_answer_text(&a, row, 0), id) == 0; row++)
			if (n < OPTIONS_MAX)
				options[n++] = (struct app_option){ pg_answer_text(&a, row, 1),
								    pg_answer_text(&a, row, 2) };
		if (app_build(id, options, n, &o.apps[o.n], &why) == 0)
			o.n++;
		else
			log_error("table apps: application %s is left out: %s", id, why ? why : "");
		free(why);
	}
	fault = apps_build_set(&o, out) ? PG_REFUSED : PG_FINE;
	pg_answer_release(&a);
	free(o.apps);
	return fault;
}

static void overlay_add_set(struct overlay *o, const struct app_set *s)
{
	for (size_t i = 0; s && i < app_set_count(s); i++)
		o->apps[o->n++] = app_ref(app_set_at(s, i));
}

int apps_db_overlay(const struct app_set *file, const struct app_set *table, struct app_set **out)
{
	struct overlay o = { 0 };
	int rc;

	o.apps = xreallocarray(NULL, app_set_count(file) + (table ? app_set_count(table) : 0),
			       sizeof(struct app *));
	overlay_add_set(&o, file);
	overlay_add_set(&o, table);
	rc = apps_build_set(&o, out);
	free(o.apps);
	return rc;
}

static void add_app_limits(struct strbuf *b, const struct app *a)
{
	strbuf_add_c(b, b->len > 1 ? ',' : ' ');
	strbuf_add_str(b, "{\"app\":");
	strbuf_add_json(b, sv(a->id));
	strbuf_addf(b, ",\"c\":%u,\"e\":%u,\"p\":%u}", a->limits.max_channel_name_bytes,
		    a->limits.max_event_name_bytes, a->limits.max_event_payload_bytes);
}

enum pg_fault apps_db_publish(struct pg_conn *c, usec_t deadline, const struct app_set *apps)
{
	/* Only what differs is written. */
	static const char sql[] =
		"WITH now AS (SELECT * FROM json_to_recordset($1::json) AS "
		"r(app text, c bigint, e bigint, p bigint)), gone AS (DELETE FROM log_apps a WHERE "
		"NOT EXISTS (SELECT FROM now WHERE now.app = a.app)) INSERT INTO log_apps AS a "
		"SELECT app, least(c, 2147483647), least(e, 2147483647), least(p, 2147483647) "
		"FROM now ON CONFLICT (app) DO UPDATE SET max_channel_bytes = "
		"excluded.max_channel_bytes, max_event_bytes = excluded.max_event_bytes, "
		"max_payload_bytes = excluded.max_payload_bytes WHERE (a.max_channel_bytes, "
		"a.max_event_bytes, a.max_payload_bytes) IS DISTINCT FROM "
		"(excluded.max_channel_bytes, excluded.max_event_bytes, "
		"excluded.max_payload_bytes)";
	struct strbuf b;
	const char *value;
	struct pg_query q = { .sql = sql, .n = 1, .values = &value };
	enum pg_fault fault;

	strbuf_init(&b, 256);
	strbuf_add_c(&b, '[');
	for (size_t i = 0; i < app_set_count(apps); i++)
		if (app_set_at(apps, i)->enabled)
			add_app_limits(&b, app_set_at(apps, i));
	strbuf_add_c(&b, ']');
	value = b.ptr;
	fault = pg_conn_run(c, deadline, &q, NULL);
	strbuf_release(&b);
	return fault;
}

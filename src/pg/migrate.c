/* SPDX-License-Identifier: MIT */
/*
 * Each migration and its row in schema_migrations are one transaction, under the advisory lock, so
 * that of several daemons that start one migrates and the others wait.  Checksums are SHA-256 of
 * the text as it was embedded, before @SCHEMA@ is replaced.  One thread per call; no state outside
 * the connection.
 */
#include <errno.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <poll.h>
#include <stdarg.h>
#include "base/hex.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "pg/migrate.h"
#include "pg/conn_private.h"
#include "pg/locks.h"
#include "pg/remedy.h"

#define STEP_US	       (10 * 60 * USEC_PER_SEC) /* an index on a big log takes its time */
#define CHECKSUM_CHARS 64
#define RETRY_US       (100 * USEC_PER_MSEC)

struct migrate {
	struct pg_connection *c;
	const struct migrate_conf *conf;
	char *quoted; /* the schema as an SQL identifier; libpq frees it */
	char **why;
};

static void migrate_report_wait(const struct migrate *m, const char *what)
{
	if (m->conf->on_wait)
		m->conf->on_wait(m->conf->ctx, what);
}

static int PRINTF_LIKE(3, 4) migrate_fail(struct migrate *m, int rc, const char *fmt, ...)
{
	char line[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	*m->why = xstrdup(line);
	return rc;
}

static int migrate_fail_step(struct migrate *m, const char *step, enum pg_fault fault)
{
	struct strbuf text;

	strbuf_init(&text, 256);
	strbuf_addf(&text, "%s: %s", step, pg_conn_error(m->c));
	pg_remedy_add(&text, m->c);
	*m->why = text.ptr;
	return m->c->is_cancelled ? -ECANCELED : fault == PG_LOST ? -EHOSTDOWN : -EIO;
}

static int migrate_script(struct migrate *m, const char *step, const char *sql)
{
	enum pg_fault fault = pg_conn_script(m->c, clock_mono() + STEP_US, sql);

	return fault == PG_FINE ? 0 : migrate_fail_step(m, step, fault);
}

static int migrate_query(struct migrate *m, const char *step, const struct pg_query *q,
			 struct pg_answer *out)
{
	enum pg_fault fault = pg_conn_run(m->c, clock_mono() + STEP_US, q, out);

	return fault == PG_FINE ? 0 : migrate_fail_step(m, step, fault);
}

static void migrate_checksum(const char *text, char out[CHECKSUM_CHARS + 1])
{
	unsigned char digest[CHECKSUM_CHARS / 2];

	if (!EVP_Digest(text, strlen(text), digest, NULL, EVP_sha256(), NULL))
		memset(digest, 0, sizeof(digest));
	hex_encode(digest, sizeof(digest), out);
}

/* The migration's text with its marks replaced (heap). */
static char *migrate_text(const struct migrate *m, const char *sql)
{
	const struct {
		const char *mark, *text;
	} marks[] = { { "@SCHEMA@", m->quoted }, { "@USER_ID@", m->conf->user_id } };
	struct strbuf text;
	char *out;

	strbuf_init(&text, strlen(sql) + 256);
	while (*sql) {
		size_t i = 0;

		while (i < ARRAY_SIZE(marks) &&
		       strncmp(sql, marks[i].mark, strlen(marks[i].mark)) != 0)
			i++;
		if (i < ARRAY_SIZE(marks)) {
			strbuf_add_str(&text, marks[i].text);
			sql += strlen(marks[i].mark);
		} else {
			size_t n = 1 + strcspn(sql + 1, "@");

			strbuf_add(&text, sql, n);
			sql += n;
		}
	}
	out = strbuf_detach(&text);
	strbuf_release(&text);
	return out;
}

/* Only when missing: a role that may not create schemas can still check an existing one. */
static int migrate_make_schema(struct migrate *m)
{
	struct pg_query q = { .sql = "SELECT 1 FROM pg_namespace WHERE nspname = $1::text",
			      .n = 1,
			      .values = &m->conf->schema };
	struct pg_answer a = { 0 };
	struct strbuf sql;
	int rc = migrate_query(m, "schema", &q, &a);

	if (rc)
		return rc;
	if (pg_answer_rows(&a) == 0) {
		strbuf_init(&sql, 64);
		strbuf_addf(&sql, "CREATE SCHEMA %s", m->quoted);
		rc = migrate_script(m, "cannot create the schema", sql.ptr);
		strbuf_release(&sql);
	}
	pg_answer_release(&a);
	return rc;
}

/*
 * Only when missing, as the schema.  By its full name: search_path would also find another
 * product's table in public.
 */
static int migrate_make_table(struct migrate *m)
{
	struct pg_query q = { .sql = "SELECT 1 FROM pg_class c JOIN pg_namespace n "
				     "ON n.oid = c.relnamespace WHERE n.nspname = $1::text "
				     "AND c.relname = 'schema_migrations'",
			      .n = 1,
			      .values = &m->conf->schema };
	struct pg_answer a = { 0 };
	struct strbuf sql;
	bool is_there;
	int rc = migrate_query(m, "schema_migrations", &q, &a);

	is_there = rc == 0 && pg_answer_rows(&a) == 1;
	pg_answer_release(&a);
	if (rc || is_there)
		return rc;
	strbuf_init(&sql, 512);
	strbuf_addf(&sql,
		    "CREATE TABLE IF NOT EXISTS %s.schema_migrations ("
		    "version integer PRIMARY KEY, name text NOT NULL, checksum text NOT NULL, "
		    "applied_at timestamptz NOT NULL DEFAULT now())",
		    m->quoted);
	rc = migrate_script(m, "cannot create schema_migrations", sql.ptr);
	strbuf_release(&sql);
	return rc;
}

static const struct migration *migrate_find(const struct migrate *m, unsigned version)
{
	for (unsigned i = 0; i < m->conf->n; i++)
		if (m->conf->list[i].version == version)
			return &m->conf->list[i];
	return NULL;
}

static int migrate_check_name(struct migrate *m, unsigned version, const char *name)
{
	const struct migration *mine = migrate_find(m, version);

	if (mine && strcmp(mine->name, name) == 0)
		return 0;
	if (mine)
		return migrate_fail(
			m, -EPROTO,
			"schema \"%s\" was made by a version of this program from before the "
			"first release (its migration %04u is %s, not %s): docs/upgrading.md "
			"describes how to convert it",
			m->conf->schema, version, name, mine->name);
	return migrate_fail(
		m, -EPROTO,
		"schema \"%s\" has migration %04u_%s, which this program does not know: a newer "
		"version of the program applied it; install that version or a newer one",
		m->conf->schema, version, name);
}

static int migrate_check_text(struct migrate *m, unsigned version, const char *name,
			      const char *sum)
{
	char own[CHECKSUM_CHARS + 1];

	migrate_checksum(migrate_find(m, version)->sql, own);
	if (strcmp(own, sum) == 0)
		return 0;
	return migrate_fail(
		m, -EILSEQ,
		"migration %04u_%s was changed after schema \"%s\" applied it (checksum %.12s "
		"there, %.12s here)",
		version, name, m->conf->schema, sum, own);
}

/*
 * Without applied migrations the schema must have no tables: a restored dump without data, as
 * Laravel's schema:dump makes it, has them all.
 */
static int migrate_check_empty(struct migrate *m)
{
	const struct pg_query q = {
		.sql = "SELECT c.relname FROM pg_catalog.pg_class c WHERE c.relnamespace = "
		       "(SELECT n.oid FROM pg_catalog.pg_namespace n WHERE n.nspname = $1::text) "
		       "AND c.relkind IN ('r', 'p') AND c.relname <> 'schema_migrations' "
		       "ORDER BY 1 LIMIT 1",
		.n = 1,
		.values = (const char *const[]){ m->conf->schema },
	};
	struct pg_answer a = { 0 };
	int rc = migrate_query(m, "schema_migrations", &q, &a);

	if (rc == 0 && pg_answer_rows(&a))
		rc = migrate_fail(
			m, -EPROTO,
			"schema \"%s\" has tables (%s), but its table schema_migrations is empty: "
			"it "
			"was restored from a dump without data, or only in part. If nothing in it "
			"is "
			"needed, DROP SCHEMA %s CASCADE and start again; otherwise restore a dump "
			"with its data. Leave the schema out of dumps without data: pg_dump -N %s",
			m->conf->schema, pg_answer_text(&a, 0, 0), m->quoted, m->conf->schema);
	pg_answer_release(&a);
	return rc;
}

/*
 * Checks what the database has; *last is its newest version, 0 for none.  First all names: a
 * schema made by other migrations is refused as such, not because its first text differs.
 */
static int migrate_check_applied(struct migrate *m, unsigned *last)
{
	struct pg_answer a = { 0 };
	struct strbuf sql;
	int rc;

	strbuf_init(&sql, 128);
	strbuf_addf(&sql, "SELECT version, name, checksum FROM %s.schema_migrations ORDER BY 1",
		    m->quoted);
	rc = migrate_query(m, "schema_migrations", &(struct pg_query){ .sql = sql.ptr }, &a);
	strbuf_release(&sql);
	*last = 0;
	if (rc == 0 && pg_answer_rows(&a) == 0)
		rc = migrate_check_empty(m);
	for (int i = 0; rc == 0 && i < pg_answer_rows(&a); i++)
		rc = migrate_check_name(m, (unsigned)pg_answer_int(&a, i, 0),
					pg_answer_text(&a, i, 1));
	for (int i = 0; rc == 0 && i < pg_answer_rows(&a); i++) {
		*last = (unsigned)pg_answer_int(&a, i, 0);
		rc = migrate_check_text(m, *last, pg_answer_text(&a, i, 1),
					pg_answer_text(&a, i, 2));
	}
	pg_answer_release(&a);
	return rc;
}

static int migrate_record(struct migrate *m, const struct migration *one)
{
	char sum[CHECKSUM_CHARS + 1], version[12];
	const char *values[] = { version, one->name, sum };
	struct pg_query q = { .n = 3, .values = values };
	struct strbuf sql;
	int rc;

	migrate_checksum(one->sql, sum);
	snprintf(version, sizeof(version), "%u", one->version);
	strbuf_init(&sql, 128);
	strbuf_addf(&sql,
		    "INSERT INTO %s.schema_migrations(version, name, checksum) "
		    "VALUES ($1::integer, $2::text, $3::text)",
		    m->quoted);
	q.sql = sql.ptr;
	rc = migrate_query(m, one->name, &q, NULL);
	strbuf_release(&sql);
	return rc;
}

static int migrate_apply_one(struct migrate *m, const struct migration *one)
{
	char *sql = migrate_text(m, one->sql), revoke[256];
	int rc = migrate_script(m, one->name, "BEGIN");

	if (rc == 0)
		rc = migrate_script(m, one->name, sql);
	/* PostgreSQL lets everyone execute a new function. */
	snprintf(revoke, sizeof(revoke), "REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA %s FROM PUBLIC",
		 m->quoted);
	if (rc == 0)
		rc = migrate_script(m, one->name, revoke);
	if (rc == 0)
		rc = migrate_record(m, one);
	if (rc == 0)
		rc = migrate_script(m, one->name, "COMMIT");
	free(sql);
	if (rc == 0)
		log_info("database: applied migration %04u_%s", one->version, one->name);
	return rc;
}

/* Only the owner of the tables can apply what is missing. */
static int migrate_check_owner(struct migrate *m)
{
	struct pg_query q = { .sql = "SELECT pg_get_userbyid(c.relowner), "
				     "pg_has_role(c.relowner, 'USAGE') FROM pg_class c "
				     "JOIN pg_namespace n ON n.oid = c.relnamespace "
				     "WHERE n.nspname = $1::text "
				     "AND c.relname = 'schema_migrations'",
			      .n = 1,
			      .values = &m->conf->schema };
	struct pg_answer a = { 0 };
	int rc = migrate_query(m, "schema", &q, &a);

	if (rc == 0 && pg_answer_rows(&a) == 1 && !pg_answer_bool(&a, 0, 1))
		rc = migrate_fail(
			m, -EACCES,
			"schema \"%s\" belongs to the role \"%s\" and lacks migrations of "
			"this program: run scopewired --migrate as that role, then "
			"grants.sql again",
			m->conf->schema, pg_answer_text(&a, 0, 0));
	pg_answer_release(&a);
	return rc;
}

/* Who holds the lock; *has_ended: no session any more. */
static int migrate_find_holder(struct migrate *m, const char *lock, struct pg_answer *a,
			       bool *has_ended)
{
	const struct pg_query q = {
		.sql = "SELECT string_agg(format('process %s of the role %s (%s)', l.pid, "
		       "coalesce(a.usename, '?'), coalesce(nullif(a.application_name, ''), "
		       "'no name')), ', ' ORDER BY l.pid), "
		       "bool_and(a.usename IS NOT DISTINCT FROM current_user), "
		       "string_agg(format('SELECT pg_terminate_backend(%s)', l.pid), '; ') "
		       "FROM pg_locks l LEFT JOIN "
		       "pg_stat_activity a ON a.pid = l.pid WHERE l.locktype = 'advisory' AND "
		       "l.granted AND l.objsubid = 1 AND l.database = (SELECT d.oid FROM "
		       "pg_database d WHERE d.datname = current_database()) AND "
		       "(l.classid::bigint << 32 | l.objid::bigint) = $1::bigint",
		.n = 1,
		.values = &lock,
	};
	int rc = migrate_query(m, "migration lock", &q, a);

	*has_ended = rc == 0 && (pg_answer_rows(a) != 1 || pg_answer_is_null(a, 0, 0));
	return rc;
}

/* Any role can hold the lock, so the wait has a bound, and the message names the holder. */
static int migrate_wait_for_holder(struct migrate *m, const char *lock, usec_t since)
{
	struct pg_answer a = { 0 };
	char text[PG_ERROR_BYTES];
	bool has_ended;
	usec_t most;
	int rc = migrate_find_holder(m, lock, &a, &has_ended);

	if (rc == 0 && !has_ended) {
		most = pg_answer_bool(&a, 0, 1) ? STEP_US : m->conf->lock_wait_s * USEC_PER_SEC;
		snprintf(text, sizeof(text), "the advisory lock for migrations, which %s holds",
			 pg_answer_text(&a, 0, 0));
		migrate_report_wait(m, text);
		if (clock_mono() - since >= most)
			rc = migrate_fail(
				m, -EBUSY,
				"migrations have to be applied, but %s holds the advisory lock for "
				"them, and did not release it within %u s: end that session (%s), "
				"let only roles that you trust connect to this database (REVOKE "
				"CONNECT ON DATABASE ... FROM PUBLIC), and start again",
				pg_answer_text(&a, 0, 0), (unsigned)(most / USEC_PER_SEC),
				pg_answer_text(&a, 0, 2));
	}
	pg_answer_release(&a);
	return rc;
}

/* Retries: a session that waits in the server could not query which session holds the lock. */
static int migrate_lock(struct migrate *m)
{
	char lock[24];
	const char *values[] = { lock };
	const struct pg_query q = { .sql = "SELECT pg_try_advisory_lock($1::bigint)",
				    .n = 1,
				    .values = values };
	usec_t since = clock_mono();
	bool has = false;
	int rc = 0;

	snprintf(lock, sizeof(lock), "%" PRId64, PG_LOCK_MIGRATE);
	while (rc == 0 && !has) {
		struct pg_answer a = { 0 };

		rc = migrate_query(m, "migration lock", &q, &a);
		has = rc == 0 && pg_answer_bool(&a, 0, 0);
		pg_answer_release(&a);
		if (rc == 0 && !has)
			rc = migrate_wait_for_holder(m, lock, since);
		if (rc == 0 && !has &&
		    pg_conn_wait(m->c, POLLIN, clock_mono() + RETRY_US) == -ECANCELED)
			rc = migrate_fail(m, -ECANCELED, "stopping");
	}
	if (rc == 0)
		migrate_report_wait(m, "the migration of the schema");
	return rc;
}

/*
 * Whether there is nothing to do.  Then no lock is taken: any role that connects can hold it, and
 * must not hinder the start.
 */
static int migrate_is_done(struct migrate *m, bool *done)
{
	const struct pg_query exists = {
		.sql = "SELECT EXISTS (SELECT FROM pg_class c JOIN pg_namespace n "
		       "ON n.oid = c.relnamespace WHERE n.nspname = $1::text "
		       "AND c.relname = 'schema_migrations')",
		.n = 1,
		.values = &m->conf->schema,
	};
	struct pg_answer a = { 0 };
	struct strbuf sql;
	int rc;

	migrate_report_wait(m, "the migration of the schema");
	rc = migrate_query(m, "schema", &exists, &a);
	*done = rc == 0 && m->conf->n && pg_answer_bool(&a, 0, 0);
	pg_answer_release(&a);
	if (!*done)
		return rc;
	strbuf_init(&sql, 128);
	strbuf_addf(&sql, "SELECT coalesce(max(version), 0) = %u FROM %s.schema_migrations",
		    m->conf->list[m->conf->n - 1].version, m->quoted);
	rc = migrate_query(m, "schema_migrations", &(struct pg_query){ .sql = sql.ptr }, &a);
	*done = rc == 0 && pg_answer_bool(&a, 0, 0);
	pg_answer_release(&a);
	strbuf_release(&sql);
	return rc;
}

/* The domain user_key is made once, with the type of the first start. */
static int migrate_check_user_id(struct migrate *m)
{
	struct pg_answer a = { 0 };
	struct strbuf sql;
	int rc;

	strbuf_init(&sql, 64);
	strbuf_addf(&sql, "SELECT %s.user_key_base()", m->quoted);
	rc = migrate_query(m, "sync.user_id", &(struct pg_query){ .sql = sql.ptr }, &a);
	strbuf_release(&sql);
	if (rc == 0 && strcmp(pg_answer_text(&a, 0, 0), m->conf->user_id) != 0)
		rc = migrate_fail(
			m, -EPROTO,
			"the ids of users in schema \"%s\" are of the type %s, but sync.user_id is "
			"%s: set the option to %s, or convert the schema with the script "
			"upgrade/user_id.sql, as docs/upgrading.md describes",
			m->conf->schema, pg_answer_text(&a, 0, 0), m->conf->user_id,
			pg_answer_text(&a, 0, 0));
	pg_answer_release(&a);
	return rc;
}

static int migrate_with_lock(struct migrate *m)
{
	char unlock[64];
	unsigned last;
	int rc = migrate_lock(m);

	if (rc == 0)
		rc = migrate_make_schema(m);
	if (rc == 0)
		rc = migrate_make_table(m);
	if (rc == 0)
		rc = migrate_check_applied(m, &last);
	if (rc == 0 && m->conf->n && m->conf->list[m->conf->n - 1].version > last)
		rc = migrate_check_owner(m);
	for (unsigned i = 0; rc == 0 && i < m->conf->n; i++)
		if (m->conf->list[i].version > last)
			rc = migrate_apply_one(m, &m->conf->list[i]);
	snprintf(unlock, sizeof(unlock), "SELECT pg_advisory_unlock(%" PRId64 ")", PG_LOCK_MIGRATE);
	/* after a fault, the lock and the transaction end with the connection */
	return rc ? rc : migrate_script(m, "migration lock", unlock);
}

static int migrate_session(struct migrate *m)
{
	bool is_done;
	unsigned last;
	int rc;

	m->quoted = PQescapeIdentifier(pg_conn_raw(m->c), m->conf->schema, strlen(m->conf->schema));
	if (!m->quoted)
		return migrate_fail(m, -EINVAL, "\"%s\" is no name for a schema", m->conf->schema);
	rc = migrate_is_done(m, &is_done);
	if (rc == 0)
		rc = is_done ? migrate_check_applied(m, &last) : migrate_with_lock(m);
	if (rc == 0 && m->conf->user_id)
		rc = migrate_check_user_id(m);
	PQfreemem(m->quoted);
	return rc;
}

int migrate_run(struct pg_connection *c, const struct migrate_conf *conf, char **why)
{
	struct migrate m = { .c = c, .conf = conf, .why = why };

	*why = NULL;
	return migrate_session(&m);
}

/* SPDX-License-Identifier: MIT */
/*
 * Opens a session at the first host of the connection string that is fit, and sets on it all that
 * our statements depend on, whatever ALTER ROLE and ALTER DATABASE have set.
 */
#include <errno.h>
#include <stdatomic.h>
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "pg/conn_private.h"
#include "pg/hosts.h"
#include "pg/pooler.h"
#include "pg/remedy.h"

#define TOO_MANY_CONNECTIONS "53300"
#define LIMIT_AGAIN_US	     (60 * USEC_PER_SEC)

static int session_check_encoding(struct pg_connection *c)
{
	const char *encoding = PQparameterStatus(c->pg, "server_encoding");
	char text[PG_ERROR_BYTES];

	if (encoding && strcmp(encoding, "UTF8") == 0)
		return 0;
	snprintf(text, sizeof(text),
		 "database \"%s\" has the encoding %s, but UTF8 is needed; make one with "
		 "CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0",
		 PQdb(c->pg), encoding ? encoding : "unknown");
	pg_conn_keep_error(c, text);
	return -EILSEQ;
}

/* An old session stays read only when the setting has changed, so it is not kept. */
static int session_check_writable(struct pg_connection *c, const struct pg_answer *a)
{
	if (!pg_answer_bool(a, 0, 1) && strcmp(pg_answer_text(a, 0, 2), "on") != 0)
		return 0;
	pg_conn_keep_error(c, pg_answer_bool(a, 0, 1)
				      ? "the server is a standby, which is read only"
				      : "the database is read only: default_transaction_read_only "
					"is on for the server, the database or the role");
	return -EROFS;
}

static int session_set_up(struct pg_connection *c, usec_t deadline)
{
	/*
	 * The role's or database's own search_path is in force here: every name is qualified.
	 * Settings that this version of the server does not have are left out.  The server notices
	 * a client whose machine has lost its power after 25 s, and ends the session with its
	 * locks.
	 */
	static const char sql[] =
		"SELECT pg_catalog.count(pg_catalog.set_config(v.name, v.setting, false)), "
		"pg_catalog.pg_is_in_recovery(), "
		"pg_catalog.current_setting('transaction_read_only') "
		"FROM (VALUES ('search_path', pg_catalog.concat("
		"pg_catalog.quote_ident($1::pg_catalog.text), ', pg_temp')), "
		"('statement_timeout', $2::pg_catalog.text), "
		"('lock_timeout', $3::pg_catalog.text), "
		"('scopewire.origin', $4::pg_catalog.text), "
		"('jit', 'off'), ('synchronous_commit', 'on'), ('TimeZone', 'UTC'), "
		"('DateStyle', 'ISO, YMD'), ('IntervalStyle', 'postgres'), "
		"('bytea_output', 'hex'), ('extra_float_digits', '1'), "
		"('standard_conforming_strings', 'on'), ('quote_all_identifiers', 'off'), "
		"('xmloption', 'content'), ('row_security', 'on'), "
		"('default_transaction_isolation', 'read committed'), "
		"('default_transaction_deferrable', 'off'), ('plan_cache_mode', 'auto'), "
		"('idle_session_timeout', '0'), ('idle_in_transaction_session_timeout', '0'), "
		"('transaction_timeout', '0'), ('tcp_keepalives_idle', '10'), "
		"('tcp_keepalives_interval', '5'), ('tcp_keepalives_count', '3')) v(name, setting) "
		"WHERE v.name OPERATOR(pg_catalog.=) ANY ("
		"SELECT s.name FROM pg_catalog.pg_settings s) "
		"OR v.name OPERATOR(pg_catalog.=) 'scopewire.origin'";
	char statement_ms[12], lock_ms[12];
	const char *values[] = { c->o.schema, statement_ms, lock_ms,
				 c->o.origin ? c->o.origin : "sql" };
	struct pg_query q = { .sql = sql, .n = 4, .values = values };
	struct pg_answer a = { 0 };
	int rc = -EHOSTDOWN;

	snprintf(statement_ms, sizeof(statement_ms), "%u", c->o.statement_timeout_ms);
	snprintf(lock_ms, sizeof(lock_ms), "%u", c->o.lock_timeout_ms);
	if (pg_conn_run(c, deadline, &q, &a) == PG_FINE && pg_answer_rows(&a) == 1)
		rc = session_check_writable(c, &a);
	pg_answer_release(&a);
	return rc;
}

static int session_open_at(struct pg_connection *c, unsigned i)
{
	usec_t deadline = clock_mono() + c->o.connect_timeout_ms * USEC_PER_MSEC;
	int rc = pg_conn_connect(c, i, deadline);

	if (rc == 0)
		rc = pg_pooler_check(c, i, deadline);
	if (rc == 0)
		rc = session_check_encoding(c);
	if (rc == 0)
		rc = session_set_up(c, deadline);
	return rc && c->is_cancelled ? -ECANCELED : rc;
}

/* Many threads connect at the same time: one line a minute for all of them. */
static void session_log_limit(const char *why)
{
	static _Atomic usec_t next;
	usec_t now = clock_mono(), due = atomic_load(&next);

	if (now >= due && atomic_compare_exchange_strong(&next, &due, now + LIMIT_AGAIN_US))
		log_warn("database: the server refused a connection: %s", why);
}

int pg_conn_open(const struct pg_options *o, struct pg_connection **out, char **why)
{
	struct pg_connection *c = xcalloc(1, sizeof(*c));
	unsigned n = pg_hosts_count(o->conninfo);
	struct strbuf reasons;
	int rc = -EHOSTDOWN;

	c->o = *o;
	strbuf_init(&reasons, 256);
	for (unsigned i = 0; i < n && rc && rc != -ECANCELED; i++) {
		rc = session_open_at(c, i);
		if (rc) {
			strbuf_addf(&reasons, "%s%s", reasons.len ? "; " : "", pg_conn_error(c));
			pg_remedy_add(&reasons, c);
		}
		if (rc && strcmp(c->sqlstate, TOO_MANY_CONNECTIONS) == 0)
			session_log_limit(reasons.ptr);
	}
	if (rc == 0) {
		*out = c;
		c = NULL;
	} else if (why) {
		*why = xstrdup(reasons.ptr);
	}
	strbuf_release(&reasons);
	pg_conn_close(c);
	return rc;
}

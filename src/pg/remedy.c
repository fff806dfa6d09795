/* SPDX-License-Identifier: MIT */
/*
 * The first row that fits decides.  In a remedy, %r is the role, %d the database and %s the schema,
 * each as an SQL identifier.
 */
#include <string.h>
#include "base/mem.h"
#include "pg/conn_private.h"
#include "pg/remedy.h"

static const struct {
	const char *sqlstate;
	const char *word; /* in the message; NULL: any */
	const char *remedy;
} remedies[] = {
	{ "28P01", NULL,
	  "check database.user and database.password (DB_USERNAME, DB_PASSWORD), or set the "
	  "password: ALTER ROLE %r PASSWORD '...'" },
	{ "28000", "pg_hba.conf",
	  "add a line for the role %r, the database %d and this machine's address to "
	  "pg_hba.conf of the server, and reload it" },
	{ "28000", "not permitted to log in", "ALTER ROLE %r LOGIN" },
	{ "28000", "does not exist",
	  "check database.user (DB_USERNAME), or create it: CREATE ROLE %r LOGIN PASSWORD '...'" },
	{ "28000", NULL, "check database.user and pg_hba.conf of the server" },
	{ "3D000", NULL,
	  "check database.name (DB_DATABASE), or create it: CREATE DATABASE %d OWNER %r "
	  "ENCODING 'UTF8' TEMPLATE template0" },
	{ "42501", "permission denied for database", "GRANT CONNECT, CREATE ON DATABASE %d TO %r" },
	{ "42501", "must be owner of",
	  "run scopewired --migrate as the owner of the schema %s, then grants.sql again" },
	{ "42501", NULL,
	  "GRANT USAGE, CREATE ON SCHEMA %s TO %r, or run scopewired --migrate as the owner of the "
	  "schema and then grants.sql" },
	{ "53300", NULL,
	  "raise max_connections of the server or the limit of the role (ALTER ROLE %r CONNECTION "
	  "LIMIT n), or lower sync.connections, sync.authorize_connections, "
	  "sync.rule_connections and database.replay_connections" },
	{ "53100", NULL, "the disk of the database server is full: free space on it" },
	{ "53200", NULL, "the database server has too little memory" },
	{ "57P03", NULL,
	  "the database server starts or stops: try again, or set database.required = no, with "
	  "which the daemon waits for it" },
	{ "25006", NULL, "the database is read only: use the primary server" },
	{ "42P07", NULL,
	  "another program made an object of this name in the schema %s: set database.schema to "
	  "a schema of its own" },
	{ "42710", NULL,
	  "another program made an object of this name in the schema %s: set database.schema to "
	  "a schema of its own" },
	{ "42723", NULL,
	  "another program made a function of this name in the schema %s: set database.schema to "
	  "a schema of its own" },
	{ "42601", NULL, "the server may be too old: PostgreSQL 15 or newer is needed" },
	/* the first function that a start calls */
	{ "42883", "node_conflict",
	  "the schema %s has tables, but not its functions: it was restored only in part. "
	  "If nothing in it is needed, DROP SCHEMA %s CASCADE and start again; otherwise "
	  "restore a whole dump" },
	{ "42883", NULL, "the server may be too old: PostgreSQL 15 or newer is needed" },
	{ "58030", NULL, "the server cannot read or write its files: see its log" },
	{ "58P01", NULL, "the server does not find a file of its own: see its log" },
};

static void remedy_add_name(struct strbuf *out, struct pg_connection *c, char which)
{
	PGconn *pg = pg_conn_raw(c);
	const char *name = which == 'r' ? PQuser(pg) : which == 'd' ? PQdb(pg) : c->o.schema;
	char *quoted = name ? PQescapeIdentifier(pg, name, strlen(name)) : NULL;

	strbuf_add_str(out, quoted ? quoted : "?");
	if (quoted)
		PQfreemem(quoted);
}

static void remedy_add(struct strbuf *out, struct pg_connection *c, const char *remedy)
{
	strbuf_add_str(out, ": ");
	for (; *remedy; remedy++) {
		if (*remedy == '%' && remedy[1])
			remedy_add_name(out, c, *++remedy);
		else
			strbuf_add_c(out, *remedy);
	}
}

void pg_remedy_add(struct strbuf *out, struct pg_connection *c)
{
	for (size_t i = 0; i < ARRAY_SIZE(remedies); i++) {
		const char *word = remedies[i].word;

		if (strcmp(c->sqlstate, remedies[i].sqlstate) != 0 ||
		    (word && !strstr(c->error, word)))
			continue;
		remedy_add(out, c, remedies[i].remedy);
		return;
	}
}

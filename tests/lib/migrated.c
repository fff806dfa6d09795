/* SPDX-License-Identifier: MIT */
/* See migrated.h.  One thread per call. */
#include "migrated.h"

#define CONNECT_MS  10000
#define LOCK_WAIT_S 30

int migrated_as(const char *conninfo, const struct migrate_conf *conf, char **why)
{
	struct pg_options o = { .conninfo = conninfo,
				.schema = conf->schema,
				.connect_timeout_ms = CONNECT_MS };
	struct pg_connection *c;
	int rc;

	*why = NULL;
	rc = pg_conn_open(&o, &c, why);
	if (rc)
		return rc;
	rc = migrate_run(c, conf, why);
	pg_conn_close(c);
	return rc;
}

int migrated(const char *conninfo, const char *schema, char **why)
{
	return migrated_as(conninfo,
			   &(struct migrate_conf){ .schema = schema,
						   .user_id = "bigint",
						   .list = migrations,
						   .n = migrations_count,
						   .lock_wait_s = LOCK_WAIT_S },
			   why);
}

/* SPDX-License-Identifier: MIT */
#include "conf/conf_pg.h"

struct pg_options conf_pg_options(const struct conf_database *db, const char *conninfo)
{
	return (struct pg_options){ .conninfo = conninfo,
				    .password = db->password,
				    .schema = db->schema,
				    .connect_timeout_ms = db->connect_timeout_s * 1000 };
}

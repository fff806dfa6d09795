/* SPDX-License-Identifier: MIT */
/*
 * Checks a connection string or URI with libpq's own parser.  Messages name the part that is wrong
 * and never repeat it: it may contain a password.  No state; any thread.
 */
#include <libpq-fe.h>
#include "base/mem.h"
#include "base/str.h"
#include "pg/dsn.h"

#define ENCODE "; in a URI write / ? # : @ % of a password as %2F %3F %23 %3A %40 %25"

static const char *dsn_check_option(const PQconninfoOption *o)
{
	if (strcmp(o->keyword, "host") == 0 && strchr(o->val, '@'))
		return "the host has an @" ENCODE;
	if (strcmp(o->keyword, "port") == 0 && o->val[strspn(o->val, "0123456789,")])
		return "the port is not a number" ENCODE;
	if (strcmp(o->keyword, "dbname") == 0 && strchr(o->val, '@'))
		return "the database's name has an @" ENCODE;
	return NULL;
}

const char *dsn_check(const char *dsn, char **password)
{
	char *message = NULL;
	PQconninfoOption *options = PQconninfoParse(dsn, &message);
	const char *wrong = NULL;

	*password = NULL;
	PQfreemem(message); /* it can have a part of the password */
	if (!options)
		return "is not a connection string of libpq (host=... dbname=...) or a "
		       "postgresql:// URI" ENCODE;
	for (PQconninfoOption *o = options; o->keyword && !wrong; o++)
		if (o->val)
			wrong = dsn_check_option(o);
	for (PQconninfoOption *o = options; o->keyword && !wrong; o++)
		if (o->val && strcmp(o->keyword, "password") == 0)
			*password = xstrdup(o->val);
	PQconninfoFree(options);
	return wrong;
}

/* SPDX-License-Identifier: MIT */
/* DB_URL: what is read of it reaches libpq as it was read, and no message repeats a part of it. */
#include <libpq-fe.h>
#include "fuzz.h"
#include "conf/conf_url.h"
#include "conf/conninfo.h"

/* Names of libpq for the options, in the order of db_url_options. */
static const char *const keywords[DB_URL_OPTIONS] = {
	"host",	   "port",	  "dbname",  "user",   "password",
	"sslmode", "sslrootcert", "sslcert", "sslkey", "connect_timeout",
};

static const char *value_of(const PQconninfoOption *options, const char *keyword)
{
	for (const PQconninfoOption *o = options; o->keyword; o++)
		if (strcmp(o->keyword, keyword) == 0)
			return o->val;
	return NULL;
}

static void check_reaches_libpq(const struct db_url *url)
{
	PQconninfoOption *options;
	struct strbuf b;

	strbuf_init(&b, 64);
	for (size_t i = 0; i < DB_URL_OPTIONS; i++)
		if (url->values[i])
			conninfo_add(&b, keywords[i], url->values[i]);
	options = PQconninfoParse(b.ptr, NULL);
	MUST(options);
	for (size_t i = 0; i < DB_URL_OPTIONS; i++)
		if (url->values[i] && *url->values[i])
			MUST(strcmp(value_of(options, keywords[i]), url->values[i]) == 0);
	PQconninfoFree(options);
	strbuf_release(&b);
}

static void fuzz(struct str_view input)
{
	char *text = sv_dup(input);
	struct db_url url;
	const char *wrong = db_url_parse(text, &url);

	if (wrong) {
		MUST(*wrong);
	} else if (url.is_postgres) {
		MUST(url.values[0]);
		MUST(!url.ignored || *url.ignored);
		check_reaches_libpq(&url);
	} else {
		for (size_t i = 0; i < DB_URL_OPTIONS; i++)
			MUST(!url.values[i]);
	}
	db_url_release(&url);
	free(text);
}

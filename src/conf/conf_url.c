/* SPDX-License-Identifier: MIT */
/*
 * scheme://user:password@host:port/database?name=value&...#ignored
 *
 * The authority ends at the first of / ? #, and the user's part at its last '@': a password may
 * have an '@' as it is, other special characters as %XX.
 */
#include "base/hex.h"
#include "base/mem.h"
#include "conf/conf_table.h"
#include "conf/conf_url.h"

const char *const db_url_options[DB_URL_OPTIONS] = {
	[URL_HOST] = "host",
	[URL_PORT] = "port",
	[URL_NAME] = "name",
	[URL_USER] = "user",
	[URL_PASSWORD] = "password",
	"sslmode",
	"sslrootcert",
	"sslcert",
	"sslkey",
	"connect_timeout_s",
};

/* What the query calls them. */
static const char *const parameters[DB_URL_OPTIONS] = { "host",		  "port",     "database",
							"username",	  "password", "sslmode",
							"sslrootcert",	  "sslcert",  "sslkey",
							"connect_timeout" };

/* %XX is decoded, a % before anything else stays; heap. */
static char *url_decode(struct str_view s, bool plus_is_blank)
{
	struct strbuf b;
	char *text;

	strbuf_init(&b, s.len);
	for (size_t i = 0; i < s.len; i++) {
		int high = -1, low = -1;

		if (s.ptr[i] == '%' && s.len - i > 2) {
			high = hex_value(s.ptr[i + 1]);
			low = hex_value(s.ptr[i + 2]);
		}
		if (high >= 0 && low >= 0) {
			strbuf_add_c(&b, (char)(high * 16 + low));
			i += 2;
		} else {
			strbuf_add_c(&b, s.ptr[i] == '+' && plus_is_blank ? ' ' : s.ptr[i]);
		}
	}
	text = strbuf_detach(&b);
	strbuf_release(&b);
	return text;
}

static void url_set(struct db_url *url, size_t i, char *value)
{
	secret_free(url->values[i]);
	url->values[i] = value;
}

static void url_parameter(struct db_url *url, struct str_view part)
{
	ptrdiff_t equals = sv_find(part, '=');
	struct str_view name = equals < 0 ? part : sv_n(part.ptr, (size_t)equals);
	struct str_view value = sv_skip(part, name.len + 1);
	char *more;

	for (size_t i = 0; i < DB_URL_OPTIONS; i++) {
		if (sv_eq_c(name, parameters[i])) {
			url_set(url, i, url_decode(value, true));
			return;
		}
	}
	if (!name.len)
		return;
	/* an unencoded & of a password could be here */
	for (size_t i = 0; i < name.len; i++)
		if (!strchr("abcdefghijklmnopqrstuvwxyz_", name.ptr[i]))
			return;
	more = textf("%s%s%.*s", url->ignored ? url->ignored : "", url->ignored ? ", " : "",
		     SV_ARG(name));
	free(url->ignored);
	url->ignored = more;
}

/* The first of the characters in s, or s.len. */
static size_t url_span(struct str_view s, const char *characters)
{
	size_t n = 0;

	while (n < s.len && !strchr(characters, s.ptr[n]))
		n++;
	return n;
}

static const char *url_authority(struct db_url *url, struct str_view s)
{
	size_t at = s.len, colon;
	uint64_t port;

	while (at > 0 && s.ptr[at - 1] != '@')
		at--;
	if (at) {
		struct str_view user = sv_n(s.ptr, at - 1);

		colon = url_span(user, ":");
		url_set(url, URL_USER, url_decode(sv_n(user.ptr, colon), false));
		if (colon < user.len)
			url_set(url, URL_PASSWORD, url_decode(sv_skip(user, colon + 1), false));
		s = sv_skip(s, at);
	}
	colon = s.len;
	while (colon > 0 && s.ptr[colon - 1] != ':' && s.ptr[colon - 1] != ']')
		colon--;
	if (colon && s.ptr[colon - 1] == ':') {
		struct str_view digits = sv_skip(s, colon);

		if (!sv_to_u64(digits, 65535, &port) || !port)
			return "the port in the URL is not a number from 1 to 65535; write / ? # : "
			       "% in a password as %2F %3F %23 %3A %25";
		url_set(url, URL_PORT, sv_dup(digits));
		s.len = colon - 1;
	}
	if (!s.len)
		return "the URL has no host; write / ? # : % in a password as %2F %3F %23 %3A %25";
	if (s.len > 2 && *s.ptr == '[' && s.ptr[s.len - 1] == ']')
		s = sv_n(s.ptr + 1, s.len - 2);
	url_set(url, URL_HOST, url_decode(s, false));
	return NULL;
}

/* What is after "scheme://". */
static const char *url_take(struct db_url *url, struct str_view s)
{
	struct str_view part;
	const char *wrong;

	s.len = url_span(s, "#");
	part = sv_n(s.ptr, url_span(s, "/?"));
	wrong = url_authority(url, part);
	if (wrong)
		return wrong;
	s = sv_skip(s, part.len);
	part = sv_n(s.ptr, url_span(s, "?"));
	if (part.len > 1)
		url_set(url, URL_NAME, url_decode(sv_skip(part, 1), false));
	s = sv_skip(s, part.len + 1);
	while (sv_split(&s, '&', &part))
		if (part.len)
			url_parameter(url, part);
	return NULL;
}

const char *redis_url_parse(const char *text, struct db_url *url, bool *is_tls)
{
	const char *colon = strstr(text, "://");
	struct str_view scheme = sv_n(text, colon ? (size_t)(colon - text) : 0);

	*url = (struct db_url){ .is_postgres = false };
	*is_tls = sv_eq_c(scheme, "rediss") || sv_eq_c(scheme, "tls");
	if (!*is_tls && !sv_eq_c(scheme, "redis") && !sv_eq_c(scheme, "tcp"))
		return "must be a URL such as redis://user:password@host:6379/0, or with rediss "
		       "for TLS";
	if (strstr(text, "%00"))
		return "the URL has a NUL (%00)";
	return url_take(url, sv(colon + 3));
}

const char *db_url_parse(const char *text, struct db_url *url)
{
	struct str_view s = sv(text), part;
	const char *colon = strstr(text, "://");

	*url = (struct db_url){ .is_postgres = false };
	if (!colon)
		return "must be a URL such as pgsql://user:password@host:5432/database";
	part = sv_n(text, (size_t)(colon - text));
	url->is_postgres =
		sv_eq_c(part, "pgsql") || sv_eq_c(part, "postgres") || sv_eq_c(part, "postgresql");
	if (!url->is_postgres)
		return NULL;
	if (strstr(text, "%00"))
		return "the URL has a NUL (%00), which PostgreSQL cannot take";
	return url_take(url, sv_skip(s, part.len + 3));
}

void db_url_release(struct db_url *url)
{
	for (size_t i = 0; i < DB_URL_OPTIONS; i++)
		secret_free(url->values[i]);
	free(url->ignored);
}

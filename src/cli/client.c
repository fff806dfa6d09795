/* SPDX-License-Identifier: MIT */
/*
 * A token is never an argument of the command line, where other users of the machine could read
 * it, and no redirect is followed with it.
 */
#include <curl/curl.h>
#include <errno.h>
#include "base/clock.h"
#include "base/mem.h"
#include "conf/conf_table.h"
#include "cli/client.h"

#define CONNECT_MS     5000L
#define REQUEST_MS     30000L
#define SILENCE_US     (45 * USEC_PER_SEC)
#define TOKEN_MAX      1024
#define TOKEN_VARIABLE "SCOPEWIRECTL_TOKEN"

struct client {
	CURL *curl;
	char *base;   /* URL without a path */
	char *socket; /* or NULL */
	char *token;  /* or NULL */
	char *cacert; /* or NULL */
};

void client_free(struct client *c)
{
	if (!c)
		return;
	curl_easy_cleanup(c->curl);
	free(c->base);
	free(c->socket);
	free(c->cacert);
	secret_free(c->token);
	free(c);
}

static char *client_read_token(const char *path, char **why)
{
	char line[TOKEN_MAX];
	FILE *in = fopen(path, "re");

	if (!in || !fgets(line, sizeof(line), in)) {
		*why = textf("%s: the token cannot be read: %s", path,
			     in ? "the file is empty" : strerror(errno));
		if (in)
			fclose(in);
		return NULL;
	}
	fclose(in);
	line[strcspn(line, "\r\n")] = '\0';
	return xstrdup(line);
}

/* The token with the broadest scope, or NULL. */
static char *client_conf_token(const struct conf_admin *conf)
{
	static const char *const scopes[] = { "write", "read", "metrics" };

	for (size_t i = 0; i < 3; i++)
		for (char **word = conf->tokens; word && *word; word++) {
			struct str_view rest = sv(*word), name, scope;

			if (sv_split(&rest, ':', &name) && sv_split(&rest, ':', &scope) &&
			    sv_eq_c(scope, scopes[i]))
				return sv_dup(rest);
		}
	return NULL;
}

/* The address of the listener in the configuration. */
static int client_from_conf(struct client *c, const struct conf_admin *conf, char **why)
{
	char host[CONF_ADMIN_HOST_SIZE];
	unsigned port;

	if (conf_admin_is_off(conf)) {
		*why = xstrdup("there is no admin listener: set listen in the section [admin], or "
			       "give --url or --socket");
		return -ENOENT;
	}
	if (conf_admin_is_unix(conf)) {
		c->socket = xstrdup(conf->listen);
		c->base =
			xstrdup(*conf->tls_certificate ? "https://localhost" : "http://localhost");
		return 0;
	}
	if (!conf_admin_address(conf, host, &port))
		return -EINVAL;
	if (strcmp(host, "0.0.0.0") == 0 || strcmp(host, "::") == 0)
		snprintf(host, sizeof(host), "localhost");
	c->base = textf("%s://%s%s%s:%u", *conf->tls_certificate ? "https" : "http",
			strchr(host, ':') ? "[" : "", host, strchr(host, ':') ? "]" : "", port);
	return 0;
}

struct client *client_new(const struct client_options *o, const struct conf *conf, char **why)
{
	struct client *c = xcalloc(1, sizeof(*c));
	const char *variable = getenv(TOKEN_VARIABLE);

	*why = NULL;
	if (o->socket) {
		c->socket = xstrdup(o->socket);
		c->base = xstrdup(o->url ? o->url : "http://localhost");
	} else if (o->url) {
		c->base = xstrdup(o->url);
	} else if (client_from_conf(c, &conf->admin, why)) {
		client_free(c);
		return NULL;
	}
	if (o->token_file)
		c->token = client_read_token(o->token_file, why);
	else if (variable && *variable)
		c->token = xstrdup(variable);
	else if (conf)
		c->token = client_conf_token(&conf->admin);
	c->cacert = o->cacert ? xstrdup(o->cacert) : NULL;
	c->curl = curl_easy_init();
	if (*why || !c->curl) {
		client_free(c);
		return NULL;
	}
	return c;
}

char *client_query(struct client *c, const char *path, const char *const *pairs, size_t n)
{
	struct strbuf b;
	bool has_some = false;

	strbuf_init(&b, 128);
	strbuf_add_str(&b, path);
	for (size_t i = 0; i + 1 < 2 * n; i += 2) {
		char *value;

		if (!pairs[i + 1])
			continue;
		value = curl_easy_escape(c->curl, pairs[i + 1], 0);
		strbuf_addf(&b, "%c%s=%s", has_some ? '&' : '?', pairs[i], value ? value : "");
		curl_free(value);
		has_some = true;
	}
	return strbuf_detach(&b);
}

static size_t client_on_body(char *data, size_t size, size_t n, void *ctx)
{
	strbuf_add(ctx, data, size * n);
	return size * n;
}

static struct curl_slist *client_headers(const struct client *c, const char *body)
{
	struct curl_slist *headers = NULL;
	char *line;

	if (body)
		headers = curl_slist_append(headers, "Content-Type: application/json");
	if (!c->token)
		return headers;
	line = textf("Authorization: Bearer %s", c->token);
	headers = curl_slist_append(headers, line);
	secret_free(line);
	return headers;
}

/* error: CURL_ERROR_SIZE bytes. */
static void client_prepare(struct client *c, struct curl_slist *headers, char *error)
{
	*error = '\0';
	curl_easy_reset(c->curl);
	curl_easy_setopt(c->curl, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(c->curl, CURLOPT_PROXY, "");
	curl_easy_setopt(c->curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(c->curl, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_MS);
	curl_easy_setopt(c->curl, CURLOPT_ERRORBUFFER, error);
	curl_easy_setopt(c->curl, CURLOPT_HTTPHEADER, headers);
	if (c->socket)
		curl_easy_setopt(c->curl, CURLOPT_UNIX_SOCKET_PATH, c->socket);
	if (c->cacert)
		curl_easy_setopt(c->curl, CURLOPT_CAINFO, c->cacert);
}

static CURLcode client_perform(struct client *c, const char *path)
{
	char *url = textf("%s%s", c->base, path);
	CURLcode rc;

	curl_easy_setopt(c->curl, CURLOPT_URL, url);
	rc = curl_easy_perform(c->curl);
	free(url);
	return rc;
}

/* -EHOSTDOWN with *why; releases what the answer has. */
static int client_fail(const struct client *c, struct client_answer *out, const char *error,
		       char **why)
{
	*why = textf("the admin listener at %s cannot be reached: %s; does the daemon run, "
		     "and does it have [admin] listen?",
		     c->socket ? c->socket : c->base, error);
	strbuf_release(&out->body);
	return -EHOSTDOWN;
}

int client_request(struct client *c, const char *path, const char *body, struct client_answer *out,
		   char **why)
{
	struct curl_slist *headers = client_headers(c, body);
	char error[CURL_ERROR_SIZE];
	CURLcode rc;

	strbuf_init(&out->body, 1024);
	client_prepare(c, headers, error);
	curl_easy_setopt(c->curl, CURLOPT_TIMEOUT_MS, REQUEST_MS);
	curl_easy_setopt(c->curl, CURLOPT_WRITEFUNCTION, client_on_body);
	curl_easy_setopt(c->curl, CURLOPT_WRITEDATA, &out->body);
	if (body)
		curl_easy_setopt(c->curl, CURLOPT_POSTFIELDS, body);
	rc = client_perform(c, path);
	curl_slist_free_all(headers);
	if (rc)
		return client_fail(c, out, *error ? error : curl_easy_strerror(rc), why);
	curl_easy_getinfo(c->curl, CURLINFO_RESPONSE_CODE, &out->status);
	return 0;
}

/* ---- streams ---- */

struct client_stream {
	struct client *client;
	const struct client_reader *reader;
	struct client_answer *out;
	bool is_enough;	 /* for the reader */
	usec_t heard_at; /* mono: the last bytes, or the start */
	bool is_silent;
};

static size_t client_on_stream(char *data, size_t size, size_t n, void *ctx)
{
	struct client_stream *s = ctx;

	s->heard_at = clock_mono();
	curl_easy_getinfo(s->client->curl, CURLINFO_RESPONSE_CODE, &s->out->status);
	if (s->out->status != 200)
		strbuf_add(&s->out->body, data, size * n);
	else
		s->is_enough = !s->reader->on_bytes(s->reader->ctx, sv_n(data, size * n));
	return s->is_enough ? 0 : size * n;
}

/*
 * Called about once a second.  A stream with nothing to show has a comment every 15 seconds, which
 * is too little for CURLOPT_LOW_SPEED_LIMIT: that counts whole bytes a second.
 */
static int client_on_progress(void *ctx, curl_off_t down_total UNUSED, curl_off_t down UNUSED,
			      curl_off_t up_total UNUSED, curl_off_t up UNUSED)
{
	struct client_stream *s = ctx;

	s->is_silent = clock_mono() - s->heard_at >= SILENCE_US;
	return s->is_silent;
}

int client_stream(struct client *c, const char *path, const struct client_reader *reader,
		  struct client_answer *out, char **why)
{
	struct curl_slist *headers = client_headers(c, NULL);
	struct client_stream s = {
		.client = c, .reader = reader, .out = out, .heard_at = clock_mono()
	};
	char error[CURL_ERROR_SIZE];
	CURLcode rc;

	out->status = 0;
	strbuf_init(&out->body, 0);
	client_prepare(c, headers, error);
	curl_easy_setopt(c->curl, CURLOPT_NOPROGRESS, 0L);
	curl_easy_setopt(c->curl, CURLOPT_XFERINFOFUNCTION, client_on_progress);
	curl_easy_setopt(c->curl, CURLOPT_XFERINFODATA, &s);
	curl_easy_setopt(c->curl, CURLOPT_WRITEFUNCTION, client_on_stream);
	curl_easy_setopt(c->curl, CURLOPT_WRITEDATA, &s);
	rc = client_perform(c, path);
	curl_slist_free_all(headers);
	if (s.is_silent) {
		*why = textf("the admin listener at %s has sent nothing for %d seconds; is the "
			     "network cut, or does the daemon hang?",
			     c->socket ? c->socket : c->base, (int)(SILENCE_US / USEC_PER_SEC));
		strbuf_release(&out->body);
		return -EHOSTDOWN;
	}
	if (rc && !s.is_enough)
		return client_fail(c, out, *error ? error : curl_easy_strerror(rc), why);
	curl_easy_getinfo(c->curl, CURLINFO_RESPONSE_CODE, &out->status);
	return 0;
}

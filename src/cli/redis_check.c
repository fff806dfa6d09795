/* SPDX-License-Identifier: MIT */
/*
 * The connection, and TLS with verification, are libcurl's; its URL is only the address.  Three
 * commands and the first lines of their answers need no more of Redis's protocol than is here.
 */
#include <curl/curl.h>
#include <poll.h>
#include "base/clock.h"
#include "base/mem.h"
#include "cli/redis_check.h"

#define CHECK_MS 5000L

struct redis_check {
	CURL *curl;
	char error[CURL_ERROR_SIZE];
	usec_t deadline; /* mono */
	struct strbuf commands;
	struct strbuf answers;
};

static void redis_check_add(struct redis_check *k, const char *const *words, unsigned n)
{
	strbuf_addf(&k->commands, "*%u\r\n", n);
	for (unsigned i = 0; i < n; i++)
		strbuf_addf(&k->commands, "$%zu\r\n%s\r\n", strlen(words[i]), words[i]);
}

/* False: the server closed the connection, or does not answer in time. */
static bool redis_check_wait(struct redis_check *k, short events)
{
	curl_socket_t fd = CURL_SOCKET_BAD;
	struct pollfd p = { .events = events };
	usec_t left = k->deadline - clock_mono();

	curl_easy_getinfo(k->curl, CURLINFO_ACTIVESOCKET, &fd);
	p.fd = fd;
	return left > 0 && poll(&p, 1, (int)(left / USEC_PER_MSEC)) > 0;
}

static bool redis_check_send(struct redis_check *k)
{
	struct str_view rest = strbuf_view(&k->commands);

	while (rest.len) {
		size_t n = 0;
		CURLcode rc = curl_easy_send(k->curl, rest.ptr, rest.len, &n);

		if (rc != CURLE_OK && rc != CURLE_AGAIN)
			return false;
		rest = sv_skip(rest, n);
		if (rest.len && !redis_check_wait(k, POLLOUT))
			return false;
	}
	return true;
}

/* The next line that the server sends, without its end; false: there is none. */
static bool redis_check_line(struct redis_check *k, struct str_view *rest, struct str_view *line)
{
	size_t taken = k->answers.len - rest->len;

	for (;;) {
		char bytes[512];
		size_t n = 0;
		CURLcode rc;

		*rest = sv_skip(strbuf_view(&k->answers), taken);
		if (sv_find(*rest, '\n') >= 0) {
			sv_split(rest, '\n', line);
			line->len -= line->len > 0;
			return true;
		}
		rc = curl_easy_recv(k->curl, bytes, sizeof(bytes), &n);
		if (rc == CURLE_AGAIN ? !redis_check_wait(k, POLLIN) : rc != CURLE_OK || !n)
			return false;
		strbuf_add(&k->answers, bytes, n);
	}
}

/* The answers to AUTH, if has_auth, SELECT, if has_db, and PING. */
static char *redis_check_answers(struct redis_check *k, bool has_auth, bool has_db)
{
	struct str_view rest = SV(""), line, word;

	for (unsigned i = 0; i < 1U + has_auth + has_db; i++) {
		if (!redis_check_line(k, &rest, &line))
			return xstrdup(
				"does not answer as Redis does; check cluster.redis_port and "
				"cluster.redis_tls");
		if (!sv_starts_with(line, SV("-")))
			continue;
		line = sv_skip(line, 1);
		if (sv_starts_with(line, SV("ERR max number of clients")))
			return xstrdup("has reached its max number of clients; raise maxclients "
				       "there");
		sv_split(&line, ' ', &word);
		if (has_auth && i == 0)
			return textf("refused the login (%.*s); check cluster.redis_username and "
				     "cluster.redis_password",
				     SV_ARG(word));
		if (sv_eq_c(word, "NOAUTH"))
			return xstrdup("requires a password; set cluster.redis_password");
		return textf("refused %s: %.*s %.*s",
			     has_db && i == has_auth ? "cluster.redis_db" : "PING", SV_ARG(word),
			     SV_ARG(line));
	}
	return NULL;
}

static char *redis_check_ask(struct redis_check *k, const struct conf_cluster *conf)
{
	bool has_auth = *conf->redis_username || *conf->redis_password;
	char db[STR_U64_SIZE];

	if (*conf->redis_username)
		redis_check_add(
			k, (const char *[]){ "AUTH", conf->redis_username, conf->redis_password },
			3);
	else if (has_auth)
		redis_check_add(k, (const char *[]){ "AUTH", conf->redis_password }, 2);
	str_u64(db, conf->redis_db);
	if (conf->redis_db)
		redis_check_add(k, (const char *[]){ "SELECT", db }, 2);
	redis_check_add(k, (const char *[]){ "PING" }, 1);
	k->deadline = clock_mono() + CHECK_MS * USEC_PER_MSEC;
	if (!redis_check_send(k))
		return xstrdup("does not take commands");
	return redis_check_answers(k, has_auth, conf->redis_db > 0);
}

static char *redis_check_connect(struct redis_check *k, const struct conf_cluster *conf)
{
	bool is_path = *conf->redis_host == '/', is_ipv6 = strchr(conf->redis_host, ':') != NULL;
	char *url = textf("%s://%s%s%s:%u", conf->redis_tls ? "https" : "http", is_ipv6 ? "[" : "",
			  is_path ? "localhost" : conf->redis_host, is_ipv6 ? "]" : "",
			  conf->redis_port ? conf->redis_port : 6379);
	CURLcode rc;

	curl_easy_setopt(k->curl, CURLOPT_URL, url);
	curl_easy_setopt(k->curl, CURLOPT_CONNECT_ONLY, 1L);
	curl_easy_setopt(k->curl, CURLOPT_NOPROXY, "*");
	curl_easy_setopt(k->curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(k->curl, CURLOPT_SSL_ENABLE_ALPN, 0L);
	curl_easy_setopt(k->curl, CURLOPT_CONNECTTIMEOUT_MS, CHECK_MS);
	curl_easy_setopt(k->curl, CURLOPT_ERRORBUFFER, k->error);
	if (is_path)
		curl_easy_setopt(k->curl, CURLOPT_UNIX_SOCKET_PATH, conf->redis_host);
	if (*conf->redis_tls_ca)
		curl_easy_setopt(k->curl, CURLOPT_CAINFO, conf->redis_tls_ca);
	if (*conf->redis_tls_certificate) {
		curl_easy_setopt(k->curl, CURLOPT_SSLCERT, conf->redis_tls_certificate);
		curl_easy_setopt(k->curl, CURLOPT_SSLKEY, conf->redis_tls_key);
	}
	rc = curl_easy_perform(k->curl);
	free(url);
	if (rc == CURLE_OK)
		return NULL;
	return textf("cannot be reached: %s; check cluster.redis_host, cluster.redis_port and "
		     "cluster.redis_tls_ca",
		     *k->error ? k->error : curl_easy_strerror(rc));
}

char *redis_check(const struct conf_cluster *conf)
{
	struct redis_check k = { .curl = curl_easy_init() };
	char *why;

	if (!k.curl)
		return xstrdup("libcurl cannot be used");
	strbuf_init(&k.commands, 128);
	strbuf_init(&k.answers, 128);
	why = redis_check_connect(&k, conf);
	if (!why)
		why = redis_check_ask(&k, conf);
	explicit_bzero(k.commands.ptr, k.commands.cap);
	strbuf_release(&k.commands);
	strbuf_release(&k.answers);
	curl_easy_cleanup(k.curl);
	return why;
}

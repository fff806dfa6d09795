/* SPDX-License-Identifier: MIT */
/*
 * One libcurl multi handle.  All of it belongs to the thread of webhooks, but sender_wake(), which
 * libcurl allows on any thread.
 */
#include <curl/curl.h>
#include <unistd.h>
#include "base/mem.h"
#include "wire/auth.h"
#include "webhook/sender.h"

#define CONNECTIONS_MAX	     64
#define HOST_CONNECTIONS_MAX 8
#define ERROR_BYTES	     (CURL_ERROR_SIZE + 64)
#define HEADERS_MAX_BYTES    65536 /* of a response; libcurl keeps them */

/* The special-purpose registries of IANA for IPv4 and IPv6, without what is globally reachable. */
static const char not_public[] =
	"0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 "
	"192.0.2.0/24 192.88.99.0/24 192.168.0.0/16 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 "
	"224.0.0.0/4 240.0.0.0/4 ::/96 64:ff9b::/96 64:ff9b:1::/48 100::/64 2001::/23 "
	"2001:db8::/32 2002::/16 3fff::/20 5f00::/16 fc00::/7 fe80::/10 fec0::/10 ff00::/8";

struct sender {
	const struct conf_webhooks *conf;
	CURLM *multi;
	struct trusted_proxies not_public;
	unsigned in_flight;
	struct transfer *transfers;
};

struct transfer {
	struct transfer *next, *previous;
	struct sender *sender;
	CURL *easy;
	struct curl_slist *headers;
	char *body;
	struct strbuf response; /* if wants_body */
	bool wants_body;
	size_t received, received_headers;
	bool is_refused; /* an address of the name is not public */
	char error[ERROR_BYTES];
	void (*done)(void *ctx, const struct sender_result *r);
	void *ctx;
};

struct sender *sender_new(const struct conf_webhooks *conf)
{
	struct sender *s = xcalloc(1, sizeof(*s));
	struct str_view bad;

	s->conf = conf;
	if (curl_global_init(CURL_GLOBAL_ALL) == 0)
		s->multi = curl_multi_init();
	if (!s->multi || !trusted_proxies_parse(SV(not_public), &s->not_public, &bad)) {
		sender_free(s);
		return NULL;
	}
	curl_multi_setopt(s->multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, (long)CONNECTIONS_MAX);
	curl_multi_setopt(s->multi, CURLMOPT_MAX_HOST_CONNECTIONS, (long)HOST_CONNECTIONS_MAX);
	curl_multi_setopt(s->multi, CURLMOPT_MAXCONNECTS, (long)CONNECTIONS_MAX);
	return s;
}

static void transfer_free(struct transfer *t)
{
	if (t->easy) {
		curl_multi_remove_handle(t->sender->multi, t->easy);
		curl_easy_cleanup(t->easy);
	}
	curl_slist_free_all(t->headers);
	if (t->previous)
		t->previous->next = t->next;
	else
		t->sender->transfers = t->next;
	if (t->next)
		t->next->previous = t->previous;
	strbuf_release(&t->response);
	free(t->body);
	free(t);
}

void sender_free(struct sender *s)
{
	if (!s)
		return;
	if (s->multi)
		curl_multi_cleanup(s->multi);
	trusted_proxies_release(&s->not_public);
	free(s);
}

/* Whether the address is one of the public Internet. */
static bool sender_is_public(const struct sender *s, const struct sockaddr *address)
{
	struct address a = address_of_sockaddr(address);

	return address_is_known(&a) && !trusted_proxies_contain(&s->not_public, &a);
}

/* libcurl is about to connect to this address. */
static curl_socket_t on_socket_open(void *ctx, curlsocktype purpose, struct curl_sockaddr *a)
{
	struct transfer *t = ctx;

	if (purpose == CURLSOCKTYPE_IPCXN && !t->sender->conf->allow_private &&
	    !sender_is_public(t->sender, &a->addr)) {
		t->is_refused = true;
		return CURL_SOCKET_BAD;
	}
	return socket(a->family, a->socktype | SOCK_CLOEXEC, a->protocol);
}

static size_t on_body(char *bytes, size_t size, size_t n, void *ctx)
{
	struct transfer *t = ctx;

	t->received += size * n;
	if (t->wants_body && t->received <= SENDER_RESPONSE_MAX_BYTES)
		strbuf_add_sv(&t->response, sv_n(bytes, size * n));
	return t->received > SENDER_RESPONSE_MAX_BYTES ? 0 : size * n;
}

static size_t on_header(char *bytes, size_t size, size_t n, void *ctx)
{
	struct transfer *t = ctx;

	(void)bytes;
	t->received_headers += size * n;
	return t->received_headers > HEADERS_MAX_BYTES ? 0 : size * n;
}

static void transfer_add_header(struct transfer *t, const char *line)
{
	struct curl_slist *all = curl_slist_append(t->headers, line);

	if (!all)
		abort(); /* out of memory */
	t->headers = all;
}

static void transfer_add_headers(struct transfer *t, const struct sender_request *r)
{
	char signature[AUTH_HEX_BYTES + 1];
	struct strbuf line;

	strbuf_init(&line, 128);
	transfer_add_header(t, "Content-Type: application/json");
	strbuf_addf(&line, "X-Pusher-Key: %s", r->app->key);
	transfer_add_header(t, line.ptr);
	strbuf_reset(&line);
	auth_sign(r->app->secret, &r->body, 1, signature);
	strbuf_addf(&line, "X-Pusher-Signature: %s", signature);
	transfer_add_header(t, line.ptr);
	strbuf_release(&line);
	transfer_add_header(t, "Expect:");
	for (char **h = r->headers; h && *h; h++)
		transfer_add_header(t, *h);
}

static void transfer_set_options(struct transfer *t, const struct sender_request *r)
{
	const struct conf_webhooks *conf = t->sender->conf;
	CURL *e = t->easy;

	curl_easy_setopt(e, CURLOPT_URL, r->url);
	curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, 0L);
	curl_easy_setopt(e, CURLOPT_PROXY, "");
	curl_easy_setopt(e, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
	curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
	/* A request that has timed out does not wait until the name of its host is found: it would
	 * hold up all others. */
	curl_easy_setopt(e, CURLOPT_QUICK_EXIT, 1L);
	curl_easy_setopt(e, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
	curl_easy_setopt(e, CURLOPT_SSL_VERIFYPEER, 1L);
	curl_easy_setopt(e, CURLOPT_SSL_VERIFYHOST, 2L);
	if (conf->ca_file[0])
		curl_easy_setopt(e, CURLOPT_CAINFO, conf->ca_file);
	curl_easy_setopt(e, CURLOPT_TIMEOUT_MS, (long)conf->timeout_ms);
	curl_easy_setopt(e, CURLOPT_USERAGENT, "scopewire/" PACKAGE_VERSION);
	curl_easy_setopt(e, CURLOPT_POST, 1L);
	curl_easy_setopt(e, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)r->body.len);
	curl_easy_setopt(e, CURLOPT_POSTFIELDS, t->body);
	curl_easy_setopt(e, CURLOPT_HTTPHEADER, t->headers);
	curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(e, CURLOPT_WRITEDATA, t);
	curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(e, CURLOPT_HEADERDATA, t);
	curl_easy_setopt(e, CURLOPT_OPENSOCKETFUNCTION, on_socket_open);
	curl_easy_setopt(e, CURLOPT_OPENSOCKETDATA, t);
	curl_easy_setopt(e, CURLOPT_ERRORBUFFER, t->error);
	curl_easy_setopt(e, CURLOPT_PRIVATE, t);
}

void sender_send(struct sender *s, const struct sender_request *r)
{
	struct transfer *t = xcalloc(1, sizeof(*t));

	t->sender = s;
	t->next = s->transfers;
	if (t->next)
		t->next->previous = t;
	s->transfers = t;
	t->done = r->done;
	t->ctx = r->ctx;
	t->body = sv_dup(r->body);
	t->wants_body = r->wants_body;
	strbuf_init(&t->response, 0);
	transfer_add_headers(t, r);
	t->easy = curl_easy_init();
	if (!t->easy)
		abort(); /* out of memory */
	transfer_set_options(t, r);
	curl_multi_add_handle(s->multi, t->easy);
	s->in_flight++;
}

unsigned sender_in_flight(const struct sender *s)
{
	return s->in_flight;
}

static void sender_finish(struct sender *s, CURL *easy, CURLcode code)
{
	struct sender_result r = { 0 };
	struct transfer *t;
	char *private;
	long status = 0;

	curl_easy_getinfo(easy, CURLINFO_PRIVATE, &private);
	t = (struct transfer *)private;
	curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
	/* A body that is too long was cut; the status is known. */
	if (code == CURLE_WRITE_ERROR && t->received > SENDER_RESPONSE_MAX_BYTES && !t->wants_body)
		code = CURLE_OK;
	r.is_delivered = code == CURLE_OK && status >= 200 && status < 300;
	if (code == CURLE_OK)
		snprintf(t->error, sizeof(t->error), "status %ld", status);
	else if (t->is_refused)
		snprintf(t->error, sizeof(t->error),
			 "the address is not public, and webhooks.allow_private is no");
	else if (t->received_headers > HEADERS_MAX_BYTES)
		snprintf(t->error, sizeof(t->error),
			 "the headers of the response have more than %d bytes", HEADERS_MAX_BYTES);
	else if (!t->error[0])
		snprintf(t->error, sizeof(t->error), "%s", curl_easy_strerror(code));
	r.error = t->error;
	r.body = strbuf_view(&t->response);
	s->in_flight--;
	t->done(t->ctx, &r);
	transfer_free(t);
}

void sender_wait(struct sender *s, int ms)
{
	CURLMsg *m;
	int running, left;

	curl_multi_perform(s->multi, &running);
	if (s->in_flight == (unsigned)running)
		curl_multi_poll(s->multi, NULL, 0, ms, NULL);
	curl_multi_perform(s->multi, &running);
	while ((m = curl_multi_info_read(s->multi, &left)))
		if (m->msg == CURLMSG_DONE)
			sender_finish(s, m->easy_handle, m->data.result);
}

void sender_cancel(struct sender *s)
{
	const struct sender_result r = { .error = "the daemon stops" };

	while (s->transfers) {
		struct transfer *t = s->transfers;

		s->in_flight--;
		t->done(t->ctx, &r);
		transfer_free(t);
	}
}

void sender_wake(struct sender *s)
{
	curl_multi_wakeup(s->multi);
}

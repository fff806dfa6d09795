/* SPDX-License-Identifier: MIT */
/*
 * Whole requests, from their target to the answer: each is answered exactly once.  The first byte
 * is the kind of caller; then come a line "METHOD target", lines with headers, an empty line, the
 * body.
 */
#include "fuzz_api.h"
#include "fuzz_token.h"

enum { BY_NOBODY_YET, AS_SERVER, AS_USER, AS_SIGNER, CALLERS };

static struct str_view basic, bearer;

static struct str_view view_of(struct strbuf *b)
{
	struct str_view s = strbuf_view(b);

	(void)strbuf_detach(b);
	return s;
}

static void start(void)
{
	static const char credentials[] = FUZZ_KEY ":" FUZZ_SECRET;
	unsigned char base64[64];
	struct strbuf b, token;

	fuzz_api_start();
	EVP_EncodeBlock(base64, (const unsigned char *)credentials, sizeof(credentials) - 1);
	strbuf_init(&b, 64);
	strbuf_addf(&b, "Basic %s", (char *)base64);
	basic = view_of(&b);
	strbuf_init(&token, 128);
	fuzz_token_make(&token, SV(FUZZ_SECRET),
			SV("{\"sub\":7,\"exp\":32503680000,\"roles\":[\"staff\"]}"));
	strbuf_init(&b, 128);
	strbuf_addf(&b, "Bearer %s", token.ptr);
	bearer = view_of(&b);
	strbuf_release(&token);
}

static int by_name(const void *a, const void *b)
{
	const struct auth_param *const *x = a, *const *y = b;
	size_t n = (*x)->name.len < (*y)->name.len ? (*x)->name.len : (*y)->name.len;
	int order = memcmp((*x)->name.ptr, (*y)->name.ptr, n);

	return order ? order
		     : ((*x)->name.len > (*y)->name.len) - ((*x)->name.len < (*y)->name.len);
}

static void add_param(struct request *r, const char *name, const char *value)
{
	r->params[r->n_params++] = (struct auth_param){ sv(name), sv(value) };
}

/* Signs the request as the application's server does.  hex gets the signature. */
static void sign(struct request *r, char hex[AUTH_HEX_BYTES + 1])
{
	static char md5[AUTH_MD5_HEX_BYTES + 1], now[24];
	const struct auth_param *sorted[REQUEST_PARAMS_MAX];
	struct strbuf b;

	if (r->n_params > REQUEST_PARAMS_MAX - 5)
		r->n_params = REQUEST_PARAMS_MAX - 5;
	snprintf(now, sizeof(now), "%lld", (long long)(clock_wall() / USEC_PER_SEC));
	add_param(r, "auth_key", FUZZ_KEY);
	add_param(r, "auth_timestamp", now);
	add_param(r, "auth_version", "1.0");
	if (r->body.len) {
		auth_md5_hex(r->body, md5);
		add_param(r, "body_md5", md5);
	}
	for (size_t i = 0; i < r->n_params; i++)
		sorted[i] = &r->params[i];
	qsort(sorted, r->n_params, sizeof(sorted[0]), by_name);
	strbuf_init(&b, 256);
	strbuf_addf(&b, "%.*s\n%.*s\n", SV_ARG(r->method), SV_ARG(r->path));
	for (size_t i = 0; i < r->n_params; i++)
		strbuf_addf(&b, "%s%.*s=%.*s", i ? "&" : "", SV_ARG(sorted[i]->name),
			    SV_ARG(sorted[i]->value));
	auth_sign(fuzz_api.app->secret, &(struct str_view){ b.ptr, b.len }, 1, hex);
	add_param(r, "auth_signature", hex);
	strbuf_release(&b);
}

static void handle(struct request *r, unsigned who)
{
	char hex[AUTH_HEX_BYTES + 1];

	fuzz_api.authorization = who == AS_SERVER ? basic : who == AS_USER ? bearer : SV("");
	if (who == AS_SIGNER)
		sign(r, hex);
	MUST(router_body_limit(&fuzz_api.services, r) > 0);
	router_handle(&fuzz_api.services, r);
	MUST(fuzz_api.answers == 1);
	fake_post_drop();
}

static void refuse(const struct request *r)
{
	struct refusal refusal = { .status = 413, .code = "too_large", .sentence = "Too large." };

	strbuf_init(&refusal.headers, 0);
	strbuf_init(&refusal.body, 0);
	router_refusal(&fuzz_api.services, r, &refusal);
	MUST(sv_is_utf8(strbuf_view(&refusal.body)));
	strbuf_release(&refusal.headers);
	strbuf_release(&refusal.body);
}

static void fuzz(struct str_view input)
{
	unsigned who = input.len ? (unsigned char)input.ptr[0] % CALLERS : 0;
	struct str_view rest = sv_skip(input, input.len > 0), line, method = { 0 };
	struct request r = fuzz_api_request("GET", SV(""));
	const char *headers;
	char *target;

	if (!fuzz_api.app)
		start();
	line = fuzz_api_line(&rest);
	(void)sv_split(&line, ' ', &method);
	r.method = method;
	headers = rest.ptr;
	while (rest.len && fuzz_api_line(&rest).len)
		;
	fuzz_api.headers = sv_n(headers, (size_t)(rest.ptr - headers));
	r.body = rest;
	target = sv_dup(line);
	if (request_set_target(&r, target, line.len) == 0) {
		refuse(&r);
		handle(&r, who);
	}
	free(target);
}

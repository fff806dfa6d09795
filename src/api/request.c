/* SPDX-License-Identifier: MIT */
/*
 * What every transport of the API needs: taking a request target apart, and shaping replies.
 * Everything works inside the caller's buffer, in linear time; only a query with lists of several
 * elements is copied once.
 */
#include <errno.h>
#include <strings.h>
#include "base/annotate.h"
#include "api/request.h"
#include "base/hex.h"
#include "base/mem.h"

/* Elements of lists too, which become one parameter. */
#define PAIRS_MAX (4 * REQUEST_PARAMS_MAX)

static void request_header_list(const struct request *r, const char *name, struct strbuf *out)
{
	strbuf_init(out, 64);
	if (r->header_list)
		r->header_list(r, name, out);
	else
		strbuf_add_sv(out, r->header(r, name));
}

struct client_address request_client(const struct request *r, const struct trusted_proxies *proxies)
{
	struct strbuf x_for, x_proto, forwarded;
	struct client_address client = { .address = r->peer, .is_secure = r->is_tls };

	if (!trusted_proxies_contain(proxies, &r->peer))
		return client;
	request_header_list(r, "X-Forwarded-For", &x_for);
	request_header_list(r, "X-Forwarded-Proto", &x_proto);
	request_header_list(r, "Forwarded", &forwarded);
	client = client_address_of(
		proxies, &r->peer, r->is_tls,
		&(struct forwarded_headers){ .x_forwarded_for = strbuf_view(&x_for),
					     .x_forwarded_proto = strbuf_view(&x_proto),
					     .forwarded = strbuf_view(&forwarded) });
	strbuf_release(&x_for);
	strbuf_release(&x_proto);
	strbuf_release(&forwarded);
	return client;
}

struct str_view request_param(const struct request *r, const char *name)
{
	for (size_t i = 0; i < r->n_params; i++)
		if (sv_eq_c(r->params[i].name, name))
			return r->params[i].value;
	return sv_n("", 0);
}

/*
 * A page of another site can reach this machine through a name of its own that it lets point here
 * (DNS rebinding), but then the request has that name.
 */
static bool request_host_is_local(struct str_view host)
{
	static const char *const names[] = { "localhost", "127.0.0.1", "[::1]" };
	ptrdiff_t end = sv_starts_with(host, SV("[")) ? sv_find(host, ']') + 1 : sv_find(host, ':');

	if (end > 0)
		host.len = (size_t)end;
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (sv_eq_c(host, names[i]))
			return true;
	return false;
}

bool request_is_local(const struct request *r)
{
	if (r->header(r, "X-Forwarded-For").len || r->header(r, "Forwarded").len ||
	    r->header(r, "X-Real-IP").len)
		return false;
	return r->is_unix ||
	       (address_is_loopback(&r->peer) && request_host_is_local(r->header(r, "Host")));
}

static struct str_view request_trim(struct str_view s)
{
	while (s.len && (*s.ptr == ' ' || *s.ptr == '\t'))
		s = sv_skip(s, 1);
	while (s.len && (s.ptr[s.len - 1] == ' ' || s.ptr[s.len - 1] == '\t'))
		s.len--;
	return s;
}

/* "q=0", "q=0.", "q=0.000": not acceptable. */
static bool request_weight_is_zero(struct str_view s)
{
	if (s.len < 3 || (s.ptr[0] | 0x20) != 'q' || s.ptr[1] != '=')
		return false;
	for (size_t i = 2; i < s.len; i++)
		if (s.ptr[i] != '0' && s.ptr[i] != '.')
			return false;
	return true;
}

bool request_accepts(struct str_view list, struct str_view word)
{
	bool any = false;
	struct str_view one;

	while (sv_split(&list, ',', &one)) {
		struct str_view name, rest = one;
		bool is_word, ok;

		if (!sv_split(&rest, ';', &name))
			continue;
		name = request_trim(name);
		ok = !request_weight_is_zero(request_trim(rest));
		is_word = name.len == word.len && strncasecmp(name.ptr, word.ptr, word.len) == 0;
		if (is_word)
			return ok;
		if (sv_eq(name, SV("*")))
			any = ok;
	}
	return any;
}

/* Unescapes [from, from + len) to to, which may be the same or lie before it. */
static size_t request_unescape_to(char *to, const char *from, size_t len, bool plus)
{
	char *at = to;

	if (!memchr(from, '%', len) && !(plus && memchr(from, '+', len))) {
		memmove(to, from, len);
		return len;
	}
	for (size_t i = 0; i < len; i++) {
		char c = from[i];

		if (c == '+' && plus) {
			c = ' ';
		} else if (c == '%' && len - i > 2) {
			int hi = hex_value(from[i + 1]), lo = hex_value(from[i + 2]);

			if (hi >= 0 && lo >= 0) {
				c = (char)(hi << 4 | lo);
				i += 2;
			}
		}
		*at++ = c;
	}
	return (size_t)(at - to);
}

/* Length of "key" in "key[12]" or "key[]"; 0 when the name is no element of a list. */
static size_t request_list_base(struct str_view name)
{
	ptrdiff_t open = sv_find(name, '[');

	if (open <= 0 || name.ptr[name.len - 1] != ']')
		return 0;
	for (size_t i = (size_t)open + 1; i < name.len - 1; i++)
		if (name.ptr[i] < '0' || name.ptr[i] > '9')
			return 0;
	return (size_t)open;
}

/* A query while it is read: its parameters, and the further elements of those that are lists. */
struct query {
	struct request *r;
	struct {
		struct str_view value;
		unsigned next; /* element of the same list; 0: the last one */
	} more[PAIRS_MAX + 1]; /* from 1 on */
	unsigned n_more;
	unsigned first[REQUEST_PARAMS_MAX], last[REQUEST_PARAMS_MAX]; /* of each parameter's */
};

/* The parameter's index, or -1. */
static ptrdiff_t query_find(const struct query *q, struct str_view name)
{
	for (size_t i = 0; i < q->r->n_params; i++)
		if (sv_eq(q->r->params[i].name, name))
			return (ptrdiff_t)i;
	return -1;
}

static void query_add_element(struct query *q, size_t param, struct str_view value)
{
	unsigned at = ++q->n_more;

	q->more[at].value = value;
	q->more[at].next = 0;
	if (q->last[param])
		q->more[q->last[param]].next = at;
	else
		q->first[param] = at;
	q->last[param] = at;
}

/*
 * Takes one "name=value" in; w is where the pairs so far end, at or before it.  The new end, or
 * NULL: too many.
 */
static char *query_take_pair(struct query *q, char *w, char *pair, size_t len)
{
	struct request *r = q->r;
	const char *eq = memchr(pair, '=', len);
	size_t name_len = eq ? (size_t)(eq - pair) : len;
	struct str_view name = sv_n(w, request_unescape_to(w, pair, name_len, true));
	const char *value = eq ? eq + 1 : pair + len;
	char *at = w + name.len;
	size_t value_len = request_unescape_to(at, value, len - (size_t)(value - pair), true);
	size_t base = request_list_base(name);
	ptrdiff_t list = -1;

	if (base) {
		name.len = base;
		list = query_find(q, name);
	}
	if (list >= 0) {
		query_add_element(q, (size_t)list, sv_n(at, value_len));
	} else {
		if (r->n_params == REQUEST_PARAMS_MAX)
			return NULL;
		q->first[r->n_params] = q->last[r->n_params] = 0;
		r->params[r->n_params++] = (struct auth_param){ name, sv_n(at, value_len) };
	}
	return at + value_len;
}

static char *query_put(char *w, struct str_view text)
{
	memcpy(w, text.ptr, text.len);
	return w + text.len;
}

/*
 * Makes one value of each list, "a,b".  All is written anew to a copy, which is not longer: each
 * element had a name.
 */
static void query_join_lists(struct query *q, char *query, size_t len)
{
	char *copy = xmalloc(len), *w = copy;

	for (size_t i = 0; i < q->r->n_params; i++) {
		struct auth_param *p = &q->r->params[i];
		char *name = w, *value;

		w = value = query_put(w, p->name);
		w = query_put(w, p->value);
		for (unsigned at = q->first[i]; at; at = q->more[at].next) {
			*w++ = ',';
			w = query_put(w, q->more[at].value);
		}
		p->name.ptr = query + (name - copy);
		p->value = sv_n(query + (value - copy), (size_t)(w - value));
	}
	memcpy(query, copy, (size_t)(w - copy));
	free(copy);
}

int request_parse_query(struct request *r, char *query, size_t len)
{
	struct query q;
	char *start = query, *w = query, *end = query + len;
	unsigned pairs = 0;

	q.r = r;
	q.n_more = 0;
	r->n_params = 0;
	while (query < end) {
		char *amp = memchr(query, '&', (size_t)(end - query));
		size_t pair = (size_t)((amp ? amp : end) - query);

		if (pair && ++pairs > PAIRS_MAX)
			return -E2BIG;
		if (pair) {
			w = query_take_pair(&q, w, query, pair);
			if (!w)
				return -E2BIG;
		}
		query += pair + (amp != NULL);
	}
	if (q.n_more)
		query_join_lists(&q, start, len);
	return 0;
}

/* "http://host/path" as proxies may send it: what comes after the host. */
static void request_skip_authority(char **target, size_t *len)
{
	struct str_view t = sv_n(*target, *len);
	size_t scheme = sv_starts_with(t, SV("http://"))    ? 7
			: sv_starts_with(t, SV("https://")) ? 8
							    : 0;
	ptrdiff_t slash;

	if (!scheme)
		return;
	slash = sv_find(sv_skip(t, scheme), '/');
	scheme = slash < 0 ? t.len : scheme + (size_t)slash;
	*target += scheme;
	*len -= scheme;
}

int request_set_target(struct request *r, char *target, size_t len)
{
	char *mark;
	size_t path_len;
	int rc;

	request_skip_authority(&target, &len);
	mark = memchr(target, '#', len);
	if (mark)
		len = (size_t)(mark - target);
	mark = memchr(target, '?', len);
	path_len = mark ? (size_t)(mark - target) : len;
	/* first: the form of an error depends on it */
	r->path = sv_n(target, request_unescape_to(target, target, path_len, false));
	r->n_params = 0;
	rc = mark ? request_parse_query(r, mark + 1, len - path_len - 1) : 0;
	if (rc)
		return rc;
	return memchr(target, '\0', r->path.len) ? -EINVAL : 0;
}

void reply_add_header(struct reply *reply, const char *name, struct str_view value)
{
	if (reply->n_headers == REPLY_HEADERS_MAX)
		return;
	for (size_t i = 0; i < value.len; i++)
		if ((unsigned char)value.ptr[i] < 0x20 || value.ptr[i] == 0x7f)
			return;
	reply->headers[reply->n_headers++] = (struct reply_header){ name, sv_dup(value) };
}

void reply_release(struct reply *reply)
{
	for (unsigned i = 0; i < reply->n_headers; i++)
		free(reply->headers[i].value);
	reply->n_headers = 0;
	strbuf_release(&reply->body);
	if (reply->stream)
		reply->stream->release(reply->stream);
	reply->stream = NULL;
}

static void reply_with(struct request *r, unsigned status, const char *type, struct str_view body)
{
	struct reply reply = { .status = status, .content_type = type };

	strbuf_init(&reply.body, body.len);
	strbuf_add_sv(&reply.body, body);
	r->send(r, &reply);
}

void request_reply(struct request *r, unsigned status, struct str_view body)
{
	reply_with(r, status, NULL, body);
}

void request_reply_text(struct request *r, unsigned status, struct str_view text)
{
	reply_with(r, status, REQUEST_TEXT, text);
}

void request_reply_full(struct request *r, struct reply *reply)
{
	r->send(r, reply);
}

/* SPDX-License-Identifier: MIT */
/*
 * Views and growing buffers.  A buffer doubles when it is full, so appending costs amortised
 * constant time.  JSON is escaped as RFC 8259 section 7 requires, UTF-8 checked as in RFC 3629.  No
 * state; any thread, one at a time for each buffer.
 */
#include <limits.h>
#include <stdarg.h>
#include "base/hex.h"
#include "base/mem.h"
#include "base/str.h"

#define NAME_MAX_BYTES 64

struct str_view sv(const char *s)
{
	return (struct str_view){ s ? s : "", s ? strlen(s) : 0 };
}

struct str_view sv_n(const char *ptr, size_t len)
{
	return (struct str_view){ ptr, len };
}

bool sv_eq(struct str_view a, struct str_view b)
{
	return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

bool sv_eq_c(struct str_view a, const char *b)
{
	return sv_eq(a, sv(b));
}

bool sv_starts_with(struct str_view s, struct str_view prefix)
{
	return s.len >= prefix.len && sv_eq(sv_n(s.ptr, prefix.len), prefix);
}

bool sv_ends_with(struct str_view s, struct str_view suffix)
{
	return s.len >= suffix.len && sv_eq(sv_n(s.ptr + s.len - suffix.len, suffix.len), suffix);
}

ptrdiff_t sv_find(struct str_view s, char c)
{
	const char *hit = s.len ? memchr(s.ptr, c, s.len) : NULL;

	return hit ? hit - s.ptr : -1;
}

struct str_view sv_skip(struct str_view s, size_t n)
{
	if (n > s.len)
		n = s.len;
	return n ? sv_n(s.ptr + n, s.len - n) : s;
}

bool sv_split(struct str_view *rest, char separator, struct str_view *part)
{
	ptrdiff_t end = sv_find(*rest, separator);

	if (!rest->len)
		return false;
	*part = sv_n(rest->ptr, end < 0 ? rest->len : (size_t)end);
	*rest = sv_skip(*rest, part->len + 1);
	return true;
}

bool sv_to_u64(struct str_view s, uint64_t max, uint64_t *out)
{
	uint64_t v = 0;

	if (s.len == 0)
		return false;
	for (size_t i = 0; i < s.len; i++) {
		unsigned d = (unsigned char)s.ptr[i] - '0';

		if (d > 9 || v > (max - (d > max ? max : d)) / 10 || d > max)
			return false;
		v = v * 10 + d;
	}
	*out = v;
	return true;
}

/* Bytes that follow the lead byte c, and the range the first of them may have. */
static int str_utf8_tail(unsigned char c, unsigned char *lo, unsigned char *hi)
{
	*lo = 0x80;
	*hi = 0xbf;
	if (c >= 0xc2 && c <= 0xdf)
		return 1;
	if (c >= 0xe0 && c <= 0xef) {
		if (c == 0xe0)
			*lo = 0xa0;
		if (c == 0xed)
			*hi = 0x9f;
		return 2;
	}
	if (c >= 0xf0 && c <= 0xf4) {
		if (c == 0xf0)
			*lo = 0x90;
		if (c == 0xf4)
			*hi = 0x8f;
		return 3;
	}
	return -1;
}

#define EACH_BYTE(b) (0x0101010101010101u * (b))

static uint64_t str_eight_bytes(const void *p)
{
	uint64_t w;

	memcpy(&w, p, sizeof(w));
	return w;
}

static const unsigned char *str_skip_ascii(const unsigned char *p, const unsigned char *end)
{
	while (end - p >= 8 && !(str_eight_bytes(p) & EACH_BYTE(0x80)))
		p += 8;
	while (p < end && *p < 0x80)
		p++;
	return p;
}

bool sv_is_utf8(struct str_view s)
{
	const unsigned char *p = (const unsigned char *)s.ptr;
	const unsigned char *end = s.len ? p + s.len : p;

	while ((p = str_skip_ascii(p, end)) < end) {
		unsigned char lo, hi;
		int tail;

		tail = str_utf8_tail(*p++, &lo, &hi);
		if (tail < 0 || tail > end - p || *p < lo || *p > hi)
			return false;
		p++;
		for (int i = 1; i < tail; i++, p++)
			if ((*p & 0xc0) != 0x80)
				return false;
	}
	return true;
}

static bool str_is_plain(unsigned char c)
{
	return c >= 0x20 && c != '"' && c != '\\';
}

/*
 * True only when each of the eight bytes is plain.  Subtracting n from a byte below n sets its top
 * bit, which was clear; a byte that is c is below 1 once xored with c.  A borrow from the next byte
 * can make that byte look special, never plain.
 */
static bool str_are_plain(uint64_t w)
{
	uint64_t quote = w ^ EACH_BYTE('"'), slash = w ^ EACH_BYTE('\\');
	uint64_t any = ((w - EACH_BYTE(0x20)) & ~w) | ((quote - EACH_BYTE(1)) & ~quote) |
		       ((slash - EACH_BYTE(1)) & ~slash);

	return !(any & EACH_BYTE(0x80));
}

const char *str_plain_end(const char *p, const char *end)
{
	while (end - p >= 8 && str_are_plain(str_eight_bytes(p)))
		p += 8;
	while (p < end && str_is_plain((unsigned char)*p))
		p++;
	return p;
}

/* How many bytes must be added, removed or changed to make b of a (Levenshtein). */
static unsigned str_distance(struct str_view a, struct str_view b)
{
	unsigned row[NAME_MAX_BYTES + 1];

	if (a.len > NAME_MAX_BYTES || b.len > NAME_MAX_BYTES)
		return UINT_MAX;
	for (unsigned j = 0; j <= b.len; j++)
		row[j] = j;
	for (size_t i = 0; i < a.len; i++) {
		unsigned diagonal = row[0]++;

		for (size_t j = 1; j <= b.len; j++) {
			unsigned change = diagonal + (a.ptr[i] != b.ptr[j - 1]);
			unsigned step = (row[j] < row[j - 1] ? row[j] : row[j - 1]) + 1;

			diagonal = row[j];
			row[j] = change < step ? change : step;
		}
	}
	return row[b.len];
}

bool str_is_nearer(struct str_view text, const char *name, unsigned *least)
{
	unsigned distance = str_distance(text, sv(name));

	if (distance > text.len / 3 + 1 || distance >= strlen(name) || distance >= *least)
		return false;
	*least = distance;
	return true;
}

struct str_view sv_copy_to(char **at, struct str_view s)
{
	struct str_view copy = sv_n(*at, s.len);

	if (s.len)
		memcpy(*at, s.ptr, s.len);
	*at += s.len;
	return copy;
}

char *sv_dup(struct str_view s)
{
	return xstrndup(s.ptr, s.len);
}

char *textf(const char *fmt, ...)
{
	va_list ap;
	char *text;

	va_start(ap, fmt);
	if (vasprintf(&text, fmt, ap) < 0)
		abort(); /* out of memory */
	va_end(ap);
	return text;
}

char *secret_wipe(char *text)
{
	if (text)
		explicit_bzero(text, strlen(text));
	return text;
}

void secret_free(char *text)
{
	free(secret_wipe(text));
}

void str_copy(char *out, size_t size, struct str_view s)
{
	size_t n = s.len < size ? s.len : size - 1;

	if (n)
		memcpy(out, s.ptr, n);
	out[n] = '\0';
}

char *str_u64(char out[STR_U64_SIZE], uint64_t v)
{
	size_t n = 1;

	for (uint64_t rest = v; rest >= 10; rest /= 10)
		n++;
	out[n] = '\0';
	do {
		out[--n] = (char)('0' + v % 10);
		v /= 10;
	} while (v);
	return out;
}

uint64_t sv_hash(struct str_view s, uint64_t seed)
{
	uint64_t h = UINT64_C(0xcbf29ce484222325) ^ seed;

	for (size_t i = 0; i < s.len; i++)
		h = (h ^ (unsigned char)s.ptr[i]) * UINT64_C(0x100000001b3);
	/* FNV's low bits mix poorly; tables and shards take both ends. */
	return h ^ (h >> 32);
}

void strbuf_init(struct strbuf *b, size_t room)
{
	b->cap = room + 1;
	b->len = 0;
	b->ptr = xmalloc(b->cap);
	b->ptr[0] = '\0';
}

void strbuf_release(struct strbuf *b)
{
	free(b->ptr);
	*b = (struct strbuf){ NULL, 0, 0 };
}

void strbuf_reset(struct strbuf *b)
{
	b->len = 0;
	b->ptr[0] = '\0';
}

char *strbuf_reserve(struct strbuf *b, size_t n)
{
	if (n >= b->cap - b->len) {
		size_t want = b->cap * 2;

		if (want - b->len <= n)
			want = b->len + n + 1;
		b->ptr = xrealloc(b->ptr, want);
		b->cap = want;
	}
	return b->ptr + b->len;
}

void strbuf_add(struct strbuf *b, const void *p, size_t n)
{
	if (!n)
		return;
	memcpy(strbuf_reserve(b, n), p, n);
	b->len += n;
	b->ptr[b->len] = '\0';
}

void strbuf_add_c(struct strbuf *b, char c)
{
	strbuf_add(b, &c, 1);
}

void strbuf_add_sv(struct strbuf *b, struct str_view s)
{
	strbuf_add(b, s.ptr, s.len);
}

void strbuf_add_str(struct strbuf *b, const char *s)
{
	strbuf_add(b, s, strlen(s));
}

void strbuf_add_u64(struct strbuf *b, uint64_t v)
{
	char digits[STR_U64_SIZE];

	strbuf_add_str(b, str_u64(digits, v));
}

void strbuf_addf(struct strbuf *b, const char *fmt, ...)
{
	va_list ap, again;
	int n;

	va_start(ap, fmt);
	va_copy(again, ap);
	n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	if (n > 0) {
		vsnprintf(strbuf_reserve(b, (size_t)n), (size_t)n + 1, fmt, again);
		b->len += (size_t)n;
	}
	va_end(again);
}

static void strbuf_add_escaped(struct strbuf *b, unsigned char c)
{
	static const char named[256] = { ['"'] = '"',  ['\\'] = '\\', ['\b'] = 'b', ['\f'] = 'f',
					 ['\n'] = 'n', ['\r'] = 'r',  ['\t'] = 't' };

	if (named[c]) {
		char two[2] = { '\\', named[c] };

		strbuf_add(b, two, sizeof(two));
	} else {
		char six[7] = "\\u00";

		hex_encode(&c, 1, six + 4);
		strbuf_add(b, six, 6);
	}
}

void strbuf_add_json(struct strbuf *b, struct str_view s)
{
	const char *p = s.ptr, *end = s.len ? p + s.len : p;

	strbuf_reserve(b, s.len + 2);
	strbuf_add_c(b, '"');
	while (p < end) {
		const char *stop = str_plain_end(p, end);

		strbuf_add(b, p, (size_t)(stop - p));
		if (stop < end)
			strbuf_add_escaped(b, (unsigned char)*stop++);
		p = stop;
	}
	strbuf_add_c(b, '"');
}

struct str_view strbuf_view(const struct strbuf *b)
{
	return sv_n(b->ptr, b->len);
}

char *strbuf_detach(struct strbuf *b)
{
	char *p = b->ptr;

	*b = (struct strbuf){ NULL, 0, 0 };
	return p;
}

void strbuf_move(struct strbuf *to, struct strbuf *from)
{
	*to = *from;
	*from = (struct strbuf){ NULL, 0, 0 };
}

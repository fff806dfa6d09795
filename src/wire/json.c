/* SPDX-License-Identifier: MIT */
/* No recursion: the kind of each open bracket is one bit.  No state; any thread. */
#include <float.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "wire/json.h"

static const char *json_skip_space(const char *p, const char *end)
{
	while (p < end && (*p == ' ' || *p == '\t' || *p == '\n' || *p == '\r'))
		p++;
	return p;
}

/* ---- check ---- */

static bool json_is_digit_char(char c)
{
	return c >= '0' && c <= '9';
}

static int json_hex_value(char c)
{
	return json_is_digit_char(c)  ? c - '0'
	       : c >= 'a' && c <= 'f' ? c - 'a' + 10
	       : c >= 'A' && c <= 'F' ? c - 'A' + 10
				      : -1;
}

static bool json_are_four_hex(const char *p, const char *end)
{
	if (end - p < 4)
		return false;
	for (int i = 0; i < 4; i++)
		if (json_hex_value(p[i]) < 0)
			return false;
	return true;
}

/* p is at a quote.  The end of the string, or NULL. */
static const char *json_check_string(const char *p, const char *end)
{
	for (p++;;) {
		p = str_plain_end(p, end);
		if (p == end || (unsigned char)*p < 0x20)
			return NULL;
		if (*p++ == '"')
			return p;
		if (p == end)
			return NULL;
		if (*p == 'u') {
			if (!json_are_four_hex(p + 1, end))
				return NULL;
			p += 5;
		} else if (*p && strchr("\"\\/bfnrt", *p)) {
			p++;
		} else {
			return NULL;
		}
	}
}

/* After the digits at p; NULL when there are none. */
static const char *json_check_digits(const char *p, const char *end)
{
	const char *from = p;

	while (p < end && json_is_digit_char(*p))
		p++;
	return p > from ? p : NULL;
}

static const char *json_check_number(const char *p, const char *end)
{
	if (p < end && *p == '-')
		p++;
	p = p < end && *p == '0' ? p + 1 : json_check_digits(p, end);
	if (p && p < end && *p == '.')
		p = json_check_digits(p + 1, end);
	if (p && p < end && (*p == 'e' || *p == 'E')) {
		p++;
		if (p < end && (*p == '+' || *p == '-'))
			p++;
		p = json_check_digits(p, end);
	}
	return p;
}

static const char *json_check_scalar(const char *p, const char *end)
{
	static const struct str_view words[] = { { "true", 4 }, { "false", 5 }, { "null", 4 } };

	if (*p == '"')
		return json_check_string(p, end);
	for (size_t i = 0; i < 3; i++)
		if (sv_starts_with(sv_n(p, (size_t)(end - p)), words[i]))
			return p + words[i].len;
	return json_check_number(p, end);
}

/* What may come next. */
enum json_next { NEXT_VALUE, NEXT_VALUE_OR_END, NEXT_NAME, NEXT_NAME_OR_END, NEXT_COMMA_OR_END };

struct checker {
	const char *p, *end;
	uint64_t objects[JSON_DEEPEST / 64]; /* a bit of each open level: it is an object */
	unsigned depth, max_depth;
	enum json_next next;
};

static bool checker_in_object(const struct checker *c)
{
	unsigned level = c->depth - 1;

	return c->depth && c->objects[level / 64] >> level % 64 & 1;
}

static enum json_fault checker_open(struct checker *c)
{
	bool is_object = *c->p++ == '{';

	if (c->depth == c->max_depth)
		return JSON_TOO_DEEP;
	c->objects[c->depth / 64] &= ~(UINT64_C(1) << c->depth % 64);
	c->objects[c->depth / 64] |= (uint64_t)is_object << c->depth % 64;
	c->depth++;
	c->next = is_object ? NEXT_NAME_OR_END : NEXT_VALUE_OR_END;
	return JSON_OK;
}

static enum json_fault checker_close(struct checker *c)
{
	if (!c->depth || *c->p++ != (checker_in_object(c) ? '}' : ']'))
		return JSON_INVALID;
	c->depth--;
	c->next = NEXT_COMMA_OR_END;
	return JSON_OK;
}

static enum json_fault checker_name(struct checker *c)
{
	const char *p = *c->p == '"' ? json_check_string(c->p, c->end) : NULL;

	if (p)
		p = json_skip_space(p, c->end);
	if (!p || p == c->end || *p != ':')
		return JSON_INVALID;
	c->p = p + 1;
	c->next = NEXT_VALUE;
	return JSON_OK;
}

/* c->p is at a byte that is no space. */
static enum json_fault checker_step(struct checker *c)
{
	bool is_close = *c->p == '}' || *c->p == ']';

	switch (c->next) {
	case NEXT_NAME_OR_END:
	case NEXT_NAME:
		return is_close && c->next == NEXT_NAME_OR_END ? checker_close(c) : checker_name(c);
	case NEXT_COMMA_OR_END:
		if (is_close)
			return checker_close(c);
		if (!c->depth || *c->p++ != ',')
			return JSON_INVALID;
		c->next = checker_in_object(c) ? NEXT_NAME : NEXT_VALUE;
		return JSON_OK;
	case NEXT_VALUE_OR_END:
	case NEXT_VALUE:
		break;
	}
	if (is_close && c->next == NEXT_VALUE_OR_END)
		return checker_close(c);
	if (*c->p == '{' || *c->p == '[')
		return checker_open(c);
	c->p = json_check_scalar(c->p, c->end);
	c->next = NEXT_COMMA_OR_END;
	return c->p ? JSON_OK : JSON_INVALID;
}

enum json_fault json_check(struct str_view text, struct str_view *value)
{
	return json_check_deep(text, JSON_MAX_DEPTH, value);
}

enum json_fault json_check_deep(struct str_view text, unsigned max_depth, struct str_view *value)
{
	struct checker c;
	const char *from;

	c.p = text.ptr;
	c.end = text.ptr + text.len;
	c.depth = 0;
	c.max_depth = max_depth;
	c.next = NEXT_VALUE;
	if (!sv_is_utf8(text))
		return JSON_NOT_UTF8;
	from = c.p = json_skip_space(c.p, c.end);
	while (c.p < c.end) {
		enum json_fault fault = checker_step(&c);

		if (fault)
			return fault;
		*value = sv_n(from, (size_t)(c.p - from));
		c.p = json_skip_space(c.p, c.end);
	}
	return c.depth == 0 && c.next == NEXT_COMMA_OR_END ? JSON_OK : JSON_INVALID;
}

/* ---- text that was checked ---- */

char json_kind(struct str_view value)
{
	return value.len ? value.ptr[0] : '\0';
}

/* p is at a quote; the byte after the one that closes it. */
static const char *json_skip_string(const char *p)
{
	for (p++; *p != '"'; p++)
		if (*p == '\\')
			p++;
	return p + 1;
}

/* The end of the value that starts at p, spaces included: a comma, a bracket or end. */
static const char *json_skip_value(const char *p, const char *end)
{
	unsigned depth = 0;

	while (p < end) {
		if (*p == '"') {
			p = json_skip_string(p);
			continue;
		}
		if (!depth && (*p == ',' || *p == '}' || *p == ']'))
			break;
		if (*p == '{' || *p == '[')
			depth++;
		else if (*p == '}' || *p == ']')
			depth--;
		p++;
	}
	return p;
}

/*
 * Steps over the bracket or comma before the next item, and the spaces around it.  NULL at the
 * closing bracket.
 */
static const char *json_next_item(struct str_view text, size_t at)
{
	const char *end = text.ptr + text.len, *p = json_skip_space(text.ptr + at, end);

	if (p < end)
		p = json_skip_space(p + 1, end);
	return p == end || *p == '}' || *p == ']' ? NULL : p;
}

/* The value at p, without spaces at its end; *at is set to what follows it. */
static struct str_view json_value_at(struct str_view text, const char *p, size_t *at)
{
	const char *to = json_skip_value(p, text.ptr + text.len);

	*at = (size_t)(to - text.ptr);
	while (json_skip_space(to - 1, to) == to)
		to--;
	return sv_n(p, (size_t)(to - p));
}

bool json_next_member(struct str_view object, size_t *at, struct json_member *out)
{
	const char *end = object.ptr + object.len, *p = json_next_item(object, *at), *name = p;

	if (!p)
		return false;
	p = json_skip_string(p);
	out->name = sv_n(name, (size_t)(p - name));
	p = json_skip_space(p, end);
	out->value = json_value_at(object, json_skip_space(p + 1, end), at);
	return true;
}

bool json_next_element(struct str_view array, size_t *at, struct str_view *out)
{
	const char *p = json_next_item(array, *at);

	if (!p)
		return false;
	*out = json_value_at(array, p, at);
	return true;
}

/* Writes the code point of a \u escape; 0, or -1 for half of a pair.  *p is at the u. */
static int json_decode_u(const char **p, const char *end, char **to)
{
	unsigned code = 0, low = 0;
	char *out = *to;

	for (int i = 1; i <= 4; i++)
		code = code << 4 | (unsigned)json_hex_value((*p)[i]);
	*p += 5;
	if (code >= 0xdc00 && code <= 0xdfff)
		return -1;
	if (code >= 0xd800 && code <= 0xdbff) {
		if (end - *p < 6 || (*p)[0] != '\\' || (*p)[1] != 'u')
			return -1;
		for (int i = 2; i < 6; i++)
			low = low << 4 | (unsigned)json_hex_value((*p)[i]);
		if (low < 0xdc00 || low > 0xdfff)
			return -1;
		*p += 6;
		code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
		*out++ = (char)(0xf0 | code >> 18);
		*out++ = (char)(0x80 | (code >> 12 & 0x3f));
		*out++ = (char)(0x80 | (code >> 6 & 0x3f));
		*out++ = (char)(0x80 | (code & 0x3f));
	} else if (code >= 0x800) {
		*out++ = (char)(0xe0 | code >> 12);
		*out++ = (char)(0x80 | (code >> 6 & 0x3f));
		*out++ = (char)(0x80 | (code & 0x3f));
	} else if (code >= 0x80) {
		*out++ = (char)(0xc0 | code >> 6);
		*out++ = (char)(0x80 | (code & 0x3f));
	} else {
		*out++ = (char)code;
	}
	*to = out;
	return 0;
}

bool json_decode_string(struct str_view value, char **room, struct str_view *out)
{
	static const char of[128] = { ['"'] = '"',  ['\\'] = '\\', ['/'] = '/',	 ['b'] = '\b',
				      ['f'] = '\f', ['n'] = '\n',  ['r'] = '\r', ['t'] = '\t' };
	const char *p = value.ptr + 1, *end = value.ptr + value.len - 1;
	char *to = *room;

	*out = sv_n(p, (size_t)(end - p));
	if (sv_find(*out, '\\') < 0)
		return true;
	while (p < end) {
		if (*p != '\\') {
			*to++ = *p++;
		} else if (*++p != 'u') {
			*to++ = of[(unsigned char)*p++];
		} else if (json_decode_u(&p, end, &to)) {
			return false;
		}
	}
	*out = sv_n(*room, (size_t)(to - *room));
	*room = to;
	return true;
}

/* Whether the string with these quotes is text. */
static bool json_is_text(struct str_view value, struct str_view text)
{
	char buffer[128], *room = buffer;
	struct str_view got = sv_n(value.ptr + 1, value.len - 2);

	if (sv_find(got, '\\') < 0)
		return sv_eq(got, text);
	return value.len <= sizeof(buffer) && json_decode_string(value, &room, &got) &&
	       sv_eq(got, text);
}

struct str_view json_member(struct str_view object, struct str_view name)
{
	struct str_view found = { NULL, 0 };
	struct json_member m;
	size_t at = 0;

	while (json_next_member(object, &at, &m))
		if (json_is_text(m.name, name))
			found = m.value;
	return found;
}

/* ---- numbers ---- */

#define DOUBLE_DIGITS 17    /* no double needs more */
#define DIGITS_KEPT   15    /* all but subnormal doubles keep so many */
#define EXPONENT_MAX  99999 /* far outside of what a double has */

void json_format_double(char out[JSON_DOUBLE_SIZE], double value)
{
	int digits = fabs(value) < DBL_MIN ? 1 : DIGITS_KEPT; /* subnormal ones have fewer */

	do
		snprintf(out, JSON_DOUBLE_SIZE, "%.*g", digits, value);
	while (strtod(out, NULL) != value && ++digits <= DOUBLE_DIGITS);
}

/* 0.DIGITS times 10 to the power of exponent; zero has no digits. */
struct decimal {
	char digits[DOUBLE_DIGITS + 1];
	size_t n, zeros; /* digits; zeros after them that count if another digit follows */
	long exponent;
};

/* False: there are too many digits. */
static bool decimal_add_digit(struct decimal *d, char digit)
{
	if (digit == '0') {
		d->zeros += d->n > 0;
		return true;
	}
	if (d->n + d->zeros >= DOUBLE_DIGITS)
		return false;
	memset(d->digits + d->n, '0', d->zeros);
	d->n += d->zeros;
	d->digits[d->n++] = digit;
	d->zeros = 0;
	return true;
}

/* The digits of an exponent, with or without a sign. */
static long decimal_read_exponent(const char *p, const char *end)
{
	bool is_negative = p < end && *p == '-';
	long n = 0;

	if (p < end && !json_is_digit_char(*p))
		p++;
	for (; p < end && n < EXPONENT_MAX; p++)
		n = n * 10 + (*p - '0');
	return is_negative ? -n : n;
}

/* The JSON number at p.  False: it has more digits than a double. */
static bool decimal_read(struct decimal *d, const char *p, const char *end)
{
	bool is_fraction = false;

	*d = (struct decimal){ .n = 0 };
	for (p += *p == '-'; p < end && *p != 'e' && *p != 'E'; p++) {
		if (*p == '.') {
			is_fraction = true;
			continue;
		}
		if (!decimal_add_digit(d, *p))
			return false;
		if (is_fraction)
			d->exponent -= d->n == 0;
		else
			d->exponent += d->n > 0;
	}
	if (p < end)
		d->exponent += decimal_read_exponent(p + 1, end);
	return true;
}

static bool decimal_is_double(const struct decimal *d)
{
	char text[64], shown[JSON_DOUBLE_SIZE];
	struct decimal kept;

	if (d->n == 0)
		return true;
	snprintf(text, sizeof(text), "0.%.*se%ld", (int)d->n, d->digits, d->exponent);
	json_format_double(shown, strtod(text, NULL));
	return decimal_read(&kept, shown, shown + strlen(shown)) && kept.n == d->n &&
	       memcmp(kept.digits, d->digits, d->n) == 0 && kept.exponent == d->exponent;
}

static bool json_number_is_inexact(struct str_view number)
{
	struct decimal d;

	if (sv_find(number, '.') < 0 && sv_find(number, 'e') < 0 && sv_find(number, 'E') < 0)
		return false;
	return !decimal_read(&d, number.ptr, number.ptr + number.len) || !decimal_is_double(&d);
}

bool json_find_inexact(struct str_view text, struct str_view *number)
{
	/* An empty view may have no pointer. */
	const char *p = text.ptr, *end = text.len ? p + text.len : p, *from;

	while (p && p < end) {
		from = p;
		if (*p == '"') {
			p = json_check_string(p, end);
		} else if (*p == '-' || json_is_digit_char(*p)) {
			p = json_check_number(p, end);
			*number = sv_n(from, p ? (size_t)(p - from) : 0);
			if (p && json_number_is_inexact(*number))
				return true;
		} else {
			p++;
		}
	}
	return false;
}

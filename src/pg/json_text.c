/* SPDX-License-Identifier: MIT */
/* RFC 8259, by recursive descent; each skip_ moves past what it names or answers NULL. */
#include "base/hex.h"
#include "pg/json_text.h"

static const char *skip_value(const char *p, const char *end, unsigned depth);

static const char *skip_space(const char *p, const char *end)
{
	while (p < end && (*p == ' ' || *p == '\t' || *p == '\n' || *p == '\r'))
		p++;
	return p;
}

static const char *skip_word(const char *p, const char *end, struct str_view word)
{
	return sv_starts_with(sv_n(p, (size_t)(end - p)), word) ? p + word.len : NULL;
}

/* p is behind the backslash. */
static const char *skip_escape(const char *p, const char *end)
{
	if (p == end)
		return NULL;
	if (*p != 'u')
		return memchr("\"\\/bfnrt", *p, 8) ? p + 1 : NULL;
	if (end - p < 5)
		return NULL;
	for (int i = 1; i < 5; i++)
		if (hex_value(p[i]) < 0)
			return NULL;
	return p + 5;
}

static const char *skip_string(const char *p, const char *end)
{
	if (p == end || *p != '"')
		return NULL;
	for (p++; p; p = skip_escape(p + 1, end)) {
		p = str_plain_end(p, end);
		if (p == end)
			return NULL;
		if (*p == '"')
			return p + 1;
		if (*p != '\\')
			return NULL;
	}
	return NULL;
}

static const char *skip_digits(const char *p, const char *end)
{
	const char *start = p;

	while (p < end && *p >= '0' && *p <= '9')
		p++;
	return p > start ? p : NULL;
}

static const char *skip_number(const char *p, const char *end)
{
	if (p < end && *p == '-')
		p++;
	if (p < end && *p == '0')
		p++;
	else
		p = skip_digits(p, end);
	if (p && p < end && *p == '.')
		p = skip_digits(p + 1, end);
	if (p && p < end && (*p == 'e' || *p == 'E')) {
		p++;
		if (p < end && (*p == '+' || *p == '-'))
			p++;
		p = skip_digits(p, end);
	}
	return p;
}

/* "name": of a member, with the space around. */
static const char *skip_name(const char *p, const char *end)
{
	p = skip_string(skip_space(p, end), end);
	if (!p)
		return NULL;
	p = skip_space(p, end);
	return p < end && *p == ':' ? p + 1 : NULL;
}

/* An array or an object; p is at its bracket. */
static const char *skip_nest(const char *p, const char *end, unsigned depth)
{
	bool object = *p == '{';
	char close = object ? '}' : ']';

	p = skip_space(p + 1, end);
	if (p < end && *p == close)
		return p + 1;
	while (p) {
		if (object)
			p = skip_name(p, end);
		if (p)
			p = skip_value(p, end, depth);
		if (!p || p == end)
			return NULL;
		if (*p == close)
			return p + 1;
		if (*p++ != ',')
			return NULL;
	}
	return NULL;
}

/* A value with the space around it. */
static const char *skip_value(const char *p, const char *end, unsigned depth)
{
	p = skip_space(p, end);
	if (p == end || depth == 0)
		return NULL;
	if (*p == '{' || *p == '[')
		p = skip_nest(p, end, depth - 1);
	else if (*p == '"')
		p = skip_string(p, end);
	else if (*p == 't')
		p = skip_word(p, end, SV("true"));
	else if (*p == 'f')
		p = skip_word(p, end, SV("false"));
	else if (*p == 'n')
		p = skip_word(p, end, SV("null"));
	else
		p = skip_number(p, end);
	return p ? skip_space(p, end) : NULL;
}

bool json_text_valid(struct str_view text)
{
	const char *end = text.ptr + text.len;

	return skip_value(text.ptr, end, JSON_TEXT_MAX_DEPTH) == end && text.len > 0;
}

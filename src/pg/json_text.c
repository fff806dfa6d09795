/* SPDX-License-Identifier: MIT */
/*
 * RFC 8259, by recursive descent.  Each json_text_skip_ function returns the position after what it
 * names, or NULL when that is not there.
 */
#include "base/hex.h"
#include "pg/json_text.h"

static const char *json_text_skip_value(const char *p, const char *end, unsigned depth);

static const char *json_text_skip_space(const char *p, const char *end)
{
	while (p < end && (*p == ' ' || *p == '\t' || *p == '\n' || *p == '\r'))
		p++;
	return p;
}

static const char *json_text_skip_word(const char *p, const char *end, struct str_view word)
{
	return sv_starts_with(sv_n(p, (size_t)(end - p)), word) ? p + word.len : NULL;
}

/* p is after the backslash. */
static const char *json_text_skip_escape(const char *p, const char *end)
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

static const char *json_text_skip_string(const char *p, const char *end)
{
	if (p == end || *p != '"')
		return NULL;
	for (p++; p; p = json_text_skip_escape(p + 1, end)) {
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

static const char *json_text_skip_digits(const char *p, const char *end)
{
	const char *start = p;

	while (p < end && *p >= '0' && *p <= '9')
		p++;
	return p > start ? p : NULL;
}

static const char *json_text_skip_number(const char *p, const char *end)
{
	if (p < end && *p == '-')
		p++;
	if (p < end && *p == '0')
		p++;
	else
		p = json_text_skip_digits(p, end);
	if (p && p < end && *p == '.')
		p = json_text_skip_digits(p + 1, end);
	if (p && p < end && (*p == 'e' || *p == 'E')) {
		p++;
		if (p < end && (*p == '+' || *p == '-'))
			p++;
		p = json_text_skip_digits(p, end);
	}
	return p;
}

/* "name": of a member, with the space around. */
static const char *json_text_skip_name(const char *p, const char *end)
{
	p = json_text_skip_string(json_text_skip_space(p, end), end);
	if (!p)
		return NULL;
	p = json_text_skip_space(p, end);
	return p < end && *p == ':' ? p + 1 : NULL;
}

/* An array or an object; p is at its bracket. */
static const char *json_text_skip_nest(const char *p, const char *end, unsigned depth)
{
	bool object = *p == '{';
	char close = object ? '}' : ']';

	p = json_text_skip_space(p + 1, end);
	if (p < end && *p == close)
		return p + 1;
	while (p) {
		if (object)
			p = json_text_skip_name(p, end);
		if (p)
			p = json_text_skip_value(p, end, depth);
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
static const char *json_text_skip_value(const char *p, const char *end, unsigned depth)
{
	p = json_text_skip_space(p, end);
	if (p == end || depth == 0)
		return NULL;
	if (*p == '{' || *p == '[')
		p = json_text_skip_nest(p, end, depth - 1);
	else if (*p == '"')
		p = json_text_skip_string(p, end);
	else if (*p == 't')
		p = json_text_skip_word(p, end, SV("true"));
	else if (*p == 'f')
		p = json_text_skip_word(p, end, SV("false"));
	else if (*p == 'n')
		p = json_text_skip_word(p, end, SV("null"));
	else
		p = json_text_skip_number(p, end);
	return p ? json_text_skip_space(p, end) : NULL;
}

bool json_text_valid(struct str_view text)
{
	const char *end = text.ptr + text.len;

	return json_text_skip_value(text.ptr, end, JSON_TEXT_MAX_DEPTH) == end && text.len > 0;
}

/* SPDX-License-Identifier: MIT */
#include "wire/json.h"

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static const char *json_skip_space(const char *p, const char *end)
{
	while (p < end && is_space(*p))
		p++;
	return p;
}

/* p is at a quote; behind the one that closes it. */
static const char *skip_string(const char *p, const char *end)
{
	for (p++; p < end && *p != '"'; p++)
		if (*p == '\\')
			p++;
	return p < end ? p + 1 : end;
}

/* Behind the value that starts at p: at the comma or brace that follows in the object. */
static const char *skip_value(const char *p, const char *end)
{
	unsigned depth = 0;

	while (p < end) {
		if (*p == '"') {
			p = skip_string(p, end);
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

bool json_slice_member(struct str_view object, struct str_view key, struct str_view *value)
{
	const char *end = object.ptr + object.len, *p = json_skip_space(object.ptr, end);
	bool found = false;

	while (p < end && (*p == '{' || *p == ',')) {
		const char *name = json_skip_space(p + 1, end), *from;
		struct str_view text;

		if (name == end || *name != '"')
			break;
		p = skip_string(name, end);
		text = sv_n(name + 1, (size_t)(p - name) - 2);
		if (sv_find(text, '\\') >= 0)
			return false;
		p = json_skip_space(p, end);
		from = json_skip_space(p < end ? p + 1 : end, end);
		p = skip_value(from, end);
		if (!sv_eq(text, key))
			continue;
		while (p > from && is_space(p[-1]))
			p--;
		*value = sv_n(from, (size_t)(p - from));
		found = true;
		p = json_skip_space(p, end);
	}
	return found;
}

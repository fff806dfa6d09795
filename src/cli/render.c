/* SPDX-License-Identifier: MIT */
/* Columns of a table are the members of its first object; strings are written without quotes. */
#include <stdbool.h>
#include <string.h>
#include "base/mem.h"
#include "base/str.h"
#include "cli/render.h"

#define COLUMNS_MAX 16
#define WIDTH_MAX   60

/*
 * Replaces the control characters that JSON does not escape, DEL and U+0080 to U+009F: a terminal
 * could take them as commands.
 */
static void render_disarm(char *text)
{
	for (unsigned char *p = (unsigned char *)text; *p; p++)
		if (*p == 0x7f)
			*p = '?';
		else if (*p == 0xc2 && p[1] >= 0x80 && p[1] < 0xa0)
			p[0] = p[1] = '?';
}

/* A value as text of one line, heap; "-" for null. */
static char *render_text(const json_t *value)
{
	char *text = NULL, *quoted;
	size_t len;

	if (!value || json_is_null(value))
		return xstrdup("-");
	if (!json_is_string(value)) {
		text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(15));
		if (!text)
			return xstrdup("");
		render_disarm(text);
		return text;
	}
	/* between the quotes of the JSON text control characters are escaped */
	quoted = json_dumps(value, JSON_ENCODE_ANY);
	len = quoted ? strlen(quoted) : 0;
	text = len >= 2 ? xstrndup(quoted + 1, len - 2) : xstrdup("");
	free(quoted);
	render_disarm(text);
	return text;
}

char *render_plain(const json_t *value)
{
	char *text;

	if (!json_is_string(value))
		return render_text(value);
	text = xstrndup(json_string_value(value), json_string_length(value));
	for (char *p = text; *p; p++)
		if ((unsigned char)*p < ' ')
			*p = '?';
	render_disarm(text);
	return text;
}

/* Characters of UTF-8. */
static size_t render_cell_width(const char *text)
{
	size_t n = 0;

	for (; *text; text++)
		n += ((unsigned char)*text & 0xc0) != 0x80;
	return n;
}

static void render_cell(FILE *out, const char *text, size_t width, bool is_last)
{
	fputs(text, out);
	for (size_t n = render_cell_width(text); !is_last && n < width + 2; n++)
		putc(' ', out);
}

static void render_table(const json_t *rows, FILE *out)
{
	const char *columns[COLUMNS_MAX];
	size_t width[COLUMNS_MAX], n = 0, i;
	const char *name;
	json_t *row, *value;

	json_object_foreach(json_array_get(rows, 0), name, value)
	{
		if (n < COLUMNS_MAX) {
			columns[n] = name;
			width[n++] = render_cell_width(name);
		}
	}
	json_array_foreach(rows, i, row) for (size_t c = 0; c < n; c++)
	{
		char *text = render_text(json_object_get(row, columns[c]));
		size_t w = render_cell_width(text);

		if (w > width[c])
			width[c] = w < WIDTH_MAX ? w : WIDTH_MAX;
		free(text);
	}
	for (size_t c = 0; c < n; c++)
		render_cell(out, columns[c], width[c], c + 1 == n);
	putc('\n', out);
	json_array_foreach(rows, i, row)
	{
		for (size_t c = 0; c < n; c++) {
			char *text = render_text(json_object_get(row, columns[c]));

			render_cell(out, text, width[c], c + 1 == n);
			free(text);
		}
		putc('\n', out);
	}
}

static void render_member(const char *prefix, const char *name, const json_t *value, FILE *out)
{
	char *text;

	if (json_is_array(value) && json_is_object(json_array_get(value, 0))) {
		fprintf(out, "%s%s:\n", prefix, name);
		render_table(value, out);
		return;
	}
	text = render_text(value);
	fprintf(out, "%s%s: %s\n", prefix, name, text);
	free(text);
}

void render(const json_t *value, FILE *out)
{
	const char *name, *inner;
	json_t *member, *part;

	json_object_foreach((json_t *)value, name, member)
	{
		char prefix[80];

		if (!json_is_object(member)) {
			render_member("", name, member, out);
			continue;
		}
		snprintf(prefix, sizeof(prefix), "%s.", name);
		json_object_foreach(member, inner, part) render_member(prefix, inner, part, out);
	}
}

/* SPDX-License-Identifier: MIT */
/* A parser of our own: libinih cuts lines after 198 bytes, and stops at the first bad one. */
#include <errno.h>
#include "base/mem.h"
#include "conf/conf_source.h"
#include "conf/conf_table.h"

#define BOM		"\xef\xbb\xbf" /* UTF-8's mark, which some editors write */
#define INI_SECTION_MAX 128

struct ini_run {
	const char *label;
	unsigned line;
	struct str_view section, name; /* of the settings that follow; name for continuations */
	struct strbuf names;	       /* holds both */
	setting_fn *fn;
	void *ctx;
	char **why;
	int rc;
};

static bool ini_is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static struct str_view ini_trim(struct str_view s)
{
	while (s.len && ini_is_blank(*s.ptr))
		s = sv_skip(s, 1);
	while (s.len && (ini_is_blank(s.ptr[s.len - 1]) || s.ptr[s.len - 1] == '\r'))
		s.len--;
	return s;
}

/* Without a comment, which begins with " ;". */
static struct str_view ini_cut_comment(struct str_view s)
{
	for (size_t i = 0; i < s.len; i++)
		if (s.ptr[i] == ';' && (i == 0 || ini_is_blank(s.ptr[i - 1])))
			s.len = i;
	return ini_trim(s);
}

static void ini_complain(struct ini_run *r, const char *what)
{
	complaint_add(r->why, textf("%s:%u: %s", r->label, r->line, what));
	r->rc = -EINVAL;
}

static void ini_pass(struct ini_run *r, struct str_view value, bool continued)
{
	char *section = sv_dup(r->section), *name = sv_dup(r->name), *text = sv_dup(value);
	const struct setting s = { section, name, text, r->line, continued };
	int rc = r->fn(r->ctx, &s);

	if (rc < 0)
		r->rc = rc;
	explicit_bzero(text, value.len);
	free(text);
	free(name);
	free(section);
}

static void ini_begin_section(struct ini_run *r, struct str_view s)
{
	ptrdiff_t end = sv_find(s, ']');
	struct str_view rest = end < 0 ? s : ini_trim(sv_skip(s, (size_t)end + 1));

	strbuf_reset(&r->names);
	r->section = r->name = strbuf_view(&r->names);
	if (end < 0 || (rest.len && *rest.ptr != ';' && *rest.ptr != '#')) {
		ini_complain(r, "is neither [section] nor name = value");
		return;
	}
	s = ini_trim(sv_n(s.ptr + 1, (size_t)end - 1));
	if (s.len > INI_SECTION_MAX) {
		ini_complain(r, "the section's name is longer than 128 bytes");
		return;
	}
	strbuf_add_sv(&r->names, s);
	r->section = strbuf_view(&r->names);
}

static void ini_read_setting(struct ini_run *r, struct str_view s)
{
	size_t end = 0, section = r->section.len;
	struct str_view name;

	while (end < s.len && s.ptr[end] != '=' && s.ptr[end] != ':')
		end++;
	name = ini_trim(sv_n(s.ptr, end));
	r->names.len = section;
	if (end == s.len || !name.len) {
		r->name = sv_n(r->names.ptr, 0);
		ini_complain(r, "is neither [section] nor name = value");
		return;
	}
	strbuf_add_sv(&r->names, name);
	r->section = sv_n(r->names.ptr, section);
	r->name = sv_n(r->names.ptr + section, name.len);
	ini_pass(r, ini_cut_comment(ini_trim(sv_skip(s, end + 1))), false);
}

static void ini_read_line(struct ini_run *r, struct str_view line)
{
	bool indented = line.len && ini_is_blank(*line.ptr);
	struct str_view s = ini_trim(line);

	if (memchr(line.ptr, '\0', line.len))
		ini_complain(r, "the line has a NUL byte");
	else if (!s.len || *s.ptr == '#' || *s.ptr == ';')
		return;
	else if (s.len > INI_LINE_MAX)
		ini_complain(r, "the line is longer than 4096 bytes; a value continues in the next "
				"line if that is indented and without \"=\"");
	else if (*s.ptr == '[')
		ini_begin_section(r, s);
	else if (indented && r->name.len && sv_find(s, '=') < 0)
		ini_pass(r, ini_cut_comment(s), true);
	else
		ini_read_setting(r, s);
}

int ini_read(FILE *in, const char *label, setting_fn *fn, void *ctx, char **why)
{
	struct ini_run r = { .label = label, .fn = fn, .ctx = ctx, .why = why };
	char *line = NULL;
	size_t cap = 0;
	ssize_t n;

	strbuf_init(&r.names, 64);
	r.section = r.name = strbuf_view(&r.names);
	while ((n = getline(&line, &cap, in)) >= 0) {
		struct str_view s = sv_n(line, (size_t)n);

		if (r.line++ == 0 && sv_starts_with(s, SV(BOM)))
			s = sv_skip(s, sizeof(BOM) - 1);
		if (sv_ends_with(s, SV("\n")))
			s.len--;
		ini_read_line(&r, s);
	}
	if (ferror(in)) {
		complaint_add(why, textf("%s: cannot be read", label));
		r.rc = -EIO;
	}
	if (line)
		explicit_bzero(line, cap);
	free(line);
	strbuf_release(&r.names);
	return r.rc;
}

const char *environ_get(char **environ_, struct str_view name)
{
	for (char **e = environ_; e && *e; e++)
		if (sv_starts_with(sv(*e), name) && (*e)[name.len] == '=')
			return *e + name.len + 1;
	return NULL;
}

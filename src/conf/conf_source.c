/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <ini.h>
#include "base/map.h"
#include "base/mem.h"
#include "conf/conf_source.h"
#include "conf/conf_table.h"

#define BOM		"\xef\xbb\xbf" /* UTF-8's mark, which some editors write */
#define INI_SECTION_MAX 48	       /* libinih cuts longer ones off in silence; names too */

/*
 * libinih tells neither line numbers nor that it cut something off: so it gets its lines from
 * here, where they are counted and measured.
 */
struct ini_run {
	FILE *in;
	char *room; /* getline's */
	size_t cap;
	unsigned line;
	bool continued;
	setting_fn *fn;
	void *ctx;
	const char *complaint; /* about the current line; static */
	int rc;
};

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static const char *ini_line_complaint(const char *line)
{
	bool section = *line == '[';

	if (strlen(line) > INI_LINE_MAX)
		return "the line is longer than 198 bytes; a value goes on in the next line if "
		       "that is indented and without \"=\"";
	if (section ? !strchr(line, ']') : *line && !is_blank(*line) && !strpbrk(line, "=:"))
		return "is neither [section] nor name = value";
	if (section && strcspn(line, "]") > INI_SECTION_MAX)
		return "the section's name is longer than 47 bytes";
	if (strchr(line, '=') && strcspn(line, "= \t") > INI_SECTION_MAX)
		return "the option's name is longer than 48 bytes";
	return NULL;
}

/* libinih cuts a " ;" off a value, but not off what goes on below it. */
static void ini_cut_comment(char *line)
{
	for (char *p = line + 1; *p; p++) {
		if (*p == ';' && is_blank(p[-1])) {
			*p = '\0';
			return;
		}
	}
}

/* Without its end, byte order mark and comment; blanks in front stay on a continuation only. */
static char *ini_trim(struct ini_run *r, size_t len)
{
	char *line = r->room, *text;

	while (len > 0 && (line[len - 1] == '\n' || line[len - 1] == '\r'))
		line[--len] = '\0';
	if (memchr(line, '\0', len)) {
		r->complaint = "the line holds a NUL byte";
		return line;
	}
	if (r->line == 1 && sv_starts_with(sv(line), SV(BOM)))
		line += sizeof(BOM) - 1;
	text = line + strspn(line, " \t");
	if (*text == '#' || *text == ';')
		*text = '\0';
	r->continued = is_blank(*line) && *text && *text != '[' && !strchr(text, '=');
	if (!r->continued)
		return text;
	ini_cut_comment(line);
	return line;
}

/* As fgets; an indented option loses its indent, which would make it a continuation. */
static char *ini_next_line(char *out, int size, void *ctx)
{
	struct ini_run *r = ctx;
	const char *line;
	ssize_t len;

	if (r->rc < 0 || r->complaint)
		return NULL;
	len = getline(&r->room, &r->cap, r->in);
	if (len < 0)
		return NULL;
	r->line++;
	line = ini_trim(r, (size_t)len);
	if (!r->complaint)
		r->complaint = ini_line_complaint(line);
	if (r->complaint)
		return NULL;
	snprintf(out, (size_t)size, "%s", line);
	return out;
}

static int ini_on_setting(void *ctx, const char *section, const char *name, const char *value)
{
	struct ini_run *r = ctx;
	const struct setting s = { section, name, value, r->line, r->continued };

	if (r->rc == 0)
		r->rc = r->fn(r->ctx, &s);
	return r->rc == 0;
}

int ini_read(FILE *in, const char *label, setting_fn *fn, void *ctx, char **why)
{
	struct ini_run r = { .in = in, .fn = fn, .ctx = ctx };
	int bad_line = ini_parse_stream(ini_next_line, &r, ini_on_setting, &r);

	if (r.rc == 0 && r.complaint) {
		*why = textf("%s:%u: %s", label, r.line, r.complaint);
		r.rc = -EINVAL;
	} else if (r.rc == 0 && bad_line > 0) {
		*why = textf("%s:%d: is neither [section] nor name = value", label, bad_line);
		r.rc = -EINVAL;
	} else if (r.rc == 0 && ferror(in)) {
		*why = textf("%s: cannot be read", label);
		r.rc = -EIO;
	}
	free(r.room);
	return r.rc;
}

const char *environ_get(char **environ_, struct str_view name)
{
	for (char **e = environ_; e && *e; e++)
		if (sv_starts_with(sv(*e), name) && (*e)[name.len] == '=')
			return *e + name.len + 1;
	return NULL;
}

struct env_entry {
	char *name, *value;
};

struct env_run {
	const char *at, *end;
	unsigned line;
	char **environ_;
	struct map seen; /* by name: struct env_entry */
};

static bool source_is_name_byte(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       c == '_' || c == '.';
}

static void env_skip_line(struct env_run *r)
{
	while (r->at < r->end && *r->at != '\n')
		r->at++;
}

static void env_skip_blanks(struct env_run *r)
{
	while (r->at < r->end && (is_blank(*r->at) || *r->at == '\r'))
		r->at++;
}

/* At "${NAME}": appends what it stands for and steps over it; false when it is none. */
static bool env_expand(struct env_run *r, struct strbuf *b)
{
	const char *p = r->at + 2;
	const struct env_entry *e;
	struct str_view name;
	const char *value;

	if (b->len > ENV_VALUE_MAX || r->end - r->at < 4 || r->at[0] != '$' || r->at[1] != '{')
		return false;
	while (p < r->end && source_is_name_byte(*p))
		p++;
	if (p == r->end || *p != '}' || p == r->at + 2)
		return false;
	name = sv_n(r->at + 2, (size_t)(p - r->at - 2));
	value = environ_get(r->environ_, name);
	e = map_get(&r->seen, name);
	if (value)
		strbuf_add_str(b, value);
	else if (e)
		strbuf_add_str(b, e->value);
	else
		strbuf_add(b, r->at, (size_t)(p + 1 - r->at));
	r->at = p + 1;
	return true;
}

/* Behind a backslash within "...". */
static void env_escape(struct strbuf *b, char c)
{
	static const char from[] = "nrt\"\\$", to[] = "\n\r\t\"\\$";
	const char *hit = strchr(from, c);

	if (c && hit) {
		strbuf_add_c(b, to[hit - from]);
	} else {
		strbuf_add_c(b, '\\');
		strbuf_add_c(b, c);
	}
}

/* From behind the opening quote to behind the closing one; false when there is none. */
static bool env_quoted(struct env_run *r, char quote, struct strbuf *b)
{
	while (r->at < r->end) {
		char c = *r->at;

		if (c == quote) {
			r->at++;
			return true;
		}
		if (quote == '"' && c == '$' && env_expand(r, b))
			continue;
		if (quote == '"' && c == '\\' && r->end - r->at > 1) {
			env_escape(b, r->at[1]);
			r->line += r->at[1] == '\n';
			r->at += 2;
			continue;
		}
		r->line += c == '\n';
		strbuf_add_c(b, c);
		r->at++;
	}
	return false;
}

/* To the line's end, or a # behind a blank; blanks at the end do not count. */
static void env_bare(struct env_run *r, struct strbuf *b)
{
	size_t keep = 0;
	bool after_blank = true;

	while (r->at < r->end && *r->at != '\n') {
		if (*r->at == '#' && after_blank)
			break;
		after_blank = is_blank(*r->at) || *r->at == '\r';
		if (!(*r->at == '$' && env_expand(r, b)))
			strbuf_add_c(b, *r->at++);
		if (!after_blank)
			keep = b->len;
	}
	b->len = keep;
	b->ptr[keep] = '\0';
}

/* NAME of "export NAME=", with at behind the '='; empty when the line is no assignment. */
static struct str_view env_name(struct env_run *r)
{
	static const char export_[] = "export";
	const char *start;
	struct str_view name;

	env_skip_blanks(r);
	if ((size_t)(r->end - r->at) > sizeof(export_) &&
	    memcmp(r->at, export_, sizeof(export_) - 1) == 0 &&
	    is_blank(r->at[sizeof(export_) - 1])) {
		r->at += sizeof(export_) - 1;
		env_skip_blanks(r);
	}
	start = r->at;
	while (r->at < r->end && source_is_name_byte(*r->at))
		r->at++;
	name = sv_n(start, (size_t)(r->at - start));
	env_skip_blanks(r);
	if (r->at == r->end || *r->at != '=')
		return sv_n(start, 0);
	r->at++;
	env_skip_blanks(r);
	return name;
}

static bool env_value(struct env_run *r, struct strbuf *b)
{
	char quote = r->at < r->end ? *r->at : '\n';
	bool closed = true;

	if (quote == '"' || quote == '\'') {
		r->at++;
		closed = env_quoted(r, quote, b);
		env_skip_line(r);
	} else {
		env_bare(r, b);
		env_skip_line(r);
	}
	return closed;
}

static void env_remember(struct env_run *r, struct str_view name, struct str_view value)
{
	struct env_entry *e = map_get(&r->seen, name);

	if (!e) {
		e = xcalloc(1, sizeof(*e));
		e->name = sv_dup(name);
		map_put(&r->seen, sv(e->name), e);
	}
	free(e->value);
	e->value = sv_dup(value);
}

/* One line, or more if a quoted value goes over several. */
static int env_line(struct env_run *r, const char *label, setting_fn *fn, void *ctx, char **why)
{
	struct setting s = { .section = "", .line = r->line };
	struct str_view name = env_name(r);
	struct strbuf value;
	const struct env_entry *e;
	int rc;

	if (!name.len) {
		env_skip_line(r);
		return 0;
	}
	strbuf_init(&value, 64);
	if (!env_value(r, &value)) {
		*why = textf("%s:%u: %.*s: the quote is never closed", label, s.line, SV_ARG(name));
		rc = -EINVAL;
	} else if (value.len > ENV_VALUE_MAX) {
		*why = textf("%s:%u: %.*s: the value is too long", label, s.line, SV_ARG(name));
		rc = -EINVAL;
	} else {
		env_remember(r, name, strbuf_view(&value));
		e = map_get(&r->seen, name);
		s.name = e->name;
		s.value = e->value;
		rc = fn(ctx, &s);
	}
	strbuf_release(&value);
	return rc;
}

static void env_forget(struct env_run *r)
{
	struct env_entry *e;
	size_t at = 0;

	while ((e = map_next(&r->seen, &at))) {
		free(e->name);
		free(e->value);
		free(e);
	}
	map_release(&r->seen);
}

int env_file_read(struct str_view text, char **environ_, const char *label, setting_fn *fn,
		  void *ctx, char **why)
{
	const char *start = text.len ? text.ptr : "";
	struct env_run r = { start, start + text.len, 1, environ_, { .cap = 0 } };
	int rc = 0;

	if (text.len && memchr(text.ptr, '\0', text.len)) {
		*why = textf("%s: holds a NUL byte; is it a text file?", label);
		return -EINVAL;
	}
	if (sv_starts_with(text, SV(BOM)))
		r.at += sizeof(BOM) - 1;
	map_init(&r.seen);
	while (rc == 0 && r.at < r.end) {
		rc = env_line(&r, label, fn, ctx, why);
		if (r.at < r.end && *r.at == '\n') {
			r.at++;
			r.line++;
		}
	}
	env_forget(&r);
	return rc;
}

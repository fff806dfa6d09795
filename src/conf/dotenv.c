/* SPDX-License-Identifier: MIT */
/*
 * As vlucas/phpdotenv 5.6: the text is split into lines, lines between an opening =" and its
 * closing quote are joined, an entry is split at its first '=', and the value is read by a state
 * machine.  The states have phpdotenv's names, so that both can be compared side by side.
 *
 * A name may have letters outside ASCII there; here every byte of such letters passes, because
 * no such variable is ours.
 */
#include <ctype.h>
#include <errno.h>
#include <strings.h>
#include "base/map.h"
#include "base/mem.h"
#include "conf/conf_table.h"
#include "conf/dotenv.h"

#define BOM "\xef\xbb\xbf"

/* A variable; name and value are owned. */
struct env_entry {
	char *name, *value; /* value NULL: a later line without '=' removed it */
	unsigned line;
};

struct env_run {
	const char *label;
	char **environ_;
	char **why;
	struct map by_name; /* struct env_entry */
	struct env_entry **entries;
	size_t n;
	int rc;
};

static void env_complain(struct env_run *r, unsigned line, struct str_view name, const char *what)
{
	complaint_add(r->why, name.len
				      ? textf("%s:%u: %.*s: %s", r->label, line, SV_ARG(name), what)
				      : textf("%s:%u: %s", r->label, line, what));
	r->rc = -EINVAL;
}

/* PHP's trim() with the characters that phpdotenv gives; a text with NUL was refused. */
static bool dotenv_is_trimmed(char c)
{
	return c == ' ' || c == '\n' || c == '\r' || c == '\t' || c == '\v';
}

static struct str_view env_trim(struct str_view s)
{
	while (s.len && dotenv_is_trimmed(*s.ptr))
		s = sv_skip(s, 1);
	while (s.len && dotenv_is_trimmed(s.ptr[s.len - 1]))
		s.len--;
	return s;
}

/* Double quotes that an odd number of backslashes does not escape. */
static size_t env_count_quotes(struct str_view line)
{
	size_t n = 0, backslashes = 0;

	for (size_t i = 0; i < line.len; i++) {
		n += line.ptr[i] == '"' && backslashes % 2 == 0;
		backslashes = line.ptr[i] == '\\' ? backslashes + 1 : 0;
	}
	return n;
}

static bool env_opens_lines(struct str_view line)
{
	const char *open = memmem(line.ptr, line.len, "=\"", 2);

	return open && !memchr(line.ptr, '#', (size_t)(open - line.ptr)) &&
	       env_count_quotes(line) <= 1;
}

/* The NAME of "export NAME" and of "NAME" in quotes; empty when it is no name. */
static struct str_view env_name(struct str_view name)
{
	if (name.len > 6 && memcmp(name.ptr, "export", 6) == 0 &&
	    isspace((unsigned char)name.ptr[6]))
		for (name = sv_skip(name, 6); name.len && isspace((unsigned char)*name.ptr);)
			name = sv_skip(name, 1);
	if (name.len >= 3 && (*name.ptr == '"' || *name.ptr == '\'') &&
	    name.ptr[name.len - 1] == *name.ptr)
		name = sv_n(name.ptr + 1, name.len - 2);
	for (size_t i = 0; i < name.len; i++) {
		unsigned char c = (unsigned char)name.ptr[i];

		if (!isalnum(c) && c != '_' && c != '.' && c < 0x80)
			return sv_n(name.ptr, 0);
	}
	return name;
}

enum env_state {
	STATE_INITIAL,
	STATE_FORM_FEEDS, /* blanks at the start that are not trimmed belong to the value */
	STATE_UNQUOTED,
	STATE_SINGLE_QUOTED,
	STATE_DOUBLE_QUOTED,
	STATE_ESCAPE_SEQUENCE,
	STATE_WHITESPACE,
	STATE_COMMENT,
};

/* The value so far, and where a '$' in it may begin a reference. */
struct env_value {
	struct strbuf chars;
	size_t *vars, n_vars;
	enum env_state state;
};

static void env_value_add(struct env_value *v, char c, enum env_state next)
{
	if (c == '$') {
		v->vars = xreallocarray(v->vars, v->n_vars + 1, sizeof(*v->vars));
		v->vars[v->n_vars++] = v->chars.len;
	}
	strbuf_add_c(&v->chars, c);
	v->state = next;
}

/* After a backslash in "...". */
static const char *env_value_escape(struct env_value *v, char c)
{
	static const char from[] = "fnrtv\"\\$", to[] = "\f\n\r\t\v\"\\$";
	const char *hit = strchr(from, c);

	if (!hit)
		return "an escape is not known; in \"...\" write \\\\ for a backslash";
	strbuf_add_c(&v->chars, to[hit - from]);
	v->state = STATE_DOUBLE_QUOTED;
	return NULL;
}

static const char *env_value_unquoted(struct env_value *v, char c, bool blank)
{
	if (c == '#')
		v->state = STATE_COMMENT;
	else if (blank)
		v->state = STATE_WHITESPACE;
	else
		env_value_add(v, c, STATE_UNQUOTED);
	return NULL;
}

/* The next byte of a value: NULL, or what is wrong with it. */
static const char *env_value_step(struct env_value *v, char c)
{
	bool blank = isspace((unsigned char)c);

	switch (v->state) {
	case STATE_INITIAL:
		if (c == '\'')
			v->state = STATE_SINGLE_QUOTED;
		else if (c == '"')
			v->state = STATE_DOUBLE_QUOTED;
		else if (c == '#')
			v->state = STATE_COMMENT;
		else
			env_value_add(v, c, blank ? STATE_FORM_FEEDS : STATE_UNQUOTED);
		return NULL;
	case STATE_FORM_FEEDS:
		if (blank && c != '\n')
			env_value_add(v, c, STATE_FORM_FEEDS);
		else
			return env_value_unquoted(v, c, blank);
		return NULL;
	case STATE_UNQUOTED:
		return env_value_unquoted(v, c, blank);
	case STATE_SINGLE_QUOTED:
		if (c == '\'')
			v->state = STATE_WHITESPACE;
		else
			strbuf_add_c(&v->chars, c);
		return NULL;
	case STATE_DOUBLE_QUOTED:
		if (c == '"')
			v->state = STATE_WHITESPACE;
		else if (c == '\\')
			v->state = STATE_ESCAPE_SEQUENCE;
		else
			env_value_add(v, c, STATE_DOUBLE_QUOTED);
		return NULL;
	case STATE_ESCAPE_SEQUENCE:
		return env_value_escape(v, c);
	case STATE_WHITESPACE:
		if (c == '#')
			v->state = STATE_COMMENT;
		else if (!blank)
			return "text follows the value's end; put a value with blanks in quotes";
		return NULL;
	case STATE_COMMENT:
		return NULL;
	}
	return NULL;
}

static bool dotenv_is_reference_byte(char c)
{
	return isalnum((unsigned char)c) || c == '_' || c == '.';
}

/* Appends text; a ${NAME} at its start is replaced if NAME has a value. */
static void env_resolve_one(struct env_run *r, struct strbuf *out, struct str_view text)
{
	size_t n = 2;
	const struct env_entry *e;
	const char *value;
	struct str_view name;

	while (n < text.len && dotenv_is_reference_byte(text.ptr[n]))
		n++;
	if (text.len > 3 && text.ptr[1] == '{' && n > 2 && n < text.len && text.ptr[n] == '}') {
		name = sv_n(text.ptr + 2, n - 2);
		value = environ_get(r->environ_, name);
		e = map_get(&r->by_name, name);
		if (!value && e)
			value = e->value;
		if (value) {
			strbuf_add_str(out, value);
			text = sv_skip(text, n + 1);
		}
	}
	strbuf_add_sv(out, text);
}

/* From the last reference to the first: what an inner one gives may complete an outer one. */
static const char *env_resolve(struct env_run *r, struct env_value *v, struct strbuf *out)
{
	struct strbuf tail, joined;
	size_t cut = v->chars.len;

	strbuf_init(&tail, 0);
	strbuf_init(&joined, 0);
	for (size_t i = v->n_vars; i-- > 0 && tail.len <= ENV_VALUE_MAX; cut = v->vars[i]) {
		strbuf_reset(&joined);
		strbuf_add(&joined, v->chars.ptr + v->vars[i], cut - v->vars[i]);
		strbuf_add_sv(&joined, strbuf_view(&tail));
		strbuf_reset(&tail);
		env_resolve_one(r, &tail, strbuf_view(&joined));
	}
	strbuf_add(out, v->chars.ptr, cut);
	strbuf_add_sv(out, strbuf_view(&tail));
	strbuf_release(&tail);
	strbuf_release(&joined);
	return out->len > ENV_VALUE_MAX ? "the value is too long" : NULL;
}

static const char *env_read_value(struct env_run *r, struct str_view text, struct strbuf *out)
{
	struct env_value v = { .state = STATE_INITIAL };
	const char *wrong = NULL;

	strbuf_init(&v.chars, text.len);
	text = env_trim(text);
	for (size_t i = 0; i < text.len && !wrong; i++)
		wrong = env_value_step(&v, text.ptr[i]);
	if (!wrong && (v.state == STATE_SINGLE_QUOTED || v.state == STATE_DOUBLE_QUOTED ||
		       v.state == STATE_ESCAPE_SEQUENCE))
		wrong = "the quote is never closed";
	if (!wrong)
		wrong = env_resolve(r, &v, out);
	strbuf_release(&v.chars);
	free(v.vars);
	return wrong;
}

/* Sets a variable; a value of NULL removes it.  The entry moves to the end of the order. */
static void env_set(struct env_run *r, struct str_view name, const struct strbuf *value,
		    unsigned line)
{
	struct env_entry *e = map_del(&r->by_name, name);

	if (e) {
		free(e->value);
		e->value = NULL;
	}
	if (!value)
		return;
	e = xcalloc(1, sizeof(*e));
	*e = (struct env_entry){ sv_dup(name), sv_dup(strbuf_view(value)), line };
	r->entries = xreallocarray(r->entries, r->n + 1, sizeof(*r->entries));
	r->entries[r->n++] = e;
	map_put(&r->by_name, sv(e->name), e);
}

/* One line, or the joined lines of one value. */
static void env_entry_read(struct env_run *r, struct str_view entry, unsigned line)
{
	ptrdiff_t equals = sv_find(entry, '=');
	struct str_view name = equals < 0 ? entry : env_trim(sv_n(entry.ptr, (size_t)equals));
	struct strbuf value;
	const char *wrong;

	name = env_name(name);
	if (!name.len) {
		env_complain(r, line, name,
			     equals < 0 ? "is neither NAME=value nor a comment"
					: "what is before the = is not a name");
		return;
	}
	if (equals < 0) {
		env_set(r, name, NULL, line);
		return;
	}
	strbuf_init(&value, 64);
	wrong = env_read_value(r, sv_skip(entry, (size_t)equals + 1), &value);
	if (wrong)
		env_complain(r, line, name, wrong);
	else
		env_set(r, name, &value, line);
	strbuf_release(&value);
}

/* The next line without its end, and *rest after it. */
static struct str_view env_take_line(struct str_view *rest)
{
	struct str_view line = *rest;
	size_t n = 0;

	while (n < rest->len && rest->ptr[n] != '\n' && rest->ptr[n] != '\r')
		n++;
	line.len = n;
	*rest = sv_skip(*rest, sv_starts_with(sv_skip(*rest, n), SV("\r\n")) ? n + 2 : n + 1);
	return line;
}

static void env_read_lines(struct env_run *r, struct str_view text)
{
	struct strbuf joined;
	unsigned first = 0; /* line of the entry whose lines are joined; 0: none is */

	strbuf_init(&joined, 0);
	for (unsigned line = 1; text.len; line++) {
		struct str_view s = env_take_line(&text), trimmed = env_trim(s);
		bool opens = !first && env_opens_lines(s);

		if (first || opens) {
			if (first)
				strbuf_add_c(&joined, '\n');
			strbuf_add_sv(&joined, s);
			first = first ? first : line;
			if ((opens || env_count_quotes(s) == 0) && text.len)
				continue;
			env_entry_read(r, strbuf_view(&joined), first);
			strbuf_reset(&joined);
			first = 0;
		} else if (trimmed.len && *trimmed.ptr != '#') {
			env_entry_read(r, s, line);
		}
	}
	strbuf_release(&joined);
}

static void env_pass(struct env_run *r, setting_fn *fn, void *ctx)
{
	if (r->rc)
		return;
	for (size_t i = 0; i < r->n; i++) {
		const struct env_entry *e = r->entries[i];
		const struct setting s = {
			.section = "", .name = e->name, .value = e->value, .line = e->line
		};

		int rc = e->value ? fn(ctx, &s) : 0;

		if (rc < 0)
			r->rc = rc;
	}
}

int env_file_read(const struct env_file *f, setting_fn *fn, void *ctx, char **why)
{
	struct env_run r = { .label = f->label, .environ_ = f->environ_, .why = why };
	struct str_view text = f->text;

	if (sv_starts_with(text, SV(BOM)))
		text = sv_skip(text, sizeof(BOM) - 1);
	if (text.len && memchr(text.ptr, '\0', text.len)) {
		*why = textf("%s: has a NUL byte; is it a text file?", f->label);
		return -EINVAL;
	}
	if (!sv_is_utf8(text)) {
		*why = textf("%s: is not UTF-8; Laravel would replace bytes by question marks",
			     f->label);
		return -EINVAL;
	}
	map_init(&r.by_name);
	env_read_lines(&r, text);
	env_pass(&r, fn, ctx);
	for (size_t i = 0; i < r.n; i++) {
		if (r.entries[i]->value)
			explicit_bzero(r.entries[i]->value, strlen(r.entries[i]->value));
		free(r.entries[i]->name);
		free(r.entries[i]->value);
		free(r.entries[i]);
	}
	free(r.entries);
	map_release(&r.by_name);
	return r.rc;
}

enum env_kind env_convert(struct str_view value, struct str_view *text)
{
	static const struct {
		const char *word;
		enum env_kind kind;
	} words[] = {
		{ "", ENV_EMPTY },	{ "empty", ENV_EMPTY }, { "(empty)", ENV_EMPTY },
		{ "null", ENV_NULL },	{ "(null)", ENV_NULL }, { "true", ENV_TRUE },
		{ "(true)", ENV_TRUE }, { "false", ENV_FALSE }, { "(false)", ENV_FALSE },
	};

	*text = value;
	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		if (value.len == strlen(words[i].word) &&
		    strncasecmp(value.ptr, words[i].word, value.len) == 0)
			return words[i].kind;
	if (value.len >= 2 && (*value.ptr == '"' || *value.ptr == '\'') &&
	    value.ptr[value.len - 1] == *value.ptr && !memchr(value.ptr, '\n', value.len))
		*text = sv_n(value.ptr + 1, value.len - 2);
	return text->len ? ENV_TEXT : ENV_EMPTY;
}

/* SPDX-License-Identifier: MIT */
/*
 * How values of each type of option are read, compared and freed.  On the main thread, at the start
 * and at a reload.
 */
#include <errno.h>
#include <limits.h>
#include <strings.h>
#include "base/mem.h"
#include "conf/conf.h"
#include "conf/conf_table.h"

#define COMPLAINTS_MAX 50

bool word_in_list(const char *list, const char *word)
{
	size_t n = strlen(word);

	for (const char *at = list; at && n; at = strchr(at, ' ')) {
		at += *at == ' ';
		if (strncmp(at, word, n) == 0 && (at[n] == ' ' || at[n] == '\0'))
			return true;
	}
	return false;
}

static const struct option *option_table(const char *section, size_t *n)
{
	bool app = strcmp(section, "app") == 0;

	*n = app ? n_app_options : n_conf_options;
	return app ? app_options : conf_options;
}

const struct option *option_find(const char *section, const char *name, unsigned *scale)
{
	size_t n;
	const struct option *table = option_table(section, &n);

	*scale = 1;
	for (size_t i = 0; i < n; i++) {
		const struct option *o = &table[i];

		if (strcmp(o->section, section) != 0)
			continue;
		if (strcmp(o->name, name) == 0 || word_in_list(o->aliases, name))
			return o;
		if (o->alias_kb && strcmp(o->alias_kb, name) == 0) {
			*scale = 1024;
			return o;
		}
	}
	return NULL;
}

const struct option *option_find_env(const struct option *options, size_t n, const char *name,
				     unsigned *scale)
{
	for (size_t i = 0; i < n; i++) {
		bool kb = options[i].env_kb && strcmp(options[i].env_kb, name) == 0;

		*scale = kb ? 1024 : 1;
		if (kb || word_in_list(options[i].env, name))
			return &options[i];
	}
	return NULL;
}

static const char *option_nearest(const char *section, const char *name)
{
	size_t n;
	const struct option *table = option_table(section, &n);
	const char *nearest = NULL;
	unsigned least = UINT_MAX;

	for (size_t i = 0; i < n; i++)
		if (strcmp(table[i].section, section) == 0 &&
		    str_is_nearer(sv(name), table[i].name, &least))
			nearest = table[i].name;
	return nearest;
}

char *option_unknown(const char *section, const char *name, const char *label)
{
	const char *near = option_nearest(section, name);

	return textf("%s: there is no such option%s%s%s", label, near ? "; did you mean " : "",
		     near ? near : "", near ? "?" : "");
}

void complaint_add(char **why, char *sentence)
{
	unsigned lines = 1;
	char *both;

	for (const char *p = *why; p && *p; p++)
		lines += *p == '\n';
	if (*why && lines >= COMPLAINTS_MAX) {
		free(sentence);
		sentence = xstrdup("there are more problems");
	}
	if (*why && strstr(*why, sentence)) {
		free(sentence);
		return;
	}
	if (*why) {
		both = textf("%s\n%s", *why, sentence);
		free(*why);
		free(sentence);
		sentence = both;
	}
	*why = sentence;
}

static bool option_parse_bool(const char *text, bool *out)
{
	static const char *const words[] = { "no", "yes", "false", "true",    "0",
					     "1",  "off", "on",	   "(false)", "(true)" };

	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		if (strcasecmp(text, words[i]) == 0) {
			*out = i % 2;
			return true;
		}
	}
	return false;
}

/* The factor of a letter after the digits, by the option's unit. */
static const struct {
	const char *unit;
	char letter;
	unsigned factor;
} suffixes[] = {
	{ "bytes", 'K', 1U << 10 }, { "bytes", 'M', 1U << 20 }, { "bytes", 'G', 1U << 30 },
	{ "MiB", 'M', 1 },	    { "MiB", 'G', 1U << 10 },	{ "MiB", 'T', 1U << 20 },
	{ "hours", 'h', 1 },	    { "hours", 'd', 24 },
};

/* Takes the letter off; 1 when there is none. */
static unsigned option_take_suffix(const struct option *o, struct str_view *digits)
{
	for (size_t i = 0; digits->len && o->unit && i < ARRAY_SIZE(suffixes); i++) {
		if (strcmp(o->unit, suffixes[i].unit) == 0 &&
		    digits->ptr[digits->len - 1] == suffixes[i].letter) {
			digits->len--;
			return suffixes[i].factor;
		}
	}
	return 1;
}

static bool option_parse_uint(const struct option *o, const char *text, unsigned scale,
			      uint64_t *out)
{
	struct str_view digits = sv(text);
	uint64_t v, factor;

	if ((o->flags & OPTION_LIMIT) &&
	    (strcmp(text, "-1") == 0 || strcasecmp(text, "unlimited") == 0)) {
		*out = 0;
		return true;
	}
	factor = (uint64_t)scale * option_take_suffix(o, &digits);
	if (!sv_to_u64(digits, o->max / factor, &v))
		return false;
	v *= factor;
	if (v < o->min || v > o->max)
		return false;
	*out = v;
	return true;
}

uint64_t option_limit(const char *name, const char *value)
{
	unsigned scale;
	const struct option *o = option_find("app", name, &scale);
	uint64_t v;

	if (!o || o->type != OPTION_UINT || !option_parse_uint(o, value, scale, &v))
		return 0;
	return v ? v : UINT64_MAX;
}

static int option_set_uint(const struct option *o, void *at, const char *value, unsigned scale,
			   char **complaint)
{
	uint64_t v;

	if (option_parse_uint(o, value, scale, &v)) {
		*(unsigned *)at = (unsigned)v;
		return 0;
	}
	*complaint = textf("must be from %ju to %ju%s%s%s", (uintmax_t)o->min / scale,
			   (uintmax_t)o->max / scale, o->unit && scale == 1 ? " " : "",
			   o->unit && scale == 1 ? o->unit : "",
			   o->flags & OPTION_LIMIT ? "; 0 or -1 for no limit" : "");
	return -EINVAL;
}

static char *option_words_text(const char *const *words)
{
	struct strbuf b;
	char *text;

	strbuf_init(&b, 64);
	for (size_t i = 0; words[i]; i++) {
		if (i)
			strbuf_add_str(&b, words[i + 1] ? ", " : " or ");
		strbuf_add_str(&b, words[i]);
	}
	text = strbuf_detach(&b);
	strbuf_release(&b);
	return text;
}

static bool option_parse_word(const char *const *words, struct str_view text, int *out)
{
	for (int i = 0; words[i]; i++) {
		if (sv_eq_c(text, words[i])) {
			*out = i;
			return true;
		}
	}
	return false;
}

static int option_set_enum(const struct option *o, void *at, const char *value, char **complaint)
{
	char *words;
	bool yes;
	int v;

	if (!option_parse_word(o->words, sv(value), &v)) {
		if (!(o->flags & OPTION_BOOL_TOO) || !option_parse_bool(value, &yes)) {
			words = option_words_text(o->words);
			*complaint = textf("must be %s", words);
			free(words);
			return -EINVAL;
		}
		v = yes;
	}
	memcpy(at, &v, sizeof(v));
	return 0;
}

/* The next word between commas and blanks, or the empty view. */
static struct str_view conf_next_word(const char **at)
{
	static const char between[] = ", \t";
	struct str_view word;

	*at += strspn(*at, between);
	word = sv_n(*at, strcspn(*at, between));
	*at += word.len;
	return word;
}

static void option_free_list(char **list)
{
	for (char **p = list; p && *p; p++)
		secret_free(*p);
	free(list);
}

static int option_set_list(void *at, const char *value)
{
	char **list = xcalloc(strlen(value) / 2 + 2, sizeof(*list));
	size_t n = 0;

	for (struct str_view w = conf_next_word(&value); w.len; w = conf_next_word(&value))
		list[n++] = sv_dup(w);
	option_free_list(*(char ***)at);
	*(char ***)at = list;
	return 0;
}

static void option_free_rules(struct channel_rule *rules, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(rules[i].pattern);
	free(rules);
}

/* PATTERN:DURABILITY */
static bool option_parse_rule(struct str_view text, struct channel_rule *out)
{
	size_t colon = text.len;
	int durability;

	while (colon > 0 && text.ptr[colon - 1] != ':')
		colon--;
	if (colon < 2 || !option_parse_word(durabilities, sv_skip(text, colon), &durability))
		return false;
	out->pattern = sv_dup(sv_n(text.ptr, colon - 1));
	out->durability = (enum durability)durability;
	return true;
}

static int option_set_rules(struct app *a, const char *value, char **complaint)
{
	struct channel_rule *rules = xcalloc(strlen(value) / 2 + 1, sizeof(*rules));
	size_t n = 0;

	for (struct str_view w = conf_next_word(&value); w.len; w = conf_next_word(&value)) {
		if (!option_parse_rule(w, &rules[n])) {
			*complaint = textf("\"%.*s\" is not PATTERN:commit, PATTERN:async or "
					   "PATTERN:none",
					   SV_ARG(w));
			option_free_rules(rules, n);
			return -EINVAL;
		}
		n++;
	}
	option_free_rules(a->rules, a->n_rules);
	a->rules = rules;
	a->n_rules = n;
	return 0;
}

static int option_set_proxies(struct trusted_proxies *at, const char *value, char **complaint)
{
	struct trusted_proxies t;
	struct str_view bad;

	if (!trusted_proxies_parse(sv(value), &t, &bad)) {
		*complaint =
			textf("\"%.*s\" is not an address, a range such as 10.0.0.0/8, or none",
			      SV_ARG(bad));
		return -EINVAL;
	}
	trusted_proxies_release(at);
	*at = t;
	return 0;
}

int option_set(const struct option *o, void *base, const char *value, unsigned scale,
	       char **complaint)
{
	void *at = (char *)base + o->offset;

	/* Names go into the database, frames and answers; a secret may have any bytes. */
	if (!(o->flags & OPTION_SECRET) && !sv_is_utf8(sv(value))) {
		*complaint = xstrdup("is not UTF-8");
		return -EINVAL;
	}
	switch (o->type) {
	case OPTION_STRING:
		secret_free(*(char **)at);
		*(char **)at = xstrdup(value);
		return 0;
	case OPTION_UINT:
		return option_set_uint(o, at, value, scale, complaint);
	case OPTION_BOOL:
		if (option_parse_bool(value, at))
			return 0;
		*complaint = xstrdup("must be yes or no");
		return -EINVAL;
	case OPTION_ENUM:
		return option_set_enum(o, at, value, complaint);
	case OPTION_LIST:
		return option_set_list(at, value);
	case OPTION_RULES:
		return option_set_rules(base, value, complaint);
	case OPTION_PROXIES:
		return option_set_proxies(at, value, complaint);
	case OPTION_WEBHOOKS:
		return webhook_list_parse(sv(value), at, complaint);
	}
	return -EINVAL;
}

void options_default(const struct option *options, size_t n, void *base)
{
	char *complaint;

	for (size_t i = 0; i < n; i++)
		if (option_set(&options[i], base, options[i].fallback, 1, &complaint) < 0)
			abort(); /* the table contradicts itself; test_conf walks all of it */
}

static bool option_list_is_equal(char **a, char **b)
{
	while (a && b && *a && *b && strcmp(*a, *b) == 0) {
		a++;
		b++;
	}
	return !(a && *a) && !(b && *b);
}

bool option_is_equal(const struct option *o, const void *a, const void *b)
{
	const void *at_a = (const char *)a + o->offset, *at_b = (const char *)b + o->offset;

	switch (o->type) {
	case OPTION_STRING:
		return strcmp(*(char *const *)at_a, *(char *const *)at_b) == 0;
	case OPTION_UINT:
		return *(const unsigned *)at_a == *(const unsigned *)at_b;
	case OPTION_BOOL:
		return *(const bool *)at_a == *(const bool *)at_b;
	case OPTION_ENUM:
		return *(const int *)at_a == *(const int *)at_b;
	case OPTION_LIST:
		return option_list_is_equal(*(char **const *)at_a, *(char **const *)at_b);
	case OPTION_PROXIES:
		return trusted_proxies_are_equal(at_a, at_b);
	case OPTION_RULES:
	case OPTION_WEBHOOKS:
		return true; /* of applications, which are always replaced */
	}
	return true;
}

void options_release(const struct option *options, size_t n, void *base)
{
	for (size_t i = 0; i < n; i++) {
		void *at = (char *)base + options[i].offset;

		if (options[i].type == OPTION_STRING)
			secret_free(*(char **)at);
		else if (options[i].type == OPTION_LIST)
			option_free_list(*(char ***)at);
		else if (options[i].type == OPTION_PROXIES)
			trusted_proxies_release(at);
		else if (options[i].type == OPTION_WEBHOOKS)
			webhook_list_release(at);
		else if (options[i].type == OPTION_RULES)
			option_free_rules(((struct app *)base)->rules,
					  ((struct app *)base)->n_rules);
	}
}

bool option_is_identifier(const char *s)
{
	size_t n = strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789_");

	return n > 0 && n < 64 && !s[n] && !(*s >= '0' && *s <= '9');
}

char *option_error(const struct option *o, const char *label, const char *value, char *complaint)
{
	char *text = o->flags & OPTION_SECRET ? textf("%s: %s", label, complaint)
					      : textf("%s = %s: %s", label, value, complaint);

	free(complaint);
	return text;
}

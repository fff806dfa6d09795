/* SPDX-License-Identifier: MIT */
/* The option table as text: for people at a terminal, in the manual and in the example file. */
#include <limits.h>
#include "conf/conf.h"
#include "conf/conf_table.h"

#define TEXT_WIDTH 78

/* "yes or no", "from 1 to 600 seconds", ...: what the option takes. */
static void print_range(FILE *out, const struct option *o)
{
	switch (o->type) {
	case OPTION_STRING:
		fputs("text", out);
		break;
	case OPTION_UINT:
		if (o->max == UINT_MAX)
			fprintf(out, "%ju or more", (uintmax_t)o->min);
		else
			fprintf(out, "from %ju to %ju", (uintmax_t)o->min, (uintmax_t)o->max);
		if (o->unit)
			fprintf(out, " %s", o->unit);
		if (o->flags & OPTION_LIMIT)
			fputs("; 0 for no limit", out);
		break;
	case OPTION_BOOL:
		fputs("yes or no", out);
		break;
	case OPTION_ENUM:
		for (size_t i = 0; o->words[i]; i++)
			fprintf(out, "%s%s",
				i == 0		  ? ""
				: o->words[i + 1] ? ", "
						  : " or ",
				o->words[i]);
		break;
	case OPTION_LIST:
		fputs("words between commas", out);
		break;
	case OPTION_RULES:
		fputs("PATTERN:DURABILITY between commas", out);
		break;
	case OPTION_PROXIES:
		fputs("addresses and ranges between commas, or none", out);
		break;
	case OPTION_WEBHOOKS:
		fputs("JSON", out);
		break;
	}
}

/* Wraps text after prefix; at most TEXT_WIDTH columns. */
static void print_wrapped(FILE *out, const char *prefix, const char *text)
{
	size_t room = TEXT_WIDTH - strlen(prefix);

	while (*text) {
		size_t n = strlen(text);

		if (n > room)
			for (n = room; n > 0 && text[n] != ' '; n--)
				;
		if (n == 0)
			n = strcspn(text, " ");
		fprintf(out, "%s%.*s\n", prefix, (int)n, text);
		text += n;
		text += strspn(text, " ");
	}
}

static bool print_begins_section(const struct option *options, size_t i)
{
	return i == 0 || strcmp(options[i].section, options[i - 1].section) != 0;
}

static void print_example_option(FILE *out, const struct option *o)
{
	print_wrapped(out, "# ", o->help);
	fputs("# (", out);
	print_range(out, o);
	fputs(o->flags & OPTION_REQUIRED ? "; required)\n" : ")\n", out);
	fprintf(out, "#%s =%s%s\n\n", o->name, *o->fallback ? " " : "", o->fallback);
}

void conf_print_example(FILE *out)
{
	fputs("# SPDX-License-Identifier: MIT\n"
	      "# scopewire.conf: every option with its default; see scopewire.conf(5).\n"
	      "# This file is made from the option table of the program.\n\n",
	      out);
	for (size_t i = 0; i < n_conf_options; i++) {
		if (print_begins_section(conf_options, i))
			fprintf(out, "[%s]\n", conf_options[i].section);
		print_example_option(out, &conf_options[i]);
	}
	fputs("# One section an app, named by its id.\n"
	      "#[app client-portal]\n",
	      out);
	for (size_t i = 0; i < n_app_options; i++)
		print_example_option(out, &app_options[i]);
}

/* Text as roff takes it: no line begins with a control character, dashes stay dashes. */
static void print_roff_text(FILE *out, const char *text)
{
	if (*text == '.' || *text == '\'')
		fputs("\\&", out);
	for (; *text; text++) {
		if (*text == '\\')
			fputs("\\e", out);
		else if (*text == '-')
			fputs("\\-", out);
		else
			putc(*text, out);
	}
}

static void print_roff_names(FILE *out, const char *what, const char *names)
{
	if (!names)
		return;
	fprintf(out, "%s ", what);
	for (; *names; names++)
		fputs(*names == ' ' ? ", " : (char[]){ *names, '\0' }, out);
	fputs(".\n", out);
}

static void print_roff_option(FILE *out, const struct option *o)
{
	fputs(".TP\n.B ", out);
	print_roff_text(out, o->name);
	putc('\n', out);
	print_roff_text(out, o->help);
	fputs("\n(", out);
	print_range(out, o);
	if (o->flags & OPTION_REQUIRED) {
		fputs("; required", out);
	} else if (*o->fallback) {
		fputs("; default ", out);
		print_roff_text(out, o->fallback);
	}
	fputs(o->flags & OPTION_RELOADABLE ? ")\n" : "; read at start)\n", out);
	print_roff_names(out, "In the environment also", o->env);
	print_roff_names(out, "Also called", o->aliases);
	print_roff_names(out, "In units of 1024 also called", o->alias_kb);
	print_roff_names(out, "In units of 1024 in the environment also", o->env_kb);
}

void conf_print_roff(FILE *out)
{
	for (size_t i = 0; i < n_conf_options; i++) {
		if (print_begins_section(conf_options, i))
			fprintf(out, ".SS [%s]\n", conf_options[i].section);
		print_roff_option(out, &conf_options[i]);
	}
	fputs(".SS [app ID]\n", out);
	for (size_t i = 0; i < n_app_options; i++)
		print_roff_option(out, &app_options[i]);
}

static void print_help_option(FILE *out, const struct option *o)
{
	fprintf(out, "  --%s-", o->section);
	for (const char *p = o->name; *p; p++)
		putc(*p == '_' ? '-' : *p, out);
	fputs("=VALUE\n        ", out);
	print_range(out, o);
	if (*o->fallback)
		fprintf(out, "; default %s", o->fallback);
	putc('\n', out);
	print_wrapped(out, "        ", o->help);
}

void conf_print_help(FILE *out)
{
	fputs("Usage: scopewired [FLAG...]\n"
	      "Serves the Pusher Channels protocol; every event is a row in PostgreSQL.\n\n"
	      "  --config FILE            read this file; default " SCOPEWIRE_SYSCONFDIR
	      "/scopewire.conf\n"
	      "  --env-file FILE          read REVERB_* and DB_* of this Laravel .env too\n"
	      "  --embedded-postgres DIR  run a private PostgreSQL with its data in DIR\n"
	      "  --migrate                bring the database's schema up to date and exit\n"
	      "  --check-config           check the configuration and exit\n"
	      "  --print-config           print what is set, and where, and exit\n"
	      "  --print-routes           print every route of the HTTP API and exit\n"
	      "  --help, --version\n"
	      "  --host ADDRESSES, --port PORT\n"
	      "                           short for --server-host and --server-port\n\n"
	      "Each option of the file is a flag too, and a variable SCOPEWIRE_SECTION_OPTION:\n\n",
	      out);
	for (size_t i = 0; i < n_conf_options; i++)
		print_help_option(out, &conf_options[i]);
	fputs("\nOptions of an app are in [app ID] of the file, see scopewire.conf(5); for one "
	      "app\nalso as --app-id, --app-key and so on.\n",
	      out);
}

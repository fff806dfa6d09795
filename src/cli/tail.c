/* SPDX-License-Identifier: MIT */
/* scopewirectl tail: reads server-sent events and prints a line for each, until it is ended. */
#include <string.h>
#include <sysexits.h>
#include "base/mem.h"
#include "cli/ask.h"
#include "cli/live.h"
#include "cli/render.h"

struct tail_reader {
	bool is_json;
	unsigned long left; /* messages to print; 0: all */
	struct strbuf text; /* of a message that is not complete */
};

/* Prints " NAME value", unless the member is null. */
static void tail_print_member(const json_t *m, const char *before, const char *name,
			      const char *after)
{
	const json_t *value = json_object_get(m, name);
	char *text;

	if (!value || json_is_null(value))
		return;
	text = render_plain(value);
	printf("%s%s%s", before, text, after);
	free(text);
}

/* "10:00:00.123 event made on news #12 to 3: data" */
static void tail_print(const char *kind, const json_t *m)
{
	const char *at = json_string_value(json_object_get(m, "at"));

	printf("%.12s %s", at && strlen(at) > 23 ? at + 11 : "", kind);
	tail_print_member(m, " ", "event", "");
	tail_print_member(m, " on ", "channel", "");
	tail_print_member(m, " #", "serial", "");
	tail_print_member(m, " socket ", "socket_id", "");
	tail_print_member(m, " user ", "user_id", "");
	tail_print_member(m, " to ", "reached", "");
	tail_print_member(m, " code ", "code", "");
	tail_print_member(m, ": ", "reason", "");
	tail_print_member(m, ": ", "data", "");
	tail_print_member(m, " ", "lost", " messages");
	putchar('\n');
}

/* block: the lines of a message, or of a comment.  False: enough was printed. */
static bool tail_take_block(struct tail_reader *t, struct str_view block)
{
	struct str_view line, kind = SV(""), data = SV("");
	json_t *m;

	while (sv_split(&block, '\n', &line)) {
		if (sv_starts_with(line, SV("event: ")))
			kind = sv_skip(line, 7);
		else if (sv_starts_with(line, SV("data: ")))
			data = sv_skip(line, 6);
	}
	m = data.len ? json_loadb(data.ptr, data.len, JSON_ALLOW_NUL, NULL) : NULL;
	if (!m)
		return true;
	if (t->is_json) {
		json_object_set_new(m, "kind", json_stringn(kind.ptr, kind.len));
		json_dumpf(m, stdout, JSON_COMPACT);
		putchar('\n');
	} else {
		char *name = sv_dup(kind);

		tail_print(name, m);
		free(name);
	}
	json_decref(m);
	fflush(stdout);
	return !t->left || --t->left;
}

static bool tail_on_bytes(void *ctx, struct str_view bytes)
{
	struct tail_reader *t = ctx;
	bool goes_on = true;
	char *end;

	strbuf_add_sv(&t->text, bytes);
	while (goes_on && (end = memmem(t->text.ptr, t->text.len, "\n\n", 2))) {
		size_t n = (size_t)(end - t->text.ptr);
		struct strbuf rest;

		goes_on = tail_take_block(t, sv_n(t->text.ptr, n));
		strbuf_init(&rest, t->text.len);
		strbuf_add(&rest, end + 2, t->text.len - n - 2);
		strbuf_release(&t->text);
		strbuf_move(&t->text, &rest);
	}
	return goes_on;
}

int command_on_tail(struct cli *cli)
{
	const struct cli_options *o = &cli->options;
	const char *pairs[] = { "app",	   o->app,
				"channel", cli->n_args ? cli->args[0] : o->channel,
				"event",   o->event,
				"user",	   o->user,
				"kinds",   o->kinds };
	struct tail_reader t = { .is_json = o->json };
	const struct client_reader reader = { tail_on_bytes, &t };
	struct client_answer answer;
	uint64_t limit = 0;
	char *path, *why = NULL;
	int rc;

	if (o->limit && (!sv_to_u64(sv(o->limit), UINT32_MAX, &limit) || !limit)) {
		fputs("scopewirectl: --limit must be a number of messages, 1 or more\n", stderr);
		return EX_USAGE;
	}
	t.left = limit;
	path = client_query(cli->client, API "tail", pairs, 5);
	strbuf_init(&t.text, 4096);
	if (client_stream(cli->client, path, &reader, &answer, &why)) {
		fprintf(stderr, "scopewirectl: %s\n", why);
		rc = EX_UNAVAILABLE;
	} else if (answer.status != 200) {
		rc = ask_refused(answer.status, &answer.body);
	} else if (o->limit && !t.left) {
		rc = EXIT_OK;
	} else {
		fputs("scopewirectl: the daemon has ended the stream\n", stderr);
		rc = EX_UNAVAILABLE;
	}
	if (!why)
		strbuf_release(&answer.body);
	strbuf_release(&t.text);
	free(path);
	free(why);
	return rc;
}

/* SPDX-License-Identifier: MIT */
/* scopewirectl replay: the pages of a replay, and its end, as frames. */
#include <inttypes.h>
#include <sysexits.h>
#include "base/mem.h"
#include "cli/ask.h"
#include "cli/live.h"
#include "cli/render.h"

static void replay_print_member(const json_t *frame, const char *before, const char *name)
{
	char *text = render_plain(json_object_get(frame, name));

	printf("%s%s", before, text);
	free(text);
}

static void replay_print(const struct cli *cli, const json_t *frame)
{
	if (cli->options.json) {
		json_dumpf(frame, stdout, JSON_COMPACT);
	} else {
		replay_print_member(frame, "#", "serial");
		replay_print_member(frame, " ", "event");
		replay_print_member(frame, " ", "data");
	}
	putchar('\n');
}

/* The frame after the last event: scopewire:replayed, or scopewire:resync with the reason. */
static int replay_print_end(const struct cli *cli, const json_t *page, json_int_t n)
{
	const char *fault = json_string_value(json_object_get(page, "fault"));
	const char *position = json_string_value(json_object_get(page, "position"));
	char *data;
	json_t *frame;

	if (!cli->options.json) {
		if (fault)
			printf("resync: %s; position %s\n", fault, position);
		else
			printf("replayed: %" JSON_INTEGER_FORMAT " events; position %s\n", n,
			       position);
		return fault ? EXIT_NO : EXIT_OK;
	}
	frame = fault ? json_pack("{s:s,s:s}", "channel", cli->args[0], "reason", fault)
		      : json_pack("{s:s,s:I}", "channel", cli->args[0], "count", n);
	data = json_dumps(frame, JSON_COMPACT);
	json_decref(frame);
	frame = json_pack("{s:s,s:s,s:s,s:s}", "event",
			  fault ? "scopewire:resync" : "scopewire:replayed", "channel",
			  cli->args[0], "data", data ? data : "", "position", position);
	json_dumpf(frame, stdout, JSON_COMPACT);
	putchar('\n');
	json_decref(frame);
	free(data);
	return fault ? EXIT_NO : EXIT_OK;
}

int command_on_replay(struct cli *cli)
{
	const struct cli_options *o = &cli->options;
	char *from = o->from ? xstrdup(o->from) : NULL;
	json_int_t n = 0;
	int rc = EXIT_OK;

	if (!from) {
		fputs("scopewirectl: replay needs --from with a position, EPOCH:SERIAL, or a "
		      "serial\n",
		      stderr);
		return EX_USAGE;
	}
	while (from) {
		const char *pairs[] = { "app", o->app, "channel", cli->args[0], "from", from };
		const char *next;
		json_t *page, *frame;
		size_t i;

		rc = ask_get(cli, API "replay", pairs, 3, &page);
		free(from);
		from = NULL;
		if (rc)
			break;
		json_array_foreach(json_object_get(page, "frames"), i, frame)
			replay_print(cli, frame);
		n += (json_int_t)json_array_size(json_object_get(page, "frames"));
		next = json_string_value(json_object_get(page, "next"));
		if (next)
			from = xstrdup(next);
		else
			rc = replay_print_end(cli, page, n);
		json_decref(page);
	}
	return rc;
}

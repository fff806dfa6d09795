/* SPDX-License-Identifier: MIT */
/*
 * scopewirectl top: rates from two samples of /metrics, and the channels with the most
 * subscriptions.  It redraws with the escapes that every terminal of today knows.
 */
#include <sys/ioctl.h>
#include <sysexits.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/mem.h"
#include "cli/ask.h"
#include "cli/live.h"
#include "cli/render.h"

#define EVERY_S	     2
#define ONCE_S	     1
#define CHANNELS_MAX 20
#define LINES_ABOVE  22 /* of the screen, without the channels */
#define HOME	     "\033[H\033[J"

/* Metrics whose series are added up; those with a rate are counters. */
static const struct top_metric {
	const char *metric, *group, *name;
	bool is_rate;
} top_metrics[] = {
	{ "scopewire_connections", NULL, "connections", false },
	{ "scopewire_subscriptions", NULL, "subscriptions", false },
	{ "scopewire_channels", NULL, "occupied_channels", false },
	{ "scopewire_outbox_bytes", NULL, "outbox_bytes", false },
	{ "scopewire_log_queue_events", "log", "queue_events", false },
	{ "scopewire_log_lag_events", "log", "lag_events", false },
	{ "scopewire_events_in_total", "per_second", "events", true },
	{ "scopewire_deliveries_total", "per_second", "deliveries", true },
	{ "scopewire_bytes_in_total", "per_second", "bytes_in", true },
	{ "scopewire_bytes_out_total", "per_second", "bytes_out", true },
	{ "scopewire_http_requests_total", "per_second", "requests", true },
	{ "scopewire_connections_opened_total", "per_second", "connections_opened", true },
	{ "scopewire_connections_refused_total", "per_second", "connections_refused", true },
	{ "scopewire_rate_limited_total", "per_second", "rate_limited", true },
	{ "scopewire_slow_consumers_total", "per_second", "slow_consumers", true },
};

struct top_sample {
	usec_t at; /* mono */
	double values[ARRAY_SIZE(top_metrics)];
};

/* A line "NAME{labels} value" of the text format. */
static void top_read_line(struct str_view line, struct top_sample *out)
{
	for (size_t i = 0; i < ARRAY_SIZE(top_metrics); i++) {
		struct str_view name = sv(top_metrics[i].metric), rest;

		if (!sv_starts_with(line, name))
			continue;
		rest = sv_skip(line, name.len);
		if (!rest.len || (*rest.ptr != ' ' && *rest.ptr != '{'))
			continue;
		while (rest.len && rest.ptr[rest.len - 1] != ' ')
			rest.len--;
		out->values[i] += strtod(rest.ptr + rest.len, NULL);
	}
}

static int top_take(struct cli *cli, struct top_sample *out)
{
	struct str_view rest, line;
	struct strbuf text;
	int rc = ask_fetch(cli, "/metrics", NULL, &text);

	*out = (struct top_sample){ .at = clock_mono() };
	rest = strbuf_view(&text);
	while (!rc && sv_split(&rest, '\n', &line))
		top_read_line(line, out);
	strbuf_release(&text);
	return rc;
}

/* With one digit after the point. */
static json_t *top_number(double n)
{
	return json_real((double)(long long)(n * 10 + 0.5) / 10);
}

static void top_add_metrics(json_t *view, const struct top_sample *was,
			    const struct top_sample *now)
{
	double seconds = (double)(now->at - was->at) / USEC_PER_SEC;

	for (size_t i = 0; i < ARRAY_SIZE(top_metrics); i++) {
		const struct top_metric *m = &top_metrics[i];
		json_t *group = m->group ? json_object_get(view, m->group) : view;

		if (!group) {
			group = json_object();
			json_object_set_new(view, m->group, group);
		}
		json_object_set_new(
			group, m->name,
			m->is_rate ? top_number((now->values[i] - was->values[i]) / seconds)
				   : json_integer((json_int_t)now->values[i]));
	}
}

/* ---- channels ---- */

static int top_compare(const void *a, const void *b)
{
	json_int_t x = json_integer_value(json_object_get(*(json_t *const *)a, "subscriptions"));
	json_int_t y = json_integer_value(json_object_get(*(json_t *const *)b, "subscriptions"));

	return (x < y) - (x > y);
}

static int top_collect(struct cli *cli, const char *app, json_t *all)
{
	const char *pairs[] = { "app", app };
	json_t *answer, *channel;
	size_t i;
	int rc = ask_get(cli, API "channels", pairs, 1, &answer);

	json_array_foreach(json_object_get(answer, "channels"), i, channel)
	{
		json_t *row = json_pack("{s:O,s:O,s:O?,s:s?}", "channel",
					json_object_get(channel, "channel"), "subscriptions",
					json_object_get(channel, "subscriptions"), "users",
					json_object_get(channel, "users"), "app", app);

		json_array_append_new(all, row);
	}
	json_decref(answer);
	return rc;
}

/* Of one application, or of all. */
static int top_collect_all(struct cli *cli, json_t *all)
{
	json_t *answer, *app;
	size_t i;
	int rc;

	if (cli->options.app)
		return top_collect(cli, cli->options.app, all);
	rc = ask_get(cli, API "apps", NULL, 0, &answer);
	json_array_foreach(json_object_get(answer, "apps"), i, app) if (!rc) rc =
		top_collect(cli, json_string_value(json_object_get(app, "id")), all);
	json_decref(answer);
	return rc;
}

static int top_add_channels(struct cli *cli, json_t *view, size_t most)
{
	json_t *all = json_array(), *shown = json_array(), **rows;
	size_t n;
	int rc = top_collect_all(cli, all);

	n = json_array_size(all);
	rows = xcalloc(n + 1, sizeof(*rows));
	for (size_t i = 0; i < n; i++)
		rows[i] = json_array_get(all, i);
	qsort(rows, n, sizeof(*rows), top_compare);
	for (size_t i = 0; i < n && i < most; i++)
		json_array_append(shown, rows[i]);
	json_object_set_new(view, "channels", shown);
	free(rows);
	json_decref(all);
	return rc;
}

/* ---- the view ---- */

static size_t top_room(bool is_terminal)
{
	struct winsize size;

	if (!is_terminal || ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) || !size.ws_row)
		return CHANNELS_MAX;
	return size.ws_row > LINES_ABOVE + 1 ? size.ws_row - LINES_ABOVE : 1;
}

static int top_show(struct cli *cli, const struct top_sample *was, const struct top_sample *now,
		    bool is_terminal)
{
	json_t *view, *status;
	int rc = ask_get(cli, API "status", NULL, 0, &status);

	if (rc)
		return rc;
	view = json_pack("{s:O,s:O,s:O,s:O}", "node", json_object_get(status, "node"), "version",
			 json_object_get(status, "version"), "ready",
			 json_object_get(status, "ready"), "failed",
			 json_object_get(status, "failed"));
	top_add_metrics(view, was, now);
	rc = top_add_channels(cli, view, top_room(is_terminal));
	if (is_terminal)
		fputs(HOME, stdout);
	if (cli->options.json) {
		json_dumpf(view, stdout, JSON_COMPACT | JSON_REAL_PRECISION(15));
		putchar('\n');
	} else {
		render(view, stdout);
	}
	fflush(stdout);
	json_decref(view);
	json_decref(status);
	return rc;
}

int command_on_top(struct cli *cli)
{
	bool is_once = cli->options.once;
	bool is_terminal = !is_once && !cli->options.json && isatty(STDOUT_FILENO);
	struct top_sample was, now;
	int rc = top_take(cli, &was);

	while (!rc) {
		sleep(is_once ? ONCE_S : EVERY_S);
		rc = top_take(cli, &now);
		if (!rc)
			rc = top_show(cli, &was, &now, is_terminal);
		if (is_once)
			break;
		was = now;
	}
	return rc;
}

/* SPDX-License-Identifier: MIT */
/*
 * One table has the commands.  Most are one request: its answer is printed as it is with --json,
 * and as lines and tables without.
 */
#include <errno.h>
#include <inttypes.h>
#include <sysexits.h>
#include "base/mem.h"
#include "conf/app.h"
#include "conf/conf_table.h"
#include "cli/ask.h"
#include "cli/check.h"
#include "cli/commands.h"
#include "cli/live.h"
#include "wire/auth.h"
#include "wire/channel_name.h"
#include "wire/json.h"
#include "wire/socket_id.h"

struct command {
	const char *name, *arguments, *help;
	int min, max;  /* arguments */
	bool is_local; /* does not use the listener */
	int (*run)(struct cli *cli);
	const char *options; /* that not every command has, without dashes; NULL: none */
};

/* ---- commands ---- */

/* 1 when the daemon is not ready. */
static int command_on_status(struct cli *cli)
{
	json_t *answer;
	int rc = ask_get(cli, API "status", NULL, 0, &answer);

	if (rc)
		return rc;
	ask_print(cli, answer);
	rc = json_is_true(json_object_get(answer, "ready")) ? EXIT_OK : EXIT_NO;
	json_decref(answer);
	return rc;
}

static int command_on_nodes(struct cli *cli)
{
	return ask_show(cli, API "nodes", NULL, 0);
}

static int command_on_apps(struct cli *cli)
{
	return ask_show(cli, API "apps", NULL, 0);
}

static int command_on_channels(struct cli *cli)
{
	const char *pairs[] = { "app", cli->options.app, "prefix",
				cli->n_args ? cli->args[0] : NULL };

	return ask_show(cli, API "channels", pairs, 2);
}

/* A name that begins with private- or presence- is a channel's; any other is a user's id. */
static int command_on_who(struct cli *cli)
{
	const char *name = cli->args[0];
	bool is_channel = strncmp(name, "private-", 8) == 0 || strncmp(name, "presence-", 9) == 0;
	const char *pairs[] = { "app", cli->options.app, is_channel ? "channel" : "user", name };

	return ask_show(cli, is_channel ? API "channel" : API "who", pairs, 2);
}

static int command_on_channel(struct cli *cli)
{
	const char *pairs[] = { "app", cli->options.app, "channel", cli->args[0] };

	return ask_show(cli, API "channel", pairs, 2);
}

static int command_on_events(struct cli *cli)
{
	const struct cli_options *o = &cli->options;
	const char *pairs[] = { "app",	  o->app,    "channel", o->channel, "event", o->event,
				"text",	  o->text,   "from",	o->from,    "until", o->until,
				"before", o->before, "after",	o->after,   "limit", o->limit,
				"path",	  o->path,   "value",	o->value };

	return ask_show(cli, API "events", pairs, 11);
}

/* 1 when the user may not join the channel. */
static int command_on_explain(struct cli *cli)
{
	const char *pairs[] = { "app",	   cli->options.app, "user",  cli->args[0],
				"channel", cli->args[1],     "roles", cli->options.roles };
	json_t *answer;
	int rc = ask_get(cli, API "explain", pairs, 4, &answer);

	if (rc)
		return rc;
	ask_print(cli, answer);
	rc = json_is_true(json_object_get(answer, "allowed")) ? EXIT_OK : EXIT_NO;
	json_decref(answer);
	return rc;
}

/* A user's id has no dot between numbers. */
static bool command_is_socket(const char *text)
{
	uint64_t id;

	return socket_id_parse(sv(text), &id);
}

static int command_on_connections(struct cli *cli)
{
	const struct cli_options *o = &cli->options;
	const char *pairs[] = { "app",	    o->app,    "user",	   o->user,  "channel",
				o->channel, "address", o->address, "state",  o->state,
				"limit",    o->limit,  "cursor",   o->cursor };

	return ask_show(cli, API "connections", pairs, 7);
}

static int command_on_connection(struct cli *cli)
{
	char *path;
	int rc;

	if (!command_is_socket(cli->args[0])) {
		fputs("scopewirectl: a socket id has the form 123.456\n", stderr);
		return EX_USAGE;
	}
	path = textf(API "connections/%s", cli->args[0]);
	rc = ask_show(cli, path, NULL, 0);
	free(path);
	return rc;
}

static int command_on_sync(struct cli *cli)
{
	const char *pairs[] = { "app", cli->options.app };

	return ask_show(cli, API "sync", pairs, 1);
}

static int command_on_audit(struct cli *cli)
{
	const char *pairs[] = { "before", cli->options.before, "limit", cli->options.limit };

	return ask_show(cli, API "audit", pairs, 2);
}

static json_t *command_body(const char *name, const char *value)
{
	json_t *body = json_object();

	if (value)
		json_object_set_new(body, name, json_string(value));
	return body;
}

static void command_body_add(json_t *body, const char *name, const char *value)
{
	if (value)
		json_object_set_new(body, name, json_string(value));
}

/* CHANNEL EVENT DATA, or EVENT DATA with --user.  The data is JSON, or a text. */
static int command_on_send(struct cli *cli)
{
	const char *user = cli->options.user;
	json_t *body = command_body("app", cli->options.app), *data;
	char **args = cli->args;

	if (cli->n_args != (user ? 2 : 3)) {
		fputs("scopewirectl: send CHANNEL EVENT DATA, or send --user ID EVENT DATA\n",
		      stderr);
		json_decref(body);
		return EX_USAGE;
	}
	if (user)
		command_body_add(body, "user", user);
	else
		command_body_add(body, "channel", *args++);
	command_body_add(body, "event", args[0]);
	data = json_loads(args[1], JSON_DECODE_ANY, NULL);
	json_object_set_new(body, "data", data ? data : json_string(args[1]));
	return ask_post(cli, API "send", body);
}

static int command_on_resend(struct cli *cli)
{
	json_t *body = command_body("serial", cli->args[0]);

	command_body_add(body, "user", cli->options.user);
	return ask_post(cli, API "resend", body);
}

/* A connection, or all of a user. */
static int command_on_disconnect(struct cli *cli)
{
	json_t *body;

	if (command_is_socket(cli->args[0])) {
		char *path = textf(API "connections/%s/disconnect", cli->args[0]);
		int rc = ask_post(cli, path, json_object());

		free(path);
		return rc;
	}
	body = command_body("user", cli->args[0]);

	command_body_add(body, "app", cli->options.app);
	return ask_post(cli, API "disconnect", body);
}

static int command_on_reload(struct cli *cli)
{
	return ask_post(cli, API "reload", json_object());
}

static int command_on_drain(struct cli *cli)
{
	return ask_post(cli, API "drain", json_object());
}

static int command_on_token(struct cli *cli)
{
	const char *verb = cli->n_args ? cli->args[0] : "list";
	json_t *body;

	if (strcmp(verb, "list") == 0 && cli->n_args <= 1)
		return ask_show(cli, API "tokens", NULL, 0);
	if (strcmp(verb, "remove") == 0 && cli->n_args == 2)
		return ask_post(cli, API "token-remove", command_body("name", cli->args[1]));
	if (strcmp(verb, "add") != 0 || cli->n_args != 3) {
		fputs("scopewirectl: token list, token add NAME SCOPE, or token remove NAME\n",
		      stderr);
		return EX_USAGE;
	}
	body = command_body("name", cli->args[1]);
	command_body_add(body, "scope", cli->args[2]);
	return ask_post(cli, API "token", body);
}

/* Dead letters unless --state is waiting; resend queues one again, or those of an endpoint. */
static int command_on_webhooks(struct cli *cli)
{
	const struct cli_options *o = &cli->options;
	const char *pairs[] = { "app",	  o->app,   "endpoint", o->endpoint, "state",
				o->state, "before", o->before,	"limit",     o->limit };
	const char *verb = cli->n_args ? cli->args[0] : "list";
	bool is_resend = strcmp(verb, "resend") == 0;
	json_t *body;

	if (strcmp(verb, "list") == 0 && cli->n_args <= 1)
		return ask_show(cli, API "webhooks", pairs, 5);
	if (!is_resend || (cli->n_args == 1 && !o->app)) {
		fputs("scopewirectl: webhooks list, webhooks resend ID, or webhooks resend --app "
		      "APP [--endpoint NAME]\n",
		      stderr);
		return EX_USAGE;
	}
	body = command_body("id", cli->n_args == 2 ? cli->args[1] : NULL);
	command_body_add(body, "app", o->app);
	command_body_add(body, "endpoint", o->endpoint);
	return ask_post(cli, API "webhook-resend", body);
}

/* The log is read in slices: each answer has the serial after which the next one begins. */
static const char *command_user_next(struct str_view answer, char *room, size_t size)
{
	struct str_view next = json_member(answer, SV("next"));
	uint64_t serial;

	if (!sv_to_u64(next, INT64_MAX, &serial))
		return NULL;
	snprintf(room, size, "%" PRIu64, serial);
	return room;
}

/* Prints JSON, a line for each slice of the log; the first one has the rest of the data.  The
 * answers are printed as they are: the log has events that libraries for JSON refuse, such as
 * 1e400000. */
static int command_user_export(struct cli *cli)
{
	const char *after = NULL;
	char room[24];
	int rc;

	do {
		const char *pairs[] = { "app",	 cli->options.app,   "user",  cli->args[1],
					"paths", cli->options.paths, "after", after };
		char *target = client_query(cli->client, API "user", pairs, 4);
		struct str_view answer;
		struct strbuf body;

		rc = ask_fetch(cli, target, NULL, &body);
		free(target);
		if (!rc && json_check(strbuf_view(&body), &answer) != JSON_OK) {
			fputs("scopewirectl: the answer is not JSON\n", stderr);
			rc = EX_PROTOCOL;
		}
		if (!rc) {
			/* Between values only: in a string it is escaped. */
			for (char *c = body.ptr;
			     (c = memchr(c, '\n', body.len - (size_t)(c - body.ptr)));)
				*c = ' ';
			fwrite(body.ptr, 1, body.len, stdout);
			putchar('\n');
			after = command_user_next(answer, room, sizeof(room));
		}
		strbuf_release(&body);
	} while (!rc && after);
	return rc;
}

static int command_user_erase(struct cli *cli)
{
	json_t *removed = NULL, *total, *next;
	json_int_t events = 0;
	char *after = NULL;

	do {
		json_t *body = command_body("user", cli->args[1]), *answer;
		char *text;
		int rc;

		command_body_add(body, "app", cli->options.app);
		command_body_add(body, "paths", cli->options.paths);
		command_body_add(body, "after", after);
		text = json_dumps(body, JSON_COMPACT);
		rc = ask_json(cli, API "user-erase", text, &answer);
		free(text);
		json_decref(body);
		free(after);
		after = NULL;
		if (rc) {
			json_decref(removed);
			return rc;
		}
		if (!removed)
			removed = json_incref(json_object_get(answer, "removed"));
		events += json_integer_value(json_object_get(answer, "events"));
		next = json_object_get(answer, "next");
		if (json_is_integer(next))
			after = json_dumps(next, JSON_ENCODE_ANY);
		json_decref(answer);
	} while (after);
	total = json_pack("{s:o*,s:I}", "removed", removed, "events", events);
	ask_print(cli, total);
	json_decref(total);
	return EXIT_OK;
}

static int command_on_user(struct cli *cli)
{
	if (strcmp(cli->args[0], "export") == 0)
		return command_user_export(cli);
	if (strcmp(cli->args[0], "erase") == 0)
		return command_user_erase(cli);
	fputs("scopewirectl: user export ID, or user erase ID\n", stderr);
	return EX_USAGE;
}

/* ---- the configuration ---- */

static bool command_setting_is(const json_t *running, const struct conf_setting *set)
{
	const char *app = json_string_value(json_object_get(running, "app"));

	return strcmp(json_string_value(json_object_get(running, "section")),
		      set->option->section) == 0 &&
	       strcmp(json_string_value(json_object_get(running, "option")), set->option->name) ==
		       0 &&
	       strcmp(app ? app : "", set->app_id ? set->app_id : "") == 0;
}

/* Removes the setting from those that run, and returns its value: "" when it is not set. */
static json_t *command_take_setting(json_t *settings, const struct conf_setting *set)
{
	size_t i;
	json_t *running;

	json_array_foreach(settings, i, running) if (command_setting_is(running, set))
	{
		json_t *value = json_incref(json_object_get(running, "value"));

		json_array_remove(settings, i);
		return value;
	}
	return json_string(set->option->fallback);
}

static void command_diff_add(json_t *list, const struct conf_setting *set, json_t *runs)
{
	json_array_append_new(
		list, json_pack("{s:s,s:s?,s:s,s:O,s:s,s:s}", "section", set->option->section,
				"app", set->app_id, "option", set->option->name, "runs", runs,
				"configured", set->value, "apply by",
				set->option->flags & OPTION_RELOADABLE ? "reload" : "restart"));
}

/* Options that the files set to another value than the daemon has.  Values of secrets are not
 * compared. */
static json_t *command_config_diff(const struct conf *conf, json_t *settings)
{
	json_t *list = json_array(), *running;
	size_t i;

	for (size_t n = 0; n < conf->n_settings; n++) {
		const struct conf_setting *set = &conf->settings[n];
		json_t *runs = command_take_setting(settings, set);

		if (set->value && json_is_string(runs) &&
		    strcmp(set->value, json_string_value(runs)) != 0)
			command_diff_add(list, set, runs);
		json_decref(runs);
	}
	/* What is left is set in the daemon only. */
	json_array_foreach(settings, i,
			   running) if (json_is_string(json_object_get(running, "value")))
	{
		json_t *one = json_object();

		json_object_set(one, "section", json_object_get(running, "section"));
		json_object_set(one, "app", json_object_get(running, "app"));
		json_object_set(one, "option", json_object_get(running, "option"));
		json_object_set(one, "runs", json_object_get(running, "value"));
		json_object_set(one, "configured", json_object_get(running, "default"));
		json_object_set_new(one, "apply by",
				    json_string(json_is_true(json_object_get(running, "reloadable"))
							? "reload"
							: "restart"));
		json_array_append_new(list, one);
	}
	return json_pack("{s:o}", "differences", list);
}

/* With --diff 1 when there is a difference. */
static int command_on_config(struct cli *cli)
{
	json_t *answer, *diff;
	char *why = NULL;
	int rc;

	if (!cli->options.diff)
		return ask_show(cli, API "settings", NULL, 0);
	if (!cli->conf && cli_load(cli, &why)) {
		fprintf(stderr, "%s\n", why);
		free(why);
		return EX_CONFIG;
	}
	rc = ask_get(cli, API "settings", NULL, 0, &answer);
	if (rc)
		return rc;
	diff = command_config_diff(cli->conf, json_object_get(answer, "settings"));
	rc = json_array_size(json_object_get(diff, "differences")) ? EXIT_NO : EXIT_OK;
	ask_print(cli, diff);
	json_decref(diff);
	json_decref(answer);
	return rc;
}

/* What a server, or /broadcasting/auth, answers to a client that subscribes. */
static int command_on_sign(struct cli *cli)
{
	const struct app *app = NULL;
	struct str_view parts[5] = { sv(cli->args[0]), SV(":"), sv(cli->args[1]) };
	char hex[AUTH_HEX_BYTES + 1], *why = NULL;
	size_t n = 3, n_apps;
	struct channel_traits traits;
	json_t *answer;

	if (!command_is_socket(cli->args[0])) {
		fputs("scopewirectl: a socket id has the form 123.456\n", stderr);
		return EX_USAGE;
	}
	if (channel_name_parse(parts[2], 0, &traits)) {
		fprintf(stderr, "scopewirectl: \"%s\" is not the name of a channel\n",
			cli->args[1]);
		return EX_USAGE;
	}
	if (cli_load(cli, &why)) {
		fprintf(stderr, "%s\n", why);
		free(why);
		return EX_CONFIG;
	}
	n_apps = app_set_count(cli->conf->apps);
	for (size_t i = 0; i < n_apps; i++)
		if (cli->options.app
			    ? strcmp(app_set_at(cli->conf->apps, i)->id, cli->options.app) == 0
			    : n_apps == 1)
			app = app_set_at(cli->conf->apps, i);
	if (!app) {
		fputs("scopewirectl: give --app with the id of an application of the "
		      "configuration\n",
		      stderr);
		return EX_USAGE;
	}
	if (cli->n_args == 3) {
		parts[n++] = SV(":");
		parts[n++] = sv(cli->args[2]);
	}
	auth_sign(app->secret, parts, n, hex);
	answer = json_pack("{s:o}", "auth", json_sprintf("%s:%s", app->key, hex));
	if (cli->n_args == 3)
		json_object_set_new(answer, "channel_data", json_string(cli->args[2]));
	json_dumpf(answer, stdout, JSON_COMPACT);
	putchar('\n');
	json_decref(answer);
	return EXIT_OK;
}

static const struct command commands[] = {
	{ "check", "", "what is wrong with the set-up, and the remedy", 0, 0, true,
	  command_on_check, "public" },
	{ "status", "", "whether the daemon is ready, connections, the log", 0, 0, false,
	  command_on_status, NULL },
	{ "nodes", "", "the nodes of the cluster", 0, 0, false, command_on_nodes, NULL },
	{ "apps", "", "the applications", 0, 0, false, command_on_apps, NULL },
	{ "channels", "[PREFIX]", "occupied channels", 0, 1, false, command_on_channels, "app" },
	{ "channel", "NAME", "a channel: members, rules, last events", 1, 1, false,
	  command_on_channel, "app" },
	{ "connections", "", "connections, also closed ones", 0, 0, false, command_on_connections,
	  "app user channel address state limit cursor" },
	{ "connection", "SOCKET", "a connection: its channels and last steps", 1, 1, false,
	  command_on_connection, NULL },
	{ "who", "CHANNEL|USER", "who is on a channel, or where a user is", 1, 1, false,
	  command_on_who, "app" },
	{ "events", "", "search the event log", 0, 0, false, command_on_events,
	  "app channel event text path value from until before after limit" },
	{ "tail", "[PATTERN]", "events, refusals and connections while they happen", 0, 1, false,
	  command_on_tail, "app channel event user kinds limit" },
	{ "replay", "CHANNEL", "what a client gets that returns with a position (--from)", 1, 1,
	  false, command_on_replay, "app from" },
	{ "top", "", "a live view: rates, and the channels with the most subscriptions", 0, 0,
	  false, command_on_top, "app once" },
	{ "send", "CHANNEL EVENT DATA", "publish an event", 2, 3, false, command_on_send,
	  "app user" },
	{ "resend", "SERIAL", "publish a logged event again", 1, 1, false, command_on_resend,
	  "user" },
	{ "explain", "USER CHANNEL", "whether a user may join, and why", 2, 2, false,
	  command_on_explain, "app roles" },
	{ "sync", "", "who is online, locks, viewers", 0, 0, false, command_on_sync, "app" },
	{ "user", "export|erase ID", "all that is stored about a person", 2, 2, false,
	  command_on_user, "app paths" },
	{ "webhooks", "list|resend [ID]", "webhooks that were given up or wait; send again", 0, 2,
	  false, command_on_webhooks, "app endpoint state before limit" },
	{ "disconnect", "USER|SOCKET", "close a user's connections, or one connection", 1, 1, false,
	  command_on_disconnect, "app" },
	{ "token", "list|add NAME SCOPE|remove NAME", "tokens of the admin listener", 0, 3, false,
	  command_on_token, NULL },
	{ "audit", "", "what was changed, by whom", 0, 0, false, command_on_audit, "before limit" },
	{ "config", "", "the settings in force, and where they come from", 0, 0, false,
	  command_on_config, "diff" },
	{ "reload", "", "read the configuration again", 0, 0, false, command_on_reload, NULL },
	{ "sign", "SOCKET CHANNEL [DATA]", "the authorization of a subscription", 2, 3, true,
	  command_on_sign, "app" },
	{ "drain", "", "send the clients away and stop", 0, 0, false, command_on_drain, NULL },
};

void commands_print(FILE *out)
{
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		char usage[64];

		snprintf(usage, sizeof(usage), "%s %s", commands[i].name, commands[i].arguments);
		fprintf(out, "  %-32s %s\n", usage, commands[i].help);
	}
}

void commands_print_names(FILE *out)
{
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		fprintf(out, "%s\n", commands[i].name);
}

static int command_connect(struct cli *cli)
{
	const struct client_options *o = &cli->options.client;
	char *why = NULL;

	if (!o->url && !o->socket && cli_load(cli, &why)) {
		fprintf(stderr, "%s\n", why);
		free(why);
		return EX_CONFIG;
	}
	cli->client = client_new(o, cli->conf, &why);
	if (cli->client)
		return EXIT_OK;
	fprintf(stderr, "scopewirectl: %s\n", why ? why : "libcurl cannot be used");
	free(why);
	return EX_CONFIG;
}

/* An option that the command does not have would be left out: its answer would be that of another
 * question. */
static bool command_has_options(const struct command *c, const struct cli *cli)
{
	for (int i = 0; i < cli->n_given; i++)
		if (!c->options || !word_in_list(c->options, cli->given[i])) {
			fprintf(stderr, "scopewirectl: %s has no option --%s, only: %s\n", c->name,
				cli->given[i], c->options ? c->options : "those of all commands");
			return false;
		}
	return true;
}

int commands_run(struct cli *cli, char **args, int n)
{
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		const struct command *c = &commands[i];
		int rc;

		if (strcmp(c->name, args[0]) != 0)
			continue;
		if (n - 1 < c->min || n - 1 > c->max) {
			fprintf(stderr, "usage: scopewirectl %s %s\n", c->name, c->arguments);
			return EX_USAGE;
		}
		if (!command_has_options(c, cli))
			return EX_USAGE;
		cli->args = args + 1;
		cli->n_args = n - 1;
		rc = c->is_local ? EXIT_OK : command_connect(cli);
		return rc ? rc : c->run(cli);
	}
	fprintf(stderr, "scopewirectl: there is no command \"%s\"; see scopewirectl --help\n",
		args[0]);
	return EX_USAGE;
}

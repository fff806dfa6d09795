/* SPDX-License-Identifier: MIT */
/* scopewirectl: reads the command line and runs one command. */
#include <curl/curl.h>
#include <getopt.h>
#include <string.h>
#include <sysexits.h>
#include "base/log.h"
#include "cli/commands.h"

extern char **environ;

enum {
	OPT_CONFIG = 256,
	OPT_ENV_FILE,
	OPT_URL,
	OPT_SOCKET,
	OPT_CACERT,
	OPT_TOKEN_FILE,
	OPT_APP,
	OPT_CHANNEL,
	OPT_EVENT,
	OPT_TEXT,
	OPT_FROM,
	OPT_UNTIL,
	OPT_BEFORE,
	OPT_AFTER,
	OPT_LIMIT,
	OPT_USER,
	OPT_ROLES,
	OPT_PATHS,
	OPT_PUBLIC,
	OPT_ADDRESS,
	OPT_STATE,
	OPT_CURSOR,
	OPT_KINDS,
	OPT_ENDPOINT,
	OPT_PATH,
	OPT_VALUE,
	OPT_VALUES_END,
	OPT_ONCE,
	OPT_JSON,
	OPT_DIFF,
	OPT_HELP,
	OPT_VERSION,
	OPT_LIST_COMMANDS,
	OPT_LIST_OPTIONS,
};

static const struct option options[] = {
	{ "config", required_argument, NULL, OPT_CONFIG },
	{ "env-file", required_argument, NULL, OPT_ENV_FILE },
	{ "url", required_argument, NULL, OPT_URL },
	{ "socket", required_argument, NULL, OPT_SOCKET },
	{ "cacert", required_argument, NULL, OPT_CACERT },
	{ "token-file", required_argument, NULL, OPT_TOKEN_FILE },
	{ "app", required_argument, NULL, OPT_APP },
	{ "channel", required_argument, NULL, OPT_CHANNEL },
	{ "event", required_argument, NULL, OPT_EVENT },
	{ "text", required_argument, NULL, OPT_TEXT },
	{ "from", required_argument, NULL, OPT_FROM },
	{ "until", required_argument, NULL, OPT_UNTIL },
	{ "before", required_argument, NULL, OPT_BEFORE },
	{ "after", required_argument, NULL, OPT_AFTER },
	{ "limit", required_argument, NULL, OPT_LIMIT },
	{ "user", required_argument, NULL, OPT_USER },
	{ "roles", required_argument, NULL, OPT_ROLES },
	{ "paths", required_argument, NULL, OPT_PATHS },
	{ "public", required_argument, NULL, OPT_PUBLIC },
	{ "address", required_argument, NULL, OPT_ADDRESS },
	{ "state", required_argument, NULL, OPT_STATE },
	{ "cursor", required_argument, NULL, OPT_CURSOR },
	{ "kinds", required_argument, NULL, OPT_KINDS },
	{ "endpoint", required_argument, NULL, OPT_ENDPOINT },
	{ "path", required_argument, NULL, OPT_PATH },
	{ "value", required_argument, NULL, OPT_VALUE },
	{ "once", no_argument, NULL, OPT_ONCE },
	{ "json", no_argument, NULL, OPT_JSON },
	{ "diff", no_argument, NULL, OPT_DIFF },
	{ "help", no_argument, NULL, OPT_HELP },
	{ "version", no_argument, NULL, OPT_VERSION },
	{ "list-commands", no_argument, NULL, OPT_LIST_COMMANDS }, /* for the completion */
	{ "list-options", no_argument, NULL, OPT_LIST_OPTIONS },
	{ NULL, 0, NULL, 0 },
};

static void main_usage(FILE *out)
{
	fputs("usage: scopewirectl [OPTION ...] COMMAND [ARGUMENT ...]\n\n", out);
	commands_print(out);
	fputs("\n--config FILE, --env-file FILE   the daemon's configuration\n"
	      "--url URL, --socket PATH         the admin listener, if not that of the "
	      "configuration\n"
	      "--token-file FILE, --cacert FILE\n"
	      "--json                           print JSON\n"
	      "See scopewirectl(1).\n",
	      out);
}

/* Remembers the name of an option that not every command has.  False: there are too many. */
static bool main_give(struct cli *cli, int option)
{
	size_t i = 0;

	if (option >= OPT_CONFIG && option < OPT_APP)
		return true;
	if (cli->n_given == CLI_GIVEN_MAX)
		return false;
	while (options[i].val != option)
		i++;
	cli->given[cli->n_given++] = options[i].name;
	return true;
}

static const char **main_option_value(struct cli_options *o, int option)
{
	const char **const values[] = {
		&o->config,	   &o->env_file,      &o->client.url,
		&o->client.socket, &o->client.cacert, &o->client.token_file,
		&o->app,	   &o->channel,	      &o->event,
		&o->text,	   &o->from,	      &o->until,
		&o->before,	   &o->after,	      &o->limit,
		&o->user,	   &o->roles,	      &o->paths,
		&o->public,	   &o->address,	      &o->state,
		&o->cursor,	   &o->kinds,	      &o->endpoint,
		&o->path,	   &o->value,
	};

	return values[option - OPT_CONFIG];
}

int main(int argc, char **argv)
{
	struct cli cli = { .environ_ = environ };
	int option, status;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option == OPT_HELP) {
			main_usage(stdout);
			return EX_OK;
		} else if (option == OPT_VERSION) {
			puts("scopewirectl " PACKAGE_VERSION);
			return EX_OK;
		} else if (option == OPT_LIST_COMMANDS) {
			commands_print_names(stdout);
			return EX_OK;
		} else if (option == OPT_LIST_OPTIONS) {
			for (size_t i = 0; options[i].name; i++)
				printf("--%s\n", options[i].name);
			return EX_OK;
		} else if (option == OPT_JSON) {
			cli.options.json = true;
		} else if (option == '?' || !main_give(&cli, option)) {
			main_usage(stderr);
			return EX_USAGE;
		} else if (option == OPT_ONCE) {
			cli.options.once = true;
		} else if (option == OPT_DIFF) {
			cli.options.diff = true;
		} else {
			*main_option_value(&cli.options, option) = optarg;
		}
	}
	if (optind == argc) {
		main_usage(stderr);
		return EX_USAGE;
	}
	curl_global_init(CURL_GLOBAL_DEFAULT);
	status = commands_run(&cli, argv + optind, argc - optind);
	client_free(cli.client);
	conf_free(cli.conf);
	curl_global_cleanup();
	if (fflush(stdout) || ferror(stdout))
		return EX_IOERR;
	return status;
}

/* SPDX-License-Identifier: MIT */
/* The table of options, the file, the command line, and what is printed. */
#include <errno.h>
#include <limits.h>
#include <inttypes.h>
#include "conf_case.h"

START_TEST(an_empty_file_has_the_defaults)
{
	ck_load(.file = "");
	ck_assert_str_eq(conf->server.host, "*");
	ck_assert_uint_eq(conf->server.port, 8080);
	ck_assert_uint_eq(conf->server.backlog, 4096);
	ck_assert_uint_eq(conf->server.drain_ms, 3000);
	ck_assert_str_eq(conf->database.schema, "scopewire");
	ck_assert_uint_eq(conf->database.queue_bytes, 64 * 1024 * 1024);
	ck_assert(conf->database.required);
	ck_assert_int_eq(conf->cluster.driver, CLUSTER_LOCAL);
	ck_assert_uint_eq(conf->cluster.lease_ms, 10000);
	ck_assert_uint_eq(conf->webhooks.smoothing_ms, 3000);
	ck_assert_uint_eq(conf->webhooks.retry_min_ms, 1000);
	ck_assert_uint_eq(conf->webhooks.retry_max_ms, 60000);
	ck_assert_uint_eq(conf->webhooks.retry_for_s, 300);
	ck_assert(!conf->webhooks.batching);
	ck_assert_int_eq(conf->log.level, LOG_LEVEL_INFO);
	ck_assert_uint_eq(app_set_count(conf->apps), 0);
	ck_assert_ptr_null(conf->embedded_postgres);
	ck_assert_ptr_null(conf->notes);
}
END_TEST

START_TEST(later_sources_win)
{
	struct sources s = { .file = "[server]\nport = 1\n" };

	ck_assert_int_eq(load(&s), 0);
	ck_assert_uint_eq(conf->server.port, 1);
	s.env_file = "REVERB_SERVER_PORT=2\n";
	ck_assert_int_eq(load(&s), 0);
	ck_assert_uint_eq(conf->server.port, 2);
	s.env[0] = "SCOPEWIRE_SERVER_PORT=3";
	ck_assert_int_eq(load(&s), 0);
	ck_assert_uint_eq(conf->server.port, 3);
	s.flags[0] = "--server-port=4";
	ck_assert_int_eq(load(&s), 0);
	ck_assert_uint_eq(conf->server.port, 4);
	s.flags[1] = "--port";
	s.flags[2] = "5";
	ck_assert_int_eq(load(&s), 0);
	ck_assert_uint_eq(conf->server.port, 5);
}
END_TEST

START_TEST(flags_set_modes_and_options)
{
	ck_load(.flags = { "--embedded-postgres", "/var/lib/x", "--migrate", "--check-config" });
	ck_assert_str_eq(conf->embedded_postgres, "/var/lib/x");
	ck_assert(conf->migrate_only);
	ck_assert(conf->check_only);
	ck_load(.flags = { "--server-demo", "--log-level=debug", "--host", "::1" });
	ck_assert(conf->server.demo);
	ck_assert_int_eq(conf->log.level, LOG_LEVEL_DEBUG);
	ck_assert_str_eq(conf->server.host, "::1");
	ck_load(.flags = { "--app-id=x", "--app-key=k", "--app-secret=s",
			   "--app-enable-client-messages=yes" });
	ck_assert_int_eq(app_of("x")->client_events, CLIENT_EVENTS_MEMBERS);
}
END_TEST

START_TEST(a_wrong_flag_is_refused_and_named)
{
	ck_refused(-ENOTSUP, "there is no flag --prot; see --help", .flags = { "--prot=1" });
	ck_refused(-ENOTSUP, "there is no flag --server-prot; see --help",
		   .flags = { "--server-prot=1" });
	ck_refused(-ENOTSUP, "there is no flag --app-foo; see --help", .flags = { "--app-foo=1" });
	ck_refused(-ENOTSUP, "\"serve\" is not a flag; see --help", .flags = { "serve" });
	ck_refused(-ENOTSUP, "\"-p\" is not a flag; see --help", .flags = { "-p" });
	ck_refused(-ENOTSUP, "\"--\" is not a flag; see --help", .flags = { "--" });
	ck_refused(-ENOTSUP, "--port needs a value; see --help", .flags = { "--port" });
	ck_refused(-ENOTSUP, "--migrate takes no value; see --help", .flags = { "--migrate=yes" });
	ck_refused(-ENOTSUP, "--log-level needs a value; see --help", .flags = { "--log-level" });
	ck_refused(-EINVAL, "--server-port = 99999: must be from 0 to 65535",
		   .flags = { "--server-port=99999" });
	/* a name longer than any flag is no option cut short */
	ck_refused(
		-ENOTSUP, "aaaa; see --help",
		.flags = { "--server-portaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
			   "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" });
}
END_TEST

START_TEST(a_file_that_cannot_be_read_is_named)
{
	ck_refused(-ENOENT, "/nonexistent/x.conf: cannot be read: No such file or directory",
		   .flags = { "--config=/nonexistent/x.conf" });
	ck_refused(-ENOENT, "/nonexistent/.env: cannot be read: No such file or directory",
		   .flags = { "--env-file=/nonexistent/.env" });
	ck_assert_int_lt(load(&(struct sources){ .flags = { "--config=/" } }), 0);
	ck_assert_int_lt(load(&(struct sources){ .flags = { "--env-file=/" } }), 0);
}
END_TEST

START_TEST(an_error_in_the_file_has_its_line)
{
	static const struct {
		const char *text, *why;
	} cases[] = {
		{ "[server]\nport = 99999\n",
		  ":2: [server] port = 99999: must be from 0 to 65535" },
		{ "[server]\n\n# c\nport = x\n", ":4: [server] port = x: must be from 0 to 65535" },
		{ "[server]\nport = -1\n", ":2: [server] port = -1: must be from 0 to 65535" },
		{ "[server]\nport =\n", ":2: [server] port = : must be from 0 to 65535" },
		{ "[server]\nport = 8080 8081\n",
		  ":2: [server] port = 8080 8081: must be from 0 to 65535" },
		{ "[server]\nport = 80\n 81\n",
		  ":3: [server] port: only text can continue in the next line" },
		{ "[server]\nprot = 1\n",
		  ":2: [server] prot: there is no such option; did you mean port?" },
		{ "[server]\nxyzzy = 1\n", ":2: [server] xyzzy: there is no such option" },
		{ "[server]\ndemo = maybe\n", ":2: [server] demo = maybe: must be yes or no" },
		{ "[server]\ndrain_ms = 600001\n",
		  ":2: [server] drain_ms = 600001: must be from 0 to 600000 milliseconds" },
		{ "[log]\nlevel = loud\n",
		  ":2: [log] level = loud: must be error, warn, info or debug" },
		{ "[sever]\nport = 1\n", ":2: there is no section [sever]; use server, database, "
					 "cluster, sync, admin, webhooks, log or app ID" },
		{ "port = 1\n", ":1: there is no section []; use server, database, cluster, sync, "
				"admin, webhooks, log or app ID" },
		{ "[app]\nkey = 1\n", ":2: the section of an app is [app ID]" },
		{ "[server\nport = 1\n", ":2: there is no section []; use server, database, "
					 "cluster, sync, admin, webhooks, log or app ID" },
		{ "[server] x\n", ":1: is neither [section] nor name = value" },
		{ "[server]\nport\n", ":2: is neither [section] nor name = value" },
		{ "[server]\ntls_key = x\n",
		  ":2: [server] tls_key: tls_certificate is not set; set both or none" },
		{ "[server]\npath = /a b\n",
		  ":2: [server] path = /a b: must be without spaces, any of "
		  "? # %, and the parts . and .." },
		{ "[server]\npath = /a/../b\n",
		  ":2: [server] path = /a/../b: must be without spaces, "
		  "any of ? # %, and the parts . and .." },
		{ "[server]\npath = /a\\b\n",
		  ":2: [server] path = /a\\b: must be without spaces, any "
		  "of ? # %, and the parts . and .." },
		{ "[database]\nschema = a\"b\n",
		  ":2: [database] schema = a\"b: must be of lower-case letters, digits and _" },
		{ "[cluster]\ndriver = kafka\n",
		  ":2: [cluster] driver = kafka: must be local, postgres or redis" },
		{ "[cluster]\ndriver = redis\nprefix = {a}\n",
		  ":3: [cluster] prefix = {a}: must be of letters, digits and any of _ . : -, and "
		  "of "
		  "at most 30 bytes" },
		{ "[cluster]\ndriver = redis\nredis_port = 0\n",
		  ":3: [cluster] redis_port = 0: is only for a Unix socket" },
		{ "[cluster]\ndriver = redis\nredis_host =\n",
		  ":3: [cluster] redis_host: is empty" },
		{ "[cluster]\ndriver = redis\nredis_tls_key = k\n",
		  ":3: [cluster] redis_tls_key: redis_tls_certificate is not set; set both or "
		  "none" },
		{ "[cluster]\ndriver = redis\nredis_url = redis://h/x\n",
		  ":3: [cluster] redis_url: what follows the host and the / must be a number; "
		  "write / "
		  "in a password as %2F" },
		{ "[cluster]\nlease_ms = 100\n",
		  ":2: [cluster] lease_ms = 100: must be from 2000 to 600000 milliseconds" },
		{ "[cluster]\ndriver = postgres\nprefix = a b\n",
		  ":3: [cluster] prefix = a b: must be of lower-case letters, digits and _, and of "
		  "at "
		  "most 30 bytes" },
		{ "[app a]\nsecret = s\n", "[app a]: key is missing" },
		{ "[app a]\nkey = k\n", "[app a]: secret is missing" },
		{ "[app a]\nkey = a:b\nsecret = s\n",
		  "[app a] key: must be without spaces and any of / ? # % : &" },
		{ "[app a/b]\nkey = a\nsecret = s\n",
		  "[app a/b]: the id must be without spaces and any of / ? # % : &" },
		{ APP "[app b]\nkey = k\nsecret = t\n", "[app a] and [app b] have the same key" },
		{ APP "max_conections = 5\n",
		  ":4: [app a] max_conections: there is no such option; did you mean "
		  "max_connections?" },
		{ APP "max_connections = many\n",
		  ":4: [app a] max_connections = many: must be from 0 to 4294967295; 0 or -1 for "
		  "no limit" },
		{ APP "durability = disk\n",
		  ":4: [app a] durability = disk: must be commit, async or none" },
		{ APP "channel_durability = a:none, b\n",
		  ":4: [app a] channel_durability = a:none, b: \"b\" is not PATTERN:commit, "
		  "PATTERN:async or PATTERN:none" },
		{ APP "channel_durability = :none\n",
		  ":4: [app a] channel_durability = :none: \":none\" is not PATTERN:commit, "
		  "PATTERN:async or PATTERN:none" },
		{ APP "activity_timeout = 0\n",
		  ":4: [app a] activity_timeout = 0: must be from 1 to 86400 seconds" },
		{ APP "max_event_payload_in_kb = 4194304\n",
		  ":4: [app a] max_event_payload_in_kb = 4194304: must be from 0 to 4194303; 0 or "
		  "-1 for no limit" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		ck_refused(-EINVAL, cases[i].why, .file = cases[i].text);
}
END_TEST

/* Notes of a file, and of the environment when it is not NULL; their number is n. */
static void ck_notes(const char *file, const char *env, const char *const *notes, size_t n)
{
	size_t at = 0;

	ck_load(.file = file, .env = { env });
	for (; conf->notes && conf->notes[at]; at++)
		ck_assert_msg(at < n && strstr(conf->notes[at], notes[at]), "%s", conf->notes[at]);
	ck_assert_uint_eq(at, n);
}

START_TEST(options_of_the_cluster_without_effect_are_named)
{
#define LOCAL ": has no effect with cluster.driver = local; it is for "
	ck_notes("[cluster]\nredis_host = x\nlease_ms = 5000\nprefix = p\nredis_tls_ca =\n", NULL,
		 (const char *const[]){ ":2: [cluster] redis_host" LOCAL "redis",
					":3: [cluster] lease_ms" LOCAL "postgres and redis",
					":4: [cluster] prefix" LOCAL "postgres and redis" },
		 3);
	ck_notes(NULL, "SCOPEWIRE_CLUSTER_REDIS_PASSWORD=hunter2",
		 (const char *const[]){ "SCOPEWIRE_CLUSTER_REDIS_PASSWORD" LOCAL "redis" }, 1);
	ck_assert_ptr_null(strstr(conf->notes[0], "hunter2"));
	ck_notes("[cluster]\ndriver = postgres\nlease_ms = 5000\nredis_url = redis://h\n", NULL,
		 (const char *const[]){ ":4: [cluster] redis_url: has no effect with "
					"cluster.driver = postgres; it is for redis" },
		 1);
	ck_notes("[cluster]\ndriver = redis\nredis_host = h\nredis_tls_ca = c\n", NULL,
		 (const char *const[]){ ":4: [cluster] redis_tls_ca: has no effect without "
					"cluster.redis_tls = yes, or rediss://" },
		 1);
	ck_notes("[cluster]\ndriver = redis\nredis_url = rediss://h\nredis_tls_ca = c\n", NULL,
		 NULL, 0);
	/* for Laravel's own purposes */
	ck_notes("[cluster]\ndriver = postgres\n", "REDIS_HOST=h", NULL, 0);
	ck_notes(NULL, "REVERB_SCALING_CHANNEL=reverb", NULL, 0);
#undef LOCAL
}
END_TEST

START_TEST(long_lines_are_refused_not_cut)
{
	char text[5000];
	int n = snprintf(text, sizeof(text), "[server]\ndemo_dir = ");

	memset(text + n, 'x', 4096 - 11);
	text[n + 4096 - 11] = '\0';
	ck_load(.file = text);
	ck_assert_uint_eq(strlen(conf->server.demo_dir), 4096 - 11);
	memcpy(text + n + 4096 - 11, "x\n", 3);
	ck_refused(-EINVAL,
		   ":2: the line is longer than 4096 bytes; a value continues in the next line if "
		   "that is indented and without \"=\"",
		   .file = text);
	memset(text, '#', 4900);
	memcpy(text + 4900, "\n", 2);
	ck_load(.file = text);
	memcpy(text, "[app ", 5);
	memcpy(text + 200, "]\n", 3);
	ck_refused(-EINVAL, ":1: the section's name is longer than 128 bytes", .file = text);
}
END_TEST

START_TEST(blanks_comments_and_continued_lines_are_accepted)
{
	ck_load(.file = "\xef\xbb\xbf# comment\r\n; another\r\n\r\n[server]\r\n"
			"  port = 7 ; why\r\n\thost = a,\r\n     b\r\n  path = p/\r\n"
			"  [app a]\n" APP "allowed_origins = one.example, \n  two.example\n"
			"\tthree.example ; c\n");
	ck_assert_uint_eq(conf->server.port, 7);
	ck_assert_str_eq(conf->server.host, "a, b");
	ck_assert_str_eq(conf->server.path, "/p");
	ck_assert_str_eq(app_of("a")->allowed_origins[0], "one.example");
	ck_assert_str_eq(app_of("a")->allowed_origins[1], "two.example");
	ck_assert_str_eq(app_of("a")->allowed_origins[2], "three.example");
	ck_assert_ptr_null(app_of("a")->allowed_origins[3]);
}
END_TEST

START_TEST(paths_are_made_even)
{
	static const char *const paths[][2] = { { "/", "" },	  { "ws", "/ws" },
						{ "/ws", "/ws" }, { "/a/b//", "/a/b" },
						{ "", "" },	  { "//a///b", "/a/b" },
						{ "///", "" } };
	char text[64];

	for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
		snprintf(text, sizeof(text), "[server]\npath = %s\n", paths[i][0]);
		ck_load(.file = text);
		ck_assert_str_eq(conf->server.path, paths[i][1]);
	}
}
END_TEST

START_TEST(numbers_take_suffixes_where_they_are_bytes)
{
	ck_load(.file = "[database]\nqueue_bytes = 2M\n[server]\nmax_header_bytes = 8K\n" APP
			"max_outbox_bytes = 1G\n");
	ck_assert_uint_eq(conf->database.queue_bytes, 2 * 1024 * 1024);
	ck_assert_uint_eq(conf->server.max_header_bytes, 8192);
	ck_assert_uint_eq(app_of("a")->limits.max_outbox_bytes, 1024 * 1024 * 1024);
	ck_refused(-EINVAL, "must be from 1 to 10000 events",
		   .file = "[database]\nbatch_events = 1K\n");
	ck_refused(-EINVAL, "0 or -1 for no limit", .file = APP "max_outbox_bytes = 4G\n");
	ck_refused(-EINVAL, "0 or -1 for no limit", .file = APP "max_outbox_bytes = K\n");
}
END_TEST

START_TEST(sizes_and_ages_of_the_log_take_suffixes)
{
	ck_load(.file = "[database]\nretention_age = 30d\nretention_size = 20G\n" APP);
	ck_assert_uint_eq(conf->database.retention_age, 720);
	ck_assert_uint_eq(conf->database.retention_size, 20480);
	ck_load(.file = "[database]\nretention_age = 36h\nretention_size = 1T\n" APP);
	ck_assert_uint_eq(conf->database.retention_age, 36);
	ck_assert_uint_eq(conf->database.retention_size, 1024 * 1024);
	ck_load(.file = "[database]\nretention_age = unlimited\nretention_size = 5\n" APP);
	ck_assert_uint_eq(conf->database.retention_age, 0);
	ck_assert_uint_eq(conf->database.retention_size, 5);
	ck_refused(-EINVAL, "876000 hours; 0 or -1 for no limit",
		   .file = "[database]\nretention_age = 30G\n");
	ck_refused(-EINVAL, "MiB; 0 or -1 for no limit",
		   .file = "[database]\nretention_size = 99999T\n");
}
END_TEST

START_TEST(all_problems_are_reported_at_once)
{
	ck_refused(-EINVAL, "[server] host: is empty; use * for all addresses",
		   .file = "[server]\nprot = 1\nport = x\nhost =\nnonsense\n[app a]\nkey = k\n",
		   .env_file = "A=b c\n", .env = { "REVERB_SERVER_PORT=y" });
	ck_assert_ptr_nonnull(strstr(why, ":2: [server] prot: there is no such option"));
	ck_assert_ptr_nonnull(strstr(why, ":3: [server] port = x: must be"));
	ck_assert_ptr_nonnull(strstr(why, ":5: is neither [section] nor name = value"));
	ck_assert_ptr_nonnull(strstr(why, ":1: A: text follows"));
	ck_assert_ptr_nonnull(strstr(why, "REVERB_SERVER_PORT = y: must be"));
	ck_assert_ptr_nonnull(strstr(why, "[app a]: secret is missing"));
}
END_TEST

START_TEST(comments_and_quotes_of_other_formats_are_refused)
{
	ck_refused(-EINVAL,
		   ":3: [app a] secret: a comment after a value begins with ; and not with #",
		   .file = "[app a]\nkey = k\nsecret = hunter2 # prod\n");
	ck_assert_ptr_null(strstr(why, "hunter2"));
	ck_refused(-EINVAL,
		   ":3: [app a] secret: a comment after a value begins with ; and not with #",
		   .file = "[app a]\nkey = k\nsecret = # prod\n");
	ck_load(.file = "[app a]\nkey = k\nsecret = #a#b\n");
	ck_assert_str_eq(app_of("a")->secret_text, "#a#b");
	ck_refused(-EINVAL, ":2: [database] user: write the value without quotes",
		   .file = "[database]\nuser = 'u'\n");
	ck_refused(-EINVAL,
		   "[app a] allowed_origins: https://a.example/ can match no origin; write "
		   "https://HOST or HOST, without quotes and without a path",
		   .file = APP "allowed_origins = https://a.example/\n");
	ck_refused(-EINVAL, ":3: [app a] secret: is set twice; first in line 2",
		   .file = "[app a]\nsecret = s\nsecret = t\nkey = k\n");
	ck_refused(-EINVAL, ":3: [server] port: is set twice; first in line 2",
		   .file = "[server]\nport = 1\nport = 2\n");
}
END_TEST

START_TEST(hosts_are_addresses)
{
	ck_refused(-EINVAL,
		   "[server] host = [::1]: write IPv6 addresses without brackets, such as "
		   "::1",
		   .file = "[server]\nhost = [::1]\n");
	ck_refused(-EINVAL, "[server] host = http://x: must be addresses, not URLs",
		   .file = "[server]\nhost = http://x\n");
	ck_refused(-EINVAL, "[server] host: is empty; use * for all addresses",
		   .file = "[server]\nhost = ,\n");
}
END_TEST

START_TEST(a_configuration_that_others_can_read_is_warned_about)
{
	char *path = file_of("[app a]\nkey = k\nsecret = s\n"), *flag = textf("--config=%s", path);

	ck_assert_int_eq(chmod(path, 0644), 0);
	ck_load(.flags = { flag });
	ck_assert_ptr_nonnull(strstr(conf->notes[0], "has secrets and can be read by every user"));
	ck_assert_int_eq(chmod(path, 0640), 0);
	ck_load(.flags = { flag });
	ck_assert_ptr_null(conf->notes);
	free(flag);
	free(path);
}
END_TEST

START_TEST(limits_that_contradict_each_other_are_warned_about)
{
	ck_load(.file = APP "max_event_payload_bytes = 2M\n");
	ck_assert_str_eq(conf->notes[0], "[app a]: max_event_payload_bytes is 2097152, but "
					 "max_request_bytes is 1048576 and is reached first");
}
END_TEST

#define WANTS_UNDELIVERED                                                                          \
	"webhooks = [{\"url\": \"http://x.test\", \"event_types\": "                               \
	"[\"notification_undelivered\"]}]\n"

START_TEST(notification_undelivered_without_delivery_records_is_warned_about)
{
	ck_load(.file = APP WANTS_UNDELIVERED);
	ck_assert_ptr_null(conf->notes);
	ck_load(.file = APP WANTS_UNDELIVERED "[database]\ndeliveries = no\n");
	ck_assert_str_eq(conf->notes[0], "[app a] webhooks: notification_undelivered is never "
					 "sent, because database.deliveries is no");
	ck_load(.file = APP WANTS_UNDELIVERED, .env = { "SCOPEWIRE_DATABASE_DELIVERIES=no" });
	ck_assert_ptr_nonnull(conf->notes);
	ck_load(.file = APP "[database]\ndeliveries = no\n");
	ck_assert_ptr_null(conf->notes);
}
END_TEST

/* Text that print writes; heap. */
static char *printed(void (*print)(FILE *out))
{
	char *text = NULL;
	size_t n;
	FILE *f = open_memstream(&text, &n);

	print(f);
	fclose(f);
	return text;
}

/* Each option is documented everywhere, and no name means two things. */
static void check_table(const struct option *options, size_t n)
{
	char *example = printed(conf_print_example), *roff = printed(conf_print_roff);

	for (size_t i = 0; i < n; i++) {
		const struct option *o = &options[i];
		char *line = textf("\n#%s =", o->name), *item = textf("\n.B %s\n", o->name);

		ck_assert_msg(strstr(example, line) != NULL, "%s", o->name);
		ck_assert_msg(strstr(roff, item) != NULL, "%s", o->name);
		ck_assert_msg(o->help && sv_ends_with(sv(o->help), SV(".")) ==
						 !strstr(o->help, "Example"),
			      "%s", o->name);
		ck_assert(o->type != OPTION_UINT || o->min < o->max);
		ck_assert(o->type != OPTION_ENUM || o->words);
		for (size_t j = 0; j < i; j++)
			ck_assert(strcmp(o->section, options[j].section) != 0 ||
				  strcmp(o->name, options[j].name) != 0);
		free(line);
		free(item);
	}
	free(example);
	free(roff);
}

START_TEST(every_option_is_documented)
{
	check_table(conf_options, n_conf_options);
	check_table(app_options, n_app_options);
}
END_TEST

START_TEST(every_number_is_accepted_up_to_its_maximum)
{
	struct conf c;
	struct app a;

	for (size_t i = 0; i < n_conf_options + n_app_options; i++) {
		bool app = i >= n_conf_options;
		const struct option *o = app ? &app_options[i - n_conf_options] : &conf_options[i];
		void *base = app ? (void *)&a : (void *)&c;
		char low[24], high[24], over[24], *complaint = NULL;

		if (o->type != OPTION_UINT)
			continue;
		snprintf(low, sizeof(low), "%ju", (uintmax_t)o->min);
		snprintf(high, sizeof(high), "%ju", (uintmax_t)o->max);
		snprintf(over, sizeof(over), "%ju", (uintmax_t)o->max + 1);
		ck_assert_int_eq(option_set(o, base, low, 1, &complaint), 0);
		ck_assert_int_eq(option_set(o, base, high, 1, &complaint), 0);
		ck_assert_uint_eq(*(unsigned *)((char *)base + o->offset), o->max);
		ck_assert_int_eq(option_set(o, base, over, 1, &complaint), -EINVAL);
		ck_assert_uint_eq(*(unsigned *)((char *)base + o->offset), o->max);
		free(complaint);
	}
}
END_TEST

/* With every comment sign before an option taken away the example still has the defaults. */
START_TEST(the_example_is_a_configuration)
{
	char *text = printed(conf_print_example), *out = text;

	for (const char *p = text; *p; p++)
		if (!(*p == '#' && (p == text || p[-1] == '\n') && p[1] != ' '))
			*out++ = *p;
	*out = '\0';
	ck_refused(-EINVAL,
		   "[app client-portal] secret: is empty, and [app client-portal] needs its secret",
		   .file = text);
	ck_load(.file = text, .env = { "SCOPEWIRE_APP_KEY=k", "SCOPEWIRE_APP_SECRET=s" });
	ck_assert_uint_eq(conf->server.port, 8080);
	ck_assert_uint_eq(app_of("client-portal")->limits.max_outbox_messages, 4096);
	free(text);
}
END_TEST

START_TEST(help_tells_every_flag)
{
	char *text = printed(conf_print_help);

	ck_assert_ptr_nonnull(strstr(text, "--env-file FILE"));
	ck_assert_ptr_nonnull(strstr(text, "--database-commit-timeout-ms=VALUE"));
	for (char *line = text, *end; *line; line = end + 1) {
		end = strchr(line, '\n');
		ck_assert_ptr_nonnull(end);
		*end = '\0';
		/* how long the folder's name is, only configure knows */
		ck_assert_msg(end - line <= 100 || strstr(line, SCOPEWIRE_SYSCONFDIR), "%.*s",
			      (int)(end - line), line);
	}
	free(text);
}
END_TEST

static void print_settings_of_conf(FILE *out)
{
	conf_print_settings(conf, out);
}

START_TEST(what_is_set_is_printed_with_its_source)
{
	char *text;

	ck_load(.file = "[database]\nname = a\n[app x]\nkey = k\nsecret = hunter2\n"
			"max_connections = 5\n",
		.env = { "SCOPEWIRE_DATABASE_NAME=b", "SCOPEWIRE_DATABASE_PASSWORD=hunter2" },
		.flags = { "--port=99" });
	text = printed(print_settings_of_conf);
	ck_assert_ptr_nonnull(strstr(text, "[server]\n; --port\nport = 99\n"));
	ck_assert_ptr_nonnull(strstr(text, "; SCOPEWIRE_DATABASE_NAME\nname = b\n"));
	ck_assert_ptr_null(strstr(text, "name = a"));
	ck_assert_ptr_nonnull(strstr(text, ":6: [app x] max_connections\nmax_connections = 5\n"));
	ck_assert_ptr_nonnull(strstr(text, "SCOPEWIRE_DATABASE_PASSWORD: a secret"));
	ck_assert_ptr_null(strstr(text, "hunter2"));
	free(text);
}
END_TEST

/* Gives the option a value that is not its default. */
static void change_option(const struct option *o, const struct conf *unchanged, struct conf *c)
{
	static const char *const texts[] = { "yes", "no", "10.0.0.1", "/elsewhere", NULL };
	char *number = textf("%" PRIu64, o->max > o->min ? o->max - 1 : o->max);
	const char *const numbers[] = { number, NULL };
	const char *const *words = o->type == OPTION_ENUM   ? o->words
				   : o->type == OPTION_UINT ? numbers
							    : texts;
	bool is_changed = false;
	char *complaint = NULL;

	for (; *words && !is_changed; words++) {
		if (option_set(o, c, *words, 1, &complaint))
			free(complaint);
		is_changed = !option_is_equal(o, unchanged, c);
	}
	ck_assert_msg(is_changed, "no other value for %s.%s", o->section, o->name);
	free(number);
}

START_TEST(each_option_that_is_read_at_start_is_named_at_a_reload)
{
	struct conf *running;

	for (size_t i = 0; i < n_conf_options; i++) {
		const struct option *o = &conf_options[i];
		char *name = textf("%s.%s", o->section, o->name), *names;

		ck_load(.file = APP);
		running = conf;
		conf = NULL;
		ck_load(.file = APP);
		change_option(o, running, conf);
		names = conf_needs_restart(running, conf);
		/* TLS itself is not switched on by a reload; another certificate is read. */
		if ((o->flags & OPTION_RELOADABLE) && strcmp(o->name, "tls_certificate") != 0)
			ck_assert_msg(!names, "%s is reloadable", name);
		else
			ck_assert_msg(names && strcmp(names, name) == 0, "%s: %s", name,
				      names ? names : "nothing is named");
		free(names);
		free(name);
		conf_free(running);
	}
}
END_TEST

static void add_loading(Suite *s)
{
	TCase *t = tcase_create("loading");

	tcase_add_checked_fixture(t, NULL, teardown);
	tcase_add_test(t, an_empty_file_has_the_defaults);
	tcase_add_test(t, later_sources_win);
	tcase_add_test(t, flags_set_modes_and_options);
	tcase_add_test(t, a_wrong_flag_is_refused_and_named);
	tcase_add_test(t, a_file_that_cannot_be_read_is_named);
	tcase_add_test(t, an_error_in_the_file_has_its_line);
	tcase_add_test(t, options_of_the_cluster_without_effect_are_named);
	tcase_add_test(t, long_lines_are_refused_not_cut);
	tcase_add_test(t, blanks_comments_and_continued_lines_are_accepted);
	tcase_add_test(t, paths_are_made_even);
	tcase_add_test(t, numbers_take_suffixes_where_they_are_bytes);
	tcase_add_test(t, sizes_and_ages_of_the_log_take_suffixes);
	tcase_add_test(t, all_problems_are_reported_at_once);
	tcase_add_test(t, comments_and_quotes_of_other_formats_are_refused);
	tcase_add_test(t, hosts_are_addresses);
	tcase_add_test(t, a_configuration_that_others_can_read_is_warned_about);
	tcase_add_test(t, limits_that_contradict_each_other_are_warned_about);
	tcase_add_test(t, notification_undelivered_without_delivery_records_is_warned_about);
	tcase_add_test(t, what_is_set_is_printed_with_its_source);
	tcase_add_test(t, each_option_that_is_read_at_start_is_named_at_a_reload);
	suite_add_tcase(s, t);
}

static void add_texts(Suite *s)
{
	TCase *t = tcase_create("texts");

	tcase_add_test(t, every_option_is_documented);
	tcase_add_test(t, every_number_is_accepted_up_to_its_maximum);
	tcase_add_test(t, the_example_is_a_configuration);
	tcase_add_test(t, help_tells_every_flag);
	suite_add_tcase(s, t);
}

int main(void)
{
	Suite *s = suite_create("conf/conf");

	add_loading(s);
	add_texts(s);
	return unit_run(s);
}

/* SPDX-License-Identifier: MIT */
/* Files are memfds, so that cases leave nothing behind and run side by side. */
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include "unit.h"
#include "base/mem.h"
#include "conf/conf.h"
#include "conf/conninfo.h"
#include "conf/dotenv.h"
#include "conf/conf_table.h"

#define MAX_ARGS 12
#define APP	 "[app a]\nkey = k\nsecret = s\n"

/* What a case gives to conf_load; env ends with NULL. */
struct sources {
	const char *file, *env_file;
	const char *env[8], *flags[8];
};

static struct conf *conf;
static char *why;

/* Path of a file that holds text. */
static char *file_of(const char *text)
{
	int fd = memfd_create("conf", 0);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(fchmod(fd, 0600), 0);
	ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	return textf("/proc/self/fd/%d", fd);
}

static void add_file(char **argv, int *argc, const char *flag, const char *text)
{
	char *path = file_of(text);

	argv[(*argc)++] = textf("%s=%s", flag, path);
	free(path);
}

static int load(const struct sources *s)
{
	char *argv[MAX_ARGS + 1] = { xstrdup("scopewired") };
	int argc = 1, rc;

	add_file(argv, &argc, "--config", s->file ? s->file : "");
	if (s->env_file)
		add_file(argv, &argc, "--env-file", s->env_file);
	for (size_t i = 0; s->flags[i]; i++)
		argv[argc++] = xstrdup(s->flags[i]);
	conf_free(conf);
	free(why);
	conf = NULL;
	why = NULL;
	rc = conf_load(argc, argv, (char **)(uintptr_t)s->env, &conf, &why);
	for (int i = 0; i < argc; i++)
		free(argv[i]);
	ck_assert_msg(rc >= 0 ? !why : why != NULL, "a sentence comes with failure only");
	return rc;
}

static void teardown(void)
{
	conf_free(conf);
	free(why);
	conf = NULL;
	why = NULL;
}

#define ck_load(...)                                                                               \
	do {                                                                                       \
		const struct sources sources_ = { __VA_ARGS__ };                                   \
		int rc_ = load(&sources_);                                                         \
		ck_assert_msg(rc_ == 0, "%d %s", rc_, why ? why : "");                             \
	} while (0)

/* The sentence must end with want; what is before it is the file's name. */
#define ck_refused(rc, want, ...)                                                                  \
	do {                                                                                       \
		const struct sources sources_ = { __VA_ARGS__ };                                   \
		ck_assert_int_eq(load(&sources_), (rc));                                           \
		ck_assert_msg(sv_ends_with(sv(why), sv(want)), "got \"%s\"", why);                 \
	} while (0)

static struct app *app_of(const char *id)
{
	struct app *a = app_set_by_id(conf->apps, sv(id));

	ck_assert_msg(a != NULL, "no app %s", id);
	return a;
}

START_TEST(defaults)
{
	ck_load(.file = "");
	ck_assert_str_eq(conf->server.host, "*");
	ck_assert_uint_eq(conf->server.port, 8080);
	ck_assert_uint_eq(conf->server.backlog, 4096);
	ck_assert_uint_eq(conf->server.drain_ms, 3000);
	ck_assert_str_eq(conf->database.schema, "scopewire");
	ck_assert_uint_eq(conf->database.queue_bytes, 64 * 1024 * 1024);
	ck_assert(conf->database.required);
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

START_TEST(modes_of_the_command_line)
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

START_TEST(usage_errors)
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

START_TEST(files_that_cannot_be_read)
{
	ck_refused(-ENOENT, "/nonexistent/x.conf: cannot be read: No such file or directory",
		   .flags = { "--config=/nonexistent/x.conf" });
	ck_refused(-ENOENT, "/nonexistent/.env: cannot be read: No such file or directory",
		   .flags = { "--env-file=/nonexistent/.env" });
	ck_assert_int_lt(load(&(struct sources){ .flags = { "--config=/" } }), 0);
	ck_assert_int_lt(load(&(struct sources){ .flags = { "--env-file=/" } }), 0);
}
END_TEST

START_TEST(errors_in_the_file)
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
		  ":3: [server] port: only text goes on in the next line" },
		{ "[server]\nprot = 1\n",
		  ":2: [server] prot: there is no such option; did you mean port?" },
		{ "[server]\nxyzzy = 1\n", ":2: [server] xyzzy: there is no such option" },
		{ "[server]\ndemo = maybe\n", ":2: [server] demo = maybe: must be yes or no" },
		{ "[server]\ndrain_ms = 600001\n",
		  ":2: [server] drain_ms = 600001: must be from 0 to 600000 milliseconds" },
		{ "[log]\nlevel = loud\n",
		  ":2: [log] level = loud: must be error, warn, info or debug" },
		{ "[sever]\nport = 1\n", ":2: there is no section [sever]; use server, database, "
					 "sync, admin, webhooks, log or app ID" },
		{ "port = 1\n", ":1: there is no section []; use server, database, sync, admin, "
				"webhooks, log or app ID" },
		{ "[app]\nkey = 1\n", ":2: the section of an app is [app ID]" },
		{ "[server\nport = 1\n", ":2: there is no section []; use server, database, sync, "
					 "admin, webhooks, log or app ID" },
		{ "[server] x\n", ":1: is neither [section] nor name = value" },
		{ "[server]\nport\n", ":2: is neither [section] nor name = value" },
		{ "[server]\ntls_key = x\n",
		  "[server] tls_certificate and tls_key: set both or none" },
		{ "[server]\npath = /a b\n", "[server] path = /a b: must be without spaces, any of "
					     "? # %, and the parts . and .." },
		{ "[server]\npath = /a/../b\n", "[server] path = /a/../b: must be without spaces, "
						"any of ? # %, and the parts . and .." },
		{ "[server]\npath = /a\\b\n", "[server] path = /a\\b: must be without spaces, any "
					      "of ? # %, and the parts . and .." },
		{ "[database]\nschema = a\"b\n",
		  "[database] schema = a\"b: must be of lower-case letters, digits and _" },
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
		   ":2: the line is longer than 4096 bytes; a value goes on in the next line if "
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

START_TEST(layout_of_the_file)
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

START_TEST(an_env_file_of_laravel)
{
	ck_load(.env_file = "APP_NAME=\"My App\"\nAPP_KEY=base64:xx==\n"
			    "DB_CONNECTION=pgsql\nDB_HOST=db.internal\nDB_PORT=5433\n"
			    "DB_DATABASE=portal\nDB_USERNAME=laravel\nDB_PASSWORD='p#w \"x'\n"
			    "REVERB_APP_ID=123456\nREVERB_APP_KEY=abc\nREVERB_APP_SECRET=def\n"
			    "REVERB_HOST=\"localhost\"\nREVERB_PORT=443\nREVERB_SCHEME=https\n"
			    "REVERB_SERVER_HOST=0.0.0.0\nREVERB_SERVER_PORT=8081\n"
			    "REVERB_SERVER_PATH=/ws/\nREVERB_MAX_REQUEST_SIZE=20000\n"
			    "REVERB_APP_MAX_CONNECTIONS=50\nREVERB_APP_MAX_MESSAGE_SIZE=30000\n"
			    "REVERB_APP_PING_INTERVAL=20\nREVERB_APP_ACTIVITY_TIMEOUT=40\n"
			    "REVERB_APP_RATE_LIMITING_ENABLED=true\n"
			    "REVERB_APP_RATE_LIMITING_MAX_ATTEMPTS=70\n"
			    "VITE_REVERB_APP_KEY=\"${REVERB_APP_KEY}\"\nSESSION_DOMAIN=null\n");
	ck_assert_str_eq(conf->server.host, "0.0.0.0");
	ck_assert_uint_eq(conf->server.port, 8081);
	ck_assert_str_eq(conf->server.path, "/ws");
	ck_assert_str_eq(conf->database.host, "db.internal");
	ck_assert_uint_eq(conf->database.port, 5433);
	ck_assert_str_eq(conf->database.name, "portal");
	ck_assert_str_eq(conf->database.user, "laravel");
	ck_assert_str_eq(conf->database.password, "p#w \"x");
	ck_assert_ptr_null(conf->notes);
	ck_assert_uint_eq(app_set_count(conf->apps), 1);
	ck_assert_str_eq(app_of("123456")->key, "abc");
	ck_assert_str_eq(app_of("123456")->secret_text, "def");
	ck_assert_int_eq(app_of("123456")->client_events, CLIENT_EVENTS_MEMBERS);
	ck_assert_uint_eq(app_of("123456")->activity_timeout_s, 40);
	ck_assert_uint_eq(app_of("123456")->ping_interval_s, 20);
	ck_assert_uint_eq(app_of("123456")->limits.max_connections, 50);
	ck_assert_uint_eq(app_of("123456")->limits.max_message_bytes, 30000);
	ck_assert_uint_eq(app_of("123456")->limits.max_request_bytes, 20000);
	ck_assert_uint_eq(app_of("123456")->limits.message_rate_max_attempts, 70);
	ck_assert_uint_eq(app_of("123456")->limits.message_rate_decay_s, 60);
}
END_TEST

START_TEST(another_database_driver_is_left_aside)
{
	ck_load(.env_file = "DB_HOST=mysql.internal\nDB_PORT=3306\nDB_CONNECTION=mysql\n");
	ck_assert_str_eq(conf->database.host, "");
	ck_assert_uint_eq(conf->database.port, 5432);
	ck_assert_ptr_nonnull(conf->notes);
	ck_assert_ptr_nonnull(strstr(conf->notes[0], "DB_CONNECTION is mysql"));
	ck_assert_ptr_nonnull(strstr(conf->notes[0], "set [database] in scopewire.conf"));
	ck_assert_str_eq(conf->database_hint, conf->notes[0]);
	ck_assert_ptr_null(conf->notes[1]);
	/* the driver that the file names counts for the environment too, unless it names one */
	ck_load(.env_file = "DB_CONNECTION=mysql\n", .env = { "DB_HOST=h" });
	ck_assert_str_eq(conf->database.host, "");
	ck_load(.env_file = "DB_CONNECTION=mysql\nDB_PORT=3306\n",
		.env = { "DB_HOST=h", "DB_CONNECTION=pgsql" });
	ck_assert_str_eq(conf->database.host, "h");
	ck_assert_uint_eq(conf->database.port, 5432);
	ck_load(.env = { "DB_HOST=h" });
	ck_assert_str_eq(conf->database.host, "h");
}
END_TEST

START_TEST(database_urls)
{
	static const char *const bad[] = {
		"DB_URL=pgsql://u:hun/ter2@h/d",  "DB_URL='pgsql://u:hun#ter2@h/d'",
		"DB_URL=pgsql://u:hunter2?x@h/d", "DB_URL=pgsql://u:hunter2@h:x/d",
		"DB_URL=pgsql://u:hunter2@/d",	  "DB_URL=hunter2",
	};

	ck_load(.env_file = "DB_PORT=6\nDB_URL=pgsql://u:p@ss:%23@h/d\nDB_HOST=other\nDB_PORT=5\n");
	ck_assert_str_eq(conf->database.dsn, "");
	ck_assert_str_eq(conf->database.user, "u");
	ck_assert_str_eq(conf->database.password, "p@ss:#");
	ck_assert_str_eq(conf->database.host, "h");
	ck_assert_str_eq(conf->database.name, "d");
	ck_assert_uint_eq(conf->database.port, 5);
	ck_load(.env = { "DATABASE_URL=postgres://u@[::1]:77/d?sslmode=require&charset=utf8&"
			 "sslrootcert=/a%20b" });
	ck_assert_str_eq(conf->database.host, "::1");
	ck_assert_uint_eq(conf->database.port, 77);
	ck_assert_str_eq(conf->database.sslmode, "require");
	ck_assert_str_eq(conf->database.sslrootcert, "/a b");
	ck_assert_ptr_nonnull(strstr(conf->notes[0], "these parameters were ignored: charset"));
	ck_load(.env = { "DATABASE_URL=mysql://u:hunter2@h/d" });
	ck_assert_str_eq(conf->database.host, "");
	ck_assert_ptr_nonnull(conf->notes);
	ck_assert_ptr_null(strstr(conf->notes[0], "hunter2"));
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		ck_assert_int_eq(load(&(struct sources){ .env_file = bad[i] }), -EINVAL);
		ck_assert_msg(strstr(why, ":1: DB_URL: ") && !strstr(why, "hun") &&
				      !strstr(why, "ter2"),
			      "%s", why);
	}
}
END_TEST

/* libpq would say: could not translate host name "ss@h" to address */
START_TEST(a_dsn_is_checked_without_its_password)
{
	static const char *const bad[] = {
		"postgresql://u:hun@ter2@h/d", "postgresql://u:hun/ter2@h/d",
		"postgresql://u:hun%ter2@h/d", "host=h password=hun ter2",
		"password='hunter2",
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		char *file = textf("[database]\ndsn = %s\n", bad[i]);

		ck_assert_int_eq(load(&(struct sources){ .file = file }), -EINVAL);
		ck_assert_msg(strstr(why, "[database] dsn: ") && !strstr(why, "hun") &&
				      !strstr(why, "ter2"),
			      "%s", why);
		free(file);
	}
	ck_load(.file = "[database]\ndsn = postgresql://u:p%40@h/d\n");
	ck_assert_str_eq(conf->database.password, "p@");
}
END_TEST

START_TEST(unset_values_of_env_files)
{
	ck_load(.env_file = "REVERB_APP_ID=\nREVERB_APP_KEY=null\nDB_PORT=\nREVERB_SERVER_PORT="
			    "(null)\nREVERB_APP_MAX_CONNECTIONS=\n");
	ck_assert_uint_eq(app_set_count(conf->apps), 0);
	ck_assert_uint_eq(conf->server.port, 8080);
}
END_TEST

START_TEST(the_environment_names_an_app)
{
	ck_refused(-EINVAL, "which app it belongs to is not: set REVERB_APP_ID",
		   .env = { "REVERB_APP_KEY=k" });
	ck_refused(-EINVAL, "[app 7]: key is missing\n[app 7]: secret is missing",
		   .env = { "REVERB_APP_ID=7" });
	ck_load(.env = { "REVERB_APP_MAX_CONNECTIONS=5" });
	ck_load(.env = { "SOKETI_DEFAULT_APP_ID=1", "SOKETI_DEFAULT_APP_KEY=k",
			 "SOKETI_DEFAULT_APP_SECRET=s", "SOKETI_PORT=6001" });
	ck_assert_int_eq(app_of("1")->client_events, CLIENT_EVENTS_NONE);
	ck_assert_uint_eq(conf->server.port, 6001);
	ck_load(.env = { "REVERB_APP_ID=1", "REVERB_APP_KEY=k", "REVERB_APP_SECRET=s",
			 "REVERB_APP_ACCEPT_CLIENT_EVENTS_FROM=all" });
	ck_assert_int_eq(app_of("1")->client_events, CLIENT_EVENTS_ALL);
	ck_load(.env = { "SCOPEWIRE_APP_ID=1", "SCOPEWIRE_APP_KEY=k", "SCOPEWIRE_APP_SECRET=s",
			 "SCOPEWIRE_APP_MAX_WATCHLIST=3" });
	ck_assert_uint_eq(app_of("1")->limits.max_watchlist, 3);
}
END_TEST

START_TEST(the_environment_completes_an_app)
{
	ck_load(.file = "[app a]\nkey = k\n", .env = { "SCOPEWIRE_APP_SECRET=s" });
	ck_assert_str_eq(app_of("a")->secret_text, "s");
	ck_load(.file = APP "[app b]\nkey = l\nsecret = t\n",
		.env = { "REVERB_APP_ID=b", "REVERB_APP_SECRET=u" });
	ck_assert_uint_eq(app_set_count(conf->apps), 2);
	ck_assert_str_eq(app_of("a")->secret_text, "s");
	ck_assert_str_eq(app_of("b")->secret_text, "u");
	ck_assert_int_eq(app_of("b")->client_events, CLIENT_EVENTS_NONE);
	ck_load(.file = APP,
		.env = { "REVERB_APP_ID=b", "REVERB_APP_KEY=l", "REVERB_APP_SECRET=u" });
	ck_assert_uint_eq(app_set_count(conf->apps), 2);
}
END_TEST

START_TEST(errors_in_the_environment)
{
	ck_refused(-EINVAL, "REVERB_SERVER_PORT = x: must be from 0 to 65535",
		   .env = { "REVERB_SERVER_PORT=x" });
	ck_refused(-EINVAL, ":2: REVERB_SERVER_PORT = x: must be from 0 to 65535",
		   .env_file = "A=1\nREVERB_SERVER_PORT=x\n");
	ck_refused(-EINVAL, "SCOPEWIRE_SERVER_PROT: there is no such option; did you mean port?",
		   .env = { "SCOPEWIRE_SERVER_PROT=1" });
	ck_refused(-EINVAL, "REVERB_APP_PING_INTERVAL = 0: must be from 1 to 86400 seconds",
		   .file = APP, .env = { "REVERB_APP_PING_INTERVAL=0" });
	ck_refused(-EINVAL, ":2: A: the quote is never closed", .env_file = "\nA=\"x\ny\n");
	/* not ours to judge */
	ck_load(.env = { "SCOPEWIRE_STATE=/x", "SCOPEWIRE_=", "=x", "novalue" });
}
END_TEST

START_TEST(secrets_stay_out_of_messages)
{
	static const struct sources cases[] = {
		{ .file = "[app a]\nkey = hunter2:\nsecret = hunter2\n" },
		{ .file = "[app a]\nsecret = hunter2\n" },
		{ .file = "[app a]\nsecrte = hunter2\n" },
		{ .file = "[database]\npasword = hunter2\n" },
		{ .file = "[sever]\npassword = hunter2\n" },
		{ .env = { "REVERB_APP_SECRET=hunter2" } },
		{ .env = { "SCOPEWIRE_DATABASE_PASWORD=hunter2" } },
		{ .env_file = "DB_PASSWORD='hunter2\n" },
		{ .flags = { "--database-pasword=hunter2" } },
		{ .flags = { "--database-password=hunter2", "--port=x" } },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		ck_assert_int_lt(load(&cases[i]), 0);
		ck_assert_msg(!strstr(why, "hunter2"), "%s", why);
	}
}
END_TEST

/* Collects "name=value;" of an .env text. */
static int on_setting(void *ctx, const struct setting *s)
{
	strbuf_addf(ctx, "%s=%s;", s->name, s->value);
	return 0;
}

static int read_env(struct str_view text, char **environ_, struct strbuf *got, char **sentence)
{
	return env_file_read(&(struct env_file){ text, environ_, ".env" }, on_setting, got,
			     sentence);
}

START_TEST(env_file_grammar)
{
	static const char *const cases[][2] = {
		{ "", "" },
		{ "A=1", "A=1;" },
		{ "A=1\nB=2\r\nC=3\rD=4", "A=1;B=2;C=3;D=4;" },
		{ "  A = 1  \n", "A=1;" },
		{ "export A=1\nexport\tB=2\nexportC=3\n", "A=1;B=2;exportC=3;" },
		{ "export=1\n", "export=1;" },
		{ "# A=1\n\n#\n  # x\nB=2", "B=2;" },
		{ "A=1 # one\nB=1#2\nC=#3\nD= # x\nE=\"x\"#y\n", "A=1;B=1;C=;D=;E=x;" },
		{ "A='x # \\n \"${B}\"' # c\n", "A=x # \\n \"${B}\";" },
		{ "A=\"a\\n\\t\\\"\\\\\\$\\f\\v\"\n", "A=a\n\t\"\\$\f\v;" },
		{ "A=\"two\nlines\"\nB=1\n", "A=two\nlines;B=1;" },
		{ "A=\"two\r\nlines\"\n", "A=two\nlines;" },
		{ "A=1\nB=${A}2\nC=\"-${A}-\"\nD='${A}'\nE=$A\n", "A=1;B=12;C=-1-;D=${A};E=$A;" },
		{ "A=B\nAB=2\nC=${A${A}}\n", "A=B;AB=2;C=2;" },
		{ "B=${A}\nC=${}\nD=${A\nE=${", "B=${A};C=${};D=${A;E=${;" },
		{ "A=1\nA=2\nB=${A}\n", "A=2;B=2;" },
		{ "A=1\nB=2\nA\n", "B=2;" },
		{ "B=${HOME_OF_TEST}\n", "B=/home;" },
		{ "\"A\"=1\n'B'=2\nexport \"C\"=3\n", "A=1;B=2;C=3;" },
		{ "A=b\"c\nB=c'd\\e\n", "A=b\"c;B=c'd\\e;" },
		{ "\xef\xbb\xbf"
		  "A=1",
		  "A=1;" },
		{ "A=base64:x==\n", "A=base64:x==;" },
	};
	static char home[] = "HOME_OF_TEST=/home";
	char *environment[] = { home, NULL }, *text = NULL;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct strbuf got;

		strbuf_init(&got, 0);
		ck_assert_int_eq(read_env(sv(cases[i][0]), environment, &got, &text), 0);
		ck_assert_str_eq(got.ptr, cases[i][1]);
		strbuf_release(&got);
	}
}
END_TEST

/* What phpdotenv refuses; the sentences have no part of a value. */
START_TEST(what_phpdotenv_refuses_is_refused)
{
	static const char *const cases[][2] = {
		{ "A=b c", ".env:1: A: text follows the value's end; put a value with blanks in "
			   "quotes" },
		{ "A='b'c", ".env:1: A: text follows the value's end; put a value with blanks in "
			    "quotes" },
		{ "A=\"b\\q\"", ".env:1: A: an escape is not known; in \"...\" write \\\\ for a "
				"backslash" },
		{ "\nA='b", ".env:2: A: the quote is never closed" },
		{ "A=\"b\nc\n", ".env:1: A: the quote is never closed" },
		{ "no assignment", ".env:1: is neither NAME=value nor a comment" },
		{ "=x", ".env:1: what is before the = is not a name" },
		{ "A-B=x\n\n C=1 2\n", ".env:1: what is before the = is not a name\n"
				       ".env:3: C: text follows the value's end; put a value with "
				       "blanks in quotes" },
		{ "A=\xff", ".env: is not UTF-8; Laravel would replace bytes by question marks" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char *sentence = NULL;

		ck_assert_int_eq(read_env(sv(cases[i][0]), NULL, NULL, &sentence), -EINVAL);
		ck_assert_str_eq(sentence, cases[i][1]);
		free(sentence);
	}
}
END_TEST

START_TEST(values_are_converted_as_by_laravel)
{
	static const struct {
		const char *value;
		enum env_kind kind;
		const char *text;
	} cases[] = {
		{ "", ENV_EMPTY, "" },
		{ "(Empty)", ENV_EMPTY, NULL },
		{ "EMPTY", ENV_EMPTY, NULL },
		{ "Null", ENV_NULL, NULL },
		{ "(null)", ENV_NULL, NULL },
		{ "TRUE", ENV_TRUE, NULL },
		{ "(true)", ENV_TRUE, NULL },
		{ "false", ENV_FALSE, NULL },
		{ "(FALSE)", ENV_FALSE, NULL },
		{ "\"abc\"", ENV_TEXT, "abc" },
		{ "'abc'", ENV_TEXT, "abc" },
		{ "''abc''", ENV_TEXT, "'abc'" },
		{ "\"abc'", ENV_TEXT, "\"abc'" },
		{ "\"", ENV_TEXT, "\"" },
		{ "'null'", ENV_TEXT, "null" },
		{ "\"\"", ENV_EMPTY, "" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct str_view text;

		ck_assert_int_eq(env_convert(sv(cases[i].value), &text), cases[i].kind);
		if (cases[i].text)
			ck_assert_msg(sv_eq_c(text, cases[i].text), "%s", cases[i].value);
	}
}
END_TEST

#define REVERB "REVERB_APP_ID=1\nREVERB_APP_KEY=k\n"

START_TEST(an_unquoted_value_ends_at_a_hash)
{
	ck_load(.env_file = REVERB "REVERB_APP_SECRET=ab#cd\n");
	ck_assert_str_eq(app_of("1")->secret_text, "ab");
	ck_refused(-EINVAL,
		   ":3: REVERB_APP_SECRET: is empty, and [app 1] needs its secret; # begins a "
		   "comment in a .env file unless the value is in quotes",
		   .env_file = REVERB "REVERB_APP_SECRET=#cd\n");
	ck_load(.env_file = REVERB "REVERB_APP_SECRET='ab#cd'\n");
	ck_assert_str_eq(app_of("1")->secret_text, "ab#cd");
	/* an empty variable does not replace what the file has */
	ck_load(.file = APP, .env = { "REVERB_APP_SECRET=" });
	ck_assert_str_eq(app_of("a")->secret_text, "s");
}
END_TEST

START_TEST(quotes_of_environment_variables_are_removed)
{
	ck_load(.env = { "REVERB_APP_ID='7'", "REVERB_APP_KEY=\"abc\"", "REVERB_APP_SECRET=''s''",
			 "DB_PASSWORD=(empty)", "REVERB_SERVER_PORT=\"81\"" });
	ck_assert_str_eq(app_of("7")->key, "abc");
	ck_assert_str_eq(app_of("7")->secret_text, "'s'");
	ck_assert_str_eq(conf->database.password, "");
	ck_assert_uint_eq(conf->server.port, 81);
	ck_refused(-EINVAL,
		   "DB_PASSWORD: Laravel reads this word as a boolean and not as text; choose "
		   "another value",
		   .env = { "DB_PASSWORD=TRUE" });
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

START_TEST(limits_of_reverb_hold_for_its_applications)
{
	ck_load(.env_file = REVERB "REVERB_APP_SECRET=s\n");
	ck_assert_uint_eq(app_of("1")->limits.max_request_bytes, 10000);
	ck_assert_uint_eq(app_of("1")->limits.max_event_payload_bytes, 10000);
	ck_assert_uint_eq(app_of("1")->limits.max_message_bytes, 10000);
	ck_assert_uint_eq(app_of("1")->limits.max_presence_members, 0);
	ck_assert_uint_eq(app_of("1")->limits.max_batch_events, 0);
	ck_assert_uint_eq(app_of("1")->limits.max_client_events_per_second, 0);
	ck_assert_uint_eq(app_of("1")->activity_timeout_s, 30);
	ck_load(.env_file = REVERB "REVERB_APP_SECRET=s\nREVERB_MAX_REQUEST_SIZE=500000\n"
				   "REVERB_APP_MAX_MESSAGE_SIZE=20000\n");
	ck_assert_uint_eq(app_of("1")->limits.max_request_bytes, 500000);
	ck_assert_uint_eq(app_of("1")->limits.max_event_payload_bytes, 500000);
	ck_assert_uint_eq(app_of("1")->limits.max_message_bytes, 20000);
	ck_assert_ptr_null(conf->notes);
	/* a setting of ours is stronger; a section of the file has our limits */
	ck_load(.env = { "REVERB_APP_ID=1", "REVERB_APP_KEY=k", "REVERB_APP_SECRET=s",
			 "SCOPEWIRE_APP_MAX_PRESENCE_MEMBERS=5",
			 "SCOPEWIRE_APP_MAX_EVENT_PAYLOAD_BYTES=77" });
	ck_assert_uint_eq(app_of("1")->limits.max_presence_members, 5);
	ck_assert_uint_eq(app_of("1")->limits.max_event_payload_bytes, 77);
	ck_load(.file = "[app 1]\n", .env_file = REVERB "REVERB_APP_SECRET=s\n");
	ck_load(.file = "[app 1]\nkey = k\nsecret = s\n", .env = { "REVERB_APP_ID=1" });
	ck_assert_uint_eq(app_of("1")->limits.max_presence_members, 100);
	ck_refused(-EINVAL,
		   "REVERB_MAX_REQUEST_SIZE = x: must be from 0 to 4294967295 bytes; 0 or "
		   "-1 for no limit",
		   .env_file = REVERB "REVERB_APP_SECRET=s\nREVERB_MAX_REQUEST_SIZE=x\n");
}
END_TEST

START_TEST(limits_and_variables_of_soketi_hold_for_its_application)
{
	ck_load(.env_file = "SOKETI_DEFAULT_APP_ID=1\nSOKETI_DEFAULT_APP_KEY=k\n"
			    "SOKETI_DEFAULT_APP_SECRET=s\n");
	ck_assert_uint_eq(app_of("1")->limits.max_event_payload_bytes, 102400);
	ck_assert_uint_eq(app_of("1")->limits.max_presence_member_bytes, 2048);
	ck_assert_uint_eq(app_of("1")->limits.max_presence_members, 100);
	ck_load(.env_file = "SOKETI_DEFAULT_APP_ID=1\nSOKETI_DEFAULT_APP_KEY=k\n"
			    "SOKETI_DEFAULT_APP_SECRET=s\n"
			    "SOKETI_DEFAULT_APP_ENABLE_CLIENT_MESSAGES=true\n"
			    "SOKETI_DEFAULT_APP_USER_AUTHENTICATION=true\n"
			    "SOKETI_DEFAULT_APP_MAX_CONNS=-1\n"
			    "SOKETI_EVENT_MAX_SIZE_IN_KB=50\nSOKETI_PRESENCE_MAX_MEMBERS=7\n"
			    "SOKETI_CHANNEL_LIMITS_MAX_NAME_LENGTH=90\nSOKETI_HOST=127.0.0.1\n"
			    "SOKETI_ADAPTER_DRIVER=redis\nREVERB_SCALING_ENABLED=true\n");
	ck_assert_int_eq(app_of("1")->client_events, CLIENT_EVENTS_MEMBERS);
	ck_assert(app_of("1")->user_authentication);
	ck_assert_uint_eq(app_of("1")->limits.max_event_payload_bytes, 51200);
	ck_assert_uint_eq(app_of("1")->limits.max_presence_members, 7);
	ck_assert_uint_eq(app_of("1")->limits.max_channel_name_bytes, 90);
	ck_assert_str_eq(conf->server.host, "127.0.0.1");
	ck_assert_ptr_nonnull(strstr(conf->notes[0], "these variables have no effect here: "
						     "SOKETI_ADAPTER_DRIVER, "
						     "REVERB_SCALING_ENABLED"));
	ck_assert_ptr_null(conf->notes[1]);
	ck_load(.env = { "PUSHER_APP_KEY=k" });
	ck_assert_ptr_nonnull(strstr(conf->notes[0], "PUSHER_APP_* variables are not read"));
}
END_TEST

START_TEST(limits_that_contradict_each_other_are_warned_about)
{
	ck_load(.file = APP "max_event_payload_bytes = 2M\n");
	ck_assert_str_eq(conf->notes[0], "[app a]: max_event_payload_bytes is 2097152, but "
					 "max_request_bytes is 1048576 and is reached first");
}
END_TEST

START_TEST(env_file_expansion_is_bounded)
{
	struct strbuf text, got;
	char *sentence = NULL;

	strbuf_init(&text, 0);
	strbuf_init(&got, 0);
	strbuf_add_str(&text, "A=0123456789\n");
	for (int i = 0; i < 60; i++)
		strbuf_add_str(&text, "A=${A}${A}\n");
	ck_assert_int_eq(read_env(strbuf_view(&text), NULL, &got, &sentence), -EINVAL);
	ck_assert(sv_starts_with(sv(sentence), SV(".env:14: A: the value is too long\n")));
	free(sentence);
	ck_assert_int_eq(read_env(SV("A\0=1"), NULL, &got, &sentence), -EINVAL);
	free(sentence);
	strbuf_release(&text);
	strbuf_release(&got);
}
END_TEST

START_TEST(conninfo_quotes)
{
	char *text;

	ck_load(.file = "[database]\nhost = /run/pg dir\nuser = o'neil\npassword = a\\b' c\n"
			"sslmode = require\n");
	text = conf_conninfo(conf);
	ck_assert_str_eq(text, "host='/run/pg dir' port=5432 dbname='scopewire' user='o\\'neil' "
			       "password='a\\\\b\\' c' sslmode='require' connect_timeout=5");
	free(text);
	ck_load(.file = "[database]\nhost = h\ndsn = dbname=x\n");
	text = conf_conninfo(conf);
	ck_assert_str_eq(text, "dbname=x");
	free(text);
}
END_TEST

static struct app *build(const struct app_option *options, size_t n)
{
	struct app *a;
	char *text = NULL;

	ck_assert_msg(app_build("a", options, n, &a, &text) == 0, "%s", text);
	return a;
}

START_TEST(of_several_headers_members_of_a_webhook_the_last_one_counts)
{
	struct webhook_list l = { 0 };
	char *complaint = NULL;

	ck_assert_int_eq(webhook_list_parse(SV("[{\"url\":\"https://a.example/\","
					       "\"headers\":{\"A\":\"1\",\"B\":\"2\"},"
					       "\"headers\":{\"C\":\"3\"}}]"),
					    &l, &complaint),
			 0);
	ck_assert_str_eq(l.endpoints[0].headers[0], "C: 3");
	ck_assert_ptr_null(l.endpoints[0].headers[1]);
	webhook_list_release(&l); /* all of them, which LeakSanitizer checks */
}
END_TEST

START_TEST(texts_of_webhooks_may_have_escapes)
{
	static const char *const refused[] = {
		"[{\"url\":\"https://a.example/\\u0000\"}]",
		"[{\"url\":\"https://a.example/\\ud83d\"}]",
		"[{\"url\":\"https://a.example/\",\"headers\":{\"X-A\":\"b\\r\\nX-C: d\"}}]",
		"[{\"url\":\"https:\\/\\/user@a.example\\/\"}]",
	};
	struct webhook_list l = { 0 };
	char *complaint = NULL;

	ck_assert_int_eq(webhook_list_parse(SV("[{\"url\":\"https:\\/\\/a.example\\/in?t=\\u00e4\","
					       "\"event_types\":[\"channel_\\u006fccupied\"],"
					       "\"headers\":{\"X-A\":\"\\\"b\\\"\"}}]"),
					    &l, &complaint),
			 0);
	ck_assert_uint_eq(l.n, 1);
	ck_assert_str_eq(l.endpoints[0].url, "https://a.example/in?t=\xc3\xa4");
	ck_assert_str_eq(l.endpoints[0].name, "https://a.example/in");
	ck_assert_str_eq(l.endpoints[0].headers[0], "X-A: \"b\"");
	ck_assert_uint_eq(l.endpoints[0].events, 1U << WEBHOOK_CHANNEL_OCCUPIED);
	for (size_t i = 0; i < ARRAY_SIZE(refused); i++) {
		ck_assert_int_eq(webhook_list_parse(sv(refused[i]), &l, &complaint), -EINVAL);
		ck_assert_ptr_null(strstr(complaint, "example"));
		free(complaint);
	}
	ck_assert_uint_eq(l.n, 1);
	webhook_list_release(&l);
}
END_TEST

START_TEST(app_defaults)
{
	const struct app_option options[] = { { "key", "k" }, { "secret", "s" } };
	struct app *a = build(options, ARRAY_SIZE(options));

	ck_assert_str_eq(a->id, "a");
	ck_assert(a->enabled && !a->tls_only && !a->user_authentication && !a->subscription_count);
	ck_assert_int_eq(a->client_events, CLIENT_EVENTS_NONE);
	ck_assert_int_eq(a->durability, DURABILITY_COMMIT);
	ck_assert_uint_eq(a->activity_timeout_s, 120);
	ck_assert_uint_eq(a->ping_interval_s, 60);
	ck_assert_uint_eq(a->pong_timeout_s, 30);
	ck_assert_uint_eq(a->member_removed_delay_ms, 3000);
	ck_assert_uint_eq(a->cache_ttl_s, 1800);
	ck_assert_uint_eq(a->limits.max_message_bytes, 65536);
	ck_assert_uint_eq(a->limits.max_event_payload_bytes, 10240);
	ck_assert_uint_eq(a->limits.max_client_events_per_second, 10);
	ck_assert_uint_eq(a->limits.max_channel_name_bytes, 200);
	ck_assert_uint_eq(a->limits.max_event_name_bytes, 200);
	ck_assert_uint_eq(a->limits.max_event_channels, 100);
	ck_assert_uint_eq(a->limits.max_batch_events, 10);
	ck_assert_uint_eq(a->limits.max_channels_per_connection, 1000);
	ck_assert_uint_eq(a->limits.max_presence_members, 100);
	ck_assert_uint_eq(a->limits.max_presence_member_bytes, 1024);
	ck_assert_uint_eq(a->limits.max_user_id_bytes, 128);
	ck_assert_uint_eq(a->limits.max_watchlist, 100);
	ck_assert_uint_eq(a->limits.max_connections, 0);
	ck_assert_uint_eq(a->limits.message_rate_max_attempts, 0);
	ck_assert(app_allows_origin(a, SV("https://anything.example")));
	ck_assert_ptr_nonnull(a->secret);
	app_unref(a);
	app_unref(NULL);
}
END_TEST

START_TEST(app_names_of_soketi_and_reverb)
{
	const struct app_option options[] = {
		{ "key", "k" },
		{ "secret", "s" },
		{ "enable_client_messages", "1" },
		{ "enable_user_authentication", "true" },
		{ "max_backend_events_per_sec", "11" },
		{ "max_client_events_per_sec", "-1" },
		{ "max_read_req_per_sec", "12" },
		{ "max_presence_members_per_channel", "13" },
		{ "max_presence_member_size_in_kb", "2" },
		{ "max_channel_name_length", "14" },
		{ "max_event_channels_at_once", "15" },
		{ "max_event_name_length", "16" },
		{ "max_event_payload_in_kb", "100" },
		{ "max_event_batch_size", "unlimited" },
		{ "max_message_size", "17" },
		{ "max_request_size", "18" },
		{ "rate_limiting_enabled", "yes" },
	};
	struct app *a = build(options, ARRAY_SIZE(options));

	ck_assert_int_eq(a->client_events, CLIENT_EVENTS_MEMBERS);
	ck_assert(a->user_authentication);
	ck_assert_uint_eq(a->limits.max_backend_events_per_second, 11);
	ck_assert_uint_eq(a->limits.max_client_events_per_second, 0);
	ck_assert_uint_eq(a->limits.max_read_requests_per_second, 12);
	ck_assert_uint_eq(a->limits.max_presence_members, 13);
	ck_assert_uint_eq(a->limits.max_presence_member_bytes, 2048);
	ck_assert_uint_eq(a->limits.max_channel_name_bytes, 14);
	ck_assert_uint_eq(a->limits.max_event_channels, 15);
	ck_assert_uint_eq(a->limits.max_event_name_bytes, 16);
	ck_assert_uint_eq(a->limits.max_event_payload_bytes, 102400);
	ck_assert_uint_eq(a->limits.max_batch_events, 0);
	ck_assert_uint_eq(a->limits.max_message_bytes, 17);
	ck_assert_uint_eq(a->limits.max_request_bytes, 18);
	ck_assert_uint_eq(a->limits.message_rate_max_attempts, 60);
	app_unref(a);
}
END_TEST

START_TEST(app_build_says_what_is_wrong)
{
	const struct app_option options[] = { { "key", "k" }, { "secret", "s" }, { "x", "y" } };
	struct app *a = NULL;
	char *text = NULL;

	ck_assert_int_eq(app_build("a", options, 3, &a, &text), -EINVAL);
	ck_assert_str_eq(text, "[app a] x: there is no such option");
	free(text);
	ck_assert_int_eq(app_build("", options, 2, &a, &text), -EINVAL);
	free(text);
	ck_assert_int_eq(app_build("a", options, 1, &a, &text), -EINVAL);
	ck_assert_str_eq(text, "[app a]: secret is missing");
	free(text);
	ck_assert_ptr_null(a);
}
END_TEST

static struct app *small_app(const char *id, const char *key)
{
	const struct app_option options[] = { { "key", key }, { "secret", "s" } };
	struct app *a;
	char *text = NULL;

	ck_assert_int_eq(app_build(id, options, ARRAY_SIZE(options), &a, &text), 0);
	return a;
}

START_TEST(sets)
{
	struct app *apps[] = { small_app("a", "ka"), small_app("b", "kb"), small_app("a", "kc") };
	struct app *same[] = { small_app("a", "k"), small_app("b", "k") };
	struct app_set *s = NULL;
	char *text = NULL;

	ck_assert_int_eq(app_set_build(apps, ARRAY_SIZE(apps), &s, &text), 0);
	ck_assert_uint_eq(app_set_count(s), 2);
	ck_assert_ptr_eq(app_set_at(s, 0), apps[2]);
	ck_assert_ptr_eq(app_set_by_id(s, SV("a")), apps[2]);
	ck_assert_ptr_eq(app_set_by_key(s, SV("kc")), apps[2]);
	ck_assert_ptr_eq(app_set_by_key(s, SV("kb")), apps[1]);
	ck_assert_ptr_null(app_set_by_key(s, SV("ka")));
	ck_assert_ptr_null(app_set_by_key(NULL, SV("ka")));
	ck_assert_uint_eq(app_set_count(NULL), 0);
	app_set_unref(s);
	ck_assert_int_eq(app_set_build(same, ARRAY_SIZE(same), &s, &text), -EEXIST);
	ck_assert_str_eq(text, "[app a] and [app b] have the same key");
	free(text);
}
END_TEST

START_TEST(a_runtime_outlives_its_snapshots)
{
	struct app *first = small_app("same", "k"), *again, *other;
	struct app_runtime *r = first->runtime;

	app_unref(first);
	again = small_app("same", "k2");
	other = small_app("other", "k3");
	ck_assert_ptr_eq(again->runtime, r);
	ck_assert_ptr_ne(other->runtime, r);
	ck_assert_uint_ne(other->runtime->number, r->number);
	app_unref(again);
	app_unref(other);
}
END_TEST

static void *take_current(void *arg)
{
	for (int i = 0; i < 2000; i++) {
		struct app_set *s = apps_current();

		if (s && !app_set_by_id(s, SV("a")))
			*(bool *)arg = false;
		app_set_unref(s);
	}
	return NULL;
}

START_TEST(the_set_in_force_changes_under_readers)
{
	bool ok = true;
	pthread_t reader;

	ck_assert_ptr_null(apps_current());
	ck_assert_int_eq(pthread_create(&reader, NULL, take_current, &ok), 0);
	for (int i = 0; i < 200; i++) {
		struct app *a = small_app("a", "k");
		struct app_set *s;
		char *text;

		ck_assert_int_eq(app_set_build(&a, 1, &s, &text), 0);
		apps_install(s);
	}
	pthread_join(reader, NULL);
	apps_install(NULL);
	ck_assert(ok);
	ck_assert_ptr_null(apps_current());
}
END_TEST

START_TEST(origins)
{
	static const struct {
		const char *allowed, *origin;
		bool ok;
	} cases[] = {
		{ "*", "https://a.example", true },
		{ "a.example", "", true },
		{ "", "https://a.example", false },
		{ "a.example", "https://a.example", true },
		{ "a.example", "http://A.Example:8080", true },
		{ "A.EXAMPLE", "http://a.example", true },
		{ "a.example", "https://b.a.example", false },
		{ "a.example", "https://a.example.evil.test", false },
		{ "*.a.example", "https://b.a.example", true },
		{ "*.a.example", "https://a.example", false },
		{ "b.test, a.example", "https://a.example", true },
		{ "https://a.example", "https://a.example", true },
		{ "https://a.example", "http://a.example", false },
		{ "https://a.example", "https://a.example:8443", false },
		{ "https://a.example:*", "https://a.example:8443", true },
		{ "https://*.a.example", "https://x.a.example", true },
		{ "a.example:8443", "https://a.example:8443", true },
		{ "a.example:8443", "https://a.example", false },
		{ "a.example:443", "https://a.example", true },
		{ "a.example:80", "http://a.example", true },
		{ "a.example:80", "https://a.example", false },
		{ "[::1]", "http://[::1]:3000", true },
		{ "[::1]:3000", "http://[::1]:3000", true },
		{ "[::1]:80", "http://[::1]", true },
		{ "a.example", "null", false },
		{ "null", "null", true },
		{ "a.example", "://", false },
		{ "localhost", "http://localhost:5173", true },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const struct app_option options[] = { { "key", "k" },
						      { "secret", "s" },
						      { "allowed_origins", cases[i].allowed } };
		struct app *a = build(options, ARRAY_SIZE(options));

		ck_assert_msg(app_allows_origin(a, sv(cases[i].origin)) == cases[i].ok, "%s in %s",
			      cases[i].origin, cases[i].allowed);
		app_unref(a);
	}
}
END_TEST

START_TEST(a_huge_origin_matches_nothing)
{
	const struct app_option options[] = { { "key", "k" },
					      { "secret", "s" },
					      { "allowed_origins", "a.*" } };
	struct app *a = build(options, ARRAY_SIZE(options));
	char origin[600];

	memset(origin, 'a', sizeof(origin));
	origin[1] = '.';
	ck_assert(app_allows_origin(a, sv_n(origin, 512)));
	ck_assert(!app_allows_origin(a, sv_n(origin, 513)));
	app_unref(a);
}
END_TEST

START_TEST(durability_of_a_channel)
{
	const struct app_option options[] = {
		{ "key", "k" },
		{ "secret", "s" },
		{ "durability", "async" },
		{ "channel_durability", "cursor-*:none, private-log-*:commit,private-*:none" },
	};
	struct app *a = build(options, ARRAY_SIZE(options));

	ck_assert_int_eq(app_durability(a, SV("portal")), DURABILITY_ASYNC);
	ck_assert_int_eq(app_durability(a, SV("cursor-1")), DURABILITY_NONE);
	ck_assert_int_eq(app_durability(a, SV("private-log-1")), DURABILITY_COMMIT);
	ck_assert_int_eq(app_durability(a, SV("private-x")), DURABILITY_NONE);
	app_unref(a);
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

START_TEST(edges_of_every_number)
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

/* With every comment sign before an option taken away the example still says the defaults. */
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

static void add_loading(Suite *s)
{
	TCase *t = tcase_create("loading");

	tcase_add_checked_fixture(t, NULL, teardown);
	tcase_add_test(t, defaults);
	tcase_add_test(t, what_is_set_is_printed_with_its_source);
	tcase_add_test(t, later_sources_win);
	tcase_add_test(t, modes_of_the_command_line);
	tcase_add_test(t, usage_errors);
	tcase_add_test(t, files_that_cannot_be_read);
	tcase_add_test(t, errors_in_the_file);
	tcase_add_test(t, long_lines_are_refused_not_cut);
	tcase_add_test(t, layout_of_the_file);
	tcase_add_test(t, paths_are_made_even);
	tcase_add_test(t, numbers_take_suffixes_where_they_are_bytes);
	tcase_add_test(t, sizes_and_ages_of_the_log_take_suffixes);
	tcase_add_test(t, an_env_file_of_laravel);
	tcase_add_test(t, another_database_driver_is_left_aside);
	tcase_add_test(t, database_urls);
	tcase_add_test(t, unset_values_of_env_files);
	tcase_add_test(t, the_environment_names_an_app);
	tcase_add_test(t, the_environment_completes_an_app);
	tcase_add_test(t, errors_in_the_environment);
	tcase_add_test(t, secrets_stay_out_of_messages);
	tcase_add_test(t, env_file_grammar);
	tcase_add_test(t, what_phpdotenv_refuses_is_refused);
	tcase_add_test(t, values_are_converted_as_by_laravel);
	tcase_add_test(t, an_unquoted_value_ends_at_a_hash);
	tcase_add_test(t, quotes_of_environment_variables_are_removed);
	tcase_add_test(t, all_problems_are_reported_at_once);
	tcase_add_test(t, comments_and_quotes_of_other_formats_are_refused);
	tcase_add_test(t, hosts_are_addresses);
	tcase_add_test(t, a_configuration_that_others_can_read_is_warned_about);
	tcase_add_test(t, limits_of_reverb_hold_for_its_applications);
	tcase_add_test(t, limits_and_variables_of_soketi_hold_for_its_application);
	tcase_add_test(t, limits_that_contradict_each_other_are_warned_about);
	tcase_add_test(t, a_dsn_is_checked_without_its_password);
	tcase_add_test(t, env_file_expansion_is_bounded);
	tcase_add_test(t, conninfo_quotes);
	suite_add_tcase(s, t);
}

static void add_apps(Suite *s)
{
	TCase *t = tcase_create("apps");

	tcase_add_test(t, app_defaults);
	tcase_add_test(t, app_names_of_soketi_and_reverb);
	tcase_add_test(t, of_several_headers_members_of_a_webhook_the_last_one_counts);
	tcase_add_test(t, texts_of_webhooks_may_have_escapes);
	tcase_add_test(t, app_build_says_what_is_wrong);
	tcase_add_test(t, sets);
	tcase_add_test(t, a_runtime_outlives_its_snapshots);
	tcase_add_test(t, the_set_in_force_changes_under_readers);
	tcase_add_test(t, origins);
	tcase_add_test(t, a_huge_origin_matches_nothing);
	tcase_add_test(t, durability_of_a_channel);
	suite_add_tcase(s, t);
}

static void add_texts(Suite *s)
{
	TCase *t = tcase_create("texts");

	tcase_add_checked_fixture(t, NULL, teardown);
	tcase_add_test(t, every_option_is_documented);
	tcase_add_test(t, edges_of_every_number);
	tcase_add_test(t, the_example_is_a_configuration);
	tcase_add_test(t, help_tells_every_flag);
	suite_add_tcase(s, t);
}

int main(void)
{
	Suite *s = suite_create("conf");

	add_loading(s);
	add_apps(s);
	add_texts(s);
	return unit_run(s);
}

/* SPDX-License-Identifier: MIT */
/* The files of variables (.env), the environment, and the variables of other servers. */
#include <errno.h>
#include "conf_case.h"
#include "conf/conninfo.h"
#include "conf/dotenv.h"

START_TEST(an_env_file_of_laravel_configures_database_and_app)
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

START_TEST(a_database_url_is_split_and_its_password_kept_out_of_notes)
{
	static const char *const bad[] = {
		"DB_URL=pgsql://u:hun/ter2@h/d",   "DB_URL='pgsql://u:hun#ter2@h/d'",
		"DB_URL=pgsql://u:hunter2?x@h/d",  "DB_URL=pgsql://u:hunter2@h:x/d",
		"DB_URL=pgsql://u:hunter2@/d",	   "DB_URL=hunter2",
		"DB_URL=pgsql://u:hun%00ter2@h/d",
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
	ck_load(.env = { "DB_URL=pgsql://u@h/d?=x" });
	ck_assert_ptr_null(conf->notes);
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

START_TEST(empty_and_null_values_of_env_files_are_unset)
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

START_TEST(an_error_in_the_environment_names_the_variable)
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
	ck_load(.env = { "=x", "novalue" });
	ck_assert_ptr_null(conf->notes);
}
END_TEST

START_TEST(a_setting_of_no_section_is_named_with_the_nearest)
{
	ck_load(.env_file = "A=1\nSCOPEWIRE_SEVER_PORT=hunter2\n",
		.env = { "SCOPEWIRE_TOKEN_TTTL=9", "SCOPEWIRE_WHAT=x",
			 "SCOPEWIRE_=", "SCOPEWIRE_APPS_AUTH_URL=x" });
	ck_assert_ptr_nonnull(strstr(conf->notes[0], ":2: SCOPEWIRE_SEVER_PORT: there is no such "
						     "setting, it has no effect; did you mean "
						     "SCOPEWIRE_SERVER_PORT?"));
	ck_assert_ptr_null(strstr(conf->notes[0], "hunter2"));
	ck_assert_str_eq(conf->notes[1], "SCOPEWIRE_TOKEN_TTTL: there is no such setting, it has "
					 "no effect; did you mean SCOPEWIRE_TOKEN_TTL?");
	ck_assert_str_eq(conf->notes[2],
			 "SCOPEWIRE_WHAT: there is no such setting, it has no effect");
	ck_assert_str_eq(conf->notes[3], "SCOPEWIRE_: there is no such setting, it has no effect");
	ck_assert_ptr_nonnull(strstr(conf->notes[4], "did you mean SCOPEWIRE_APP_AUTH_URL?"));
	ck_assert_ptr_null(conf->notes[5]);
}
END_TEST

START_TEST(variables_of_the_package_and_of_tests_are_no_settings)
{
	ck_load(.env_file = "SCOPEWIRE_TOKEN_SECRET=x\nSCOPEWIRE_AUTH=signed\n",
		.env = { "SCOPEWIRE_TEST_TLS=1", "SCOPEWIRE_SYNC_SEED=7" });
	ck_assert_ptr_null(conf->notes);
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

START_TEST(env_files_are_parsed_as_by_phpdotenv)
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
			    "SOKETI_ADAPTER_DRIVER=redis\nREVERB_SCALING_SERVER=x\n");
	ck_assert_int_eq(app_of("1")->client_events, CLIENT_EVENTS_MEMBERS);
	ck_assert(app_of("1")->user_authentication);
	ck_assert_uint_eq(app_of("1")->limits.max_event_payload_bytes, 51200);
	ck_assert_uint_eq(app_of("1")->limits.max_presence_members, 7);
	ck_assert_uint_eq(app_of("1")->limits.max_channel_name_bytes, 90);
	ck_assert_str_eq(conf->server.host, "127.0.0.1");
	ck_assert_ptr_nonnull(strstr(conf->notes[0], "these variables have no effect here: "
						     "SOKETI_ADAPTER_DRIVER, "
						     "REVERB_SCALING_SERVER"));
	ck_assert_ptr_null(conf->notes[1]);
	ck_load(.env = { "PUSHER_APP_KEY=k" });
	ck_assert_ptr_nonnull(strstr(conf->notes[0], "PUSHER_APP_* variables are not read"));
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

START_TEST(laravels_variables_of_redis_count_for_the_driver_redis)
{
	const struct conf_cluster *c;

	ck_load(.env_file = "REVERB_SCALING_ENABLED=true\nREVERB_SCALING_CHANNEL=Reverb-1\n"
			    "REDIS_HOST=cache\nREDIS_PORT=6380\nREDIS_USERNAME=null\n"
			    "REDIS_PASSWORD=\"hunter 2\"\nREDIS_DB=3\nREDIS_PREFIX=p_\n"
			    "REDIS_CLIENT=phpredis\n");
	c = &conf->cluster;
	ck_assert_int_eq(c->driver, CLUSTER_REDIS);
	ck_assert_str_eq(c->prefix, "Reverb-1");
	ck_assert_str_eq(c->redis_host, "cache");
	ck_assert_uint_eq(c->redis_port, 6380);
	ck_assert_str_eq(c->redis_username, "");
	ck_assert_str_eq(c->redis_password, "hunter 2");
	ck_assert_uint_eq(c->redis_db, 3);
	ck_assert(!c->redis_tls);
	ck_assert_ptr_null(conf->notes);
	/* what the URL has replaces the others, whatever the order */
	ck_load(.env_file = "REVERB_SCALING_ENABLED=1\n"
			    "REDIS_URL=rediss://us%40er:hun%2Fter2@[::1]:7000/5\n"
			    "REDIS_HOST=cache\nREDIS_PASSWORD=other\n");
	c = &conf->cluster;
	ck_assert_str_eq(c->redis_host, "::1");
	ck_assert_uint_eq(c->redis_port, 7000);
	ck_assert_str_eq(c->redis_username, "us@er");
	ck_assert_str_eq(c->redis_password, "hun/ter2");
	ck_assert_uint_eq(c->redis_db, 5);
	ck_assert(c->redis_tls);
	ck_load(.env_file = "REVERB_SCALING_ENABLED=true\nREDIS_HOST=tls://cache\n");
	ck_assert_str_eq(conf->cluster.redis_host, "cache");
	ck_assert(conf->cluster.redis_tls);
}
END_TEST

START_TEST(without_the_driver_redis_its_variables_do_no_harm)
{
	ck_load(.file = "[cluster]\ndriver = postgres\n",
		.env_file = "REVERB_SCALING_ENABLED=false\nREDIS_URL=hunter2\nREDIS_PORT=0\n");
	ck_assert_int_eq(conf->cluster.driver, CLUSTER_POSTGRES);
	ck_load(.env_file = "REVERB_SCALING_CHANNEL=any/thing\nREDIS_HOST=\n");
	ck_assert_int_eq(conf->cluster.driver, CLUSTER_LOCAL);
}
END_TEST

START_TEST(words_that_are_neither_true_nor_false_are_named)
{
	static const char *const words[] = { "on", "yes", "off", "2" };
	static const char *const silent[] = { "false", "(FALSE)", "0", "null", "", "(empty)" };

	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		char *text = textf("REVERB_SCALING_ENABLED=%s\n", words[i]);
		char *note = textf(":1: REVERB_SCALING_ENABLED = %s: has no effect; true sets "
				   "cluster.driver = redis, and false changes nothing",
				   words[i]);

		ck_load(.env_file = text);
		ck_assert_int_eq(conf->cluster.driver, CLUSTER_LOCAL);
		ck_assert_ptr_nonnull(conf->notes);
		ck_assert_msg(strstr(conf->notes[0], note), "%s", conf->notes[0]);
		ck_assert_ptr_null(conf->notes[1]);
		free(text);
		free(note);
	}
	for (size_t i = 0; i < ARRAY_SIZE(silent); i++) {
		char *text = textf("REVERB_SCALING_ENABLED=%s\n", silent[i]);

		ck_load(.env_file = text);
		ck_assert_int_eq(conf->cluster.driver, CLUSTER_LOCAL);
		ck_assert_ptr_null(conf->notes);
		free(text);
	}
}
END_TEST

START_TEST(words_that_laravel_reads_otherwise_are_named)
{
#define OF_REVERB "REVERB_APP_ID=1\nREVERB_APP_KEY=k\nREVERB_APP_SECRET=s\n"
	static const char *const same[] = { "on", "yes", "true", "false", "0", "1" };

	ck_load(.env_file = OF_REVERB "REVERB_APP_RATE_LIMITING_ENABLED=off\n"
				      "REVERB_APP_RATE_LIMITING_TERMINATE_ON_LIMIT=no\n");
	ck_assert(!app_of("1")->limits.message_rate);
	ck_assert_ptr_nonnull(strstr(
		conf->notes[0], ":4: REVERB_APP_RATE_LIMITING_ENABLED = off: counts as no, but "
				"Laravel reads this word as true; write false or true"));
	ck_assert_ptr_nonnull(strstr(conf->notes[1], ":5: REVERB_APP_RATE_LIMITING_TERMINATE_ON_"
						     "LIMIT = no: counts as no"));
	ck_assert_ptr_null(conf->notes[2]);
	for (size_t i = 0; i < ARRAY_SIZE(same); i++) {
		char *text = textf(OF_REVERB "REVERB_APP_RATE_LIMITING_ENABLED=%s\n", same[i]);

		ck_load(.env_file = text);
		ck_assert_ptr_null(conf->notes);
		free(text);
	}
	/* of soketi, which has its own rules */
	ck_load(.env_file = "SOKETI_WEBHOOKS_BATCHING=off\n");
	ck_assert_ptr_null(conf->notes);
#undef OF_REVERB
}
END_TEST

START_TEST(a_url_of_redis_that_cannot_be_used_is_not_repeated)
{
	static const char *const urls[] = { "hunter2",
					    "http://u:hunter2@h",
					    "redis://u:hun/ter2@h",
					    "redis://u:hunter2@h:x",
					    "redis://u:hunter2@",
					    "redis://u:hun%00ter2@h" };

	for (size_t i = 0; i < ARRAY_SIZE(urls); i++) {
		char *text = textf("REVERB_SCALING_ENABLED=true\nREDIS_URL='%s'\n", urls[i]);

		ck_assert_int_eq(load(&(struct sources){ .env_file = text }), -EINVAL);
		ck_assert_msg(strstr(why, ":2: REDIS_URL: ") && !strstr(why, "hun"), "%s", why);
		free(text);
	}
}
END_TEST

START_TEST(values_of_conninfo_are_quoted)
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

static void add_variables(Suite *s)
{
	TCase *t = tcase_create("variables");

	tcase_add_checked_fixture(t, NULL, teardown);
	tcase_add_test(t, an_env_file_of_laravel_configures_database_and_app);
	tcase_add_test(t, another_database_driver_is_left_aside);
	tcase_add_test(t, a_database_url_is_split_and_its_password_kept_out_of_notes);
	tcase_add_test(t, a_dsn_is_checked_without_its_password);
	tcase_add_test(t, empty_and_null_values_of_env_files_are_unset);
	tcase_add_test(t, the_environment_names_an_app);
	tcase_add_test(t, the_environment_completes_an_app);
	tcase_add_test(t, an_error_in_the_environment_names_the_variable);
	tcase_add_test(t, a_setting_of_no_section_is_named_with_the_nearest);
	tcase_add_test(t, variables_of_the_package_and_of_tests_are_no_settings);
	tcase_add_test(t, secrets_stay_out_of_messages);
	tcase_add_test(t, env_files_are_parsed_as_by_phpdotenv);
	tcase_add_test(t, what_phpdotenv_refuses_is_refused);
	tcase_add_test(t, values_are_converted_as_by_laravel);
	tcase_add_test(t, an_unquoted_value_ends_at_a_hash);
	tcase_add_test(t, quotes_of_environment_variables_are_removed);
	tcase_add_test(t, limits_of_reverb_hold_for_its_applications);
	tcase_add_test(t, limits_and_variables_of_soketi_hold_for_its_application);
	tcase_add_test(t, env_file_expansion_is_bounded);
	tcase_add_test(t, laravels_variables_of_redis_count_for_the_driver_redis);
	tcase_add_test(t, without_the_driver_redis_its_variables_do_no_harm);
	tcase_add_test(t, words_that_are_neither_true_nor_false_are_named);
	tcase_add_test(t, words_that_laravel_reads_otherwise_are_named);
	tcase_add_test(t, a_url_of_redis_that_cannot_be_used_is_not_repeated);
	tcase_add_test(t, values_of_conninfo_are_quoted);
	suite_add_tcase(s, t);
}

int main(void)
{
	Suite *s = suite_create("conf/env");

	add_variables(s);
	return unit_run(s);
}

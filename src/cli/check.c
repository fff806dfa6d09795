/* SPDX-License-Identifier: MIT */
/*
 * The checks run one after the other, in the order of a table.  None changes anything.  One that
 * needs what an earlier one did not get (the configuration, a connection) is left out, because the
 * earlier one has reported the reason.
 */
#include <curl/curl.h>
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <openssl/ssl.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sysexits.h>
#include <time.h>
#include "base/clock.h"
#include "base/macros.h"
#include "base/mem.h"
#include "base/str.h"
#include "conf/app.h"
#include "conf/conf_table.h"
#include "conf/conninfo.h"
#include "pg/answer.h"
#include "pg/conn.h"
#include "pg/remedy.h"
#include "wire/address.h"
#include "wire/tls_context.h"
#include "cli/check.h"
#include "cli/redis_check.h"

#define STATEMENT_US (10 * USEC_PER_SEC)
#define PROBE_MS     5000L
#define PROBE_MAX    65536
/* How long a connection may take to be seen in the flight recorder. */
#define SEEN_US (2 * USEC_PER_SEC)
/* Signatures of API calls are valid for 600 s (protocol A9). */
#define CLOCK_FAULT_S	300
#define CLOCK_WARNING_S 5
/* Connections to the database besides those of the configured pools. */
#define CONNECTIONS_OTHER 8
/* Descriptors besides those of clients. */
#define FILES_OTHER 100

enum check_result { CHECK_OK, CHECK_WARNING, CHECK_FAILED };

struct checks {
	struct cli *cli;
	const char *name; /* of the check that runs */
	json_t *list;
	bool has_failed;
	struct pg_connection *db; /* NULL: there is none */
	CURL *curl;
};

/* ---- results ---- */

static void check_say(struct checks *k, enum check_result result, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static void check_say(struct checks *k, enum check_result result, const char *fmt, ...)
{
	static const char *const words[] = { "ok", "warning", "FAILED" };
	char *text = NULL;
	va_list ap;

	va_start(ap, fmt);
	if (vasprintf(&text, fmt, ap) < 0)
		text = NULL;
	va_end(ap);
	k->has_failed |= result == CHECK_FAILED;
	if (k->cli->options.json)
		json_array_append_new(k->list,
				      json_pack("{s:s,s:s,s:s}", "check", k->name, "result",
						words[result], "message", text ? text : ""));
	else
		printf("%-8s %s: %s\n", words[result], k->name, text ? text : "");
	free(text);
}

/* Takes why. */
static void check_fail(struct checks *k, char *why)
{
	check_say(k, CHECK_FAILED, "%s", why ? why : "memory ran out");
	free(why);
}

/* ---- the machine ---- */

/* Each line of a refused configuration is a fault. */
static void check_configuration(struct checks *k)
{
	const struct conf *conf;
	char *why = NULL, *save = NULL;

	if (cli_load(k->cli, &why)) {
		for (char *line = strtok_r(why, "\n", &save); line;
		     line = strtok_r(NULL, "\n", &save))
			check_say(k, CHECK_FAILED, "%s", line);
		free(why);
		return;
	}
	conf = k->cli->conf;
	for (char **note = conf->notes; note && *note; note++)
		check_say(k, CHECK_WARNING, "%s", *note);
	check_say(k, CHECK_OK, "%zu options are set", conf->n_settings);
}

static void check_applications(struct checks *k)
{
	size_t n = app_set_count(k->cli->conf->apps);

	if (!n)
		check_say(k, CHECK_WARNING,
			  "none is configured; add a section [app ID] with key and secret, set "
			  "REVERB_APP_ID, REVERB_APP_KEY and REVERB_APP_SECRET, or use the table "
			  "apps");
	for (size_t i = 0; i < n; i++) {
		const struct app *app = app_set_at(k->cli->conf->apps, i);

		if (strlen(app->secret_text) < 16)
			check_say(k, CHECK_WARNING,
				  "the secret of %s is short enough to be guessed; use 20 or more "
				  "random characters",
				  app->id);
	}
	if (n)
		check_say(k, CHECK_OK, "%zu configured", n);
}

static void check_pair(struct checks *k, const char *certificate, const char *key)
{
	char *why = NULL;
	SSL_CTX *context;

	if (tls_context_new(certificate, key, &context, &why)) {
		check_fail(k, why);
		return;
	}
	why = tls_context_warning(context, certificate, key);
	if (why)
		check_say(k, CHECK_FAILED, "%s; renew it or repair the file, then reload", why);
	else
		check_say(k, CHECK_OK, "%s and its key can be used", certificate);
	free(why);
	tls_context_free(context);
}

/* That of the clients' port, and that of the admin listener. */
static void check_certificate(struct checks *k)
{
	const struct conf_server *s = &k->cli->conf->server;
	const struct conf_admin *a = &k->cli->conf->admin;

	if (*s->tls_certificate)
		check_pair(k, s->tls_certificate, s->tls_key);
	else
		check_say(k, CHECK_OK, "none is configured: a proxy has to serve https and wss");
	if (!conf_admin_is_off(a) && *a->tls_certificate)
		check_pair(k, a->tls_certificate, a->tls_key);
}

/* The daemon raises its own limit to the hard one, which its service gives it. */
static void check_files(struct checks *k)
{
	unsigned wanted = k->cli->conf->server.max_connections;
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit))
		return;
	if (wanted && limit.rlim_max < (rlim_t)wanted + FILES_OTHER)
		check_say(k, CHECK_WARNING,
			  "server.max_connections is %u, but a process of this user may open %llu "
			  "files; raise LimitNOFILE of the service or the limit of open files",
			  wanted, (unsigned long long)limit.rlim_max);
	else
		check_say(k, CHECK_OK, "a process may open %llu",
			  (unsigned long long)limit.rlim_max);
}

/* ---- the database ---- */

static bool check_run(struct checks *k, const struct pg_query *q, struct pg_answer *out)
{
	enum pg_fault fault = pg_conn_run(k->db, clock_mono() + STATEMENT_US, q, out);
	struct strbuf b;

	if (fault == PG_FINE)
		return true;
	strbuf_init(&b, 256);
	strbuf_add_str(&b, pg_conn_error(k->db));
	pg_remedy_add(&b, k->db);
	check_fail(k, strbuf_detach(&b));
	return false;
}

static bool check_select(struct checks *k, const char *sql, struct pg_answer *out)
{
	const char *schema = k->cli->conf->database.schema;
	const struct pg_query q = { .sql = sql, .n = 1, .values = &schema };

	return check_run(k, &q, out);
}

static void check_database(struct checks *k)
{
	const struct conf *conf = k->cli->conf;
	char *conninfo = conf_conninfo(conf), *why = NULL;
	struct pg_options options = conf_pg_options(&conf->database, conninfo);

	options.statement_timeout_ms = STATEMENT_US / USEC_PER_MSEC;
	if (pg_conn_open(&options, &k->db, &why)) {
		check_fail(k, why);
		if (conf->database_hint)
			check_say(k, CHECK_WARNING, "%s", conf->database_hint);
	} else {
		check_say(k, CHECK_OK, "connected");
	}
	free(conninfo);
}

static void check_privileges(struct checks *k)
{
	struct pg_answer a = { 0 };
	const char *role, *schema = k->cli->conf->database.schema;

	if (!check_select(
		    k,
		    "SELECT current_user, current_database(), to_regnamespace($1) IS NOT NULL, "
		    "has_database_privilege(current_database(), 'CREATE'), "
		    "to_regclass(quote_ident($1) || '.schema_migrations') IS NOT NULL, "
		    "coalesce((SELECT min(c.relname) || CASE count(*) WHEN 1 THEN '' ELSE "
		    "' and ' || count(*) - 1 || ' more tables' END FROM pg_class c "
		    "WHERE c.relnamespace = to_regnamespace(quote_ident($1)) "
		    "AND c.relkind IN ('r', 'p') AND NOT c.relispartition "
		    "AND NOT has_table_privilege(c.oid, 'SELECT')), '')",
		    &a))
		return;
	role = pg_answer_text(&a, 0, 0);
	if (!pg_answer_bool(&a, 0, 2) && !pg_answer_bool(&a, 0, 3))
		check_say(k, CHECK_FAILED,
			  "the role %s may not make the schema %s; as the database's owner: GRANT "
			  "CREATE ON DATABASE %s TO %s",
			  role, schema, pg_answer_text(&a, 0, 1), role);
	else if (pg_answer_text(&a, 0, 5)[0])
		check_say(k, CHECK_FAILED,
			  "the role %s may not use %s of the schema %s; as its owner: psql -v "
			  "schema=%s -v daemon=%s -f grants.sql",
			  role, pg_answer_text(&a, 0, 5), schema, schema, role);
	else if (!pg_answer_bool(&a, 0, 4))
		check_say(k, CHECK_WARNING,
			  "the schema %s has no tables yet; the daemon makes them when it starts, "
			  "and "
			  "so does scopewired --migrate",
			  schema);
	else
		check_say(k, CHECK_OK, "the role %s has what the schema %s needs", role, schema);
	pg_answer_release(&a);
}

/* Without a partition for the next serial no event can be stored. */
static void check_log(struct checks *k)
{
	struct pg_answer a = { 0 };

	if (!check_select(
		    k, "SELECT to_regclass(quote_ident($1) || '.realtime_events') IS NOT NULL", &a))
		return;
	if (!pg_answer_bool(&a, 0, 0)) {
		pg_answer_release(&a);
		return; /* the check of privileges has reported it */
	}
	pg_answer_release(&a);
	if (!check_select(
		    k,
		    "SELECT log_partition_end('realtime_events') - 1 - s.last_value, $1::text "
		    "FROM realtime_events_serial s",
		    &a))
		return;
	if (pg_answer_int(&a, 0, 0) <= 0)
		check_say(k, CHECK_FAILED,
			  "the log has no partition for the next event, which cannot be stored; "
			  "the daemon makes partitions when it starts and once a minute, and its "
			  "log has the reason why not. By hand: SELECT "
			  "\"%s\".ensure_partitions(%u, %u)",
			  k->cli->conf->database.schema, k->cli->conf->database.partitions_ahead,
			  k->cli->conf->database.partition_rows);
	else
		check_say(k, CHECK_OK, "partitions are ready for %lld events",
			  (long long)pg_answer_int(&a, 0, 0));
	pg_answer_release(&a);
}

/* What makes a committed event less than safe, or the connections too few. */
static void check_server(struct checks *k)
{
	const struct conf *conf = k->cli->conf;
	int64_t needed = conf->database.replay_connections + conf->sync.connections +
			 conf->sync.authorize_connections + conf->sync.rule_connections +
			 CONNECTIONS_OTHER;
	struct pg_answer a = { 0 };
	int64_t left;
	bool is_safe;

	if (!check_select(k,
			  "SELECT current_setting('fsync')::bool, "
			  "current_setting('full_page_writes')::bool, "
			  "current_setting('max_connections')::int - (SELECT count(*) FROM "
			  "pg_stat_activity WHERE backend_type = 'client backend' "
			  "AND application_name NOT LIKE 'scopewire%'), "
			  "current_setting('server_version'), $1::text",
			  &a))
		return;
	is_safe = pg_answer_bool(&a, 0, 0) && pg_answer_bool(&a, 0, 1);
	left = pg_answer_int(&a, 0, 2);
	if (!is_safe)
		check_say(k, CHECK_WARNING,
			  "fsync or full_page_writes is off: a crash of the machine can lose or "
			  "damage events; set both to on in postgresql.conf");
	if (left < needed)
		check_say(k, CHECK_FAILED,
			  "%lld of max_connections are left, and the daemon uses up to %lld; raise "
			  "max_connections or lower sync.connections",
			  (long long)left, (long long)needed);
	if (is_safe && left >= needed)
		check_say(k, CHECK_OK, "PostgreSQL %s, %lld connections are left",
			  pg_answer_text(&a, 0, 3), (long long)left);
	pg_answer_release(&a);
}

static void check_clock(struct checks *k)
{
	struct pg_answer a = { 0 };
	double off;

	if (!check_select(k, "SELECT extract(epoch FROM clock_timestamp())::text, $1::text", &a))
		return;
	off = fabs(strtod(pg_answer_text(&a, 0, 0), NULL) -
		   (double)clock_wall() / (double)USEC_PER_SEC);
	pg_answer_release(&a);
	if (off >= CLOCK_WARNING_S)
		check_say(k, off >= CLOCK_FAULT_S ? CHECK_FAILED : CHECK_WARNING,
			  "this machine and the database differ by %.0f s; synchronize both clocks "
			  "(chrony, systemd-timesyncd)",
			  off);
	else
		check_say(k, CHECK_OK, "this machine and the database agree");
}

static void check_redis(struct checks *k)
{
	const struct conf_cluster *c = &k->cli->conf->cluster;
	char *why;

	if (c->driver != CLUSTER_REDIS)
		return;
	why = redis_check(c);
	if (why)
		check_say(k, CHECK_FAILED, "%s %s", c->redis_host, why);
	else
		check_say(k, CHECK_OK, "%s lets the daemon log in", c->redis_host);
	free(why);
}

/* Nodes that run, and that a daemon with this configuration does not reach. */
static void check_nodes(struct checks *k)
{
	const struct conf *conf = k->cli->conf;
	const char *values[4] = { NULL };
	const struct pg_query q = {
		.sql = "SELECT node_strangers($1::text, $2::text, $3::text, $4::text)",
		.n = ARRAY_SIZE(values),
		.values = values
	};
	struct pg_answer a = { 0 };
	char *node, *redis;
	bool has;

	if (conf->cluster.driver == CLUSTER_LOCAL ||
	    !check_select(k,
			  "SELECT to_regprocedure(quote_ident($1) || "
			  "'.node_strangers(text, text, text, text)') IS NOT NULL",
			  &a))
		return;
	has = pg_answer_bool(&a, 0, 0);
	pg_answer_release(&a);
	if (!has)
		return; /* no node has run with this schema yet */
	values[0] = node = conf_node(&conf->server);
	values[1] = conf_cluster_driver(&conf->cluster);
	values[2] = conf->cluster.prefix;
	values[3] = redis = conf_cluster_redis(&conf->cluster);
	if (check_run(k, &q, &a)) {
		if (pg_answer_is_null(&a, 0, 0))
			check_say(k, CHECK_OK, "all that run have this driver, prefix and Redis");
		else
			check_say(k, CHECK_FAILED, "%s", pg_answer_text(&a, 0, 0));
		pg_answer_release(&a);
	}
	free(node);
	free(redis);
}

/* ---- the daemon ---- */

struct probe {
	long status; /* 0: no answer */
	struct strbuf body;
	char error[CURL_ERROR_SIZE];
};

static size_t probe_on_body(char *data, size_t size, size_t n, void *ctx)
{
	struct probe *p = ctx;

	if (size * n > PROBE_MAX - p->body.len)
		return 0;
	strbuf_add(&p->body, data, size * n);
	return size * n;
}

/* After 101 the connection is no longer HTTP: the answer is complete. */
static size_t probe_on_header(char *line, size_t size, size_t n, void *ctx UNUSED)
{
	return n >= 12 && memcmp(line + 8, " 101", 4) == 0 ? 0 : size * n;
}

/* Requests url & path; the caller releases the body.  header may be NULL. */
static void probe_run(struct checks *k, const char *base, const char *path,
		      struct curl_slist *headers, struct probe *p)
{
	char *url = textf("%s%s", base, path);

	*p = (struct probe){ .status = 0 };
	strbuf_init(&p->body, 256);
	curl_easy_reset(k->curl);
	curl_easy_setopt(k->curl, CURLOPT_URL, url);
	curl_easy_setopt(k->curl, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(k->curl, CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(k->curl, CURLOPT_FRESH_CONNECT,
			 1L); /* the daemon sorts by the first bytes */
	curl_easy_setopt(k->curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(k->curl, CURLOPT_CONNECTTIMEOUT_MS, PROBE_MS);
	curl_easy_setopt(k->curl, CURLOPT_TIMEOUT_MS, PROBE_MS);
	curl_easy_setopt(k->curl, CURLOPT_ERRORBUFFER, p->error);
	curl_easy_setopt(k->curl, CURLOPT_HTTPHEADER, headers);
	curl_easy_setopt(k->curl, CURLOPT_HEADERFUNCTION, probe_on_header);
	curl_easy_setopt(k->curl, CURLOPT_WRITEFUNCTION, probe_on_body);
	curl_easy_setopt(k->curl, CURLOPT_WRITEDATA, p);
	if (k->cli->options.client.cacert)
		curl_easy_setopt(k->curl, CURLOPT_CAINFO, k->cli->options.client.cacert);
	curl_easy_perform(k->curl); /* a status may be there even when it fails */
	curl_easy_getinfo(k->curl, CURLINFO_RESPONSE_CODE, &p->status);
	free(url);
}

static bool probe_is_up(const struct probe *p)
{
	return p->status == 200 && memmem(p->body.ptr, p->body.len, "\"health\"", 8);
}

/* The daemon's own address, as a client on this machine reaches it; heap. */
static char *check_local_base(const struct conf_server *s)
{
	size_t len = strcspn(s->host, ", ");
	bool is_any = strncmp(s->host, "*", len) == 0 || strncmp(s->host, "0.0.0.0", len) == 0 ||
		      strncmp(s->host, "::", len) == 0;
	char *host = is_any ? xstrdup("127.0.0.1") : xstrndup(s->host, len);
	bool is_v6 = strchr(host, ':');
	/* One port has both: plain HTTP needs no certificate that fits this address. */
	char *base = textf("http://%s%s%s:%u", is_v6 ? "[" : "", host, is_v6 ? "]" : "", s->port);

	free(host);
	return base;
}

static void check_daemon(struct checks *k)
{
	const struct conf_server *s = &k->cli->conf->server;
	char *base = check_local_base(s);
	struct probe up, ready;

	probe_run(k, base, "/up", NULL, &up);
	probe_run(k, base, "/ready", NULL, &ready);
	if (!up.status)
		check_say(k, CHECK_FAILED,
			  "no daemon answers at %s (%s); start it, or look into its log", base,
			  up.error);
	else if (!probe_is_up(&up))
		check_say(k, CHECK_FAILED,
			  "another program answers at %s; choose another server.port, or stop that "
			  "program",
			  base);
	else if (ready.status != 200)
		check_say(k, CHECK_FAILED,
			  "it runs at %s but is not ready; its log has the reason, and so has "
			  "scopewirectl status",
			  base);
	else
		check_say(k, CHECK_OK, "it runs at %s and is ready", base);
	strbuf_release(&up.body);
	strbuf_release(&ready.body);
	free(base);
}

static void check_admin(struct checks *k)
{
	const struct client_options *o = &k->cli->options.client;
	struct client_answer answer;
	char *why = NULL;

	if (!o->url && !o->socket && conf_admin_is_off(&k->cli->conf->admin)) {
		check_say(k, CHECK_WARNING,
			  "there is none; set listen and tokens in the section [admin] for metrics "
			  "and "
			  "for the other commands of scopewirectl");
		return;
	}
	k->cli->client = client_new(o, k->cli->conf, &why);
	if (!k->cli->client ||
	    client_request(k->cli->client, "/admin/api/status", NULL, &answer, &why)) {
		check_fail(k, why);
		return;
	}
	if (answer.status == 401 || answer.status == 403)
		check_say(k, CHECK_FAILED,
			  "the token is not accepted (%ld); give one with the scope read or write: "
			  "admin.tokens, --token-file or SCOPEWIRECTL_TOKEN",
			  answer.status);
	else if (answer.status != 200)
		check_say(k, CHECK_FAILED, "it answers %ld; is this an admin listener?",
			  answer.status);
	else
		check_say(k, CHECK_OK, "it answers, and the token may read");
	strbuf_release(&answer.body);
}

/* ---- the proxy ---- */

/* The daemon's own answer has that status. */
static bool check_path(struct checks *k, const char *path, long status, const char *what)
{
	const char *base = k->cli->options.public;
	struct probe p;
	bool ok;

	probe_run(k, base, path, NULL, &p);
	ok = p.status == status;
	if (!ok)
		check_say(k, CHECK_FAILED,
			  "%s%s answers %ld instead of %ld%s%s; let it pass %s to the daemon", base,
			  path, p.status, status, *p.error ? ": " : "", p.error, what);
	strbuf_release(&p.body);
	return ok;
}

/* ---- which address the daemon sees ---- */

/* The answer of the listener, or NULL. */
static json_t *check_admin_get(struct checks *k, const char *path)
{
	struct client_answer answer;
	json_t *root = NULL;
	char *why = NULL;

	if (client_request(k->cli->client, path, NULL, &answer, &why)) {
		free(why);
		return NULL;
	}
	if (answer.status == 200)
		root = json_loadb(answer.body.ptr, answer.body.len, JSON_ALLOW_NUL, NULL);
	strbuf_release(&answer.body);
	return root;
}

/* The address of the connection whose client called itself name, as the daemon sees it; heap. */
static char *check_seen_address(struct checks *k, const char *name)
{
	json_t *list = check_admin_get(k, "/admin/api/connections?limit=50"), *connection;
	char *address = NULL;
	size_t i;

	json_array_foreach(json_object_get(list, "connections"), i, connection)
	{
		char *path = textf("/admin/api/connections/%s",
				   json_string_value(json_object_get(connection, "socket_id")));
		json_t *whole = check_admin_get(k, path);
		const char *detail = json_string_value(json_object_get(
			json_array_get(json_object_get(whole, "steps"), 0), "detail"));
		const char *text = json_string_value(json_object_get(whole, "address"));

		if (detail && text && strstr(detail, name))
			address = xstrdup(text);
		json_decref(whole);
		free(path);
		if (address)
			break;
	}
	json_decref(list);
	return address;
}

/* own: our end of the connection to the proxy; seen: the client's address for the daemon. */
static bool check_addresses(struct checks *k, const char *own, const char *seen)
{
	struct address ours, theirs;

	if (!address_parse(sv(own), &ours) || !address_parse(sv(seen), &theirs) ||
	    memcmp(&ours, &theirs, sizeof(ours)) == 0)
		return true;
	if (trusted_proxies_contain(&k->cli->conf->server.trusted_proxies, &theirs))
		check_say(k, CHECK_FAILED,
			  "the daemon takes the proxy (%s) for the client: the proxy does not send "
			  "X-Forwarded-For; let it set this header to the client's address",
			  seen);
	else
		check_say(
			k, CHECK_FAILED,
			"the daemon sees this client as %s and not as %s; if %s is the proxy, add "
			"it to server.trusted_proxies and restart, or limits and log lines have "
			"the proxy's address for all clients",
			seen, own, seen);
	return false;
}

/* A connection through the proxy that the flight recorder shows us. */
static bool check_client_address(struct checks *k, const char *own, const char *name)
{
	const struct timespec pause = { .tv_nsec = 50000000 };
	usec_t until = clock_mono() + SEEN_US;
	char *seen = NULL;
	bool ok;

	if (!k->cli->client)
		return true;
	while (!(seen = check_seen_address(k, name)) && clock_mono() < until)
		nanosleep(&pause, NULL);
	ok = !seen || check_addresses(k, own, seen);
	free(seen);
	return ok;
}

static bool check_websocket(struct checks *k, const char *base, const char *key)
{
	static const char *const lines[] = { "Connection: Upgrade", "Upgrade: websocket",
					     "Sec-WebSocket-Version: 13",
					     "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==" };
	struct curl_slist *headers = NULL;
	char name[32], *path, *own = NULL;
	struct probe p;
	bool ok;

	snprintf(name, sizeof(name), "check-%08" PRIx64, (uint64_t)clock_wall() & 0xffffffff);
	path = textf("/app/%s?protocol=7&client=%s", key, name);
	for (size_t i = 0; i < ARRAY_SIZE(lines); i++)
		headers = curl_slist_append(headers, lines[i]);
	probe_run(k, base, path, headers, &p);
	ok = p.status == 101;
	if (!ok)
		check_say(k, CHECK_FAILED,
			  "%s/app does not become a WebSocket (status %ld); the proxy has to pass "
			  "/app with HTTP/1.1 and the headers Upgrade and Connection",
			  base, p.status);
	else if (curl_easy_getinfo(k->curl, CURLINFO_LOCAL_IP, &own) == CURLE_OK && own)
		ok = check_client_address(k, own, name);
	strbuf_release(&p.body);
	curl_slist_free_all(headers);
	free(path);
	return ok;
}

static void check_proxy(struct checks *k)
{
	const struct app_set *apps = k->cli->conf->apps;
	const char *base = k->cli->options.public;
	bool ok;

	if (!base) {
		check_say(k, CHECK_OK, "not checked: give its address with --public https://...");
		return;
	}
	ok = check_path(k, "/up", 200, "/up");
	ok &= check_path(k, "/api/sync/online-users", 401, "/api/sync");
	if (app_set_count(apps)) {
		char *path = textf("/apps/%s/channels", app_set_at(apps, 0)->id);

		ok &= check_path(k, path, 401, "/apps");
		free(path);
		ok &= check_websocket(k, base, app_set_at(apps, 0)->key);
	}
	if (ok)
		check_say(k, CHECK_OK, "%s passes what clients and servers request", base);
}

/* ---- all of them ---- */

int command_on_check(struct cli *cli)
{
	static const struct {
		const char *name;
		void (*run)(struct checks *k);
		bool needs_database;
	} checks[] = {
		{ "applications", check_applications, false },
		{ "certificate", check_certificate, false },
		{ "open files", check_files, false },
		{ "database", check_database, false },
		{ "privileges", check_privileges, true },
		{ "event log", check_log, true },
		{ "database server", check_server, true },
		{ "clock", check_clock, true },
		{ "redis", check_redis, false },
		{ "nodes", check_nodes, true },
		{ "daemon", check_daemon, false },
		{ "admin listener", check_admin, false },
		{ "proxy", check_proxy, false },
	};
	struct checks k = { .cli = cli, .name = "configuration", .list = json_array() };

	k.curl = curl_easy_init();
	check_configuration(&k);
	for (size_t i = 0; k.curl && cli->conf && i < ARRAY_SIZE(checks); i++) {
		k.name = checks[i].name;
		if (!checks[i].needs_database || k.db)
			checks[i].run(&k);
	}
	if (cli->options.json) {
		json_dumpf(k.list, stdout, JSON_COMPACT);
		putchar('\n');
	}
	json_decref(k.list);
	pg_conn_close(k.db);
	curl_easy_cleanup(k.curl);
	return k.has_failed ? EXIT_NO : EXIT_OK;
}

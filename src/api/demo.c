/* SPDX-License-Identifier: MIT */
/*
 * The demo page and its server side: signing of channels, and publishing.  Off unless server.demo
 * is set, and then for clients on this machine only, because these endpoints need no credentials.
 *
 * Bodies must be JSON by their Content-Type: a browser sends that for a page of another site only
 * after a preflight request, which these paths refuse.
 *
 * Runs on a transport's thread; files are read there, which a demo can afford.
 */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/annotate.h"
#include "base/mem.h"
#include "api/handlers.h"
#include "api/reply.h"
#include "wire/pusher.h"
#include "wire/socket_id.h"

#define FILE_MAX_BYTES (4 << 20)

static const struct {
	const char *ending, *type;
} types[] = {
	{ ".html", "text/html; charset=utf-8" },
	{ ".js", "text/javascript; charset=utf-8" },
	{ ".css", "text/css; charset=utf-8" },
	{ ".svg", "image/svg+xml" },
	{ ".png", "image/png" },
	{ ".woff2", "font/woff2" },
	{ ".txt", REQUEST_TEXT },
};

/* ---- files ------------------------------------------------------------ */

/* The type of a file that may be served, or NULL: lower-case plain names only. */
static const char *demo_type_of(struct str_view name)
{
	for (size_t i = 0; i < name.len; i++)
		if (!strchr("abcdefghijklmnopqrstuvwxyz0123456789-_.", name.ptr[i]) || !name.ptr[i])
			return NULL;
	if (!name.len || name.ptr[0] == '.')
		return NULL;
	for (size_t i = 0; i < ARRAY_SIZE(types); i++)
		if (sv_ends_with(name, sv(types[i].ending)))
			return types[i].type;
	return NULL;
}

static bool demo_read_file(int fd, struct strbuf *b)
{
	struct stat st;
	ssize_t n;

	if (fstat(fd, &st) || !S_ISREG(st.st_mode) || st.st_size > FILE_MAX_BYTES)
		return false;
	while (b->len < (size_t)st.st_size) {
		n = read(fd, strbuf_reserve(b, (size_t)st.st_size - b->len),
			 (size_t)st.st_size - b->len);
		if (n <= 0)
			return n == 0;
		b->len += (size_t)n;
	}
	return true;
}

static bool demo_read_named(const char *dir, struct str_view name, struct strbuf *b)
{
	struct strbuf path;
	bool ok;
	int fd;

	strbuf_init(&path, 256);
	strbuf_addf(&path, "%s/%.*s", dir, SV_ARG(name));
	fd = open(path.ptr, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	strbuf_release(&path);
	if (fd < 0)
		return false;
	ok = demo_read_file(fd, b);
	close(fd);
	return ok;
}

static void demo_reply_file(struct call *c, struct str_view name)
{
	const char *dir = c->services->conf->server.demo_dir;
	struct reply reply = { .status = 200, .content_type = demo_type_of(name) };

	strbuf_init(&reply.body, 0);
	if (reply.content_type && dir && demo_read_named(dir, name, &reply.body)) {
		request_reply_full(c->r, &reply);
		return;
	}
	strbuf_release(&reply.body);
	call_fail(c, 404, "This path does not exist.");
}

void h_demo_root(struct call *c)
{
	if (call_may_demo(c))
		demo_reply_file(c, SV("index.html"));
	else
		request_reply_text(c->r, 200, SV("OK"));
}

void h_demo_file(struct call *c)
{
	demo_reply_file(c, c->arg[0].len ? c->arg[0] : SV("index.html"));
}

/* ---- helpers ----------------------------------------------------------- */

/* Makes the first application of the configuration the call's; false: replied. */
static bool take_demo_app(struct call *c)
{
	struct app_set *set = apps_current();

	if (app_set_count(set))
		c->app = app_ref(app_set_at(set, 0));
	app_set_unref(set);
	if (!c->app)
		call_fail(c, 503, "No application is configured.");
	return c->app != NULL;
}

bool demo_identify(struct call *c)
{
	if (!take_demo_app(c))
		return false;
	c->is_sync = true; /* errors are JSON */
	c->caller.kind = BY_SERVER;
	return true;
}

/* How a person on this machine queries the database; false when that is not known. */
static bool demo_psql(const struct conf *conf, struct strbuf *b)
{
	const struct conf_database *d = &conf->database;
	struct stat st;

	if (conf->embedded_postgres) {
		strbuf_addf(b, "psql -h %s/run", conf->embedded_postgres);
		if (stat(b->ptr + strlen("psql -h "), &st))
			return false; /* the path was too long for a socket */
		strbuf_add_str(b, " -U scopewire scopewire");
		return true;
	}
	if (*d->dsn)
		return false;
	if (*d->host)
		strbuf_addf(b, "psql -h %s -p %u -U %s %s", d->host, d->port, d->user, d->name);
	else
		strbuf_addf(b, "psql -p %u -U %s %s", d->port, d->user, d->name);
	return true;
}

void h_demo_config(struct call *c)
{
	struct strbuf b, psql;

	if (!take_demo_app(c))
		return;
	strbuf_init(&psql, 128);
	strbuf_init(&b, 128);
	strbuf_add_str(&b, "{\"app_id\":");
	strbuf_add_json(&b, sv(c->app->id));
	strbuf_add_str(&b, ",\"key\":");
	strbuf_add_json(&b, sv(c->app->key));
	strbuf_add_str(&b, ",\"path\":");
	strbuf_add_json(&b, sv(c->services->conf->server.path));
	if (demo_psql(c->services->conf, &psql)) {
		strbuf_add_str(&b, ",\"psql\":");
		strbuf_add_json(&b, sv_n(psql.ptr, psql.len));
	}
	strbuf_release(&psql);
	strbuf_add_c(&b, '}');
	call_reply_json(c->r, 200, &b);
}

/* The body as an object, or NULL: replied. */
static json_t *demo_read_object(struct call *c)
{
	struct str_view type = c->r->header(c->r, "Content-Type");
	json_t *root;

	if (type.len < 16 || strncasecmp(type.ptr, "application/json", 16) != 0) {
		call_fail(c, 415, "Send Content-Type: application/json.");
		return NULL;
	}
	root = json_loadb(c->r->body.ptr, c->r->body.len, 0, NULL);
	if (json_is_object(root))
		return root;
	json_decref(root);
	call_fail(c, 400, "The body must be a JSON object.");
	return NULL;
}

static struct str_view demo_member(const json_t *root, const char *key)
{
	const json_t *v = json_object_get(root, key);

	return sv_n(json_string_value(v), json_string_length(v));
}

static void demo_add_auth(struct strbuf *b, const struct app *app, const struct str_view *parts,
			  size_t n_parts)
{
	char hex[AUTH_HEX_BYTES + 1];

	auth_sign(app->secret, parts, n_parts, hex);
	strbuf_addf(b, "{\"auth\":\"%s:%s\"", app->key, hex);
}

/* {"socket_id","channel_name","user"?: {"id","name",...}}; replies as Laravel does. */
static void demo_sign_channel(struct call *c, const struct app *app, const json_t *root)
{
	struct str_view socket = demo_member(root, "socket_id");
	struct str_view channel = demo_member(root, "channel_name");
	json_t *user = json_object_get(root, "user");
	char *data = NULL;
	struct strbuf b;

	if (sv_starts_with(channel, SV("presence-"))) {
		json_t *o = json_pack("{s:O*,s:O*}", "user_id", json_object_get(user, "id"),
				      "user_info", user);

		data = json_dumps(o, JSON_COMPACT);
		json_decref(o);
	}
	const struct str_view parts[] = { socket, SV(":"), channel, SV(":"), sv(data) };

	strbuf_init(&b, 256);
	demo_add_auth(&b, app, parts, data ? 5 : 3);
	if (data) {
		strbuf_add_str(&b, ",\"channel_data\":");
		strbuf_add_json(&b, sv(data));
	}
	strbuf_add_c(&b, '}');
	free(data);
	call_reply_json(c->r, 200, &b);
}

void h_demo_auth(struct call *c)
{
	json_t *root = demo_read_object(c);
	uint64_t socket_id;

	if (root && take_demo_app(c)) {
		if (!socket_id_parse(demo_member(root, "socket_id"), &socket_id))
			call_fail(c, 400, "Invalid socket_id: it must look like \"123.456\".");
		else
			demo_sign_channel(c, c->app, root);
	}
	json_decref(root);
}

/* The body of POST /apps/{id}/events, published for the caller. */
void h_demo_publish(struct call *c)
{
	json_t *root = demo_read_object(c);
	bool ok = root && take_demo_app(c);

	json_decref(root);
	if (ok)
		h_events_post(c);
}

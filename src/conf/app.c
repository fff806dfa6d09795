/* SPDX-License-Identifier: MIT */
/*
 * Two locks, each held for a few instructions and never together: one over the set in force, one
 * over the runtimes, which stay for the life of the process.
 */
#include <ctype.h>
#include <errno.h>
#include <pthread.h>
#include <strings.h>
#include "base/map.h"
#include "base/mem.h"
#include "conf/conf.h"
#include "conf/conf_table.h"
#include "wire/channel_name.h"

#define ORIGIN_MAX_BYTES 512
#define TOKEN_SECRET_MIN 32 /* RFC 7518 section 3.2 */

struct app_set {
	atomic_uint refs;
	struct app **apps; /* counted */
	size_t n;
	struct map by_id, by_key;
	bool is_partial;
};

struct named_runtime {
	struct app_runtime runtime;
	char *id;
};

static pthread_mutex_t runtimes_lock = PTHREAD_MUTEX_INITIALIZER;
static struct map runtimes; /* by app id: struct named_runtime */
static unsigned last_number;

static pthread_mutex_t current_lock = PTHREAD_MUTEX_INITIALIZER;
static struct app_set *current;

static struct app_runtime *app_runtime_of(const char *id)
{
	struct named_runtime *r;

	pthread_mutex_lock(&runtimes_lock);
	r = map_get(&runtimes, sv(id));
	if (!r) {
		r = xcalloc(1, sizeof(*r));
		r->id = xstrdup(id);
		r->runtime.number = ++last_number;
		if (!runtimes.cap)
			map_init(&runtimes);
		map_put(&runtimes, sv(r->id), r);
	}
	pthread_mutex_unlock(&runtimes_lock);
	return &r->runtime;
}

static void app_free(struct app *a)
{
	options_release(app_options, n_app_options, a);
	auth_secret_free(a->secret);
	free(a->id);
	free(a);
}

struct app *app_ref(struct app *a)
{
	atomic_fetch_add_explicit(&a->refs, 1, memory_order_relaxed);
	return a;
}

void app_unref(struct app *a)
{
	if (a && atomic_fetch_sub_explicit(&a->refs, 1, memory_order_acq_rel) == 1)
		app_free(a);
}

static int app_set_option(struct app *a, const struct app_option *option, const char *label,
			  char **why)
{
	const struct option *o;
	char *complaint;
	unsigned scale;

	o = option_find("app", option->name, &scale);
	if (!o) {
		complaint_add(why, option_unknown("app", option->name, label));
		return -EINVAL;
	}
	if (option_set(o, a, option->value, scale, &complaint) < 0) {
		complaint_add(why, option_error(o, label, option->value, complaint));
		return -EINVAL;
	}
	return 0;
}

/* The bytes that may be in a URL's path and before the ':' of a signature. */
static bool app_is_name(const char *s)
{
	for (const char *p = s; *p; p++)
		if ((unsigned char)*p <= ' ' || *p == 0x7f || strchr("/?#%:&", *p))
			return false;
	return *s != '\0';
}

static bool app_read_master_key(struct app *a)
{
	a->has_master_key = *a->master_key_text != '\0';
	return !a->has_master_key ||
	       auth_read_master_key(sv(a->master_key_text), a->master_key) == 0;
}

/* An empty value has a label with its place; a missing one has none. */
static char *app_missing(const struct app *a, const char *name, const char *label)
{
	if (!label)
		return textf("[app %s]: %s is missing", a->id, name);
	return textf("%s: is empty, and [app %s] needs its %s%s", label, a->id, name,
		     strchr(label, '[') ? ""
					: "; # begins a comment in a .env file unless the "
					  "value is in quotes");
}

static bool app_is_origin(const char *pattern)
{
	const char *scheme = strstr(pattern, "://");

	return !strpbrk(pattern, "\"'") && !strchr(scheme ? scheme + 3 : pattern, '/');
}

static bool app_token_secret_is_long(const struct app *a, const char *option, const char *text,
				     char **why)
{
	if (!*text || strlen(text) >= TOKEN_SECRET_MIN)
		return true;
	complaint_add(why, textf("[app %s] %s: must have %d bytes or more, as openssl rand -hex 32 "
				 "gives them",
				 a->id, option, TOKEN_SECRET_MIN));
	return false;
}

static int app_check_whole(struct app *a, const char *key_label, const char *secret_label,
			   char **why)
{
	const char *names = "must be without spaces and any of / ? # % : &";
	int rc = 0;

	if (!app_is_name(a->id) || !sv_is_utf8(sv(a->id))) {
		complaint_add(why, textf("[app %s]: the id %s", a->id,
					 app_is_name(a->id) ? "is not UTF-8" : names));
		rc = -EINVAL;
	}
	if (!*a->key) {
		complaint_add(why, app_missing(a, "key", key_label));
		rc = -EINVAL;
	} else if (!app_is_name(a->key)) {
		complaint_add(why, textf("[app %s] key: %s", a->id, names));
		rc = -EINVAL;
	}
	if (!*a->secret_text) {
		complaint_add(why, app_missing(a, "secret", secret_label));
		rc = -EINVAL;
	}
	if (*a->auth_url && !webhook_url_is_valid(a->auth_url)) {
		complaint_add(
			why,
			textf("[app %s] auth_url: must begin with http:// or https:// and have no "
			      "user and password",
			      a->id));
		rc = -EINVAL;
	}
	if (!app_token_secret_is_long(a, "token_secret", a->token_secret_text, why) ||
	    !app_token_secret_is_long(a, "previous_token_secret", a->previous_token_secret_text,
				      why))
		rc = -EINVAL;
	if (!app_read_master_key(a)) {
		complaint_add(why, textf("[app %s] encryption_master_key: must be 32 bytes in "
					 "base64, as openssl rand -base64 32 gives them",
					 a->id));
		rc = -EINVAL;
	}
	for (char **p = a->allowed_origins; p && *p; p++) {
		if (app_is_origin(*p))
			continue;
		complaint_add(why, textf("[app %s] allowed_origins: %s can match no origin; write "
					 "https://HOST or HOST, without quotes and without a path",
					 a->id, *p));
		rc = -EINVAL;
	}
	return rc;
}

/* A key of tokens that is not set is made of the secret. */
static void app_derive_token_secret(const struct auth_secret *secret, char **text)
{
	const struct str_view name = SV("scopewire-token");

	if (**text)
		return;
	free(*text);
	*text = xmalloc(AUTH_HEX_BYTES + 1);
	auth_sign(secret, &name, 1, *text);
}

/* What follows from the options, once they are all read. */
static void app_derive(struct app *a)
{
	a->secret = auth_secret_new(sv(a->secret_text));
	app_derive_token_secret(a->secret, &a->token_secret_text);
	if (*a->previous_secret_text) {
		struct auth_secret *previous = auth_secret_new(sv(a->previous_secret_text));

		auth_secret_accept_previous(a->secret, sv(a->previous_secret_text));
		app_derive_token_secret(previous, &a->previous_token_secret_text);
		auth_secret_free(previous);
	}
	a->runtime = app_runtime_of(a->id);
	if (!a->limits.message_rate)
		a->limits.message_rate_max_attempts = 0;
	for (char **p = a->allowed_origins; p && *p; p++)
		for (char *c = *p; *c; c++)
			*c = (char)tolower((unsigned char)*c);
}

int app_build_labelled(const char *id, const struct app_options *options, struct app **out,
		       char **why)
{
	const char *const *labels = options->labels;
	struct app *a = xcalloc(1, sizeof(*a));
	const char *key_label = NULL, *secret_label = NULL;
	int rc = 0;

	atomic_init(&a->refs, 1);
	a->id = xstrdup(id);
	options_default(app_options, n_app_options, a);
	for (size_t i = 0; i < options->n; i++) {
		const struct app_option *o = &options->list[i];
		char *label = labels ? xstrdup(labels[i]) : textf("[app %s] %s", id, o->name);

		if (app_set_option(a, o, label, why) < 0)
			rc = -EINVAL;
		if (labels && strcmp(o->name, "key") == 0)
			key_label = labels[i];
		if (labels && strcmp(o->name, "secret") == 0)
			secret_label = labels[i];
		free(label);
	}
	if (app_check_whole(a, key_label, secret_label, why) < 0)
		rc = -EINVAL;
	if (rc < 0) {
		app_unref(a);
		return rc;
	}
	app_derive(a);
	*out = a;
	return 0;
}

int app_build(const char *id, const struct app_option *options, size_t n, struct app **out,
	      char **why)
{
	*why = NULL;
	return app_build_labelled(id, &(struct app_options){ options, NULL, n }, out, why);
}

enum durability app_durability(const struct app *a, struct str_view channel)
{
	for (size_t i = 0; i < a->n_rules; i++)
		if (channel_pattern_match(sv(a->rules[i].pattern), channel))
			return a->rules[i].durability;
	return a->durability;
}

struct origin {
	struct str_view whole, host, host_port;
	char text[ORIGIN_MAX_BYTES + sizeof(":65535")];
};

/* The offset of the port's ':', or authority.len; colons within [] are an IPv6 address's. */
static size_t origin_port_at(struct str_view authority)
{
	for (size_t i = authority.len; i > 0; i--) {
		if (authority.ptr[i - 1] == ':')
			return i - 1;
		if (authority.ptr[i - 1] == ']')
			break;
	}
	return authority.len;
}

/* Lower-cases and splits; a port that the scheme implies is filled in for host_port. */
static bool origin_split(struct str_view text, struct origin *o)
{
	struct str_view rest;
	const char *scheme_end;
	size_t colon, len = text.len;

	if (len > ORIGIN_MAX_BYTES)
		return false;
	for (size_t i = 0; i < len; i++)
		o->text[i] = (char)tolower((unsigned char)text.ptr[i]);
	o->whole = sv_n(o->text, len);
	scheme_end = memmem(o->text, len, "://", 3);
	rest = scheme_end ? sv_skip(o->whole, (size_t)(scheme_end - o->text) + 3) : o->whole;
	colon = origin_port_at(rest);
	o->host = sv_n(rest.ptr, colon);
	o->host_port = rest;
	if (colon == rest.len) {
		struct str_view port =
			sv_starts_with(o->whole, SV("https:")) ? SV(":443") : SV(":80");

		memcpy(o->text + len, port.ptr, port.len);
		o->host_port.len += port.len;
	}
	return true;
}

static bool origin_matches(const struct origin *o, struct str_view pattern)
{
	if (memmem(pattern.ptr, pattern.len, "://", 3))
		return channel_pattern_match(pattern, o->whole);
	if (origin_port_at(pattern) < pattern.len)
		return channel_pattern_match(pattern, o->host_port);
	return channel_pattern_match(pattern, o->host);
}

bool app_allows_origin(const struct app *a, struct str_view origin)
{
	struct origin o;

	if (!a->allowed_origins || !origin.len)
		return true;
	if (!origin_split(origin, &o))
		return false;
	for (char **p = a->allowed_origins; *p; p++)
		if (origin_matches(&o, sv(*p)))
			return true;
	return false;
}

struct app_set *app_set_ref(struct app_set *s)
{
	atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
	return s;
}

void app_set_unref(struct app_set *s)
{
	if (!s || atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) != 1)
		return;
	map_release(&s->by_id);
	map_release(&s->by_key);
	for (size_t i = 0; i < s->n; i++)
		app_unref(s->apps[i]);
	free(s->apps);
	free(s);
}

/* Takes a's reference; an app of the same id makes room. */
static void app_set_add(struct app_set *s, struct app *a)
{
	struct app *old = map_del(&s->by_id, sv(a->id));

	map_put(&s->by_id, sv(a->id), a);
	for (size_t i = 0; old && i < s->n; i++) {
		if (s->apps[i] == old) {
			s->apps[i] = a;
			app_unref(old);
			return;
		}
	}
	s->apps[s->n++] = a;
}

static int app_set_index_keys(struct app_set *s, char **why)
{
	for (size_t i = 0; i < s->n; i++) {
		struct app *a = s->apps[i], *other = map_get(&s->by_key, sv(a->key));

		if (other) {
			*why = textf("[app %s] and [app %s] have the same key", other->id, a->id);
			return -EEXIST;
		}
		map_put(&s->by_key, sv(a->key), a);
	}
	return 0;
}

int app_set_build(struct app **apps, size_t n, struct app_set **out, char **why)
{
	struct app_set *s = xcalloc(1, sizeof(*s));
	int rc;

	atomic_init(&s->refs, 1);
	map_init(&s->by_id);
	map_init(&s->by_key);
	s->apps = xcalloc(n, sizeof(*s->apps));
	for (size_t i = 0; i < n; i++)
		app_set_add(s, apps[i]);
	rc = app_set_index_keys(s, why);
	if (rc < 0)
		app_set_unref(s);
	else
		*out = s;
	return rc;
}

void app_set_mark_partial(struct app_set *s)
{
	s->is_partial = true;
}

bool app_set_is_partial(const struct app_set *s)
{
	return s && s->is_partial;
}

struct app *app_set_by_key(const struct app_set *s, struct str_view key)
{
	return s ? map_get(&s->by_key, key) : NULL;
}

struct app *app_set_by_id(const struct app_set *s, struct str_view id)
{
	return s ? map_get(&s->by_id, id) : NULL;
}

size_t app_set_count(const struct app_set *s)
{
	return s ? s->n : 0;
}

struct app *app_set_at(const struct app_set *s, size_t i)
{
	return s->apps[i];
}

struct app *app_set_only(const struct app_set *s)
{
	return app_set_count(s) == 1 ? s->apps[0] : NULL;
}

struct app_set *apps_current(void)
{
	struct app_set *s;

	pthread_mutex_lock(&current_lock);
	s = current ? app_set_ref(current) : NULL;
	pthread_mutex_unlock(&current_lock);
	return s;
}

void apps_install(struct app_set *s)
{
	struct app_set *old;

	pthread_mutex_lock(&current_lock);
	old = current;
	current = s;
	pthread_mutex_unlock(&current_lock);
	app_set_unref(old);
}

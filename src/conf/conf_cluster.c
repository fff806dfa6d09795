/* SPDX-License-Identifier: MIT */
/* Checks of the section [cluster] that no option can make by itself, and the URL of Redis. */
#include "base/mem.h"
#include "conf/conf-private.h"
#include "conf/conf_table.h"
#include "conf/conf_url.h"

#define CLUSTER_PREFIX_MAX 30 /* node_channel() adds 33 bytes; a name of PostgreSQL has 63 */

/* The value of the URL, if it has one. */
static void cluster_take_redis_part(struct loader *l, const char *label, const char *option,
				    const char *value)
{
	if (value && *value)
		loader_set_named(l, "cluster", option, value, label);
}

static void cluster_take_redis_url(struct loader *l)
{
	struct conf_cluster *c = &l->conf->cluster;
	struct db_url url;
	const char *wrong;
	char *label;
	bool is_tls;

	if (!*c->redis_url)
		return;
	label = conf_setting_label(l->conf, "cluster", "redis_url");
	wrong = redis_url_parse(c->redis_url, &url, &is_tls);
	/* Not shown: with a / in a password, this is a part of the password. */
	if (!wrong && url.values[URL_NAME] &&
	    !sv_to_u64(sv(url.values[URL_NAME]), UINT32_MAX, &(uint64_t){ 0 }))
		wrong = "what follows the host and the / must be a number; write / in a password "
			"as %2F";
	if (wrong) {
		loader_complain(l, textf("%s: %s", label, wrong));
	} else {
		c->redis_tls |= is_tls;
		cluster_take_redis_part(l, label, "redis_host", url.values[URL_HOST]);
		cluster_take_redis_part(l, label, "redis_port", url.values[URL_PORT]);
		cluster_take_redis_part(l, label, "redis_username", url.values[URL_USER]);
		cluster_take_redis_part(l, label, "redis_password", url.values[URL_PASSWORD]);
		cluster_take_redis_part(l, label, "redis_db", url.values[URL_NAME]);
	}
	free(label);
	db_url_release(&url);
}

/* phpredis has the scheme in the host. */
static void cluster_take_redis_scheme(struct conf_cluster *c)
{
	static const struct str_view tls = SV("tls://"), tcp = SV("tcp://");
	struct str_view host = sv(c->redis_host);
	char *rest;

	if (!sv_starts_with(host, tls) && !sv_starts_with(host, tcp))
		return;
	c->redis_tls |= sv_starts_with(host, tls);
	rest = sv_dup(sv_skip(host, tls.len));
	conf_replace(&c->redis_host, rest);
	free(rest);
}

static bool cluster_is_redis_prefix(const char *s)
{
	return *s &&
	       !s[strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.:-")];
}

static void cluster_check_redis(struct loader *l)
{
	struct conf_cluster *c = &l->conf->cluster;

	cluster_take_redis_url(l);
	cluster_take_redis_scheme(c);
	if (!cluster_is_redis_prefix(c->prefix) || strlen(c->prefix) > CLUSTER_PREFIX_MAX)
		loader_complain_of(l, "cluster", "prefix",
				   textf(" = %s: must be of letters, digits and any of _ . : -, "
					 "and of at most %d bytes",
					 c->prefix, CLUSTER_PREFIX_MAX));
	if (!*c->redis_host)
		loader_complain_of(l, "cluster", "redis_host", xstrdup(": is empty"));
	else if (!c->redis_port && *c->redis_host != '/')
		loader_complain_of(l, "cluster", "redis_port",
				   xstrdup(" = 0: is only for a Unix socket"));
	loader_check_pair(l, "cluster",
			  (const char *const[]){ "redis_tls_certificate", "redis_tls_key" },
			  (const char *const[]){ c->redis_tls_certificate, c->redis_tls_key });
}

/* Why an option of the section has no effect; NULL: it has one. */
static const char *cluster_no_effect(const struct conf_cluster *c, const char *name)
{
	bool is_redis = sv_starts_with(sv(name), SV("redis_"));

	if (strcmp(name, "driver") == 0)
		return NULL;
	if (c->driver == CLUSTER_LOCAL)
		return is_redis ? "with cluster.driver = local; it is for redis"
				: "with cluster.driver = local; it is for postgres and redis";
	if (c->driver == CLUSTER_POSTGRES && is_redis)
		return "with cluster.driver = postgres; it is for redis";
	if (!c->redis_tls && sv_starts_with(sv(name), SV("redis_tls_")))
		return "without cluster.redis_tls = yes, or rediss:// in cluster.redis_url";
	return NULL;
}

/* Whether the option has its value from a variable of Laravel, which has it for other purposes. */
static bool cluster_is_of_laravel(const struct conf_setting *s)
{
	const char *blank = strrchr(s->label, ' ');

	return word_in_list(s->option->env, blank ? blank + 1 : s->label);
}

static void cluster_note_no_effect(void *ctx, const struct conf_setting *s)
{
	struct conf *c = ctx;
	const char *why;

	if (strcmp(s->option->section, "cluster") != 0 || (s->value && !*s->value) ||
	    cluster_is_of_laravel(s))
		return;
	why = cluster_no_effect(&c->cluster, s->option->name);
	if (why)
		loader_note(c, textf("%s: has no effect %s", s->label, why));
}

void loader_check_cluster(struct loader *l)
{
	const struct conf_cluster *c = &l->conf->cluster;

	if (c->driver == CLUSTER_REDIS)
		cluster_check_redis(l);
	else if (c->driver == CLUSTER_POSTGRES &&
		 (!option_is_identifier(c->prefix) || strlen(c->prefix) > CLUSTER_PREFIX_MAX))
		loader_complain_of(l, "cluster", "prefix",
				   textf(" = %s: must be of lower-case letters, digits and _, and "
					 "of at most %d bytes",
					 c->prefix, CLUSTER_PREFIX_MAX));
	conf_settings_each(l->conf, cluster_note_no_effect, l->conf);
}

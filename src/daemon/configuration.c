/* SPDX-License-Identifier: MIT */
/*
 * Reads the configuration at the start, and again at SIGHUP.  What a reload changes is in force for
 * new requests and frames; what it cannot change is named in the log.
 */
#include <errno.h>
#include <string.h>
#include <sys/resource.h>
#include <sysexits.h>
#include <unistd.h>
#include "base/log.h"
#include "base/mem.h"
#include "bus/redis_tls.h"
#include "conf/conf.h"
#include "svc/apps_watch.h"
#include "api/router.h"
#include "wire/tls_context.h"
#include "front/tls_port.h"
#include "daemon/admin_listener.h"
#include "daemon/daemon.h"

extern char **environ;

/* Reads and checks a configured certificate and its key; *out is NULL without TLS. */
static int configuration_load_tls(const char *certificate, const char *key, SSL_CTX **out,
				  char **why)
{
	char *warning;
	int rc;

	*out = NULL;
	if (!*certificate)
		return 0;
	rc = tls_context_new(certificate, key, out, why);
	if (rc)
		return rc;
	warning = tls_context_warning(*out, certificate, key);
	if (warning)
		log_warn("%s", warning);
	free(warning);
	return 0;
}

/* The files of TLS to Redis, which the bus reads again when it starts. */
static int configuration_check_redis(const struct conf_cluster *c, char **why)
{
	SSL_CTX *context = NULL;
	int rc;

	if (c->driver != CLUSTER_REDIS || !c->redis_tls)
		return 0;
	rc = redis_tls_new(c, &context, why);
	redis_tls_free(context);
	return rc;
}

/* A dump of the memory would have the secrets of all applications. */
static void configuration_forbid_core_dumps(void)
{
	const struct rlimit none = { 0, 0 };

	if (setrlimit(RLIMIT_CORE, &none))
		log_warn("core dumps cannot be switched off: %s", strerror(errno));
}

/* Whether the daemon gives up the rights of root before it serves. */
static bool configuration_changes_user(const struct conf *c)
{
	return *c->server.user && geteuid() == 0;
}

/* With server.user that user opens it, in start_acceptor(): the path may be in a folder of the
 * user. */
int start_log_file(struct scopewired *d)
{
	int rc = log_use_file(d->conf->log.file);

	if (!rc)
		return EX_OK;
	return give_up(EX_CONFIG, textf("log.file: %s cannot be opened: %s", d->conf->log.file,
					strerror(-rc)));
}

/* A file that cannot be opened changes nothing. */
RUNS_ON(on_main) static void configuration_reload_log(const struct conf_log *log)
{
	int rc = log_use_file(log->file);

	if (rc)
		log_error("log.file: %s cannot be opened, lines go where they went before: %s",
			  log->file, strerror(-rc));
	log_set_level(log->level);
	log_set_format(log->format);
}

int start_conf(struct scopewired *d)
{
	char *why = NULL;
	int rc = conf_load(d->argc, d->argv, environ, &d->conf, &why);

	if (rc == 1) {
		d->is_done = true;
		return EX_OK;
	}
	if (rc)
		return give_up(rc == -ENOTSUP ? EX_USAGE : EX_CONFIG, why);
	if (d->conf->print_routes) {
		router_print(stdout);
		d->is_done = true;
		return EX_OK;
	}
	if (d->conf->print_config) {
		conf_print_settings(d->conf, stdout);
		d->is_done = true;
		return EX_OK;
	}
	configuration_forbid_core_dumps();
	log_set_level(d->conf->log.level);
	log_set_format(d->conf->log.format);
	log_find_journal(getenv("JOURNAL_STREAM"));
	if (!d->conf->check_only && !configuration_changes_user(d->conf) && start_log_file(d))
		return EX_CONFIG;
	user_id_set_type(d->conf->sync.user_id);
	if (configuration_load_tls(d->conf->server.tls_certificate, d->conf->server.tls_key,
				   &d->tls_context, &why))
		return give_up(EX_CONFIG, why);
	if (!conf_admin_is_off(&d->conf->admin) &&
	    configuration_load_tls(d->conf->admin.tls_certificate, d->conf->admin.tls_key,
				   &d->admin_tls_context, &why))
		return give_up(EX_CONFIG, why);
	if (configuration_check_redis(&d->conf->cluster, &why))
		return give_up(EX_CONFIG, why);
	for (char **note = d->conf->notes; note && *note; note++)
		log_warn("%s", *note);
	if (d->conf->check_only) {
		puts("The configuration is valid.");
		d->is_done = true;
	}
	app_set_mark_partial(d->conf->apps);
	apps_install(app_set_ref(d->conf->apps));
	return EX_OK;
}

void stop_conf(struct scopewired *d)
{
	apps_install(NULL);
	tls_context_free(d->tls_context);
	tls_context_free(d->admin_tls_context);
	conf_free(d->conf);
}

/* A pair that cannot be used changes nothing: the old one stays. */
RUNS_ON(on_main)
static void configuration_reload_tls(struct tls_port *port, const char *certificate,
				     const char *key)
{
	SSL_CTX *context;
	char *why = NULL;

	if (!port)
		return;
	if (configuration_load_tls(certificate, key, &context, &why)) {
		log_error("the TLS certificate was not reloaded, the old one stays: %s", why);
		free(why);
	} else if (context) {
		tls_port_use(port, context);
	}
}

/* What the option table marks as reloadable is in force; other changes need a restart. */
void reload_conf(struct scopewired *d)
{
	struct conf *now = NULL;
	char *why = NULL, *names;

	if (conf_load(d->argc, d->argv, environ, &now, &why)) {
		log_error_lines("reload refused, nothing changed: ",
				why ? why : "see the command line");
		free(why);
		return;
	}
	configuration_reload_log(&now->log);
	for (char **note = now->notes; note && *note; note++)
		log_warn("%s", *note);
	apps_watch_set_file(d->apps_watch, now->apps);
	configuration_reload_tls(d->tls, now->server.tls_certificate, now->server.tls_key);
	admin_listener_reload(d->admin, &now->admin);
	configuration_reload_tls(admin_listener_tls(d->admin), now->admin.tls_certificate,
				 now->admin.tls_key);
	names = conf_needs_restart(d->conf, now);
	if (names)
		log_warn("configuration reloaded; these changes take effect after a restart: %s",
			 names);
	else
		log_info("configuration reloaded");
	free(names);
	conf_settings_reload(d->conf, now);
	conf_free(now);
}

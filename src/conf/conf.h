/* SPDX-License-Identifier: MIT */
#ifndef CONF_CONF_H
#define CONF_CONF_H
/*
 * The whole configuration as one immutable snapshot.  Sources, later wins: defaults, the INI
 * file, --env-file, the environment, flags.  Every option is a row of the table in conf_table.c.
 */
#include <stdbool.h>
#include <stdint.h>
#include "base/log.h"
#include "base/user_id.h"
#include "conf/app.h"
#include "wire/address.h"

struct option;

struct conf_server {
	char *host;	  /* "*", or a comma-separated list of addresses */
	unsigned port;	  /* 0: the kernel picks */
	char *path;	  /* prefix such as "/ws", without a trailing slash; "" for none */
	unsigned workers; /* 0: one fewer than cores, at least one */
	char *tls_certificate, *tls_key; /* PEM files; "" for none */
	unsigned max_connections;	 /* of the node; 0: as file descriptors allow */
	struct trusted_proxies trusted_proxies;
	/* 0: no limit */
	unsigned max_connections_per_address, max_handshakes_per_address,
		max_unread_bytes_per_address;
	unsigned backlog;
	unsigned drain_wait_ms;	     /* how long clients are served when /ready is 503 */
	unsigned drain_ms;	     /* how long clients are sent away at stop, in slices */
	unsigned request_timeout_ms; /* for a peer that sends half a request */
	unsigned max_header_bytes;
	char *congestion_control; /* TCP_CONGESTION of accepted sockets; "" leaves the kernel's */
	char *node;	 /* name of this node in delivery records; "" for the host's name */
	char *state_dir; /* for what has to outlive a restore of the database; "" for none */
	bool demo;	 /* serve the demo page and its helpers, to loopback only */
	char *demo_dir;
	char *user; /* drop to this user after start when run as root; "" stays */
};

struct conf_database {
	char *dsn; /* libpq connection string or URI; wins over the parts below */
	char *host, *name, *user, *password;
	char *sslmode, *sslrootcert, *sslcert, *sslkey;
	unsigned port;
	char *schema;
	unsigned connect_timeout_s;
	unsigned commit_timeout_ms;  /* a durable publish waits no longer, then 503 */
	unsigned batch_events;	     /* most rows in one commit */
	unsigned linger_us;	     /* longest wait for more rows */
	unsigned linger_rate;	     /* events/s */
	unsigned sql_fallback_ms;    /* longest time between two drains */
	unsigned notify_queue_alarm; /* percent */
	unsigned queue_events,
		queue_bytes;	 /* async events that may wait while the database is away */
	unsigned partition_rows; /* serials in one log partition */
	unsigned partitions_ahead;
	unsigned retention_age;	     /* hours; 0: for ever */
	unsigned retention_size;     /* MiB; 0: any */
	unsigned replay_timeout_ms;  /* a subscription waits no longer for what it missed */
	unsigned replay_connections; /* to the database, for that */
	bool deliveries;	     /* keep realtime_deliveries */
	bool required;		     /* false: start without a database too */
	unsigned takeover_wait_s;    /* for the end of the daemon that used the database */
};

enum cluster_driver {
	CLUSTER_LOCAL, /* one daemon uses the database */
	CLUSTER_POSTGRES,
	CLUSTER_REDIS,
};

/* Several daemons on one database. */
struct conf_cluster {
	enum cluster_driver driver;
	unsigned lease_ms; /* of this node; renewed five times in it */
	char *prefix;	   /* of names outside the schema: channels of notifications, of Redis */
	/* with CLUSTER_REDIS; redis_url has been taken apart into the others */
	char *redis_url, *redis_host, *redis_username, *redis_password;
	unsigned redis_port, redis_db;
	bool redis_tls;
	char *redis_tls_ca;			     /* PEM; "": the system's authorities */
	char *redis_tls_certificate, *redis_tls_key; /* PEM files of this client; "": none */
};

/* The sync API, /api/sync. */
struct conf_sync {
	enum user_id_type user_id;	/* of the ids of users */
	unsigned connections;		/* to the database, of its pool */
	unsigned max_waiting;		/* requests that wait for the database; more: 503 */
	unsigned statement_timeout_ms;	/* of one request in the database */
	unsigned lock_wait_ms;		/* of one request, for locks in the database */
	unsigned authorize_connections; /* to the database, for channel rules and keys */
	unsigned max_user_calls;	/* of one user, without an answer; more: 429 */
	unsigned max_app_calls;		/* of one application; more: 429 */
	unsigned rule_connections;	/* to the database, for predicates of channel rules */
	unsigned rule_timeout_ms;	/* of a channel's predicates */
	unsigned auth_url_timeout_ms;	/* of the answer of an application's auth_url */
	unsigned rule_cache_ms;	    /* how long a predicate's verdict is cached; 0: not at all */
	unsigned max_request_bytes; /* a body */
	unsigned activity_retention_days; /* 0: for ever */
	unsigned changes_retention_days;  /* 0: for ever */
	char *user_activity_types;	  /* words, separated by commas; * at an end fits all */
	char *event_namespace;		  /* in front of the names of its own events */
	char **presence_channels;	  /* get UserPresenceChanged; NULL: none do */
	unsigned presence_ttl_s;	  /* of a heartbeat */
	unsigned presence_batch_ms;	  /* how long heartbeats are gathered */
	bool presence_from_sockets;	  /* a user with a socket is online */
	unsigned max_notification_recipients;
	char **user_channels;	   /* of a user, with {id}; NULL: none */
	char **lock_steal_roles;   /* may take edit locks from others; NULL: none */
	unsigned viewing_ttl_s;	   /* of start-viewing */
	unsigned viewing_grace_ms; /* after the death of its socket */
};

#define CONF_ADMIN_HOST_SIZE 64

/* The admin listener. */
struct conf_admin {
	char *listen;			 /* "off", ADDRESS:PORT, or the path of a Unix socket */
	char **tokens;			 /* NAME:SCOPE:TOKEN, NULL-terminated; secret */
	bool local_read;		 /* clients on this machine may read without a token */
	char *tls_certificate, *tls_key; /* PEM files; "" for none */
	unsigned recorder_bytes;	 /* of the flight recorder; 0: no steps */
	unsigned audit_retention_days;	 /* 0: for ever */
};

/* The name of this node (heap): as configured, or the host's. */
char *conf_node(const struct conf_server *s) MUSTCHECK;
/* cluster.driver as it is written. */
const char *conf_cluster_driver(const struct conf_cluster *c);
/* The Redis of the nodes as HOST:PORT/DATABASE (heap), without the user and the password; "": none.
 */
char *conf_cluster_redis(const struct conf_cluster *c) MUSTCHECK;

bool conf_admin_is_off(const struct conf_admin *a);
bool conf_admin_is_unix(const struct conf_admin *a);
/* Takes ADDRESS:PORT or [ADDRESS]:PORT apart; false: it is neither. */
bool conf_admin_address(const struct conf_admin *a, char host[CONF_ADMIN_HOST_SIZE], unsigned *port)
	MUSTCHECK;

/* Delivery of webhooks. */
struct conf_webhooks {
	bool allow_private;		     /* addresses that are not of the public Internet */
	unsigned timeout_ms;		     /* of one request */
	unsigned retry_min_ms, retry_max_ms; /* the pause doubles from the one to the other */
	unsigned retry_for_s;		     /* after the first attempt; then it is a dead letter */
	unsigned smoothing_ms;	/* a channel or member that is back within it was never away */
	unsigned undelivered_s; /* a notification that reached no socket for so long is reported */
	unsigned compare_s;	/* how often what was reported is compared with what is true */
	unsigned memory_events; /* that may wait outside the database */
	bool batching;		/* of endpoints that do not set it */
	unsigned batch_events, batch_ms, batch_bytes; /* of one request with batching */
	unsigned dead_days;			      /* dead letters are kept; 0: for ever */
	char *ca_file; /* PEM; "": the system's certificate authorities */
};

struct conf_log {
	enum log_level level;
	enum log_format format;
	char *file; /* "" for standard error */
};

/* What one source set, as it is shown to operators. */
struct conf_setting {
	char *app_id; /* NULL: an option of the daemon */
	const struct option *option;
	char *value; /* as the source has it; NULL for a secret */
	char *label; /* the source: file, line and option, or variable, or flag */
};

struct conf {
	struct conf_server server;
	struct conf_database database;
	struct conf_cluster cluster;
	struct conf_sync sync;
	struct conf_admin admin;
	struct conf_webhooks webhooks;
	struct conf_log log;
	struct app_set *apps;	 /* of the file and environment */
	char *embedded_postgres; /* folder, or NULL */
	char *database_hint;	 /* why the database may not be the one that was meant; or NULL */
	bool migrate_only, check_only;
	bool print_routes; /* then nothing else is read */
	bool print_config;
	char **notes; /* NULL-terminated sentences worth a warning in the log; or NULL */
	struct conf_setting
		*settings; /* each option that a source set, once: the value that counts */
	size_t n_settings;
	char *waiting; /* names of options that a reload could not change, or NULL */
};

/*
 * Reads everything.  1: --help or --version was printed; 0; or with a line for each problem in
 * *why (heap): -EINVAL, a bad value (file, line, option and the allowed range are named); -ENOTSUP,
 * a command line that makes no sense; -ENOENT and kin for a file that cannot be read.
 *
 * Without --config the installed scopewire.conf is read if there is one.  Of an .env file or the
 * environment, DB_* count only if DB_CONNECTION is pgsql or not set; conf->notes names what was
 * ignored.
 */
int conf_load(int argc, char **argv, char **environ_, struct conf **out, char **why) MUSTCHECK;
void conf_free(struct conf *c);
/*
 * Names of options that differ and are read at start only, between ", " (heap); NULL when there is
 * none.  Never a value.
 */
char *conf_needs_restart(const struct conf *running, const struct conf *now) MUSTCHECK;
/*
 * Calls fn for each setting in force, under a lock; any thread.  A client of --print-config or of
 * scopewirectl, which has the configuration for itself, may read settings without it.
 */
void conf_settings_each(const struct conf *c, void (*fn)(void *ctx, const struct conf_setting *s),
			void *ctx);
/* Names of options whose new values, as of the last reload, need a restart (heap); NULL: none. */
char *conf_settings_waiting(const struct conf *c) MUSTCHECK;
/* A reload: running's settings become what is in force after it.  Takes the others from now. */
void conf_settings_reload(struct conf *running, struct conf *now);
/* Writes the options as roff for scopewire.conf(5), or as the example file; for the build. */
void conf_print_roff(FILE *out);
void conf_print_example(FILE *out);
void conf_print_help(FILE *out);
/*
 * Writes every option that a source set, with the source, in the form of scopewire.conf.  A secret
 * is named, without its value.
 */
void conf_print_settings(const struct conf *c, FILE *out);

/*
 * One app from name/value pairs of a section of the file, or of a row of the table apps.
 * 0 or -EINVAL with *why (heap).  Names are those of [app ID] in scopewire.conf(5); soketi's and
 * Reverb's names are accepted as aliases.
 */
struct app_option {
	const char *name, *value;
};
int app_build(const char *id, const struct app_option *options, size_t n, struct app **out,
	      char **why) MUSTCHECK;
/*
 * A set of those apps; later apps replace earlier ones of the same id.  -EEXIST with *why when two
 * apps share a key.  Takes the references, on failure too.
 */
int app_set_build(struct app **apps, size_t n, struct app_set **out, char **why) MUSTCHECK;
#endif

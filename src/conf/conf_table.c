/* SPDX-License-Identifier: MIT */
/*
 * The tables of options: constant.  How values are read is in conf_option.c.
 */
#include <limits.h>
#include "base/macros.h"
#include "conf/conf.h"
#include "conf/conf_table.h"

static const char *const cluster_drivers[] = { "local", "postgres", "redis", NULL };
static const char *const user_id_types[] = { "bigint", "text", NULL };
static const char *const log_levels[] = { "error", "warn", "info", "debug", NULL };
static const char *const log_formats[] = { "text", "json", NULL };
const char *const durabilities[] = { "commit", "async", "none", NULL };
static const char *const client_events_from[] = { "none", "members", "all", NULL };

#define AT(section_, field)                                                                        \
	.section = #section_, .name = #field, .offset = offsetof(struct conf, section_.field)
#define APP(name_, field)   .section = "app", .name = name_, .offset = offsetof(struct app, field)
#define LIMIT(name_, field) APP(name_, limits.field), .type = OPTION_UINT, .max = UINT_MAX
#define RANGE(min_, max_)   .type = OPTION_UINT, .min = (min_), .max = (max_)
#define PER_APP		    OPTION_RELOADABLE
#define PER_APP_LIMIT	    (OPTION_RELOADABLE | OPTION_LIMIT)

/* clang-format off */
const struct option conf_options[] = {
	{ AT(server, host), .type = OPTION_STRING, .fallback = "*",
	  .env = "REVERB_SERVER_HOST SOKETI_HOST",
	  .help = "Addresses to listen on, separated by commas; * is every address, IPv6 "
		  "and IPv4." },
	{ AT(server, port), RANGE(0, 65535), .fallback = "8080",
	  .env = "REVERB_SERVER_PORT SOKETI_PORT",
	  .help = "Port for WebSocket and HTTP clients; 0: the kernel chooses one." },
	{ AT(server, path), .type = OPTION_STRING, .fallback = "",
	  .env = "REVERB_SERVER_PATH SOKETI_PATH_PREFIX",
	  .help = "Prefix of all paths, such as /ws. The paths without it are served too." },
	{ AT(server, workers), RANGE(0, 64), .fallback = "0",
	  .help = "Threads that serve WebSocket connections; 0: one fewer than there are "
		  "cores." },
	{ AT(server, tls_certificate), .type = OPTION_STRING, .fallback = "",
	  .env = "SOKETI_SSL_CERT", .flags = OPTION_RELOADABLE,
	  .help = "PEM file with the certificate and its chain; serves wss and https on the same "
		  "port." },
	{ AT(server, tls_key), .type = OPTION_STRING, .fallback = "",
	  .env = "SOKETI_SSL_KEY", .flags = OPTION_RELOADABLE,
	  .help = "PEM file with the certificate's private key." },
	{ AT(server, max_connections), .flags = OPTION_LIMIT, RANGE(0, 10000000), .fallback = "0",
	  .help = "Most connections of this node; 0 is as many as file descriptors allow." },
	{ AT(server, trusted_proxies), .type = OPTION_PROXIES, .fallback = "127.0.0.0/8, ::1",
	  .help = "Addresses and ranges, such as 10.0.0.0/8, of proxies whose X-Forwarded-For, "
		  "X-Forwarded-Proto and Forwarded count; none for no proxy." },
	{ AT(server, max_connections_per_address), .flags = OPTION_LIMIT, RANGE(0, 10000000),
	  .fallback = "10000",
	  .help = "Most connections of one client address, or of one IPv6 network of 64 bits "
		  "(4100 beyond, 429 for HTTP). Behind a trusted proxy an HTTP request in "
		  "progress counts as a connection. Many users can share an address. Loopback has no "
		  "limit." },
	{ AT(server, max_handshakes_per_address), .flags = OPTION_LIMIT, RANGE(0, 1000000),
	  .unit = "handshakes/s", .fallback = "500",
	  .help = "WebSocket handshakes of one client address in a second (4100 beyond). Loopback "
		  "has no limit." },
	{ AT(server, max_unread_bytes_per_address), .flags = OPTION_LIMIT, RANGE(0, INT_MAX),
	  .unit = "bytes", .fallback = "33554432",
	  .help = "HTTP answers that one client address has requested and not read yet, in the "
		  "memory of the daemon; one more is refused with 503, and its connection "
		  "closed. One answer alone is never refused, and answers below 16 KB do not "
		  "count. A request other than GET and HEAD is refused before it is carried out, "
		  "when the answers reach the limit; once carried out, it is answered. Loopback "
		  "has no limit." },
	{ AT(server, backlog), RANGE(1, 65535), .fallback = "4096",
	  .help = "Connections that the kernel may hold before they are accepted." },
	{ AT(server, drain_wait_ms), RANGE(0, 600000), .unit = "milliseconds", .fallback = "0",
	  .help = "When the daemon stops, it first answers /ready with 503 and serves for this "
		  "long, so that a load balancer sends no new clients." },
	{ AT(server, drain_ms), RANGE(0, 600000), .unit = "milliseconds", .fallback = "3000",
	  .env = "SOKETI_SHUTDOWN_GRACE_PERIOD",
	  .help = "When the daemon stops, connections are closed so that clients reconnect, "
		  "spread over this time, and the error names it as the time over which they "
		  "are to spread their return." },
	{ AT(server, request_timeout_ms), RANGE(100, 600000), .unit = "milliseconds",
	  .fallback = "10000",
	  .help = "How long a client may take to send its whole request." },
	{ AT(server, max_header_bytes), RANGE(1024, 1048576), .unit = "bytes",
	  .fallback = "16384",
	  .help = "Largest head of an HTTP request." },
	{ AT(server, congestion_control), .type = OPTION_STRING, .fallback = "",
	  .help = "TCP congestion control of accepted connections, such as cubic or reno; empty "
		  "leaves the kernel's." },
	{ AT(server, node), .type = OPTION_STRING, .fallback = "",
	  .help = "Name of this node, in delivery records and in a cluster; empty is the host's name." },
	{ AT(server, state_dir), .type = OPTION_STRING, .fallback = "",
	  .env = "STATE_DIRECTORY",
	  .help = "Folder for a file with the position of the last delivered event, by "
		  "which a restored database is detected; empty is the folder of the "
		  "embedded PostgreSQL, or no file." },
	{ AT(server, demo), .type = OPTION_BOOL, .fallback = "no",
	  .help = "Serves the demo page and its helpers, to this machine only." },
	{ AT(server, demo_dir), .type = OPTION_STRING, .fallback = "",
	  .help = "Folder of the demo page; empty is where it was installed." },
	{ AT(server, user), .type = OPTION_STRING, .fallback = "",
	  .help = "User to change to after a start as root; empty: no change." },

	{ AT(database, dsn), .type = OPTION_STRING, .fallback = "", .flags = OPTION_SECRET,
	  .env = "DB_URL DATABASE_URL",
	  .help = "Connection string or postgresql:// address; replaces the options from "
		  "host to sslkey." },
	{ AT(database, host), .type = OPTION_STRING, .fallback = "",
	  .env = "DB_HOST",
	  .help = "Host, or folder of the Unix socket; empty is libpq's default." },
	{ AT(database, port), RANGE(1, 65535), .fallback = "5432",
	  .env = "DB_PORT",
	  .help = "Port." },
	{ AT(database, name), .type = OPTION_STRING, .fallback = "scopewire",
	  .env = "DB_DATABASE",
	  .help = "Database." },
	{ AT(database, user), .type = OPTION_STRING, .fallback = "scopewire",
	  .env = "DB_USERNAME",
	  .help = "Role." },
	{ AT(database, password), .type = OPTION_STRING, .fallback = "", .flags = OPTION_SECRET,
	  .env = "DB_PASSWORD",
	  .help = "Password of the role." },
	{ AT(database, sslmode), .type = OPTION_STRING, .fallback = "",
	  .env = "DB_SSLMODE",
	  .help = "TLS to the database as libpq names it, such as require or verify-full; empty is "
		  "libpq's default." },
	{ AT(database, sslrootcert), .type = OPTION_STRING, .fallback = "",
	  .help = "File with the certificates of authorities that sslmode verifies; empty is "
		  "libpq's default." },
	{ AT(database, sslcert), .type = OPTION_STRING, .fallback = "",
	  .help = "File with the daemon's certificate for the database; empty is libpq's "
		  "default." },
	{ AT(database, sslkey), .type = OPTION_STRING, .fallback = "",
	  .help = "File with the key of sslcert; empty is libpq's default." },
	{ AT(database, connect_timeout_s), RANGE(1, 600), .unit = "seconds", .fallback = "5",
	  .help = "How long one attempt to connect may take." },
	{ AT(database, schema), .type = OPTION_STRING, .fallback = "scopewire",
	  .help = "Schema that holds the tables and functions." },
	{ AT(database, required), .type = OPTION_BOOL, .fallback = "yes",
	  .help = "With no, the daemon also starts without a database, serves connections, and "
		  "uses the database when it comes; until then publishes that must be committed "
		  "are answered with 503." },
	{ AT(database, takeover_wait_s), RANGE(0, 600), .unit = "seconds", .fallback = "30",
	  .help = "One daemon at a time uses a database, or several nodes of different names. A "
		  "daemon that finds another one in its place waits so long for its end, and then "
		  "exits; likewise for a session of another role that holds the lock for "
		  "migrations." },
	{ AT(database, commit_timeout_ms), RANGE(10, 600000), .unit = "milliseconds",
	  .fallback = "3000",
	  .help = "A publish that must be committed waits no longer than this; then it is "
		  "answered with 503." },
	{ AT(database, batch_events), RANGE(1, 10000), .unit = "events", .fallback = "1000",
	  .help = "Most events in one commit." },
	{ AT(database, linger_us), RANGE(0, 1000000), .unit = "microseconds", .fallback = "1000",
	  .help = "The longest time that a commit waits for publishers that were just "
		  "answered to publish again; otherwise it waits for half the time that the "
		  "last commit took." },
	{ AT(database, linger_rate), RANGE(0, 10000000), .unit = "events/s", .fallback = "5000",
	  .help = "The rate above which the wait is always linger_us." },
	{ AT(database, sql_fallback_ms), RANGE(10, 3600000), .unit = "milliseconds",
	  .fallback = "250",
	  .help = "How often the daemon polls for events published from SQL without a "
		  "notification." },
	{ AT(database, notify_queue_alarm), RANGE(0, 100), .unit = "percent", .fallback = "25",
	  .help = "An error is logged when PostgreSQL's queue of notifications is fuller "
		  "than this; when it is full, commits fail." },
	{ AT(database, queue_events), RANGE(1, 100000000), .unit = "events",
	  .fallback = "100000",
	  .help = "Most async events that wait while the database is unavailable." },
	{ AT(database, queue_bytes), RANGE(65536, INT_MAX), .unit = "bytes",
	  .fallback = "67108864",
	  .help = "Most bytes of them." },
	{ AT(database, partition_rows), RANGE(1000, 2000000000), .unit = "events",
	  .fallback = "2000000",
	  .help = "Events in one partition of realtime_events." },
	{ AT(database, partitions_ahead), RANGE(1, 100), .fallback = "2",
	  .help = "Empty partitions that are kept ready." },
	{ AT(database, retention_age), .flags = OPTION_LIMIT, RANGE(0, 876000), .unit = "hours",
	  .fallback = "0",
	  .help = "Events older than this are deleted from the log, a partition at a time; "
		  "30d is thirty days." },
	{ AT(database, retention_size), .flags = OPTION_LIMIT, RANGE(0, INT_MAX), .unit = "MiB",
	  .fallback = "0",
	  .help = "When the log and its delivery records use more than this on disk, their "
		  "oldest partitions are dropped; 20G is 20480." },
	{ AT(database, replay_timeout_ms), RANGE(100, 600000), .unit = "milliseconds",
	  .fallback = "10000",
	  .help = "A subscription with since waits no longer than this for the database; "
		  "then the client receives scopewire:resync." },
	{ AT(database, replay_connections), RANGE(1, 32), .fallback = "2",
	  .help = "Connections that read the log for such subscriptions." },
	{ AT(database, deliveries), .type = OPTION_BOOL, .fallback = "yes",
	  .help = "Records in realtime_deliveries to how many connections each event was "
		  "delivered." },

	{ AT(cluster, driver), .type = OPTION_ENUM, .words = cluster_drivers,
	  .fallback = "local", .env = "REVERB_SCALING_ENABLED",
	  .help = "local: one daemon uses the database. postgres: any number of them, which reach "
		  "each other through it. redis: they reach each other through Redis or Valkey; the "
		  "database is shared all the same. REVERB_SCALING_ENABLED=true is redis; false "
		  "changes nothing." },
	{ AT(cluster, lease_ms), RANGE(2000, 600000), .unit = "milliseconds",
	  .fallback = "10000",
	  .help = "A node that could not renew its lease for this long counts as ended. It renews "
		  "the lease five times in it." },
	{ AT(cluster, prefix), .type = OPTION_STRING, .fallback = "scopewire",
	  .env = "REVERB_SCALING_CHANNEL",
	  .help = "First part of the names of the nodes' channels in PostgreSQL and Redis, the same "
		  "on all nodes. Clusters that share a Redis have different ones." },
	{ AT(cluster, redis_url), .type = OPTION_STRING, .fallback = "", .flags = OPTION_SECRET,
	  .env = "REDIS_URL",
	  .help = "redis://user:password@host:port/db, or rediss:// for TLS; what it has replaces "
		  "the options redis_host to redis_db." },
	{ AT(cluster, redis_host), .type = OPTION_STRING, .fallback = "127.0.0.1",
	  .env = "REDIS_HOST",
	  .help = "Host of Redis or Valkey, of one server of a Redis Cluster, or the path of a Unix "
		  "socket. A Redis Cluster is recognized, and needs Redis 7 or Valkey." },
	{ AT(cluster, redis_port), RANGE(0, 65535), .fallback = "6379",
	  .env = "REDIS_PORT",
	  .help = "Port; of no use with a Unix socket." },
	{ AT(cluster, redis_username), .type = OPTION_STRING, .fallback = "",
	  .env = "REDIS_USERNAME",
	  .help = "User of Redis (ACL); empty is the user default." },
	{ AT(cluster, redis_password), .type = OPTION_STRING, .fallback = "", .flags = OPTION_SECRET,
	  .env = "REDIS_PASSWORD",
	  .help = "Password of that user; empty is none." },
	{ AT(cluster, redis_db), RANGE(0, 1000000), .fallback = "0",
	  .env = "REDIS_DB",
	  .help = "Number of the database in Redis. Nodes with different numbers do not reach each "
		  "other. A Redis Cluster has 0 only." },
	{ AT(cluster, redis_tls), .type = OPTION_BOOL, .fallback = "no",
	  .help = "TLS to Redis. The certificate of the server and its name are always verified." },
	{ AT(cluster, redis_tls_ca), .type = OPTION_STRING, .fallback = "",
	  .help = "PEM file with the certificates of the authorities that are trusted for it; empty "
		  "is the system's." },
	{ AT(cluster, redis_tls_certificate), .type = OPTION_STRING, .fallback = "",
	  .help = "PEM file with the daemon's certificate for Redis; empty is none." },
	{ AT(cluster, redis_tls_key), .type = OPTION_STRING, .fallback = "",
	  .help = "PEM file with the key of redis_tls_certificate." },

	{ AT(sync, user_id), .type = OPTION_ENUM, .words = user_id_types, .fallback = "bigint",
	  .help = "Type of the ids of users in the sync API: bigint, positive integers, or text, 1 to "
		  "128 letters, digits and -_=@; such as UUIDs and ULIDs. The first start makes the "
		  "tables with it; afterwards a script converts them." },
	{ AT(sync, connections), RANGE(2, 32), .fallback = "6",
	  .help = "Connections to the database that serve /api/sync. An application uses at "
		  "most all but one of them at a time, and half of them for requests that "
		  "write." },
	{ AT(sync, authorize_connections), RANGE(2, 32), .fallback = "3",
	  .help = "Connections to the database for /broadcasting/auth and for publishes with an "
		  "idempotency key." },
	{ AT(sync, max_waiting), RANGE(1, 1000000), .unit = "requests", .fallback = "10000",
	  .help = "Most requests that wait for the database; more are answered with 503." },
	{ AT(sync, statement_timeout_ms), RANGE(10, 600000), .unit = "milliseconds",
	  .fallback = "5000",
	  .help = "How long the database may work on one request." },
	{ AT(sync, lock_wait_ms), RANGE(10, 600000), .unit = "milliseconds", .fallback = "400",
	  .help = "How long a request may wait for a lock that another transaction holds; then "
		  "it is answered with 503." },
	{ AT(sync, max_user_calls), .flags = OPTION_LIMIT, RANGE(0, 1000000),
	  .unit = "requests", .fallback = "32",
	  .help = "Most requests of one user that wait for their answers; more are answered "
		  "with 429." },
	{ AT(sync, max_app_calls), .flags = OPTION_LIMIT, RANGE(0, 1000000),
	  .unit = "requests", .fallback = "5000",
	  .help = "Most requests for one application, of its server and its users, that wait "
		  "for their answers; more are answered with 429." },
	{ AT(sync, rule_connections), RANGE(1, 32), .fallback = "4",
	  .help = "Connections to the database for the predicates of channel rules, so that "
		  "slow ones delay nothing else." },
	{ AT(sync, rule_timeout_ms), RANGE(10, 60000), .unit = "milliseconds", .fallback = "500",
	  .help = "How long the predicates of a channel may take; then the caller is "
		  "answered with 503." },
	{ AT(sync, auth_url_timeout_ms), RANGE(10, 60000), .unit = "milliseconds",
	  .fallback = "3000",
	  .help = "How long the auth_url of an application may take to answer; after that "
		  "/broadcasting/auth answers 503. Addresses and certificates are checked as "
		  "webhooks.allow_private and webhooks.ca_file state." },
	{ AT(sync, rule_cache_ms), RANGE(0, 3600000), .unit = "milliseconds", .fallback = "0",
	  .help = "How long the result of a predicate may be reused. Other rules need no "
		  "limit: the daemon is notified of their changes." },
	{ AT(sync, max_request_bytes), RANGE(1024, 67108864), .unit = "bytes",
	  .fallback = "262144",
	  .help = "Largest body of a request to /api/sync." },
	{ AT(sync, activity_retention_days), RANGE(0, 36500), .unit = "days", .fallback = "0",
	  .help = "Activities older than this are deleted; 0 keeps them." },
	{ AT(sync, presence_channels), .type = OPTION_LIST,
	  .fallback = "presence-presence.online presence-online",
	  .help = "Channels on which changes of a user's status are broadcast "
		  "(UserPresenceChanged); users that may subscribe to one of them may list "
		  "online users." },
	{ AT(sync, presence_ttl_s), RANGE(1, 86400), .unit = "seconds", .fallback = "150",
	  .help = "A user without a heartbeat for this time is offline." },
	{ AT(sync, presence_batch_ms), RANGE(10, 1000), .unit = "milliseconds",
	  .fallback = "250",
	  .help = "Heartbeats are collected for this time and written in one statement." },
	{ AT(sync, presence_from_sockets), .type = OPTION_BOOL, .fallback = "yes",
	  .help = "A user that is signed in on a connection, or on a presence channel, is "
		  "online without heartbeats." },
	{ AT(sync, changes_retention_days), RANGE(0, 36500), .unit = "days", .fallback = "30",
	  .help = "How long the data sync remembers mutations and deleted resources; "
		  "clients that were away longer start again. 0: for ever." },
	{ AT(sync, max_notification_recipients), RANGE(1, 10000), .unit = "users",
	  .fallback = "1000",
	  .help = "Most recipients of one notification." },
	{ AT(sync, user_channels), .type = OPTION_LIST,
	  .fallback = "private-App.Models.User.{id}",
	  .help = "Channels of a user, where {id} is the user's id: notifications, their unread "
		  "count, and what happens to the user's edit locks are broadcast on each. A name "
		  "without {id} is ignored. Channel rules decide who may subscribe." },
	{ AT(sync, lock_steal_roles), .type = OPTION_LIST, .fallback = "",
	  .help = "Roles whose users may take an edit lock from its holder, if a channel rule lets "
		  "them change the resource. Empty: only the application's server may." },
	{ AT(sync, viewing_ttl_s), RANGE(1, 3600), .unit = "seconds", .fallback = "150",
	  .help = "A viewer that does not repeat start-viewing within this time is removed, "
		  "unless the call gave another time." },
	{ AT(sync, viewing_grace_ms), RANGE(0, 600000), .unit = "milliseconds",
	  .fallback = "3000",
	  .help = "A viewer, an edit lock that a connection holds, and the presence of a user whose "
		  "heartbeats name a connection, end this long after the connection closed." },
	{ AT(sync, user_activity_types), .type = OPTION_STRING, .fallback = "",
	  .help = "Types of activities that users may add to the feed, separated by commas, such "
		  "as \"comment_added, file_*\". Empty: none; the application's server adds "
		  "all." },
	{ AT(sync, event_namespace), .type = OPTION_STRING, .fallback = "App\\Events\\",
	  .help = "Prefix of the names of the sync API's own events: Echo's "
		  "listen('UserPresenceChanged') listens for "
		  "App\\Events\\UserPresenceChanged. Empty for the bare names, as in "
		  "listen('.UserPresenceChanged')." },

	{ AT(admin, listen), .type = OPTION_STRING, .fallback = "off",
	  .help = "Where metrics and the state of the daemon are served to operators, apart from "
		  "the public port: an address with a port, such as 127.0.0.1:8081, or the path of "
		  "a Unix socket; off for nowhere. An address that other machines reach needs "
		  "tls_certificate and tokens." },
	{ AT(admin, tokens), .type = OPTION_LIST, .fallback = "",
	  .flags = OPTION_SECRET | OPTION_RELOADABLE,
	  .help = "Tokens for it, each NAME:SCOPE:TOKEN, for the header Authorization: Bearer "
		  "TOKEN. The scope metrics is for /metrics, read for everything that changes "
		  "nothing, write for everything. A token has at least 24 characters." },
	{ AT(admin, local_read), .type = OPTION_BOOL, .fallback = "no", .flags = OPTION_RELOADABLE,
	  .help = "Clients on this machine, and those of the Unix socket, may read without a "
		  "token. Each user of the machine then can." },
	{ AT(admin, tls_certificate), .type = OPTION_STRING, .fallback = "",
	  .flags = OPTION_RELOADABLE,
	  .help = "PEM file with the certificate and its chain; the listener then serves https "
		  "only." },
	{ AT(admin, tls_key), .type = OPTION_STRING, .fallback = "", .flags = OPTION_RELOADABLE,
	  .help = "PEM file with the certificate's private key." },
	{ AT(admin, recorder_bytes), RANGE(0, 1073741824), .unit = "bytes", .fallback = "33554432",
	  .help = "What the flight recorder may keep: the last 100 steps of each connection, such "
		  "as subscriptions and refusals, also of connections that have closed. The oldest "
		  "are forgotten first. 0 keeps none." },

	{ AT(admin, audit_retention_days), RANGE(0, 36500), .unit = "days", .fallback = "0",
	  .help = "Rows of the table admin_audit that are older than this are deleted; 0 keeps "
		  "them. Rows of the last 30 days always stay." },

	{ AT(webhooks, allow_private), .type = OPTION_BOOL, .fallback = "yes",
	  .help = "Whether webhooks may be sent to addresses that are not of the public Internet, "
		  "such as 10.0.0.0/8 and this machine. Set it to no where others than the "
		  "operator choose the URLs." },
	{ AT(webhooks, ca_file), .type = OPTION_STRING, .fallback = "",
	  .help = "PEM file with the certificates of authorities that endpoints with https are "
		  "verified by; empty is the system's." },
	{ AT(webhooks, timeout_ms), RANGE(10, 60000), .unit = "milliseconds", .fallback = "10000",
	  .help = "How long one attempt may take." },
	{ AT(webhooks, retry_min_ms), RANGE(1, 3600000), .unit = "milliseconds",
	  .fallback = "1000",
	  .help = "The pause after the first attempt that failed; it doubles with each further "
		  "one." },
	{ AT(webhooks, retry_max_ms), RANGE(1, 3600000), .unit = "milliseconds",
	  .fallback = "60000",
	  .help = "The longest pause between two attempts." },
	{ AT(webhooks, retry_for_s), RANGE(0, 604800), .unit = "seconds", .fallback = "300",
	  .help = "How long after its first attempt a webhook is retried; then it is a dead "
		  "letter, and the next one of the channel is sent." },
	{ AT(webhooks, dead_days), RANGE(0, 36500), .unit = "days", .fallback = "30",
	  .help = "How long dead letters are kept; 0 keeps them." },
	{ AT(webhooks, smoothing_ms), RANGE(0, 600000), .unit = "milliseconds",
	  .fallback = "3000",
	  .help = "A channel that is occupied again within this time, and a member that is back, "
		  "causes no webhook." },
	{ AT(webhooks, undelivered_s), RANGE(1, 86400), .unit = "seconds", .fallback = "30",
	  .help = "A notification that has reached no socket for so long, and is unread, is "
		  "reported with notification_undelivered. That needs database.deliveries." },
	{ AT(webhooks, compare_s), RANGE(1, 86400), .unit = "seconds", .fallback = "60",
	  .help = "How often the channels and members that were reported are compared with those "
		  "that exist; differences are reported." },
	{ AT(webhooks, memory_events), RANGE(100, 10000000), .unit = "events",
	  .fallback = "10000",
	  .help = "Most webhooks that wait outside the database, which they do while it is not "
		  "available; more are dropped, and that is logged." },
	{ AT(webhooks, batching), .type = OPTION_BOOL, .fallback = "no",
	  .env = "SOKETI_WEBHOOKS_BATCHING",
	  .help = "Whether one request has several events, for endpoints without a batching of "
		  "their own." },
	{ AT(webhooks, batch_ms), RANGE(0, 60000), .unit = "milliseconds", .fallback = "250",
	  .env = "SOKETI_WEBHOOKS_BATCHING_DURATION",
	  .help = "How long events are collected for a request with batching." },
	{ AT(webhooks, batch_events), RANGE(1, 1000), .unit = "events", .fallback = "50",
	  .help = "Most events of a request with batching." },
	{ AT(webhooks, batch_bytes), RANGE(1024, 16777216), .unit = "bytes",
	  .fallback = "262144",
	  .help = "Most bytes of a request with batching; one event is sent whatever its size." },

	{ AT(log, level), .type = OPTION_ENUM, .words = log_levels, .fallback = "info",
	  .flags = OPTION_RELOADABLE,
	  .help = "Lines less severe than this are not logged." },
	{ AT(log, format), .type = OPTION_ENUM, .words = log_formats, .fallback = "text",
	  .flags = OPTION_RELOADABLE,
	  .help = "What a line is: a text, or a JSON object with the members at, level and text." },
	{ AT(log, file), .type = OPTION_STRING, .fallback = "", .flags = OPTION_RELOADABLE,
	  .help = "The absolute path of a file that lines are appended to; empty for standard error. A reload "
		  "opens it again, so that logrotate can rename it. What is logged before the "
		  "configuration is read goes to standard error." },
};
const size_t n_conf_options = ARRAY_SIZE(conf_options);

const struct option app_options[] = {
	{ APP("key", key), .type = OPTION_STRING, .fallback = "",
	  .flags = PER_APP | OPTION_REQUIRED,
	  .env = "REVERB_APP_KEY SOKETI_DEFAULT_APP_KEY",
	  .help = "The public key that clients and servers use." },
	{ APP("secret", secret_text), .type = OPTION_STRING, .fallback = "",
	  .flags = PER_APP | OPTION_SECRET | OPTION_REQUIRED,
	  .env = "REVERB_APP_SECRET SOKETI_DEFAULT_APP_SECRET",
	  .help = "The secret that servers sign with." },
	{ APP("token_secret", token_secret_text), .type = OPTION_STRING, .fallback = "",
	  .flags = PER_APP | OPTION_SECRET,
	  .help = "The key that signs users' bearer tokens (JSON Web Tokens, HS256), 32 bytes or "
		  "more. Empty: the HMAC-SHA256 of \"scopewire-token\" with the secret, in "
		  "hexadecimal digits. Tokens that are signed with the secret itself are accepted "
		  "too." },
	{ APP("previous_secret", previous_secret_text), .type = OPTION_STRING, .fallback = "",
	  .flags = PER_APP | OPTION_SECRET,
	  .help = "The secret before the last change. What it signed is accepted too, so that "
		  "servers and pages need not change at the same moment; Scopewire itself signs "
		  "with the secret." },
	{ APP("previous_token_secret", previous_token_secret_text), .type = OPTION_STRING,
	  .fallback = "", .flags = PER_APP | OPTION_SECRET,
	  .help = "The token_secret before the last change; tokens of it are accepted too. Empty: "
		  "made of previous_secret, as token_secret is of the secret." },
	{ APP("encryption_master_key", master_key_text), .type = OPTION_STRING, .fallback = "",
	  .flags = PER_APP | OPTION_SECRET,
	  .aliases = "encryption_master_key_base64",
	  .help = "32 bytes in base64, the same that publishers encrypt with; /broadcasting/auth "
		  "needs it for private-encrypted- channels." },
	{ APP("enabled", enabled), .type = OPTION_BOOL, .fallback = "yes", .flags = PER_APP,
	  .env = "SOKETI_DEFAULT_APP_ENABLED",
	  .help = "With no, connections are refused (4003) and requests are answered with "
		  "403." },
	{ APP("tls_only", tls_only), .type = OPTION_BOOL, .fallback = "no", .flags = PER_APP,
	  .help = "Refuses connections without TLS (4000)." },
	{ APP("allowed_origins", allowed_origins), .type = OPTION_LIST, .fallback = "*",
	  .flags = PER_APP,
	  .help = "Origins that browsers may connect from: hosts such as *.example.com, or whole "
		  "origins such as https://app.example.com:8443; * matches any run of "
		  "characters." },
	{ APP("client_events", client_events), .type = OPTION_ENUM, .words = client_events_from,
	  .fallback = "none", .flags = PER_APP | OPTION_BOOL_TOO,
	  .env = "SOKETI_DEFAULT_APP_ENABLE_CLIENT_MESSAGES REVERB_APP_ACCEPT_CLIENT_EVENTS_FROM",
	  .aliases = "enable_client_messages accept_client_events_from",
	  .help = "Which clients may send client events (whispers): none, subscribers of "
		  "the channel (members, yes), or any connection (all)." },
	{ APP("user_authentication", user_authentication), .type = OPTION_BOOL, .fallback = "no",
	  .flags = PER_APP, .aliases = "enable_user_authentication",
	  .env = "SOKETI_DEFAULT_APP_USER_AUTHENTICATION",
	  .help = "Lets clients sign in as a user (pusher:signin)." },
	{ APP("subscription_count", subscription_count), .type = OPTION_BOOL, .fallback = "no",
	  .flags = PER_APP, .aliases = "enable_subscription_count",
	  .help = "Sends subscribers their number (pusher:subscription_count)." },
	{ APP("durability", durability), .type = OPTION_ENUM, .words = durabilities,
	  .fallback = "commit", .flags = PER_APP,
	  .help = "When a published event is answered: once committed to the database, at once "
		  "and written soon after (async), or at once and never written (none)." },
	{ APP("channel_durability", rules), .type = OPTION_RULES, .fallback = "",
	  .flags = PER_APP,
	  .help = "Other durabilities by channel, as PATTERN:DURABILITY separated by "
		  "commas; the first that matches is used. Example: cursor-*:none, "
		  "private-log-*:async" },
	{ APP("activity_timeout", activity_timeout_s), RANGE(1, 86400), .unit = "seconds",
	  .fallback = "120", .flags = PER_APP, .env = "REVERB_APP_ACTIVITY_TIMEOUT",
	  .help = "Silence after which clients send a ping; sent to them at connect." },
	{ APP("ping_interval", ping_interval_s), RANGE(1, 86400), .unit = "seconds",
	  .fallback = "60", .flags = PER_APP, .env = "REVERB_APP_PING_INTERVAL",
	  .help = "Silence of a client after which the server sends a ping." },
	{ APP("pong_timeout", pong_timeout_s), RANGE(1, 86400), .unit = "seconds",
	  .fallback = "30", .flags = PER_APP,
	  .help = "Silence after that ping which closes the connection (4201)." },
	{ APP("member_removed_delay_ms", member_removed_delay_ms), RANGE(0, 600000),
	  .unit = "milliseconds", .fallback = "3000", .flags = PER_APP,
	  .help = "A presence member whose connection was lost and who is back within this time "
		  "is not reported as removed." },
	{ APP("cache_ttl", cache_ttl_s), RANGE(1, 31536000), .unit = "seconds",
	  .fallback = "1800", .flags = PER_APP,
	  .env = "SOKETI_CHANNEL_CACHE_TTL",
	  .help = "How long cache channels keep their last event." },
	{ APP("token_grace", token_grace_s), RANGE(0, 31536000), .unit = "seconds",
	  .fallback = "60", .flags = PER_APP,
	  .help = "How long after its token expired a subscription that /broadcasting/auth "
		  "authorized ends, unless the client extends it with a new token." },
	{ LIMIT("max_connections", max_connections), .fallback = "0", .flags = PER_APP_LIMIT,
	  .env = "SOKETI_DEFAULT_APP_MAX_CONNS REVERB_APP_MAX_CONNECTIONS",
	  .help = "Most connections of the app on this node (4004 beyond)." },
	{ LIMIT("max_message_bytes", max_message_bytes), .unit = "bytes", .fallback = "65536",
	  .flags = PER_APP_LIMIT, .env = "REVERB_APP_MAX_MESSAGE_SIZE",
	  .aliases = "max_message_size",
	  .help = "Largest WebSocket message of a client." },
	{ LIMIT("max_request_bytes", max_request_bytes), .unit = "bytes", .fallback = "1048576",
	  .flags = PER_APP_LIMIT, .env = "REVERB_MAX_REQUEST_SIZE",
	  .aliases = "max_request_size",
	  .help = "Largest body of an HTTP request." },
	{ LIMIT("max_event_payload_bytes", max_event_payload_bytes), .unit = "bytes",
	  .fallback = "10240", .flags = PER_APP_LIMIT, .alias_kb = "max_event_payload_in_kb",
	  .env_kb = "SOKETI_EVENT_MAX_SIZE_IN_KB",
	  .help = "Largest data of an event: over HTTP, from SQL and from a client." },
	{ LIMIT("max_channel_name_bytes", max_channel_name_bytes), .unit = "bytes",
	  .fallback = "200", .flags = PER_APP_LIMIT, .aliases = "max_channel_name_length",
	  .env = "SOKETI_CHANNEL_LIMITS_MAX_NAME_LENGTH",
	  .help = "Longest name of a channel." },
	{ LIMIT("max_event_name_bytes", max_event_name_bytes), .unit = "bytes",
	  .fallback = "200", .flags = PER_APP_LIMIT, .aliases = "max_event_name_length",
	  .env = "SOKETI_EVENT_MAX_NAME_LENGTH",
	  .help = "Longest name of an event." },
	{ LIMIT("max_event_channels", max_event_channels), .unit = "channels",
	  .fallback = "100", .flags = PER_APP_LIMIT, .aliases = "max_event_channels_at_once",
	  .env = "SOKETI_EVENT_MAX_CHANNELS_AT_ONCE",
	  .help = "Most channels of one published event." },
	{ LIMIT("max_batch_events", max_batch_events), .unit = "events", .fallback = "10",
	  .flags = PER_APP_LIMIT, .aliases = "max_event_batch_size",
	  .env = "SOKETI_EVENT_MAX_BATCH_SIZE",
	  .help = "Most events of one batch." },
	{ LIMIT("max_channels_per_connection", max_channels_per_connection), .unit = "channels",
	  .fallback = "1000", .flags = PER_APP_LIMIT,
	  .help = "Most subscriptions of one connection." },
	{ LIMIT("max_presence_members", max_presence_members), .unit = "users",
	  .fallback = "100", .flags = PER_APP_LIMIT,
	  .aliases = "max_presence_members_per_channel",
	  .env = "SOKETI_PRESENCE_MAX_MEMBERS",
	  .help = "Most members of a presence channel." },
	{ LIMIT("max_presence_member_bytes", max_presence_member_bytes), .unit = "bytes",
	  .fallback = "1024", .flags = PER_APP_LIMIT,
	  .alias_kb = "max_presence_member_size_in_kb",
	  .env_kb = "SOKETI_PRESENCE_MAX_MEMBER_SIZE",
	  .help = "Largest user_info of a member." },
	{ LIMIT("max_user_id_bytes", max_user_id_bytes), .unit = "bytes", .fallback = "128",
	  .flags = PER_APP_LIMIT,
	  .help = "Longest id of a user." },
	{ LIMIT("max_watchlist", max_watchlist), .unit = "users", .fallback = "100",
	  .flags = PER_APP_LIMIT,
	  .help = "Most users that a signed-in user may watch; further ones are ignored "
		  "(4302)." },
	{ LIMIT("max_client_events_per_second", max_client_events_per_second),
	  .unit = "events/s", .fallback = "10", .flags = PER_APP_LIMIT,
	  .aliases = "max_client_events_per_sec",
	  .env = "SOKETI_DEFAULT_APP_MAX_CLIENT_EVENTS_PER_SEC",
	  .help = "Client events of one connection; beyond that error 4301." },
	{ LIMIT("max_backend_events_per_second", max_backend_events_per_second),
	  .unit = "events/s", .fallback = "0", .flags = PER_APP_LIMIT,
	  .aliases = "max_backend_events_per_sec",
	  .env = "SOKETI_DEFAULT_APP_MAX_BACKEND_EVENTS_PER_SEC",
	  .help = "Events published over HTTP; beyond that 429." },
	{ LIMIT("max_read_requests_per_second", max_read_requests_per_second),
	  .unit = "requests/s", .fallback = "0", .flags = PER_APP_LIMIT,
	  .aliases = "max_read_req_per_sec",
	  .env = "SOKETI_DEFAULT_APP_MAX_READ_REQ_PER_SEC",
	  .help = "Reading HTTP requests; beyond that 429." },
	{ LIMIT("max_user_requests_per_second", max_user_requests_per_second),
	  .unit = "requests/s", .fallback = "500", .flags = PER_APP_LIMIT,
	  .help = "Requests of one user to the sync API and /broadcasting, each change of a "
		  "batch counted; beyond that 429. A user's requests do not count as "
		  "requests of the application's server." },
	{ LIMIT("max_user_bytes_per_second", max_user_bytes_per_second), .unit = "bytes/s",
	  .fallback = "1048576", .flags = PER_APP_LIMIT,
	  .help = "Bytes of the bodies that one user sends to the sync API; beyond that 429." },
	{ LIMIT("max_user_bytes_per_day", max_user_bytes_per_day), .unit = "bytes",
	  .fallback = "104857600", .flags = PER_APP_LIMIT,
	  .help = "The same over a day, which bounds what one user can add to the database; beyond "
		  "that 429. It is refilled evenly over the day, and is full after a restart." },
	{ LIMIT("max_all_users_requests_per_second", max_all_users_requests_per_second),
	  .unit = "requests/s", .fallback = "0", .flags = PER_APP_LIMIT,
	  .help = "Requests of all users together, counted in the same way; beyond that 429." },
	{ LIMIT("max_outbox_bytes", max_outbox_bytes), .unit = "bytes", .fallback = "1048576",
	  .flags = PER_APP_LIMIT,
	  .help = "A connection that reads so slowly that more than this waits for it is "
		  "closed." },
	{ LIMIT("max_outbox_messages", max_outbox_messages), .unit = "messages",
	  .fallback = "4096", .flags = PER_APP_LIMIT,
	  .help = "The same, in messages." },
	{ LIMIT("max_replay_events", max_replay_events), .unit = "events", .fallback = "5000",
	  .flags = PER_APP_LIMIT,
	  .help = "Most missed events that are replayed to one subscription; a client that "
		  "missed more receives scopewire:resync." },
	{ LIMIT("max_replay_age", max_replay_age_s), .unit = "seconds", .fallback = "604800",
	  .flags = PER_APP_LIMIT,
	  .help = "Events that are older than this are not replayed; a client that missed one "
		  "receives scopewire:resync." },
	{ APP("auth_url", auth_url), .type = OPTION_STRING, .fallback = "",
	  .flags = PER_APP | OPTION_SECRET,
	  .help = "Where the application answers who may join a channel: /broadcasting/auth queries it "
		  "in place of the channel rules, once for all channels of a request, and remembers the "
		  "answer for the time that it states. The sync API's own rights stay with the rules. "
		  "Empty: the rules decide." },
	{ APP("webhooks", webhooks), .type = OPTION_WEBHOOKS, .fallback = "",
	  .flags = PER_APP | OPTION_SECRET, .env = "SOKETI_DEFAULT_APP_WEBHOOKS",
	  .help = "Endpoints that are sent changes of channels, as JSON: [{\"url\": \"https://...\", "
		  "\"event_types\": [\"channel_occupied\"], \"filter\": "
		  "{\"channel_name_starts_with\": \"private-\"}, \"headers\": {\"X-Name\": "
		  "\"value\"}, \"batching\": false}]. Only url is required; without event_types all "
		  "events are sent." },
	{ APP("rate_limiting", limits.message_rate), .type = OPTION_BOOL, .fallback = "no",
	  .flags = PER_APP,
	  .env = "REVERB_APP_RATE_LIMITING_ENABLED",
	  .aliases = "rate_limiting_enabled",
	  .help = "Limits the number of messages of any kind that a connection may send." },
	{ APP("rate_limiting_max_attempts", limits.message_rate_max_attempts),
	  RANGE(1, UINT_MAX), .unit = "messages", .fallback = "60", .flags = PER_APP,
	  .env = "REVERB_APP_RATE_LIMITING_MAX_ATTEMPTS REVERB_APP_RATE_LIMIT_MAX_ATTEMPTS",
	  .help = "Messages within rate_limiting_decay_seconds, when rate_limiting is on." },
	{ APP("rate_limiting_decay_seconds", limits.message_rate_decay_s), RANGE(1, 86400),
	  .unit = "seconds", .fallback = "60", .flags = PER_APP,
	  .env = "REVERB_APP_RATE_LIMITING_DECAY_SECONDS REVERB_APP_RATE_LIMIT_DECAY_SECONDS",
	  .help = "The window of rate_limiting_max_attempts." },
	{ APP("rate_limiting_terminate_on_limit", limits.message_rate_terminate),
	  .type = OPTION_BOOL, .fallback = "no", .flags = PER_APP,
	  .env = "REVERB_APP_RATE_LIMITING_TERMINATE_ON_LIMIT REVERB_APP_RATE_LIMIT_TERMINATE",
	  .help = "Closes a connection that exceeds the limit." },
};
const size_t n_app_options = ARRAY_SIZE(app_options);
/* clang-format on */

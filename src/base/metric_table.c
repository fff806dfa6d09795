/* SPDX-License-Identifier: MIT */
/*
 * The table of metrics and of their labels.  Constant, but for the routes, which are set before
 * threads run.
 */
#include "base/annotate.h"
#include "base/macros.h"
#include "base/metric.h"
#include "base/str.h"

#define COUNTER(name_)		.name = name_, .type = METRIC_COUNTER
#define GAUGE(name_)		.name = name_, .type = METRIC_GAUGE
#define HISTOGRAM(name_, unit_) .name = name_, .type = METRIC_HISTOGRAM, .unit = unit_
#define LABELS(...)		.labels = { __VA_ARGS__ }

/* clang-format off */
const struct metric_row metric_rows[METRIC_COUNT] = {
	[METRIC_CONNECTIONS] = { GAUGE("connections"),
	  .help = "WebSocket connections that are open." },
	[METRIC_CONNECTIONS_OPENED] = { COUNTER("connections_opened_total"),
	  .help = "WebSocket connections that were accepted." },
	[METRIC_CONNECTIONS_REFUSED] = { COUNTER("connections_refused_total"),
	  LABELS(METRIC_BY_REFUSAL),
	  .help = "WebSocket connections that were refused." },
	[METRIC_CONNECTIONS_CLOSED] = { COUNTER("connections_closed_total"),
	  LABELS(METRIC_BY_CLOSE_CODE, METRIC_BY_SIDE),
	  .help = "WebSocket connections that ended, with the code of the first close frame; none "
		  "without one." },
	[METRIC_SUBSCRIPTIONS] = { GAUGE("subscriptions"),
	  .help = "Subscriptions of connections to channels." },
	[METRIC_CHANNELS] = { GAUGE("channels"), LABELS(METRIC_BY_CHANNEL_TYPE),
	  .help = "Channels with subscriptions, with members or with a cached event; internal are "
		  "those of users." },
	[METRIC_SUBSCRIBE] = { COUNTER("subscribe_total"),
	  LABELS(METRIC_BY_CHANNEL_TYPE, METRIC_BY_VERDICT),
	  .help = "Requests to subscribe." },
	[METRIC_EVENTS_IN] = { COUNTER("events_in_total"), LABELS(METRIC_BY_VIA),
	  .help = "Events that were published, once for each channel, before limits and the log can "
		  "refuse them." },
	[METRIC_DELIVERIES] = { COUNTER("deliveries_total"),
	  .help = "Events that were sent to a connection, once for each; client events are not "
		  "counted." },
	[METRIC_BYTES_IN] = { COUNTER("bytes_in_total"),
	  .help = "Bytes of WebSocket messages that were received." },
	[METRIC_BYTES_OUT] = { COUNTER("bytes_out_total"),
	  .help = "Bytes of WebSocket frames that were sent." },
	[METRIC_PAYLOAD_BYTES] = { HISTOGRAM("payload_bytes", METRIC_BYTES),
	  .help = "Size of the data of published events." },
	[METRIC_PUBLISH_TO_SOCKET] = { HISTOGRAM("publish_to_socket_seconds", METRIC_SECONDS),
	  .help = "Time from the publication of an event until it was written to the sockets, for "
		  "each delivery." },
	[METRIC_COMMIT_TO_SOCKET] = { HISTOGRAM("commit_to_socket_seconds", METRIC_SECONDS),
	  .help = "Time from the moment an event was in the log until it was written to the sockets, "
		  "for each delivery." },
	[METRIC_OUTBOX_BYTES] = { GAUGE("outbox_bytes"),
	  .help = "Bytes of frames that wait because the clients' sockets are full." },
	[METRIC_SLOW_CONSUMERS] = { COUNTER("slow_consumers_total"),
	  .help = "Connections that were closed because the client read too slowly." },
	[METRIC_PING_PONG] = { HISTOGRAM("ping_pong_seconds", METRIC_SECONDS),
	  .help = "Time from a ping to the client's next message." },
	[METRIC_RATE_LIMITED] = { COUNTER("rate_limited_total"), LABELS(METRIC_BY_RATE),
	  .help = "Requests and messages that were refused by a limit of their rate or number." },
	[METRIC_ADMISSION] = { COUNTER("admission_total"), LABELS(METRIC_BY_ADMISSION),
	  .help = "Publishes that were admitted at once or later, that waited because workers did not "
		  "keep up, and that were refused after that." },
	[METRIC_WEBHOOK_QUEUE] = { GAUGE("webhook_queue"),
	  .help = "Webhooks that wait for their delivery." },
	[METRIC_WEBHOOK_SENT] = { COUNTER("webhook_sent_total"),
	  .help = "Webhooks that were delivered." },
	[METRIC_WEBHOOK_FAILED] = { COUNTER("webhook_failed_total"),
	  .help = "Attempts to deliver a webhook that failed, and webhooks that were dropped." },
	[METRIC_WEBHOOK_DEAD] = { GAUGE("webhook_dead"),
	  .help = "Webhooks that were given up: dead letters." },
	[METRIC_LOG_COMMIT] = { HISTOGRAM("log_commit_seconds", METRIC_SECONDS),
	  .help = "Duration of a commit of the log writer." },
	[METRIC_LOG_BATCH_ROWS] = { HISTOGRAM("log_batch_rows", METRIC_NUMBER),
	  .help = "Events in a commit of the log writer." },
	[METRIC_LOG_ROWS_READ] = { COUNTER("log_rows_read_total"),
	  .help = "Rows of the log that this node has read to deliver them: others were in its memory, or in "
		  "messages of other nodes." },
	[METRIC_LOG_QUEUE_EVENTS] = { GAUGE("log_queue_events"),
	  .help = "Events that wait for the log writer or for their commit." },
	[METRIC_LOG_QUEUE_BYTES] = { GAUGE("log_queue_bytes"),
	  .help = "Bytes of them." },
	[METRIC_LOG_LAG_EVENTS] = { GAUGE("log_lag_events"),
	  .help = "Events that SQL has published and that have no serial yet, 100000 at most." },
	[METRIC_LOG_OLDEST] = { GAUGE("log_oldest_partition_seconds"), .unit = METRIC_SECONDS,
	  .help = "Age of the oldest event of the log: as far back as clients can catch up." },
	[METRIC_LOG_BYTES] = { GAUGE("log_bytes"),
	  .help = "Bytes on disk of the log and of its delivery records." },
	[METRIC_LOG_PARTITIONS_AHEAD] = { GAUGE("log_partitions_ahead"),
	  .help = "Partitions of the log that are ready and not in use yet." },
	[METRIC_DATABASE_UP] = { GAUGE("database_up"),
	  .help = "1 while the log writer is connected to the database." },
	[METRIC_NOTIFICATION_QUEUE] = { GAUGE("notification_queue_usage"), .unit = METRIC_RATIO,
	  .help = "How full the queue of notifications of PostgreSQL is; commits fail when it is "
		  "full." },
	[METRIC_BUS_NODES] = { GAUGE("bus_nodes"),
	  .help = "Other nodes of the cluster that have a lease." },
	[METRIC_BUS_SENT] = { COUNTER("bus_sent_total"),
	  .help = "Client events, events of durability none and changes of members that were sent to "
		  "the other nodes." },
	[METRIC_BUS_RECEIVED] = { COUNTER("bus_received_total"),
	  .help = "Those that were received from other nodes." },
	[METRIC_BUS_NOTIFICATIONS] = { COUNTER("bus_notifications_total"),
	  .help = "Notifications that were received from other nodes." },
	[METRIC_BUS_DROPPED] = { COUNTER("bus_dropped_total"),
	  .help = "Messages between nodes that were dropped: too large, the queue was full, the "
		  "database or Redis was not available, the node did not know the secret of the database "
		  "yet, or the workers did not keep up." },
	[METRIC_BUS_UNKNOWN] = { COUNTER("bus_unknown_total"),
	  .help = "Messages between nodes that this version does not know, and ignored." },
	[METRIC_BUS_REFUSED] = { COUNTER("bus_refused_total"),
	  .help = "Messages between nodes that were refused: in Redis, because no node of the cluster "
		  "has signed them, they were repeated or are on a wrong channel; or because no node "
		  "may send them." },
	[METRIC_BUS_SLICES_SENT] = { COUNTER("bus_slices_sent_total"),
	  .help = "With cluster.driver = redis: messages with committed events that were sent." },
	[METRIC_BUS_SLICES_USED] = { COUNTER("bus_slices_used_total"),
	  .help = "Those of other nodes whose events were delivered without reading the log." },
	[METRIC_BUS_SLICES_LATE] = { COUNTER("bus_slices_late_total"),
	  .help = "Those of other nodes whose events had been read from the log already." },
	[METRIC_BUS_SLICES_UNUSED] = { COUNTER("bus_slices_unused_total"),
	  .help = "Those of other nodes after which the log was read: one before was missing, or the "
		  "workers did not keep up." },
	[METRIC_BUS_CONNECTED] = { GAUGE("bus_connected"),
	  .help = "With cluster.driver = redis: 1 while all connections to Redis are open." },
	[METRIC_BUS_LOST] = { COUNTER("bus_connections_lost_total"),
	  .help = "Connections to Redis that were lost." },
	[METRIC_BUS_CHANNELS] = { GAUGE("bus_channels"),
	  .help = "Channels that this node is subscribed to in Redis." },
	[METRIC_POOL_CONNECTIONS] = { GAUGE("pool_connections"), LABELS(METRIC_BY_POOL),
	  .help = "Connections of a pool to the database that are open." },
	[METRIC_POOL_WAITING] = { GAUGE("pool_waiting"), LABELS(METRIC_BY_POOL),
	  .help = "Statements of a pool without an answer." },
	[METRIC_POOL_WAIT_SECONDS] = { HISTOGRAM("pool_wait_seconds", METRIC_SECONDS),
	  LABELS(METRIC_BY_POOL),
	  .help = "Time until a statement was sent on a connection of the pool." },
	[METRIC_REPLAY] = { COUNTER("replay_total"), LABELS(METRIC_BY_REPLAY),
	  .help = "Subscriptions with a position whose replay ended: served, or the reason of "
		  "scopewire:resync." },
	[METRIC_REPLAY_EVENTS] = { HISTOGRAM("replay_events", METRIC_NUMBER),
	  .help = "Events in a replay that was served." },
	[METRIC_REPLAY_SECONDS] = { HISTOGRAM("replay_seconds", METRIC_SECONDS),
	  .help = "Duration of a replay that was served." },
	[METRIC_AUTHORIZE] = { COUNTER("authorize_total"), LABELS(METRIC_BY_AUTHORIZATION),
	  .help = "Questions to channel rules." },
	[METRIC_AUTHORIZE_SECONDS] = { HISTOGRAM("authorize_seconds", METRIC_SECONDS),
	  .help = "Time until they were answered." },
	[METRIC_HTTP_REQUESTS] = { COUNTER("http_requests_total"),
	  LABELS(METRIC_BY_ROUTE, METRIC_BY_STATUS),
	  .help = "HTTP requests that were answered." },
	[METRIC_HTTP_SECONDS] = { HISTOGRAM("http_seconds", METRIC_SECONDS),
	  LABELS(METRIC_BY_ROUTE),
	  .help = "Time from a request's first line to its answer." },
	[METRIC_HTTP_UNREAD] = { GAUGE("http_unread_bytes"),
	  .help = "Answers of 16 KB or more that their clients have not read yet." },
	[METRIC_WORKER_BUSY] = { GAUGE("worker_busy_ratio"), .unit = METRIC_RATIO,
	  LABELS(METRIC_BY_WORKER),
	  .help = "Share of the last second in which a worker did not wait." },
	[METRIC_WORKER_BACKLOG] = { GAUGE("worker_backlog_seconds"), .unit = METRIC_SECONDS,
	  LABELS(METRIC_BY_WORKER),
	  .help = "How long a worker needs for the frames that wait for it, once a second." },
};
/* clang-format on */

/* clang-format off */
static const char *const statuses[] = {
	"other", "200", "201", "202", "204", "304", "400", "401", "403", "404", "405", "408",
	"409", "410", "412", "413", "415", "422", "426", "429", "431", "500", "501", "503", "504",
};

static const char *const refusals[] = {
	[REFUSED_TLS_ONLY] = "tls_only", [REFUSED_NO_APP] = "no_app",
	[REFUSED_APP_DISABLED] = "app_disabled", [REFUSED_APP_LIMIT] = "app_limit",
	[REFUSED_PATH] = "path", [REFUSED_VERSION] = "version", [REFUSED_ORIGIN] = "origin",
	[REFUSED_CAPACITY] = "capacity",
};
static const char *const close_codes[] = {
	"other", "none", "1000", "1001", "1002", "1003", "1005", "1007", "1008", "1009", "1011",
	"4000", "4001", "4003", "4004", "4005", "4006", "4007", "4009", "4100", "4200", "4201",
	"4202", "4301",
};
static const char *const sides[] = {
	[CLOSED_BY_CLIENT] = "client", [CLOSED_BY_SERVER] = "server",
	[CLOSED_BY_NETWORK] = "network",
};
static const char *const channel_types[] = {
	[CHANNEL_PUBLIC] = "public", [CHANNEL_PRIVATE] = "private",
	[CHANNEL_PRESENCE] = "presence", [CHANNEL_ENCRYPTED] = "encrypted",
	[CHANNEL_INTERNAL] = "internal",
};
static const char *const verdicts[] = { [VERDICT_OK] = "ok", [VERDICT_REFUSED] = "refused" };
static const char *const vias[] = {
	[VIA_HTTP] = "http", [VIA_BATCH] = "batch", [VIA_SQL] = "sql", [VIA_CLIENT] = "client",
	[VIA_SYNC] = "sync",
};
static const char *const rates[] = {
	[RATED_EVENTS] = "events", [RATED_READS] = "reads", [RATED_APP_CALLS] = "app_calls",
	[RATED_USER_CALLS] = "user_calls", [RATED_MESSAGES] = "messages",
	[RATED_CLIENT_EVENTS] = "client_events", [RATED_UNREAD] = "unread_answers",
};
static const char *const admissions[] = {
	[ADMISSION_ADMITTED] = "admitted", [ADMISSION_WAITED] = "waited",
	[ADMISSION_REFUSED] = "refused",
};
static const char *const replays[] = {
	"served", "expired", "epoch", "too_many", "unavailable", "malformed",
};
static const char *const authorizations[] = {
	[AUTHORIZED] = "allowed", [NOT_AUTHORIZED] = "refused", [AUTHORIZATION_FAILED] = "failed",
};
static const char *const pools[] = {
	[POOL_SYNC] = "sync", [POOL_AUTHORIZE] = "authorize", [POOL_RULES] = "rules",
	[POOL_REPLAY] = "replay", [POOL_HISTORY] = "history",
	[POOL_ADMIN] = "admin",
};
static char worker_texts[METRIC_WORKERS_MAX][4];
static const char *worker_names[METRIC_WORKERS_MAX];

#define VALUES(array) (array), ARRAY_SIZE(array)

static struct metric_label labels[METRIC_LABEL_SETS] = {
	[METRIC_BY_ROUTE] = { "route", NULL, 0 },
	[METRIC_BY_STATUS] = { "status", VALUES(statuses) },
	[METRIC_BY_WORKER] = { "worker", worker_names, 0 },
	[METRIC_BY_REFUSAL] = { "reason", VALUES(refusals) },
	[METRIC_BY_CLOSE_CODE] = { "code", VALUES(close_codes) },
	[METRIC_BY_SIDE] = { "by", VALUES(sides) },
	[METRIC_BY_CHANNEL_TYPE] = { "type", VALUES(channel_types) },
	[METRIC_BY_VERDICT] = { "result", VALUES(verdicts) },
	[METRIC_BY_VIA] = { "via", VALUES(vias) },
	[METRIC_BY_RATE] = { "scope", VALUES(rates) },
	[METRIC_BY_ADMISSION] = { "result", VALUES(admissions) },
	[METRIC_BY_REPLAY] = { "result", VALUES(replays) },
	[METRIC_BY_POOL] = { "pool", VALUES(pools) },
	[METRIC_BY_AUTHORIZATION] = { "result", VALUES(authorizations) },
};

static const int64_t bounds[][METRIC_BUCKETS] = {
	[METRIC_NUMBER] = { 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000,
			    50000, 100000 },
	[METRIC_BYTES] = { 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536, 131072,
			   262144, 524288, 1048576, 10485760 },
	[METRIC_SECONDS] = { 100, 250, 500, 1000, 2500, 5000, 10000, 25000, 50000, 100000, 250000,
			     500000, 1000000, 2500000, 5000000, 10000000 },
	[METRIC_RATIO] = { 1000000 },
};
/* clang-format on */

const struct metric_label *metric_label(enum metric_label_set set)
{
	return &labels[set];
}

void metric_set_routes(const char *const *values, unsigned n)
{
	labels[METRIC_BY_ROUTE].values = values;
	labels[METRIC_BY_ROUTE].n = n < METRIC_ROUTES_MAX ? n : METRIC_ROUTES_MAX;
}

const int64_t *metric_bounds(enum metric_unit unit)
{
	return bounds[unit];
}

void metric_set_workers(unsigned n)
{
	for (unsigned i = 0; i < n && i < METRIC_WORKERS_MAX; i++) {
		snprintf(worker_texts[i], sizeof(worker_texts[i]), "%u", i);
		worker_names[i] = worker_texts[i];
		labels[METRIC_BY_WORKER].n = i + 1;
	}
}

unsigned metric_number(enum metric_label_set set, unsigned number)
{
	char text[STR_U64_SIZE];

	return metric_word(set, str_u64(text, number));
}

unsigned metric_word(enum metric_label_set set, const char *word)
{
	for (unsigned i = 1; i < labels[set].n; i++)
		if (strcmp(labels[set].values[i], word) == 0)
			return i;
	return 0;
}

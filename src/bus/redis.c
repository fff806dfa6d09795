/* SPDX-License-Identifier: MIT */
/*
 * One thread with one loop.  Messages go to the channel in Redis that has the name of their
 * channel; what is for all nodes goes to the nodes' channel, which every node is subscribed to:
 *
 *     PREFIX:{TAG}:APP:CHANNEL     messages of a channel
 *     PREFIX:{TAG}:nodes           J: a node has connected; L: the log has grown; messages without
 *                                  a channel
 *
 * A payload is as bus/redis_payload.h has it, and for messages (WORD is M) a blank and the message
 * as bus/message.h has it.  L can be followed in the same way by a slice with the new rows.  A node
 * receives what it sent itself, and leaves it out.
 *
 * The first message is sent at once, and what comes in the PAUSE_NS after it together.
 *
 * Shared with other threads: has_log, is_stopping, the two mailboxes, the wake-up, and what the
 * conf has.  Names of channels are made of constants.
 */
#include <errno.h>
#include <sys/timerfd.h>
#include <unistd.h>
#include "base/log.h"
#include "base/log_gate.h"
#include "base/macros.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/random.h"
#include "bus/outgoing.h"
#include "bus/redis.h"
#include "bus/redis_channels.h"
#include "bus/redis_payload.h"
#include "bus/redis_senders.h"
#include "bus/redis_servers.h"
#include "bus/redis_tls.h"

#define NODES	       "nodes"
#define PAUSE_NS       200000
#define TICK_MS	       100
#define BATCH	       100 /* channels of one command */
#define LINK_MAX_BYTES BUS_OUTGOING_MAX_BYTES

struct redis {
	struct bus_driver_conf conf;
	pthread_t thread;
	atomic_bool has_log; /* the log has grown; not sent yet */
	atomic_bool is_stopping;
	struct bus_outgoing outgoing;
	struct mailbox wants; /* of struct redis_want */
	uv_async_t wake;

	/* constant after the start */
	char *prefix;
	struct redis_tags tags;
	char *nodes_name;
	unsigned nodes_partition;
	uint64_t sender;
	SSL_CTX *tls;

	/* the thread's own */
	uv_loop_t loop;
	uv_timer_t tick;
	int pause_fd;
	uv_poll_t pause;
	bool is_pausing;
	bool has_joined; /* the other nodes were notified */
	struct redis_servers servers;
	struct redis_channels channels;
	struct redis_senders senders;
	uint64_t count;			  /* of payloads that were made */
	struct strbuf payload, name, key; /* of the message that is sent now */
};

/* A channel that is wanted, or no more. */
struct redis_want {
	struct mailbox_entry entry;
	bool is_wanted;
	char name[]; /* APP:CHANNEL */
};

static struct log_gate unsigned_gate = LOG_GATE("messages in Redis that no node has signed");
static struct log_gate repeated_gate = LOG_GATE("messages in Redis that were repeated");
static struct log_gate misplaced_gate = LOG_GATE("messages in Redis on a wrong channel");

/* -- names -- */

/* The name in Redis of "APP:CHANNEL". */
static void redis_add_name(const struct redis *r, struct strbuf *out, struct str_view name,
			   unsigned partition)
{
	strbuf_addf(out, "%s:{%s}:", r->prefix, r->tags.of[partition]);
	strbuf_add_sv(out, name);
}

static void redis_make_names(struct redis *r)
{
	const struct conf_cluster *c = &r->conf.conf->cluster;
	struct strbuf name;

	redis_tags_init(&r->tags);
	/* Redis carries messages of all its databases alike. */
	r->prefix = c->redis_db ? textf("%s/%u", c->prefix, c->redis_db) : xstrdup(c->prefix);
	r->nodes_partition = redis_partition(SV(NODES));
	strbuf_init(&name, 64);
	redis_add_name(r, &name, SV(NODES), r->nodes_partition);
	r->nodes_name = strbuf_detach(&name);
	strbuf_release(&name);
	random_bytes(&r->sender, sizeof(r->sender));
}

/* -- sending -- */

static void redis_begin_payload(struct redis *r, char word)
{
	redis_payload_begin(&r->payload, r->sender, ++r->count, word);
}

/* Signs and sends the payload.  False: the server of the partition is away, or does not take more,
 * or the database did not give the secret yet. */
static bool redis_publish(struct redis *r, unsigned partition, struct str_view name, size_t max)
{
	struct redis_server *s = r->servers.of[partition];
	const struct str_view words[] = { r->servers.is_cluster ? SV("SPUBLISH") : SV("PUBLISH"),
					  name, strbuf_view(&r->payload) };

	if (!redis_server_is_up(s) || redis_link_waiting(s->publisher) > max ||
	    !redis_payload_sign(&r->payload, r->conf.seal, name))
		return false;
	redis_link_command(s->publisher, words, ARRAY_SIZE(words));
	return true;
}

static bool redis_publish_to_nodes(struct redis *r, char word)
{
	redis_begin_payload(r, word);
	return redis_publish(r, r->nodes_partition, sv(r->nodes_name), LINK_MAX_BYTES);
}

/* The message is sent on the channel of Redis that has the name of its own.  Changes of members
 * also concern nodes with watchers only, which are on another channel. */
static bool redis_is_of_channel(const struct bus_message *m)
{
	return m->channel.len && (m->kind == BUS_EVENT || m->kind == BUS_CLIENT_EVENT);
}

/* Drops and counts what cannot be sent. */
static void redis_publish_message(struct redis *r, struct str_view text)
{
	struct str_view rest = text;
	unsigned partition = r->nodes_partition;
	struct bus_message m;
	bool is_sent;

	if (!bus_message_take(&rest, &m))
		return;
	strbuf_reset(&r->key);
	strbuf_reset(&r->name);
	if (redis_is_of_channel(&m)) {
		strbuf_addf(&r->key, "%.*s:%.*s", SV_ARG(m.app), SV_ARG(m.channel));
		partition = redis_partition(strbuf_view(&r->key));
		redis_add_name(r, &r->name, strbuf_view(&r->key), partition);
	} else {
		strbuf_add_str(&r->name, r->nodes_name);
	}
	redis_begin_payload(r, m.kind == BUS_SLICE ? 'L' : 'M');
	strbuf_add_c(&r->payload, ' ');
	strbuf_add_sv(&r->payload, text);
	is_sent = redis_publish(r, partition, strbuf_view(&r->name),
				m.kind == BUS_SLICE ? LINK_MAX_BYTES / 2 : LINK_MAX_BYTES);
	if (m.kind != BUS_SLICE)
		metric_add(is_sent ? METRIC_BUS_SENT : METRIC_BUS_DROPPED, 1);
	else if (!is_sent)
		atomic_store(&r->has_log, true); /* a slice is read from the log then */
	else
		metric_add(METRIC_BUS_SLICES_SENT, 1);
}

/* What waits is sent, or dropped while its server is away: it would be too old later.  True: there
 * was something. */
static bool redis_send(struct redis *r)
{
	struct mailbox_entry *e = bus_outgoing_take(&r->outgoing), *next;
	bool has = e != NULL;

	for (; e; e = next) {
		struct bus_outgoing_entry *one = CONTAINER_OF(e, struct bus_outgoing_entry, entry);

		next = e->next;
		redis_publish_message(r, strbuf_view(&one->text));
		bus_outgoing_entry_free(&r->outgoing, one);
	}
	if (atomic_exchange(&r->has_log, false)) {
		/* The other nodes poll the log while this cannot be sent. */
		redis_publish_to_nodes(r, 'L');
		has = true;
	}
	return has;
}

/* Once the guard has registered this node. */
static void redis_join(struct redis *r)
{
	if (!r->has_joined && atomic_load(r->conf.number))
		r->has_joined = redis_publish_to_nodes(r, 'J');
}

/* -- subscribing -- */

static void redis_command_channels(struct redis *r, struct redis_server *s, const char *command,
				   struct str_view *words, unsigned n)
{
	words[0] = sv(r->servers.is_cluster ? command : command + 1);
	redis_link_command(s->subscriber, words, n + 1);
}

/* Subscribes to those channels of the partition that this was not done for. */
static void redis_subscribe(struct redis *r, unsigned partition)
{
	struct redis_server *s = r->servers.of[partition];
	struct redis_channel *ch = r->channels.of[partition];
	struct str_view words[BATCH + 1];
	unsigned n = 0;

	if (!redis_server_is_up(s))
		return;
	for (; ch && !ch->is_sent; ch = ch->next) {
		ch->is_sent = true;
		words[++n] = sv(ch->name);
		if (n == BATCH) {
			redis_command_channels(r, s, "SSUBSCRIBE", words, n);
			n = 0;
		}
	}
	if (n)
		redis_command_channels(r, s, "SSUBSCRIBE", words, n);
}

static void redis_on_partition(void *ctx, unsigned partition)
{
	struct redis *r = ctx;

	if (partition == r->nodes_partition)
		r->has_joined = false;
	redis_channels_unsend(&r->channels, partition);
	redis_subscribe(r, partition);
}

/* Takes what other threads want. */
static void redis_take_wants(struct redis *r)
{
	struct mailbox_entry *e = mailbox_take(&r->wants), *next;
	bool is_new[REDIS_PARTITIONS] = { false };
	usec_t now = clock_mono();
	struct strbuf name;

	strbuf_init(&name, 256);
	for (; e; e = next) {
		struct redis_want *w = CONTAINER_OF(e, struct redis_want, entry);
		unsigned partition = redis_partition(sv(w->name));

		next = e->next;
		strbuf_reset(&name);
		redis_add_name(r, &name, sv(w->name), partition);
		if (!w->is_wanted)
			redis_channels_leave(&r->channels, strbuf_view(&name), now);
		else if (redis_channels_want(&r->channels, strbuf_view(&name), partition))
			is_new[partition] = true;
		free(w);
	}
	strbuf_release(&name);
	for (unsigned i = 0; i < REDIS_PARTITIONS; i++)
		if (is_new[i])
			redis_subscribe(r, i);
}

static void redis_leave_channels(struct redis *r, usec_t now)
{
	struct redis_channel *ch;

	while ((ch = redis_channels_take_left(&r->channels, now))) {
		struct redis_server *s = r->servers.of[ch->partition];
		struct str_view words[] = { SV(""), sv(ch->name) };

		if (ch->is_sent && redis_server_is_up(s))
			redis_command_channels(r, s, "SUNSUBSCRIBE", words, 1);
		redis_channel_free(ch);
	}
}

/* -- receiving -- */

static void redis_refuse_unsigned(const struct redis_channel *ch)
{
	metric_add(METRIC_BUS_REFUSED, 1);
	log_gated(&unsigned_gate,
		  "bus: a message in Redis was refused: no node of this cluster has signed it "
		  "(channel "
		  "%s); another installation uses this Redis with the same cluster.prefix, or "
		  "another "
		  "client publishes there: set another prefix, or limit the rights of other "
		  "clients in "
		  "Redis",
		  ch->name);
}

/* A node has sent this payload, and this node did not take it yet. */
static bool redis_accept(struct redis *r, const struct redis_channel *ch,
			 const struct redis_payload *p)
{
	switch (bus_seal_check(r->conf.seal, sv(ch->name), p->text, p->signature)) {
	case BUS_NO_SECRET:
		metric_add(METRIC_BUS_DROPPED, 1);
		return false;
	case BUS_NOT_SIGNED:
		redis_refuse_unsigned(ch);
		return false;
	case BUS_SIGNED:
		break;
	}
	if (redis_senders_take(&r->senders, p->sender, ch->partition, p->count))
		return true;
	metric_add(METRIC_BUS_REFUSED, 1);
	log_gated(
		&repeated_gate,
		"bus: a message in Redis was refused: it was received before (channel %s); another "
		"client repeats messages there: limit the rights of other clients in Redis",
		ch->name);
	return false;
}

/* The message may come on this channel. */
static bool redis_fits(const struct redis *r, const struct redis_channel *ch,
		       const struct bus_message *m)
{
	struct str_view name = sv(ch->name);
	size_t head = strlen(r->prefix) + strlen(r->tags.of[ch->partition]) + 4; /* :{}: */

	if (!redis_is_of_channel(m))
		return strcmp(ch->name, r->nodes_name) == 0;
	name = sv_skip(name, head);
	return name.len == m->app.len + 1 + m->channel.len && sv_starts_with(name, m->app) &&
	       name.ptr[m->app.len] == ':' && sv_ends_with(name, m->channel);
}

static void redis_on_messages(struct redis *r, const struct redis_channel *ch,
			      const struct redis_payload *p)
{
	struct str_view slice = SV(""), messages = p->messages;
	struct bus_message m;

	while (bus_message_take(&messages, &m)) {
		if (!redis_fits(r, ch, &m) || (m.kind == BUS_SLICE) != (p->word == 'L')) {
			metric_add(METRIC_BUS_REFUSED, 1);
			log_gated(&misplaced_gate,
				  "bus: a message in Redis was refused: it does not belong to the "
				  "channel %s",
				  ch->name);
		} else if (m.kind == BUS_SLICE) {
			slice = m.data;
		} else {
			bus_receivers_message(r->conf.receivers, &m);
		}
	}
	if (p->word == 'L')
		bus_receivers_log(r->conf.receivers, slice);
	if (messages.len)
		metric_add(METRIC_BUS_UNKNOWN, 1);
}

static void redis_on_payload(struct redis *r, const struct redis_channel *ch,
			     struct str_view payload)
{
	struct redis_payload p;
	enum redis_payload_kind kind = redis_payload_read(payload, &p);

	if (kind == REDIS_PAYLOAD_UNKNOWN)
		metric_add(METRIC_BUS_UNKNOWN, 1);
	else if (kind == REDIS_PAYLOAD_MALFORMED)
		redis_refuse_unsigned(ch);
	if (kind != REDIS_PAYLOAD_READ || p.sender == r->sender || !redis_accept(r, ch, &p))
		return;
	metric_add(METRIC_BUS_NOTIFICATIONS, 1);
	bus_others_received(r->conf.others, p.word == 'J');
	redis_on_messages(r, ch, &p);
}

/* What was sent before this node was subscribed is in the log, or lost. */
static void redis_on_subscribed(struct redis *r, struct redis_channel *ch)
{
	redis_channels_confirm(&r->channels, ch);
	if (strcmp(ch->name, r->nodes_name) == 0) {
		bus_receivers_begin(r->conf.receivers);
		redis_join(r);
		redis_servers_flush(&r->servers);
	}
}

static void redis_on_error(struct redis *r, struct redis_server *s, const redisReply *error)
{
	struct str_view text = sv_n(error->str, error->len);
	char *why;

	if (sv_starts_with(text, SV("NOPERM")))
		why = textf("%s; its user needs the commands publish, subscribe, unsubscribe, ping "
			    "(in a cluster spublish, ssubscribe, sunsubscribe, cluster|slots) and "
			    "the channels &%s:*",
			    error->str, r->prefix);
	else if (sv_starts_with(text, SV("ERR unknown command")))
		why = textf("it has no sharded Pub/Sub; a Redis Cluster needs Redis 7, or Valkey");
	else
		why = xstrdup(error->str);
	redis_server_fail(s, why);
	free(why);
}

/* [message, name, payload]; [subscribe, name, count]; an error; with a leading s in a cluster. */
static void redis_on_news(void *ctx, struct redis_server *s, const redisReply *news)
{
	struct redis *r = ctx;
	struct str_view kind, name;
	struct redis_channel *ch;

	if (news->type == REDIS_REPLY_ERROR)
		redis_on_error(r, s, news);
	if (news->type != REDIS_REPLY_ARRAY || news->elements != 3 ||
	    news->element[0]->type != REDIS_REPLY_STRING ||
	    news->element[1]->type != REDIS_REPLY_STRING)
		return;
	kind = sv_n(news->element[0]->str, news->element[0]->len);
	name = sv_n(news->element[1]->str, news->element[1]->len);
	ch = redis_channels_find(&r->channels, name);
	/* After a failover the earlier server can still send. */
	if (!ch || r->servers.of[ch->partition] != s)
		return;
	if (sv_eq_c(kind, r->servers.is_cluster ? "smessage" : "message") &&
	    news->element[2]->type == REDIS_REPLY_STRING)
		redis_on_payload(r, ch, sv_n(news->element[2]->str, news->element[2]->len));
	else if (sv_ends_with(kind, SV("unsubscribe")) && ch->is_confirmed)
		redis_servers_lost(&r->servers, ch->partition);
	else if (sv_ends_with(kind, SV("unsubscribe")))
		return; /* it is wanted again */
	else if (sv_ends_with(kind, SV("subscribe")))
		redis_on_subscribed(r, ch);
}

/* -- the thread -- */

/* What is added before it ends is sent together. */
static void redis_begin_pause(struct redis *r)
{
	const struct itimerspec after = { .it_value = { .tv_nsec = PAUSE_NS } };

	r->is_pausing = timerfd_settime(r->pause_fd, 0, &after, NULL) == 0;
}

static void redis_send_now(struct redis *r)
{
	if (redis_send(r))
		redis_begin_pause(r);
	redis_servers_flush(&r->servers);
}

static void redis_end(struct redis *r)
{
	redis_send(r);
	redis_servers_flush(&r->servers);
	redis_servers_stop(&r->servers);
	uv_close((uv_handle_t *)&r->wake, NULL);
	uv_close((uv_handle_t *)&r->tick, NULL);
	uv_close((uv_handle_t *)&r->pause, NULL);
}

static void on_redis_wake(uv_async_t *wake)
{
	struct redis *r = wake->data;

	ASSERT_ON(on_bus);
	if (atomic_load(&r->is_stopping)) {
		redis_end(r);
		return;
	}
	redis_take_wants(r);
	if (!r->is_pausing)
		redis_send_now(r);
	else
		redis_servers_flush(&r->servers);
}

static void on_redis_pause(uv_poll_t *pause, int status UNUSED, int events UNUSED)
{
	struct redis *r = pause->data;
	uint64_t times;

	ASSERT_ON(on_bus);
	if (read(r->pause_fd, &times, sizeof(times)) < 0)
		return;
	r->is_pausing = false;
	redis_send_now(r);
}

static void on_redis_tick(uv_timer_t *tick)
{
	struct redis *r = tick->data;
	usec_t now = clock_mono();

	ASSERT_ON(on_bus);
	redis_servers_tick(&r->servers, now);
	redis_leave_channels(r, now);
	redis_join(r);
	redis_servers_flush(&r->servers);
	atomic_store(r->conf.is_redis_cluster, r->servers.is_cluster);
	if (redis_servers_are_up(&r->servers))
		atomic_store(r->conf.has_connected, true);
	metric_set(METRIC_BUS_CONNECTED, redis_servers_are_up(&r->servers));
	metric_set(METRIC_BUS_CHANNELS, r->channels.n_confirmed);
}

static void *redis_run(void *arg)
{
	struct redis *r = arg;

	redis_servers_start(&r->servers);
	uv_run(&r->loop, UV_RUN_DEFAULT); /* until redis_end() */
	return NULL;
}

/* -- the driver -- */

static void redis_wake(struct redis *r)
{
	uv_async_send(&r->wake);
}

static void redis_log_grew(void *driver)
{
	struct redis *r = driver;

	if (!atomic_exchange(&r->has_log, true))
		redis_wake(r);
}

static void redis_publish_to_others(void *driver, const struct bus_message *m)
{
	struct redis *r = driver;

	int rc = bus_outgoing_add(&r->outgoing, m);

	if (rc == 1)
		redis_wake(r);
	else if (rc < 0 && m->kind == BUS_SLICE)
		redis_log_grew(r);
}

static void redis_want(void *driver, const struct app *app, struct str_view channel, bool is_wanted)
{
	struct redis *r = driver;
	struct str_view id = sv(app->id);
	struct redis_want *w = xcalloc(1, sizeof(*w) + id.len + 1 + channel.len + 1);

	w->is_wanted = is_wanted;
	memcpy(w->name, id.ptr, id.len);
	w->name[id.len] = ':';
	memcpy(w->name + id.len + 1, channel.ptr, channel.len);
	if (mailbox_put_owed(&r->wants, &w->entry) == 1)
		redis_wake(r);
}

static void redis_free(struct redis *r)
{
	struct mailbox_entry *e = mailbox_take(&r->wants), *next;

	for (; e; e = next) {
		next = e->next;
		free(CONTAINER_OF(e, struct redis_want, entry));
	}
	mailbox_release(&r->wants);
	bus_outgoing_release(&r->outgoing);
	redis_channels_release(&r->channels);
	redis_senders_release(&r->senders);
	strbuf_release(&r->payload);
	strbuf_release(&r->name);
	strbuf_release(&r->key);
	redis_tls_free(r->tls);
	if (r->pause_fd >= 0)
		close(r->pause_fd);
	free(r->prefix);
	free(r->nodes_name);
	free(r);
}

/* 0 or -errno. */
static int redis_prepare_loop(struct redis *r)
{
	r->pause_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	if (r->pause_fd < 0)
		return -errno;
	uv_loop_init(&r->loop);
	uv_async_init(&r->loop, &r->wake, on_redis_wake);
	uv_timer_init(&r->loop, &r->tick);
	uv_poll_init(&r->loop, &r->pause, r->pause_fd);
	r->wake.data = r->tick.data = r->pause.data = r;
	uv_timer_start(&r->tick, on_redis_tick, TICK_MS, TICK_MS);
	uv_poll_start(&r->pause, UV_READABLE, on_redis_pause);
	return 0;
}

static int redis_start(const struct bus_driver_conf *conf, void **out)
{
	const struct conf_cluster *c = &conf->conf->cluster;
	struct redis *r = xcalloc(1, sizeof(*r));
	char *why = NULL;
	int err = 0;

	r->conf = *conf;
	r->pause_fd = -1;
	bus_outgoing_init(&r->outgoing);
	mailbox_init(&r->wants, 0);
	redis_channels_init(&r->channels);
	strbuf_init(&r->payload, 1024);
	strbuf_init(&r->name, 256);
	strbuf_init(&r->key, 256);
	redis_make_names(r);
	if (redis_channels_want(&r->channels, sv(r->nodes_name), r->nodes_partition))
		log_debug("bus: the nodes' channel in Redis is %s", r->nodes_name);
	if (c->redis_tls)
		err = redis_tls_new(c, &r->tls, &why);
	if (err) {
		log_error("%s", why);
		free(why);
	}
	r->servers = (struct redis_servers){ .loop = &r->loop,
					     .conf = c,
					     .tls = r->tls,
					     .tags = &r->tags,
					     .on_partition = redis_on_partition,
					     .on_news = redis_on_news,
					     .ctx = r };
	if (!err)
		err = redis_prepare_loop(r);
	if (!err)
		err = thread_start(&r->thread, "bus", &on_bus, redis_run, r);
	if (err)
		redis_free(r);
	else
		*out = r;
	return err;
}

static void redis_stop(void *driver)
{
	struct redis *r = driver;

	atomic_store(&r->is_stopping, true);
	redis_wake(r);
	pthread_join(r->thread, NULL);
	uv_loop_close(&r->loop);
	redis_free(r);
}

const struct bus_driver bus_redis = {
	.start = redis_start,
	.stop = redis_stop,
	.log_grew = redis_log_grew,
	.has_slices = true,
	.publish = redis_publish_to_others,
	.want = redis_want,
};

/* SPDX-License-Identifier: MIT */
/*
 * On the bus's thread.  redis_server_fail() alone closes connections of a server that has failed;
 * the partitions stay with their server until a map of the slots gives them to another one.
 */
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "bus/redis_servers.h"

#define BACKOFF_MIN_MS 50
#define BACKOFF_MAX_MS 2000
#define STEADY_US      USEC_PER_SEC /* a connection that lasted this long resets the backoff */

bool redis_server_is_up(const struct redis_server *s)
{
	return s && redis_link_is_up(s->publisher) && redis_link_is_up(s->subscriber);
}

bool redis_servers_are_up(const struct redis_servers *all)
{
	for (unsigned i = 0; i < REDIS_PARTITIONS; i++)
		if (!redis_server_is_up(all->of[i]))
			return false;
	return true;
}

static void redis_server_close(struct redis_server *s)
{
	redis_link_close(s->publisher);
	redis_link_close(s->subscriber);
	s->publisher = s->subscriber = NULL;
	s->query = 0;
}

/* The name of the server for the log. */
static char *redis_server_name(const struct redis_server *s)
{
	return *s->place.host == '/' ? xstrdup(s->place.host)
				     : textf("%s:%u", s->place.host, s->place.port);
}

void redis_servers_lost(struct redis_servers *all, unsigned partition)
{
	all->of[partition] = NULL;
	all->wants_map = true;
}

/* Between half and all of ms from now, so that many nodes do not connect at the same moment. */
static usec_t redis_server_pause(unsigned ms)
{
	usec_t now = clock_mono(), half = ms * USEC_PER_MSEC / 2;

	return now + half + now % (half + 1);
}

void redis_server_fail(struct redis_server *s, const char *why)
{
	usec_t now = clock_mono();
	char *name = redis_server_name(s);

	if (redis_server_is_up(s))
		metric_add(METRIC_BUS_LOST, 1);
	if (s->up_at && now - s->up_at > STEADY_US)
		backoff_reset(&s->backoff);
	s->up_at = 0;
	s->retry_at = redis_server_pause(backoff_next(&s->backoff));
	if (!s->trouble || strcmp(s->trouble, why) != 0) {
		log_warn("bus: Redis at %s: %s; connecting again", name, why);
		free(s->trouble);
		s->trouble = xstrdup(why);
	}
	free(name);
	redis_server_close(s);
	if (s->all->is_cluster)
		s->all->wants_map = true;
}

static void on_server_down(void *ctx, struct redis_link *l UNUSED, const char *why)
{
	redis_server_fail(ctx, why);
}

/* -- the map -- */

static struct redis_server *redis_server_find(struct redis_servers *all,
					      const struct redis_place *place)
{
	struct redis_server *s = all->list;

	while (s && (s->place.port != place->port || strcmp(s->place.host, place->host) != 0))
		s = s->next;
	return s;
}

static struct redis_server *redis_server_add(struct redis_servers *all,
					     const struct redis_place *place)
{
	struct redis_server *s = xcalloc(1, sizeof(*s)), **end = &all->list;

	s->all = all;
	s->place = (struct redis_place){ xstrdup(place->host), place->port };
	backoff_init(&s->backoff, BACKOFF_MIN_MS, BACKOFF_MAX_MS);
	while (*end)
		end = &(*end)->next;
	*end = s;
	return s;
}

static void redis_server_free(struct redis_server *s)
{
	if (s->all->queried_last == s)
		s->all->queried_last = NULL;
	redis_server_close(s);
	free(s->place.host);
	free(s->trouble);
	free(s);
}

/* Those without partitions; the configured one stays, to be queried. */
static void redis_servers_drop_unused(struct redis_servers *all)
{
	struct redis_server **at = &all->list->next, *s;

	if (!all->list->has_partitions) {
		redis_server_close(all->list);
		all->list->retry_at = redis_server_pause(BACKOFF_MAX_MS);
	}
	while ((s = *at)) {
		if (s->has_partitions) {
			at = &s->next;
			continue;
		}
		*at = s->next;
		redis_server_free(s);
	}
}

static void redis_server_open(struct redis_server *s);
static void redis_server_subscribe(struct redis_server *s);

/* Gives the partitions to the servers of the map. */
static void redis_servers_use(struct redis_servers *all, const struct redis_map *m)
{
	bool is_complete = true;

	for (struct redis_server *s = all->list; s; s = s->next)
		s->has_partitions = false;
	for (unsigned i = 0; i < REDIS_PARTITIONS; i++) {
		struct redis_server *s = NULL, *old = all->of[i];

		if (m->of[i] == REDIS_NOWHERE) {
			is_complete = false;
		} else {
			s = redis_server_find(all, &m->places[m->of[i]]);
			if (!s)
				s = redis_server_add(all, &m->places[m->of[i]]);
			s->has_partitions = true;
		}
		all->of[i] = s;
		if (s && s != old && redis_server_is_up(s))
			all->on_partition(all->ctx, i);
	}
	redis_servers_drop_unused(all);
	for (struct redis_server *s = all->list; s; s = s->next)
		if (s->has_partitions && !s->publisher && s->retry_at <= clock_mono())
			redis_server_open(s);
		else if (s->has_partitions && redis_link_is_up(s->publisher) && !s->subscriber)
			redis_server_subscribe(s);
	all->wants_map = !is_complete || (all->is_cluster && !redis_servers_are_up(all));
	redis_servers_flush(all);
}

/* A server has answered; an error: it is not of a cluster. */
static void redis_server_on_map(struct redis_server *s, const redisReply *answer)
{
	struct redis_servers *all = s->all;
	struct redis_map m;

	s->query = 0;
	if (answer->type == REDIS_REPLY_ERROR && strstr(answer->str, "cluster support disabled"))
		all->is_cluster = false;
	if (answer->type == REDIS_REPLY_ERROR && !all->is_cluster)
		redis_map_of_one(&m, s->place.host, s->place.port);
	else if (redis_map_read(answer, &s->place, all->tags, &m))
		all->is_cluster = true;
	else
		return;
	redis_servers_use(all, &m);
	redis_map_release(&m);
}

static void redis_server_query(struct redis_server *s)
{
	s->all->queried_last = s;
	s->query = redis_link_command(s->publisher,
				      (struct str_view[]){ SV("CLUSTER"), SV("SLOTS") }, 2);
	redis_link_flush(s->publisher);
}

/* -- connections -- */

/* What was sent can follow the first word, as after ERR unknown command. */
static void redis_server_refuse(struct redis_server *s, struct str_view error)
{
	struct str_view word = SV("");
	char *why;

	if (!sv_split(&error, ' ', &word))
		word = error;
	why = textf("it refused a message (%.*s)", SV_ARG(word));
	redis_server_fail(s, why);
	free(why);
}

static void on_server_answer(void *ctx, struct redis_link *l UNUSED, const redisReply *reply,
			     uint64_t number)
{
	struct redis_server *s = ctx;
	struct str_view text;

	if (number == s->query) {
		redis_server_on_map(s, reply);
		return;
	}
	if (reply->type != REDIS_REPLY_ERROR)
		return;
	metric_add(METRIC_BUS_DROPPED, 1);
	text = sv_n(reply->str, reply->len);
	if (sv_starts_with(text, SV("MOVED")) || sv_starts_with(text, SV("CLUSTERDOWN")))
		s->all->wants_map = true;
	else
		redis_server_refuse(s, text);
}

static void on_server_news(void *ctx, struct redis_link *l UNUSED, const redisReply *reply,
			   uint64_t number UNUSED)
{
	struct redis_server *s = ctx;

	s->all->on_news(s->all->ctx, s, reply);
}

static void on_server_subscriber_up(void *ctx, struct redis_link *l UNUSED)
{
	struct redis_server *s = ctx;
	struct redis_servers *all = s->all;
	char *name = redis_server_name(s);

	s->up_at = clock_mono();
	free(s->trouble);
	s->trouble = NULL;
	log_info("bus: connected to %s at %s",
		 all->is_cluster ? "the Redis Cluster's server" : "Redis", name);
	free(name);
	for (unsigned i = 0; i < REDIS_PARTITIONS; i++)
		if (all->of[i] == s)
			all->on_partition(all->ctx, i);
}

static struct redis_link_conf redis_server_link_conf(struct redis_server *s)
{
	return (struct redis_link_conf){ .loop = s->all->loop,
					 .conf = s->all->conf,
					 .tls = s->all->tls,
					 .host = s->place.host,
					 .port = s->place.port,
					 .on_up = on_server_subscriber_up,
					 .on_reply = on_server_news,
					 .on_down = on_server_down,
					 .ctx = s };
}

static void redis_server_subscribe(struct redis_server *s)
{
	struct redis_link_conf lc = redis_server_link_conf(s);

	s->subscriber = redis_link_open(&lc);
}

/* The configured server reports at each connection whether it is of a cluster. */
static void on_server_publisher_up(void *ctx, struct redis_link *l UNUSED)
{
	struct redis_server *s = ctx;

	if (s->has_partitions)
		redis_server_subscribe(s);
	if (s == s->all->list)
		redis_server_query(s);
}

static void redis_server_open(struct redis_server *s)
{
	struct redis_link_conf lc = redis_server_link_conf(s);

	lc.on_up = on_server_publisher_up;
	lc.on_reply = on_server_answer;
	s->publisher = redis_link_open(&lc);
}

void redis_servers_start(struct redis_servers *all)
{
	const struct redis_place place = { all->conf->redis_host, all->conf->redis_port };

	backoff_init(&all->query_backoff, BACKOFF_MIN_MS, BACKOFF_MAX_MS);
	redis_server_open(redis_server_add(all, &place));
}

void redis_servers_stop(struct redis_servers *all)
{
	struct redis_server *s;

	while ((s = all->list)) {
		all->list = s->next;
		redis_server_free(s);
	}
}

/* The next server that can be queried, in turn. */
static void redis_servers_query_next(struct redis_servers *all)
{
	struct redis_server *from = all->queried_last ? all->queried_last->next : NULL, *s;

	for (s = from; s && !redis_link_is_up(s->publisher); s = s->next)
		;
	for (s = s ? s : all->list; s && !redis_link_is_up(s->publisher); s = s->next)
		;
	if (s && !s->query)
		redis_server_query(s);
}

void redis_servers_tick(struct redis_servers *all, usec_t now)
{
	for (struct redis_server *s = all->list; s; s = s->next)
		if (!s->publisher && s->retry_at <= now && (s->has_partitions || all->wants_map))
			redis_server_open(s);
		else if (!s->publisher && !all->is_cluster && s->retry_at <= now)
			redis_server_open(s);
	if (!all->wants_map) {
		backoff_reset(&all->query_backoff);
	} else if (all->query_at <= now) {
		all->query_at = redis_server_pause(backoff_next(&all->query_backoff));
		redis_servers_query_next(all);
	}
}

void redis_servers_flush(struct redis_servers *all)
{
	for (struct redis_server *s = all->list, *next; s; s = next) {
		next = s->next;
		if (s->publisher)
			redis_link_flush(s->publisher);
		if (s->subscriber)
			redis_link_flush(s->subscriber);
	}
}

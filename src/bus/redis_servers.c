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
/* A connection that lasted this long resets the backoff. */
#define LASTING_US USEC_PER_SEC
/* After this long the server is whole: all that is wrong after it is logged. */
#define STEADY_US (5 * USEC_PER_SEC)

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

static void redis_server_forget_troubles(struct redis_server *s)
{
	for (unsigned i = 0; i < REDIS_TROUBLES; i++) {
		free(s->troubles[i]);
		s->troubles[i] = NULL;
	}
}

/*
 * Whether it is to be logged.  A server can fail in turn for several reasons, which are one
 * trouble: each is logged once.
 */
static bool redis_server_note_trouble(struct redis_server *s, const char *why)
{
	for (unsigned i = 0; i < REDIS_TROUBLES && s->troubles[i]; i++)
		if (strcmp(s->troubles[i], why) == 0)
			return false;
	free(s->troubles[REDIS_TROUBLES - 1]);
	memmove(s->troubles + 1, s->troubles, sizeof(s->troubles) - sizeof(*s->troubles));
	s->troubles[0] = xstrdup(why);
	return true;
}

void redis_server_fail(struct redis_server *s, const char *why)
{
	usec_t now = clock_mono();
	char *name = redis_server_name(s);

	if (redis_server_is_up(s))
		metric_add(METRIC_BUS_LOST, 1);
	if (s->up_at && now - s->up_at > LASTING_US)
		backoff_reset(&s->backoff);
	if (s->up_at && now - s->up_at < STEADY_US)
		s->is_unsteady = true;
	s->up_at = 0;
	s->retry_at = redis_server_pause(backoff_next(&s->backoff));
	if (redis_server_note_trouble(s, why))
		log_warn("bus: Redis at %s: %s; connecting again", name, why);
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
	redis_server_forget_troubles(s);
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

static char *redis_server_rights(const struct redis_server *s)
{
	const struct conf_cluster *c = s->all->conf;
	char db[STR_U64_SIZE];

	str_u64(db, c->redis_db);
	return textf(
		"it refused a message (NOPERM); its user needs the commands publish, subscribe, "
		"unsubscribe, ping (in a cluster spublish, ssubscribe, sunsubscribe, "
		"cluster|slots) and the channels &%s%s%s:*",
		c->prefix, c->redis_db ? "/" : "", c->redis_db ? db : "");
}

/* What was sent can follow the first word, as after ERR unknown command: it is not repeated. */
static void redis_server_refuse(struct redis_server *s, struct str_view error)
{
	struct str_view word = SV("");
	char *why;

	if (!sv_split(&error, ' ', &word))
		word = error;
	if (sv_eq_c(word, "NOPERM"))
		why = redis_server_rights(s);
	else
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

static void redis_server_report_up(struct redis_server *s)
{
	char *name = redis_server_name(s);

	redis_server_forget_troubles(s);
	log_info("bus: connected to %s at %s",
		 s->all->is_cluster ? "the Redis Cluster's server" : "Redis", name);
	free(name);
}

static void on_server_subscriber_up(void *ctx, struct redis_link *l UNUSED)
{
	struct redis_server *s = ctx;
	struct redis_servers *all = s->all;

	s->up_at = clock_mono();
	if (!s->is_unsteady)
		redis_server_report_up(s);
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
					 .is_configured = s == s->all->list,
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

/* What was wrong with it does not come back at once. */
static void redis_server_check_steady(struct redis_server *s, usec_t now)
{
	if (!s->is_unsteady || !redis_server_is_up(s) || now - s->up_at < STEADY_US)
		return;
	s->is_unsteady = false;
	redis_server_report_up(s);
}

void redis_servers_tick(struct redis_servers *all, usec_t now)
{
	for (struct redis_server *s = all->list; s; s = s->next)
		redis_server_check_steady(s, now);
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

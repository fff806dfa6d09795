/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "svc/sync_settings.h"

#define RETRY_MS 2000

/* After sync_settings_new() the pool's thread alone touches it. */
struct sync_settings {
	struct pg_pool *pool;
	char *json; /* {"name": "value"} */
	bool is_asked, is_stored;
};

static const struct pg_statement put = {
	.sql = "SELECT sync_settings_put($1)",
	.repeatable = true,
};

static void on_put(void *ctx, const struct pg_answer *a)
{
	struct sync_settings *s = ctx;

	s->is_asked = false;
	s->is_stored = a->rc == 0;
	if (a->rc == -EINVAL)
		log_error("sync_settings: the database refused: %s",
			  pg_answer_field(a, PG_DIAG_MESSAGE_PRIMARY));
}

static void store(void *ctx)
{
	struct sync_settings *s = ctx;
	const char *value = s->json;

	if (s->is_asked || s->is_stored)
		return;
	s->is_asked = true;
	pg_pool_query(s->pool, &put, 1, &value, on_put, s);
}

struct sync_settings *sync_settings_new(struct pg_pool *pool, const struct conf_sync *conf)
{
	struct sync_settings *s = xcalloc(1, sizeof(*s));
	struct strbuf json;

	strbuf_init(&json, 64);
	strbuf_add_str(&json, "{\"event_namespace\":");
	strbuf_add_json(&json, sv(conf->event_namespace));
	strbuf_addf(&json, ",\"max_notification_recipients\":%u}",
		    conf->max_notification_recipients);
	s->json = strbuf_detach(&json);
	strbuf_release(&json);
	s->pool = pool;
	pg_pool_every(pool, RETRY_MS, store, s);
	return s;
}

void sync_settings_free(struct sync_settings *s)
{
	if (!s)
		return;
	free(s->json);
	free(s);
}

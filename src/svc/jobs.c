/* SPDX-License-Identifier: MIT */
/*
 * One row of the table is one statement (pg/chore.h); all run on the pool's thread.  A statement
 * does a bounded part of the work and returns true while there is more.
 */
#include "base/mem.h"
#include "base/str.h"
#include "pg/chore.h"
#include "svc/jobs.h"

/* What a job's only parameter is; with a retention of 0 days the job does not run. */
enum job_value {
	VALUE_NONE,
	VALUE_SETTINGS,
	VALUE_ACTIVITY_DAYS,
	VALUE_CHANGE_DAYS,
	VALUE_PRESENCE_TTL,
	VALUE_VIEWING_GRACE,
	VALUES
};

static const struct {
	const char *name;
	struct pg_statement statement;
	unsigned every_ms;
	enum job_value value;
	bool runs_once;
} job_table[] = {
	{ "sync settings",
	  { .sql = "SELECT sync_settings_put($1::json)", .repeatable = true },
	  2000,
	  VALUE_SETTINGS,
	  true },
	{ "viewers of an earlier process",
	  { .sql = "SELECT viewing_forget_sockets($1::integer)",
	    .repeatable = true,
	    .locks = true },
	  2000,
	  VALUE_VIEWING_GRACE,
	  true },
	{ "presence of an earlier process",
	  { .sql = "SELECT presence_forget_sockets($1::integer)",
	    .repeatable = true,
	    .locks = true },
	  2000,
	  VALUE_PRESENCE_TTL,
	  true },
	{ "activities' positions",
	  { .sql = "SELECT activities_place(1000) = 1000", .repeatable = true },
	  1000,
	  VALUE_NONE,
	  false },
	{ "activities' retention",
	  { .sql = "SELECT activities_expire($1::integer, 1000) = 1000", .repeatable = true },
	  60000,
	  VALUE_ACTIVITY_DAYS,
	  false },
	{ "edit locks' expiry",
	  { .sql = "SELECT locks_expire(100) = 100", .repeatable = true },
	  1000,
	  VALUE_NONE,
	  false },
	{ "edit locks' retention",
	  { .sql = "SELECT locks_prune(1000) = 1000", .repeatable = true },
	  60000,
	  VALUE_NONE,
	  false },
	{ "data sync's retention",
	  { .sql = "SELECT sync_prune($1::integer, 1000)", .repeatable = true },
	  60000,
	  VALUE_CHANGE_DAYS,
	  false },
};

struct jobs {
	struct pg_pool_chore chores[ARRAY_SIZE(job_table)];
	char *values[VALUES]; /* owned; NULL: none */
};

static char *number_text(unsigned number)
{
	char text[12];

	snprintf(text, sizeof(text), "%u", number);
	return xstrdup(text);
}

static char *days_text(unsigned days)
{
	return days ? number_text(days) : NULL;
}

struct jobs *jobs_new(struct pg_pool *pool, const struct conf_sync *conf)
{
	struct jobs *j = xcalloc(1, sizeof(*j));
	struct strbuf settings;

	strbuf_init(&settings, 64);
	strbuf_add_str(&settings, "{\"event_namespace\":");
	strbuf_add_json(&settings, sv(conf->event_namespace));
	strbuf_add_str(&settings, ",\"user_activity_types\":");
	strbuf_add_json(&settings, sv(conf->user_activity_types));
	strbuf_addf(&settings, ",\"max_notification_recipients\":%u}",
		    conf->max_notification_recipients);
	j->values[VALUE_SETTINGS] = settings.ptr;
	j->values[VALUE_ACTIVITY_DAYS] = days_text(conf->activity_retention_days);
	j->values[VALUE_CHANGE_DAYS] = days_text(conf->changes_retention_days);
	j->values[VALUE_PRESENCE_TTL] = number_text(conf->presence_ttl_s);
	j->values[VALUE_VIEWING_GRACE] = number_text(conf->viewing_grace_ms);
	for (size_t i = 0; i < ARRAY_SIZE(job_table); i++) {
		const char *value = j->values[job_table[i].value];

		if (job_table[i].value != VALUE_NONE && !value)
			continue;
		j->chores[i] = (struct pg_pool_chore){ .name = job_table[i].name,
						       .statement = &job_table[i].statement,
						       .every_ms = job_table[i].every_ms,
						       .n = value != NULL,
						       .values = { value },
						       .runs_once = job_table[i].runs_once };
		pg_pool_chore_add(pool, &j->chores[i]);
	}
	return j;
}

void jobs_free(struct jobs *j)
{
	if (!j)
		return;
	for (size_t i = 0; i < VALUES; i++)
		free(j->values[i]);
	free(j);
}

/* SPDX-License-Identifier: MIT */
/*
 * One row of the table is one statement (pg/chore.h); all run on the pool's thread.  A statement
 * does a bounded part of the work and returns true while there is more.
 */
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "pg/chore.h"
#include "svc/jobs.h"
#include "wire/channel_name.h"

#define CHANNEL_MAX_BYTES 200

/* What a job's only parameter is; with a retention of 0 days the job does not run. */
enum job_value {
	VALUE_NONE,
	VALUE_SETTINGS,
	VALUE_ACTIVITY_DAYS,
	VALUE_CHANGE_DAYS,
	VALUE_PRESENCE_TTL,
	VALUE_AUDIT_DAYS,
	VALUES
};

enum job_kind {
	JOB_REPEATS, /* at once again while the statement returns true */
	JOB_ONCE,
	JOB_LOGS, /* its rows are lines for the log */
};

static void jobs_log_rows(void *ctx, const struct pg_answer *rows)
{
	(void)ctx;
	for (int i = 0; i < pg_answer_rows(rows); i++)
		log_error("data sync: %s", pg_answer_text(rows, i, 0));
}

static const struct {
	const char *name;
	struct pg_statement statement;
	unsigned every_ms;
	enum job_value value;
	enum job_kind kind;
} job_table[] = {
	{ "sync settings",
	  { .sql = "SELECT sync_settings_put($1::json)", .is_repeatable = true },
	  2000,
	  VALUE_SETTINGS,
	  JOB_ONCE },
	{ "presence of an earlier process",
	  { .sql = "SELECT presence_forget_sockets($1::integer)",
	    .is_repeatable = true,
	    .takes_locks = true },
	  2000,
	  VALUE_PRESENCE_TTL,
	  JOB_ONCE },
	{ "activities' positions",
	  { .sql = "SELECT activities_place(1000) = 1000", .is_repeatable = true },
	  1000,
	  VALUE_NONE,
	  JOB_REPEATS },
	{ "activities' retention",
	  { .sql = "SELECT activities_expire($1::integer, 1000) = 1000", .is_repeatable = true },
	  60000,
	  VALUE_ACTIVITY_DAYS,
	  JOB_REPEATS },
	{ "edit locks' expiry",
	  { .sql = "SELECT locks_expire(100) = 100", .is_repeatable = true },
	  1000,
	  VALUE_NONE,
	  JOB_REPEATS },
	{ "edit locks' retention",
	  { .sql = "SELECT locks_prune(1000) = 1000", .is_repeatable = true },
	  60000,
	  VALUE_NONE,
	  JOB_REPEATS },
	{ "data sync's retention",
	  { .sql = "SELECT sync_prune($1::integer, 1000)", .is_repeatable = true },
	  60000,
	  VALUE_CHANGE_DAYS,
	  JOB_REPEATS },
	{ "data sync's changes from SQL",
	  { .sql = "SELECT sync_pending_work(100)", .is_repeatable = true, .takes_locks = true },
	  1000,
	  VALUE_NONE,
	  JOB_REPEATS },
	{ "data sync's faults",
	  { .sql = "SELECT line FROM sync_pending_faults(20)", .takes_locks = true },
	  5000,
	  VALUE_NONE,
	  JOB_LOGS },
	{ "admin_audit's retention",
	  { .sql = "SELECT admin_audit_prune($1::integer, 1000) = 1000", .is_repeatable = true },
	  60000,
	  VALUE_AUDIT_DAYS,
	  JOB_REPEATS },
};

struct jobs {
	struct pg_pool_chore chores[ARRAY_SIZE(job_table)];
	char *values[VALUES]; /* owned; NULL: none */
};

static char *jobs_number_text(unsigned number)
{
	char text[12];

	snprintf(text, sizeof(text), "%u", number);
	return xstrdup(text);
}

static char *jobs_days_text(unsigned days)
{
	return days ? jobs_number_text(days) : NULL;
}

/* Whether it is the name of a channel for each user, to which not all may subscribe. */
static bool jobs_user_channel_is_valid(const char *word)
{
	const char *id = strstr(word, "{id}");
	struct channel_traits t;
	struct strbuf name;
	bool is_valid;

	if (!id)
		return false;
	strbuf_init(&name, strlen(word));
	strbuf_add(&name, word, (size_t)(id - word));
	strbuf_add_c(&name, '1');
	strbuf_add_str(&name, id + strlen("{id}"));
	is_valid = channel_name_parse(sv_n(name.ptr, name.len), CHANNEL_MAX_BYTES, &t) == 0 &&
		   t.is_guarded && !t.is_encrypted;
	strbuf_release(&name);
	return is_valid;
}

static bool jobs_take_user_channel(const char *word)
{
	bool is_valid = jobs_user_channel_is_valid(word);

	if (!is_valid)
		log_warn(
			"sync.user_channels: \"%s\" is not the name of a private channel with {id}",
			word);
	return is_valid;
}

/* The words that are valid, with spaces between them; is_valid NULL: all are. */
static void jobs_add_words(struct strbuf *settings, const char *name, char *const *words,
			   bool (*is_valid)(const char *word))
{
	struct strbuf list;

	strbuf_init(&list, 64);
	for (; words && *words; words++)
		if (!is_valid || is_valid(*words))
			strbuf_addf(&list, "%s%s", list.len ? " " : "", *words);
	strbuf_addf(settings, ",\"%s\":", name);
	strbuf_add_json(settings, sv_n(list.ptr, list.len));
	strbuf_release(&list);
}

struct jobs *jobs_new(struct pg_pool *pool, const struct conf *all)
{
	const struct conf_sync *conf = &all->sync;
	struct jobs *j = xcalloc(1, sizeof(*j));
	struct strbuf settings;

	strbuf_init(&settings, 64);
	strbuf_add_str(&settings, "{\"event_namespace\":");
	strbuf_add_json(&settings, sv(conf->event_namespace));
	strbuf_add_str(&settings, ",\"user_activity_types\":");
	strbuf_add_json(&settings, sv(conf->user_activity_types));
	jobs_add_words(&settings, "user_channels", conf->user_channels, jobs_take_user_channel);
	jobs_add_words(&settings, "lock_steal_roles", conf->lock_steal_roles, NULL);
	strbuf_addf(&settings, ",\"max_notification_recipients\":%u}",
		    conf->max_notification_recipients);
	j->values[VALUE_SETTINGS] = settings.ptr;
	j->values[VALUE_ACTIVITY_DAYS] = jobs_days_text(conf->activity_retention_days);
	j->values[VALUE_CHANGE_DAYS] = jobs_days_text(conf->changes_retention_days);
	j->values[VALUE_AUDIT_DAYS] = jobs_days_text(all->admin.audit_retention_days);
	j->values[VALUE_PRESENCE_TTL] = jobs_number_text(conf->presence_ttl_s);
	for (size_t i = 0; i < ARRAY_SIZE(job_table); i++) {
		const char *value = j->values[job_table[i].value];

		if (job_table[i].value != VALUE_NONE && !value)
			continue;
		j->chores[i] = (struct pg_pool_chore){ .name = job_table[i].name,
						       .statement = &job_table[i].statement,
						       .on_rows = job_table[i].kind == JOB_LOGS
									  ? jobs_log_rows
									  : NULL,
						       .every_ms = job_table[i].every_ms,
						       .n = value != NULL,
						       .values = { value },
						       .runs_once = job_table[i].kind == JOB_ONCE };
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

/* SPDX-License-Identifier: MIT */
/*
 * The file is not flushed to disk: after a crash of the machine an older line does no harm.
 * Threads: the log writer's and the drainer's, one at a time (the tail sees to it).
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>
#include "base/log.h"
#include "base/str.h"
#include "log/epoch.h"

/* The word up to the next space or newline; both are removed from text. */
static struct str_view seen_take_word(struct str_view *text)
{
	size_t n = 0;
	struct str_view word;

	while (n < text->len && text->ptr[n] != ' ' && text->ptr[n] != '\n')
		n++;
	word = sv_n(text->ptr, n);
	*text = sv_skip(*text, n < text->len ? n + 1 : n);
	return word;
}

bool log_seen_read(const char *path, struct log_seen *out)
{
	char bytes[256];
	struct str_view line, epoch, serial, id;
	struct log_seen s;
	FILE *f = fopen(path, "re");

	if (!f)
		return false;
	line = sv_n(bytes, fread(bytes, 1, sizeof(bytes), f));
	fclose(f);
	epoch = seen_take_word(&line);
	serial = seen_take_word(&line);
	id = seen_take_word(&line);
	if (!epoch.len || epoch.len > LOG_EPOCH_MAX || !id.len || id.len > EVENT_ID_MAX ||
	    !sv_to_u64(serial, INT64_MAX, &s.serial) || line.len)
		return false;
	str_copy(s.epoch, sizeof(s.epoch), epoch);
	str_copy(s.id, sizeof(s.id), id);
	*out = s;
	return true;
}

int log_seen_write(const char *path, const struct log_seen *s)
{
	struct strbuf beside;
	FILE *f;
	int rc = 0;

	strbuf_init(&beside, 256);
	strbuf_addf(&beside, "%s.new", path);
	f = fopen(beside.ptr, "we");
	if (!f) {
		rc = -errno;
	} else {
		fprintf(f, "%s %" PRIu64 " %s\n", s->epoch, s->serial, s->id);
		if (fclose(f) || rename(beside.ptr, path))
			rc = -errno;
	}
	strbuf_release(&beside);
	return rc;
}

enum pg_fault log_epoch_compare(struct pg_connection *c, usec_t deadline,
				const struct log_seen *seen, bool *is_new)
{
	char serial[24];
	const char *values[3] = { NULL };
	const struct pg_query q = {
		.sql = "SELECT why FROM log_begin($1::text, $2::bigint, $3::text)",
		.n = 3,
		.values = values
	};
	struct pg_answer a = { 0 };
	enum pg_fault fault;

	if (seen->epoch[0]) {
		snprintf(serial, sizeof(serial), "%" PRIu64, seen->serial);
		values[0] = seen->epoch;
		values[1] = serial;
		values[2] = seen->id;
	}
	fault = pg_conn_run(c, deadline, &q, &a);
	*is_new = fault == PG_FINE && pg_answer_rows(&a) == 1 && !pg_answer_is_null(&a, 0, 0);
	if (*is_new)
		log_warn("database: the event log was replaced or restored: %s; clients must fetch "
			 "their data again",
			 pg_answer_text(&a, 0, 0));
	pg_answer_release(&a);
	return fault;
}

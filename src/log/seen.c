/* SPDX-License-Identifier: MIT */
/* Not flushed to disk: after a crash of the machine an older line does no harm. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>
#include "base/str.h"
#include "log/seen.h"

/* The word up to the next space or newline; it and that are taken off the text. */
static struct str_view take_word(struct str_view *text)
{
	size_t n = 0;
	struct str_view word;

	while (n < text->len && text->ptr[n] != ' ' && text->ptr[n] != '\n')
		n++;
	word = sv_n(text->ptr, n);
	*text = sv_skip(*text, n < text->len ? n + 1 : n);
	return word;
}

static bool parse(struct str_view line, struct log_seen *out)
{
	struct str_view epoch = take_word(&line), serial = take_word(&line), id = take_word(&line);
	struct log_seen s;

	if (!epoch.len || epoch.len > LOG_EPOCH_MAX || !id.len || id.len > EVENT_ID_MAX ||
	    !sv_to_u64(serial, INT64_MAX, &s.serial) || line.len)
		return false;
	snprintf(s.epoch, sizeof(s.epoch), "%.*s", SV_ARG(epoch));
	snprintf(s.id, sizeof(s.id), "%.*s", SV_ARG(id));
	*out = s;
	return true;
}

bool log_seen_read(const char *path, struct log_seen *out)
{
	char line[256];
	FILE *f = fopen(path, "re");
	size_t n;

	if (!f)
		return false;
	n = fread(line, 1, sizeof(line), f);
	fclose(f);
	return parse(sv_n(line, n), out);
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

/* SPDX-License-Identifier: MIT */
/* A report is owed and never dropped.  No state but the mailbox, which has a lock of its own. */
#include <string.h>
#include "base/mem.h"
#include "cluster/inbox.h"
#include "conf/app.h"

static struct inbox_item *inbox_item_new(enum inbox_kind kind, size_t bytes)
{
	struct inbox_item *item = xcalloc(1, sizeof(*item) + bytes);

	item->kind = kind;
	return item;
}

static struct str_view inbox_copy(char **at, struct str_view s)
{
	struct str_view copy = sv_n(*at, s.len);

	if (s.len)
		memcpy(*at, s.ptr, s.len);
	*at += s.len;
	return copy;
}

bool inbox_put_report(struct mailbox *box, const struct member_report *r)
{
	struct str_view app = sv(r->app->id);
	struct inbox_item *item = inbox_item_new(
		INBOX_REPORT, app.len + r->channel.len + r->user_id.len + r->info.len);
	char *at = item->text;

	item->report = r->kind;
	item->app = inbox_copy(&at, app);
	item->channel = inbox_copy(&at, r->channel);
	item->user_id = inbox_copy(&at, r->user_id);
	item->info = inbox_copy(&at, r->info);
	item->max = sv_starts_with(r->channel, SV("!")) ? 0 : r->app->limits.max_presence_members;
	item->waited = r->waited;
	item->worker = r->worker;
	item->token = r->token;
	return mailbox_put_owed(box, &item->entry) == 1;
}

int inbox_put_change(struct mailbox *box, struct str_view app, struct str_view channel,
		     struct str_view data)
{
	struct inbox_item *item = inbox_item_new(INBOX_CHANGE, app.len + channel.len + data.len);
	char *at = item->text;
	int rc;

	item->app = inbox_copy(&at, app);
	item->channel = inbox_copy(&at, channel);
	item->data = inbox_copy(&at, data);
	rc = mailbox_put(box, &item->entry);
	if (rc < 0)
		free(item);
	return rc;
}

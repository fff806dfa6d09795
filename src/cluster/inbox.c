/* SPDX-License-Identifier: MIT */
/* A report is never dropped, a change can be.  No state but the mailbox, which has its own lock. */
#include "base/mem.h"
#include "cluster/inbox.h"
#include "conf/app.h"
#include "core/channel_key.h"

static struct inbox_item *inbox_item_new(enum inbox_kind kind, size_t bytes)
{
	struct inbox_item *item = xcalloc(1, sizeof(*item) + bytes);

	item->kind = kind;
	return item;
}

bool inbox_put_report(struct mailbox *box, const struct member_report *r)
{
	struct str_view app = sv(r->app->id);
	struct inbox_item *item = inbox_item_new(
		INBOX_REPORT, app.len + r->channel.len + r->user_id.len + r->info.len);
	char *at = item->text;

	item->report = r->kind;
	item->app = sv_copy_to(&at, app);
	item->channel = sv_copy_to(&at, r->channel);
	item->user_id = sv_copy_to(&at, r->user_id);
	item->info = sv_copy_to(&at, r->info);
	item->max = channel_is_internal(r->channel) ? 0 : r->app->limits.max_presence_members;
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

	item->app = sv_copy_to(&at, app);
	item->channel = sv_copy_to(&at, channel);
	item->data = sv_copy_to(&at, data);
	rc = mailbox_put(box, &item->entry);
	if (rc < 0)
		free(item);
	return rc;
}

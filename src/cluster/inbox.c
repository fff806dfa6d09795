/* SPDX-License-Identifier: MIT */
/* A report is never dropped, a change can be.  The mailbox has a lock of its own; bytes is atomic.
 */
#include <errno.h>
#include "base/macros.h"
#include "base/mem.h"
#include "cluster/inbox.h"
#include "conf/app.h"
#include "core/channel_key.h"

void inbox_init(struct inbox *in)
{
	mailbox_init(&in->box, INBOX_CHANGES_MAX);
	atomic_init(&in->bytes, 0);
}

void inbox_release(struct inbox *in)
{
	struct mailbox_entry *e = inbox_take(in), *next;

	for (; e; e = next) {
		next = e->next;
		inbox_item_free(in, CONTAINER_OF(e, struct inbox_item, entry));
	}
	mailbox_release(&in->box);
}

struct mailbox_entry *inbox_take(struct inbox *in)
{
	return mailbox_take(&in->box);
}

/* What a change counts. */
static size_t inbox_change_bytes(const struct inbox_item *item)
{
	return item->app.len + item->channel.len + item->data.len;
}

void inbox_item_free(struct inbox *in, struct inbox_item *item)
{
	if (item->kind == INBOX_CHANGE)
		atomic_fetch_sub(&in->bytes, inbox_change_bytes(item));
	free(item);
}

static struct inbox_item *inbox_item_new(enum inbox_kind kind, size_t bytes)
{
	struct inbox_item *item = xcalloc(1, sizeof(*item) + bytes);

	item->kind = kind;
	return item;
}

bool inbox_put_report(struct inbox *in, const struct member_report *r)
{
	struct str_view app = sv(r->app->id);
	struct inbox_item *item = inbox_item_new(
		INBOX_REPORT, app.len + 1 + r->channel.len + r->user_id.len + r->info.len);
	char *at = item->text;

	item->report = r->kind;
	item->app = sv_copy_to(&at, app);
	at++;
	item->channel = sv_copy_to(&at, r->channel);
	item->user_id = sv_copy_to(&at, r->user_id);
	item->info = sv_copy_to(&at, r->info);
	item->max = channel_is_internal(r->channel) ? 0 : r->app->limits.max_presence_members;
	item->waited = r->waited;
	item->worker = r->worker;
	item->token = r->token;
	return mailbox_put_owed(&in->box, &item->entry) == 1;
}

int inbox_put_change(struct inbox *in, struct str_view app, struct str_view channel,
		     struct str_view data)
{
	struct inbox_item *item;
	char *at;
	int rc;

	if (data.len > INBOX_CHANGE_MAX || atomic_load(&in->bytes) > INBOX_BYTES_MAX)
		return -EAGAIN;
	item = inbox_item_new(INBOX_CHANGE, app.len + channel.len + data.len);
	at = item->text;
	item->app = sv_copy_to(&at, app);
	item->channel = sv_copy_to(&at, channel);
	item->data = sv_copy_to(&at, data);
	atomic_fetch_add(&in->bytes, inbox_change_bytes(item));
	rc = mailbox_put(&in->box, &item->entry);
	if (rc < 0)
		inbox_item_free(in, item);
	return rc;
}

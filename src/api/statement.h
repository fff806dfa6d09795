/* SPDX-License-Identifier: MIT */
#ifndef API_STATEMENT_H
#define API_STATEMENT_H
/*
 * Calls the SQL function of an action and replies what it gives.  One round trip and one
 * transaction, but for functions that need verdicts of channel rules: require_channel() of SQL
 * then refuses with the channel's name, the rule is evaluated on connections of its own, and the
 * function is called again with the verdict.
 */
#include "svc/authorize.h"
#include "api/call.h"

/* Makes the action's statements from the function's name and the number of its parameters.
 * writes: it can wait for a lock. */
void statement_prepare(struct sync_action *action, bool writes);
/*
 * Reads the header Idempotency-Key of a call that writes.  Its statement then looks the key up,
 * calls the function and stores the answer in one transaction: docs/idempotency.md.  False: replied
 * 400, and sc is freed.
 */
bool statement_take_key(struct sync_call *sc) MUSTCHECK;
/* On whose behalf the call's statements run. */
struct pg_owner statement_owner(const struct sync_call *sc);
/* Calls the function with the call's values. */
void statement_run(struct sync_call *sc);
/* The same on another pool than the API's. */
void statement_run_on(struct sync_call *sc, struct pg_pool *pool);
/* Replies what a statement of the same form (status, body) gave, or why there is nothing. */
void statement_reply(struct sync_call *sc, const struct pg_answer *a);
/* Adds the line that ends a body which cannot be completed: why a statement gave no rows. */
void statement_add_error(struct strbuf *b, const struct pg_answer *a);
/* The same when there is no verdict. */
void statement_add_verdict_error(struct strbuf *b, const struct authorize_answer *a);
/* Whether the caller, a user, may join the channel. */
void statement_check_channel(struct sync_call *sc, const char *channel, authorize_done *done);
/* Replies why there is no verdict. */
void statement_fail_verdict(struct sync_call *sc, const struct authorize_answer *a);
#endif

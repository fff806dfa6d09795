/* SPDX-License-Identifier: MIT */
#ifndef API_FIELDS_H
#define API_FIELDS_H
#include "api/call.h"

/*
 * Reads the action's fields from args (the path's placeholders), the query and the body into the
 * call's values.  False: replied 400 or 403, and sc is freed.
 */
bool fields_read(struct sync_call *sc, const struct str_view *args) MUSTCHECK;
#endif

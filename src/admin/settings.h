/* SPDX-License-Identifier: MIT */
#ifndef ADMIN_SETTINGS_H
#define ADMIN_SETTINGS_H
#include "conf/conf.h"
#include "api/request.h"

/*
 * GET /admin/api/settings: each option that a source set, with the source, and the names of those
 * that wait for a restart.  With "all", also the options that have their default.  Values of
 * secrets are left out.  Any thread.
 */
void admin_settings(const struct conf *conf, struct request *r);
#endif

/* SPDX-License-Identifier: MIT */
/* The first prefix that matches decides, so a single code is listed before its class. */
#include <string.h>
#include "base/mem.h"
#include "pg/fault.h"

static const struct {
	const char *prefix;
	enum pg_fault fault;
} faults[] = {
	{ "08", PG_LOST },    { "57014", PG_BUSY }, { "57", PG_LOST },
	{ "55P03", PG_BUSY }, { "40", PG_BUSY },    { "23514", PG_NO_PARTITION },
	{ "22", PG_REFUSED }, { "23", PG_REFUSED }, { "54", PG_REFUSED },
	{ "21", PG_REFUSED }, { "25006", PG_LOST }, { "", PG_UNFIT },
};

enum pg_fault pg_fault_of(const char *sqlstate)
{
	if (!sqlstate || !*sqlstate)
		return PG_LOST;
	for (size_t i = 0; i < ARRAY_SIZE(faults); i++)
		if (strncmp(sqlstate, faults[i].prefix, strlen(faults[i].prefix)) == 0)
			return faults[i].fault;
	return PG_UNFIT;
}

/* SPDX-License-Identifier: MIT */
/* No state; any thread. */
#include "base/annotate.h"
#include "bus/local.h"

static int local_start(const struct bus_driver_conf *conf UNUSED, void **out)
{
	*out = NULL;
	return 0;
}

static void local_stop(void *driver UNUSED)
{
}

static void local_log_grew(void *driver UNUSED)
{
}

static void local_publish(void *driver UNUSED, const struct bus_message *m UNUSED)
{
}

const struct bus_driver bus_local = {
	.start = local_start,
	.stop = local_stop,
	.log_grew = local_log_grew,
	.publish = local_publish,
};

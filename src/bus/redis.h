/* SPDX-License-Identifier: MIT */
#ifndef BUS_REDIS_H
#define BUS_REDIS_H
#include "bus/driver.h"

/* Nodes reach each other through Redis or Valkey, one server or a Redis Cluster. */
extern const struct bus_driver bus_redis;
#endif

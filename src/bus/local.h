/* SPDX-License-Identifier: MIT */
#ifndef BUS_LOCAL_H
#define BUS_LOCAL_H
#include "bus/driver.h"

/* For a daemon that is alone: nothing is sent and nothing arrives. */
extern const struct bus_driver bus_local;
#endif

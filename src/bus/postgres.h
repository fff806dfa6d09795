/* SPDX-License-Identifier: MIT */
#ifndef BUS_POSTGRES_H
#define BUS_POSTGRES_H
#include "bus/driver.h"

/* Nodes notify each other through their database. */
extern const struct bus_driver bus_postgres;
#endif

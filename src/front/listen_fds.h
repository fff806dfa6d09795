/* SPDX-License-Identifier: MIT */
#ifndef FRONT_LISTEN_FDS_H
#define FRONT_LISTEN_FDS_H
/*
 * Listening sockets that whoever started us keeps open over our restarts: systemd's socket units
 * (sd_listen_fds(3)).  Clients that come back meanwhile wait in the kernel's queue instead of
 * finding nobody.
 */

/*
 * How many were handed over, from descriptor *first on; 0: none.  They are marked close-on-exec,
 * and the environment is cleared of them.  Once, at the start, before there are threads.
 */
unsigned listen_fds_take(int *first);
#endif

/* SPDX-License-Identifier: MIT */
#ifndef FRONT_LISTEN_FDS_H
#define FRONT_LISTEN_FDS_H
/*
 * Listening sockets that the service manager keeps open over our restarts: systemd's socket units
 * (sd_listen_fds(3)).  Clients that connect meanwhile wait in the kernel's queue and are not
 * refused.
 */

/*
 * The number of sockets that we got, from descriptor *first on; 0: none.  They are marked
 * close-on-exec, and the variables are removed from the environment.  Call it once, at the start,
 * before there are threads.
 */
unsigned listen_fds_take(int *first);
#endif

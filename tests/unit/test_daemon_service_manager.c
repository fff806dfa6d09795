/* SPDX-License-Identifier: MIT */
/* What the service manager receives: sd_notify(3), sd_watchdog_enabled(3). */
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "unit.h"
#include "daemon/service_manager.h"

#define SEC USEC_PER_SEC

static int manager_fd;
static char manager_path[64];

static void manager_start(void)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };

	snprintf(manager_path, sizeof(manager_path), "/tmp/scopewire-manager.%d", (int)getpid());
	unlink(manager_path); /* of a process that was killed, and had the same number */
	memcpy(at.sun_path, manager_path, strlen(manager_path));
	manager_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	ck_assert_int_eq(bind(manager_fd, (struct sockaddr *)&at, sizeof(at)), 0);
	setenv("NOTIFY_SOCKET", manager_path, 1);
	thread_take_role(&on_main);
}

static void manager_stop(void)
{
	close(manager_fd);
	unlink(manager_path);
}

/* The next message, "" if there is none. */
static const char *manager_heard(void)
{
	static char text[256];
	ssize_t n = recv(manager_fd, text, sizeof(text) - 1, 0);

	text[n > 0 ? n : 0] = '\0';
	return text;
}

START_TEST(each_state_is_a_message) NO_TSA
{
	service_manager_take();
	service_manager_ready();
	ck_assert_ptr_nonnull(strstr(manager_heard(), "READY=1\n"));
	service_manager_reloading();
	ck_assert_ptr_nonnull(strstr(manager_heard(), "RELOADING=1\nMONOTONIC_USEC="));
	service_manager_stopping();
	ck_assert_ptr_nonnull(strstr(manager_heard(), "STOPPING=1\n"));
	ck_assert_str_eq(manager_heard(), "");
}
END_TEST

START_TEST(programs_that_the_daemon_starts_do_not_inherit_the_variables) NO_TSA
{
	setenv("WATCHDOG_USEC", "1000000", 1);
	setenv("WATCHDOG_PID", "1", 1);
	service_manager_take();
	ck_assert_ptr_null(getenv("NOTIFY_SOCKET"));
	ck_assert_ptr_null(getenv("WATCHDOG_USEC"));
	ck_assert_ptr_null(getenv("WATCHDOG_PID"));
}
END_TEST

START_TEST(the_watchdog_hears_twice_in_its_time) NO_TSA
{
	setenv("WATCHDOG_USEC", "10000000", 1);
	service_manager_take();
	service_manager_watchdog(100 * SEC, 100 * SEC);
	ck_assert_str_eq(manager_heard(), "WATCHDOG=1");
	service_manager_watchdog(104 * SEC, 104 * SEC);
	ck_assert_str_eq(manager_heard(), "");
	service_manager_watchdog(105 * SEC, 105 * SEC);
	ck_assert_str_eq(manager_heard(), "WATCHDOG=1");
}
END_TEST

START_TEST(the_watchdog_hears_nothing_while_a_thread_stands_still) NO_TSA
{
	setenv("WATCHDOG_USEC", "10000000", 1);
	service_manager_take();
	service_manager_watchdog(100 * SEC, 94 * SEC);
	ck_assert_str_eq(manager_heard(), "");
	service_manager_watchdog(101 * SEC, 101 * SEC);
	ck_assert_str_eq(manager_heard(), "WATCHDOG=1");
}
END_TEST

START_TEST(a_watchdog_of_another_process_hears_nothing) NO_TSA
{
	setenv("WATCHDOG_USEC", "10000000", 1);
	setenv("WATCHDOG_PID", "1", 1);
	service_manager_take();
	service_manager_watchdog(100 * SEC, 100 * SEC);
	ck_assert_str_eq(manager_heard(), "");
}
END_TEST

START_TEST(without_a_manager_nothing_is_sent) NO_TSA
{
	unsetenv("NOTIFY_SOCKET");
	setenv("WATCHDOG_USEC", "10000000", 1);
	service_manager_take();
	service_manager_ready();
	service_manager_watchdog(100 * SEC, 100 * SEC);
	ck_assert_str_eq(manager_heard(), "");
}
END_TEST

START_TEST(an_address_that_is_no_socket_is_left_alone) NO_TSA
{
	static const char *const addresses[] = { "",  "/", "@", "vsock:2:1", "/tmp/no/such/socket",
						 NULL };
	char longest[200];

	memset(longest, 'x', sizeof(longest));
	longest[0] = '/';
	longest[sizeof(longest) - 1] = '\0';
	for (size_t i = 0; addresses[i]; i++) {
		setenv("NOTIFY_SOCKET", addresses[i], 1);
		service_manager_take();
		service_manager_ready();
	}
	setenv("NOTIFY_SOCKET", longest, 1);
	service_manager_take();
	service_manager_ready();
	ck_assert_str_eq(manager_heard(), "");
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("service_manager");
	TCase *t = tcase_create("service_manager");

	tcase_add_checked_fixture(t, manager_start, manager_stop);
	tcase_add_test(t, each_state_is_a_message);
	tcase_add_test(t, programs_that_the_daemon_starts_do_not_inherit_the_variables);
	tcase_add_test(t, the_watchdog_hears_twice_in_its_time);
	tcase_add_test(t, the_watchdog_hears_nothing_while_a_thread_stands_still);
	tcase_add_test(t, a_watchdog_of_another_process_hears_nothing);
	tcase_add_test(t, without_a_manager_nothing_is_sent);
	tcase_add_test(t, an_address_that_is_no_socket_is_left_alone);
	suite_add_tcase(s, t);
	return s;
}

int main(void)
{
	return unit_run(suite());
}

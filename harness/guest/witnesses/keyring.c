// SPDX-License-Identifier: GPL-2.0-only
/* A keyring of its own, and a key in it. */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "helper.h"
#include "pattern.h"
#include "report.h"
#include "types.h"
#include "witness.h"

static struct helper helper;

#define SESSION_KEYRING	(-3)
enum { JOIN_SESSION = 1, UPDATE = 2, SEARCH = 10, READ = 11 };

static long key;

static void keyring_prepare(struct helper_page *page)
{
	char payload[128];

	(void)page;
	fill(payload, sizeof(payload), salt("keyring", 0), 0);
	if (syscall(SYS_keyctl, JOIN_SESSION, "kspawn-session") < 0) {
		not_here("no CONFIG_KEYS: %s", strerror(errno));
		return;
	}
	key = syscall(SYS_add_key, "user", "kspawn-key", payload,
		      sizeof(payload), SESSION_KEYRING);
	if (key < 0)
		not_here("add_key: %s", strerror(errno));
}

static bool keyring_serve(struct helper_page *page, int what, char *detail)
{
	struct difference diff = { 0 };
	char payload[128];
	long found, bytes;

	(void)page;
	found = syscall(SYS_keyctl, SEARCH, SESSION_KEYRING, "user",
			"kspawn-key", 0);
	if (found != key)
		return fail(detail, "key %ld instead of %ld", found, key);
	bytes = syscall(SYS_keyctl, READ, key, payload, sizeof(payload));
	if (bytes != sizeof(payload))
		return fail(detail, "%ld bytes in the key", bytes);
	if (what == HELPER_DAMAGE) {
		payload[77] ^= 4;
		if (syscall(SYS_keyctl, UPDATE, key, payload, sizeof(payload)))
			return fail_errno(detail, "KEYCTL_UPDATE");
		return true;
	}
	compare(&diff, payload, sizeof(payload), salt("keyring", 0), 0);
	if (diff.differ)
		return fail_difference(detail, "the key", &diff);
	return pass(detail, "key %ld, %ld bytes", key, bytes);
}

static void keyring_arm(void)
{
	helper_start(&helper, keyring_prepare, keyring_serve);
}

static bool keyring_check(char *detail)
{
	return helper_ask(detail, &helper, HELPER_CHECK);
}

static bool keyring_damage(char *detail)
{
	return helper_ask(detail, &helper, HELPER_DAMAGE);
}

WITNESS = {
	.name = "keyring",
	.kind = "process",
	.holds = "a session keyring with a key in it",
	.damages = "changes the key",
	.order = ORDER_CHILDREN,
	.arm = keyring_arm,
	.check = keyring_check,
	.damage = keyring_damage,
};

// SPDX-License-Identifier: GPL-2.0-only
/* What sigaction(2) and sigaltstack(2) set; a signal is handled on that stack. */
#define _GNU_SOURCE
#include <signal.h>
#include <unistd.h>

#include "helper.h"
#include "report.h"
#include "types.h"
#include "witness.h"

static struct helper helper;

static char stack[64 * 1024];
static _Atomic uint32_t handled;
static char *handled_at;

static void handler(int number, siginfo_t *info, void *context)
{
	char here;

	(void)info;
	(void)context;
	handled_at = &here;
	atomic_fetch_add(&handled, number);
}

static void signals_prepare(struct helper_page *page)
{
	stack_t alternate = { .ss_sp = stack, .ss_size = sizeof(stack) };
	struct sigaction action = {
		.sa_sigaction = handler,
		.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER,
	};

	(void)page;
	if (sigemptyset(&action.sa_mask) || sigaddset(&action.sa_mask, SIGHUP) ||
	    sigaltstack(&alternate, NULL) || sigaction(SIGUSR2, &action, NULL))
		die_errno("sigaction");
}

static bool signals_serve(struct helper_page *page, int what, char *detail)
{
	struct sigaction action;
	uint32_t before = atomic_load(&handled);

	(void)page;
	if (sigaction(SIGUSR2, NULL, &action))
		return fail_errno(detail, "sigaction");
	if (what == HELPER_DAMAGE) {
		action.sa_flags &= ~SA_ONSTACK;
		if (sigaction(SIGUSR2, &action, NULL))
			return fail_errno(detail, "sigaction");
		return true;
	}
	if (action.sa_sigaction != handler ||
	    sigismember(&action.sa_mask, SIGHUP) != 1 ||
	    sigismember(&action.sa_mask, SIGINT) != 0)
		return fail(detail, "another handler, or another mask");
	if (raise(SIGUSR2) || atomic_load(&handled) != before + SIGUSR2)
		return fail(detail, "the signal was not handled");
	if (handled_at < stack || handled_at >= stack + sizeof(stack))
		return fail(detail, "it was not handled on its stack");
	return pass(detail, "handled on a stack of its own");
}

static void signals_arm(void)
{
	helper_start(&helper, signals_prepare, signals_serve);
}

static bool signals_check(char *detail)
{
	return helper_ask(detail, &helper, HELPER_CHECK);
}

static bool signals_damage(char *detail)
{
	return helper_ask(detail, &helper, HELPER_DAMAGE);
}

WITNESS = {
	.name = "signal-handlers",
	.kind = "process",
	.holds = "handlers, flags, masks, and a signal stack",
	.damages = "changes a handler",
	.order = ORDER_CHILDREN,
	.arm = signals_arm,
	.check = signals_check,
	.damage = signals_damage,
};

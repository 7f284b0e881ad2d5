// SPDX-License-Identifier: GPL-2.0-only
/* All witnesses of the program: the linker has put their addresses together. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "helper.h"
#include "json.h"
#include "options.h"
#include "registry.h"
#include "report.h"
#include "types.h"
#include "witness.h"

/* What ld(1) makes for a section whose name could be one of C. */
extern const struct witness *const __start_witnesses[];
extern const struct witness *const __stop_witnesses[];

#define MAX_WITNESSES	512

/*
 * What each check found first.  A failed check stays failed: what it consumed
 * may not be what it would put back.
 */
static struct state {
	const struct witness *witness;
	bool armed;
	bool failed;
	unsigned int round;
	char detail[DETAIL];
	char missing[DETAIL];
} states[MAX_WITNESSES];

static size_t count;
static unsigned int round_number;

static int compare_order(const void *a, const void *b)
{
	const struct witness *x = ((const struct state *)a)->witness;
	const struct witness *y = ((const struct state *)b)->witness;

	return x->order != y->order ? (int)x->order - (int)y->order :
				      strcmp(x->name, y->name);
}

size_t witness_count(void)
{
	size_t there = __stop_witnesses - __start_witnesses;

	if (count)
		return count;
	if (there > MAX_WITNESSES)
		die("%zu witnesses, and room for %d", there, MAX_WITNESSES);
	for (size_t i = 0; i < there; i++)
		states[i].witness = __start_witnesses[i];
	qsort(states, there, sizeof(states[0]), compare_order);
	count = there;
	return count;
}

const struct witness *witness_at(size_t i)
{
	return i < witness_count() ? states[i].witness : NULL;
}

bool witness_named(const char *name)
{
	for (size_t i = 0; i < witness_count(); i++)
		if (!strcmp(states[i].witness->name, name))
			return true;
	return false;
}

static bool wanted(const struct witness *witness)
{
	if (options.only && strcmp(witness->name, options.only))
		return false;
	return (!witness->spins || options.spin) &&
	       (!witness->systemwide || options.systemwide);
}

void arm_all(void)
{
	for (size_t i = 0; i < witness_count(); i++) {
		struct state *state = &states[i];
		const char *missing;

		if (!wanted(state->witness))
			continue;
		now_doing(state->witness->name);
		arm_or_leave_out(state->witness->arm);
		missing = take_not_here();
		if (missing)
			snprintf(state->missing, DETAIL, "%s", missing);
		state->armed = !missing;
	}
}

void end_all(void)
{
	end_helpers();
	for (size_t i = 0; i < count; i++)
		if (states[i].witness->end)
			states[i].witness->end();
}

void put_armed(FILE *out)
{
	const char *separator = "";

	fputs("\"checks\": [", out);
	for (size_t i = 0; i < count; i++) {
		if (!states[i].armed)
			continue;
		fputs(separator, out);
		put_string(out, states[i].witness->name);
		separator = ", ";
	}
	fputs("], \"not_here\": {", out);
	separator = "";
	for (size_t i = 0; i < count; i++) {
		if (!states[i].missing[0])
			continue;
		fputs(separator, out);
		put_string(out, states[i].witness->name);
		fputs(": ", out);
		put_string(out, states[i].missing);
		separator = ", ";
	}
	fputs("}", out);
}

static void put_check(FILE *out, struct state *state)
{
	char detail[DETAIL] = "";

	now_doing(state->witness->name);
	if (!state->failed && !state->witness->check(detail)) {
		state->failed = true;
		state->round = round_number;
		strcpy(state->detail, detail);
	}
	fputs("{\"name\": ", out);
	put_string(out, state->witness->name);
	fprintf(out, ", \"ok\": %s, \"detail\": ",
		state->failed ? "false" : "true");
	put_string(out, state->failed ? state->detail : detail);
	if (state->failed)
		fprintf(out, ", \"failed_in_round\": %u", state->round);
	fputc('}', out);
}

bool put_checks(FILE *out)
{
	const char *separator = "";
	bool good = true;

	round_number++;
	fprintf(out, "\"round\": %u, \"checks\": [", round_number);
	for (size_t i = 0; i < count; i++) {
		if (!states[i].armed)
			continue;
		fputs(separator, out);
		put_check(out, &states[i]);
		good &= !states[i].failed;
		separator = ", ";
	}
	fputc(']', out);
	return good;
}

bool damage_one(char *detail, const char *name)
{
	for (size_t i = 0; i < count; i++) {
		if (!states[i].armed || strcmp(states[i].witness->name, name))
			continue;
		now_doing(name);
		return states[i].witness->damage(detail);
	}
	return fail(detail, "no check has this name");
}

static void put_facts(FILE *out, const struct witness *witness)
{
	fputs("{\"name\": ", out);
	put_string(out, witness->name);
	fputs(", \"kind\": ", out);
	put_string(out, witness->kind);
	fputs(", \"holds\": ", out);
	put_string(out, witness->holds);
	fputs(", \"damages\": ", out);
	put_string(out, witness->damages);
	fprintf(out, ", \"systemwide\": %s}",
		witness->systemwide ? "true" : "false");
}

void put_list(FILE *out, bool json)
{
	for (size_t i = 0; i < witness_count(); i++) {
		const struct witness *witness = witness_at(i);

		if (!json) {
			fprintf(out, "%-20s %-8s %s\n", witness->name,
				witness->kind, witness->holds);
			continue;
		}
		fputs(i ? ", " : "{\"witnesses\": [", out);
		put_facts(out, witness);
	}
	if (json)
		fputs("]}\n", out);
}

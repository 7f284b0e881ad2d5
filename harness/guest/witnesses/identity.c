// SPDX-License-Identifier: GPL-2.0-only
/* What a process is; where it can, it is not what one has by default. */
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "report.h"
#include "types.h"
#include "witness.h"

#define FILES		617
#define COMM		"kspawn-witness"
#define UMASK		0137

static struct identity {
	pid_t pid, ppid, pgid, sid, tid;
	uid_t uid, euid;
	gid_t gid, egid;
	dev_t cwd_device;
	ino_t cwd_inode;
	char cwd[PATH_MAX];
	char comm[16];
	struct rlimit files;
	mode_t mask;
	int nice, policy;
	cpu_set_t cpus;
} identity;

static bool look(char *detail, struct identity *id)
{
	struct stat st;

	memset(id, 0, sizeof(*id));
	id->pid = getpid();
	id->ppid = getppid();
	id->pgid = getpgid(0);
	id->sid = getsid(0);
	id->tid = syscall(SYS_gettid);
	id->uid = getuid();
	id->euid = geteuid();
	id->gid = getgid();
	id->egid = getegid();
	if (stat(".", &st))
		return fail_errno(detail, "stat");
	id->cwd_device = st.st_dev;
	id->cwd_inode = st.st_ino;
	if (!getcwd(id->cwd, sizeof(id->cwd)))
		return fail_errno(detail, "getcwd");
	if (prctl(PR_GET_NAME, id->comm))
		return fail_errno(detail, "PR_GET_NAME");
	if (getrlimit(RLIMIT_NOFILE, &id->files))
		return fail_errno(detail, "getrlimit");
	/* The mask can only be read by setting it. */
	id->mask = umask(UMASK);
	umask(id->mask);
	errno = 0;
	id->nice = getpriority(PRIO_PROCESS, 0);
	if (errno)
		return fail_errno(detail, "getpriority");
	/* The C library may not have this one. */
	id->policy = syscall(SYS_sched_getscheduler, 0);
	if (id->policy < 0)
		return fail_errno(detail, "sched_getscheduler");
	if (sched_getaffinity(0, sizeof(id->cpus), &id->cpus))
		return fail_errno(detail, "sched_getaffinity");
	return true;
}

/* Pins the main thread to the last CPU: one that hibernation takes offline. */
static void pin(void)
{
	cpu_set_t set, last;

	if (sched_getaffinity(0, sizeof(set), &set))
		die_errno("sched_getaffinity");
	for (int cpu = CPU_SETSIZE - 1; cpu >= 0; cpu--) {
		if (!CPU_ISSET(cpu, &set))
			continue;
		CPU_ZERO(&last);
		CPU_SET(cpu, &last);
		if (sched_setaffinity(0, sizeof(last), &last))
			die_errno("sched_setaffinity");
		return;
	}
}

static void identity_arm(void)
{
	struct sched_param parameter = { 0 };
	struct rlimit files;
	char detail[DETAIL];
	int nice;

	if (prctl(PR_SET_NAME, COMM))
		die_errno("PR_SET_NAME");
	if (getrlimit(RLIMIT_NOFILE, &files))
		die_errno("getrlimit");
	if (files.rlim_max >= FILES)
		files.rlim_cur = FILES;
	if (setrlimit(RLIMIT_NOFILE, &files))
		die_errno("setrlimit");
	umask(UMASK);
	errno = 0;
	nice = getpriority(PRIO_PROCESS, 0);
	if (errno)
		die_errno("getpriority");
	if (setpriority(PRIO_PROCESS, 0, nice < 16 ? nice + 3 : 19))
		die_errno("setpriority");
	if (syscall(SYS_sched_setscheduler, 0, SCHED_BATCH, &parameter))
		die_errno("sched_setscheduler");
	pin();
	if (!look(detail, &identity))
		die("%s", detail);
}

static bool compare_numbers(char *detail, const struct identity *is,
			    const struct identity *was)
{
	const struct {
		const char *name;
		long long is, was;
	} numbers[] = {
		{ "pid", is->pid, was->pid },
		{ "parent", is->ppid, was->ppid },
		{ "process group", is->pgid, was->pgid },
		{ "session", is->sid, was->sid },
		{ "thread id", is->tid, was->tid },
		{ "user", is->uid, was->uid },
		{ "effective user", is->euid, was->euid },
		{ "group", is->gid, was->gid },
		{ "effective group", is->egid, was->egid },
		{ "device of the directory", is->cwd_device, was->cwd_device },
		{ "inode of the directory", is->cwd_inode, was->cwd_inode },
		{ "soft limit of files", is->files.rlim_cur,
		  was->files.rlim_cur },
		{ "hard limit of files", is->files.rlim_max,
		  was->files.rlim_max },
		{ "umask", is->mask, was->mask },
		{ "nice value", is->nice, was->nice },
		{ "scheduling policy", is->policy, was->policy },
	};

	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++)
		if (numbers[i].is != numbers[i].was)
			return fail(detail, "%s: %lld instead of %lld",
				    numbers[i].name, numbers[i].is,
				    numbers[i].was);
	return pass(detail, "%zu numbers, directory, name, CPUs",
		    ARRAY_SIZE(numbers));
}

static bool identity_check(char *detail)
{
	static struct identity is;
	const struct identity *was = &identity;

	if (!look(detail, &is))
		return false;
	if (strcmp(is.cwd, was->cwd))
		return fail(detail, "directory: %.100s instead of %.100s",
			    is.cwd, was->cwd);
	if (strcmp(is.comm, was->comm))
		return fail(detail, "name: %s instead of %s", is.comm,
			    was->comm);
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (!CPU_ISSET(cpu, &is.cpus) != !CPU_ISSET(cpu, &was->cpus))
			return fail(detail, "CPU %d is %sin the affinity", cpu,
				    CPU_ISSET(cpu, &is.cpus) ? "" : "not ");
	return compare_numbers(detail, &is, was);
}

static bool identity_damage(char *detail)
{
	(void)detail;
	umask(0);
	return true;
}

WITNESS = {
	.name = "identity",
	.kind = "process",
	.holds = "ids, directory, name, limits, nice, policy, CPUs",
	.damages = "changes the umask",
	.order = ORDER_LAST,
	.arm = identity_arm,
	.check = identity_check,
	.damage = identity_damage,
};

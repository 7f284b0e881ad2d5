// SPDX-License-Identifier: GPL-2.0-only
/*
 * witness: threads, a child, signals, timers, clocks, and what the kernel
 * knows of a process.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "witness.h"

/* threads: half of them wait for a condition, half for a futex */

#define THREADS		4
#define LOCAL_WORDS	512
#define STACK_WORDS	256

static __thread uint64_t local[LOCAL_WORDS];
static __thread pid_t local_tid;

static struct worker {
	unsigned int index;
	pid_t tid;
	uint64_t *local;
	_Atomic uint32_t order, answer;
	pthread_mutex_t mutex;
	pthread_cond_t condition;
	bool good;
	char detail[DETAIL];
} workers[THREADS];

/* The word against which the compiler's stack protector compares. */
static uint64_t stack_guard(void)
{
	uint64_t guard;

	asm volatile("movq %%fs:0x28, %0" : "=r" (guard));
	return guard;
}

static bool uses_condition(const struct worker *worker)
{
	return worker->index % 2;
}

static void await_order(struct worker *worker, uint32_t last)
{
	if (!uses_condition(worker)) {
		wait_change(&worker->order, last);
		return;
	}
	if (pthread_mutex_lock(&worker->mutex))
		die("pthread_mutex_lock");
	while (atomic_load(&worker->order) == last)
		if (pthread_cond_wait(&worker->condition, &worker->mutex))
			die("pthread_cond_wait");
	if (pthread_mutex_unlock(&worker->mutex))
		die("pthread_mutex_unlock");
}

static void give_order(struct worker *worker)
{
	uint32_t order = atomic_load(&worker->order) + 1;

	if (!uses_condition(worker)) {
		post(&worker->order, order);
		return;
	}
	if (pthread_mutex_lock(&worker->mutex))
		die("pthread_mutex_lock");
	atomic_store(&worker->order, order);
	if (pthread_cond_signal(&worker->condition))
		die("pthread_cond_signal");
	if (pthread_mutex_unlock(&worker->mutex))
		die("pthread_mutex_unlock");
}

static bool worker_verify(struct worker *worker, const uint64_t *stack,
			  uint64_t guard)
{
	struct difference in_local = { 0 }, on_stack = { 0 };
	pid_t tid = syscall(SYS_gettid);
	char what[32];

	compare(&in_local, local, sizeof(local), SALT_THREAD + worker->index,
		0);
	compare(&on_stack, stack, STACK_WORDS * 8, SALT_STACK + worker->index,
		0);
	if (in_local.differ) {
		snprintf(what, sizeof(what), "local of thread %u",
			 worker->index);
		return fail_difference(worker->detail, what, &in_local);
	}
	if (on_stack.differ) {
		snprintf(what, sizeof(what), "stack of thread %u",
			 worker->index);
		return fail_difference(worker->detail, what, &on_stack);
	}
	if (tid != worker->tid || tid != local_tid)
		return fail(worker->detail,
			    "thread %u has id %d instead of %d, %d in itself",
			    worker->index, tid, worker->tid, local_tid);
	if (stack_guard() != guard)
		return fail(worker->detail,
			    "thread %u: stack guard 0x%016llx instead of 0x%016llx",
			    worker->index, (unsigned long long)stack_guard(),
			    (unsigned long long)guard);
	return true;
}

static void *work(void *argument)
{
	struct worker *worker = argument;
	uint64_t guard = stack_guard(), stack[STACK_WORDS];

	fill(stack, sizeof(stack), SALT_STACK + worker->index, 0);
	fill(local, sizeof(local), SALT_THREAD + worker->index, 0);
	local_tid = syscall(SYS_gettid);
	worker->tid = local_tid;
	worker->local = local;
	for (uint32_t order = 0;; order++) {
		post(&worker->answer, order + 1);
		await_order(worker, order);
		worker->good = worker_verify(worker, stack, guard);
	}
	return NULL;
}

static bool worker_answered(struct worker *worker)
{
	return wait_until(&worker->answer, atomic_load(&worker->order) + 1);
}

static void threads_setup(void)
{
	for (unsigned int i = 0; i < THREADS; i++) {
		struct worker *worker = &workers[i];
		pthread_t thread;
		int err;

		worker->index = i;
		err = pthread_mutex_init(&worker->mutex, NULL);
		if (!err)
			err = pthread_cond_init(&worker->condition, NULL);
		if (!err)
			err = pthread_create(&thread, NULL, work, worker);
		if (err) {
			errno = err;
			die_errno("pthread_create");
		}
		if (!worker_answered(worker))
			die("thread %u does not start", i);
	}
}

static bool threads_verify(char *detail)
{
	for (unsigned int i = 0; i < THREADS; i++) {
		struct worker *worker = &workers[i];

		if (syscall(SYS_tgkill, getpid(), worker->tid, 0))
			return fail(detail, "thread %u, id %d: %s", i,
				    worker->tid, strerror(errno));
		give_order(worker);
		if (!worker_answered(worker))
			return fail(detail, "thread %u does not answer", i);
		if (!worker->good)
			return fail(detail, "%s", worker->detail);
	}
	return pass(detail, "%d threads, half on a condition", THREADS);
}

static bool threads_damage(char *detail)
{
	(void)detail;
	workers[2].local[100] ^= 1ULL << 63;
	return true;
}

const struct check threads_check = {
	"threads", threads_setup, threads_verify, threads_damage,
};

/*
 * futex-shared: a child, blocked on a futex in shared memory, with memory of
 * which it shares one half with its parent and has written the other.
 */

#define COW_BYTES	(1UL << 20)
#define COW_HALF	(COW_BYTES / 2)

enum { ORDER_CHECK, ORDER_DAMAGE };

static struct shared {
	_Atomic uint32_t order, answer;
	int what;
	bool good;
	char detail[DETAIL];
} *shared;

static char *cow;
static pid_t child;

static _Noreturn void child_main(pid_t parent)
{
	pid_t self = getpid();

	close_report();
	if (prctl(PR_SET_PDEATHSIG, SIGKILL))
		die_errno("prctl");
	fill(cow + COW_HALF, COW_HALF, SALT_CHILD, COW_HALF);
	for (uint32_t order = 0;; order++) {
		struct difference diff = { 0 };

		post(&shared->answer, order + 1);
		wait_change(&shared->order, order);
		shared->good = true;
		if (shared->what == ORDER_DAMAGE) {
			cow[COW_HALF + 4242] ^= 8;
			continue;
		}
		compare(&diff, cow, COW_HALF, SALT_PARENT, 0);
		compare(&diff, cow + COW_HALF, COW_HALF, SALT_CHILD, COW_HALF);
		if (diff.differ)
			shared->good = fail_difference(shared->detail,
						       "memory of the child",
						       &diff);
		else if (getpid() != self || getppid() != parent)
			shared->good = fail(shared->detail,
					    "child %d of %d instead of %d of %d",
					    (int)getpid(), (int)getppid(),
					    (int)self, (int)parent);
	}
}

static bool ask_child(char *detail, int what)
{
	uint32_t order = atomic_load(&shared->order) + 1;
	int status;
	pid_t pid = waitpid(child, &status, WNOHANG);

	if (pid < 0)
		return fail_errno(detail, "waitpid");
	if (pid)
		return fail(detail, "the child ended with status 0x%x", status);
	shared->what = what;
	post(&shared->order, order);
	if (!wait_until(&shared->answer, order + 1))
		return fail(detail, "the child does not answer");
	return shared->good ? true : fail(detail, "%s", shared->detail);
}

static void futex_shared_setup(void)
{
	pid_t parent = getpid();

	shared = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	cow = mmap(NULL, COW_BYTES, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED || cow == MAP_FAILED)
		die_errno("mmap");
	fill(cow, COW_BYTES, SALT_PARENT, 0);
	child = fork();
	if (child < 0)
		die_errno("fork");
	if (!child)
		child_main(parent);
	if (!wait_until(&shared->answer, 1))
		die("the child does not start");
}

static bool futex_shared_verify(char *detail)
{
	struct difference diff = { 0 };

	if (!ask_child(detail, ORDER_CHECK))
		return false;
	compare(&diff, cow, COW_BYTES, SALT_PARENT, 0);
	if (diff.differ)
		return fail_difference(detail, "memory of the parent", &diff);
	return pass(detail, "a child, 1 MiB copied on write");
}

static bool futex_shared_damage(char *detail)
{
	return ask_child(detail, ORDER_DAMAGE);
}

void end_child(void)
{
	if (child <= 0)
		return;
	kill(child, SIGKILL);
	while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
		;
	child = 0;
}

const struct check futex_shared_check = {
	"futex-shared", futex_shared_setup, futex_shared_verify,
	futex_shared_damage,
};

/*
 * signal: a standard signal and two real-time signals, blocked and pending.
 * All threads come after this, so the signals are blocked in all of them.
 */

#define STANDARD	SIGUSR1
#define REALTIME	SIGRTMIN
#define TIMER		(SIGRTMIN + 1)

static int payload(int i)
{
	return mix(nonce, SALT_VALUE + 16 + i) & INT_MAX;
}

static bool send_signals(char *detail)
{
	if (kill(getpid(), STANDARD))
		return fail_errno(detail, "kill");
	for (int i = 0; i < 2; i++) {
		union sigval value = { .sival_int = payload(i) };

		if (sigqueue(getpid(), REALTIME, value))
			return fail_errno(detail, "sigqueue");
	}
	return true;
}

static void signal_setup(void)
{
	char detail[DETAIL];
	sigset_t set;

	if (sigemptyset(&set) || sigaddset(&set, STANDARD) ||
	    sigaddset(&set, REALTIME) || sigaddset(&set, TIMER))
		die_errno("sigaddset");
	if (sigprocmask(SIG_BLOCK, &set, NULL))
		die_errno("sigprocmask");
	if (!send_signals(detail))
		die("%s", detail);
}

/* Takes a pending signal; returns its number, or 0 if there is none. */
static int take_signal(int number, siginfo_t *info)
{
	struct timespec none = { 0 };
	sigset_t set;
	int taken;

	if (sigemptyset(&set) || sigaddset(&set, number))
		die_errno("sigaddset");
	do
		taken = sigtimedwait(&set, info, &none);
	while (taken < 0 && errno == EINTR);
	if (taken < 0 && errno != EAGAIN)
		die_errno("sigtimedwait");
	return taken < 0 ? 0 : taken;
}

static bool take_signals(char *detail)
{
	siginfo_t info;

	if (!take_signal(STANDARD, &info))
		return fail(detail, "the standard signal was not there");
	if (info.si_code != SI_USER || info.si_pid != getpid())
		return fail(detail, "a signal with code %d from %d", info.si_code,
			    (int)info.si_pid);
	for (int i = 0; i < 2; i++) {
		if (!take_signal(REALTIME, &info))
			return fail(detail, "real-time signal %d was not there",
				    i);
		if (info.si_code != SI_QUEUE || info.si_pid != getpid() ||
		    info.si_value.sival_int != payload(i))
			return fail(detail,
				    "real-time signal %d: code %d, from %d, value %d instead of %d, %d, %d",
				    i, info.si_code, (int)info.si_pid,
				    info.si_value.sival_int, SI_QUEUE,
				    (int)getpid(), payload(i));
	}
	if (take_signal(REALTIME, &info))
		return fail(detail, "a real-time signal too many");
	return true;
}

static bool signal_verify(char *detail)
{
	sigset_t set;

	if (sigpending(&set))
		return fail_errno(detail, "sigpending");
	if (sigismember(&set, STANDARD) != 1)
		return fail(detail, "the standard signal is not pending");
	if (sigismember(&set, REALTIME) != 1)
		return fail(detail, "the real-time signal is not pending");
	if (!take_signals(detail) || !send_signals(detail))
		return false;
	return pass(detail, "1 standard and 2 real-time signals");
}

static bool signal_damage(char *detail)
{
	siginfo_t info;

	if (!take_signal(REALTIME, &info))
		return fail(detail, "there is no signal to take");
	return true;
}

const struct check signal_check = {
	"signal", signal_setup, signal_verify, signal_damage,
};

/*
 * posix-timer and timerfd: an hour ahead, and set anew by each check.
 * Both follow CLOCK_MONOTONIC, which stands still during hibernation.
 */

#define HOUR		(3600 * NSEC)
#define TOLERANCE	(2 * NSEC)

struct alarm {
	int64_t expires;	/* by CLOCK_MONOTONIC */
	int64_t left;		/* when it was last looked at */
};

static int64_t nanoseconds(const struct timespec *ts)
{
	return ts->tv_sec * NSEC + ts->tv_nsec;
}

static struct itimerspec in_an_hour(struct alarm *alarm)
{
	struct itimerspec spec = { 0 };

	alarm->expires = now(CLOCK_MONOTONIC) + HOUR;
	alarm->left = HOUR;
	spec.it_value.tv_sec = alarm->expires / NSEC;
	spec.it_value.tv_nsec = alarm->expires % NSEC;
	return spec;
}

static bool alarm_verify(char *detail, const struct alarm *alarm,
			 const struct itimerspec *spec)
{
	int64_t left = nanoseconds(&spec->it_value);
	int64_t expected = alarm->expires - now(CLOCK_MONOTONIC);

	if (left <= 0)
		return fail(detail, "it is not armed any more");
	if (left > alarm->left)
		return fail(detail, "%.3f s left, which is more than before: %.3f s",
			    left / 1e9, alarm->left / 1e9);
	if (llabs(left - expected) > TOLERANCE)
		return fail(detail, "%.3f s left instead of %.3f s", left / 1e9,
			    expected / 1e9);
	if (nanoseconds(&spec->it_interval))
		return fail(detail, "it has an interval");
	return pass(detail, "%.3f s left of %.3f s", left / 1e9,
		    alarm->left / 1e9);
}

static timer_t posix_timer;
static struct alarm posix_alarm;

static bool posix_timer_arm(char *detail)
{
	struct itimerspec spec = in_an_hour(&posix_alarm);

	if (timer_settime(posix_timer, TIMER_ABSTIME, &spec, NULL))
		return fail_errno(detail, "timer_settime");
	return true;
}

static void posix_timer_setup(void)
{
	struct sigevent event = {
		.sigev_notify = SIGEV_SIGNAL,
		.sigev_signo = TIMER,
	};
	char detail[DETAIL];

	if (timer_create(CLOCK_MONOTONIC, &event, &posix_timer))
		die_errno("timer_create");
	if (!posix_timer_arm(detail))
		die("%s", detail);
}

static bool posix_timer_verify(char *detail)
{
	struct itimerspec spec;
	siginfo_t info;

	if (timer_gettime(posix_timer, &spec))
		return fail_errno(detail, "timer_gettime");
	if (take_signal(TIMER, &info))
		return fail(detail, "its signal came");
	return alarm_verify(detail, &posix_alarm, &spec) &&
	       posix_timer_arm(detail);
}

static bool posix_timer_damage(char *detail)
{
	struct itimerspec spec = { .it_value.tv_sec = 1800 };

	if (timer_settime(posix_timer, 0, &spec, NULL))
		return fail_errno(detail, "timer_settime");
	return true;
}

const struct check posix_timer_check = {
	"posix-timer", posix_timer_setup, posix_timer_verify,
	posix_timer_damage,
};

static int timer_fd;
static struct alarm timerfd_alarm;

static bool timerfd_arm(char *detail)
{
	struct itimerspec spec = in_an_hour(&timerfd_alarm);

	if (timerfd_settime(timer_fd, TFD_TIMER_ABSTIME, &spec, NULL))
		return fail_errno(detail, "timerfd_settime");
	return true;
}

static void timerfd_setup(void)
{
	char detail[DETAIL];

	timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	if (timer_fd < 0)
		die_errno("timerfd_create");
	if (!timerfd_arm(detail))
		die("%s", detail);
}

static bool timerfd_verify(char *detail)
{
	struct pollfd ready = { .fd = timer_fd, .events = POLLIN };
	struct itimerspec spec;
	int n = poll(&ready, 1, 0);

	if (n < 0)
		return fail_errno(detail, "poll");
	if (n)
		return fail(detail, "it has expired");
	if (timerfd_gettime(timer_fd, &spec))
		return fail_errno(detail, "timerfd_gettime");
	return alarm_verify(detail, &timerfd_alarm, &spec) &&
	       timerfd_arm(detail);
}

static bool timerfd_damage(char *detail)
{
	struct itimerspec spec = { 0 };

	if (timerfd_settime(timer_fd, 0, &spec, NULL))
		return fail_errno(detail, "timerfd_settime");
	return true;
}

const struct check timerfd_check = {
	"timerfd", timerfd_setup, timerfd_verify, timerfd_damage,
};

/* clock */

static int64_t last_monotonic, last_boottime;

static void clock_setup(void)
{
	last_monotonic = now(CLOCK_MONOTONIC);
	last_boottime = now(CLOCK_BOOTTIME);
}

static bool clock_verify(char *detail)
{
	int64_t monotonic = now(CLOCK_MONOTONIC);
	int64_t boottime = now(CLOCK_BOOTTIME);
	int64_t ran = monotonic - last_monotonic;
	int64_t passed = boottime - last_boottime;

	if (ran < 0)
		return fail(detail, "CLOCK_MONOTONIC ran back by %.3f s",
			    -ran / 1e9);
	if (passed < 0)
		return fail(detail, "CLOCK_BOOTTIME ran back by %.3f s",
			    -passed / 1e9);
	if (boottime < monotonic)
		return fail(detail,
			    "CLOCK_BOOTTIME %.3f s is less than CLOCK_MONOTONIC %.3f s",
			    boottime / 1e9, monotonic / 1e9);
	last_monotonic = monotonic;
	last_boottime = boottime;
	return pass(detail,
		    "CLOCK_MONOTONIC ran %.3f s, CLOCK_BOOTTIME %.3f s",
		    ran / 1e9, passed / 1e9);
}

static bool clock_damage(char *detail)
{
	(void)detail;
	last_monotonic += HOUR;
	return true;
}

const struct check clock_check = {
	"clock", clock_setup, clock_verify, clock_damage,
};

/* identity: where it can, it is not what a process has by default */

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

static void identity_setup(void)
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

static bool identity_verify(char *detail)
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

const struct check identity_check = {
	"identity", identity_setup, identity_verify, identity_damage,
};

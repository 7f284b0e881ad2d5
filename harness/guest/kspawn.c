// SPDX-License-Identifier: GPL-2.0-only
/* The commands, the side of the normal kernel, and init of the spawned ones. */
#include <cpuid.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "kspawn.h"

/* From arch/x86/include/asm/cpufeatures.h: CPUID 7 ECX, 0x80000001 EDX. */
#define bit_LA57	(1u << 16)
#define bit_PDPE1GB	(1u << 26)

/* From include/uapi/linux/reboot.h; KSPAWN is ours, see kernels/patches. */
#define REBOOT_MAGIC1		0xfee1dead
#define REBOOT_MAGIC2		672274793
#define REBOOT_CMD_POWER_OFF	0x4321fedc
#define REBOOT_CMD_RESTART	0x01234567
#define REBOOT_CMD_KEXEC	0x45584543
#define REBOOT_CMD_KSPAWN	0x4e57504b

/* Where the process is noted that keeps a kernel loaded. */
#define KEEPER		"/run/kspawn.pid"

static long do_reboot(unsigned int cmd)
{
	return syscall(SYS_reboot, REBOOT_MAGIC1, REBOOT_MAGIC2, cmd, NULL);
}

long do_kexec_load(u64 entry, unsigned long nr,
		   const struct kexec_segment *segs, unsigned long flags)
{
	return syscall(SYS_kexec_load, entry, nr, segs, flags);
}

/* Loads one page, and with it an image that is entered at @entry. */
int kexec_load_page(u64 mem, const void *page, u64 entry, bool keep_context)
{
	struct kexec_segment seg = {
		.buf = page,
		.bufsz = PAGE,
		.mem = mem,
		.memsz = PAGE,
	};

	if (do_kexec_load(entry, 1, &seg, keep_context ? KEXEC_PRESERVE_CONTEXT : 0))
		return fail_errno("no-load", "kexec_load");
	return 0;
}

/* Gives back what an image holds, the backup area included. */
int kexec_unload(void)
{
	if (do_kexec_load(0, 0, NULL, 0))
		return fail_errno("no-unload", "kexec_load");
	return 0;
}

/* Jumps with the context kept; back again, *command is how. */
int kspawn_jump(const char **command)
{
	const char *used = "LINUX_REBOOT_CMD_KSPAWN";
	long err = do_reboot(REBOOT_CMD_KSPAWN);

	if (err && errno == EINVAL) {
		/* A kernel without our patch; the caller loaded what keeps context. */
		used = "LINUX_REBOOT_CMD_KEXEC";
		err = do_reboot(REBOOT_CMD_KEXEC);
	}
	if (command)
		*command = used;
	return err ? fail_errno("no-jump", used) : 0;
}

bool kexec_jump_refused(void)
{
	return do_reboot(REBOOT_CMD_KEXEC) && errno == EINVAL;
}

/*
 * Jump to where the normal kernel left. Its own swap_pages brings 0-16 MiB
 * back from the backup area; all that is loaded is the page of the entry, onto
 * itself, so that the identity mapping of kexec covers it.
 */
static int jump_back_load(u64 entry, bool keep_context)
{
	static u8 page[PAGE] __attribute__((aligned(4096)));
	u64 mem = entry & ~(PAGE - 1);

	if (phys_read(mem, page, PAGE))
		return -1;
	return kexec_load_page(mem, page, entry, keep_context);
}

/* Goes where jump_back_load() said. */
static int jump_back_go(void)
{
	do_reboot(REBOOT_CMD_KEXEC);
	return fail_errno("no-jump", "reboot(LINUX_REBOOT_CMD_KEXEC)");
}

static int jump_back(u64 entry)
{
	return jump_back_load(entry, false) ? -1 : jump_back_go();
}

/* ---- the normal kernel ------------------------------------------------ */

struct spawn_options {
	const char *kernel;
	const char *append;
	const char *kexec;
	const char *status;
	bool keep;		/* keep what is loaded, to be entered again */
};

static int pagemap_frame(const void *page, u64 *frame)
{
	u64 word;
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return fail_errno("no-pagemap", "/proc/self/pagemap");
	n = pread(fd, &word, sizeof(word), (uintptr_t)page / PAGE * sizeof(word));
	if (close(fd))
		return fail_errno("no-pagemap", "close");
	if (n != sizeof(word) || !(word >> 63))
		return fail("no-pagemap", "a locked page is not present");
	*frame = word & ((1ULL << 55) - 1);
	return 0;
}

/* A locked page above 16 MiB: below, the spawned kernel would lie on it. */
static struct handoff *handoff_page(u64 *phys)
{
	for (int tries = 0; tries < 8192; tries++) {
		u64 frame;
		void *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
				  MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE,
				  -1, 0);

		if (page == MAP_FAILED || mlock(page, PAGE)) {
			fail_errno("no-memory", "a page for the handoff");
			return NULL;
		}
		if (pagemap_frame(page, &frame))
			return NULL;
		*phys = frame * PAGE;
		/* A page below is kept, so that the next one is another. */
		if (*phys >= SPAWNED_END)
			return page;
	}
	fail("no-memory", "no page above 16 MiB for the handoff");
	return NULL;
}

u64 meminfo_kb(const char *key)
{
	char text[4096], *at;

	if (read_text("/proc/meminfo", text, sizeof(text)))
		return 0;
	at = strstr(text, key);
	return at ? strtoull(at + strlen(key), NULL, 10) : 0;
}

/* mlock() does not keep compaction from moving a page. */
static int check_place(const struct handoff *ho, u64 phys)
{
	u64 frame;

	if (pagemap_frame(ho, &frame))
		return -1;
	return frame * PAGE == phys ? 0 :
	       fail("moved", "the handoff was moved, try again");
}

/*
 * What is free by the kernel's own count, and what lies in the lists of the
 * CPUs: that is not free by the count, and becomes so at any time.
 */
static void count_free(struct handoff *ho)
{
	char line[256];
	unsigned long long count;
	FILE *f = fopen("/proc/zoneinfo", "re");

	ho->percpu_pages = 0;
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, " count: %llu", &count) == 1)
			ho->percpu_pages += count;
	if (f && fclose(f))
		ho->percpu_pages = 0;
	ho->memfree_pages = meminfo_kb("MemFree:") / (PAGE >> 10);
}

/* The last value of an option on the kernel's command line. */
static bool kernel_option(const char *cmdline, const char *key, char *value,
			  size_t size)
{
	size_t len = strlen(key);
	bool found = false;

	for (const char *at = cmdline; (at = strstr(at, key)); at += len) {
		if ((at != cmdline && at[-1] != ' ') || at[len] != '=')
			continue;
		snprintf(value, size, "%.*s",
			 (int)strcspn(at + len + 1, " \n"), at + len + 1);
		found = true;
	}
	return found;
}

/* Off as kstrtobool() of the kernel takes it; what is no bool is not. */
static bool option_off(const char *value)
{
	return (value[0] && strchr("0nNfF", value[0])) ||
	       !strncasecmp(value, "off", 3);
}

/* What the kernel said at boot: "off", "on", or nothing that is still there. */
static int boot_log_init_on_free(char *said, size_t size)
{
	static char record[8192];
	int fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	ssize_t n;

	snprintf(said, size, "unknown");
	if (fd < 0)
		return fail_errno("no-log", "/dev/kmsg");
	/* A record a read; EPIPE is one that was overwritten meanwhile. */
	while ((n = read(fd, record, sizeof(record) - 1)) > 0 ||
	       (n < 0 && (errno == EPIPE || errno == EINTR))) {
		char *text, *heap;

		if (n < 0)
			continue;
		record[n] = 0;
		text = strchr(record, ';');
		/* Facility 0: of the kernel, and not of who wrote to it. */
		if (!text || strtoul(record, NULL, 10) > 7 ||
		    strncmp(text + 1, "mem auto-init: ", 15))
			continue;
		if (strstr(text, "PAGE_POISONING is on")) {
			snprintf(said, size, "page poisoning is on");
			break;
		}
		heap = strstr(text, "heap free:");
		if (heap)
			snprintf(said, size, "%.*s", (int)strcspn(heap + 10, "\n"),
				 heap + 10);
	}
	if (close(fd))
		return fail_errno("no-log", "close");
	return 0;
}

/*
 * Whether this kernel counts on what its free pages hold: zeros with
 * init_on_free, a pattern with page poisoning.  It does not look at such a page
 * again before it hands it out, so one that is not in the image must not come
 * back as anything else. Commit 18451f9f9e58 mended that in swsusp. Whoever
 * cannot tell says yes: all pages are kept then.
 */
static void free_content(struct handoff *ho)
{
	char cmdline[4096], value[32], said[24];

	ho->free_matters = 1;
	if (read_text("/proc/cmdline", cmdline, sizeof(cmdline))) {
		snprintf(ho->free_why, sizeof(ho->free_why),
			 "its command line cannot be read");
		return;
	}
	if (kernel_option(cmdline, "page_poison", value, sizeof(value)) &&
	    !option_off(value)) {
		snprintf(ho->free_why, sizeof(ho->free_why), "page_poison=%s",
			 value);
		return;
	}
	/* Said there, it is so, whatever the config has for a default. */
	if (kernel_option(cmdline, "init_on_free", value, sizeof(value))) {
		ho->free_matters = !option_off(value);
		snprintf(ho->free_why, sizeof(ho->free_why), "init_on_free=%s",
			 value);
		return;
	}
	/* The default is a matter of the config: the log tells. */
	if (boot_log_init_on_free(said, sizeof(said))) {
		snprintf(ho->free_why, sizeof(ho->free_why),
			 "its log cannot be read");
		return;
	}
	snprintf(ho->free_why, sizeof(ho->free_why),
		 "its log says of init_on_free: %s", said);
	ho->free_matters = strcmp(said, "off") != 0;
}

static int fill_handoff(struct handoff *ho)
{
	struct utsname uts;
	char text[128], *next;

	memset(ho, 0, sizeof(*ho));
	free_content(ho);
	memcpy(ho->magic, HANDOFF_MAGIC, sizeof(ho->magic));
	ho->version = HANDOFF_VERSION;
	if (uname(&uts))
		return fail_errno("no-release", "uname");
	snprintf(ho->release, sizeof(ho->release), "%.63s", uts.release);
	if (read_text("/proc/sys/kernel/random/boot_id", text, sizeof(text)))
		return -1;
	text[strcspn(text, "\n")] = 0;
	snprintf(ho->boot_id, sizeof(ho->boot_id), "%.36s", text);
	if (read_iomem("System RAM", &ho->ram) ||
	    read_firmware_map(&ho->firmware))
		return -1;
	/* Optional: without it the image has no VMCOREINFO note. */
	if (!read_text("/sys/kernel/vmcoreinfo", text, sizeof(text))) {
		ho->vmcoreinfo = strtoull(text, &next, 16);
		ho->vmcoreinfo_size = strtoull(next, NULL, 16);
	}
	count_free(ho);
	ho->crc = handoff_crc(ho);
	return 0;
}

/* Loads the hibernating kernel through kexec-tools. */
static int load_spawned(const struct spawn_options *o, u64 handoff_phys)
{
	char append[2048];
	int wstatus;
	pid_t pid;

	snprintf(append, sizeof(append), "--append=%s kspawn.handoff=%#llx",
		 o->append, (unsigned long long)handoff_phys);
	pid = fork();
	if (pid < 0)
		return fail_errno("no-load", "fork");
	if (!pid) {
		/*
		 * --mem-min=0x1000: below 640K lies the trampoline that wakes
		 * the other CPUs, which must be backed up as well.
		 */
		execl(o->kexec, "kexec", "-c", "--load-preserve-context",
		      "--pass-memmap-cmdline", "--mem-min=0x1000",
		      "--mem-max=0xffffff", append, o->kernel, NULL);
		_exit(127);
	}
	while (waitpid(pid, &wstatus, 0) < 0)
		if (errno != EINTR)
			return fail_errno("no-load", "waitpid");
	if (!WIFEXITED(wstatus) || WEXITSTATUS(wstatus))
		return fail("no-load", "kexec ended with %d",
			    WIFEXITED(wstatus) ? WEXITSTATUS(wstatus) :
						 -WTERMSIG(wstatus));
	return 0;
}

static void report_back(const struct handoff *ho, const char *command)
{
	static const char *const outcomes[] = {
		[OUTCOME_NONE] = "none", [OUTCOME_IMAGE] = "image",
		[OUTCOME_PLAIN] = "plain", [OUTCOME_FAILED] = "failed",
	};
	struct json js;

	js_begin(&js, "normal", "back");
	js_str(&js, "command", command);
	js_str(&js, "outcome", ho->outcome < ARRAY_SIZE(outcomes) ?
			       outcomes[ho->outcome] : "unknown");
	if (ho->outcome == OUTCOME_FAILED) {
		js_str(&js, "status", ho->status);
		js_str(&js, "detail", ho->detail);
	}
	js_emit(&js);
}

static int jump_there(struct handoff *ho, u64 phys, const char **command)
{
	/* The caller's connection ends before the network is frozen. */
	usleep(200000);
	/* As late as can be: what ends with the connection frees memory. */
	count_free(ho);
	ho->outcome = OUTCOME_NONE;
	ho->crc = handoff_crc(ho);
	if (check_place(ho, phys))
		return -1;
	status("normal", "jump");
	return kspawn_jump(command);
}

/* Jumps again at each SIGUSR1, into the kernel that was left; until SIGTERM. */
static int keep(struct handoff *ho, u64 phys)
{
	int number = 0, err = 0;
	const char *command;
	sigset_t set;
	FILE *file;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGTERM);
	if (sigprocmask(SIG_BLOCK, &set, NULL))
		return fail_errno("no-jump", "sigprocmask");
	file = fopen(KEEPER, "we");
	if (!file)
		return fail_errno("no-jump", KEEPER);
	fprintf(file, "%d\n", getpid());
	if (fclose(file))
		return fail_errno("no-jump", KEEPER);
	do {
		err = jump_there(ho, phys, &command);
		if (err)
			break;
		report_back(ho, command);
		if (sigwait(&set, &number))
			err = fail_errno("no-jump", "sigwait");
	} while (!err && number == SIGUSR1);
	if (unlink(KEEPER) && !err)
		err = fail_errno("no-jump", KEEPER);
	return err;
}

/* Jumps, and is back once the normal kernel was resumed. */
static int spawn(const struct spawn_options *o, int loaded_fd)
{
	const char *command;
	struct handoff *ho;
	u64 phys;
	char ok = 1;

	ho = handoff_page(&phys);
	if (!ho || fill_handoff(ho) || load_spawned(o, phys))
		return -1;
	if (check_place(ho, phys))
		return -1;
	if (write(loaded_fd, &ok, 1) != 1 || close(loaded_fd))
		return fail_errno("no-load", "telling the caller");
	if (o->keep)
		return keep(ho, phys) || kexec_unload() ? -1 : 0;
	if (jump_there(ho, phys, &command) || kexec_unload())
		return -1;
	report_back(ho, command);
	return 0;
}

/* Signals the process that keeps a kernel loaded; SIGTERM: until it is gone. */
static int cmd_keeper(int number)
{
	struct pollfd ended = { .events = POLLIN };
	char text[32];

	if (read_text(KEEPER, text, sizeof(text))) {
		fprintf(stderr, "kspawn: no kernel is kept: %s\n", failure.detail);
		return 1;
	}
	ended.fd = syscall(SYS_pidfd_open, atoi(text), 0);
	if (ended.fd < 0 ||
	    syscall(SYS_pidfd_send_signal, ended.fd, number, NULL, 0)) {
		perror("kspawn: the process that keeps a kernel");
		return 1;
	}
	if (number == SIGTERM && poll(&ended, 1, -1) < 0) {
		perror("kspawn: poll");
		return 1;
	}
	return 0;
}

int cmd_spawn(int argc, char **argv)
{
	struct spawn_options o = {
		.kernel = "/boot/spawned",
		.append = "",
		.kexec = "/sbin/kexec",
		.status = "/dev/ttyS1",
	};
	int pipes[2], c;
	char ok = 0;
	pid_t pid;

	while ((c = getopt(argc, argv, "k:a:x:s:l")) != -1) {
		if (c == 'k')
			o.kernel = optarg;
		else if (c == 'a')
			o.append = optarg;
		else if (c == 'x')
			o.kexec = optarg;
		else if (c == 's')
			o.status = optarg;
		else if (c == 'l')
			o.keep = true;
		else
			return 2;
	}
	if (pipe(pipes)) {
		perror("kspawn: pipe");
		return 1;
	}
	pid = fork();
	if (pid < 0) {
		perror("kspawn: fork");
		return 1;
	}
	if (pid) {
		/* Ends as soon as the kernel is loaded: the child jumps. */
		close(pipes[1]);
		return read(pipes[0], &ok, 1) == 1 ? 0 : 1;
	}
	close(pipes[0]);
	if (setsid() < 0 || status_open(o.status, true) ||
	    spawn(&o, pipes[1])) {
		status_failure("normal", "spawn-failed");
		fprintf(stderr, "kspawn: %s: %s\n", failure.status,
			failure.detail);
		_exit(1);
	}
	_exit(0);
}

static int cmd_jump(void)
{
	if (!do_reboot(REBOOT_CMD_KSPAWN))
		return 0;
	perror("kspawn: LINUX_REBOOT_CMD_KSPAWN");
	return errno == EINVAL ? 22 : 1;
}

/* Three clocks in one line, in seconds: monotonic, boottime, realtime. */
static int cmd_clocks(void)
{
	static const clockid_t clocks[] = {
		CLOCK_MONOTONIC, CLOCK_BOOTTIME, CLOCK_REALTIME,
	};
	struct timespec ts;

	for (size_t i = 0; i < ARRAY_SIZE(clocks); i++) {
		if (clock_gettime(clocks[i], &ts)) {
			perror("kspawn: clock_gettime");
			return 1;
		}
		printf("%lld.%09ld%c", (long long)ts.tv_sec, ts.tv_nsec,
		       i == ARRAY_SIZE(clocks) - 1 ? '\n' : ' ');
	}
	return 0;
}

/* ---- the spawned kernels ---------------------------------------------- */

enum filter {
	FILTER_ON,
	FILTER_OFF,		/* free pages are saved as well */
	FILTER_FORCE,		/* left out even if that is known to break */
};

struct boot_options {
	char role[16];
	char disk[64];
	char fault[16];
	bool shell;
	u64 handoff;
	u64 entry;
	bool scribble;
	bool in_place;		/* restore by kexec_load(2) alone */
	bool no_dev_mem;	/* remove /dev/mem first */
	bool probe;		/* ask kexec_load(2) for what it must refuse */
	char userland[64];	/* without an image: a disk with what to go on as */
	bool plain;		/* jump straight back, save nothing */
	bool reset;		/* when saved: reset, do not power off */
	bool stay;		/* jump back so that one can come again */
	enum filter filter;
};

static void parse_option(struct boot_options *o, const char *key,
			 const char *value)
{
	if (!strcmp(key, "kspawn.role"))
		snprintf(o->role, sizeof(o->role), "%s", value);
	else if (!strcmp(key, "kspawn.disk"))
		snprintf(o->disk, sizeof(o->disk), "%s", value);
	else if (!strcmp(key, "kspawn.shell"))
		o->shell = !strcmp(value, "1");
	else if (!strcmp(key, "kspawn.fault"))
		snprintf(o->fault, sizeof(o->fault), "%s", value);
	else if (!strcmp(key, "kspawn.handoff"))
		o->handoff = strtoull(value, NULL, 0);
	else if (!strcmp(key, "kexec_jump_back_entry"))
		o->entry = strtoull(value, NULL, 0);
	else if (!strcmp(key, "kspawn.scribble"))
		o->scribble = atoi(value);
	else if (!strcmp(key, "kspawn.in_place"))
		o->in_place = atoi(value);
	else if (!strcmp(key, "kspawn.dev_mem"))
		o->no_dev_mem = !atoi(value);
	else if (!strcmp(key, "kspawn.probe"))
		o->probe = atoi(value);
	else if (!strcmp(key, "kspawn.userland"))
		snprintf(o->userland, sizeof(o->userland), "%s", value);
	else if (!strcmp(key, "kspawn.stay"))
		o->stay = atoi(value);
	else if (!strcmp(key, "kspawn.after"))
		o->reset = !strcmp(value, "reset");
	else if (!strcmp(key, "kspawn.plain"))
		o->plain = atoi(value);
	else if (!strcmp(key, "kspawn.filter"))
		o->filter = !strcmp(value, "force") ? FILTER_FORCE :
			    !strcmp(value, "0") ? FILTER_OFF : FILTER_ON;
}

static int parse_cmdline(struct boot_options *o)
{
	static char text[4096];
	char *save, *word;

	memset(o, 0, sizeof(*o));
	strcpy(o->role, "resuming");
	strcpy(o->disk, "/dev/vda");
	if (read_text("/proc/cmdline", text, sizeof(text)))
		return -1;
	for (word = strtok_r(text, " \n", &save); word;
	     word = strtok_r(NULL, " \n", &save)) {
		char *value = strchr(word, '=');

		if (!value)
			continue;
		*value++ = 0;
		parse_option(o, word, value);
	}
	return 0;
}

int has_five_levels(bool *five)
{
	/* Only at five levels is there anything above 2^47 to be mapped. */
	void *hint = (void *)(1UL << 52);
	void *got = mmap(hint, PAGE, PROT_NONE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);

	*five = got == hint;
	if (got != MAP_FAILED && munmap(got, PAGE))
		return fail_errno("no-memory", "munmap");
	return 0;
}

/* What a jump cannot change (the depth), or the kernels' page tables use. */
static void js_paging(struct json *js)
{
	unsigned int eax, ebx, ecx, edx;
	bool five;

	if (!has_five_levels(&five))
		js_num(js, "levels", five ? 5 : 4);
	if (__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx))
		js_num(js, "la57", !!(ecx & bit_LA57));
	if (__get_cpuid(0x80000001, &eax, &ebx, &ecx, &edx))
		js_num(js, "pdpe1gb", !!(edx & bit_PDPE1GB));
}

void js_kernel(struct json *js)
{
	struct utsname uts;
	struct ranges ram;
	char boot_id[64] = "";

	if (!uname(&uts))
		js_str(js, "release", uts.release);
	if (!read_text("/proc/sys/kernel/random/boot_id", boot_id,
		       sizeof(boot_id)))
		boot_id[strcspn(boot_id, "\n")] = 0;
	js_str(js, "boot_id", boot_id);
	js_num(js, "memtotal_kb", meminfo_kb("MemTotal:"));
	js_num(js, "memfree_kb", meminfo_kb("MemFree:"));
	if (!read_iomem("System RAM", &ram))
		js_ranges(js, "system_ram", &ram);
	if (!read_firmware_map(&ram))
		js_ranges(js, "firmware_ram", &ram);
	js_paging(js);
}

static void report_init(const struct boot_options *o)
{
	struct json js;

	js_begin(&js, o->role, "init");
	js_kernel(&js);
	js_num(&js, "entry", o->entry);
	js_str(&js, "dev_mem", dev_mem_state());
	/* What is not there is not used, by whatever mistake. */
	if (o->no_dev_mem && unlink("/dev/mem"))
		js_str(&js, "dev_mem_error", strerror(errno));
	js_num(&js, "dev_mem_there", !access("/dev/mem", F_OK));
	js_emit(&js);
}

static int mounts(void)
{
	if (mount("proc", "/proc", "proc", 0, NULL) ||
	    mount("sysfs", "/sys", "sysfs", 0, NULL) ||
	    mount("devtmpfs", "/dev", "devtmpfs", 0, NULL))
		return fail_errno("no-mount", "mount");
	return 0;
}

void js_stats(struct json *js, const struct image_stats *stats)
{
	js_num(js, "stored_bytes", stats->stored_bytes);
	js_num(js, "zero_bytes", stats->zero_bytes);
	js_num(js, "free_bytes", stats->free_bytes);
	js_num(js, "file_bytes", stats->file_bytes);
	js_num(js, "segments", stats->segments);
}

static void js_image(struct json *js, const char *role, const char *event,
		     const struct image_stats *stats, u64 started)
{
	js_begin(js, role, event);
	js_stats(js, stats);
	js_num(js, "took_ms", monotonic_ms() - started);
}

static int read_handoff(const struct boot_options *o, struct handoff *ho)
{
	if (!o->handoff || !o->entry)
		return fail("no-handoff", "not on the command line");
	if (phys_read(o->handoff, ho, sizeof(*ho)))
		return -1;
	if (memcmp(ho->magic, HANDOFF_MAGIC, sizeof(ho->magic)) ||
	    ho->version != HANDOFF_VERSION || ho->crc != handoff_crc(ho))
		return fail("no-handoff", "what lies at %#llx is not a handoff",
			    (unsigned long long)o->handoff);
	return 0;
}

/* Tells the normal kernel, in its own memory, how it comes back. */
static int set_outcome(const struct boot_options *o, struct handoff *ho,
		       enum outcome outcome)
{
	ho->outcome = outcome;
	if (outcome == OUTCOME_FAILED) {
		memcpy(ho->status, failure.status, sizeof(ho->status));
		memcpy(ho->detail, failure.detail, sizeof(ho->detail));
	}
	return phys_write(o->handoff, ho, sizeof(*ho));
}

static void report_kept(struct json *js, const char *reason, const char *detail)
{
	js_str(js, "status", "kept");
	js_str(js, "reason", reason);
	js_str(js, "detail", detail);
}

/* The free pages that need not be saved, or NULL; says which and why. */
static u8 *leave_out(const struct boot_options *o, const struct handoff *ho,
		     u64 *frames)
{
	struct free_stats stats;
	struct json js;
	u64 started = monotonic_ms();
	u8 *skip = NULL;

	js_begin(&js, o->role, "filtered");
	if (o->filter == FILTER_OFF) {
		report_kept(&js, "off", "kspawn.filter=0");
	} else if (ho->free_matters && o->filter != FILTER_FORCE) {
		report_kept(&js, "content", ho->free_why);
	} else {
		skip = free_pages_find(ho, frames, &stats);
		if (!skip)
			report_kept(&js, "failed", failure.detail);
		js_num(&js, "free_pages", stats.free_pages);
		js_num(&js, "below_pages", stats.below_pages);
		js_num(&js, "listed_pages", stats.listed_pages);
		js_num(&js, "unknown_pages", stats.unknown_pages);
	}
	js_num(&js, "memfree_pages", ho->memfree_pages);
	js_num(&js, "percpu_pages", ho->percpu_pages);
	js_num(&js, "took_ms", monotonic_ms() - started);
	js_emit(&js);
	return skip;
}

/* What the normal kernel has, and where the jump put what was below 16 MiB. */
static void report_memory(const struct boot_options *o,
			  const struct handoff *ho, const char *event)
{
	struct ranges backup;
	struct json js;

	js_begin(&js, o->role, event);
	js_ranges(&js, "ram", &ho->ram);
	/* Not known on every kernel: the report then lacks the backup area. */
	if (!backup_map_read(o->entry)) {
		backup_ranges(&backup);
		js_ranges(&js, "backup", &backup);
	}
	js_emit(&js);
}

static int hibernate(const struct boot_options *o, struct handoff *ho)
{
	struct save_job job = {
		.disk = o->disk,
		.entry = o->entry,
		.handoff_phys = o->handoff,
		.handoff = ho,
	};
	struct image_stats stats;
	struct json js;
	u64 started = monotonic_ms();
	u8 *skip;
	int err;

	report_memory(o, ho, "saving");
	/* Before the save: it is part of the image. */
	if (set_outcome(o, ho, OUTCOME_IMAGE))
		return -1;
	skip = leave_out(o, ho, &job.skip_frames);
	job.skip = skip;
	err = image_save(&job, &stats);
	free(skip);
	if (err)
		return -1;
	js_image(&js, o->role, "saved", &stats, started);
	js_emit(&js);
	return 0;
}

static void power_off(const struct boot_options *o)
{
	status(o->role, o->reset ? "reset" : "power-off");
	sync();
	if (do_reboot(o->reset ? REBOOT_CMD_RESTART : REBOOT_CMD_POWER_OFF))
		fail_errno("no-power-off", "reboot");
	status_failure(o->role, "error");
}

/*
 * Back and forth: this kernel is left with its context kept, and is entered
 * again where it left, not at its start.
 *
 * What jumps back is loaded once. Each jump swaps the page of the entry, which
 * holds the normal kernel's registers, with what was loaded; a page read anew
 * would be that of the first jump.
 */
static int stay(const struct boot_options *o, struct handoff *ho)
{
	struct json js;

	if (jump_back_load(o->entry, true))
		return -1;
	for (u64 times = 1;; times++) {
		if (set_outcome(o, ho, OUTCOME_PLAIN) || kspawn_jump(NULL))
			return -1;
		js_begin(&js, o->role, "again");
		js_kernel(&js);
		js_num(&js, "times", times);
		js_emit(&js);
		if (read_handoff(o, ho))
			return -1;
	}
}

static void run_hibernating(const struct boot_options *o)
{
	struct handoff ho;

	if (read_handoff(o, &ho)) {
		status_failure(o->role, "error");
		power_off(o);
		return;
	}
	if (o->plain) {
		report_memory(o, &ho, "plain");
		if (o->stay ? stay(o, &ho) :
		    set_outcome(o, &ho, OUTCOME_PLAIN) || jump_back(o->entry))
			status_failure(o->role, "error");
		return;
	}
	if (!hibernate(o, &ho)) {
		power_off(o);
		return;
	}
	/* Nothing is lost: the normal kernel goes on, and is told why. */
	status_failure(o->role, "error");
	if (set_outcome(o, &ho, OUTCOME_FAILED) || jump_back(o->entry))
		status_failure(o->role, "error");
}

/* There is no image: go on as a normal kernel, with all the memory. */
static int go_on(const struct boot_options *o)
{
	struct grown grown;
	struct json js;
	u64 started = monotonic_ms();
	u32 files;

	if (memory_grow(&grown))
		return -1;
	js_begin(&js, o->role, "grown");
	js_num(&js, "blocks", grown.added);
	js_num(&js, "refused_blocks", grown.refused);
	js_num(&js, "block_bytes", grown.block_bytes);
	js_num(&js, "left_bytes", grown.left_bytes);
	js_num(&js, "memtotal_kb", meminfo_kb("MemTotal:"));
	js_num(&js, "took_ms", monotonic_ms() - started);
	js_emit(&js);
	started = monotonic_ms();
	if (userland_unpack(o->userland, &files))
		return -1;
	js_begin(&js, o->role, "userland");
	js_num(&js, "files", files);
	js_num(&js, "took_ms", monotonic_ms() - started);
	js_emit(&js);
	return userland_enter();
}

static int restore(const struct boot_options *o, u64 *entry)
{
	const struct memory_way *way = &dev_mem_way;
	struct image_stats stats;
	u64 started = monotonic_ms();
	struct json js;

	if (o->probe && in_place_probe(o->role))
		return -1;
	if (o->in_place)
		way = in_place_way();
	if (!way)
		return -1;
	js_begin(&js, o->role, "restoring");
	js_str(&js, "by", way->name);
	js_emit(&js);
	if (image_restore(o->disk, way, o->scribble, entry, &stats))
		return -1;
	/* With this the image is loaded, or what goes back to it. */
	if (o->in_place ? in_place_load(*entry) : jump_back_load(*entry, false))
		return -1;
	js_image(&js, o->role, "restored", &stats, started);
	js_str(&js, "by", way->name);
	if (o->in_place)
		js_num(&js, "calls", in_place_calls());
	js_emit(&js);
	return 0;
}

static void run_resuming(const struct boot_options *o)
{
	u64 entry;

	if (restore(o, &entry)) {
		status_failure(o->role, "refused");
		if (o->userland[0] && go_on(o))
			status_failure(o->role, "error");
		power_off(o);
		return;
	}
	/* An image is given up when nothing but the jump itself can fail. */
	if (image_invalidate(o->disk) || jump_back_go())
		status_failure(o->role, "error");
}

void spawned_init(void)
{
	struct boot_options o;

	if (!mounts() && !status_open("/dev/ttyS1", true) && !parse_cmdline(&o)) {
		report_init(&o);
		if (o.shell)
			spawned_shell(o.role, o.entry);
		if (!strcmp(o.fault, "panic"))
			exit(1);
		if (!strcmp(o.fault, "hang"))
			for (;;)
				pause();
		if (!strcmp(o.role, "resuming"))
			run_resuming(&o);
		else
			run_hibernating(&o);
	} else {
		status_failure("spawned", "error");
	}
	/* init does not end: what went wrong was said, and the harness acts. */
	for (;;)
		pause();
}

static void usage(void)
{
	fprintf(stderr,
		"usage: kspawn spawn [-k KERNEL] [-a APPEND] [-x KEXEC] [-s STATUS] [-l]\n"
		"       kspawn again\n"
		"       kspawn release\n"
		"       kspawn jump\n"
		"       kspawn payload [-g] [ROUNDS]\n"
		"       kspawn clocks\n"
		"       kspawn find-image [-d DISK] [-s STATUS]\n"
		"       kspawn resume-snapshot [-d DISK] [-s STATUS] [-p]\n");
}

int main(int argc, char **argv)
{
	if (getpid() == 1)
		spawned_init();
	if (argc >= 2 && !strcmp(argv[1], "spawn"))
		return cmd_spawn(argc - 1, argv + 1);
	if (argc == 2 && !strcmp(argv[1], "again"))
		return cmd_keeper(SIGUSR1);
	if (argc == 2 && !strcmp(argv[1], "release"))
		return cmd_keeper(SIGTERM);
	if (argc == 2 && !strcmp(argv[1], "jump"))
		return cmd_jump();
	if (argc >= 2 && !strcmp(argv[1], "payload"))
		return cmd_payload(argc - 1, argv + 1);
	if (argc == 2 && !strcmp(argv[1], "clocks"))
		return cmd_clocks();
	if (argc >= 2 && !strcmp(argv[1], "find-image"))
		return cmd_find_image(argc - 1, argv + 1);
	if (argc >= 2 && !strcmp(argv[1], "resume-snapshot"))
		return cmd_resume_snapshot(argc - 1, argv + 1);
	usage();
	return 2;
}

// SPDX-License-Identifier: GPL-2.0
/*
 * A virtual machine whose memory is a stream, under KVM: what its processor stores
 * while clones are taken, is in each clone up to one moment. Its page tables are
 * emptied by the same call as those of processes (mmu_notifier).
 */
#include <linux/kvm.h>
#include <spawn.h>
#include <stddef.h>

#include "harness.h"
#include "ram.h"

#define RAM (16 * MiB)
#define CODE 0x1000
/* The guest counts in these, one after the other. They are in leaves of their own. */
#define FIRST 0x2000
#define EXTRA MiB
#define SECOND (EXTRA + 0x2000)

FIXTURE(ram_kvm) {
	int fd, kvm, vm, vcpu;
	char *ram;
	struct kvm_run *run;
	pthread_t thread;
	pid_t tid;
};

#ifdef __aarch64__
/* The only page table. */
#define TABLE 0x3000

static const uint32_t code[] = {
	0xb9400002,		/* ldr w2, [x0] */
	0x11000442,		/* add w2, w2, #1 */
	0xb9000002,		/* str w2, [x0] */
	0xb9000022,		/* str w2, [x1] */
	0x17fffffc,		/* b CODE */
};

static void write_guest(char *ram)
{
	/* The first GiB: mapped to itself, normal memory, accessed, inner shareable. */
	const uint64_t block = 1 << 10 | 3 << 8 | 1;

	memcpy(ram + CODE, code, sizeof(code));
	memcpy(ram + TABLE, &block, sizeof(block));
}

#define CORE(name) (KVM_REG_ARM64 | KVM_REG_SIZE_U64 | KVM_REG_ARM_CORE | KVM_REG_ARM_CORE_REG(name))

/* With the MMU on: without, the guest would go past the caches that this program reads through. */
static int set_registers(int vm, int vcpu)
{
	const struct { uint64_t id, value; } regs[] = {
		{ ARM64_SYS_REG(3, 0, 10, 2, 0), 0xff },	/* MAIR_EL1: write-back */
		/* TCR_EL1: no TTBR1; walks as the memory is; 39 bits of address, pages of 4 KiB. */
		{ ARM64_SYS_REG(3, 0, 2, 0, 2), 1 << 23 | 3 << 12 | 1 << 10 | 1 << 8 | 25 },
		{ ARM64_SYS_REG(3, 0, 2, 0, 0), TABLE },	/* TTBR0_EL1 */
		{ ARM64_SYS_REG(3, 0, 1, 0, 0), 0x30d01805 },	/* SCTLR_EL1: MMU and caches */
		{ CORE(regs.regs[0]), FIRST },
		{ CORE(regs.regs[1]), SECOND },
		{ CORE(regs.pc), CODE },
	};
	struct kvm_vcpu_init init;

	if (ioctl(vm, KVM_ARM_PREFERRED_TARGET, &init) || ioctl(vcpu, KVM_ARM_VCPU_INIT, &init))
		return -1;
	for (size_t i = 0; i < ARRAY_LEN(regs); i++) {
		struct kvm_one_reg reg = { .id = regs[i].id, .addr = (uintptr_t)&regs[i].value };

		if (ioctl(vcpu, KVM_SET_ONE_REG, &reg))
			return -1;
	}
	return 0;
}
#else
/*
 * In real mode: inc word [FIRST]; mov ax, [FIRST]; mov es:[0x2000], ax; jmp. Words of
 * 32 bits.
 */
static const unsigned char code[] = {
	0x66, 0xff, 0x06, 0x00, 0x20,		/* incl FIRST */
	0x66, 0xa1, 0x00, 0x20,			/* movl FIRST, %eax */
	0x26, 0x66, 0xa3, 0x00, 0x20,		/* movl %eax, %es:0x2000 */
	0xeb, 0xf0,				/* jmp CODE */
};

static void write_guest(char *ram)
{
	memcpy(ram + CODE, code, sizeof(code));
}

static int set_registers(int vm, int vcpu)
{
	struct kvm_regs regs = { .rip = CODE, .rflags = 2 };
	struct kvm_sregs sregs;

	(void)vm;
	if (ioctl(vcpu, KVM_GET_SREGS, &sregs))
		return -1;
	sregs.cs.base = 0;
	sregs.cs.selector = 0;
	sregs.es.base = EXTRA;
	sregs.es.selector = 0;
	return ioctl(vcpu, KVM_SET_SREGS, &sregs) || ioctl(vcpu, KVM_SET_REGS, &regs);
}
#endif

static void load_module(char *name)
{
	char *argv[] = { "modprobe", "-q", name, NULL };
	char *env[] = { "PATH=/usr/sbin:/usr/bin:/sbin:/bin", NULL };
	pid_t child;

	if (posix_spawn(&child, "/usr/sbin/modprobe", NULL, NULL, argv, env) == 0)
		waitpid(child, NULL, 0);
}

static void on_kick(int number)
{
	(void)number;
}

static void *run_guest(void *arg)
{
	FIXTURE_DATA(ram_kvm) *self = arg;

	self->tid = my_tid();
	while (ioctl(self->vcpu, KVM_RUN, 0) == 0)
		;
	return (void *)(uintptr_t)errno;
}

/* The guest's memory becomes @ram, and it runs from its start, or goes on. */
static int start_guest(FIXTURE_DATA(ram_kvm) *self, char *ram)
{
	struct kvm_userspace_memory_region region = {
		.memory_size = RAM, .userspace_addr = (uintptr_t)ram,
	};

	self->vm = ioctl(self->kvm, KVM_CREATE_VM, 0);
	if (self->vm < 0 || ioctl(self->vm, KVM_SET_USER_MEMORY_REGION, &region))
		return -1;
	self->vcpu = ioctl(self->vm, KVM_CREATE_VCPU, 0);
	if (self->vcpu < 0 || set_registers(self->vm, self->vcpu))
		return -1;
	self->run = mmap(NULL, ioctl(self->kvm, KVM_GET_VCPU_MMAP_SIZE, 0),
			 PROT_READ | PROT_WRITE, MAP_SHARED, self->vcpu, 0);
	if (self->run == MAP_FAILED)
		return -1;
	return pthread_create(&self->thread, NULL, run_guest, self);
}

static void stop_guest(FIXTURE_DATA(ram_kvm) *self)
{
	void *end;

	while (!self->tid)
		sleep_ms(1);
	do {
		self->run->immediate_exit = 1;
		syscall(SYS_tgkill, getpid(), self->tid, SIGUSR1);
		sleep_ms(1);
	} while (pthread_tryjoin_np(self->thread, &end));
	self->tid = 0;
	munmap(self->run, ioctl(self->kvm, KVM_GET_VCPU_MMAP_SIZE, 0));
	close(self->vcpu);
	close(self->vm);
}

FIXTURE_SETUP(ram_kvm)
{
	struct sigaction action = { .sa_handler = on_kick };

	load_module("kvm_amd");
	load_module("kvm_intel");
	self->kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (self->kvm < 0)
		SKIP(return, "no KVM in this machine");
	ASSERT_EQ(0, sigaction(SIGUSR1, &action, NULL));
	self->fd = open_device(O_RDWR);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, set_length(self->fd, RAM));
	self->ram = map_ram(self->fd, RAM);
	ASSERT_NE(NULL, self->ram);
	write_guest(self->ram);
	self->tid = 0;
	if (start_guest(self, self->ram))
		SKIP(return, "KVM runs no guest here: %m");
}

FIXTURE_TEARDOWN(ram_kvm)
{
	stop_guest(self);
	munmap(self->ram, RAM);
	close(self->fd);
	close(self->kvm);
}

static uint32_t count_at(int fd, off_t pos)
{
	uint32_t count = 0;

	pread(fd, &count, sizeof(count), pos);
	return count;
}

/* Waits up to @ms until the guest has counted on. */
static bool counts_on_within(const char *ram, uint32_t from, int ms)
{
	for (int i = 0; i < ms / 10; i++) {
		if (*(volatile uint32_t *)(ram + SECOND) > from + 1)
			return true;
		sleep_ms(10);
	}
	return false;
}

static bool counts_on(const char *ram, uint32_t from)
{
	return counts_on_within(ram, from, 20000);
}

/*
 * Writes @value for the guest to count on from. A write between the guest's load and its
 * store is lost: then again.
 */
static bool counts_on_from(FIXTURE_DATA(ram_kvm) *self, uint32_t value)
{
	for (int i = 0; i < 20; i++) {
		if (pwrite(self->fd, &value, 4, FIRST) != 4)
			return false;
		if (counts_on_within(self->ram, value, 1000))
			return true;
	}
	return false;
}

TEST_F(ram_kvm, a_clone_of_a_guest_that_runs_is_a_cut)
{
	long long end = now_ms() + 4 * RACE_MS;
	uint32_t last = 0;
	int rounds = 0;

	ASSERT_TRUE(counts_on(self->ram, 0)) TH_LOG("exit reason %d", self->run->exit_reason);
	while (now_ms() < end || rounds < 10) {
		int clone = open_clone(self->fd, O_RDONLY);
		uint32_t first, second;

		ASSERT_LE(0, clone);
		second = count_at(clone, SECOND);
		first = count_at(clone, FIRST);
		ASSERT_TRUE(first == second || first == second + 1) TH_LOG("%u, %u", first, second);
		ASSERT_LE(last, second);
		last = second;
		/* It stands still, and the guest goes on. */
		ASSERT_TRUE(counts_on(self->ram, first));
		ASSERT_EQ(first, count_at(clone, FIRST));
		ASSERT_EQ(second, count_at(clone, SECOND));
		close(clone);
		rounds++;
	}
	EXPECT_LT(0, last);
	TH_LOG("%d clones, counted to %u", rounds, last);
}

/* What a guest stores and what its VMM writes is one memory. */
TEST_F(ram_kvm, write_and_guest_see_each_other)
{
	uint32_t big = 1 << 30;

	ASSERT_TRUE(counts_on(self->ram, 0));
	ASSERT_TRUE(counts_on_from(self, big));
	EXPECT_LT(big, count_at(self->fd, SECOND));
	/* Also with pages that others share. */
	big = 1U << 31;
	int clone = open_clone(self->fd, O_RDONLY);

	ASSERT_TRUE(counts_on_from(self, big));
	EXPECT_GT(big, count_at(clone, FIRST));
	close(clone);
}

/* Two guests go on from one moment, and their memory is not each other's. */
TEST_F(ram_kvm, a_clone_runs)
{
	FIXTURE_DATA(ram_kvm) other = { .kvm = self->kvm };
	uint32_t at;

	ASSERT_TRUE(counts_on(self->ram, 0));
	other.fd = open_clone(self->fd, O_RDWR);
	ASSERT_LE(0, other.fd);
	at = count_at(other.fd, FIRST);
	other.ram = map_ram(other.fd, RAM);
	ASSERT_NE(NULL, other.ram);
	ASSERT_EQ(0, start_guest(&other, other.ram));
	EXPECT_TRUE(counts_on(other.ram, at));
	EXPECT_TRUE(counts_on(self->ram, at));
	stop_guest(&other);
	at = count_at(other.fd, FIRST);
	EXPECT_TRUE(counts_on(self->ram, *(volatile uint32_t *)(self->ram + FIRST)));
	EXPECT_EQ(at, count_at(other.fd, FIRST));
	munmap(other.ram, RAM);
	close(other.fd);
}

TEST_HARNESS_MAIN

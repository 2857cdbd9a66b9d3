// SPDX-License-Identifier: GPL-2.0
/*
 * The kernel's inline functions and cast constants that the Rust code in this
 * directory calls, as the kernel's own rust/helpers/ does it for the `kernel`
 * crate. Kbuild runs bindgen over this file. It is long because they are many, and
 * all alike.
 */

#include <linux/cred.h>
#include <linux/fs.h>
#include <linux/fadvise.h>
#include <linux/falloc.h>
#include <linux/fs_context.h>
#include <linux/fs_parser.h>
#include <linux/highmem.h>
#include <linux/list.h>
#include <linux/memcontrol.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/pagemap.h>
#include <linux/pipe_fs_i.h>
#include <linux/poll.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/security.h>
#include <linux/spinlock.h>
#include <linux/splice.h>
#include <linux/statfs.h>
#include <linux/uio.h>
#include <linux/wait.h>

/* include/linux/fs.h: what an open file can do. */
static const fmode_t QEMUFILE_FMODE_READ __maybe_unused = FMODE_READ;
static const fmode_t QEMUFILE_FMODE_WRITE __maybe_unused = FMODE_WRITE;
static const fmode_t QEMUFILE_FMODE_SEEKABLE __maybe_unused =
	FMODE_LSEEK | FMODE_PREAD | FMODE_PWRITE;
static const fmode_t QEMUFILE_FMODE_ATOMIC_POS __maybe_unused = FMODE_ATOMIC_POS;
static const fmode_t QEMUFILE_FMODE_NOWAIT __maybe_unused = FMODE_NOWAIT;
static const fmode_t QEMUFILE_FMODE_CAN_ODIRECT __maybe_unused = FMODE_CAN_ODIRECT;
static const fmode_t QEMUFILE_FMODE_CAN_ATOMIC_WRITE __maybe_unused = FMODE_CAN_ATOMIC_WRITE;

/*
 * In the flags of a file that is opened for a mapping. No open(2) has it without
 * O_DIRECTORY: build_open_flags().
 */
static const u32 QEMUFILE_O_FOR_MAPPING __maybe_unused = __O_TMPFILE;

/* RWF_NOWAIT is honoured, so io_uring need not use a worker for buffered I/O. */
static const fop_flags_t QEMUFILE_FOP_FLAGS __maybe_unused =
	FOP_BUFFER_RASYNC | FOP_BUFFER_WASYNC;

/* include/linux/fs.h: what one read or write asks for. */
static const int QEMUFILE_IOCB_APPEND __maybe_unused = (__force int)IOCB_APPEND;
static const int QEMUFILE_IOCB_NOWAIT __maybe_unused = (__force int)IOCB_NOWAIT;
static const int QEMUFILE_IOCB_ATOMIC __maybe_unused = (__force int)IOCB_ATOMIC;

static const unsigned long QEMUFILE_SB_NOUSER __maybe_unused = SB_NOUSER;
static const unsigned long QEMUFILE_SB_NOATIME __maybe_unused = SB_NOATIME;
static const unsigned long QEMUFILE_SB_I_NOEXEC __maybe_unused = SB_I_NOEXEC;
static const unsigned long QEMUFILE_SB_I_NODEV __maybe_unused = SB_I_NODEV;

static const size_t QEMUFILE_MAX_RW_COUNT __maybe_unused = MAX_RW_COUNT;

/* include/uapi/linux/eventpoll.h */
static const __poll_t QEMUFILE_EPOLLIN __maybe_unused = EPOLLIN;
static const __poll_t QEMUFILE_EPOLLOUT __maybe_unused = EPOLLOUT;
static const __poll_t QEMUFILE_EPOLLERR __maybe_unused = EPOLLERR;
static const __poll_t QEMUFILE_EPOLLHUP __maybe_unused = EPOLLHUP;
static const __poll_t QEMUFILE_EPOLLRDHUP __maybe_unused = EPOLLRDHUP;
static const __poll_t QEMUFILE_EPOLLRDNORM __maybe_unused = EPOLLRDNORM;
static const __poll_t QEMUFILE_EPOLLWRNORM __maybe_unused = EPOLLWRNORM;

/*
 * Memory of a stream: may sleep and reclaim, is charged to the caller's memory
 * cgroup, and fails instead of calling the OOM killer. A folio of more than one
 * page is taken only if one is free: no reclaim, no compaction.
 */
static const gfp_t QEMUFILE_GFP_PAGE __maybe_unused =
	GFP_HIGHUSER | __GFP_ACCOUNT | __GFP_RETRY_MAYFAIL | __GFP_NOWARN;
static const gfp_t QEMUFILE_GFP_STREAM __maybe_unused =
	GFP_KERNEL_ACCOUNT | __GFP_RETRY_MAYFAIL | __GFP_NOWARN;
static const gfp_t QEMUFILE_GFP_ZERO __maybe_unused = __GFP_ZERO;
static const gfp_t QEMUFILE_GFP_FOLIO __maybe_unused =
	((GFP_HIGHUSER | __GFP_ACCOUNT | __GFP_NOWARN | __GFP_NORETRY) & ~__GFP_DIRECT_RECLAIM);

/* include/linux/mm.h */

struct folio *qemufile_folio_alloc(gfp_t gfp, unsigned int order)
{
	return folio_alloc(gfp, order);
}

struct folio *qemufile_page_folio(struct page *page)
{
	return page_folio(page);
}

struct page *qemufile_folio_page(struct folio *folio, unsigned long n)
{
	return folio_page(folio, n);
}

unsigned long qemufile_folio_nr_pages(struct folio *folio)
{
	return folio_nr_pages(folio);
}

int qemufile_folio_refs(struct folio *folio)
{
	return folio_ref_count(folio);
}

/* Of a page that is a folio of its own. */
bool qemufile_page_has_refs(struct page *page, int refs)
{
	struct folio *folio = page_folio(page);

	return !folio_test_large(folio) && folio_ref_count(folio) == refs;
}

bool qemufile_folio_mapped(struct folio *folio)
{
	return folio_mapped(folio);
}

int qemufile_folio_mapcount(const struct folio *folio)
{
	return folio_mapcount(folio);
}

void qemufile_folio_ref_add(struct folio *folio, int n)
{
	folio_ref_add(folio, n);
}

void qemufile_folio_put(struct folio *folio)
{
	folio_put(folio);
}

/* include/linux/highmem.h */

void qemufile_memcpy_from_folio(char *to, struct folio *folio, size_t offset, size_t len)
{
	memcpy_from_folio(to, folio, offset, len);
}

void qemufile_memcpy_to_folio(struct folio *folio, size_t offset, const char *from, size_t len)
{
	memcpy_to_folio(folio, offset, from, len);
}

void qemufile_folio_zero_range(struct folio *folio, size_t offset, size_t len)
{
	folio_zero_range(folio, offset, len);
}

/* Within one page. */
void qemufile_memcpy_page(struct page *dst, struct page *src, size_t offset, size_t len)
{
	memcpy_page(dst, offset, src, offset, len);
}

/* memchr_inv() of include/linux/string.h, which needs a mapping of the page. */
bool qemufile_page_is_zero(struct page *page)
{
	void *at = kmap_local_page(page);
	bool is_zero = !memchr_inv(at, 0, PAGE_SIZE);

	kunmap_local(at);
	return is_zero;
}

/* include/linux/uio.h, with page faults refused instead of taken; include/linux/highmem.h. */

size_t qemufile_copy_folio_to_iter_atomic(struct folio *folio, size_t offset, size_t len,
					  struct iov_iter *to)
{
	size_t done;

	pagefault_disable();
	done = copy_folio_to_iter(folio, offset, len, to);
	pagefault_enable();
	return done;
}

/*
 * As generic_perform_write() does. A processor with separate caches, as arm64 has, may still
 * have old instructions of the page: the next mapping that can execute it clears them.
 */
size_t qemufile_copy_folio_from_iter_atomic(struct folio *folio, size_t offset, size_t len,
					    struct iov_iter *from)
{
	size_t done = copy_folio_from_iter_atomic(folio, offset, len, from);

	flush_dcache_folio(folio);
	return done;
}

size_t qemufile_iov_iter_zero_atomic(size_t len, struct iov_iter *to)
{
	size_t done;

	pagefault_disable();
	done = iov_iter_zero(len, to);
	pagefault_enable();
	return done;
}

/* include/linux/poll.h */

void qemufile_poll_wait(struct file *file, wait_queue_head_t *queue, poll_table *table)
{
	poll_wait(file, queue, table);
}

void qemufile_wake_up_poll(wait_queue_head_t *queue, __poll_t events)
{
	wake_up_poll(queue, events);
}

/* include/linux/wait.h */

bool qemufile_wq_has_sleeper(wait_queue_head_t *queue)
{
	return wq_has_sleeper(queue);
}

bool qemufile_waitqueue_active(wait_queue_head_t *queue)
{
	return waitqueue_active(queue);
}

void qemufile_init_waitqueue_func_entry(wait_queue_entry_t *entry, wait_queue_func_t func)
{
	init_waitqueue_func_entry(entry, func);
}

void qemufile_add_wait_queue_locked(wait_queue_head_t *queue, wait_queue_entry_t *entry)
{
	__add_wait_queue(queue, entry);
}

/* include/linux/list.h */

bool qemufile_list_empty(const struct list_head *list)
{
	return list_empty(list);
}

void qemufile_list_del_init(struct list_head *entry)
{
	list_del_init(entry);
}

/* include/linux/spinlock.h */

unsigned long qemufile_spin_lock_irqsave(spinlock_t *lock)
{
	unsigned long flags;

	spin_lock_irqsave(lock, flags);
	return flags;
}

void qemufile_spin_unlock_irqrestore(spinlock_t *lock, unsigned long flags)
{
	spin_unlock_irqrestore(lock, flags);
}

/* include/linux/sched.h */

void qemufile_cond_resched(void)
{
	cond_resched();
}

bool qemufile_fatal_signal_pending(void)
{
	return fatal_signal_pending(current);
}

/* include/linux/mutex.h */

int qemufile_mutex_lock_interruptible(struct mutex *lock)
{
	return mutex_lock_interruptible(lock);
}

/* include/linux/rwsem.h; a macro without lockdep. */
void qemufile_down_read_nested(struct rw_semaphore *semaphore)
{
	down_read_nested(semaphore, SINGLE_DEPTH_NESTING);
}

#ifdef CONFIG_DEBUG_LOCK_ALLOC
/* include/linux/lockdep.h: what down_read() and up_read() tell lockdep. */
void qemufile_note_read(struct rw_semaphore *semaphore)
{
	rwsem_acquire_read(&semaphore->dep_map, 0, 0, _RET_IP_);
}

void qemufile_unnote_read(struct rw_semaphore *semaphore)
{
	rwsem_release(&semaphore->dep_map, _RET_IP_);
}
#endif

/* include/linux/cred.h */

kuid_t qemufile_current_fsuid(void)
{
	return current_fsuid();
}

const struct cred *qemufile_current_cred(void)
{
	return current_cred();
}

/* include/linux/rcupdate.h: a macro without CONFIG_TASKS_RCU. */

void qemufile_synchronize_rcu_tasks(void)
{
	synchronize_rcu_tasks();
}

/* include/linux/fs.h */

void qemufile_i_size_write(struct inode *inode, loff_t size)
{
	i_size_write(inode, size);
}

unsigned int qemufile_inode_state_read_once(struct inode *inode)
{
	return inode_state_read_once(inode);
}

bool qemufile_mapping_mapped(const struct address_space *mapping)
{
	return mapping_mapped(mapping);
}

/* The caller has locked i_lock. */
void qemufile_inode_state_set(struct inode *inode, enum inode_state_flags_enum flags)
{
	inode_state_set(inode, flags);
}

/* An inline function where the kernel has no security modules. */
int qemufile_security_inode_init(struct inode *inode, struct inode *dir, const struct qstr *name)
{
	return security_inode_init_security(inode, dir, name, NULL, NULL);
}

void qemufile_inode_changed(struct inode *inode)
{
	inode_set_mtime_to_ts(inode, inode_set_ctime_current(inode));
}

void qemufile_file_accessed(struct file *file)
{
	file_accessed(file);
}

/* include/linux/pagemap.h */

void qemufile_mapping_set_unevictable(struct address_space *mapping)
{
	mapping_set_unevictable(mapping);
}

/* include/linux/pipe_fs_i.h, include/linux/splice.h */

bool qemufile_pipe_is_full(struct pipe_inode_info *pipe)
{
	return pipe_is_full(pipe);
}

void qemufile_pipe_lock(struct pipe_inode_info *pipe)
{
	pipe_lock(pipe);
}

void qemufile_pipe_unlock(struct pipe_inode_info *pipe)
{
	pipe_unlock(pipe);
}

unsigned int qemufile_pipe_readers(struct pipe_inode_info *pipe)
{
	return READ_ONCE(pipe->readers);
}

/* Sleeps until the pipe, which the caller has not locked, has a free slot or no reader. */
int qemufile_pipe_wait_writable(struct pipe_inode_info *pipe)
{
	return wait_event_interruptible(pipe->wr_wait,
					!pipe_is_full(pipe) || !READ_ONCE(pipe->readers));
}

struct pipe_buffer *qemufile_pipe_head_buf(const struct pipe_inode_info *pipe)
{
	return pipe_head_buf(pipe);
}

void qemufile_pipe_advance_head(struct pipe_inode_info *pipe)
{
	pipe->head++;
}

/* include/linux/mm.h */

unsigned long qemufile_totalram_pages(void)
{
	return totalram_pages();
}

struct page *qemufile_zero_page(void)
{
	return ZERO_PAGE(0);
}

bool qemufile_is_zero_page(struct page *page)
{
	return is_zero_page(page);
}

void qemufile_get_page(struct page *page)
{
	get_page(page);
}

/*
 * Whether a page that is mapped for reading is stored to, and clear_soft_dirty() in
 * fs/proc/task_mmu.c may have write-protected it to see that. An area with
 * VM_SOFTDIRTY counts as dirty as a whole.
 */
bool qemufile_fault_is_tracked(struct vm_fault *fault)
{
	return pgtable_supports_soft_dirty() && (fault->flags & FAULT_FLAG_MKWRITE) &&
		!(fault->vma->vm_flags & VM_SOFTDIRTY);
}

#ifdef CONFIG_MEMCG
/* include/linux/memcontrol.h */

bool qemufile_memcg_kmem_online(void)
{
	return memcg_kmem_online();
}

/* The caller holds the RCU read lock. NULL for the root cgroup. */
struct mem_cgroup *qemufile_folio_memcg(struct folio *folio)
{
	return folio_memcg(folio);
}
#endif

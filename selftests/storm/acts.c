// SPDX-License-Identifier: GPL-2.0
/* Each act is one call: its arguments are drawn here. */
#include "storm.h"

#define ACT_NAME(name) #name,
const char *const act_names[ACT_COUNT] = { ACTS(ACT_NAME) };

long do_act(enum act act)
{
	size_t len = size();
	void *at = address(len);
	struct stat stat;
	int count, fd;

	switch (act) {
	case ACT_get_info: {
		struct qemufile_info info;

		return CALL(handle(), QEMUFILE_IOC_GET_INFO, &info);
	}
	case ACT_set_length: {
		struct qemufile_length length = { place(), zero(), zero() };

		return CALL(handle(), QEMUFILE_IOC_SET_LENGTH, &length);
	}
	case ACT_get_extent: {
		struct qemufile_extent extent = {
			.start = place(), .length = edge(), .kind = edge(), .flags = zero(),
		};

		return CALL(handle(), QEMUFILE_IOC_GET_EXTENT, &extent);
	}
	case ACT_punch: {
		struct qemufile_range range = { place(), place(), zero(), zero() };

		return CALL(handle(), QEMUFILE_IOC_PUNCH, &range);
	}
	case ACT_bufopen:
		return new_handle(QEMUFILE_IOC_BUFOPEN);
	case ACT_clone:
		return new_handle(QEMUFILE_IOC_CLONE);
	case ACT_put:
		return typed(QEMUFILE_IOC_PUT);
	case ACT_get:
		return typed(QEMUFILE_IOC_GET);
	case ACT_peek:
		return typed(QEMUFILE_IOC_PEEK);
	case ACT_skip: {
		struct qemufile_skip skip = { place(), zero(), zero() };

		return CALL(handle(), QEMUFILE_IOC_SKIP, &skip);
	}
	case ACT_get_error: {
		struct qemufile_error error;

		return CALL(handle(), QEMUFILE_IOC_GET_ERROR, &error);
	}
	case ACT_set_error: {
		struct qemufile_error error = {
			.error = one_in(2) ? 0 : one_in(2) ? (int)edge() : -(int)below(256),
			.flags = zero(),
		};

		return CALL(handle(), QEMUFILE_IOC_SET_ERROR, &error);
	}
	case ACT_rate_limit: {
		struct qemufile_rate rate = {
			.limit = one_in(2) ? 0 : edge(), .xfer = edge(),
			.op = one_in(16) ? edge() : below(3),
			.flags = one_in(16) ? edge() : below(2), .reserved = zero(),
		};

		return CALL(handle(), QEMUFILE_IOC_RATE_LIMIT, &rate);
	}
	case ACT_set_limit:
		return set_any_limit();
	case ACT_set_flags:
		return set_some_flags();
	case ACT_ram_control: {
		struct qemufile_ram_control control = {
			.hook_flags = edge(), .op = one_in(8) ? edge() : below(3), .flags = zero(),
		};

		return CALL(handle(), QEMUFILE_IOC_RAM_CONTROL, &control);
	}
	case ACT_save_page: {
		struct qemufile_save_page page = { place(), place(), place(), edge(), edge(), zero() };

		return CALL(handle(), QEMUFILE_IOC_SAVE_PAGE, &page);
	}
	case ACT_unknown_ioctl:
		/* A number of another size or direction, or of no call. */
		return ioctl(handle(), one_in(2) ? _IOC(below(4), QEMUFILE_IOC_MAGIC, below(64),
							below(128) | 1U << 12) : chance(),
			     arena + ARENA - below(PAGE));
	case ACT_open:
		keep(fd = open_device());
		return fd;
	case ACT_reopen:
		keep(fd = reopen());
		return fd;
	case ACT_close:
		return close_one();
	case ACT_dup:
		keep(fd = fcntl(handle(), F_DUPFD_CLOEXEC, 3));
		return fd;
	case ACT_read:
		return read(handle(), at, len);
	case ACT_write:
		return write(handle(), at, len);
	case ACT_pread:
		return pread(handle(), at, len, place());
	case ACT_pwrite:
		return pwrite(handle(), at, len, place());
	case ACT_preadv2: {
		struct iovec *iov = vectors(&count);

		return preadv2(handle(), iov, count, one_in(2) ? -1 : (off_t)place(), rw_flags());
	}
	case ACT_pwritev2: {
		struct iovec *iov = vectors(&count);

		return pwritev2(handle(), iov, count, one_in(2) ? -1 : (off_t)place(), rw_flags());
	}
	case ACT_lseek:
		return lseek(handle(), one_in(4) ? (off_t)edge() : (off_t)place(), below(6));
	case ACT_splice_out:
		return to_pipe();
	case ACT_splice_in:
		return from_pipe();
	case ACT_tee: {
		int fds[2], result;

		if (pipe2(fds, O_CLOEXEC | O_NONBLOCK))
			return -1;
		result = tee(pipe_fds[0], fds[1], size(), SPLICE_F_NONBLOCK);
		splice(fds[0], NULL, handle(), NULL, size(), SPLICE_F_NONBLOCK);
		close(fds[0]);
		close(fds[1]);
		return result;
	}
	case ACT_vmsplice:
		return gift();
	case ACT_sendfile: {
		off_t offset = place();

		return sendfile(handle(), handle(), one_in(2) ? &offset : NULL, len);
	}
	case ACT_copy_file_range:
		return copy_some();
	case ACT_ficlone:
		return clone_range();
	case ACT_mmap:
		return map();
	case ACT_munmap:
		unmap(below(MAPPINGS));
		return 0;
	case ACT_touch:
		return touch();
	case ACT_ftruncate:
		return ftruncate(handle(), place());
	case ACT_fallocate:
		return fallocate_some();
	case ACT_poll:
		return poll_some();
	case ACT_epoll:
		return epoll_some();
	case ACT_fsync:
		return one_in(2) ? fsync(handle()) : fdatasync(handle());
	case ACT_fadvise:
		return posix_fadvise(handle(), place(), place(), below(7)) ? -1 : 0;
	case ACT_fcntl:
		return fcntl_some();
	case ACT_flock:
		return flock(handle(), LOCK_NB | (one_in(2) ? LOCK_UN : one_in(2) ? LOCK_SH : LOCK_EX));
	case ACT_fstat:
		return fstat(handle(), &stat);
	case ACT_fdinfo:
		return look_at_fdinfo();
	case ACT_open_name:
		keep(fd = open_name());
		return fd;
	case ACT_tmpfile:
		keep(fd = open_nameless());
		return fd;
	case ACT_link:
		return link_some();
	case ACT_rename:
		return rename_some();
	case ACT_make:
		return make_some();
	case ACT_remove:
		return remove_some();
	case ACT_change:
		return change_some();
	case ACT_mount:
		return mount_some();
	case ACT_COUNT:
		break;
	}
	return -1;
}

// SPDX-License-Identifier: GPL-2.0

//! Quotas: the limit on the bytes that several streams hold together.
//!
//! A stream of a mounted file system counts for its mount (`size=`). Any other stream counts for
//! the user who made it, by opening the device or by CLONE (the module parameter `max_user_bytes`).
//! It does not count if that user has `CAP_SYS_RESOURCE`. The writer of the data does not matter.
//! The memory of the data counts. Pages that a clone shares count in both streams. The page of a
//! hole that was accessed through a mapping counts for a mount, as in tmpfs. It does not count for
//! a user: a reader could use up the writer's quota.
//!
//! A change is paid for before it takes memory ([`Writer::pay`]), so the sum never exceeds the
//! limit. Each [`Writer`] knows what it has paid: several write at once, but not to one page. The
//! unused part is given back when it is dropped.
//!
//! The file is long because an account, its users and the paying are one rule, with its tests.

use super::{
    Inner,
    Writer,
    PAGE_BYTES, //
};
use crate::{
    sized_buffer::SizedBuffer,
    sys::{
        alloc::GFP_STREAM,
        compat::parameter,
        user::{
            current_is_unlimited,
            current_user,
            UserTable, //
        },
    },
};
use core::ops::Range;
use kernel::{
    prelude::*,
    rbtree::{
        RBTree,
        RBTreeNodeReservation, //
    },
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc, //
    },
};

/// The most that is scanned under one hold of the lock, in bytes and in runs of missing pages.
/// Other tasks wait that long.
const SCAN: u64 = 64 << 20;
const RUNS: usize = 1024;

/// The users with streams that count.
static USERS: UserTable<Option<Users>> = UserTable::new(None);

/// The bytes that several streams hold together, and their limit.
pub(crate) struct Account {
    /// The most bytes.
    max: Atomic<u64>,
    /// Bytes that are held, or paid for.
    held: Atomic<u64>,
}

impl Account {
    /// An account of `max` bytes, of which nothing is held.
    pub(crate) fn new(max: u64) -> Self {
        Self {
            max: Atomic::new(max),
            held: Atomic::new(0),
        }
    }

    /// The most bytes.
    pub(crate) fn max(&self) -> u64 {
        self.max.load(Relaxed)
    }

    /// Sets the limit, in bytes. Bytes that are held already stay.
    pub(crate) fn set_max(&self, max: u64) {
        self.max.store(max, Relaxed);
    }

    /// Bytes that are held, or paid for.
    pub(crate) fn held(&self) -> u64 {
        self.held.load(Relaxed)
    }

    /// Takes `bytes`, or as many whole pages as are left. Returns the number of bytes taken.
    pub(crate) fn take(&self, bytes: u64) -> u64 {
        let mut held = self.held.load(Relaxed);
        loop {
            let left = self.max().saturating_sub(held);
            let taken = if bytes <= left {
                bytes
            } else {
                left - left % PAGE_BYTES
            };
            match self.held.cmpxchg(held, held + taken, Relaxed) {
                Ok(_) => return taken,
                Err(now) => held = now,
            }
        }
    }

    /// Gives back `bytes` that were taken.
    pub(crate) fn give_back(&self, bytes: u64) {
        self.held.fetch_sub(bytes, Relaxed);
    }
}

/// A user with streams.
struct User {
    number: u32,
    account: Account,
}

/// The allocations for a new user. They are made before the table is locked: reclaim may drop
/// streams, which then leave the table.
struct NewUser {
    user: Arc<User>,
    node: RBTreeNodeReservation<u32, (Arc<User>, usize)>,
}

impl NewUser {
    fn new(number: u32, max: u64) -> Result<Self> {
        let account = Account::new(max);
        Ok(Self {
            user: Arc::new(User { number, account }, GFP_STREAM)?,
            node: RBTreeNodeReservation::new(GFP_STREAM)?,
        })
    }
}

/// Users by number, each with the number of its streams.
struct Users(RBTree<u32, (Arc<User>, usize)>);

impl Users {
    fn new() -> Self {
        Self(RBTree::new())
    }

    /// Adds a stream of a user. `new` is inserted if the user is not known yet.
    fn join(&mut self, new: NewUser) -> Arc<User> {
        let NewUser { user, node } = new;
        if let Some((known, streams)) = self.0.get_mut(&user.number) {
            *streams += 1;
            return known.clone();
        }
        self.0
            .insert(node.into_node(user.number, (user.clone(), 1)));
        user
    }

    /// Removes a stream of a user.
    fn leave(&mut self, number: u32) {
        let Some((_, streams)) = self.0.get_mut(&number) else {
            return;
        };
        *streams -= 1;
        if *streams == 0 {
            self.0.remove(&number);
        }
    }
}

/// One stream of a user, counted in the table of users.
struct UserStream(Arc<User>);

impl Drop for UserStream {
    fn drop(&mut self) {
        let number = self.0.number;
        // Cannot fail: the user has joined.
        let _ = USERS.with(|users| {
            if let Some(users) = users {
                users.leave(number);
            }
        });
    }
}

/// The payer of a stream.
enum Payer {
    User(UserStream),
    Mount(Arc<Account>),
}

impl Payer {
    fn account(&self) -> &Account {
        match self {
            Payer::User(UserStream(user)) => &user.account,
            Payer::Mount(account) => account,
        }
    }
}

/// The bytes that one stream counts, if it counts.
pub(super) struct Quota {
    payer: Option<Payer>,
    /// Bytes that the stream holds.
    held: u64,
}

impl Quota {
    /// The quota of a new stream that holds `bytes`. The payer is the account of a mount, or the
    /// current task's user.
    ///
    /// `ENOSPC` if the payer's limit does not allow `bytes`, `ENOMEM`.
    pub(super) fn new(mount: Option<&Arc<Account>>, bytes: u64) -> Result<Self> {
        let payer = match mount {
            Some(account) => Some(Payer::Mount(account.clone())),
            None => Self::user()?.map(Payer::User),
        };
        let mut quota = Self { payer, held: 0 };
        let paid = quota.pay(bytes);
        if paid < bytes {
            quota.refund(paid);
            return Err(ENOSPC);
        }
        quota.settle(bytes, paid);
        Ok(quota)
    }

    /// The current task's user; [`None`] if that user's streams do not count.
    fn user() -> Result<Option<UserStream>> {
        let max = parameter(&crate::module_parameters::max_user_bytes);
        if max == 0 || current_is_unlimited() {
            return Ok(None);
        }
        let new = NewUser::new(current_user(), max)?;
        let user = USERS.with(|users| users.get_or_insert_with(Users::new).join(new))?;
        Ok(Some(UserStream(user)))
    }

    /// Whether the stream counts.
    pub(super) fn counts(&self) -> bool {
        self.payer.is_some()
    }

    /// Pays for `bytes`, or for as many whole pages as are left. Returns the number of bytes paid
    /// for. The caller uses them ([`Quota::settle`]) or gives them back ([`Quota::refund`]).
    fn pay(&self, bytes: u64) -> u64 {
        match &self.payer {
            Some(payer) => payer.account().take(bytes),
            None => bytes,
        }
    }

    /// Reverses [`Quota::pay`] for `bytes` that were not used.
    fn refund(&self, bytes: u64) {
        if let Some(payer) = &self.payer {
            payer.account().give_back(bytes);
        }
    }

    /// Records that the stream holds `held` bytes now. Growth is covered by the `paid` bytes. Returns
    /// those that are left.
    fn settle(&mut self, held: u64, paid: u64) -> u64 {
        let Some(account) = self.payer.as_ref().map(Payer::account) else {
            return paid;
        };
        let grown = held.saturating_sub(self.held);
        account.give_back(self.held.saturating_sub(held));
        // All growth is paid for. Unpaid growth would count all the same.
        let used = grown.min(paid);
        account.held.fetch_add(grown - used, Relaxed);
        self.held = held;
        paid - used
    }
}

impl Drop for Quota {
    fn drop(&mut self) {
        self.settle(0, 0);
    }
}

impl Inner {
    /// Updates the account. Call it after memory was freed without a [`Writer`].
    pub(super) fn settle(&mut self) {
        self.quota.settle(self.held(), 0);
    }

    /// The bytes that count.
    pub(super) fn held(&self) -> u64 {
        match self.is_file {
            true => self.buffer.held(),
            false => self.buffer.allocated(),
        }
    }

    /// The first run of pages in `range` that would count, and that the stream does not hold.
    fn missing(&self, range: Range<u64>) -> Option<Range<u64>> {
        match self.is_file {
            true => self.buffer.next_unheld(range),
            false => self.buffer.next_missing(range),
        }
    }

    /// Charges a page that `make` adds for a mapping, if it `is_new` to the account. `ENOSPC`, and
    /// the errors of `make`.
    pub(super) fn count_page(
        &mut self,
        is_new: bool,
        make: impl FnOnce(&mut SizedBuffer) -> Result,
    ) -> Result {
        if !is_new {
            return make(&mut self.buffer);
        }
        if self.quota.pay(PAGE_BYTES) < PAGE_BYTES {
            return Err(ENOSPC);
        }
        let made = make(&mut self.buffer);
        let left = self.quota.settle(self.held(), PAGE_BYTES);
        self.quota.refund(left);
        made
    }
}

impl Writer<'_> {
    /// Pays for the pages that a change of `len` bytes at `pos` may add. Returns the number of
    /// bytes, from `pos` on, with pages that exist or are paid for.
    pub(super) fn pay(&self, pos: u64, len: u64) -> u64 {
        let mut reached = pos.saturating_add(len);
        self.each_missing(pos, len, |quota, start, bytes| {
            let paid = quota.pay(bytes);
            self.paid.set(self.paid.get() + paid);
            if paid < bytes {
                reached = start + paid;
            }
            paid == bytes
        });
        reached.saturating_sub(pos).min(len)
    }

    /// As [`Writer::pay`], for all of `range` or none of it; `ENOSPC` if less is left.
    pub(super) fn pay_for(&self, range: &Range<u64>) -> Result {
        let len = range.end - range.start;
        if self.pay(range.start, len) < len {
            return Err(ENOSPC);
        }
        Ok(())
    }

    /// As [`Writer::pay`], for a change that adds at most `most` bytes. Pays for all of it or for
    /// nothing.
    ///
    /// `ENOSPC` if less is left.
    pub(super) fn pay_at_most(&self, pos: u64, len: u64, most: u64) -> Result {
        let mut needed: u64 = 0;
        self.each_missing(pos, len, |_, _, bytes| {
            needed = needed.saturating_add(bytes).min(most);
            needed < most
        });
        let paid = self.stream.inspect().quota.pay(needed);
        self.paid.set(self.paid.get() + paid);
        if paid < needed {
            return Err(ENOSPC);
        }
        Ok(())
    }

    /// Calls `f` with the start and the length of each run of missing pages, until `f` returns
    /// false. Does nothing if the stream does not count.
    ///
    /// No other task adds pages there meanwhile, but page faults, which pay for theirs.
    fn each_missing(&self, pos: u64, len: u64, mut f: impl FnMut(&Quota, u64, u64) -> bool) {
        if !self.stream.counted {
            return;
        }
        let end = pos.saturating_add(len);
        let mut next = pos;
        while next < end {
            let inner = self.stream.inspect();
            let until = end.min(next.saturating_add(SCAN));
            for _ in 0..RUNS {
                let Some(run) = inner.missing(next..until) else {
                    next = until;
                    break;
                };
                if !f(&inner.quota, run.start, run.end - run.start) {
                    return;
                }
                next = run.end;
            }
        }
    }
}

impl Writer<'_> {
    /// Publishes a change of this writer ([`Inner::publish`]), which has paid for it.
    pub(super) fn publish(&self, inner: &mut Inner) {
        inner.publish();
        let held = inner.held();
        self.paid.set(inner.quota.settle(held, self.paid.get()));
    }
}

impl Drop for Writer<'_> {
    /// Gives back what was paid for and not used.
    fn drop(&mut self) {
        let paid = self.paid.take();
        if paid > 0 {
            self.stream.inspect().quota.refund(paid);
        }
    }
}

#[kunit_tests(qemufile_stream_quota)]
mod tests {
    use super::*;

    const PAGE: u64 = PAGE_BYTES;

    /// Adds a stream of a user with a limit of `max` bytes.
    fn join(users: &mut Users, number: u32, max: u64) -> Result<Arc<User>> {
        Ok(users.join(NewUser::new(number, max)?))
    }

    #[test]
    fn the_streams_of_a_user_share_one_entry() -> Result {
        let mut users = Users::new();
        let a = join(&mut users, 1000, PAGE)?;
        let b = join(&mut users, 1000, PAGE)?;
        let other = join(&mut users, 1001, PAGE)?;
        assert_eq!(a.account.take(PAGE), PAGE);
        assert_eq!(b.account.take(PAGE), 0);
        assert_eq!(other.account.take(PAGE), PAGE);
        Ok(())
    }

    #[test]
    fn an_entry_goes_with_the_last_stream() -> Result {
        let mut users = Users::new();
        join(&mut users, 1000, PAGE)?.account.take(PAGE);
        join(&mut users, 1000, PAGE)?;
        users.leave(1000);
        assert_eq!(join(&mut users, 1000, PAGE)?.account.take(PAGE), 0);
        users.leave(1000);
        users.leave(1000);
        assert!(users.0.is_empty());
        users.leave(1000);
        assert_eq!(join(&mut users, 1000, PAGE)?.account.take(PAGE), PAGE);
        Ok(())
    }

    #[test]
    fn whole_pages_are_taken_up_to_the_limit() -> Result {
        let user = join(&mut Users::new(), 0, 3 * PAGE + 100)?;
        assert_eq!(user.account.take(2 * PAGE), 2 * PAGE);
        assert_eq!(user.account.take(2 * PAGE), PAGE);
        assert_eq!(user.account.take(PAGE), 0);
        user.account.give_back(2 * PAGE);
        assert_eq!(user.account.take(u64::MAX), 2 * PAGE);
        Ok(())
    }
}

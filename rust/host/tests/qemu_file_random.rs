// SPDX-License-Identifier: GPL-2.0

//! Random puts and gets over backends that are short, slow and out of memory, against a plain
//! vector of bytes.

use kernel::{fault, prelude::*};
use proptest::{collection::vec, option, prelude::*};
use qemufile::qemu_file::{
    testing::{self, Slice, Testing},
    QemuFile, ReadAhead, IO_BUF_SIZE,
};

type File<'a> = QemuFile<Testing<'a>>;

/// The sequences of each test.
const CASES: u32 = 2_000;

#[derive(Clone, Debug)]
enum Op {
    Byte(u8),
    Be16(u16),
    Be32(u32),
    Be64(u64),
    /// So many values of eight bytes.
    Values(usize),
    Put(usize, usize),
    PeekByte(u64),
    GetBe64,
    Peek(usize, u64),
    Skip(u64),
    Flush,
}

/// An operation, the most bytes that the backend moves at a time, and after how many calls one has
/// to be made again.
type Step = (Op, usize, Option<usize>);

fn length() -> impl Strategy<Value = usize> {
    prop_oneof![0..20usize, 0..5000usize, IO_BUF_SIZE - 5..=IO_BUF_SIZE + 5]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        any::<u8>().prop_map(Op::Byte),
        any::<u16>().prop_map(Op::Be16),
        any::<u32>().prop_map(Op::Be32),
        any::<u64>().prop_map(Op::Be64),
        (0..2 * IO_BUF_SIZE / 8).prop_map(Op::Values),
        (0..2 * IO_BUF_SIZE, length()).prop_map(|(start, len)| Op::Put(start, len)),
        (0..20u64).prop_map(Op::PeekByte),
        Just(Op::GetBe64),
        (length(), 0..20u64).prop_map(|(len, offset)| Op::Peek(len, offset)),
        length().prop_map(|len| Op::Skip(len as u64)),
        Just(Op::Flush),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let most = prop_oneof![1..10usize, 1000..50_000usize, Just(usize::MAX)];
    vec((op(), most, option::weighted(0.3, 0..4usize)), 1..60)
}

/// Makes a call until it need not be made again.
fn again<F, T>(file: &mut F, mut call: impl FnMut(&mut F) -> Result<T>) -> Result<T> {
    loop {
        match call(file) {
            Err(EAGAIN) => (),
            result => return result,
        }
    }
}

/// What the bytes should be, and the position of the next one to put or get.
struct Model {
    bytes: Vec<u8>,
    pos: usize,
}

impl Model {
    fn put(&mut self, bytes: &[u8]) {
        let end = self.pos + bytes.len();
        self.bytes.resize(self.bytes.len().max(end), 0);
        self.bytes[self.pos..end].copy_from_slice(bytes);
        self.pos = end;
    }

    fn peek(&self, offset: u64, len: usize) -> &[u8] {
        let start = self.bytes.len().min(self.pos + offset as usize);
        &self.bytes[start..self.bytes.len().min(start + len)]
    }
}

fn run(steps: &[Step], block: &[u8]) {
    let mut file = testing::file(&block[..1000]).expect("memory");
    let mut model = Model {
        bytes: block[..1000].to_vec(),
        pos: 0,
    };
    for (op, most, fail) in steps {
        file.ops_mut().most = *most;
        file.ops_mut().fail = fail.map(|after| (after, EAGAIN));
        step(&mut file, &mut model, op, block);
        if file.get_error().is_err() {
            assert_eq!(file.get_error(), Err(EIO));
            assert_eq!(file.put_byte(1), Err(EIO));
            return;
        }
    }
    again(&mut file, |file| file.fflush()).expect("room");
    assert_eq!(file.position(), model.pos as u64);
    assert!(file.ops_mut().holds(&model.bytes));
}

/// Does `op` to the file and to the model. What is got comes after what was put.
fn step<'a>(file: &mut File<'a>, model: &mut Model, op: &Op, block: &'a [u8]) {
    if let Op::PeekByte(_) | Op::GetBe64 | Op::Peek(..) | Op::Skip(_) = op {
        again(file, |file| file.fflush()).expect("room");
    }
    match *op {
        Op::Byte(value) => {
            assert_eq!(again(file, |file| file.put_byte(value)), Ok(()));
            model.put(&[value]);
        }
        Op::Be16(value) => {
            assert_eq!(again(file, |file| file.put_be16(value)), Ok(()));
            model.put(&value.to_be_bytes());
        }
        Op::Be32(value) => {
            assert_eq!(again(file, |file| file.put_be32(value)), Ok(()));
            model.put(&value.to_be_bytes());
        }
        Op::Be64(value) => {
            assert_eq!(again(file, |file| file.put_be64(value)), Ok(()));
            model.put(&value.to_be_bytes());
        }
        Op::Values(count) => {
            for value in 0..count as u64 {
                assert_eq!(again(file, |file| file.put_be64(value)), Ok(()));
                model.put(&value.to_be_bytes());
            }
        }
        Op::Put(start, len) => {
            // In two parts, which become one again.
            let end = start + len;
            for (start, end) in [(start, start + len / 2), (start + len / 2, end)] {
                let slice = Slice { block, start, end };
                let put = again(file, |file| file.put_buffer_async(slice));
                assert_eq!(put, Ok(()));
            }
            model.put(&block[start..end]);
        }
        Op::PeekByte(offset) => {
            let value = again(file, |file| file.peek_value::<1>(offset));
            check(value, model.peek(offset, 1));
        }
        Op::GetBe64 => {
            let value = again(file, |file| file.peek_value::<8>(0));
            check(value, model.peek(0, 8));
            if value.is_ok() {
                file.update_position(8);
                model.pos += 8;
            }
        }
        Op::Peek(len, offset) => {
            let mut bytes = vec![0; len];
            let (done, end) = file.peek_buffer(&mut bytes, offset);
            assert!(model.peek(offset, len).starts_with(&bytes[..done]));
            match end {
                Ok(()) => assert_eq!(done, len),
                Err(EAGAIN) => (),
                Err(error) => {
                    assert_eq!((error, model.peek(offset, len).len()), (EIO, done));
                }
            }
        }
        Op::Skip(len) => {
            let there = model.peek(0, len as usize).len();
            let mut done = 0;
            while done < len {
                match again(file, |file| file.skip(len - done)).expect("no error") {
                    0 => break,
                    more => done += more,
                }
            }
            assert_eq!(done, there as u64);
            model.pos += there;
        }
        Op::Flush => again(file, |file| file.fflush()).expect("no error"),
    }
}

/// Checks a value that was got against the bytes that there were.
fn check<const N: usize>(value: Result<[u8; N]>, expected: &[u8]) {
    match value {
        Ok(bytes) => assert_eq!(bytes, *expected),
        Err(error) => assert!(error == EIO && expected.len() < N),
    }
}

fn block() -> Vec<u8> {
    qemufile::world::pattern(3, 4 * IO_BUF_SIZE)
}

fn config() -> ProptestConfig {
    let default = ProptestConfig::default();
    ProptestConfig {
        cases: match std::env::var_os("PROPTEST_CASES") {
            Some(_) => default.cases,
            None => CASES,
        },
        failure_persistence: None,
        ..default
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn what_is_put_is_there_and_what_is_there_is_got(steps in steps()) {
        run(&steps, &block());
    }

    /// Places after the last one that was passed, over a backend that gives each byte once.
    #[test]
    fn what_was_read_ahead_is_got_once_or_more(
        steps in vec((0..40u64, 0..40usize, 1..10usize, option::weighted(0.2, Just(()))), 1..100),
    ) {
        let block = block();
        let mut ahead = ReadAhead::<32>::new();
        let (mut given, mut passed) = (0, 0);
        for (offset, len, most, again) in steps {
            let mut bytes = vec![0; len];
            let got = ahead.get(&mut bytes, passed + offset, passed, |room, pos| {
                if again.is_some() {
                    return Err(EAGAIN);
                }
                assert_eq!(pos, given);
                let start = given as usize;
                let len = room.len().min(most);
                room[..len].copy_from_slice(&block[start..start + len]);
                given += len as u64;
                Ok(len)
            });
            let start = (passed + offset) as usize;
            match got {
                Ok(done) => {
                    assert!(done > 0 || len == 0);
                    assert_eq!(bytes[..done], block[start..start + done]);
                    passed = given.min(passed + offset + done as u64);
                }
                Err(EINVAL) => assert!(offset >= 32),
                Err(error) => assert_eq!((error, again), (EAGAIN, Some(()))),
            }
        }
    }
}

/// Puts 100 values and 100 blocks.
fn put_many<'a>(file: &mut File<'a>, block: &'a [u8]) -> Result {
    for i in 0..100 {
        file.put_be64(i)?;
        let (start, end) = (2 * i as usize, 2 * i as usize + 1);
        file.put_buffer_async(Slice { block, start, end })?;
    }
    file.fflush()
}

#[test]
fn without_memory_for_staging_the_error_stays() {
    let block = block();
    let mut failures = 0;
    for n in 0.. {
        let mut file = testing::file(b"").expect("memory");
        fault::fail_after(n);
        let result = put_many(&mut file, &block);
        if !fault::reset() {
            assert_eq!(result, Ok(()));
            break;
        }
        failures += 1;
        assert_eq!(result, Err(ENOMEM));
        assert_eq!(file.get_error(), Err(ENOMEM));
        assert_eq!(put_many(&mut file, &block), Err(ENOMEM));
    }
    assert!(failures > 1);
}

#[test]
fn a_header_takes_no_memory() {
    let block = block();
    let mut file = testing::file(b"QEMU").expect("memory");
    fault::fail_after(0);
    assert_eq!(&file.peek_value::<4>(0).expect("bytes"), b"QEMU");
    for start in [0, 10, 20] {
        assert_eq!(file.put_be64(1), Ok(()));
        let end = start + 1;
        let slice = Slice {
            block: &block,
            start,
            end,
        };
        assert_eq!(file.put_buffer_async(slice), Ok(()));
    }
    assert!(!fault::reset());
    assert_eq!(file.fflush(), Ok(()));
}

// SPDX-License-Identifier: GPL-2.0

//! Random puts and gets over backends that are short, slow and out of memory, against a plain
//! vector of bytes.

use kernel::{fault, prelude::*};
use proptest::{collection::vec, option, prelude::*};
use qemufile::qemu_file::{testing::Backend, QemuFile, IO_BUF_SIZE};

/// The sequences of each test.
const CASES: u32 = 2_000;

#[derive(Clone, Debug)]
enum Op {
    Byte(u8),
    Be16(u16),
    Be32(u32),
    Be64(u64),
    Put(usize),
    PutAsync(usize, usize),
    GetByte,
    GetBe16,
    GetBe32,
    GetBe64,
    Get(usize),
    Peek(usize, usize),
    PeekByte(usize),
    Skip(u64),
    Seek(u64),
    Flush,
    Tell,
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
        length().prop_map(Op::Put),
        (0..2 * IO_BUF_SIZE, length()).prop_map(|(start, len)| Op::PutAsync(start, len)),
        Just(Op::GetByte),
        Just(Op::GetBe16),
        Just(Op::GetBe32),
        Just(Op::GetBe64),
        length().prop_map(Op::Get),
        (length(), 0..20usize).prop_map(|(len, offset)| Op::Peek(len, offset)),
        (0..IO_BUF_SIZE).prop_map(Op::PeekByte),
        length().prop_map(|len| Op::Skip(len as u64)),
        (0..100_000u64).prop_map(Op::Seek),
        Just(Op::Flush),
        Just(Op::Tell),
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

/// What the bytes should be, and the position.
#[derive(Default)]
struct Model {
    bytes: Vec<u8>,
    pos: usize,
    put: u64,
}

impl Model {
    fn put(&mut self, bytes: &[u8]) {
        let end = self.pos + bytes.len();
        if !bytes.is_empty() {
            self.bytes.resize(self.bytes.len().max(end), 0);
            self.bytes[self.pos..end].copy_from_slice(bytes);
        }
        self.pos = end;
        self.put += bytes.len() as u64;
    }

    fn peek(&self, offset: usize, len: usize) -> &[u8] {
        let start = self.bytes.len().min(self.pos + offset);
        &self.bytes[start..self.bytes.len().min(start + len)]
    }

    fn get(&mut self, len: usize) -> &[u8] {
        let start = self.bytes.len().min(self.pos);
        let end = self.bytes.len().min(start + len);
        self.pos = self.pos.max(end);
        &self.bytes[start..end]
    }
}

fn run<const STAGED: bool, const WRITEV: bool>(steps: &[Step], block: &[u8]) {
    let file = Backend::<STAGED, WRITEV, false>::file(&block[..1000]);
    let mut file: QemuFile<'_, _> = file.expect("memory");
    let mut model = Model {
        bytes: block[..1000].to_vec(),
        ..Model::default()
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
        assert_eq!(file.bytes_xfer(), model.put);
    }
    again(&mut file, |file| file.fflush()).expect("room");
    assert!(file.ops_mut().holds(&model.bytes));
}

/// Does `op` to the file and to the model.
fn step<'a, const STAGED: bool, const WRITEV: bool>(
    file: &mut QemuFile<'a, Backend<STAGED, WRITEV, false>>,
    model: &mut Model,
    op: &Op,
    block: &'a [u8],
) {
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
        Op::Put(len) => {
            let mut done = 0;
            while done < len {
                done += again(file, |file| file.put_buffer(&block[done..len])).expect("room");
            }
            model.put(&block[..len]);
        }
        Op::PutAsync(start, len) => {
            let end = start + len;
            let mut done = start;
            while done < end {
                let put = again(file, |file| file.put_buffer_async(block, done..end));
                done += put.expect("room");
            }
            model.put(&block[start..end]);
        }
        Op::GetByte => {
            let value = again(file, |file| file.get_byte());
            check(value.map(u8::to_be_bytes), model.get(1));
        }
        Op::GetBe16 => {
            let value = again(file, |file| file.get_be16());
            check(value.map(u16::to_be_bytes), model.get(2));
        }
        Op::GetBe32 => {
            let value = again(file, |file| file.get_be32());
            check(value.map(u32::to_be_bytes), model.get(4));
        }
        Op::GetBe64 => {
            let value = again(file, |file| file.get_be64());
            check(value.map(u64::to_be_bytes), model.get(8));
        }
        Op::Get(len) => {
            let mut bytes = vec![0; len];
            let mut done = 0;
            while done < len {
                match again(file, |file| file.get_buffer(&mut bytes[done..])) {
                    Ok(more) => done += more,
                    Err(error) => {
                        assert_eq!(error, EIO);
                        break;
                    }
                }
            }
            assert!(bytes[..done] == *model.get(len));
        }
        Op::Peek(len, offset) => {
            let mut bytes = vec![0; len];
            match again(file, |file| file.peek_buffer(&mut bytes, offset)) {
                Ok(done) => assert!(model.peek(offset, len).starts_with(&bytes[..done])),
                Err(EINVAL) => assert!(STAGED && len + offset > IO_BUF_SIZE),
                Err(error) => assert_eq!((error, model.peek(offset, 1).len()), (EIO, 0)),
            }
            if file.get_error() == Err(EINVAL) {
                panic!("latched a call that was wrong from the start");
            }
        }
        Op::PeekByte(offset) => {
            let value = again(file, |file| file.peek_byte(offset));
            check(value.map(u8::to_be_bytes), model.peek(offset, 1));
        }
        Op::Skip(len) => {
            let mut done = 0;
            while done < len {
                match again(file, |file| file.skip(len - done)).expect("no error") {
                    0 => break,
                    more => done += more,
                }
            }
            assert_eq!(done, model.get(len as usize).len() as u64);
        }
        Op::Seek(pos) => {
            again(file, |file| file.seek(pos)).expect("no error");
            model.pos = pos as usize;
        }
        Op::Flush => again(file, |file| file.fflush()).expect("no error"),
        Op::Tell => {
            let pos = again(file, |file| file.ftell()).expect("no error");
            assert_eq!(pos, model.pos as u64);
        }
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
    fn staged(steps in steps()) {
        run::<true, false>(&steps, &block());
    }

    #[test]
    fn gathered(steps in steps()) {
        run::<true, true>(&steps, &block());
    }

    #[test]
    fn straight(steps in steps()) {
        run::<false, false>(&steps, &block());
    }
}

#[test]
fn without_memory_for_staging_the_error_stays() {
    let block = block();
    for n in 0..2 {
        let mut file = Backend::<true, true, false>::file(b"QEMU").expect("memory");
        fault::fail_after(n);
        assert_eq!(file.get_byte(), Err(ENOMEM));
        assert_eq!(file.put_buffer_async(&block, 0..1), Err(ENOMEM));
        assert!(fault::reset());
        assert_eq!(file.put_byte(1), Err(ENOMEM));
        assert_eq!(file.fclose(), Err(ENOMEM));

        let mut file = Backend::<true, true, false>::file(b"QEMU").expect("memory");
        fault::fail_after(n);
        assert_eq!(file.put_byte(1), Err(ENOMEM));
        assert!(fault::reset());
    }
}

#[test]
fn a_file_over_a_backend_that_is_called_for_each_value_takes_no_memory() {
    let mut file = Backend::<false, false, false>::file(b"QEMU").expect("memory");
    fault::fail_after(0);
    assert_eq!(file.get_be32(), Ok(0x5145_4d55));
    assert_eq!(file.put_be64(1), Ok(()));
    assert!(!fault::reset());
}

// SPDX-License-Identifier: GPL-2.0

//! Random values through backends that move few bytes at a time and have calls repeated.

use proptest::{collection::vec, option, prelude::*};
use qemufile::{Error, Mode, QemuFile, Reader, Result, Writer, IO_BUF_SIZE};
use std::io::{self, Read, Write};

#[derive(Clone, Debug)]
enum Value {
    Byte(u8),
    Be16(u16),
    Be32(u32),
    Be64(u64),
    Bytes(usize),
    Block(usize),
}

fn length() -> impl Strategy<Value = usize> {
    prop_oneof![0..20usize, 0..5000usize, IO_BUF_SIZE - 5..=IO_BUF_SIZE + 5]
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<u8>().prop_map(Value::Byte),
        any::<u16>().prop_map(Value::Be16),
        any::<u32>().prop_map(Value::Be32),
        any::<u64>().prop_map(Value::Be64),
        length().prop_map(Value::Bytes),
        length().prop_map(Value::Block),
    ]
}

/// Moves so many bytes in a call, one call after the other; none is a call to be repeated.
struct Paced<T>(T, std::iter::Cycle<std::vec::IntoIter<Option<usize>>>);

impl<T> Paced<T> {
    fn next(&mut self) -> io::Result<usize> {
        let next = self.1.next().flatten();
        next.ok_or_else(|| io::ErrorKind::WouldBlock.into())
    }
}

impl<T: Read> Read for Paced<T> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let len = self.next()?.min(buf.len());
        self.0.read(&mut buf[..len])
    }
}

impl<T: Write> Write for Paced<T> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let len = self.next()?.min(buf.len());
        self.0.write(&buf[..len])
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn again<T>(mut call: impl FnMut() -> Result<T>) -> Result<T> {
    loop {
        match call() {
            Err(Error::AGAIN) => (),
            result => return result,
        }
    }
}

fn pace() -> impl Strategy<Value = Vec<Option<usize>>> {
    let most = prop_oneof![1..10usize, 1000..50_000usize];
    // At least one call gets on.
    vec(option::weighted(0.8, most), 0..10).prop_map(|mut pace| {
        pace.push(Some(3000));
        pace
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_put_is_got(values in vec(value(), 0..200), out in pace(), back in pace()) {
        let block: Vec<u8> = (0..2 * IO_BUF_SIZE).map(|i| ((i * 7) >> 3) as u8).collect();
        let writer = Writer(Paced(Vec::new(), out.into_iter().cycle()));
        let mut file = QemuFile::new(writer, Mode::Write);
        let mut expected = Vec::new();
        for value in &values {
            match *value {
                Value::Byte(value) => {
                    again(|| file.put_byte(value))?;
                    expected.push(value);
                }
                Value::Be16(value) => {
                    again(|| file.put_be16(value))?;
                    expected.extend(value.to_be_bytes());
                }
                Value::Be32(value) => {
                    again(|| file.put_be32(value))?;
                    expected.extend(value.to_be_bytes());
                }
                Value::Be64(value) => {
                    again(|| file.put_be64(value))?;
                    expected.extend(value.to_be_bytes());
                }
                Value::Bytes(len) => {
                    let mut done = 0;
                    while done < len {
                        done += again(|| file.put_buffer(&block[done..len]))?;
                    }
                    expected.extend(&block[..len]);
                }
                Value::Block(len) => {
                    again(|| file.put_buffer_async(&block[..len]))?;
                    expected.extend(&block[..len]);
                }
            }
            prop_assert_eq!(file.ftell_fast(), expected.len() as u64);
            prop_assert_eq!(file.bytes_xfer(), expected.len() as u64);
        }
        again(|| file.fflush())?;
        let Writer(Paced(bytes, _)) = file.fclose()?;
        prop_assert!(bytes == expected);

        let reader = Reader(Paced(&bytes[..], back.into_iter().cycle()));
        let mut file = QemuFile::new(reader, Mode::Read);
        for value in &values {
            match *value {
                Value::Byte(value) => prop_assert_eq!(again(|| file.get_byte())?, value),
                Value::Be16(value) => prop_assert_eq!(again(|| file.get_be16())?, value),
                Value::Be32(value) => prop_assert_eq!(again(|| file.get_be32())?, value),
                Value::Be64(value) => prop_assert_eq!(again(|| file.get_be64())?, value),
                Value::Bytes(len) => {
                    let mut bytes = vec![0; len];
                    let mut done = 0;
                    while done < len {
                        done += again(|| file.get_buffer(&mut bytes[done..]))?;
                    }
                    prop_assert!(bytes == block[..len]);
                }
                Value::Block(len) => {
                    if let Some(last) = len.checked_sub(1).filter(|last| *last < IO_BUF_SIZE) {
                        prop_assert_eq!(again(|| file.peek_byte(last))?, block[last]);
                    }
                    let mut done = 0;
                    while done < len {
                        done += again(|| file.skip((len - done) as u64))? as usize;
                    }
                }
            }
        }
        prop_assert_eq!(file.ftell()?, bytes.len() as u64);
        prop_assert_eq!(again(|| file.get_byte()), Err(Error::IO));
    }

    /// No bytes make a reader panic or read past their end.
    #[test]
    fn any_bytes_can_be_read(bytes in vec(any::<u8>(), 0..300), ops in vec(0..7u8, 0..50)) {
        let mut file = QemuFile::new(Reader(&bytes[..]), Mode::Read);
        for op in ops {
            let _ = match op {
                0 => file.get_byte().map(drop),
                1 => file.get_be16().map(drop),
                2 => file.get_be32().map(drop),
                3 => file.get_be64().map(drop),
                4 => file.get_counted_string().map(drop),
                5 => file.skip(5).map(drop),
                _ => file.get_buffer(&mut [0; 20]).map(drop),
            };
            prop_assert!(file.ftell_fast() <= bytes.len() as u64);
        }
    }
}

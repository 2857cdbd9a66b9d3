// SPDX-License-Identifier: GPL-2.0

//! What a buffer promises, one promise a test.

use qemufile::sized_buffer::SizedBuffer;
#[test]
fn reads_back_what_was_written() {
    let mut b = SizedBuffer::new();
    let data: Vec<u8> = (0..3_000_000u32).map(|i| (i % 251) as u8).collect();
    assert_eq!(b.write_at(12345, &data).unwrap(), data.len());
    assert_eq!(b.len(), 12345 + 3_000_000);
    let c = b.clone();
    let mut back = vec![1u8; data.len() + 12345 + 10];
    assert_eq!(b.read_at(0, &mut back), data.len() + 12345);
    assert!(back[..12345].iter().all(|b| *b == 0));
    assert_eq!(&back[12345..12345 + data.len()], &data[..]);
    b.write_at(20000, &[7; 100_000]).unwrap();
    assert_eq!(c.read_at(12345, &mut back), data.len());
    assert_eq!(&back[..data.len()], &data[..]);
    println!("{} {} {}", b.allocated(), b.chunks(), c.chunks());
    b.set_len(100).unwrap();
    b.set_len(1 << 40).unwrap();
    assert_eq!(b.next_data(0), None);
    assert_eq!(b.next_hole(0), Some(0));
    assert_eq!(b.read_at(0, &mut back), back.len());
    assert!(back.iter().all(|b| *b == 0));
    b.write_at((1 << 50) + 5, b"hi").unwrap();
    assert_eq!(b.next_data(0), Some(1 << 50));
    b.write_at(i64::MAX as u64 - 2, b"hiho").unwrap();
    b.reserve(5, 1000000).unwrap();
    b.punch(100..1 << 62).unwrap();
    println!("{} {} {}", b.allocated(), b.chunks(), c.chunks());
}

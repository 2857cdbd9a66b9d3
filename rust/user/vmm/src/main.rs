// SPDX-License-Identifier: GPL-2.0

//! Example: a VMM whose guest RAM is a stream, and which forks its guest.
//!
//! Usage: `vmm [FORKS]`
//!
//! The guest counts in its memory and writes each number to a port. After 1000 numbers it is forked:
//! the RAM is cloned, without a copy, and another virtual machine takes up the registers. Guest and
//! forks count on side by side. Each has a number of steps of its own, so that a page that two of them
//! shared by mistake would show.

mod sys;

use kvm_ioctls::{Kvm, VcpuExit, VcpuFd, VmFd};
use qemufile::{Access, OpenFlags, Stream};
use std::{error::Error, thread};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap, GuestRegionMmap};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Of the guest's RAM, in bytes.
const SIZE: u64 = 64 << 20;
/// Where the guest's code is.
const CODE: u64 = 0x1000;
/// Where it counts.
const COUNT: GuestAddress = GuestAddress(0x2000);
/// In real mode: incl COUNT; movl COUNT, %eax; outl %eax, $0x10; and again.
const PROGRAM: [u8; 14] = [
    0x66, 0xff, 0x06, 0x00, 0x20, 0x66, 0xa1, 0x00, 0x20, 0x66, 0xe7, 0x10, 0xeb, 0xf2,
];
const PORT: u16 = 0x10;

/// A guest with one processor.
struct Guest {
    // The virtual machine uses the memory: it is dropped first.
    vcpu: VcpuFd,
    _vm: VmFd,
    memory: GuestMemoryMmap,
    ram: Stream,
}

impl Guest {
    /// A virtual machine whose RAM is a stream.
    fn new(kvm: &Kvm, ram: Stream) -> Result<Self> {
        let region = GuestRegionMmap::new(ram.map_ram()?, GuestAddress(0));
        let region = region.ok_or("the RAM has no place in the guest's addresses")?;
        let memory = GuestMemoryMmap::from_regions(vec![region])?;
        let vm = kvm.create_vm()?;
        sys::set_memory(&vm, &memory)?;
        Ok(Self {
            vcpu: vm.create_vcpu(0)?,
            _vm: vm,
            memory,
            ram,
        })
    }

    /// Puts the program into the memory, and the processor to its start.
    fn load(&self) -> Result<()> {
        self.memory.write_slice(&PROGRAM, GuestAddress(CODE))?;
        // The forks share what is never written again.
        let marks = (1 << 20..SIZE).step_by(4096);
        for at in marks {
            self.memory.write_obj(at, GuestAddress(at))?;
        }
        let mut sregs = self.vcpu.get_sregs()?;
        (sregs.cs.base, sregs.cs.selector) = (0, 0);
        self.vcpu.set_sregs(&sregs)?;
        let mut regs = self.vcpu.get_regs()?;
        (regs.rip, regs.rflags) = (CODE, 2);
        Ok(self.vcpu.set_regs(&regs)?)
    }

    /// Runs for so many numbers, which have to follow one another. Returns the last one.
    fn count(&mut self, steps: u32) -> Result<u32> {
        let mut last: u32 = self.memory.read_obj(COUNT)?;
        for _ in 0..steps {
            match self.vcpu.run()? {
                VcpuExit::IoOut(PORT, bytes) => {
                    let number = u32::from_le_bytes(bytes.try_into()?);
                    if number != last + 1 {
                        return Err(format!("{number} after {last}").into());
                    }
                    last = number;
                }
                exit => return Err(format!("the guest ended: {exit:?}").into()),
            }
        }
        self.finish()?;
        Ok(last)
    }

    /// Completes the last instruction: only then do the registers fit the memory.
    fn finish(&mut self) -> Result<()> {
        self.vcpu.set_kvm_immediate_exit(1);
        let result = self.vcpu.run().map(|_| ());
        self.vcpu.set_kvm_immediate_exit(0);
        match result {
            Err(error) if error.errno() != 4 => Err(error.into()), // EINTR
            _ => Ok(()),
        }
    }

    /// Another guest, which goes on from here. The two share their pages until one stores to one.
    fn fork(&self, kvm: &Kvm) -> Result<Self> {
        let access = Access::READ | Access::WRITE;
        let ram = self.ram.clone_stream(access, OpenFlags::empty())?;
        let fork = Self::new(kvm, ram.into_stream())?;
        fork.vcpu.set_sregs(&self.vcpu.get_sregs()?)?;
        fork.vcpu.set_regs(&self.vcpu.get_regs()?)?;
        Ok(fork)
    }

    /// Whether the memory is its own, up to the last mark.
    fn check(&self, count: u32) -> Result<()> {
        if self.memory.read_obj::<u32>(COUNT)? != count {
            return Err("another guest's number".into());
        }
        for at in (1 << 20..SIZE).step_by(4096) {
            if self.memory.read_obj::<u64>(GuestAddress(at))? != at {
                return Err(format!("no mark at {at:#x}").into());
            }
        }
        Ok(())
    }
}

fn main() -> Result<()> {
    let forks: u32 = std::env::args().nth(1).map_or(Ok(3), |arg| arg.parse())?;
    let kvm = Kvm::new()?;
    let ram = Stream::new()?;
    ram.set_length(SIZE)?;
    let mut guest = Guest::new(&kvm, ram)?;
    guest.load()?;
    println!("guest: counted to {}", guest.count(1000)?);

    let start = std::time::Instant::now();
    let mut all = vec![];
    for _ in 0..forks {
        all.push(guest.fork(&kvm)?);
    }
    println!(
        "forked {forks} times in {:.1} ms",
        start.elapsed().as_secs_f64() * 1e3
    );
    all.insert(0, guest);
    thread::scope(|scope| {
        let run = |(number, guest): (u32, &mut Guest)| -> Result<String> {
            let count = guest.count(100 + number)?;
            guest.check(count)?;
            let usage = guest.ram.usage()?;
            let (own, shared) = (usage.private >> 10, usage.shared >> 10);
            Ok(format!(
                "counted to {count}; {own} KiB of its own, {shared} KiB shared"
            ))
        };
        let running: Vec<_> = (0..)
            .zip(&mut all)
            .map(|guest| scope.spawn(move || run(guest)))
            .collect();
        for (number, guest) in running.into_iter().enumerate() {
            println!(
                "{number}: {}",
                guest.join().map_err(|_| "a thread panicked")??
            );
        }
        Ok(())
    })
}
